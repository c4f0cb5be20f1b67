//! The loss of a majority, and the operator who goes on without it.
//!
//! The fault takes a majority of the voters away. The operator asks the best of the rest to recover
//! the cluster, again and again until it does. When the fault ends, the lost servers come back:
//! some with their old disks, the others with empty ones, for old disks that are a majority without
//! anybody who has met the recovered cluster would be a cluster of their own, and nobody can do
//! anything about that (docs/replication.md, "Histories"). A server that says that it was left
//! behind is started with an empty disk, as it asks for.
//!
//! If nobody was asked to recover the cluster by then, all come back with all they had, as after
//! any outage. But a recovery that was begun is brought to its end.

use crate::judge::situations::Situation;
use crate::world::World;
use crate::world::env::Event;
use crate::world::faults::{FaultEngine, Machines};
use crate::world::input::NodeInput;
use crate::world::node::Node;
use crate::world::who::Actor;
use accord_core::ids::{LogPosition, NodeId};
use accord_core::replica::config::Durability;
use accord_core::replica::io::ClosedReason;
use accord_core::replica::voters::VoterSet;
use accord_core::server::{Input, OperatorRequest, OperatorRequestId};
use accord_core::time::Duration;
use std::collections::BTreeMap;

/// How often the operator checks the cluster.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How often a server is seen to be left behind before it is started with an empty disk.
const ATTEMPTS_BEFORE_WIPE: u32 = 10;
/// Administration of the world's own.
const ADMIN: OperatorRequestId = OperatorRequestId(u64::MAX);

/// A majority that is lost.
#[derive(Debug)]
pub(crate) struct Recovering {
    /// Who voted before.
    voters: VoterSet,
    /// Servers that are down for it.
    lost: Vec<u32>,
    /// The server that the operator asked for the recovery. While servers may not hear each other,
    /// no other one is asked: two recoveries apart are two clusters.
    asked: Option<u32>,
    /// The fault is over, and the lost are to come back.
    over: bool,
    /// How often each server was seen to be left behind.
    behind: BTreeMap<u32, u32>,
}

impl World {
    fn serves(&self, node: u32) -> bool {
        let process = self.nodes[node as usize - 1].process.as_ref();
        process.is_some_and(|process| process.server.replica().open_epoch().is_some())
    }

    /// True while a majority is lost and has not come back.
    pub(crate) fn lacks_a_majority(&self) -> bool {
        self.recovering.as_ref().is_some_and(|recovering| !recovering.lost.is_empty())
    }

    fn remembers_nothing(&self) -> bool {
        self.options().mode == Durability::Memory
    }

    /// A majority is lost. False if there is none to lose, or if it would not be told from others.
    pub(crate) fn lose_a_majority(&mut self, number: usize) -> bool {
        let engine = FaultEngine(self);
        let sets = engine.voter_sets();
        let Some(voters) = sets.last().cloned() else { return false };
        let settled = sets.iter().all(|set| *set == voters) && voters.returning.is_empty();
        let whole = voters.voters.iter().all(|(node, store)| engine.remembers(*node, *store));
        let aside = self.nodes.iter().any(|node| node.aside.is_some());
        let again = self.recovering.is_some() || self.faults.amnesia.is_some();
        let apart = aside || self.is_damaged();
        if !FaultEngine(self).formed()
            || !settled
            || !whole
            || apart
            || again
            || voters.voters.len() < 3
        {
            return false;
        }
        let mut lost: Vec<u32> = voters.voters.keys().map(|node| node.0).collect();
        let first = number % lost.len();
        lost.rotate_left(first);
        // Those who serve, if some do and others do not.
        lost.sort_by_key(|node| !self.serves(*node));
        lost.truncate(voters.quorum());
        for node in &lost {
            if self.remembers_nothing() {
                self.take_down(*node);
                FaultEngine(self).forget(*node);
            } else {
                FaultEngine(self).lose_power(*node);
            }
        }
        let behind = BTreeMap::new();
        self.recovering = Some(Recovering { voters, lost, asked: None, over: false, behind });
        self.env.agenda.push(self.env.now.after(POLL_INTERVAL), Event::Operator);
        true
    }

    /// The fault is over.
    pub(crate) fn on_loss_over(&mut self) {
        let forgetful = self.remembers_nothing();
        let Some(recovering) = &mut self.recovering else { return };
        recovering.over = true;
        match self.env.judges.recovery {
            Some((_, true)) => self.bring_back_the_lost(),
            // Its first entry is on its way: the operator waits for it.
            Some((_, false)) => {}
            None if forgetful => {
                let lost = std::mem::take(&mut recovering.lost);
                lost.into_iter().for_each(|node| self.raise(node));
            }
            // A recovery that was begun is brought to its end: the servers that it reached may have
            // promised to serve nothing older.
            None if recovering.asked.is_some() => {}
            None => {
                let lost = self.recovering.take().map(|it| it.lost).unwrap_or_default();
                lost.into_iter().for_each(|node| self.raise(node));
            }
        }
    }

    /// The lost come back, with as many old disks as are no majority without somebody who has met
    /// the recovered cluster.
    fn bring_back_the_lost(&mut self) {
        let Some((recovery, _)) = self.env.judges.recovery else { return };
        let Some(recovering) = &mut self.recovering else { return };
        let (voters, lost) = (recovering.voters.clone(), std::mem::take(&mut recovering.lost));
        let has_met = |node: &Node| {
            let status = node.status().map(|status| status.replica);
            status.is_some_and(|replica| replica.promised.era() >= recovery.era)
        };
        let survives =
            |node: &&Node| voters.voters.contains_key(&NodeId(node.id)) && !lost.contains(&node.id);
        let unmet = self.nodes.iter().filter(survives).filter(|node| !has_met(node)).count();
        let old = (voters.quorum() - 1).saturating_sub(unmet);
        for (place, node) in lost.into_iter().enumerate() {
            if place >= old && !self.remembers_nothing() {
                FaultEngine(self).forget(node);
            }
            self.raise(node);
        }
    }

    /// The operator looks.
    pub(crate) fn operate(&mut self) {
        let Some(recovering) = &self.recovering else { return };
        match self.env.judges.recovery {
            Some((_, true)) if recovering.over && !recovering.lost.is_empty() => {
                self.bring_back_the_lost();
            }
            Some((_, true)) => self.replace_who_is_left_behind(),
            // Who was asked may have lost its first entry with its power: it is asked again.
            Some((_, false)) => self.ask_to_recover(true),
            None => self.ask_to_recover(false),
        }
        self.env.agenda.push(self.env.now.after(POLL_INTERVAL), Event::Operator);
    }

    fn ask_to_recover(&mut self, begun: bool) {
        let asked = self.recovering.as_ref().and_then(|it| it.asked);
        let only = asked.filter(|_| self.env.stormy || begun);
        // Another one only if all that run are in its view: else who was asked may go on apart.
        let live: Vec<u32> = self.nodes.iter().filter(|it| it.is_live()).map(|it| it.id).collect();
        let sees_all = |node: &Node| {
            let seen = node.status().map(|status| status.replica.members).unwrap_or_default();
            live.iter().all(|id| seen.contains(&NodeId(*id)))
        };
        let may_be_asked = |node: &&Node| match only {
            Some(only) => only == node.id,
            None => asked.is_none_or(|asked| asked == node.id) || sees_all(node),
        };
        let stopped = |node: &&Node| {
            let status = node.status().filter(|_| node.is_live());
            let closed = status.and_then(|status| status.replica.closed);
            closed.is_some_and(|reason| reason.is_recoverable())
        };
        let end = |node: &&Node| -> LogPosition {
            node.process.as_ref().map(|it| it.server.replica().log().last()).unwrap_or_default()
        };
        let stopped = self.nodes.iter().filter(stopped).filter(may_be_asked);
        let best = stopped.max_by_key(end).filter(|best| end(best).index.0 > 0);
        let Some(best) = best.map(|node| node.id) else { return };
        if let Some(recovering) = &mut self.recovering {
            recovering.asked = Some(best);
        }
        let request = OperatorRequest::ForceRecovery;
        let input = Input::Operator { id: ADMIN, request };
        self.tell_node(best, NodeInput::Server(Box::new(input)));
    }

    fn replace_who_is_left_behind(&mut self) {
        let left = |node: &Node| {
            let closed = node.status().and_then(|status| status.replica.closed);
            match closed {
                Some(ClosedReason::LeftBehind { .. }) => Some((node.id, true)),
                // It was asked for a recovery that never began, and another server went on.
                Some(ClosedReason::PromisedLater { .. }) => Some((node.id, false)),
                _ => None,
            }
        };
        let left: Vec<(u32, bool)> = self.nodes.iter().filter_map(left).collect();
        for (node, behind) in left {
            if behind {
                self.env.met(Situation::LeftBehind);
            }
            let Some(recovering) = &mut self.recovering else { return };
            let seen = recovering.behind.entry(node).or_default();
            *seen += 1;
            if *seen >= ATTEMPTS_BEFORE_WIPE {
                *seen = 0;
                self.env.tell(Actor::Server(node), || "gets an empty disk".to_owned());
                self.take_down(node);
                FaultEngine(self).forget(node);
                self.raise(node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{plan, world};

    #[test]
    fn who_was_asked_for_a_recovery_that_never_began_gets_an_empty_disk() {
        let text = "accord-sim plan 1\nseed 400\nservers 3\nobservers 1\nclients 1\nmode persistent\n\
            storage modelled\ngroup ring\nlimits roomy\nworkloads lock\noperations 1\n\
            think 521574125ns\nsafety 1486ms\nconverge 60s\ndelay-min 53us\ndelay-max 745us\n\
            sync-min 1630us\nsync-max 1632us\ncheck-every 8\n\
            at 300ms for 528ms slowdisk 3 2614ms\nat 300ms for 394ms partition 3\n\
            at 629ms for 137ms recover\nat 989ms for 367ms oneway 3 to 1,2,4\nend\n";
        let plan = plan::text::read(text).expect("a plan");
        assert_eq!(world::run(&plan, None).violation, None);
    }

    #[test]
    fn a_recovery_whose_first_entry_is_lost_with_the_power_is_asked_for_again() {
        let text = "accord-sim plan 1\nseed 41\nservers 3\nclients 1\nmode persistent\ngroup ring\n\
            limits roomy\nworkloads register\noperations 1\nthink 194294373ns\nsafety 1122ms\n\
            delay-min 1905us\ndelay-max 1988us\nsync-min 467us\nsync-max 468us\ncheck-every 64\n\
            at 300ms for 911ms slowdisk 3 376ms\nat 300ms for 474ms partition 3\n\
            at 606ms for 125ms recover\nat 1083ms for 1ms powerloss 3\nend\n";
        let plan = plan::text::read(text).expect("a plan");
        assert_eq!(world::run(&plan, None).violation, None);
    }
}
