//! Connections: what each is about, how much it has under way, and what it was sent.
//!
//! Everything a connection can pile up is bounded: requests and reads at admission, watches when
//! they are set, messages by hanging up on a client that does not take them (an event is never
//! dropped from the middle of a stream).

use super::Gateway;
use super::io::{DisconnectReason, Output};
use super::message::{Refusal, ServerMessage, SessionEnd};
use super::order::Order;
use crate::holder::{Holder, Principal, SessionSecret};
use crate::ids::{ConnId, NodeId, RequestId, Revision, SessionId, WatchId};
use crate::state::Command;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;

/// One connection.
#[derive(Clone, Debug)]
pub(super) struct Conn {
    pub(super) phase: Phase,
    pub(super) principal: Principal,
    /// The latest revision that the client had seen when it attached.
    pub(super) floor: Revision,
    /// Requests taken and not answered.
    pub(super) requests: Requests,
    /// Invariant: the bytes of the transactions in `requests`.
    pub(super) request_bytes: usize,
    /// Reads that wait, by their place in the server's queue.
    pub(super) reads: BTreeSet<u64>,
    /// Of those and of its commands, what is in the session's order.
    pub(super) order: Order,
    /// Watches set.
    pub(super) watches: usize,
    /// Watches that reads under way will set, by their number, with the reads' places. They count
    /// as watches when others are admitted.
    pub(super) promised: BTreeMap<WatchId, u64>,
    /// Weights of the messages that have not left, oldest first.
    unsent: VecDeque<usize>,
    /// Invariant: the sum of `unsent`.
    pub(super) unsent_bytes: usize,
}

/// Requests by their numbers. Clients send them in ascending order and mostly get their answers in
/// the same order, so what is added is the last, and what is taken the first.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    /// Invariant: numbers ascend.
    entries: VecDeque<(RequestId, PendingRequest)>,
}

impl Requests {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn find(&self, request: RequestId) -> Result<usize, usize> {
        match (self.entries.front(), self.entries.back()) {
            (Some((first, _)), _) if *first == request => Ok(0),
            (_, Some((last, _))) if *last < request => Err(self.entries.len()),
            _ => self.entries.binary_search_by_key(&request, |(number, _)| *number),
        }
    }

    /// The request with the lowest number.
    pub(super) fn first(&self) -> Option<RequestId> {
        self.entries.front().map(|(number, _)| *number)
    }

    pub(super) fn contains(&self, request: RequestId) -> bool {
        self.find(request).is_ok()
    }

    pub(super) fn get(&self, request: RequestId) -> Option<&PendingRequest> {
        self.find(request).ok().map(|at| &self.entries[at].1)
    }

    pub(super) fn get_mut(&mut self, request: RequestId) -> Option<&mut PendingRequest> {
        self.find(request).ok().map(|at| &mut self.entries[at].1)
    }

    /// Adds a request; false if there is one of its number.
    pub(super) fn insert(&mut self, request: RequestId, pending: PendingRequest) -> bool {
        let place = self.find(request);
        if let Err(at) = place {
            self.entries.insert(at, (request, pending));
        }
        place.is_err()
    }

    fn remove(&mut self, request: RequestId) -> Option<PendingRequest> {
        let at = self.find(request).ok()?;
        self.entries.remove(at).map(|(_, pending)| pending)
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = RequestId> {
        self.entries.iter().map(|(number, _)| *number)
    }

    fn bytes(&self) -> usize {
        self.entries.iter().map(|(_, pending)| pending.bytes).sum()
    }
}

/// A request taken and not answered.
#[derive(Clone, Debug)]
pub(super) struct PendingRequest {
    pub(super) acked_below: RequestId,
    /// The size of its transaction.
    pub(super) bytes: usize,
    /// Its transaction, while it is deferred. Bytes of its own, so that it does not keep alive
    /// whatever buffer it arrived in.
    pub(super) txn: Option<Bytes>,
}

/// How far a connection has come with its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It has none.
    Idle,
    /// Its opening is on the way, under this name.
    Opening { token: u64, timeout_ms: u32, secret: SessionSecret },
    /// Its attachment is on the way, under this name.
    Attaching { token: u64, session: SessionId, secret: SessionSecret },
    /// It has one.
    Attached { session: SessionId, generation: u32 },
}

impl Conn {
    pub(super) fn new(principal: Principal) -> Self {
        Self {
            phase: Phase::Idle,
            principal,
            floor: Revision(0),
            requests: Requests::default(),
            request_bytes: 0,
            reads: BTreeSet::new(),
            order: Order::default(),
            watches: 0,
            promised: BTreeMap::new(),
            unsent: VecDeque::new(),
            unsent_bytes: 0,
        }
    }

    /// The command that begins its session as `phase` says.
    ///
    /// # Panics
    /// If that is no beginning.
    pub(super) fn beginning(&self, server: NodeId, phase: Phase) -> Command {
        let holder =
            |secret: SessionSecret| Holder { principal: self.principal, secret: secret.hash() };
        match phase {
            Phase::Opening { token, timeout_ms, secret } => {
                Command::Open { server, token, timeout_ms, holder: holder(secret) }
            }
            Phase::Attaching { token, session, secret } => {
                Command::Attach { server, session, token, holder: holder(secret) }
            }
            Phase::Idle | Phase::Attached { .. } => unreachable!("a token is of a beginning"),
        }
    }

    pub(super) const fn session(&self) -> Option<SessionId> {
        match self.phase {
            Phase::Attached { session, .. } => Some(session),
            Phase::Idle | Phase::Opening { .. } | Phase::Attaching { .. } => None,
        }
    }

    /// True if no request up to this one is under way, and no read that has a place.
    pub(super) fn is_in_turn(&self, after: RequestId) -> bool {
        self.order.is_empty() && self.requests.first().is_none_or(|first| first > after)
    }

    /// True if its session is being opened or attached.
    pub(super) const fn is_beginning(&self) -> bool {
        matches!(self.phase, Phase::Opening { .. } | Phase::Attaching { .. })
    }

    /// True if a message of this weight may join those that have not left.
    pub(super) fn has_room(&self, weight: usize, unsent_bytes_max: usize) -> bool {
        self.unsent.is_empty() || self.unsent_bytes + weight <= unsent_bytes_max
    }

    fn on_sent(&mut self, weight: usize) {
        self.unsent.push_back(weight);
        self.unsent_bytes += weight;
    }

    fn on_written(&mut self, messages: usize) {
        for weight in self.unsent.drain(..messages.min(self.unsent.len())) {
            self.unsent_bytes -= weight;
        }
    }

    pub(super) fn take_request(&mut self, request: RequestId) -> bool {
        let Some(pending) = self.requests.remove(request) else { return false };
        self.request_bytes -= pending.bytes;
        true
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        assert_eq!(self.requests.bytes(), self.request_bytes, "the bytes of requests are counted");
        assert!(self.requests.entries.iter().is_sorted_by(|(a, _), (b, _)| a < b), "in order");
        assert_eq!(self.unsent.iter().sum::<usize>(), self.unsent_bytes, "unsent is counted");
        self.order.check(&self.reads);
        assert!(self.promised.values().all(|place| self.reads.contains(place)), "a read promises");
        let watches = self.watches + self.promised.len();
        let quiet = self.requests.is_empty() && watches == 0 && self.order.is_empty();
        assert!(quiet || self.session().is_some(), "requests and watches need a session");
    }
}

impl Gateway {
    pub(super) fn on_connected(&mut self, id: ConnId, principal: Principal) {
        if self.conns.len() >= self.limits.conns_max {
            self.note_disconnect(id, DisconnectReason::TooManyConnections);
            return;
        }
        let before = self.conns.insert(id, Conn::new(principal));
        assert!(before.is_none(), "the driver never uses the number of a connection again");
        if !self.primary {
            self.send(id, ServerMessage::Status { primary: false });
        }
    }

    pub(super) fn on_written(&mut self, id: ConnId, messages: usize) {
        let unread = self.is_full(id);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.on_written(messages);
        // Nothing that the client says is read until it has taken more. That it takes something is
        // its sign of life meanwhile; from one that is gone, nothing more is taken before long.
        if let Some(session) = conn.session().filter(|_| unread) {
            self.timers.hear(session, self.now);
        }
    }

    /// Forgets a connection. What it had proposed may still take effect.
    pub(super) fn on_disconnected(&mut self, id: ConnId) {
        let unread = !self.accepts(id);
        let Some(conn) = self.conns.remove(&id) else { return };
        // What the client said last may have gone unread with the connection: its silence begins
        // now.
        if let Some(session) = conn.session().filter(|_| unread) {
            self.timers.hear(session, self.now);
        }
        match conn.phase {
            Phase::Idle => {}
            Phase::Opening { token, .. } | Phase::Attaching { token, .. } => {
                self.tokens.remove(&token);
            }
            Phase::Attached { session, .. } => {
                if self.attached.get(&session) == Some(&id) {
                    self.attached.remove(&session);
                }
            }
        }
        self.watches.remove_conn(id);
        for read in conn.reads {
            self.reads.remove(read);
        }
        self.requests_pending -= conn.requests.len();
        conn.order.kept_back().for_each(|bytes| self.deferred.let_go(bytes));
    }

    /// Hangs up.
    pub(super) fn disconnect(&mut self, id: ConnId, reason: DisconnectReason) {
        if self.conns.contains_key(&id) {
            self.on_disconnected(id);
            self.note_disconnect(id, reason);
        }
    }

    /// Hangs up on every connection of which `whose` holds.
    pub(super) fn disconnect_all(
        &mut self,
        reason: DisconnectReason,
        whose: impl Fn(&Conn) -> bool,
    ) {
        let found = self.conns.iter().filter(|(_, conn)| whose(conn)).map(|(id, _)| *id);
        let found: Vec<ConnId> = found.collect();
        found.into_iter().for_each(|id| self.disconnect(id, reason));
    }

    fn note_disconnect(&mut self, conn: ConnId, reason: DisconnectReason) {
        *self.disconnects.entry(reason).or_default() += 1;
        self.outputs.push_back(Output::Disconnect { conn, reason });
    }

    /// Sends to a client, or hangs up if it does not take what it was sent. Nothing if it is gone.
    pub(super) fn send(&mut self, id: ConnId, message: ServerMessage) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let weight = message.weight();
        if conn.has_room(weight, self.limits.unsent_bytes_max) {
            conn.on_sent(weight);
            self.outputs.push_back(Output::Client { conn: id, message });
        } else {
            self.disconnect(id, DisconnectReason::TooSlow);
        }
    }

    pub(super) fn broadcast(&mut self, message: &ServerMessage) {
        let ids: Vec<ConnId> = self.conns.keys().copied().collect();
        ids.into_iter().for_each(|id| self.send(id, message.clone()));
    }

    /// Tells a client how its session ended, and hangs up.
    pub(super) fn end_session(&mut self, id: ConnId, reason: SessionEnd) {
        self.send(id, ServerMessage::SessionClosed { reason });
        let reason = match reason {
            SessionEnd::Expired => DisconnectReason::SessionExpired,
            SessionEnd::Closed | SessionEnd::Moved | SessionEnd::Gone => {
                DisconnectReason::SessionClosed
            }
        };
        self.disconnect(id, reason);
    }

    pub(super) fn count_refusal(&mut self, reason: Refusal) {
        *self.refusals.entry(reason).or_default() += 1;
    }

    /// True if the driver should go on reading from this connection: back-pressure. Ask again after
    /// any input.
    pub fn accepts(&self, conn: ConnId) -> bool {
        self.conns.contains_key(&conn) && !self.is_full(conn) && !self.is_held_up(conn)
    }

    /// True if a client has to take what was sent to it before more of it is read.
    fn is_full(&self, conn: ConnId) -> bool {
        let unsent_bytes_max = self.limits.unsent_bytes_max / 2;
        self.conns.get(&conn).is_some_and(|conn| conn.unsent_bytes > unsent_bytes_max)
    }

    /// True if a client has to wait because of what the server has still to do, for it or others.
    pub(super) fn is_held_up(&self, conn: ConnId) -> bool {
        let limits = &self.limits;
        let busy = |conn: &Conn| {
            conn.requests.len() >= limits.requests_per_conn_max
                || conn.request_bytes >= limits.request_bytes_per_conn_max
                || conn.reads.len() >= limits.reads_per_conn_max
        };
        self.conns.get(&conn).is_some_and(busy) || !self.deferred.accepts()
    }
}
