//! A server's disk: a list of records, written in order and synced later, damaged as the plan says.
//!
//! What is written is in the system's memory at once and on the platter when a sync that began
//! later completes. A crash of the process keeps the former, a loss of power only the latter and
//! some of the records after it. Beside the records stands the mark up to which they were synced.
//! Damage below the mark is a disk that has gone bad: it forgot what it promised to keep. Damage
//! above it is an unfinished write, which nobody relied on.
//!
//! This is a cheap model of a store, at the level of whole records. Bytes are not its concern: in
//! some worlds the real store stands in its place, on a simulated disk that tears sectors. See
//! [`crate::world::engine`].
//!
//! Invariant: `synced <= syncing <= records.len()`, and tickets ascend.

use crate::plan::options::Storage;
use crate::plan::rng::Rng;
use crate::world::clock::WorldTime;
use crate::world::engine::Engine;
use accord_core::ids::NodeId;
use accord_core::replica::io::{Record, Ticket};
use accord_core::replica::log::{Recovered, RecoveryError};
use accord_core::time::{Duration, DurationExt};
use std::collections::VecDeque;

/// A disk.
#[derive(Debug)]
pub struct Disk {
    /// In the place of the model, if the world has the real storage code.
    engine: Option<Engine>,
    model: Platter,
    /// Records that the sync under way makes safe; equal to the mark if there is none.
    syncing: usize,
    /// How many records there are with each write that is not synced, and its ticket.
    waiting: VecDeque<(usize, Ticket)>,
    /// What the faults in force add to a sync.
    slowness: Duration,
    /// The next sync fails.
    failing: bool,
    sync_min: Duration,
    sync_max: Duration,
    rng: Rng,
}

/// What is on a disk of the model.
#[derive(Debug, Default)]
pub struct Platter {
    records: Vec<Record>,
    /// Records that a loss of power leaves.
    synced: usize,
    /// The first record with a turned bit.
    rotten: Option<usize>,
}

/// What a disk has on it, without the machine around it.
#[derive(Debug)]
pub enum Platters {
    /// Of the model.
    Model(Platter),
    /// Of the real storage code.
    Engine(Box<Engine>),
}

/// What came of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synced {
    /// Everything up to this ticket is safe.
    UpTo(Ticket),
    /// Nobody knows what is safe.
    Failed,
}

/// What a disk holds when a process opens it.
#[derive(Debug)]
pub enum Opened {
    /// Nothing: a new disk.
    Blank,
    /// A server's records.
    Recovered(Box<Recovered>),
    /// Something that was synced is gone: the disk must be replaced.
    Rotten,
}

impl Disk {
    /// An empty disk whose syncs take from `sync_min` to `sync_max`.
    pub fn new(rng: Rng, sync_min: Duration, sync_max: Duration) -> Self {
        Self {
            engine: None,
            model: Platter::default(),
            syncing: 0,
            waiting: VecDeque::new(),
            slowness: Duration::ZERO,
            failing: false,
            sync_min,
            sync_max,
            rng,
        }
    }

    /// The same with `storage` on it, whose damage is drawn from `rng` if it is the real one.
    #[must_use]
    pub fn with(mut self, storage: Storage, rng: Rng) -> Self {
        self.engine = (storage == Storage::Real).then(|| Engine::new(rng));
        self
    }

    /// Writes a record. Returns when a sync completes, if this began one.
    pub fn write(&mut self, now: WorldTime, ticket: Ticket, record: &Record) -> Option<WorldTime> {
        if let Some(engine) = &mut self.engine {
            engine.push(ticket, record);
            return self.begin_commit(now);
        }
        self.model.records.push(record.clone());
        assert!(self.waiting.back().is_none_or(|(_, last)| *last < ticket), "tickets ascend");
        self.waiting.push_back((self.model.records.len(), ticket));
        if self.syncing > self.model.synced { None } else { Some(self.begin_sync(now)) }
    }

    fn begin_sync(&mut self, now: WorldTime) -> WorldTime {
        self.syncing = self.model.records.len();
        self.sync_end(now)
    }

    /// Begins a commit of the real storage code, if none is under way and something waits.
    fn begin_commit(&mut self, now: WorldTime) -> Option<WorldTime> {
        let engine = self.engine.as_mut()?;
        if engine.is_writing() || !engine.has_waiting() {
            return None;
        }
        engine.begin();
        Some(self.sync_end(now))
    }

    fn sync_end(&mut self, now: WorldTime) -> WorldTime {
        now.after(self.rng.duration(self.sync_min, self.sync_max) + self.slowness)
    }

    /// The sync under way completes. Returns what came of it, and when the next completes, if what
    /// was written meanwhile began one.
    ///
    /// # Panics
    /// If no sync is under way.
    pub fn complete_sync(&mut self, now: WorldTime) -> (Synced, Option<WorldTime>) {
        if let Some(engine) = &mut self.engine {
            let synced = engine.complete(std::mem::take(&mut self.failing));
            let next = if synced == Synced::Failed { None } else { self.begin_commit(now) };
            return (synced, next);
        }
        assert!(self.syncing > self.model.synced, "a sync is under way");
        if std::mem::take(&mut self.failing) {
            self.syncing = self.model.synced;
            return (Synced::Failed, None);
        }
        self.model.synced = self.syncing;
        let mut last = None;
        while let Some((end, ticket)) = self.waiting.front()
            && *end <= self.model.synced
        {
            last = Some(*ticket);
            self.waiting.pop_front();
        }
        let next = (self.model.records.len() > self.model.synced).then(|| self.begin_sync(now));
        (Synced::UpTo(last.expect("a sync covers at least the write that began it")), next)
    }

    /// The process is gone; what it wrote stays in the system's memory.
    pub fn crash(&mut self) {
        if let Some(engine) = &mut self.engine {
            engine.crash();
        }
        self.syncing = self.model.synced;
        self.waiting.clear();
        self.failing = false;
    }

    /// The machine is about to lose power, in the middle of whatever its process does.
    pub fn power_fails(&mut self) {
        if let Some(engine) = &mut self.engine {
            engine.power_fails();
        }
    }

    /// The machine lost power: of what was not synced, the first records are there, or none.
    pub fn lose_power(&mut self) {
        self.crash();
        if let Some(engine) = &mut self.engine {
            return engine.lose_power();
        }
        let unsynced = (self.model.records.len() - self.model.synced) as u64;
        let kept = self.model.synced + self.rng.within(0, unsynced) as usize;
        self.model.records.truncate(kept);
    }

    /// Server `node` starts, and is killed or loses power in the middle of it.
    pub fn fail_start(&mut self, node: NodeId, power: bool) {
        self.crash();
        match &mut self.engine {
            Some(engine) => engine.fail_start(node, power),
            None if power => self.lose_power(),
            None => {}
        }
    }

    /// What a loss of power now would leave to the next start of server `node`. Only for the real
    /// storage code, and only for a part of the times that it is asked: it is much work.
    pub fn after_power_loss(&mut self, node: NodeId) -> Option<Result<Option<Recovered>, String>> {
        self.engine.as_mut()?.after_power_loss(node)
    }

    /// Turns one bit in any record. False if there is none.
    pub fn rot(&mut self) -> bool {
        if let Some(engine) = &mut self.engine {
            return engine.rot();
        }
        if self.model.records.is_empty() {
            return false;
        }
        let at = self.rng.below(self.model.records.len() as u64) as usize;
        self.model.rotten = Some(self.model.rotten.map_or(at, |other| other.min(at)));
        true
    }

    /// The disk is replaced by an empty one.
    pub fn wipe(&mut self) {
        self.crash();
        if let Some(engine) = &mut self.engine {
            engine.replace();
        }
        self.model = Platter::default();
        self.syncing = 0;
    }

    /// The disk is exchanged for one with nothing on it.
    pub fn take_out(&mut self) -> Platters {
        if let Some(engine) = &mut self.engine {
            return Platters::Engine(Box::new(engine.replace()));
        }
        let model = std::mem::take(&mut self.model);
        self.wipe();
        Platters::Model(model)
    }

    /// The disk is exchanged for one that was taken out before.
    pub fn put_in(&mut self, platters: Platters) {
        self.wipe();
        match platters {
            Platters::Model(model) => {
                self.syncing = model.synced;
                self.model = model;
            }
            Platters::Engine(engine) => self.engine = Some(*engine),
        }
    }

    /// From now on, each sync takes so much longer, until the same is taken back.
    pub fn begin_slowness(&mut self, by: Duration) {
        self.slowness += by;
    }

    /// Takes back a slowness.
    ///
    /// # Panics
    /// If it was never begun.
    pub fn end_slowness(&mut self, by: Duration) {
        let left = self.slowness.to_nanos().checked_sub(by.to_nanos());
        self.slowness = Duration::from_nanos(left.expect("a fault ends once, after it began"));
    }

    /// The next sync fails, unless this is taken back.
    pub fn set_failing(&mut self, failing: bool) {
        self.failing = failing;
    }

    /// What a starting process of server `node` finds. Unfinished writes are cut off, and what
    /// remains is synced before anybody relies on it.
    ///
    /// # Errors
    /// If whole records make no sense together, which is a fault of the server that wrote them, or
    /// if the storage code finds damage that nobody did.
    pub fn open(&mut self, node: NodeId) -> Result<Opened, String> {
        if let Some(engine) = &mut self.engine {
            return engine.open(node);
        }
        let model = &mut self.model;
        match model.rotten.take() {
            Some(at) if at < model.synced => return Ok(Opened::Rotten),
            Some(at) => model.records.truncate(at),
            None => {}
        }
        model.synced = model.records.len();
        self.syncing = model.synced;
        let recovered = Recovered::replay(node, model.records.clone())
            .map_err(|error: RecoveryError| error.to_string())?;
        Ok(match recovered {
            None => Opened::Blank,
            Some(recovered) => Opened::Recovered(Box::new(recovered)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::rng::Concern;
    use accord_core::ids::{Epoch, StoreId};

    const NODE: NodeId = NodeId(1);

    fn disk(seed: u64) -> Disk {
        let (min, max) = (Duration::from_micros(10), Duration::from_micros(20));
        Disk::new(Rng::of(seed, Concern::Disk, 1), min, max)
    }

    fn identity() -> Record {
        Record::Identity { node: NODE, store: StoreId(7), bootstrap: true }
    }

    /// Writes an identity and promises up to `count`, and syncs none.
    fn written(seed: u64, count: u64) -> Disk {
        let mut disk = disk(seed);
        disk.write(WorldTime::START, Ticket(1), &identity());
        for epoch in 1..=count {
            disk.write(WorldTime::START, Ticket(1 + epoch), &Record::Promise(Epoch(epoch)));
        }
        disk
    }

    fn promised(disk: &mut Disk) -> Option<u64> {
        match disk.open(NODE).expect("records in order") {
            Opened::Blank => None,
            Opened::Recovered(recovered) => Some(recovered.promised.0),
            Opened::Rotten => panic!("rotten"),
        }
    }

    #[test]
    fn a_sync_covers_what_was_written_before_it_began() {
        let mut disk = disk(1);
        let done = disk.write(WorldTime::START, Ticket(1), &identity()).expect("begins a sync");
        assert_eq!(disk.write(WorldTime::START, Ticket(2), &Record::Promise(Epoch(1))), None);
        let (synced, next) = disk.complete_sync(done);
        assert_eq!(synced, Synced::UpTo(Ticket(1)));
        let (synced, last) = disk.complete_sync(next.expect("the second write waits"));
        assert_eq!((synced, last), (Synced::UpTo(Ticket(2)), None));
    }

    #[test]
    fn a_crash_keeps_what_was_written_and_a_loss_of_power_what_was_synced() {
        let mut crashed = written(1, 5);
        crashed.crash();
        assert_eq!(promised(&mut crashed), Some(5));
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..300 {
            let mut disk = written(seed, 5);
            let (synced, next) = disk.complete_sync(WorldTime::START);
            assert_eq!((synced, next.is_some()), (Synced::UpTo(Ticket(1)), true));
            disk.lose_power();
            seen.insert(promised(&mut disk).expect("the identity was synced"));
        }
        assert_eq!(seen, (0..=5).collect(), "any number of records after the mark is kept");
    }

    #[test]
    fn a_turned_bit_below_the_mark_is_noticed() {
        for seed in 0..200 {
            let mut disk = written(seed, 5);
            disk.complete_sync(WorldTime::START);
            disk.complete_sync(WorldTime::START);
            assert!(disk.rot());
            assert!(matches!(disk.open(NODE), Ok(Opened::Rotten)), "seed {seed}");
        }
    }

    #[test]
    fn a_disk_taken_out_comes_back_as_it_was() {
        let mut disk = written(1, 3);
        let platters = disk.take_out();
        assert_eq!(promised(&mut disk), None);
        disk.write(WorldTime::START, Ticket(9), &identity());
        disk.put_in(platters);
        assert_eq!(promised(&mut disk), Some(3));
    }

    #[test]
    fn a_failed_sync_says_so_once() {
        let mut disk = written(1, 0);
        disk.set_failing(true);
        assert_eq!(disk.complete_sync(WorldTime::START), (Synced::Failed, None));
        disk.wipe();
        assert_eq!(promised(&mut disk), None);
    }
}
