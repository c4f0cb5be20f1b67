//! What a server might write: random but lawful records, and what they must amount to.

use accord_core::ids::{ClusterId, Epoch, Index, LogPosition, NodeId, Stamp, StoreId};
use accord_core::replica::ends::EpochEnds;
use accord_core::replica::io::{Body, Entry, Record, Snapshot};
use accord_core::replica::log::Recovered;
use accord_core::replica::voters::VoterSet;
use accord_core::rng::Rng;
use accord_storage::Options;
use bytes::Bytes;
use std::collections::BTreeMap;

/// The server.
pub const NODE: NodeId = NodeId(7);
/// Its store.
pub const STORE: StoreId = StoreId(0x5707e);

/// Sizes so small that every bound is met.
pub fn tiny() -> Options {
    Options {
        cluster: 0xacc0_4d00,
        cluster_name: String::new(),
        bootstrap: false,
        segment_bytes: 12 << 10,
        frame_bytes_max: 3 << 10,
        chunk_bytes: 2 << 10,
        step_chunks: 2,
        cache_bytes: 1 << 20,
    }
}

/// The first record.
pub fn identity() -> Record {
    Record::Identity { node: NODE, store: STORE, bootstrap: true }
}

/// A batch of `bytes` bytes at a position.
pub fn batch(epoch: u64, index: u64, bytes: usize, fill: u8) -> Record {
    let commands = Bytes::from(vec![fill; bytes]);
    let body =
        Body::Batch { origin: NODE, salt: index, number: index, stamp: Stamp(index), commands };
    Record::Append(Entry { epoch: Epoch(epoch), index: Index(index), body })
}

/// Writes records as a server does.
#[derive(Debug)]
pub struct Author {
    rng: Rng,
    /// The epochs of the log's entries after `floor`.
    epochs: Vec<u64>,
    floor: LogPosition,
    commit: u64,
    checkpointed: u64,
    promised: u64,
}

impl Author {
    /// Of a log that is empty.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            epochs: Vec::new(),
            floor: LogPosition { epoch: Epoch(0), index: Index(0) },
            commit: 0,
            checkpointed: 0,
            promised: 0,
        }
    }

    /// Goes on from what a start found.
    pub fn resumed(seed: u64, found: Option<&Recovered>) -> Self {
        let Some(found) = found else { return Self::new(seed) };
        let floor = found.log.base();
        let indices = floor.index.0 + 1..=found.log.last().index.0;
        let entries = indices.map(|index| found.log.get(Index(index)).expect("it is held"));
        Self {
            rng: Rng::new(seed),
            epochs: entries.map(|entry| entry.epoch.0).collect(),
            floor,
            commit: floor.index.0,
            checkpointed: floor.index.0,
            promised: found.promised.0,
        }
    }

    fn last(&self) -> u64 {
        self.floor.index.0 + self.epochs.len() as u64
    }

    fn epoch_at(&self, index: u64) -> u64 {
        match index - self.floor.index.0 {
            0 => self.floor.epoch.0,
            at => self.epochs[at as usize - 1],
        }
    }

    /// What everything up to a position led to.
    pub fn snapshot(&mut self, epoch: u64, index: u64) -> Snapshot {
        let last = LogPosition { epoch: Epoch(epoch), index: Index(index) };
        let bytes = [0, 1, 100, 2048, 7000, 13_000][self.rng.below(6) as usize];
        let first = self.rng.next_u64() as u8;
        let state: Vec<u8> = (0..bytes).map(|at| first.wrapping_add((at % 251) as u8)).collect();
        // Where pieces end is not where chunks do.
        let state = state.chunks(bytes / 3 + 1).map(Bytes::copy_from_slice).collect();
        let voters = VoterSet {
            cluster: ClusterId(3),
            voters: BTreeMap::from([(NODE, STORE)]),
            ..VoterSet::default()
        };
        let ends = EpochEnds::only(last);
        Snapshot { last, ends, voters, origins: BTreeMap::new(), state }
    }

    /// The next record.
    pub fn next(&mut self) -> Record {
        let last = self.last();
        match self.rng.below(20) {
            0 => {
                self.promised = self.promised.max(self.epoch_at(last)) + 1;
                Record::Promise(Epoch(self.promised))
            }
            1 | 2 if last > self.commit => {
                let from = self.commit + 1 + self.rng.below(last - self.commit);
                self.epochs.truncate((from - 1 - self.floor.index.0) as usize);
                Record::Truncate(Index(from))
            }
            3 | 4 if self.commit > self.checkpointed => {
                let span = self.commit - self.checkpointed;
                self.checkpointed += 1 + self.rng.below(span);
                let epoch = self.epoch_at(self.checkpointed);
                Record::Checkpoint(self.snapshot(epoch, self.checkpointed))
            }
            5 if self.rng.chance(1, 6) => {
                let index = last.max(self.commit) + 1 + self.rng.below(5);
                let epoch = self.epoch_at(last).max(1);
                let snapshot = self.snapshot(epoch, index);
                self.floor = snapshot.last;
                self.epochs.clear();
                (self.commit, self.checkpointed) = (index, index);
                Record::Install(snapshot)
            }
            _ => {
                // Entries of older epochs may still come from the source's log.
                let promised = if self.rng.chance(1, 3) { self.promised } else { 1 };
                let epoch = self.epoch_at(last).max(promised).max(1);
                let sizes = [0, 8, 8, 40, 300, 470, 1100, 5000];
                // Now and then one that no segment has room for.
                let large = self.rng.chance(1, 30);
                let bytes = if large { 14_000 } else { sizes[self.rng.below(8) as usize] };
                self.epochs.push(epoch);
                let index = self.last();
                if self.rng.chance(1, 2) {
                    self.commit = self.commit.max(index - self.rng.below(3).min(index - 1));
                    self.commit = self.commit.max(self.floor.index.0);
                }
                batch(epoch, index, bytes, self.rng.next_u64() as u8)
            }
        }
    }
}

/// What records amount to, told in another way than the engine's.
#[derive(Clone, Debug)]
pub struct Model {
    there: bool,
    promised: u64,
    last: LogPosition,
    entries: BTreeMap<Index, Entry>,
    /// States that a start may begin with. The installed one is the oldest.
    snapshots: Vec<Snapshot>,
    installed: bool,
}

impl Model {
    /// Nothing was written.
    pub fn empty() -> Self {
        let last = LogPosition { epoch: Epoch(0), index: Index(0) };
        let (entries, snapshots) = (BTreeMap::new(), Vec::new());
        Self { there: false, promised: 0, last, entries, snapshots, installed: false }
    }

    /// One more record.
    pub fn write(&mut self, record: &Record) {
        match record {
            Record::Identity { .. } => self.there = true,
            Record::Promise(epoch) => self.promised = epoch.0,
            Record::Append(entry) => {
                self.last = entry.position();
                self.entries.insert(entry.index, entry.clone());
            }
            Record::Truncate(from) => {
                self.entries.split_off(from);
                let floor = self.snapshots.first().map(|snapshot| snapshot.last);
                let before = self.entries.values().next_back().map(Entry::position);
                let zero = LogPosition { epoch: Epoch(0), index: Index(0) };
                self.last = before.or(floor.filter(|_| self.installed)).unwrap_or(zero);
            }
            Record::Checkpoint(snapshot) => self.snapshots.push(snapshot.clone()),
            Record::Install(snapshot) => {
                self.entries.clear();
                self.last = snapshot.last;
                (self.snapshots, self.installed) = (vec![snapshot.clone()], true);
            }
        }
    }

    /// Whether this is what a start found.
    pub fn is(&self, found: Option<&Recovered>) -> Result<(), String> {
        let Some(found) = found else {
            return if self.there { Err("it found nothing".into()) } else { Ok(()) };
        };
        if !self.there || found.fresh || found.store != STORE || !found.bootstrap {
            return Err(format!("another identity: {}", found.store));
        }
        let promised = self.promised.max(found.log.last().epoch.0);
        if found.promised.0 != promised || found.log.last() != self.last {
            return Err(format!(
                "promised {promised}, last {:?}; found {}, {:?}",
                self.last,
                found.promised,
                found.log.last()
            ));
        }
        let base = found.log.base();
        match &found.snapshot {
            None if self.installed || base.index != Index(0) => return Err("no snapshot".into()),
            Some(snapshot) if !self.snapshots.contains(snapshot) || snapshot.last != base => {
                return Err(format!("a snapshot that never was, of {}", snapshot.last.index));
            }
            _ => {}
        }
        let mut entries = self.entries.range(base.index.next()..);
        entries.try_for_each(|(index, entry)| match found.log.get(*index) == Some(entry) {
            true => Ok(()),
            false => Err(format!("entry {index} differs")),
        })
    }
}

/// What every prefix of the records amounts to.
pub fn prefixes(records: &[Record]) -> Vec<Model> {
    let mut models = vec![Model::empty()];
    for record in records {
        let mut next = models.last().expect("never empty").clone();
        next.write(record);
        models.push(next);
    }
    models
}

/// Whether a start found the records up to one of `acked..=written`.
pub fn check(
    models: &[Model],
    acked: usize,
    written: usize,
    found: Option<&Recovered>,
) -> Result<usize, String> {
    let mut why = Vec::new();
    for (at, model) in models[acked..=written].iter().enumerate() {
        match model.is(found) {
            Ok(()) => return Ok(acked + at),
            Err(differs) => why.push(format!("{}: {differs}", acked + at)),
        }
    }
    Err(format!("it is none of the states after {acked}..={written} records: {}", why.join("; ")))
}
