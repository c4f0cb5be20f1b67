//! Many worlds on all cores, one world a thread.
//!
//! Seeds are taken in order and results are put together in order, so a campaign's outcome is a
//! function of its first seed, its length and the caller's overrides: the number of threads decides
//! how long it takes and nothing else. At a violation, no further seeds are begun; those before it
//! are finished, and the lowest seed that fails is the one reported. A campaign whose time is over
//! or that is asked to stop ends in the same way: only how many worlds it has depends on the
//! machine.

pub mod interrupt;
pub mod shrink;

use crate::campaign::interrupt::Stop;
use crate::judge::Violation;
use crate::judge::counts::Counts;
use crate::plan::{Overrides, Plan};
use crate::world::Run;
use crate::worlds::{self, WorldKind};
use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What to run.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// In which world.
    pub world: WorldKind,
    /// The first seed.
    pub first: u64,
    /// How many worlds; fewer if there are not so many seeds from the first on.
    pub count: u64,
    /// What is the same in all of them.
    pub overrides: Overrides,
    /// Worlds at once.
    pub threads: NonZero<usize>,
    /// Time after which no world is begun; the first always is.
    pub budget: Option<Duration>,
    /// No world is begun once this is asked.
    pub stop: Stop,
}

/// What came of a campaign, up to the first seed that failed.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Worlds that ran.
    pub worlds: u64,
    /// Everything that happened in them.
    pub counts: Counts,
    /// Over the digests of all worlds.
    pub digest: u64,
    /// The first seed that failed, and how.
    pub failure: Option<(u64, Violation)>,
    /// Seeds whose histories could not be decided, and why.
    pub undecided: Vec<(u64, String)>,
}

impl Outcome {
    fn add(&mut self, seed: u64, run: Run) {
        self.worlds += 1;
        self.counts.add(&run.counts);
        self.digest = xxh3_64_with_seed(&run.digest.to_le_bytes(), self.digest);
        self.undecided.extend(run.undecided.into_iter().map(|why| (seed, why)));
        if let Some(violation) = run.violation {
            self.failure = Some((seed, violation));
        }
    }
}

impl Campaign {
    /// Runs all worlds, or up to the first that fails. `progress` is shown the outcome so far after
    /// each world, in the order of the seeds.
    pub fn run(&self, mut progress: impl FnMut(&Outcome)) -> Outcome {
        let begun = Instant::now();
        let count = self.count.min(seeds_from(self.first));
        // Worlds are numbered from 0, since the number after the last seed may not be one.
        let next = AtomicU64::new(0);
        let mut outcome = Outcome::default();
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            for _ in 0..self.threads.get() {
                let (sender, next) = (sender.clone(), &next);
                scope.spawn(move || {
                    while let Some(number) = self.take(next, count, begun) {
                        let plan = Plan::draw(self.first + number, &self.overrides);
                        let run = worlds::run(self.world, &plan, None);
                        if run.violation.is_some() {
                            next.store(count, Ordering::Relaxed);
                        }
                        if sender.send((number, run)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            // Results wait here until all before them are in.
            let mut waiting = BTreeMap::new();
            let mut expected = 0;
            for (number, run) in receiver {
                waiting.insert(number, run);
                while let Some(run) = waiting.remove(&expected) {
                    if outcome.failure.is_none() {
                        outcome.add(self.first + expected, run);
                        progress(&outcome);
                    }
                    expected += 1;
                }
            }
        });
        outcome
    }

    /// The number of the next world, unless all are begun or the time is over.
    fn take(&self, next: &AtomicU64, count: u64, begun: Instant) -> Option<u64> {
        let over = self.budget.is_some_and(|most| begun.elapsed() >= most);
        let stopped = self.stop.is_asked();
        let taken = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |number| {
            (number < count && !stopped && (number == 0 || !over)).then_some(number + 1)
        });
        taken.ok()
    }
}

/// How many seeds there are from `first` on, itself included. At most [`u64::MAX`].
pub const fn seeds_from(first: u64) -> u64 {
    (u64::MAX - first).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::FaultMix;
    use crate::plan::options::Options;

    fn campaign(threads: usize) -> Outcome {
        let mut overrides = Overrides::default();
        for (name, text) in [("safety", "1s"), ("operations", "40"), ("converge", "120s")] {
            Options::default().set(name, text).expect("a good text");
            overrides.options.push((name, text.to_owned()));
        }
        let threads = NonZero::new(threads).expect("not zero");
        let world = WorldKind::Bare;
        let (budget, stop) = (None, Stop::default());
        Campaign { world, first: 100, count: 12, overrides, threads, budget, stop }.run(|_| {})
    }

    #[test]
    fn a_campaign_whose_time_is_over_ends_with_the_worlds_that_it_has_begun() {
        let budget = Some(Duration::ZERO);
        let overrides = Overrides {
            options: vec![("safety", "1s".to_owned()), ("operations", "40".to_owned())],
            ..Overrides::default()
        };
        let threads = NonZero::new(2).expect("not zero");
        let (world, count) = (WorldKind::Bare, u64::MAX);
        let stop = Stop::default();
        let campaign = Campaign { world, first: 100, count, overrides, threads, budget, stop };
        let outcome = campaign.run(|_| {});
        assert_eq!((outcome.worlds, outcome.failure), (1, None));
    }

    #[test]
    fn a_campaign_that_is_asked_to_stop_reports_what_it_did() {
        let overrides = Overrides {
            options: vec![("safety", "1s".to_owned()), ("operations", "10".to_owned())],
            faults: FaultMix::none(),
        };
        let (world, count, budget) = (WorldKind::Bare, u64::MAX, None);
        let (threads, stop) = (NonZero::<usize>::MIN, Stop::default());
        let asked = stop.clone();
        let campaign = Campaign { world, first: 3, count, overrides, threads, budget, stop };
        let outcome = campaign.run(|outcome| {
            if outcome.worlds == 2 {
                asked.ask();
            }
        });
        assert!(outcome.worlds >= 2 && outcome.failure.is_none(), "{}", outcome.worlds);
        assert_eq!(campaign.run(|_| {}).worlds, 0, "it is asked before the first");
    }

    #[test]
    fn the_last_seeds_are_run_and_none_comes_after_them() {
        let overrides = Overrides {
            options: vec![("safety", "1s".to_owned()), ("operations", "10".to_owned())],
            faults: FaultMix::none(),
        };
        for threads in [1, 3] {
            let threads = NonZero::new(threads).expect("not zero");
            let overrides = overrides.clone();
            let (world, first, count) = (WorldKind::Bare, u64::MAX - 1, 5);
            let (budget, stop) = (None, Stop::default());
            let campaign = Campaign { world, first, count, overrides, threads, budget, stop };
            let mut seen = Vec::new();
            let outcome = campaign.run(|outcome| seen.push(outcome.worlds));
            assert_eq!((outcome.worlds, outcome.failure, seen), (2, None, vec![1, 2]));
        }
        assert_eq!([0, 1, u64::MAX].map(seeds_from), [u64::MAX, u64::MAX, 1]);
    }

    #[test]
    fn the_outcome_does_not_depend_on_the_number_of_threads() {
        let (one, four) = (campaign(1), campaign(4));
        assert_eq!(one.failure, None);
        assert_eq!((one.worlds, one.digest), (12, four.digest));
        assert_eq!(one.counts, four.counts);
    }
}
