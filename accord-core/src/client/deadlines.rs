//! Outstanding requests and reads, ordered by deadline.
//!
//! Numbers ascend without gaps, are mostly settled in nearly that order, and mostly have the same
//! timeout, so their deadlines ascend with them. Such items are in a queue, where each costs a push
//! and a pop. The others are in a tree: items with an earlier deadline than that of a lower number,
//! and stragglers, because otherwise the queue would grow behind them without bound.

use super::io::ReadId;
use crate::ids::RequestId;
use crate::time::Instant;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// Empty places are compacted away when there are more than this, and more than filled ones.
const EMPTY_PLACES_MIN: usize = 64;

/// A number of something under way.
pub(super) trait Number: Copy + Ord {
    fn number(self) -> u64;
    fn of(number: u64) -> Self;
}

impl Number for RequestId {
    fn number(self) -> u64 {
        self.0
    }
    fn of(number: u64) -> Self {
        Self(number)
    }
}

impl Number for ReadId {
    fn number(self) -> u64 {
        self.0
    }
    fn of(number: u64) -> Self {
        Self(number)
    }
}

/// Things under way by their number, each with a deadline of its own.
#[derive(Clone, Debug)]
pub(super) struct Pending<K, V> {
    line: Line<V>,
    tree: Tree<K, V>,
}

/// Invariants: deadlines ascend, and none is after `latest`; the first place is filled.
#[derive(Clone, Debug)]
struct Line<V> {
    /// The number of the first place.
    first: u64,
    places: VecDeque<Option<(Instant, V)>>,
    filled: usize,
    latest: Instant,
}

#[derive(Clone, Debug)]
struct Tree<K, V> {
    by_number: BTreeMap<K, (Instant, V)>,
    /// Invariant: one for each in `by_number`.
    by_deadline: BTreeMap<(Instant, K), ()>,
}

impl<K: Number, V> Pending<K, V> {
    pub(super) const fn new() -> Self {
        let places = VecDeque::new();
        Self {
            line: Line { first: 0, places, filled: 0, latest: Instant::ZERO },
            tree: Tree { by_number: BTreeMap::new(), by_deadline: BTreeMap::new() },
        }
    }

    pub(super) fn len(&self) -> usize {
        self.line.filled + self.tree.by_number.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a number that is higher than all before it.
    pub(super) fn insert(&mut self, number: K, deadline: Instant, value: V) {
        if !self.line.is_empty() && deadline < self.line.latest {
            return self.tree.insert(number, deadline, value);
        }
        self.line.push(number.number(), deadline, value);
        while self.line.is_sparse() {
            let (number, (deadline, value)) = self.line.pop_front();
            self.tree.insert(K::of(number), deadline, value);
        }
    }

    /// Adds a number once more that was removed.
    pub(super) fn insert_again(&mut self, number: K, deadline: Instant, value: V) {
        self.tree.insert(number, deadline, value);
    }

    pub(super) fn get(&self, number: K) -> Option<&V> {
        let at = self.line.place(number.number());
        let held = match at.and_then(|at| self.line.places[at].as_ref()) {
            None => self.tree.by_number.get(&number),
            held => held,
        };
        held.map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, number: K) -> Option<&mut V> {
        let at = self.line.place(number.number());
        let held = match at.and_then(|at| self.line.places[at].as_mut()) {
            None => self.tree.by_number.get_mut(&number),
            held => held,
        };
        held.map(|(_, value)| value)
    }

    pub(super) fn remove(&mut self, number: K) -> Option<V> {
        self.line.remove(number.number()).or_else(|| self.tree.remove(number))
    }

    /// The lowest number.
    pub(super) fn first(&self) -> Option<K> {
        let line = self.line.front().map(|(number, _)| K::of(number));
        let tree = self.tree.by_number.keys().next().copied();
        line.into_iter().chain(tree).min()
    }

    /// All numbers, ascending.
    pub(super) fn numbers(&self) -> Vec<K> {
        let mut numbers: Vec<K> = self.tree.by_number.keys().copied().collect();
        numbers.extend(self.line.numbers().map(K::of));
        numbers.sort_unstable();
        numbers
    }

    /// The earliest deadline.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.next_due().map(|(deadline, _)| deadline)
    }

    /// The number whose deadline is the earliest, if that has come.
    pub(super) fn first_due(&self, now: Instant) -> Option<K> {
        self.next_due().filter(|(deadline, _)| *deadline <= now).map(|(_, number)| number)
    }

    fn next_due(&self) -> Option<(Instant, K)> {
        let line = self.line.front().map(|(number, deadline)| (deadline, K::of(number)));
        let tree = self.tree.by_deadline.keys().next().copied();
        line.into_iter().chain(tree).min()
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        self.line.check();
        self.tree.check();
    }
}

impl<V> Line<V> {
    fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// True if it is mostly empty places behind a straggler.
    fn is_sparse(&self) -> bool {
        self.places.len() - self.filled > self.filled.max(EMPTY_PLACES_MIN)
    }

    fn push(&mut self, number: u64, deadline: Instant, value: V) {
        if self.is_empty() {
            self.first = number;
        }
        let end = self.first + self.places.len() as u64;
        assert!(number >= end, "numbers are never used twice");
        // The places of those that went to the tree.
        self.places.extend((end..number).map(|_| None));
        self.places.push_back(Some((deadline, value)));
        self.latest = deadline;
        self.filled += 1;
    }

    /// The number and the deadline of the first one.
    fn front(&self) -> Option<(u64, Instant)> {
        let (deadline, _) = self.places.front()?.as_ref().expect("the first place is filled");
        Some((self.first, *deadline))
    }

    fn pop_front(&mut self) -> (u64, (Instant, V)) {
        let front = self.places.front_mut().and_then(Option::take);
        let front = (self.first, front.expect("the first place is filled"));
        self.took_one();
        front
    }

    fn place(&self, number: u64) -> Option<usize> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        (at < self.places.len()).then_some(at)
    }

    fn remove(&mut self, number: u64) -> Option<V> {
        let at = self.place(number)?;
        let (_, value) = self.places[at].take()?;
        self.took_one();
        Some(value)
    }

    fn took_one(&mut self) {
        self.filled -= 1;
        while let Some(None) = self.places.front() {
            self.places.pop_front();
            self.first += 1;
        }
        if self.is_empty() {
            // What is over must not tell two lines apart.
            (self.first, self.latest) = (0, Instant::ZERO);
        }
    }

    fn numbers(&self) -> impl Iterator<Item = u64> {
        (self.first..).zip(&self.places).filter(|(_, held)| held.is_some()).map(|(at, _)| at)
    }

    fn check(&self) {
        let deadlines = || self.places.iter().flatten().map(|(deadline, _)| *deadline);
        assert_eq!(deadlines().count(), self.filled, "filled places are counted");
        assert!(deadlines().is_sorted() && deadlines().all(|at| at <= self.latest), "in order");
        assert!(!matches!(self.places.front(), Some(None)), "the first place is filled");
    }
}

impl<K: Number, V> Tree<K, V> {
    fn insert(&mut self, number: K, deadline: Instant, value: V) {
        let before = self.by_number.insert(number, (deadline, value));
        assert!(before.is_none(), "numbers are never used twice");
        self.by_deadline.insert((deadline, number), ());
    }

    fn remove(&mut self, number: K) -> Option<V> {
        if self.by_number.is_empty() {
            return None;
        }
        let (deadline, value) = self.by_number.remove(&number)?;
        self.by_deadline.remove(&(deadline, number));
        Some(value)
    }

    fn check(&self) {
        assert_eq!(self.by_number.len(), self.by_deadline.len(), "each has one deadline");
        let listed = |(number, (deadline, _)): (&K, &(Instant, V))| {
            self.by_deadline.contains_key(&(*deadline, *number))
        };
        assert!(self.by_number.iter().all(listed), "and it is the one that is listed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::time::Duration;

    /// The same, as plainly as can be.
    #[derive(Default)]
    struct Plain(BTreeMap<RequestId, (Instant, u64)>);

    impl Plain {
        fn next_due(&self) -> Option<(Instant, RequestId)> {
            self.0.iter().map(|(number, (deadline, _))| (*deadline, *number)).min()
        }
    }

    fn compare(pending: &Pending<RequestId, u64>, plain: &Plain) {
        pending.check();
        assert_eq!(pending.len(), plain.0.len());
        assert_eq!(pending.first(), plain.0.keys().next().copied());
        assert_eq!(pending.next_due(), plain.next_due());
        assert_eq!(pending.numbers(), plain.0.keys().copied().collect::<Vec<_>>());
    }

    #[test]
    fn whatever_is_settled_when_it_is_as_if_all_stood_in_a_tree() {
        let mut rng = Rng::new(1);
        let (mut pending, mut plain) = (Pending::new(), Plain::default());
        let mut in_tree = 0;
        for turn in 1..20_000_u64 {
            let number = RequestId(turn);
            // Some are in a hurry, and some numbers are skipped.
            let wait = if rng.below(50) == 0 { 10 } else { 1_000 };
            let deadline = Instant::ZERO + Duration::from_millis(turn + wait);
            if rng.below(40) > 0 {
                pending.insert(number, deadline, turn);
                plain.0.insert(number, (deadline, turn));
            }
            // Mostly the oldest but a few are settled, so that stragglers stay behind.
            for _ in 0..rng.below(3) {
                let held = plain.0.len() as u64;
                let skipped = if held > 8 { rng.below(8) } else { 0 };
                let settled = plain.0.keys().nth(skipped as usize).copied();
                let settled = settled.filter(|_| held > rng.below(20));
                if let Some(number) = settled {
                    let removed = plain.0.remove(&number).map(|(_, value)| value);
                    assert_eq!(pending.get(number), removed.as_ref());
                    assert_eq!(pending.get_mut(number).copied(), removed);
                    assert_eq!(pending.remove(number), removed);
                    assert_eq!((pending.remove(number), pending.get(number)), (None, None));
                }
            }
            in_tree = in_tree.max(pending.tree.by_number.len());
            compare(&pending, &plain);
        }
        assert!(in_tree > 1, "some were in the tree");
        while let Some(number) = pending.first_due(Instant::FAR_FUTURE) {
            assert_eq!(plain.next_due().map(|(_, number)| number), Some(number));
            pending.remove(number);
            plain.0.remove(&number);
            compare(&pending, &plain);
        }
    }

    #[test]
    fn a_straggler_does_not_keep_the_places_of_all_after_it() {
        let mut pending = Pending::<RequestId, ()>::new();
        for number in 0..10_000 {
            pending.insert(RequestId(number), Instant::ZERO, ());
            if number > 0 {
                pending.remove(RequestId(number));
            }
            assert!(pending.line.places.len() <= 2 * EMPTY_PLACES_MIN);
        }
        assert_eq!((pending.len(), pending.first()), (1, Some(RequestId(0))));
    }
}
