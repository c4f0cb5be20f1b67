//! The same workloads on real servers of every system that is installed, without faults: what the
//! adapters say happened must be possible.

use accord_jepsen::rounds::{self, RoundsOptions};
use accord_jepsen::systems::Session;
use accord_jepsen::systems::accord::AccordClient;
use accord_jepsen::systems::etcd::EtcdClient;
use accord_jepsen::systems::zookeeper::ZooKeeperClient;
use accord_models::Outcome;
use accord_testbed::cluster::{Cluster, ClusterOptions};
use accord_testbed::process::ProcessError;
use accord_testbed::system::System;
use accord_testbed::systems::accord::{Accord, built};
use accord_testbed::systems::etcd::Etcd;
use accord_testbed::systems::zookeeper::ZooKeeper;
use accord_workloads::lists::Lists;
use accord_workloads::register::Register;
use std::time::Duration;

/// Drives a system for a few seconds, and judges what its clients saw.
async fn drive<S: Session + Register + Lists>(system: impl System + 'static) {
    let mut cluster = Cluster::start(system, &ClusterOptions::default()).expect("it starts");
    cluster.wait_until_ready(Duration::from_secs(120)).expect("it serves");
    let options = RoundsOptions { clients: 4, lanes: 2, ..RoundsOptions::default() };
    let span = Duration::from_secs(4);
    let judged = rounds::calm::<S>(&cluster, &options, span).await;
    let judged = judged.unwrap_or_else(|error| panic!("{error}\n{}", cluster.log_tails()));
    assert_eq!(judged.len(), 2);
    for judged in judged {
        println!("{}", judged.summary());
        assert!(judged.verdict.is_valid(), "{}", judged.summary());
        let count = |outcome| judged.history.count(outcome);
        assert!(count(Outcome::Ok) > 10, "{}", judged.summary());
        assert_eq!(count(Outcome::Info), 0, "nothing went wrong: {}", judged.summary());
    }
}

/// A system, unless it is not installed.
fn installed<S>(found: Result<S, ProcessError>) -> Option<S> {
    match found {
        Ok(system) => Some(system),
        Err(ProcessError::Missing(what)) => {
            println!("skipped: {what}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accord_is_driven_and_judged() {
    drive::<AccordClient>(Accord::new(built(&[]))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zookeeper_is_driven_and_judged() {
    if let Some(zookeeper) = installed(ZooKeeper::installed()) {
        drive::<ZooKeeperClient>(zookeeper).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_is_driven_and_judged() {
    if let Some(etcd) = installed(Etcd::installed()) {
        drive::<EtcdClient>(etcd).await;
    }
}
