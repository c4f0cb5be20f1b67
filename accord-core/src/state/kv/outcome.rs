//! Outcomes of transactions: what each step gave, or which one failed and why.
//!
//! They are cheap to clone (results are inline or shared) since they are both recorded and sent.

use super::list::{ListEntry, Page, Stat};
use crate::ids::Revision;
use crate::limits::STEPS_MAX;
use crate::wire::{
    Decode, Encode, Reader, WireError, Writer, decode_key, decode_option, encode_option,
};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use core::ops::Deref;
use thiserror::Error;

/// What the result of a step counts besides the bytes that it carries.
pub const RESULT_OVERHEAD_BYTES: u64 = 64;

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOutcome {
    /// All of the branch took effect.
    Committed {
        /// The revision of its changes; if it changed nothing, of the state that it saw.
        revision: Revision,
        /// Which branch it was.
        branch: Branch,
        /// One result for each step.
        results: Results,
    },
    /// Nothing took effect.
    Aborted {
        /// Which branch it was.
        branch: Branch,
        /// The first step that failed, from 0.
        step: u32,
        /// Why that step failed.
        error: StepError,
    },
}

impl TxnOutcome {
    /// What it counts against the limits when recorded, in bytes: what its results carry, and
    /// [`RESULT_OVERHEAD_BYTES`] for each.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Committed { results, .. } => {
                results.iter().map(|result| RESULT_OVERHEAD_BYTES + result.bytes()).sum()
            }
            Self::Aborted { .. } => RESULT_OVERHEAD_BYTES,
        }
    }

    /// The outcome with bytes of its own, sharing none with what it was decoded from.
    #[must_use]
    pub fn detached(&self) -> Self {
        match self {
            Self::Committed { revision, branch, results } => {
                let results: Vec<_> = results.iter().map(StepResult::detached).collect();
                let (revision, branch, results) = (*revision, *branch, results.into());
                Self::Committed { revision, branch, results }
            }
            aborted @ Self::Aborted { .. } => aborted.clone(),
        }
    }
}

/// A branch of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Branch {
    /// The guard held.
    Then,
    /// It did not.
    Otherwise,
}

/// The results of a transaction's steps, in order: a slice that is cheap to clone.
#[derive(Clone, Default)]
pub struct Results(Repr);

#[derive(Clone, Default)]
enum Repr {
    #[default]
    None,
    /// The common case, recorded without an allocation.
    One(StepResult),
    /// Two or more.
    Many(Arc<[StepResult]>),
}

impl Results {
    /// The results of a transaction with one step.
    pub const fn one(result: StepResult) -> Self {
        Self(Repr::One(result))
    }

    /// Takes the results out of `results`, which keeps its memory.
    pub fn drain(results: &mut Vec<StepResult>) -> Self {
        match results.len() {
            0 => Self(Repr::None),
            1 => Self(results.pop().map_or(Repr::None, Repr::One)),
            _ => Self(Repr::Many(results.drain(..).collect())),
        }
    }
}

impl Deref for Results {
    type Target = [StepResult];
    fn deref(&self) -> &[StepResult] {
        match &self.0 {
            Repr::None => &[],
            Repr::One(result) => core::slice::from_ref(result),
            Repr::Many(results) => results,
        }
    }
}
impl From<Vec<StepResult>> for Results {
    fn from(mut results: Vec<StepResult>) -> Self {
        Self::drain(&mut results)
    }
}
impl PartialEq for Results {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}
impl Eq for Results {}
impl fmt::Debug for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// What one step gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepResult {
    /// Of [`super::Step::Read`].
    Read {
        /// The bytes, at most as many as asked for.
        value: Bytes,
        /// What is known of the record, its whole size included.
        stat: Stat,
    },
    /// Of [`super::Step::Write`].
    Written {
        /// The record's version now; 1 if this step created it.
        version: u64,
        /// For a sequence key, the whole key with its number.
        key: Option<Bytes>,
    },
    /// Of [`super::Step::Delete`].
    Deleted,
    /// Of [`super::Step::Copy`].
    Copied {
        /// The target's version now; 1 if this step created it.
        version: u64,
    },
    /// Of [`super::Step::Compare`]: it held.
    Held,
    /// Of [`super::Step::Increment`].
    Incremented {
        /// The number after the addition.
        value: u64,
        /// The record's version now; 1 if this step created it.
        version: u64,
    },
    /// Of [`super::Step::List`].
    Listed(Page),
}

impl StepResult {
    fn bytes(&self) -> u64 {
        match self {
            Self::Read { value, .. } => value.len() as u64,
            Self::Written { key, .. } => key.as_ref().map_or(0, |key| key.len() as u64),
            Self::Listed(page) => page.entries.iter().map(ListEntry::bytes).sum(),
            Self::Deleted | Self::Copied { .. } | Self::Held | Self::Incremented { .. } => 0,
        }
    }

    fn detached(&self) -> Self {
        match self {
            Self::Read { value, stat } => {
                Self::Read { value: Bytes::copy_from_slice(value), stat: *stat }
            }
            Self::Written { version, key } => {
                let key = key.as_ref().map(|key| Bytes::copy_from_slice(key));
                Self::Written { version: *version, key }
            }
            Self::Listed(page) => {
                let entries = page.entries.iter().map(ListEntry::detached).collect();
                Self::Listed(Page { entries, more: page.more })
            }
            other => other.clone(),
        }
    }
}

/// Why a step failed, and its transaction with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum StepError {
    /// There is no such record.
    #[error("not found")]
    NotFound,
    /// There is such a record already.
    #[error("exists already")]
    Exists,
    /// The comparison does not hold.
    #[error("the comparison does not hold")]
    Unequal,
    /// The value has no number of that width at that place.
    #[error("the value has no number of that width at that place")]
    NotANumber,
    /// The key is longer than the limit.
    #[error("the key is too long")]
    KeyTooLarge,
    /// The value would be larger than the limit.
    #[error("the value would be too large")]
    ValueTooLarge,
    /// The transaction would return more than the limit.
    #[error("the results would be too large")]
    ResultTooLarge,
    /// The store would hold more than the limit.
    #[error("the store is full")]
    StoreFull,
    /// The session would own more ephemeral records than the limit.
    #[error("the session owns too many ephemeral records")]
    EphemeralsFull,
}

impl StepError {
    /// Each error; its place is its tag in encodings.
    pub const ALL: [Self; 9] = [
        Self::NotFound,
        Self::Exists,
        Self::Unequal,
        Self::NotANumber,
        Self::KeyTooLarge,
        Self::ValueTooLarge,
        Self::ResultTooLarge,
        Self::StoreFull,
        Self::EphemeralsFull,
    ];
}

mod tag {
    pub(super) const COMMITTED: u8 = 1;
    pub(super) const ABORTED: u8 = 2;

    pub(super) const READ: u8 = 1;
    pub(super) const WRITTEN: u8 = 2;
    pub(super) const DELETED: u8 = 3;
    pub(super) const COPIED: u8 = 4;
    pub(super) const HELD: u8 = 5;
    pub(super) const INCREMENTED: u8 = 6;
    pub(super) const LISTED: u8 = 7;
}

impl Encode for TxnOutcome {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Committed { revision, branch, results } => {
                out.u8(tag::COMMITTED);
                revision.encode(out);
                branch.encode(out);
                out.varint(results.len() as u64);
                results.iter().for_each(|result| result.encode(out));
            }
            Self::Aborted { branch, step, error } => {
                out.u8(tag::ABORTED);
                branch.encode(out);
                out.varint(u64::from(*step));
                error.encode(out);
            }
        }
    }
}
impl Decode for TxnOutcome {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        match input.u8()? {
            tag::COMMITTED => {
                let revision = Decode::decode(input)?;
                let branch = Decode::decode(input)?;
                let count = input.count("results", STEPS_MAX, 1)?;
                let mut results = Vec::with_capacity(count.min(64));
                for _ in 0..count {
                    results.push(StepResult::decode(input)?);
                }
                let results = Results::from(results);
                Ok(Self::Committed { revision, branch, results })
            }
            tag::ABORTED => Ok(Self::Aborted {
                branch: Decode::decode(input)?,
                step: input.varint_u32("step")?,
                error: Decode::decode(input)?,
            }),
            found => Err(WireError::UnknownTag { what: "outcome", tag: u64::from(found) }),
        }
    }
}

impl Encode for Branch {
    fn encode(&self, out: &mut Writer) {
        out.bool(matches!(self, Self::Then));
    }
}
impl Decode for Branch {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(if input.bool()? { Self::Then } else { Self::Otherwise })
    }
}

impl Encode for StepResult {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Read { value, stat } => {
                out.u8(tag::READ);
                out.bytes(value);
                stat.encode(out);
            }
            Self::Written { version, key } => {
                out.u8(tag::WRITTEN);
                out.varint(*version);
                encode_option(key.as_ref(), out, |key, out| out.bytes(key));
            }
            Self::Deleted => out.u8(tag::DELETED),
            Self::Copied { version } => {
                out.u8(tag::COPIED);
                out.varint(*version);
            }
            Self::Held => out.u8(tag::HELD),
            Self::Incremented { value, version } => {
                out.u8(tag::INCREMENTED);
                out.varint(*value);
                out.varint(*version);
            }
            Self::Listed(page) => {
                out.u8(tag::LISTED);
                page.encode(out);
            }
        }
    }
}
impl Decode for StepResult {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        match input.u8()? {
            tag::READ => {
                let value = input.bytes("value", usize::MAX)?;
                Ok(Self::Read { value, stat: Decode::decode(input)? })
            }
            tag::WRITTEN => {
                let version = input.varint()?;
                Ok(Self::Written { version, key: decode_option(input, decode_key)? })
            }
            tag::DELETED => Ok(Self::Deleted),
            tag::COPIED => Ok(Self::Copied { version: input.varint()? }),
            tag::HELD => Ok(Self::Held),
            tag::INCREMENTED => {
                Ok(Self::Incremented { value: input.varint()?, version: input.varint()? })
            }
            tag::LISTED => Ok(Self::Listed(Decode::decode(input)?)),
            found => Err(WireError::UnknownTag { what: "step result", tag: u64::from(found) }),
        }
    }
}

impl Encode for StepError {
    fn encode(&self, out: &mut Writer) {
        out.u8(*self as u8);
    }
}
impl Decode for StepError {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let tag = input.u8()?;
        let known = Self::ALL.get(usize::from(tag)).copied();
        known.ok_or(WireError::UnknownTag { what: "step error", tag: u64::from(tag) })
    }
}
