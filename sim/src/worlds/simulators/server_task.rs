//! The process of a server in a simulated world: `accord-net`'s server, as a person would start it.

use super::env::HostEnv;
use super::harness::Harness;
use super::host::{CLIENT_PORT, Host, PEER_PORT};
use super::journal::SimJournal;
use super::machine::Served;
use super::process::Process;
use super::simulator::Simulator;
use crate::judge::Property;
use crate::plan::setup;
use crate::world::disk::Opened;
use crate::world::process::Observed;
use accord_core::ids::NodeId;
use accord_core::replica::config::Durability;
use accord_core::replica::io::HaltReason;
use accord_core::replica::log::Recovered;
use accord_core::server::{Input, Server};
use accord_core::time::{Duration, Instant};
use accord_net::server::journal::Disk;
use accord_net::server::metrics::Metrics;
use accord_net::server::{self, GroupOptions, NetLimits, RingOptions, Running, ServerOptions};
use std::rc::Rc;
use std::sync::Arc;

/// How often an observer looks whether there is a cluster to join.
const OBSERVER_LOOKS: Duration = Duration::from_millis(20);

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
    process.task(harness.clone(), serve(env, id))
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
