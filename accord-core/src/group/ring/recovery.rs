//! Recovery: in the new ring, members that come from one old ring exchange what some of them lack.
//!
//! A member with an old datagram that another may lack sends it wrapped in a numbered datagram of
//! the new ring, whose token ensures that all receive it. When the token finds all members in a row
//! with nothing left to send and nothing missing, each installs: it delivers the old ring's
//! datagrams up to the first hole, and the new view begins. Until then nothing of the old ring is
//! given up, so a recovery that fails can be repeated with other members.
//!
//! Why those who move together deliver the same: the old ring takes in nothing but wrapped
//! datagrams from the moment at which we decide what to send; each of us sends what it alone may
//! have; and the ring is not installed before all have received all that was sent.

use crate::group::ViewId;
use crate::group::ring::packet::{Commit, Proc, Seal, Token};
use crate::group::ring::store::Store;
use crate::group::ring::{Ring, RingState, Stage, Timer};
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;

/// The state of a recovery.
#[derive(Clone, Debug)]
pub(super) struct Recovering {
    /// The ring to be.
    pub(super) ring: RingState,
    /// Numbers of old datagrams that we shall carry over, unless another does before us.
    to_carry: VecDeque<u64>,
    /// Numbers of old datagrams that were carried over.
    carried: BTreeSet<u64>,
}

impl Recovering {
    /// The next old datagram to carry over.
    pub(super) fn next_to_carry(&mut self, old: &Store) -> Option<Bytes> {
        while let Some(seq) = self.to_carry.pop_front() {
            if !self.carried.contains(&seq)
                && let Some(packet) = old.get(seq)
            {
                return Some(packet.datagram.clone());
            }
        }
        None
    }

    /// Takes an old datagram out of its wrapping, if it is of our old ring.
    pub(super) fn on_carried(&mut self, old: &mut RingState, datagram: &Bytes) {
        let Some(data) = Seal::unwrap(datagram) else { return };
        if data.ring != old.id || !old.contains(data.packet.origin) {
            return;
        }
        // What we have already is no error: more than one may lack it.
        let _ = old.store.insert(data.seq, data.packet);
        self.carried.insert(data.seq);
    }

    pub(super) fn check(&self, me: Proc, seq_max: u64) {
        self.ring.check(me);
        assert!(self.ring.id.seq <= seq_max);
        assert!(self.ring.held.is_none(), "no token is kept in recovery");
    }
}

impl Ring {
    /// Enters recovery with a complete commit token.
    pub(super) fn enter_recovery(&mut self, now: Instant, commit: &Commit) {
        self.counters.recoveries += 1;
        let pairs = commit.members.iter().zip(&commit.entries);
        let ours: Vec<(Proc, u64)> = pairs
            .filter(|(_, origin)| origin.ring == self.ring.id)
            .map(|(proc, origin)| (*proc, origin.aru))
            .collect();
        let lowest = ours.iter().map(|(_, aru)| *aru).min().unwrap_or(0);
        let highest = ours.iter().map(|(_, aru)| *aru).max().unwrap_or(0);
        let holder = ours.iter().find(|(_, aru)| *aru == highest).map(|(proc, _)| *proc);
        let store = &mut self.ring.store;
        store.widen();
        // One who has all up to `highest` carries that over; beyond, each what it has.
        let first = lowest.max(store.base()).saturating_add(1);
        let alone = ours.len() < 2;
        let to_carry = (first..=store.high())
            .filter(|seq| !alone && store.get(*seq).is_some())
            .filter(|seq| *seq > highest || holder == Some(self.me))
            .collect();
        let members = commit.members.clone();
        let ring = RingState::new(commit.ring, members, &self.config.limits, now);
        self.timers.clear_all();
        let carried = BTreeSet::new();
        let recovering = Recovering { ring, to_carry, carried };
        self.stage = Stage::Recovery(Box::new(recovering));
    }

    pub(super) fn note_commit_passed(&mut self, passed: Bytes) {
        if let Stage::Recovery(recovering) = &mut self.stage {
            recovering.ring.passed = Some(passed);
        }
    }

    /// Counts members in a row that are through. True if we find that all are.
    pub(super) fn note_ready(&mut self, token: &mut Token, sent: usize) -> bool {
        let Stage::Recovery(recovering) = &mut self.stage else { return false };
        let ring = &recovering.ring;
        let left = recovering.to_carry.iter().any(|seq| !recovering.carried.contains(seq));
        let through = sent == 0 && !left && ring.store.aru() == token.seq;
        token.ready = if through { token.ready.saturating_add(1) } else { 0 };
        token.ready >= ring.size()
    }

    /// Installs the ring in recovery.
    pub(super) fn install_recovered(&mut self, now: Instant) {
        let stage = core::mem::replace(&mut self.stage, Stage::Operational);
        let Stage::Recovery(recovering) = stage else {
            panic!("only a ring in recovery is installed from it");
        };
        self.install(now, recovering.ring);
    }

    /// Installs a ring of ourselves.
    pub(super) fn install_single(&mut self, now: Instant) {
        self.seq_max += 1;
        let id = ViewId { seq: self.seq_max, representative: self.me.node, salt: self.me.salt };
        let ring = RingState::new(id, vec![self.me], &self.config.limits, now);
        self.timers.clear_all();
        self.stage = Stage::Operational;
        self.install(now, ring);
    }

    fn install(&mut self, now: Instant, ring: RingState) {
        self.finish_old_ring();
        self.ring = ring;
        self.reassembly.clear();
        self.outbox.rewind();
        self.announce_view();
        self.timers.set(Timer::Presence, now);
    }

    /// Delivers what is left of the old ring, up to the first hole. What lies beyond it is lost
    /// with the view, our own included: others may hold what is missing and have delivered both, so
    /// to deliver it here would break the order, and to send it again would deliver it there twice.
    fn finish_old_ring(&mut self) {
        while !self.ring.is_single() && self.deliver_next() {}
    }
}
