//! A server's machine in a simulated world: its clock and its disk, which outlive the process, and
//! the running server of `accord-net` on it.

use super::env::{HostEnv, MachineClock};
use super::harness::Harness;
use super::host::{CLIENT_PORT, Host, PEER_PORT};
use super::journal::SimJournal;
use super::process::{Process, RunState};
use super::simulator::Simulator;
use crate::judge::Property;
use crate::plan::options::Options;
use crate::plan::rng::{Concern, Rng};
use crate::plan::setup;
use crate::world::disk::Opened;
use crate::world::engine::Engine;
use crate::world::process::Observed;
use accord_core::ids::{LogPosition, NodeId, StoreId};
use accord_core::replica::config::Durability;
use accord_core::replica::io::HaltReason;
use accord_core::replica::log::Recovered;
use accord_core::replica::voters::VoterSet;
use accord_core::server::{Input, Server};
use accord_core::time::{Duration, Instant};
use accord_net::server::journal::Disk;
use accord_net::server::metrics::Metrics;
use accord_net::server::{self, GroupOptions, NetLimits, RingOptions, Running, ServerOptions};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// How often an observer looks whether there is a cluster to join.
const OBSERVER_LOOKS: Duration = Duration::from_millis(20);

/// A running server, whatever world it runs in.
pub(super) trait Served {
    /// Looks at the core's server.
    fn look(&self, look: &mut dyn FnMut(&Server));
    /// Tells it something.
    fn tell(&self, input: Input);
    /// Hangs up on its clients.
    fn hang_up_all(&self);
}

impl<S: Simulator> Served for Running<HostEnv<S>> {
    fn look(&self, look: &mut dyn FnMut(&Server)) {
        Running::look(self, look);
    }
    fn tell(&self, input: Input) {
        Running::tell(self, input);
    }
    fn hang_up_all(&self) {
        Running::hang_up_all(self);
    }
}

/// A machine, and the server on it if it is up.
pub(super) struct Machine {
    pub(super) id: u32,
    pub(super) clock: MachineClock,
    pub(super) engine: Rc<RefCell<Engine>>,
    /// A disk that was taken out, with the incarnation on it.
    pub(super) aside: Option<(Engine, Option<StoreId>)>,
    pub(super) served: Option<Rc<dyn Served>>,
    /// The process that runs.
    pub(super) process: Rc<Process>,
    /// The incarnation of the memory it has. `None`: it has forgotten.
    pub(super) store: Option<StoreId>,
    /// How often a process was started.
    pub(super) starts: u64,
    /// Faults that keep it down.
    pub(super) downs: u32,
    /// Faults that keep it paused.
    pub(super) pauses: u32,
    /// The process stopped itself, and waits for its next start.
    pub(super) stopped: bool,
    /// The next sync fails.
    pub(super) failing: bool,
    /// What the faults in force add to a sync.
    pub(super) slowness: Duration,
    sync: (Duration, Duration),
    /// The end of the log, and the voter set there, when the process was last seen.
    seen: Option<(LogPosition, VoterSet)>,
    rng: Rng,
    disk_rng: Rng,
}

impl Machine {
    /// A machine that is switched off, with an empty disk.
    pub(super) fn new(id: u32, options: &Options) -> Self {
        let mut rng = Rng::of(options.seed, Concern::Process, u64::from(id));
        let offset = Duration::from_millis(rng.below(100_000));
        let damage = Rng::of(options.seed, Concern::Engine, u64::from(id));
        Self {
            id,
            clock: MachineClock::new(offset),
            engine: Rc::new(RefCell::new(Engine::new(damage))),
            aside: None,
            served: None,
            process: Process::new(),
            store: None,
            starts: 0,
            downs: 0,
            pauses: 0,
            stopped: false,
            failing: false,
            slowness: Duration::ZERO,
            sync: (options.sync_min, options.sync_max),
            seen: None,
            rng,
            disk_rng: Rng::of(options.seed, Concern::Disk, u64::from(id)),
        }
    }

    /// How long the next sync takes.
    pub(super) fn draw_sync(&mut self) -> Duration {
        self.disk_rng.duration(self.sync.0, self.sync.1) + self.slowness
    }

    /// How long the machine takes to start again.
    pub(super) fn draw_restart(&mut self) -> Duration {
        Duration::from_millis(self.rng.within(10, 500))
    }

    /// Looks at the core's server, if there is one.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Server) -> T) -> Option<T> {
        let (mut look, mut seen) = (Some(look), None);
        self.served.as_ref()?.look(&mut |server| seen = look.take().map(|look| look(server)));
        seen
    }

    /// The end of the log, and the voter set there, as far as the world can see.
    pub(super) fn voters(&self) -> Option<(LogPosition, VoterSet)> {
        let now = self.look(|server| {
            let log = server.replica().log();
            (log.last(), log.voters().clone())
        });
        now.or_else(|| self.seen.clone())
    }

    /// The process ends. What its disk and its memory still have is the caller's to say.
    pub(super) fn stop(&mut self) {
        self.seen = self.voters();
        self.served = None;
        self.engine.borrow_mut().crash();
    }

    /// Everything that the process and the machine remember is gone.
    pub(super) fn forget(&mut self) {
        // The old disk goes to the scrap heap.
        drop(self.engine.borrow_mut().replace());
        self.store = None;
    }

    /// Lets the process go on or not, as the faults in force have it.
    pub(super) fn set_paused(&self) {
        self.process.set(if self.pauses > 0 { RunState::Paused } else { RunState::Running });
    }
}

impl<S: Simulator> HostEnv<S> {
    /// Does something with the machine of this server's process.
    pub(super) fn machine<T>(&self, act: impl FnOnce(&mut Machine) -> T) -> T {
        let Host::Server(server) = self.host else { panic!("a client has no machine") };
        act(&mut self.harness.machine(server).borrow_mut())
    }
}

/// True if a cluster exists: from then on, who forgets must be readmitted.
pub(super) fn formed(harness: &Harness) -> bool {
    harness.env.borrow().judges.prefixes.last().0 > 0
}

/// The process of a server, from its start until it is killed.
pub(super) fn process<S: Simulator>(
    harness: &Rc<Harness>,
    id: u32,
) -> impl Future<Output = ()> + use<S> {
    let host = Host::Server(id);
    let (clock, process, seed) = {
        let machine = &mut *harness.machine(id).borrow_mut();
        machine.starts += 1;
        machine.stopped = false;
        machine.process = Process::new();
        machine.set_paused();
        (machine.clock.clone(), machine.process.clone(), machine.rng.next_u64())
    };
    let env = HostEnv::<S>::new(harness, host, process.clone(), clock, seed);
    process.task(harness, serve(env, id))
}

async fn serve<S: Simulator>(env: HostEnv<S>, id: u32) {
    let harness = env.harness.clone();
    // An observer is a server that was added to a cluster, so there must be one.
    while id > harness.options().servers && !formed(&harness) {
        S::sleep(OBSERVER_LOOKS).await;
    }
    harness.set_now(S::now());
    let options = server_options(&harness, id);
    let disk = match options.durability {
        Durability::Memory => None,
        Durability::Persistent => Some(open(&env, id)),
    };
    let started = server::start(env.clone(), options, disk, Arc::new(Metrics::default())).await;
    let running = match started {
        Ok(running) => Rc::new(running),
        Err(error) => {
            let words = format!("n{id} does not start: {error}");
            return harness.fail(Property::Invariants, words);
        }
    };
    let (store, applied, last) = running.look(|server| {
        let log = server.replica().log();
        (server.replica().status().store, server.applied(), log.last())
    });
    harness.tell(env.host, || format!("starts with {store}, log up to {last}"));
    running.set_witness(witness(&harness, id, Observed::new(applied)));
    {
        let machine = &mut *harness.machine(id).borrow_mut();
        machine.store = Some(store);
        machine.served = Some(running.clone());
    }
    let reason = running.halted().await;
    judge_halt(&harness, id, &reason);
    harness.stopped.borrow_mut().push_back(id);
}

fn judge_halt(harness: &Harness, id: u32, reason: &HaltReason) {
    let property = match reason {
        HaltReason::Diverged { .. } => Property::PrefixesAgree,
        HaltReason::DigestMismatch { .. } => Property::DigestsAgree,
        HaltReason::BadSnapshot => Property::Invariants,
        HaltReason::StorageFailed => return,
    };
    harness.fail(property, format!("n{id} stopped itself: {reason}"));
}

/// Shows the judges what the server does, turn by turn.
fn witness(harness: &Rc<Harness>, id: u32, mut observed: Observed) -> server::Witness {
    let harness = harness.clone();
    let check_every = u64::from(harness.options().check_every);
    let mut turns = 0_u64;
    Box::new(move |server, view| {
        observed.view = view;
        harness.views.borrow_mut().extend(view);
        // Silence is not judged here, so the time is nobody's concern.
        observed.look(id, server, &mut harness.env.borrow_mut(), Instant::ZERO);
        turns += 1;
        if turns.is_multiple_of(check_every) {
            server.check();
        }
    })
}

fn open<S: Simulator>(env: &HostEnv<S>, id: u32) -> Disk {
    let engine = env.machine(|machine| machine.engine.clone());
    let opened = engine.borrow_mut().open(NodeId(id));
    let recovered: Option<Recovered> = match opened {
        Ok(Opened::Recovered(recovered)) => Some(*recovered),
        Ok(Opened::Blank) => None,
        Ok(Opened::Rotten) => {
            env.harness.tell(env.host, || "finds its disk damaged, and replaces it".to_owned());
            drop(engine.borrow_mut().replace());
            let empty = engine.borrow_mut().open(NodeId(id));
            assert!(matches!(empty, Ok(Opened::Blank)), "a new disk is empty");
            None
        }
        Err(error) => {
            let words = format!("n{id} cannot read its own records: {error}");
            env.harness.fail(Property::Invariants, words);
            None
        }
    };
    let journal = Box::new(SimJournal::start(env, engine));
    Disk { journal, recovered, roster: None }
}

/// A server of this world, as a person would configure it.
fn server_options(harness: &Harness, id: u32) -> ServerOptions {
    let options = harness.options();
    let core = setup::server_config(options, id);
    let ring = setup::ring_config(options, id);
    let others = (1..=options.nodes()).filter(|other| *other != id);
    let peers = others.map(|other| (NodeId(other), Host::Server(other).at(PEER_PORT))).collect();
    let here = Host::Server(id);
    let mut group = RingOptions::new(here.at(PEER_PORT), peers, ring.key);
    (group.limits, group.timeouts) = (ring.limits, ring.timeouts);
    // What `accord-net` asks of a ring, and the worlds' tiny rings do not have.
    let frame = core.replica.limits.command_bytes_max + core.replica.limits.batch_bytes_max;
    let frame = group.limits.message_bytes_max.max(frame + (1 << 16));
    let pending = group.limits.pending_bytes_max - group.limits.message_bytes_max;
    group.limits.message_bytes_max = frame;
    group.limits.pending_bytes_max = frame + pending;
    let first_voter = id <= options.servers;
    let mut initial = core.replica.initial;
    initial.insert(NodeId(id));
    let at = here.at(CLIENT_PORT);
    ServerOptions {
        initial,
        durability: options.mode,
        // The operator insists on forming the cluster until there is one.
        bootstrap: first_voter && !formed(harness),
        replica: core.replica.limits,
        state: core.state,
        limits: core.limits,
        net: net_limits(),
        ..ServerOptions::new(NodeId(id), at, GroupOptions::Ring(group))
    }
}

/// Patience that fits into a short world.
fn net_limits() -> NetLimits {
    NetLimits {
        preface_timeout: Duration::from_secs(1),
        sessionless_timeout: Duration::from_secs(3),
        linger_timeout: Duration::from_millis(500),
        stall_timeout: Duration::from_secs(4),
        journal_bytes_max: 64 << 10,
        ..NetLimits::default()
    }
}
