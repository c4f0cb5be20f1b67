//! Watching for divergence: servers exchange digests of their state and the odd one out stops.
//!
//! A digest differs only if a server is broken: a bug, a memory error, a different version. Serving
//! on would spread the damage. Without a majority for any value, the right one is not known: all
//! stop. Votes and majority are those of one voter set, the one in force now: a server readmitted
//! within the epoch votes with the others.

use super::epoch::OpenEpoch;
use super::io::HaltReason;
use super::{Phase, Replica};
use crate::ids::{Index, NodeId};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Indices for which digests are remembered.
const DIGESTS_MAX: usize = 16;

impl Replica {
    /// True if the state's digest after `index` is to be given to [`Self::note_digest`].
    pub fn wants_digest(&self, index: Index) -> bool {
        index.0.is_multiple_of(self.config.limits.digest_interval)
    }

    /// Takes the digest of the state after the entry at `index`, to compare with the other
    /// servers'.
    pub fn note_digest(&mut self, index: Index, digest: u64) {
        let me = self.config.node;
        if let Phase::Open(epoch) = &mut self.phase
            && epoch.is_synced()
            && index >= epoch.begin
        {
            epoch.digest_due = Some((index, digest));
            remember(&mut epoch.digests, me, index, digest);
            self.compare_digests(index);
        }
    }

    pub(super) fn on_digest(&mut self, from: NodeId, index: Index, digest: u64) {
        if let Phase::Open(epoch) = &mut self.phase {
            remember(&mut epoch.digests, from, index, digest);
            self.compare_digests(index);
        }
    }

    fn compare_digests(&mut self, index: Index) {
        let Phase::Open(epoch) = &self.phase else { return };
        let Some(digests) = epoch.digests.get(&index) else { return };
        let Some(mine) = digests.get(&self.config.node).copied() else { return };
        let Some(theirs) = digests.values().copied().find(|digest| *digest != mine) else { return };
        let votes = |value: u64| {
            let with_value = digests.iter().filter(|(_, digest)| **digest == value);
            with_value.filter(|(node, _)| epoch.votes(**node)).count()
        };
        let quorum = epoch.voters.quorum();
        let outvoted = digests.values().any(|digest| *digest != mine && votes(*digest) >= quorum);
        let all_known = digests.len() == epoch.members.len();
        let nobody_knows = all_known && digests.values().all(|digest| votes(*digest) < quorum);
        if outvoted || nobody_knows {
            self.halt(HaltReason::DigestMismatch { index, mine, theirs });
        }
    }
}

impl OpenEpoch {
    /// The digests that this server gave, by index.
    pub(super) fn own_digests(&self, me: NodeId) -> Vec<(Index, u64)> {
        let own = |(index, digests): (&Index, &BTreeMap<NodeId, u64>)| {
            digests.get(&me).map(|digest| (*index, *digest))
        };
        self.digests.iter().filter_map(own).collect()
    }
}

fn remember(
    digests: &mut BTreeMap<Index, BTreeMap<NodeId, u64>>,
    from: NodeId,
    index: Index,
    digest: u64,
) {
    digests.entry(index).or_default().insert(from, digest);
    while digests.len() > DIGESTS_MAX {
        digests.pop_first();
    }
}
