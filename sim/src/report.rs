//! What a run or a campaign amounts to, for people and for programs.

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
        self.faults_skipped += other.faults_skipped;
        self.views += other.views;
        self.epochs += other.epochs;
        self.crashes += other.crashes;
        self.entries += other.entries;
        self.sessions += other.sessions;
        self.simulated_ns += other.simulated_ns;
    }
}
