//! Sessions that join and leave, as every client observes them.
//!
//! Claims: C-members

use std::collections::BTreeSet;
use std::fmt;

use super::Spec;

/// An event of the membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MembershipChange {
    /// The session was opened.
    Joined(u64),
    /// The session was closed, or expired.
    Left(u64),
}

impl MembershipChange {
    /// The session that joined or left.
    pub const fn session(self) -> u64 {
        match self {
            Self::Joined(session) | Self::Left(session) => session,
        }
    }
}

impl fmt::Display for MembershipChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joined(session) => write!(f, "session {session} joined"),
            Self::Left(session) => write!(f, "session {session} left"),
        }
    }
}

/// The set of open sessions: empty at first; each session joins once and leaves at most once,
/// later.
#[derive(Clone, Copy, Debug, Default)]
pub struct Membership;

impl Spec for Membership {
    type Op = MembershipChange;
    /// The members, and those who were.
    type State = (BTreeSet<u64>, BTreeSet<u64>);
    const FINITE: bool = true;

    fn initial(&self) -> Self::State {
        Self::State::default()
    }

    fn step(&self, state: &Self::State, op: &MembershipChange) -> Option<Self::State> {
        let (mut members, mut gone) = state.clone();
        let right = match *op {
            MembershipChange::Joined(session) => {
                !gone.contains(&session) && members.insert(session)
            }
            MembershipChange::Left(session) => members.remove(&session) && gone.insert(session),
        };
        right.then_some((members, gone))
    }

    fn is_pure(&self, _: &MembershipChange) -> bool {
        false
    }

    fn state_bytes(&self, state: &Self::State) -> usize {
        size_of_val(state) + (state.0.len() + state.1.len()) * 2 * size_of::<u64>()
    }

    fn describe(&self, state: &Self::State) -> String {
        format!("the members are {:?}", state.0)
    }
}
