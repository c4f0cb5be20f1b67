//! A session expires for silence, and for nothing else.
//!
//! The server that proposes the end of a session must not have heard of the client for the
//! session's whole timeout, by its own clock: not since the client's last word, not since the
//! session was attached, not since the server came into the primary component. Judged when the
//! proposal first goes out. It may have waited in between, so it is enough that there was such a
//! silence; but a time without a primary component is none, however long it was.
//!
//! And once the end is proposed, the client hears no pong any more: a pong promises that no expiry
//! was proposed before it.

use super::Judgement;
use crate::world::clock::WorldTime;
use accord_core::ids::{ConnId, SessionId};
use accord_core::protocol::ServerMessage;
use accord_core::state::Command;
use accord_core::time::{Duration, Instant};
use std::collections::{BTreeMap, BTreeSet};

/// What every server heard of its clients, by its own clock.
#[derive(Debug, Default)]
pub struct Silence {
    servers: BTreeMap<u32, Server>,
    /// When each session was opened, in the world's time.
    opened: BTreeMap<SessionId, WorldTime>,
    /// The times without a primary component anywhere; the last may not have ended.
    outages: Vec<(WorldTime, Option<WorldTime>)>,
}

#[derive(Debug, Default)]
struct Server {
    /// Since when it is in the primary component.
    primary: Option<Instant>,
    conns: BTreeMap<ConnId, SessionId>,
    sessions: BTreeMap<SessionId, Heard>,
    /// Ends that were proposed and have not been applied, by the attachment that was silent.
    proposed: BTreeSet<(SessionId, u32)>,
}

/// What a server heard of a session.
#[derive(Clone, Copy, Debug)]
struct Heard {
    timeout: Duration,
    last: Instant,
    /// There was a silence of the whole timeout since the session was last attached.
    silent: bool,
    generation: u32,
}

impl Heard {
    fn note(&mut self, now: Instant, primary: Option<Instant>) {
        let Some(primary) = primary else { return };
        self.silent |= now.since(self.last.max(primary)) >= self.timeout;
    }
}

impl Silence {
    fn server(&mut self, node: u32) -> &mut Server {
        self.servers.entry(node).or_default()
    }

    /// The process is gone.
    pub fn on_stop(&mut self, node: u32, at: WorldTime) {
        self.servers.remove(&node);
        self.note_outage(at);
    }

    fn note_outage(&mut self, at: WorldTime) {
        let dark = self.servers.values().all(|server| server.primary.is_none());
        match self.outages.last_mut() {
            Some((_, end @ None)) if !dark => *end = Some(at),
            Some((_, None)) => {}
            _ if dark => self.outages.push((at, None)),
            _ => {}
        }
    }

    /// True if the session was there before an outage longer than its timeout.
    fn outlived(&self, session: SessionId, timeout: Duration) -> bool {
        let Some(opened) = self.opened.get(&session) else { return false };
        self.outages
            .iter()
            .any(|(begin, end)| opened < begin && end.is_some_and(|end| begin.after(timeout) < end))
    }

    /// A server comes into the primary component, or into another epoch of it (`primary`), or is
    /// left by it.
    pub fn on_primary(&mut self, node: u32, (now, at): (Instant, WorldTime), primary: bool) {
        let server = self.server(node);
        let before = std::mem::replace(&mut server.primary, primary.then_some(now));
        server.sessions.values_mut().for_each(|heard| heard.note(now, before));
        self.note_outage(at);
    }

    /// A client is told that its session is attached at a server.
    fn on_attached(
        &mut self,
        node: u32,
        now: Instant,
        (session, generation): (SessionId, u32),
        timeout: Duration,
    ) {
        let heard = Heard { timeout, last: now, silent: false, generation };
        self.server(node).sessions.insert(session, heard);
    }

    /// The end of a session is applied at a server, or was proposed in vain. True if the session
    /// was last attached there, as far as that server knows.
    pub fn on_ended(&mut self, node: u32, session: SessionId, ended: bool) -> bool {
        let server = self.server(node);
        server.proposed.retain(|(proposed, _)| *proposed != session);
        ended && server.sessions.remove(&session).is_some()
    }

    /// A server says something to a client. True if that goes on with a session that was there
    /// before a long time without a primary component.
    ///
    /// # Errors
    /// If it is a pong, and the end of the session is proposed.
    pub fn on_told(
        &mut self,
        node: u32,
        conn: ConnId,
        (now, at): (Instant, WorldTime),
        message: &ServerMessage,
    ) -> Result<bool, String> {
        let timeout = |timeout_ms: &u32| Duration::from_millis(u64::from(*timeout_ms));
        match message {
            ServerMessage::Opened { session, timeout_ms, .. } => {
                self.opened.insert(*session, at);
                self.server(node).conns.insert(conn, *session);
                self.on_attached(node, now, (*session, 1), timeout(timeout_ms));
            }
            ServerMessage::Attached { session, generation, timeout_ms, .. } => {
                self.server(node).conns.insert(conn, *session);
                self.on_attached(node, now, (*session, *generation), timeout(timeout_ms));
                return Ok(self.outlived(*session, timeout(timeout_ms)));
            }
            ServerMessage::Pong { nonce, .. } => {
                let server = self.server(node);
                let Some(session) = server.conns.get(&conn) else { return Ok(false) };
                let Some(heard) = server.sessions.get(session) else { return Ok(false) };
                if server.proposed.contains(&(*session, heard.generation)) {
                    return Err(format!(
                        "n{node} answers ping {nonce} of {session}, whose end it has proposed"
                    ));
                }
            }
            _ => {}
        }
        Ok(false)
    }

    /// The connection is gone.
    pub fn on_disconnected(&mut self, node: u32, conn: ConnId) {
        self.server(node).conns.remove(&conn);
    }

    /// Something of a client has come to a server. True if its end was proposed before.
    pub fn on_heard(&mut self, node: u32, now: Instant, conn: ConnId) -> bool {
        let server = self.server(node);
        let Some(session) = server.conns.get(&conn).copied() else { return false };
        let Some(heard) = server.sessions.get_mut(&session) else { return false };
        heard.note(now, server.primary);
        heard.last = now;
        server.proposed.contains(&(session, heard.generation))
    }

    /// A server's proposal goes out.
    ///
    /// # Errors
    /// If it is the end of a session that was not silent for its timeout.
    pub fn on_proposed(&mut self, node: u32, now: Instant, command: &Command) -> Judgement {
        let Command::Expire { session, generation, .. } = command else { return Ok(()) };
        let server = self.server(node);
        if !server.proposed.insert((*session, *generation)) {
            return Ok(());
        }
        // Who knows the session only from another server's state had nobody to hear.
        let Some(heard) = server.sessions.get_mut(session) else { return Ok(()) };
        if heard.generation != *generation {
            return Ok(());
        }
        heard.note(now, server.primary);
        if heard.silent {
            return Ok(());
        }
        let (last, timeout) = (now.since(heard.last), heard.timeout);
        let primary = server.primary.map(|since| now.since(since));
        Err(format!(
            "n{node} proposes the end of {session} after {timeout:?} of silence at least: it was \
             heard or attached {last:?} ago, and there is a primary component for {primary:?}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use accord_core::holder::SessionSecret;
    use accord_core::ids::{NodeId, Revision};

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn expire(silence: &mut Silence, ms: u64) -> Judgement {
        let session = SessionId(7);
        let command = Command::Expire { server: NodeId(1), session, generation: 1 };
        silence.on_proposed(1, at(ms), &command)
    }

    fn world(ms: u64) -> WorldTime {
        WorldTime::START.after(Duration::from_millis(ms))
    }

    fn primary(silence: &mut Silence, ms: u64, primary: bool) {
        silence.on_primary(1, (at(ms), world(ms)), primary);
    }

    fn tell(silence: &mut Silence, ms: u64, what: &ServerMessage) -> Result<bool, String> {
        silence.on_told(1, ConnId(3), (at(ms), world(ms)), what)
    }

    fn attached() -> Silence {
        let mut silence = Silence::default();
        primary(&mut silence, 0, true);
        let (session, timeout_ms, revision) = (SessionId(7), 100, Revision(1));
        let secret = SessionSecret([7; 16]);
        let opened = ServerMessage::Opened { session, secret, timeout_ms, revision };
        assert_eq!(tell(&mut silence, 10, &opened), Ok(false));
        silence
    }

    #[test]
    fn a_session_that_was_heard_within_its_timeout_does_not_expire() {
        assert!(expire(&mut attached(), 109).is_err());
        assert_eq!(expire(&mut attached(), 110), Ok(()));
        let mut silence = attached();
        silence.on_heard(1, at(90), ConnId(3));
        assert!(expire(&mut silence, 189).is_err());
        let mut silence = attached();
        silence.on_heard(1, at(150), ConnId(3));
        assert_eq!(expire(&mut silence, 151), Ok(()), "the proposal waited to be sent");
    }

    #[test]
    fn a_time_without_a_primary_component_is_no_silence() {
        let mut silence = attached();
        primary(&mut silence, 60, false);
        primary(&mut silence, 500, true);
        assert!(expire(&mut silence, 599).is_err());
        let mut silence = attached();
        primary(&mut silence, 60, false);
        primary(&mut silence, 500, true);
        assert_eq!(expire(&mut silence, 600), Ok(()));
        let mut silence = attached();
        primary(&mut silence, 200, false);
        primary(&mut silence, 500, true);
        assert_eq!(expire(&mut silence, 501), Ok(()), "it was proposed before");
    }

    #[test]
    fn no_pong_follows_the_proposal_of_the_end_unless_that_came_to_nothing() {
        let pong = ServerMessage::Pong { nonce: 1, revision: Revision(1) };
        let mut silence = attached();
        assert_eq!(tell(&mut silence, 120, &pong), Ok(false));
        assert_eq!(expire(&mut silence, 110), Ok(()));
        assert!(silence.on_heard(1, at(120), ConnId(3)));
        assert!(tell(&mut silence, 120, &pong).is_err());
        silence.on_ended(1, SessionId(7), false);
        assert_eq!(tell(&mut silence, 120, &pong), Ok(false));
    }
    #[test]
    fn a_session_outlives_an_outage_that_is_longer_than_its_timeout() {
        for (end, long) in [(150, false), (170, true)] {
            let mut silence = attached();
            primary(&mut silence, 60, false);
            primary(&mut silence, end, true);
            let (session, timeout_ms, revision) = (SessionId(7), 100, Revision(1));
            let attached = ServerMessage::Attached { session, timeout_ms, generation: 2, revision };
            assert_eq!(tell(&mut silence, end + 1, &attached), Ok(long));
        }
    }
}
