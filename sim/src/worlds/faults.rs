//! Faults of a plan in a simulated world: the same as in the bare world, done to real servers.
//!
//! A plan may ask for more than the promises allow (to forget what a majority must remember); such
//! a fault is skipped and counted, as everywhere.

use super::fault_driver::FaultDriver;
use super::host::Host;
use super::machine::formed;
use super::simulator::Control;
use crate::plan::{FaultKind, Nodes};
use crate::world::env::Event;
use accord_core::ids::{NodeId, StoreId};
use accord_core::replica::config::Durability;
use accord_core::replica::voters::{VoterChange, VoterSet};
use accord_core::server::{AdminId, AdminRequest, Input};
use accord_core::time::{Duration, DurationExt};

/// Administration of the world's own, which no operator's number can be.
const ADMIN: AdminId = AdminId(u64::MAX);

impl FaultDriver {
    /// A fault of the plan begins.
    pub(super) fn begin_fault(&mut self, number: usize, control: &mut dyn Control) {
        let fault = self.harness.plan.faults[number].clone();
        let begun = self.put_in_force(number, &fault.kind, control);
        let line = if begun { "begins" } else { "is skipped" };
        self.tell(|| format!("{line}: {fault}"));
        if !begun {
            self.harness.env.borrow_mut().counts.faults_skipped += 1;
            return;
        }
        let kind = fault.kind.kind();
        *self.harness.env.borrow_mut().counts.faults.entry(kind).or_default() += 1;
        if kind.lasts() {
            self.active.insert(number);
            self.schedule(fault.lasts, Event::FaultEnds(number));
        }
    }

    /// A fault of the plan ends, unless it has.
    pub(super) fn end_fault(&mut self, number: usize, control: &mut dyn Control) {
        if self.active.remove(&number) {
            let fault = self.harness.plan.faults[number].clone();
            self.tell(|| format!("ends: {fault}"));
            self.take_out(number, &fault.kind, control);
        }
    }

    /// Puts a fault in force. False if it would have no meaning or ask too much.
    fn put_in_force(&mut self, number: usize, kind: &FaultKind, control: &mut dyn Control) -> bool {
        let harness = self.harness.clone();
        match kind {
            FaultKind::Partition(_)
            | FaultKind::OneWay(..)
            | FaultKind::Sever(..)
            | FaultKind::Loss(_)
            | FaultKind::Duplicate(_)
            | FaultKind::Reorder(_)
            | FaultKind::Delay(_) => {
                harness.env.borrow_mut().network.begin(kind);
                self.cut_servers(kind, true);
            }
            FaultKind::Crash(node) => return self.crash(*node, control),
            FaultKind::PowerLoss(node) => self.lose_power(*node, control),
            FaultKind::Blackout => self.all().for_each(|node| self.lose_power(node, control)),
            FaultKind::StartKill(_)
            | FaultKind::StartLoss(_)
            | FaultKind::Recover
            | FaultKind::Damage(_) => return false,
            FaultKind::Wipe(node) => return self.wipe(*node, control),
            FaultKind::Rot(node) => return self.rot(*node, control),
            FaultKind::Swap(node) => return self.swap_out(*node, control),
            FaultKind::Pause(node) => {
                let machine = &mut *harness.machine(*node).borrow_mut();
                machine.pauses += 1;
                machine.set_paused();
            }
            FaultKind::ClockRate(node, percent) => self.set_rate(*node, *percent),
            FaultKind::ClockLeap(node, by) => {
                let now = harness.env.borrow().now;
                harness.env.borrow_mut().judges.leases.on_clock_moved();
                harness.machine(*node).borrow().clock.change(|clock| clock.leap(now, *by));
            }
            FaultKind::SlowDisk(node, by) => {
                let machine = &mut *harness.machine(*node).borrow_mut();
                machine.slowness += *by;
            }
            FaultKind::FailDisk(node) => harness.machine(*node).borrow_mut().failing = true,
            FaultKind::AddVoter(node) => return self.add_voter(*node),
            FaultKind::RemoveVoter(node) => return self.remove_voter(*node),
            FaultKind::HangUp(node) => return self.hang_up(*node),
            FaultKind::Unreachable(node) => self.cut_clients(*node, true),
            FaultKind::Isolate(client) => self.isolate(*client, true),
            FaultKind::Gone(client) => harness.client(*client).borrow().take_away(),
            FaultKind::Amnesia => return self.lose_majority(number, control),
            FaultKind::Oblivion => return self.lose_everybody(number, control),
        }
        true
    }

    fn take_out(&mut self, number: usize, kind: &FaultKind, control: &mut dyn Control) {
        let harness = self.harness.clone();
        match kind {
            FaultKind::Partition(_)
            | FaultKind::OneWay(..)
            | FaultKind::Sever(..)
            | FaultKind::Loss(_)
            | FaultKind::Duplicate(_)
            | FaultKind::Reorder(_)
            | FaultKind::Delay(_) => {
                harness.env.borrow_mut().network.end(kind);
                self.cut_servers(kind, false);
            }
            FaultKind::Crash(node)
            | FaultKind::PowerLoss(node)
            | FaultKind::Wipe(node)
            | FaultKind::Rot(node) => self.raise(*node, control),
            FaultKind::Swap(node) => self.swap_back(*node, control),
            FaultKind::Blackout => self.all().for_each(|node| self.raise(node, control)),
            FaultKind::Amnesia | FaultKind::Oblivion => {
                for node in self.forgotten.remove(&number).unwrap_or_default() {
                    self.raise(node, control);
                }
            }
            FaultKind::Pause(node) => {
                let machine = &mut *harness.machine(*node).borrow_mut();
                machine.pauses = machine.pauses.checked_sub(1).expect("a fault ends once");
                machine.set_paused();
            }
            FaultKind::ClockRate(node, _) => self.set_rate(*node, 100),
            FaultKind::SlowDisk(node, by) => {
                let machine = &mut *harness.machine(*node).borrow_mut();
                let left = machine.slowness.to_nanos().checked_sub(by.to_nanos());
                machine.slowness = Duration::from_nanos(left.expect("a fault ends once"));
            }
            FaultKind::FailDisk(node) => harness.machine(*node).borrow_mut().failing = false,
            FaultKind::Unreachable(node) => self.cut_clients(*node, false),
            FaultKind::Isolate(client) => self.isolate(*client, false),
            FaultKind::StartKill(_)
            | FaultKind::StartLoss(_)
            | FaultKind::Recover
            | FaultKind::Damage(_) => {
                unreachable!("{kind} is left out of these worlds' plans")
            }
            FaultKind::ClockLeap(..)
            | FaultKind::AddVoter(_)
            | FaultKind::RemoveVoter(_)
            | FaultKind::HangUp(_)
            | FaultKind::Gone(_) => unreachable!("{kind} is over at once"),
        }
    }

    fn all(&self) -> impl Iterator<Item = u32> + use<> {
        1..=self.harness.options().nodes()
    }

    fn set_rate(&self, node: u32, percent: u32) {
        let now = self.harness.env.borrow().now;
        self.harness.env.borrow_mut().judges.leases.on_clock_moved();
        self.harness.machine(node).borrow().clock.change(|clock| clock.set_rate(now, percent));
    }

    fn cut_servers(&self, kind: &FaultKind, begin: bool) {
        let cut = |from: Nodes, to: Nodes| {
            for from in from.iter() {
                for to in to.iter().filter(|to| *to != from) {
                    self.harness.cut(Host::Server(from), Host::Server(to), begin);
                }
            }
        };
        match kind {
            FaultKind::Partition(side) => {
                let others = self.all().filter(|node| !side.contains(*node)).collect();
                cut(*side, others);
                cut(others, *side);
            }
            FaultKind::OneWay(from, to) => cut(*from, *to),
            FaultKind::Sever(a, b) => self.cut_both(Host::Server(*a), Host::Server(*b), begin),
            _ => {}
        }
    }

    fn cut_clients(&self, node: u32, begin: bool) {
        for client in 1..=self.harness.options().clients {
            self.cut_both(Host::Server(node), Host::Client(client), begin);
        }
    }

    fn isolate(&self, client: u32, begin: bool) {
        for node in self.all() {
            self.cut_both(Host::Server(node), Host::Client(client), begin);
        }
    }

    /// The process dies and is kept down.
    fn take_down(&self, node: u32, control: &mut dyn Control) {
        let died = {
            let machine = &mut *self.harness.machine(node).borrow_mut();
            machine.downs += 1;
            let died = machine.downs == 1 && !machine.stopped;
            machine.stop();
            died
        };
        if died {
            self.harness.env.borrow_mut().counts.crashes += 1;
            control.crash(node);
        }
    }

    /// One fault less keeps the server down: if it was the last, the process starts.
    fn raise(&self, node: u32, control: &mut dyn Control) {
        let starts = {
            let machine = &mut *self.harness.machine(node).borrow_mut();
            machine.downs = machine.downs.checked_sub(1).expect("a fault ends once");
            machine.downs == 0 && !machine.stopped
        };
        if starts {
            control.restart(node);
        }
    }

    fn crash(&self, node: u32, control: &mut dyn Control) -> bool {
        if self.harness.options().mode == Durability::Memory {
            return self.wipe(node, control);
        }
        self.take_down(node, control);
        true
    }

    fn lose_power(&self, node: u32, control: &mut dyn Control) {
        let engine = self.harness.machine(node).borrow().engine.clone();
        engine.borrow_mut().power_fails();
        self.take_down(node, control);
        engine.borrow_mut().lose_power();
    }

    fn wipe(&self, node: u32, control: &mut dyn Control) -> bool {
        if !self.may_forget(&[node]) {
            return false;
        }
        self.take_down(node, control);
        self.harness.machine(node).borrow_mut().forget();
        true
    }

    fn rot(&self, node: u32, control: &mut dyn Control) -> bool {
        if !self.may_forget(&[node]) {
            return false;
        }
        self.take_down(node, control);
        let machine = &mut *self.harness.machine(node).borrow_mut();
        machine.engine.borrow_mut().rot();
        // Whether the damage is found decides the next start; until then nobody may rely on the
        // disk.
        machine.store = None;
        true
    }

    fn swap_out(&self, node: u32, control: &mut dyn Control) -> bool {
        if self.harness.machine(node).borrow().aside.is_some() || !self.may_forget(&[node]) {
            return false;
        }
        self.take_down(node, control);
        {
            let machine = &mut *self.harness.machine(node).borrow_mut();
            let old = machine.engine.borrow_mut().replace();
            machine.aside = Some((old, machine.store.take()));
        }
        self.raise(node, control);
        true
    }

    /// What the new disk holds may be needed by now; then the old one stays out for ever.
    fn swap_back(&self, node: u32, control: &mut dyn Control) {
        if !self.may_forget(&[node]) {
            self.harness.machine(node).borrow_mut().aside = None;
            return;
        }
        self.take_down(node, control);
        {
            let machine = &mut *self.harness.machine(node).borrow_mut();
            if let Some((old, store)) = machine.aside.take() {
                *machine.engine.borrow_mut() = old;
                machine.store = store;
            }
        }
        self.raise(node, control);
    }

    /// A majority of the voters loses its memory, with all that was acknowledged.
    fn lose_majority(&mut self, number: usize, control: &mut dyn Control) -> bool {
        let Some(voters) = self.voter_sets().into_iter().next_back() else { return false };
        if !formed(&self.harness) || self.harness.amnesia.get().is_some() {
            return false;
        }
        let remember = voters.voters.iter().filter(|(node, store)| self.remembers(**node, **store));
        let intact: Vec<u32> = remember.map(|(node, _)| node.0).collect();
        if voters.voters.len() < 3 || intact.len() < voters.quorum() {
            return false;
        }
        let lost: Vec<u32> = intact.into_iter().take(voters.quorum()).collect();
        self.lose_memory(number, lost, control);
        true
    }

    fn lose_everybody(&mut self, number: usize, control: &mut dyn Control) -> bool {
        if !formed(&self.harness) || self.harness.amnesia.get().is_some() {
            return false;
        }
        self.lose_memory(number, self.all().collect(), control);
        true
    }

    fn lose_memory(&mut self, number: usize, lost: Vec<u32>, control: &mut dyn Control) {
        for node in &lost {
            self.take_down(*node, control);
            self.harness.machine(*node).borrow_mut().forget();
        }
        self.forgotten.insert(number, lost);
        self.harness.amnesia.set(Some(self.harness.env.borrow().now));
    }

    fn remembers(&self, node: NodeId, store: StoreId) -> bool {
        let machine = self.harness.machines.get(node.0 as usize - 1);
        machine.is_some_and(|machine| machine.borrow().store == Some(store))
    }

    /// Every voter set that may be in force, or come in force: those at the end of living logs, and
    /// those of servers that are down as last seen.
    fn voter_sets(&self) -> Vec<VoterSet> {
        let machines = self.harness.machines.iter();
        let mut sets: Vec<_> = machines.filter_map(|machine| machine.borrow().voters()).collect();
        sets.sort_by_key(|(last, _)| *last);
        sets.into_iter().map(|(_, set)| set).filter(|set| !set.is_empty()).collect()
    }

    /// True if enough voters remember, even if these servers forget.
    fn may_forget(&self, forgetting: &[u32]) -> bool {
        let (changes, sets) = (self.harness.changes.borrow().clone(), self.voter_sets());
        formed(&self.harness)
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

    fn add_voter(&self, node: u32) -> bool {
        let Some(store) = self.harness.machine(node).borrow().store else { return false };
        let addition = VoterChange::Add { node: NodeId(node), store };
        self.harness.changes.borrow_mut().push(addition);
        self.change_voters(addition)
    }

    fn remove_voter(&self, node: u32) -> bool {
        let Some(set) = self.voter_sets().pop() else { return false };
        let Some(store) = set.voters.get(&NodeId(node)).copied() else { return false };
        let removal = VoterChange::Remove { node: NodeId(node), store, returning: false };
        self.harness.changes.borrow_mut().push(removal);
        if !self.may_forget(&[]) || set.voters.len() <= 1 {
            self.harness.changes.borrow_mut().pop();
            return false;
        }
        self.change_voters(removal)
    }

    fn change_voters(&self, change: VoterChange) -> bool {
        let is_primary = |server: &accord_core::server::Server| server.replica().open_epoch();
        let primary = self.harness.machines.iter().find_map(|machine| {
            let machine = machine.borrow();
            let open = machine.look(is_primary).flatten().is_some();
            (machine.pauses == 0 && open).then(|| machine.served.clone()).flatten()
        });
        let Some(primary) = primary else { return false };
        let request = AdminRequest::ChangeVoters(change);
        primary.tell(Input::Admin { admin: ADMIN, request });
        true
    }

    fn hang_up(&self, node: u32) -> bool {
        let served = self.harness.machine(node).borrow().served.clone();
        let Some(served) = served else { return false };
        served.hang_up_all();
        true
    }
}
