//! A cluster with good clients at work, and what is demanded of it.

use accord_core::time::Duration;
use accord_net::client::Client;
use accord_net::client::txn::Steps;
use accord_net::embedded::{Cluster, Server};
use accord_net::server::ServerOptions;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Good clients.
const GOOD: usize = 16;
/// Requests that each has under way.
const WINDOW: usize = 16;
/// How long anything may take before it counts as never.
pub const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);
/// The most memory that this process may ever have had: all tests, servers and clients of it.
const PEAK_KIB_MAX: u64 = 1 << 20;

/// A cluster under attack.
pub struct Siege {
    pub cluster: Cluster,
    good: Vec<JoinHandle<()>>,
    rounds: Vec<watch::Receiver<u64>>,
    stop: watch::Sender<bool>,
}

impl Siege {
    /// Starts a cluster with short patience, and good clients on it.
    pub async fn begin(mut configure: impl FnMut(&mut ServerOptions)) -> Self {
        let cluster = Cluster::start_with(3, |options| {
            options.net.preface_timeout = Duration::from_millis(400);
            options.net.sessionless_timeout = Duration::from_millis(800);
            options.net.linger_timeout = Duration::from_millis(300);
            options.net.stall_timeout = Duration::from_millis(600);
            options.net.operator_timeout = Duration::from_millis(600);
            // A machine that is busy with other things may part the servers for a while, which
            // is no attacker's doing: reads wait for the end of that.
            options.limits.read_wait_max = Duration::from_secs(60);
            configure(options);
        });
        let cluster = cluster.expect("the cluster starts");
        let (stop, stopping) = watch::channel(false);
        let (mut good, mut rounds) = (Vec::new(), Vec::new());
        for number in 0..GOOD {
            let client = cluster.client().await.expect("the cluster serves");
            let (done, counted) = watch::channel(0);
            rounds.push(counted);
            good.push(tokio::spawn(work(client, number, done, stopping.clone())));
        }
        let siege = Self { cluster, good, rounds, stop };
        siege.good_go_on().await;
        siege
    }

    /// The server that is attacked.
    pub fn target(&self) -> &Server {
        &self.cluster.servers()[0]
    }

    /// Waits until every good client has done two more rounds: one of them began after this.
    pub async fn good_go_on(&self) {
        for (number, rounds) in self.rounds.iter().enumerate() {
            let mut rounds = rounds.clone();
            let target = *rounds.borrow() + 2;
            let gone_on = tokio::time::timeout(TIMEOUT, rounds.wait_for(|done| *done >= target));
            assert!(matches!(gone_on.await, Ok(Ok(_))), "good client {number} goes on");
        }
    }

    /// What the attacked server has counted under a name, labels included.
    pub async fn counted(&self, name: &str) -> u64 {
        counted(self.target(), name).await
    }

    /// Waits until the attacked server has counted at least so many.
    pub async fn until_counted(&self, name: &str, least: u64) {
        let reached = until(|| async { self.counted(name).await >= least });
        if tokio::time::timeout(TIMEOUT, reached).await.is_err() {
            let all = self.target().metrics().await.unwrap_or_default();
            panic!("{name} does not reach {least}:\n{all}");
        }
    }

    /// Ends the attack: the good clients have had no error, and memory was bounded.
    pub async fn lift(self) {
        self.good_go_on().await;
        self.stop.send_replace(true);
        for good in self.good {
            good.await.expect("a good client has no error");
        }
        if let Some(peak) = peak_kib() {
            assert!(peak <= PEAK_KIB_MAX, "memory is bounded: {peak} KiB");
        }
    }
}

/// What a server has counted under a name, labels included.
pub async fn counted(server: &Server, name: &str) -> u64 {
    let text = server.metrics().await.expect("the server runs");
    let of = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<u64>().ok();
    text.lines().find_map(of).unwrap_or(0)
}

/// Asks again and again, each time by way of a server's thread.
pub async fn until<F: Future<Output = bool>>(mut condition: impl FnMut() -> F) {
    while !condition().await {
        tokio::task::yield_now().await;
    }
}

/// What a good client does: many increments at once, whose results show that each was carried out
/// once and in order, and a read.
async fn work(
    client: Client,
    number: usize,
    rounds: watch::Sender<u64>,
    stop: watch::Receiver<bool>,
) {
    let key = format!("good/{number}");
    let mut value = 0_u64;
    while !*stop.borrow() {
        let mut pending = Vec::new();
        for _ in 0..WINDOW {
            let begun = client.begin(Steps::new().increment(&key, 1)).await;
            pending.push(begun.expect("the request is taken"));
        }
        for outcome in pending {
            value += 1;
            let done = outcome.await.expect("the request is done");
            assert_eq!(done.number(0), Some(value), "exactly once, in order");
        }
        let record = client.get(&key).await.expect("the read is done").expect("it is there");
        assert_eq!(record.value, value.to_le_bytes().to_vec());
        rounds.send_modify(|done| *done += 1);
    }
    assert!(client.close().await, "the session ends in good order");
}

/// The most memory that this process ever had, where the system tells.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().strip_suffix("kB")?.trim().parse().ok()
}
