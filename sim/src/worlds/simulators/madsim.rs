//! The world of [madsim](https://docs.rs/madsim): one executor for all machines, whose time leaps
//! to the next timer, and which takes the place of the system's clocks and randomness.
//!
//! Its datagrams are received by tasks of their own, since its `recv_from` loses what it holds when
//! it is cancelled, and several of them, since each takes a simulated millisecond.

use super::fault_driver::FaultDriver;
use super::harness::Harness;
use super::host::Host;
use super::simulator::{Control, Received, Simulator};
use super::{client_task, server_task};
use crate::plan::Plan;
use crate::world::Run;
use crate::world::clock::WorldTime;
use crate::world::trace::Story;
use ::madsim::net::{NetSim, TcpListener, TcpStream, UdpSocket};
use ::madsim::runtime::{Handle, NodeHandle, Runtime};
use ::madsim::time::TimeHandle;
use accord_net::env::DATAGRAM_BYTES_MAX;
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Datagrams that wait at a socket; more are lost, as in a system's buffer.
const DATAGRAMS_WAITING_MAX: usize = 256;
/// Tasks that receive at one socket.
const PUMPS: usize = 8;
/// How often the fault driver checks for servers that stopped themselves.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

thread_local! {
    /// The world of this thread. What starts a machine's process must be `Send`, and the world is
    /// not; madsim runs all machines on the thread of its runtime.
    static STAGE: RefCell<Option<Rc<Harness>>> = const { RefCell::new(None) };
}

fn harness() -> Rc<Harness> {
    STAGE.with_borrow(|harness| harness.clone().expect("a world runs on this thread"))
}

/// The simulator, as machines see it.
pub(super) struct Madsim;

/// A socket, and what was received at it.
pub(super) struct Socket {
    socket: Arc<UdpSocket>,
    received: Mutex<Receiver<Received>>,
}

impl Simulator for Madsim {
    type Udp = Socket;
    type Stream = TcpStream;
    type Listener = TcpListener;
    const STREAMS_OUTLIVE_CUTS: bool = true;

    fn now() -> WorldTime {
        let elapsed = TimeHandle::try_current().map(|time| time.elapsed()).unwrap_or_default();
        WorldTime::from_nanos(elapsed.as_nanos() as u64)
    }

    fn sleep(span: Duration) -> impl Future<Output = ()> + 'static {
        ::madsim::time::sleep(span)
    }

    fn spawn(task: impl Future<Output = ()> + 'static) {
        ::madsim::task::spawn_local(task);
    }

    async fn bind_udp(port: u16) -> io::Result<Socket> {
        let socket = Arc::new(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).await?);
        let (sender, receiver) = channel(DATAGRAMS_WAITING_MAX);
        for _ in 0..PUMPS {
            Self::spawn(pump(socket.clone(), sender.clone()));
        }
        Ok(Socket { socket, received: Mutex::new(receiver) })
    }

    fn send(udp: &Rc<Socket>, to: SocketAddr, bytes: Bytes) {
        let socket = udp.socket.clone();
        Self::spawn(async move {
            // What cannot be sent is lost, as everywhere.
            let _ = socket.send_to(to, &bytes).await;
        });
    }

    async fn receive(udp: &Socket) -> io::Result<Received> {
        let received = udp.received.lock().await.recv().await;
        received.ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    async fn listen(port: u16) -> io::Result<TcpListener> {
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
    }

    async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        listener.accept().await
    }

    async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(to).await
    }
}

async fn pump(socket: Arc<UdpSocket>, received: Sender<Received>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    while let Ok((bytes, from)) = socket.recv_from(&mut buffer).await {
        // A full buffer loses it.
        let _ = received.try_send((from, Bytes::copy_from_slice(&buffer[..bytes])));
    }
}

struct Controls {
    handle: Handle,
    nodes: BTreeMap<Host, NodeHandle>,
}

impl Control for Controls {
    fn crash(&mut self, server: u32) {
        self.handle.kill(self.nodes[&Host::Server(server)].id());
    }
    fn restart(&mut self, server: u32) {
        self.handle.restart(self.nodes[&Host::Server(server)].id());
    }
    fn set_cut(&mut self, from: Host, to: Host, cut: bool) {
        let (from, to) = (self.nodes[&from].id(), self.nodes[&to].id());
        match cut {
            true => NetSim::current().clog_link(from, to),
            false => NetSim::current().unclog_link(from, to),
        }
    }
}

/// Runs the world of a plan to its end, on a thread of its own: a second runtime on one thread
/// would meet the leftovers of the first.
pub(super) fn run(plan: Plan, story: Option<Story>) -> Run {
    let world = move || crate::world::panics::quietly(|| run_here(plan, story));
    let thread = std::thread::Builder::new().name("madsim".to_owned()).spawn(world);
    let ended = thread.expect("a thread for the world").join();
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn run_here(plan: Plan, story: Option<Story>) -> Run {
    let (delay_min, delay_max) = crate::worlds::fit::latencies(&plan.options);
    let mut config = ::madsim::Config::default();
    config.net.send_latency = delay_min..delay_max;
    let runtime = Runtime::with_seed_and_config(plan.options.seed, config);
    let harness = Harness::new(plan, story);
    STAGE.set(Some(harness.clone()));
    let run = runtime.block_on(direct(harness.clone()));
    super::tear_down(&harness);
    drop(runtime);
    STAGE.set(None);
    run
}

async fn direct(harness: Rc<Harness>) -> Run {
    let mut controls = build(&harness);
    let mut driver = FaultDriver::new(harness, !Madsim::STREAMS_OUTLIVE_CUTS);
    while !driver.on_time(Madsim::now(), &mut controls) {
        let now = Madsim::now().as_nanos();
        let wait = driver.next_at().map_or(u64::MAX, |at| at.as_nanos().saturating_sub(now));
        ::madsim::time::sleep(POLL_INTERVAL.min(Duration::from_nanos(wait))).await;
    }
    driver.judge_end();
    driver.finish()
}

fn build(world: &Rc<Harness>) -> Controls {
    let handle = Handle::current();
    let mut nodes = BTreeMap::new();
    for server in 1..=world.options().nodes() {
        let host = Host::Server(server);
        let init = move || {
            let process = server_task::process::<Madsim>(&harness(), server);
            async move {
                process.await;
                // The machine stays, until the fault driver sees to it.
                std::future::pending::<()>().await;
            }
        };
        let node = handle.create_node().name(host.to_string()).ip(host.ip()).init(init).build();
        nodes.insert(host, node);
    }
    for client in 1..=world.options().clients {
        let host = Host::Client(client);
        let init = move || {
            let machine = client_task::machine::<Madsim>(&harness(), client);
            async move {
                machine.await;
                std::future::pending::<()>().await;
            }
        };
        let node = handle.create_node().name(host.to_string()).ip(host.ip()).init(init).build();
        nodes.insert(host, node);
    }
    Controls { handle, nodes }
}
