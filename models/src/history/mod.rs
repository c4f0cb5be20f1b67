//! What was asked, what was answered, and in which order: the evidence that checkers judge.
//!
//! A [`History`] is a sequence of events. An operation is one invocation and at most one
//! completion, with one of three outcomes: it took effect ([`Outcome::Ok`]), it certainly did not
//! ([`Outcome::Fail`]), or nobody knows ([`Outcome::Info`]: it may take effect at any later time,
//! or never). An operation without a completion is of the last kind. Real time is the order of the
//! events, not their time stamps, which are kept for people.
//!
//! A program records a history with a [`Recorder`]; text in Jepsen's form is read by [`read`] and
//! written by `Display`.
//!
//! Invariant: operations are in the order of their invocations, and an operation's completion comes
//! after its invocation.

mod read;
mod record;
mod write;

use std::fmt;

pub use read::{HistoryError, read};
pub use record::{OpId, Recorder};

use crate::edn::{Name, Position, Value};

/// Who invoked an operation: one logical thread, which has at most one operation outstanding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Process {
    /// A client's thread, numbered.
    Client(u64),
    /// Something else that writes into the history, such as `:nemesis`. Not judged.
    Named(Name),
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(number) => write!(f, "{number}"),
            Self::Named(name) => write!(f, ":{name}"),
        }
    }
}

/// What is known about an operation's effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It took effect between its invocation and its completion.
    Ok,
    /// It did not take effect and never will.
    Fail,
    /// Not known: it takes effect at some time after its invocation, or never.
    Info,
}

impl Outcome {
    /// The value of `:type` for a completion with this outcome.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Fail => "fail",
            Self::Info => "info",
        }
    }
}

/// One event's number in the history and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    /// The number of the event, from 0: this is what orders the history.
    pub event: u64,
    /// The time in nanoseconds since the start of the test; informative only.
    pub time_ns: u64,
}

/// One operation of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who did it.
    pub process: Process,
    /// What was done: `read`, `write`, `txn` ...
    pub f: Name,
    /// The `:value` of the invocation.
    pub input: Value,
    /// When it was invoked.
    pub invoked: Moment,
    /// What is known about its effect.
    pub outcome: Outcome,
    /// When it completed; `None` if it never did, and then the outcome is [`Outcome::Info`].
    pub completed: Option<Moment>,
    /// The `:value` of the completion; [`Value::Nil`] if there is none.
    pub output: Value,
    /// The `:error` of the completion.
    pub error: Option<Value>,
    /// Where the value of the invocation stands in the text.
    pub input_at: Position,
    /// Where the value of the completion stands in the text.
    pub output_at: Position,
}

impl Operation {
    /// The number of the event at which the operation certainly had taken effect, if it did.
    ///
    /// `u64::MAX` for an operation whose outcome is not known.
    pub fn returned(&self) -> u64 {
        match (self.outcome, self.completed) {
            (Outcome::Ok, Some(moment)) => moment.event,
            _ => u64::MAX,
        }
    }

    /// Whether this operation completed before `other` was invoked.
    pub fn precedes(&self, other: &Self) -> bool {
        self.returned() < other.invoked.event
    }
}

/// An event that belongs to no operation of a client: what a nemesis did, for readers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Who wrote it.
    pub process: Process,
    /// The time since the start of the history.
    pub at: Moment,
    /// What happened.
    pub f: Name,
    /// Its particulars.
    pub value: Value,
}

/// A finished history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    operations: Vec<Operation>,
    notes: Vec<Note>,
    events_count: u64,
}

impl History {
    /// The operations, in the order of their invocations.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The notes, in order.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// How many events there are: invocations, completions and notes.
    pub const fn events_count(&self) -> u64 {
        self.events_count
    }

    /// How many operations have `outcome`.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.operations.iter().filter(|op| op.outcome == outcome).count()
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check(&self) {
        for pair in self.operations.windows(2) {
            assert!(pair[0].invoked.event < pair[1].invoked.event, "in order of invocation");
        }
        for op in &self.operations {
            let completed = op.completed.map_or(u64::MAX, |moment| moment.event);
            assert!(op.invoked.event < completed, "completed after it was invoked");
            assert!(op.completed.is_some() || op.outcome == Outcome::Info, "no completion: info");
        }
    }
}
