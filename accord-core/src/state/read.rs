//! Reads outside of transactions: answered from one replica's applied state, at its revision.
//!
//! Whether that state is recent enough (a linearizable read waits for a barrier) is decided above.

use super::kind;
use super::kv::{ListQuery, Page, Stat};
use super::session::Session;
use super::tree::read::{TreeAnswer, TreeQuery};
use crate::ids::{NodeId, RequestId, SessionId};
use crate::wire::{
    Decode, Encode, Reader, WireError, Writer, decode_key, decode_option, encode_option,
};
use alloc::vec::Vec;
use bytes::Bytes;

/// A question about the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadQuery {
    /// A record's value, or a part of it.
    Get {
        /// Which record.
        key: Bytes,
        /// Where to begin, in bytes.
        offset: u64,
        /// The most bytes to return; fewer at the end of the value.
        length_max: u64,
    },
    /// A page of records.
    List(ListQuery),
    /// A question about the tree of znodes.
    Tree(TreeQuery),
    /// A page of the open sessions, in the order in which they joined.
    Members {
        /// Only those that joined after this one.
        after: Option<SessionId>,
        /// The most to return; the state's own limit holds as well.
        limit: u32,
    },
    /// What is known of one session.
    Session {
        /// The session; it may have ended.
        session: SessionId,
    },
}

impl ReadQuery {
    /// True if it names the identities of the client, which only a front-end may say.
    pub const fn names_identities(&self) -> bool {
        matches!(self, Self::Tree(_))
    }
}

/// The answer to a [`ReadQuery`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadResult {
    /// To a get.
    Value {
        /// The bytes asked for.
        value: Bytes,
        /// What is known of the record, its whole size included.
        stat: Stat,
    },
    /// To a get or a session query: there is none.
    NotFound,
    /// To a list.
    Listed(Page),
    /// To a question about the tree.
    Tree(TreeAnswer),
    /// To a members query.
    Members {
        /// The sessions, in the order in which they joined.
        members: Vec<SessionId>,
        /// True if the page was cut.
        more: bool,
    },
    /// To a session query.
    Session(SessionInfo),
}

/// What is known of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// The server that its client is attached to; none if it is orphaned.
    pub owner: Option<NodeId>,
    /// The number of its attachments.
    pub generation: u32,
    /// How long it may be silent.
    pub timeout_ms: u32,
    /// The last request that ran.
    pub last: RequestId,
    /// How many ephemeral records and znodes it owns.
    pub ephemerals: u32,
}

impl SessionInfo {
    /// What is known of `session`, which owns `ephemerals` ephemeral records and znodes.
    pub(super) fn new(session: &Session, ephemerals: usize) -> Self {
        Self {
            owner: session.owner(),
            generation: session.generation(),
            timeout_ms: session.timeout_ms(),
            last: session.last(),
            ephemerals: u32::try_from(ephemerals).unwrap_or(u32::MAX),
        }
    }
}

impl Encode for ReadQuery {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Get { key, offset, length_max } => {
                out.raw(&[kind::KV, 1]);
                out.bytes(key);
                out.varint(*offset);
                out.varint(*length_max);
            }
            Self::List(query) => {
                out.raw(&[kind::KV, 2]);
                query.encode(out);
            }
            Self::Tree(query) => {
                out.raw(&[kind::TREE, 1]);
                query.encode(out);
            }
            Self::Members { after, limit } => {
                out.raw(&[kind::SESSIONS, 1]);
                encode_option(after.as_ref(), out, SessionId::encode);
                out.varint(u64::from(*limit));
            }
            Self::Session { session } => {
                out.raw(&[kind::SESSIONS, 2]);
                session.encode(out);
            }
        }
    }
}
impl Decode for ReadQuery {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        match (input.u8()?, input.u8()?) {
            (kind::KV, 1) => Ok(Self::Get {
                key: decode_key(input)?,
                offset: input.varint()?,
                length_max: input.varint()?,
            }),
            (kind::KV, 2) => Ok(Self::List(Decode::decode(input)?)),
            (kind::TREE, 1) => Ok(Self::Tree(Decode::decode(input)?)),
            (kind::SESSIONS, 1) => Ok(Self::Members {
                after: decode_option(input, SessionId::decode)?,
                limit: input.varint_u32("limit")?,
            }),
            (kind::SESSIONS, 2) => Ok(Self::Session { session: Decode::decode(input)? }),
            (kind::KV | kind::TREE | kind::SESSIONS, found) => {
                Err(WireError::UnknownTag { what: "read query", tag: u64::from(found) })
            }
            (other, _) => Err(kind::unknown(other)),
        }
    }
}

impl Encode for ReadResult {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Value { value, stat } => {
                out.raw(&[kind::KV, 1]);
                out.bytes(value);
                stat.encode(out);
            }
            Self::NotFound => out.raw(&[kind::SESSIONS, 1]),
            Self::Listed(page) => {
                out.raw(&[kind::KV, 2]);
                page.encode(out);
            }
            Self::Tree(answer) => {
                out.raw(&[kind::TREE, 1]);
                answer.encode(out);
            }
            Self::Members { members, more } => {
                out.raw(&[kind::SESSIONS, 2]);
                out.varint(members.len() as u64);
                members.iter().for_each(|member| member.encode(out));
                out.bool(*more);
            }
            Self::Session(info) => {
                out.raw(&[kind::SESSIONS, 3]);
                info.encode(out);
            }
        }
    }
}
impl Decode for ReadResult {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        match (input.u8()?, input.u8()?) {
            (kind::KV, 1) => {
                let value = input.bytes("value", usize::MAX)?;
                Ok(Self::Value { value, stat: Decode::decode(input)? })
            }
            (kind::SESSIONS, 1) => Ok(Self::NotFound),
            (kind::KV, 2) => Ok(Self::Listed(Decode::decode(input)?)),
            (kind::TREE, 1) => Ok(Self::Tree(Decode::decode(input)?)),
            (kind::SESSIONS, 2) => {
                let count = input.count("members", usize::MAX, 1)?;
                let mut members = Vec::with_capacity(count.min(64));
                for _ in 0..count {
                    members.push(Decode::decode(input)?);
                }
                Ok(Self::Members { members, more: input.bool()? })
            }
            (kind::SESSIONS, 3) => Ok(Self::Session(Decode::decode(input)?)),
            (kind::KV | kind::TREE | kind::SESSIONS, found) => {
                Err(WireError::UnknownTag { what: "read result", tag: u64::from(found) })
            }
            (other, _) => Err(kind::unknown(other)),
        }
    }
}

impl Encode for SessionInfo {
    fn encode(&self, out: &mut Writer) {
        encode_option(self.owner.as_ref(), out, NodeId::encode);
        out.varint(u64::from(self.generation));
        out.varint(u64::from(self.timeout_ms));
        self.last.encode(out);
        out.varint(u64::from(self.ephemerals));
    }
}
impl Decode for SessionInfo {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            owner: decode_option(input, NodeId::decode)?,
            generation: input.varint_u32("generation")?,
            timeout_ms: input.varint_u32("timeout_ms")?,
            last: Decode::decode(input)?,
            ephemerals: input.varint_u32("ephemerals")?,
        })
    }
}
