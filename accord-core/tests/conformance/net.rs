//! A discrete-event network of ring members, judged by the contract checker at every event.
//!
//! Time is virtual, all randomness comes from one seed, and every member's invariants are checked
//! after every input.

use accord_core::group::contract::{ContractChecker, Run, Violation};
use accord_core::group::ring::{Ring, RingConfig, RingLimits, RingStatus, RingTimeouts, To};
use accord_core::group::{GroupEvent, Standing, SubmitError};
use accord_core::ids::{Epoch, Index, LogPosition, NodeId};
use accord_core::rng::Rng;
use accord_core::time::{Duration, DurationExt, Instant};
use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// How the network treats a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub loss_percent: u64,
    pub duplicate_percent: u64,
    /// Share of datagrams that are flipped in one bit.
    pub damage_percent: u64,
    pub delay_min: Duration,
    /// Delays are drawn up to this, so datagrams overtake each other.
    pub delay_max: Duration,
    /// Share of datagrams in a thousand that come up to [`STRAGGLE_MAX`] later.
    pub straggle_permille: u64,
}

/// Longer than it takes to form a ring.
const STRAGGLE_MAX: Duration = Duration::from_millis(400);

impl Weather {
    pub const FAIR: Self = Self {
        loss_percent: 0,
        duplicate_percent: 0,
        damage_percent: 0,
        delay_min: Duration::from_micros(50),
        delay_max: Duration::from_micros(100),
        straggle_permille: 0,
    };
}

#[derive(Debug)]
enum Happening {
    Datagram { from: usize, to: usize, bytes: Bytes },
    Wake { node: usize },
}

struct Member {
    ring: Option<Ring>,
    incarnation: u64,
    submitted: u64,
    paused_until: Instant,
}

/// N members, a network between them, and a judge.
pub struct Net {
    pub now: Instant,
    pub rng: Rng,
    pub weather: Weather,
    /// `cut[from][to]`: nothing gets through.
    pub cut: Vec<Vec<bool>>,
    pub checker: ContractChecker,
    members: Vec<Member>,
    happenings: BinaryHeap<Reverse<(Instant, u64)>>,
    details: std::collections::BTreeMap<u64, Happening>,
    number: u64,
    limits: RingLimits,
    timeouts: RingTimeouts,
    pub violation: Option<Violation>,
    /// Delivered payloads, by member, if they are to be kept.
    pub log: Option<Vec<Vec<Bytes>>>,
    pub events: u64,
    pub datagrams: u64,
    pub bytes_sent: u64,
    /// Datagrams longer than this do not get through to these members.
    pub narrow: Vec<usize>,
    pub narrow_bytes_max: usize,
    /// Members that do not ask for their events.
    pub inattentive: Vec<usize>,
    /// True if events are taken by [`Net::poll`], and judged elsewhere.
    pub polled: bool,
    /// Members that stand still until they are released, and what waits for them.
    held: std::collections::BTreeMap<usize, Vec<Happening>>,
    /// All datagrams sent, if they are to be kept: sender, receiver, bytes.
    pub recording: Option<Vec<(usize, usize, Bytes)>>,
}

fn node_id(at: usize) -> NodeId {
    NodeId(at as u32 + 1)
}

impl Net {
    pub fn new(seed: u64, count: usize, limits: RingLimits, timeouts: RingTimeouts) -> Self {
        let mut net = Self::stopped(seed, count, limits, timeouts);
        (0..count).for_each(|node| net.start(node));
        net
    }

    /// As [`Net::new`], with no member started.
    pub fn stopped(seed: u64, count: usize, limits: RingLimits, timeouts: RingTimeouts) -> Self {
        let member =
            || Member { ring: None, incarnation: 0, submitted: 0, paused_until: Instant::ZERO };
        Self {
            now: Instant::ZERO,
            rng: Rng::new(seed),
            weather: Weather::FAIR,
            cut: vec![vec![false; count]; count],
            checker: ContractChecker::new(),
            members: (0..count).map(|_| member()).collect(),
            happenings: BinaryHeap::new(),
            details: Default::default(),
            number: 0,
            limits,
            timeouts,
            violation: None,
            log: None,
            events: 0,
            datagrams: 0,
            bytes_sent: 0,
            narrow: Vec::new(),
            narrow_bytes_max: 0,
            inattentive: Vec::new(),
            polled: false,
            held: Default::default(),
            recording: None,
        }
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    fn run(&self, node: usize) -> Run {
        Run { node: node_id(node), incarnation: self.members[node].incarnation }
    }

    /// Starts a member that is not running.
    pub fn start(&mut self, node: usize) {
        if self.is_up(node) {
            return;
        }
        let peers = (0..self.len()).filter(|peer| *peer != node).map(node_id).collect();
        let mut config = RingConfig::new(node_id(node), peers, [9; 32]);
        (config.limits, config.timeouts) = (self.limits, self.timeouts);
        let seed = self.rng.next_u64();
        let member = &mut self.members[node];
        member.incarnation += 1;
        member.submitted = 0;
        member.paused_until = Instant::ZERO;
        member.ring = Some(Ring::new(config, seed, self.now));
        self.settle(node);
    }

    /// Tells all that the first members vote, and no one else does.
    pub fn elect(&mut self, voters: usize) {
        let known_at = LogPosition { epoch: Epoch(1), index: Index(1) };
        for node in 0..self.len() {
            let all = (0..voters).map(node_id).collect();
            let standing = Standing { known_at, voters: all, votes: node < voters };
            let now = self.now;
            if let Some(ring) = &mut self.members[node].ring {
                ring.set_standing(now, standing);
                self.settle(node);
            }
        }
    }

    /// Stops a member without a word.
    pub fn crash(&mut self, node: usize) {
        self.held.remove(&node);
        if self.members[node].ring.take().is_some() {
            self.checker.on_stop(self.run(node));
        }
    }

    /// Stops a member that says good-bye.
    pub fn leave(&mut self, node: usize) {
        let now = self.now;
        if let Some(ring) = &mut self.members[node].ring {
            ring.leave(now);
            self.settle(node);
            self.crash(node);
        }
    }

    /// Freezes a member: its datagrams wait and its timers are late.
    pub fn pause(&mut self, node: usize, length: Duration) {
        let until = self.now + length;
        self.members[node].paused_until = until;
        self.schedule(until, Happening::Wake { node });
    }

    pub fn is_up(&self, node: usize) -> bool {
        self.members[node].ring.is_some()
    }

    pub fn live(&self) -> Vec<Run> {
        (0..self.len()).filter(|node| self.is_up(*node)).map(|node| self.run(node)).collect()
    }

    /// The nodes of a member's view.
    pub fn view(&self, node: usize) -> Vec<u32> {
        self.status(node).view.members.iter().map(|node| node.0).collect()
    }

    pub fn status(&self, node: usize) -> RingStatus {
        self.members[node].ring.as_ref().expect("a running member").status()
    }

    /// Submits a message of `bytes` bytes that no one submitted before. False if refused.
    pub fn submit(&mut self, node: usize, bytes: usize) -> bool {
        let run = self.run(node);
        let member = &mut self.members[node];
        if member.ring.is_none() {
            return false;
        }
        member.submitted += 1;
        let head = [u64::from(run.node.0), run.incarnation, member.submitted];
        let mut payload: Vec<u8> = head.iter().flat_map(|word| word.to_le_bytes()).collect();
        payload.resize(payload.len().max(bytes), member.submitted as u8);
        self.submit_payload(node, Bytes::from(payload)).is_ok()
    }

    /// Submits a message at a member that is up.
    pub fn submit_payload(&mut self, node: usize, payload: Bytes) -> Result<(), SubmitError> {
        let (now, run) = (self.now, self.run(node));
        let ring = self.members[node].ring.as_mut().expect("a running member");
        ring.submit(now, payload.clone())?;
        self.checker.on_submit(run, &payload);
        self.settle(node);
        Ok(())
    }

    /// The next event of a member that is up.
    pub fn poll(&mut self, node: usize) -> Option<GroupEvent> {
        let event = self.members[node].ring.as_mut().expect("a running member").poll_event();
        self.settle(node);
        event
    }

    /// Freezes a member until it is released.
    pub fn hold(&mut self, node: usize) {
        self.held.entry(node).or_default();
    }

    pub fn release(&mut self, node: usize) {
        let now = self.now;
        for happening in self.held.remove(&node).into_iter().flatten() {
            self.schedule(now, happening);
        }
        self.schedule(now, Happening::Wake { node });
    }

    /// Hands a member a datagram as the wire might.
    pub fn inject(&mut self, from: usize, to: usize, bytes: Bytes) {
        self.schedule(self.now, Happening::Datagram { from, to, bytes });
    }

    fn schedule(&mut self, at: Instant, happening: Happening) {
        self.number += 1;
        self.happenings.push(Reverse((at, self.number)));
        self.details.insert(self.number, happening);
    }

    /// Runs until `end` or the first violation.
    pub fn run_until(&mut self, end: Instant) {
        while self.violation.is_none() {
            match self.happenings.peek() {
                Some(Reverse((at, _))) if *at <= end => {}
                _ => break,
            }
            let Reverse((at, number)) = self.happenings.pop().expect("just seen");
            self.now = self.now.max(at);
            let happening = self.details.remove(&number).expect("kept until it happens");
            self.happen(happening);
        }
        self.now = self.now.max(end);
    }

    pub fn run_for(&mut self, span: Duration) {
        self.run_until(self.now + span);
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.now;
        let node = match &happening {
            Happening::Datagram { to, .. } => *to,
            Happening::Wake { node } => *node,
        };
        if let Some(waiting) = self.held.get_mut(&node) {
            waiting.push(happening);
            return;
        }
        let until = self.members[node].paused_until;
        if until > now {
            if matches!(happening, Happening::Datagram { .. }) {
                self.schedule(until, happening);
            }
            return;
        }
        let Some(ring) = &mut self.members[node].ring else { return };
        self.events += 1;
        match happening {
            Happening::Datagram { from, bytes, .. } => {
                ring.handle_datagram(now, node_id(from), &bytes);
            }
            Happening::Wake { .. } => {
                if ring.next_deadline().is_none_or(|at| at > now) {
                    return;
                }
                ring.handle_timer(now);
            }
        }
        self.settle(node);
    }

    /// Takes a member's outputs, and checks it.
    fn settle(&mut self, node: usize) {
        let run = self.run(node);
        let Some(ring) = &mut self.members[node].ring else { return };
        ring.check();
        let mut transmits = Vec::new();
        loop {
            while !self.polled
                && !self.inattentive.contains(&node)
                && let Some(event) = ring.poll_event()
            {
                if let (Some(log), GroupEvent::Deliver { payload, .. }) = (&mut self.log, &event) {
                    log[node].push(payload.clone());
                }
                let result = self.checker.on_event(run, &event);
                self.violation = self.violation.take().or(result.err());
            }
            let before = transmits.len();
            transmits.extend(std::iter::from_fn(|| ring.poll_transmit()));
            if transmits.len() == before {
                break;
            }
        }
        if let Some(at) = ring.next_deadline() {
            self.schedule(at.max(self.now), Happening::Wake { node });
        }
        for transmit in transmits {
            match transmit.to {
                To::Node(to) => self.send(node, to.0 as usize - 1, &transmit.bytes),
                To::Broadcast => {
                    for to in (0..self.len()).filter(|to| *to != node) {
                        self.send(node, to, &transmit.bytes);
                    }
                }
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, bytes: &Bytes) {
        let weather = self.weather;
        self.datagrams += 1;
        self.bytes_sent += bytes.len() as u64;
        if let Some(recording) = &mut self.recording {
            recording.push((from, to, bytes.clone()));
        }
        let too_long = self.narrow.contains(&to) && bytes.len() > self.narrow_bytes_max;
        if self.cut[from][to] || too_long || self.rng.chance(weather.loss_percent, 100) {
            return;
        }
        let copies = 1 + u64::from(self.rng.chance(weather.duplicate_percent, 100));
        for _ in 0..copies {
            let spread = weather.delay_max.to_nanos() - weather.delay_min.to_nanos();
            let delay = Duration::from_nanos(self.rng.below(spread + 1));
            let mut at = self.now + weather.delay_min + delay;
            if self.rng.chance(weather.straggle_permille, 1000) {
                at = at + Duration::from_nanos(self.rng.below(STRAGGLE_MAX.to_nanos()));
            }
            let mut bytes = bytes.clone();
            if self.rng.chance(weather.damage_percent, 100) {
                let mut damaged = bytes.to_vec();
                let bit = self.rng.below(damaged.len() as u64 * 8) as usize;
                damaged[bit / 8] ^= 1 << (bit % 8);
                bytes = Bytes::from(damaged);
            }
            self.schedule(at, Happening::Datagram { from, to, bytes });
        }
    }

    pub fn heal(&mut self) {
        self.cut.iter_mut().for_each(|row| row.fill(false));
    }

    /// Cuts both ways between `a` and `b`.
    pub fn cut_pair(&mut self, a: usize, b: usize) {
        self.cut[a][b] = true;
        self.cut[b][a] = true;
    }

    /// Cuts the network into the nodes for which `side` holds and the others.
    pub fn partition(&mut self, side: impl Fn(usize) -> bool) {
        self.heal();
        for a in 0..self.len() {
            for b in 0..self.len() {
                self.cut[a][b] = side(a) != side(b);
            }
        }
    }

    /// Runs until the live members share one view and have delivered all of their own, and tells
    /// how long that took.
    pub fn converge(&mut self, within: Duration) -> Result<Duration, Violation> {
        let start = self.now;
        loop {
            self.run_for(Duration::from_millis(5));
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
            match self.checker.check_converged(&self.live()) {
                Ok(()) => return Ok(self.now - start),
                Err(violation) if self.now - start > within => return Err(violation),
                Err(_) => {}
            }
        }
    }
}
