//! The ring in core events: three members over an even network, with as much to send as they take.
//!
//! A core event is a datagram handled or a timer that was due, with all that is polled after it;
//! what one costs includes its authentication.

use accord_core::group::GroupEvent;
use accord_core::group::ring::{Ring, RingConfig, To, Transmit};
use accord_core::ids::NodeId;
use accord_core::time::{Duration, Instant};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::collections::VecDeque;

const MEMBERS: usize = 3;
/// How long every datagram takes; so they arrive in the order in which they were sent.
const DELAY: Duration = Duration::from_micros(50);

struct Net {
    rings: Vec<Ring>,
    now: Instant,
    wire: VecDeque<(Instant, usize, usize, Bytes)>,
    /// Handed to a member that has room; nothing while it is empty.
    payload: Bytes,
    /// By member: messages it submitted that were not delivered to it.
    outstanding: [usize; MEMBERS],
    delivered: u64,
}

/// Bytes that each member keeps waiting to be sent.
const WAITING_BYTES: usize = 512 << 10;

fn node(at: usize) -> NodeId {
    NodeId(at as u32 + 1)
}

impl Net {
    /// Members that have found each other.
    fn new() -> Self {
        let now = Instant::from_nanos(1);
        let ring = |at: usize| {
            let peers = (0..MEMBERS).filter(|peer| *peer != at).map(node).collect();
            Ring::new(RingConfig::new(node(at), peers, [7; 32]), at as u64, now)
        };
        let rings = (0..MEMBERS).map(ring).collect();
        let (wire, payload) = (VecDeque::new(), Bytes::new());
        let outstanding = [0; MEMBERS];
        let mut net = Self { rings, now, wire, payload, outstanding, delivered: 0 };
        (0..MEMBERS).for_each(|at| net.settle(at));
        while net.rings.iter().any(|ring| ring.status().view.members.len() < MEMBERS) {
            net.event();
        }
        net
    }

    /// The next datagram or timer.
    fn event(&mut self) {
        let timer = |at: usize| self.rings[at].next_deadline().map(|due| (due, at));
        let timer = (0..MEMBERS).filter_map(timer).min();
        let datagram = self.wire.front().map(|(due, ..)| *due);
        match timer {
            Some((due, at)) if datagram.is_none_or(|datagram| due < datagram) => {
                self.now = self.now.max(due);
                self.rings[at].handle_timer(self.now);
                self.settle(at);
            }
            _ => {
                let (due, from, to, bytes) = self.wire.pop_front().expect("a ring never rests");
                self.now = self.now.max(due);
                self.rings[to].handle_datagram(self.now, node(from), &bytes);
                self.settle(to);
            }
        }
    }

    /// Takes what a member has to say, and gives it more to send.
    fn settle(&mut self, at: usize) {
        let ring = &mut self.rings[at];
        while let Some(event) = ring.poll_event() {
            if let GroupEvent::Deliver { from, .. } = event {
                self.delivered += 1;
                self.outstanding[at] -= usize::from(from == node(at));
            }
        }
        let bytes = self.payload.len();
        while bytes > 0 && self.outstanding[at] * bytes < WAITING_BYTES {
            ring.submit(self.now, self.payload.clone()).expect("far less than it takes");
            self.outstanding[at] += 1;
        }
        while let Some(Transmit { to, bytes }) = ring.poll_transmit() {
            for peer in (0..MEMBERS).filter(|peer| *peer != at) {
                if to == To::Broadcast || to == To::Node(node(peer)) {
                    self.wire.push_back((self.now + DELAY, at, peer, bytes.clone()));
                }
            }
        }
    }
}

fn core_events(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring of 3");
    group.throughput(Throughput::Elements(1));
    for bytes in [0usize, 100, 1_000, 60_000] {
        let mut net = Net::new();
        net.payload = Bytes::from(vec![1; bytes]);
        group.bench_function(BenchmarkId::new("core event, messages of bytes", bytes), |bencher| {
            bencher.iter(|| net.event());
        });
    }
    // The same in messages: each is delivered at three members, many by one event.
    for bytes in [100usize, 1_000] {
        let mut net = Net::new();
        net.payload = Bytes::from(vec![1; bytes]);
        let mut until = net.delivered;
        group.bench_function(BenchmarkId::new("message ordered, bytes", bytes), |bencher| {
            bencher.iter(|| {
                until += MEMBERS as u64;
                while net.delivered < until {
                    net.event();
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, core_events);
criterion_main!(benches);
