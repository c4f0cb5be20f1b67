//! Sequential specifications: what each object does when one operation follows another.
//!
//! A specification says nothing about concurrency; a history is right if its operations can be put
//! in one order, consistent with real time, in which the specification explains every result. The
//! general search for such an order is [`crate::check::linear`]; the other checkers decide faster
//! for their own objects and are tested against the specifications here.

mod lock;
mod membership;
mod queue;
mod register;
mod store;
mod watch;

use std::fmt;
use std::hash::Hash;

pub use lock::{Lock, LockOp, LockState};
pub use membership::{Membership, MembershipChange};
pub use queue::{Queue, QueueOp};
pub use register::{Register, RegisterOp};
pub use store::{Store, StoreOp, StoreResult, StoreStep};
pub use watch::{Change, ChangeKind, WatchFilter, WatchLog};

/// A fact that results depend on: the numbers of a key and of its value. The value 0 is `nil`, and
/// at first every key has it.
pub type Fact = (u32, u32);

/// A sequential object.
pub trait Spec {
    /// An operation with the result that was observed, if it is known.
    type Op: Clone + Ord + fmt::Debug;
    /// The object's state.
    type State: Clone + Eq + Hash + fmt::Debug;

    /// Whether repeating changes without end reaches only finitely many states.
    ///
    /// True for stores of values; false for a queue, which grows.
    const FINITE: bool;

    /// The state before the first operation.
    fn initial(&self) -> Self::State;

    /// The state after `op`, or `None` if `op` cannot have its result in `state`.
    ///
    /// An operation whose result is not known may have any; `None` then means that it has no
    /// effect.
    fn step(&self, state: &Self::State, op: &Self::Op) -> Option<Self::State>;

    /// Whether `op` never changes any state. The search orders such an operation as soon as it can.
    fn is_pure(&self, op: &Self::Op) -> bool;

    /// Facts without which `op` cannot have its result, whatever else holds: those that must hold
    /// before it. Fewer if in doubt.
    fn needs(&self, op: &Self::Op) -> Vec<Fact> {
        let _ = op;
        Vec::new()
    }

    /// The facts that hold after `op` and may not have held before. More if in doubt.
    fn makes(&self, op: &Self::Op) -> Vec<Fact> {
        let _ = op;
        Vec::new()
    }

    /// Whether `fact` holds before the first operation.
    fn holds_at_first(&self, fact: Fact) -> bool {
        fact.1 == 0
    }

    /// `fact` in words, to follow "leaves".
    fn name_fact(&self, fact: Fact) -> String {
        format!("{fact:?}")
    }

    /// For each of `others`, whether doing it at some moment can help an order of `strict` to
    /// exist. True if in doubt.
    fn helpful(&self, strict: &[Self::Op], others: &[Self::Op]) -> Vec<bool> {
        let _ = strict;
        vec![true; others.len()]
    }

    /// About how many bytes of memory `state` takes.
    fn state_bytes(&self, state: &Self::State) -> usize {
        std::mem::size_of_val(state)
    }

    /// `state` in words, to follow "then".
    fn describe(&self, state: &Self::State) -> String;
}
