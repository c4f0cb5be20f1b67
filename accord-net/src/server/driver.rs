//! The driver: carries bytes, time and completions between the core and the world.
//!
//! One [`Driver`] is one server. Its tasks share it on one thread and hand in what they receive;
//! whoever handed something in asks for a turn of the pump, which carries out all that came of it.
//! Turns are batches: the pump runs after every task that has something by then has had its turn.
//! No decision about the protocol is made here.
//!
//! Bounds: the core admits or refuses what clients send, and is asked before they are read on; the
//! group's queue is bounded by the frames that the replica has in flight; outboxes are bounded by
//! the core (clients) and by `peer_bytes_max` (peers).

use super::conns::Conn;
use super::group::Group;
use super::journal::{Batch, Disk, Journal, record_bytes};
use super::metrics::Metrics;
use super::options::ServerOptions;
use super::peers::PeerOutbox;
use super::roster;
use super::roster_file::RosterFile;
use super::seldom::Complaints;
use crate::corosync::CorosyncError;
use crate::env::{Datagram, Env, Udp};
use crate::operator::roster::Roster;
use accord_core::group::{GroupEvent, SubmitError};
use accord_core::ids::{ConnId, NodeId, RequestId, StoreId};
use accord_core::protocol::{ClientMessage, ServerMessage, decode_client};
use accord_core::replica::io::{HaltReason, Record, Ticket};
use accord_core::replica::log::Recovered;
use accord_core::server::work::Job;
use accord_core::server::{AdminId, AdminReply, AdminRequest, Input, Output, Server};
use accord_core::time::{Duration, Instant};
use accord_core::wire::WireError;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::{Notify, oneshot};

/// Of so many requests of a connection, the time that one takes is measured.
const LATENCY_SAMPLE: u64 = 16;
/// Events of the group handed in before what came of them is carried out.
const EVENTS_A_TURN: usize = 64;

/// How long receiving datagrams rests when the system cannot hand them out.
const RECEIVE_REST: Duration = Duration::from_millis(1);

/// One server, as its tasks share it.
pub(super) struct Driver<E: Env> {
    pub(super) env: E,
    pub(super) options: ServerOptions,
    pub(super) metrics: Arc<Metrics>,
    pub(super) inner: RefCell<Inner>,
    udp: Option<E::Udp>,
    /// Only in persistent mode.
    pub(super) journal: Option<Box<dyn Journal>>,
    /// Only in persistent mode.
    pub(super) roster_file: Option<RosterFile>,
    /// What the disk said when it failed.
    pub(super) disk_error: RefCell<Option<String>>,
    /// What was said of others, and when.
    pub(super) complaints: Complaints,
    /// An operator has an image of the state.
    pub(super) has_image: Rc<Cell<bool>>,
    /// Asks for a turn of the pump.
    pub(super) turn: Notify,
    /// There is something to be worked out.
    work: Notify,
    /// The server has stopped, or is to.
    pub(super) ended: Notify,
    /// When the timers' task wakes by itself.
    armed: Cell<Option<Instant>>,
    halted: RefCell<Option<HaltReason>>,
    pub(super) draining: Cell<bool>,
    /// Bytes of whole frames that clients' readers keep because their messages go on.
    pub(super) fragment_bytes: Cell<usize>,
    #[cfg(feature = "testing")]
    pub(super) seat: super::witness::Seat,
}

pub(super) struct Inner {
    pub(super) server: Server,
    pub(super) group: Group,
    /// The servers as this one knows them.
    pub(super) roster: Roster,
    conns: BTreeMap<ConnId, Rc<Conn>>,
    conn_last: u64,
    /// Connections that the server did not want to hear more of when it was asked last.
    paused: BTreeSet<ConnId>,
    /// Messages that the group had no room for.
    unsubmitted: VecDeque<Bytes>,
    datagrams: Vec<Datagram>,
    /// What the journal is to be handed at the end of this turn.
    records: Batch,
    /// What it was handed and has not told to be durable: tickets and bytes.
    unwritten: VecDeque<(Ticket, usize)>,
    /// Invariant: the bytes of `unwritten` and `records`.
    unwritten_bytes: usize,
    pub(super) peers: BTreeMap<NodeId, Rc<PeerOutbox>>,
    asked: BTreeMap<AdminId, oneshot::Sender<AdminReply>>,
    asked_last: u64,
    /// When sampled requests were taken.
    sampled: BTreeMap<(ConnId, RequestId), Instant>,
    applied_last: u64,
    /// What the server wants worked out and nobody has begun.
    jobs: Vec<Job>,
}

impl<E: Env> Driver<E> {
    pub(super) fn new(
        env: E,
        mut options: ServerOptions,
        udp: Option<E::Udp>,
        disk: Option<Disk>,
        metrics: Arc<Metrics>,
    ) -> Result<Rc<Self>, CorosyncError> {
        let now = env.now();
        let fresh = || Recovered::fresh(StoreId(env.draw()), options.bootstrap);
        let (journal, recovered, roster_file) = match disk {
            Some(disk) => (Some(disk.journal), disk.recovered.unwrap_or_else(fresh), disk.roster),
            None => (None, fresh(), None),
        };
        let found = roster_file.as_ref().and_then(RosterFile::found).cloned();
        if let Some(found) = &found {
            roster::resume(&mut options, found);
        }
        let roster = found.unwrap_or_else(|| roster::configured(&options));
        let outbox =
            |(node, at)| (node, Rc::new(PeerOutbox::new(node, at, options.net.peer_bytes_max)));
        let peers = roster.peers_of(options.node).into_iter().map(outbox).collect();
        let server = Server::new(options.core(), recovered, env.draw(), now);
        let group = Group::new(&options.group, options.node, env.draw(), env.clock())?;
        let inner = Inner {
            server,
            group,
            roster,
            conns: BTreeMap::new(),
            conn_last: 0,
            paused: BTreeSet::new(),
            unsubmitted: VecDeque::new(),
            datagrams: Vec::new(),
            records: Batch::new(),
            unwritten: VecDeque::new(),
            unwritten_bytes: 0,
            peers,
            asked: BTreeMap::new(),
            asked_last: 0,
            sampled: BTreeMap::new(),
            applied_last: 0,
            jobs: Vec::new(),
        };
        Ok(Rc::new(Self {
            env,
            options,
            metrics,
            inner: RefCell::new(inner),
            udp,
            journal,
            roster_file,
            disk_error: RefCell::new(None),
            complaints: Complaints::default(),
            has_image: Rc::default(),
            turn: Notify::new(),
            work: Notify::new(),
            ended: Notify::new(),
            armed: Cell::new(None),
            halted: RefCell::new(None),
            draining: Cell::new(false),
            fragment_bytes: Cell::new(0),
            #[cfg(feature = "testing")]
            seat: Default::default(),
        }))
    }

    /// Runs the pump and the timers until the server has stopped.
    pub(super) async fn run(self: Rc<Self>) {
        let mut sleep = Box::pin(self.env.sleep_until(Instant::FAR_FUTURE));
        self.pump();
        while self.halted.borrow().is_none() {
            // A deadline that moved away only costs a turn for nothing: do not arm anew for it.
            if let Some(at) = self.deadline_before_armed() {
                if at <= self.env.now() {
                    // Others have their turn first, and what waits at the sockets is seen.
                    tokio::task::yield_now().await;
                    self.on_time();
                    self.pump();
                    continue;
                }
                sleep.set(self.env.sleep_until(at));
                self.armed.set(Some(at));
            }
            tokio::select! {
                biased;
                () = self.turn.notified() => {}
                () = &mut sleep, if self.armed.get().is_some() => self.armed.set(None),
            }
            self.on_time();
            self.pump();
        }
    }

    /// Receives the group's datagrams, for ever.
    pub(super) async fn receive_datagrams(self: Rc<Self>) {
        let Some(udp) = &self.udp else { return };
        let mut datagrams = Vec::new();
        while self.halted.borrow().is_none() {
            if let Err(error) = udp.receive(&mut datagrams).await {
                // Such as a lack of memory: nothing that lasts, and nothing to hurry for.
                if let Some(times) = self.complaints.receiving.due(self.env.now()) {
                    tracing::warn!(%error, times, "datagrams cannot be received");
                }
                self.env.sleep_until(self.env.now() + RECEIVE_REST).await;
                continue;
            }
            {
                let inner = &mut *self.inner.borrow_mut();
                let now = self.env.now();
                datagrams.iter().for_each(|datagram| inner.group.handle_datagram(now, datagram));
            }
            datagrams.clear();
            self.pump_beside_timers();
        }
    }

    /// Carries on what the group's own thread brings, if it has one, for ever.
    pub(super) async fn follow_group(self: Rc<Self>) {
        let news = self.inner.borrow().group.news();
        let Some(news) = news else { return };
        while self.halted.borrow().is_none() {
            news.notified().await;
            self.pump_beside_timers();
        }
    }

    /// A turn of the pump outside of the timers' task, which is woken if what happened set a timer
    /// that is due before the one that it waits for.
    pub(super) fn pump_beside_timers(&self) {
        self.pump();
        if self.deadline_before_armed().is_some() {
            self.turn.notify_one();
        }
    }

    /// Has worked out what the server asks for, for ever. It asks for few things at a time: one
    /// image, one look at what it has received.
    pub(super) async fn follow_work(self: Rc<Self>) {
        while self.halted.borrow().is_none() {
            self.work.notified().await;
            let jobs = std::mem::take(&mut self.inner.borrow_mut().jobs);
            for job in jobs {
                let driver = self.clone();
                self.env.spawn(async move {
                    let done = driver.env.work(|| job.run()).await;
                    driver.inner.borrow_mut().server.handle(driver.env.now(), Input::Worked(done));
                    driver.pump_beside_timers();
                });
            }
        }
    }

    /// The next deadline, if nothing wakes the timers' task by then.
    fn deadline_before_armed(&self) -> Option<Instant> {
        let armed = self.armed.get();
        self.next_deadline().filter(|at| armed.is_none_or(|armed| *at < armed))
    }

    fn next_deadline(&self) -> Option<Instant> {
        let inner = self.inner.borrow();
        [inner.server.next_deadline(), inner.group.next_deadline()].into_iter().flatten().min()
    }

    fn on_time(&self) {
        let now = self.env.now();
        let inner = &mut *self.inner.borrow_mut();
        let due = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now);
        if due(inner.group.next_deadline()) {
            inner.group.handle_timer(now);
        }
        if due(inner.server.next_deadline()) {
            inner.server.handle(now, Input::Timer);
        }
    }

    /// Carries out what the server and its group ask, until nothing is left to do.
    pub(super) fn pump(&self) {
        let inner = &mut *self.inner.borrow_mut();
        inner.server.settle();
        loop {
            let mut busy = false;
            while let Some(output) = inner.server.poll_output() {
                busy = true;
                self.carry_out(inner, output);
            }
            busy |= self.pump_group(inner);
            if !busy {
                break;
            }
        }
        #[cfg(feature = "testing")]
        self.show_witness(inner);
        if let Some(journal) = &self.journal
            && !inner.records.is_empty()
        {
            journal.write(std::mem::take(&mut inner.records));
        }
        if let Some(udp) = &self.udp
            && !inner.datagrams.is_empty()
        {
            udp.send(&mut inner.datagrams);
        }
        inner.resume_paused();
        let applied = inner.server.applied().0;
        self.metrics.entries_applied.inc_by(applied.saturating_sub(inner.applied_last));
        inner.applied_last = applied;
    }

    fn pump_group(&self, inner: &mut Inner) -> bool {
        let now = self.env.now();
        let mut busy = false;
        while let Some(payload) = inner.unsubmitted.front().cloned() {
            match inner.group.submit(now, payload) {
                Ok(()) => {}
                Err(SubmitError::Full) => break,
                Err(error @ SubmitError::TooLarge { .. }) => {
                    panic!("settings allow commands that the group cannot carry: {error}")
                }
            }
            inner.unsubmitted.pop_front();
            busy = true;
        }
        for _ in 0..EVENTS_A_TURN {
            // A disk that does not keep up holds the group back.
            if inner.unwritten_bytes > self.options.net.journal_bytes_max {
                break;
            }
            let Some(event) = inner.group.poll_event() else { break };
            busy = true;
            if let GroupEvent::View(view) = &event {
                self.metrics.views.inc();
                tracing::info!(view = %view.id, members = ?view.members, "view");
                inner.note_presence(&view.members);
                inner.tell_roster();
                #[cfg(feature = "testing")]
                self.seat.view.set(Some(view.id));
            }
            inner.server.handle(now, Input::Group(event));
        }
        inner.group.poll_datagrams(&mut inner.datagrams);
        busy
    }

    fn carry_out(&self, inner: &mut Inner, output: Output) {
        match output {
            Output::Multicast(payload) => {
                self.metrics.multicast_bytes.observe(payload.len() as f64);
                inner.unsubmitted.push_back(payload);
            }
            Output::Persist { ticket, record } => inner.keep_record(ticket, record),
            Output::Client { conn, message } => self.send(inner, conn, &message),
            Output::Disconnect { conn, reason } => {
                tracing::debug!(%conn, %reason, "hanging up");
                if let Some(conn) = inner.forget(conn) {
                    conn.close();
                }
            }
            Output::Peer { to, message } => {
                let taken = inner.peers.get(&to).is_some_and(|peer| peer.push(message));
                if !taken {
                    self.metrics.peer_messages_dropped.inc();
                }
            }
            Output::Admin { admin, reply } => {
                if let Some(asked) = inner.asked.remove(&admin) {
                    // Whoever asked may be gone.
                    let _ = asked.send(reply);
                }
            }
            Output::Standing(standing) => inner.group.set_standing(self.env.now(), standing),
            Output::Work(job) => {
                inner.jobs.push(job);
                self.work.notify_one();
            }
            Output::Halt(reason) => self.halt(inner, reason),
        }
    }

    fn send(&self, inner: &mut Inner, id: ConnId, message: &ServerMessage) {
        let Some(conn) = inner.conns.get(&id) else { return };
        match message {
            ServerMessage::Opened { .. } | ServerMessage::Attached { .. } => conn.on_attached(),
            ServerMessage::Reply { request, .. } => {
                self.metrics.replies.inc();
                if request.0.is_multiple_of(LATENCY_SAMPLE)
                    && let Some(taken) = inner.sampled.remove(&(id, *request))
                {
                    let seconds = self.env.now().since(taken).as_nanos() as f64 / 1e9;
                    self.metrics.request_seconds.observe(seconds);
                }
            }
            ServerMessage::RequestRefused { request, .. } => {
                inner.sampled.remove(&(id, *request));
            }
            ServerMessage::ReadReply { .. } => {
                self.metrics.reads.inc();
            }
            ServerMessage::Events { events, .. } => {
                self.metrics.events.inc_by(events.len() as u64);
            }
            _ => {}
        }
        conn.send(message);
    }

    fn halt(&self, inner: &mut Inner, reason: HaltReason) {
        tracing::error!(%reason, "this server stops: going on could do harm");
        *self.halted.borrow_mut() = Some(reason);
        while let Some((id, _)) = inner.conns.first_key_value() {
            let id = *id;
            if let Some(conn) = inner.forget(id) {
                conn.close();
            }
        }
        self.ended.notify_waiters();
        self.turn.notify_one();
    }

    /// Why the server stopped itself, if it has.
    pub(super) fn halted(&self) -> Option<HaltReason> {
        self.halted.borrow().clone()
    }

    /// A client has connected.
    pub(super) fn connect(&self, conn: impl FnOnce(ConnId) -> Conn) -> Rc<Conn> {
        let inner = &mut *self.inner.borrow_mut();
        inner.conn_last += 1;
        let id = ConnId(inner.conn_last);
        let conn = Rc::new(conn(id));
        inner.conns.insert(id, conn.clone());
        inner.server.handle(self.env.now(), Input::Connected { conn: id });
        self.turn.notify_one();
        conn
    }

    /// A connection is gone.
    pub(super) fn disconnect(&self, id: ConnId) {
        let inner = &mut *self.inner.borrow_mut();
        if inner.forget(id).is_some() {
            inner.server.handle(self.env.now(), Input::Disconnected { conn: id });
            self.turn.notify_one();
        }
    }

    /// True if the next message of the connection may be handed in. Otherwise the connection is
    /// woken when it may be worth asking again.
    pub(super) fn accepts(&self, id: ConnId) -> bool {
        let inner = &mut *self.inner.borrow_mut();
        let accepts = inner.server.accepts(id);
        if !accepts && inner.conns.contains_key(&id) {
            inner.paused.insert(id);
            self.turn.notify_one();
        }
        accepts
    }

    /// A client sent this. What comes of it waits for the next turn of the pump, so that what
    /// arrives together is proposed together: [`Self::ask_for_turn`] when no more is at hand.
    pub(super) fn on_message(
        &self,
        id: ConnId,
        now: Instant,
        payload: &Bytes,
    ) -> Result<(), WireError> {
        let message = decode_client(payload)?;
        let inner = &mut *self.inner.borrow_mut();
        if let ClientMessage::Request { request, .. } = &message {
            self.metrics.requests.inc();
            if request.0.is_multiple_of(LATENCY_SAMPLE) {
                inner.sampled.insert((id, *request), now);
            }
        }
        inner.server.gather(now, id, message);
        Ok(())
    }

    /// Has the pump run once what is ready to be handed in has been.
    pub(super) fn ask_for_turn(&self) {
        self.turn.notify_one();
    }

    /// So many messages of the connection have left.
    pub(super) fn on_written(&self, id: ConnId, messages: usize) {
        let inner = &mut *self.inner.borrow_mut();
        inner.server.handle(self.env.now(), Input::Written { conn: id, messages });
        if !inner.paused.is_empty() {
            self.turn.notify_one();
        }
    }

    /// Another server sent this beside the group.
    pub(super) fn on_peer(&self, from: NodeId, message: Bytes) {
        let inner = &mut *self.inner.borrow_mut();
        inner.server.handle(self.env.now(), Input::Peer { from, message });
        self.turn.notify_one();
    }

    /// An operator asks. `None`: the server stopped before it answered.
    pub(super) async fn ask(&self, request: AdminRequest) -> Option<AdminReply> {
        let (asked, answer) = oneshot::channel();
        {
            let inner = &mut *self.inner.borrow_mut();
            inner.asked_last += 1;
            let admin = AdminId(inner.asked_last);
            inner.asked.insert(admin, asked);
            inner.server.handle(self.env.now(), Input::Admin { admin, request });
        }
        self.turn.notify_one();
        answer.await.ok()
    }

    /// Hangs up on every client, so that they move to other servers.
    pub(super) fn hang_up_all(&self) {
        let inner = &mut *self.inner.borrow_mut();
        let now = self.env.now();
        while let Some((id, _)) = inner.conns.first_key_value() {
            let id = *id;
            if let Some(conn) = inner.forget(id) {
                conn.close();
            }
            inner.server.handle(now, Input::Disconnected { conn: id });
        }
        self.turn.notify_one();
    }
}

impl Inner {
    fn keep_record(&mut self, ticket: Ticket, record: Record) {
        let bytes = record_bytes(&record);
        self.unwritten.push_back((ticket, bytes));
        self.unwritten_bytes += bytes;
        self.records.push((ticket, record));
    }

    pub(super) fn forget_written(&mut self, up_to: Ticket) {
        while let Some((ticket, bytes)) = self.unwritten.front()
            && *ticket <= up_to
        {
            self.unwritten_bytes -= bytes;
            self.unwritten.pop_front();
        }
    }

    fn forget(&mut self, id: ConnId) -> Option<Rc<Conn>> {
        self.paused.remove(&id);
        let conn = self.conns.remove(&id)?;
        let sampled = self.sampled.range((id, RequestId(0))..=(id, RequestId(u64::MAX)));
        let sampled: Vec<_> = sampled.map(|(key, _)| *key).collect();
        for key in &sampled {
            self.sampled.remove(key);
        }
        Some(conn)
    }

    /// Wakes the connections of which the server wants to hear more.
    fn resume_paused(&mut self) {
        let (server, conns) = (&self.server, &self.conns);
        self.paused.retain(|id| {
            let resumed = server.accepts(*id);
            if let Some(conn) = conns.get(id)
                && resumed
            {
                conn.wake();
            }
            !resumed
        });
    }
}
