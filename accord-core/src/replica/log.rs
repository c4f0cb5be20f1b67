//! The replicated log in memory: the entries after a base, and what is derived from them.
//!
//! Two logs that hold an entry of the same epoch and index agree up to there (log matching, Ongaro
//! 2014 section 3.5): an epoch has one order, and it follows one source's log. So logs are compared
//! by the last index of each epoch alone; see [`Log::common`].

use super::io::{Body, Entry, Record, Snapshot};
use super::message::SEGMENTS_MAX;
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
    /// The last entry of each epoch, the base's first. Invariant: epochs rise.
    segments: VecDeque<LogPosition>,
    /// Voter sets in the held entries, oldest first.
    voters: VecDeque<(Index, VoterSet)>,
}

impl Log {
    /// An empty log that follows a snapshot.
    pub fn after(snapshot: &Snapshot) -> Self {
        let segments = match snapshot.last.index.0 {
            0 => VecDeque::new(),
            _ => VecDeque::from([snapshot.last]),
        };
        Self {
            base: snapshot.last,
            base_voters: snapshot.voters.clone(),
            segments,
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

    /// Appends the entry that follows.
    ///
    /// # Panics
    /// If it does not follow.
    pub fn append(&mut self, entry: Entry) {
        let last = self.last();
        assert_eq!(entry.index, last.index.next(), "entries follow without gaps");
        assert!(entry.epoch >= last.epoch, "epochs never fall");
        self.bytes += entry.cost_bytes();
        match self.segments.back_mut() {
            Some(segment) if segment.epoch == entry.epoch => segment.index = entry.index,
            _ => self.segments.push_back(entry.position()),
        }
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
        while self.segments.back().is_some_and(|segment| segment.index >= from) {
            let dropped = self.segments.pop_back().expect("just seen");
            let last = self.last();
            if last.epoch == dropped.epoch && last.index.0 > 0 {
                self.segments.push_back(last);
                break;
            }
        }
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
        while self.segments.front().is_some_and(|segment| segment.index < self.base.index) {
            self.segments.pop_front();
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

    /// The last entry of each epoch, oldest first, at most [`SEGMENTS_MAX`] of the newest.
    pub fn segments(&self) -> Vec<LogPosition> {
        let skip = self.segments.len().saturating_sub(SEGMENTS_MAX);
        self.segments.iter().skip(skip).copied().collect()
    }

    /// The largest index up to which this log agrees with one that ends its epochs as given, but at
    /// least `agreed`.
    pub fn common(&self, theirs: &[LogPosition], agreed: Index) -> Index {
        for segment in theirs.iter().rev() {
            let mine = self.segments.iter().rev().find(|mine| mine.epoch == segment.epoch);
            if let Some(mine) = mine {
                return mine.index.min(segment.index).max(agreed);
            }
        }
        agreed
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
        assert_eq!(self.segments.back().copied().unwrap_or_default(), last, "segments end the log");
        assert!(self.voters.back().is_none_or(|(index, _)| *index <= last.index));
    }
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
                let last = self.log.last();
                if entry.index != last.index.next() || entry.epoch < last.epoch {
                    return Err("an entry does not follow the last one");
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
                self.log.trim(snapshot.last.index);
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
    fn logs_agree_up_to_the_shorter_end_of_their_newest_common_epoch() {
        let mine = log(&[1, 1, 2, 2, 4]);
        for (theirs, expected) in [
            (&[1, 1, 2, 2, 4][..], 5),
            (&[1, 1, 2], 3),
            (&[1, 1, 2, 2, 2, 2], 4),
            (&[1, 1, 1, 3, 3], 2),
            (&[3, 3], 0),
            (&[], 0),
        ] {
            assert_eq!(
                mine.common(&log(theirs).segments(), Index(0)),
                Index(expected),
                "{theirs:?}"
            );
        }
    }

    #[test]
    fn truncating_and_trimming_keep_segments_and_voters_true() {
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
            let segments = trimmed.segments();
            assert_eq!(segments.last().unwrap().index, Index(5));
            assert!(trim == 0 || segments[0].epoch <= trimmed.base().epoch, "{segments:?}");
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
