//! The machines of the bare world, as the faults of a plan meet them.

use crate::plan::{FaultKind, Plan};
use crate::world::World;
use crate::world::clock::{Clock, WorldTime};
use crate::world::conns::{ToClient, ToServer};
use crate::world::env::{Event, Surroundings};
use crate::world::faults::{DiskFault, Faults, Machines};
use crate::world::input::NodeInput;
use crate::world::node::Node;
use crate::world::who::Actor;
use accord_core::ids::{ConnId, LogPosition, NodeId, StoreId};
use accord_core::replica::voters::{VoterChange, VoterSet};
use accord_core::server::{Input, OperatorRequest, OperatorRequestId};
use accord_core::time::Duration;

impl World {
    fn node(&self, node: u32) -> &Node {
        &self.nodes[node as usize - 1]
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

impl Machines for World {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn faults(&mut self) -> &mut Faults {
        &mut self.faults
    }

    fn with_env<T>(&mut self, act: impl FnOnce(&mut Surroundings) -> T) -> T {
        act(&mut self.env)
    }

    fn take_down(&mut self, node: u32) {
        self.node_mut(node).downs += 1;
        self.with_node(node, |node, env, _| node.kill(env));
        self.env.reform_soon();
    }

    fn raise(&mut self, node: u32) {
        let machine = self.node_mut(node);
        machine.downs = machine.downs.checked_sub(1).expect("a fault ends once, after it began");
        if machine.downs == 0 && !machine.stopped {
            self.start_node(node);
        }
    }

    fn pause(&mut self, node: u32, begin: bool) {
        if begin {
            self.node_mut(node).pauses += 1;
            self.env.tell(Actor::Server(node), || "is paused".to_owned());
            if let Some(adversary) = &mut self.env.adversary {
                adversary.group.pause(NodeId(node));
            }
        } else {
            if let Some(adversary) = &mut self.env.adversary
                && self.nodes[node as usize - 1].pauses == 1
            {
                adversary.group.resume(NodeId(node));
            }
            self.with_node(node, |node, env, options| node.resume(env, options));
        }
        self.env.reform_soon();
    }

    fn change_clock(&mut self, node: u32, change: impl FnOnce(&mut Clock, WorldTime)) {
        let now = self.env.now;
        change(&mut self.node_mut(node).clock, now);
        self.with_node(node, |node, env, options| node.on_clock_changed(env, options));
    }

    fn disk(&mut self, node: u32, what: DiskFault) {
        let machine = self.node_mut(node);
        match what {
            DiskFault::PowerFails => machine.disk.power_fails(),
            DiskFault::LosePower => machine.disk.lose_power(),
            DiskFault::FailStart { power } => machine.disk.fail_start(NodeId(node), power),
            DiskFault::Rot => {
                machine.disk.rot();
                machine.store = None;
            }
            DiskFault::Wipe => machine.forget(),
            DiskFault::TakeOut => machine.swap_out(),
            DiskFault::PutBack => machine.swap_back(),
            DiskFault::Discard => machine.aside = None,
            DiskFault::Slower(by) => machine.disk.begin_slowness(by),
            DiskFault::Faster(by) => machine.disk.end_slowness(by),
            DiskFault::Failing(failing) => machine.disk.set_failing(failing),
        }
    }

    fn has_disk_aside(&self, node: u32) -> bool {
        self.node(node).aside.is_some()
    }

    fn store(&self, node: u32) -> Option<StoreId> {
        self.nodes.get(node as usize - 1)?.store
    }

    fn voters(&self, node: u32) -> Option<(LogPosition, VoterSet)> {
        self.node(node).voters()
    }

    fn change_network(&mut self, kind: &FaultKind, begin: bool) {
        match begin {
            true => self.env.network.begin(kind),
            false => self.env.network.end(kind),
        }
        self.env.reform_soon();
    }

    fn cut_server(&mut self, node: u32, begin: bool) {
        self.env.conns.cut_server(node, begin);
        if !begin {
            self.break_connections();
        }
    }

    fn cut_client(&mut self, client: u32, begin: bool) {
        self.env.conns.cut_client(client, begin);
        if !begin {
            self.break_connections();
        }
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

    fn replace_client(&mut self, client: u32) {
        self.with_client(client, |client, env, workload, _| client.vanish(env, workload));
    }

    fn is_primary(&self, node: u32) -> bool {
        let node = self.node(node);
        let process = node.process.as_ref().filter(|_| node.pauses == 0);
        process.is_some_and(|process| process.server.replica().open_epoch().is_some())
    }

    fn ask_for_change(&mut self, node: u32, change: VoterChange) {
        let admin = OperatorRequestId(self.env.counts.core_events);
        let request = OperatorRequest::ChangeVoters(change);
        self.tell_node(node, NodeInput::Server(Box::new(Input::Operator { id: admin, request })));
    }

    fn begin_recovery(&mut self, number: usize) -> bool {
        self.lose_a_majority(number)
    }

    fn end_recovery(&mut self) {
        self.on_loss_over();
    }

    fn awaits_recovery(&self) -> bool {
        self.lacks_a_majority()
    }

    fn is_recovered(&self) -> bool {
        self.recovering.is_some()
    }

    fn damage(&mut self, node: u32) -> bool {
        let Some(process) = &mut self.node_mut(node).process else { return false };
        process.server.damage();
        true
    }

    fn is_damaged(&self) -> bool {
        self.nodes.iter().filter_map(|node| node.process.as_ref()).any(|it| it.server.is_damaged())
    }
}
