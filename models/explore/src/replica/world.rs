//! The state of the model, and what each action does to it.
//!
//! Messages are ordered as soon as they are submitted: which of two comes first depends on who acts
//! first, which the checker chooses. What the adversarial group may lose, and to whom, is chosen
//! when a view forms.

use super::bounds::{Bounds, Grain, Prologue, Used, Without};
use super::oracle::Oracle;
use super::server::{Effects, Server};
use crate::flaw::{self, Flaw};
use crate::kept::{Fingerprint, Kept};
use accord_core::fingerprint;
use accord_core::group::adversary::{AdversarialGroup, AdversaryLimits, Loss};
use accord_core::ids::{Era, NodeId, StoreId};
use accord_core::replica::Replica;
use accord_core::replica::config::{Durability, ReplicaConfig};
use accord_core::replica::io::Record;
use accord_core::replica::log::Recovered;
use accord_core::replica::voters::VoterChange;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

/// What is on a disk and survives a crash.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// What was written and synced.
    pub records: Vec<Record>,
    /// The era that its server had met when it was last in sync.
    pub met: Era,
}

impl Fingerprint for Disk {
    fn fingerprint(&self) -> u64 {
        fingerprint::of(self)
    }
}

impl Fingerprint for AdversarialGroup {
    fn fingerprint(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// A message between two servers, beside the group: from, to, what.
pub type PeerMessage = (NodeId, NodeId, Bytes);

/// The whole of the modelled world.
#[derive(Clone)]
pub struct State {
    /// The group layers of all servers.
    pub group: Kept<AdversarialGroup>,
    /// The servers that are up.
    pub servers: BTreeMap<NodeId, Kept<Server>>,
    /// All disks.
    pub disks: BTreeMap<NodeId, Kept<Disk>>,
    /// Disks that were taken out.
    pub drawer: BTreeMap<NodeId, Kept<Disk>>,
    /// Servers that stand still.
    pub paused: BTreeSet<NodeId>,
    /// Messages beside the group. Each may be delivered at any time, once, or never.
    pub peers: BTreeSet<PeerMessage>,
    /// What must hold.
    pub oracle: Kept<Oracle>,
    /// What has happened.
    pub used: Used,
    /// What went wrong first.
    pub flaw: Option<Flaw>,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (&self.group, &self.servers, &self.disks, &self.drawer, &self.paused).hash(hasher);
        (&self.peers, &self.oracle, &self.used, &self.flaw).hash(hasher);
    }
}
impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        let one = (&self.group, &self.servers, &self.disks, &self.drawer, &self.paused);
        let rest = (&self.peers, &self.oracle, &self.used, &self.flaw);
        one == (&other.group, &other.servers, &other.disks, &other.drawer, &other.paused)
            && rest == (&other.peers, &other.oracle, &other.used, &other.flaw)
    }
}

/// What can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A client writes at a server.
    Write(NodeId),
    /// A client reads at a server.
    Read(NodeId),
    /// A server is delivered what waits for it in the group: one event, or all.
    Deliver(NodeId),
    /// What a server has written is durable.
    Sync(NodeId),
    /// A message beside the group arrives: the one at this place.
    Peer(usize),
    /// A server's request for a transfer is taken for lost.
    Timeout(NodeId),
    /// A server stops; what it had not synced is gone.
    Crash(NodeId),
    /// A server stops, and its disk is taken out.
    Wipe(NodeId),
    /// A server starts with its disk, or an empty one if it has none.
    Start(NodeId),
    /// A server starts with the disk that was taken out.
    SwapBack(NodeId),
    /// A view forms.
    Form(Vec<NodeId>, Loss),
    /// An operator asks a server for a change of voters.
    Change(NodeId, VoterChange),
    /// An operator recovers the cluster from a server.
    Recover(NodeId),
    /// A server stops, if it is up, and starts with its other disk, the one in the drawer.
    Exchange(NodeId),
    /// An image of the state that has arrived is looked at.
    Look(NodeId),
    /// The state that a server holds in memory is damaged.
    Damage(NodeId),
    /// A server stands still from now on.
    Pause(NodeId),
    /// It goes on.
    Resume(NodeId),
}

impl State {
    /// The world in which exploration begins.
    pub fn initial(bounds: &Bounds) -> Self {
        let nodes: Vec<NodeId> = (1..=bounds.voters + bounds.observers).map(NodeId).collect();
        let mut state = Self {
            group: Kept::new(AdversarialGroup::new(&nodes, AdversaryLimits::default(), 1)),
            servers: BTreeMap::new(),
            disks: nodes.iter().map(|node| (*node, Kept::new(Disk::default()))).collect(),
            drawer: BTreeMap::new(),
            paused: BTreeSet::new(),
            peers: BTreeSet::new(),
            oracle: Kept::new(Oracle::default()),
            used: Used::default(),
            flaw: None,
        };
        for node in &nodes {
            state.start(bounds, *node, true);
        }
        state.form(&nodes, Loss::Nothing);
        state.settle(bounds);
        match bounds.prologue {
            Prologue::Formed => {}
            Prologue::Apart(node) => {
                let others: Vec<NodeId> = nodes.into_iter().filter(|it| *it != node).collect();
                state.form(&others, Loss::Nothing);
                state.form(&[node], Loss::Nothing);
                state.settle(bounds);
            }
            Prologue::Wiped(node) => {
                state.crash(node);
                state.take_disk(node);
                state.start(bounds, node, false);
                state.form(&nodes, Loss::Nothing);
            }
            Prologue::Lost(without) => state.lose_others(bounds, &nodes, without),
            Prologue::Recovered(without) => {
                state.lose_others(bounds, &nodes, without);
                state.act(bounds, &Action::Recover(nodes[0]));
                for node in &nodes[1..] {
                    state.exchange(bounds, *node);
                    state.form(&[*node], Loss::Nothing);
                }
                state.settle(bounds);
            }
        }
        let Used { wipes, ops, .. } = state.used;
        state.used = Used { wipes, ops, ..Used::default() };
        state
    }

    /// Cuts server 1 off from the others, who then are lost; their disks are found later.
    fn lose_others(&mut self, bounds: &Bounds, nodes: &[NodeId], without: Without) {
        let (first, others) = (nodes[0], &nodes[1..]);
        if without == Without::Less {
            let (last, rest) = nodes.split_last().expect("there are servers");
            self.form(rest, Loss::Nothing);
            self.form(&[*last], Loss::Nothing);
            self.settle(bounds);
        }
        self.act(bounds, &Action::Write(first));
        self.settle(bounds);
        if without == Without::More {
            self.act(bounds, &Action::Write(first));
            self.act(bounds, &Action::Write(first));
            self.deliver(bounds, first);
            self.form(others, Loss::Ordered);
            self.form(&[first], Loss::Nothing);
            self.settle(bounds);
            self.act(bounds, &Action::Write(others[0]));
            self.settle(bounds);
        }
        for node in others {
            self.crash(*node);
            let disk = self.disks.insert(*node, Kept::new(Disk::default()));
            self.drawer.insert(*node, disk.expect("every server has a disk"));
        }
        self.form(&[first], Loss::Nothing);
        self.settle(bounds);
    }

    /// Lets everything happen that needs no decision, until nothing is left.
    pub fn settle(&mut self, bounds: &Bounds) {
        let nodes: Vec<NodeId> = self.disks.keys().copied().collect();
        let mut busy = true;
        while busy && self.flaw.is_none() {
            busy = false;
            for node in &nodes {
                for action in [Action::Deliver(*node), Action::Sync(*node)] {
                    if self.is_possible(&action) {
                        self.act(bounds, &action);
                        busy = true;
                    }
                }
            }
            while let Some(at) = self.next_peer() {
                self.act(bounds, &Action::Peer(at));
                busy = true;
            }
        }
    }

    /// The first message beside the group whose receiver does not stand still.
    fn next_peer(&self) -> Option<usize> {
        self.peers.iter().position(|(_, to, _)| !self.paused.contains(to))
    }

    fn moves(&self, node: NodeId) -> bool {
        self.runs(node) && !self.paused.contains(&node)
    }

    /// True if the server is up and has not stopped itself.
    pub fn runs(&self, node: NodeId) -> bool {
        self.servers.get(&node).is_some_and(|server| server.halted.is_none())
    }

    /// True if an action that needs no decision has something to do.
    pub fn is_possible(&self, action: &Action) -> bool {
        match action {
            Action::Deliver(node) => self.moves(*node) && self.group.peek(*node).is_some(),
            Action::Sync(node) => self.moves(*node) && !self.servers[node].unsynced.is_empty(),
            Action::Timeout(node) => {
                self.runs(*node) && self.servers[node].replica.next_deadline().is_some()
            }
            Action::Pause(node) => self.moves(*node),
            Action::Resume(node) => self.paused.contains(node),
            Action::Look(node) => self.moves(*node) && self.servers[node].has_received(),
            Action::Recover(node) => {
                let asked = |node| self.servers[node].replica.clone().force_recovery().is_ok();
                self.runs(*node) && asked(node)
            }
            Action::Damage(node) => self.runs(*node) && !self.servers[node].damaged,
            Action::Exchange(node) => self.drawer.contains_key(node),
            _ => true,
        }
    }

    /// Does one action, which must be possible.
    pub fn act(&mut self, bounds: &Bounds, action: &Action) {
        let now = self.used;
        let next_op = now.ops + 1;
        match action {
            Action::Write(node) => {
                self.used = Used { ops: next_op, writes: now.writes + 1, ..now };
                self.step(*node, |server, effects| server.propose(next_op, effects));
            }
            Action::Read(node) => {
                self.used = Used { ops: next_op, reads: now.reads + 1, ..now };
                self.step(*node, |server, effects| server.read(next_op, effects));
            }
            Action::Deliver(node) => self.deliver(bounds, *node),
            Action::Sync(node) => self.sync(*node),
            Action::Peer(at) => self.deliver_peer(*at),
            Action::Timeout(node) => {
                self.used.timeouts += 1;
                self.step(*node, |server, effects| {
                    server.clock = server.replica.next_deadline().expect("it was possible");
                    server.replica.handle_timer(server.clock);
                    server.drain(effects);
                });
            }
            Action::Crash(node) => {
                self.used.crashes += 1;
                self.crash(*node);
            }
            Action::Wipe(node) => {
                self.crash(*node);
                self.take_disk(*node);
            }
            Action::Start(node) => self.start(bounds, *node, false),
            Action::SwapBack(node) => {
                self.used.swaps += 1;
                let disk = self.drawer.remove(node).expect("it was possible");
                self.disks.insert(*node, disk);
                self.start(bounds, *node, false);
            }
            Action::Form(members, loss) => {
                self.used.views += 1;
                self.form(members, *loss);
            }
            Action::Change(node, change) => self.change(*node, *change),
            Action::Recover(node) => {
                self.used.recoveries += 1;
                self.step(*node, |server, effects| {
                    server.replica.force_recovery().expect("it was possible");
                    server.drain(effects);
                });
            }
            Action::Exchange(node) => self.exchange(bounds, *node),
            Action::Pause(node) => {
                self.used.pauses += 1;
                self.paused.insert(*node);
            }
            Action::Resume(node) => {
                self.paused.remove(node);
            }
            Action::Look(node) => self.step(*node, Server::look),
            Action::Damage(node) => {
                self.used.damages += 1;
                self.step(*node, |server, _| server.damaged = true);
            }
        }
    }

    fn change(&mut self, node: NodeId, change: VoterChange) {
        self.used.changes += 1;
        let request = u64::from(self.used.changes);
        self.step(node, |server, effects| {
            // A refusal is an answer as well.
            let _ = server.replica.change_voters(request, change);
            server.drain(effects);
        });
    }

    fn exchange(&mut self, bounds: &Bounds, node: NodeId) {
        self.used.exchanges += 1;
        if self.servers.contains_key(&node) {
            self.crash(node);
        }
        let other = self.drawer.remove(&node).expect("it was possible");
        let disk = self.disks.insert(node, other).expect("every server has a disk");
        self.drawer.insert(node, disk);
        self.start(bounds, node, false);
    }

    /// Lets a server do something, and carries out what it asks.
    fn step(&mut self, node: NodeId, act: impl FnOnce(&mut Server, &mut Effects)) {
        let mut group = None;
        let mut server = (*self.servers[&node]).clone();
        self.substep(&mut group, &mut server, act);
        self.keep(group, server);
    }

    /// One input of a step. The group is copied once it changes.
    fn substep(
        &mut self,
        group: &mut Option<AdversarialGroup>,
        server: &mut Server,
        act: impl FnOnce(&mut Server, &mut Effects),
    ) {
        let mut effects = Effects::default();
        match flaw::catch(|| act(server, &mut effects)) {
            Ok(()) => self.carry_out(group, server, effects),
            Err(flaw) => self.flaw = Some(flaw),
        }
    }

    fn carry_out(
        &mut self,
        group: &mut Option<AdversarialGroup>,
        server: &Server,
        effects: Effects,
    ) {
        let node = server.replica.node();
        if !effects.multicasts.is_empty() {
            let group = group.get_or_insert_with(|| (*self.group).clone());
            for payload in effects.multicasts {
                group.submit(node, payload).expect("a model has few messages");
            }
            while group.order(node) {}
        }
        for (to, message) in effects.peers {
            self.peers.insert((node, to, message));
        }
        if !effects.notes.is_empty() {
            let mut oracle = (*self.oracle).clone();
            let view = group.as_ref().unwrap_or(&self.group).view(node).map(|view| view.id);
            let flaw = oracle.hear(effects.notes, server, view);
            self.oracle = Kept::new(oracle);
            self.flaw = self.flaw.take().or(flaw);
        }
    }

    fn keep(&mut self, group: Option<AdversarialGroup>, server: Server) {
        if let Some(group) = group {
            self.group = Kept::new(group);
        }
        let before = self.servers.get(&server.replica.node());
        let dropped = before.and_then(|before| self.oracle.dropped(before, &server));
        self.flaw = self.flaw.take().or(dropped);
        // What it was told is on its disk as soon as nothing is on the way there.
        let node = server.replica.node();
        if server.unsynced.is_empty() && self.disks[&node].met < server.met {
            let disk = Disk { met: server.met, ..(*self.disks[&node]).clone() };
            self.disks.insert(node, Kept::new(disk));
        }
        self.servers.insert(server.replica.node(), Kept::new(server));
    }

    fn deliver(&mut self, bounds: &Bounds, node: NodeId) {
        let mut group = Some((*self.group).clone());
        let mut server = (*self.servers[&node]).clone();
        let mut again = true;
        while again && server.halted.is_none() && self.flaw.is_none() {
            let event = group.as_mut().and_then(|group| group.deliver_next(node));
            let Some(event) = event else { break };
            self.substep(&mut group, &mut server, |server, effects| {
                server.handle_group(event, effects);
            });
            again = bounds.grain != Grain::Event;
        }
        self.keep(group, server);
    }

    fn sync(&mut self, node: NodeId) {
        let mut disk = (*self.disks[&node]).clone();
        disk.met = self.servers[&node].met;
        self.step(node, |server, effects| disk.records.extend(server.sync(effects)));
        self.disks.insert(node, Kept::new(disk));
    }

    fn deliver_peer(&mut self, at: usize) {
        let message = self.peers.iter().nth(at).expect("it was possible").clone();
        self.peers.remove(&message);
        let (from, to, message) = message;
        if self.runs(to) {
            self.step(to, |server, effects| {
                server.replica.handle_peer(server.clock, from, &message);
                server.drain(effects);
            });
        }
    }

    fn crash(&mut self, node: NodeId) {
        self.paused.remove(&node);
        let server = self.servers.remove(&node).expect("it was possible");
        self.used.lost |= !server.unsynced.is_empty();
        let mut group = (*self.group).clone();
        group.crash(node);
        self.group = Kept::new(group);
    }

    fn take_disk(&mut self, node: NodeId) {
        self.used.wipes += 1;
        let disk = self.disks.insert(node, Kept::new(Disk::default()));
        self.drawer.insert(node, disk.expect("every server has a disk"));
    }

    fn start(&mut self, bounds: &Bounds, node: NodeId, bootstrap: bool) {
        let mut group = (*self.group).clone();
        group.start(node);
        let run = u64::from(node.0) << 8 | group.incarnation(node);
        self.group = Kept::new(group);
        let Disk { records, met } = (*self.disks[&node]).clone();
        let recovered = flaw::catch(|| {
            let recovered = Recovered::replay(node, records).expect("own records make sense");
            // A new disk has a new name.
            recovered.unwrap_or_else(|| Recovered::fresh(StoreId(run), bootstrap))
        });
        let config = ReplicaConfig {
            node,
            initial: (1..=bounds.voters).map(NodeId).collect(),
            durability: Durability::Persistent,
            limits: bounds.limits.clone(),
        };
        let begin = |it| {
            flaw::catch(|| Server::new(Replica::new(config, it, run), met, bounds.looks_later))
        };
        match recovered.and_then(begin) {
            Ok(mut server) => {
                let mut group = None;
                self.substep(&mut group, &mut server, Server::drain);
                self.keep(group, server);
            }
            Err(flaw) => self.flaw = Some(flaw),
        }
    }

    fn form(&mut self, members: &[NodeId], loss: Loss) {
        let mut group = (*self.group).clone();
        group.form_view(members, members[0], loss);
        self.group = Kept::new(group);
    }
}
