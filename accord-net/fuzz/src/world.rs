//! A server of one with its group, whose clients are the fuzzer's.

use accord_core::group::solo::{Solo, SoloLimits};
use accord_core::holder::{Principal, SecretKey};
use accord_core::ids::{ConnId, NodeId, StoreId};
use accord_core::limits::Limits;
use accord_core::protocol::{ClientMessage, ServerMessage};
use accord_core::replica::config::{Durability, ReplicaConfig, ReplicaLimits};
use accord_core::replica::log::Recovered;
use accord_core::server::{Input, Output, Server, ServerConfig, ServerLimits};
use accord_core::time::{Duration, Instant};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

const NODE: NodeId = NodeId(1);

/// The server, and what was said to its clients.
pub struct World {
    now: Instant,
    server: Server,
    group: Solo,
    /// The connections that stand, with what the server said to each since it was taken.
    conns: BTreeMap<ConnId, Vec<ServerMessage>>,
    last_conn: u64,
    unsubmitted: Vec<Bytes>,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
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
    /// A server that has formed its cluster.
    pub fn new() -> Self {
        let now = Instant::ZERO;
        let mut world = Self {
            now,
            server: Server::new(config(), Recovered::fresh(StoreId(1), true), 1, now),
            group: Solo::new(NODE, SoloLimits::default(), 1, now),
            conns: BTreeMap::new(),
            last_conn: 0,
            unsubmitted: Vec::new(),
        };
        world.settle(true);
        world
    }

    /// One of the connections that stand.
    pub fn conn(&self, which: u8) -> Option<ConnId> {
        self.conns.keys().nth(usize::from(which) % 4).copied()
    }

    /// A new connection.
    pub fn connect(&mut self) -> ConnId {
        self.last_conn += 1;
        let conn = ConnId(self.last_conn);
        self.conns.insert(conn, Vec::new());
        let principal = Principal::Anonymous;
        self.server.handle(self.now, Input::Connected { conn, principal });
        conn
    }

    /// A client hangs up.
    pub fn hang_up(&mut self, conn: ConnId) {
        self.conns.remove(&conn);
        self.server.handle(self.now, Input::Disconnected { conn });
    }

    /// Time passes.
    pub fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
        self.group.handle_timer(self.now);
        self.server.handle(self.now, Input::Timer);
    }

    /// True if the connection stands and the server takes more of it.
    pub fn accepts(&self, conn: ConnId) -> bool {
        self.server.accepts(conn)
    }

    /// A client says something.
    pub fn say(&mut self, conn: ConnId, message: ClientMessage) {
        self.server.handle(self.now, Input::Client { conn, message });
    }

    /// What a client was told. `None`: the server has hung up on it.
    pub fn take(&mut self, conn: ConnId) -> Option<Vec<ServerMessage>> {
        self.conns.get_mut(&conn).map(std::mem::take)
    }

    /// Lets everything happen that needs no time. Clients take what they are told if `written`.
    ///
    /// # Panics
    /// If an invariant of the server is broken.
    pub fn settle(&mut self, written: bool) {
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
            Output::Client { conn, message } => {
                self.conns.entry(conn).and_modify(|said| said.push(message));
                if written {
                    self.server.handle(self.now, Input::Written { conn, messages: 1 });
                }
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
