//! The world of [turmoil](https://docs.rs/turmoil): each machine has a runtime of tokio's whose
//! time stands still, and all of them are run a millisecond at a time, one after the other.

use super::fault_driver::FaultDriver;
use super::harness::Harness;
use super::host::Host;
use super::process::OnPanic as _;
use super::simulator::{Control, Received, Simulator};
use super::{client_task, server_task};
use crate::plan::Plan;
use crate::world::Run;
use crate::world::clock::WorldTime;
use crate::world::trace::Story;
use ::turmoil::net::{TcpListener, TcpStream, UdpSocket};
use accord_net::env::DATAGRAM_BYTES_MAX;
use bytes::Bytes;
use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

/// One step of the simulation.
const TICK: Duration = Duration::from_millis(1);
/// Datagrams that wait at a socket; more are lost, as in a system's buffer.
const DATAGRAMS_WAITING_MAX: usize = 256;
/// Longer than any plan: the fault driver ends worlds.
const FOR_EVER: Duration = Duration::from_secs(1 << 30);

/// The simulator, as machines see it.
pub(super) struct Turmoil;

/// A socket, and the memory to receive into.
pub(super) struct Socket {
    socket: UdpSocket,
    buffer: RefCell<Vec<u8>>,
}

impl Simulator for Turmoil {
    type Udp = Socket;
    type Stream = TcpStream;
    type Listener = TcpListener;
    // A segment that is lost is never sent again.
    const STREAMS_OUTLIVE_CUTS: bool = false;

    fn now() -> WorldTime {
        // Outside of a machine, where processes are torn down, there is no time.
        let elapsed = ::turmoil::sim_elapsed().unwrap_or_default();
        WorldTime::from_nanos(elapsed.as_nanos() as u64)
    }

    fn sleep(span: Duration) -> impl Future<Output = ()> + 'static {
        tokio::time::sleep(span)
    }

    fn spawn(task: impl Future<Output = ()> + 'static) {
        tokio::task::spawn_local(task);
    }

    async fn bind_udp(port: u16) -> io::Result<Socket> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
        Ok(Socket { socket, buffer: RefCell::new(vec![0; DATAGRAM_BYTES_MAX]) })
    }

    fn send(udp: &Rc<Socket>, to: SocketAddr, bytes: Bytes) {
        // What cannot be sent is lost, as everywhere.
        let _ = udp.socket.try_send_to(&bytes, to);
    }

    async fn receive(udp: &Socket) -> io::Result<Received> {
        loop {
            udp.socket.readable().await?;
            let buffer = &mut *udp.buffer.borrow_mut();
            match udp.socket.try_recv_from(buffer) {
                Ok((bytes, from)) => return Ok((from, Bytes::copy_from_slice(&buffer[..bytes]))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
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

struct Controls<'a>(&'a mut ::turmoil::Sim<'static>);

impl Control for Controls<'_> {
    fn crash(&mut self, server: u32) {
        self.0.crash(Host::Server(server).ip());
    }
    fn restart(&mut self, server: u32) {
        self.0.bounce(Host::Server(server).ip());
    }
    fn set_cut(&mut self, from: Host, to: Host, cut: bool) {
        match cut {
            true => self.0.partition_oneway(from.ip(), to.ip()),
            false => self.0.repair_oneway(from.ip(), to.ip()),
        }
    }
}

/// Runs the world of a plan to its end.
pub(super) fn run(plan: Plan, story: Option<Story>) -> Run {
    let harness = Harness::new(plan, story);
    let mut sim = build(&harness);
    let mut driver = FaultDriver::new(harness.clone(), !Turmoil::STREAMS_OUTLIVE_CUTS);
    loop {
        if let Err(error) = sim.step() {
            harness.on_panic(format!("the simulator stops: {error}"));
        }
        let now = WorldTime::from_nanos(sim.elapsed().as_nanos() as u64);
        if driver.on_time(now, &mut Controls(&mut sim)) {
            break;
        }
    }
    driver.judge_end();
    let run = driver.finish();
    super::tear_down(&harness);
    for server in 1..=harness.options().nodes() {
        sim.crash(Host::Server(server).ip());
    }
    for client in 1..=harness.options().clients {
        sim.crash(Host::Client(client).ip());
    }
    run
}

fn build(harness: &Rc<Harness>) -> ::turmoil::Sim<'static> {
    let options = harness.options();
    let (delay_min, delay_max) = crate::worlds::fit::latencies(options);
    let mut sim = ::turmoil::Builder::new()
        .simulation_duration(FOR_EVER)
        .tick_duration(TICK)
        .epoch(SystemTime::UNIX_EPOCH)
        .min_message_latency(delay_min)
        .max_message_latency(delay_max)
        .udp_capacity(DATAGRAMS_WAITING_MAX)
        .enable_random_order()
        .rng_seed(options.seed)
        .build();
    for server in 1..=options.nodes() {
        let harness = harness.clone();
        sim.host(Host::Server(server).ip(), move || {
            let process = server_task::process::<Turmoil>(&harness, server);
            async move {
                process.await;
                // The machine stays, until the fault driver sees to it.
                std::future::pending().await
            }
        });
    }
    for client in 1..=options.clients {
        let harness = harness.clone();
        sim.host(Host::Client(client).ip(), move || {
            let machine = client_task::machine::<Turmoil>(&harness, client);
            async move {
                machine.await;
                std::future::pending().await
            }
        });
    }
    sim
}
