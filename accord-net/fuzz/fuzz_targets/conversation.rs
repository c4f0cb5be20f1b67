//! Whole conversations: clients of a server that say whatever they like, whenever they like.

#![no_main]

use accord_core::group::GroupEvent;
use accord_core::group::solo::{Solo, SoloLimits};
use accord_core::holder::{Principal, SecretKey};
use accord_core::ids::{ConnId, NodeId, StoreId};
use accord_core::limits::Limits;
use accord_core::protocol::decode_client;
use accord_core::replica::config::{Durability, ReplicaConfig, ReplicaLimits};
use accord_core::replica::log::Recovered;
use accord_core::server::{Input, Output, Server, ServerConfig, ServerLimits};
use accord_core::time::{Duration, Instant};
use accord_fuzz::Operations;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeSet;

const NODE: NodeId = NodeId(1);

struct World {
    now: Instant,
    server: Server,
    group: Solo,
    conns: BTreeSet<ConnId>,
    unsubmitted: Vec<Bytes>,
}

fn config() -> ServerConfig {
    let limits = ServerLimits {
        conns_max: 4,
        requests_per_conn_max: 3,
        request_bytes_per_conn_max: 200,
        reads_per_conn_max: 3,
        watches_per_conn_max: 3,
        unsent_bytes_max: 4096,
        deferred_max: 4,
        deferred_bytes_max: 1000,
        history_events_max: 8,
        history_bytes_max: 2000,
        ..ServerLimits::default()
    };
    let replica = ReplicaConfig {
        node: NODE,
        initial: BTreeSet::from([NODE]),
        durability: Durability::Memory,
        limits: ReplicaLimits::default(),
    };
    ServerConfig { replica, state: Limits::tiny(), limits, secrets: SecretKey::new([1; 32]) }
}

impl World {
    fn new() -> Self {
        let now = Instant::ZERO;
        Self {
            now,
            server: Server::new(config(), Recovered::fresh(StoreId(1), true), 1, now),
            group: Solo::new(NODE, SoloLimits::default(), 1, now),
            conns: BTreeSet::new(),
            unsubmitted: Vec::new(),
        }
    }

    fn settle(&mut self, written: bool) {
        loop {
            let mut busy = false;
            while let Some(output) = self.server.poll_output() {
                busy = true;
                self.carry_out(output, written);
            }
            for payload in std::mem::take(&mut self.unsubmitted) {
                if self.group.submit(self.now, payload.clone()).is_err() {
                    self.unsubmitted.push(payload);
                }
            }
            while let Some(event) = self.group.poll_event() {
                busy = true;
                let event: GroupEvent = event;
                self.server.handle(self.now, Input::Group(event));
            }
            if !busy {
                return self.server.check();
            }
        }
    }

    fn carry_out(&mut self, output: Output, written: bool) {
        match output {
            Output::Multicast(payload) => self.unsubmitted.push(payload),
            Output::Client { conn, .. } if written => {
                self.server.handle(self.now, Input::Written { conn, messages: 1 });
            }
            Output::Job(job) => self.server.handle(self.now, Input::JobDone(job.run())),
            Output::Disconnect { conn, .. } => {
                self.conns.remove(&conn);
            }
            Output::Halt(reason) => panic!("no client can halt a server: {reason}"),
            _ => {}
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut world = World::new();
    world.settle(true);
    let mut last = 0;
    for (which, bytes) in Operations::new(data) {
        let conn = world.conns.iter().nth(usize::from(which >> 4) % 4).copied();
        match (which % 8, conn) {
            (0, _) | (_, None) => {
                last += 1;
                world.conns.insert(ConnId(last));
                world.server.handle(
                    world.now,
                    Input::Connected { conn: ConnId(last), principal: Principal::Anonymous },
                );
            }
            (1, Some(conn)) => {
                world.conns.remove(&conn);
                world.server.handle(world.now, Input::Disconnected { conn });
            }
            (2, _) => {
                world.now = world.now + Duration::from_millis(10 * (1 + bytes.len() as u64));
                world.group.handle_timer(world.now);
                world.server.handle(world.now, Input::Timer);
            }
            (_, Some(conn)) => {
                if let Ok(message) = decode_client(&Bytes::copy_from_slice(bytes))
                    && world.server.accepts(conn)
                {
                    world.server.handle(world.now, Input::Client { conn, message });
                }
            }
        }
        // Some messages wait for the next input: what comes together is worked out together.
        if which % 8 != 7 {
            world.settle(which & 8 == 0);
        }
    }
    world.settle(true);
});
