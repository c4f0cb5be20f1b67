//! A world: machines, clients, and what happens to them, from the first start to the verdict.
//!
//! Three phases. In the *storm*, the plan's faults happen while clients work. Then the world is
//! *healed*: every fault ends, every server runs, the network is calm. Then it must *converge*: all
//! that clients asked is answered, all servers agree, and nothing that was acknowledged is missing.
//!
//! Everything happens in the order of the agenda; a machine handles one thing at a time. A panic of
//! the core is caught and is a violation like any other.

pub mod actor;
mod adversarial;
pub mod clock;
pub mod conns;
pub mod digest;
pub mod disk;
pub mod engine;
pub mod env;
pub mod event_kind;
pub mod faults;
pub mod input;
mod machines;
pub mod network;
pub mod node;
pub mod panics;
pub mod process;
pub mod recovery;
pub mod schedule;
mod story;
pub mod timer;
pub mod trace;
pub mod turns;
pub mod who;

use crate::judge::counts::Counts;
use crate::judge::divergence;
use crate::judge::remains::Remains;
use crate::judge::{Property, Violation};
use crate::plan::Plan;
use crate::plan::options::Options;
use crate::plan::setup;
use crate::report::record::Recording;
use crate::workload::{self, Workload};
use crate::world::actor::ClientActor;
use crate::world::clock::WorldTime;
use crate::world::conns::{ToClient, ToServer};
use crate::world::disk::Synced;
use crate::world::env::{Event, Surroundings};
use crate::world::event_kind::EventKind;
use crate::world::faults::{FaultEngine, Faults};
use crate::world::input::NodeInput;
use crate::world::node::Node;
use crate::world::recovery::Recovering;
use crate::world::trace::Story;
use crate::world::who::Actor;
use accord_core::ids::{ConnId, NodeId, SessionId};
use accord_core::replica::io::ClosedReason;
use accord_core::server::Input;
use accord_core::time::{Duration, DurationExt, Span};
use accord_models::{History, Outcome};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Events after which a world that has not ended is taken for one that never will.
const EVENTS_MAX: u64 = 50_000_000;
/// How often the healed world is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How long a cluster that lost its majority has to find out.
const AMNESIA_NOTICED: Duration = Duration::from_secs(20);

/// A world.
pub struct World {
    pub(crate) plan: Plan,
    pub(crate) env: Surroundings,
    pub(crate) nodes: Vec<Node>,
    pub(crate) clients: Vec<ClientActor>,
    pub(crate) workloads: Vec<Box<dyn Workload>>,
    /// What its faults have done.
    pub(crate) faults: Faults,
    /// The loss of a majority, and what the operator does about it.
    pub(crate) recovering: Option<Recovering>,
    healed_at: Option<WorldTime>,
    remains: Remains,
    ended: bool,
}

/// What came of a world.
#[derive(Debug)]
pub struct Run {
    /// Over every event.
    pub digest: u64,
    /// In numbers.
    pub counts: Counts,
    /// The first property that did not hold.
    pub violation: Option<Violation>,
    /// Whether the story could be written, if it was to be told.
    pub story: std::io::Result<()>,
    /// What the checkers could not decide, by workload.
    pub undecided: Vec<String>,
    /// What the clients saw, by workload.
    pub histories: Vec<(&'static str, History)>,
    /// What a picture is drawn from, if it was recorded.
    pub record: Option<Box<Recording>>,
}

/// Runs the world of a plan to its end. The story goes to `story`, if it is to be told.
pub fn run(plan: &Plan, story: Option<Story>) -> Run {
    let mut world = World::new(plan.clone(), story);
    crate::world::panics::quietly(|| world.run());
    world.finish()
}

/// Runs the world of a plan to its end and records it.
pub fn run_recorded(plan: &Plan, story: Option<Story>) -> Run {
    let mut world = World::new(plan.clone(), story);
    world.env.trace.begin_record(Recording::default());
    crate::world::panics::quietly(|| world.run());
    world.finish()
}

impl World {
    /// A world that has not begun.
    ///
    /// # Panics
    /// If the plan contradicts itself.
    pub fn new(plan: Plan, story: Option<Story>) -> Self {
        plan.check();
        let options = plan.options.clone();
        let mut env = Surroundings::new(&options, story);
        if !setup::has_ring(&options) {
            env.add_adversary(&options, setup::adversary_limits(&options));
        }
        let nodes = (1..=options.nodes()).map(|id| Node::new(id, &options)).collect();
        let clients = (1..=options.clients).map(|id| ClientActor::new(id, &options)).collect();
        let workloads = options.workloads.iter().map(|kind| workload::create(*kind, &options));
        Self {
            workloads: workloads.collect(),
            plan,
            env,
            nodes,
            clients,
            faults: Faults::default(),
            recovering: None,
            healed_at: None,
            remains: Remains::default(),
            ended: false,
        }
    }

    pub(crate) const fn options(&self) -> &Options {
        &self.plan.options
    }

    pub(crate) const fn nodes_count(&self) -> u32 {
        self.plan.options.nodes()
    }

    pub(crate) fn node_mut(&mut self, node: u32) -> &mut Node {
        &mut self.nodes[node as usize - 1]
    }

    /// Does something with a machine and its surroundings.
    pub(crate) fn with_node(
        &mut self,
        node: u32,
        act: impl FnOnce(&mut Node, &mut Surroundings, &Options),
    ) {
        act(&mut self.nodes[node as usize - 1], &mut self.env, &self.plan.options);
        self.env.wake_adversary(&self.plan.options);
    }

    pub(crate) fn tell_node(&mut self, node: u32, input: NodeInput) {
        self.with_node(node, |node, env, options| node.handle(env, options, input));
    }

    /// Starts a server's process, with what its disk has.
    pub(crate) fn start_node(&mut self, node: u32) {
        let first_voter = node <= self.options().servers;
        // The operator insists on forming the cluster until there is one.
        let bootstrap = first_voter && !FaultEngine(self).formed();
        self.with_node(node, |node, env, options| node.start(env, options, bootstrap));
        if self.node_mut(node).pauses > 0
            && let Some(adversary) = &mut self.env.adversary
        {
            adversary.group.pause(NodeId(node));
        }
        self.env.reform_soon();
    }

    /// Runs to the end, or to the first violation.
    fn run(&mut self) {
        if self.guarded(Self::begin) {
            while !self.ended && self.env.violation.is_none() && self.guarded(Self::step) {}
        }
        if self.env.violation.is_none() {
            self.guarded(Self::judge_end);
        }
    }

    /// Does something, and takes a panic for a violation. False if there was one.
    fn guarded(&mut self, act: impl FnOnce(&mut Self)) -> bool {
        let result = catch_unwind(AssertUnwindSafe(|| act(self)));
        if result.is_err() {
            self.env.fail(Property::Invariants, crate::world::panics::take_last());
        }
        result.is_ok()
    }

    fn begin(&mut self) {
        for number in 0..self.plan.faults.len() {
            let at = WorldTime::START.after(self.plan.faults[number].at);
            self.env.agenda.push(at, Event::FaultBegins(number));
        }
        for node in 1..=self.nodes_count() {
            self.start_node(node);
        }
        for client in 1..=self.options().clients {
            self.with_client(client, |client, env, workload, _| client.start(env, workload));
        }
        let heal = WorldTime::START.after(self.options().safety);
        self.env.agenda.push(heal, Event::Look);
        self.env.reform_soon();
    }

    fn step(&mut self) {
        let Some((at, event)) = self.env.agenda.pop() else {
            return self.env.fail(Property::Convergence, "nothing is left to happen");
        };
        assert!(at >= self.env.now, "the agenda is in order");
        self.env.now = at;
        self.on_event(event);
        if self.env.trace.events() > EVENTS_MAX {
            self.env.fail(Property::Convergence, format!("no end after {EVENTS_MAX} events"));
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Datagram { to, from, bytes } => {
                self.tell_node(to, NodeInput::Datagram { from, bytes });
            }
            Event::Peer { to, from, bytes } => {
                let input = Input::Peer { from: NodeId(from), message: bytes };
                self.tell_node(to, NodeInput::Server(Box::new(input)));
            }
            Event::NodeTimer { node, armed } => {
                self.with_node(node, |node, env, options| node.on_timer(env, options, armed));
            }
            Event::Turn { node, incarnation } => {
                self.with_node(node, |node, env, options| {
                    if node.incarnation == incarnation {
                        node.end_turn(env, options);
                    }
                });
            }
            Event::Synced { node, incarnation } => self.on_synced(node, incarnation),
            Event::JobDone { node, incarnation, done } => {
                let waiting = self.node_mut(node);
                if waiting.incarnation == incarnation && waiting.process.is_some() {
                    self.tell_node(node, NodeInput::Server(Box::new(Input::JobDone(done))));
                }
            }
            Event::Restart { node, incarnation } => self.on_restart(node, incarnation),
            Event::ToServer(conn, what) => self.on_to_server(conn, what),
            Event::ToClient(conn, what) => self.on_to_client(conn, what),
            Event::ClientTimer { client, armed } => {
                self.with_client(client, |client, env, workload, _| {
                    client.on_timer(env, workload, armed);
                });
            }
            Event::Think { client, life } => {
                self.with_client(client, |client, env, workload, _| {
                    client.on_think(env, workload, life);
                });
            }
            Event::FaultBegins(number) => FaultEngine(self).begin(number),
            Event::FaultEnds(number) => FaultEngine(self).end(number),
            Event::Order(node) => self.on_order(node),
            Event::Deliver(node) => self.on_deliver(node),
            Event::Reform => {
                let up: Vec<u32> =
                    self.nodes.iter().filter(|node| node.is_live()).map(|node| node.id).collect();
                self.env.reform(&self.plan.options, &up);
            }
            Event::Operator => self.operate(),
            Event::Look => self.look(),
        }
    }

    fn on_synced(&mut self, id: u32, incarnation: u64) {
        let now = self.env.now;
        let node = &mut self.nodes[id as usize - 1];
        if node.incarnation != incarnation || node.process.is_none() {
            return;
        }
        let (synced, next) = node.disk.complete_sync(now);
        if let Some(at) = next {
            self.env.agenda.push(at, Event::Synced { node: id, incarnation });
        }
        let input = match synced {
            Synced::UpTo(ticket) => {
                self.env.judges.durable.on_synced(id, ticket);
                Input::Stored { ticket }
            }
            Synced::Failed => Input::StoreFailed,
        };
        self.tell_node(id, NodeInput::Server(Box::new(input)));
    }

    fn on_restart(&mut self, id: u32, incarnation: u64) {
        let node = self.node_mut(id);
        if !node.stopped || node.incarnation != incarnation {
            return;
        }
        node.stopped = false;
        if node.downs == 0 {
            self.start_node(id);
        }
    }

    fn on_to_server(&mut self, conn: ConnId, what: ToServer) {
        let node = self.env.conns.get(conn).node;
        self.tell_node(node, NodeInput::Conn(conn, what));
    }

    fn on_to_client(&mut self, id: ConnId, what: ToClient) {
        let conn = self.env.conns.get(id);
        let (client, node, incarnation) = (conn.client, conn.node, conn.incarnation);
        let written = matches!(what, ToClient::Message(_)) && conn.server_open;
        self.with_client(client, |client, env, workload, _| {
            client.on_conn(env, workload, id, what);
        });
        if written && incarnation == Some(self.node_mut(node).incarnation) {
            let written = Input::Written { conn: id, messages: 1 };
            self.tell_node(node, NodeInput::Server(Box::new(written)));
        }
    }

    /// Does something with a client, its surroundings and its workload.
    fn with_client(
        &mut self,
        client: u32,
        act: impl FnOnce(&mut ClientActor, &mut Surroundings, &mut dyn Workload, &Options),
    ) {
        let index = client as usize - 1;
        let workload = index % self.workloads.len();
        let workload = &mut *self.workloads[workload];
        act(&mut self.clients[index], &mut self.env, workload, &self.plan.options);
    }

    fn on_order(&mut self, node: u32) {
        if let Some(adversary) = &mut self.env.adversary {
            adversary.ordering[node as usize] = false;
            adversary.group.order(NodeId(node));
        }
        self.env.wake_adversary(&self.plan.options);
    }

    fn on_deliver(&mut self, node: u32) {
        let Some(adversary) = &mut self.env.adversary else { return };
        adversary.delivering[node as usize] = false;
        if let Some(event) = adversary.group.deliver_next(NodeId(node)) {
            self.tell_node(node, NodeInput::Group(event));
        }
        self.env.wake_adversary(&self.plan.options);
    }

    /// Ends the storm, or sees whether the healed world has come to rest.
    fn look(&mut self) {
        let Some(healed_at) = self.healed_at else { return self.heal() };
        let waited = self.env.now.as_nanos() - healed_at.as_nanos();
        if self.faults.amnesia.is_some() {
            self.ended = waited > AMNESIA_NOTICED.to_nanos();
        } else {
            let contradicted = self.contradicted();
            let unrest = self.unrest();
            let patient = waited <= self.options().converge.to_nanos();
            // An adversary that forms views for ever gives sessions their time for ever.
            let rests = unrest.is_none() && (contradicted.is_none() || !patient);
            self.ended = rests && (self.dead_are_gone() || !patient);
            if !rests {
                self.remains.on_unrest();
            }
            if let Some(unrest) = unrest
                && !patient
            {
                let bound = self.options().converge;
                self.env.fail(
                    Property::Convergence,
                    format!("{} after the heal, {unrest}", Span(bound)),
                );
            }
        }
        self.env.agenda.push(self.env.now.after(POLL_INTERVAL), Event::Look);
    }

    fn heal(&mut self) {
        self.env.tell(Actor::World, || "is healed".to_owned());
        self.env.stormy = false;
        self.healed_at = Some(self.env.now);
        FaultEngine(self).end_all();
        self.env.network.calm();
        for client in 1..=self.options().clients {
            self.with_client(client, |client, env, workload, _| client.conclude(env, workload));
        }
        self.env.reform_soon();
        self.env.agenda.push(self.env.now.after(POLL_INTERVAL), Event::Look);
    }

    /// A server that serves on although a majority has another state.
    fn contradicted(&self) -> Option<String> {
        if !self.env.judges.divergence.is_tried() {
            return None;
        }
        let status = |node: &Node| Some((NodeId(node.id), node.status()?.replica));
        divergence::contradicted(&self.nodes.iter().filter_map(status).collect::<Vec<_>>())
    }

    /// What keeps the healed world from rest, if anything does.
    fn unrest(&self) -> Option<String> {
        let mut common = None;
        for node in &self.nodes {
            let Some(process) = &node.process else { return Some(format!("n{} is down", node.id)) };
            let replica = process.server.replica();
            let Some(epoch) = replica.open_epoch() else {
                let status = process.server.status();
                return Some(format!("n{} is not primary: {:?}", node.id, status.replica));
            };
            let here = (epoch, process.server.applied(), replica.log().last());
            let (there, other) = *common.get_or_insert((here, node.id));
            if here != there {
                let (a, b) = (node.id, other);
                return Some(format!("n{a} is at {here:?} and n{b} at {there:?}"));
            }
            if here.1 != here.2.index {
                return Some(format!("n{} has applied up to {} of {}", node.id, here.1, here.2));
            }
        }
        // The adversary may lose what was submitted when a view forms, as the contract allows.
        if setup::has_ring(&self.plan.options) {
            let live = self.nodes.iter().map(|node| (node.id, node.incarnation));
            if let Err(detail) = self.env.judges.contract.check_end(live) {
                return Some(detail);
            }
        }
        self.clients.iter().find_map(ClientActor::unrest)
    }

    /// Looks whether the sessions of clients that are gone have ended, in the world at rest.
    fn dead_are_gone(&mut self) -> bool {
        let living: BTreeSet<SessionId> =
            self.clients.iter().filter_map(ClientActor::session).collect();
        let server = self.nodes.iter().find_map(|node| Some(&node.process.as_ref()?.server));
        let epoch = server.and_then(|server| server.replica().open_epoch()).unwrap_or_default();
        let sessions = server.into_iter().flat_map(|server| server.state().sessions());
        let left = sessions
            .filter(|(id, _)| !living.contains(id))
            .map(|(id, session)| (id, Duration::from_millis(u64::from(session.timeout_ms()))));
        let over = self.remains.on_rest((self.env.now, epoch), left);
        self.env.judge(Property::SessionsEnd, over.clone().map(drop));
        over.unwrap_or(true)
    }

    /// The last judgements, over the world at rest.
    fn judge_end(&mut self) {
        if self.faults.amnesia.is_some() {
            self.judge_amnesia();
        } else {
            self.judge_states();
        }
        for client in 1..=self.options().clients {
            self.with_client(client, |client, env, workload, _| client.give_up(env, workload));
        }
        for workload in &mut self.workloads {
            // What clients saw of what was given up is explained by nothing.
            if !self.env.judges.lost {
                workload.check(&mut self.env);
            }
            if workload.history().count(Outcome::Ok) > 0 {
                self.env.judge(Property::Workload, Ok(()));
            }
        }
        if self.env.judges.divergence.is_tried() {
            let judgement = self.contradicted().map_or(Ok(()), Err);
            self.env.judge(Property::DivergenceNoticed, judgement);
        }
        if self.faults.amnesia.is_none() {
            self.env.judge(Property::Convergence, Ok(()));
        }
        self.env.judge(Property::Invariants, Ok(()));
    }

    fn judge_amnesia(&mut self) {
        // Where nobody remembers that there was a cluster, all that can be said is that there is
        // none.
        let nobody_knows = self
            .nodes
            .iter()
            .filter_map(|node| node.process.as_ref())
            .all(|process| process.server.replica().log().voters().is_empty());
        for node in &self.nodes {
            let Some(status) = node.status() else { continue };
            let noticed = match &status.replica.closed {
                Some(ClosedReason::NoQuorum { forgotten, .. }) => !forgotten.is_empty(),
                Some(ClosedReason::NotFormed { .. }) => nobody_knows,
                _ => false,
            };
            if !noticed {
                let (id, epoch, closed) = (node.id, status.replica.epoch, status.replica.closed);
                let detail = format!(
                    "a majority lost its memory, and n{id} does not say so: it is in {epoch:?}, {closed:?}"
                );
                return self.env.fail(Property::AmnesiaNoticed, detail);
            }
        }
        self.env.judge(Property::AmnesiaNoticed, Ok(()));
    }

    fn judge_states(&mut self) {
        let mut states = Vec::new();
        for node in &self.nodes {
            let Some(process) = &node.process else { continue };
            process.server.check();
            let state = process.server.state();
            state.check();
            let judgement = self.env.judges.committed.judge_end(state);
            self.env.judge(Property::StateAsDocumented, judgement);
            let applied = process.server.applied();
            states.push(crate::judge::digests::FinalState {
                node: NodeId(node.id),
                applied,
                digest: state.digest(),
                digest_full: state.digest_full(),
            });
            let judgement = self.env.judges.acknowledged.on_end(NodeId(node.id), applied);
            self.env.judge(Property::AcknowledgedSurvive, judgement);
        }
        self.env.judge(Property::DigestsAgree, crate::judge::digests::check(&states));
    }

    /// What there is in the end goes into the digest as well.
    fn digest_end(&mut self) {
        let (now, trace) = (self.env.now, &mut self.env.trace);
        for node in &self.nodes {
            let Some(process) = &node.process else { continue };
            let (index, state) = (process.server.applied().0, process.server.state().digest());
            trace.numbered(
                now,
                Actor::Server(node.id),
                EventKind::State,
                index,
                &state.to_le_bytes(),
            );
        }
        for (number, workload) in self.workloads.iter_mut().enumerate() {
            digest::history(trace, now, number, workload.history());
        }
        digest::verdict(trace, now, self.env.violation.as_ref());
    }

    fn finish(mut self) -> Run {
        self.env.counts.views = self.env.judges.contract.views();
        self.env.counts.epochs = self.env.judges.epochs.count();
        self.env.counts.simulated_ns = self.env.now.as_nanos();
        self.digest_end();
        for workload in &mut self.workloads {
            let history = workload.history();
            self.env.counts.operations_ok += history.count(Outcome::Ok) as u64;
            self.env.counts.operations_failed += history.count(Outcome::Fail) as u64;
            self.env.counts.operations_unknown += history.count(Outcome::Info) as u64;
        }
        let histories = self
            .workloads
            .iter_mut()
            .map(|workload| (workload.kind().name(), workload.history().clone()));
        Run {
            histories: histories.collect(),
            record: self.env.trace.take_record(),
            digest: self.env.trace.digest(),
            violation: self.env.violation,
            undecided: self.workloads.iter_mut().filter_map(|it| it.undecided()).collect(),
            counts: self.env.counts,
            story: self.env.trace.finish(),
        }
    }
}
