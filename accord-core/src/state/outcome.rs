//! Outcomes: what became of a request, as sent to the client and recorded for its retries.
//!
//! An outcome is cheap to clone (results are inline or shared) since it is both recorded and sent.
//! An [`Outcome::Txn`] or [`Outcome::Tree`] is final and recorded: every retry is answered with it.
//! An [`Outcome::Refused`] is about this copy of the request, which had no effect;
//! [`RequestError::is_definite`] says whether an earlier copy may have had one.

use super::kind;
use super::kv::outcome::TxnOutcome;
use super::tree::outcome::TreeOutcome;
use crate::ids::RequestId;
use crate::wire::{Decode, Encode, Reader, WireError, Writer};
use alloc::sync::Arc;
use thiserror::Error;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The transaction ran, now or when an earlier copy of it was applied.
    Txn(TxnOutcome),
    /// The same of an operation on the tree.
    Tree(Arc<TreeOutcome>),
    /// It did not run.
    Refused(RequestError),
}

impl Outcome {
    /// What a recorded outcome counts against the limits, in bytes.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Txn(outcome) => outcome.bytes(),
            Self::Tree(outcome) => outcome.bytes(),
            Self::Refused(_) => 0,
        }
    }

    /// The outcome with bytes of its own, sharing none with what it was decoded from.
    #[must_use]
    pub fn detached(&self) -> Self {
        match self {
            Self::Txn(outcome) => Self::Txn(outcome.detached()),
            Self::Tree(outcome) => Self::Tree(Arc::new(outcome.detached())),
            Self::Refused(error) => Self::Refused(*error),
        }
    }
}

/// Why a request did not run. It had no effect, and the session's numbering is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum RequestError {
    /// No session of this id was ever opened.
    #[error("there was never such a session")]
    SessionUnknown,
    /// The session was closed or expired (or the id is that of another change).
    #[error("the session has ended")]
    SessionEnded,
    /// The client itself said that it needs no answer to this request any more, and so its outcome
    /// was dropped, if it ran at all.
    #[error("requests below {acked_below} were acknowledged by the client")]
    Acknowledged {
        /// The first number that is not acknowledged.
        acked_below: RequestId,
    },
    /// A later request of the session ran before any copy of this one did: it never ran and never
    /// will.
    #[error("the request was passed over by request {last} and will never run")]
    PassedOver {
        /// The last request that ran.
        last: RequestId,
    },
    /// The session has as many unacknowledged outcomes as it may. The request can be tried again,
    /// after acknowledging some; unless a later one ran meanwhile.
    #[error("too many unacknowledged requests")]
    WindowFull,
    /// The transaction's bytes are none, or the request's number is 0 or below what it
    /// acknowledges.
    #[error("the request is malformed")]
    Malformed,
    /// The command is larger than the limit.
    #[error("the command is too large")]
    CommandTooLarge,
    /// It is of a kind of object that is not known here.
    #[error("objects of kind {kind} are not known here")]
    UnknownKind {
        /// The kind.
        kind: u8,
    },
    /// A branch or the guard is longer than the limit.
    #[error("the transaction has too many steps")]
    TooManySteps,
}

impl RequestError {
    /// True if no copy of the request ever had an effect up to now; false if an earlier copy may
    /// have.
    ///
    /// For a request whose number was passed over, later ones cannot have one either.
    pub const fn is_definite(self) -> bool {
        match self {
            // The session ran nothing, as it never existed.
            Self::SessionUnknown => true,
            // Its records died with the session, what it had done did not.
            Self::SessionEnded => false,
            // The record is gone because the client let go of it.
            Self::Acknowledged { .. } => false,
            // Everything that ran and is not acknowledged has a record, and this has none.
            Self::PassedOver { .. } => true,
            // Refused because its number is above the last that ran.
            Self::WindowFull | Self::CommandTooLarge | Self::TooManySteps | Self::Malformed => true,
            Self::UnknownKind { .. } => true,
        }
    }
}

impl Encode for Outcome {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Txn(outcome) => {
                out.u8(kind::KV);
                outcome.encode(out);
            }
            Self::Tree(outcome) => {
                out.u8(kind::TREE);
                outcome.encode(out);
            }
            Self::Refused(error) => {
                out.u8(kind::SESSIONS);
                error.encode(out);
            }
        }
    }
}
impl Decode for Outcome {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        match input.u8()? {
            kind::SESSIONS => Ok(Self::Refused(Decode::decode(input)?)),
            kind::KV => Ok(Self::Txn(Decode::decode(input)?)),
            kind::TREE => Ok(Self::Tree(Arc::new(Decode::decode(input)?))),
            other => Err(kind::unknown(other)),
        }
    }
}

impl Encode for RequestError {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::SessionUnknown => out.u8(1),
            Self::SessionEnded => out.u8(2),
            Self::Acknowledged { acked_below } => {
                out.u8(3);
                acked_below.encode(out);
            }
            Self::PassedOver { last } => {
                out.u8(4);
                last.encode(out);
            }
            Self::WindowFull => out.u8(5),
            Self::Malformed => out.u8(6),
            Self::CommandTooLarge => out.u8(7),
            Self::TooManySteps => out.u8(8),
            Self::UnknownKind { kind } => out.raw(&[9, *kind]),
        }
    }
}
impl Decode for RequestError {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(match input.u8()? {
            1 => Self::SessionUnknown,
            2 => Self::SessionEnded,
            3 => Self::Acknowledged { acked_below: Decode::decode(input)? },
            4 => Self::PassedOver { last: Decode::decode(input)? },
            5 => Self::WindowFull,
            6 => Self::Malformed,
            7 => Self::CommandTooLarge,
            8 => Self::TooManySteps,
            9 => Self::UnknownKind { kind: input.u8()? },
            found => {
                return Err(WireError::UnknownTag { what: "request error", tag: u64::from(found) });
            }
        })
    }
}
