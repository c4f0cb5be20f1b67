//! The replicated log in memory: the entries after a base, and what is derived from them.
//!
//! Two logs are compared by where their epochs end: see [`super::ends`].

use super::ends::EpochEnds;
use super::history::{History, Standing};
use super::io::{Body, Entry, Record, Snapshot};
use super::voters::VoterSet;
use crate::ids::{Epoch, Index, LogPosition, NodeId, StoreId};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// The log of one server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Log {
    /// The last entry that is no longer held.
    base: LogPosition,
    /// The voter set at the base.
    base_voters: VoterSet,
    /// Invariant: indices follow the base without gaps, epochs never fall.
    entries: VecDeque<Entry>,
    /// Sum of the entries' costs.
    bytes: usize,
    /// Also of epochs before the base.
    ends: EpochEnds,
    /// Voter sets in the held entries, oldest first.
    voters: VecDeque<(Index, VoterSet)>,
}

impl Log {
    /// An empty log that follows a snapshot.
    pub fn after(snapshot: &Snapshot) -> Self {
        Self {
            base: snapshot.last,
            base_voters: snapshot.voters.clone(),
            ends: snapshot.ends.clone(),
            ..Self::default()
        }
    }

    /// The last entry that is no longer held.
    pub const fn base(&self) -> LogPosition {
        self.base
    }

    /// The end of the log.
    pub fn last(&self) -> LogPosition {
        self.entries.back().map_or(self.base, Entry::position)
    }

    /// About how much memory the held entries take, in bytes.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The latest voter set, committed or not.
    pub fn voters(&self) -> &VoterSet {
        self.voters.back().map_or(&self.base_voters, |(_, set)| set)
    }

    /// Where the latest voter set stands; the base's index if it is not in the held entries.
    pub fn voters_index(&self) -> Index {
        self.voters.back().map_or(self.base.index, |(index, _)| *index)
    }

    /// The voter set in force at `index`, which must not lie before the base.
    pub fn voters_at(&self, index: Index) -> &VoterSet {
        let latest = self.voters.iter().rev().find(|(at, _)| *at <= index);
        latest.map_or(&self.base_voters, |(_, set)| set)
    }

    /// The entry at `index`, if it is held.
    pub fn get(&self, index: Index) -> Option<&Entry> {
        let offset = index.0.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(offset as usize)
    }

    /// The epoch of the entry at `index`, also for the base.
    pub fn position_at(&self, index: Index) -> Option<LogPosition> {
        if index == self.base.index {
            Some(self.base)
        } else {
            self.get(index).map(Entry::position)
        }
    }

    /// Why these entries cannot follow the one at `common`, if they cannot.
    pub fn unfit(&self, common: Index, entries: &[Entry]) -> Option<&'static str> {
        let Some(mut last) = self.position_at(common) else { return Some("they leave a gap") };
        let mut history = &self.voters_at(common).history;
        for entry in entries {
            if let Some(why) = unfit(last, history, entry) {
                return Some(why);
            }
            last = entry.position();
            if let Body::Voters(set) = &entry.body {
                history = &set.history;
            }
        }
        None
    }

    /// Appends the entry that follows.
    ///
    /// # Panics
    /// If it does not follow.
    pub fn append(&mut self, entry: Entry) {
        let why = unfit(self.last(), &self.voters().history, &entry);
        assert_eq!(why, None, "{} follows {}", entry.position(), self.last());
        self.bytes += entry.cost_bytes();
        self.ends.push(entry.position());
        if let Body::Voters(set) = &entry.body {
            self.voters.push_back((entry.index, set.clone()));
        }
        self.entries.push_back(entry);
    }

    /// Drops the entries from `from` on.
    ///
    /// # Panics
    /// If `from` is not after the base.
    pub fn truncate(&mut self, from: Index) {
        assert!(from > self.base.index, "what a snapshot contains cannot be dropped");
        while self.last().index >= from {
            let entry = self.entries.pop_back().expect("an entry after the base is held");
            self.bytes -= entry.cost_bytes();
        }
        self.ends.truncate(self.last());
        while self.voters.back().is_some_and(|(index, _)| *index >= from) {
            self.voters.pop_back();
        }
    }

    /// Forgets the entries up to and including `index`, which must be held.
    pub fn trim(&mut self, index: Index) {
        while self.base.index < index {
            let entry = self.entries.pop_front().expect("only held entries are trimmed");
            self.bytes -= entry.cost_bytes();
            self.base = entry.position();
            if self.voters.front().is_some_and(|(at, _)| *at <= entry.index) {
                self.base_voters = self.voters.pop_front().expect("just seen").1;
            }
        }
    }

    /// The last entry to forget so that at most `bytes` are left, but none after `up_to` is
    /// forgotten.
    pub fn trim_point(&self, up_to: Index, bytes: usize) -> Index {
        let mut left = self.bytes;
        let mut point = self.base.index;
        for entry in &self.entries {
            if left <= bytes || entry.index > up_to {
                break;
            }
            left -= entry.cost_bytes();
            point = entry.index;
        }
        point
    }

    /// Where its epochs end.
    pub const fn ends(&self) -> &EpochEnds {
        &self.ends
    }

    /// Entries after `after`, up to `until` and about `bytes_max` bytes, but at least one.
    pub fn slice(&self, after: Index, until: Index, bytes_max: usize) -> Vec<Entry> {
        let mut bytes = 0;
        let mut slice = Vec::new();
        let mut index = after.next();
        while let Some(entry) = self.get(index).filter(|entry| entry.index <= until) {
            bytes += entry.cost_bytes();
            if bytes > bytes_max && !slice.is_empty() {
                break;
            }
            slice.push(entry.clone());
            index = index.next();
        }
        slice
    }

    /// Asserts the invariants that cost little, at every step.
    pub fn check(&self) {
        let last = self.last();
        assert_eq!(last.index.0, self.base.index.0 + self.entries.len() as u64);
        self.ends.check(last);
        assert!(self.voters.back().is_none_or(|(index, _)| *index <= last.index));
        let history = &self.voters().history;
        assert!(history.contains(last.epoch), "a log has the recovery that began its last era");
    }
}

/// Why the entry cannot follow `last`, where `history` is in force, if it cannot.
fn unfit(last: LogPosition, history: &History, entry: &Entry) -> Option<&'static str> {
    if entry.index != last.index.next() {
        return Some("an entry does not follow the last one");
    }
    if entry.epoch < last.epoch {
        return Some("the epoch of an entry is below the last one");
    }
    let history = match &entry.body {
        Body::Voters(set) => match history.standing(&set.history) {
            Standing::Same => history,
            Standing::ContinuedBy(next) if next.fork == last => &set.history,
            _ => return Some("an entry changes the history without a recovery"),
        },
        _ => history,
    };
    (!history.contains(entry.epoch)).then_some("an entry is of another era than its log")
}

/// What a server found when it started: an empty store, or what its disk had.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recovered {
    /// The incarnation.
    pub store: StoreId,
    /// Highest epoch promised.
    pub promised: Epoch,
    /// What the log follows.
    pub snapshot: Option<Snapshot>,
    /// The log after the snapshot.
    pub log: Log,
    /// True if a new cluster may be formed with this store.
    pub bootstrap: bool,
    /// True if the store is new, so that its identity is still to be written.
    pub fresh: bool,
}

/// Why the records of a disk make no sense together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    /// The first record does not say whose disk this is.
    #[error("the first record is not the identity of a server")]
    NoIdentity,
    /// The disk is another server's.
    #[error("this is the disk of server {found}, not of {expected}")]
    OtherServer {
        /// Whose it is.
        found: NodeId,
        /// Who asks.
        expected: NodeId,
    },
    /// A record does not follow from those before it.
    #[error("record {number} does not follow from those before it: {why}")]
    Inconsistent {
        /// Its number, from 0.
        number: usize,
        /// What is wrong.
        why: &'static str,
    },
}

impl Recovered {
    /// An empty store with a fresh incarnation.
    pub fn fresh(store: StoreId, bootstrap: bool) -> Self {
        Self {
            store,
            promised: Epoch(0),
            snapshot: None,
            log: Log::default(),
            bootstrap,
            fresh: true,
        }
    }

    /// What the records of a disk, in the order they were written, amount to. `None` if there are
    /// none.
    ///
    /// # Errors
    /// [`RecoveryError`] if they are not what a server of this name writes.
    pub fn replay(
        node: NodeId,
        records: impl IntoIterator<Item = Record>,
    ) -> Result<Option<Self>, RecoveryError> {
        let mut records = records.into_iter();
        let mut recovered = match records.next() {
            None => return Ok(None),
            Some(Record::Identity { node: found, .. }) if found != node => {
                return Err(RecoveryError::OtherServer { found, expected: node });
            }
            Some(Record::Identity { store, bootstrap, .. }) => {
                Self { fresh: false, ..Self::fresh(store, bootstrap) }
            }
            Some(_) => return Err(RecoveryError::NoIdentity),
        };
        for (number, record) in records.enumerate() {
            let replayed = recovered.replay_record(record);
            replayed.map_err(|why| RecoveryError::Inconsistent { number: number + 1, why })?;
        }
        recovered.promised = recovered.promised.max(recovered.log.last().epoch);
        Ok(Some(recovered))
    }

    fn replay_record(&mut self, record: Record) -> Result<(), &'static str> {
        match record {
            Record::Identity { .. } => return Err("a second identity"),
            Record::Promise(epoch) if epoch <= self.promised => return Err("a promise falls"),
            Record::Promise(epoch) => self.promised = epoch,
            Record::Append(entry) => {
                if let Some(why) = unfit(self.log.last(), &self.log.voters().history, &entry) {
                    return Err(why);
                }
                self.log.append(entry);
            }
            Record::Truncate(from) => {
                if from <= self.log.base().index || from > self.log.last().index {
                    return Err("a truncation outside the log");
                }
                self.log.truncate(from);
            }
            Record::Checkpoint(snapshot) => {
                if self.log.position_at(snapshot.last.index) != Some(snapshot.last) {
                    return Err("a checkpoint outside the log");
                }
                // As a store does that keeps nothing of what the snapshot stands for.
                let rest = self.log.slice(snapshot.last.index, Index(u64::MAX), usize::MAX);
                self.log = Log::after(&snapshot);
                if let Some(why) = self.log.unfit(snapshot.last.index, &rest) {
                    return Err(why);
                }
                rest.into_iter().for_each(|entry| self.log.append(entry));
                self.snapshot = Some(snapshot);
            }
            Record::Install(snapshot) => {
                self.log = Log::after(&snapshot);
                self.snapshot = Some(snapshot);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(epochs: &[u64]) -> Log {
        let mut log = Log::default();
        for (at, epoch) in epochs.iter().enumerate() {
            let body = Body::Marker { members: Vec::new() };
            log.append(Entry { epoch: Epoch(*epoch), index: Index(at as u64 + 1), body });
            log.check();
        }
        log
    }

    #[test]
    fn logs_are_compared_also_before_what_they_still_hold() {
        let mut mine = log(&[1, 1, 2, 2, 4]);
        mine.trim(Index(4));
        let common = |theirs: &[u64]| mine.ends().common(log(theirs).ends());
        assert_eq!(common(&[1, 1, 1, 3]), Some(Index(2)), "they parted");
        assert_eq!(common(&[1, 1, 2]), Some(Index(3)), "it is behind");
    }

    #[test]
    fn truncating_and_trimming_keep_ends_and_voters_true() {
        for cut in 1..=6 {
            let mut truncated = log(&[1, 1, 2, 2, 4]);
            truncated.truncate(Index(cut));
            truncated.check();
            assert_eq!(truncated, log(&[1, 1, 2, 2, 4][..cut as usize - 1]));
        }
        for trim in 0..=5 {
            let mut trimmed = log(&[1, 1, 2, 2, 4]);
            trimmed.trim(Index(trim));
            trimmed.check();
            assert_eq!(trimmed.last().index, Index(5));
            assert_eq!(trimmed.get(Index(trim)), None);
            assert_eq!(trimmed.ends(), log(&[1, 1, 2, 2, 4]).ends());
        }
    }

    #[test]
    fn what_a_disk_says_out_of_order_is_refused_and_named() {
        let identity = Record::Identity { node: NodeId(1), store: StoreId(7), bootstrap: false };
        let replay = |records: &[Record]| Recovered::replay(NodeId(1), records.to_vec());
        assert_eq!(replay(&[]), Ok(None));
        assert_eq!(replay(&[Record::Truncate(Index(1))]), Err(RecoveryError::NoIdentity));
        let other = Recovered::replay(NodeId(2), [identity.clone()]);
        assert!(matches!(other, Err(RecoveryError::OtherServer { .. })));
        let gap =
            Entry { epoch: Epoch(1), index: Index(2), body: Body::Marker { members: Vec::new() } };
        let got = replay(&[identity, Record::Append(gap)]);
        assert!(matches!(got, Err(RecoveryError::Inconsistent { number: 1, .. })), "{got:?}");
    }
}
