//! A server whose state differs from a majority's stops itself, and no other server does.
//!
//! The world damages the digests of one server's state and nothing else, so all other properties
//! hold as before. Where the undamaged voters of an epoch are no majority, nobody can tell who is
//! right, and all may stop. Each stop is judged when it happens; in the healed world at rest, no
//! server serves on that a majority contradicts.

use super::Judgement;
use accord_core::ids::NodeId;
use accord_core::replica::io::ReplicaStatus;
use std::collections::BTreeSet;

/// What the world did to states.
#[derive(Debug, Default)]
pub struct Divergence {
    /// Servers whose state was damaged at any time: others may still have their old digests.
    damaged: BTreeSet<NodeId>,
}

impl Divergence {
    /// The state of `node` is damaged.
    pub fn on_damaged(&mut self, node: NodeId) {
        self.damaged.insert(node);
    }

    /// True if a state was damaged at any time.
    pub fn is_tried(&self) -> bool {
        !self.damaged.is_empty()
    }

    /// A server stops itself because its digest differs from others'; the flag says whether its
    /// state is damaged.
    ///
    /// # Errors
    /// If its state is not damaged and a majority of the voters has the same.
    pub fn on_stopped(&self, (node, damaged): (NodeId, bool), status: &ReplicaStatus) -> Judgement {
        let quorum = status.voters.quorum();
        let sound = |id: &NodeId| !self.damaged.contains(id);
        let sound = present(status).filter(sound).count();
        if damaged || sound < quorum {
            return Ok(());
        }
        let damaged = &self.damaged;
        Err(format!(
            "{node} stopped itself, though its state is not damaged and {sound} voters have the \
             same, of which {quorum} are a majority; damaged: {damaged:?}"
        ))
    }
}

/// The voters in force whose present incarnation is in the server's epoch.
fn present(status: &ReplicaStatus) -> impl Iterator<Item = NodeId> {
    let voters = status.voters.voters.iter();
    voters.filter(|(id, store)| status.stores.get(id) == Some(store)).map(|(id, _)| *id)
}

/// A server that serves on although a majority of the voters gave another digest in its epoch, at
/// the last index at which it gave one.
pub fn contradicted(statuses: &[(NodeId, ReplicaStatus)]) -> Option<String> {
    statuses.iter().find_map(|(node, status)| {
        let (index, mine) = status.digests.last().copied()?;
        let differs = |voter: &NodeId| {
            statuses.iter().any(|(other, theirs)| {
                let known = |(at, digest): &(_, u64)| *at == index && *digest != mine;
                other == voter && theirs.epoch == status.epoch && theirs.digests.iter().any(known)
            })
        };
        let others = present(status).filter(differs).count();
        let outvoted = status.synced && others >= status.voters.quorum();
        outvoted.then(|| {
            format!(
                "{node} serves on with {mine:016x} at {index}, which {others} voters contradict"
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::situations::Situation;
    use crate::plan::{Plan, text};
    use crate::world;
    use accord_core::ids::{Epoch, Index, StoreId};
    use accord_core::replica::log::Recovered;
    use accord_core::replica::voters::VoterSet;
    use accord_core::server::Server;
    use accord_core::time::Instant;

    fn plan(faults: &str) -> Plan {
        let head = "accord-sim plan 1\nservers 3\nclients 4\noperations 400\nsafety 6s\n\
                    limits tiny\nmode persistent\n";
        text::read(&format!("{head}{faults}\nend\n")).expect("a plan")
    }

    /// The status of a server in an epoch of three voters, in which it gave `digests`.
    fn status(members: u32, digests: &[(u64, u64)]) -> ReplicaStatus {
        let options = plan("").options;
        let (config, store) = (crate::plan::setup::server_config(&options, 1), StoreId(1));
        let server = Server::new(config, Recovered::fresh(store, true), 1, Instant::ZERO);
        let voters = (1..=3).map(|node| (NodeId(node), store)).collect();
        ReplicaStatus {
            epoch: Some(Epoch(4)),
            synced: true,
            voters: VoterSet { voters, ..VoterSet::default() },
            stores: (1..=members).map(|node| (NodeId(node), store)).collect(),
            digests: digests.iter().map(|(index, digest)| (Index(*index), *digest)).collect(),
            ..server.status().replica
        }
    }

    #[test]
    fn who_is_not_damaged_stops_only_where_nobody_can_tell() {
        let mut judge = Divergence::default();
        judge.on_damaged(NodeId(3));
        assert_eq!(judge.on_stopped((NodeId(3), true), &status(3, &[])), Ok(()));
        assert!(judge.on_stopped((NodeId(1), false), &status(3, &[])).is_err());
        assert!(judge.on_stopped((NodeId(1), false), &status(2, &[])).is_err());
        judge.on_damaged(NodeId(2));
        assert_eq!(judge.on_stopped((NodeId(1), false), &status(3, &[])), Ok(()));
    }

    #[test]
    fn who_serves_on_against_a_majority_is_named() {
        let all = |digests: [&[(u64, u64)]; 3]| {
            let server = |(at, digests)| (NodeId(at), status(3, digests));
            contradicted(&(1..).zip(digests).map(server).collect::<Vec<_>>())
        };
        let same: &[_] = &[(8, 1), (16, 2)];
        assert_eq!(all([same, same, same]), None);
        assert_eq!(all([same, &[(8, 1)], &[(16, 3)]]), None, "one voter is no majority");
        assert_eq!(all([same, same, &[(8, 3)]]).map(|it| it.starts_with("n3")), Some(true));
        assert_eq!(all([same, same, &[]]), None, "it gave none");
    }

    #[test]
    fn a_damaged_server_stops_alone_and_comes_back() {
        for server in 1..=3 {
            let run = world::run(&plan(&format!("at 1s damage {server}")), None);
            assert_eq!(run.violation, None, "n{server}");
            assert!(run.counts.situations.contains_key(&Situation::Diverged), "n{server}");
            assert_eq!(run.counts.crashes, 1, "n{server} alone stopped");
        }
    }

    #[test]
    fn all_stop_where_nobody_can_tell() {
        let stops = (0..8).map(|seed| {
            let faults = format!("seed {seed}\nat 500ms for 3s partition 3\nat 1s damage 1");
            let run = world::run(&plan(&faults), None);
            assert_eq!(run.violation, None, "seed {seed}");
            run.counts.crashes
        });
        // Who stops first may take its digest with it.
        let stops: BTreeSet<u64> = stops.collect();
        assert!(stops.contains(&2), "two voters of three are in the epoch: {stops:?}");
    }

    #[test]
    fn only_one_is_damaged_and_its_cluster_is_not_made_small() {
        let run = world::run(&plan("at 1s damage 1\nat 1s damage 2\nat 1s removevoter 3"), None);
        assert_eq!((run.violation, run.counts.faults_skipped), (None, 2));
    }
}
