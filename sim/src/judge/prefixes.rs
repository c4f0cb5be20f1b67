//! All servers apply the same log, over all their lives.
//!
//! The first server to apply an entry fixes it for all. Where a server no longer holds what it
//! applied (tiny bounds trim at once), the chained digest of its state stands for everything before
//! it. Stronger than comparing states at the end: an entry that is applied and later replaced is
//! caught even if its effect is overwritten.

use super::Judgement;
use accord_core::ids::{Index, NodeId};
use accord_core::replica::io::Entry;
use accord_core::wire::{Encode, Writer};
use std::collections::BTreeMap;
use std::fmt;
use xxhash_rust::xxh3::xxh3_64;

/// What was applied, as far as anybody showed it.
#[derive(Debug, Default)]
pub struct Prefixes {
    entries: BTreeMap<Index, First>,
    states: BTreeMap<Index, (u64, Life)>,
    /// How often each server has started.
    lives: BTreeMap<NodeId, u64>,
    last: Index,
    scratch: Writer,
}

/// One life of a server, from a start of its process to its death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Life {
    node: NodeId,
    /// From 1; zero if nobody said that it started.
    number: u64,
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in life {}", self.node, self.number)
    }
}

/// The entry that was applied first at an index, and by whom.
#[derive(Clone, Debug)]
struct First {
    hash: u64,
    by: Life,
    entry: Entry,
}

impl Prefixes {
    /// A server's process starts: another life of it.
    pub fn on_started(&mut self, node: NodeId) {
        *self.lives.entry(node).or_default() += 1;
    }

    fn life(&self, node: NodeId) -> Life {
        Life { node, number: self.lives.get(&node).copied().unwrap_or_default() }
    }

    /// The largest index that any server has applied.
    pub const fn last(&self) -> Index {
        self.last
    }

    /// The cluster goes on from `kept`: what came after it is given up.
    pub fn give_up_after(&mut self, kept: Index) {
        self.entries.split_off(&kept.next());
        self.states.split_off(&kept.next());
        self.last = self.last.min(kept);
    }

    /// `node` has applied `entry`. True if it is the first to show this index.
    ///
    /// # Errors
    /// If another server applied a different entry at this index.
    pub fn on_applied(&mut self, node: NodeId, entry: &Entry) -> Result<bool, String> {
        self.scratch.clear();
        entry.encode(&mut self.scratch);
        let hash = xxh3_64(self.scratch.as_slice());
        let here = self.life(node);
        let new = || First { hash, by: here, entry: entry.clone() };
        let first = self.entries.entry(entry.index).or_insert_with(new);
        let new = first.by.node == node && entry.index > self.last;
        self.last = self.last.max(entry.index);
        if first.hash == hash {
            return Ok(new);
        }
        let (index, First { by, entry: other, .. }) = (entry.index, first);
        Err(format!(
            "{here} applied at {index} another entry than {by}: {entry:?}, before {other:?}"
        ))
    }

    /// After applying `index`, the state of `node` has the chained digest `digest`.
    ///
    /// # Errors
    /// If another server's state had a different one there.
    pub fn on_state(&mut self, node: NodeId, index: Index, digest: u64) -> Judgement {
        self.last = self.last.max(index);
        let here = self.life(node);
        let (first, by) = *self.states.entry(index).or_insert((digest, here));
        if first == digest {
            return Ok(());
        }
        Err(format!("after {index}, {here} has digest {digest:016x} and {by} had {first:016x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use accord_core::ids::Epoch;
    use accord_core::replica::io::Body;

    fn marker(epoch: u64, index: u64) -> Entry {
        let body = Body::Marker { members: vec![NodeId(1)] };
        Entry { epoch: Epoch(epoch), index: Index(index), body }
    }

    #[test]
    fn a_replaced_entry_is_refused_and_an_equal_one_accepted() {
        let mut prefixes = Prefixes::default();
        assert_eq!(prefixes.on_applied(NodeId(1), &marker(1, 1)), Ok(true));
        assert_eq!(prefixes.on_applied(NodeId(2), &marker(1, 1)), Ok(false));
        assert_eq!(prefixes.on_applied(NodeId(1), &marker(1, 1)), Ok(false), "once more");
        assert!(prefixes.on_applied(NodeId(3), &marker(2, 1)).is_err());
        assert_eq!(prefixes.on_state(NodeId(1), Index(1), 7), Ok(()));
        assert!(prefixes.on_state(NodeId(2), Index(1), 8).is_err());
        assert_eq!(prefixes.last(), Index(1));
    }

    #[test]
    fn a_server_that_contradicts_itself_is_told_with_both_lives_and_both_entries() {
        let mut prefixes = Prefixes::default();
        prefixes.on_started(NodeId(3));
        assert_eq!(prefixes.on_applied(NodeId(3), &marker(5, 97)), Ok(true));
        prefixes.on_started(NodeId(3));
        let said = prefixes.on_applied(NodeId(3), &marker(6, 97)).expect_err("another entry");
        let begins = "n3 in life 2 applied at i97 another entry than n3 in life 1: ";
        assert!(said.starts_with(begins), "{said}");
        assert!(said.contains("epoch: e6") && said.contains("epoch: e5"), "{said}");
    }
}
