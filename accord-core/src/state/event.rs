//! Events and completions: what carrying out a command tells the server above.
//!
//! Events are what watchers may see, in the order of the changes: by revision, then by step. A
//! command that is refused, aborted or a duplicate has none. Which of them a client watches is the
//! server's concern, as is telling a client the events of a command before its completion.

use super::kind;
use super::kv::event::KeyEvent;
use super::outcome::Outcome;
use super::tree::event::TreeEvent;
use crate::ids::{NodeId, RequestId, Revision, SessionId};
use crate::wire::{Decode, Encode, Reader, WireError, Writer};
use thiserror::Error;

/// A change that can be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A record changed.
    Key(KeyEvent),
    /// A znode changed.
    Tree(TreeEvent),
    /// A session came or went.
    Member(MemberEvent),
}

/// A change of the membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberEvent {
    /// The revision of the change.
    pub revision: Revision,
    /// What happened.
    pub kind: MemberEventKind,
    /// Whose session it is.
    pub session: SessionId,
    /// The number of sessions after the change, for a check of the watcher's own list.
    pub members: u32,
}

/// What happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberEventKind {
    /// It was opened.
    Joined,
    /// It was closed or expired. Its ephemeral records and znodes were deleted before, in the same
    /// revision.
    Left,
}

impl Event {
    /// The revision of the change.
    pub const fn revision(&self) -> Revision {
        match self {
            Self::Key(event) => event.revision,
            Self::Tree(event) => event.revision,
            Self::Member(event) => event.revision,
        }
    }

    /// The event with bytes of its own. Otherwise it may share those of the whole message that its
    /// command came in, and keep them alive.
    #[must_use]
    pub fn detached(&self) -> Self {
        match self {
            Self::Key(event) => Self::Key(event.detached()),
            Self::Tree(event) => Self::Tree(event.detached()),
            Self::Member(event) => Self::Member(*event),
        }
    }
}

impl Encode for Event {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Key(event) => {
                out.u8(kind::KV);
                event.encode(out);
            }
            Self::Tree(event) => {
                out.u8(kind::TREE);
                event.encode(out);
            }
            Self::Member(event) => {
                out.raw(&[kind::SESSIONS, event.kind as u8]);
                event.revision.encode(out);
                event.session.encode(out);
                out.varint(u64::from(event.members));
            }
        }
    }
}

impl Decode for Event {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        match input.u8()? {
            kind::SESSIONS => {}
            kind::KV => return Ok(Self::Key(Decode::decode(input)?)),
            kind::TREE => return Ok(Self::Tree(Decode::decode(input)?)),
            other => return Err(kind::unknown(other)),
        }
        let kind = match input.u8()? {
            0 => MemberEventKind::Joined,
            1 => MemberEventKind::Left,
            tag => return Err(WireError::UnknownTag { what: "event", tag: u64::from(tag) }),
        };
        Ok(Self::Member(MemberEvent {
            kind,
            revision: Decode::decode(input)?,
            session: Decode::decode(input)?,
            members: input.varint_u32("members")?,
        }))
    }
}

/// Why there is no session to attach to or to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum NoSession {
    /// None of this id was ever opened.
    #[error("there was never such a session")]
    Unknown,
    /// It was closed or expired (or the id is that of another change).
    #[error("the session has ended")]
    Ended,
}

/// Why a session was not attached. Clients are not told which it was: they could find the ids of
/// sessions otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum AttachError {
    /// There is none.
    #[error("{0}")]
    NoSession(NoSession),
    /// It is somebody else's.
    #[error("the session is of another principal, or has another secret")]
    NotHolder,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndCause {
    /// Its client closed it.
    Closed,
    /// Its client was silent for too long.
    Expired,
}

/// That a command was executed: the same on every replica. Its proposer recognises its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completion {
    /// Of [`super::Command::Request`].
    Request {
        /// Who asked.
        session: SessionId,
        /// For what.
        request: RequestId,
        /// What became of it.
        outcome: Outcome,
    },
    /// Of [`super::Command::Open`].
    Opened {
        /// Who proposed it.
        server: NodeId,
        /// Under which name.
        token: u64,
        /// The new session; its number is the revision of its opening, and its generation is 1.
        session: SessionId,
        /// The timeout granted.
        timeout_ms: u32,
    },
    /// Of [`super::Command::Open`]: there are as many sessions as there may be.
    OpenRefused {
        /// Who proposed it.
        server: NodeId,
        /// Under which name.
        token: u64,
    },
    /// Of [`super::Command::Attach`]. A server that held the session before no longer does.
    Attached {
        /// Who proposed it, and owns the session now.
        server: NodeId,
        /// Under which name.
        token: u64,
        /// The session.
        session: SessionId,
        /// The number of this attachment.
        generation: u32,
        /// The timeout granted when it was opened.
        timeout_ms: u32,
        /// The last request that ran (but others may still be on their way).
        last: RequestId,
    },
    /// Of [`super::Command::Attach`].
    AttachRefused {
        /// Who proposed it.
        server: NodeId,
        /// Under which name.
        token: u64,
        /// The session it asked for.
        session: SessionId,
        /// What is wrong with the session.
        error: AttachError,
    },
    /// Of [`super::Command::Close`] and [`super::Command::Expire`].
    Ended {
        /// The session, which is no more.
        session: SessionId,
        /// Which command it was.
        cause: EndCause,
    },
    /// Of [`super::Command::Close`].
    CloseRefused {
        /// The session it asked for.
        session: SessionId,
        /// What is wrong with the session.
        error: NoSession,
    },
    /// Of [`super::Command::Expire`]: void, since the session has ended, belongs to another server
    /// or was attached again.
    ExpireIgnored {
        /// Who proposed it.
        server: NodeId,
        /// The session.
        session: SessionId,
        /// The attachment that was silent.
        generation: u32,
    },
    /// Of [`super::Command::Reap`].
    Reaped {
        /// How many znodes it ended.
        count: u32,
    },
    /// The bytes are no command, and say not even whose. Nothing happened.
    Malformed {
        /// What is wrong with them.
        error: WireError,
    },
}
