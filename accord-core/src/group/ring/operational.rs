//! Ordering: what happens on a token and on a numbered datagram, and how messages are delivered.
//!
//! Delivery is *agreed*: a message is delivered when all before it are, whether or not the others
//! have it. It is also lazy: messages stay in the store until they are polled.

use crate::group::ring::packet::{Body, Data, Packet, Proc, Token};
use crate::group::ring::store::StoreError;
use crate::group::ring::{Refusal, Ring, RingState, Stage, Timer, To};
use crate::group::{GroupEvent, ViewId};
use crate::time::Instant;
use alloc::vec::Vec;
use bytes::Bytes;

/// Tokens count further than any run gets; one above this is made up.
const TOKEN_SEQ_MAX: u64 = 1 << 62;

impl Ring {
    /// The ring in which tokens are taken now.
    fn active_ring(&mut self) -> Option<&mut RingState> {
        match &mut self.stage {
            Stage::Operational => Some(&mut self.ring),
            Stage::Recovery(recovering) => Some(&mut recovering.ring),
            Stage::Gather(_) | Stage::Commit(_) | Stage::Left => None,
        }
    }

    pub(super) fn on_token(
        &mut self,
        now: Instant,
        sender: Proc,
        token: Token,
    ) -> Result<(), Refusal> {
        let ring = self.active_ring().filter(|ring| ring.id == token.ring);
        let ring = ring.ok_or(Refusal::OtherRing)?;
        if !ring.contains(sender) || ring.is_single() {
            return Err(Refusal::OtherRing);
        }
        // All that has come was numbered before the token left for us.
        let lags = token.hop > ring.hop && token.seq < ring.store.high();
        if lags || token.seq > TOKEN_SEQ_MAX || token.hop > TOKEN_SEQ_MAX {
            return Err(Refusal::Malformed);
        }
        if !ring.accept(&token) {
            return Err(Refusal::Stale);
        }
        self.begin_visit(now, token);
        Ok(())
    }

    /// A token is here: forget what all have, resend what is wanted, ask for what is missing.
    pub(super) fn begin_visit(&mut self, now: Instant, mut token: Token) {
        self.counters.tokens += 1;
        self.timers.set(Timer::TokenLoss, now + self.config.timeouts.token_loss);
        self.timers.clear(Timer::TokenRetransmit);
        let all_ready = |r: &super::Recovering| token.ready >= r.ring.size();
        if matches!(&self.stage, Stage::Recovery(r) if all_ready(r)) {
            self.install_recovered(now);
        }
        let limits = self.config.limits;
        let ring = self.active_ring().expect("tokens are taken in this stage");
        let resent = ring.serve(now, &mut token, &limits);
        let requested = ring.request_missing(&mut token);
        let progress_at = ring.progress_at;
        self.counters.requests += requested;
        self.counters.packets_resent += resent.len() as u64;
        let resent_count = resent.len() as u32;
        for datagram in resent {
            self.transmit(To::Broadcast, datagram);
        }
        if now.since(progress_at) > self.config.timeouts.receive {
            self.counters.receive_failures += 1;
            return self.abandon_ring(now);
        }
        self.end_visit(now, token, resent_count);
    }

    /// The second half of a visit: send what there is, and pass the token on or keep it.
    fn end_visit(&mut self, now: Instant, mut token: Token, resent: u32) {
        let packets = self.make_packets(&mut token, resent);
        let me = self.me;
        let cancelled = self.active_ring().is_some_and(|c| core::mem::take(&mut c.hold_cancelled));
        let limits = self.config.limits;
        let ring = self.active_ring().expect("tokens are taken in this stage");
        ring.settle(me.node, &mut token, packets.len() as u32 + resent, &limits);
        if cancelled {
            token.idle = 0;
        }
        let idle_enough = token.idle >= ring.size().saturating_mul(2);
        let keep = idle_enough && ring.representative() == me;
        let recovered = self.note_ready(&mut token, packets.len());
        if keep && matches!(self.stage, Stage::Operational) {
            self.ring.held = Some(token);
            self.timers.set(Timer::Hold, now + self.config.timeouts.idle_hold);
            return;
        }
        let after = self.config.limits.accelerated_packets as usize;
        let before = packets.len().saturating_sub(after);
        let mut packets = packets.into_iter();
        for packet in packets.by_ref().take(before) {
            self.transmit(To::Broadcast, packet);
        }
        self.pass_token(now, token);
        for packet in packets {
            self.transmit(To::Broadcast, packet);
        }
        if recovered {
            self.install_recovered(now);
        }
    }

    /// Makes the visit's datagrams: old ones carried over in recovery, messages otherwise.
    fn make_packets(&mut self, token: &mut Token, resent: u32) -> Vec<Bytes> {
        let limits = self.config.limits;
        let me = self.me;
        let ring = self.active_ring().expect("tokens are taken in this stage");
        let allowance = ring.allowance(me, token, resent, &limits);
        let mut datagrams = Vec::new();
        for _ in 0..allowance {
            let Some(packet) = self.make_packet(token.ring, token.seq + 1) else {
                break;
            };
            datagrams.push(packet.datagram.clone());
            let ring = self.active_ring().expect("tokens are taken in this stage");
            ring.keep_own(token, packet);
        }
        self.counters.packets_sent += datagrams.len() as u64;
        if let Stage::Recovery(recovering) = &mut self.stage {
            recovering.ring.skip_wrapped();
        }
        datagrams
    }

    fn make_packet(&mut self, ring: ViewId, seq: u64) -> Option<Packet> {
        if let Stage::Recovery(recovering) = &mut self.stage {
            let old = recovering.next_to_carry(&self.ring.store)?;
            self.counters.packets_recovered += 1;
            let bytes = old.len() + 128;
            return Some(self.seal.data(self.me, (ring, seq), true, bytes, |out| out.raw(&old)));
        }
        if self.outbox.is_empty() {
            return None;
        }
        let bytes = self.outbox.next_datagram_bytes();
        let outbox = &mut self.outbox;
        Some(self.seal.data(self.me, (ring, seq), false, bytes, |out| outbox.pack(out)))
    }

    fn pass_token(&mut self, now: Instant, mut token: Token) {
        token.hop += 1;
        let me = self.me;
        let timeouts = &self.config.timeouts;
        let mut patience = timeouts.token_retransmit;
        let ring = match &mut self.stage {
            Stage::Recovery(recovering) => &mut recovering.ring,
            _ => &mut self.ring,
        };
        if token.idle >= ring.size() {
            patience += timeouts.idle_hold;
        }
        ring.idle_seen = token.idle;
        let next = ring.next_after(me);
        let datagram = self.seal.control(me, &Body::Token(token));
        ring.passed = Some(datagram.clone());
        self.transmit(To::Node(next), datagram);
        self.timers.set(Timer::TokenRetransmit, now + patience);
    }

    pub(super) fn on_token_retransmit(&mut self, now: Instant) {
        let me = self.me;
        let (datagram, next) = match &self.stage {
            Stage::Commit(committing) => committing.passed(me),
            _ => {
                let Some(ring) = self.active_ring() else { return };
                let Some(datagram) = ring.passed.clone() else { return };
                (datagram, ring.next_after(me))
            }
        };
        self.counters.token_retransmits += 1;
        self.transmit(To::Node(next), datagram);
        self.timers.set(Timer::TokenRetransmit, now + self.config.timeouts.token_retransmit);
    }

    /// Gets the token going if the ring idles and there is something to send.
    pub(super) fn wake_idle_ring(&mut self, now: Instant) {
        if !matches!(self.stage, Stage::Operational) {
            return;
        }
        if self.ring.held.is_some() {
            return self.release_token(now);
        }
        let maybe_held = !self.ring.is_single() && self.ring.idle_seen >= self.ring.size();
        if self.ring.representative() == self.me {
            self.ring.hold_cancelled |= maybe_held;
        } else if maybe_held && !self.ring.cancel_sent {
            self.ring.cancel_sent = true;
            let cancel = self.seal.control(self.me, &Body::HoldCancel(self.ring.id));
            self.transmit(To::Node(self.ring.representative().node), cancel);
        }
    }

    pub(super) fn on_hold_cancel(&mut self, now: Instant, ring: ViewId) -> Result<(), Refusal> {
        let here = matches!(self.stage, Stage::Operational) && self.ring.id == ring;
        if !here || self.ring.representative() != self.me {
            return Err(Refusal::OtherRing);
        }
        self.ring.hold_cancelled = true;
        self.release_token(now);
        Ok(())
    }

    /// Sends a kept token on its way.
    pub(super) fn release_token(&mut self, now: Instant) {
        let Some(token) = self.ring.held.take() else { return };
        self.timers.clear(Timer::Hold);
        // It must leave now even if it is as idle as before; the count tells the others so.
        let idle = token.idle;
        let token = Token { idle: 0, ..token };
        self.timers.set(Timer::TokenLoss, now + self.config.timeouts.token_loss);
        let cancelled = self.ring.hold_cancelled;
        if cancelled || !self.outbox.is_empty() {
            self.end_visit(now, token, 0);
        } else {
            self.pass_token(now, Token { idle, ..token });
        }
    }

    pub(super) fn on_data(&mut self, data: Data) -> Result<(), Refusal> {
        let refused = |error| match error {
            StoreError::Duplicate => Refusal::DuplicateData,
            StoreError::Beyond => Refusal::Beyond,
        };
        // We kept all that we made before it left, if it was we who made it.
        if data.packet.origin == self.me {
            return Err(Refusal::DuplicateData);
        }
        if let Stage::Recovery(recovering) = &mut self.stage {
            // The old ring is as it was when we told the others: only recovery adds to it now.
            let ring = &mut recovering.ring;
            if data.ring != ring.id || !ring.contains(data.packet.origin) {
                return Err(Refusal::OtherRing);
            }
            let carried = data.packet.wrapped.then(|| data.packet.body());
            ring.store.insert(data.seq, data.packet).map_err(refused)?;
            if let Some(datagram) = carried {
                recovering.on_carried(&mut self.ring, &datagram);
            }
            recovering.ring.skip_wrapped();
            return Ok(());
        }
        if data.ring != self.ring.id || !self.ring.contains(data.packet.origin) {
            return Err(Refusal::OtherRing);
        }
        self.ring.store.insert(data.seq, data.packet).map_err(refused)
    }

    /// Delivers the next datagram's messages. False if nothing can be delivered now.
    pub(super) fn deliver_next(&mut self) -> bool {
        if self.ring.is_single() {
            let operational = matches!(self.stage, Stage::Operational);
            let Some(payload) = operational.then(|| self.outbox.pop()).flatten() else {
                return false;
            };
            self.count_delivery(&payload);
            self.events.push_back(GroupEvent::Deliver { from: self.me.node, payload });
            return true;
        }
        if self.ring.delivered >= self.ring.store.aru() {
            return false;
        }
        self.ring.delivered += 1;
        let packet = self.ring.store.get(self.ring.delivered);
        let packet = packet.expect("what is not delivered is kept").clone();
        self.deliver_packet(&packet);
        true
    }

    pub(super) fn deliver_packet(&mut self, packet: &Packet) {
        if packet.wrapped {
            return;
        }
        let from = packet.origin.node;
        let (events, counters) = (&mut self.events, &mut self.counters);
        let result = self.reassembly.unpack(from, packet.body(), |payload| {
            counters.messages_delivered += 1;
            counters.bytes_delivered += payload.len() as u64;
            events.push_back(GroupEvent::Deliver { from, payload });
        });
        self.counters.malformed_bodies += u64::from(result.is_err());
    }

    fn count_delivery(&mut self, payload: &Bytes) {
        self.counters.messages_delivered += 1;
        self.counters.bytes_delivered += payload.len() as u64;
    }
}
