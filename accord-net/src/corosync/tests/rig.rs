//! The model of Corosync as a rig of the conformance suite.

use super::model::{World, limits};
use accord_core::group::conformance::{Need, Rig, Setup, run_all};
use accord_core::group::{GroupEvent, SubmitError};
use accord_core::ids::NodeId;
use accord_core::rng::Rng;
use accord_core::time::{Duration, Instant};
use bytes::Bytes;
use std::collections::BTreeSet;

const STEP: Duration = Duration::from_millis(1);

/// Machines over the model's daemons, in virtual time.
struct ModelRig {
    world: World,
    nodes: BTreeSet<u32>,
    /// Daemons reach each other within a side.
    sides: Vec<BTreeSet<u32>>,
    held: BTreeSet<u32>,
}

impl ModelRig {
    /// The rings of the daemons become those that the sides allow, at once or in several steps of
    /// which the processes are told the last.
    fn reform(&mut self) {
        if self.world.rng.chance(1, 3) {
            let parts = self.world.draw_parts(self.nodes.len() as u32);
            self.world.reform(&self.reachable(parts), true);
        }
        let mut parts = self.sides.clone();
        let named: BTreeSet<u32> = parts.iter().flatten().copied().collect();
        parts.extend(self.nodes.difference(&named).map(|node| BTreeSet::from([*node])));
        self.world.reform(&self.reachable(parts), false);
    }

    /// The parts without the daemons that stand still.
    fn reachable(&self, parts: Vec<BTreeSet<u32>>) -> Vec<BTreeSet<u32>> {
        let moving = |part: BTreeSet<u32>| part.difference(&self.held).copied().collect();
        parts.into_iter().map(moving).collect()
    }
}

impl Rig for ModelRig {
    const NAME: &'static str = "the model of Corosync";
    const LACKS: &'static [(Need, &'static str)] =
        &[(Need::Loss, "its daemons miss messages at all times, and get them later")];
    const MEMBERS: u32 = 3;
    const MEMBERS_MAX: u32 = 5;
    const LOAD: Duration = Duration::from_millis(300);
    const TIMEOUT: Duration = Duration::from_secs(20);
    const CAMPAIGNS: u64 = 50;

    fn new(setup: Setup) -> Self {
        let nodes: BTreeSet<u32> = (1..=setup.members).collect();
        let world = World::new(setup.seed, setup.members);
        Self { world, sides: vec![nodes.clone()], nodes, held: BTreeSet::new() }
    }

    fn now(&self) -> Instant {
        self.world.now
    }

    fn step(&mut self) {
        for node in self.nodes.clone() {
            if !self.held.contains(&node) {
                self.world.send(node);
                (0..self.world.rng.below(5)).for_each(|_| self.world.receive(node));
            }
            (0..self.world.rng.below(5)).for_each(|_| self.world.take(node));
            let now = self.world.now;
            let process = self.world.processes.get_mut(&node).filter(|process| !process.paused);
            if let Some(process) = process
                && process.machine.wants_rejoin()
            {
                process.machine.handle_away(now);
                self.world.join(node);
            }
        }
        self.world.now = self.world.now + STEP;
    }

    fn message_bytes_max(&self) -> usize {
        limits().message_bytes_max
    }

    fn submit(&mut self, node: NodeId, payload: Bytes) -> Result<(), SubmitError> {
        let process = self.world.processes.get_mut(&node.0).expect("it is up");
        process.machine.submit(self.world.now, payload)
    }

    fn poll(&mut self, node: NodeId) -> Option<GroupEvent> {
        self.world.processes.get_mut(&node.0).expect("it is up").machine.poll_event()
    }

    fn start(&mut self, node: NodeId) {
        if !self.world.daemons.contains_key(&node.0) {
            self.start_daemon(node);
        }
        self.world.start_process(node.0);
    }

    fn describe(&mut self) -> String {
        let processes = self.world.processes.values();
        let status: Vec<_> = processes.map(|process| process.machine.status()).collect();
        format!("{status:#?}")
    }

    /// The machine on which both run is gone.
    fn crash(&mut self, node: NodeId) {
        self.kill_daemon(node);
        self.world.kill_process(node.0);
    }

    fn leave(&mut self, node: NodeId) {
        self.world.kill_process(node.0);
    }

    fn partition(&mut self, sides: &[Vec<NodeId>]) {
        let side = |side: &Vec<NodeId>| side.iter().map(|node| node.0).collect();
        self.sides = sides.iter().map(side).collect();
        self.reform();
    }

    fn heal(&mut self) {
        self.sides = vec![self.nodes.clone()];
        self.reform();
    }

    fn hold(&mut self, node: NodeId) {
        self.world.processes.get_mut(&node.0).expect("it is up").paused = true;
    }

    fn release(&mut self, node: NodeId) {
        self.world.processes.get_mut(&node.0).expect("it is up").paused = false;
    }

    fn kill_daemon(&mut self, node: NodeId) {
        self.held.remove(&node.0);
        self.world.kill_daemon(node.0);
        self.reform();
    }

    fn start_daemon(&mut self, node: NodeId) {
        if !self.world.daemons.contains_key(&node.0) {
            self.world.start_daemon(node.0);
            self.world.join(node.0);
            self.reform();
        }
    }

    fn hold_daemon(&mut self, node: NodeId) {
        self.held.insert(node.0);
        self.reform();
    }

    fn release_daemon(&mut self, node: NodeId) {
        self.held.remove(&node.0);
        self.reform();
    }

    /// Rings that break and form again, of which the processes are told only the last step.
    fn disturb(&mut self, rng: &mut Rng) {
        for _ in 0..rng.below(3) {
            let parts = self.world.draw_parts(self.nodes.len() as u32);
            self.world.reform(&self.reachable(parts), true);
        }
        self.reform();
    }
}

// Claims: C-order
#[test]
fn machines_over_the_model_have_every_property_of_the_contract() {
    let report = run_all::<ModelRig>();
    let out_of_reach = [
        ("lost_datagrams_cost_time_and_nothing_else", Need::Loss),
        ("large_messages_arrive_whole_though_datagrams_are_lost", Need::Loss),
        ("who_is_cut_off_takes_nothing_beyond_a_hole", Need::Loss),
    ];
    assert_eq!((report.held.len(), &report.out_of_reach[..]), (15, &out_of_reach[..]));
}
