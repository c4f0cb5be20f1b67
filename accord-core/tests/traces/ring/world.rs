//! The members of a trace, and what is on its way between them.

use accord_core::group::contract::{ContractChecker, Run};
use accord_core::group::ring::{
    Ring, RingConfig, RingLimits, RingStage, RingTimeouts, To, describe,
};
use accord_core::group::{GroupEvent, View};
use accord_core::ids::NodeId;
use accord_core::time::{Duration, Instant};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const KEY: [u8; 32] = [7; 32];
/// While a trace runs, time passes in steps of this, if no timer is due before.
const TICK: Duration = Duration::from_millis(1);
/// More datagrams within one instant mean that the members do not come to rest.
const DATAGRAMS_MAX: usize = 10_000;

/// A member, and its present run.
#[derive(Default)]
pub struct Member {
    pub ring: Option<Ring>,
    starts: u64,
    stage: Option<RingStage>,
}

/// A datagram on its way.
pub struct Datagram {
    pub from: NodeId,
    pub to: NodeId,
    bytes: Bytes,
}

impl Datagram {
    pub fn says(&self) -> String {
        describe(KEY, &self.bytes)
    }
}

/// All members, the network between them, and the judge.
#[derive(Default)]
pub struct World {
    pub members: BTreeMap<NodeId, Member>,
    pub limits: RingLimits,
    pub way: VecDeque<Datagram>,
    pub cut: BTreeSet<(NodeId, NodeId)>,
    pub now: Instant,
    checker: ContractChecker,
    /// True while only events and changes of stage are shown.
    pub brief: bool,
    /// Lines with this are shown as well.
    pub showing: Option<String>,
    pub output: String,
}

impl World {
    pub fn create(&mut self, count: u32, limits: RingLimits) {
        self.limits = limits;
        self.members = (1..=count).map(|node| (NodeId(node), Member::default())).collect();
    }

    pub fn count(&self) -> u32 {
        self.members.len() as u32
    }

    pub fn nodes(&self) -> Vec<NodeId> {
        self.members.keys().copied().collect()
    }

    /// Adds a line to the output.
    pub fn say(&mut self, line: &str) {
        self.output.push_str(line);
        self.output.push('\n');
    }

    fn note(&mut self, line: &str) {
        let shown = self.showing.as_ref().is_some_and(|word| line.contains(word));
        if !self.brief || shown {
            self.say(line);
        }
    }

    pub fn is_up(&self, node: NodeId) -> bool {
        self.members[&node].ring.is_some()
    }

    fn run_of(&self, node: NodeId) -> Run {
        Run { node, incarnation: self.members[&node].starts }
    }

    pub fn start(&mut self, node: NodeId) -> Result<(), String> {
        if self.is_up(node) {
            return Err(format!("{node} is up"));
        }
        let peers = self.nodes().into_iter().filter(|peer| *peer != node).collect();
        let mut config = RingConfig::new(node, peers, KEY);
        (config.limits, config.timeouts) = (self.limits, RingTimeouts::default());
        let now = self.now;
        let member = self.members.get_mut(&node).expect("the parser knows the members");
        member.starts += 1;
        let seed = u64::from(node.0) << 32 | member.starts;
        member.ring = Some(Ring::new(config, seed, now));
        self.drain(node)
    }

    pub fn crash(&mut self, node: NodeId) {
        let run = self.run_of(node);
        let member = self.members.get_mut(&node).expect("the parser knows the members");
        if member.ring.take().is_some() {
            member.stage = None;
            self.checker.on_stop(run);
        }
    }

    /// Lets the ring of a member do something, and carries out what comes of it.
    pub fn with<T>(
        &mut self,
        node: NodeId,
        act: impl FnOnce(&mut Ring, Instant) -> T,
    ) -> Result<T, String> {
        let now = self.now;
        let ring = self.members.get_mut(&node).and_then(|member| member.ring.as_mut());
        let result = act(ring.ok_or_else(|| format!("{node} is down"))?, now);
        self.drain(node)?;
        Ok(result)
    }

    pub fn submit(&mut self, node: NodeId, payload: Bytes) -> Result<(), String> {
        let run = self.run_of(node);
        let now = self.now;
        let ring = self.members.get_mut(&node).and_then(|member| member.ring.as_mut());
        let ring = ring.ok_or_else(|| format!("{node} is down"))?;
        if let Err(error) = ring.submit(now, payload.clone()) {
            self.say(&format!("{node}: refused: {error}"));
            return Ok(());
        }
        self.checker.on_submit(run, &payload);
        self.drain(node)
    }

    fn drain(&mut self, node: NodeId) -> Result<(), String> {
        let run = self.run_of(node);
        loop {
            let member = self.members.get_mut(&node).expect("the parser knows the members");
            let Some(ring) = &mut member.ring else { return Ok(()) };
            let stage = ring.status().stage;
            let entered = member.stage.replace(stage) != Some(stage);
            if let Some(event) = ring.poll_event() {
                if entered {
                    self.say(&format!("{node}: {stage:?}"));
                }
                self.checker.on_event(run, &event).map_err(|violation| violation.to_string())?;
                self.say(&format!("{node}: {}", said(&event)));
            } else if let Some(transmit) = ring.poll_transmit() {
                if entered {
                    self.say(&format!("{node}: {stage:?}"));
                }
                let says = describe(KEY, &transmit.bytes);
                let to = match transmit.to {
                    To::Node(to) => vec![to],
                    To::Broadcast => self.nodes().into_iter().filter(|to| *to != node).collect(),
                };
                let whom = if to.len() == 1 { to[0].to_string() } else { "all".into() };
                self.note(&format!("{node} -> {whom}: {says}"));
                for to in to {
                    let bytes = transmit.bytes.clone();
                    self.way.push_back(Datagram { from: node, to, bytes });
                }
            } else {
                if entered {
                    self.say(&format!("{node}: {stage:?}"));
                }
                return Ok(());
            }
        }
    }

    /// A datagram arrives.
    pub fn arrive(&mut self, at: usize) -> Result<(), String> {
        let datagram = self.way.remove(at).expect("it is on its way");
        let (from, to) = (datagram.from, datagram.to);
        if !self.is_up(to) {
            return Ok(());
        }
        self.note(&format!("{to} <- {from}: {}", datagram.says()));
        self.with(to, |ring, now| ring.handle_datagram(now, from, &datagram.bytes))
    }

    /// Lets all timers fire that are due.
    fn fire(&mut self) -> Result<bool, String> {
        let mut fired = false;
        for node in self.nodes() {
            let ring = self.members[&node].ring.as_ref();
            if ring.and_then(Ring::next_deadline).is_some_and(|at| at <= self.now) {
                self.note(&format!("{node} <- timer"));
                self.with(node, |ring, now| ring.handle_timer(now))?;
                fired = true;
            }
        }
        Ok(fired)
    }

    /// Time passes and timers fire. If `moving`, what is on its way arrives, or is lost at a cut.
    pub fn pass(&mut self, span: Duration, moving: bool) -> Result<(), String> {
        let end = self.now + span;
        loop {
            if moving {
                self.deliver_all()?;
            }
            while self.fire()? {
                if moving {
                    self.deliver_all()?;
                }
            }
            if self.now >= end {
                return Ok(());
            }
            let due = self.members.values().filter_map(|member| member.ring.as_ref());
            let next = due.filter_map(Ring::next_deadline).min().unwrap_or(end);
            self.now = next.max(self.now).min(self.now + TICK).min(end);
        }
    }

    fn deliver_all(&mut self) -> Result<(), String> {
        for _ in 0..DATAGRAMS_MAX {
            let Some(first) = self.way.front() else { return Ok(()) };
            match self.cut.contains(&(first.from, first.to)) {
                true => drop(self.way.pop_front()),
                false => self.arrive(0)?,
            }
        }
        Err("the members do not come to rest".into())
    }

    /// True if these members share a view and nothing is left to be delivered.
    pub fn is_settled(&self, nodes: &[NodeId]) -> bool {
        let runs: Vec<Run> = nodes.iter().map(|node| self.run_of(*node)).collect();
        self.checker.check_converged(&runs).is_ok()
    }

    pub fn check(&mut self) {
        for ring in self.members.values().filter_map(|member| member.ring.as_ref()) {
            ring.check();
        }
    }
}

pub fn view(view: &View) -> String {
    let members: Vec<String> = view.members.iter().map(ToString::to_string).collect();
    format!("{} [{}]", view.id, members.join(" "))
}

fn said(event: &GroupEvent) -> String {
    match event {
        GroupEvent::View(it) => format!("view {}", view(it)),
        GroupEvent::Deliver { from, payload } => {
            let text = String::from_utf8_lossy(payload);
            let word = text.trim_end_matches('.');
            let bytes = match payload.len() == word.len() {
                true => String::new(),
                false => format!(", {} bytes", payload.len()),
            };
            format!("delivered {word} of {from}{bytes}")
        }
    }
}
