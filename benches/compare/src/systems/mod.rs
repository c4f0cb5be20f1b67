//! The systems that are compared: how each is started, and how it is spoken to.
//!
//! A [`Connection`] is a protocol without IO: bytes in, bytes out, answers. The generator moves the
//! bytes of all systems in the same way, so that they differ in nothing but what they have to say.
//! Read on in [`accord`], [`zookeeper`] and [`etcd`].

pub mod accord;
pub mod counters;
pub mod etcd;
pub mod zookeeper;

use crate::failure::{During, Failure, Result};
use crate::workload::{Answer, Ask};
use accord_testbed::cluster::{Cluster as Servers, ClusterOptions};
use accord_testbed::netns::own_name;
use accord_testbed::nodes::{GroupChoice, Nodes, NodesOptions};
use accord_testbed::process::ProcessError;
use accord_testbed::systems::accord::Accord;
use accord_testbed::systems::etcd::Etcd;
use accord_testbed::systems::zookeeper::ZooKeeper;
use clap::ValueEnum;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A protocol, as one client speaks it over one connection.
pub trait Connection {
    /// True if requests take effect in the order in which they are sent.
    const ORDERED: bool;

    /// True once requests may be sent.
    fn is_ready(&self) -> bool;

    /// Sends a request. Its answer carries `tag`.
    ///
    /// # Errors
    /// If it cannot be sent.
    fn ask(&mut self, now: u64, tag: u64, ask: Ask, out: &mut Vec<u8>) -> Result<()>;

    /// Takes bytes that arrived, and tells what they answer.
    ///
    /// # Errors
    /// If the server refuses something, or says what it must not.
    fn receive(&mut self, now: u64, bytes: &[u8], io: &mut Exchange) -> Result<()>;

    /// Adds to `out` whatever is still kept inside. Called before bytes are sent.
    ///
    /// # Errors
    /// If the connection is broken.
    fn drain(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let _ = out;
        Ok(())
    }

    /// Time has passed: keep the session alive. Called several times a second.
    ///
    /// # Errors
    /// If the server is gone.
    fn tick(&mut self, now: u64, out: &mut Vec<u8>) -> Result<()>;

    /// Ends the session. Nothing is asked any more.
    fn close(&mut self, now: u64, out: &mut Vec<u8>);
}

/// What comes of bytes that arrived.
#[derive(Debug, Default)]
pub struct Exchange {
    /// What to send.
    pub out: Vec<u8>,
    /// What is answered: tags and answers.
    pub answers: Vec<(u64, Answer)>,
    /// How many watches told of a change.
    pub events: usize,
}

/// What can be measured.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum System {
    /// Accord with the built-in ring (one server: alone).
    Accord,
    /// Accord over Corosync, on network namespaces of their own: needs root.
    Corosync,
    /// Accord by its client library, to tell what that costs.
    Library,
    /// ZooKeeper.
    Zookeeper,
    /// etcd.
    Etcd,
}

impl System {
    /// Its name in tables and plots.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accord => "Accord",
            Self::Corosync => "Accord over Corosync",
            Self::Library => "Accord (client library)",
            Self::Zookeeper => "ZooKeeper",
            Self::Etcd => "etcd",
        }
    }

    /// The largest window, of those at most `window`, in which a cluster takes the requests of so
    /// many connections. etcd refuses requests when 5,000 are under way.
    pub fn admitted_window(self, window: usize, connections: usize) -> usize {
        const ETCD_REQUESTS_MAX: usize = 4096;
        match self {
            Self::Etcd => window.min(ETCD_REQUESTS_MAX / connections).max(1),
            Self::Accord | Self::Corosync | Self::Library | Self::Zookeeper => window,
        }
    }
}

/// What a write is safe in when it is answered.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The memory of a majority.
    Memory,
    /// The disks of a majority.
    Persistent,
}

impl Mode {
    /// Its name in tables and plots.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Persistent => "persistent",
        }
    }
}

/// How a cluster is to be started.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Of what.
    pub system: System,
    /// What its writes are safe in.
    pub mode: Mode,
    /// Servers.
    pub servers: usize,
    /// The `accord` program; None: beside this one.
    pub accord: Option<PathBuf>,
    /// Where persistent servers keep their files.
    pub disk: PathBuf,
    /// The heap of each Java server, as Java has it.
    pub java_heap: String,
    /// More lines for Accord's configuration, as `name=value`.
    pub settings: Vec<String>,
    /// The longest packet of the links between namespaces, in bytes.
    pub mtu: u32,
}

/// A running cluster. Dropping it ends its servers and removes their files.
#[derive(Debug)]
pub struct Cluster {
    /// How it was started.
    pub setup: Setup,
    /// Where clients connect, by server.
    pub addresses: Vec<SocketAddr>,
    /// Where servers tell what they have counted. Empty if they cannot be asked.
    pub counters: Vec<SocketAddr>,
    /// Command lines and configurations, for the record.
    pub described: Vec<String>,
    servers: accord_testbed::cluster::Cluster,
}

/// How long a cluster may take until it serves.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How often an interrupt is looked for meanwhile.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(100);
/// How long Corosync's token may take. As patient as the others' elections: a busy machine is no
/// failure.
const TOKEN_MS: u32 = 3000;
/// Where Linux keeps files in memory.
const MEMORY_DIR: &str = "/dev/shm";

impl Cluster {
    /// Starts one and waits until it serves.
    ///
    /// # Errors
    /// If something is missing, or the servers do not come up.
    pub fn start(setup: Setup) -> Result<Self> {
        let system = setup.system;
        Self::try_start(setup).map_err(|failure| explain(system, failure))
    }

    fn try_start(setup: Setup) -> Result<Self> {
        let options = options(&setup)?;
        let mut servers = match setup.system {
            System::Accord | System::Library => Servers::start(accord_servers(&setup)?, &options),
            System::Corosync => {
                let accord = accord_servers(&setup)?;
                Servers::start_in(Some(nodes(&setup)?), accord, &options)
            }
            System::Zookeeper => {
                let heap = setup.java_heap.clone();
                let zookeeper = ZooKeeper { heap, ..ZooKeeper::installed()? };
                Servers::start(zookeeper, &options)
            }
            System::Etcd => Servers::start(Etcd::installed()?, &options),
        }?;
        wait_until_ready(&mut servers)?;
        let addresses = servers.addresses();
        let counters = match setup.system {
            // They are out of reach of the caller.
            System::Corosync => Vec::new(),
            _ => (0..servers.len()).filter_map(|at| servers.metrics_address(at)).collect(),
        };
        let described = vec![servers.description()];
        Ok(Self { setup, addresses, counters, described, servers })
    }

    /// The numbers of its servers' processes.
    pub fn pids(&self) -> Vec<u32> {
        self.servers.pids()
    }

    /// The numbers of the processes that its servers need besides.
    pub fn daemon_pids(&self) -> Vec<u32> {
        self.servers.daemon_pids()
    }

    /// Does something where its servers can be reached. What was opened there stays there.
    ///
    /// # Errors
    /// If that place is gone.
    pub fn inside<T>(&self, act: impl FnOnce() -> T) -> Result<T> {
        Ok(self.servers.inside(act)?)
    }

    /// The ends of the servers' logs.
    pub fn log_tails(&self) -> String {
        self.servers.log_tails()
    }

    /// Removes what a server has written and does not need, if it does not do so itself.
    pub fn tidy(&self) {
        if self.setup.mode == Mode::Memory {
            self.servers.tidy();
        }
    }
}

fn accord_servers(setup: &Setup) -> Result<Accord> {
    let program = accord::program(setup.accord.as_deref())?;
    let set = |setting: &String| ["--set".to_owned(), setting.clone()];
    let args = setup.settings.iter().flat_map(set).collect();
    let extra = "cluster = \"bench\"\nlog = \"warn\"\n".to_owned();
    Ok(Accord { extra, args, ..Accord::new(program) })
}

/// Nodes for Accord over Corosync, which are network namespaces joined by a bridge. The generator's
/// connections start at the bridge. The others are measured on the loopback interface, which is
/// faster than such links.
fn nodes(setup: &Setup) -> Result<Nodes> {
    let mut options =
        NodesOptions { name: own_name("b"), ..NodesOptions::new(GroupChoice::Corosync) };
    options.nodes = u32::try_from(setup.servers).expect("there are few servers");
    (options.mtu, options.daemons.token_ms) = (setup.mtu, TOKEN_MS);
    Ok(Nodes::up(options).map_err(ProcessError::from)?)
}

/// How servers are set up, with a directory in memory or on a disk.
fn options(setup: &Setup) -> Result<ClusterOptions> {
    let base = match setup.mode {
        Mode::Memory => Path::new(MEMORY_DIR),
        Mode::Persistent => &setup.disk,
    };
    let is_memory = statfs(base).during(base.display())?.filesystem_type() == TMPFS_MAGIC;
    match (setup.mode, is_memory) {
        (Mode::Memory, false) => Err(Failure::Missing(format!(
            "{MEMORY_DIR} is not a tmpfs; mount one: mount -t tmpfs tmpfs {MEMORY_DIR}"
        ))),
        (Mode::Persistent, true) => Err(Failure::Usage(format!(
            "{} is in memory; give a directory on a disk with --data-dir",
            base.display()
        ))),
        _ => Ok(ClusterOptions {
            servers: setup.servers,
            persistent: setup.mode == Mode::Persistent,
            base: Some(base.to_owned()),
            prefix: "accord-bench-".to_owned(),
            ..ClusterOptions::default()
        }),
    }
}

/// Waits until the servers serve, or somebody interrupts.
fn wait_until_ready(servers: &mut Servers) -> Result<()> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        match servers.wait_until_ready(INTERRUPT_INTERVAL) {
            Err(ProcessError::Late { .. }) if Instant::now() < deadline => {
                crate::interrupt::check()?;
            }
            done => return Ok(done?),
        }
    }
}

/// What is missing is told as such: the other systems are still measured. A program without
/// Corosync's library is as good as none.
fn explain(system: System, failure: Failure) -> Failure {
    let name = system.name();
    match failure {
        Failure::Wrong(what) if what.contains("built without Corosync") => {
            let said = what.lines().find(|line| line.contains("built without"));
            Failure::Missing(format!("{name}: its servers say: {}", said.unwrap_or_default()))
        }
        Failure::Missing(what) if system == System::Corosync => {
            Failure::Missing(format!("{name}: {what}"))
        }
        failure => failure,
    }
}
