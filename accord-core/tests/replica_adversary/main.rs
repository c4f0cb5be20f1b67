//! The replica over a group that does everything the ordering contract allows.

mod world;

use accord_core::ids::NodeId;
use accord_core::replica::config::{Durability, ReplicaLimits};
use accord_core::time::Duration;
use world::World;

/// Bounds so small that every one of them is hit.
fn tiny(seed: u64) -> ReplicaLimits {
    let mut rng = accord_core::rng::Rng::new(seed);
    ReplicaLimits {
        batch_bytes_max: 1 + rng.below(64) as usize,
        command_bytes_max: 64,
        frames_in_flight_max: 1 + rng.below(4) as usize,
        proposals_bytes_max: 16 + rng.below(256) as usize,
        live_bytes_max: 1 + rng.below(500) as usize,
        chunk_bytes_max: 1 + rng.below(500) as usize,
        transfer_bytes_per_second_max: 1 << 20,
        apply_bytes_max: 1 + rng.below(300) as usize,
        snapshot_bytes_max: 1 << 30,
        log_bytes_retained: 64 + rng.below(4000) as usize,
        checkpoint_bytes: 64 + rng.below(4000) as usize,
        digest_interval: 1 + rng.below(5),
        transfer_timeout: Duration::from_millis(300),
    }
}

fn hunt(seeds: core::ops::Range<u64>, durability: Durability, steps: u64) -> world::Counters {
    let mut total = world::Counters::default();
    for seed in seeds {
        let limits = if seed % 3 == 0 { ReplicaLimits::default() } else { tiny(seed) };
        let servers = [1, 3, 3, 5][(seed % 4) as usize];
        let mut world = World::new(seed, servers, durability, limits);
        let everyone = world.nodes.clone();
        world.form_views(vec![everyone.clone()], (0, 1));
        for _ in 0..steps {
            world.step();
        }
        world.settle();
        judge(seed, &mut world, &everyone);
        let counters = &world.counters;
        total.commits += counters.commits;
        total.reads += counters.reads;
        total.installs += counters.installs;
        total.opened += counters.opened;
        total.lost_records += counters.lost_records;
        total.wiped += counters.wiped;
        total.swapped_back += counters.swapped_back;
    }
    total
}

/// After healing: everyone serves, all states agree, nothing acknowledged is lost or doubled.
fn judge(seed: u64, world: &mut World, everyone: &[NodeId]) {
    for server in world.servers.values() {
        assert_eq!(server.halted, None, "seed {seed}: a server halted");
    }
    let status = |world: &World, node: &NodeId| world.servers[node].replica.status();
    let primary = everyone.iter().all(|node| status(world, node).synced);
    if !primary {
        // Only a majority that forgot may stop the cluster, and then it must say so.
        for node in everyone {
            let closed = status(world, node).closed.expect("a reason");
            let told = format!("{closed}");
            assert!(
                told.contains("lost their memory") || told.contains("no cluster is formed"),
                "seed {seed}: {node} is closed without cause: {told}"
            );
        }
        assert!(world.counters.wiped > 0 || world.durability == Durability::Memory);
        return;
    }
    for node in everyone {
        world.propose(*node);
    }
    world.settle();
    let first = &world.servers[&everyone[0]];
    for node in everyone {
        let server = &world.servers[node];
        assert_eq!(server.applied, first.applied, "seed {seed}: states differ");
        assert_eq!(server.replica.status().proposals_bytes, 0, "seed {seed}: commands are left");
        assert_eq!(server.replica.status().voters.voters.len(), everyone.len(), "seed {seed}");
    }
    for id in &world.acknowledged {
        assert!(first.applied.counts.contains_key(id), "seed {seed}: {id} is lost");
    }
    assert!(first.applied.counts.values().all(|count| *count == 1), "seed {seed}: applied twice");
}

#[test]
fn a_calm_cluster_commits_and_reads() {
    let mut world = World::new(1, 3, Durability::Persistent, ReplicaLimits::default());
    let everyone = world.nodes.clone();
    world.form_views(vec![everyone.clone()], (0, 1));
    world.settle();
    for node in &everyone {
        world.propose(*node);
        world.read(*node);
    }
    world.settle();
    assert_eq!(world.acknowledged.len(), 3);
    assert_eq!(world.counters.reads, 3);
    judge(1, &mut world, &everyone);
}

// Claims: C-state-same, C-epoch-unique
#[test]
fn persistent_servers_survive_everything_the_contract_allows() {
    let total = hunt(0..400, Durability::Persistent, 2_000);
    assert!(total.commits > 10_000 && total.reads > 1_000, "{total:?}");
    assert!(total.installs > 50 && total.lost_records > 300 && total.wiped > 50, "{total:?}");
}

// Claims: C-state-same, C-epoch-unique
#[test]
fn memory_servers_survive_everything_the_contract_allows() {
    let total = hunt(1_000..1_400, Durability::Memory, 2_000);
    assert!(total.commits > 10_000 && total.reads > 1_000, "{total:?}");
    assert!(total.installs > 50 && total.opened > 1_000, "{total:?}");
}
