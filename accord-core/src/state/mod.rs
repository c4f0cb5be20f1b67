//! What is replicated: an ordered store of records, the sessions, and what they may do with them.
//!
//! The state is a deterministic function of the commands applied: no clock, no connection, no
//! randomness, no iteration in hash order. Read in this order: [`command`], [`txn`] and [`list`] (what
//! can be asked), [`outcome`] and [`event`] (what comes of it), [`read`] (questions outside the order).

pub mod command;
pub mod event;
pub mod list;
pub mod outcome;
pub mod read;
pub mod txn;

pub use command::{Command, encode_request};
pub use event::{
    Completion, Effects, EndCause, Event, KeyEvent, KeyEventKind, MemberEvent, MemberEventKind,
    NoSession,
};
pub use list::{ListEntry, ListQuery, Page, Range, Stat};
pub use outcome::{Branch, Outcome, RequestError, Results, StepError, StepResult, TxnOutcome};
pub use read::{ReadQuery, ReadResult, SessionInfo};
pub use txn::{Compare, Flags, Relation, Step, Txn, Width};
