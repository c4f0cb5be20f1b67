//! Clients and servers: sessions that are attached again, requests that are repeated, watches that
//! go on elsewhere.
//!
//! The core's `Server`s, in memory mode over the adversarial group, and its `Client`s, with
//! connections that break at any message. The checker chooses who reads, who is delivered
//! something, what breaks, and whose timer fires; it is under no obligation to time, so a server
//! may find a session silent whose client has just spoken. What must hold is in [`oracle`].
//!
//! Read next: [`world`] for the state and the steps, `docs/models.md` for what is left out.

pub mod bounds;
pub mod machines;
pub mod oracle;
mod show;
pub mod world;

use crate::flaw::{self, CORE};
use accord_core::group::adversary::Loss;
use bounds::Bounds;
use stateright::{Model, Property};
use world::{Action, State};

/// The model, within its bounds.
#[derive(Clone, Debug)]
pub struct ServiceModel {
    /// What may happen.
    pub bounds: Bounds,
    /// The properties that this model is about.
    pub properties: &'static [Always],
    /// States that must be reached.
    pub reached: &'static [Sometimes],
}

/// A property by name.
pub type Always = (&'static str, fn(&ServiceModel, &State) -> bool);
/// An interesting state by name.
pub type Sometimes = (&'static str, fn(&ServiceModel, &State) -> bool);

macro_rules! always {
    ($($name:ident),*) => {
        [$((oracle::$name, |_: &ServiceModel, state: &State| {
            flaw::free_of(&state.flaw, oracle::$name)
        })),*]
    };
}

/// What is asked of sessions and requests.
pub const SESSIONS: &[Always] = &always!(SESSIONS, ONCE, FAILED, LINEAR, OVER);
/// What is asked of watches.
pub const WATCHES: &[Always] = &always!(WATCHED, BEFORE, ONCE, LINEAR);

/// What sessions should come to.
pub const SESSIONS_REACHED: &[Sometimes] = &[
    ("a session expires", |_, state| state.oracle.reached.expired),
    ("an expiry comes too late, after a new attachment", |_, state| {
        state.oracle.reached.void_expiry
    }),
    ("a session is attached again", |_, state| state.oracle.reached.reattached),
    ("a request is ordered twice", |_, state| state.oracle.reached.repeated),
    ("an outcome stays unknown", |_, state| state.oracle.reached.unknown),
    ("all operations are answered", |model, state| model.all_answered(state)),
];

/// What two clients should come to.
pub const LINEAR_REACHED: &[Sometimes] = &[
    ("a session is attached again", |_, state| state.oracle.reached.reattached),
    ("all operations are answered", |model, state| model.all_answered(state)),
];

/// What watches should come to.
pub const WATCHES_REACHED: &[Sometimes] = &[
    ("a watch goes on at another server", |_, state| state.oracle.reached.resumed),
    ("a watch is told of a change", |_, state| {
        (0..state.users.len()).any(|user| state.oracle.told(user) > 0)
    }),
    ("all operations are answered", |model, state| model.all_answered(state)),
];

impl ServiceModel {
    fn all_answered(&self, state: &State) -> bool {
        let scripts = self.bounds.scripts.iter();
        state.users.iter().zip(scripts).all(|(user, script)| {
            let done = user.begun == script.ops.len();
            done && user.requests.is_empty() && user.reads.is_empty() && !user.over
        })
    }

    fn fault_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let (bounds, used) = (&self.bounds, &state.used);
        let suffers = |user: usize| user == 0 || !bounds.first_only;
        if used.breaks < bounds.breaks {
            for (id, conn) in &state.conns {
                if conn.client_open && suffers(conn.user) {
                    actions.push(Action::Break(*id, false));
                    // Without anything on its way the two are one.
                    if !conn.to_server.is_empty() {
                        actions.push(Action::Break(*id, true));
                    }
                }
            }
        }
        if used.client_timers < bounds.client_timers {
            for (at, user) in state.users.iter().enumerate() {
                let quiet = bounds.quiet_clients && user.client.is_ready();
                let timer = Action::ClientTimer(at);
                if suffers(at) && !quiet && state.is_possible(timer) {
                    actions.push(timer);
                }
            }
        }
        if used.server_timers < bounds.server_timers {
            let timers = state.hosts.keys().map(|node| Action::ServerTimer(*node));
            actions.extend(timers.filter(|timer| state.is_possible(*timer)));
        }
        if used.views < bounds.views {
            actions.extend([Action::Form(Loss::Nothing), Action::Form(Loss::Ordered)]);
        }
    }
}

impl Model for ServiceModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::initial(&self.bounds)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.flaw.is_some() {
            return;
        }
        let delivers = state.hosts.keys().map(|node| Action::Deliver(*node));
        let conns = state.conns.keys();
        let reads = conns.flat_map(|id| [Action::ServerReads(*id), Action::ClientReads(*id)]);
        actions.extend(delivers.chain(reads).filter(|action| state.is_possible(*action)));
        for (at, script) in self.bounds.scripts.iter().enumerate() {
            if state.users[at].next_op(&script.ops).is_some() {
                actions.push(Action::Begin(at));
            }
        }
        self.fault_actions(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        let ops = match action {
            Action::Begin(user) => &self.bounds.scripts[user].ops[..],
            _ => &[],
        };
        next.act(ops, action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties =
            vec![Property::always(CORE, |_, state: &State| flaw::free_of(&state.flaw, CORE))];
        properties
            .extend(self.properties.iter().map(|(name, holds)| Property::always(name, *holds)));
        properties.extend(self.reached.iter().map(|(name, is)| Property::sometimes(name, *is)));
        properties
    }

    fn format_action(&self, action: &Action) -> String {
        show::action(*action)
    }

    fn format_step(&self, last: &State, action: Action) -> Option<String> {
        self.next_state(last, action).map(|state| format!("{state:?}"))
    }
}
