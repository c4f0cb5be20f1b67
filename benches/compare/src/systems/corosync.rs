//! Accord over Corosync: a server and a daemon on each of several nodes, which are network
//! namespaces joined by a bridge. The generator's connections start at the bridge.
//!
//! The others are measured on the loopback interface, which is faster than such links.

use super::accord::{launch, program, serves};
use super::process::{directory, find, wait_until};
use super::{Cluster, Setup};
use crate::failure::Failure;
use accord_jepsen::netns::NetError;
use accord_jepsen::world::{GroupChoice, World, WorldOptions};

/// How long a token may take. As patient as the others' elections: a busy machine is no failure.
const TOKEN_MS: u32 = 3000;

/// What is missing is told as such: the other systems are still measured.
pub(super) fn failure(error: NetError) -> Failure {
    match error {
        NetError::NotRoot | NetError::Missing { .. } => {
            Failure::Missing(format!("Accord over Corosync: {error}"))
        }
        error => Failure::Wrong(format!("Accord over Corosync: {error}")),
    }
}

/// A program without Corosync's library is as good as none.
fn explain(failure: Failure) -> Failure {
    match failure {
        Failure::Wrong(what) if what.contains("built without Corosync") => {
            Failure::Missing(format!(
                "Accord over Corosync: its servers say: {}",
                what.lines().find(|line| line.contains("built without")).unwrap_or_default()
            ))
        }
        failure => failure,
    }
}

/// Starts the daemons and the servers.
pub(super) fn start(setup: Setup) -> crate::failure::Result<Cluster> {
    let program = program(setup.accord.as_deref())?;
    let dir = directory("corosync", setup.mode, &setup.disk)?;
    let nodes = u32::try_from(setup.servers).expect("there are few servers");
    let mut options = WorldOptions::new(GroupChoice::Corosync);
    options.name = format!("b{}", std::process::id());
    (options.nodes, options.mtu, options.daemons.token_ms) = (nodes, setup.mtu, TOKEN_MS);
    let mut world = World::up(options).map_err(failure)?;
    world.start_daemons(dir.path()).map_err(failure)?;
    let places: Vec<_> = (0..setup.servers).map(|at| world.addresses(at)).collect();
    let ip = find("ip").expect("the network was made with it");
    let wrap = |at: usize, args: Vec<String>| {
        let namespace = world.net().namespace(at as u32 + 1);
        let mut whole = ["netns", "exec", &namespace].map(str::to_owned).to_vec();
        whole.push(program.display().to_string());
        whole.extend(args);
        (ip.clone(), whole)
    };
    let mut cluster = launch(setup, ("corosync", &places), Vec::new(), dir, wrap)?;
    let Cluster { addresses, processes, .. } = &mut cluster;
    let all_serve = || world.net().among_clients(|| addresses.iter().all(serves)).unwrap_or(false);
    wait_until("Accord over Corosync", processes, all_serve).map_err(explain)?;
    cluster.world = Some(world);
    Ok(cluster)
}
