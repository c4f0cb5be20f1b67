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
use xxhash_rust::xxh3::xxh3_64;

/// What was applied, as far as anybody showed it.
#[derive(Debug, Default)]
pub struct Prefixes {
    entries: BTreeMap<Index, (u64, NodeId)>,
    states: BTreeMap<Index, (u64, NodeId)>,
    last: Index,
    scratch: Writer,
}

impl Prefixes {
    /// The largest index that any server has applied.
    pub const fn last(&self) -> Index {
        self.last
    }

    /// `node` has applied `entry`. True if it is the first to show this index.
    ///
    /// # Errors
    /// If another server applied a different entry at this index.
    pub fn on_applied(&mut self, node: NodeId, entry: &Entry) -> Result<bool, String> {
        self.scratch.clear();
        entry.encode(&mut self.scratch);
        let hash = xxh3_64(self.scratch.as_slice());
        let (first, by) = *self.entries.entry(entry.index).or_insert((hash, node));
        let new = by == node && entry.index > self.last;
        self.last = self.last.max(entry.index);
        if first == hash {
            return Ok(new);
        }
        let (index, epoch) = (entry.index, entry.epoch);
        Err(format!("{node} applied another entry at {index} (of {epoch}) than {by}: {entry:?}"))
    }

    /// After applying `index`, the state of `node` has the chained digest `digest`.
    ///
    /// # Errors
    /// If another server's state had a different one there.
    pub fn on_state(&mut self, node: NodeId, index: Index, digest: u64) -> Judgement {
        self.last = self.last.max(index);
        let (first, by) = *self.states.entry(index).or_insert((digest, node));
        if first == digest {
            return Ok(());
        }
        Err(format!("after {index}, {node} has digest {digest:016x} and {by} had {first:016x}"))
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
}
