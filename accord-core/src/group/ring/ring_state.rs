//! One ring's own state: members, numbered datagrams, and what a visit of the token does to them.
//!
//! This is Totem's operational protocol, without timers and without a view on membership, so that
//! the installed ring and one in recovery share it. From the Accelerated Ring (Babay and Amir,
//! 2016) come two rules: the token leaves before the last of a visit's datagrams do, and therefore
//! a number counts as missing only if it was given before the *previous* visit.

use crate::group::ViewId;
use crate::group::ring::config::RingLimits;
use crate::group::ring::packet::{Packet, Proc, REQUESTS_MAX, Token};
use crate::group::ring::store::Store;
use crate::ids::NodeId;
use crate::time::Instant;
use alloc::vec::Vec;
use bytes::Bytes;

/// One ring: who is in it, and how far it got.
#[derive(Clone, Debug)]
pub(super) struct RingState {
    pub(super) id: ViewId,
    /// Invariant: sorted, contains us, no two runs of one node.
    pub(super) members: Vec<Proc>,
    pub(super) store: Store,
    /// All up to here were delivered. Invariant: at most the store's aru.
    pub(super) delivered: u64,
    /// The hand-over count of the last token seen.
    pub(super) hop: u64,
    /// `seq` of the token at the last visit: what must have come by the next.
    seq_seen: u64,
    /// `aru` of the token at the last visit.
    aru_seen: u64,
    /// What we added to the token's count of datagrams sent.
    pub(super) sent: u32,
    /// The token's count of idle hand-overs when it was last here.
    pub(super) idle_seen: u32,
    /// The representative was asked not to keep the token.
    pub(super) hold_cancelled: bool,
    /// We asked the representative not to keep the token, since the last visit.
    pub(super) cancel_sent: bool,
    /// The token, while the representative keeps it. Invariant: only the representative does.
    pub(super) held: Option<Token>,
    /// The last token passed on, to be sent again.
    pub(super) passed: Option<Bytes>,
    /// When the store's aru last moved or had nothing to catch up with, while we delivered or did
    /// not hold back the others.
    pub(super) progress_at: Instant,
    /// The store's aru at the last visit.
    aru_noted: u64,
    /// What was delivered by the last visit.
    delivered_noted: u64,
}

impl RingState {
    pub(super) fn new(id: ViewId, members: Vec<Proc>, limits: &RingLimits, now: Instant) -> Self {
        Self {
            id,
            members,
            store: Store::new(limits.store_packets_max),
            delivered: 0,
            hop: 0,
            seq_seen: 0,
            aru_seen: 0,
            sent: 0,
            idle_seen: 0,
            hold_cancelled: false,
            cancel_sent: false,
            held: None,
            passed: None,
            progress_at: now,
            aru_noted: 0,
            delivered_noted: 0,
        }
    }

    pub(super) fn contains(&self, proc: Proc) -> bool {
        self.members.binary_search(&proc).is_ok()
    }

    pub(super) fn is_single(&self) -> bool {
        self.members.len() == 1
    }

    pub(super) fn size(&self) -> u32 {
        self.members.len() as u32
    }

    pub(super) fn representative(&self) -> Proc {
        self.members[0]
    }

    /// To whom `me` passes the token.
    pub(super) fn next_after(&self, me: Proc) -> NodeId {
        let at = self.members.binary_search(&me).expect("we are a member of our ring");
        self.members[(at + 1) % self.members.len()].node
    }

    /// True if no token was seen yet.
    pub(super) const fn is_fresh(&self) -> bool {
        self.hop == 0
    }

    /// The first token of this ring.
    pub(super) const fn first_token(&self) -> Token {
        Token {
            ring: self.id,
            hop: 1,
            seq: 0,
            aru: 0,
            aru_setter: None,
            sent: 0,
            idle: 0,
            ready: 0,
            requests: Vec::new(),
        }
    }

    /// Takes note of a token. False if it is a copy of one seen before.
    pub(super) fn accept(&mut self, token: &Token) -> bool {
        let newer = token.hop > self.hop;
        if newer {
            self.hop = token.hop;
            self.idle_seen = token.idle;
            self.cancel_sent = false;
            self.passed = None;
        }
        newer
    }

    /// Forgets what all have, answers requests and adds our own. Returns what is to be sent again.
    pub(super) fn serve(
        &mut self,
        now: Instant,
        token: &mut Token,
        limits: &RingLimits,
    ) -> Vec<Bytes> {
        let stable = self.aru_seen.min(token.aru);
        self.store.forget(stable.min(self.delivered));
        let mut resent = Vec::new();
        token.requests.retain(|seq| match self.store.get(*seq) {
            Some(packet) if resent.len() < limits.burst_packets_max as usize => {
                resent.push(packet.datagram.clone());
                false
            }
            Some(_) => true,
            None => *seq > stable,
        });
        self.note_progress(now, token, limits);
        self.aru_seen = token.aru;
        resent
    }

    /// Progress is to receive what is missing and, while this member holds the others back, to
    /// deliver. Without it for `receive`, this member leaves the ring and the others go on.
    fn note_progress(&mut self, now: Instant, token: &Token, limits: &RingLimits) {
        let caught_up = self.store.aru() >= self.seq_seen.min(token.seq);
        let receives = caught_up || self.store.aru() > self.aru_noted;
        let holds_back = self.end_told(limits) < self.store.aru();
        let delivers = !holds_back || self.delivered > self.delivered_noted;
        if receives && delivers {
            self.progress_at = now;
        }
        self.aru_noted = self.store.aru();
        self.delivered_noted = self.delivered;
    }

    /// Asks for what should have come and did not. Returns how many numbers were added.
    pub(super) fn request_missing(&mut self, token: &mut Token) -> u64 {
        let last = self.seq_seen.min(token.seq).min(self.store.limit());
        let before = token.requests.len();
        for seq in self.store.aru() + 1..=last {
            if token.requests.len() >= REQUESTS_MAX {
                break;
            }
            if self.store.get(seq).is_none()
                && let Err(at) = token.requests.binary_search(&seq)
            {
                token.requests.insert(at, seq);
            }
        }
        self.seq_seen = token.seq;
        (token.requests.len() - before) as u64
    }

    /// Keeps a datagram that we made under the next number.
    pub(super) fn keep_own(&mut self, token: &mut Token, packet: Packet) {
        token.seq += 1;
        let kept = self.store.insert(token.seq, packet);
        assert_eq!(kept, Ok(()), "a number that we gave is new and within the allowance");
    }

    /// Settles the token's accounts at the end of a visit.
    pub(super) fn settle(&mut self, me: NodeId, token: &mut Token, sent: u32, limits: &RingLimits) {
        token.sent = token.sent.saturating_sub(self.sent).saturating_add(sent);
        self.sent = sent;
        let aru = self.aru_told(token, limits);
        if aru < token.aru || token.aru_setter.is_none_or(|setter| setter == me) {
            token.aru = aru;
            token.aru_setter = Some(me).filter(|_| aru < token.seq);
        }
        let idle = sent == 0 && token.requests.is_empty() && token.aru == token.seq;
        token.idle = if idle { token.idle.saturating_add(1) } else { 0 };
    }

    /// Passes over carried datagrams, which were dealt with when they came.
    pub(super) fn skip_wrapped(&mut self) {
        while self.delivered < self.store.aru()
            && self.store.get(self.delivered + 1).is_none_or(|packet| packet.wrapped)
        {
            self.delivered += 1;
        }
    }

    pub(super) fn check(&self, me: Proc) {
        self.store.check();
        assert!(self.contains(me), "we are not in our ring");
        assert!(self.members.windows(2).all(|pair| pair[0].node < pair[1].node));
        assert!(self.delivered <= self.store.aru(), "delivered past a hole");
        assert!(self.store.base() <= self.delivered, "forgot what was not delivered");
        assert!(self.held.is_none() || self.representative() == me, "only one keeps the token");
    }
}
