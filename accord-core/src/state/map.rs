//! The ordered map of records and of znodes, made for many small values and scattered writes.
//!
//! What a write of a few bytes costs in a large store is the memory that its search touches: each
//! step that waits for memory costs more than all of its arithmetic. So nodes are wide and hold,
//! besides their entries, an array of *heads*: of each key the eight bytes after what all keys of
//! the node have in common, as a number. A search reads the heads, which lie side by side, and
//! then, unless heads are equal, one entry. Entries are not moved when others come: their order is
//! an array of places.
//!
//! Values stand in leaves, leaves in branches under a lower bound of their keys, branches in the
//! root under the bound of their first leaf. Branches are a sixtieth of the size of the whole and
//! the root a sixtieth of that, so that a cache can hold both. The root is one sorted array: to
//! move its end once in thousands of insertions costs less than to search a deeper tree each time.
//!
//! Heads only tell keys apart if a node's keys differ soon after their common part. So a full node
//! is split where neighbours differ soonest, and a key behind the end of a full leaf goes to its
//! likes. Many writers that each count upwards then have leaves of their own, and fill them.
//!
//! Nodes are shared with the clones of a map, and copied when one of the two is changed. So a clone
//! takes as long as there are branches, and a map of which a clone is kept pays once for each leaf
//! that it changes.
//!
//! Two maps with the same content may have different nodes; nothing outside can tell.

mod node;

use super::compact::Key;
use super::invariant::first_broken;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Bound;
use node::{NODE_FILLED, NODE_MAX, NODE_MIN, Node, common, wide_head};

/// Values in the order of their keys.
#[derive(Clone, Debug)]
pub(super) struct Map<V> {
    /// Invariant: a branch has a leaf, and each leaf's keys are at least the one it stands under
    /// and less than the next leaf's. No leaf is empty, but one that is alone.
    root: Root<V>,
    /// Invariant: the sum of the leaves' entries.
    len: usize,
}

type Leaf<V> = Node<V>;
type Branch<V> = Node<Arc<Leaf<V>>>;

/// The branches, in order.
#[derive(Clone, Debug)]
struct Root<V> {
    /// Invariant: bounds ascend; each is the one of the branch's first leaf, the first is empty.
    branches: Vec<(Key, Arc<Branch<V>>)>,
    /// Invariant: all bounds but the first begin with it.
    prefix: Key,
    /// Invariant: those of all bounds but the first, in order. Sixteen bytes each: in a
    /// large map, eight bytes do not tell many of the bounds apart.
    heads: Vec<u128>,
}

/// Where a key that is not there would be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Vacancy {
    /// In a map without nodes.
    Alone,
    /// In a leaf, at a rank.
    At {
        /// Which leaf.
        place: Place,
        /// Which rank.
        rank: usize,
    },
}

/// Where a leaf is: which branch, and which of its leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    branch: usize,
    leaf: usize,
}

impl<V> Default for Map<V> {
    fn default() -> Self {
        let root = Root { branches: Vec::new(), prefix: Key::default(), heads: Vec::new() };
        Self { root, len: 0 }
    }
}

impl<V: Clone> Map<V> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The value of this key.
    pub(super) fn get(&self, key: &[u8]) -> Option<&V> {
        self.root.leaf(self.root.find(key)?).get(key)
    }

    /// The value of this key, to be changed; or where it would be.
    pub(super) fn entry(&mut self, key: &[u8]) -> Result<&mut V, Vacancy> {
        let Some(place) = self.root.find(key) else { return Err(Vacancy::Alone) };
        match self.root.leaf(place).find(key) {
            Ok(rank) => Ok(self.root.leaf_mut(place).at_mut(rank)),
            Err(rank) => Err(Vacancy::At { place, rank }),
        }
    }

    /// The value of this key, to be changed.
    pub(super) fn get_mut(&mut self, key: &[u8]) -> Option<&mut V> {
        self.entry(key).ok()
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &V)> {
        self.root.leaves_from(0).flat_map(|(_, leaf)| leaf.iter_from(0))
    }

    /// Those from this bound on, in order.
    pub(super) fn range_from(&self, start: Bound<&[u8]>) -> impl Iterator<Item = (&Key, &V)> {
        let key = match start {
            Bound::Included(key) | Bound::Excluded(key) => key,
            Bound::Unbounded => &[],
        };
        let place = self.root.find(key);
        let first = place.map(|place| {
            let leaf = self.root.leaf(place);
            let rank = match leaf.find(key) {
                Ok(rank) => rank + usize::from(start == Bound::Excluded(key)),
                Err(rank) => rank,
            };
            let rest = self.root.branches[place.branch].1.iter_from(place.leaf + 1);
            leaf.iter_from(rank).chain(rest.flat_map(|(_, leaf)| leaf.iter_from(0)))
        });
        let later = place.map_or(0, |place| place.branch + 1);
        let later = self.root.leaves_from(later).flat_map(|(_, leaf)| leaf.iter_from(0));
        first.into_iter().flatten().chain(later)
    }

    /// Adds the value of a key that has none.
    pub(super) fn insert(&mut self, key: Key, value: V) {
        let vacancy = self.entry(&key).err().expect("a value is inserted where there is none");
        self.fill(vacancy, key, value);
    }

    /// Adds the value of a key where [`Self::entry`] of it said; nothing was added or taken out
    /// since.
    pub(super) fn fill(&mut self, vacancy: Vacancy, key: Key, value: V) {
        if let Vacancy::At { place, .. } = vacancy
            && !self.root.has_room(place)
            && self.root.make_room(place)
        {
            return self.insert(key, value);
        }
        self.len += 1;
        let Vacancy::At { place, rank } = vacancy else {
            let leaf = Leaf::of([(key, value)].into_iter());
            let branch = Branch::of([(Key::default(), Arc::new(leaf))].into_iter());
            return self.root.insert(0, Key::default(), branch);
        };
        let leaf = self.root.leaf_mut(place);
        if leaf.len() < NODE_MAX {
            return leaf.insert(rank, key, value);
        }
        if rank < NODE_MAX {
            let right = leaf.insert_full(rank, key, value);
            return self.root.insert_leaf(place, right);
        }
        // Behind the end of a full leaf: with what comes next if that is more like it, so that keys
        // that come in descending order share leaves; else alone, so that keys that come in
        // ascending order leave full leaves behind.
        let like_last = common(&leaf.at(NODE_MAX - 1).0, &key);
        match self.root.next(place) {
            Some(next) if self.root.has_room(next) && self.root.common(next, &key) > like_last => {
                self.root.lower(next, &key);
                self.root.leaf_mut(next).insert(0, key, value);
            }
            _ => self.root.insert_leaf(place, Leaf::of([(key, value)].into_iter())),
        }
    }

    /// Takes out the value of this key.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<(Key, V)> {
        let place = self.root.find(key)?;
        let leaf = self.root.leaf_mut(place);
        let rank = leaf.find(key).ok()?;
        let removed = leaf.remove(rank);
        let few = leaf.len() < NODE_MIN;
        let branch = self.root.branch_mut(place.branch);
        if few && branch.merge_leaf(place.leaf) && branch.len() < NODE_MIN {
            self.root.merge(place.branch);
        }
        self.len -= 1;
        Some(removed)
    }

    /// A map of entries whose keys ascend.
    pub(super) fn from_ascending(entries: impl Iterator<Item = (Key, V)>) -> Self {
        let mut map = Self::default();
        let mut entries = entries.peekable();
        let mut leaves = Vec::with_capacity(NODE_FILLED);
        while let Some((first, _)) = entries.peek() {
            let bound = if map.len == 0 { Key::default() } else { first.clone() };
            let leaf = Leaf::of(entries.by_ref().take(NODE_FILLED));
            map.len += leaf.len();
            leaves.push((bound, Arc::new(leaf)));
            if leaves.len() == NODE_FILLED || entries.peek().is_none() {
                let branch = Branch::of(leaves.drain(..));
                map.root.branches.push((branch.at(0).0.clone(), Arc::new(branch)));
            }
        }
        map.root.refresh();
        map
    }

    /// The first invariant that is broken.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let mut last: Option<&Key> = None;
        let mut ascending = true;
        for (key, _) in self.iter() {
            ascending &= last.is_none_or(|last| last < key);
            last = Some(key);
        }
        let leaves = || self.root.leaves_from(0);
        let within = leaves().zip(leaves().skip(1)).all(|((_, leaf), (bound, next))| {
            let below = leaf.len() == 0 || leaf.at(leaf.len() - 1).0 < *bound;
            below && (next.len() == 0 || next.at(0).0 >= *bound)
        });
        first_broken(&[
            (ascending, "keys ascend"),
            (
                leaves().map(|(_, leaf)| leaf.len()).sum::<usize>() == self.len,
                "entries are counted",
            ),
            (self.root.is_sound(), "branches stand under the bounds of their first leaves"),
            (within, "leaves stand under lower bounds of their keys"),
            (leaves().all(|(_, leaf)| leaf.is_sound()), "heads are those of the keys"),
        ])
    }
}

impl<V: Clone> Root<V> {
    /// The leaf that has the key, if any has.
    fn find(&self, key: &[u8]) -> Option<Place> {
        let branch = self.floor(key);
        let (_, found) = self.branches.get(branch)?;
        Some(Place { branch, leaf: found.floor(key) })
    }

    /// The branch that has the key, if any has: the last that stands under no greater one.
    fn floor(&self, key: &[u8]) -> usize {
        let Some(rest) = key.strip_prefix(&self.prefix[..]) else {
            return if *key < self.prefix[..] { 0 } else { self.heads.len() };
        };
        let head = wide_head(rest);
        let from = self.heads.partition_point(|other| *other < head);
        let ties = self.heads[from..].partition_point(|other| *other == head);
        let ties = &self.branches.get(from + 1..from + 1 + ties).unwrap_or(&[]);
        from + ties.partition_point(|(bound, _)| bound[..] <= *key)
    }

    fn leaf(&self, at: Place) -> &Leaf<V> {
        &self.branches[at.branch].1.at(at.leaf).1
    }

    fn branch_mut(&mut self, at: usize) -> &mut Branch<V> {
        Arc::make_mut(&mut self.branches[at].1)
    }

    fn leaf_mut(&mut self, at: Place) -> &mut Leaf<V> {
        Arc::make_mut(self.branch_mut(at.branch).at_mut(at.leaf))
    }

    /// The leaves from a branch on, under their bounds.
    fn leaves_from(&self, branch: usize) -> impl Iterator<Item = (&Key, &Arc<Leaf<V>>)> {
        self.branches[branch..].iter().flat_map(|(_, branch)| branch.iter_from(0))
    }

    /// The leaf after this one.
    fn next(&self, at: Place) -> Option<Place> {
        if at.leaf + 1 < self.branches[at.branch].1.len() {
            return Some(Place { leaf: at.leaf + 1, ..at });
        }
        (at.branch + 1 < self.branches.len()).then_some(Place { branch: at.branch + 1, leaf: 0 })
    }

    fn has_room(&self, at: Place) -> bool {
        self.leaf(at).len() < NODE_MAX
    }

    /// How many first bytes the key shares with the first of a leaf.
    fn common(&self, at: Place, key: &[u8]) -> usize {
        let leaf = self.leaf(at);
        if leaf.len() == 0 { 0 } else { common(&leaf.at(0).0, key) }
    }

    /// Lets a leaf stand under a lesser bound, which is above all keys of the leaf before it.
    fn lower(&mut self, at: Place, bound: &Key) {
        self.branch_mut(at.branch).set_key(at.leaf, bound.clone());
        if at.leaf == 0 {
            self.branches[at.branch].0 = bound.clone();
            self.refresh();
        }
    }

    /// Moves the first records of a full leaf to the one before it, if that has room and keys that
    /// are as like the leaf's as those are like each other. A leaf that was split where keys then
    /// came only behind the middle is filled so.
    fn make_room(&mut self, at: Place) -> bool {
        let Some(before) = at.leaf.checked_sub(1).map(|leaf| Place { leaf, ..at }) else {
            return false;
        };
        let leaf = self.leaf(at);
        let room = NODE_MAX - self.leaf(before).len();
        if room < NODE_MIN || self.common(before, &leaf.at(0).0) < leaf.prefix_len() {
            return false;
        }
        // Not all of it: keys may still be inserted there.
        let first = self.leaf_mut(at).take_first(room - room / 4);
        self.leaf_mut(before).append(first);
        let bound = self.leaf(at).at(0).0.clone();
        self.branch_mut(at.branch).set_key(at.leaf, bound);
        true
    }

    /// Adds a leaf behind another.
    fn insert_leaf(&mut self, after: Place, leaf: Leaf<V>) {
        let (bound, leaf) = (leaf.at(0).0.clone(), Arc::new(leaf));
        let at = after.leaf + 1;
        let branch = self.branch_mut(after.branch);
        if branch.len() < NODE_MAX {
            return branch.insert(at, bound, leaf);
        }
        let right = if at == NODE_MAX {
            Branch::of([(bound, leaf)].into_iter())
        } else {
            branch.insert_full(at, bound, leaf)
        };
        self.insert(after.branch + 1, right.at(0).0.clone(), right);
    }

    fn insert(&mut self, at: usize, bound: Key, branch: Branch<V>) {
        self.branches.insert(at, (bound, Arc::new(branch)));
        self.refresh();
    }

    /// Merges a branch that became small with the next, or gives it up if it has no records.
    fn merge(&mut self, at: usize) {
        let branch = &self.branches[at].1;
        if branch.len() == 1 && branch.at(0).1.len() == 0 && at > 0 {
            self.branches.remove(at);
            return self.refresh();
        }
        let next = self.branches.get(at + 1);
        if next.is_some_and(|(_, next)| branch.len() + next.len() <= NODE_FILLED) {
            let (_, next) = self.branches.remove(at + 1);
            self.branch_mut(at).append(Arc::unwrap_or_clone(next));
            self.refresh();
        }
    }

    /// Finds what the bounds have in common, and the heads after it.
    fn refresh(&mut self) {
        let bounds = self.branches.get(1..).unwrap_or(&[]);
        let common = match bounds {
            [] => 0,
            [(first, _), .., (last, _)] => common(first, last),
            [(only, _)] => only.len(),
        };
        self.prefix = bounds.first().map_or_else(Key::default, |(b, _)| Key::new(&b[..common]));
        self.heads.clear();
        self.heads.extend(bounds.iter().map(|(bound, _)| wide_head(&bound[common..])));
    }

    fn is_sound(&self) -> bool {
        let mut fresh = self.clone();
        fresh.refresh();
        let stand = |(bound, branch): &(Key, Arc<Branch<V>>)| {
            branch.len() > 0 && *bound == branch.at(0).0 && branch.is_sound()
        };
        self.branches.iter().all(stand)
            && self.branches.first().is_none_or(|(bound, _)| bound.is_empty())
            && self.prefix == fresh.prefix
            && self.heads == fresh.heads
    }
}

impl<V: Clone> Branch<V> {
    /// The leaf that has the key, if any has: the last that stands under no greater one.
    fn floor(&self, key: &[u8]) -> usize {
        match self.find(key) {
            Ok(rank) => rank,
            Err(rank) => rank.checked_sub(1).expect("the first leaf's bound is the branch's"),
        }
    }

    /// Merges a leaf that became small with the next of this branch, or gives it up if it is empty.
    /// True if the branch has fewer leaves now, or none with records.
    fn merge_leaf(&mut self, at: usize) -> bool {
        let len = self.at(at).1.len();
        let next = (at + 1 < self.len()).then(|| self.at(at + 1).1.len());
        match next {
            Some(next) if len == 0 || len + next <= NODE_FILLED => {
                let (_, next) = self.remove(at + 1);
                Arc::make_mut(self.at_mut(at)).append(Arc::unwrap_or_clone(next));
                true
            }
            // The first stays: the branch stands under its bound.
            None if len == 0 && at > 0 => {
                self.remove(at);
                true
            }
            None => len == 0,
            Some(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use alloc::collections::BTreeMap;
    use alloc::format;
    use proptest::prelude::*;

    type Naive = BTreeMap<Vec<u8>, u64>;

    fn toggle(records: &mut Map<u64>, naive: &mut Naive, key: &[u8], version: u64) {
        match naive.remove(key) {
            Some(version) => {
                let removed = records.remove(key).expect("the naive map has it");
                assert_eq!((&removed.0[..], removed.1), (key, version));
                assert!(records.remove(key).is_none());
            }
            None => {
                assert!(records.get(key).is_none());
                records.insert(Key::new(key), version);
                naive.insert(key.to_vec(), version);
            }
        }
    }

    fn compare(records: &mut Map<u64>, naive: &Naive) {
        assert_eq!(records.fault(), None);
        assert_eq!(records.len(), naive.len());
        let pair = |(key, version): (&Key, &u64)| (key.to_vec(), *version);
        assert!(records.iter().map(pair).eq(naive.iter().map(|(k, v)| (k.clone(), *v))));
        for (key, version) in naive {
            assert_eq!(records.get(key).copied(), Some(*version));
            assert_eq!(records.get_mut(key).copied(), Some(*version));
        }
    }

    fn compare_ranges(records: &Map<u64>, naive: &Naive, key: &[u8]) {
        for start in [Bound::Included(key), Bound::Excluded(key), Bound::Unbounded] {
            let found = records.range_from(start).map(|(key, _)| key.to_vec());
            let expected = naive.range::<[u8], _>((start, Bound::Unbounded));
            assert!(found.eq(expected.map(|(key, _)| key.clone())), "{start:?}");
        }
    }

    proptest! {
        #[test]
        fn a_map_behaves_as_a_btree_map(seed: u64, rounds in 1u64..4, spread in 1u64..5) {
            let mut rng = Rng::new(seed);
            let (mut records, mut naive) = (Map::default(), Naive::new());
            for round in 0..rounds {
                let removing = round % 2 == 1;
                let (mut clone, then) = (records.clone(), naive.clone());
                for step in 0..1200 {
                    let number = rng.below(1 << (4 * spread));
                    let key = match number % 4 {
                        0 => format!("{number}"),
                        1 => format!("a common prefix longer than inline/{number:07}"),
                        2 => format!("p/{number:04}\0"),
                        _ => format!("p/{:04}", number * 7),
                    };
                    let last = naive.keys().nth(rng.below(naive.len() as u64) as usize).cloned();
                    match last {
                        Some(last) if removing => toggle(&mut records, &mut naive, &last, step),
                        _ => toggle(&mut records, &mut naive, key.as_bytes(), step),
                    }
                    if step % 97 == 0 {
                        compare_ranges(&records, &naive, key.as_bytes());
                    }
                }
                compare(&mut records, &naive);
                compare(&mut clone, &then);
            }
            let entries = records.iter().map(|(key, version)| (key.clone(), *version));
            compare(&mut Map::from_ascending(entries), &naive);
        }
    }

    #[test]
    fn keys_that_come_in_order_fill_their_leaves() {
        let mut records = Map::default();
        for number in 0..6400 {
            records.insert(Key::new(format!("{number:08}").as_bytes()), 1);
        }
        assert_eq!(records.fault(), None);
        let leaves = records.root.leaves_from(0).count();
        assert_eq!((leaves, records.root.branches.len()), (800, 100));
    }

    #[test]
    fn keys_that_come_in_descending_order_behind_others_share_leaves() {
        let mut records = Map::default();
        let keys = (0..800).map(|n| format!("a/{n:04}"));
        for key in keys.chain((0..800).rev().map(|n| format!("b/{n:04}"))) {
            records.insert(Key::new(key.as_bytes()), 1);
        }
        assert_eq!(records.fault(), None);
        let leaves = records.root.leaves_from(0).count();
        assert!(leaves <= 1600 / (NODE_MAX / 2), "{leaves} leaves");
    }

    #[test]
    fn writers_that_each_count_upwards_fill_leaves_of_their_own() {
        let mut records = Map::default();
        for number in 0..800 {
            for writer in 0..16 {
                records.insert(Key::new(format!("w/{writer:02}/{number:09}").as_bytes()), 1);
            }
        }
        assert_eq!(records.fault(), None);
        let leaves = records.root.leaves_from(0).count();
        assert!(leaves <= 16 * 800 * 10 / (NODE_MAX * 9), "{leaves} leaves");
        let mixed =
            |leaf: &Leaf<u64>| common(&leaf.at(0).0, &leaf.at(leaf.len() - 1).0) < "w/00/".len();
        assert!(records.root.leaves_from(0).filter(|(_, leaf)| mixed(leaf)).count() <= 16);
    }

    #[test]
    fn numbers_that_are_counted_without_leading_zeros_fill_leaves() {
        let mut records = Map::default();
        for number in 0..20_000 {
            for writer in 0..4 {
                records.insert(Key::new(format!("w/{writer}/{number}").as_bytes()), 1);
            }
        }
        assert_eq!(records.fault(), None);
        let leaves = records.root.leaves_from(0).count();
        assert!(leaves <= 4 * 20_000 * 10 / (NODE_MAX * 8), "{leaves} leaves");
    }

    #[test]
    fn keys_that_come_in_descending_order_behind_full_branches_share_leaves() {
        for behind in [NODE_MAX, NODE_MAX * NODE_MAX] {
            let mut records = Map::default();
            let keys = (0..behind).map(|n| format!("a/{n:04}"));
            for key in keys.chain((0..800).rev().map(|n| format!("b/{n:04}"))) {
                records.insert(Key::new(key.as_bytes()), 1);
            }
            assert_eq!(records.fault(), None);
            let leaves = records.root.leaves_from(0).count();
            assert!(leaves <= (behind + 800) / (NODE_MAX / 2), "{leaves} leaves");
        }
    }

    #[test]
    fn a_map_that_was_emptied_holds_no_more_than_one_leaf() {
        let mut records = Map::default();
        let keys: Vec<_> = (0..5000).map(|n| format!("{:08x}", n * 7919 % 5000)).collect();
        keys.iter().for_each(|key| records.insert(Key::new(key.as_bytes()), 1));
        keys.iter().for_each(|key| drop(records.remove(key.as_bytes())));
        assert_eq!((records.len(), records.fault()), (0, None));
        let leaves = records.root.leaves_from(0).count();
        assert!(leaves <= 1 && records.root.branches.len() <= 1, "{leaves} leaves");
    }
}
