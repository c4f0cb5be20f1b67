//! What a gateway says to its connections, and its bounds.

use super::message::ServerMessage;
use crate::ids::ConnId;
use crate::time::Duration;

/// What a gateway asks of its driver. The order of outputs is a promise.
#[derive(Clone, Debug)]
pub enum Output {
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
    /// Commands deferred while there is no primary component or the replica is full, or kept back
    /// behind reads.
    pub deferred_max: usize,
    /// Bytes of those commands.
    pub deferred_bytes_max: usize,
    /// Events kept for watches that resume.
    pub history_events_max: usize,
    /// Weight of those events, in bytes.
    pub history_bytes_max: usize,
    /// How long a read waits for a primary component, or for what its session has seen.
    pub read_wait_max: Duration,
    /// A server that finds a session's deadline missed by more than this was itself asleep, and
    /// restarts the time of every session.
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
            deferred_max: 100_000,
            deferred_bytes_max: 64 << 20,
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
        assert!(self.reads_per_conn_max > 0 && self.deferred_max > 0);
        assert!(self.unsent_bytes_max > 0 && self.read_wait_max > Duration::ZERO);
    }
}
