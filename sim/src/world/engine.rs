//! A server's disk on which the real storage code runs: `accord-net`'s store on its simulated disk.
//!
//! It costs more than the model in [`crate::world::disk`], so only some worlds have it. Time is the
//! world's: a commit is written when a sync begins and synced when it completes, and the worker
//! does a few steps after each. So a checkpoint lies half written between many events, and a crash
//! or a loss of power meets it there. The middle of a single write is met too: when the power
//! fails, what was about to be done is begun and cut off ([`Engine::power_fails`]).
//!
//! Invariant: damage that nobody did is a fault of the storage code, and stops the campaign.

use crate::plan::rng::Rng;
use crate::world::disk::{Opened, Synced};
use accord_core::ids::NodeId;
use accord_core::replica::io::{Record, Ticket};
use accord_core::replica::log::Recovered;
use accord_storage::simdisk::SimDisk;
use accord_storage::{OpenError, Options, Store, Worker};

/// Steps of the worker after a commit, at most.
const STEPS_MAX: u64 = 6;
/// Changes of the disk that are still made when the power fails, at most.
const LAST_CHANGES_MAX: u64 = 24;

/// Changes of the disk that a start makes which is cut off, at most.
const START_CHANGES_MAX: u64 = 12;
/// After the start of a process, what it says is tried so often in any case.
const ASKED_FIRST: u64 = 2;
/// Then one in so many.
const ASKED_EVERY: u64 = 32;

/// A disk with a store on it.
#[derive(Debug)]
pub struct Engine {
    disk: SimDisk,
    /// The process's part: gone with it.
    process: Option<(Store, Worker)>,
    /// Records that no commit has taken up yet.
    waiting: Vec<(Ticket, Record)>,
    /// The last of those that the commit under way has taken up.
    writing: Option<Ticket>,
    /// The commit under way has failed already.
    failed: bool,
    /// A bit was turned since the disk was put in.
    rotten: bool,
    /// How often this process was asked what a loss of power would leave.
    asked: u64,
    rng: Rng,
}

/// Sizes so small that every bound is met.
fn options() -> Options {
    Options {
        cluster: 0x51b,
        cluster_name: String::new(),
        bootstrap: false,
        segment_bytes: 16 << 10,
        frame_bytes_max: 4 << 10,
        chunk_bytes: 1 << 10,
        step_chunks: 2,
        cache_bytes: 1 << 20,
    }
}

impl Engine {
    /// An empty disk, whose damage is drawn from `rng`.
    pub fn new(mut rng: Rng) -> Self {
        let disk = SimDisk::new(rng.next_u64());
        let (process, waiting, writing) = (None, Vec::new(), None);
        Self { disk, process, waiting, writing, failed: false, rotten: false, asked: 0, rng }
    }

    /// True if a commit is under way.
    pub const fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// True if records wait for a commit.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A record that the next commit takes up.
    pub fn push(&mut self, ticket: Ticket, record: &Record) {
        self.waiting.push((ticket, record.clone()));
    }

    /// Begins a commit of all that waits.
    ///
    /// # Panics
    /// If nothing does, or if there is no process.
    pub fn begin(&mut self) {
        assert!(!self.is_writing(), "one commit at a time");
        self.writing = self.waiting.last().map(|(ticket, _)| *ticket);
        let records: Vec<Record> = self.waiting.drain(..).map(|(_, record)| record).collect();
        assert!(!records.is_empty(), "a commit has records");
        let (store, _) = self.process.as_mut().expect("a process writes");
        self.failed = store.write(&records).is_err();
    }

    /// Ends the commit under way. `failing`: its sync fails.
    ///
    /// # Panics
    /// If there is none.
    pub fn complete(&mut self, failing: bool) -> Synced {
        let ticket = self.writing.take().expect("a commit is under way");
        let (store, worker) = self.process.as_mut().expect("a process writes");
        self.disk.set_failing(failing);
        let mut synced = !self.failed && store.sync().is_ok() && !failing;
        self.disk.set_failing(false);
        for _ in 0..self.rng.below(STEPS_MAX) {
            synced = synced && worker.step().is_ok();
        }
        if synced { Synced::UpTo(ticket) } else { Synced::Failed }
    }

    /// The power is about to go: what the process has under way and what it would do next is begun,
    /// and cut off at some change of the disk.
    pub fn power_fails(&mut self) {
        let waiting: Vec<Record> = self.waiting.drain(..).map(|(_, record)| record).collect();
        let Some((store, worker)) = &mut self.process else { return };
        self.disk.cut_after(Some(self.rng.below(LAST_CHANGES_MAX)));
        // All of it fails sooner or later, or is done and nobody is told.
        let _ = store.sync().and_then(|()| store.commit(&waiting)).and_then(|()| worker.run());
    }

    /// The process is gone; what it wrote stays in the system's memory.
    pub fn crash(&mut self) {
        self.disk.crash();
        self.process = None;
        self.waiting.clear();
        (self.writing, self.failed, self.asked) = (None, false, 0);
    }

    /// The machine lost power.
    pub fn lose_power(&mut self) {
        self.crash();
        self.disk.lose_power();
    }

    /// Server `node` starts, and is killed or loses power in the middle of it.
    pub fn fail_start(&mut self, node: NodeId, power: bool) {
        self.crash();
        self.disk.cut_after(Some(self.rng.below(START_CHANGES_MAX)));
        // Cut off sooner or later, or done just before the end.
        drop(Store::open(self.disk.clone(), node, options()));
        match power {
            true => self.lose_power(),
            false => self.crash(),
        }
    }

    /// What a loss of power now would leave, on a copy of the disk: asked in earnest for the first
    /// words of a process, and for one in some dozens of the others.
    pub fn after_power_loss(&mut self, node: NodeId) -> Option<Result<Option<Recovered>, String>> {
        self.asked += 1;
        let early = self.asked <= ASKED_FIRST;
        if self.rotten || !(early || self.asked.is_multiple_of(ASKED_EVERY)) {
            return None;
        }
        let copy = self.disk.fork(self.asked);
        copy.lose_power();
        let opened = Store::open(copy, node, options());
        Some(opened.map(|opened| opened.recovered).map_err(|error| error.to_string()))
    }

    /// Turns one bit anywhere. False if there is none.
    pub fn rot(&mut self) -> bool {
        let turned = self.disk.rot().is_some();
        self.rotten |= turned;
        turned
    }

    /// The disk is replaced by an empty one. Returns the old one, which is as after a loss of
    /// power.
    pub fn replace(&mut self) -> Self {
        self.lose_power();
        let rng = Rng::from_seed(self.rng.next_u64());
        std::mem::replace(self, Self::new(rng))
    }

    /// What a starting process of server `node` finds.
    ///
    /// # Errors
    /// Anything that a sound store does not find, for people.
    pub fn open(&mut self, node: NodeId) -> Result<Opened, String> {
        self.crash();
        match Store::open(self.disk.clone(), node, options()) {
            Ok(opened) => {
                self.process = Some((opened.store, opened.worker));
                let recovered = opened.recovered.map(Box::new);
                Ok(recovered.map_or(Opened::Blank, Opened::Recovered))
            }
            Err(OpenError::Damaged { .. }) if self.rotten => Ok(Opened::Rotten),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::rng::Concern;
    use accord_core::ids::{Epoch, StoreId};
    use std::collections::BTreeSet;

    const NODE: NodeId = NodeId(1);

    /// An engine whose identity is durable, with `promises` promises written and not synced.
    fn written(seed: u64, promises: u64) -> Engine {
        let mut engine = Engine::new(Rng::of(seed, Concern::Disk, 1));
        assert!(matches!(engine.open(NODE), Ok(Opened::Blank)));
        let identity = Record::Identity { node: NODE, store: StoreId(7), bootstrap: true };
        engine.push(Ticket(1), &identity);
        engine.begin();
        assert_eq!(engine.complete(false), Synced::UpTo(Ticket(1)));
        for epoch in 1..=promises {
            engine.push(Ticket(1 + epoch), &Record::Promise(Epoch(epoch)));
        }
        if promises > 0 {
            engine.begin();
        }
        engine
    }

    fn promised(engine: &mut Engine) -> Option<u64> {
        match engine.open(NODE).expect("nothing is damaged") {
            Opened::Blank => None,
            Opened::Recovered(recovered) => Some(recovered.promised.0),
            Opened::Rotten => panic!("rotten"),
        }
    }

    #[test]
    fn what_was_synced_survives_and_what_was_not_is_there_or_not() {
        let mut seen = BTreeSet::new();
        for seed in 0..40 {
            let mut engine = written(seed, 3);
            if seed % 2 == 0 {
                engine.power_fails();
            }
            engine.lose_power();
            seen.insert(promised(&mut engine));
            let mut engine = written(seed, 3);
            assert_eq!(engine.complete(false), Synced::UpTo(Ticket(4)));
            engine.lose_power();
            assert_eq!(promised(&mut engine), Some(3));
        }
        assert_eq!(seen, BTreeSet::from([Some(0), Some(3)]));
    }

    #[test]
    fn a_failed_sync_says_so_and_the_next_start_finds_one_of_both() {
        let mut engine = written(1, 3);
        assert_eq!(engine.complete(true), Synced::Failed);
        engine.lose_power();
        assert!([Some(0), Some(3)].contains(&promised(&mut engine)));
    }

    #[test]
    fn rot_is_found_or_harmless_and_a_replaced_disk_comes_back() {
        let mut found = 0;
        for seed in 0..60 {
            let mut engine = written(seed, 3);
            engine.complete(false);
            engine.crash();
            assert!(engine.rot());
            match engine.open(NODE).expect("damage that was done") {
                Opened::Rotten => found += 1,
                Opened::Recovered(recovered) => assert_eq!(recovered.promised, Epoch(3)),
                Opened::Blank => panic!("it is gone"),
            }
        }
        assert!(found > 10, "{found}");
        let mut engine = written(1, 3);
        engine.complete(false);
        let mut old = engine.replace();
        assert_eq!((promised(&mut engine), promised(&mut old)), (None, Some(3)));
    }
}
