//! Sessions as this server sees to them: opening, attaching, fencing, and expiry by its own clock.
//!
//! A server times the sessions it owns, and the orphaned ones in its turn: the members of the epoch
//! share out by number who judges them first, all alike. It proposes an expiry only in the primary
//! component, and names the attachment that it found silent, so that a client that attached
//! elsewhere meanwhile is safe. Whenever ownership, the epoch or the server's own alertness
//! changed, a session gets its time anew: late expiry is a delay, early expiry is a broken promise.

use super::Gateway;
use super::conn::Phase;
use super::io::DisconnectReason;
use super::message::{ServerMessage, SessionEnd, SessionRefusal};
use super::requests::Deferred;
use crate::holder::SessionSecret;
use crate::ids::{ConnId, NodeId, Revision, SessionId};
use crate::service::Service;
use crate::state::{Command, EndCause};
use crate::time::{Duration, DurationExt, Instant};
use crate::wire::Encode;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// How long an expiry waits that could not be proposed because the replica was full.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// The sessions whose silence this server judges.
#[derive(Clone, Debug, Default)]
pub(super) struct Timers {
    timers: BTreeMap<SessionId, Timer>,
    /// Invariant: `(due, session)` of exactly the timers that are not expiring.
    due: BTreeSet<(Instant, SessionId)>,
}

#[derive(Clone, Copy, Debug)]
struct Timer {
    generation: u32,
    timeout: Duration,
    /// When the client last gave a sign of life, or the time was given anew.
    heard: Instant,
    /// When to look again. Invariant: at most `heard` + `timeout`, or a retry's time.
    due: Instant,
    /// The end of this attachment is proposed.
    expiring: bool,
}

impl Timers {
    /// Gives a session its time anew.
    pub(super) fn set(
        &mut self,
        session: SessionId,
        generation: u32,
        timeout: Duration,
        now: Instant,
    ) {
        let before = self.remove(session);
        let expiring = before.is_some_and(|old| old.expiring && old.generation == generation);
        let due = now + timeout;
        if !expiring {
            self.due.insert((due, session));
        }
        self.timers.insert(session, Timer { generation, timeout, heard: now, due, expiring });
    }

    fn remove(&mut self, session: SessionId) -> Option<Timer> {
        let timer = self.timers.remove(&session)?;
        self.due.remove(&(timer.due, session));
        Some(timer)
    }

    /// Notes a sign of life. If the end is already proposed, it comes too late.
    pub(super) fn hear(&mut self, session: SessionId, now: Instant) {
        if let Some(timer) = self.timers.get_mut(&session) {
            timer.heard = now;
        }
    }

    fn is_expiring(&self, session: SessionId) -> bool {
        self.timers.get(&session).is_some_and(|timer| timer.expiring)
    }

    fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// The next session that was silent for its whole timeout, with the attachment that was.
    fn pop_silent(&mut self, now: Instant) -> Option<(SessionId, u32)> {
        while let Some((due, session)) = self.due.first().copied() {
            if due > now {
                return None;
            }
            self.due.pop_first();
            let timer = self.timers.get_mut(&session).expect("what is due has a timer");
            let end = timer.heard + timer.timeout;
            if end <= now {
                timer.expiring = true;
                return Some((session, timer.generation));
            }
            timer.due = end;
            self.due.insert((end, session));
        }
        None
    }

    /// The end of the session could not be proposed, or came to nothing: look again at `due`.
    fn rearm(&mut self, session: SessionId, generation: u32, due: Instant) {
        if let Some(timer) = self.timers.get_mut(&session)
            && timer.generation == generation
            && timer.expiring
        {
            timer.expiring = false;
            timer.due = due;
            self.due.insert((due, session));
        }
    }

    /// Keeps the sessions that `keep` names, and gives each its time anew.
    fn restart(&mut self, keep: impl Iterator<Item = (SessionId, u32, Duration)>, now: Instant) {
        let mut old = core::mem::take(self);
        for (session, generation, timeout) in keep {
            if let Some(timer) = old.remove(session) {
                self.timers.insert(session, timer);
                if !timer.expiring {
                    self.due.insert((timer.due, session));
                }
            }
            self.set(session, generation, timeout, now);
        }
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        let timed = self.timers.iter().filter(|(_, timer)| !timer.expiring);
        assert_eq!(timed.clone().count(), self.due.len(), "a timer is due once");
        for (session, timer) in timed {
            assert!(self.due.contains(&(timer.due, *session)), "every timer is due some time");
        }
    }
}

impl Gateway {
    pub(super) fn on_open(&mut self, service: &mut Service, id: ConnId, timeout_ms: u32) {
        let token = self.rng.next_u64();
        self.secret_last += 1;
        let secret = self.secrets.secret(self.secret_last);
        let phase = Phase::Opening { token, timeout_ms, secret };
        self.begin_session(service, id, token, phase);
    }

    pub(super) fn on_attach(
        &mut self,
        service: &mut Service,
        id: ConnId,
        session: SessionId,
        secret: SessionSecret,
    ) {
        let token = self.rng.next_u64();
        let phase = Phase::Attaching { token, session, secret };
        self.begin_session(service, id, token, phase);
    }

    /// Puts an opening or an attachment on its way.
    fn begin_session(&mut self, service: &mut Service, id: ConnId, token: u64, phase: Phase) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let command = conn.beginning(self.node, phase).to_bytes();
        conn.phase = phase;
        self.tokens.insert(token, id);
        if self.propose(service, &command, Deferred::Session { token }).is_err() {
            self.refuse_session(id, SessionRefusal::Busy);
        }
    }

    fn refuse_session(&mut self, id: ConnId, reason: SessionRefusal) {
        self.send(id, ServerMessage::SessionRefused { reason });
        self.disconnect(id, DisconnectReason::SessionRefused);
    }

    pub(super) fn on_close(&mut self, service: &mut Service, id: ConnId, session: SessionId) {
        let command = Command::Close { session }.to_bytes();
        let behind = self.conns[&id].order.last_stale();
        let deferred = Deferred::Close { conn: id };
        if self.propose_behind(service, id, &command, deferred, behind).is_err() {
            // The client will connect again and say it again.
            self.disconnect(id, DisconnectReason::TooSlow);
        }
    }

    /// Takes the connection that waits for `token`, if the command is this server's and it still
    /// does.
    fn take_token(&mut self, server: NodeId, token: u64) -> Option<ConnId> {
        if server == self.node { self.tokens.remove(&token) } else { None }
    }

    pub(super) fn on_opened(
        &mut self,
        revision: Revision,
        (server, token): (NodeId, u64),
        session: SessionId,
        timeout_ms: u32,
    ) {
        self.time_session(server, session, 1, timeout_ms);
        let Some(id) = self.take_token(server, token) else { return };
        let Phase::Opening { secret, .. } = self.conns[&id].phase else {
            unreachable!("its token is that of an opening")
        };
        self.bind(id, session, 1);
        self.send(id, ServerMessage::Opened { session, secret, timeout_ms, revision });
    }

    pub(super) fn on_open_refused(&mut self, server: NodeId, token: u64) {
        if let Some(id) = self.take_token(server, token) {
            self.refuse_session(id, SessionRefusal::TooMany);
        }
    }

    /// A session was attached, here or elsewhere: whoever had it before has it no longer.
    pub(super) fn on_attached(
        &mut self,
        revision: Revision,
        (server, token): (NodeId, u64),
        (session, generation, timeout_ms): (SessionId, u32, u32),
    ) {
        if let Some(old) = self.attached.get(&session).copied() {
            self.end_session(old, SessionEnd::Moved);
        }
        self.time_session(server, session, generation, timeout_ms);
        let Some(id) = self.take_token(server, token) else { return };
        self.bind(id, session, generation);
        self.send(id, ServerMessage::Attached { session, timeout_ms, generation, revision });
    }

    pub(super) fn on_attach_refused(&mut self, server: NodeId, token: u64) {
        if let Some(id) = self.take_token(server, token) {
            self.refuse_session(id, SessionRefusal::Unknown);
        }
    }

    fn bind(&mut self, id: ConnId, session: SessionId, generation: u32) {
        let conn = self.conns.get_mut(&id).expect("a token belongs to a connection");
        conn.phase = Phase::Attached { session, generation };
        self.attached.insert(session, id);
    }

    fn time_session(
        &mut self,
        server: NodeId,
        session: SessionId,
        generation: u32,
        timeout_ms: u32,
    ) {
        if server == self.node {
            let timeout = Duration::from_millis(u64::from(timeout_ms));
            self.timers.set(session, generation, timeout, self.now);
        } else {
            self.timers.remove(session);
        }
    }

    pub(super) fn on_ended(&mut self, session: SessionId, cause: EndCause) {
        self.timers.remove(session);
        if let Some(id) = self.attached.get(&session).copied() {
            let reason = match cause {
                EndCause::Closed => SessionEnd::Closed,
                EndCause::Expired => SessionEnd::Expired,
            };
            self.end_session(id, reason);
        }
    }

    pub(super) fn on_expire_ignored(
        &mut self,
        server: NodeId,
        session: SessionId,
        generation: u32,
    ) {
        if server == self.node {
            self.timers.rearm(session, generation, self.now + RETRY_AFTER);
        }
    }

    pub(super) fn on_ping(
        &mut self,
        revision: Revision,
        id: ConnId,
        session: Option<SessionId>,
        nonce: u64,
    ) {
        if !session.is_some_and(|session| self.timers.is_expiring(session)) {
            self.send(id, ServerMessage::Pong { nonce, revision });
        }
    }

    /// Starts judging the sessions that are this server's now, each from the present on.
    pub(super) fn restart_timers(&mut self, service: &Service) {
        let me = self.node;
        let (count, place) = (self.members.len() as u64, self.members.binary_search(&me));
        // The members take turns: the session's adopter judges first, and each of the others a
        // timeout later than the one before it. So a member that lags keeps no dead session alive.
        let turn = |session: SessionId| {
            let place = *place.as_ref().ok()? as u64;
            Some((place + count - session.0 % count) % count)
        };
        let mine = service.sessions().filter_map(|(id, session)| {
            let turn = match session.owner() {
                Some(owner) => (owner == me).then_some(0)?,
                None => turn(id)?,
            };
            let timeout = Duration::from_millis(u64::from(session.timeout_ms()));
            Some((id, session.generation(), timeout.times(turn + 1)))
        });
        self.timers.restart(mine, self.now);
    }

    /// An epoch began without this server, or its sessions are not its own for another reason:
    /// their clients have to attach again, and where is theirs to choose.
    pub(super) fn release_sessions(&mut self, service: &Service) {
        let me = self.node;
        let attached: Vec<(SessionId, ConnId)> =
            self.attached.iter().map(|(session, conn)| (*session, *conn)).collect();
        for (session, id) in attached {
            let Phase::Attached { generation, .. } = self.conns[&id].phase else { continue };
            match service.session(session) {
                None => self.end_session(id, SessionEnd::Gone),
                Some(found) if found.generation() != generation => {
                    self.end_session(id, SessionEnd::Moved);
                }
                Some(found) if found.owner() != Some(me) => {
                    self.disconnect(id, DisconnectReason::Orphaned);
                }
                Some(_) => {}
            }
        }
    }

    pub(super) fn timers_deadline(&self) -> Option<Instant> {
        if self.primary { self.timers.next_due() } else { None }
    }

    /// Proposes the end of sessions that were silent for too long.
    pub(super) fn expire_silent(&mut self, service: &mut Service) {
        let Some(due) = self.timers_deadline() else { return };
        if self.now.since(due) > self.limits.pause_max {
            // This server slept: what its clients said meanwhile may still wait to be read.
            return self.restart_timers(service);
        }
        let server = self.node;
        while let Some((session, generation)) = self.timers.pop_silent(self.now) {
            if self.attached.get(&session).is_some_and(|id| self.is_held_up(*id)) {
                // The silence may be this server's, which does not read what the client says.
                self.timers.rearm(session, generation, self.now + RETRY_AFTER);
                continue;
            }
            let command = Command::Expire { server, session, generation }.to_bytes();
            if service.propose(&command).is_err() {
                self.timers.rearm(session, generation, self.now + RETRY_AFTER);
            }
        }
    }
}
