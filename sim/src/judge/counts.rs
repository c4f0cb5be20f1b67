//! What happened in a world, in numbers.

use crate::judge::Property;
use crate::judge::situations::Situation;
use crate::plan::Kind;
use std::collections::BTreeMap;

/// What happened in a world, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Inputs handed to machines of the core.
    pub core_events: u64,
    /// Operations of clients that took effect.
    pub operations_ok: u64,
    /// Operations that certainly did not.
    pub operations_failed: u64,
    /// Operations of which nobody knows.
    pub operations_unknown: u64,
    /// Faults of each kind that took place.
    pub faults: BTreeMap<Kind, u64>,
    /// Faults of the plan that did not, since they would have had no meaning or asked too much.
    pub faults_skipped: u64,
    /// How many worlds came to each situation.
    pub situations: BTreeMap<Situation, u64>,
    /// Distinct views of the group.
    pub views: u64,
    /// Epochs opened.
    pub epochs: u64,
    /// Processes that died.
    pub crashes: u64,
    /// Entries committed.
    pub entries: u64,
    /// Sessions opened by clients.
    pub sessions: u64,
    /// Simulated time, in nanoseconds.
    pub simulated_ns: u64,
    /// How often each property was judged, in the order of [`Property`]'s variants.
    pub judged: [u64; Property::ALL.len()],
}

impl Counts {
    /// Adds the numbers of another world.
    pub fn add(&mut self, other: &Self) {
        self.core_events += other.core_events;
        self.operations_ok += other.operations_ok;
        self.operations_failed += other.operations_failed;
        self.operations_unknown += other.operations_unknown;
        for (kind, count) in &other.faults {
            *self.faults.entry(*kind).or_default() += count;
        }
        for (situation, worlds) in &other.situations {
            *self.situations.entry(*situation).or_default() += worlds;
        }
        self.faults_skipped += other.faults_skipped;
        self.views += other.views;
        self.epochs += other.epochs;
        self.crashes += other.crashes;
        self.entries += other.entries;
        self.sessions += other.sessions;
        self.simulated_ns += other.simulated_ns;
        for (count, more) in self.judged.iter_mut().zip(other.judged) {
            *count += more;
        }
    }

    /// Operations of clients, whatever came of them.
    pub const fn operations(&self) -> u64 {
        self.operations_ok + self.operations_failed + self.operations_unknown
    }

    /// True if the property was judged at least once.
    pub const fn is_judged(&self, property: Property) -> bool {
        self.judged[property as usize] > 0
    }

    /// Faults that took place.
    pub fn faults_total(&self) -> u64 {
        self.faults.values().sum()
    }
}
