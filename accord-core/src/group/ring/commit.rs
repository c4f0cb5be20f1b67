//! Commitment: a token travels round the proposed ring twice before any member relies on it.
//!
//! On the first round, each member that proposes exactly these members adds where it comes from. On
//! the second round each learns where all come from, and enters recovery. The first member starts
//! the ordinary token when the second round is complete. A member that does not get the token in
//! time, or hears that another gathers, gathers again.

use crate::group::ViewId;
use crate::group::ring::packet::{Body, Commit, Origin, Proc};
use crate::group::ring::presence::SEQ_MAX;
use crate::group::ring::{Refusal, Ring, Stage, Timer, To};
use crate::ids::NodeId;
use crate::time::Instant;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;

/// The state of a member that has put its entry into a commit token.
#[derive(Clone, Debug)]
pub(super) struct Committing {
    ring: ViewId,
    /// Invariant: sorted, contains us.
    members: Vec<Proc>,
    hop: u32,
    /// The commit token as passed on, to be sent again.
    passed: Bytes,
}

impl Committing {
    pub(super) fn contains(&self, proc: Proc) -> bool {
        self.members.binary_search(&proc).is_ok()
    }

    pub(super) const fn ring_seq(&self) -> u64 {
        self.ring.seq
    }

    /// What was passed on last, and to whom.
    pub(super) fn passed(&self, me: Proc) -> (Bytes, NodeId) {
        (self.passed.clone(), next_after(&self.members, me))
    }

    pub(super) fn check(&self, me: Proc, seq_max: u64) {
        assert!(self.contains(me) && self.members.len() > 1);
        assert!(self.ring.seq <= seq_max, "a ring is never formed below what we know");
    }
}

fn next_after(members: &[Proc], me: Proc) -> NodeId {
    let at = members.binary_search(&me).expect("we are among those who commit");
    members[(at + 1) % members.len()].node
}

impl Ring {
    fn origin(&self) -> Origin {
        Origin { ring: self.ring.id, aru: self.ring.store.aru() }
    }

    /// Sends a commit token for `members`, of whom we are the first.
    pub(super) fn start_commit(&mut self, now: Instant, members: Vec<Proc>) {
        assert_eq!(members.first(), Some(&self.me));
        let known = members.iter().filter_map(|proc| self.table.row(*proc)).map(|row| row.seq_max);
        self.seq_max = known.fold(self.seq_max, u64::max) + 1;
        let ring = ViewId { seq: self.seq_max, representative: self.me.node, salt: self.me.salt };
        let commit = Commit { ring, hop: 0, members, entries: vec![self.origin()] };
        self.counters.commits += 1;
        self.timers.clear_all();
        self.commit_to(now, commit);
    }

    /// Enters commitment with our entry in the token, and passes it on.
    fn commit_to(&mut self, now: Instant, commit: Commit) {
        let (ring, members, hop) = (commit.ring, commit.members.clone(), commit.hop);
        let passed = self.pass_commit(now, commit);
        self.stage = Stage::Commit(Committing { ring, members, hop, passed });
    }

    fn pass_commit(&mut self, now: Instant, mut commit: Commit) -> Bytes {
        commit.hop += 1;
        let next = next_after(&commit.members, self.me);
        let datagram = self.seal.control(self.me, &Body::Commit(commit));
        self.transmit(To::Node(next), datagram.clone());
        let timeouts = &self.config.timeouts;
        self.timers.set(Timer::TokenRetransmit, now + timeouts.token_retransmit);
        self.timers.set(Timer::TokenLoss, now + timeouts.token_loss);
        datagram
    }

    pub(super) fn on_commit(
        &mut self,
        now: Instant,
        sender: Proc,
        commit: Commit,
    ) -> Result<(), Refusal> {
        let at = commit.members.binary_search(&self.me).map_err(|_| Refusal::OtherRing)?;
        let count = commit.members.len();
        let before = commit.members[(at + count - 1) % count];
        if before != sender || commit.hop as usize > 2 * count {
            return Err(Refusal::Malformed);
        }
        match &self.stage {
            Stage::Gather(_) => self.on_commit_first(now, commit, at),
            Stage::Commit(committing) => {
                let same = committing.ring == commit.ring && committing.members == commit.members;
                if !same || commit.hop <= committing.hop || commit.entries.len() != count {
                    return Err(Refusal::Stale);
                }
                self.enter_recovery(now, &commit);
                let passed = self.pass_commit(now, commit);
                self.note_commit_passed(passed);
                Ok(())
            }
            Stage::Recovery(recovering) => {
                let ring = &recovering.ring;
                let last = commit.hop as usize == 2 * count && at == 0;
                if ring.id != commit.ring || !last || !ring.is_fresh() {
                    return Err(Refusal::Stale);
                }
                self.start_token(now);
                Ok(())
            }
            Stage::Operational | Stage::Left => Err(Refusal::Stale),
        }
    }

    fn on_commit_first(
        &mut self,
        now: Instant,
        mut commit: Commit,
        at: usize,
    ) -> Result<(), Refusal> {
        let ours = self.proposal() == Some(&commit.members) && commit.entries.len() == at;
        if !ours || commit.ring.seq <= self.seq_max || commit.ring.seq > SEQ_MAX {
            return Err(Refusal::Stale);
        }
        self.seq_max = commit.ring.seq;
        commit.entries.push(self.origin());
        self.timers.clear_all();
        self.commit_to(now, commit);
        Ok(())
    }

    /// Starts the first token of the ring in recovery: all others are in recovery as well.
    fn start_token(&mut self, now: Instant) {
        let Stage::Recovery(recovering) = &mut self.stage else { return };
        let token = recovering.ring.first_token();
        let accepted = recovering.ring.accept(&token);
        assert!(accepted, "a fresh ring has seen no token");
        self.begin_visit(now, token);
    }
}
