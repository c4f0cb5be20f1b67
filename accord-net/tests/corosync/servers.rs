//! Whole servers over real daemons: a short form of what `accord-jepsen run --group corosync` does
//! at length.

use accord_jepsen::cluster::{Cluster, ClusterOptions};
use accord_jepsen::corosync::DaemonOptions;
use accord_jepsen::nemesis::Fault;
use accord_jepsen::rounds::{self, RoundsOptions};
use accord_jepsen::world::{GroupChoice, World, WorldOptions};
use std::time::Duration;

#[test]
fn histories_are_valid_whatever_happens_to_servers_daemons_and_network() {
    let name = format!("t{}s", std::process::id());
    let daemons = DaemonOptions { token_ms: 600, ..DaemonOptions::default() };
    let options = WorldOptions { name, daemons, ..WorldOptions::new(GroupChoice::Corosync) };
    let world = World::up(options).unwrap_or_else(|error| panic!("{error}"));
    // The runtime's threads are among the clients as well.
    world.net().enter().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = ClusterOptions::new(env!("CARGO_BIN_EXE_accord"));
        let mut cluster = Cluster::start_in(Some(world), options).unwrap();
        let options = RoundsOptions {
            rounds: 18,
            faults: vec![
                Fault::Kill,
                Fault::Pause,
                Fault::Split,
                Fault::Shatter,
                Fault::DaemonKill,
                Fault::DaemonPause,
            ],
            fault_span: Duration::from_millis(2000),
            calm_span: Duration::from_millis(100),
            ..RoundsOptions::default()
        };
        let report = rounds::run(&mut cluster, &options, |line| println!("{line}")).await;
        let report = report.unwrap_or_else(|error| panic!("{error}\n{}", cluster.log_tails()));
        assert!(report.is_valid());
    });
}
