//! The replica over the adversarial group: views, crashes, wiped disks, changes of voters.
//!
//! Three to five of the core's `Replica`s in persistent mode stand over one `AdversarialGroup`.
//! Nothing happens but what the checker chooses: who is delivered something, whose disk syncs, who
//! crashes and with what lost, which views form and what is lost with the old ones, from which
//! server an operator recovers the cluster, and which old disks are found. Safety is judged by the
//! [`oracle`]; how much may happen in one run is in [`bounds`].
//!
//! Read next: [`world`] for the state and the steps, `docs/models.md` for what is left out.

pub mod bounds;
pub mod oracle;
pub mod reached;
pub mod server;
mod show;
pub mod world;

use crate::flaw::{self, CORE};
use crate::kept::Kept;
use accord_core::ids::NodeId;
use accord_core::replica::io::HaltReason;
use accord_core::replica::voters::VoterChange;
use bounds::{Bounds, Grain};
use reached::Reached;
use server::Server;
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
            // At rest, what is asked of a server that does not serve only waits.
            let serves = |node: &&NodeId| {
                let open = || state.servers[*node].replica.open_epoch().is_some();
                bounds.grain != Grain::Rest || open()
            };
            let writers = bounds.writers.iter().filter(runs).filter(serves);
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

    /// What may be done at a server that is up, if it can be.
    fn operator_actions(&self, state: &State, node: NodeId, actions: &mut Vec<Action>) {
        let (bounds, used) = (&self.bounds, &state.used);
        let mut allowed = vec![Action::Look(node), Action::Resume(node)];
        if used.pauses < bounds.pauses && bounds.pausable.contains(&node) {
            allowed.push(Action::Pause(node));
        }
        if used.recoveries < bounds.recoveries && bounds.recoverers.contains(&node) {
            allowed.push(Action::Recover(node));
        }
        if used.damages < bounds.damages && bounds.mortals.contains(&node) {
            allowed.push(Action::Damage(node));
        }
        actions.extend(allowed.into_iter().filter(|action| state.is_possible(action)));
    }

    fn fault_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let (bounds, used) = (&self.bounds, &state.used);
        for node in state.disks.keys().copied() {
            let exchange = Action::Exchange(node);
            if used.exchanges < bounds.exchanges && state.is_possible(&exchange) {
                actions.push(exchange);
            }
            if !state.servers.contains_key(&node) {
                if bounds.newcomers.contains(&node) || !state.disks[&node].records.is_empty() {
                    actions.push(Action::Start(node));
                }
                if used.swaps < bounds.swaps && state.drawer.contains_key(&node) {
                    actions.push(Action::SwapBack(node));
                }
                continue;
            }
            self.operator_actions(state, node, actions);
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

/// The property that holds where its flaw was not seen. A property is told by a function without
/// captures, so its name must stand in the code.
macro_rules! unbroken {
    ($name:expr) => {
        Property::always($name, |_, state: &State| flaw::free_of(&state.flaw, $name))
    };
}

/// True if the server runs, or stopped itself for a reason: its state is damaged, or so few vote
/// that nobody can tell whose is.
fn may_be_as_it_is(server: &Kept<Server>) -> bool {
    let status = server.replica.status();
    let few = status.voters.count_intact(&status.stores) < 3;
    let compared = || matches!(server.halted, Some(HaltReason::DigestMismatch { .. }));
    server.halted.is_none() || server.damaged || few && compared()
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
        if self.bounds.grain == Grain::Rest {
            next.settle(&self.bounds);
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            unbroken!(CORE),
            unbroken!(oracle::PREFIXES),
            unbroken!(oracle::SURVIVES),
            unbroken!(oracle::EPOCHS),
            unbroken!(oracle::ONCE),
            unbroken!(oracle::LINEAR),
            unbroken!(oracle::VOTERS),
            unbroken!(oracle::MIXED),
            unbroken!(oracle::NUMBERS),
            unbroken!(oracle::OLDER),
            unbroken!(oracle::STAYS),
            Property::always("no server stops itself without need", |_, state: &State| {
                state.servers.values().all(may_be_as_it_is)
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
