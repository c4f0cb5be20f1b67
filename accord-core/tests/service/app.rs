//! The core's client driven against a cluster: connections that stand at once, or are refused.

use crate::cluster::Cluster;
use accord_core::client::{Client, ClientConfig, ClientEvent, ClientInput, ClientOutput};
use accord_core::ids::{ConnId, NodeId};
use accord_core::protocol::{ClientMessage, ServerMessage, decode_client, decode_server};
use accord_core::protocol::{encode_client, encode_server};
use accord_core::server::Input;
use accord_core::time::{Duration, Instant};
use std::collections::BTreeSet;

pub struct App {
    pub client: Client,
    pub events: Vec<ClientEvent>,
    /// What the client said, over all connections.
    pub said: Vec<ClientMessage>,
    /// What it heard.
    pub heard: Vec<ServerMessage>,
    /// Servers that refuse its connections.
    pub unreachable: BTreeSet<NodeId>,
    pub conn: Option<ConnId>,
    pub server: Option<NodeId>,
}

pub fn config(count: u32) -> ClientConfig {
    let mut config = ClientConfig::new((1..=count).map(NodeId).collect());
    config.session_timeout_ms = 3000;
    config.request_timeout = Duration::from_secs(10);
    config
}

impl App {
    pub fn new(config: ClientConfig, seed: u64, now: Instant) -> Self {
        Self {
            client: Client::new(config, seed, now),
            events: Vec::new(),
            said: Vec::new(),
            heard: Vec::new(),
            unreachable: BTreeSet::new(),
            conn: None,
            server: None,
        }
    }

    /// An app with an open session.
    pub fn ready(cluster: &mut Cluster, count: u32, seed: u64) -> Self {
        let mut app = Self::new(config(count), seed, cluster.now);
        app.run(cluster);
        assert!(app.client.is_ready(), "{:?}", app.events);
        app.events.clear();
        app
    }

    /// Carries out what the client asks. True if there was anything.
    pub fn pump(&mut self, cluster: &mut Cluster) -> bool {
        let mut busy = false;
        while let Some(output) = self.client.poll_output() {
            busy = true;
            match output {
                ClientOutput::Connect { server } if self.unreachable.contains(&server) => {
                    self.client.handle(cluster.now, ClientInput::Disconnected);
                }
                ClientOutput::Connect { server } => {
                    assert_eq!(self.conn, None, "one connection at a time");
                    self.conn = Some(cluster.connect(server.0));
                    self.server = Some(server);
                    self.client.handle(cluster.now, ClientInput::Connected);
                }
                ClientOutput::Disconnect => self.hang_up(cluster),
                ClientOutput::Send(message) => {
                    let message = decode_client(&encode_client(&message)).expect("round trip");
                    self.said.push(message.clone());
                    cluster.say(self.conn.expect("it is connected"), message);
                }
                ClientOutput::Event(event) => self.events.push(event),
            }
            self.client.check();
        }
        busy
    }

    /// The client's side of the connection is closed.
    fn hang_up(&mut self, cluster: &mut Cluster) {
        if let Some(conn) = self.conn.take() {
            cluster.hang_up(conn);
        }
    }

    /// Hands the client what it was sent. True if there was anything.
    pub fn receive(&mut self, cluster: &mut Cluster) -> bool {
        let Some(conn) = self.conn else { return false };
        if let Some(message) = cluster.next(conn) {
            let message = decode_server(&encode_server(&message)).expect("round trip");
            self.heard.push(message.clone());
            self.client.handle(cluster.now, ClientInput::Message(message));
            return true;
        }
        if cluster.closed(conn).is_some() {
            self.conn = None;
            self.client.handle(cluster.now, ClientInput::Disconnected);
            return true;
        }
        false
    }

    /// Breaks the connection: what was not received is lost.
    pub fn break_connection(&mut self, cluster: &mut Cluster) {
        self.pump(cluster);
        self.hang_up(cluster);
        self.client.handle(cluster.now, ClientInput::Disconnected);
    }

    /// Lets everything happen that needs no time.
    pub fn run(&mut self, cluster: &mut Cluster) {
        for _ in 0..100_000 {
            let busy = self.pump(cluster);
            cluster.run();
            if !self.receive(cluster) && !busy {
                return;
            }
        }
        panic!("client and servers never come to rest");
    }

    /// Lets time pass for this client and the servers.
    pub fn pass(&mut self, cluster: &mut Cluster, span: Duration) {
        let end = cluster.now + span;
        loop {
            self.run(cluster);
            let server = cluster.servers.iter().filter_map(|(node, server)| {
                let frozen = cluster.frozen.contains(node);
                server.next_deadline().filter(|_| !frozen).map(|at| (at, Some(*node)))
            });
            let client = self.client.next_deadline().map(|at| (at, None));
            let due = server.chain(client).filter(|(at, _)| *at <= end).min();
            let Some((at, who)) = due else { break };
            cluster.now = cluster.now.max(at);
            match who {
                Some(node) => cluster.input(node, Input::Timer),
                None => self.client.handle(cluster.now, ClientInput::Timer),
            }
        }
        cluster.now = end;
        self.run(cluster);
    }

    pub fn take(&mut self) -> Vec<ClientEvent> {
        std::mem::take(&mut self.events)
    }
}
