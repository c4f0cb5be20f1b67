//! What clients ask of a server and what it says to them, in no protocol's bytes.
//!
//! Front-ends turn bytes of their protocols into [`ClientMessage`]s, and [`ServerMessage`]s into
//! bytes. The gateway knows no other messages. Their order on one connection carries meaning:
//! - A client begins with [`ClientMessage::Open`] or [`ClientMessage::Attach`]. After an attachment
//!   it registers its watches again, and only then sends its outstanding requests again. The server
//!   works in order, so the watches have the events of a repeated request before its recorded
//!   outcome is sent.
//! - A server sends the events of a revision before any reply or read result that reflects it.

use crate::holder::SessionSecret;
use crate::ids::{RequestId, Revision, SessionId, WatchId};
use crate::state::{Event, KeyEventKind, MemberEventKind, Outcome, Page, ReadQuery, ReadResult};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use core::ops::BitOr;

/// The longest key, and the longest prefix, that a watch may name, in bytes.
pub const WATCH_KEY_BYTES_MAX: usize = 4096;

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage {
    /// Begin a new session. The first message of a connection that has none.
    Open {
        /// How long the session may outlive the last sign of its client, in milliseconds. The
        /// server brings it into its own bounds and says which value it took.
        timeout_ms: u32,
    },
    /// Go on with a session, after a lost connection. The connection that had it before is fenced.
    Attach {
        /// Which session.
        session: SessionId,
        /// Its secret, from [`ServerMessage::Opened`].
        secret: SessionSecret,
        /// The latest revision that the client knows of; nothing older may be read from here on.
        seen: Revision,
    },
    /// End the session: its ephemeral records are deleted, and watchers of the members notified.
    Close,
    /// Execute a transaction, exactly once however often it is sent.
    Request {
        /// The client's number for it.
        request: RequestId,
        /// The client waits for no outcome below this number: the records of those may go.
        acked_below: RequestId,
        /// The encoded [`crate::state::Op`].
        op: Bytes,
    },
    /// Read without writing.
    Read {
        /// The client's number for this read, for the answer; any number that it does not use twice
        /// at a time on one connection.
        read: u64,
        /// How fresh the result has to be.
        consistency: Consistency,
        /// Gives the read a place in the session's order: behind every request that was sent before
        /// it over this connection and has at most this number, in front of all later ones. Such
        /// reads of a connection are answered in the order in which they came. `None`: the read is
        /// answered as soon as it is fresh enough.
        after: Option<RequestId>,
        /// Sets a watch in the same step. It tells everything after the revision that the result
        /// shows; a read that is refused sets none.
        watch: Option<Box<ReadWatch>>,
        /// What to read.
        query: ReadQuery,
    },
    /// Be told of changes.
    Watch {
        /// The client's number for this watch; never used twice in a session.
        watch: WatchId,
        /// Of what.
        filter: WatchFilter,
        /// Which kinds of event.
        mask: EventMask,
        /// One-shot: the first event (or the first revision's events) ends the watch.
        once: bool,
        /// Everything after this revision; `None`: everything from now on.
        from: Option<Revision>,
    },
    /// Be told no more. Answered by nothing; events under way may still arrive. If the watch is one
    /// that a read under way is to set, that read sets none.
    Unwatch {
        /// Which watch.
        watch: WatchId,
    },
    /// "I am alive." Any message says so; this one says only that.
    Ping {
        /// Comes back in the [`ServerMessage::Pong`].
        nonce: u64,
    },
}

impl ClientMessage {
    /// A read without a place in the session's order, and without a watch.
    pub const fn read(read: u64, consistency: Consistency, query: ReadQuery) -> Self {
        Self::Read { read, consistency, after: None, watch: None, query }
    }
}

/// A watch that a read sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadWatch {
    /// The client's number for this watch; never used twice in a session.
    pub watch: WatchId,
    /// Of what. It need not be what is read, and need not exist.
    pub filter: WatchFilter,
    /// Which kinds of event.
    pub mask: EventMask,
    /// One-shot: the first revision's events end the watch.
    pub once: bool,
}

/// How fresh a read has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Consistency {
    /// Reflects every write that was answered anywhere before the read was sent.
    Linearizable,
    /// Reflects at least what the session saw before; never waits for other servers.
    Local,
}

/// What a watch is set on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WatchFilter {
    /// One key.
    Key(Bytes),
    /// Every key that begins with this; empty: every key.
    Prefix(Bytes),
    /// The sessions of the cluster: who joins and who leaves.
    Members,
}

/// A set of event kinds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventMask(u8);

impl EventMask {
    /// A record came into being by a write.
    pub const CREATED: Self = Self(1);
    /// A record's value was changed in place.
    pub const CHANGED: Self = Self(2);
    /// A record went.
    pub const DELETED: Self = Self(4);
    /// Another record's value was copied onto the key.
    pub const COPIED: Self = Self(8);
    /// A session was opened.
    pub const JOINED: Self = Self(16);
    /// A session was closed or expired.
    pub const LEFT: Self = Self(32);
    /// Every kind.
    pub const ALL: Self = Self(63);

    /// The set as bits, as it stands on the wire.
    pub const fn bits(self) -> u8 {
        self.0
    }
    /// The set with these bits, if they all have a meaning and there is at least one.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits != 0 && bits & !Self::ALL.0 == 0 { Some(Self(bits)) } else { None }
    }
    /// True if `event` is of a kind in the set.
    pub fn admits(self, event: &Event) -> bool {
        self.0 & Self::of(event).0 != 0
    }
    /// The kind of `event`, alone. A change of a znode is of none: no watch of records or members
    /// sees it.
    pub fn of(event: &Event) -> Self {
        match event {
            Event::Key(event) => match event.kind {
                KeyEventKind::Created => Self::CREATED,
                KeyEventKind::Changed => Self::CHANGED,
                KeyEventKind::Deleted => Self::DELETED,
                KeyEventKind::Copied => Self::COPIED,
            },
            Event::Member(event) => match event.kind {
                MemberEventKind::Joined => Self::JOINED,
                MemberEventKind::Left => Self::LEFT,
            },
            Event::Tree(_) => Self(0),
        }
    }
}

impl BitOr for EventMask {
    type Output = Self;
    fn bitor(self, rhs: Self) -> Self {
        Self(self.0 | rhs.0)
    }
}

impl fmt::Debug for EventMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LETTERS: [&str; 6] = ["created", "changed", "deleted", "copied", "joined", "left"];
        let mut names = LETTERS.iter().enumerate().filter(|(bit, _)| self.0 & (1 << bit) != 0);
        if let Some((_, first)) = names.next() {
            f.write_str(first)?;
        }
        names.try_for_each(|(_, name)| write!(f, "+{name}"))
    }
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerMessage {
    /// The session exists and this connection has it.
    Opened {
        /// Its id.
        session: SessionId,
        /// What shows that a client may attach it: it is enough to have the session.
        secret: SessionSecret,
        /// The timeout that the server took, in milliseconds.
        timeout_ms: u32,
        /// The revision at which it was opened.
        revision: Revision,
    },
    /// The session goes on over this connection.
    Attached {
        /// Its id.
        session: SessionId,
        /// Its timeout, in milliseconds.
        timeout_ms: u32,
        /// How often it has been attached.
        generation: u32,
        /// What this server has applied.
        revision: Revision,
    },
    /// The session was not opened or attached. The server hangs up.
    SessionRefused {
        /// The reason; it decides whether the client tries again.
        reason: SessionRefusal,
    },
    /// The session has ended or moved. The server hangs up.
    SessionClosed {
        /// How it ended, or that it moved to another connection.
        reason: SessionEnd,
    },
    /// The outcome of a request.
    Reply {
        /// Which request.
        request: RequestId,
        /// What became of it, the same however often it is asked.
        outcome: Outcome,
    },
    /// This sending of the request was turned away before it entered the order. Sendings of it that
    /// went before, over this or another connection, may still take effect.
    RequestRefused {
        /// Which request.
        request: RequestId,
        /// Why this server does not propose it.
        reason: Refusal,
    },
    /// The result of a read. The watch that it was to set is set.
    ReadReply {
        /// Which read.
        read: u64,
        /// The revision that the result shows.
        revision: Revision,
        /// What was read.
        result: ReadResult,
    },
    /// The read was not done, and sets no watch.
    ReadRefused {
        /// Which read.
        read: u64,
        /// Why there is no result.
        reason: Refusal,
    },
    /// The watch is set.
    Watching {
        /// Which watch.
        watch: WatchId,
        /// Everything after this revision will be told.
        from: Revision,
        /// For [`WatchFilter::Members`] from now on: the open sessions at that revision, ascending.
        members: Option<Vec<SessionId>>,
    },
    /// The watch was not set.
    WatchRefused {
        /// Which watch.
        watch: WatchId,
        /// Why there is no watch.
        reason: Refusal,
    },
    /// What one revision changed, as far as one watch looks: all of it, in order.
    Events {
        /// Which watch.
        watch: WatchId,
        /// The revision.
        revision: Revision,
        /// At least one event, all of `revision`.
        events: Arc<[Event]>,
    },
    /// The watch cannot go on without a gap, and has ended.
    WatchLost {
        /// Which watch.
        watch: WatchId,
        /// The events after this revision are still known here.
        oldest: Revision,
    },
    /// Whether this server is in the primary component: if not, requests and linearizable reads
    /// wait, and may fare better elsewhere.
    Status {
        /// True if it is.
        primary: bool,
    },
    /// The answer to a ping. The ping did count: a session whose end is already under way gets
    /// none.
    Pong {
        /// From the ping.
        nonce: u64,
        /// Every event up to this revision was sent before this message.
        revision: Revision,
    },
}

/// Why a session was not opened or attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum SessionRefusal {
    /// There is no such session: it was closed, it expired, or it never was. Or the secret is not
    /// its own: which of these, only its holder may know.
    #[error("the session does not exist, or the secret is not its own")]
    Unknown,
    /// The cluster holds as many sessions as it may.
    #[error("the cluster holds as many sessions as it may")]
    TooMany,
    /// The server holds back as much as it may while there is no primary component.
    #[error("the server holds back as much as it may")]
    Busy,
}

/// How a session ended for this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum SessionEnd {
    /// Its client closed it.
    #[error("the session was closed")]
    Closed,
    /// Its client was silent for longer than its timeout.
    #[error("the session expired")]
    Expired,
    /// Another connection attached to it: it goes on, but not here.
    #[error("the session moved to another connection")]
    Moved,
    /// It ended while this server was away; how is not known here.
    #[error("the session has ended")]
    Gone,
}

/// Why something was turned away, with nothing done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Refusal {
    /// The connection has as many requests under way as it may.
    #[error("too many requests are under way on this connection")]
    TooManyOutstanding,
    /// The requests under way on the connection hold as many bytes as they may.
    #[error("the requests under way on this connection hold too many bytes")]
    TooManyBytes,
    /// The request alone is larger than the server takes.
    #[error("the request is larger than the server takes")]
    TooLarge,
    /// The server holds back as much as it may.
    #[error("the server holds back as much as it may")]
    Busy,
    /// The server was not in the primary component, or did not answer an earlier request of the
    /// session, for as long as a read may wait.
    #[error("the server is not in the primary component")]
    NotPrimary,
    /// The connection waits for as many reads as it may.
    #[error("too many reads are under way on this connection")]
    TooManyReads,
    /// The connection has as many watches as it may.
    #[error("too many watches are set on this connection")]
    TooManyWatches,
    /// The number is taken by a watch that is set.
    #[error("the watch number is in use")]
    WatchInUse,
    /// The watch names a longer key than [`WATCH_KEY_BYTES_MAX`].
    #[error("the watched key is too long")]
    KeyTooLong,
}

impl ServerMessage {
    /// What the message weighs in a queue, in bytes: the variable part of it and a constant.
    pub fn weight(&self) -> usize {
        MESSAGE_WEIGHT
            + match self {
                Self::Reply { outcome, .. } => outcome_weight(outcome),
                Self::ReadReply { result, .. } => result_weight(result),
                Self::Watching { members: Some(members), .. } => members.len() * 8,
                Self::Events { events, .. } => events.iter().map(event_weight).sum(),
                _ => 0,
            }
    }
}

/// Bytes that each message counts in addition to its variable part.
const MESSAGE_WEIGHT: usize = 64;

/// Bytes that each event counts in addition to its key and data.
pub(crate) const EVENT_WEIGHT: usize = 64;

/// What an event weighs in a queue or a history, in bytes.
pub fn event_weight(event: &Event) -> usize {
    match event {
        Event::Key(event) => EVENT_WEIGHT + event.key.len() + event.data.len(),
        Event::Tree(event) => EVENT_WEIGHT + event.path.len(),
        Event::Member(_) => EVENT_WEIGHT,
    }
}

fn outcome_weight(outcome: &Outcome) -> usize {
    usize::try_from(outcome.bytes()).unwrap_or(usize::MAX)
}

fn result_weight(result: &ReadResult) -> usize {
    match result {
        ReadResult::Value { value, .. } => value.len(),
        ReadResult::Listed(page) => page_weight(page),
        ReadResult::Members { members, .. } => members.len() * 8,
        ReadResult::Tree(answer) => answer.weight(),
        ReadResult::NotFound | ReadResult::Session(_) => 0,
    }
}

fn page_weight(page: &Page) -> usize {
    const FIXED_BYTES: usize = 64;
    let entries = page.entries.iter();
    entries
        .map(|entry| FIXED_BYTES + entry.key.len() + entry.value.as_ref().map_or(0, Bytes::len))
        .sum()
}
