//! Clusters of Accord, and clients of them.

use accord_net::client::{Client, ClientOptions, ConnectError};
use accord_net::env::real::Real;
use accord_net::operator::{OperatorClient, StatusReport};
use accord_testbed::cluster::Cluster;
use core::time::Duration;

/// How long a client may take until it is connected.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How a server is, if it answers.
pub async fn status(cluster: &Cluster, at: usize) -> Option<StatusReport> {
    let address = cluster.addresses()[at];
    OperatorClient::connect(&Real, address).await.ok()?.status().await.ok()
}

/// How a client of a cluster is set up, that prefers the server at `at`.
pub fn client_options(cluster: &Cluster, at: usize) -> ClientOptions {
    let mut servers = cluster.addresses();
    let count = servers.len();
    servers.rotate_left(at % count);
    let mut options = ClientOptions::new(servers);
    options.connect_timeout = CONNECT_TIMEOUT;
    options
}

/// A client of the whole cluster.
///
/// # Errors
/// [`ConnectError`].
pub async fn client(cluster: &Cluster) -> Result<Client, ConnectError> {
    Client::connect(client_options(cluster, 0)).await
}
