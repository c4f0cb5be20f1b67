//! A server of the simulated world: the process, and the machine around it.
//!
//! The machine (clock, disk) outlives the process. A process is the core's [`Server`] on top of a
//! group layer: its own [`Ring`], or its place in the world's adversarial group. Everything that a
//! driver in production does with bytes and time is done here with the world's: inputs in, outputs
//! carried out in order, until nothing is left to do.

use crate::judge::Property;
use crate::judge::outputs::{Judged, has_barrier, on_mismatch};
use crate::judge::situations::Situation;
use crate::plan::options::Options;
use crate::plan::rng::{Concern, Rng};
use crate::plan::setup;
use crate::world::clock::Clock;
use crate::world::conns::{ToClient, ToServer};
use crate::world::disk::{Disk, Opened, Platters};
use crate::world::env::{Event, Surroundings};
use crate::world::event_kind::EventKind;
use crate::world::input::NodeInput;
use crate::world::process::{Observed, Process};
use crate::world::story;
use crate::world::timer::Timer;
use crate::world::turns::{Next, Turns};
use crate::world::who::Actor;
use accord_core::group::ring::{Ring, To, Transmit};
use accord_core::group::{GroupEvent, SubmitError};
use accord_core::holder::Principal;
use accord_core::ids::{ConnId, LogPosition, NodeId, StoreId};
use accord_core::replica::config::Durability;
use accord_core::replica::io::HaltReason;
use accord_core::replica::log::Recovered;
use accord_core::replica::voters::VoterSet;
use accord_core::server::{Input, OperatorReply, Output, Server, ServerStatus};
use accord_core::time::{Duration, Instant};
use std::collections::{BTreeMap, VecDeque};

/// Datagrams that wait for a paused process; more are lost, as in a socket's buffer.
const DATAGRAMS_WAITING_MAX: usize = 256;
/// The longest that work beside a server takes, in microseconds.
const WORK_MICROS_MAX: u64 = 200_000;

/// A machine and, if it is up, the process on it.
#[derive(Debug)]
pub struct Node {
    /// The server's number, from 1.
    pub id: u32,
    /// Its clock.
    pub clock: Clock,
    /// Its disk.
    pub disk: Disk,
    /// A disk that was taken out, with the incarnation on it.
    pub aside: Option<(Platters, Option<StoreId>)>,
    /// Its process.
    pub process: Option<Box<Process>>,
    /// The incarnation of the memory it has, on disk or in the process. `None`: it has forgotten.
    pub store: Option<StoreId>,
    /// How often a process was started.
    pub incarnation: u64,
    /// Faults that keep it down.
    pub downs: u32,
    /// Faults that keep it paused.
    pub pauses: u32,
    /// True if the process stopped itself because its disk failed.
    pub stopped: bool,
    /// The end of the log, and the voter set there, when the process was last seen.
    voters: Option<(LogPosition, VoterSet)>,
    waiting: VecDeque<NodeInput>,
    datagrams_waiting: usize,
    rng: Rng,
    timer: Timer,
}

impl Node {
    /// A machine that is switched off, with an empty disk.
    pub fn new(id: u32, options: &Options) -> Self {
        let mut rng = Rng::of(options.seed, Concern::Process, u64::from(id));
        let disk_rng = Rng::of(options.seed, Concern::Disk, u64::from(id));
        let damage_rng = Rng::of(options.seed, Concern::Engine, u64::from(id));
        let offset = Duration::from_millis(rng.below(100_000));
        Self {
            id,
            clock: Clock::new(offset),
            disk: Disk::new(disk_rng, options.sync_min, options.sync_max)
                .with(options.storage, damage_rng),
            aside: None,
            process: None,
            store: None,
            incarnation: 0,
            downs: 0,
            pauses: 0,
            stopped: false,
            voters: None,
            waiting: VecDeque::new(),
            datagrams_waiting: 0,
            rng,
            timer: Timer::default(),
        }
    }

    fn actor(&self) -> Actor {
        Actor::Server(self.id)
    }

    /// True if the process runs and is not paused.
    pub fn is_live(&self) -> bool {
        self.process.is_some() && self.pauses == 0
    }

    /// The status of the process, if it runs.
    pub fn status(&self) -> Option<ServerStatus> {
        self.process.as_ref().map(|process| process.server.status())
    }

    /// The end of the log, and the voter set there, as far as the world can see.
    pub fn voters(&self) -> Option<(LogPosition, VoterSet)> {
        match &self.process {
            None => self.voters.clone(),
            Some(process) => {
                let log = process.server.replica().log();
                Some((log.last(), log.voters().clone()))
            }
        }
    }

    /// Starts a process with what the disk has. `bootstrap`: the operator allows an empty machine
    /// to form the cluster.
    ///
    /// # Panics
    /// If a process runs.
    pub fn start(&mut self, env: &mut Surroundings, options: &Options, bootstrap: bool) {
        assert!(self.process.is_none(), "one process at a time");
        let fresh = StoreId(self.rng.next_u64());
        let (seed, ring_seed) = (self.rng.next_u64(), self.rng.next_u64());
        let recovered = match self.open(env, options) {
            Some(recovered) => recovered,
            None => Recovered::fresh(fresh, bootstrap),
        };
        self.incarnation += 1;
        self.stopped = false;
        self.store = Some(recovered.store);
        let (store, last) = (recovered.store, recovered.log.last());
        if options.mode == Durability::Persistent {
            let found = (!recovered.fresh).then_some(&recovered);
            let judgement = env.judges.durable.on_started(self.id, found);
            env.judge(Property::DurableWhenSaid, judgement);
        }
        if recovered.snapshot.is_some() && last.index > recovered.log.base().index {
            env.met(Situation::StartedFromState);
        }
        env.judges.prefixes.on_started(NodeId(self.id));
        let had = [last.epoch.0, last.index.0].map(u64::to_le_bytes).concat();
        env.trace.numbered(env.now, self.actor(), EventKind::Start, store.0, &had);
        env.tell(self.actor(), || format!("starts with {store}, log up to {last}"));
        let now = self.clock.local(env.now);
        let config = setup::server_config(options, self.id);
        let mut server = Server::new(config, recovered, seed, now);
        server.witness();
        server.handle(now, Input::Clock { wall: self.clock.wall(env.now) });
        let ring = match &mut env.adversary {
            Some(adversary) => {
                adversary.group.start(NodeId(self.id));
                None
            }
            None => Some(Ring::new(setup::ring_config(options, self.id), ring_seed, now)),
        };
        let observed = Observed::new(server.applied());
        self.process = Some(Box::new(Process {
            server,
            ring,
            unsubmitted: VecDeque::new(),
            inboxes: BTreeMap::new(),
            observed,
            turns: Turns::new(options, self.id),
            server_deadline: None,
            unpolled: 0,
            told_at: now,
            steps: 0,
            touched: true,
            unchecked: true,
        }));
        self.pump(env, options);
    }

    fn open(&mut self, env: &mut Surroundings, options: &Options) -> Option<Recovered> {
        if options.mode == Durability::Memory {
            return None;
        }
        match self.disk.open(NodeId(self.id)) {
            Ok(Opened::Recovered(recovered)) => Some(*recovered),
            Ok(Opened::Blank) => None,
            Ok(Opened::Rotten) => {
                env.tell(self.actor(), || "finds its disk damaged, and replaces it".to_owned());
                self.disk.wipe();
                env.judges.durable.forget(self.id);
                let empty = self.disk.open(NodeId(self.id));
                assert!(matches!(empty, Ok(Opened::Blank)), "a new disk is empty");
                None
            }
            Err(error) => {
                let id = self.id;
                env.fail(
                    Property::Invariants,
                    format!("n{id} cannot read its own records: {error}"),
                );
                None
            }
        }
    }

    /// The process dies at once. What the disk and the memory still have is the caller's to say.
    pub fn kill(&mut self, env: &mut Surroundings) {
        self.voters = self.voters();
        if self.process.take().is_none() {
            return;
        }
        env.counts.crashes += 1;
        env.trace.numbered(env.now, self.actor(), EventKind::Death, self.incarnation, &[]);
        env.tell(self.actor(), || "dies".to_owned());
        env.judges.contract.on_stop(self.id, self.incarnation);
        env.judges.silence.on_stop(self.id, env.now);
        env.judges.barriers.on_stop(self.id);
        if let Some(adversary) = &mut env.adversary {
            adversary.group.crash(NodeId(self.id));
        }
        self.timer.disarm();
        self.waiting.clear();
        self.datagrams_waiting = 0;
        self.disk.crash();
        for conn in env.conns.of_server(self.id) {
            env.close_down(conn);
        }
    }

    /// Everything that the process and the machine remember is gone.
    pub fn forget(&mut self) {
        self.disk.wipe();
        self.store = None;
    }

    /// The dead machine gets an empty disk; the old one is put aside.
    pub fn swap_out(&mut self) {
        self.aside = Some((self.disk.take_out(), self.store.take()));
    }

    /// The dead machine gets its old disk back, if one was put aside.
    pub fn swap_back(&mut self) {
        if let Some((platters, store)) = self.aside.take() {
            self.disk.put_in(platters);
            self.store = store;
        }
    }

    /// The end of one fault that kept it paused.
    ///
    /// # Panics
    /// If there was none.
    pub fn resume(&mut self, env: &mut Surroundings, options: &Options) {
        self.pauses = self.pauses.checked_sub(1).expect("a fault ends once, after it began");
        if self.pauses > 0 {
            return;
        }
        env.tell(self.actor(), || "goes on".to_owned());
        self.datagrams_waiting = 0;
        for input in std::mem::take(&mut self.waiting) {
            self.handle(env, options, input);
        }
        self.handle(env, options, NodeInput::Timer);
    }

    /// A timer's event came.
    pub fn on_timer(&mut self, env: &mut Surroundings, options: &Options, number: u64) {
        if self.timer.fire(number) && self.is_live() {
            self.handle(env, options, NodeInput::Timer);
        }
    }

    /// Hands in one input, and carries out what comes of it.
    pub fn handle(&mut self, env: &mut Surroundings, options: &Options, input: NodeInput) {
        if self.process.is_none() {
            return self.refuse(env, &input);
        }
        if self.pauses > 0 {
            return self.keep(input);
        }
        self.trace_input(env, &input);
        env.counts.core_events += 1;
        let now = self.clock.local(env.now);
        let process = self.process.as_mut().expect("just seen");
        match input {
            NodeInput::Datagram { from, bytes } => {
                if let Some(ring) = &mut process.ring {
                    ring.handle_datagram(now, NodeId(from), &bytes);
                }
            }
            NodeInput::Group(event) => self.on_group(env, event),
            NodeInput::Server(input) => process.tell(now, *input),
            NodeInput::Conn(conn, what) => self.on_conn(env, conn, what),
            NodeInput::Timer => {
                let due = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now);
                if let Some(ring) = &mut process.ring
                    && due(ring.next_deadline())
                {
                    ring.handle_timer(now);
                }
                if due(process.server_deadline) {
                    process.tell(now, Input::Timer);
                }
            }
        }
        match self.process.as_mut().map(|process| process.turns.after_input()) {
            None | Some(Next::Wait) => {}
            Some(Next::Poll) => self.pump(env, options),
            Some(Next::WaitFor(span)) => {
                let (node, incarnation) = (self.id, self.incarnation);
                env.agenda.push(env.now.after(span), Event::Turn { node, incarnation });
            }
        }
    }

    /// No further inputs come before the next poll.
    pub fn end_turn(&mut self, env: &mut Surroundings, options: &Options) {
        let Some(process) = self.process.as_mut() else { return };
        process.turns.end();
        if self.is_live() {
            self.pump(env, options);
        }
    }

    /// There is no process: connections are refused, all else is lost.
    fn refuse(&mut self, env: &mut Surroundings, input: &NodeInput) {
        if let NodeInput::Conn(conn, ToServer::Connect) = input {
            env.close_down(*conn);
        }
    }

    fn keep(&mut self, input: NodeInput) {
        if matches!(input, NodeInput::Datagram { .. }) {
            self.datagrams_waiting += 1;
            if self.datagrams_waiting > DATAGRAMS_WAITING_MAX {
                return;
            }
        }
        if !matches!(input, NodeInput::Timer) {
            self.waiting.push_back(input);
        }
    }

    fn trace_input(&self, env: &mut Surroundings, input: &NodeInput) {
        let who = self.actor();
        crate::world::digest::input(&mut env.trace, env.now, who, input);
        if env.trace.is_told()
            && let Some(line) = story::input(input)
        {
            env.tell(who, || line);
        }
    }

    fn on_group(&mut self, env: &mut Surroundings, event: GroupEvent) {
        crate::world::digest::group(&mut env.trace, env.now, self.actor(), &event);
        let process = self.process.as_mut().expect("only a process is given events");
        let judgement = env.judges.contract.on_event(self.id, self.incarnation, &event);
        env.judge(Property::GroupContract, judgement);
        if let GroupEvent::View(view) = &event {
            if process.unpolled > 0 {
                env.met(Situation::ViewAmongInputs);
            }
            process.observed.view = Some(view.id);
            let view = view.clone();
            env.tell(Actor::Server(self.id), || format!("view {} {:?}", view.id, view.members));
        }
        if let GroupEvent::Deliver { from, payload } = &event
            && has_barrier(payload)
        {
            env.judges.barriers.on_delivered(self.id, from.0, payload);
        }
        process.tell(self.clock.local(env.now), Input::Group(event));
    }

    fn on_conn(&mut self, env: &mut Surroundings, id: ConnId, what: ToServer) {
        let now = self.clock.local(env.now);
        let process = self.process.as_mut().expect("only a process has connections");
        let conn = env.conns.get(id);
        match what {
            ToServer::Connect => {
                conn.server_open = true;
                conn.incarnation = Some(self.incarnation);
                process.tell(now, Input::Connected { conn: id, principal: Principal::Anonymous });
                env.send_down(id, ToClient::Accepted);
            }
            _ if !conn.server_open || conn.incarnation != Some(self.incarnation) => {}
            ToServer::Message(message) => {
                if env.judges.silence.on_heard(self.id, now, id) {
                    env.met(Situation::HeardTooLate);
                }
                process.inboxes.entry(id).or_default().push_back(message);
            }
            ToServer::Closed => {
                conn.server_open = false;
                while process.read_from(self.id, env, now, id) {}
                process.inboxes.remove(&id);
                env.judges.silence.on_disconnected(self.id, id);
                process.tell(now, Input::Disconnected { conn: id });
            }
        }
    }

    /// Carries out what the server and its group layer ask, until nothing is left to do.
    fn pump(&mut self, env: &mut Surroundings, options: &Options) {
        while let Some(process) = self.process.as_mut() {
            process.show(self.id, env);
            let mut busy = false;
            for _ in 0..process.turns.inputs() {
                let handed_in = self.hand_in(env);
                busy |= handed_in;
                if !handed_in {
                    break;
                }
            }
            busy |= self.pump_outputs(env);
            busy |= self.pump_group(env, options);
            if !busy {
                break;
            }
        }
        if let Some(process) = self.process.as_mut() {
            process.settle(options.check_every);
            process.server_deadline = process.server.next_deadline();
        }
        self.arm(env);
    }

    /// Hands in something that is at hand: a message of a client, or an event of the ring's.
    fn hand_in(&mut self, env: &mut Surroundings) -> bool {
        let now = self.clock.local(env.now);
        let Some(process) = self.process.as_mut() else { return false };
        let event_first = process.turns.second_first();
        if event_first && self.hand_in_event(env) {
            return true;
        }
        self.read_inbox(env, now) || (!event_first && self.hand_in_event(env))
    }

    fn read_inbox(&mut self, env: &mut Surroundings, now: Instant) -> bool {
        let id = self.id;
        self.process.as_mut().is_some_and(|process| process.read_inbox(id, env, now))
    }

    fn hand_in_event(&mut self, env: &mut Surroundings) -> bool {
        let ring = self.process.as_mut().and_then(|process| process.ring.as_mut());
        let Some(event) = ring.and_then(Ring::poll_event) else { return false };
        env.counts.core_events += 1;
        env.tell(Actor::Server(self.id), || story::group(&event));
        self.on_group(env, event);
        true
    }

    fn pump_group(&mut self, env: &mut Surroundings, options: &Options) -> bool {
        let now = self.clock.local(env.now);
        let Some(process) = self.process.as_mut() else { return false };
        let mut busy = false;
        while let Some(payload) = process.unsubmitted.front().cloned() {
            let submitted = match (&mut process.ring, &mut env.adversary) {
                (Some(ring), _) => ring.submit(now, payload.clone()),
                (None, Some(adversary)) => adversary.group.submit(NodeId(self.id), payload.clone()),
                (None, None) => unreachable!("a world has one kind of group"),
            };
            match submitted {
                Ok(()) => env.judges.contract.on_submit(self.id, self.incarnation, &payload),
                Err(SubmitError::Full) => break,
                Err(error @ SubmitError::TooLarge { .. }) => {
                    env.fail(Property::Invariants, format!("n{}: {error}", self.id));
                }
            }
            process.unsubmitted.pop_front();
            busy = true;
        }
        let Some(ring) = &mut process.ring else { return busy };
        while let Some(Transmit { to, bytes }) = ring.poll_transmit() {
            match to {
                To::Node(to) => env.send_datagram(self.id, to.0, &bytes),
                To::Broadcast => {
                    let peers = (1..=options.nodes()).filter(|peer| *peer != self.id);
                    peers.for_each(|peer| env.send_datagram(self.id, peer, &bytes));
                }
            }
        }
        busy
    }

    fn pump_outputs(&mut self, env: &mut Surroundings) -> bool {
        let mut busy = false;
        while let Some(process) = self.process.as_mut()
            && let Some(output) = process.server.poll_output()
        {
            busy = true;
            process.show(self.id, env);
            crate::world::digest::output(&mut env.trace, env.now, Actor::Server(self.id), &output);
            env.tell(self.actor(), || story::output(&output));
            self.carry_out(env, output);
        }
        if let Some(process) = self.process.as_mut() {
            // What was applied last may have led to no output.
            process.show(self.id, env);
            process.unpolled = 0;
        }
        busy
    }

    fn carry_out(&mut self, env: &mut Surroundings, output: Output) {
        let process = self.process.as_mut().expect("a process asked");
        let (id, now) = (self.id, process.told_at);
        let (server, disk) = (&process.server, &mut self.disk);
        Judged { id, server, disk, now }.judge(env, &output);
        match output {
            Output::Multicast(payload) => process.unsubmitted.push_back(payload),
            Output::Persist { ticket, record } => {
                if let Some(at) = self.disk.write(env.now, ticket, &record) {
                    let (node, incarnation) = (self.id, self.incarnation);
                    env.agenda.push(at, Event::Synced { node, incarnation });
                }
            }
            Output::Client { conn, message } => {
                env.send_down(conn, ToClient::Message(message));
            }
            Output::Disconnect { conn, reason: _ } => {
                process.inboxes.remove(&conn);
                env.close_down(conn);
            }
            Output::Peer { to, message } => env.send_peer(self.id, to.0, &message),
            Output::Standing(standing) => {
                if let Some(ring) = &mut process.ring {
                    ring.set_standing(self.clock.local(env.now), standing);
                }
            }
            Output::Job(job) => {
                let after = Duration::from_micros(self.rng.log_uniform(1, WORK_MICROS_MAX));
                let (node, incarnation, done) = (self.id, self.incarnation, job.run());
                env.agenda.push(env.now.after(after), Event::JobDone { node, incarnation, done });
            }
            Output::Operator { id: _, reply } => {
                if let OperatorReply::VotersChanged(result) = reply {
                    env.tell(self.actor(), || format!("voters changed: {result:?}"));
                }
            }
            Output::Halt(reason) => self.on_halt(env, &reason),
        }
    }

    fn on_halt(&mut self, env: &mut Surroundings, reason: &HaltReason) {
        let property = match reason {
            HaltReason::Diverged { .. } => Some(Property::PrefixesAgree),
            HaltReason::DigestMismatch { .. } => {
                let server = self.process.as_ref().map(|process| &process.server);
                server.and_then(|server| on_mismatch(env, self.id, server))
            }
            HaltReason::BadSnapshot => Some(Property::Invariants),
            HaltReason::StorageFailed => None,
        };
        if let Some(property) = property {
            env.fail(property, format!("n{} stopped itself: {reason}", self.id));
        }
        let incarnation = self.incarnation;
        self.kill(env);
        self.disk.lose_power();
        self.stopped = true;
        let at = env.now.after(Duration::from_millis(self.rng.within(10, 500)));
        env.agenda.push(at, Event::Restart { node: self.id, incarnation });
    }

    fn arm(&mut self, env: &mut Surroundings) {
        let Some(process) = &self.process else { return };
        let ring = process.ring.as_ref().and_then(Ring::next_deadline);
        let deadline = ring.into_iter().chain(process.server_deadline).min();
        let Some(deadline) = deadline else { return };
        let at = self.clock.world(deadline).max(env.now);
        if let Some(armed) = self.timer.arm(at) {
            env.agenda.push(at, Event::NodeTimer { node: self.id, armed });
        }
    }

    /// The clock was changed: what was armed may be too late.
    pub fn on_clock_changed(&mut self, env: &mut Surroundings, options: &Options) {
        self.timer.disarm();
        if !self.is_live() {
            return;
        }
        let (now, wall) = (self.clock.local(env.now), self.clock.wall(env.now));
        if let Some(process) = &mut self.process {
            process.tell(now, Input::Clock { wall });
        }
        self.pump(env, options);
        self.arm(env);
    }
}
