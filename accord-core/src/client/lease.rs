//! The lease: until when the session surely lives, by this client's clock.
//!
//! A server counts a session's timeout from what it heard last, which is never before that was
//! sent. So the client counts from the sending, of what proves that the session was alive:
//!
//! - an opening or an attachment that was confirmed, since the cluster agreed on it;
//! - a ping and a linearizable read of the session sent with it, when both are answered. The pong
//!   says that the session's server has not proposed its expiry; the read says that this server
//!   was in the primary component still. Without it, the others may have opened an epoch of their
//!   own and judge the session already, while its server is the last to notice.
//!
//! Other answers prove nothing: they come also while an expiry is under way. What counts is the
//! timeout that the cluster granted, not the one wished for. The promise is one of clocks: it holds
//! as far as the client's and the judging server's run at the same pace, and not across the
//! suspension of a machine.

use super::io::ReadId;
use crate::time::{Duration, Instant};
use alloc::collections::VecDeque;

/// Pings that wait for their answers; of more, the oldest are forgotten and prove nothing.
const PROBES_MAX: usize = 16;

/// What is known of the session's life.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    /// When the opening or the attachment was sent over the present connection.
    begun: Instant,
    /// Pings sent over the present connection that wait for one of their answers.
    probes: VecDeque<Probe>,
    /// When the last message was sent that proves the session's life.
    proven: Instant,
}

/// A ping and the read sent with it.
#[derive(Clone, Debug)]
struct Probe {
    sent: Instant,
    nonce: u64,
    read: ReadId,
    /// No expiry was proposed by the session's server.
    ponged: bool,
    /// The session was open in the order of the cluster.
    open: bool,
}

impl Lease {
    pub(super) const fn new() -> Self {
        Self { begun: Instant::ZERO, probes: VecDeque::new(), proven: Instant::ZERO }
    }

    /// The opening or the attachment is sent over a new connection.
    pub(super) fn begin(&mut self, now: Instant) {
        self.begun = now;
        self.probes.clear();
    }

    /// It was confirmed: the cluster has agreed on it since it was sent.
    pub(super) fn confirm(&mut self) {
        self.proven = self.proven.max(self.begun);
    }

    pub(super) fn on_ping(&mut self, nonce: u64, read: ReadId, sent: Instant) {
        if self.probes.len() >= PROBES_MAX {
            self.probes.pop_front();
        }
        self.probes.push_back(Probe { sent, nonce, read, ponged: false, open: false });
    }

    pub(super) fn on_pong(&mut self, nonce: u64) {
        if let Some(probe) = self.probes.iter_mut().find(|probe| probe.nonce == nonce) {
            probe.ponged = true;
        }
        self.settle();
    }

    /// A read was answered. True if it was sent with a ping.
    pub(super) fn on_read(&mut self, read: ReadId, open: bool) -> bool {
        let Some(probe) = self.probes.iter_mut().find(|probe| probe.read == read) else {
            return false;
        };
        probe.open = open;
        self.settle();
        true
    }

    fn settle(&mut self) {
        let answered = |probe: &Probe| probe.ponged && probe.open;
        while let Some(last) = self.probes.iter().rposition(answered) {
            self.proven = self.proven.max(self.probes[last].sent);
            self.probes.drain(..=last);
        }
    }

    pub(super) fn ends(&self, timeout: Duration) -> Instant {
        self.proven + timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(1000);

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn a_lease_counts_from_the_sending_of_what_was_answered() {
        let mut lease = Lease::new();
        lease.begin(at(10));
        lease.confirm();
        assert_eq!(lease.ends(TIMEOUT), at(1010));
        lease.on_ping(1, ReadId(7), at(300));
        lease.on_ping(2, ReadId(8), at(600));
        lease.on_pong(1);
        assert_eq!(lease.ends(TIMEOUT), at(1010), "the others may judge it already");
        assert!(!lease.on_read(ReadId(9), true), "a read of the application");
        assert!(lease.on_read(ReadId(7), true));
        assert_eq!(lease.ends(TIMEOUT), at(1300));
        assert!(lease.on_read(ReadId(8), true));
        assert_eq!(lease.ends(TIMEOUT), at(1300), "its expiry may be proposed");
        lease.on_pong(2);
        assert_eq!(lease.ends(TIMEOUT), at(1600));
        lease.on_ping(3, ReadId(10), at(900));
        lease.on_read(ReadId(10), false);
        lease.on_pong(3);
        assert_eq!(lease.ends(TIMEOUT), at(1600), "it has ended");
        lease.on_ping(4, ReadId(11), at(950));
        lease.begin(at(1200));
        lease.on_pong(4);
        assert!(!lease.on_read(ReadId(11), true), "an answer of another connection");
        assert_eq!(lease.ends(TIMEOUT), at(1600));
        lease.confirm();
        assert_eq!(lease.ends(TIMEOUT), at(2200));
    }

    #[test]
    fn pings_without_answers_are_bounded() {
        let mut lease = Lease::new();
        for nonce in 0..1000 {
            lease.on_ping(nonce, ReadId(nonce), at(nonce));
        }
        assert_eq!(lease.probes.len(), PROBES_MAX);
        lease.on_pong(0);
        assert!(!lease.on_read(ReadId(0), true), "it is forgotten, and proves nothing");
        lease.on_pong(999);
        assert!(lease.on_read(ReadId(999), true));
        assert_eq!(lease.ends(TIMEOUT), at(1999));
        assert!(lease.probes.is_empty(), "earlier ones can prove nothing more");
    }
}
