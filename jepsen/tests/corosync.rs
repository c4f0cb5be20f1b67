//! Whole servers over real daemons: a short form of what `accord-jepsen run --group corosync` does
//! at length. Needs root, Corosync and its libraries; see `docs/corosync.md`.

use accord_jepsen::nemesis::Fault;
use accord_jepsen::rounds::{self, RoundsOptions};
use accord_testbed::cluster::{Cluster, ClusterOptions};
use accord_testbed::corosync::DaemonOptions;
use accord_testbed::netns::own_name;
use accord_testbed::nodes::{GroupChoice, Nodes, NodesOptions};
use accord_testbed::systems::accord::{Accord, built};
use std::time::Duration;

#[test]
fn histories_are_valid_whatever_happens_to_servers_daemons_and_network() {
    let program = built(&["accord-net/corosync"]);
    let daemons = DaemonOptions { token_ms: 600, ..DaemonOptions::default() };
    let name = own_name("t");
    let options = NodesOptions { name, daemons, ..NodesOptions::new(GroupChoice::Corosync) };
    let nodes = Nodes::up(options).unwrap_or_else(|error| panic!("{error}"));
    // The runtime's threads are among the clients as well.
    nodes.net().enter().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let cluster =
            Cluster::start_in(Some(nodes), Accord::new(program), &ClusterOptions::default());
        let mut cluster = cluster.unwrap_or_else(|error| panic!("{error}"));
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
