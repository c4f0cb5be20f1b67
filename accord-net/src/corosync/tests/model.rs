//! A model of Corosync that does what the real one was seen to do, and worse.
//!
//! Its daemons share rings. A ring has one order; each daemon receives its own part of it.
//! At a change, daemons that come from one ring share what they have, deliver up to the first hole,
//! then also what lies beyond it if its sender comes along; some changes are aborted by the next,
//! and then the processes are told only of the last step. Messages that wait at a daemon are sent
//! in the next ring. Processes take what they are told late, are paused, killed and started again.

use crate::corosync::config::{CorosyncLimits, MachineConfig};
use crate::corosync::machine::Machine;
use crate::corosync::message::Address;
use accord_core::group::contract::{ContractChecker, Run};
use accord_core::ids::NodeId;
use accord_core::rng::Rng;
use accord_core::time::{Duration, Instant};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(super) const KEY: [u8; 32] = [7; 32];

pub(super) fn limits() -> CorosyncLimits {
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
pub(super) enum What {
    Message(Address, Bytes),
    Join(Address),
    Leave(Address),
}

pub(super) enum Told {
    Group(Vec<Address>),
    Ring,
    Message(Address, Bytes),
}

pub(super) struct Process {
    pub(super) machine: Machine,
    pub(super) run: Run,
    pub(super) address: Address,
    pub(super) inbox: VecDeque<Told>,
    pub(super) paused: bool,
}

pub(super) struct Daemon {
    pub(super) ring: usize,
    pub(super) received: BTreeSet<usize>,
    pub(super) delivered: usize,
    pub(super) queue: VecDeque<What>,
    /// The processes of the group, as this daemon knows them.
    pub(super) group: BTreeSet<Address>,
    /// The daemons of the last ring that the processes were told of.
    pub(super) told: BTreeSet<u32>,
    pub(super) active: bool,
}

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) now: Instant,
    pub(super) rings: Vec<Vec<(u32, What)>>,
    pub(super) daemons: BTreeMap<u32, Daemon>,
    pub(super) processes: BTreeMap<u32, Process>,
    pub(super) checker: ContractChecker,
    pub(super) runs: u64,
    pub(super) submitted: u64,
}

impl World {
    pub(super) fn new(seed: u64, nodes: u32) -> Self {
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

    pub(super) fn start_daemon(&mut self, node: u32) {
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

    pub(super) fn start_process(&mut self, node: u32) {
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
    pub(super) fn join(&mut self, node: u32) {
        let (Some(process), Some(daemon)) =
            (self.processes.get_mut(&node), self.daemons.get_mut(&node))
        else {
            return;
        };
        process.machine.handle_joining(self.now, process.address);
        daemon.queue.push_back(What::Join(process.address));
    }

    pub(super) fn kill_process(&mut self, node: u32) {
        let Some(process) = self.processes.remove(&node) else { return };
        self.checker.on_stop(process.run);
        if let Some(daemon) = self.daemons.get_mut(&node) {
            daemon.queue.push_back(What::Leave(process.address));
        }
    }

    pub(super) fn kill_daemon(&mut self, node: u32) {
        self.daemons.remove(&node);
        if let Some(process) = self.processes.get_mut(&node) {
            process.inbox.clear();
            process.machine.handle_away(self.now);
        }
    }

    /// A daemon has the token.
    pub(super) fn send(&mut self, node: u32) {
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
    pub(super) fn receive(&mut self, node: u32) {
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
    pub(super) fn reform(&mut self, parts: &[BTreeSet<u32>], aborted: bool) {
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

    /// A process takes some of what it was told, does what comes of it, and is judged.
    pub(super) fn step(&mut self, node: u32) {
        self.take(node);
        self.judge(node);
    }

    /// A process takes some of what it was told, and does what comes of it.
    pub(super) fn take(&mut self, node: u32) {
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
    }

    /// A process hands on what its machine says, and is judged.
    fn judge(&mut self, node: u32) {
        let Some(process) = self.processes.get_mut(&node).filter(|process| !process.paused) else {
            return;
        };
        while let Some(event) = process.machine.poll_event() {
            if let Err(violation) = self.checker.on_event(process.run, &event) {
                panic!("{violation}");
            }
            if self.rng.chance(1, 8) {
                break;
            }
        }
    }

    pub(super) fn submit(&mut self, node: u32) {
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

    pub(super) fn draw_parts(&mut self, nodes: u32) -> Vec<BTreeSet<u32>> {
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

    pub(super) fn run(&mut self, nodes: u32, turns: u32) {
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
    pub(super) fn settle(&mut self, nodes: u32) {
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

    pub(super) fn calm(&mut self, nodes: u32) {
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
