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

pub use crate::gateway::io::{DisconnectReason, ServerLimits};
use crate::gateway::message::{ClientMessage, Refusal, ServerMessage};
use crate::group::{GroupEvent, Standing};
use crate::holder::{Principal, SecretKey};
use crate::ids::{ConnId, Index, NodeId, Revision, Stamp};
use crate::limits::Limits;
use crate::replica::config::ReplicaConfig;
use crate::replica::io::{HaltReason, Record, ReplicaStatus, Ticket};
use crate::replica::voters::{ChangeError, VoterChange};
pub use crate::service::job::Backup as Image;
use crate::service::job::{Job, JobResult};
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
    Operator {
        /// The driver's number for it, for the answer.
        id: OperatorRequestId,
        /// What.
        request: OperatorRequest,
    },
    /// The result of an [`Output::Job`].
    JobDone(Box<JobResult>),
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
    Operator {
        /// The driver's number for the question.
        id: OperatorRequestId,
        /// The answer.
        reply: OperatorReply,
    },
    /// Run the job, on any thread, and hand in [`Input::JobDone`]. Jobs may overlap, and end in any
    /// order; one that is lost with its server is not missed.
    Job(Job),
    /// Stop: going on could do harm. Nothing follows; every connection is to be closed.
    Halt(HaltReason),
}

/// A driver's number for an operator's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperatorRequestId(pub u64);

/// What an operator asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperatorRequest {
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

/// What an operator is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorReply {
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
    pub deferred: usize,
    /// Reads that wait.
    pub reads: usize,
    /// What was turned away since the start, by reason.
    pub refusals: BTreeMap<Refusal, u64>,
    /// Connections that the server closed since the start, by reason.
    pub disconnects: BTreeMap<DisconnectReason, u64>,
    /// Ordered commands that were no commands.
    pub malformed: u64,
}
