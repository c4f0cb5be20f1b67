//! Flow control: how many datagrams a member may make while it holds the token.
//!
//! Three bounds hold at once. A *burst* is what one visit may send. The *window* is what all may
//! send in one rotation, so that receive buffers hold it. The *room* is how far numbers may run
//! ahead of what everybody has, so that every store holds what is on its way.
//!
//! Window and room are shared. A member that takes all that is left takes it from those behind it,
//! visit after visit: of three members that always have something to send, the third would get
//! nothing. So no member may take all. Of the *window*, each has a share that the others' use does
//! not lessen, and half of what is left beyond it. Of the *room*, each uses at most as much as it
//! leaves unused (the dynamic thresholds of Choudhury and Hahne, IEEE/ACM Transactions on
//! Networking 6(2), 1998): one member alone gets half, n members get one part each of n + 1.
//! Totem's own remedy (Amir et al., TOCS 1995) counts a backlog in the token; these rules need no
//! field.
//!
//! Invariants: numbers run at most half a store ahead of the token's aru, and at most to the end of
//! the store of a member that does not deliver. Such a member still receives all that is numbered,
//! and gets its turns. A member that delivers nothing at all makes no progress: after `receive` it
//! leaves the ring, and the others go on.

use crate::group::ring::config::RingLimits;
use crate::group::ring::packet::{Proc, Token};
use crate::group::ring::ring_state::RingState;

impl RingState {
    /// How many datagrams `me` may make in this visit, `resent` having gone already.
    pub(super) fn allowance(
        &self,
        me: Proc,
        token: &Token,
        resent: u32,
        limits: &RingLimits,
    ) -> u32 {
        if self.store.high() > token.seq {
            return 0;
        }
        let burst = limits.burst_packets_max.saturating_sub(resent);
        burst.min(self.window_left(token, resent, limits)).min(self.room(me, token, limits))
    }

    /// What we may send of a rotation's datagrams. Where members begin to send at the same moment,
    /// one rotation may thus exceed the window, by at most a share for each of them.
    fn window_left(&self, token: &Token, resent: u32, limits: &RingLimits) -> u32 {
        let share = (limits.window_packets_max / self.size()).max(1);
        let others = token.sent.saturating_sub(self.sent);
        let left = limits.window_packets_max.saturating_sub(others);
        let ours = share + left.saturating_sub(share).div_ceil(2);
        ours.saturating_sub(resent)
    }

    /// How many numbers we may give before some store is full, or we use more than we leave.
    fn room(&self, me: Proc, token: &Token, limits: &RingLimits) -> u32 {
        let ahead = token.seq.saturating_sub(token.aru);
        let unused = ahead_max(limits).saturating_sub(ahead);
        let mut fair = unused.saturating_sub(ahead).div_ceil(2);
        if fair < u64::from(limits.burst_packets_max) {
            // Only where it matters is it counted what of it is our own.
            let own = self.store.packets_after(token.aru).filter(|packet| packet.origin == me);
            fair = unused.saturating_sub(own.count() as u64).div_ceil(2);
        }
        let room = self.store.limit().saturating_sub(token.seq).min(fair);
        room.min(u64::from(u32::MAX)) as u32
    }

    /// What we say that we have. Where the end of our store is near since we do not deliver, it is
    /// less than we do have, so that the others stop before that end and not beyond it.
    pub(super) fn aru_told(&self, token: &Token, limits: &RingLimits) -> u64 {
        self.store.aru().min(self.end_told(limits)).min(token.seq)
    }

    /// The most that we say that we have, as far as we have delivered.
    pub(super) fn end_told(&self, limits: &RingLimits) -> u64 {
        self.store.limit().saturating_sub(ahead_max(limits))
    }
}

/// How far numbers may run ahead of what everybody has: the other half of every store is for what
/// was received and is not delivered yet.
fn ahead_max(limits: &RingLimits) -> u64 {
    u64::from(limits.store_packets_max / 2)
}

#[cfg(test)]
mod tests {
    use crate::group::GroupEvent;
    use crate::group::ring::{Ring, RingConfig, RingStage, To};
    use crate::ids::NodeId;
    use crate::time::{Duration, DurationExt, Instant};
    use alloc::collections::VecDeque;
    use alloc::vec::Vec;
    use bytes::Bytes;

    const DATAGRAM_BYTES_MAX: usize = 300;
    /// One to a datagram.
    const SMALL_BYTES: usize = 200;
    /// Several datagrams to one.
    const LARGE_BYTES: usize = 700;

    /// Members that always have something to send, on a network that loses nothing.
    struct Busy {
        now: Instant,
        rings: Vec<Ring>,
        /// What each has delivered of each.
        delivered: Vec<Vec<u64>>,
        message: Bytes,
    }

    impl Busy {
        fn new(members: u32, message_bytes: usize) -> Self {
            let all = 1..=members;
            let ring = |node: u32| {
                let peers = all.clone().filter(|peer| *peer != node).map(NodeId).collect();
                let mut config = RingConfig::new(NodeId(node), peers, [7; 32]);
                config.limits.datagram_bytes_max = DATAGRAM_BYTES_MAX;
                Ring::new(config, u64::from(node), Instant::ZERO)
            };
            let rings: Vec<Ring> = all.clone().map(ring).collect();
            let delivered = rings.iter().map(|_| rings.iter().map(|_| 0).collect()).collect();
            let message = Bytes::from(alloc::vec![7; message_bytes]);
            let mut busy = Self { now: Instant::ZERO, rings, delivered, message };
            busy.run(Duration::from_secs(1), |_| usize::MAX);
            assert!(busy.rings.iter().all(|ring| ring.view().members.len() == members as usize));
            for delivered in &mut busy.delivered {
                delivered.fill(0);
            }
            busy
        }

        /// Runs; each member polls as many events in a step of 100 us as `polls` says.
        fn run(&mut self, span: Duration, polls: impl Fn(usize) -> usize) {
            let end = self.now + span;
            let mut under_way = VecDeque::new();
            while self.now < end {
                self.now = self.now + Duration::from_micros(100);
                for (to, from, bytes) in core::mem::take(&mut under_way) {
                    let ring: &mut Ring = &mut self.rings[to];
                    ring.handle_datagram(self.now, from, &bytes);
                }
                for at in 0..self.rings.len() {
                    let ring = &mut self.rings[at];
                    ring.handle_timer(self.now);
                    while ring.outbox.len() < 100 {
                        assert_eq!(ring.submit(self.now, self.message.clone()), Ok(()));
                    }
                    for _ in 0..polls(at) {
                        match ring.poll_event() {
                            None => break,
                            Some(GroupEvent::View(_)) => {}
                            Some(GroupEvent::Deliver { from, .. }) => {
                                self.delivered[at][from.0 as usize - 1] += 1;
                            }
                        }
                    }
                    ring.check();
                    let me = ring.me.node;
                    while let Some(transmit) = ring.poll_transmit() {
                        for to in 0..self.delivered.len() {
                            let node = NodeId(to as u32 + 1);
                            let meant = [To::Broadcast, To::Node(node)].contains(&transmit.to);
                            if meant && node != me {
                                under_way.push_back((to, me, transmit.bytes.clone()));
                            }
                        }
                    }
                }
            }
        }

        /// How many views each has installed.
        fn views(&self) -> Vec<u64> {
            self.rings.iter().map(|ring| ring.counters.views).collect()
        }

        fn assert_fair(&self, at: usize) {
            let of = &self.delivered[at];
            let (least, most) = (of.iter().min().unwrap(), of.iter().max().unwrap());
            assert!(*least > 20, "{at} delivers of all: {of:?}");
            assert!(most * 2 <= least * 5, "no member gets much more than another: {of:?}");
        }
    }

    #[test]
    fn members_that_always_have_something_to_send_all_get_their_turn() {
        for members in [2, 3, 5, 6, 7] {
            for message_bytes in [LARGE_BYTES, SMALL_BYTES] {
                let mut busy = Busy::new(members, message_bytes);
                busy.run(Duration::from_secs(2), |_| usize::MAX);
                for at in 0..members as usize {
                    busy.assert_fair(at);
                }
            }
        }
    }

    /// Each of them in turn is the slow one, for the token comes to them in an order.
    #[test]
    fn a_member_that_delivers_slowly_holds_back_all_alike_and_stays() {
        for slow in 0..3 {
            let mut busy = Busy::new(3, SMALL_BYTES);
            let views = busy.views();
            let polls = |at| if at == slow { 1 } else { usize::MAX };
            busy.run(Duration::from_secs(2), polls);
            busy.assert_fair(slow);
            let total: u64 = busy.delivered[slow].iter().sum();
            assert!(total >= 19_000, "it is as fast as it delivers: {total}");
            assert_eq!(busy.views(), views, "the view stays");
            for ring in &busy.rings {
                assert_eq!(ring.status().stage, RingStage::Operational);
            }
        }
    }

    #[test]
    fn a_member_that_does_not_deliver_for_a_while_holds_back_the_others_and_stays() {
        for stopped in 0..3 {
            let mut busy = Busy::new(3, SMALL_BYTES);
            let views = busy.views();
            let polls = |at| if at == stopped { 0 } else { usize::MAX };
            busy.run(busy.rings[0].config.timeouts.receive.scaled(1, 2), polls);
            for delivered in &busy.delivered {
                let store = u64::from(busy.rings[0].config.limits.store_packets_max);
                assert!(delivered.iter().sum::<u64>() <= store, "it is held back: {delivered:?}");
            }
            busy.run(Duration::from_secs(1), |_| usize::MAX);
            busy.assert_fair(stopped);
            assert_eq!(busy.views(), views, "the view stays");
        }
    }
}
