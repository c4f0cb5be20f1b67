//! Replicas over the adversarial group, with disks that lose what was not synced.
//!
//! The replicated state is the plainest there is: how often each command was applied. That is
//! enough to see a lost, a repeated or a reordered command.

use accord_core::group::adversary::{AdversarialGroup, AdversaryLimits, Loss};
use accord_core::ids::{Index, NodeId, StoreId};
use accord_core::pieces::Pieces;
use accord_core::replica::config::{Durability, ReplicaConfig, ReplicaLimits};
use accord_core::replica::io::{
    Action, BarrierId, Body, Entry, HaltReason, Record, Snapshot, Ticket, commands,
};
use accord_core::replica::log::Recovered;
use accord_core::replica::{Replica, SnapshotHead};
use accord_core::rng::Rng;
use accord_core::time::{Duration, Instant};
use accord_core::wire::{Decode, Encode, Reader, Writer};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How often each command was applied, in the order of first application.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    pub counts: BTreeMap<u64, u64>,
    pub digest: u64,
}

impl Applied {
    fn apply(&mut self, command: &Bytes) {
        let id = Reader::new(command.clone()).u64().expect("a command of this test");
        *self.counts.entry(id).or_default() += 1;
        self.digest = self.digest.rotate_left(7) ^ Rng::new(self.digest ^ id).next_u64();
    }

    fn encode(&self) -> Bytes {
        let mut out = Writer::new();
        out.u64(self.digest);
        for (id, count) in &self.counts {
            out.u64(*id);
            out.u64(*count);
        }
        out.finish()
    }

    fn decode(bytes: &Bytes) -> Self {
        let mut input = Reader::new(bytes.clone());
        let mut applied = Self { digest: input.u64().unwrap(), ..Self::default() };
        while input.remaining() > 0 {
            applied.counts.insert(input.u64().unwrap(), input.u64().unwrap());
        }
        applied
    }
}

pub struct Server {
    pub replica: Replica,
    pub applied: Applied,
    pub applied_index: Index,
    pub halted: Option<HaltReason>,
    /// Group messages that the group layer had no room for.
    unsubmitted: VecDeque<Bytes>,
    /// Written, not synced.
    unsynced: VecDeque<(Ticket, Record)>,
    reads: Vec<Read>,
    /// What is being worked out beside it.
    jobs: Vec<Job>,
}

enum Job {
    Image(SnapshotHead, Bytes),
    Received(u64, Bytes),
}

struct Read {
    barrier: BarrierId,
    index: Option<Index>,
    /// What was acknowledged to anyone when the read began.
    must_contain: BTreeSet<u64>,
}

#[derive(Debug, Default)]
pub struct Counters {
    pub commits: u64,
    pub reads: u64,
    pub installs: u64,
    pub opened: u64,
    pub lost_records: u64,
    pub wiped: u64,
    pub swapped_back: u64,
}

pub struct World {
    pub group: AdversarialGroup,
    pub servers: BTreeMap<NodeId, Server>,
    pub nodes: Vec<NodeId>,
    pub disks: BTreeMap<NodeId, Vec<Record>>,
    /// Disks that were taken out.
    drawer: BTreeMap<NodeId, Vec<Record>>,
    pub rng: Rng,
    pub now: Instant,
    pub durability: Durability,
    pub limits: ReplicaLimits,
    pub acknowledged: BTreeSet<u64>,
    pub counters: Counters,
    peers: Vec<(NodeId, NodeId, Bytes)>,
    committed: BTreeMap<Index, Entry>,
    next_command: u64,
    next_store: u64,
    partition: Vec<Vec<NodeId>>,
    /// True if servers are handed several inputs before their actions are polled.
    gathers: bool,
}

impl World {
    pub fn new(seed: u64, count: u32, durability: Durability, limits: ReplicaLimits) -> Self {
        let nodes: Vec<NodeId> = (1..=count).map(NodeId).collect();
        let mut world = Self {
            group: AdversarialGroup::new(&nodes, AdversaryLimits::default(), seed),
            servers: BTreeMap::new(),
            disks: BTreeMap::new(),
            drawer: BTreeMap::new(),
            rng: Rng::new(seed),
            now: Instant::ZERO,
            durability,
            limits,
            acknowledged: BTreeSet::new(),
            counters: Counters::default(),
            peers: Vec::new(),
            committed: BTreeMap::new(),
            next_command: 0,
            next_store: 0,
            partition: vec![nodes.clone()],
            gathers: seed % 2 == 1,
            nodes,
        };
        for node in world.nodes.clone() {
            world.start(node, true);
        }
        world
    }

    pub fn start(&mut self, node: NodeId, bootstrap: bool) {
        let disk = self.disks.entry(node).or_default();
        let recovered = Recovered::replay(node, disk.iter().cloned()).expect("own records");
        self.next_store += 1;
        let fresh = Recovered::fresh(StoreId(self.next_store), bootstrap);
        let config = ReplicaConfig {
            node,
            initial: self.nodes.iter().copied().collect(),
            durability: self.durability,
            limits: self.limits.clone(),
        };
        let seed = self.rng.next_u64();
        let server = Server {
            replica: Replica::new(config, recovered.unwrap_or(fresh), seed),
            applied: Applied::default(),
            applied_index: Index(0),
            halted: None,
            unsubmitted: VecDeque::new(),
            unsynced: VecDeque::new(),
            reads: Vec::new(),
            jobs: Vec::new(),
        };
        self.servers.insert(node, server);
        self.group.start(node);
        self.turn(node);
    }

    /// Starts a server again. The operator insists on forming the cluster until that has succeeded.
    fn restart(&mut self, node: NodeId) {
        let bootstrap = self.committed.is_empty();
        self.start(node, bootstrap);
    }

    /// Stops a server; of its unsynced records a random prefix survives.
    pub fn crash(&mut self, node: NodeId) {
        let Some(server) = self.servers.remove(&node) else { return };
        self.group.crash(node);
        let survives = self.rng.below(server.unsynced.len() as u64 + 1) as usize;
        self.counters.lost_records += (server.unsynced.len() - survives) as u64;
        let disk = self.disks.entry(node).or_default();
        disk.extend(server.unsynced.into_iter().take(survives).map(|(_, record)| record));
    }

    /// Takes a server's disk away; it may come back later.
    pub fn wipe(&mut self, node: NodeId) {
        self.crash(node);
        let disk = self.disks.remove(&node).unwrap_or_default();
        // A disk that was prepared for forming a cluster must not come back after another one has.
        if !self.committed.is_empty() {
            self.drawer.insert(node, disk);
        }
        self.counters.wiped += 1;
    }

    /// Gives a server the disk back that it had before, in place of its present one.
    fn swap_back(&mut self, node: NodeId) {
        let Some(disk) = self.drawer.remove(&node) else { return };
        let present = self.disks.insert(node, disk).unwrap_or_default();
        self.drawer.insert(node, present);
        self.counters.swapped_back += 1;
    }

    /// True if every server is up and votes.
    fn all_remember(&self) -> bool {
        let votes = |server: &Server| {
            let status = server.replica.status();
            status.synced && status.voters.is_intact(server.replica.node(), status.store)
        };
        self.servers.len() == self.nodes.len() && self.servers.values().all(votes)
    }

    /// Forms views for some sides of a partition; the others stay in theirs and hear nothing of it.
    pub fn form_views(&mut self, partition: Vec<Vec<NodeId>>, unaware: (u64, u64)) {
        for side in &partition {
            if self.rng.chance(unaware.0, unaware.1) {
                continue;
            }
            let up: Vec<NodeId> =
                side.iter().copied().filter(|node| self.group.is_up(*node)).collect();
            if !self.group.can_form(&up) {
                continue;
            }
            let loss = match self.rng.below(4) {
                0 => Loss::Nothing,
                1 => Loss::Ordered,
                2 => Loss::Everything,
                _ => Loss::Beyond(self.rng.below(8) as u32),
            };
            self.group.form_view(&up, up[0], loss);
        }
        self.partition = partition;
    }

    pub fn propose(&mut self, node: NodeId) {
        let Some(server) = self.servers.get_mut(&node) else { return };
        self.next_command += 1;
        let mut command = Writer::new();
        command.u64(self.next_command);
        let _ = server.replica.propose(command.as_slice());
        self.turn(node);
    }

    pub fn read(&mut self, node: NodeId) {
        let Some(server) = self.servers.get_mut(&node) else { return };
        let must_contain = self.acknowledged.clone();
        let barrier = server.replica.read_barrier();
        server.reads.push(Read { barrier, index: None, must_contain });
        self.turn(node);
    }

    /// Delivers one group event at a node, if there is one.
    pub fn deliver(&mut self, node: NodeId) -> bool {
        let Some(server) = self.servers.get_mut(&node) else { return false };
        let Some(event) = self.group.deliver_next(node) else { return false };
        server.replica.handle_group(self.now, event);
        self.turn(node);
        true
    }

    /// Syncs some of what a node wrote.
    pub fn sync(&mut self, node: NodeId, records_max: usize) -> bool {
        let Some(server) = self.servers.get_mut(&node) else { return false };
        let count = server.unsynced.len().min(records_max);
        let Some((ticket, _)) = count.checked_sub(1).map(|last| server.unsynced[last].clone())
        else {
            return false;
        };
        let disk = self.disks.entry(node).or_default();
        disk.extend(server.unsynced.drain(..count).map(|(_, record)| record));
        server.replica.handle_stored(self.now, ticket);
        self.turn(node);
        true
    }

    /// Ends one of the jobs of a server.
    fn work(&mut self, node: NodeId) -> bool {
        let Some(server) = self.servers.get_mut(&node) else { return false };
        if server.jobs.is_empty() {
            return false;
        }
        let at = self.rng.below(server.jobs.len() as u64) as usize;
        match server.jobs.swap_remove(at) {
            Job::Image(frame, state) => {
                let (half, rest) = (state.slice(..state.len() / 2), state.slice(state.len() / 2..));
                let state: Pieces = [half, rest].into_iter().collect();
                server.replica.provide_snapshot(self.now, frame.image(state));
            }
            Job::Received(number, bytes) => {
                let snapshot = Snapshot::from_bytes(&bytes).ok();
                server.replica.handle_received(self.now, number, snapshot);
            }
        }
        self.turn(node);
        true
    }

    /// Delivers, loses or repeats one message between servers.
    pub fn deliver_peer(&mut self, lossy: bool) -> bool {
        if self.peers.is_empty() {
            return false;
        }
        let at = self.rng.below(self.peers.len() as u64) as usize;
        let (from, to, message) = self.peers.swap_remove(at);
        let together = self.partition.iter().any(|side| side.contains(&from) && side.contains(&to));
        if !together || (lossy && self.rng.chance(1, 10)) {
            return true;
        }
        if lossy && self.rng.chance(1, 20) {
            self.peers.push((from, to, message.clone()));
        }
        if let Some(server) = self.servers.get_mut(&to) {
            server.replica.handle_peer(self.now, from, &message);
            self.turn(to);
        }
        true
    }

    pub fn tick(&mut self, by: Duration) {
        self.now = self.now + by;
        for node in self.nodes.clone() {
            if !self.servers.contains_key(&node) {
                continue;
            }
            // Who looks at a deadline has polled everything.
            self.drain(node);
            let server = self.servers.get_mut(&node).expect("just seen");
            if server.replica.next_deadline().is_some_and(|deadline| deadline <= self.now) {
                server.replica.handle_timer(self.now);
                self.turn(node);
            }
        }
    }

    /// A server was handed an input: carries out what comes of it, now or after further inputs.
    fn turn(&mut self, node: NodeId) {
        if !self.gathers || self.rng.chance(1, 3) {
            self.drain(node);
        }
    }

    fn drain(&mut self, node: NodeId) {
        let mut again = true;
        while core::mem::take(&mut again) {
            let server = self.servers.get_mut(&node).expect("a live server");
            while let Some(action) = server.replica.poll_action() {
                again |= matches!(action, Action::Commit(_));
                match action {
                    Action::Multicast(payload) => server.unsubmitted.push_back(payload),
                    Action::Persist { ticket, record } => {
                        // What is written can be read back.
                        let decoded = Decode::from_bytes(&record.to_bytes());
                        assert!(decoded == Ok(record.clone()), "a record changes on its way");
                        server.unsynced.push_back((ticket, record));
                    }
                    Action::Peer { to, message } => self.peers.push((node, to, message)),
                    Action::Commit(entry) => {
                        commit(server, entry, &mut self.committed, &mut self.acknowledged);
                        self.counters.commits += 1;
                    }
                    Action::Install { index, state } => {
                        server.applied = Applied::decode(&state);
                        server.applied_index = index;
                        self.counters.installs += 1;
                    }
                    Action::SnapshotWanted => {
                        let (frame, state) =
                            (server.replica.wanted_frame(), server.applied.encode());
                        server.jobs.push(Job::Image(frame, state));
                    }
                    Action::SnapshotReceived { number, bytes } => {
                        server.jobs.push(Job::Received(number, bytes));
                    }
                    Action::Opened { .. } => self.counters.opened += 1,
                    Action::BarrierDone { up_to, index } => {
                        let done = server.reads.iter_mut().filter(|read| read.barrier <= up_to);
                        done.for_each(|read| {
                            read.index.get_or_insert(index);
                        });
                    }
                    Action::Halt(reason) => server.halted = Some(reason),
                    Action::Closed(_) | Action::VotersChanged { .. } | Action::Standing(_) => {}
                }
            }
            serve_reads(server, &mut self.counters);
        }
        let server = self.servers.get_mut(&node).expect("a live server");
        while let Some(payload) = server.unsubmitted.front() {
            if self.group.submit(node, payload.clone()).is_err() {
                break;
            }
            server.unsubmitted.pop_front();
        }
    }

    /// One random thing that can happen while faults are allowed.
    pub fn step(&mut self) {
        let node = self.nodes[self.rng.below(self.nodes.len() as u64) as usize];
        match self.rng.below(1000) {
            0..=4 => {
                let sides = 1 + self.rng.below(3);
                let mut partition = vec![Vec::new(); sides as usize];
                for node in self.nodes.clone() {
                    let side = self.rng.below(sides) as usize;
                    partition[side].push(node);
                }
                partition.retain(|side| !side.is_empty());
                self.form_views(partition, (1, 3));
            }
            5..=7 if self.durability == Durability::Persistent => self.crash(node),
            // Forgetting is survived only while a majority remembers, so mostly it waits for that.
            8..=9 if self.all_remember() || self.rng.chance(1, 100) => self.wipe(node),
            10..=30 if !self.servers.contains_key(&node) => {
                if self.rng.chance(1, 4) {
                    self.swap_back(node);
                }
                self.restart(node);
                let partition = self.partition.clone();
                self.form_views(partition, (0, 1));
            }
            31..=150 => self.propose(node),
            151..=180 => self.read(node),
            181..=300 => {
                let records_max = 1 + self.rng.below(4) as usize;
                self.sync(node, records_max);
            }
            301..=500 => {
                self.deliver_peer(true);
            }
            501..=520 => self.tick(Duration::from_millis(200)),
            521..=640 => {
                self.group.order(node);
            }
            641..=643 => {
                self.group.abandon(node);
            }
            644..=660 => {
                self.work(node);
            }
            _ => {
                self.deliver(node);
            }
        }
    }

    /// Heals everything and lets it settle.
    pub fn settle(&mut self) {
        self.gathers = false;
        for node in self.nodes.clone() {
            match self.servers.contains_key(&node) {
                true => self.drain(node),
                false => self.restart(node),
            }
        }
        for node in self.nodes.clone() {
            while self.deliver(node) {}
        }
        self.group.form_views(core::slice::from_ref(&self.nodes));
        self.partition = vec![self.nodes.clone()];
        for _ in 0..100_000 {
            let mut busy = false;
            for node in self.nodes.clone() {
                busy |= self.group.order(node);
                busy |= self.deliver(node);
                busy |= self.sync(node, usize::MAX);
                busy |= self.work(node);
            }
            busy |= self.deliver_peer(false);
            if !busy {
                let deadline =
                    self.servers.values().filter_map(|s| s.replica.next_deadline()).min();
                match deadline {
                    Some(deadline) => self.tick(deadline.since(self.now)),
                    None => return,
                }
            }
        }
        panic!("the healed cluster does not come to rest");
    }
}

fn commit(
    server: &mut Server,
    entry: Entry,
    committed: &mut BTreeMap<Index, Entry>,
    acknowledged: &mut BTreeSet<u64>,
) {
    assert_eq!(entry.index, server.applied_index.next(), "commits come without gaps");
    let agreed = committed.entry(entry.index).or_insert_with(|| entry.clone());
    assert_eq!(*agreed, entry, "committed prefixes agree");
    server.applied_index = entry.index;
    if let Body::Batch { origin, salt, commands: batch, .. } = &entry.body {
        for command in commands(batch) {
            server.applied.apply(&command);
            if *origin == server.replica.node() && *salt == server.replica.salt() {
                acknowledged.insert(Reader::new(command).u64().unwrap());
            }
        }
    }
    if server.replica.wants_digest(entry.index) {
        server.replica.note_digest(entry.index, server.applied.digest);
    }
}

fn serve_reads(server: &mut Server, counters: &mut Counters) {
    let Server { reads, applied, applied_index, .. } = server;
    reads.retain(|read| {
        let Some(index) = read.index.filter(|index| index <= applied_index) else { return true };
        for id in &read.must_contain {
            assert!(applied.counts.contains_key(id), "a read at {index} misses {id}");
        }
        counters.reads += 1;
        false
    });
}
