//! Servers over a trivial group: what is multicast is delivered at once to all of its component,
//! and nothing else happens unless the test says so. For tests of what a server owes to its
//! clients.

use accord_core::group::{GroupEvent, View, ViewId};
use accord_core::holder::{Principal, SecretKey, SessionSecret};
use accord_core::ids::{ConnId, NodeId, RequestId, Revision, SessionId, StoreId, WatchId};
use accord_core::limits::Limits;
use accord_core::protocol::{ClientMessage, EventMask, ServerMessage, WatchFilter};
use accord_core::replica::config::{Durability, ReplicaConfig, ReplicaLimits};
use accord_core::replica::io::HaltReason;
use accord_core::replica::log::Recovered;
use accord_core::server::{
    DisconnectReason, Input, OperatorReply, OperatorRequest, OperatorRequestId, Output, Server,
    ServerConfig, ServerLimits,
};
use accord_core::state::{Flags, OpRef, Outcome, Step, Txn, TxnOutcome};
use accord_core::time::{Duration, Instant};
use accord_core::wire::Encode;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a client of the test received.
#[derive(Clone, Debug, Default)]
pub struct Inbox {
    pub messages: VecDeque<ServerMessage>,
    pub closed: Option<DisconnectReason>,
}

pub struct Cluster {
    pub now: Instant,
    pub servers: BTreeMap<NodeId, Server>,
    pub inboxes: BTreeMap<ConnId, Inbox>,
    /// Of every session that was opened.
    pub secrets: BTreeMap<SessionId, SessionSecret>,
    pub replies: Vec<(OperatorRequestId, OperatorReply)>,
    pub halts: Vec<(NodeId, HaltReason)>,
    /// Messages leave for the network at once; else the test says so.
    pub writes_at_once: bool,
    /// Servers to which nothing is delivered.
    pub frozen: BTreeSet<NodeId>,
    /// Servers that hear nothing of what their clients say.
    pub deaf: BTreeSet<NodeId>,
    homes: BTreeMap<ConnId, NodeId>,
    components: Vec<BTreeSet<NodeId>>,
    queue: VecDeque<(NodeId, Bytes)>,
    next_conn: u64,
    views: u64,
}

pub fn config(node: u32, count: u32) -> ServerConfig {
    ServerConfig {
        replica: ReplicaConfig {
            node: NodeId(node),
            initial: (1..=count).map(NodeId).collect(),
            durability: Durability::Memory,
            limits: ReplicaLimits::default(),
        },
        state: Limits::default(),
        limits: ServerLimits::default(),
        secrets: SecretKey::new([node as u8; 32]),
    }
}

impl Cluster {
    /// `count` servers in one primary component.
    pub fn new(count: u32) -> Self {
        Self::with(count, |_| {})
    }

    pub fn with(count: u32, adjust: impl Fn(&mut ServerConfig)) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        let servers = (1..=count).map(|node| {
            let mut config = config(node, count);
            adjust(&mut config);
            let recovered = Recovered::fresh(StoreId(u64::from(node)), true);
            (NodeId(node), Server::new(config, recovered, u64::from(node) * 77, now))
        });
        let mut cluster = Self {
            now,
            servers: servers.collect(),
            inboxes: BTreeMap::new(),
            secrets: BTreeMap::new(),
            replies: Vec::new(),
            halts: Vec::new(),
            writes_at_once: true,
            frozen: BTreeSet::new(),
            deaf: BTreeSet::new(),
            homes: BTreeMap::new(),
            components: Vec::new(),
            queue: VecDeque::new(),
            next_conn: 0,
            views: 0,
        };
        let all: Vec<u32> = (1..=count).collect();
        cluster.partition(&[&all]);
        cluster
    }

    /// Delivers these views, and what follows from them.
    pub fn partition(&mut self, components: &[&[u32]]) {
        self.partition_quietly(components);
        self.run();
    }

    /// Delivers these views alone.
    pub fn partition_quietly(&mut self, components: &[&[u32]]) {
        let sets = components.iter().map(|nodes| nodes.iter().copied().map(NodeId).collect());
        self.components = sets.collect();
        for component in self.components.clone() {
            self.views += 1;
            let first = *component.first().expect("a component has members");
            let id = ViewId { seq: self.views, representative: first, salt: 1 };
            for node in &component {
                let view = View { id, members: component.iter().copied().collect() };
                self.input(*node, Input::Group(GroupEvent::View(view)));
            }
        }
    }

    pub fn input(&mut self, node: NodeId, input: Input) {
        let now = self.now;
        let server = self.servers.get_mut(&node).expect("the test names a server");
        server.handle(now, input);
        server.check();
        self.poll(node);
    }

    fn poll(&mut self, node: NodeId) {
        while let Some(output) = self.servers.get_mut(&node).expect("just used").poll_output() {
            self.on_output(node, output);
        }
    }

    fn on_output(&mut self, node: NodeId, output: Output) {
        match output {
            Output::Multicast(payload) => self.queue.push_back((node, payload)),
            Output::Persist { .. } => panic!("memory mode writes nothing"),
            Output::Client { conn, message } => {
                if let ServerMessage::Opened { session, secret, .. } = &message {
                    self.secrets.insert(*session, *secret);
                }
                self.inboxes.get_mut(&conn).expect("known").messages.push_back(message);
                if self.writes_at_once {
                    self.input(node, Input::Written { conn, messages: 1 });
                }
            }
            Output::Disconnect { conn, reason } => {
                self.inboxes.get_mut(&conn).expect("known").closed = Some(reason);
                self.homes.remove(&conn);
            }
            Output::Peer { to, message } => self.input(to, Input::Peer { from: node, message }),
            Output::Job(job) => self.input(node, Input::JobDone(job.run())),
            Output::Operator { id: admin, reply } => self.replies.push((admin, reply)),
            Output::Standing(_) => {}
            Output::Halt(reason) => self.halts.push((node, reason)),
        }
    }

    /// Delivers everything that is under way.
    pub fn run(&mut self) {
        for _ in 0..100_000 {
            if !self.deliver_one() {
                return;
            }
        }
        panic!("the servers never come to rest");
    }

    /// Delivers one multicast to its component. False if there is none.
    pub fn deliver_one(&mut self) -> bool {
        let Some((from, payload)) = self.queue.pop_front() else { return false };
        let component = self.components.iter().find(|component| component.contains(&from));
        for node in component.cloned().unwrap_or_default() {
            if !self.frozen.contains(&node) {
                let payload = payload.clone();
                self.input(node, Input::Group(GroupEvent::Deliver { from, payload }));
            }
        }
        true
    }

    /// Lets time pass, with every timer on time.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.run();
            let due = self.servers.iter().filter_map(|(node, server)| {
                let deadline = server.next_deadline()?;
                (deadline <= end && !self.frozen.contains(node)).then_some((deadline, *node))
            });
            let Some((deadline, node)) = due.min() else { break };
            self.now = self.now.max(deadline);
            self.input(node, Input::Timer);
        }
        self.now = end;
        self.run();
    }

    pub fn connect(&mut self, node: u32) -> ConnId {
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        self.inboxes.insert(conn, Inbox::default());
        self.homes.insert(conn, NodeId(node));
        self.input(NodeId(node), Input::Connected { conn, principal: Principal::Anonymous });
        conn
    }

    pub fn hang_up(&mut self, conn: ConnId) {
        if let Some(node) = self.homes.remove(&conn) {
            self.input(node, Input::Disconnected { conn });
        }
    }

    pub fn say(&mut self, conn: ConnId, message: ClientMessage) {
        if let Some(node) = self.homes.get(&conn).copied()
            && !self.deaf.contains(&node)
        {
            self.input(node, Input::Client { conn, message });
        }
    }

    /// Says all of it before the server works out anything.
    pub fn say_at_once(&mut self, conn: ConnId, messages: Vec<ClientMessage>) {
        let Some(node) = self.homes.get(&conn).copied() else { return };
        let now = self.now;
        let server = self.servers.get_mut(&node).expect("it is somewhere");
        for message in messages {
            server.handle(now, Input::Client { conn, message });
            server.check();
        }
        self.poll(node);
    }

    /// What a server multicast, and is not delivered, comes after all that the others did.
    pub fn overtake(&mut self, node: u32) {
        let all = std::mem::take(&mut self.queue).into_iter();
        let (late, early): (Vec<_>, Vec<_>) = all.partition(|(from, _)| *from == NodeId(node));
        self.queue.extend(early.into_iter().chain(late));
    }

    /// Says something and delivers what follows.
    pub fn tell(&mut self, conn: ConnId, message: ClientMessage) {
        self.say(conn, message);
        self.run();
    }

    /// The next message that the client received.
    pub fn next(&mut self, conn: ConnId) -> Option<ServerMessage> {
        self.inboxes.get_mut(&conn).expect("known").messages.pop_front()
    }

    /// Everything that the client received and was not asked for yet.
    pub fn take(&mut self, conn: ConnId) -> Vec<ServerMessage> {
        self.inboxes.get_mut(&conn).expect("known").messages.drain(..).collect()
    }

    pub fn closed(&self, conn: ConnId) -> Option<DisconnectReason> {
        self.inboxes[&conn].closed
    }

    /// A connection with a new session.
    pub fn open(&mut self, node: u32, timeout_ms: u32) -> (ConnId, SessionId) {
        let conn = self.connect(node);
        self.tell(conn, ClientMessage::Open { timeout_ms });
        match self.take(conn).pop() {
            Some(ServerMessage::Opened { session, .. }) => (conn, session),
            other => panic!("no session was opened: {other:?}"),
        }
    }

    /// What attaches a session, with its secret if there is one.
    pub fn attachment(&self, session: SessionId, seen: Revision) -> ClientMessage {
        let secret = self.secrets.get(&session).copied().unwrap_or(SessionSecret([0; 16]));
        ClientMessage::Attach { session, secret, seen }
    }

    /// A connection to which the session is attached.
    pub fn attach(&mut self, node: u32, session: SessionId) -> ConnId {
        let conn = self.connect(node);
        self.tell(conn, self.attachment(session, Revision(0)));
        match self.take(conn).pop() {
            Some(ServerMessage::Attached { session: attached, .. }) if attached == session => conn,
            other => panic!("the session was not attached: {other:?}"),
        }
    }

    pub fn ask(&mut self, node: u32, request: OperatorRequest) -> OperatorReply {
        let admin = OperatorRequestId(self.replies.len() as u64);
        self.input(NodeId(node), Input::Operator { id: admin, request });
        self.run();
        self.replies.pop().expect("an operator is answered").1
    }
}

/// A write that creates the key or replaces its value.
pub fn put(key: &str, value: &str) -> Txn {
    Txn::of(vec![Step::Write {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        offset: 0,
        flags: Flags::CREATE.with(Flags::REPLACE),
    }])
}

pub fn request(number: u64, txn: &Txn) -> ClientMessage {
    ClientMessage::Request {
        request: RequestId(number),
        acked_below: RequestId(1),
        op: OpRef::Kv(txn).to_bytes(),
    }
}

pub fn watch(number: u64, key: &str) -> ClientMessage {
    ClientMessage::Watch {
        watch: WatchId(number),
        filter: WatchFilter::Key(Bytes::copy_from_slice(key.as_bytes())),
        mask: EventMask::ALL,
        once: false,
        from: None,
    }
}

/// The revision of a reply that says the request committed.
pub fn committed(message: &ServerMessage) -> Revision {
    match message {
        ServerMessage::Reply {
            outcome: Outcome::Txn(TxnOutcome::Committed { revision, .. }),
            ..
        } => *revision,
        other => panic!("not a reply that says committed: {other:?}"),
    }
}
