//! Machines over a model of Corosync that does what the real one was seen to do, and worse, judged
//! by the checker of the ordering contract.
//!
//! The model's daemons share rings. A ring has one order; each daemon receives its own part of it.
//! At a change, daemons that come from one ring share what they have, deliver up to the first hole,
//! then also what lies beyond it if its sender comes along; some changes are aborted by the next,
//! and then the processes are told only of the last step. Messages that wait at a daemon are sent
//! in the next ring. Processes take what they are told late, are paused, killed and started again.

use super::config::{CorosyncLimits, MachineConfig};
use super::machine::{Machine, Refusal};
use super::message::{Address, Message, Sync};
use accord_core::group::GroupEvent;
use accord_core::group::contract::{ContractChecker, Run};
use accord_core::ids::NodeId;
use accord_core::rng::Rng;
use accord_core::time::{Duration, Instant};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const KEY: [u8; 32] = [7; 32];

fn limits() -> CorosyncLimits {
    CorosyncLimits {
        chunk_bytes_max: 300,
        message_bytes_max: 2000,
        pending_bytes_max: 6000,
        pending_messages_max: 20,
        window_bytes_max: 900,
        window_chunks_max: 4,
        events_bytes_max: 4000,
        alive: Duration::from_millis(50),
        silence: Duration::from_millis(400),
        form: Duration::from_millis(100),
        seen: Duration::from_millis(2),
    }
}

#[derive(Clone)]
enum What {
    Message(Address, Bytes),
    Join(Address),
    Leave(Address),
}

enum Told {
    Group(Vec<Address>),
    Ring,
    Message(Address, Bytes),
}

struct Process {
    machine: Machine,
    run: Run,
    address: Address,
    inbox: VecDeque<Told>,
    paused: bool,
}

struct Daemon {
    ring: usize,
    received: BTreeSet<usize>,
    delivered: usize,
    queue: VecDeque<What>,
    /// The processes of the group, as this daemon knows them.
    group: BTreeSet<Address>,
    /// The daemons of the last ring that the processes were told of.
    told: BTreeSet<u32>,
    active: bool,
}

struct World {
    rng: Rng,
    now: Instant,
    rings: Vec<Vec<(u32, What)>>,
    daemons: BTreeMap<u32, Daemon>,
    processes: BTreeMap<u32, Process>,
    checker: ContractChecker,
    runs: u64,
    submitted: u64,
}

impl World {
    fn new(seed: u64, nodes: u32) -> Self {
        let mut world = Self {
            rng: Rng::new(seed),
            now: Instant::ZERO,
            rings: vec![Vec::new()],
            daemons: BTreeMap::new(),
            processes: BTreeMap::new(),
            checker: ContractChecker::new(),
            runs: 0,
            submitted: 0,
        };
        for node in 1..=nodes {
            world.start_daemon(node);
            world.start_process(node);
        }
        world.reform(&[(1..=nodes).collect()], false);
        world
    }

    fn start_daemon(&mut self, node: u32) {
        self.rings.push(Vec::new());
        let daemon = Daemon {
            ring: self.rings.len() - 1,
            received: BTreeSet::new(),
            delivered: 0,
            queue: VecDeque::new(),
            group: BTreeSet::new(),
            told: BTreeSet::from([node]),
            active: true,
        };
        self.daemons.insert(node, daemon);
    }

    fn start_process(&mut self, node: u32) {
        self.runs += 1;
        let address = Address { node, pid: 100 + self.runs as u32 };
        let config = MachineConfig { node: NodeId(node), key: KEY, limits: limits() };
        let machine = Machine::new(config, self.rng.next_u64(), self.now);
        let run = Run { node: NodeId(node), incarnation: self.runs };
        let process = Process { machine, run, address, inbox: VecDeque::new(), paused: false };
        self.processes.insert(node, process);
        self.join(node);
    }

    /// The process connects to its daemon.
    fn join(&mut self, node: u32) {
        let (Some(process), Some(daemon)) =
            (self.processes.get_mut(&node), self.daemons.get_mut(&node))
        else {
            return;
        };
        process.machine.handle_joining(self.now, process.address);
        daemon.queue.push_back(What::Join(process.address));
    }

    fn kill_process(&mut self, node: u32) {
        let Some(process) = self.processes.remove(&node) else { return };
        self.checker.on_stop(process.run);
        if let Some(daemon) = self.daemons.get_mut(&node) {
            daemon.queue.push_back(What::Leave(process.address));
        }
    }

    fn kill_daemon(&mut self, node: u32) {
        self.daemons.remove(&node);
        if let Some(process) = self.processes.get_mut(&node) {
            process.inbox.clear();
            process.machine.handle_away(self.now);
        }
    }

    /// A daemon has the token.
    fn send(&mut self, node: u32) {
        let Some(daemon) = self.daemons.get_mut(&node).filter(|daemon| daemon.active) else {
            return;
        };
        let ring = &mut self.rings[daemon.ring];
        if let Some(what) = daemon.queue.pop_front() {
            daemon.received.insert(ring.len());
            ring.push((node, what));
        }
        self.deliver(node);
    }

    /// A daemon receives something, or misses it for now.
    fn receive(&mut self, node: u32) {
        let Some(daemon) = self.daemons.get_mut(&node) else { return };
        let all = self.rings[daemon.ring].len();
        if let Some(missing) = (0..all).find(|at| !daemon.received.contains(at)) {
            let ahead = if self.rng.chance(1, 4) { self.rng.below(3) as usize } else { 0 };
            daemon.received.insert((missing + ahead).min(all - 1));
        }
        self.deliver(node);
    }

    fn deliver(&mut self, node: u32) {
        loop {
            let daemon = self.daemons.get_mut(&node).unwrap();
            if !daemon.received.contains(&daemon.delivered) {
                return;
            }
            let what = self.rings[daemon.ring][daemon.delivered].1.clone();
            daemon.delivered += 1;
            self.tell(node, what);
        }
    }

    fn tell(&mut self, node: u32, what: What) {
        let daemon = self.daemons.get_mut(&node).unwrap();
        let told = match what {
            What::Message(from, bytes) if daemon.group.contains(&from) => {
                Some(Told::Message(from, bytes))
            }
            What::Message(..) => None,
            What::Join(address) => {
                daemon.group.insert(address).then(|| Told::Group(members(&daemon.group)))
            }
            What::Leave(address) => {
                daemon.group.remove(&address).then(|| Told::Group(members(&daemon.group)))
            }
        };
        if let (Some(told), Some(process)) = (told, self.processes.get_mut(&node))
            && (daemon.group.contains(&process.address))
        {
            process.inbox.push_back(told);
        }
    }

    /// The daemons form these rings.
    fn reform(&mut self, parts: &[BTreeSet<u32>], aborted: bool) {
        for part in parts {
            let part: BTreeSet<u32> =
                part.iter().copied().filter(|node| self.daemons.contains_key(node)).collect();
            let mut by_ring: BTreeMap<usize, BTreeSet<u32>> = BTreeMap::new();
            for node in &part {
                by_ring.entry(self.daemons[node].ring).or_default().insert(*node);
            }
            self.rings.push(Vec::new());
            let ring = self.rings.len() - 1;
            for together in by_ring.values() {
                self.recover(together);
            }
            let local = |node: &u32| self.processes.get(node).map(|process| process.address);
            let all: BTreeSet<Address> = part
                .iter()
                .flat_map(|node| local(node).filter(|at| self.daemons[node].group.contains(at)))
                .collect();
            for together in by_ring.values() {
                for node in together {
                    self.enter(*node, ring, &part, together, &all, aborted);
                }
            }
        }
    }

    /// Daemons that come from one ring share what they have of it.
    fn recover(&mut self, together: &BTreeSet<u32>) {
        let have: BTreeSet<usize> =
            together.iter().flat_map(|node| self.daemons[node].received.clone()).collect();
        for node in together {
            self.daemons.get_mut(node).unwrap().received.clone_from(&have);
            self.deliver(*node);
            let daemon = &self.daemons[node];
            let beyond: Vec<usize> = have.range(daemon.delivered..).copied().collect();
            for at in beyond {
                let (from, what) = self.rings[self.daemons[node].ring][at].clone();
                if together.contains(&from) {
                    self.tell(*node, what);
                }
            }
        }
    }

    fn enter(
        &mut self,
        node: u32,
        ring: usize,
        part: &BTreeSet<u32>,
        together: &BTreeSet<u32>,
        all: &BTreeSet<Address>,
        aborted: bool,
    ) {
        let daemon = self.daemons.get_mut(&node).unwrap();
        (daemon.ring, daemon.delivered, daemon.active) = (ring, 0, !aborted);
        daemon.received.clear();
        if aborted {
            return;
        }
        let gone: Vec<u32> = daemon.told.difference(together).copied().collect();
        daemon.told.clone_from(part);
        let before = daemon.group.clone();
        let mut told = Vec::new();
        daemon.group.retain(|address| !gone.contains(&address.node));
        if daemon.group != before {
            told.push(Told::Group(members(&daemon.group)));
        }
        if daemon.group != *all {
            daemon.group.clone_from(all);
            told.push(Told::Group(members(&daemon.group)));
        }
        told.push(Told::Ring);
        if let Some(process) = self.processes.get_mut(&node)
            && all.contains(&process.address)
        {
            process.inbox.extend(told);
        }
    }

    /// A process takes some of what it was told, and does what comes of it.
    fn step(&mut self, node: u32) {
        let now = self.now;
        let Some(process) = self.processes.get_mut(&node).filter(|process| !process.paused) else {
            return;
        };
        for _ in 0..=self.rng.below(4) {
            if !process.machine.wants_input() {
                break;
            }
            match process.inbox.pop_front() {
                Some(Told::Group(group)) => process.machine.handle_group(now, group),
                Some(Told::Ring) => process.machine.handle_ring(now),
                Some(Told::Message(from, bytes)) => {
                    process.machine.handle_message(now, from, &bytes);
                }
                None => {}
            }
        }
        if process.inbox.is_empty() && process.machine.next_deadline().is_some_and(|at| at <= now) {
            process.machine.handle_timer(now);
        }
        if let Some(daemon) = self.daemons.get_mut(&node) {
            while daemon.queue.len() < 8
                && let Some(bytes) = process.machine.poll_send(now)
            {
                daemon.queue.push_back(What::Message(process.address, bytes));
            }
        }
        while let Some(event) = process.machine.poll_event() {
            if let Err(violation) = self.checker.on_event(process.run, &event) {
                panic!("{violation}");
            }
            if self.rng.chance(1, 8) {
                break;
            }
        }
    }

    fn submit(&mut self, node: u32) {
        let Some(process) = self.processes.get_mut(&node).filter(|process| !process.paused) else {
            return;
        };
        self.submitted += 1;
        let mut payload = self.submitted.to_le_bytes().to_vec();
        payload.resize(8 + [0, 20, 200, 1500][self.rng.below(4) as usize], node as u8);
        let payload = Bytes::from(payload);
        if process.machine.submit(self.now, payload.clone()).is_ok() {
            self.checker.on_submit(process.run, &payload);
        }
    }

    fn draw_parts(&mut self, nodes: u32) -> Vec<BTreeSet<u32>> {
        let mut parts = vec![BTreeSet::new(); 1 + self.rng.below(3) as usize];
        for node in 1..=nodes {
            let at = self.rng.below(parts.len() as u64) as usize;
            parts[at].insert(node);
        }
        parts.retain(|part| !part.is_empty());
        parts
    }

    fn fault(&mut self, nodes: u32) {
        let node = 1 + self.rng.below(u64::from(nodes)) as u32;
        match self.rng.below(12) {
            0..4 => {
                for _ in 0..self.rng.below(3) {
                    let parts = self.draw_parts(nodes);
                    self.reform(&parts, true);
                }
                let parts = self.draw_parts(nodes);
                self.reform(&parts, false);
            }
            4..6 => self.kill_process(node),
            6 => {
                self.kill_daemon(node);
                let parts = self.draw_parts(nodes);
                self.reform(&parts, false);
            }
            7..9 => {
                if let Some(process) = self.processes.get_mut(&node) {
                    process.paused = true;
                }
            }
            _ => self.repair(node),
        }
    }

    fn repair(&mut self, node: u32) {
        if !self.daemons.contains_key(&node) {
            self.start_daemon(node);
            self.join(node);
        }
        if !self.processes.contains_key(&node) {
            self.start_process(node);
        }
        if let Some(process) = self.processes.get_mut(&node) {
            process.paused = false;
            if process.machine.wants_rejoin() {
                process.machine.handle_away(self.now);
                self.join(node);
            }
        }
    }

    fn turn(&mut self, nodes: u32) {
        let node = 1 + self.rng.below(u64::from(nodes)) as u32;
        match self.rng.below(10) {
            0..3 => self.send(node),
            3..6 => self.receive(node),
            6..9 => self.step(node),
            _ => self.now = self.now + Duration::from_micros(self.rng.below(3000)),
        }
    }

    fn run(&mut self, nodes: u32, turns: u32) {
        for _ in 0..turns {
            match self.rng.below(400) {
                0 => self.fault(nodes),
                1..40 => {
                    let node = 1 + self.rng.below(u64::from(nodes)) as u32;
                    self.submit(node);
                }
                _ => self.turn(nodes),
            }
        }
    }

    /// Nothing fails any more: all come to one view, and what they submit is delivered.
    fn settle(&mut self, nodes: u32) {
        (1..=nodes).for_each(|node| self.repair(node));
        self.reform(&[(1..=nodes).collect()], false);
        self.calm(nodes);
        for node in 1..=nodes {
            self.submit(node);
        }
        self.calm(nodes);
        let live: Vec<Run> = self.processes.values().map(|process| process.run).collect();
        if let Err(violation) = self.checker.check_converged(&live) {
            let status: Vec<_> = self.processes.values().map(|p| p.machine.status()).collect();
            panic!("{violation}\n{status:#?}");
        }
    }

    fn calm(&mut self, nodes: u32) {
        for _ in 0..2000 {
            for node in 1..=nodes {
                self.send(node);
                (0..4).for_each(|_| self.receive(node));
                (0..4).for_each(|_| self.step(node));
                self.repair(node);
            }
            self.now = self.now + Duration::from_millis(1);
        }
    }
}

fn members(group: &BTreeSet<Address>) -> Vec<Address> {
    group.iter().copied().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn the_contract_is_kept_over_everything_that_corosync_does(
        seed in any::<u64>(),
        nodes in 1_u32..=5,
        turns in 0_u32..8000,
    ) {
        let mut world = World::new(seed, nodes);
        world.run(nodes, turns);
        world.settle(nodes);
    }
}

#[test]
fn members_that_took_the_same_move_together() {
    let mut world = World::new(1, 3);
    world.calm(3);
    let alone = |world: &World| -> u64 {
        world.processes.values().map(|p| p.machine.status().counters.alone).sum()
    };
    assert_eq!(alone(&world), 0);
    world.kill_process(3);
    world.calm(3);
    world.reform(&[[1, 2].into(), [3].into()], false);
    world.calm(2);
    assert_eq!(alone(&world), 0, "the survivors had no view of their own meanwhile");
    assert!(world.checker.views() >= 3);
}

/// Daemons that were apart for a moment that was not told tell that they stayed together.
#[test]
fn a_ring_that_forms_anew_makes_a_new_view_though_nobody_went() {
    let mut world = World::new(2, 3);
    world.calm(3);
    let id = |world: &World| world.processes[&1].machine.status().view;
    let before = id(&world);
    world.reform(&[[1].into(), [2].into(), [3].into()], true);
    world.reform(&[[1, 2, 3].into()], true);
    world.reform(&[[1, 2, 3].into()], false);
    world.calm(3);
    assert_ne!(id(&world), before);
    world.settle(3);
}

/// Two members in a view of their own, and a driver for what a third process does.
struct Siege {
    world: World,
    intruder: Address,
}

impl Siege {
    fn new() -> Self {
        let mut world = World::new(1, 2);
        world.calm(2);
        let intruder = Address { node: 2, pid: 7 };
        world.daemons.get_mut(&2).unwrap().queue.push_back(What::Join(intruder));
        world.calm(2);
        Self { world, intruder }
    }

    fn says(&mut self, bytes: Bytes) {
        let what = What::Message(self.intruder, bytes);
        self.world.daemons.get_mut(&2).unwrap().queue.push_back(what);
        self.world.calm(2);
    }

    fn refused(&self, refusal: Refusal) -> u64 {
        let counters = self.world.processes[&1].machine.status().counters;
        counters.refused.get(&refusal).copied().unwrap_or_default()
    }

    fn members_serve(&mut self) {
        let views = self.world.checker.views();
        self.world.settle(2);
        assert!(self.world.checker.views() <= views + 2, "strangers cost no views of their own");
    }
}

#[test]
fn a_strangers_messages_are_refused_and_counted_and_the_members_serve() {
    let mut siege = Siege::new();
    siege.says(Bytes::from_static(b"not for you"));
    assert_eq!(siege.refused(Refusal::Foreign), 1);
    let mut newer = Message::Call.encode(&KEY, siege.intruder).to_vec();
    newer[4] += 1;
    siege.says(newer.into());
    assert_eq!(siege.refused(Refusal::Version), 1);
    let sync = Message::Sync(Sync { nonce: 1, seq: 99, view: 0, taken: 0 });
    siege.says(sync.encode(&[8; 32], siege.intruder));
    siege.says(Message::Call.encode(&KEY, Address { node: 1, pid: 101 }));
    assert_eq!(siege.refused(Refusal::Unauthentic), 2);
    let view = siege.world.processes[&1].machine.status().view.unwrap().salt;
    let seen = super::message::Seen { view, seen: 1 };
    siege.says(Message::Seen(seen).encode(&KEY, siege.intruder));
    assert_eq!(siege.refused(Refusal::Outsider), 1);
    siege.members_serve();
}

#[test]
fn a_second_process_with_the_same_number_is_left_out() {
    let mut siege = Siege::new();
    let sync = Message::Sync(Sync { nonce: 1, seq: 0, view: 0, taken: 0 });
    siege.says(sync.encode(&KEY, siege.intruder));
    siege.world.settle(2);
    let group = siege.world.checker.view_of(siege.world.processes[&1].run).unwrap();
    assert_eq!(group.members, [NodeId(1), NodeId(2)]);
}

#[test]
fn a_sender_that_dies_in_mid_fragment_leaves_nothing_behind() {
    let mut world = World::new(3, 2);
    world.calm(2);
    let payload = Bytes::from(vec![1; 1500]);
    let process = world.processes.get_mut(&2).unwrap();
    process.machine.submit(world.now, payload.clone()).unwrap();
    world.checker.on_submit(process.run, &payload);
    // Two chunks of six are ordered; then its daemon dies.
    world.step(2);
    (0..2).for_each(|_| world.send(2));
    (0..8).for_each(|_| world.receive(1));
    world.kill_daemon(2);
    world.reform(&[[1].into()], false);
    let delivered = world.checker.deliveries();
    world.calm(1);
    assert_eq!(world.checker.deliveries(), delivered);
    world.settle(2);
}

#[test]
fn when_the_daemon_is_away_one_is_alone_and_serves_oneself() {
    let mut world = World::new(4, 1);
    world.calm(1);
    world.kill_daemon(1);
    world.submit(1);
    world.step(1);
    let process = world.processes.get_mut(&1).unwrap();
    assert_eq!(process.machine.status().stage, "away");
    while let Some(event) = process.machine.poll_event() {
        assert!(matches!(event, GroupEvent::View(_) | GroupEvent::Deliver { .. }));
        world.checker.on_event(process.run, &event).unwrap();
    }
    world.settle(1);
}
