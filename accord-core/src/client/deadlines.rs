//! What is under way, by the time at which it is given up.

use crate::time::Instant;
use alloc::collections::BTreeMap;

/// Things under way by their number, each with a deadline of its own.
#[derive(Clone, Debug)]
pub(super) struct Pending<K, V> {
    by_number: BTreeMap<K, (Instant, V)>,
    /// Invariant: one for each in `by_number`.
    by_deadline: BTreeMap<(Instant, K), ()>,
}

impl<K: Ord + Copy, V> Pending<K, V> {
    pub(super) const fn new() -> Self {
        Self { by_number: BTreeMap::new(), by_deadline: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }

    pub(super) fn insert(&mut self, number: K, deadline: Instant, value: V) {
        let before = self.by_number.insert(number, (deadline, value));
        assert!(before.is_none(), "numbers are never used twice");
        self.by_deadline.insert((deadline, number), ());
    }

    pub(super) fn get(&self, number: K) -> Option<&V> {
        self.by_number.get(&number).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, number: K) -> Option<&mut V> {
        self.by_number.get_mut(&number).map(|(_, value)| value)
    }

    pub(super) fn remove(&mut self, number: K) -> Option<V> {
        let (deadline, value) = self.by_number.remove(&number)?;
        self.by_deadline.remove(&(deadline, number));
        Some(value)
    }

    /// The lowest number.
    pub(super) fn first(&self) -> Option<K> {
        self.by_number.keys().next().copied()
    }

    /// The lowest number from `from` on.
    pub(super) fn first_from(&self, from: K) -> Option<K> {
        self.by_number.range(from..).next().map(|(number, _)| *number)
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = K> {
        self.by_number.keys().copied()
    }

    /// The earliest deadline.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.by_deadline.keys().next().map(|(deadline, _)| *deadline)
    }

    /// The number whose deadline is the earliest, if that has come.
    pub(super) fn first_due(&self, now: Instant) -> Option<K> {
        let (deadline, number) = self.by_deadline.keys().next()?;
        (*deadline <= now).then_some(*number)
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        assert_eq!(self.by_number.len(), self.by_deadline.len(), "each has one deadline");
        let listed = |(number, (deadline, _)): (&K, &(Instant, V))| {
            self.by_deadline.contains_key(&(*deadline, *number))
        };
        assert!(self.by_number.iter().all(listed), "and it is the one that is listed");
    }
}
