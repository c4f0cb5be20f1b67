//! One cluster of processes for all scenarios, and how operations are asked of it.

use accord_core::time::Duration;
use accord_net::client::txn::Steps;
use accord_net::client::{Client, ClientOptions, Done, Error};
use accord_testbed::cluster::{Cluster, ClusterOptions};
use accord_testbed::systems::accord::Accord;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The servers end with this process: nothing drops what is static, but the kernel ends them.
static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
    let accord = Accord::new(env!("CARGO_BIN_EXE_accord"));
    Cluster::start(accord, &ClusterOptions::default()).expect("the cluster starts")
});
static CLIENTS: AtomicUsize = AtomicUsize::new(0);

/// Names the servers of a cluster that is up already, as HOST:PORT,HOST:PORT,...; it must be fresh.
/// Otherwise the scenarios start one of their own.
const SERVERS_VARIABLE: &str = "ACCORD_TEST_SERVERS";
static SERVERS: LazyLock<Vec<SocketAddr>> =
    LazyLock::new(|| match std::env::var(SERVERS_VARIABLE) {
        Ok(servers) => {
            let parse =
                |at: &str| at.parse().unwrap_or_else(|e| panic!("{SERVERS_VARIABLE}: {at}: {e}"));
            servers.split(',').map(parse).collect()
        }
        Err(_) => CLUSTER.addresses(),
    });

/// Where the servers are.
pub fn addresses() -> Vec<SocketAddr> {
    SERVERS.clone()
}

/// A client. Each new one prefers another server.
pub async fn client() -> Client {
    let at = CLIENTS.fetch_add(1, Ordering::Relaxed);
    // Alone with its server, so that clients are surely spread over all of them.
    let mut options = ClientOptions::new(vec![SERVERS[at % SERVERS.len()]]);
    options.connect_timeout = Duration::from_secs(30);
    Client::connect(options).await.expect("the cluster serves")
}

/// Two clients at different servers.
pub async fn two_clients() -> (Client, Client) {
    (client().await, client().await)
}

/// How operations are asked: one by one, or all begun before any is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Sync,
    Async,
}

impl Mode {
    /// Runs each of these as an operation of its own, in order.
    pub async fn run(self, client: &Client, operations: Vec<Steps>) -> Vec<Result<Done, Error>> {
        let mut outcomes = Vec::new();
        match self {
            Self::Sync => {
                for steps in operations {
                    outcomes.push(client.txn(steps).await);
                }
            }
            Self::Async => {
                let mut pending = Vec::new();
                for steps in operations {
                    pending.push(client.begin(steps).await.expect("it is begun"));
                }
                for pending in pending {
                    outcomes.push(pending.await);
                }
            }
        }
        outcomes
    }

    /// Runs one operation that is done.
    pub async fn done(self, client: &Client, steps: Steps) -> Done {
        let outcome = self.run(client, vec![steps]).await.remove(0);
        outcome.expect("it is done")
    }

    /// Runs one operation that fails.
    pub async fn failed(self, client: &Client, steps: Steps) -> Error {
        let outcome = self.run(client, vec![steps]).await.remove(0);
        outcome.expect_err("it fails")
    }

    /// A key that no other scenario has.
    pub fn key(self, name: &str) -> String {
        format!("{self:?}/{name}")
    }
}

/// The whole value of a record, as another client reads it.
pub async fn value(client: &Client, key: &str) -> Option<Vec<u8>> {
    client.get(key).await.expect("it is read").map(|record| record.value.to_vec())
}
