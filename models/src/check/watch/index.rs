//! Where to look: the changes that a watch is about, and the results that reflect them. Without
//! these, each watch would go through all changes and all results.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::read::{Reading, Seen};
use crate::edn::Value;
use crate::history::Operation;
use crate::spec::{Change, WatchFilter};

/// The places of changes in the log, by key. The log ascends by revision.
pub(super) struct ByKey {
    places: BTreeMap<Value, Vec<usize>>,
}

impl ByKey {
    pub(super) fn of(log: &[Change]) -> Self {
        let mut places: BTreeMap<Value, Vec<usize>> = BTreeMap::new();
        for (place, change) in log.iter().enumerate() {
            match places.get_mut(&change.key) {
                Some(places) => places.push(place),
                None => {
                    places.insert(change.key.clone(), vec![place]);
                }
            }
        }
        Self { places }
    }

    /// The changes of `log` that the filter is about, later than `from` and not than `until`.
    pub(super) fn matching(
        &self,
        log: &[Change],
        filter: &WatchFilter,
        from: u64,
        until: u64,
    ) -> Vec<Change> {
        let first = log.partition_point(|change| change.revision <= from);
        let end = log.partition_point(|change| change.revision <= until).max(first);
        let of_key = |places: &Vec<usize>| {
            let range = [first, end].map(|bound| places.partition_point(|place| *place < bound));
            places[range[0]..range[1]].to_vec()
        };
        let places: Vec<usize> = if !filter.is_prefix {
            self.places.get(&filter.key).map(of_key).unwrap_or_default()
        } else if self.with_prefix(filter).nth(end - first).is_some() {
            // More keys than changes.
            (first..end).collect()
        } else {
            let mut places: Vec<usize> =
                self.with_prefix(filter).flat_map(|(_, places)| of_key(places)).collect();
            places.sort_unstable();
            places
        };
        let changes = places.into_iter().map(|place| &log[place]);
        changes.filter(|change| filter.matches(change)).cloned().collect()
    }

    /// The keys that begin with the filter's.
    fn with_prefix<'a>(
        &'a self,
        filter: &'a WatchFilter,
    ) -> impl Iterator<Item = (&'a Value, &'a Vec<usize>)> {
        let range = self.places.range((Bound::Included(&filter.key), Bound::Unbounded));
        range.take_while(|(key, _)| filter.covers(key))
    }
}

/// The results that one session saw, in the order in which it saw them.
pub(super) struct Results {
    seen: Vec<Seen>,
    returned: Vec<u64>,
    revisions: Greatest,
}

impl Results {
    /// The results of each session.
    pub(super) fn by_session(reading: &Reading<'_>) -> BTreeMap<u64, Self> {
        let mut sessions: BTreeMap<u64, Vec<Seen>> = BTreeMap::new();
        for seen in &reading.results {
            sessions.entry(seen.session).or_default().push(*seen);
        }
        let of = |(session, seen)| (session, Self::of(seen, reading.ops));
        sessions.into_iter().map(of).collect()
    }

    fn of(mut seen: Vec<Seen>, ops: &[Operation]) -> Self {
        seen.sort_by_key(|seen| ops[seen.op].returned());
        let returned = seen.iter().map(|seen| ops[seen.op].returned()).collect();
        let revisions: Vec<u64> = seen.iter().map(|seen| seen.revision).collect();
        Self { seen, returned, revisions: Greatest::of(&revisions) }
    }

    /// The first result that was seen after event `after` and reflects `revision`, with the event
    /// at which it was seen.
    pub(super) fn first_reflecting(&self, after: u64, revision: u64) -> Option<(Seen, u64)> {
        let start = self.returned.partition_point(|returned| *returned <= after);
        let place = self.revisions.first(start, revision)?;
        Some((self.seen[place], self.returned[place]))
    }

    /// The greatest revision of the results seen.
    pub(super) fn greatest(&self) -> u64 {
        self.revisions.nodes[1]
    }
}

/// Numbers, with the greatest of every stretch of them: a tree in an array, whose node `n` has the
/// children `2n` and `2n + 1`. Behind the last number stand zeros.
struct Greatest {
    nodes: Vec<u64>,
}

impl Greatest {
    fn of(numbers: &[u64]) -> Self {
        let leaves = numbers.len().next_power_of_two();
        let mut nodes = vec![0; 2 * leaves];
        nodes[leaves..leaves + numbers.len()].copy_from_slice(numbers);
        for node in (1..leaves).rev() {
            nodes[node] = nodes[2 * node].max(nodes[2 * node + 1]);
        }
        Self { nodes }
    }

    /// The first place from `start` on with a number not below `least`, which is not zero.
    fn first(&self, start: usize, least: u64) -> Option<usize> {
        let leaves = self.nodes.len() / 2;
        if start >= leaves {
            return None;
        }
        // Up to a stretch that has one, from the start on; then down to its first.
        let mut node = leaves + start;
        while self.nodes[node] < least {
            while node % 2 == 1 {
                node /= 2;
                if node == 0 {
                    return None;
                }
            }
            node += 1;
        }
        while node < leaves {
            node *= 2;
            node += usize::from(self.nodes[node] < least);
        }
        Some(node - leaves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_that_is_great_enough_is_found() {
        let numbers = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5];
        for count in 0..=numbers.len() {
            let greatest = Greatest::of(&numbers[..count]);
            for start in 0..=count + 1 {
                for least in 1..=10 {
                    let expected = (start..count).find(|place| numbers[*place] >= least);
                    assert_eq!(greatest.first(start, least), expected, "{count} {start} {least}");
                }
            }
        }
    }
}
