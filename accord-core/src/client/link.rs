//! The connection: which server, when to try the next, signs of life in both directions.
//!
//! The client leaves a server that does not answer, does not attach the session in time, or stays
//! outside the primary component for too long. Attempts wait longer each time, with random jitter,
//! so that the clients of a lost server do not all move at the same moment.

use super::io::{ClientEvent, ClientOutput, ReadId};
use super::requests::Dormant;
use super::{Client, Life};
use crate::holder::SessionSecret;
use crate::ids::{Revision, SessionId};
use crate::protocol::{ClientMessage, Consistency, SessionEnd, SessionRefusal};
use crate::state::ReadQuery;
use crate::time::{Duration, DurationExt, Instant};

/// The wait before an attempt doubles at most this often.
const DOUBLINGS_MAX: u32 = 16;

/// The connection to a server.
#[derive(Clone, Debug)]
pub(super) struct Link {
    phase: LinkPhase,
    /// The place of the server in the list.
    server: usize,
    /// Attempts since the session was last attached.
    attempts: u32,
    /// When the server was last heard.
    heard: Instant,
    /// When the next ping is due.
    ping_due: Instant,
    /// The number of the next ping.
    nonce: u64,
    /// When to leave a server that is not in the primary component.
    leave: Option<Instant>,
    /// The session's end was asked for over this connection.
    closing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkPhase {
    /// Waiting to try again.
    Waiting { until: Instant },
    /// Asked to connect.
    Connecting { deadline: Instant },
    /// Connected; the session is being opened or attached.
    Beginning { deadline: Instant },
    /// The session is attached.
    Ready,
}

impl Link {
    pub(super) const fn new(server: usize) -> Self {
        Self {
            phase: LinkPhase::Waiting { until: Instant::ZERO },
            server,
            attempts: 0,
            heard: Instant::ZERO,
            ping_due: Instant::ZERO,
            nonce: 1,
            leave: None,
            closing: false,
        }
    }

    pub(super) const fn is_ready(&self) -> bool {
        matches!(self.phase, LinkPhase::Ready)
    }

    pub(super) const fn is_connected(&self) -> bool {
        matches!(self.phase, LinkPhase::Beginning { .. } | LinkPhase::Ready)
    }

    pub(super) const fn hear(&mut self, now: Instant) {
        self.heard = now;
    }

    /// The number of the next ping: what is sent before it is answered before its pong.
    pub(super) const fn nonce(&self) -> u64 {
        self.nonce
    }

    /// True if the session's end is to be asked for now.
    pub(super) const fn begin_closing(&mut self) -> bool {
        let begins = self.is_ready() && !self.closing;
        self.closing |= begins;
        begins
    }
}

impl Client {
    pub(super) fn connect(&mut self) {
        let deadline = self.now + self.config.attach_timeout;
        self.link.phase = LinkPhase::Connecting { deadline };
        self.link.leave = None;
        self.link.closing = false;
        let server = self.config.servers[self.link.server];
        self.outputs.push_back(ClientOutput::Connect { server });
    }

    pub(super) fn on_connected(&mut self) {
        let LinkPhase::Connecting { deadline } = self.link.phase else { return };
        self.link.phase = LinkPhase::Beginning { deadline };
        self.link.heard = self.now;
        self.lease.begin(self.now);
        self.send(match self.session {
            Some((session, secret)) => ClientMessage::Attach { session, secret, seen: self.seen },
            None => ClientMessage::Open { timeout_ms: self.config.session_timeout_ms },
        });
    }

    /// The connection is gone, or never came about: wait, then try the next server.
    pub(super) fn on_disconnected(&mut self) {
        if matches!(self.link.phase, LinkPhase::Waiting { .. }) {
            return;
        }
        if self.link.is_ready() {
            self.suspended = true;
            self.on_link_lost();
            self.dormant.values_mut().for_each(Dormant::on_link_lost);
            self.event(ClientEvent::Suspended);
        }
        let doublings = self.link.attempts.min(DOUBLINGS_MAX);
        let wait = self.config.backoff_min.times(1 << doublings).min(self.config.backoff_max);
        self.link.attempts = self.link.attempts.saturating_add(1);
        self.link.phase = LinkPhase::Waiting { until: self.now + self.rng.jittered(wait) };
        self.link.server = (self.link.server + 1) % self.config.servers.len();
    }

    /// Leaves the server and tries the next.
    pub(super) fn leave(&mut self) {
        self.outputs.push_back(ClientOutput::Disconnect);
        self.on_disconnected();
    }

    /// Closes the connection for good.
    pub(super) fn drop_link(&mut self) {
        if !matches!(self.link.phase, LinkPhase::Waiting { .. }) {
            self.outputs.push_back(ClientOutput::Disconnect);
        }
        self.link.phase = LinkPhase::Waiting { until: Instant::FAR_FUTURE };
    }

    pub(super) fn on_opened(
        &mut self,
        (session, secret): (SessionId, SessionSecret),
        timeout_ms: u32,
        revision: Revision,
    ) {
        if self.session.is_some() {
            return self.leave();
        }
        self.session = Some((session, secret));
        self.event(ClientEvent::SessionOpened { session, timeout_ms });
        self.on_ready(timeout_ms, revision);
    }

    pub(super) fn on_attached(&mut self, session: SessionId, timeout_ms: u32, revision: Revision) {
        if self.session_id() != Some(session) || self.link.is_ready() {
            return self.leave();
        }
        self.on_ready(timeout_ms, revision);
    }

    fn on_ready(&mut self, timeout_ms: u32, revision: Revision) {
        self.see(revision);
        self.lease.confirm();
        self.timeout = Duration::from_millis(u64::from(timeout_ms));
        self.link.phase = LinkPhase::Ready;
        self.link.attempts = 0;
        self.link.ping_due = self.now + self.ping_interval();
        if self.suspended {
            self.suspended = false;
            self.event(ClientEvent::Resumed);
        }
        self.send_watches();
        self.send_requests();
        self.send_reads();
    }

    pub(super) fn on_session_refused(&mut self, reason: SessionRefusal) {
        match (reason, self.session, self.life) {
            (SessionRefusal::Unknown, Some(_), Life::Closing { .. }) => self.end(true),
            (SessionRefusal::Unknown, Some(_), _) => self.lose_session(),
            _ => {
                self.event(ClientEvent::SessionRefused { reason });
                self.leave();
            }
        }
    }

    pub(super) fn on_session_closed(&mut self, reason: SessionEnd) {
        match (reason, self.life) {
            // Perhaps by an attachment of our own that was under way when we left that server.
            (SessionEnd::Moved, _) => self.leave(),
            (_, Life::Closing { .. }) => self.end(true),
            (SessionEnd::Closed | SessionEnd::Expired | SessionEnd::Gone, _) => self.lose_session(),
        }
    }

    pub(super) fn on_status(&mut self, primary: bool) {
        self.link.leave = match primary {
            true => None,
            false => Some(self.now + self.rng.jittered(self.config.patience)),
        };
    }

    pub(super) fn on_pong(&mut self, nonce: u64, revision: Revision) {
        self.see(revision);
        self.lease.on_pong(nonce);
        self.advance_watches(nonce, revision);
    }

    /// Asks with a ping whether the session is open, if the lease is wanted.
    fn probe(&mut self, nonce: u64) {
        let Some(session) = self.session_id().filter(|_| self.config.lease) else { return };
        let read = ReadId(self.next_read);
        self.next_read += 1;
        self.lease.on_ping(nonce, read, self.now);
        let (consistency, query) = (Consistency::Linearizable, ReadQuery::Session { session });
        self.send(ClientMessage::read(read.0, consistency, query));
    }

    fn ping_interval(&self) -> Duration {
        self.timeout.scaled(1, 3)
    }

    /// When a server that says nothing is given up.
    fn silence_deadline(&self) -> Instant {
        self.link.heard + self.timeout.scaled(2, 3)
    }

    pub(super) fn link_deadline(&self) -> Instant {
        match self.link.phase {
            LinkPhase::Waiting { until } => until,
            LinkPhase::Connecting { deadline } => deadline,
            LinkPhase::Beginning { deadline } => earliest(deadline, self.link.leave),
            LinkPhase::Ready => {
                earliest(self.link.ping_due.min(self.silence_deadline()), self.link.leave)
            }
        }
    }

    pub(super) fn on_link_timer(&mut self) {
        if self.link_deadline() > self.now {
            return;
        }
        match self.link.phase {
            LinkPhase::Waiting { .. } => self.connect(),
            LinkPhase::Connecting { .. } | LinkPhase::Beginning { .. } => self.leave(),
            LinkPhase::Ready => self.on_ready_timer(),
        }
    }

    fn on_ready_timer(&mut self) {
        let impatient = self.link.leave.is_some_and(|leave| leave <= self.now);
        let elsewhere = self.config.servers.len() > 1;
        if self.silence_deadline() <= self.now || (impatient && elsewhere) {
            return self.leave();
        }
        if impatient {
            self.link.leave = None;
        }
        if self.link.ping_due <= self.now {
            let nonce = self.link.nonce;
            self.link.nonce += 1;
            self.link.ping_due = self.now + self.ping_interval();
            self.send(ClientMessage::Ping { nonce });
            self.probe(nonce);
        }
    }
}

fn earliest(deadline: Instant, other: Option<Instant>) -> Instant {
    other.map_or(deadline, |other| deadline.min(other))
}
