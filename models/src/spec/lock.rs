//! A lock whose holders have fencing tokens.

use super::Spec;

/// An operation on one lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LockOp {
    /// Acquired with the token.
    Acquire {
        /// The fencing token: greater than any before it.
        token: u64,
    },
    /// The hold with the token ended: released by its holder, or its holder's session ended.
    End {
        /// The token of the hold.
        token: u64,
    },
    /// Something that the lock protects was used with the token, and accepted.
    Use {
        /// The token that was shown.
        token: u64,
    },
}

/// The state of a lock and of what it protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LockState {
    /// The token of the present holder.
    pub holder: Option<u64>,
    /// The greatest token that was ever given.
    pub given: u64,
    /// The greatest token that what the lock protects has seen: it accepts no smaller one.
    pub seen: u64,
}

/// A lock that nobody holds at first. Tokens start at 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lock;

impl Spec for Lock {
    type Op = LockOp;
    type State = LockState;
    const FINITE: bool = true;

    fn initial(&self) -> LockState {
        LockState::default()
    }

    fn step(&self, state: &LockState, op: &LockOp) -> Option<LockState> {
        match *op {
            LockOp::Acquire { token } => (state.holder.is_none() && token > state.given)
                .then_some(LockState { holder: Some(token), given: token, ..*state }),
            LockOp::End { token } => {
                (state.holder == Some(token)).then_some(LockState { holder: None, ..*state })
            }
            LockOp::Use { token } => (token >= state.seen && token <= state.given)
                .then_some(LockState { seen: token, ..*state }),
        }
    }

    fn is_pure(&self, _: &LockOp) -> bool {
        false
    }

    fn describe(&self, state: &LockState) -> String {
        match state.holder {
            Some(token) => format!("the lock is held with token {token}"),
            None => format!("the lock is free, its last token {}", state.given),
        }
    }
}
