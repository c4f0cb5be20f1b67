//! Commands: what the order carries and the state carries out.
//!
//! A command names its session or server itself and nothing local (no connection, no clock), so it
//! means the same on every replica. The encoding begins with a version byte; decoding is total. A
//! request's transaction fills the rest of the bytes, so that a server can pass on what its client
//! encoded, and a transaction that does not decode is still refused by name.

use super::op::Op;
use super::tree::reap::{ReapCandidate, decode_candidates};
use crate::holder::Holder;
use crate::ids::{NodeId, RequestId, SessionId};
use crate::wire::{Decode, Encode, Reader, WireError, Writer};
use alloc::vec::Vec;

/// The version of the command encoding that this build writes and reads.
pub const COMMAND_VERSION: u8 = 2;

/// One ordered command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A session's request: takes effect exactly once, however often it is ordered.
    Request {
        /// Who asks.
        session: SessionId,
        /// The client's number for it: from 1, ascending. Gaps are allowed, but a number once
        /// passed over never runs.
        request: RequestId,
        /// The client has the answers of all requests below this number (or no longer wants them);
        /// their recorded outcomes are dropped. At most `request`.
        acked_below: RequestId,
        /// What it asks for.
        op: Op,
    },
    /// A client joins.
    Open {
        /// The server it is attached to.
        server: NodeId,
        /// The server's name for this attempt, to find its connection when the command is applied.
        token: u64,
        /// How long the session may be silent, as the client wishes; the limits bound it.
        timeout_ms: u32,
        /// Who may attach it later.
        holder: Holder,
    },
    /// A client attaches its session to a (different) server.
    Attach {
        /// The server it is attached to from now on.
        server: NodeId,
        /// Its session.
        session: SessionId,
        /// The server's name for this attempt.
        token: u64,
        /// Who asks: void unless it is who opened the session.
        holder: Holder,
    },
    /// A client leaves.
    Close {
        /// Its session.
        session: SessionId,
    },
    /// A session was silent for too long.
    Expire {
        /// Who proposes it: the session's owner, or if it is orphaned, anyone.
        server: NodeId,
        /// Which session.
        session: SessionId,
        /// The attachment that was silent: void if the client attached again meanwhile.
        generation: u32,
    },
    /// Containers and znodes with a time to live may be over.
    Reap {
        /// Which, at most [`CANDIDATES_MAX`](super::tree::reap::CANDIDATES_MAX). Void for those
        /// that changed since, or are not over.
        candidates: Vec<ReapCandidate>,
    },
}

mod tag {
    pub(super) const REQUEST: u8 = 1;
    pub(super) const OPEN: u8 = 2;
    pub(super) const ATTACH: u8 = 3;
    pub(super) const CLOSE: u8 = 4;
    pub(super) const EXPIRE: u8 = 5;
    pub(super) const REAP: u8 = 6;
}

/// Appends the encoding of a [`Command::Request`] whose operation is already encoded.
pub fn encode_request(
    session: SessionId,
    request: RequestId,
    acked_below: RequestId,
    op: &[u8],
    out: &mut Writer,
) {
    encode_request_head(session, request, acked_below, out);
    out.raw(op);
}

fn encode_request_head(
    session: SessionId,
    request: RequestId,
    acked_below: RequestId,
    out: &mut Writer,
) {
    out.u8(COMMAND_VERSION);
    out.u8(tag::REQUEST);
    session.encode(out);
    request.encode(out);
    acked_below.encode(out);
}

/// A command before its operation is decoded.
pub(super) enum Head {
    /// The operation is what follows.
    Request { session: SessionId, request: RequestId, acked_below: RequestId },
    /// The whole command.
    Whole(Command),
}

impl Head {
    /// Reads a command up to its operation.
    pub(super) fn decode(input: &mut Reader) -> Result<Self, WireError> {
        input.version(COMMAND_VERSION)?;
        let whole = match input.u8()? {
            tag::REQUEST => {
                let session = Decode::decode(input)?;
                let request = Decode::decode(input)?;
                let acked_below = Decode::decode(input)?;
                return Ok(Self::Request { session, request, acked_below });
            }
            tag::OPEN => Command::Open {
                server: Decode::decode(input)?,
                token: input.varint()?,
                timeout_ms: input.varint_u32("timeout_ms")?,
                holder: Decode::decode(input)?,
            },
            tag::ATTACH => Command::Attach {
                server: Decode::decode(input)?,
                session: Decode::decode(input)?,
                token: input.varint()?,
                holder: Decode::decode(input)?,
            },
            tag::CLOSE => Command::Close { session: Decode::decode(input)? },
            tag::EXPIRE => Command::Expire {
                server: Decode::decode(input)?,
                session: Decode::decode(input)?,
                generation: input.varint_u32("generation")?,
            },
            tag::REAP => Command::Reap { candidates: decode_candidates(input)? },
            found => return Err(WireError::UnknownTag { what: "command", tag: u64::from(found) }),
        };
        Ok(Self::Whole(whole))
    }
}

impl Encode for Command {
    fn encode(&self, out: &mut Writer) {
        if let Self::Request { session, request, acked_below, op } = self {
            encode_request_head(*session, *request, *acked_below, out);
            return op.encode(out);
        }
        out.u8(COMMAND_VERSION);
        match self {
            Self::Request { .. } => {}
            Self::Open { server, token, timeout_ms, holder } => {
                out.u8(tag::OPEN);
                server.encode(out);
                out.varint(*token);
                out.varint(u64::from(*timeout_ms));
                holder.encode(out);
            }
            Self::Attach { server, session, token, holder } => {
                out.u8(tag::ATTACH);
                server.encode(out);
                session.encode(out);
                out.varint(*token);
                holder.encode(out);
            }
            Self::Close { session } => {
                out.u8(tag::CLOSE);
                session.encode(out);
            }
            Self::Expire { server, session, generation } => {
                out.u8(tag::EXPIRE);
                server.encode(out);
                session.encode(out);
                out.varint(u64::from(*generation));
            }
            Self::Reap { candidates } => {
                out.u8(tag::REAP);
                out.varint(candidates.len() as u64);
                candidates.iter().for_each(|candidate| candidate.encode(out));
            }
        }
    }
}

impl Decode for Command {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        match Head::decode(input)? {
            Head::Whole(command) => Ok(command),
            Head::Request { session, request, acked_below } => {
                let op = Op::decode(input)?;
                Ok(Self::Request { session, request, acked_below, op })
            }
        }
    }
}
