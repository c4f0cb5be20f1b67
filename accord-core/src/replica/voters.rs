//! Who votes: the voter set, its quorum, and the rule for changing it.
//!
//! Invariants: a change adds or removes one incarnation, so the majorities of two neighbouring sets
//! always intersect (Ongaro 2014, section 4.1). A server that lost its memory is readmitted by two
//! such changes, not by an exchange in one step: with `{A, B, C}` becoming `{A', B, C}`, an old
//! disk of A that returns would make `{A, B}` and `{A', C}` both majorities. Read [`super::epoch`]
//! next for when a change may be appended.

use super::history::{History, Recovery};
use crate::group::MEMBERS_MAX;
use crate::ids::{ClusterId, Index, NodeId, StoreId};
use crate::wire::{Decode, Encode, Reader, WireError, Writer};
use alloc::collections::{BTreeMap, BTreeSet};

/// The servers whose acknowledgements and promises count, by incarnation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct VoterSet {
    /// The cluster they belong to. Zero exactly if the set is empty: no cluster is formed.
    pub cluster: ClusterId,
    /// The recoveries on the way here.
    pub history: History,
    /// Each voter and the incarnation that votes. At most [`MEMBERS_MAX`].
    pub voters: BTreeMap<NodeId, StoreId>,
    /// Nodes removed because they lost their memory, to be added again once they have caught up.
    /// Invariant: none of them is in `voters`.
    pub returning: BTreeSet<NodeId>,
}

impl VoterSet {
    /// True if no cluster was formed yet.
    pub fn is_empty(&self) -> bool {
        self.voters.is_empty()
    }

    /// True if this incarnation of the node votes.
    pub fn is_intact(&self, node: NodeId, store: StoreId) -> bool {
        self.voters.get(&node) == Some(&store)
    }

    /// The smallest number of voters that is a majority.
    pub fn quorum(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// How many of the listed incarnations are voters.
    pub fn count_intact(&self, stores: &BTreeMap<NodeId, StoreId>) -> usize {
        stores.iter().filter(|(node, store)| self.is_intact(**node, **store)).count()
    }

    /// The largest value that a majority of the voters has reached, `of` telling each one's.
    ///
    /// Zero for an empty set.
    pub fn quorum_value(&self, of: impl Fn(NodeId, StoreId) -> u64) -> u64 {
        let mut values = [0u64; MEMBERS_MAX];
        let count = self.voters.len().min(MEMBERS_MAX);
        for (slot, (node, store)) in values.iter_mut().zip(&self.voters) {
            *slot = of(*node, *store);
        }
        values[..count].sort_unstable();
        if count == 0 { 0 } else { values[count - self.quorum()] }
    }

    /// The set after `change`.
    ///
    /// # Errors
    /// Why the change makes no sense for this set.
    pub fn changed(&self, change: VoterChange) -> Result<Self, ChangeError> {
        let mut next = self.clone();
        match change {
            VoterChange::Add { node, store } => {
                if self.voters.contains_key(&node) {
                    return Err(ChangeError::AlreadyVoter);
                }
                if self.voters.len() >= MEMBERS_MAX {
                    return Err(ChangeError::TooMany);
                }
                next.returning.remove(&node);
                next.voters.insert(node, store);
            }
            // It lost its memory, and is not to be waited for any more.
            VoterChange::Remove { node, store: StoreId(0), returning: false }
                if self.returning.contains(&node) =>
            {
                next.returning.remove(&node);
            }
            VoterChange::Remove { node, store, returning } => {
                if !self.is_intact(node, store) {
                    return Err(ChangeError::NotVoter);
                }
                if self.voters.len() == 1 {
                    return Err(ChangeError::LastVoter);
                }
                next.voters.remove(&node);
                if returning {
                    next.returning.insert(node);
                }
            }
        }
        Ok(next)
    }

    /// The recovery that this set, standing at `index`, began: the first entry after the fork.
    pub fn recovery_at(&self, index: Index) -> Option<&Recovery> {
        let last = self.history.recoveries().last();
        last.filter(|recovery| recovery.fork.index.next() == index)
    }

    /// Asserts the invariants.
    pub fn check(&self) {
        assert_eq!(self.is_empty(), self.cluster.0 == 0, "a formed cluster has an id");
        assert!(self.voters.len() <= MEMBERS_MAX, "too many voters");
        assert!(
            self.returning.iter().all(|node| !self.voters.contains_key(node)),
            "a returning node does not vote"
        );
    }
}

impl Encode for VoterSet {
    fn encode(&self, out: &mut Writer) {
        self.cluster.encode(out);
        self.history.encode(out);
        out.varint(self.voters.len() as u64);
        for (node, store) in &self.voters {
            node.encode(out);
            store.encode(out);
        }
        out.varint(self.returning.len() as u64);
        for node in &self.returning {
            node.encode(out);
        }
    }
}

impl Decode for VoterSet {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let cluster = ClusterId::decode(input)?;
        let history = History::decode(input)?;
        let mut voters = BTreeMap::new();
        for _ in 0..input.count("voters", MEMBERS_MAX, 9)? {
            let node = NodeId::decode(input)?;
            if voters.last_key_value().is_some_and(|(last, _)| *last >= node) {
                return Err(WireError::Invalid { what: "order of voters" });
            }
            voters.insert(node, StoreId::decode(input)?);
        }
        let mut returning = BTreeSet::new();
        for _ in 0..input.count("returning voters", MEMBERS_MAX, 1)? {
            let node = NodeId::decode(input)?;
            let in_order = returning.last().is_none_or(|last| *last < node);
            if voters.contains_key(&node) || !in_order {
                return Err(WireError::Invalid { what: "returning voter" });
            }
            returning.insert(node);
        }
        let formed = !voters.is_empty();
        if formed != (cluster.0 != 0) || !(formed || history.recoveries().is_empty()) {
            return Err(WireError::Invalid { what: "cluster id" });
        }
        Ok(Self { cluster, history, voters, returning })
    }
}

/// One step of changing the voter set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VoterChange {
    /// Lets this incarnation of a node vote. It must have caught up.
    Add {
        /// The node.
        node: NodeId,
        /// Its present incarnation.
        store: StoreId,
    },
    /// Takes the vote from this incarnation of a node. Without an incarnation (zero): a node that
    /// lost its memory and was to return is not readmitted any more.
    Remove {
        /// The node.
        node: NodeId,
        /// The incarnation that votes now.
        store: StoreId,
        /// True if the node is to be added again with its new incarnation (readmission).
        returning: bool,
    },
}

impl VoterChange {
    /// The node concerned.
    pub const fn node(self) -> NodeId {
        match self {
            Self::Add { node, .. } | Self::Remove { node, .. } => node,
        }
    }
}

impl Encode for VoterChange {
    fn encode(&self, out: &mut Writer) {
        match *self {
            Self::Add { node, store } => {
                out.u8(0);
                node.encode(out);
                store.encode(out);
            }
            Self::Remove { node, store, returning } => {
                out.u8(1);
                node.encode(out);
                store.encode(out);
                out.bool(returning);
            }
        }
    }
}

impl Decode for VoterChange {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let tag = input.u8()?;
        let node = NodeId::decode(input)?;
        let store = StoreId::decode(input)?;
        match tag {
            0 => Ok(Self::Add { node, store }),
            1 => Ok(Self::Remove { node, store, returning: input.bool()? }),
            tag => Err(WireError::UnknownTag { what: "voter change", tag: u64::from(tag) }),
        }
    }
}

/// Why a change of voters was refused. Nothing was changed, except after [`ChangeError::Unknown`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ChangeError {
    /// This server is not in the primary component.
    #[error("this server is not in the primary component; ask one that is")]
    NotPrimary,
    /// Another change is not committed yet, or the epoch has just begun.
    #[error("another change is under way; try again when it is committed")]
    InProgress,
    /// The node votes already.
    #[error("the node is a voter already")]
    AlreadyVoter,
    /// The node, or this incarnation of it, does not vote.
    #[error("the node does not vote with this incarnation")]
    NotVoter,
    /// The node is not connected with this incarnation.
    #[error("the node is not a member of the group with this incarnation; start it first")]
    NotMember,
    /// The node has not caught up with the log.
    #[error("the node has not caught up yet; try again later")]
    NotCaughtUp,
    /// The set would be empty.
    #[error("the last voter cannot be removed")]
    LastVoter,
    /// The set would be too large.
    #[error("a cluster has at most {MEMBERS_MAX} voters")]
    TooMany,
    /// The voters that are connected would not be a majority of the new set.
    #[error("the connected voters would be no majority of the new set; the cluster would stop")]
    WouldLoseQuorum,
    /// Too few voters of the new set have caught up with the log.
    #[error("too few voters of the new set have caught up; the cluster would wait for them")]
    QuorumBehind,
    /// The primary component was lost meanwhile: the change may or may not take effect.
    #[error("the primary component was lost while the change was under way; look at the voters")]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(nodes: &[u32]) -> VoterSet {
        VoterSet {
            cluster: ClusterId(1),
            history: History::default(),
            voters: nodes.iter().map(|n| (NodeId(*n), StoreId(u64::from(*n)))).collect(),
            returning: BTreeSet::new(),
        }
    }

    #[test]
    fn a_set_has_one_encoding() {
        let mut returning = set(&[1, 2]);
        returning.returning.extend([NodeId(3), NodeId(4)]);
        let good = returning.to_bytes();
        assert_eq!(VoterSet::from_bytes(&good), Ok(returning));
        // Eight bytes of cluster, two counts; each voter is a byte and eight; a count, a byte each.
        for (at, value) in [(8, 1), (10, 2), (10, 3), (19, 1), (29, 4), (30, 3), (29, 1)] {
            let mut bad = good.to_vec();
            bad[at] = value;
            assert!(VoterSet::from_bytes(&bad.into()).is_err(), "{value} at {at}");
        }
    }

    #[test]
    fn the_quorum_value_is_what_a_majority_has_reached() {
        for (nodes, values, expected) in [
            (&[1][..], &[7][..], 7),
            (&[1, 2], &[7, 3], 3),
            (&[1, 2, 3], &[7, 3, 5], 5),
            (&[1, 2, 3, 4], &[1, 2, 3, 4], 2),
            (&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5], 3),
        ] {
            let got = set(nodes).quorum_value(|node, _| values[node.0 as usize - 1]);
            assert_eq!(got, expected, "{nodes:?} {values:?}");
        }
    }

    #[test]
    fn who_lost_its_memory_can_be_given_up() {
        let gone = |store, returning| {
            let (node, store) = (NodeId(3), StoreId(store));
            VoterChange::Remove { node, store, returning }
        };
        let waiting = set(&[1, 2, 3]).changed(gone(3, true)).unwrap();
        assert_eq!(waiting.changed(gone(3, false)), Err(ChangeError::NotVoter));
        assert_eq!(waiting.changed(gone(0, true)), Err(ChangeError::NotVoter));
        assert_eq!(waiting.changed(gone(0, false)), Ok(set(&[1, 2])));
        assert_eq!(set(&[1, 2]).changed(gone(0, false)), Err(ChangeError::NotVoter));
    }

    #[test]
    fn majorities_of_neighbouring_sets_intersect() {
        let old = set(&[1, 2, 3]);
        let gone = VoterChange::Remove { node: NodeId(1), store: StoreId(1), returning: true };
        let without = old.changed(gone).unwrap();
        assert_eq!(without.returning, BTreeSet::from([NodeId(1)]));
        assert!(old.quorum() + without.quorum() > 3);
        let back = without.changed(VoterChange::Add { node: NodeId(1), store: StoreId(9) });
        let back = back.unwrap();
        assert!(without.quorum() + back.quorum() > 3);
        assert!(back.returning.is_empty());
        assert!(!back.is_intact(NodeId(1), StoreId(1)));
    }
}
