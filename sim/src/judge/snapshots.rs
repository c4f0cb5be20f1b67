//! A state that stands for a part of the log says of that part what the log says: who voted at its
//! end, and which batch of each server was the last.
//!
//! Compared with the committed entries, as the world saw them applied. A voter set that stands in
//! the log beyond the state's end may be dropped from it; a server that starts with it has voters
//! that never were.

use super::Judgement;
use accord_core::ids::{Epoch, Index, NodeId};
use accord_core::replica::io::{Body, Entry, Snapshot};
use accord_core::replica::log::Log;
use accord_core::replica::voters::VoterSet;
use std::collections::BTreeMap;

/// What the committed log says, entry by entry.
#[derive(Debug)]
pub struct Snapshots {
    voters: BTreeMap<Index, VoterSet>,
    /// The batches that count: a salt and a number, by server and index.
    batches: BTreeMap<NodeId, BTreeMap<Index, (u64, u64)>>,
    /// The epoch of the last change of voters, and how many there were in it.
    changes: (Epoch, u32),
    last: Index,
    complete: bool,
}

impl Default for Snapshots {
    fn default() -> Self {
        let (voters, batches) = (BTreeMap::new(), BTreeMap::new());
        Self { voters, batches, changes: (Epoch(0), 0), last: Index(0), complete: true }
    }
}

impl Snapshots {
    /// A server shows an entry, which nobody showed before. True if it is the second change of
    /// voters in its epoch.
    pub fn on_entry(&mut self, entry: &Entry) -> bool {
        self.complete &= entry.index == self.last.next();
        self.last = entry.index;
        match &entry.body {
            Body::Marker { .. } => {}
            // The first set of a cluster, or of an era, is no change.
            Body::Voters(set) => {
                let first = self.voters.is_empty() || set.recovery_at(entry.index).is_some();
                self.voters.insert(entry.index, set.clone());
                if !first {
                    let changes =
                        if self.changes.0 == entry.epoch { self.changes.1 + 1 } else { 1 };
                    self.changes = (entry.epoch, changes);
                    return changes == 2;
                }
            }
            Body::Batch { origin, salt, number, .. } => {
                let batches = self.batches.entry(*origin).or_default();
                let last = batches.last_key_value().map(|(_, last)| *last);
                if last.is_none_or(|(last, most)| last != *salt || most < *number) {
                    batches.insert(entry.index, (*salt, *number));
                }
            }
        }
        false
    }

    /// The cluster goes on from `kept`: what came after it is given up.
    pub fn give_up_after(&mut self, kept: Index) {
        self.voters.split_off(&kept.next());
        for batches in self.batches.values_mut() {
            batches.split_off(&kept.next());
        }
        self.last = self.last.min(kept);
    }

    /// Some entries were applied without being seen.
    pub const fn on_unseen(&mut self) {
        self.complete = false;
    }

    /// True if everything up to `index` is known.
    fn knows(&self, index: Index) -> bool {
        self.complete && index <= self.last
    }

    fn voters_at(&self, index: Index) -> VoterSet {
        self.voters.range(..=index).next_back().map(|(_, set)| set.clone()).unwrap_or_default()
    }

    /// True if a voter set stands behind `index` in what is known to be committed.
    pub fn is_before_a_change(&self, index: Index) -> bool {
        self.voters.range(index.next()..).next().is_some()
    }

    /// `node` writes a snapshot, its own or another server's.
    ///
    /// # Errors
    /// If it does not say what the log says up to its end.
    pub fn on_snapshot(&self, node: u32, snapshot: &Snapshot) -> Judgement {
        let end = snapshot.last.index;
        if !self.knows(end) {
            return Ok(());
        }
        let voters = self.voters_at(end);
        if snapshot.voters != voters {
            let named = &snapshot.voters;
            return Err(format!("a snapshot of n{node} at {end} names {named:?}, not {voters:?}"));
        }
        for (origin, batches) in &self.batches {
            let Some((_, last)) = batches.range(..=end).next_back() else { continue };
            let told = snapshot.origins.get(origin).map(|origin| (origin.salt, origin.number));
            if told != Some(*last) {
                return Err(format!(
                    "a snapshot of n{node} at {end} has {told:?} for the last batch of {origin}, \
                     not {last:?}"
                ));
            }
        }
        Ok(())
    }

    /// `node` has this log.
    ///
    /// # Errors
    /// If the voter set at its base is not that of the committed log there.
    pub fn on_log(&self, node: u32, log: &Log) -> Judgement {
        let base = log.base().index;
        if !self.knows(base) {
            return Ok(());
        }
        let (found, voters) = (log.voters_at(base), self.voters_at(base));
        if *found == voters {
            return Ok(());
        }
        Err(format!("the log of n{node} begins after {base} with {found:?}, not {voters:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use accord_core::ids::{ClusterId, LogPosition, Stamp, StoreId};
    use accord_core::pieces::Pieces;
    use accord_core::replica::ends::EpochEnds;
    use accord_core::replica::io::Origin;
    use bytes::Bytes;

    fn voters(count: u32) -> VoterSet {
        let voters = (1..=count).map(|node| (NodeId(node), StoreId(1))).collect();
        VoterSet { cluster: ClusterId(1), voters, ..VoterSet::default() }
    }

    fn snapshot(end: u64, voters: VoterSet, origins: &[(u32, u64)]) -> Snapshot {
        let last = LogPosition { epoch: Epoch(1), index: Index(end) };
        let origin =
            |(node, number): &(u32, u64)| (NodeId(*node), Origin { salt: 5, number: *number });
        let (ends, state) = (EpochEnds::only(last), Pieces::default());
        Snapshot { last, ends, voters, origins: origins.iter().map(origin).collect(), state }
    }

    #[test]
    fn a_snapshot_names_the_voters_and_batches_at_its_end() {
        let batch = |node, number| {
            let commands = Bytes::new();
            Body::Batch { origin: NodeId(node), salt: 5, number, stamp: Stamp(0), commands }
        };
        let bodies = [
            Body::Voters(voters(3)),
            batch(1, 1),
            batch(4, 1),
            batch(1, 2),
            batch(1, 2),
            Body::Voters(voters(4)),
        ];
        let mut judge = Snapshots::default();
        for (at, body) in bodies.into_iter().enumerate() {
            judge.on_entry(&Entry { epoch: Epoch(1), index: Index(at as u64 + 1), body });
        }
        let at = |end, count, origins: &[(u32, u64)]| {
            judge.on_snapshot(1, &snapshot(end, voters(count), origins))
        };
        assert_eq!(at(5, 3, &[(1, 2), (4, 1)]), Ok(()));
        assert_eq!(at(6, 4, &[(1, 2), (4, 1)]), Ok(()));
        assert_eq!(at(7, 9, &[]), Ok(()), "nobody has seen that");
        assert!(at(5, 4, &[(1, 2), (4, 1)]).is_err(), "voters of later");
        assert!(at(5, 3, &[(1, 2)]).is_err(), "a batch is missing");
        assert!(at(3, 3, &[(1, 2), (4, 1)]).is_err(), "a batch of later");
        assert!(judge.is_before_a_change(Index(5)) && !judge.is_before_a_change(Index(6)));
    }
}
