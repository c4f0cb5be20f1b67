//! The replica over the adversarial group: views, crashes, wiped disks, changes of voters.
//!
//! Three to five of the core's `Replica`s in persistent mode stand over one `AdversarialGroup`.
//! Nothing happens but what the checker chooses: who is delivered something, whose disk syncs, who
//! crashes and with what lost, which views form and what is lost with the old ones. Safety is
//! judged by the [`oracle`]; how much may happen in one run is in [`bounds`].
//!
//! Read next: [`world`] for the state and the steps, `docs/models.md` for what is left out.

pub mod bounds;
pub mod oracle;
pub mod server;
mod show;
pub mod world;

use crate::flaw::{self, CORE};
use accord_core::ids::{Epoch, NodeId};
use accord_core::replica::io::Record;
use accord_core::replica::voters::VoterChange;
use bounds::Bounds;
use stateright::{Model, Property};
use world::{Action, State};

/// The model, within its bounds.
#[derive(Clone, Debug)]
pub struct ReplicaModel {
    /// What may happen.
    pub bounds: Bounds,
    /// States that must be reached, or the model shows less than it seems to.
    pub reached: Vec<Reached>,
}

/// An interesting state, by name.
pub type Reached = (&'static str, fn(&ReplicaModel, &State) -> bool);

/// An epoch is open at two servers of three.
pub const SMALLER: Reached = ("an epoch opens without a voter", |_, state| {
    state.servers.values().any(|server| {
        let status = server.replica.status();
        status.synced && status.members.len() < status.voters.voters.len()
    })
});
/// A write is acknowledged in an epoch after the first.
pub const LATER: Reached = ("a write commits in a later epoch", |_, state| {
    let committed = state.oracle.committed().values();
    state.oracle.acknowledged() > 0 && committed.into_iter().any(|entry| entry.epoch > Epoch(1))
});
/// A server drops what was never committed.
pub const TRUNCATED: Reached = ("a conflicting suffix is dropped", |_, state| {
    let drops = |record: &Record| matches!(record, Record::Truncate(_));
    state.disks.values().any(|disk| disk.0.iter().any(drops))
});
/// A crash loses something.
pub const LOST: Reached = ("a crash loses what was not synced", |_, state| state.used.lost);
/// A server that crashed is in an open epoch again.
pub const BACK: Reached = ("a server that crashed takes part again", |_, state| {
    let back = |node: &NodeId| {
        state.group.incarnation(*node) > 1 && state.servers[node].replica.open_epoch().is_some()
    };
    state.servers.keys().any(back)
});
/// Two servers hold different entries at one index.
pub const CONFLICT: Reached = ("two logs conflict", |_, state| {
    let logs: Vec<_> = state.servers.values().map(|server| server.replica.log()).collect();
    let differs = |a: &accord_core::replica::log::Log, b: &accord_core::replica::log::Log| {
        let last = a.last().index.min(b.last().index);
        last.0 > 0 && a.position_at(last) != b.position_at(last)
    };
    logs.iter().any(|a| logs.iter().any(|b| differs(a, b)))
});
/// Two epochs are open at once.
pub const RIVALS: Reached = ("two servers are in different open epochs", |_, state| {
    let open = |server: &crate::kept::Kept<server::Server>| server.replica.status().epoch;
    let epochs: Vec<_> = state.servers.values().filter_map(open).collect();
    epochs.windows(2).any(|pair| pair[0] != pair[1])
});
/// A read is answered.
pub const READ: Reached = ("a read is answered", |_, state| state.oracle.reads_done() > 0);
/// A voter that lost its disk votes again.
pub const READMITTED: Reached = ("a wiped voter is readmitted", |model, state| {
    state.servers.iter().any(|(node, server)| {
        let status = server.replica.status();
        let votes = status.voters.is_intact(*node, status.store);
        votes && node.0 <= model.bounds.voters && status.store.0 & 0xff > 1 && status.synced
    })
});
/// A voter is gone for good.
pub const REMOVED: Reached = ("a voter is removed", |model, state| {
    let removed = |server: &crate::kept::Kept<server::Server>| {
        let status = server.replica.status();
        let mut first = (1..=model.bounds.voters).map(NodeId);
        let settled = status.commit >= status.last.index;
        settled && first.any(|node| !status.voters.voters.contains_key(&node))
    };
    state.servers.values().any(removed)
});
/// An observer votes.
pub const ADDED: Reached = ("an observer becomes a voter", |model, state| {
    state.servers.iter().any(|(node, server)| {
        let status = server.replica.status();
        node.0 > model.bounds.voters && status.voters.is_intact(*node, status.store)
    })
});

impl ReplicaModel {
    fn changes(&self, state: &State) -> Vec<VoterChange> {
        let may = |(node, _): &(&NodeId, _)| self.bounds.changeable.contains(node);
        let servers = state.servers.iter();
        servers
            .filter(may)
            .map(|(node, server)| {
                let (node, store) = (*node, server.replica.status().store);
                match node.0 <= self.bounds.voters {
                    true => VoterChange::Remove { node, store, returning: false },
                    false => VoterChange::Add { node, store },
                }
            })
            .collect()
    }

    fn client_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let (bounds, used) = (&self.bounds, &state.used);
        let runs = |node: &&NodeId| state.runs(**node);
        if used.writes < bounds.writes {
            let writers = bounds.writers.iter().filter(runs);
            actions.extend(writers.map(|node| Action::Write(*node)));
        }
        if used.reads < bounds.reads {
            let readers = bounds.readers.iter().filter(runs);
            actions.extend(readers.map(|node| Action::Read(*node)));
        }
        let asked = state.servers.get(&bounds.changer);
        let asked = asked.filter(|server| server.replica.open_epoch().is_some());
        if used.changes < bounds.changes && asked.is_some() {
            let changes = self.changes(state).into_iter();
            actions.extend(changes.map(|change| Action::Change(bounds.changer, change)));
        }
    }

    fn fault_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let (bounds, used) = (&self.bounds, &state.used);
        for node in state.disks.keys().copied() {
            if !state.servers.contains_key(&node) {
                actions.push(Action::Start(node));
                if used.swaps < bounds.swaps && state.drawer.contains_key(&node) {
                    actions.push(Action::SwapBack(node));
                }
                continue;
            }
            let mortal = bounds.mortals.contains(&node);
            if mortal && used.crashes < bounds.crashes {
                actions.push(Action::Crash(node));
            }
            if mortal && used.wipes < bounds.wipes {
                actions.push(Action::Wipe(node));
            }
            let timeout = Action::Timeout(node);
            if used.timeouts < bounds.timeouts && state.is_possible(&timeout) {
                actions.push(timeout);
            }
        }
        let done = used.crashes == bounds.crashes && used.swaps == bounds.swaps;
        if used.views < bounds.views && (done || !bounds.views_last) {
            for side in bounds.sides.iter().filter(|side| state.group.can_form(side)) {
                let forms = bounds.losses.iter().map(|loss| Action::Form(side.clone(), *loss));
                actions.extend(forms);
            }
        }
    }
}

impl Model for ReplicaModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::initial(&self.bounds)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.flaw.is_some() {
            return;
        }
        for node in state.servers.keys().copied() {
            let free = [Action::Deliver(node), Action::Sync(node)];
            actions.extend(free.into_iter().filter(|action| state.is_possible(action)));
        }
        actions.extend((0..state.peers.len()).map(Action::Peer));
        self.client_actions(state, actions);
        self.fault_actions(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        next.act(&self.bounds, &action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(CORE, |_, state: &State| flaw::free_of(&state.flaw, CORE)),
            Property::always(oracle::PREFIXES, |_, state: &State| {
                flaw::free_of(&state.flaw, oracle::PREFIXES)
            }),
            Property::always(oracle::SURVIVES, |_, state: &State| {
                flaw::free_of(&state.flaw, oracle::SURVIVES)
            }),
            Property::always(oracle::EPOCHS, |_, state: &State| {
                flaw::free_of(&state.flaw, oracle::EPOCHS)
            }),
            Property::always(oracle::ONCE, |_, state: &State| {
                flaw::free_of(&state.flaw, oracle::ONCE)
            }),
            Property::always(oracle::LINEAR, |_, state: &State| {
                flaw::free_of(&state.flaw, oracle::LINEAR)
            }),
            Property::always(oracle::VOTERS, |_, state: &State| {
                flaw::free_of(&state.flaw, oracle::VOTERS)
            }),
            Property::always("no server stops itself", |_, state: &State| {
                state.servers.values().all(|server| server.halted.is_none())
            }),
        ];
        properties.extend(self.reached.iter().map(|(name, is)| Property::sometimes(name, *is)));
        properties
    }

    fn format_action(&self, action: &Action) -> String {
        show::action(action)
    }

    fn format_step(&self, last: &State, action: Action) -> Option<String> {
        self.next_state(last, action).map(|state| format!("{state:?}"))
    }
}
