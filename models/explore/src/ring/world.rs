//! The state of the model, and what each action does to it.
//!
//! A datagram on its way arrives, is lost, or leaves a late copy behind that may arrive at any time
//! after. One clock stands for all members' clocks. It moves when a timer fires: the earliest of
//! all, once nothing is on its way but late copies, or another out of turn, if the bounds allow it,
//! so that those that it overtakes are late. A member that does something does what is due as well.

use crate::flaw::{self, Flaw};
use crate::kept::{Fingerprint, Kept};
use accord_core::fingerprint;
use accord_core::group::GroupEvent;
use accord_core::group::contract::{ContractChecker, Run};
use accord_core::group::ring::{Ring, RingConfig, RingLimits, RingStage, RingTimeouts, To};
use accord_core::ids::NodeId;
use accord_core::time::{Duration, Instant};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

/// What may happen, and how often.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Members of the ring in which exploration begins.
    pub members: u32,
    /// Who submits a message, in this order, each when the checker chooses.
    pub submits: Vec<NodeId>,
    /// Who may crash, once all messages are submitted and it has sent its own.
    pub mortals: Vec<NodeId>,
    /// Datagrams lost.
    pub losses: u8,
    /// True if only datagrams with messages are lost or leave copies behind, not tokens.
    pub data_only: bool,
    /// Datagrams that leave a late copy behind.
    pub copies: u8,
    /// Datagrams that arrive: without a bound a token could go round for ever while another
    /// datagram is on its way.
    pub arrivals: u8,
    /// Timers fired.
    pub timers: u8,
    /// Timers fired by another member than the one whose timer is the earliest, or while something
    /// is on its way.
    pub skews: u8,
}

/// How often each thing has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Used {
    /// Messages submitted.
    pub submits: u8,
    /// Crashes.
    pub crashes: u8,
    /// Datagrams lost.
    pub losses: u8,
    /// Late copies.
    pub copies: u8,
    /// Arrivals.
    pub arrivals: u8,
    /// Timers.
    pub timers: u8,
    /// Timers out of turn.
    pub skews: u8,
}

/// The promises of the ordering contract.
pub const CONTRACT: &str = "the ordering contract is kept";

/// One running member.
#[derive(Clone, Debug)]
pub struct Member {
    /// The machine under test.
    pub ring: Ring,
    /// How many messages it was delivered.
    pub delivered: usize,
}

impl Fingerprint for Member {
    fn fingerprint(&self) -> u64 {
        fingerprint::of(&(self.ring.fingerprint(), self.delivered))
    }
}

impl Fingerprint for ContractChecker {
    fn fingerprint(&self) -> u64 {
        Self::fingerprint(self)
    }
}

/// A datagram on its way: to whom, from whom, what.
pub type Datagram = (NodeId, NodeId, Bytes);

/// The whole of the modelled world.
#[derive(Clone)]
pub struct State {
    /// The time.
    pub now: Instant,
    /// The members that are up.
    pub members: BTreeMap<NodeId, Kept<Member>>,
    /// Datagrams on their way. Two that are equal are one.
    pub flying: BTreeSet<Datagram>,
    /// Copies that may arrive at any time.
    pub late: BTreeSet<Datagram>,
    /// The judge.
    pub contract: Kept<ContractChecker>,
    /// What has happened.
    pub used: Used,
    /// What went wrong first.
    pub flaw: Option<Flaw>,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (&self.members, &self.flying, &self.late).hash(hasher);
        (&self.now, &self.contract, &self.used, &self.flaw).hash(hasher);
    }
}
impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        (&self.members, &self.flying, &self.late) == (&other.members, &other.flying, &other.late)
            && (self.now, &self.contract, &self.used, &self.flaw)
                == (other.now, &other.contract, &other.used, &other.flaw)
    }
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A member submits a message.
    Submit(NodeId),
    /// The datagram at this place arrives.
    Arrive(usize),
    /// The datagram at this place is lost.
    Lose(usize),
    /// The datagram at this place arrives, and a copy of it will come late.
    Copy(usize),
    /// The late copy at this place arrives.
    Late(usize),
    /// The next timer of a member is due.
    Timer(NodeId),
    /// A member crashes.
    Crash(NodeId),
}

/// The tempo. Token loss follows after one retransmission, so that few timers lead far.
fn timeouts() -> RingTimeouts {
    RingTimeouts {
        token_loss: Duration::from_millis(100),
        token_retransmit: Duration::from_millis(40),
        idle_hold: Duration::from_millis(10),
        join: Duration::from_millis(10),
        gather: Duration::from_millis(40),
        beacon: Duration::from_secs(10),
        presence: Duration::from_secs(30),
        ..RingTimeouts::default()
    }
}

/// Timers that a ring needs at most to form from nothing.
const PROLOGUE_TIMERS: usize = 1000;

fn run_of(node: NodeId) -> Run {
    Run { node, incarnation: 1 }
}

impl State {
    /// The world in which exploration begins: an idle ring of all members.
    ///
    /// # Panics
    /// If no such ring forms.
    pub fn initial(bounds: &Bounds) -> Self {
        let nodes: Vec<NodeId> = (1..=bounds.members).map(NodeId).collect();
        let mut state = Self {
            now: Instant::ZERO,
            members: BTreeMap::new(),
            flying: BTreeSet::new(),
            late: BTreeSet::new(),
            contract: Kept::new(ContractChecker::new()),
            used: Used::default(),
            flaw: None,
        };
        for node in &nodes {
            let peers = nodes.iter().copied().filter(|peer| peer != node).collect();
            let mut config = RingConfig::new(*node, peers, [7; 32]);
            config.timeouts = timeouts();
            // A small store is quick to print, and so to tell apart.
            config.limits = RingLimits { store_packets_max: 64, ..RingLimits::default() };
            let ring = Ring::new(config, u64::from(node.0), Instant::ZERO);
            let member = Member { ring, delivered: 0 };
            state.members.insert(*node, Kept::new(member));
            state.step(*node, |_, _| {});
        }
        for _ in 0..PROLOGUE_TIMERS {
            while !state.flying.is_empty() {
                state.act(bounds, Action::Arrive(0));
                state.used = Used::default();
            }
            if state.is_whole(nodes.len()) {
                state.used = Used::default();
                return state;
            }
            let (node, _) = state.earliest().expect("a ring that forms has timers");
            state.act(bounds, Action::Timer(node));
            state.used = Used::default();
        }
        panic!("no ring of {nodes:?} forms");
    }

    /// True if all members are in a ring of `count`, which idles.
    fn is_whole(&self, count: usize) -> bool {
        self.members.values().all(|member| {
            let status = member.ring.status();
            status.stage == RingStage::Operational
                && status.view.members.len() == count
                && status.counters.tokens > 6
        })
    }

    /// The member whose timer is the earliest, and when.
    pub fn earliest(&self) -> Option<(NodeId, Instant)> {
        let due = |(node, member): (&NodeId, &Kept<Member>)| {
            member.ring.next_deadline().map(|at| (*node, at))
        };
        self.members.iter().filter_map(due).min_by_key(|(node, at)| (*at, *node))
    }

    /// Does one action, which must be possible.
    pub fn act(&mut self, bounds: &Bounds, action: Action) {
        match action {
            Action::Submit(node) => {
                self.used.submits += 1;
                self.submit(node);
            }
            Action::Arrive(at) => {
                let datagram = take(&mut self.flying, at);
                self.arrive(datagram);
            }
            Action::Lose(at) => {
                self.used.losses += 1;
                take(&mut self.flying, at);
            }
            Action::Copy(at) => {
                self.used.copies += 1;
                let datagram = take(&mut self.flying, at);
                self.late.insert(datagram.clone());
                self.arrive(datagram);
            }
            Action::Late(at) => {
                let datagram = take(&mut self.late, at);
                self.arrive(datagram);
            }
            Action::Timer(node) => {
                self.used.timers += 1;
                let in_turn = self.flying.is_empty();
                let first = self.earliest().is_some_and(|(first, _)| first == node);
                self.used.skews += u8::from(!(in_turn && first) && bounds.skews > 0);
                let due = self.members[&node].ring.next_deadline();
                self.now = self.now.max(due.expect("it was possible"));
                self.step(node, |_, _| {});
            }
            Action::Crash(node) => {
                self.used.crashes += 1;
                self.members.remove(&node);
                self.flying.retain(|(to, ..)| *to != node);
                self.late.retain(|(to, ..)| *to != node);
                let mut contract = (*self.contract).clone();
                contract.on_stop(run_of(node));
                self.contract = Kept::new(contract);
            }
        }
    }

    fn submit(&mut self, node: NodeId) {
        // All payloads differ, so that the judge sees every duplicate.
        let payload = Bytes::from(vec![node.0 as u8, self.used.submits]);
        let mut contract = (*self.contract).clone();
        contract.on_submit(run_of(node), &payload);
        self.contract = Kept::new(contract);
        self.step(node, |ring, now| {
            ring.submit(now, payload).expect("there is room for a few messages");
        });
    }

    fn arrive(&mut self, (to, from, bytes): Datagram) {
        if self.members.contains_key(&to) {
            self.used.arrivals = self.used.arrivals.saturating_add(1);
            self.step(to, |ring, now| ring.handle_datagram(now, from, &bytes));
        }
    }

    /// Lets a member do something, and then what is due; carries out what it asks.
    fn step(&mut self, node: NodeId, act: impl FnOnce(&mut Ring, Instant)) {
        let now = self.now;
        let mut member = (*self.members[&node]).clone();
        let mut events = Vec::new();
        let mut sent = Vec::new();
        let caught = flaw::catch(|| {
            act(&mut member.ring, now);
            loop {
                events.extend(std::iter::from_fn(|| member.ring.poll_event()));
                sent.extend(std::iter::from_fn(|| member.ring.poll_transmit()));
                member.ring.check();
                if member.ring.next_deadline().is_none_or(|due| due > now) {
                    break;
                }
                member.ring.handle_timer(now);
            }
        });
        for transmit in sent {
            let to_all = self.members.keys().copied().filter(|to| *to != node);
            let to: Vec<NodeId> = match transmit.to {
                To::Node(to) => to_all.filter(|other| *other == to).collect(),
                To::Broadcast => to_all.collect(),
            };
            let bytes = transmit.bytes;
            self.flying.extend(to.into_iter().map(|to| (to, node, bytes.clone())));
        }
        let delivers = |event: &&GroupEvent| matches!(event, GroupEvent::Deliver { .. });
        member.delivered += events.iter().filter(delivers).count();
        self.members.insert(node, Kept::new(member));
        self.flaw = self.flaw.take().or(caught.err()).or(self.judge(node, &events));
    }

    fn judge(&mut self, node: NodeId, events: &[GroupEvent]) -> Option<Flaw> {
        if events.is_empty() {
            return None;
        }
        let mut contract = (*self.contract).clone();
        let broken = events.iter().find_map(|event| contract.on_event(run_of(node), event).err());
        self.contract = Kept::new(contract);
        broken.map(|violation| Flaw { property: CONTRACT, detail: violation.to_string() })
    }
}

/// True if a datagram carries messages, as its second byte says.
pub fn is_data((_, _, bytes): &Datagram) -> bool {
    bytes.get(1) == Some(&1)
}

fn take(set: &mut BTreeSet<Datagram>, at: usize) -> Datagram {
    let datagram = set.iter().nth(at).expect("it was possible").clone();
    set.remove(&datagram);
    datagram
}
