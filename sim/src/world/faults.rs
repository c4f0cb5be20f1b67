//! The executor of fault plans: begins and ends faults, in every world alike.
//!
//! A world brings its [`Machines`], a primitive operation for each way to do harm, and its
//! [`Faults`], what is in force. [`FaultEngine`] says what a fault of a plan is in terms of these.
//!
//! A plan may ask for more than the promises allow (to forget what a majority must remember); such
//! a fault is skipped and counted. Everything a fault does is taken back when it ends, and
//! overlapping faults are counted, so the world is whole again when all have ended.

use crate::judge::situations::Situation;
use crate::plan::{Fault, FaultKind, Plan};
use crate::world::clock::{Clock, WorldTime};
use crate::world::env::{Event, Surroundings};
use crate::world::event_kind::EventKind;
use crate::world::who::Actor;
use accord_core::ids::{LogPosition, NodeId, StoreId};
use accord_core::replica::config::Durability;
use accord_core::replica::voters::{VoterChange, VoterSet};
use accord_core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// What the faults of a plan have done to a world.
#[derive(Debug, Default)]
pub struct Faults {
    /// Faults in force, by number.
    active: BTreeSet<usize>,
    /// Servers that a fault made forget, by the fault's number.
    forgotten: BTreeMap<usize, Vec<u32>>,
    /// Changes of voters that were asked for: some may come in force at any time.
    changes: Vec<VoterChange>,
    /// When a majority lost its memory, if it did.
    pub amnesia: Option<WorldTime>,
}

/// What can be done to the disk of a server whose process does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// The machine is about to lose power, while its process still runs.
    PowerFails,
    /// The machine lost power: what was not synced may be gone or torn.
    LosePower,
    /// The next start is cut off half-way, by a loss of power or by a kill.
    FailStart {
        /// By a loss of power.
        power: bool,
    },
    /// A bit is turned. Until the next start nobody may rely on the disk.
    Rot,
    /// Everything that the machine remembers is gone.
    Wipe,
    /// The disk is put aside, and an empty one takes its place.
    TakeOut,
    /// The disk that was put aside comes back.
    PutBack,
    /// The disk that was put aside never comes back.
    Discard,
    /// From now on each sync takes this much longer.
    Slower(Duration),
    /// Takes back [`DiskFault::Slower`].
    Faster(Duration),
    /// The next sync fails, or this is taken back.
    Failing(bool),
}

/// The machines of a world, as faults meet them. Servers and clients are numbered from 1.
pub trait Machines {
    /// The plan.
    fn plan(&self) -> &Plan;
    /// What is in force.
    fn faults(&mut self) -> &mut Faults;
    /// Does something with the surroundings.
    fn with_env<T>(&mut self, act: impl FnOnce(&mut Surroundings) -> T) -> T;

    /// The process dies at once. It stays down until [`Machines::raise`] is called as often.
    fn take_down(&mut self, node: u32);
    /// One fault less keeps the server down: if it was the last, the process starts.
    fn raise(&mut self, node: u32);
    /// The process stands still for one fault more, or one less.
    fn pause(&mut self, node: u32, begin: bool);
    /// Changes the clock of a server, given the world's time.
    fn change_clock(&mut self, node: u32, change: impl FnOnce(&mut Clock, WorldTime));
    /// Does something to a disk.
    fn disk(&mut self, node: u32, what: DiskFault);
    /// True if a disk of this server was put aside.
    fn has_disk_aside(&self, node: u32) -> bool;
    /// The incarnation of the memory that a server has. `None`: it has forgotten, or is none.
    fn store(&self, node: u32) -> Option<StoreId>;
    /// The end of a server's log, and the voter set there, as last seen.
    fn voters(&self, node: u32) -> Option<(LogPosition, VoterSet)>;

    /// A fault of the network between servers begins or ends.
    fn change_network(&mut self, kind: &FaultKind, begin: bool);
    /// A server is cut from all clients, or one cut less is in force.
    fn cut_server(&mut self, node: u32, begin: bool);
    /// A client is cut from all servers, or one cut less is in force.
    fn cut_client(&mut self, client: u32, begin: bool);
    /// A server hangs up on its clients. False if it has none.
    fn hang_up(&mut self, node: u32) -> bool;
    /// A client is gone without a word, and another begins in its place.
    fn replace_client(&mut self, client: u32);

    /// True if the server runs, is not paused, and is a member of the primary component.
    fn is_primary(&self, node: u32) -> bool;
    /// An operator asks this server for a change of the voters.
    fn ask_for_change(&mut self, node: u32, change: VoterChange);

    /// A majority is lost, and an operator goes on without it. False if this makes no sense now.
    fn begin_recovery(&mut self, _number: usize) -> bool {
        false
    }
    /// The lost majority comes back.
    fn end_recovery(&mut self) {}
    /// True while a majority is lost and has not come back.
    fn awaits_recovery(&self) -> bool {
        false
    }
    /// True if a majority was lost once, and an operator went on without it.
    fn is_recovered(&self) -> bool {
        false
    }
    /// Damages the state of a running server. False if this world cannot.
    fn damage(&mut self, _node: u32) -> bool {
        false
    }
    /// True if the state of a server is damaged now.
    fn is_damaged(&self) -> bool {
        false
    }
}

/// Executes the faults of a plan on the machines of a world.
pub struct FaultEngine<'a, M>(pub &'a mut M);

impl<M: Machines> FaultEngine<'_, M> {
    /// A fault of the plan begins.
    pub fn begin(&mut self, number: usize) {
        let fault = self.0.plan().faults[number].clone();
        let begun = self.put_in_force(number, &fault.kind);
        self.0.with_env(|env| on_begun(env, number, &fault, begun));
        if begun && fault.kind.kind().lasts() {
            self.0.faults().active.insert(number);
        }
    }

    /// A fault of the plan ends, unless it has.
    pub fn end(&mut self, number: usize) {
        if !self.0.faults().active.remove(&number) {
            return;
        }
        let fault: Fault = self.0.plan().faults[number].clone();
        self.0.with_env(|env| {
            env.trace.numbered(env.now, Actor::World, EventKind::FaultEnds, number as u64, &[]);
            env.tell(Actor::World, || format!("ends: {fault}"));
            let now = env.now;
            if let Some(record) = env.trace.record_mut() {
                record.fault_ends(now, number);
            }
        });
        self.take_out(number, &fault.kind);
    }

    /// Ends every fault that is in force.
    pub fn end_all(&mut self) {
        while let Some(number) = self.0.faults().active.first().copied() {
            self.end(number);
        }
    }

    /// Puts a fault in force. False if it would have no meaning or ask too much.
    fn put_in_force(&mut self, number: usize, kind: &FaultKind) -> bool {
        let world = &mut *self.0;
        match kind {
            FaultKind::Partition(_)
            | FaultKind::OneWay(..)
            | FaultKind::Sever(..)
            | FaultKind::Loss(_)
            | FaultKind::Duplicate(_)
            | FaultKind::Reorder(_)
            | FaultKind::Delay(_) => world.change_network(kind, true),
            FaultKind::Crash(node) => return self.crash(*node),
            FaultKind::PowerLoss(node) => self.lose_power(*node),
            FaultKind::Blackout => self.all().for_each(|node| self.lose_power(node)),
            FaultKind::StartKill(node) => self.fail_start(*node, false),
            FaultKind::StartLoss(node) => self.fail_start(*node, true),
            FaultKind::Recover => return world.begin_recovery(number),
            FaultKind::Wipe(node) => return self.wipe(*node),
            FaultKind::Rot(node) => return self.rot(*node),
            FaultKind::Swap(node) => return self.swap_out(*node),
            FaultKind::Pause(node) => world.pause(*node, true),
            FaultKind::ClockRate(node, percent) => self.set_rate(*node, *percent),
            FaultKind::ClockLeap(node, by) => {
                world.with_env(|env| env.judges.leases.on_clock_moved());
                world.change_clock(*node, |clock, now| clock.leap(now, *by));
            }
            FaultKind::SlowDisk(node, by) => world.disk(*node, DiskFault::Slower(*by)),
            FaultKind::FailDisk(node) => world.disk(*node, DiskFault::Failing(true)),
            FaultKind::AddVoter(node) => return self.add_voter(*node),
            FaultKind::RemoveVoter(node) => return self.remove_voter(*node),
            FaultKind::HangUp(node) => return world.hang_up(*node),
            FaultKind::Unreachable(node) => world.cut_server(*node, true),
            FaultKind::Isolate(client) => world.cut_client(*client, true),
            FaultKind::Gone(client) => world.replace_client(*client),
            FaultKind::Amnesia => return self.lose_majority(number),
            FaultKind::Oblivion => return self.lose_everybody(number),
            FaultKind::Damage(node) => return self.damage(*node),
        }
        true
    }

    fn take_out(&mut self, number: usize, kind: &FaultKind) {
        let world = &mut *self.0;
        match kind {
            FaultKind::Partition(_)
            | FaultKind::OneWay(..)
            | FaultKind::Sever(..)
            | FaultKind::Loss(_)
            | FaultKind::Duplicate(_)
            | FaultKind::Reorder(_)
            | FaultKind::Delay(_) => world.change_network(kind, false),
            FaultKind::Crash(node)
            | FaultKind::PowerLoss(node)
            | FaultKind::StartKill(node)
            | FaultKind::StartLoss(node)
            | FaultKind::Wipe(node)
            | FaultKind::Rot(node) => world.raise(*node),
            FaultKind::Recover => world.end_recovery(),
            FaultKind::Swap(node) => self.swap_back(*node),
            FaultKind::Blackout => self.all().for_each(|node| self.0.raise(node)),
            FaultKind::Amnesia | FaultKind::Oblivion => {
                let forgotten = world.faults().forgotten.remove(&number).unwrap_or_default();
                forgotten.into_iter().for_each(|node| world.raise(node));
            }
            FaultKind::Pause(node) => world.pause(*node, false),
            FaultKind::ClockRate(node, _) => self.set_rate(*node, 100),
            FaultKind::SlowDisk(node, by) => world.disk(*node, DiskFault::Faster(*by)),
            FaultKind::FailDisk(node) => world.disk(*node, DiskFault::Failing(false)),
            FaultKind::Unreachable(node) => world.cut_server(*node, false),
            FaultKind::Isolate(client) => world.cut_client(*client, false),
            FaultKind::ClockLeap(..)
            | FaultKind::AddVoter(_)
            | FaultKind::RemoveVoter(_)
            | FaultKind::HangUp(_)
            | FaultKind::Gone(_)
            | FaultKind::Damage(_) => unreachable!("{kind} is over at once"),
        }
    }

    /// The numbers of all servers.
    fn all(&self) -> impl Iterator<Item = u32> + use<M> {
        1..=self.0.plan().options.nodes()
    }

    fn set_rate(&mut self, node: u32, percent: u32) {
        self.0.with_env(|env| env.judges.leases.on_clock_moved());
        self.0.change_clock(node, |clock, now| clock.set_rate(now, percent));
    }

    fn crash(&mut self, node: u32) -> bool {
        if self.0.plan().options.mode == Durability::Memory {
            return self.wipe(node);
        }
        self.0.take_down(node);
        true
    }

    fn fail_start(&mut self, node: u32, power: bool) {
        self.0.take_down(node);
        self.0.disk(node, DiskFault::FailStart { power });
        self.0.with_env(|env| env.met(Situation::FailedStart));
    }

    /// A machine loses its power, and is kept down.
    pub fn lose_power(&mut self, node: u32) {
        self.0.disk(node, DiskFault::PowerFails);
        self.0.take_down(node);
        self.0.disk(node, DiskFault::LosePower);
    }

    fn wipe(&mut self, node: u32) -> bool {
        if !self.may_forget(&[node]) {
            return false;
        }
        self.0.take_down(node);
        self.forget(node);
        true
    }

    /// Everything that the machine remembers is gone.
    pub fn forget(&mut self, node: u32) {
        self.change_disk(node, DiskFault::Wipe);
    }

    /// Does something to a disk after which it need not have what it was said to have.
    fn change_disk(&mut self, node: u32, what: DiskFault) {
        self.0.disk(node, what);
        self.0.with_env(|env| env.judges.durable.forget(node));
    }

    fn rot(&mut self, node: u32) -> bool {
        if !self.may_forget(&[node]) {
            return false;
        }
        self.0.take_down(node);
        self.change_disk(node, DiskFault::Rot);
        true
    }

    fn swap_out(&mut self, node: u32) -> bool {
        if self.0.has_disk_aside(node) || !self.may_forget(&[node]) {
            return false;
        }
        self.0.take_down(node);
        self.change_disk(node, DiskFault::TakeOut);
        self.0.raise(node);
        true
    }

    /// What the new disk holds may be needed by now; then the old one never comes back.
    fn swap_back(&mut self, node: u32) {
        if !self.may_forget(&[node]) {
            return self.0.disk(node, DiskFault::Discard);
        }
        self.0.take_down(node);
        self.change_disk(node, DiskFault::PutBack);
        self.0.raise(node);
    }

    /// A majority of the voters loses its memory, with all that was acknowledged.
    fn lose_majority(&mut self, number: usize) -> bool {
        let Some(voters) = self.voter_sets().into_iter().next_back() else { return false };
        if !self.formed() || self.0.faults().amnesia.is_some() {
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
        if !self.formed() || self.0.faults().amnesia.is_some() {
            return false;
        }
        let all = self.all().collect();
        self.lose_memory(number, all);
        true
    }

    fn lose_memory(&mut self, number: usize, lost: Vec<u32>) {
        for node in &lost {
            self.0.take_down(*node);
            self.forget(*node);
        }
        let now = self.0.with_env(|env| env.now);
        let faults = self.0.faults();
        faults.forgotten.insert(number, lost);
        faults.amnesia = Some(now);
    }

    /// True if a cluster exists: from then on, who forgets must be readmitted.
    pub fn formed(&mut self) -> bool {
        self.0.with_env(|env| env.judges.prefixes.last().0 > 0)
    }

    /// True if a server has the memory of this incarnation.
    pub fn remembers(&self, node: NodeId, store: StoreId) -> bool {
        self.0.store(node.0) == Some(store)
    }

    /// Every voter set that may be in force, or come in force: those at the end of living logs, and
    /// those of servers that are down as last seen.
    pub fn voter_sets(&self) -> Vec<VoterSet> {
        let mut sets: Vec<_> = self.all().filter_map(|node| self.0.voters(node)).collect();
        sets.sort_by_key(|(last, _)| *last);
        sets.into_iter().map(|(_, set)| set).filter(|set| !set.is_empty()).collect()
    }

    /// True if enough voters remember, even if these servers forget and whatever changes of voters
    /// come in force.
    fn may_forget(&mut self, forgetting: &[u32]) -> bool {
        // What is left of a lost majority is all that there is.
        if self.0.awaits_recovery() || !self.formed() {
            return false;
        }
        let (changes, sets) = (self.0.faults().changes.clone(), self.voter_sets());
        !sets.is_empty()
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
        let Some(store) = self.0.store(node) else { return false };
        let addition = VoterChange::Add { node: NodeId(node), store };
        self.0.faults().changes.push(addition);
        self.change_voters(addition)
    }

    fn remove_voter(&mut self, node: u32) -> bool {
        let Some(set) = self.voter_sets().pop() else { return false };
        let Some(store) = set.voters.get(&NodeId(node)).copied() else { return false };
        let removal = VoterChange::Remove { node: NodeId(node), store, returning: false };
        self.0.faults().changes.push(removal);
        let outvoted = self.0.is_damaged() && !self.outvotes_one();
        if !self.may_forget(&[]) || set.voters.len() <= 1 || outvoted {
            self.0.faults().changes.pop();
            return false;
        }
        self.change_voters(removal)
    }

    fn change_voters(&mut self, change: VoterChange) -> bool {
        // Not always the same one: two servers may ask at the same moment.
        let (nodes, changes) = (self.0.plan().options.nodes(), self.0.faults().changes.len());
        let first = (changes % nodes as usize) as u32;
        let mut in_turn = (0..nodes).map(|offset| (first + offset) % nodes + 1);
        let Some(primary) = in_turn.find(|node| self.0.is_primary(*node)) else { return false };
        self.0.ask_for_change(primary, change);
        true
    }

    /// The state of a server is damaged, unless the others could not tell.
    fn damage(&mut self, node: u32) -> bool {
        let lasting = self.0.plan().options.mode == Durability::Persistent;
        let recovers = self.0.is_recovered() || self.0.faults().amnesia.is_some();
        if !lasting || recovers || self.0.is_damaged() || !self.formed() || !self.outvotes_one() {
            return false;
        }
        let damaged = self.0.damage(node);
        if damaged {
            self.0.with_env(|env| env.judges.divergence.on_damaged(NodeId(node)));
        }
        damaged
    }

    /// True if the voters without any one of them are a majority, whatever changes come in force.
    fn outvotes_one(&mut self) -> bool {
        let changes = self.0.faults().changes.clone();
        let sets = self.voter_sets();
        let several = |set: &VoterSet| set.voters.len() >= 3;
        !sets.is_empty()
            && sets.iter().all(|set| {
                let removals = |change: &&VoterChange| matches!(change, VoterChange::Remove { .. });
                let removals = changes.iter().filter(removals);
                let mut changed = removals.filter_map(|change| set.changed(*change).ok());
                several(set) && changed.all(|set| several(&set))
            })
    }
}

/// A fault has begun, or was skipped: it is told and counted, and its end is put on the agenda.
fn on_begun(env: &mut Surroundings, number: usize, fault: &Fault, begun: bool) {
    let (line, what) = match begun {
        true => ("begins", EventKind::FaultBegins),
        false => ("is skipped", EventKind::FaultSkipped),
    };
    env.trace.numbered(env.now, Actor::World, what, number as u64, &[]);
    env.tell(Actor::World, || format!("{line}: {fault}"));
    if !begun {
        env.counts.faults_skipped += 1;
        return;
    }
    *env.counts.faults.entry(fault.kind.kind()).or_default() += 1;
    let now = env.now;
    if let Some(record) = env.trace.record_mut() {
        record.fault_begins(now, number, fault);
    }
    if fault.kind.kind().lasts() {
        env.agenda.push(env.now.after(fault.lasts), Event::FaultEnds(number));
    }
}
