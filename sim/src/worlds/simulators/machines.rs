//! The machines of a simulated world, as the faults of a plan meet them: real servers and clients.

use super::fault_driver::FaultDriver;
use super::harness::Harness;
use super::host::Host;
use super::simulator::Control;
use crate::plan::{FaultKind, Nodes, Plan};
use crate::world::clock::{Clock, WorldTime};
use crate::world::env::Surroundings;
use crate::world::faults::{DiskFault, Faults, Machines};
use accord_core::ids::{LogPosition, StoreId};
use accord_core::replica::voters::{VoterChange, VoterSet};
use accord_core::server::{Input, OperatorRequest, OperatorRequestId};
use accord_core::time::{Duration, DurationExt};

/// Administration of the world's own, which no operator's number can be.
const ADMIN: OperatorRequestId = OperatorRequestId(u64::MAX);

/// The world and the simulator that it runs in, for as long as it takes to do something to it.
pub(super) struct Driven<'a> {
    pub(super) driver: &'a mut FaultDriver,
    pub(super) control: &'a mut dyn Control,
}

impl Driven<'_> {
    fn harness(&self) -> &Harness {
        &self.driver.harness
    }

    fn servers(&self) -> impl Iterator<Item = u32> + use<> {
        1..=self.harness().options().nodes()
    }

    fn cut_servers(&self, kind: &FaultKind, begin: bool) {
        let cut = |from: Nodes, to: Nodes| {
            for from in from.iter() {
                for to in to.iter().filter(|to| *to != from) {
                    self.harness().cut(Host::Server(from), Host::Server(to), begin);
                }
            }
        };
        match kind {
            FaultKind::Partition(side) => {
                let others = self.servers().filter(|node| !side.contains(*node)).collect();
                cut(*side, others);
                cut(others, *side);
            }
            FaultKind::OneWay(from, to) => cut(*from, *to),
            FaultKind::Sever(a, b) => self.cut_both(Host::Server(*a), Host::Server(*b), begin),
            _ => {}
        }
    }

    /// Ways between these two are cut once more or once less, in both directions.
    fn cut_both(&self, a: Host, b: Host, begin: bool) {
        self.harness().cut(a, b, begin);
        self.harness().cut(b, a, begin);
    }
}

impl Machines for Driven<'_> {
    fn plan(&self) -> &Plan {
        &self.driver.harness.plan
    }

    fn faults(&mut self) -> &mut Faults {
        &mut self.driver.faults
    }

    fn with_env<T>(&mut self, act: impl FnOnce(&mut Surroundings) -> T) -> T {
        act(&mut self.harness().env.borrow_mut())
    }

    fn take_down(&mut self, node: u32) {
        let died = {
            let machine = &mut *self.harness().machine(node).borrow_mut();
            machine.downs += 1;
            let died = machine.downs == 1 && !machine.stopped;
            machine.stop();
            died
        };
        if died {
            self.with_env(|env| env.counts.crashes += 1);
            self.control.crash(node);
        }
    }

    fn raise(&mut self, node: u32) {
        let starts = {
            let machine = &mut *self.harness().machine(node).borrow_mut();
            machine.downs = machine.downs.checked_sub(1).expect("a fault ends once");
            machine.downs == 0 && !machine.stopped
        };
        if starts {
            self.control.restart(node);
        }
    }

    fn pause(&mut self, node: u32, begin: bool) {
        let machine = &mut *self.harness().machine(node).borrow_mut();
        let pauses = machine.pauses;
        let changed = if begin { pauses.checked_add(1) } else { pauses.checked_sub(1) };
        machine.pauses = changed.expect("a fault ends once, after it began");
        machine.set_paused();
    }

    fn change_clock(&mut self, node: u32, change: impl FnOnce(&mut Clock, WorldTime)) {
        let now = self.with_env(|env| env.now);
        self.harness().machine(node).borrow().clock.change(|clock| change(clock, now));
    }

    fn disk(&mut self, node: u32, what: DiskFault) {
        let machine = &mut *self.harness().machine(node).borrow_mut();
        match what {
            DiskFault::PowerFails => machine.engine.borrow_mut().power_fails(),
            DiskFault::LosePower => machine.engine.borrow_mut().lose_power(),
            DiskFault::FailStart { .. } => unreachable!("it is left out of these worlds' plans"),
            DiskFault::Rot => {
                machine.engine.borrow_mut().rot();
                machine.store = None;
            }
            DiskFault::Wipe => machine.forget(),
            DiskFault::TakeOut => {
                let old = machine.engine.borrow_mut().replace();
                machine.aside = Some((old, machine.store.take()));
            }
            DiskFault::PutBack => {
                if let Some((old, store)) = machine.aside.take() {
                    *machine.engine.borrow_mut() = old;
                    machine.store = store;
                }
            }
            DiskFault::Discard => machine.aside = None,
            DiskFault::Slower(by) => machine.slowness += by,
            DiskFault::Faster(by) => {
                let left = machine.slowness.to_nanos().checked_sub(by.to_nanos());
                machine.slowness = Duration::from_nanos(left.expect("a fault ends once"));
            }
            DiskFault::Failing(failing) => machine.failing = failing,
        }
    }

    fn has_disk_aside(&self, node: u32) -> bool {
        self.harness().machine(node).borrow().aside.is_some()
    }

    fn store(&self, node: u32) -> Option<StoreId> {
        self.harness().machines.get(node as usize - 1)?.borrow().store
    }

    fn voters(&self, node: u32) -> Option<(LogPosition, VoterSet)> {
        self.harness().machine(node).borrow().voters()
    }

    fn change_network(&mut self, kind: &FaultKind, begin: bool) {
        self.with_env(|env| match begin {
            true => env.network.begin(kind),
            false => env.network.end(kind),
        });
        self.cut_servers(kind, begin);
    }

    fn cut_server(&mut self, node: u32, begin: bool) {
        for client in 1..=self.harness().options().clients {
            self.cut_both(Host::Server(node), Host::Client(client), begin);
        }
    }

    fn cut_client(&mut self, client: u32, begin: bool) {
        for node in self.servers() {
            self.cut_both(Host::Server(node), Host::Client(client), begin);
        }
    }

    fn hang_up(&mut self, node: u32) -> bool {
        let served = self.harness().machine(node).borrow().served.clone();
        let Some(served) = served else { return false };
        served.hang_up_all();
        true
    }

    fn replace_client(&mut self, client: u32) {
        self.harness().client(client).borrow().take_away();
    }

    fn is_primary(&self, node: u32) -> bool {
        let machine = self.harness().machine(node).borrow();
        let open = machine.look(|server| server.replica().open_epoch().is_some());
        machine.pauses == 0 && open == Some(true)
    }

    fn ask_for_change(&mut self, node: u32, change: VoterChange) {
        let served = self.harness().machine(node).borrow().served.clone();
        let request = OperatorRequest::ChangeVoters(change);
        if let Some(served) = served {
            served.tell(Input::Operator { id: ADMIN, request });
        }
    }
}
