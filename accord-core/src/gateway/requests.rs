//! Requests: from a client into the order, and their outcome back to it.
//!
//! Every request goes through the order, also one that was applied long ago: its recorded outcome
//! then comes back as if it had just run. While there is no primary component, or the replica is
//! full, commands are deferred here in the order they came, within a bound; what its client no
//! longer waits for is dropped instead of proposed.

use super::Gateway;
use super::conn::{Conn, PendingRequest};
use super::io::DisconnectReason;
use super::message::{Refusal, ServerMessage};
use crate::ids::{ConnId, RequestId, SessionId};
use crate::service::{ProposeError, Service};
use crate::state::{Command, Outcome, encode_request};
use crate::wire::{Encode, Writer};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::Bytes;

/// Bytes that a command may have beside its transaction.
const COMMAND_HEAD_BYTES_MAX: usize = 32;

/// A command that waits to be proposed, by what will tell it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deferred {
    /// A request of a connection.
    Request { conn: ConnId, request: RequestId },
    /// The beginning of a session.
    Session { token: u64 },
    /// The end of a connection's session.
    Close { conn: ConnId },
}

/// Commands that wait to be proposed, in the order they came.
#[derive(Clone, Debug)]
pub(super) struct DeferredQueue {
    items: VecDeque<(Deferred, usize)>,
    /// Invariant: the sum of the items' bytes.
    bytes: usize,
    /// Commands that are kept back behind reads, and their bytes: see `order`. They count as well.
    kept_back: usize,
    kept_back_bytes: usize,
    items_max: usize,
    bytes_max: usize,
}

impl DeferredQueue {
    pub(super) const fn new(items_max: usize, bytes_max: usize) -> Self {
        let items = VecDeque::new();
        Self { items, bytes: 0, kept_back: 0, kept_back_bytes: 0, items_max, bytes_max }
    }

    /// Commands that wait, also those behind reads.
    pub(super) fn len(&self) -> usize {
        self.items.len() + self.kept_back
    }

    /// Counts a command that is kept back.
    pub(super) fn keep_back(&mut self, bytes: usize) {
        self.kept_back += 1;
        self.kept_back_bytes += bytes;
    }

    /// A command is kept back no longer.
    pub(super) fn let_go(&mut self, bytes: usize) {
        self.kept_back -= 1;
        self.kept_back_bytes -= bytes;
    }

    /// True if the queue is far enough from its bounds that clients may go on.
    pub(super) fn accepts(&self) -> bool {
        let bytes = self.bytes + self.kept_back_bytes;
        self.len() <= self.items_max / 2 && bytes <= self.bytes_max / 2
    }

    fn has_room(&self, bytes: usize) -> bool {
        let all = (self.bytes + self.kept_back_bytes).saturating_add(bytes);
        self.len() < self.items_max && all <= self.bytes_max
    }

    pub(super) fn push(&mut self, deferred: Deferred, bytes: usize) {
        self.items.push_back((deferred, bytes));
        self.bytes += bytes;
    }

    fn pop(&mut self) -> Option<(Deferred, usize)> {
        let (deferred, bytes) = self.items.pop_front()?;
        self.bytes -= bytes;
        Some((deferred, bytes))
    }

    fn push_front(&mut self, deferred: Deferred, bytes: usize) {
        self.items.push_front((deferred, bytes));
        self.bytes += bytes;
    }

    /// Asserts the invariants. `kept_back` are the commands behind reads, with their bytes.
    pub(super) fn check(&self, kept_back: (usize, usize)) {
        let counted = (self.kept_back, self.kept_back_bytes);
        assert_eq!(kept_back, counted, "what is kept back is counted");
        let bytes: usize = self.items.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(bytes, self.bytes, "the bytes of deferred commands are counted");
    }
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proposed {
    /// The replica has it.
    Now,
    /// It is deferred: the server will ask for it again.
    Deferred,
}

/// The server holds back as much as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Busy;

impl Gateway {
    pub(super) fn on_request(
        &mut self,
        service: &mut Service,
        id: ConnId,
        session: SessionId,
        (request, acked_below): (RequestId, RequestId),
        txn: Bytes,
    ) {
        if let Err(reason) = self.admit_request(id, request, txn.len()) {
            self.count_refusal(reason);
            return self.send(id, ServerMessage::RequestRefused { request, reason });
        }
        let conn = self.conns.get_mut(&id).expect("the caller found it");
        if conn.requests.contains(request) {
            // Sent twice over one connection: the first copy will be answered.
            return;
        }
        let mut command = core::mem::take(&mut self.scratch);
        command.clear();
        encode_request(session, request, acked_below, &txn, &mut command);
        conn.request_bytes += txn.len();
        let pending = PendingRequest { acked_below, bytes: txn.len(), txn: None };
        conn.requests.insert(request, pending);
        self.requests_pending += 1;
        let (deferred, behind) = (Deferred::Request { conn: id, request }, conn.order.last_stale());
        let proposed = self.propose_behind(service, id, command.as_slice(), deferred, behind);
        self.scratch = command;
        match proposed {
            Ok(Proposed::Now) => {}
            Ok(Proposed::Deferred) => self.keep_transaction(id, request, &txn),
            Err(Busy) => {
                self.settle_request(id, request);
                let reason = Refusal::Busy;
                self.count_refusal(reason);
                self.send(id, ServerMessage::RequestRefused { request, reason });
            }
        }
    }

    fn keep_transaction(&mut self, id: ConnId, request: RequestId, txn: &Bytes) {
        let conn = self.conns.get_mut(&id).expect("its request was just taken");
        let pending = conn.requests.get_mut(request).expect("just taken");
        pending.txn = Some(Bytes::copy_from_slice(txn));
    }

    fn admit_request(&self, id: ConnId, request: RequestId, bytes: usize) -> Result<(), Refusal> {
        let limits = &self.limits;
        let conn = &self.conns[&id];
        let command_bytes_max = self.command_bytes_max;
        if bytes.saturating_add(COMMAND_HEAD_BYTES_MAX) > command_bytes_max {
            return Err(Refusal::TooLarge);
        }
        if conn.requests.contains(request) {
            return Ok(());
        }
        if conn.requests.len() >= limits.requests_per_conn_max {
            return Err(Refusal::TooManyOutstanding);
        }
        let bytes_fit = conn.request_bytes + bytes <= limits.request_bytes_per_conn_max;
        if !bytes_fit && !conn.requests.is_empty() {
            return Err(Refusal::TooManyBytes);
        }
        Ok(())
    }

    /// Forgets a request that was answered. `None` if nobody here waits for it; else whether reads
    /// of the connection may have waited for it.
    pub(super) fn settle_request(&mut self, id: ConnId, request: RequestId) -> Option<bool> {
        let conn = self.conns.get_mut(&id)?;
        conn.take_request(request).then(|| {
            self.requests_pending -= 1;
            !conn.order.is_empty()
        })
    }

    /// The outcome of a request is known: its client hears of it, if it is attached here and waits,
    /// and then what the reads behind it show.
    pub(super) fn on_outcome(
        &mut self,
        service: &Service,
        session: SessionId,
        request: RequestId,
        outcome: Outcome,
    ) {
        let Some(id) = self.attached.get(&session).copied() else { return };
        let Some(awaited) = self.settle_request(id, request) else { return };
        self.send(id, ServerMessage::Reply { request, outcome });
        if awaited {
            self.advance(service, id);
        }
    }

    /// Brings a command into the order, now or as soon as possible.
    pub(super) fn propose(
        &mut self,
        service: &mut Service,
        command: &[u8],
        deferred: Deferred,
    ) -> Result<Proposed, Busy> {
        if self.primary && self.deferred.items.is_empty() {
            match service.propose(command) {
                Ok(()) | Err(ProposeError::Halted) => return Ok(Proposed::Now),
                Err(ProposeError::TooLarge { .. }) => {
                    unreachable!("the size was checked at admission")
                }
                Err(ProposeError::Full) => {}
            }
        }
        self.make_room(command.len())?;
        self.deferred.push(deferred, command.len());
        Ok(Proposed::Deferred)
    }

    /// Finds out whether a command of this many bytes may be deferred.
    pub(super) fn make_room(&mut self, bytes: usize) -> Result<(), Busy> {
        if !self.deferred.has_room(bytes) {
            self.drop_unwanted();
        }
        if self.deferred.has_room(bytes) { Ok(()) } else { Err(Busy) }
    }

    /// Proposes the deferred commands, as far as the replica takes it.
    pub fn propose_deferred(&mut self, service: &mut Service) {
        if !self.primary {
            return;
        }
        while let Some((deferred, bytes)) = self.deferred.pop() {
            let mut command = core::mem::take(&mut self.scratch);
            command.clear();
            let wanted = self.encode_deferred(deferred, &mut command);
            let proposed = if wanted { service.propose(command.as_slice()) } else { Ok(()) };
            self.scratch = command;
            if proposed == Err(ProposeError::Full) {
                return self.deferred.push_front(deferred, bytes);
            }
            self.drop_transaction(deferred);
        }
    }

    /// What the replica has need not be kept here.
    fn drop_transaction(&mut self, deferred: Deferred) {
        if let Deferred::Request { conn, request } = deferred
            && let Some(conn) = self.conns.get_mut(&conn)
            && let Some(pending) = conn.requests.get_mut(request)
        {
            pending.txn = None;
        }
    }

    fn drop_unwanted(&mut self) {
        for _ in 0..self.deferred.items.len() {
            let (item, bytes) = self.deferred.pop().expect("it has so many");
            if self.is_wanted(item) {
                self.deferred.push(item, bytes);
            }
        }
    }

    pub(super) fn is_wanted(&self, deferred: Deferred) -> bool {
        match deferred {
            Deferred::Request { conn, request } => {
                self.conns.get(&conn).is_some_and(|conn| conn.requests.contains(request))
            }
            Deferred::Session { token } => self.tokens.contains_key(&token),
            Deferred::Close { conn } => self.conns.contains_key(&conn),
        }
    }

    /// Writes a deferred command. False if nobody waits for it any more.
    fn encode_deferred(&self, deferred: Deferred, out: &mut Writer) -> bool {
        if !self.is_wanted(deferred) {
            return false;
        }
        let server = self.node;
        match deferred {
            Deferred::Request { conn, request } => {
                let conn = &self.conns[&conn];
                let pending = conn.requests.get(request).expect("what is wanted is here");
                let session = conn.session().expect("requests need a session");
                let txn = pending.txn.as_ref().expect("a deferred command keeps it");
                encode_request(session, request, pending.acked_below, txn, out);
            }
            Deferred::Session { token } => {
                let conn = &self.conns[&self.tokens[&token]];
                conn.beginning(server, conn.phase).encode(out);
            }
            Deferred::Close { conn } => match self.conns[&conn].session() {
                Some(session) => Command::Close { session }.encode(out),
                None => return false,
            },
        }
        true
    }

    /// The state was replaced by one that may contain commands of this server, whose completions
    /// are lost with their entries. Requests that it settled are answered from its records. What
    /// became of anything else is not known here: those clients attach again and ask again, so that
    /// they, who count the copies of a request, know of every one. What a read behind a request
    /// would have shown is not known either: the state may contain later requests.
    pub(super) fn answer_after_install(&mut self, service: &Service) {
        let overtaken =
            |conn: &Conn| conn.requests.first().is_some_and(|it| conn.order.waits_for(it));
        self.disconnect_all(DisconnectReason::Replaced, overtaken);
        let pending: Vec<(SessionId, RequestId)> = self
            .attached
            .iter()
            .flat_map(|(session, id)| self.conns[id].requests.numbers().map(|it| (*session, it)))
            .collect();
        for (session, request) in pending {
            let open = service.session(session);
            if let Some(outcome) = open.and_then(|open| open.settled(request)) {
                self.on_outcome(service, session, request, outcome);
            }
        }
        let unsettled = |conn: &Conn| conn.is_beginning() || !conn.requests.is_empty();
        self.disconnect_all(DisconnectReason::Replaced, unsettled);
    }
}
