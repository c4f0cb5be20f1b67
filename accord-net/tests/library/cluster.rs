//! Servers in this process, each on a thread of its own, on ports that the system chose.

use accord_core::ids::NodeId;
use accord_core::time::Duration;
use accord_net::client::{Client, ClientOptions};
use accord_net::env::real::Real;
use accord_net::server::metrics::Metrics;
use accord_net::server::{GroupOptions, RingOptions, Running, ServerOptions, StatusReport, start};
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// A server on a thread.
pub struct Server {
    pub client_addr: SocketAddr,
    stop: Option<oneshot::Sender<bool>>,
    status: tokio::sync::mpsc::UnboundedSender<oneshot::Sender<StatusReport>>,
    thread: Option<JoinHandle<()>>,
}

/// A cluster of such servers. Dropping it ends them.
pub struct Cluster {
    pub servers: Vec<Server>,
}

const KEY: [u8; 32] = [7; 32];

fn free_port() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("the system has a free port");
    socket.local_addr().expect("a bound socket has an address")
}

impl Cluster {
    /// A cluster of so many servers, not yet known to serve.
    pub fn start(count: u32) -> Self {
        let addresses: BTreeMap<NodeId, SocketAddr> =
            (1..=count).map(|node| (NodeId(node), free_port())).collect();
        let servers = addresses.keys().map(|node| {
            let group = match count {
                1 => GroupOptions::Solo,
                _ => {
                    let mut peers = addresses.clone();
                    let listen = peers.remove(node).expect("every server has an address");
                    GroupOptions::Ring(RingOptions::new(listen, peers, KEY))
                }
            };
            let mut options = ServerOptions::new(*node, ([127, 0, 0, 1], 0).into(), group);
            options.bootstrap = true;
            Server::start(options)
        });
        Self { servers: servers.collect() }
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(|server| server.client_addr).collect()
    }

    pub fn options(&self) -> ClientOptions {
        let mut options = ClientOptions::new(self.addresses());
        options.session_timeout = Duration::from_secs(3);
        options
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.options()).await.expect("the cluster serves")
    }
}

impl Server {
    pub fn start(options: ServerOptions) -> Self {
        let (started, starting) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let (status, asked) = tokio::sync::mpsc::unbounded_channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let serve = serve(options, started, stopped, asked);
            tokio::task::LocalSet::new().block_on(&runtime.unwrap(), serve);
        });
        let client_addr = starting.recv().expect("the server starts");
        Self { client_addr, stop: Some(stop), status, thread: Some(thread) }
    }

    pub async fn status(&self) -> StatusReport {
        let (answer, answered) = oneshot::channel();
        self.status.send(answer).expect("the server runs");
        answered.await.expect("the server answers")
    }

    /// Ends the server at once, or lets its clients move first.
    pub fn stop(&mut self, drain: bool) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(drain);
        }
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server did not panic");
        }
    }
}

type Asked = tokio::sync::mpsc::UnboundedReceiver<oneshot::Sender<StatusReport>>;

async fn serve(
    options: ServerOptions,
    started: mpsc::Sender<SocketAddr>,
    stopped: oneshot::Receiver<bool>,
    mut asked: Asked,
) {
    let running: Running<Real> =
        start(Real, options, Arc::new(Metrics::default())).await.expect("the server starts");
    started.send(running.client_addr()).expect("somebody waits for it");
    let answering = async {
        while let Some(answer) = asked.recv().await {
            let _ = answer.send(running.status());
        }
    };
    tokio::select! {
        drain = stopped => {
            if drain.unwrap_or(false) {
                running.drain().await;
            }
        }
        () = answering => {}
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.servers.iter_mut().for_each(|server| server.stop(false));
    }
}
