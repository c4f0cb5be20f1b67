//! Real processes killed, paused and stopped under load; very many sessions. Short forms of what
//! `accord-jepsen run` and `accord-jepsen sessions` do at length.

use accord_jepsen::grow::{self, GrowOptions};
use accord_jepsen::nemesis::Fault;
use accord_jepsen::rounds::{self, RoundsOptions};
use accord_jepsen::sessions::{self, SessionsOptions};
use accord_jepsen::systems::accord::client;
use accord_net::client::{Client, ClientOptions};
use accord_testbed::cluster::{Cluster, ClusterOptions};
use accord_testbed::systems::accord::{Accord, built};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

static ACCORD: LazyLock<PathBuf> = LazyLock::new(|| built(&[]));

fn cluster(options: &ClusterOptions) -> Cluster {
    Cluster::start(Accord::new(&*ACCORD), options).expect("the cluster starts")
}

fn persistent() -> ClusterOptions {
    ClusterOptions { persistent: true, ..ClusterOptions::default() }
}

// Claims: C-write-linearizable
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_are_valid_whatever_happens_to_one_server_at_a_time() {
    let mut cluster = cluster(&ClusterOptions::default());
    let options = RoundsOptions {
        rounds: 9,
        faults: vec![Fault::Kill, Fault::Pause, Fault::Stop],
        fault_span: Duration::from_millis(800),
        calm_span: Duration::from_millis(100),
        ..RoundsOptions::default()
    };
    let report = rounds::run(&mut cluster, &options, |line| println!("{line}")).await;
    let report = report.unwrap_or_else(|error| panic!("{error}\n{}", cluster.log_tails()));
    assert!(report.is_valid());
    assert_eq!(report.sessions_lost, 0, "clients go on at another server with their sessions");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_sessions_are_served_and_many_leave_at_once() {
    let mut cluster = cluster(&ClusterOptions::default());
    let options = SessionsOptions { sessions: 1000, leaving: 100, observers: 20, opening_max: 100 };
    sessions::run(&mut cluster, options, |line| println!("{line}")).await.expect("all are served");
}

// Claims: C-write-durable
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_the_death_of_all_servers_at_once() {
    let mut cluster = cluster(&persistent());
    let options = RoundsOptions {
        rounds: 4,
        faults: vec![Fault::KillAll],
        fault_span: Duration::from_millis(100),
        calm_span: Duration::from_millis(100),
        ..RoundsOptions::default()
    };
    let report = rounds::run(&mut cluster, &options, |line| println!("{line}")).await;
    let report = report.unwrap_or_else(|error| panic!("{error}\n{}", cluster.log_tails()));
    assert!(report.is_valid());
}

/// Turns a bit of the first frame of a server's log, which is down. Returns the file as it is then.
fn damage(directory: &Path) -> Vec<u8> {
    let is_log = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("log");
    let files = std::fs::read_dir(directory).expect("it was running").map(|entry| entry.unwrap());
    let log = files.map(|entry| entry.path()).filter(is_log).min().expect("it has a log");
    let mut bytes = std::fs::read(&log).expect("it is ours");
    bytes[700] ^= 1;
    std::fs::write(&log, &bytes).expect("it is ours");
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_disk_is_damaged_takes_its_state_from_the_others() {
    let mut cluster = cluster(&persistent());
    let client = client(&cluster).await.expect("the cluster serves");
    client.put("kept", "by the others").await.expect("it is written");
    cluster.kill(2);
    let damaged = damage(&cluster.data_dir(2));
    cluster.restart(2).expect("it starts all the same");
    cluster.wait_until_ready(Duration::from_secs(60)).expect("it votes again in time");
    let alone = ClientOptions::new(vec![cluster.addresses()[2]]);
    let alone = Client::connect(alone).await.expect("it serves");
    let found = alone.get("kept").await.expect("it reads").expect("it has the record");
    assert_eq!(&found.value[..], b"by the others");
    let kept = cluster.data_dir(2).with_extension("damaged-1");
    assert!(cluster.process(2).expect("it is up").log_tail().contains("damaged-1"));
    let mut files = std::fs::read_dir(&kept).expect("it was set aside").map(|entry| entry.unwrap());
    let as_it_was = files.any(|entry| std::fs::read(entry.path()).unwrap() == damaged);
    assert!(as_it_was, "what is set aside is not changed");
}

// Claims: C-voters-change
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_grows_and_shrinks_while_it_serves_and_servers_die() {
    for persistent in [false, true] {
        let (servers, initial) = (4, 1);
        let options = ClusterOptions { servers, initial, persistent, ..ClusterOptions::default() };
        let mut cluster = cluster(&options);
        let options = GrowOptions {
            load: RoundsOptions { clients: 4, lanes: 2, ..RoundsOptions::default() },
            sizes: vec![1, 4, 2],
            down: Duration::from_millis(300),
            patience: Duration::from_secs(60),
        };
        let report = grow::run(&mut cluster, &options, |line| println!("{line}")).await;
        let report = report.unwrap_or_else(|error| panic!("{error}\n{}", cluster.log_tails()));
        assert!(report.is_good(), "{:?}", report.errors);
    }
}
