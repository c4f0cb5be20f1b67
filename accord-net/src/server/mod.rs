//! A running server: the core behind sockets.
//!
//! [`start`] opens the sockets and spawns the tasks; [`Running`] is the handle on them. The tasks
//! of one server share its [`driver`] on one thread:
//!
//! | task | does |
//! |---|---|
//! | pump | timers, and carrying out what the core asks |
//! | datagrams | the ring's |
//! | accept | takes connections of clients and operators |
//! | one for each connection | `conns`, `operator` |
//! | journal | learns what has become durable |
//! | one for each other server, both ways | `peers` |
//!
//! Where next: [`options`], `driver`, `conns`; [`crate::env`] for the world below.

mod conns;
mod driver;
mod group;
#[cfg(feature = "cli")]
pub mod http;
pub mod journal;
pub mod metrics;
mod names;
mod operator;
pub mod options;
mod peers;
#[cfg(feature = "cli")]
mod process;
pub mod repair;
mod roster;
mod roster_file;
mod seldom;
mod status;
#[cfg(feature = "testing")]
mod witness;

pub use names::{PeerName, Tempo};
pub use options::{CorosyncOptions, GroupOptions, NetLimits, RingOptions, ServerOptions};
pub use roster_file::RosterFile;
#[cfg(feature = "testing")]
pub use witness::Witness;

use crate::corosync::CorosyncError;
use crate::env::Env;
use crate::frame::{Kind, PREFACE_BYTES, Preface, PrefaceError};
use crate::operator::protocol::OPERATOR_VERSION;
use crate::operator::status::StatusReport;
use crate::transport::{Listener, Transport, in_time};
use accord_core::protocol::PROTOCOL_VERSION;
use accord_core::replica::config::Durability;
use accord_core::replica::io::HaltReason;
use accord_core::time::Duration;
use conns::{READ_BYTES, Scratch};
use driver::Driver;
use journal::Disk;
use metrics::{Metrics, Reason};
use options::Streams;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Why a server did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be used.
    #[error("cannot listen for {what} at {at}: {error}{}", remedy(error))]
    Listen {
        /// What was to be received there.
        what: &'static str,
        /// The address.
        at: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The ring's bounds or time-outs contradict each other.
    #[error("the ring's settings contradict each other: {0}")]
    Ring(#[from] accord_core::group::ring::ConfigError),
    /// The Corosync group cannot be joined.
    #[error("cannot join the group over Corosync: {0}")]
    Corosync(#[from] CorosyncError),
    /// Bounds contradict each other.
    #[error("the settings contradict each other: {0}")]
    Contradiction(&'static str),
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            ". Another process uses it: is the server running already? Stop it or choose another port"
        }
        io::ErrorKind::AddrNotAvailable => ". This machine does not have that address",
        io::ErrorKind::PermissionDenied => {
            ". Ports below 1024 need privileges: choose a higher one"
        }
        _ => "",
    }
}

/// How a server came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop, and its clients had time to move.
    Drained,
    /// It stopped itself, because going on could do harm.
    Halted(HaltReason),
}

/// A running server. Dropping the handle does not stop it; ending its `LocalSet` does.
pub struct Running<E: Env> {
    driver: Rc<Driver<E>>,
    client_addr: SocketAddr,
    accepting: Rc<Cell<bool>>,
}

/// How long accepting rests when the system has no room for another connection.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// How often a server that stops looks whether its clients have moved.
const DRAIN_LOOK: Duration = Duration::from_millis(10);
/// How long the last datagrams of a server that stops may take.
const FAREWELL: Duration = Duration::from_millis(20);

/// Starts a server in this world: in persistent mode with its disk, which must be its own.
///
/// # Errors
/// [`StartError`]: nothing runs then.
pub async fn start<E: Env>(
    env: E,
    options: ServerOptions,
    disk: Option<Disk>,
    metrics: Arc<Metrics>,
) -> Result<Running<E>, StartError> {
    check(&options, disk.is_some())?;
    let at = options.client_listen;
    let listen = |what, at| move |error| StartError::Listen { what, at, error };
    let clients = Listener::bind(&env, at).await.map_err(listen("clients", at))?;
    let client_addr = clients.local_addr().map_err(listen("clients", at))?;
    let (mut udp, mut streams) = (None, None);
    if let GroupOptions::Ring(RingOptions { listen: at, .. }) = &options.group {
        udp = Some(env.bind_udp(*at).await.map_err(listen("the ring's datagrams", *at))?);
    }
    if let Some(Streams { listen: at, key, .. }) = options.group.streams() {
        let listener = Listener::bind(&env, at).await;
        let listener = listener.map_err(listen("the servers' streams", at))?;
        streams = Some((listener, key));
    }
    let driver = Driver::new(env.clone(), options, udp, disk, metrics)?;
    env.spawn(driver.clone().run());
    env.spawn(driver.clone().follow_journal());
    env.spawn(driver.clone().follow_work());
    env.spawn(driver.clone().follow_group());
    env.spawn(driver.clone().receive_datagrams());
    if let Some((listener, key)) = streams {
        env.spawn(accept_peers(driver.clone(), listener, key));
        let inner = driver.inner.borrow();
        for outbox in inner.peers.values() {
            env.spawn(peers::dial(driver.clone(), outbox.clone(), key));
        }
        inner.tell_roster();
    }
    let accepting = Rc::new(Cell::new(true));
    env.spawn(accept_clients(driver.clone(), clients, accepting.clone()));
    Ok(Running { driver, client_addr, accepting })
}

fn check(options: &ServerOptions, has_disk: bool) -> Result<(), StartError> {
    let rules = [
        (
            (options.durability == Durability::Persistent) == has_disk,
            "persistent mode has a disk, and memory mode has none",
        ),
        (options.initial.contains(&options.node), "the server itself is not among the servers"),
    ];
    if let Some((_, rule)) = rules.iter().find(|(holds, _)| !holds) {
        return Err(StartError::Contradiction(rule));
    }
    // A frame carries a command and what goes with it.
    let bytes = options.replica.command_bytes_max + options.replica.batch_bytes_max + (1 << 16);
    match &options.group {
        GroupOptions::Solo => {}
        GroupOptions::Ring(ring) => {
            ring.core(options.node).validate()?;
            if ring.limits.message_bytes_max < bytes {
                return Err(StartError::Contradiction(
                    "ring.message_bytes_max is too small for replica.command_bytes_max",
                ));
            }
        }
        GroupOptions::Corosync(corosync) => {
            corosync.limits.validate().map_err(StartError::Contradiction)?;
            if corosync.limits.message_bytes_max < bytes {
                return Err(StartError::Contradiction(
                    "corosync.message_bytes_max is too small for replica.command_bytes_max",
                ));
            }
        }
    }
    Ok(())
}

async fn accept_peers<E: Env>(driver: Rc<Driver<E>>, listener: Listener<E>, key: [u8; 32]) {
    let strangers = Rc::new(Cell::new(0));
    while driver.halted().is_none() {
        match listener.accept().await {
            Ok(stream) => {
                let Some(stranger) = Stranger::new(&strangers, driver.options.net.strangers_max)
                else {
                    driver.metrics.peers_refused.get_or_create(&Reason::of("too_many")).inc();
                    continue;
                };
                driver.env.spawn(peers::accept(driver.clone(), stream, key, stranger));
            }
            Err(error) => rest(&driver, &error).await,
        }
    }
}

/// A connection that has not said what it is for, while it is counted as one.
struct Stranger(Rc<Cell<usize>>);

impl Stranger {
    /// Counts one more, unless there are as many as may be.
    fn new(count: &Rc<Cell<usize>>, max: usize) -> Option<Self> {
        if count.get() >= max {
            return None;
        }
        count.set(count.get() + 1);
        Some(Self(count.clone()))
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

async fn rest<E: Env>(driver: &Driver<E>, error: &io::Error) {
    if let Some(times) = driver.complaints.accepting.due(driver.env.now()) {
        tracing::warn!(
            %error, times, "a connection could not be accepted; are there enough file descriptors?"
        );
    }
    driver.env.sleep_until(driver.env.now() + ACCEPT_REST).await;
}

async fn accept_clients<E: Env>(
    driver: Rc<Driver<E>>,
    listener: Listener<E>,
    accepting: Rc<Cell<bool>>,
) {
    let scratch: Scratch = Rc::new(RefCell::new(vec![0; READ_BYTES].into_boxed_slice()));
    let (operators, strangers) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    while driver.halted().is_none() {
        let accepted = tokio::select! {
            biased;
            () = driver.ended.notified() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(_) if !accepting.get() => {}
            Ok(stream) => {
                let Some(stranger) = Stranger::new(&strangers, driver.options.net.strangers_max)
                else {
                    driver.metrics.prefaces_refused.get_or_create(&Reason::of("too_many")).inc();
                    continue;
                };
                let (scratch, operators) = (scratch.clone(), operators.clone());
                driver.env.spawn(welcome(driver.clone(), stream, scratch, operators, stranger));
            }
            Err(error) => rest(&driver, &error).await,
        }
    }
}

/// Finds out what a connection is for, and serves it.
async fn welcome<E: Env>(
    driver: Rc<Driver<E>>,
    mut stream: Transport<E>,
    scratch: Scratch,
    operators: Rc<Cell<usize>>,
    stranger: Stranger,
) {
    let span = driver.options.net.preface_timeout;
    let kind = in_time(&driver.env, span, greet::<E>(&mut stream)).await;
    drop(stranger);
    match kind {
        Ok(Kind::Client) => conns::serve(driver, stream, scratch).await,
        Ok(Kind::Operator) if operators.get() < driver.options.net.operators_max => {
            operators.set(operators.get() + 1);
            operator::serve(driver, stream).await;
            operators.set(operators.get() - 1);
        }
        Ok(_) => {
            driver.metrics.prefaces_refused.get_or_create(&Reason::of("too_many_operators")).inc();
            if let Some(times) = driver.complaints.operators.due(driver.env.now()) {
                tracing::warn!(from = %stream.remote(), times, "too many operators: hung up");
            }
        }
        Err(error) => {
            driver.metrics.prefaces_refused.get_or_create(&Reason::of(refusal(&error))).inc();
            tracing::debug!(from = %stream.remote(), %error, "refused a connection");
        }
    }
}

/// Why a connection ended before it was known what for, in a word.
fn refusal(error: &io::Error) -> &'static str {
    let found = error.get_ref().and_then(|inner| inner.downcast_ref::<PrefaceError>());
    match (found, error.kind()) {
        (Some(PrefaceError::Stranger), _) => "stranger",
        (Some(PrefaceError::Version { .. }), _) => "version",
        (Some(PrefaceError::Kind), _) => "wrong_kind",
        (None, io::ErrorKind::TimedOut) => "silent",
        (None, _) => "hung_up",
    }
}

/// Reads the other end's preface and answers with this one's, also if they differ: so the other
/// end can tell its user what is wrong.
async fn greet<E: Env>(stream: &mut Transport<E>) -> io::Result<Kind> {
    let mut bytes = [0; PREFACE_BYTES];
    stream.read_exact(&mut bytes).await?;
    let invalid = |error: PrefaceError| io::Error::new(io::ErrorKind::InvalidData, error);
    let found = Preface::from_bytes(bytes).map_err(invalid)?;
    let version = match found.kind {
        Kind::Client => PROTOCOL_VERSION,
        Kind::Operator => OPERATOR_VERSION,
        Kind::Peer => return Err(invalid(PrefaceError::Kind)),
    };
    let ours = Preface { kind: found.kind, version };
    stream.write_all(&ours.to_bytes()).await?;
    stream.flush().await?;
    found.expect(ours).map_err(invalid)?;
    Ok(found.kind)
}

impl<E: Env> Running<E> {
    /// Where clients connect.
    pub const fn client_addr(&self) -> SocketAddr {
        self.client_addr
    }

    /// How the server is.
    pub fn status(&self) -> StatusReport {
        self.driver.status()
    }

    /// The metrics, up to date.
    pub fn metrics(&self) -> String {
        self.driver.metrics.observe(&self.driver.status());
        self.driver.metrics.encode()
    }

    /// What the disk said, if it failed.
    pub fn disk_error(&self) -> Option<String> {
        self.driver.disk_error.borrow().clone()
    }

    /// Waits until the server stops itself.
    pub async fn halted(&self) -> HaltReason {
        loop {
            let ended = self.driver.ended.notified();
            if let Some(reason) = self.driver.halted() {
                return reason;
            }
            ended.await;
        }
    }

    /// Stops the server without haste: its clients are hung up on, so that they attach to other
    /// servers; when no session belongs to it any more, or the time for it is up, it leaves the
    /// group.
    pub async fn drain(&self) -> Ended {
        let driver = &self.driver;
        let deadline = driver.env.now() + driver.options.net.drain_timeout;
        driver.draining.set(true);
        self.accepting.set(false);
        driver.hang_up_all();
        let alone = self.status().members.len() <= 1;
        while !alone && driver.sessions_owned() > 0 && driver.env.now() < deadline {
            if let Some(reason) = driver.halted() {
                return Ended::Halted(reason);
            }
            driver.env.sleep_until(driver.env.now() + DRAIN_LOOK).await;
        }
        driver.leave();
        driver.env.sleep_until(driver.env.now() + FAREWELL).await;
        Ended::Drained
    }
}

impl<E: Env> Driver<E> {
    /// Sessions that belong to this server.
    fn sessions_owned(&self) -> usize {
        let inner = self.inner.borrow();
        let own =
            |session: &accord_core::state::Session| session.owner() == Some(self.options.node);
        inner.server.state().sessions().filter(|(_, session)| own(session)).count()
    }

    /// Tells the other servers that this one goes.
    fn leave(&self) {
        {
            let inner = &mut *self.inner.borrow_mut();
            inner.group.leave(self.env.now());
        }
        self.pump();
    }
}
