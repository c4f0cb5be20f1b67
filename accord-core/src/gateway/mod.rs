//! The gateway: connections, and what clients are told.
//!
//! A [`Gateway`] belongs to one server and stands in front of its [`Service`], which it is lent for
//! each call. It knows no replica: of the service it needs to propose, to begin a barrier for
//! reads, and to look at the state. What is here differs between servers: connections, attached
//! sessions, watches, waiting reads, session timers, the history of events. Invariants:
//!
//! - the events of a command go out before its completion and before any read that reflects it;
//! - a request is answered only when it is applied, that is, committed by a majority;
//! - a session is bound to one connection; the one that had it before is told, and has it no more;
//! - every queue has a bound; what exceeds it is refused with a reason or the connection is closed.
//!
//! Where next: [`message`] (what goes in and out), [`front_end`] and [`native`] (the protocols),
//! `conn` (connections), `requests`, `reads` and `order` (of both), `events` and `watches`,
//! `sessions` (a session expires there).

mod conn;
mod events;
pub mod front_end;
mod history;
pub mod io;
pub mod message;
pub mod native;
pub mod numbers;
mod order;
mod reads;
mod requests;
mod sessions;
mod watches;

pub use io::{DisconnectReason, Output, ServerLimits};

use crate::holder::{Principal, SecretKey};
use crate::ids::{ConnId, NodeId, Revision, SessionId};
use crate::rng::Rng;
use crate::service::{self, Service};
use crate::state::Completion;
use crate::time::Instant;
use crate::wire::Writer;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use conn::{Conn, Phase};
use events::WatchRequest;
use history::History;
use message::{ClientMessage, Refusal, ServerMessage};
use reads::{ReadQueue, ReadRequest};
use requests::DeferredQueue;
use sessions::Timers;
use watches::{Delivery, WatchTable};

/// The dealings of one server with its clients. See the module's documentation.
#[derive(Clone, Debug)]
pub struct Gateway {
    node: NodeId,
    limits: ServerLimits,
    /// The largest command that the service takes.
    command_bytes_max: usize,
    now: Instant,
    rng: Rng,
    /// What the secrets of sessions are made from.
    secrets: SecretKey,
    /// Numbers the secrets of sessions within this start.
    secret_last: u64,
    /// As the service has said.
    primary: bool,
    /// The members of the last open epoch, who share out the orphaned sessions.
    members: Vec<NodeId>,
    conns: BTreeMap<ConnId, Conn>,
    /// Invariant: exactly the connections that are attached, by session.
    attached: BTreeMap<SessionId, ConnId>,
    /// Invariant: exactly the connections whose session is beginning, by its name.
    tokens: BTreeMap<u64, ConnId>,
    /// Invariant: the number of requests of all connections.
    requests_pending: usize,
    deferred: DeferredQueue,
    reads: ReadQueue,
    watches: WatchTable,
    history: History,
    timers: Timers,
    outputs: VecDeque<Output>,
    refusals: BTreeMap<Refusal, u64>,
    disconnects: BTreeMap<DisconnectReason, u64>,
    /// Memory that is used again: empty in between.
    deliveries: Vec<Delivery>,
    scratch: Writer,
}

/// How a gateway is, for people and for checkers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayStatus {
    /// True if this server is in the primary component and up to date with its beginning.
    pub primary: bool,
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
    /// Commands deferred.
    pub deferred: usize,
    /// Reads that wait.
    pub reads: usize,
    /// What was turned away since the start, by reason.
    pub refusals: BTreeMap<Refusal, u64>,
    /// Connections that the server closed since the start, by reason.
    pub disconnects: BTreeMap<DisconnectReason, u64>,
}

impl Gateway {
    /// A gateway without connections, in front of `service`.
    ///
    /// # Panics
    /// If the limits do not fit each other.
    pub fn new(
        limits: ServerLimits,
        command_bytes_max: usize,
        secrets: SecretKey,
        service: &Service,
        rng: Rng,
        now: Instant,
    ) -> Self {
        limits.check();
        let present = service.revision();
        Self {
            node: service.node(),
            command_bytes_max,
            now,
            rng,
            secrets,
            secret_last: 0,
            primary: false,
            members: Vec::new(),
            conns: BTreeMap::new(),
            attached: BTreeMap::new(),
            tokens: BTreeMap::new(),
            requests_pending: 0,
            deferred: DeferredQueue::new(limits.deferred_max, limits.deferred_bytes_max),
            reads: ReadQueue::default(),
            watches: WatchTable::default(),
            history: History::new(present, limits.history_events_max, limits.history_bytes_max),
            timers: Timers::default(),
            outputs: VecDeque::new(),
            refusals: BTreeMap::new(),
            disconnects: BTreeMap::new(),
            deliveries: Vec::new(),
            scratch: Writer::new(),
            limits,
        }
    }

    /// What to do next, in this order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timer`] is to be called next, if at all.
    pub fn next_deadline(&self) -> Option<Instant> {
        let own = [self.timers_deadline(), self.reads.next_deadline()];
        own.into_iter().flatten().min()
    }

    /// A client has connected. The first word of a connection; its number is never used again.
    pub fn handle_connected(&mut self, now: Instant, conn: ConnId, principal: Principal) {
        self.now = now;
        self.on_connected(conn, principal);
    }

    /// This many of the connection's messages, the oldest, left for the network.
    pub fn handle_written(&mut self, now: Instant, conn: ConnId, messages: usize) {
        self.now = now;
        self.on_written(conn, messages);
    }

    /// The connection is gone.
    pub fn handle_disconnected(&mut self, now: Instant, conn: ConnId) {
        self.now = now;
        self.on_disconnected(conn);
    }

    /// Does what is due: ends silent sessions, refuses reads that have waited for too long.
    pub fn handle_timer(&mut self, now: Instant, service: &mut Service) {
        self.now = now;
        self.expire_silent(service);
        self.refuse_overdue_reads(service);
    }

    /// A client said something. Ignored if the connection is not known (any more).
    pub fn handle_client(
        &mut self,
        now: Instant,
        service: &mut Service,
        id: ConnId,
        message: ClientMessage,
    ) {
        self.now = now;
        let Some(conn) = self.conns.get(&id) else { return };
        let session = conn.session();
        let idle = conn.phase == Phase::Idle;
        if let Some(session) = session {
            self.timers.hear(session, self.now);
        }
        match (message, session) {
            (ClientMessage::Open { timeout_ms }, None) if idle => {
                self.on_open(service, id, timeout_ms);
            }
            (ClientMessage::Attach { session, secret, seen }, None) if idle => {
                self.conns.get_mut(&id).expect("just seen").floor = seen;
                self.on_attach(service, id, session, secret);
            }
            (ClientMessage::Read { read, consistency, after: None, watch: None, query }, None) => {
                self.on_read(service, id, ReadRequest::plain(read, consistency, query));
            }
            (ClientMessage::Read { read, consistency, after, watch, query }, Some(_)) => {
                self.on_read(service, id, ReadRequest { read, consistency, after, watch, query });
            }
            (ClientMessage::Ping { nonce }, session) => {
                self.on_ping(service.revision(), id, session, nonce);
            }
            (ClientMessage::Close, Some(session)) => self.on_close(service, id, session),
            (ClientMessage::Request { request, acked_below, op }, Some(session)) => {
                self.on_request(service, id, session, (request, acked_below), op);
            }
            (ClientMessage::Watch { watch, filter, mask, once, from }, Some(_)) => {
                self.on_watch(service, id, WatchRequest { watch, filter, mask, once, from });
            }
            (ClientMessage::Unwatch { watch }, Some(_)) => self.on_unwatch(id, watch),
            (ClientMessage::Open { .. } | ClientMessage::Attach { .. }, _) => {
                self.disconnect(id, DisconnectReason::Protocol("a session was begun twice"));
            }
            (_, None) => {
                self.disconnect(id, DisconnectReason::Protocol("a session must be begun first"));
            }
        }
    }

    /// Takes what the service says of itself. What only a driver can carry out is handed back.
    pub fn follow(
        &mut self,
        now: Instant,
        service: &Service,
        output: service::Output,
    ) -> Option<service::Output> {
        self.now = now;
        match output {
            service::Output::Primary { members } => self.on_primary(service, members),
            service::Output::PrimaryLost => self.on_primary_lost(),
            service::Output::Applied(completion) => {
                self.publish(service.events());
                self.on_completion(service, completion);
            }
            service::Output::EpochBegan => {
                self.release_sessions(service);
                self.restart_timers(service);
            }
            service::Output::EraBegan => {
                self.release_sessions(service);
                self.restart_timers(service);
                self.on_events_skipped(service.revision());
            }
            service::Output::Reached(_) => self.answer_ready_reads(service),
            service::Output::BarrierDone { up_to, index } => {
                self.on_barrier_done(service, up_to, index);
            }
            service::Output::Installed { before } => self.on_installed(service, before),
            service::Output::Halt(_) => {
                self.primary = false;
                return Some(output);
            }
            _ => return Some(output),
        }
        None
    }

    fn on_primary(&mut self, service: &Service, members: Vec<NodeId>) {
        self.primary = true;
        self.members = members;
        self.restart_timers(service);
        self.broadcast(&ServerMessage::Status { primary: true });
    }

    fn on_primary_lost(&mut self) {
        if self.primary {
            self.primary = false;
            self.broadcast(&ServerMessage::Status { primary: false });
        }
    }

    fn on_completion(&mut self, service: &Service, completion: Completion) {
        let revision = service.revision();
        match completion {
            Completion::Request { session, request, outcome } => {
                self.on_outcome(service, session, request, outcome);
            }
            Completion::Opened { server, token, session, timeout_ms } => {
                self.on_opened(revision, (server, token), session, timeout_ms);
            }
            Completion::OpenRefused { server, token } => self.on_open_refused(server, token),
            Completion::Attached { server, token, session, generation, timeout_ms, last: _ } => {
                self.on_attached(revision, (server, token), (session, generation, timeout_ms));
            }
            Completion::AttachRefused { server, token, session: _, error: _ } => {
                self.on_attach_refused(server, token);
            }
            Completion::Ended { session, cause } => self.on_ended(session, cause),
            Completion::ExpireIgnored { server, session, generation } => {
                self.on_expire_ignored(server, session, generation);
            }
            Completion::CloseRefused { .. }
            | Completion::Reaped { .. }
            | Completion::Malformed { .. } => {}
        }
    }

    /// The state was replaced by a later one.
    fn on_installed(&mut self, service: &Service, before: Revision) {
        // Of a session whose end is proposed that remains so: no pong follows it.
        self.restart_timers(service);
        self.release_sessions(service);
        if service.revision() != before {
            self.on_events_skipped(service.revision());
        }
        self.answer_after_install(service);
        self.answer_ready_reads(service);
    }

    /// True if this server is in the primary component, as far as the service has said.
    pub const fn is_primary(&self) -> bool {
        self.primary
    }

    /// How the gateway is.
    pub fn status(&self) -> GatewayStatus {
        GatewayStatus {
            primary: self.primary,
            attached: self.attached.len(),
            conns: self.conns.len(),
            watches: self.watches.len(),
            history_events: self.history.len(),
            history_floor: self.history.floor(),
            requests: self.requests_pending,
            deferred: self.deferred.len(),
            reads: self.reads.len(),
            refusals: self.refusals.clone(),
            disconnects: self.disconnects.clone(),
        }
    }

    /// All that bears on what the gateway does, as one number: see [`crate::fingerprint`].
    #[cfg(feature = "testing")]
    pub fn fingerprint(&self) -> u64 {
        let Self {
            limits: _,
            command_bytes_max: _,
            refusals: _,
            disconnects: _,
            deliveries: _,
            scratch: _,
            secrets: _,
            node,
            now,
            rng,
            secret_last,
            primary,
            members,
            conns,
            attached,
            tokens,
            requests_pending,
            deferred,
            reads,
            watches,
            history,
            timers,
            outputs,
        } = self;
        crate::fingerprint::of(&(
            (node, now, rng, primary, members, conns, attached, tokens, requests_pending),
            (secret_last, deferred, reads, watches, history, timers, outputs),
        ))
    }

    /// Asserts the invariants. Costs as much as the gateway holds.
    ///
    /// # Panics
    /// If one is broken.
    pub fn check(&self) {
        self.conns.values().for_each(Conn::check);
        let attached = self.conns.values().filter(|conn| conn.session().is_some()).count();
        assert_eq!(attached, self.attached.len(), "a session has one connection");
        for (session, id) in &self.attached {
            assert_eq!(self.conns[id].session(), Some(*session), "and it has the session");
        }
        let beginning = self.conns.values().filter(|conn| conn.is_beginning()).count();
        assert_eq!(beginning, self.tokens.len(), "what begins has a name");
        let requests: usize = self.conns.values().map(|conn| conn.requests.len()).sum();
        assert_eq!(requests, self.requests_pending, "requests are counted");
        let reads: usize = self.conns.values().map(|conn| conn.reads.len()).sum();
        assert_eq!(reads, self.reads.len(), "a read has a connection");
        let watches: usize = self.conns.values().map(|conn| conn.watches).sum();
        assert_eq!(watches, self.watches.len(), "a watch has a connection");
        let kept_back = || self.conns.values().flat_map(|conn| conn.order.kept_back());
        self.deferred.check((kept_back().count(), kept_back().sum()));
        self.reads.check();
        self.watches.check();
        self.history.check();
        self.timers.check();
    }
}
