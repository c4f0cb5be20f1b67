//! A running server: the core behind sockets.
//!
//! [`start`] opens the sockets and spawns the tasks; [`Running`] is the handle on them. The tasks
//! of one server share its `driver` on one thread:
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
mod listen;
pub mod metrics;
mod names;
mod operator;
pub mod options;
mod outbox;
mod peer_handshake;
mod peer_outbox;
mod peers;
#[cfg(feature = "cli")]
mod process;
pub mod repair;
mod roster;
mod roster_file;
mod seldom;
mod slots;
mod status;
#[cfg(feature = "testing")]
mod witness;

#[cfg(feature = "testing")]
pub use driver::Witness;
pub use listen::Factory;
pub use names::{PeerName, Tempo};
pub use options::{CorosyncOptions, GroupOptions, NetLimits, RingOptions, ServerOptions};
pub use roster_file::RosterFile;

use crate::corosync::CorosyncError;
use crate::env::Env;
use crate::operator::status::StatusReport;
use crate::transport::Listener;
use accord_core::replica::config::Durability;
use accord_core::replica::io::HaltReason;
use accord_core::time::Duration;
use driver::Driver;
use journal::Disk;
use listen::Clients;
use metrics::Metrics;
use options::Streams;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use thiserror::Error;

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
    /// The ring's bounds or timeouts contradict each other.
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
    clients: Clients,
}

/// How often a stopping server checks whether its clients have moved.
const DRAIN_POLL_INTERVAL: Duration = Duration::from_millis(10);
/// The time that the last datagrams of a stopping server have to leave.
const LEAVE_GRACE: Duration = Duration::from_millis(20);

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
    env.spawn(driver.clone().follow_clock());
    env.spawn(driver.clone().follow_journal());
    env.spawn(driver.clone().follow_work());
    env.spawn(driver.clone().follow_group());
    env.spawn(driver.clone().receive_datagrams());
    if let Some((listener, key)) = streams {
        env.spawn(listen::accept_peers(driver.clone(), listener, key));
        for outbox in driver.peers() {
            env.spawn(peers::dial(driver.clone(), outbox, key));
        }
        driver.tell_roster();
    }
    let ports = Clients::new();
    env.spawn(listen::accept_clients(driver.clone(), clients, ports.clone()));
    Ok(Running { driver, client_addr, clients: ports })
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

impl<E: Env> Running<E> {
    /// Where clients connect.
    pub const fn client_addr(&self) -> SocketAddr {
        self.client_addr
    }

    /// Serves clients of another protocol at an address of their own, until the server stops.
    /// Returns the address, with the port that the system chose if it was asked to.
    ///
    /// # Errors
    /// [`StartError::Listen`].
    pub async fn listen(&self, at: SocketAddr, factory: Factory) -> Result<SocketAddr, StartError> {
        let failed = |error| StartError::Listen { what: "clients", at, error };
        let env = self.driver.env();
        let listener = Listener::bind(env, at).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (driver, clients) = (self.driver.clone(), self.clients.clone());
        env.spawn(listen::accept_front_ends(driver, listener, clients, factory));
        Ok(address)
    }

    /// How the server is.
    pub fn status(&self) -> StatusReport {
        status::status(&self.driver)
    }

    /// The metrics, up to date.
    pub fn metrics(&self) -> String {
        let metrics = self.driver.metrics();
        metrics.observe(&self.status());
        metrics.encode()
    }

    /// What the disk said, if it failed.
    pub fn disk_error(&self) -> Option<String> {
        self.driver.disk_error()
    }

    /// Waits until the server stops itself.
    pub async fn halted(&self) -> HaltReason {
        self.driver.stopped().await
    }

    /// Stops the server without haste: its clients are hung up on, so that they attach to other
    /// servers; when no session belongs to it any more, or the time for it is up, it leaves the
    /// group.
    pub async fn drain(&self) -> Ended {
        let driver = &self.driver;
        let deadline = driver.env().now() + driver.options().net.drain_timeout;
        self.clients.refuse();
        driver.begin_draining();
        let alone = self.status().members.len() <= 1;
        while !alone && driver.sessions_owned() > 0 && driver.env().now() < deadline {
            if let Some(reason) = driver.halted() {
                return Ended::Halted(reason);
            }
            driver.env().sleep_until(driver.env().now() + DRAIN_POLL_INTERVAL).await;
        }
        driver.leave();
        driver.env().sleep_until(driver.env().now() + LEAVE_GRACE).await;
        Ended::Drained
    }
}
