//! What is done to the servers while clients work.

use crate::cluster::Cluster;
use crate::process::ProcessError;
use std::fmt;
use std::str::FromStr;

/// A fault of one server.
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
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Kill, Self::Pause, Self::Stop, Self::KillAll];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Stop => "stop",
            Self::KillAll => "kill-all",
        }
    }

    /// Begins it.
    pub fn begin(self, cluster: &mut Cluster, at: usize) {
        match self {
            Self::Kill => cluster.kill(at),
            Self::Stop => cluster.stop(at),
            Self::KillAll => (0..cluster.len()).for_each(|at| cluster.kill(at)),
            Self::Pause => {
                if let Some(process) = cluster.process(at) {
                    process.pause();
                }
            }
        }
    }

    /// Ends it.
    ///
    /// # Errors
    /// [`ProcessError`] if the server cannot be started again.
    pub fn end(self, cluster: &mut Cluster, at: usize) -> Result<(), ProcessError> {
        match self {
            Self::Kill | Self::Stop => cluster.restart(at),
            Self::KillAll => (0..cluster.len()).try_for_each(|at| cluster.restart(at)),
            Self::Pause => {
                if let Some(process) = cluster.process(at) {
                    process.resume();
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|fault| fault.name() == name);
        known.ok_or_else(|| {
            format!("unknown fault {name:?}: known are kill, pause, stop and kill-all")
        })
    }
}
