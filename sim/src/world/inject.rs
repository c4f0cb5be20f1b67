//! Faults begin and end.
//!
//! A plan may ask for more than the promises allow (to forget what a majority must remember); such
//! a fault is skipped and counted. Everything a fault does is taken back when it ends, and
//! overlapping faults are counted, so the world is whole again when all have ended.

use crate::judge::situations::Situation;
use crate::plan::{Fault, FaultKind};
use crate::world::World;
use crate::world::conns::{ToClient, ToServer};
use crate::world::digest::kind;
use crate::world::env::Event;
use crate::world::input::NodeInput;
use crate::world::node::Node;
use crate::world::who::Actor;
use accord_core::ids::{ConnId, NodeId, StoreId};
use accord_core::replica::config::Durability;
use accord_core::replica::voters::{VoterChange, VoterSet};
use accord_core::server::{AdminId, AdminRequest, Input};
use accord_core::time::Duration;

impl World {
    /// A fault of the plan begins.
    pub(crate) fn begin_fault(&mut self, number: usize) {
        let fault = self.plan.faults[number].clone();
        let begun = self.put_in_force(number, &fault.kind);
        let (line, what) = match begun {
            true => ("begins", kind::FAULT_BEGINS),
            false => ("is skipped", kind::FAULT_SKIPPED),
        };
        self.env.trace.numbered(self.env.now, Actor::World, what, number as u64, &[]);
        self.env.tell(Actor::World, || format!("{line}: {fault}"));
        if !begun {
            self.env.counts.faults_skipped += 1;
            return;
        }
        *self.env.counts.faults.entry(fault.kind.kind()).or_default() += 1;
        if let Some(record) = self.env.trace.record_mut() {
            record.fault_begins(self.env.now, number, &fault);
        }
        if fault.kind.kind().lasts() {
            self.active.insert(number);
            let ends = self.env.now.after(fault.lasts);
            self.env.agenda.push(ends, Event::FaultEnds(number));
        }
    }

    /// A fault of the plan ends, unless it has.
    pub(crate) fn end_fault(&mut self, number: usize) {
        if self.active.remove(&number) {
            let fault: Fault = self.plan.faults[number].clone();
            let what = kind::FAULT_ENDS;
            self.env.trace.numbered(self.env.now, Actor::World, what, number as u64, &[]);
            self.env.tell(Actor::World, || format!("ends: {fault}"));
            if let Some(record) = self.env.trace.record_mut() {
                record.fault_ends(self.env.now, number);
            }
            self.take_out(number, &fault.kind);
        }
    }

    /// Ends every fault that is in force.
    pub(crate) fn end_all_faults(&mut self) {
        while let Some(number) = self.active.first().copied() {
            self.end_fault(number);
        }
    }

    /// Puts a fault in force. False if it would have no meaning or ask too much.
    fn put_in_force(&mut self, number: usize, kind: &FaultKind) -> bool {
        match kind {
            FaultKind::Partition(_)
            | FaultKind::OneWay(..)
            | FaultKind::Sever(..)
            | FaultKind::Loss(_)
            | FaultKind::Duplicate(_)
            | FaultKind::Reorder(_)
            | FaultKind::Delay(_) => {
                self.env.network.begin(kind);
                self.env.reform_soon();
            }
            FaultKind::Crash(node) => return self.crash(*node),
            FaultKind::PowerLoss(node) => self.lose_power(*node),
            FaultKind::Blackout => (1..=self.nodes_count()).for_each(|node| self.lose_power(node)),
            FaultKind::StartKill(node) => self.fail_start(*node, false),
            FaultKind::StartLoss(node) => self.fail_start(*node, true),
            FaultKind::Recover => return self.begin_recovery(number),
            FaultKind::Wipe(node) => return self.wipe(*node),
            FaultKind::Rot(node) => return self.rot(*node),
            FaultKind::Swap(node) => return self.swap_out(*node),
            FaultKind::Pause(node) => {
                self.node_mut(*node).pauses += 1;
                self.env.tell(Actor::Server(*node), || "is paused".to_owned());
                if let Some(adversary) = &mut self.env.adversary {
                    adversary.group.pause(NodeId(*node));
                }
                self.env.reform_soon();
            }
            FaultKind::ClockRate(node, percent) => {
                let now = self.env.now;
                self.env.judges.leases.on_clock_moved();
                self.node_mut(*node).clock.set_rate(now, *percent);
                self.with_node(*node, |node, env, _| node.on_clock_changed(env));
            }
            FaultKind::ClockLeap(node, by) => {
                let now = self.env.now;
                self.env.judges.leases.on_clock_moved();
                self.node_mut(*node).clock.leap(now, *by);
                self.with_node(*node, |node, env, _| node.on_clock_changed(env));
            }
            FaultKind::SlowDisk(node, by) => self.node_mut(*node).disk.begin_slowness(*by),
            FaultKind::FailDisk(node) => self.node_mut(*node).disk.set_failing(true),
            FaultKind::AddVoter(node) => return self.add_voter(*node),
            FaultKind::RemoveVoter(node) => return self.remove_voter(*node),
            FaultKind::HangUp(node) => return self.hang_up(*node),
            FaultKind::Unreachable(node) => self.env.conns.cut_server(*node, true),
            FaultKind::Isolate(client) => self.env.conns.cut_client(*client, true),
            FaultKind::Gone(client) => self.replace_client(*client),
            FaultKind::Amnesia => return self.lose_majority(number),
            FaultKind::Oblivion => return self.lose_everybody(number),
            FaultKind::Damage(node) => return self.damage(*node),
        }
        true
    }

    fn take_out(&mut self, number: usize, kind: &FaultKind) {
        match kind {
            FaultKind::Partition(_)
            | FaultKind::OneWay(..)
            | FaultKind::Sever(..)
            | FaultKind::Loss(_)
            | FaultKind::Duplicate(_)
            | FaultKind::Reorder(_)
            | FaultKind::Delay(_) => {
                self.env.network.end(kind);
                self.env.reform_soon();
            }
            FaultKind::Crash(node)
            | FaultKind::PowerLoss(node)
            | FaultKind::StartKill(node)
            | FaultKind::StartLoss(node)
            | FaultKind::Wipe(node)
            | FaultKind::Rot(node) => self.raise(*node),
            FaultKind::Recover => self.end_recovery(),
            FaultKind::Swap(node) => self.swap_back(*node),
            FaultKind::Blackout => (1..=self.nodes_count()).for_each(|node| self.raise(node)),
            FaultKind::Amnesia | FaultKind::Oblivion => {
                for node in self.forgotten.remove(&number).unwrap_or_default() {
                    self.raise(node);
                }
            }
            FaultKind::Pause(node) => {
                if let Some(adversary) = &mut self.env.adversary
                    && self.nodes[*node as usize - 1].pauses == 1
                {
                    adversary.group.resume(NodeId(*node));
                }
                self.with_node(*node, |node, env, options| node.resume(env, options));
                self.env.reform_soon();
            }
            FaultKind::ClockRate(node, _) => {
                let now = self.env.now;
                self.node_mut(*node).clock.set_rate(now, 100);
                self.with_node(*node, |node, env, _| node.on_clock_changed(env));
            }
            FaultKind::SlowDisk(node, by) => self.node_mut(*node).disk.end_slowness(*by),
            FaultKind::FailDisk(node) => self.node_mut(*node).disk.set_failing(false),
            FaultKind::Unreachable(node) => {
                self.env.conns.cut_server(*node, false);
                self.break_connections();
            }
            FaultKind::Isolate(client) => {
                self.env.conns.cut_client(*client, false);
                self.break_connections();
            }
            FaultKind::ClockLeap(..)
            | FaultKind::AddVoter(_)
            | FaultKind::RemoveVoter(_)
            | FaultKind::HangUp(_)
            | FaultKind::Gone(_)
            | FaultKind::Damage(_) => unreachable!("{kind} is over at once"),
        }
    }

    /// The process dies and is kept down.
    pub(crate) fn take_down(&mut self, node: u32) {
        self.node_mut(node).downs += 1;
        self.with_node(node, |node, env, _| node.kill(env));
        self.env.reform_soon();
    }

    /// One fault less keeps the server down: if it was the last, the process starts.
    pub(crate) fn raise(&mut self, node: u32) {
        let machine = self.node_mut(node);
        machine.downs = machine.downs.checked_sub(1).expect("a fault ends once, after it began");
        if machine.downs == 0 && !machine.stopped {
            self.start_node(node);
        }
    }

    fn crash(&mut self, node: u32) -> bool {
        if self.options().mode == Durability::Memory {
            return self.wipe(node);
        }
        self.take_down(node);
        true
    }

    fn fail_start(&mut self, node: u32, power: bool) {
        self.take_down(node);
        self.node_mut(node).disk.fail_start(NodeId(node), power);
        self.env.met(Situation::FailedStart);
    }

    pub(crate) fn lose_power(&mut self, node: u32) {
        self.node_mut(node).disk.power_fails();
        self.take_down(node);
        self.node_mut(node).disk.lose_power();
    }

    fn wipe(&mut self, node: u32) -> bool {
        if !self.may_forget(&[node]) {
            return false;
        }
        self.take_down(node);
        self.forget(node);
        true
    }

    /// Everything that the machine remembers is gone.
    pub(crate) fn forget(&mut self, node: u32) {
        self.node_mut(node).forget();
        self.env.judges.durable.forget(node);
    }

    fn rot(&mut self, node: u32) -> bool {
        if !self.may_forget(&[node]) {
            return false;
        }
        self.take_down(node);
        let machine = self.node_mut(node);
        machine.disk.rot();
        // Whether the damage is found decides the next start; until then nobody may rely on the
        // disk.
        machine.store = None;
        self.env.judges.durable.forget(node);
        true
    }

    fn swap_out(&mut self, node: u32) -> bool {
        if self.node_mut(node).aside.is_some() || !self.may_forget(&[node]) {
            return false;
        }
        self.take_down(node);
        self.node_mut(node).swap_out();
        self.env.judges.durable.forget(node);
        self.raise(node);
        true
    }

    /// What the new disk holds may be needed by now; then the old one stays out for ever.
    fn swap_back(&mut self, node: u32) {
        if !self.may_forget(&[node]) {
            self.node_mut(node).aside = None;
            return;
        }
        self.take_down(node);
        self.node_mut(node).swap_back();
        self.env.judges.durable.forget(node);
        self.raise(node);
    }

    /// A majority of the voters loses its memory, with all that was acknowledged.
    fn lose_majority(&mut self, number: usize) -> bool {
        let Some(voters) = self.voter_sets().into_iter().next_back() else { return false };
        if !self.formed() || self.amnesia.is_some() {
            return false;
        }
        let intact: Vec<u32> = voters
            .voters
            .iter()
            .filter(|(node, store)| self.remembers(**node, **store))
            .map(|(node, _)| node.0)
            .collect();
        if voters.voters.len() < 3 || intact.len() < voters.quorum() {
            return false;
        }
        let lost: Vec<u32> = intact.into_iter().take(voters.quorum()).collect();
        self.lose_memory(number, lost);
        true
    }

    fn lose_everybody(&mut self, number: usize) -> bool {
        if !self.formed() || self.amnesia.is_some() {
            return false;
        }
        self.lose_memory(number, (1..=self.nodes_count()).collect());
        true
    }

    fn lose_memory(&mut self, number: usize, lost: Vec<u32>) {
        for node in &lost {
            self.take_down(*node);
            self.forget(*node);
        }
        self.forgotten.insert(number, lost);
        self.amnesia = Some(self.env.now);
    }

    /// True if a cluster exists: from then on, who forgets must be readmitted.
    pub(crate) fn formed(&self) -> bool {
        self.env.judges.prefixes.last().0 > 0
    }

    pub(crate) fn remembers(&self, node: NodeId, store: StoreId) -> bool {
        self.nodes.get(node.0 as usize - 1).is_some_and(|node| node.store == Some(store))
    }

    /// Every voter set that may be in force, or come in force: those at the end of living logs,
    /// those of servers that are down as last seen, and what changes under way would make of them.
    pub(crate) fn voter_sets(&self) -> Vec<VoterSet> {
        let mut sets: Vec<_> = self.nodes.iter().filter_map(Node::voters).collect();
        sets.sort_by_key(|(last, _)| *last);
        sets.into_iter().map(|(_, set)| set).filter(|set| !set.is_empty()).collect()
    }

    /// True if enough voters remember, even if these servers forget.
    fn may_forget(&self, forgetting: &[u32]) -> bool {
        let changes = self.changes.clone();
        let sets = self.voter_sets();
        // What is left of a lost majority is all that there is.
        !self.awaits_recovery()
            && self.formed()
            && !sets.is_empty()
            && sets.iter().all(|set| {
                let changed = changes.iter().filter_map(|change| set.changed(*change).ok());
                std::iter::once(set.clone()).chain(changed).all(|set| {
                    let intact = set.voters.iter().filter(|(node, store)| {
                        !forgetting.contains(&node.0) && self.remembers(**node, **store)
                    });
                    intact.count() >= set.quorum()
                })
            })
    }

    fn add_voter(&mut self, node: u32) -> bool {
        let Some(store) = self.node_mut(node).store else { return false };
        let addition = VoterChange::Add { node: NodeId(node), store };
        self.changes.push(addition);
        self.change_voters(addition)
    }

    fn remove_voter(&mut self, node: u32) -> bool {
        let Some(set) = self.voter_sets().pop() else { return false };
        let Some(store) = set.voters.get(&NodeId(node)).copied() else { return false };
        let removal = VoterChange::Remove { node: NodeId(node), store, returning: false };
        self.changes.push(removal);
        let outvoted = self.is_damaged() && !self.outvotes_one();
        if !self.may_forget(&[]) || set.voters.len() <= 1 || outvoted {
            self.changes.pop();
            return false;
        }
        self.change_voters(removal)
    }

    fn change_voters(&mut self, change: VoterChange) -> bool {
        // Not always the same one: two servers may ask at the same moment.
        let first = self.changes.len() % self.nodes.len();
        let (before, after) = self.nodes.split_at(first);
        let primary = after.iter().chain(before).find(|node| {
            let epoch = node.process.as_ref().and_then(|it| it.server.replica().open_epoch());
            node.pauses == 0 && epoch.is_some()
        });
        let Some(primary) = primary.map(|node| node.id) else { return false };
        let (admin, request) = (AdminId(self.env.counts.core_events), change);
        let request = AdminRequest::ChangeVoters(request);
        self.tell_node(primary, NodeInput::Server(Box::new(Input::Admin { admin, request })));
        true
    }

    /// The state of a server is damaged, unless the others could not tell.
    fn damage(&mut self, node: u32) -> bool {
        let lasting = self.options().mode == Durability::Persistent;
        let recovers = self.recovering.is_some() || self.amnesia.is_some();
        if !lasting || recovers || self.is_damaged() || !self.formed() || !self.outvotes_one() {
            return false;
        }
        let Some(process) = &mut self.node_mut(node).process else { return false };
        process.server.damage();
        self.env.judges.divergence.on_damaged(NodeId(node));
        true
    }

    /// True if the state of a server is damaged now.
    pub(crate) fn is_damaged(&self) -> bool {
        self.nodes.iter().filter_map(|node| node.process.as_ref()).any(|it| it.server.is_damaged())
    }

    /// True if the voters without any one of them are a majority, whatever changes come in force.
    fn outvotes_one(&self) -> bool {
        let sets = self.voter_sets();
        let several = |set: &VoterSet| set.voters.len() >= 3;
        !sets.is_empty()
            && sets.iter().all(|set| {
                let removals = |change: &&VoterChange| matches!(change, VoterChange::Remove { .. });
                let removals = self.changes.iter().filter(removals);
                let mut changed = removals.filter_map(|change| set.changed(*change).ok());
                several(set) && changed.all(|set| several(&set))
            })
    }

    fn hang_up(&mut self, node: u32) -> bool {
        let conns = self.env.conns.of_server(node);
        for conn in &conns {
            let disconnected = Input::Disconnected { conn: *conn };
            self.env.close_down(*conn);
            self.tell_node(node, NodeInput::Server(Box::new(disconnected)));
        }
        !conns.is_empty()
    }

    /// Tells both ends of broken connections.
    fn break_connections(&mut self) {
        for conn in self.env.conns.broken_and_free() {
            self.break_connection(conn);
        }
    }

    fn break_connection(&mut self, conn: ConnId) {
        let soon = self.env.now.after(Duration::from_millis(1));
        self.env.conns.get(conn).broken = true;
        self.env.agenda.push(soon, Event::ToServer(conn, ToServer::Closed));
        self.env.agenda.push(soon, Event::ToClient(conn, ToClient::Closed));
    }
}
