//! How a client is set up.

use super::address::ServerAddr;
use accord_core::client::ClientConfig;
use accord_core::ids::NodeId;
use accord_core::time::Duration;

/// How a client is set up. [`ClientOptions::new`] has values for most uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// The servers to try. Any one of them suffices; all of them are better.
    pub servers: Vec<ServerAddr>,
    /// How long the session may outlive the last sign of this client. The server may take another
    /// value.
    pub session_timeout: Duration,
    /// How long a request or a read may take, reconnections included, before it is given up.
    pub request_timeout: Duration,
    /// How long connecting for the first time may take.
    pub connect_timeout: Duration,
    /// How long one server may take to connect and to begin the session.
    pub attach_timeout: Duration,
    /// Requests that are not answered; callers wait for room above.
    pub requests_max: usize,
    /// Bytes of requests that are not answered; callers wait for room above. One larger request may
    /// be alone.
    pub request_bytes_max: usize,
    /// Reads that are not answered; callers wait for room above.
    pub reads_max: usize,
    /// Watches at once.
    pub watches_max: usize,
    /// Events of one watch that wait for the application. A watch that falls further behind ends,
    /// and says from where it can go on.
    pub watch_events_max: usize,
    /// How long to stay with a server that is not in the primary component.
    pub patience: Duration,
    /// Prove with each ping that the session lives, by a linearizable read of it, so that
    /// [`super::Client::lease_left`] is known. Without it, the lease counts from the last time that
    /// the session was opened or attached.
    pub lease: bool,
}

impl ClientOptions {
    /// A client of these servers: addresses, or `HOST:PORT`.
    ///
    /// ```
    /// # use accord_net::client::ClientOptions;
    /// let options = ClientOptions::new(["db-1.example:9090", "10.0.0.7:9090"]);
    /// assert_eq!(options.servers[0].to_string(), "db-1.example:9090");
    /// ```
    pub fn new<S: Into<ServerAddr>>(servers: impl IntoIterator<Item = S>) -> Self {
        Self {
            servers: servers.into_iter().map(Into::into).collect(),
            session_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            attach_timeout: Duration::from_secs(3),
            requests_max: 1000,
            request_bytes_max: 4 << 20,
            reads_max: 1000,
            watches_max: 100_000,
            watch_events_max: 10_000,
            patience: Duration::from_secs(1),
            lease: true,
        }
    }

    /// What the core is told. Servers are numbered by their place.
    pub(super) fn core(&self) -> ClientConfig {
        let servers = (0..self.servers.len() as u32).map(NodeId).collect();
        let session_timeout_ms = u32::try_from(self.session_timeout.as_millis());
        ClientConfig {
            session_timeout_ms: session_timeout_ms.unwrap_or(u32::MAX).max(1),
            request_timeout: self.request_timeout,
            requests_max: self.requests_max.max(1),
            reads_max: self.reads_max.max(1),
            watches_max: self.watches_max.max(1),
            attach_timeout: self.attach_timeout.max(Duration::from_millis(1)),
            patience: self.patience.max(Duration::from_millis(1)),
            lease: self.lease,
            ..ClientConfig::new(servers)
        }
    }
}
