//! What is done to the servers while clients work.

use crate::cluster::Cluster;
use crate::process::ProcessError;
use std::fmt;
use std::str::FromStr;

/// A fault of one server, or of what lies between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It dies at once, and is started again later.
    Kill,
    /// It is held, and goes on later.
    Pause,
    /// It stops without haste, and is started again later.
    Stop,
    /// All servers die at the same time, and are started again. Survived in persistent mode alone.
    KillAll,
    /// It is cut off from the others. On nodes of their own alone, as all that follow.
    Split,
    /// No server reaches another.
    Shatter,
    /// Its Corosync daemon dies at once, and is started again later.
    DaemonKill,
    /// Its Corosync daemon is held, and goes on later.
    DaemonPause,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Kill,
        Self::Pause,
        Self::Stop,
        Self::KillAll,
        Self::Split,
        Self::Shatter,
        Self::DaemonKill,
        Self::DaemonPause,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Stop => "stop",
            Self::KillAll => "kill-all",
            Self::Split => "split",
            Self::Shatter => "shatter",
            Self::DaemonKill => "daemon-kill",
            Self::DaemonPause => "daemon-pause",
        }
    }

    /// True if it needs nodes of their own.
    pub const fn needs_nodes(self) -> bool {
        matches!(self, Self::Split | Self::Shatter) || self.needs_daemons()
    }

    /// True if it needs Corosync daemons.
    pub const fn needs_daemons(self) -> bool {
        matches!(self, Self::DaemonKill | Self::DaemonPause)
    }

    /// Begins it.
    ///
    /// # Errors
    /// [`ProcessError`] if the network cannot be changed.
    pub fn begin(self, cluster: &mut Cluster, at: usize) -> Result<(), ProcessError> {
        let (nodes, node) = (cluster.len() as u32, at as u32 + 1);
        match self {
            Self::Kill => cluster.kill(at),
            Self::Stop => cluster.stop(at),
            Self::KillAll => (0..cluster.len()).for_each(|at| cluster.kill(at)),
            Self::Pause => {
                if let Some(process) = cluster.process(at) {
                    process.pause();
                }
            }
            Self::Split => {
                let others: Vec<u32> = (1..=nodes).filter(|other| *other != node).collect();
                if let Some(world) = cluster.world() {
                    world.net().partition(&[&others])?;
                }
            }
            Self::Shatter => {
                if let Some(world) = cluster.world() {
                    world.net().partition(&[])?;
                }
            }
            Self::DaemonKill => {
                if let Some((daemons, _)) = cluster.world().and_then(|world| world.daemons()) {
                    daemons.kill(node);
                }
            }
            Self::DaemonPause => {
                if let Some((daemons, _)) = cluster.world().and_then(|world| world.daemons()) {
                    daemons.pause(node);
                }
            }
        }
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    /// [`ProcessError`] if the server cannot be started again.
    pub fn end(self, cluster: &mut Cluster, at: usize) -> Result<(), ProcessError> {
        let node = at as u32 + 1;
        match self {
            Self::Kill | Self::Stop => cluster.restart(at)?,
            Self::KillAll => (0..cluster.len()).try_for_each(|at| cluster.restart(at))?,
            Self::Pause => {
                if let Some(process) = cluster.process(at) {
                    process.resume();
                }
            }
            Self::Split | Self::Shatter => {
                if let Some(world) = cluster.world() {
                    world.net().heal()?;
                }
            }
            Self::DaemonKill => {
                if let Some((daemons, net)) = cluster.world().and_then(|world| world.daemons()) {
                    daemons.restart(net, node)?;
                }
            }
            Self::DaemonPause => {
                if let Some((daemons, _)) = cluster.world().and_then(|world| world.daemons()) {
                    daemons.resume(node);
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Fault {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|fault| fault.name() == name);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("unknown fault {name:?}: known are {names}")
        })
    }
}
