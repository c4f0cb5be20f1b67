//! What operators do, with real processes: growing and shrinking, backups, and directories and
//! disks that are not what they should be.

mod backup;
mod directories;
mod disks;
mod growing;
mod load;
mod old;
mod recovery;
mod silence;
mod strangers;
#[path = "../cli/support.rs"]
#[expect(dead_code, reason = "the tests of the command use the rest")]
mod support;

use accord_net::client::{Client, ClientOptions};
use accord_net::env::real::Real;
use accord_net::operator::{OperatorClient, StatusReport};
use accord_testbed::cluster::{Cluster, ClusterOptions};
use accord_testbed::systems::accord::Accord;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use support::{Ran, TIMEOUT, command, run};

/// A cluster of processes: so many servers, of which so many are there from the start.
fn cluster(servers: usize, initial: usize, persistent: bool) -> Cluster {
    let accord = Accord::new(env!("CARGO_BIN_EXE_accord"));
    let options = ClusterOptions { servers, initial, persistent, ..ClusterOptions::default() };
    Cluster::start(accord, &options).expect("the cluster starts")
}

/// A client of the cluster.
async fn client(cluster: &Cluster) -> Client {
    let mut options = ClientOptions::new(cluster.addresses());
    options.connect_timeout = TIMEOUT;
    Client::connect(options).await.expect("it serves")
}

/// How a server is, if it answers.
async fn status(cluster: &Cluster, at: usize) -> Option<StatusReport> {
    let address = cluster.addresses()[at];
    OperatorClient::connect(&Real, address).await.ok()?.status().await.ok()
}

/// The command, on all servers of the cluster.
#[track_caller]
fn on(cluster: &Cluster, args: &[&str]) -> Ran {
    let servers: Vec<_> = cluster.addresses().iter().map(ToString::to_string).collect();
    let mut command = command();
    command.env("ACCORD_SERVERS", servers.join(",")).env("ACCORD_TIMEOUT_MS", "30000").args(args);
    run(&mut command, b"")
}

/// Waits until a server that answers is as wanted.
async fn until(cluster: &Cluster, at: usize, wanted: impl Fn(StatusReport) -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !status(cluster, at).await.is_some_and(&wanted) {
        assert!(Instant::now() < deadline, "not in time\n{}", cluster.log_tails());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the servers at these places are all voters, connected and up to date, and no others
/// vote.
async fn until_voting(cluster: &Cluster, nodes: &[u32]) {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let mut good = true;
        for node in nodes {
            good &= status(cluster, *node as usize - 1)
                .await
                .is_some_and(|status| status.primary && status.synced && status.voters == nodes);
        }
        if good {
            return;
        }
        assert!(Instant::now() < deadline, "{nodes:?} do not vote\n{}", cluster.log_tails());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The files of a directory and what is in them.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).expect("it is there");
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.expect("it can be listed").path();
        let bytes = std::fs::read(&path).expect("it can be read");
        (path.display().to_string(), bytes)
    };
    entries.map(read).collect()
}
