//! The driver: carries bytes, time and completions between the core and the world.
//!
//! One [`Driver`] is one server. Its tasks share it on one thread, hand in what they receive, and
//! ask for a turn of the pump. The pump carries out all outputs that came of it.
//! Turns are batches: the pump runs after every task that has something by then has had its turn.
//! No decision about the protocol is made here.
//!
//! Bounds: the core admits or refuses what clients send, and is asked before they are read on; the
//! group's queue is bounded by the frames that the replica has in flight; outboxes are bounded by
//! the core (clients) and by `peer_bytes_max` (peers).

mod look;
mod pump;
mod servers;

#[cfg(feature = "testing")]
pub use look::Witness;

use super::group::Group;
use super::journal::{Batch, Disk, Journal};
use super::metrics::Metrics;
use super::options::ServerOptions;
use super::outbox::Outbox;
use super::peer_outbox::PeerOutbox;
use super::roster_file::RosterFile;
use super::seldom::Complaints;
use super::slots::{Slot, Slots};
use crate::corosync::CorosyncError;
use crate::env::{Datagram, Env};
use crate::operator::roster::Roster;
use accord_core::gateway::front_end::FrontEnd;
use accord_core::gateway::message::ClientMessage;
use accord_core::holder::{Principal, SecretKey};
use accord_core::ids::{ConnId, NodeId, RequestId, StoreId};
use accord_core::replica::io::{HaltReason, Ticket};
use accord_core::replica::log::Recovered;
use accord_core::server::job::Job;
use accord_core::server::{Input, OperatorReply, OperatorRequest, OperatorRequestId, Server};
use accord_core::time::Instant;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::{Notify, oneshot};

/// Latency is sampled: one request in this many of each connection.
const LATENCY_SAMPLE: u64 = 16;

/// One server, as its tasks share it.
pub(super) struct Driver<E: Env> {
    env: E,
    options: ServerOptions,
    metrics: Arc<Metrics>,
    inner: RefCell<Inner>,
    udp: Option<E::Udp>,
    /// Only in persistent mode.
    journal: Option<Box<dyn Journal>>,
    /// Only in persistent mode.
    roster_file: Option<RosterFile>,
    /// What the disk said when it failed.
    disk_error: RefCell<Option<String>>,
    /// What was said of others, and when.
    complaints: Complaints,
    /// Images of the state that operators hold: one at a time, since it may be large.
    images: Slots,
    /// Asks for a turn of the pump.
    turn: Notify,
    /// There is something to be worked out.
    work: Notify,
    /// The server has stopped, or is to.
    ended: Notify,
    /// When the timers' task wakes by itself.
    armed: Cell<Option<Instant>>,
    halted: RefCell<Option<HaltReason>>,
    draining: Cell<bool>,
    /// Bytes of whole frames that clients' readers keep because their messages go on.
    fragment_bytes: Cell<usize>,
    #[cfg(feature = "testing")]
    witness: RefCell<Option<Witness>>,
}

pub(super) struct Inner {
    server: Server,
    /// The server's next deadline, as of the last turn of the pump: between two turns it has
    /// inputs whose outputs are not polled.
    server_deadline: Option<Instant>,
    group: Group,
    /// The servers as this one knows them.
    roster: Roster,
    conns: BTreeMap<ConnId, Rc<Outbox>>,
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
    peers: BTreeMap<NodeId, Rc<PeerOutbox>>,
    asked: BTreeMap<OperatorRequestId, oneshot::Sender<OperatorReply>>,
    asked_last: u64,
    /// When sampled requests were taken.
    sampled: BTreeMap<(ConnId, RequestId), Instant>,
    applied_last: u64,
    /// The group's present view, for the witness.
    #[cfg(feature = "testing")]
    view: Option<accord_core::group::ViewId>,
    /// Jobs of the server that have not begun.
    jobs: Vec<Job>,
}

/// The key of a start's secrets.
fn secrets<E: Env>(env: &E) -> SecretKey {
    let mut bytes = [0; 32];
    bytes.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&env.draw().to_le_bytes()));
    SecretKey::new(bytes)
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
            servers::resume(&mut options, found);
        }
        let roster = found.unwrap_or_else(|| servers::configured(&options));
        let outbox =
            |(node, at)| (node, Rc::new(PeerOutbox::new(node, at, options.net.peer_bytes_max)));
        let peers = roster.peers_of(options.node).into_iter().map(outbox).collect();
        let server = Server::new(options.core(secrets(&env)), recovered, env.draw(), now);
        let group = Group::new(&options.group, options.node, env.draw(), env.clock())?;
        let inner = Inner {
            server,
            server_deadline: None,
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
            #[cfg(feature = "testing")]
            view: None,
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
            images: Slots::new(1),
            turn: Notify::new(),
            work: Notify::new(),
            ended: Notify::new(),
            armed: Cell::new(None),
            halted: RefCell::new(None),
            draining: Cell::new(false),
            fragment_bytes: Cell::new(0),
            #[cfg(feature = "testing")]
            witness: RefCell::default(),
        }))
    }

    /// The world that it runs in.
    pub(super) const fn env(&self) -> &E {
        &self.env
    }

    /// How it is set up.
    pub(super) const fn options(&self) -> &ServerOptions {
        &self.options
    }

    /// What it counts.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What it has complained of.
    pub(super) const fn complaints(&self) -> &Complaints {
        &self.complaints
    }

    /// What the disk said, if it failed.
    pub(super) fn disk_error(&self) -> Option<String> {
        self.disk_error.borrow().clone()
    }

    /// Waits until the server stops itself.
    pub(super) async fn stopped(&self) -> HaltReason {
        loop {
            let ended = self.ended.notified();
            if let Some(reason) = self.halted() {
                return reason;
            }
            ended.await;
        }
    }

    /// Why the server stopped itself, if it has.
    pub(super) fn halted(&self) -> Option<HaltReason> {
        self.halted.borrow().clone()
    }

    /// A client has connected.
    pub(super) fn connect(&self, principal: Principal, front_end: Box<dyn FrontEnd>) -> Rc<Outbox> {
        let inner = &mut *self.inner.borrow_mut();
        inner.conn_last += 1;
        let id = ConnId(inner.conn_last);
        let conn = Rc::new(Outbox::new(id, front_end));
        inner.conns.insert(id, conn.clone());
        inner.server.handle(self.env.now(), Input::Connected { conn: id, principal });
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

    /// A client calls. What comes of it waits for the next turn of the pump, so that what arrives
    /// together is proposed together: [`Self::ask_for_turn`] when no more is at hand.
    pub(super) fn on_call(&self, id: ConnId, now: Instant, call: ClientMessage) {
        let inner = &mut *self.inner.borrow_mut();
        if let ClientMessage::Request { request, .. } = &call {
            self.metrics.requests.inc();
            if request.0.is_multiple_of(LATENCY_SAMPLE) {
                inner.sampled.insert((id, *request), now);
            }
        }
        inner.server.handle(now, Input::Client { conn: id, message: call });
    }

    /// A connection that kept `before` bytes of messages in several frames keeps `now`. False if
    /// that makes too many for all clients together.
    pub(super) fn count_fragments(&self, before: usize, now: usize) -> bool {
        let bytes = self.fragment_bytes.get() - before + now;
        self.fragment_bytes.set(bytes);
        now <= before || bytes <= self.options.net.fragment_bytes_max
    }

    /// Has the pump run once what is ready to be handed in has been.
    pub(super) fn ask_for_turn(&self) {
        self.turn.notify_one();
    }

    /// This many messages of the connection have left.
    pub(super) fn on_written(&self, id: ConnId, messages: usize) {
        let inner = &mut *self.inner.borrow_mut();
        inner.server.handle(self.env.now(), Input::Written { conn: id, messages });
        if !inner.paused.is_empty() {
            self.turn.notify_one();
        }
    }

    /// Another server sent this outside the group's order.
    pub(super) fn on_peer(&self, from: NodeId, message: Bytes) {
        let inner = &mut *self.inner.borrow_mut();
        inner.server.handle(self.env.now(), Input::Peer { from, message });
        self.turn.notify_one();
    }

    /// An operator asks. `None`: the server stopped before it answered.
    pub(super) async fn ask(&self, request: OperatorRequest) -> Option<OperatorReply> {
        let (asked, answer) = oneshot::channel();
        {
            let inner = &mut *self.inner.borrow_mut();
            inner.asked_last += 1;
            let admin = OperatorRequestId(inner.asked_last);
            inner.asked.insert(admin, asked);
            inner.server.handle(self.env.now(), Input::Operator { id: admin, request });
        }
        self.turn.notify_one();
        answer.await.ok()
    }

    /// The place of an image of the state that an operator holds. `None`: another one has it.
    pub(super) fn image_slot(&self) -> Option<Slot> {
        self.images.take()
    }

    /// From here on its clients move to other servers.
    pub(super) fn begin_draining(&self) {
        self.draining.set(true);
        self.hang_up_all();
    }

    /// Tells the other servers that this one goes.
    pub(super) fn leave(&self) {
        self.inner.borrow_mut().group.leave(self.env.now());
        self.pump();
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
    fn forget_written(&mut self, up_to: Ticket) {
        while let Some((ticket, bytes)) = self.unwritten.front()
            && *ticket <= up_to
        {
            self.unwritten_bytes -= bytes;
            self.unwritten.pop_front();
        }
    }

    fn forget(&mut self, id: ConnId) -> Option<Rc<Outbox>> {
        self.paused.remove(&id);
        let conn = self.conns.remove(&id)?;
        let sampled = self.sampled.range((id, RequestId(0))..=(id, RequestId(u64::MAX)));
        let sampled: Vec<_> = sampled.map(|(key, _)| *key).collect();
        for key in &sampled {
            self.sampled.remove(key);
        }
        Some(conn)
    }
}
