//! What a server says is on its disk is there when it says so, and not only if the power goes.
//!
//! A server's acknowledgement of a log and its promise of an epoch are votes: others count on them
//! at once. So they are judged where they are said, by what the world saw written and synced: the
//! log as it was written, and the log as a loss of power would leave it. The latter must reach as
//! far as was said, and end in the same entry; an older entry in its place, whose write was under
//! way when it was dropped, does not count.

use super::Judgement;
use accord_core::ids::{Epoch, Index, LogPosition};
use accord_core::replica::io::{Record, Ticket};
use accord_core::replica::log::{Log, Recovered};
use accord_core::replica::message::GroupMessage;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// The disks of all persistent servers, by server.
#[derive(Debug, Default)]
pub struct Durable {
    disks: BTreeMap<u32, Held>,
}

/// What a server wrote.
#[derive(Clone, Debug, Default)]
struct Held {
    /// As a loss of power would leave it.
    durable: Content,
    /// As it was written.
    written: Content,
    waiting: VecDeque<(Ticket, Change)>,
    /// The largest acknowledgement and promise so far: what was said once is not news.
    said: (LogPosition, Epoch),
}

/// A log, by the epochs of its entries, and a promise.
#[derive(Clone, Debug, Default)]
struct Content {
    promised: Epoch,
    base: LogPosition,
    epochs: VecDeque<Epoch>,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Nothing,
    Promise(Epoch),
    Append(LogPosition),
    Truncate(Index),
    Checkpoint(LogPosition),
    Install(LogPosition),
}

/// What a server said that its disk must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// The log ends there or later, and has this entry.
    Log(LogPosition),
    /// This epoch is promised.
    Promise(Epoch),
}

impl Change {
    const fn of(record: &Record) -> Self {
        match record {
            Record::Identity { .. } => Self::Nothing,
            Record::Promise(epoch) => Self::Promise(*epoch),
            Record::Append(entry) => {
                Self::Append(LogPosition { epoch: entry.epoch, index: entry.index })
            }
            Record::Truncate(from) => Self::Truncate(*from),
            Record::Checkpoint(snapshot) => Self::Checkpoint(snapshot.last),
            Record::Install(snapshot) => Self::Install(snapshot.last),
        }
    }
}

impl Content {
    fn of(recovered: &Recovered) -> Self {
        let log = &recovered.log;
        Self { promised: recovered.promised, base: log.base(), epochs: epochs(log) }
    }

    /// What tells it from what it was before and after.
    fn ends(&self) -> (Epoch, Index, Option<Epoch>) {
        // To have an entry of an epoch is to have promised it.
        let epoch = self.epoch_at(self.last());
        (self.promised.max(epoch.unwrap_or_default()), self.last(), epoch)
    }

    fn last(&self) -> Index {
        Index(self.base.index.0 + self.epochs.len() as u64)
    }

    /// The epoch of the entry at `index`; `None` if it is forgotten or not there.
    fn epoch_at(&self, index: Index) -> Option<Epoch> {
        match index.0.checked_sub(self.base.index.0)? {
            0 => Some(self.base.epoch),
            after => self.epochs.get(after as usize - 1).copied(),
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Nothing => {}
            Change::Promise(epoch) => self.promised = self.promised.max(epoch),
            Change::Append(at) => {
                self.cut(at.index);
                self.epochs.push_back(at.epoch);
            }
            Change::Truncate(from) => self.cut(from),
            Change::Checkpoint(last) => {
                let forgotten = last.index.0.saturating_sub(self.base.index.0);
                self.epochs.drain(..(forgotten as usize).min(self.epochs.len()));
                self.base = last;
            }
            Change::Install(last) => {
                self.base = last;
                self.epochs.clear();
            }
        }
    }

    /// Drops the entries from `from` on.
    fn cut(&mut self, from: Index) {
        let kept = from.0.saturating_sub(self.base.index.0 + 1);
        self.epochs.truncate(kept as usize);
    }

    /// Why it does not hold `said`, which was said of `meant`, if it does not.
    fn lacks(&self, said: Said, meant: &Self) -> Option<String> {
        match said {
            Said::Promise(epoch) if self.promised < epoch => {
                Some(format!("it has promised {}", self.promised))
            }
            Said::Log(at) if self.last() < at.index => {
                Some(format!("its log ends at {}", self.last()))
            }
            Said::Log(at) => {
                let (there, meant) = (self.epoch_at(at.index)?, meant.epoch_at(at.index)?);
                (there != meant)
                    .then(|| format!("it has an entry of {there} there, not of {meant}"))
            }
            Said::Promise(_) => None,
        }
    }
}

fn epochs(log: &Log) -> VecDeque<Epoch> {
    let indices = log.base().index.0 + 1..=log.last().index.0;
    let at = |index| log.position_at(Index(index)).expect("the log holds what follows its base");
    indices.map(|index| at(index).epoch).collect()
}

impl Durable {
    /// What is on the disk of a server may be anything from now on, until it starts.
    pub fn forget(&mut self, node: u32) {
        self.disks.remove(&node);
    }

    /// A persistent server starts with what its disk has; `None`: nothing.
    ///
    /// # Errors
    /// If that is not what was synced, with or without the first of what was written after it.
    pub fn on_started(&mut self, node: u32, recovered: Option<&Recovered>) -> Judgement {
        let content = recovered.map(Content::of).unwrap_or_default();
        let (durable, written) = (content.clone(), content);
        let before = self.disks.insert(node, Held { durable, written, ..Held::default() });
        let Some(Held { durable: mut left, waiting, .. }) = before else { return Ok(()) };
        let (found, synced) = (self.disks[&node].durable.ends(), left.ends());
        let mut may_be = found == synced;
        for (_, change) in waiting {
            left.change(change);
            may_be |= found == left.ends();
        }
        if may_be {
            return Ok(());
        }
        let (at, written) = (words_of(found), words_of(left.ends()));
        let synced = words_of(synced);
        Err(format!("n{node} finds {at}; it had synced {synced}, and written {written}"))
    }

    /// A server writes a record. True if it drops entries that are on their way to the disk.
    pub fn on_written(&mut self, node: u32, ticket: Ticket, record: &Record) -> bool {
        let Some(held) = self.disks.get_mut(&node) else { return false };
        let change = Change::of(record);
        let drops = |waiting: &Change| match (change, waiting) {
            (Change::Truncate(from), Change::Append(at)) => at.index >= from,
            _ => false,
        };
        let dropped = held.waiting.iter().any(|(_, waiting)| drops(waiting));
        held.written.change(change);
        held.waiting.push_back((ticket, change));
        dropped
    }

    /// The disk has synced everything up to this ticket.
    pub fn on_synced(&mut self, node: u32, ticket: Ticket) {
        let Some(held) = self.disks.get_mut(&node) else { return };
        while let Some((waiting, change)) = held.waiting.front().copied()
            && waiting <= ticket
        {
            held.waiting.pop_front();
            held.durable.change(change);
        }
    }

    /// A server says something to the others. Returns what its disk must hold for it, if it is more
    /// than was said before.
    ///
    /// # Errors
    /// If a loss of power now would leave less.
    pub fn on_said(&mut self, node: u32, payload: &Bytes) -> Result<Option<Said>, String> {
        let Some(held) = self.disks.get_mut(&node) else { return Ok(None) };
        let said = match GroupMessage::from_payload(payload) {
            Ok(GroupMessage::Frame(frame)) if frame.acked > Index(0) => {
                Said::Log(LogPosition { epoch: frame.epoch, index: frame.acked })
            }
            Ok(GroupMessage::Promise { epoch, .. }) => Said::Promise(epoch),
            _ => return Ok(None),
        };
        if let Some(why) = held.durable.lacks(said, &held.written) {
            return Err(format!("n{node} says {}, and on its disk {why}", words(said)));
        }
        let (log, promise) = &mut held.said;
        let news = match said {
            Said::Log(at) => std::mem::replace(log, at.max(*log)) < at,
            Said::Promise(epoch) => std::mem::replace(promise, epoch.max(*promise)) < epoch,
        };
        Ok(news.then_some(said))
    }

    /// A loss of power now would leave this; the server said `said`.
    ///
    /// # Errors
    /// If that is not there.
    pub fn on_power_lost(&self, node: u32, said: Said, left: Option<&Recovered>) -> Judgement {
        let Some(held) = self.disks.get(&node) else { return Ok(()) };
        let left = left.map(Content::of).unwrap_or_default();
        match left.lacks(said, &held.written) {
            None => Ok(()),
            Some(why) => Err(format!("n{node} says {}; if the power went now, {why}", words(said))),
        }
    }
}

fn words_of((promised, last, epoch): (Epoch, Index, Option<Epoch>)) -> String {
    let epoch = epoch.unwrap_or_default();
    format!("a log up to {epoch}/{last} and a promise of {promised}")
}

fn words(said: Said) -> String {
    match said {
        Said::Log(at) => format!("that it holds the log of {} up to {}", at.epoch, at.index),
        Said::Promise(epoch) => format!("that it promised {epoch}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use accord_core::ids::{NodeId, StoreId};
    use accord_core::replica::io::{Body, Entry};
    use accord_core::replica::message::Frame;

    fn append(epoch: u64, index: u64) -> Record {
        let body = Body::Marker { members: vec![NodeId(1)] };
        Record::Append(Entry { epoch: Epoch(epoch), index: Index(index), body })
    }

    fn acknowledges(durable: &mut Durable, epoch: u64, acked: u64) -> bool {
        let frame = Frame { epoch: Epoch(epoch), acked: Index(acked), ..Frame::default() };
        durable.on_said(1, &GroupMessage::Frame(frame).to_payload()).is_ok()
    }

    fn written(records: &[Record]) -> Durable {
        let mut durable = Durable::default();
        assert_eq!(durable.on_started(1, None), Ok(()));
        for (at, record) in records.iter().enumerate() {
            durable.on_written(1, Ticket(at as u64 + 1), record);
        }
        durable
    }

    #[test]
    fn what_is_not_synced_is_not_acknowledged() {
        let mut durable = written(&[append(1, 1), append(1, 2)]);
        assert!(!acknowledges(&mut durable, 1, 1));
        durable.on_synced(1, Ticket(1));
        assert!(acknowledges(&mut durable, 1, 1));
        assert!(!acknowledges(&mut durable, 1, 2));
        durable.on_synced(1, Ticket(2));
        assert!(acknowledges(&mut durable, 1, 2));
    }

    #[test]
    fn a_dropped_entry_does_not_stand_for_the_one_in_its_place() {
        let records = [append(1, 1), append(1, 2), Record::Truncate(Index(2)), append(3, 2)];
        let mut durable = written(&records);
        durable.on_synced(1, Ticket(2));
        assert!(!acknowledges(&mut durable, 3, 2), "the old entry is there, and no new one");
        durable.on_synced(1, Ticket(3));
        assert!(!acknowledges(&mut durable, 3, 2));
        assert!(acknowledges(&mut durable, 3, 1));
        durable.on_synced(1, Ticket(4));
        assert!(acknowledges(&mut durable, 3, 2));
        assert!(written(&records[..2]).on_written(1, Ticket(9), &Record::Truncate(Index(2))));
    }

    #[test]
    fn a_start_finds_what_was_synced_and_perhaps_some_of_what_was_written() {
        let identity = Record::Identity { node: NodeId(1), store: StoreId(7), bootstrap: true };
        let records = [identity, append(1, 1), append(1, 2), append(1, 3)];
        let found = |count: usize| {
            let mut durable = written(&records);
            durable.on_synced(1, Ticket(2));
            let left = Recovered::replay(NodeId(1), records[..count].to_vec()).expect("in order");
            durable.on_started(1, left.as_ref()).is_ok()
        };
        assert_eq!([0, 1, 2, 3, 4].map(found), [false, false, true, true, true]);
        let mut durable = written(&records);
        durable.on_synced(1, Ticket(4));
        durable.forget(1);
        assert_eq!(durable.on_started(1, None), Ok(()), "it was wiped");
    }

    #[test]
    fn a_promise_is_on_the_disk_before_it_is_said_also_if_the_power_goes() {
        let view = accord_core::group::ViewId { seq: 1, representative: NodeId(1), salt: 0 };
        let said = GroupMessage::Promise { view, epoch: Epoch(4) }.to_payload();
        let mut durable = written(&[Record::Promise(Epoch(4))]);
        assert!(durable.on_said(1, &said).is_err());
        durable.on_synced(1, Ticket(1));
        let news = durable.on_said(1, &said).expect("it is synced");
        assert_eq!(news, Some(Said::Promise(Epoch(4))));
        assert_eq!(durable.on_said(1, &said), Ok(None), "said before");
        let blank = Recovered::fresh(StoreId(1), false);
        assert!(durable.on_power_lost(1, Said::Promise(Epoch(4)), Some(&blank)).is_err());
    }
}
