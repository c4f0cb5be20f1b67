//! Property tests: a store that lives and dies many times, in every way, keeps what it promised.

use crate::script::{Author, NODE, check, identity, prefixes, tiny};
use accord_core::replica::io::Record;
use accord_core::replica::log::Recovered;
use accord_core::rng::Rng;
use accord_storage::simdisk::SimDisk;
use accord_storage::{OpenError, Opened, Store, Worker};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// The process is killed between two calls.
    Killed,
    /// The power goes between two calls.
    PowerLost,
    /// The power goes after some more changes, in the middle of a call.
    Cut,
    /// The process is killed in the middle of a call.
    KilledInside,
    /// A sync fails, and the process stops itself.
    SyncFailed,
    /// A sync fails, the process stops itself, starts again, and then the power goes.
    SyncFailedThenPowerLost,
    /// The process ends as it should.
    Closed,
}

const ENDS: [End; 7] = [
    End::Killed,
    End::KilledInside,
    End::PowerLost,
    End::Cut,
    End::SyncFailed,
    End::SyncFailedThenPowerLost,
    End::Closed,
];

/// A disk, and what was written to it.
struct Story {
    disk: SimDisk,
    records: Vec<Record>,
    acked: usize,
    rng: Rng,
}

impl Story {
    fn new(seed: u64) -> Self {
        Self { disk: SimDisk::new(seed), records: Vec::new(), acked: 0, rng: Rng::new(!seed) }
    }

    fn open(&mut self) -> Result<Opened, OpenError> {
        Store::open(self.disk.clone(), NODE, tiny())
    }

    /// What is found must be what was written; what is not found is forgotten.
    fn judge(&mut self, found: Option<&Recovered>) -> Result<(), String> {
        let models = prefixes(&self.records);
        self.acked = check(&models, self.acked, self.records.len(), found)?;
        self.records.truncate(self.acked);
        Ok(())
    }

    /// One commit and some work behind it. False if the disk failed.
    fn step(&mut self, store: &mut Store, worker: &mut Worker, author: &mut Author) -> bool {
        let mut batch: Vec<Record> = (0..=self.rng.below(5)).map(|_| author.next()).collect();
        if self.records.is_empty() {
            batch.insert(0, identity());
        }
        self.records.extend(batch.iter().cloned());
        if store.commit(&batch).is_err() {
            return false;
        }
        self.acked = self.records.len();
        (0..self.rng.below(12)).all(|_| worker.step().is_ok())
    }

    fn live(&mut self, end: End) -> Result<(), String> {
        let opened = self.open().map_err(|error| format!("before {end:?}: {error}"))?;
        self.judge(opened.recovered.as_ref())?;
        let mut author = Author::resumed(self.rng.next_u64(), opened.recovered.as_ref());
        let (mut store, mut worker) = (opened.store, opened.worker);
        for _ in 0..self.rng.below(25) {
            assert!(self.step(&mut store, &mut worker, &mut author), "the disk is healthy");
        }
        match end {
            End::Killed | End::PowerLost if !self.records.is_empty() => {
                let batch = [author.next(), author.next()];
                self.records.extend(batch.iter().cloned());
                store.write(&batch).expect("the disk is healthy");
            }
            End::Cut | End::KilledInside => self.disk.cut_after(Some(self.rng.below(40))),
            End::SyncFailed | End::SyncFailedThenPowerLost => self.disk.set_failing(true),
            _ => {}
        }
        if !matches!(end, End::Killed | End::PowerLost | End::Closed) {
            while self.step(&mut store, &mut worker, &mut author) {}
            assert!(store.commit(&[]).is_err(), "a store that failed stays failed");
        }
        match end {
            End::PowerLost | End::Cut => self.disk.lose_power(),
            End::Closed => {}
            _ => self.disk.crash(),
        }
        drop((store, worker));
        if end == End::SyncFailedThenPowerLost {
            let opened = self.open().map_err(|error| format!("after {end:?}: {error}"))?;
            self.judge(opened.recovered.as_ref())?;
            // What a start has found, others may already rely on.
            self.disk.lose_power();
        }
        Ok(())
    }
}

/// Some lives on one disk. Returns the changes that the disk saw, as a digest.
fn story(seed: u64, ends: &[End]) -> Result<u64, String> {
    let mut story = Story::new(seed);
    ends.iter().try_for_each(|end| story.live(*end))?;
    let opened = story.open().map_err(|error| format!("at the end: {error}"))?;
    story.judge(opened.recovered.as_ref())?;
    Ok(story.disk.digest())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]

    // Claims: C-store-durable, C-store-prefix
    #[test]
    fn what_was_durable_is_there_after_any_end_and_the_rest_is_a_prefix(
        seed: u64,
        ends in prop::collection::vec(prop::sample::select(&ENDS[..]), 1..8),
    ) {
        prop_assert_eq!(story(seed, &ends).err(), None);
    }
}

#[test]
fn the_same_seed_gives_the_same_changes_of_the_disk() {
    for seed in 0..5 {
        let ends = [End::Cut, End::PowerLost, End::SyncFailed, End::Killed, End::Cut];
        assert_eq!(story(seed, &ends), story(seed, &ends));
        assert_ne!(story(seed, &ends), story(seed + 100, &ends));
    }
}

/// The test of the test: on a disk that says it synced and did not, the property does not hold.
#[test]
fn a_disk_that_lies_is_caught() {
    let mut caught = BTreeMap::new();
    for seed in 0..40 {
        let mut story = Story::new(seed);
        story.live(End::Closed).expect("the disk is honest so far");
        story.disk.set_lying(true);
        let told = story.live(End::PowerLost).and_then(|()| {
            story.disk.set_lying(false);
            story.live(End::Closed)
        });
        *caught.entry(told.is_err()).or_insert(0) += 1;
    }
    assert!(caught[&true] >= 30, "{caught:?}");
}
