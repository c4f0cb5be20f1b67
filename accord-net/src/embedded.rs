//! A cluster inside this process: for tests of what uses Accord, for examples, and for trying out.
//!
//! The servers are real ones. They speak over sockets of the loopback interface, at ports that the
//! system chose, and each runs on a thread of its own; only their memory dies with the process.
//!
//! ```
//! use accord_net::embedded::Cluster;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut cluster = Cluster::start(3)?;
//! let client = cluster.client().await?;
//! client.put("greeting", "hello").await?;
//!
//! // What happens when a server fails is worth a test. The client goes on at another.
//! let node = cluster.servers()[0].node();
//! cluster.kill(node);
//! assert_eq!(client.get("greeting").await?.expect("it was put").value, "hello");
//!
//! // It comes back with an empty memory, and is brought up to date by the others.
//! cluster.restart(node)?;
//! # Ok(())
//! # }
//! ```
//!
//! Starting and stopping wait for the servers' threads, for milliseconds. Dropping the [`Cluster`]
//! ends all of its servers at once.

use crate::client::{Client, ClientOptions, ConnectError};
use crate::env::real::Real;
use crate::operator::StatusReport;
use crate::server::metrics::Metrics;
use crate::server::{GroupOptions, RingOptions, Running, ServerOptions};
use crate::server::{StartError, start};
use accord_core::ids::NodeId;
use accord_core::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, mpsc as blocking};
use std::thread::JoinHandle;
use thiserror::Error;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

/// Attempts with other ports, if another process took one that was free a moment ago.
const ATTEMPTS_MAX: usize = 10;

/// The most that clients wait for a cluster, and for a request.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Why a cluster, or one of its servers, did not start.
#[derive(Debug, Error)]
pub enum EmbeddedError {
    /// A cluster has at least one server.
    #[error("a cluster needs at least one server")]
    NoServer,
    /// There is no server of this number.
    #[error("the cluster has no server {0}")]
    UnknownServer(u32),
    /// The system has no free port, or no room for a thread.
    #[error("the system has no room for a server: {0}")]
    System(#[from] io::Error),
    /// A server did not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Servers in this process that form a cluster. See the module's documentation.
#[derive(Debug)]
pub struct Cluster {
    servers: Vec<Server>,
}

/// One server of a [`Cluster`].
#[derive(Debug)]
pub struct Server {
    node: NodeId,
    client_addr: SocketAddr,
    ring_addr: Option<SocketAddr>,
    /// How it was started, to be started again.
    options: ServerOptions,
    /// None: it is stopped.
    running: Option<Thread>,
}

/// The thread of a server that runs.
#[derive(Debug)]
struct Thread {
    asked: mpsc::UnboundedSender<Asked>,
    handle: JoinHandle<()>,
}

/// What a server's thread is asked, which alone may look at the server.
enum Asked {
    Status(oneshot::Sender<StatusReport>),
    Metrics(oneshot::Sender<String>),
    Drain,
    Stop,
}

impl Cluster {
    /// Starts this many servers with the default settings. They serve a moment later; clients wait
    /// for that by themselves.
    ///
    /// # Errors
    /// [`EmbeddedError`]: nothing runs then.
    pub fn start(servers: u32) -> Result<Self, EmbeddedError> {
        Self::start_with(servers, |_| {})
    }

    /// Starts this many servers, each with its settings changed by `configure`. What concerns the
    /// replicated state must be the same for all of them; numbers and addresses stay as they are.
    ///
    /// # Errors
    /// [`EmbeddedError`]: nothing runs then.
    pub fn start_with(
        servers: u32,
        mut configure: impl FnMut(&mut ServerOptions),
    ) -> Result<Self, EmbeddedError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let mut all = options(servers)?;
            all.iter_mut().for_each(&mut configure);
            let started: Result<Vec<Server>, _> = all.into_iter().map(Server::start).collect();
            match started {
                Ok(servers) => return Ok(Self { servers }),
                Err(error) if attempts < ATTEMPTS_MAX && is_taken(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The servers, by their numbers, which begin with 1.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Where clients connect, those of servers that are stopped included.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(Server::client_addr).collect()
    }

    /// Options for a client of all servers, patient enough for a machine that is busy with tests.
    pub fn client_options(&self) -> ClientOptions {
        let mut options = ClientOptions::new(self.addresses());
        options.connect_timeout = TIMEOUT;
        options.request_timeout = TIMEOUT;
        options
    }

    /// Opens a session.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn client(&self) -> Result<Client, ConnectError> {
        Client::connect(self.client_options()).await
    }

    /// Ends a server without a word to the others, as if its process had been killed. Nothing if it
    /// is stopped already.
    pub fn kill(&mut self, node: u32) {
        self.end(node, Asked::Stop);
    }

    /// Ends a server in good order: its clients move to others before it goes. Nothing if it is
    /// stopped already.
    pub fn stop(&mut self, node: u32) {
        self.end(node, Asked::Drain);
    }

    fn end(&mut self, node: u32, how: Asked) {
        if let Some(server) = self.servers.iter_mut().find(|server| server.node() == node) {
            server.end(how);
        }
    }

    /// Starts a server again that was stopped, with an empty memory: the others must be a majority
    /// to take it in again. Nothing if it runs.
    ///
    /// # Errors
    /// [`EmbeddedError`]: it is stopped still.
    pub fn restart(&mut self, node: u32) -> Result<(), EmbeddedError> {
        self.restart_with(node, |_| {})
    }

    /// Like [`Self::restart`], with the settings changed by `configure`.
    ///
    /// # Errors
    /// [`EmbeddedError`]: it is stopped still.
    pub fn restart_with(
        &mut self,
        node: u32,
        configure: impl FnOnce(&mut ServerOptions),
    ) -> Result<(), EmbeddedError> {
        let found = self.servers.iter_mut().find(|server| server.node() == node);
        let server = found.ok_or(EmbeddedError::UnknownServer(node))?;
        if !server.is_running() {
            let mut options = server.options.clone();
            options.client_listen = server.client_addr;
            // A cluster is formed once: who lost its memory asks to be taken in.
            options.bootstrap = false;
            configure(&mut options);
            *server = Server::start(options)?;
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.servers.iter_mut().for_each(|server| server.end(Asked::Stop));
    }
}

impl Server {
    fn start(options: ServerOptions) -> Result<Self, EmbeddedError> {
        let node = options.node;
        let ring_addr = options.group.listen();
        let (asked, asks) = mpsc::unbounded_channel();
        let (started, starting) = blocking::channel();
        let own = options.clone();
        let handle = std::thread::Builder::new()
            .name(format!("accord-server-{}", node.0))
            .spawn(move || run(own, &started, asks))?;
        match starting.recv() {
            Ok(Ok(client_addr)) => {
                let running = Some(Thread { asked, handle });
                Ok(Self { node, client_addr, ring_addr, options, running })
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other("the server's thread ended early").into()),
        }
    }

    /// The server's number in the cluster.
    pub const fn node(&self) -> u32 {
        self.node.0
    }

    /// Where clients and operators connect.
    pub const fn client_addr(&self) -> SocketAddr {
        self.client_addr
    }

    /// Where the other servers send datagrams and open streams; none if it is the only server.
    pub const fn ring_addr(&self) -> Option<SocketAddr> {
        self.ring_addr
    }

    /// True until it is killed or stopped.
    pub const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// How it is. `None`: it is stopped.
    pub async fn status(&self) -> Option<StatusReport> {
        self.ask(Asked::Status).await
    }

    /// What it has counted, in the text format of OpenMetrics. `None`: it is stopped.
    pub async fn metrics(&self) -> Option<String> {
        self.ask(Asked::Metrics).await
    }

    async fn ask<T>(&self, asked: impl FnOnce(oneshot::Sender<T>) -> Asked) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.running.as_ref()?.asked.send(asked(answer)).ok()?;
        answered.await.ok()
    }

    fn end(&mut self, how: Asked) {
        let Some(Thread { asked, handle }) = self.running.take() else { return };
        // If it cannot be asked any more, it has ended.
        let _ = asked.send(how);
        if handle.join().is_err() && !std::thread::panicking() {
            panic!("server {} panicked", self.node);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(Asked::Stop);
    }
}

/// The settings of servers at ports that were free a moment ago.
fn options(servers: u32) -> Result<Vec<ServerOptions>, EmbeddedError> {
    if servers == 0 {
        return Err(EmbeddedError::NoServer);
    }
    let key = draw_key();
    // Held until all are chosen, so that none is chosen twice.
    let held = (1..=servers).map(|_| free_port()).collect::<io::Result<Vec<_>>>()?;
    let numbered = (1..).map(NodeId).zip(held.iter().map(|(at, ..)| *at));
    let addresses: BTreeMap<NodeId, SocketAddr> = numbered.collect();
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let one = |node: &NodeId| {
        let mut peers = addresses.clone();
        let group = match peers.remove(node) {
            Some(listen) if servers > 1 => GroupOptions::Ring(RingOptions::new(listen, peers, key)),
            _ => GroupOptions::Solo,
        };
        let mut options = ServerOptions::new(*node, anywhere, group);
        options.bootstrap = true;
        options
    };
    Ok(addresses.keys().map(one).collect())
}

fn draw_key() -> [u8; 32] {
    let mut key = [0; 32];
    let parts = key.chunks_mut(8);
    parts.for_each(|part| part.copy_from_slice(&crate::env::real::draw().to_le_bytes()));
    key
}

/// A port that is free for datagrams and for streams.
fn free_port() -> io::Result<(SocketAddr, TcpListener, UdpSocket)> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let streams = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let at = streams.local_addr()?;
        match UdpSocket::bind(at) {
            Ok(datagrams) => return Ok((at, streams, datagrams)),
            Err(error) if attempts == ATTEMPTS_MAX => return Err(error),
            Err(_) => {}
        }
    }
}

fn is_taken(error: &EmbeddedError) -> bool {
    match error {
        EmbeddedError::Start(StartError::Listen { error, .. }) => {
            error.kind() == io::ErrorKind::AddrInUse
        }
        _ => false,
    }
}

type Started = blocking::Sender<Result<SocketAddr, EmbeddedError>>;

/// The thread of a server.
fn run(options: ServerOptions, started: &Started, asks: mpsc::UnboundedReceiver<Asked>) {
    // The caller of the start may have given up; then the server is not needed.
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => LocalSet::new().block_on(&runtime, serve(options, started, asks)),
        Err(error) => drop(started.send(Err(error.into()))),
    }
}

async fn serve(
    options: ServerOptions,
    started: &Started,
    mut asks: mpsc::UnboundedReceiver<Asked>,
) {
    let running: Running<Real> =
        match start(Real, options, None, Arc::new(Metrics::default())).await {
            Ok(running) => running,
            Err(error) => return drop(started.send(Err(error.into()))),
        };
    if started.send(Ok(running.client_addr())).is_err() {
        return;
    }
    while let Some(asked) = asks.recv().await {
        match asked {
            Asked::Status(answer) => drop(answer.send(running.status())),
            Asked::Metrics(answer) => drop(answer.send(running.metrics())),
            Asked::Drain => {
                running.drain().await;
                return;
            }
            Asked::Stop => return,
        }
    }
}
