//! A node of the map of records: sorted entries that are found by their heads. See [`super`].

use super::super::compact::Key;
use alloc::vec::Vec;

/// The most entries of a node; few in tests, so that a small map has many.
pub(super) const NODE_MAX: usize = if cfg!(test) { 8 } else { 64 };
/// A node with fewer entries is merged with the next, if both together leave room for more.
pub(super) const NODE_MIN: usize = NODE_MAX / 4;
/// How full a merged node, or one of a restored map, may be.
pub(super) const NODE_FILLED: usize = NODE_MAX * 3 / 4;

/// Sorted entries. Laid out so that all but the entries is fetched at once: no part of it waits for
/// another.
#[derive(Debug)]
#[repr(C, align(128))]
pub(super) struct Node<T> {
    /// Invariant: all keys begin with it.
    prefix: Key,
    /// Invariant: at most [`NODE_MAX`].
    entries: Vec<(Key, T)>,
    /// The entries' places in ascending order of keys. Invariant: each place once.
    order: [u8; NODE_MAX],
    /// Invariant: those of the entries, in their order.
    heads: [u64; NODE_MAX],
}

impl<T: Clone> Clone for Node<T> {
    /// With as much room as the original had: a node is copied because it is about to change.
    fn clone(&self) -> Self {
        let mut entries = Vec::with_capacity(NODE_MAX);
        entries.extend_from_slice(&self.entries);
        Self { prefix: self.prefix.clone(), entries, order: self.order, heads: self.heads }
    }
}

impl<T> Node<T> {
    /// A node of entries whose keys ascend.
    pub(super) fn of(ascending: impl Iterator<Item = (Key, T)>) -> Self {
        let mut entries = Vec::with_capacity(NODE_MAX);
        entries.extend(ascending);
        let mut node =
            Self { prefix: Key::default(), entries, order: [0; NODE_MAX], heads: [0; NODE_MAX] };
        node.refresh();
        node
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn at(&self, rank: usize) -> &(Key, T) {
        &self.entries[usize::from(self.order[rank])]
    }

    pub(super) fn at_mut(&mut self, rank: usize) -> &mut T {
        &mut self.entries[usize::from(self.order[rank])].1
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&T> {
        let rank = self.find(key).ok()?;
        Some(&self.at(rank).1)
    }

    pub(super) fn iter_from(&self, rank: usize) -> impl Iterator<Item = (&Key, &T)> {
        self.order[rank..self.len()].iter().map(|place| {
            let (key, what) = &self.entries[usize::from(*place)];
            (key, what)
        })
    }

    /// The rank of the key, or the one that it would have.
    pub(super) fn find(&self, key: &[u8]) -> Result<usize, usize> {
        let Some(rest) = key.strip_prefix(&self.prefix[..]) else {
            return Err(if *key < self.prefix[..] { 0 } else { self.len() });
        };
        let head = head(rest);
        let heads = &self.heads[..self.len()];
        let from = count_below(heads, head);
        let ties = heads[from..].iter().take_while(|other| **other == head).count();
        let places = &self.order[from..from + ties];
        let by_key = |place: &u8| self.entries[usize::from(*place)].0[..].cmp(key);
        places.binary_search_by(by_key).map(|at| from + at).map_err(|at| from + at)
    }

    /// Adds an entry at its rank; there is room.
    pub(super) fn insert(&mut self, rank: usize, key: Key, what: T) {
        let len = self.len();
        let fits = key.starts_with(&self.prefix);
        self.order.copy_within(rank..len, rank + 1);
        self.order[rank] = len as u8;
        if fits {
            self.heads.copy_within(rank..len, rank + 1);
            self.heads[rank] = head(&key[self.prefix.len()..]);
        }
        self.entries.push((key, what));
        if !fits {
            self.find_heads();
        }
    }

    /// Adds an entry at its rank where there is no room, and returns the upper part as a new node.
    pub(super) fn insert_full(&mut self, rank: usize, key: Key, what: T) -> Self {
        self.sort();
        let middle = self.split_point();
        let mut right = Self::of(self.entries.drain(middle..));
        self.refresh();
        match rank.checked_sub(middle) {
            Some(rank) if rank > 0 => right.insert(rank, key, what),
            _ => self.insert(rank, key, what),
        }
        right
    }

    /// Where neighbours in the middle half differ soonest. The entries are sorted.
    fn split_point(&self) -> usize {
        let like_last = |at: usize| common(&self.entries[at - 1].0, &self.entries[at].0);
        let from_middle = |at: usize| at.abs_diff(NODE_MAX / 2);
        let middle_half = NODE_MAX / 4..=NODE_MAX * 3 / 4;
        let soonest = middle_half.min_by_key(|at| (like_last(*at), from_middle(*at)));
        soonest.expect("the middle half is not empty")
    }

    /// Gives the entry of this rank another key, of the same rank.
    pub(super) fn set_key(&mut self, rank: usize, key: Key) {
        self.entries[usize::from(self.order[rank])].0 = key;
        self.find_heads();
    }

    /// Takes the entry of this rank out.
    pub(super) fn remove(&mut self, rank: usize) -> (Key, T) {
        let len = self.len();
        let place = self.order[rank];
        self.order.copy_within(rank + 1..len, rank);
        self.heads.copy_within(rank + 1..len, rank);
        // The last entry takes the free place.
        let last = len as u8 - 1;
        if let Some(moved) = self.order[..len - 1].iter_mut().find(|other| **other == last) {
            *moved = place;
        }
        self.entries.swap_remove(usize::from(place))
    }

    /// Adds the entries of another node, whose keys are all greater.
    pub(super) fn append(&mut self, mut other: Self) {
        other.sort();
        self.sort();
        self.entries.append(&mut other.entries);
        self.refresh();
    }

    /// Takes the first entries out, as a node of their own; one stays at least.
    pub(super) fn take_first(&mut self, count: usize) -> Self {
        self.sort();
        let first = Self::of(self.entries.drain(..count));
        self.refresh();
        first
    }

    /// Puts the entries in order, but not yet what depends on their places.
    fn sort(&mut self) {
        for rank in 0..self.len() {
            let mut place = usize::from(self.order[rank]);
            // What was there has gone to where an earlier rank's entry came from.
            while place < rank {
                place = usize::from(self.order[place]);
            }
            self.entries.swap(rank, place);
        }
    }

    /// How many first bytes all keys share.
    pub(super) fn prefix_len(&self) -> usize {
        self.prefix.len()
    }

    /// Finds the order and the heads of entries that are sorted.
    fn refresh(&mut self) {
        assert!(self.len() <= NODE_MAX, "a node is bounded");
        for (place, at) in self.order.iter_mut().enumerate() {
            *at = place as u8;
        }
        self.find_heads();
    }

    /// Finds what the keys have in common, and the heads after it.
    fn find_heads(&mut self) {
        let len = self.len();
        if len == 0 {
            self.prefix = Key::default();
            return;
        }
        let (first, last) = (&self.at(0).0, &self.at(len - 1).0);
        let common = common(first, last);
        self.prefix = Key::new(&first[..common]);
        for rank in 0..len {
            self.heads[rank] = head(&self.at(rank).0[common..]);
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        let heads = self.order[..self.len()].iter().zip(&self.heads).all(|(place, found)| {
            let (key, _) = &self.entries[usize::from(*place)];
            key.strip_prefix(&self.prefix[..]).is_some_and(|rest| head(rest) == *found)
        });
        let mut places = [false; NODE_MAX];
        for place in &self.order[..self.len()] {
            places[usize::from(*place)] = true;
        }
        heads && places[..self.len()].iter().all(|taken| *taken)
    }
}

/// How many first bytes two keys share.
pub(super) fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// How many of the ascending numbers are less.
///
/// Not a binary search, whose reads wait for each other: first the last number of each line of a
/// cache, then those of one line.
fn count_below(ascending: &[u64], number: u64) -> usize {
    const LINE: usize = 8;
    let below = |other: &u64| usize::from(*other < number);
    let (lines, _) = ascending.as_chunks::<LINE>();
    let from = LINE * lines.iter().map(|line| below(&line[LINE - 1])).sum::<usize>();
    let until = ascending.len().min(from + LINE);
    from + ascending[from..until].iter().map(below).sum::<usize>()
}

/// The first eight bytes as a number that orders as they do; zeros where there are fewer.
fn head(rest: &[u8]) -> u64 {
    if let Some(bytes) = rest.first_chunk::<8>() {
        return u64::from_be_bytes(*bytes);
    }
    let mut bytes = [0; 8];
    bytes[..rest.len()].copy_from_slice(rest);
    u64::from_be_bytes(bytes)
}

/// As [`head`], of the first sixteen bytes.
pub(super) fn wide_head(rest: &[u8]) -> u128 {
    let (first, second) = rest.split_at(rest.len().min(8));
    u128::from(head(first)) << 64 | u128::from(head(second))
}
