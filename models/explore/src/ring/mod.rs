//! The ring against the ordering contract, over a network that loses, doubles and reorders.
//!
//! The core's `Ring`s begin as one idle ring. The checker chooses who submits, which datagram
//! arrives next, which are lost, which come again late, when a timer fires and who crashes; the
//! core's own `ContractChecker`, which knows nothing of any implementation, judges every event.
//!
//! Read next: [`world`] for the state and the steps, `docs/models.md` for what is left out.
//!
//! Claims: C-order

mod show;
pub mod world;

use crate::flaw::{self, CORE};
use crate::kept::Kept;
use accord_core::group::ring::RingStage;
use stateright::{Model, Property};
use world::{Action, Bounds, CONTRACT, Datagram, Member, State};

/// The model, within its bounds.
#[derive(Clone, Debug)]
pub struct RingModel {
    /// What may happen.
    pub bounds: Bounds,
    /// States that must be reached.
    pub reached: Vec<Reached>,
}

/// An interesting state, by name.
pub type Reached = (&'static str, fn(&RingModel, &State) -> bool);

/// Every message was delivered to everyone.
pub const DELIVERED: Reached = ("every message is delivered to all", |model, state| {
    let all = model.bounds.submits.len();
    state.members.len() == model.bounds.members as usize
        && state.members.values().all(|member| member.delivered == all)
});
/// A smaller ring works.
pub const SMALLER: Reached = ("a ring without a member forms", |model, state| {
    state.members.values().all(|member| {
        let status = member.ring.status();
        let smaller = status.view.members.len() < model.bounds.members as usize;
        status.stage == RingStage::Operational && smaller && status.view.members.len() > 1
    })
});
/// An old datagram is carried into the new ring.
pub const CARRIED: Reached = ("a datagram is recovered from the old ring", |_, state| {
    state.members.values().any(|member| member.ring.status().counters.packets_recovered > 0)
});
/// What was lost is sent again.
pub const RESENT: Reached = ("a lost datagram is sent again", |_, state| {
    state.members.values().any(|member| member.ring.status().counters.packets_resent > 0)
});
/// The token was taken for lost.
pub const TOKEN_LOST: Reached = ("the token is taken for lost", |_, state| {
    state.members.values().any(|member| member.ring.status().counters.token_losses > 0)
});
/// A copy was known for one.
pub const STALE: Reached = ("a late copy is refused", |_, state| {
    use accord_core::group::ring::Refusal;
    state.used.copies > 0
        && state.members.values().any(|member| {
            let counters = member.ring.status().counters;
            counters.refused_for(Refusal::Stale) + counters.refused_for(Refusal::DuplicateData) > 0
        })
});

impl Model for RingModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::initial(&self.bounds)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let (bounds, used) = (&self.bounds, &state.used);
        if state.flaw.is_some() {
            return;
        }
        if used.arrivals < bounds.arrivals {
            actions.extend((0..state.flying.len()).map(Action::Arrive));
            actions.extend((0..state.late.len()).map(Action::Late));
        }
        let suffers = |datagram: &Datagram| !bounds.data_only || world::is_data(datagram);
        let flying = state.flying.iter().enumerate().filter(|(_, it)| suffers(it));
        if used.losses < bounds.losses {
            actions.extend(flying.clone().map(|(at, _)| Action::Lose(at)));
        }
        if used.copies < bounds.copies {
            actions.extend(flying.map(|(at, _)| Action::Copy(at)));
        }
        if let Some(node) = bounds.submits.get(usize::from(used.submits))
            && state.members.contains_key(node)
        {
            actions.push(Action::Submit(*node));
        }
        for node in &bounds.mortals {
            let sent = |member: &Kept<Member>| member.ring.status().pending_messages == 0;
            let all_submitted = usize::from(used.submits) == bounds.submits.len();
            if all_submitted && state.members.get(node).is_some_and(sent) {
                actions.push(Action::Crash(*node));
            }
        }
        if used.timers < bounds.timers {
            let first = state.earliest().map(|(node, _)| node);
            let timed = |node: &accord_core::ids::NodeId| {
                let quiet = state.flying.is_empty() && first == Some(*node);
                quiet || (used.skews < bounds.skews && first.is_some())
            };
            let has_timer = |node: &accord_core::ids::NodeId| {
                state.members[node].ring.next_deadline().is_some()
            };
            let nodes = state.members.keys().copied();
            actions.extend(nodes.filter(timed).filter(has_timer).map(Action::Timer));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        next.act(&self.bounds, action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(CORE, |_, state: &State| flaw::free_of(&state.flaw, CORE)),
            Property::always(CONTRACT, |_, state: &State| flaw::free_of(&state.flaw, CONTRACT)),
        ];
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
