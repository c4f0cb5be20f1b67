//! The client's half of a session: numbering, retries, reconnection, resumed watches.
//!
//! [`Client`] has the shape of every machine here: inputs with the time, outputs to be polled, no
//! IO. One client is one session; when the session has ended, so has the client. Invariants:
//!
//! - every request has exactly one of three outcomes: done (it ran exactly once), failed (it never
//!   ran and never will) or unknown; what was never sent fails, and is never unknown;
//! - a request that is kept can be asked for again after its outcome was unknown: the same number,
//!   so that it never runs twice, and the cluster keeps its outcome as long;
//! - after a reconnection the watches are registered again first, each from the last revision that
//!   it is known to be complete to, then the requests are sent again in order, then the reads;
//! - nothing older is read than what was seen before, at whichever server.
//!
//! Read next: `link` (connections), `requests`, `watches`; [`crate::protocol`] for the messages.

mod deadlines;
mod encoder;
pub mod io;
mod lease;
mod link;
mod reads;
mod requests;
mod watches;

pub use io::{Cause, ClientConfig, ClientError, ClientEvent, ClientInput, ClientOutput, ReadId};

use crate::holder::SessionSecret;
use crate::ids::{RequestId, Revision, SessionId, WatchId};
use crate::protocol::{ClientMessage, ServerMessage};
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use alloc::collections::{BTreeMap, VecDeque};
use deadlines::Pending;
use encoder::Encoder;
use lease::Lease;
use link::Link;
use reads::PendingRead;
use requests::{Dormant, PendingRequest};
use watches::ClientWatch;

/// One client session. See the module's documentation.
#[derive(Clone, Debug)]
pub struct Client {
    config: ClientConfig,
    rng: Rng,
    now: Instant,
    life: Life,
    link: Link,
    /// The session and its secret, once it is open.
    session: Option<(SessionId, SessionSecret)>,
    /// Its timeout, as the cluster granted it.
    timeout: Duration,
    lease: Lease,
    /// True between the loss of a connection and the next attachment.
    suspended: bool,
    /// The latest revision in anything that was received.
    seen: Revision,
    next_request: RequestId,
    requests: Pending<RequestId, PendingRequest>,
    /// Requests whose outcome is unknown and may be asked for again.
    dormant: BTreeMap<RequestId, Dormant>,
    next_read: u64,
    reads: Pending<ReadId, PendingRead>,
    next_watch: WatchId,
    watches: BTreeMap<WatchId, ClientWatch>,
    outputs: VecDeque<ClientOutput>,
    encoder: Encoder,
}

/// Whether the client goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Running,
    /// No more calls are taken; the session is closed when all is answered, or given up in time.
    Closing {
        deadline: Instant,
    },
    Ended,
}

impl Client {
    /// A client that connects at once, to a server chosen by `seed`.
    ///
    /// # Panics
    /// If the configuration makes no sense.
    pub fn new(config: ClientConfig, seed: u64, now: Instant) -> Self {
        config.check();
        let mut rng = Rng::new(seed);
        let server = rng.below(config.servers.len() as u64) as usize;
        let timeout = Duration::from_millis(u64::from(config.session_timeout_ms));
        let mut client = Self {
            link: Link::new(server),
            config,
            rng,
            now,
            life: Life::Running,
            session: None,
            timeout,
            lease: Lease::new(),
            suspended: false,
            seen: Revision(0),
            next_request: RequestId(1),
            requests: Pending::new(),
            dormant: BTreeMap::new(),
            next_read: 1,
            reads: Pending::new(),
            next_watch: WatchId(1),
            watches: BTreeMap::new(),
            outputs: VecDeque::new(),
            encoder: Encoder::default(),
        };
        client.connect();
        client
    }

    /// Takes one input. Poll the outputs after it.
    pub fn handle(&mut self, now: Instant, input: ClientInput) {
        self.now = self.now.max(now);
        if self.life == Life::Ended {
            return;
        }
        match input {
            ClientInput::Connected => self.on_connected(),
            ClientInput::Disconnected => self.on_disconnected(),
            ClientInput::Message(message) => self.on_message(message),
            ClientInput::Timer => self.on_timer(),
        }
        self.close_if_quiet();
    }

    /// What to do next. Drain it after every call.
    pub fn poll_output(&mut self) -> Option<ClientOutput> {
        self.outputs.pop_front()
    }

    /// When to hand in [`ClientInput::Timer`] next, if at all.
    pub fn next_deadline(&self) -> Option<Instant> {
        let closing = match self.life {
            Life::Running => None,
            Life::Closing { deadline } => Some(deadline),
            Life::Ended => return None,
        };
        let (request, read) = (self.requests.next_deadline(), self.reads.next_deadline());
        [closing, request, read, Some(self.link_deadline())].into_iter().flatten().min()
    }

    /// Closes the session once everything that is under way is answered. No more calls are taken.
    pub fn close(&mut self, now: Instant) {
        self.now = self.now.max(now);
        if self.life == Life::Running {
            let deadline = self.now + self.config.request_timeout;
            self.life = Life::Closing { deadline };
            self.close_if_quiet();
        }
    }

    /// The session, while it is not known to have ended.
    pub fn session(&self) -> Option<SessionId> {
        if self.life == Life::Ended { None } else { self.session_id() }
    }

    /// The session's timeout as the cluster granted it; until it is open, as it is wished for.
    pub const fn session_timeout(&self) -> Duration {
        self.timeout
    }

    /// Until when the session surely lives, if it is open: no server ends it for silence before,
    /// as far as the clocks run at the same pace. It moves with the pings if the configuration
    /// says so ([`ClientConfig::lease`]). What relies on the session, such as a lock, must be given
    /// up before.
    pub fn lease_ends(&self) -> Option<Instant> {
        self.session().map(|_| self.lease.ends(self.timeout))
    }

    /// The latest revision in anything that was received.
    pub const fn seen(&self) -> Revision {
        self.seen
    }

    /// The last request submitted; 0: none was.
    pub const fn last_request(&self) -> RequestId {
        RequestId(self.next_request.0 - 1)
    }

    /// True while the session is attached to a server.
    pub const fn is_ready(&self) -> bool {
        self.link.is_ready()
    }

    /// All that bears on what the client does, as one number: see [`crate::fingerprint`].
    #[cfg(feature = "testing")]
    pub fn fingerprint(&self) -> u64 {
        let Self {
            config: _,
            encoder: _,
            // Others ask for it; it does not change what the client does.
            lease: _,
            rng,
            now,
            life,
            link,
            session,
            timeout,
            suspended,
            seen,
            next_request,
            requests,
            dormant,
            next_read,
            reads,
            next_watch,
            watches,
            outputs,
        } = self;
        crate::fingerprint::of(&(
            (rng, now, life, link, session, timeout, suspended, seen),
            (next_request, requests, dormant),
            (next_read, reads, next_watch, watches, outputs),
        ))
    }

    fn on_message(&mut self, message: ServerMessage) {
        if !self.link.is_connected() {
            return;
        }
        self.link.hear(self.now);
        match message {
            ServerMessage::Opened { session, secret, timeout_ms, revision } => {
                self.on_opened((session, secret), timeout_ms, revision);
            }
            ServerMessage::Attached { session, timeout_ms, generation: _, revision } => {
                self.on_attached(session, timeout_ms, revision);
            }
            ServerMessage::SessionRefused { reason } => self.on_session_refused(reason),
            ServerMessage::SessionClosed { reason } => self.on_session_closed(reason),
            ServerMessage::Status { primary } => self.on_status(primary),
            ServerMessage::Pong { nonce, revision } => self.on_pong(nonce, revision),
            ServerMessage::Reply { request, outcome } => self.on_reply(request, outcome),
            ServerMessage::RequestRefused { request, reason } => {
                self.on_request_refused(request, reason);
            }
            ServerMessage::ReadReply { read, revision, result } => {
                self.on_read_reply(ReadId(read), revision, result);
            }
            ServerMessage::ReadRefused { read, reason } => {
                self.on_read_refused(ReadId(read), reason);
            }
            ServerMessage::Watching { watch, from, members } => {
                self.on_watching(watch, from, members);
            }
            ServerMessage::WatchRefused { watch, reason } => self.on_watch_refused(watch, reason),
            ServerMessage::Events { watch, revision, events } => {
                self.on_events(watch, revision, events);
            }
            ServerMessage::WatchLost { watch, oldest } => self.on_watch_lost(watch, oldest),
        }
    }

    fn on_timer(&mut self) {
        self.give_up_requests();
        self.give_up_reads();
        match self.life {
            Life::Closing { deadline } if deadline <= self.now => self.end(false),
            Life::Running | Life::Closing { .. } => self.on_link_timer(),
            Life::Ended => {}
        }
    }

    fn close_if_quiet(&mut self) {
        let quiet = self.requests.is_empty() && self.reads.is_empty();
        if !matches!(self.life, Life::Closing { .. }) || !quiet {
            return;
        }
        if self.session.is_none() {
            // An opening may be under way, but that session will never be used.
            self.end(false);
        } else if self.link.begin_closing() {
            self.send(ClientMessage::Close);
        }
    }

    /// The end, as the application wished.
    fn end(&mut self, confirmed: bool) {
        self.lose_requests();
        self.lose_reads();
        self.event(ClientEvent::Closed { confirmed });
        self.stop();
    }

    /// The end, as the application did not wish.
    fn lose_session(&mut self) {
        self.lose_requests();
        self.lose_reads();
        self.event(ClientEvent::SessionLost);
        self.stop();
    }

    fn stop(&mut self) {
        self.watches.clear();
        self.dormant.clear();
        self.drop_link();
        self.life = Life::Ended;
    }

    /// The session, even if it has ended.
    fn session_id(&self) -> Option<SessionId> {
        self.session.map(|(session, _)| session)
    }

    fn see(&mut self, revision: Revision) {
        self.seen = self.seen.max(revision);
    }

    fn send(&mut self, message: ClientMessage) {
        self.outputs.push_back(ClientOutput::Send(message));
    }

    fn event(&mut self, event: ClientEvent) {
        self.outputs.push_back(ClientOutput::Event(event));
    }

    /// Asserts the invariants. Runs in release builds too.
    ///
    /// # Panics
    /// If one is broken.
    pub fn check(&self) {
        assert!(self.requests.len() <= self.config.requests_max, "requests are bounded");
        assert!(self.reads.len() <= self.config.reads_max, "reads are bounded");
        assert!(self.watches.len() <= self.config.watches_max, "watches are bounded");
        assert!(self.next_request >= self.acked_below(), "numbers ascend");
        self.requests.check();
        let settled = |request: &RequestId| self.requests.get(*request).is_none();
        assert!(self.dormant.keys().all(settled), "what is under way is not dormant");
        self.reads.check();
        let over = self.life == Life::Ended;
        assert!(!over || (self.requests.is_empty() && self.reads.is_empty()), "all is settled");
        assert!(!over || !self.link.is_connected(), "an ended client has no connection");
        let attached = self.session.is_some() && !self.suspended;
        assert!(!self.link.is_ready() || attached, "a ready link has the session");
    }
}
