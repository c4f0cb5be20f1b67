//! One write that 10,000 watches see: from the client's request to the last message for the
//! network.

use accord_core::group::solo::{Solo, SoloLimits};
use accord_core::holder::{Principal, SecretKey};
use accord_core::ids::{ConnId, NodeId, RequestId, StoreId, WatchId};
use accord_core::limits::Limits;
use accord_core::protocol::{ClientMessage, EventMask, ServerMessage, WatchFilter};
use accord_core::replica::config::{Durability, ReplicaConfig, ReplicaLimits};
use accord_core::replica::log::Recovered;
use accord_core::server::{Input, Output, Server, ServerConfig, ServerLimits};
use accord_core::state::{Flags, OpRef, Step, Txn};
use accord_core::time::Instant;
use accord_core::wire::Encode;
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::collections::BTreeMap;

const WATCHES: u64 = 10_000;
const CONNS: u64 = 100;

/// A server alone in its cluster, its group, and how many messages each connection was sent.
struct Alone {
    server: Server,
    group: Solo,
    now: Instant,
    sent: BTreeMap<ConnId, usize>,
    requests: u64,
    events: u64,
}

impl Alone {
    fn new() -> Self {
        let (node, now) = (NodeId(1), Instant::from_nanos(1));
        let replica = ReplicaConfig {
            node,
            initial: [node].into(),
            durability: Durability::Memory,
            limits: ReplicaLimits::default(),
        };
        let (state, limits) = (Limits::default(), ServerLimits::default());
        let secrets = SecretKey::new([1; 32]);
        let config = ServerConfig { replica, state, limits, secrets };
        let server = Server::new(config, Recovered::fresh(StoreId(1), true), 1, now);
        let group = Solo::new(node, SoloLimits::default(), 1, now);
        let (sent, requests, events) = (BTreeMap::new(), 0, 0);
        let mut alone = Self { server, group, now, sent, requests, events };
        alone.drain();
        alone
    }

    fn input(&mut self, input: Input) {
        self.server.handle(self.now, input);
        self.drain();
    }

    /// Carries everything out that the server asks for, and the messages to nowhere.
    fn drain(&mut self) {
        loop {
            while let Some(output) = self.server.poll_output() {
                match output {
                    Output::Multicast(payload) => {
                        self.group.submit(self.now, payload).expect("the group is not full");
                    }
                    Output::Client { conn, message } => {
                        self.events += u64::from(matches!(message, ServerMessage::Events { .. }));
                        *self.sent.entry(conn).or_insert(0) += 1;
                    }
                    other => panic!("nothing else is asked for: {other:?}"),
                }
            }
            for (conn, messages) in std::mem::take(&mut self.sent) {
                self.server.handle(self.now, Input::Written { conn, messages });
            }
            match self.group.poll_event() {
                Some(event) => self.server.handle(self.now, Input::Group(event)),
                None => return,
            }
        }
    }

    fn say(&mut self, conn: u64, message: ClientMessage) {
        self.input(Input::Client { conn: ConnId(conn), message });
    }

    /// Connection 0 writes, the others watch: each `watches` keys.
    fn with_watches(watches: u64, key: impl Fn(u64) -> Bytes) -> Self {
        let mut alone = Self::new();
        for conn in 0..=CONNS {
            alone.input(Input::Connected { conn: ConnId(conn), principal: Principal::Anonymous });
            alone.say(conn, ClientMessage::Open { timeout_ms: 3_600_000 });
        }
        for number in 0..watches {
            let (watch, filter) = (WatchId(number), WatchFilter::Key(key(number)));
            let (mask, once, from) = (EventMask::ALL, false, None);
            let message = ClientMessage::Watch { watch, filter, mask, once, from };
            alone.say(1 + number % CONNS, message);
        }
        assert_eq!(alone.server.status().watches as u64, watches);
        alone
    }

    fn write(&mut self, key: Bytes) {
        self.requests += 1;
        let request = RequestId(self.requests);
        let (value, flags) = (Bytes::from_static(b"8 bytes!"), Flags::CREATE);
        let txn = Txn::of(vec![Step::Write { key, value, offset: 0, flags }]);
        let op = OpRef::Kv(&txn).to_bytes();
        self.say(0, ClientMessage::Request { request, acked_below: request, op });
    }
}

fn fan_out(c: &mut Criterion) {
    let key = |number: u64| Bytes::from(format!("watched/{number:06}").into_bytes());
    let mut group = c.benchmark_group("write under 10000 watches");
    let mut alone = Alone::with_watches(WATCHES, |_| key(0));
    alone.write(key(0));
    assert_eq!(alone.events, WATCHES, "each watch sees it");
    group.throughput(Throughput::Elements(WATCHES));
    group.bench_function("all see it", |bencher| bencher.iter(|| alone.write(key(0))));

    let mut alone = Alone::with_watches(WATCHES, key);
    alone.write(key(7));
    assert_eq!(alone.events, 1, "one watch sees it");
    group.throughput(Throughput::Elements(1));
    group.bench_function("one sees it", |bencher| bencher.iter(|| alone.write(key(7))));

    let mut alone = Alone::with_watches(0, key);
    group.bench_function("of which there are none", |bencher| {
        bencher.iter(|| alone.write(key(7)));
    });
    group.finish();
}

criterion_group!(benches, fan_out);
criterion_main!(benches);
