//! A lock whose holders have fencing tokens.
//!
//! Claims: C-token-ascending

use std::collections::BTreeSet;

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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LockState {
    /// The token of the present holder.
    pub holder: Option<u64>,
    /// The tokens that were given: each greater than those before it.
    pub given: BTreeSet<u64>,
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
        let mut after = state.clone();
        let last = state.given.last().copied().unwrap_or(0);
        let right = match *op {
            LockOp::Acquire { token } => {
                after.holder = Some(token);
                after.given.insert(token);
                state.holder.is_none() && token > last
            }
            LockOp::End { token } => {
                after.holder = None;
                state.holder == Some(token)
            }
            LockOp::Use { token } => {
                after.seen = token;
                token >= state.seen && state.given.contains(&token)
            }
        };
        right.then_some(after)
    }

    fn is_pure(&self, _: &LockOp) -> bool {
        false
    }

    fn describe(&self, state: &LockState) -> String {
        match state.holder {
            Some(token) => format!("the lock is held with token {token}"),
            None => format!("the lock is free, its tokens so far {:?}", state.given),
        }
    }
}
