//! The systems that are compared: how each is started, and how it is spoken to.
//!
//! A [`Connection`] is a protocol without IO: bytes in, bytes out, answers. The generator moves the
//! bytes of all systems in the same way, so that they differ in nothing but what they have to say.
//! Read on in [`accord`], [`zookeeper`] and [`etcd`].

pub mod accord;
pub mod corosync;
pub mod counters;
pub mod etcd;
pub mod jute;
pub mod process;
pub mod zookeeper;

use crate::failure::Result;
use crate::workload::{Answer, Ask};
use accord_jepsen::world::World;
use clap::ValueEnum;
use process::Process;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

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
    // In this order: what runs is ended before its files are removed.
    processes: Vec<Process>,
    /// The namespaces that they run in, if those are their own, with Corosync's daemons.
    world: Option<World>,
    dir: TempDir,
}

impl Cluster {
    /// Starts one and waits until it serves.
    ///
    /// # Errors
    /// If something is missing, or the servers do not come up.
    pub fn start(setup: Setup) -> Result<Self> {
        match setup.system {
            System::Accord | System::Library => accord::start(setup),
            System::Corosync => corosync::start(setup),
            System::Zookeeper => zookeeper::start(setup),
            System::Etcd => etcd::start(setup),
        }
    }

    /// The numbers of its servers' processes.
    pub fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(Process::id).collect()
    }

    /// The numbers of the processes that its servers need besides.
    pub fn daemon_pids(&self) -> Vec<u32> {
        self.world.as_ref().map(World::daemon_pids).unwrap_or_default()
    }

    /// Does something where its servers can be reached. What was opened there stays there.
    ///
    /// # Errors
    /// If that place is gone.
    pub fn inside<T>(&self, act: impl FnOnce() -> T) -> Result<T> {
        match &self.world {
            Some(world) => world.net().among_clients(act).map_err(corosync::failure),
            None => Ok(act()),
        }
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The ends of the servers' logs.
    pub fn log_tails(&self) -> String {
        self.processes.iter().map(Process::log_tail).collect::<Vec<_>>().join("\n")
    }

    /// Removes what a server has written and does not need, if it does not do so itself.
    pub fn tidy(&self) {
        if self.setup.system == System::Zookeeper && self.setup.mode == Mode::Memory {
            zookeeper::remove_old_files(self.dir());
        }
    }
}
