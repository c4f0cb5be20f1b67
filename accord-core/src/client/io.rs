//! A client's inputs, outputs and configuration.

use crate::ids::{NodeId, RequestId, Revision, SessionId, WatchId};
use crate::protocol::{ClientMessage, Refusal, ServerMessage, SessionRefusal};
use crate::state::{Event, Outcome, ReadResult, RequestError};
use crate::time::Duration;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// How a client is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// The servers to try. At least one.
    pub servers: Vec<NodeId>,
    /// How long the session may outlive the last sign of this client, in milliseconds, as a wish:
    /// the server may take another value.
    pub session_timeout_ms: u32,
    /// How long a request or a read may take, reconnections included, before it is given up.
    pub request_timeout: Duration,
    /// Requests at once that are not answered. At most the cluster's bound on recorded outcomes.
    pub requests_max: usize,
    /// Reads at once that are not answered.
    pub reads_max: usize,
    /// Watches at once.
    pub watches_max: usize,
    /// How long a server may take to connect and to open or attach the session.
    pub attach_timeout: Duration,
    /// The first wait before another attempt to connect; doubled with each that fails.
    pub backoff_min: Duration,
    /// The longest such wait, before its jitter.
    pub backoff_max: Duration,
    /// How long to stay with a server that is not in the primary component.
    pub patience: Duration,
    /// Prove with each ping that the session lives, by a linearizable read of it, so that the
    /// client knows its lease: see [`super::Client::lease_ends`]. Without it, the lease counts from
    /// the last opening or attachment.
    pub lease: bool,
}

impl ClientConfig {
    /// The default configuration.
    pub fn new(servers: Vec<NodeId>) -> Self {
        Self {
            servers,
            session_timeout_ms: 10_000,
            request_timeout: Duration::from_secs(30),
            requests_max: 1000,
            reads_max: 1000,
            watches_max: 100_000,
            attach_timeout: Duration::from_secs(3),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_secs(2),
            patience: Duration::from_secs(1),
            lease: false,
        }
    }

    /// Asserts that a client can work with this.
    ///
    /// # Panics
    /// If it cannot.
    pub fn check(&self) {
        assert!(!self.servers.is_empty(), "a client needs a server");
        assert!(self.requests_max > 0 && self.session_timeout_ms > 0);
        assert!(self.backoff_min > Duration::ZERO && self.backoff_min <= self.backoff_max);
        assert!(self.attach_timeout > Duration::ZERO && self.patience > Duration::ZERO);
    }
}

/// What a driver hands to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientInput {
    /// The connection that was asked for last stands.
    Connected,
    /// It could not be made, or is gone. Nothing of it may be handed in after this.
    Disconnected,
    /// The server said something over it.
    Message(ServerMessage),
    /// The time may have come that [`super::Client::next_deadline`] named.
    Timer,
}

/// What a client asks of its driver, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientOutput {
    /// Connect to this server. There is at most one connection at a time.
    Connect {
        /// The server, one of `ClientConfig::servers`.
        server: NodeId,
    },
    /// Close the connection, or give up connecting. Nothing of it may be handed in after this.
    Disconnect,
    /// Send over the connection.
    Send(ClientMessage),
    /// Tell the application.
    Event(ClientEvent),
}

/// The client's number for a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// What a client reports to its application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// The session is open.
    SessionOpened {
        /// Its id.
        session: SessionId,
        /// Its timeout, in milliseconds.
        timeout_ms: u32,
    },
    /// The session could not be opened or attached for now; the client goes on trying.
    SessionRefused {
        /// The server's reason.
        reason: SessionRefusal,
    },
    /// The session has ended without being asked to: its ephemeral records and its watches are
    /// gone. All outstanding requests have been reported. The client does nothing more.
    SessionLost,
    /// The client has closed. It does nothing more.
    Closed {
        /// True if the cluster confirmed the session's end; else it ends by its timeout.
        confirmed: bool,
    },
    /// The connection is lost. The session may end before the next is made: what relies on it, such
    /// as a lock, must be taken for lost until [`Self::Resumed`].
    Suspended,
    /// The session goes on over a new connection.
    Resumed,
    /// The request ran exactly once, with this outcome.
    Done {
        /// Which request.
        request: RequestId,
        /// What became of it.
        outcome: Outcome,
    },
    /// The request has not run and will not.
    Failed {
        /// Which request.
        request: RequestId,
        /// Why it has no effect.
        cause: Cause,
    },
    /// The request may have run, or may still run, once or not at all.
    Unknown {
        /// Which request.
        request: RequestId,
        /// Why that will not be known.
        cause: Cause,
    },
    /// A read is answered.
    ReadDone {
        /// Which read.
        read: ReadId,
        /// The revision that it shows.
        revision: Revision,
        /// What was read.
        result: ReadResult,
    },
    /// A read was given up.
    ReadFailed {
        /// Which read.
        read: ReadId,
        /// Why there is no result.
        cause: Cause,
    },
    /// A watch is set, for the first time.
    Watching {
        /// Which watch.
        watch: WatchId,
        /// Everything after this revision will be told.
        from: Revision,
        /// For a watch on the members from now on: the open sessions at that revision.
        members: Option<Vec<SessionId>>,
    },
    /// What one revision changed, as far as one watch looks.
    Watch {
        /// Which watch.
        watch: WatchId,
        /// The revision.
        revision: Revision,
        /// At least one event.
        events: Arc<[Event]>,
    },
    /// The watch cannot go on without a gap, and has ended.
    WatchLost {
        /// Which watch.
        watch: WatchId,
        /// What happened after this revision is still known at the server.
        oldest: Revision,
    },
    /// The watch was not set.
    WatchFailed {
        /// Which watch.
        watch: WatchId,
        /// The server's reason.
        reason: Refusal,
    },
}

/// Why a request or a read did not come to a good end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// Its time was up.
    #[error("the time for it was up")]
    Timeout,
    /// The session has ended.
    #[error("the session has ended")]
    SessionLost,
    /// The server turned it away before it entered the order.
    #[error("the server turned it away: {0}")]
    Refused(Refusal),
    /// It entered the order and was refused there.
    #[error("the cluster refused it: {0}")]
    Rejected(RequestError),
}

/// Why a call was not taken. Nothing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// As many requests are under way as may be.
    #[error("too many requests are under way; try again after the next outcome")]
    TooManyRequests,
    /// As many reads are under way as may be.
    #[error("too many reads are under way; try again after the next answer")]
    TooManyReads,
    /// As many watches are set as may be.
    #[error("too many watches are set")]
    TooManyWatches,
    /// The request is larger than a message can be.
    #[error("the request is larger than a message can be")]
    TooLarge,
    /// The request is not one whose outcome is unknown and that is kept.
    #[error("the request is not one whose outcome is unknown and can be asked for")]
    NotKept,
    /// The client was closed or its session has ended.
    #[error("the client was closed or its session has ended")]
    Ended,
}
