//! The servers of a trace: replicas, disks, and what is on the way between them.

use super::show;
use accord_core::group::adversary::{AdversarialGroup, AdversaryLimits};
use accord_core::ids::{Index, NodeId, StoreId};
use accord_core::replica::Replica;
use accord_core::replica::config::{Durability, ReplicaConfig};
use accord_core::replica::io::{Action, Body, Entry, Record, Snapshot, Ticket, commands};
use accord_core::replica::log::Recovered;
use accord_core::time::Instant;
use accord_core::wire::Decode;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// A server and its disk.
pub struct Server {
    pub config: ReplicaConfig,
    pub replica: Option<Replica>,
    pub disk: Vec<Record>,
    /// A disk that was put aside.
    shelf: Vec<Record>,
    pub writing: VecDeque<(Ticket, Record)>,
    /// The commands applied, in order: all of the replicated state.
    pub applied: Vec<String>,
    pub wants_state: bool,
    /// The state at the time when it was asked for.
    state_wanted: String,
    /// An image that has arrived whole, and its number.
    received: Option<(u64, Bytes)>,
    starts: u64,
    wipes: u64,
}

impl Server {
    fn new(config: ReplicaConfig) -> Self {
        Self {
            config,
            replica: None,
            disk: Vec::new(),
            shelf: Vec::new(),
            writing: VecDeque::new(),
            applied: Vec::new(),
            wants_state: false,
            state_wanted: String::new(),
            received: None,
            starts: 0,
            wipes: 0,
        }
    }

    /// The incarnation that an empty store gets: 10 for the first of n1, 21 for the second of n2.
    pub fn store(&self) -> StoreId {
        let fresh = match self.config.durability {
            Durability::Memory => self.starts.saturating_sub(1),
            Durability::Persistent => self.wipes,
        };
        StoreId(u64::from(self.config.node.0) * 10 + fresh)
    }

    fn digest(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(self.applied.join("\n").as_bytes())
    }
}

/// All servers, the group between them, and their messages beside the group.
#[derive(Default)]
pub struct World {
    pub servers: BTreeMap<NodeId, Server>,
    group: Option<AdversarialGroup>,
    pub peers: BTreeMap<(NodeId, NodeId), VecDeque<Bytes>>,
    pub now: Instant,
    /// True if the servers are of several clusters, so that their logs may differ.
    pub separate: bool,
    /// True if images that arrive are looked at by a command of the trace.
    pub looks_later: bool,
    /// What any server committed, to be the same for all.
    committed: BTreeMap<Index, Entry>,
    /// True while only what clients notice is shown.
    pub brief: bool,
    pub output: String,
}

impl World {
    pub fn create(&mut self, configs: Vec<ReplicaConfig>) {
        let nodes: Vec<NodeId> = configs.iter().map(|config| config.node).collect();
        self.group = Some(AdversarialGroup::new(&nodes, AdversaryLimits::default(), 1));
        self.servers =
            configs.into_iter().map(|config| (config.node, Server::new(config))).collect();
    }

    /// How many servers there are, with the numbers from 1.
    pub fn count(&self) -> u32 {
        self.servers.len() as u32
    }

    pub fn group(&mut self) -> &mut AdversarialGroup {
        self.group.as_mut().expect("the first command is cluster")
    }

    pub fn server(&mut self, node: NodeId) -> &mut Server {
        self.servers.get_mut(&node).expect("the parser knows the servers")
    }

    /// Adds a line to the output.
    pub fn say(&mut self, line: &str) {
        self.output.push_str(line);
        self.output.push('\n');
    }

    /// Adds a line that is not shown while only what clients notice is.
    pub fn note(&mut self, line: &str) {
        if !self.brief {
            self.say(line);
        }
    }

    pub fn start(&mut self, node: NodeId, bootstrap: bool) -> Result<(), String> {
        let server = self.server(node);
        if server.replica.is_some() {
            return Err(format!("{node} is up"));
        }
        server.starts += 1;
        server.applied.clear();
        let found = Recovered::replay(node, server.disk.iter().cloned());
        let found = found.map_err(|error| format!("the disk of {node}: {error}"))?;
        let recovered = found.unwrap_or_else(|| Recovered::fresh(server.store(), bootstrap));
        let seed = u64::from(node.0) << 32 | server.starts;
        server.replica = Some(Replica::new(server.config.clone(), recovered, seed));
        self.group().start(node);
        self.drain(node)
    }

    pub fn crash(&mut self, node: NodeId, keeping: usize) {
        let server = self.server(node);
        let kept = server.writing.drain(..).take(keeping).map(|(_, record)| record);
        server.disk.extend(kept);
        server.writing.clear();
        server.replica = None;
        (server.wants_state, server.received) = (false, None);
        self.group().crash(node);
        self.peers.retain(|(_, to), _| *to != node);
    }

    pub fn wipe(&mut self, node: NodeId) {
        let server = self.server(node);
        server.disk.clear();
        server.wipes += 1;
    }

    pub fn lose(&mut self, node: NodeId, count: usize) {
        let disk = &mut self.server(node).disk;
        disk.truncate(disk.len().saturating_sub(count));
    }

    pub fn swap(&mut self, node: NodeId) {
        let server = self.server(node);
        std::mem::swap(&mut server.disk, &mut server.shelf);
        server.wipes += u64::from(server.disk.is_empty());
    }

    /// Lets the replica of a server do something, and carries out what it asks for.
    pub fn with<T>(
        &mut self,
        node: NodeId,
        act: impl FnOnce(&mut Replica, Instant) -> T,
    ) -> Result<T, String> {
        let now = self.now;
        let replica = self.server(node).replica.as_mut();
        let replica = replica.ok_or_else(|| format!("{node} is down"))?;
        let result = act(replica, now);
        self.drain(node)?;
        Ok(result)
    }

    fn drain(&mut self, node: NodeId) -> Result<(), String> {
        loop {
            let replica = self.server(node).replica.as_mut().expect("just used");
            let Some(action) = replica.poll_action() else { return Ok(()) };
            let (notable, line) = show::action(&action);
            if notable {
                self.say(&format!("{node}: {line}"));
            } else {
                self.note(&format!("{node}: {line}"));
            }
            self.carry_out(node, action)?;
        }
    }

    fn carry_out(&mut self, node: NodeId, action: Action) -> Result<(), String> {
        match action {
            Action::Multicast(payload) => {
                let submitted = self.group().submit(node, payload);
                submitted.map_err(|error| format!("{node}: {error}"))?;
            }
            Action::Persist { ticket, record } => {
                self.server(node).writing.push_back((ticket, record));
            }
            Action::Peer { to, message } => {
                self.peers.entry((node, to)).or_default().push_back(message);
            }
            Action::Commit(entry) => self.apply(node, entry)?,
            Action::SnapshotWanted => {
                let server = self.server(node);
                server.wants_state = true;
                server.state_wanted = server.applied.join("\n");
            }
            Action::SnapshotReceived { number, bytes } => {
                self.server(node).received = Some((number, bytes));
                if !self.looks_later {
                    self.hand_received(node);
                }
            }
            Action::Install { state, .. } => {
                self.server(node).applied = show::text(&state).lines().map(String::from).collect();
            }
            Action::Opened { .. }
            | Action::Closed(_)
            | Action::BarrierDone { .. }
            | Action::Standing(_)
            | Action::VotersChanged { .. }
            | Action::Halt(_) => {}
        }
        Ok(())
    }

    fn apply(&mut self, node: NodeId, entry: Entry) -> Result<(), String> {
        let mut kept = entry.clone();
        if let Some(first) = self.committed.get(&entry.index) {
            // A repeated batch is handed out empty.
            if let (Body::Batch { commands, .. }, Body::Batch { commands: other, .. }) =
                (&mut kept.body, &first.body)
                && commands.is_empty()
            {
                commands.clone_from(other);
            }
            if kept != *first && !self.separate {
                return Err(format!("{node} commits {kept:?}, another committed {first:?}"));
            }
        }
        self.committed.entry(entry.index).or_insert(kept);
        let server = self.server(node);
        if let Body::Batch { commands: batch, .. } = &entry.body {
            server.applied.extend(commands(batch).map(|command| show::text(&command)));
        }
        let digest = server.digest();
        let replica = server.replica.as_mut().expect("it just committed");
        if replica.wants_digest(entry.index) {
            replica.note_digest(entry.index, digest);
        }
        Ok(())
    }

    /// Delivers the next event of the group to a server, if there is one.
    pub fn deliver(&mut self, node: NodeId) -> Result<bool, String> {
        let Some(event) = self.group().deliver_next(node) else { return Ok(false) };
        self.note(&format!("{node} <- {}", show::event(&event)));
        self.with(node, |replica, now| replica.handle_group(now, event))?;
        Ok(true)
    }

    /// Makes the oldest write durable, if there is one.
    pub fn stored(&mut self, node: NodeId) -> Result<bool, String> {
        let server = self.server(node);
        let Some((ticket, record)) = server.writing.pop_front() else { return Ok(false) };
        server.disk.push(record);
        self.note(&format!("{node} <- stored {ticket}"));
        self.with(node, |replica, now| replica.handle_stored(now, ticket))?;
        Ok(true)
    }

    /// Hands over the state that the replica asked for, if it did.
    pub fn snapshot(&mut self, node: NodeId) -> Result<bool, String> {
        let server = self.server(node);
        if !std::mem::take(&mut server.wants_state) {
            return Ok(false);
        }
        let state = Bytes::from(std::mem::take(&mut server.state_wanted));
        self.with(node, |replica, now| {
            let image = replica.wanted_frame().image(state);
            replica.provide_snapshot(now, image);
        })?;
        Ok(true)
    }

    fn hand_received(&mut self, node: NodeId) -> bool {
        let now = self.now;
        let server = self.server(node);
        let Some((number, bytes)) = server.received.take() else { return false };
        let snapshot = Snapshot::from_bytes(&bytes).ok();
        let Some(replica) = &mut server.replica else { return false };
        replica.handle_received(now, number, snapshot);
        true
    }

    /// Reads the image that has arrived whole and hands it over, if there is one.
    pub fn look(&mut self, node: NodeId) -> Result<bool, String> {
        let looked = self.hand_received(node);
        self.drain(node)?;
        Ok(looked)
    }

    /// Delivers the oldest message between two servers, if there is one.
    pub fn peer(&mut self, from: NodeId, to: NodeId) -> Result<bool, String> {
        let queue = self.peers.entry((from, to)).or_default();
        let Some(message) = queue.pop_front() else { return Ok(false) };
        self.note(&format!("{to} <- {from}: {}", show::peer(&message)));
        self.with(to, |replica, now| replica.handle_peer(now, from, &message))?;
        Ok(true)
    }

    pub fn check(&mut self) {
        if let Some(group) = &self.group {
            group.check();
        }
        for replica in self.servers.values().filter_map(|server| server.replica.as_ref()) {
            replica.check();
        }
    }
}
