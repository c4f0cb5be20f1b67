//! The state of the model, and what each action does to it.
//!
//! A connection is made at once and delivers in order; when it breaks, each side learns of it after
//! what had come over before, and what was on its way to the server may be lost or not. Messages of
//! the group are ordered as soon as they are submitted. The servers are in memory mode: what they
//! have appended is durable.

use super::bounds::{Bounds, Op, Used};
use super::machines::{Conn, Host, Parcel, User};
use super::oracle::{COUNTER, CounterOp, OpId, Oracle, number};
use crate::flaw::{self, Flaw};
use crate::kept::Kept;
use accord_core::client::{Client, ClientConfig, ClientEvent, ClientInput, ClientOutput};
use accord_core::group::adversary::{AdversarialGroup, AdversaryLimits, Loss};
use accord_core::holder::{Principal, SecretKey};
use accord_core::ids::{ConnId, NodeId, StoreId};
use accord_core::limits::Limits;
use accord_core::protocol::{Consistency, EventMask, WatchFilter};
use accord_core::replica::config::{Durability, ReplicaConfig, ReplicaLimits};
use accord_core::replica::log::Recovered;
use accord_core::server::{Input, Output, Server, ServerConfig, ServerLimits};
use accord_core::state::{
    Flags, Outcome, ReadQuery, ReadResult, Step, StepResult, Txn, TxnOutcome, Width,
};
use accord_core::time::Instant;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};

/// The whole of the modelled world.
#[derive(Clone)]
pub struct State {
    /// The group layers of all servers.
    pub group: Kept<AdversarialGroup>,
    /// The servers.
    pub hosts: BTreeMap<NodeId, Kept<Host>>,
    /// The clients.
    pub users: Vec<Kept<User>>,
    /// Connections that one side at least has not seen the end of.
    pub conns: BTreeMap<ConnId, Kept<Conn>>,
    /// The number of the last connection.
    pub last_conn: u64,
    /// The number of the last operation.
    pub last_op: OpId,
    /// What must hold.
    pub oracle: Kept<Oracle>,
    /// What has happened.
    pub used: Used,
    /// What went wrong first.
    pub flaw: Option<Flaw>,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (&self.group, &self.hosts, &self.users, &self.conns).hash(hasher);
        (self.last_conn, self.last_op, &self.oracle, &self.used, &self.flaw).hash(hasher);
    }
}
impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        let one = (&self.group, &self.hosts, &self.users, &self.conns);
        let rest = (self.last_conn, self.last_op, &self.oracle, &self.used, &self.flaw);
        one == (&other.group, &other.hosts, &other.users, &other.conns)
            && rest == (other.last_conn, other.last_op, &other.oracle, &other.used, &other.flaw)
    }
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A client begins its next operation.
    Begin(usize),
    /// A server is delivered all that waits for it in the group.
    Deliver(NodeId),
    /// A server reads all that has come over a connection.
    ServerReads(ConnId),
    /// A client reads the next message of its connection.
    ClientReads(ConnId),
    /// A connection breaks; true if what was on its way to the server is lost.
    Break(ConnId, bool),
    /// The next timer of a client is due.
    ClientTimer(usize),
    /// The next timer of a server is due.
    ServerTimer(NodeId),
    /// A view of all servers forms.
    Form(Loss),
}

impl State {
    /// The world in which exploration begins: a formed cluster, and every client attached to the
    /// first of its servers.
    pub fn initial(bounds: &Bounds) -> Self {
        let nodes: Vec<NodeId> = (1..=bounds.servers).map(NodeId).collect();
        let mut group = AdversarialGroup::new(&nodes, AdversaryLimits::default(), 1);
        nodes.iter().for_each(|node| group.start(*node));
        let mut state = Self {
            group: Kept::new(group),
            hosts: nodes.iter().map(|node| (*node, Kept::new(host(*node, &nodes)))).collect(),
            users: Vec::new(),
            conns: BTreeMap::new(),
            last_conn: 0,
            last_op: 0,
            oracle: Kept::new(Oracle::new(Limits::default())),
            used: Used::default(),
            flaw: None,
        };
        state.form(Loss::Nothing);
        state.settle();
        for script in &bounds.scripts {
            state.users.push(Kept::new(user(&script.servers)));
            let user = state.users.len() - 1;
            state.user_step(user, |_, _| {});
            state.settle();
        }
        state
    }

    /// Lets everything happen that needs no decision, until nothing is left.
    fn settle(&mut self) {
        while self.flaw.is_none() {
            let nodes = self.hosts.keys().map(|node| Action::Deliver(*node));
            let conns = self.conns.keys();
            let reads = conns.flat_map(|id| [Action::ServerReads(*id), Action::ClientReads(*id)]);
            let action = nodes.chain(reads).find(|action| self.is_possible(*action));
            match action {
                Some(action) => self.act(&[], action),
                None => return,
            }
        }
    }

    /// True if there is something to be delivered, read or waited for.
    pub fn is_possible(&self, action: Action) -> bool {
        match action {
            Action::Deliver(node) => self.group.peek(node).is_some(),
            Action::ServerReads(conn) => {
                let conn = &self.conns[&conn];
                conn.server_open && !conn.to_server.is_empty()
            }
            Action::ClientReads(conn) => {
                let conn = &self.conns[&conn];
                conn.client_open && !conn.to_client.is_empty()
            }
            Action::ClientTimer(user) => self.users[user].client.next_deadline().is_some(),
            Action::ServerTimer(node) => self.hosts[&node].server.next_deadline().is_some(),
            Action::Begin(_) | Action::Break(..) | Action::Form(_) => true,
        }
    }

    /// Does one action, which must be possible.
    pub fn act(&mut self, ops: &[Op], action: Action) {
        match action {
            Action::Begin(user) => self.begin(user, ops),
            Action::Deliver(node) => self.deliver(node),
            Action::ServerReads(conn) => self.server_reads(conn),
            Action::ClientReads(conn) => self.client_reads(conn),
            Action::Break(conn, lost) => {
                self.used.breaks += 1;
                self.break_conn(conn, lost);
            }
            Action::ClientTimer(user) => {
                self.used.client_timers += 1;
                self.user_step(user, |user, _| {
                    user.clock = user.client.next_deadline().expect("it was possible");
                    user.client.handle(user.clock, ClientInput::Timer);
                });
            }
            Action::ServerTimer(node) => {
                self.used.server_timers += 1;
                self.host_step(node, |host| {
                    host.clock = host.server.next_deadline().expect("it was possible");
                    host.server.handle(host.clock, Input::Timer);
                });
            }
            Action::Form(loss) => {
                self.used.views += 1;
                self.form(loss);
            }
        }
    }

    fn form(&mut self, loss: Loss) {
        let members: Vec<NodeId> = self.hosts.keys().copied().collect();
        let mut group = (*self.group).clone();
        group.form_view(&members, members[0], loss);
        self.group = Kept::new(group);
    }

    fn begin(&mut self, user: usize, ops: &[Op]) {
        let op = self.users[user].next_op(ops).expect("it was possible");
        self.last_op += 1;
        let id = self.last_op;
        self.user_step(user, |user, oracle| {
            user.begun += 1;
            let (client, now) = (&mut user.client, user.clock);
            match op {
                Op::Increment => {
                    let request = client.submit(now, &increment()).expect("there is room");
                    user.requests.insert(request, id);
                    oracle.on_begin(id, CounterOp::Increment);
                }
                Op::Read | Op::ReadLocally => {
                    let key = Bytes::from_static(COUNTER);
                    let query = ReadQuery::Get { key, offset: 0, length_max: 8 };
                    let fresh = op == Op::Read;
                    let consistency =
                        if fresh { Consistency::Linearizable } else { Consistency::Local };
                    let read = client.read(now, query, consistency).expect("there is room");
                    if fresh {
                        user.reads.insert(read, id);
                        oracle.on_begin(id, CounterOp::Read);
                    }
                }
                Op::Watch | Op::WatchOnce => {
                    let filter = WatchFilter::Key(Bytes::from_static(COUNTER));
                    let once = op == Op::WatchOnce;
                    user.once = once;
                    let watch = client.watch(now, filter, EventMask::ALL, once, None);
                    watch.expect("there is room");
                }
            }
        });
    }

    /// Lets a client do something, and carries out what it asks.
    fn user_step(&mut self, at: usize, act: impl FnOnce(&mut User, &mut Oracle)) {
        let mut user = (*self.users[at]).clone();
        let mut oracle = (*self.oracle).clone();
        let mut found = None;
        let caught = flaw::catch(|| {
            act(&mut user, &mut oracle);
            self.drain_user(at, &mut user, &mut oracle, &mut found);
        });
        self.users[at] = Kept::new(user);
        self.oracle = Kept::new(oracle);
        self.flaw = self.flaw.take().or(caught.err()).or(found);
    }

    fn drain_user(
        &mut self,
        at: usize,
        user: &mut User,
        oracle: &mut Oracle,
        found: &mut Option<Flaw>,
    ) {
        while let Some(output) = user.client.poll_output() {
            match output {
                ClientOutput::Connect { server } => {
                    let conn = self.connect(at, server);
                    user.conn = Some(conn);
                    user.client.handle(user.clock, ClientInput::Connected);
                }
                ClientOutput::Disconnect => {
                    if let Some(conn) = user.conn.take() {
                        self.change_conn(conn, |conn| {
                            conn.client_open = false;
                            conn.to_client.clear();
                            conn.to_server.push_back(Parcel::End);
                        });
                    }
                }
                ClientOutput::Send(message) => {
                    let conn = user.conn.expect("a client sends over its connection");
                    self.change_conn(conn, |conn| {
                        conn.to_server.push_back(Parcel::Message(message));
                    });
                }
                ClientOutput::Event(event) => tell(at, user, event, oracle, found),
            }
        }
    }

    fn connect(&mut self, user: usize, node: NodeId) -> ConnId {
        self.last_conn += 1;
        let id = ConnId(self.last_conn);
        let conn = Conn {
            user,
            node,
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            client_open: true,
            server_open: true,
        };
        self.conns.insert(id, Kept::new(conn));
        self.host_step(node, |host| {
            host.server
                .handle(host.clock, Input::Connected { conn: id, principal: Principal::Anonymous });
        });
        id
    }

    fn change_conn(&mut self, id: ConnId, change: impl FnOnce(&mut Conn)) {
        let Some(conn) = self.conns.get(&id) else { return };
        let mut conn = (**conn).clone();
        change(&mut conn);
        if conn.client_open || conn.server_open {
            self.conns.insert(id, Kept::new(conn));
        } else {
            self.conns.remove(&id);
        }
    }

    fn break_conn(&mut self, id: ConnId, lost: bool) {
        let user = self.conns[&id].user;
        self.change_conn(id, |conn| {
            if lost {
                conn.to_server.clear();
            }
            conn.client_open = false;
            conn.to_client.clear();
            conn.to_server.push_back(Parcel::End);
        });
        self.user_step(user, |user, _| {
            user.conn = None;
            user.client.handle(user.clock, ClientInput::Disconnected);
        });
    }

    fn client_reads(&mut self, id: ConnId) {
        let user = self.conns[&id].user;
        let mut parcel = None;
        self.change_conn(id, |conn| {
            parcel = conn.to_client.pop_front();
            conn.client_open = parcel != Some(Parcel::End);
        });
        self.user_step(user, |user, _| {
            let input = match parcel.expect("it was possible") {
                Parcel::Message(message) => ClientInput::Message(message),
                Parcel::End => {
                    user.conn = None;
                    ClientInput::Disconnected
                }
            };
            user.client.handle(user.clock, input);
        });
    }

    fn server_reads(&mut self, id: ConnId) {
        let node = self.conns[&id].node;
        let mut parcels = VecDeque::new();
        self.change_conn(id, |conn| {
            parcels = std::mem::take(&mut conn.to_server);
            conn.server_open = !parcels.contains(&Parcel::End);
        });
        self.host_step(node, |host| {
            for parcel in parcels {
                let input = match parcel {
                    Parcel::Message(message) => Input::Client { conn: id, message },
                    Parcel::End => Input::Disconnected { conn: id },
                };
                host.server.handle(host.clock, input);
            }
        });
    }

    fn deliver(&mut self, node: NodeId) {
        while self.flaw.is_none() && self.group.peek(node).is_some() {
            let mut group = (*self.group).clone();
            let event = group.deliver_next(node).expect("just seen");
            self.group = Kept::new(group);
            self.host_step(node, |host| host.server.handle(host.clock, Input::Group(event)));
        }
    }

    /// Lets a server do something, and carries out what it asks.
    fn host_step(&mut self, node: NodeId, act: impl FnOnce(&mut Host)) {
        let mut host = (*self.hosts[&node]).clone();
        let caught = flaw::catch(|| {
            act(&mut host);
            self.drain_host(node, &mut host);
        });
        let entries = host.server.take_witnessed();
        let mut found = caught.err();
        if !entries.is_empty() {
            let mut oracle = (*self.oracle).clone();
            let judged = flaw::catch(|| {
                oracle.on_applied(entries);
                let mut flaw = None;
                oracle.judge(node, host.server.applied(), host.server.state(), &mut flaw);
                flaw
            });
            self.oracle = Kept::new(oracle);
            found = found.or(judged.unwrap_or_else(Some));
        }
        self.hosts.insert(node, Kept::new(host));
        self.flaw = self.flaw.take().or(found);
    }

    fn drain_host(&mut self, node: NodeId, host: &mut Host) {
        let mut multicasts = Vec::new();
        while let Some(output) = host.server.poll_output() {
            match output {
                Output::Multicast(message) => multicasts.push(message),
                Output::Client { conn, message } => {
                    // The message leaves at once. What is told a client that has gone is lost.
                    host.server.handle(host.clock, Input::Written { conn, messages: 1 });
                    self.change_conn(conn, |conn| {
                        if conn.client_open {
                            conn.to_client.push_back(Parcel::Message(message));
                        }
                    });
                }
                Output::Disconnect { conn, .. } => self.change_conn(conn, |conn| {
                    conn.server_open = false;
                    conn.to_server.clear();
                    if conn.client_open {
                        conn.to_client.push_back(Parcel::End);
                    }
                }),
                Output::Persist { .. } => unreachable!("memory mode writes nothing"),
                Output::Peer { .. } => unreachable!("no server is left behind here"),
                // The adversary chooses views as it likes.
                Output::Standing(_) => {}
                Output::Job(job) => host.server.handle(host.clock, Input::JobDone(job.run())),
                Output::Operator { .. } => unreachable!("no operator asked anything"),
                Output::Halt(reason) => panic!("{reason}"),
            }
        }
        if !multicasts.is_empty() {
            let mut group = (*self.group).clone();
            for message in multicasts {
                group.submit(node, message).expect("a model has few messages");
            }
            while group.order(node) {}
            self.group = Kept::new(group);
        }
    }
}

fn host(node: NodeId, nodes: &[NodeId]) -> Host {
    let replica = ReplicaConfig {
        node,
        initial: nodes.iter().copied().collect::<BTreeSet<_>>(),
        durability: Durability::Memory,
        limits: ReplicaLimits::default(),
    };
    let config = ServerConfig {
        replica,
        state: Limits::default(),
        limits: ServerLimits::default(),
        secrets: SecretKey::new([node.0 as u8; 32]),
    };
    let seed = u64::from(node.0);
    let recovered = Recovered::fresh(StoreId(seed), true);
    let mut server = Server::new(config, recovered, seed, Instant::ZERO);
    server.witness();
    // A server that has just started has a standing to tell, which the adversary does not ask for.
    while let Some(output) = server.poll_output() {
        assert!(matches!(output, Output::Standing(_)), "a start in memory asks for nothing else");
    }
    Host { server, clock: Instant::ZERO }
}

fn user(servers: &[NodeId]) -> User {
    let config = ClientConfig::new(servers.to_vec());
    // The server that a client begins with is drawn: take the first seed that draws the first.
    let begins_well = |seed: &u64| {
        let mut client = Client::new(config.clone(), *seed, Instant::ZERO);
        client.poll_output() == Some(ClientOutput::Connect { server: servers[0] })
    };
    let seed = (0..).find(begins_well).expect("some seed draws each server");
    User {
        client: Client::new(config, seed, Instant::ZERO),
        clock: Instant::ZERO,
        conn: None,
        begun: 0,
        requests: BTreeMap::new(),
        reads: BTreeMap::new(),
        over: false,
        once: false,
    }
}

fn increment() -> Txn {
    Txn::of(vec![Step::Increment {
        key: Bytes::from_static(COUNTER),
        delta: 1,
        offset: None,
        width: Width::Eight,
        flags: Flags::CREATE,
    }])
}

/// What an application is told, and what the oracle makes of it.
fn tell(
    at: usize,
    user: &mut User,
    event: ClientEvent,
    oracle: &mut Oracle,
    found: &mut Option<Flaw>,
) {
    let session = user.client.session();
    match event {
        ClientEvent::Done { request, outcome } => {
            let op = user.requests.remove(&request).expect("a request is answered once");
            if let Outcome::Txn(TxnOutcome::Committed { revision, results, .. }) = &outcome {
                oracle.on_seen(at, *revision, found);
                if let [StepResult::Incremented { value, .. }] = results[..] {
                    oracle.on_answer(op, value, found);
                }
            }
        }
        ClientEvent::Failed { request, .. } => {
            user.requests.remove(&request).expect("a request is answered once");
            oracle.on_failed(session, request);
        }
        ClientEvent::Unknown { request, .. } => {
            user.requests.remove(&request).expect("a request is answered once");
            oracle.reached.unknown = true;
        }
        ClientEvent::ReadDone { read, revision, result } => {
            oracle.on_seen(at, revision, found);
            let value = match &result {
                ReadResult::Value { value, .. } => number(value),
                _ => 0,
            };
            if let Some(op) = user.reads.remove(&read) {
                oracle.on_answer(op, value, found);
            }
        }
        ClientEvent::Watching { from, .. } => {
            oracle.on_watching(at, from, user.once);
        }
        ClientEvent::Watch { revision, .. } => oracle.on_event(at, revision, found),
        ClientEvent::WatchLost { .. } => oracle.on_watch_lost(at),
        ClientEvent::SessionLost => {
            user.over = true;
            if let Some(session) = session {
                oracle.on_over(session, found);
            }
        }
        _ => {}
    }
}
