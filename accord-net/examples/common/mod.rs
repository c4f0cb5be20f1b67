//! What the examples share: which servers to use.
//!
//! Every example takes `--servers 127.0.0.1:7850,...`, the addresses of a cluster. Without any, it
//! starts three servers inside its own process, and they end with it.

use accord_net::client::{Client, ClientOptions, ConnectError};
use accord_net::embedded::{Cluster, EmbeddedError};
use clap::Parser;
use std::net::SocketAddr;

/// How an example ends.
pub type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

#[derive(Parser)]
struct Args {
    /// The servers of a cluster, separated by commas. Without any, three are started in this
    /// process.
    #[arg(long, value_delimiter = ',')]
    servers: Vec<SocketAddr>,
}

/// The servers to use.
pub struct Servers {
    options: ClientOptions,
    /// Keeps the servers alive that were started here.
    _cluster: Option<Cluster>,
}

impl Servers {
    /// Those that the command line names.
    pub fn from_args() -> Result<Self, EmbeddedError> {
        match Args::parse().servers {
            none if none.is_empty() => Self::embedded(),
            named => Ok(Self { options: ClientOptions::new(named), _cluster: None }),
        }
    }

    /// Three in this process.
    pub fn embedded() -> Result<Self, EmbeddedError> {
        let cluster = Cluster::start(3)?;
        Ok(Self { options: cluster.client_options(), _cluster: Some(cluster) })
    }

    /// Opens a session.
    pub async fn client(&self) -> Result<Client, ConnectError> {
        Client::connect(self.options.clone()).await
    }
}
