//! A server: the replica and the state behind the requests of its clients.
//!
//! [`Server`] is what a driver runs. It takes [`Input`]s with the time and hands back [`Output`]s;
//! see [`io`] for the contract of the loop and the bounds.
//!
//! Replicated and local are kept apart: what is in [`crate::state`] is the same on every server,
//! what is here (connections, watches, waiting reads, session timers) is this server's own.
//! Invariants:
//!
//! - the events of a command go out before its completion and before any read that reflects it;
//! - a request is answered only when it is applied, that is, committed by a majority;
//! - a session is bound to one connection; whoever had it before is told, and has it no more;
//! - every queue has a bound; what exceeds it is refused with a reason or the connection is closed.
//!
//! Where next: `conn` (connections), `requests`, `reads`, `events` and `watches`, `sessions`,
//! `admin`.

mod admin;
mod clock;
mod conn;
mod events;
mod history;
pub mod io;
mod reads;
mod requests;
mod sessions;
mod watches;
pub mod work;

pub use io::{
    AdminId, AdminReply, AdminRequest, DisconnectReason, Image, Input, Output, ServerConfig,
    ServerLimits, ServerStatus,
};

use crate::ids::{ConnId, Index, NodeId, SessionId};
use crate::protocol::{ClientMessage, Refusal, ServerMessage};
use crate::replica::Replica;
use crate::replica::io::{Action, Body, Entry, HaltReason, next_command};
use crate::replica::log::Recovered;
use crate::rng::Rng;
use crate::state::{Completion, Event, State};
use crate::time::Instant;
use crate::wire::{Reader, Writer};
use admin::Question;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;
use clock::Clock;
use conn::{Conn, Phase};
use events::WatchRequest;
use history::History;
use reads::ReadQueue;
use requests::HeldQueue;
use sessions::Timers;
use watches::{Delivery, WatchTable};

/// The largest command that a server itself makes: the beginning or the end of a session.
const COMMAND_BYTES_MIN: usize = 64;

/// One server. See the module's documentation.
#[derive(Clone, Debug)]
pub struct Server {
    config: ServerConfig,
    now: Instant,
    clock: Clock,
    rng: Rng,
    replica: Replica,
    state: State,
    /// The last entry applied.
    applied: Index,
    /// True while the replica has an open epoch whose beginning it holds.
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
    held: HeldQueue,
    reads: ReadQueue,
    watches: WatchTable,
    history: History,
    timers: Timers,
    /// Changes of voters under way, by number.
    changes: BTreeMap<u64, AdminId>,
    change_last: u64,
    /// Questions about the state, answered when all that came before them is worked out. Bounded by
    /// what a driver hands in between two polls.
    questions: VecDeque<(AdminId, Question)>,
    /// Numbers the secrets of sessions within this start.
    secret_last: u64,
    outputs: VecDeque<Output>,
    refusals: BTreeMap<Refusal, u64>,
    disconnects: BTreeMap<DisconnectReason, u64>,
    malformed: u64,
    halted: bool,
    /// Memory that is used again: empty in between.
    events: Vec<Event>,
    deliveries: Vec<Delivery>,
    scratch: Writer,
    /// The state that the next [`Action::Install`] is about.
    prepared: Option<Box<State>>,
    /// True once [`Self::poll_output`] has said that nothing is left, until the next input.
    drained: bool,
    /// For checkers: what was applied since they last asked.
    #[cfg(feature = "testing")]
    witnessed: Option<Vec<Entry>>,
    /// For tests: how far the digests that it gives are from those of its state.
    #[cfg(feature = "testing")]
    damage: u64,
}

impl Server {
    /// A server that starts with what its disk had. `seed` must differ from start to start.
    ///
    /// # Panics
    /// If the limits do not fit each other.
    pub fn new(config: ServerConfig, recovered: Recovered, seed: u64, now: Instant) -> Self {
        config.limits.check();
        let command_bytes_max = config.replica.limits.command_bytes_max;
        assert!(command_bytes_max >= COMMAND_BYTES_MIN, "a session's commands must fit");
        let mut rng = Rng::new(seed);
        let replica = Replica::new(config.replica.clone(), recovered, rng.next_u64());
        let state = State::new(config.state.clone());
        let limits = &config.limits;
        let history =
            History::new(state.revision(), limits.history_events_max, limits.history_bytes_max);
        let mut server = Self {
            now,
            clock: Clock::default(),
            rng,
            replica,
            applied: Index(0),
            primary: false,
            members: Vec::new(),
            conns: BTreeMap::new(),
            attached: BTreeMap::new(),
            tokens: BTreeMap::new(),
            requests_pending: 0,
            held: HeldQueue::new(limits.held_max, limits.held_bytes_max),
            reads: ReadQueue::default(),
            watches: WatchTable::default(),
            history,
            timers: Timers::default(),
            changes: BTreeMap::new(),
            change_last: 0,
            questions: VecDeque::new(),
            secret_last: 0,
            outputs: VecDeque::new(),
            refusals: BTreeMap::new(),
            disconnects: BTreeMap::new(),
            malformed: 0,
            halted: false,
            events: Vec::new(),
            deliveries: Vec::new(),
            scratch: Writer::new(),
            prepared: None,
            drained: false,
            #[cfg(feature = "testing")]
            witnessed: None,
            #[cfg(feature = "testing")]
            damage: 0,
            state,
            config,
        };
        while server.work_out() {}
        server
    }

    /// Takes one input, and leaves what comes of it to [`Self::poll_output`]. See [`io`] for the
    /// contract.
    ///
    /// # Panics
    /// If time goes back.
    pub fn handle(&mut self, now: Instant, input: Input) {
        assert!(now >= self.now, "time never goes back: it was {}, and is {now}", self.now);
        self.now = now;
        if self.halted {
            return;
        }
        self.drained = false;
        self.replica.note_clock(self.clock.at(self.now));
        match input {
            Input::Group(event) => self.replica.handle_group(self.now, event),
            Input::Connected { conn, principal } => self.on_connected(conn, principal),
            Input::Client { conn, message } => self.on_client(conn, message),
            Input::Written { conn, messages } => self.on_written(conn, messages),
            Input::Disconnected { conn } => self.on_disconnected(conn),
            Input::Stored { ticket } => self.replica.handle_stored(self.now, ticket),
            Input::StoreFailed => self.replica.handle_store_failed(),
            Input::Peer { from, message } => self.replica.handle_peer(self.now, from, &message),
            Input::Admin { admin, request } => self.on_admin(admin, request),
            Input::Worked(done) => self.on_worked(*done),
            Input::Clock { wall } => self.on_clock(wall),
            Input::Timer => self.on_timer(),
        }
    }

    /// What to do next. Works out what the inputs lead to, a piece at a time; `None` says that
    /// nothing is left until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            if !self.work_out() {
                self.drained = true;
                return None;
            }
        }
    }

    /// When to hand in [`Input::Timer`] next, if at all.
    ///
    /// # Panics
    /// If outputs are left: a driver that waits has polled them all.
    pub fn next_deadline(&self) -> Option<Instant> {
        assert!(self.drained, "outputs are polled until none is left before a driver waits");
        if self.halted {
            return None;
        }
        let own = [self.timers_deadline(), self.reads.next_deadline()];
        own.into_iter().flatten().chain(self.replica.next_deadline()).min()
    }

    fn on_timer(&mut self) {
        self.replica.handle_timer(self.now);
        self.expire_silent();
        self.refuse_overdue_reads();
    }

    fn on_client(&mut self, id: ConnId, message: ClientMessage) {
        let Some(conn) = self.conns.get(&id) else { return };
        let session = conn.session();
        let idle = conn.phase == Phase::Idle;
        if let Some(session) = session {
            self.timers.hear(session, self.now);
        }
        match (message, session) {
            (ClientMessage::Open { timeout_ms }, None) if idle => self.on_open(id, timeout_ms),
            (ClientMessage::Attach { session, secret, seen }, None) if idle => {
                self.conns.get_mut(&id).expect("just seen").floor = seen;
                self.on_attach(id, session, secret);
            }
            (ClientMessage::Read { read, consistency, query }, _) => {
                self.on_read(id, read, consistency, query);
            }
            (ClientMessage::Ping { nonce }, session) => self.on_ping(id, session, nonce),
            (ClientMessage::Close, Some(session)) => self.on_close(id, session),
            (ClientMessage::Request { request, acked_below, op }, Some(session)) => {
                self.on_request(id, session, (request, acked_below), op);
            }
            (ClientMessage::Watch { watch, filter, mask, once, from }, Some(_)) => {
                self.on_watch(id, WatchRequest { watch, filter, mask, once, from });
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

    /// Does the next thing that the inputs lead to. False if nothing is left.
    fn work_out(&mut self) -> bool {
        if self.halted {
            return false;
        }
        self.propose_held();
        if let Some(action) = self.replica.poll_action() {
            self.on_action(action);
            return true;
        }
        let question = self.questions.pop_front();
        if let Some((admin, question)) = question {
            self.answer(admin, question);
        }
        question.is_some()
    }

    fn on_action(&mut self, action: Action) {
        match action {
            Action::Multicast(message) => self.outputs.push_back(Output::Multicast(message)),
            Action::Persist { ticket, record } => {
                self.outputs.push_back(Output::Persist { ticket, record });
            }
            Action::Peer { to, message } => self.outputs.push_back(Output::Peer { to, message }),
            Action::Commit(entry) => self.on_commit(&entry),
            Action::Opened { epoch: _, members } => self.on_primary(members),
            Action::Closed(_) => self.on_primary_lost(),
            Action::BarrierDone { up_to, index } => self.on_barrier_done(up_to, index),
            Action::Standing(standing) => self.outputs.push_back(Output::Standing(standing)),
            Action::SnapshotWanted => self.make_image(),
            Action::SnapshotReceived { number, bytes } => self.look_at(number, bytes),
            Action::Install { index, state } => self.on_install(index, &state),
            Action::VotersChanged { request, result } => self.on_voters_changed(request, result),
            Action::Halt(reason) => self.halt(reason),
        }
    }

    fn halt(&mut self, reason: HaltReason) {
        self.halted = true;
        self.primary = false;
        self.outputs.push_back(Output::Halt(reason));
    }

    fn on_primary(&mut self, members: Vec<NodeId>) {
        self.primary = true;
        self.members = members;
        self.restart_timers();
        self.broadcast(&ServerMessage::Status { primary: true });
    }

    fn on_primary_lost(&mut self) {
        if self.primary {
            self.primary = false;
            self.broadcast(&ServerMessage::Status { primary: false });
        }
    }

    /// Applies a committed entry, and tells everyone concerned.
    fn on_commit(&mut self, entry: &Entry) {
        assert_eq!(entry.index, self.applied.next(), "entries are applied without gaps");
        #[cfg(feature = "testing")]
        if let Some(witnessed) = &mut self.witnessed {
            witnessed.push(entry.clone());
        }
        self.applied = entry.index;
        match &entry.body {
            Body::Batch { stamp, commands: batch, .. } => {
                self.state.begin_batch(*stamp);
                let mut input = Reader::new(batch.clone());
                while next_command(&mut input, |command| self.apply(command)).is_some() {}
            }
            Body::Marker { members } => self.apply_marker(members),
            Body::Voters(set) => {
                if let Some(recovery) = set.recovery_at(entry.index) {
                    self.begin_era(recovery.revisions_skipped());
                }
            }
        }
        if self.replica.wants_digest(entry.index) {
            let digest = self.state.digest();
            #[cfg(feature = "testing")]
            let digest = digest ^ self.damage;
            self.replica.note_digest(entry.index, digest);
        }
        self.replica.note_state_bytes(self.state.store_bytes());
        self.answer_ready_reads();
    }

    fn apply(&mut self, command: &mut Reader) {
        let mut events = core::mem::take(&mut self.events);
        let completion = self.state.apply_next(command, &mut events);
        self.publish(&events);
        events.clear();
        self.events = events;
        self.on_completion(completion);
    }

    fn apply_marker(&mut self, members: &[NodeId]) {
        self.state.apply_marker(members);
        self.release_sessions();
        self.restart_timers();
    }

    /// The operator gave up what other servers had: no session and no number of theirs goes on.
    fn begin_era(&mut self, revisions_skipped: u64) {
        self.state.apply_recovery(revisions_skipped);
        self.release_sessions();
        self.restart_timers();
        self.on_events_skipped();
    }

    fn on_completion(&mut self, completion: Completion) {
        match completion {
            Completion::Request { session, request, outcome } => {
                self.on_outcome(session, request, outcome);
            }
            Completion::Opened { server, token, session, timeout_ms } => {
                self.on_opened(server, token, session, timeout_ms);
            }
            Completion::OpenRefused { server, token } => self.on_open_refused(server, token),
            Completion::Attached { server, token, session, generation, timeout_ms, last: _ } => {
                self.on_attached(server, token, (session, generation, timeout_ms));
            }
            Completion::AttachRefused { server, token, session: _, error: _ } => {
                self.on_attach_refused(server, token);
            }
            Completion::Ended { session, cause } => self.on_ended(session, cause),
            Completion::CloseRefused { .. } => {}
            Completion::ExpireIgnored { server, session, generation } => {
                self.on_expire_ignored(server, session, generation);
            }
            Completion::Malformed { .. } => self.malformed += 1,
        }
    }

    /// Replaces the state by what another server had, or by what the disk had at the start.
    fn on_install(&mut self, index: Index, snapshot: &Bytes) {
        let before = self.state.revision();
        let Some(state) = self.prepared(snapshot) else {
            return self.halt(HaltReason::BadSnapshot);
        };
        let old = core::mem::replace(&mut self.state, state);
        self.discard(old);
        #[cfg(feature = "testing")]
        self.repair();
        self.applied = index;
        // Of a session whose end is proposed that remains so: no pong follows it.
        self.restart_timers();
        self.release_sessions();
        if self.state.revision() != before {
            self.on_events_skipped();
        }
        self.answer_after_install();
        self.answer_ready_reads();
    }

    /// From here on keeps the entries that it applies until [`Self::take_witnessed`] takes them.
    /// Whoever asks for it takes them often: nothing bounds them.
    #[cfg(feature = "testing")]
    pub fn witness(&mut self) {
        self.witnessed.get_or_insert_default();
    }

    /// The entries applied since this was last asked: the log may forget them at once.
    #[cfg(feature = "testing")]
    pub fn take_witnessed(&mut self) -> Vec<Entry> {
        self.witnessed.as_mut().map(core::mem::take).unwrap_or_default()
    }

    /// From here on its state counts as damaged: the digests that it compares with other servers'
    /// are wrong, until another state takes its place. Its answers and records stay right, so that
    /// a checker can tell who has to stop.
    #[cfg(feature = "testing")]
    pub const fn damage(&mut self) {
        self.damage = 1;
    }

    /// True since [`Self::damage`], until its state is replaced.
    #[cfg(feature = "testing")]
    pub const fn is_damaged(&self) -> bool {
        self.damage != 0
    }

    #[cfg(feature = "testing")]
    const fn repair(&mut self) {
        self.damage = 0;
    }

    /// All that bears on what the server does, as one number: see [`crate::fingerprint`].
    #[cfg(feature = "testing")]
    pub fn fingerprint(&self) -> u64 {
        let Self {
            config: _,
            refusals: _,
            disconnects: _,
            malformed: _,
            events: _,
            deliveries: _,
            scratch: _,
            prepared: _,
            drained: _,
            witnessed: _,
            now,
            clock,
            rng,
            replica,
            state,
            applied,
            primary,
            members,
            conns,
            attached,
            tokens,
            requests_pending,
            held,
            reads,
            watches,
            history,
            timers,
            changes,
            change_last,
            questions,
            secret_last,
            outputs,
            halted,
            damage,
        } = self;
        crate::fingerprint::of(&(
            (now, clock, rng, replica.fingerprint(), state.digest(), applied, primary, members),
            (conns, attached, tokens, requests_pending, held, reads, watches, history, timers),
            (changes, change_last, secret_last, questions, outputs, halted, damage),
        ))
    }

    /// The last entry applied.
    pub const fn applied(&self) -> Index {
        self.applied
    }

    /// The replicated state, for checkers and tools.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The replica, for checkers and tools.
    pub const fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Asserts the invariants. Runs in release builds too; costs as much as the server holds.
    ///
    /// # Panics
    /// If one is broken.
    pub fn check(&self) {
        self.replica.check();
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
        let primary = self.replica.open_epoch().is_some();
        assert!(self.halted || !self.drained || self.primary == primary, "primary is as replica");
        self.held.check();
        self.reads.check();
        self.watches.check();
        self.history.check();
        self.timers.check();
    }
}
