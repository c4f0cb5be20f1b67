//! The key-value object: an ordered store of records, and the transactions on it.
//!
//! It knows neither sessions (but for the id of a record's owner) nor which requests ran before:
//! the state around it does. Read in this order: [`txn`] and [`list`] (what can be asked),
//! [`outcome`] and [`event`] (what comes of it), then `execute` and `store` for how; `section` is
//! its part of a snapshot.

pub mod event;
mod execute;
pub mod list;
pub mod outcome;
pub(super) mod section;
mod store;
pub mod txn;

pub use event::{KeyEvent, KeyEventKind};
pub use execute::SEQUENCE_DIGITS;
pub use list::{ListEntry, ListQuery, Page, Range, Stat};
pub use outcome::{Branch, RESULT_OVERHEAD_BYTES, Results, StepError, StepResult, TxnOutcome};
pub use txn::{Compare, Flags, Relation, Step, Txn, Width};

use super::event::Event;
use super::invariant::first_broken;
use crate::ids::{Revision, SessionId};
use crate::limits::Limits;
use crate::wire::Reader;
use alloc::vec::Vec;
use bytes::Bytes;
use execute::{Execution, Scratch, deleted};
use store::Store;

/// The key-value object.
#[derive(Clone, Debug)]
pub(super) struct Kv {
    /// The number of the next sequence key, over the whole store. Invariant: at least 1.
    sequence: u64,
    store: Store,
    /// The transaction being executed; otherwise empty, so that no message is kept alive.
    txn: Txn,
    scratch: Scratch,
}

/// What a transaction is carried out with, besides the store.
pub(super) struct Context<'a> {
    /// What the changes are pushed to, in order.
    pub(super) events: &'a mut Vec<Event>,
    pub(super) limits: &'a Limits,
    /// The session that asks.
    pub(super) session: SessionId,
    /// The state's revision so far.
    pub(super) revision: Revision,
}

/// Why a transaction did not run. It had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Its bytes are no transaction.
    Malformed,
    /// A branch or the guard is longer than the limit.
    TooManySteps,
}

impl Default for Kv {
    fn default() -> Self {
        Self::new(1, Store::default())
    }
}

impl Kv {
    fn new(sequence: u64, store: Store) -> Self {
        Self { sequence, store, txn: Txn::default(), scratch: Scratch::default() }
    }

    /// How many records there are.
    pub(super) fn records(&self) -> usize {
        self.store.len()
    }
    /// The size of all keys and values, in bytes.
    pub(super) const fn bytes(&self) -> u64 {
        self.store.bytes()
    }
    /// How many records die with this session.
    pub(super) fn ephemerals(&self, session: SessionId) -> usize {
        self.store.ephemerals(session)
    }
    /// The sessions that own records.
    pub(super) fn owners(&self) -> impl Iterator<Item = SessionId> {
        self.store.owners()
    }

    /// Carries out the transaction that is all that `input` has left.
    // Inlined into the state's way of a request: see `Execution::run_step`.
    #[inline]
    pub(super) fn run(
        &mut self,
        input: &mut Reader,
        context: Context<'_>,
    ) -> Result<TxnOutcome, Unfit> {
        let decoded = self.txn.decode_rest(input);
        let outcome = if decoded.is_err() {
            Err(Unfit::Malformed)
        } else if self.txn.steps() > context.limits.steps_max as usize {
            Err(Unfit::TooManySteps)
        } else {
            let Context { events, limits, session, revision } = context;
            let (store, sequence, scratch) =
                (&mut self.store, &mut self.sequence, &mut self.scratch);
            let mut execution =
                Execution { store, sequence, events, scratch, limits, session, revision };
            Ok(match decoded {
                Ok(Some(step)) => execution.run_step(step),
                _ => execution.run(&mut self.txn),
            })
        };
        self.txn.clear();
        outcome
    }

    /// Deletes the records of a session that ends, in `revision`.
    pub(super) fn end_session(
        &mut self,
        session: SessionId,
        revision: Revision,
        events: &mut Vec<Event>,
    ) {
        while let Some(key) = self.store.first_ephemeral(session) {
            let record = self.store.remove(&key).expect("what is indexed is there");
            events.push(deleted(revision, key.to_bytes(), &record));
        }
    }

    /// Deletes the records of a session without a word.
    pub(super) fn forget_session(&mut self, session: SessionId) {
        while let Some(key) = self.store.first_ephemeral(session) {
            self.store.remove(&key);
        }
    }

    /// The number of the next sequence key.
    pub(super) const fn sequence(&self) -> u64 {
        self.sequence
    }
    /// Lets sequence keys go on from a higher number.
    pub(super) fn skip_to_sequence(&mut self, sequence: u64) {
        assert!(sequence >= self.sequence, "no number is given twice");
        self.sequence = sequence;
    }

    /// A part of a record's value, and what is known of it besides.
    pub(super) fn get(&self, key: &[u8], offset: u64, length_max: u64) -> Option<(Bytes, Stat)> {
        let record = self.store.get(key)?;
        Some((record.value.part(offset, length_max), record.stat()))
    }

    /// A page of records.
    pub(super) fn page(&self, query: &ListQuery, limits: &Limits) -> Page {
        self.store.page(query, limits).0
    }

    /// The first invariant that is broken.
    pub(super) fn fault(&self, revision: Revision, limits: &Limits) -> Option<&'static str> {
        let own = first_broken(&[
            (self.sequence >= 1, "sequence numbers begin at 1"),
            (self.txn.steps() == 0 && self.scratch.is_empty(), "no transaction is kept"),
        ]);
        own.or_else(|| self.store.fault(revision, limits))
    }
}
