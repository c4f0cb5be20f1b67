//! What goes in and out of a server, and how it is set up.
//!
//! The contract of the loop:
//!
//! - [`handle`](super::Server::handle) only takes in: one [`Input`] with the present time. Time
//!   never goes back.
//! - [`poll_output`](super::Server::poll_output) works out what the inputs lead to. A driver may
//!   hand in one input or a hundred between two polls: what comes together goes out together. How
//!   much waits is the driver's to bound, and [`accepts`](super::Server::accepts), asked before
//!   each message of a client, bounds what clients cause.
//! - A driver carries out each [`Output`] in order, and polls until there is none before it waits
//!   or asks for [`next_deadline`](super::Server::next_deadline).
//!
//! The server asserts that time does not go back and that who waits has polled all. In between,
//! what it knows of itself ([`status`](super::Server::status),
//! [`state`](super::Server::state)) is as of the last output polled.

use super::work::{Done, Job};
use crate::group::{GroupEvent, Standing};
use crate::holder::{Principal, SecretKey};
use crate::ids::{ConnId, Index, LogPosition, NodeId, Revision, Stamp};
use crate::limits::Limits;
use crate::pieces::Pieces;
use crate::protocol::{ClientMessage, Refusal, ServerMessage};
use crate::replica::config::ReplicaConfig;
use crate::replica::io::{HaltReason, Record, ReplicaStatus, Ticket};
use crate::replica::voters::{ChangeError, VoterChange, VoterSet};
use crate::time::Duration;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use bytes::Bytes;

/// What a server is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// The group layer delivered something.
    Group(GroupEvent),
    /// A client has connected. The first word of a connection; its number is never used again.
    Connected {
        /// The connection.
        conn: ConnId,
        /// Whom it speaks for.
        principal: Principal,
    },
    /// A client said something. Ignored if the connection is not known (any more).
    Client {
        /// Over this connection.
        conn: ConnId,
        /// What it said.
        message: ClientMessage,
    },
    /// This many of the connection's messages, the oldest, left for the network: they no longer
    /// weigh on its queue. To be told at some time for every [`Output::Client`]. Leads to no
    /// output by itself.
    Written {
        /// The connection.
        conn: ConnId,
        /// How many.
        messages: usize,
    },
    /// The connection is gone. Not needed after [`Output::Disconnect`], and ignored then.
    Disconnected {
        /// The connection.
        conn: ConnId,
    },
    /// The record with this ticket and all before it are durable.
    Stored {
        /// The ticket.
        ticket: Ticket,
    },
    /// A record could not be made durable.
    StoreFailed,
    /// Another server sent this beside the group.
    Peer {
        /// Which server, authenticated.
        from: NodeId,
        /// What it sent.
        message: Bytes,
    },
    /// An operator asks something.
    Admin {
        /// The driver's number for it, for the answer.
        admin: AdminId,
        /// What.
        request: AdminRequest,
    },
    /// What came of [`Output::Work`].
    Worked(Box<Done>),
    /// What the clock on the wall shows now. The server counts on from it by the time of its
    /// inputs, so it is to be told at the start and every second or so: then a clock that is set
    /// is noticed. Without it the server's batches have no time.
    Clock {
        /// The time of day.
        wall: Stamp,
    },
    /// The time may have come that [`super::Server::next_deadline`] named.
    Timer,
}

/// What a server asks of its driver. The order of outputs is a promise.
#[derive(Clone, Debug)]
pub enum Output {
    /// Submit to the group layer. If it is full, keep the message and try again; never reorder.
    Multicast(Bytes),
    /// Write to the disk after all earlier records; tell [`Input::Stored`] when it and all earlier
    /// ones are durable, or [`Input::StoreFailed`]. Never asked for in memory mode.
    Persist {
        /// To be handed back.
        ticket: Ticket,
        /// What to write.
        record: Record,
    },
    /// Send to a client, in order.
    Client {
        /// Over this connection.
        conn: ConnId,
        /// What.
        message: ServerMessage,
    },
    /// Send what was said to the connection, then close it. Nothing more of it is of interest.
    Disconnect {
        /// The connection.
        conn: ConnId,
        /// Why.
        reason: DisconnectReason,
    },
    /// Send to another server beside the group; may be lost.
    Peer {
        /// To whom.
        to: NodeId,
        /// What.
        message: Bytes,
    },
    /// Tell the group layer which members to keep together, if it can be told. A wish: what comes
    /// later replaces it, and nothing relies on it.
    Standing(Standing),
    /// Answer an operator.
    Admin {
        /// The driver's number for the question.
        admin: AdminId,
        /// The answer.
        reply: AdminReply,
    },
    /// Run the job, on any thread, and tell [`Input::Worked`]. Jobs may overlap, and end in any
    /// order; one that is lost with its server is not missed.
    Work(Job),
    /// Stop: going on could do harm. Nothing follows; every connection is to be closed.
    Halt(HaltReason),
}

/// Why a server hangs up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum DisconnectReason {
    /// The session was refused, as the last message said.
    #[error("the session was refused")]
    SessionRefused,
    /// The session ended or moved, as the last message said.
    #[error("the session ended or moved")]
    SessionClosed,
    /// The session expired, as the last message said.
    #[error("the session expired")]
    SessionExpired,
    /// The session goes on, but its client has to attach again: the cluster had given this server
    /// up.
    #[error("the cluster had given this server up; the session must be attached again")]
    Orphaned,
    /// The session goes on, but its client has to attach again: this server had fallen far behind,
    /// and its state was replaced at once by another server's.
    #[error("this server's state was replaced; the session must be attached again")]
    Replaced,
    /// The client does not take its messages fast enough.
    #[error("the client does not take its messages fast enough")]
    TooSlow,
    /// The client said something at the wrong time.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// The server has as many connections as it may.
    #[error("the server has as many connections as it may")]
    TooManyConnections,
}

/// A driver's number for an operator's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdminId(pub u64);

/// What an operator asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminRequest {
    /// How the server is.
    Status,
    /// Change who votes, by one server.
    ChangeVoters(VoterChange),
    /// Start the cluster anew from what this server has, after the memory of a majority is lost for
    /// good. What only the lost servers held is lost.
    ForceRecovery,
    /// The state as it is now, for a backup.
    Image,
}

/// The state at one point of the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The last entry that it contains.
    pub last: LogPosition,
    /// The voter set at that point.
    pub voters: VoterSet,
    /// The state's revision.
    pub revision: Revision,
    /// The state's digest.
    pub digest: u64,
    /// The state, as a snapshot.
    pub state: Pieces,
}

/// What an operator is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminReply {
    /// How the server is.
    Status(Box<ServerStatus>),
    /// The change is committed, or was refused.
    VotersChanged(Result<(), ChangeError>),
    /// The cluster is being started anew, or why not.
    Recovering(Result<(), &'static str>),
    /// The state as it was when it was asked for.
    Image(Box<Image>),
}

/// How a server is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Identity, durability and the bounds of replication.
    pub replica: ReplicaConfig,
    /// The bounds of the replicated state: the same on every server of a cluster.
    pub state: Limits,
    /// The bounds of this server's dealings with its clients.
    pub limits: ServerLimits,
    /// What the secrets of sessions are made from: drawn afresh at each start.
    pub secrets: SecretKey,
}

/// The bounds of a server's dealings with its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Connections at once.
    pub conns_max: usize,
    /// Requests of one connection that are not answered.
    pub requests_per_conn_max: usize,
    /// Bytes of one connection's requests that are not answered; one larger request may be alone.
    pub request_bytes_per_conn_max: usize,
    /// Reads of one connection that are not answered.
    pub reads_per_conn_max: usize,
    /// Watches of one connection.
    pub watches_per_conn_max: usize,
    /// Weight of one connection's messages that have not left; one heavier message may be alone.
    pub unsent_bytes_max: usize,
    /// Commands held back while there is no primary component or the replica is full.
    pub held_max: usize,
    /// Bytes of those commands.
    pub held_bytes_max: usize,
    /// Events kept for watches that resume.
    pub history_events_max: usize,
    /// Weight of those events, in bytes.
    pub history_bytes_max: usize,
    /// How long a read waits for a primary component, or for what its session has seen.
    pub read_wait_max: Duration,
    /// A server that finds a session's deadline missed by more than this was itself asleep, and
    /// gives every session its time anew.
    pub pause_max: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            conns_max: 100_000,
            requests_per_conn_max: 10_000,
            request_bytes_per_conn_max: 4 << 20,
            reads_per_conn_max: 10_000,
            watches_per_conn_max: 100_000,
            unsent_bytes_max: 64 << 20,
            held_max: 100_000,
            held_bytes_max: 64 << 20,
            history_events_max: 100_000,
            history_bytes_max: 64 << 20,
            read_wait_max: Duration::from_secs(5),
            pause_max: Duration::from_millis(250),
        }
    }
}

impl ServerLimits {
    /// Asserts that the bounds let a server work at all.
    ///
    /// # Panics
    /// If they do not: an operator's limits are to be checked where they are read.
    pub fn check(&self) {
        assert!(self.conns_max > 0 && self.requests_per_conn_max > 0);
        assert!(self.reads_per_conn_max > 0 && self.held_max > 0);
        assert!(self.unsent_bytes_max > 0 && self.read_wait_max > Duration::ZERO);
    }
}

/// How a server is, for people and for checkers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    /// The replica: view, epoch, why there is no primary, commit, voters.
    pub replica: ReplicaStatus,
    /// True if this server is in the primary component and up to date with its beginning.
    pub primary: bool,
    /// The last entry applied.
    pub applied: Index,
    /// The state's revision.
    pub revision: Revision,
    /// The state's digest.
    pub digest: u64,
    /// Sessions in the whole cluster.
    pub sessions: usize,
    /// Sessions attached here.
    pub attached: usize,
    /// Connections.
    pub conns: usize,
    /// Watches set here.
    pub watches: usize,
    /// Events kept for watches that resume.
    pub history_events: usize,
    /// Watches can resume from this revision on.
    pub history_floor: Revision,
    /// Requests taken from connected clients and not answered.
    pub requests: usize,
    /// Commands held back.
    pub held: usize,
    /// Reads that wait.
    pub reads: usize,
    /// What was turned away since the start, by reason.
    pub refusals: BTreeMap<Refusal, u64>,
    /// Connections that the server closed since the start, by reason.
    pub disconnects: BTreeMap<DisconnectReason, u64>,
    /// Ordered commands that were no commands.
    pub malformed: u64,
}
