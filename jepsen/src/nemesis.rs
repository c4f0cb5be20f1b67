//! What is done to the servers while clients work.

use crate::cluster::Cluster;
use crate::corosync::Daemons;
use crate::netns::Net;
use crate::process::{ProcessError, ServerProcess};
use crate::world::World;
use std::fmt;
use std::str::FromStr;

/// What a fault hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// What it was meant for.
    Hit,
    /// Nothing: there was nothing to be hit, such as a process that had ended. No round of faults.
    Nothing,
    /// A server that was asked to stop, and had to be killed or ended with an error.
    Unruly,
}

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

    /// The name in histories and on the command line.
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

    /// Begins it, and says what it hit.
    ///
    /// # Errors
    /// [`ProcessError`] if the network cannot be changed.
    pub fn begin(self, cluster: &mut Cluster, at: usize) -> Result<Hit, ProcessError> {
        let (nodes, node) = (cluster.len() as u32, at as u32 + 1);
        let hit = match self {
            Self::Kill => kill(cluster, at),
            Self::Stop if !cluster.is_up(at) => false,
            Self::Stop if !cluster.stop(at) => return Ok(Hit::Unruly),
            Self::Stop => true,
            Self::KillAll => {
                // None of them is spared because another was dead.
                let killed = (0..cluster.len()).filter(|at| kill(cluster, *at)).count();
                killed == cluster.len()
            }
            Self::Pause => {
                let up = cluster.is_up(at);
                cluster.process(at).into_iter().for_each(ServerProcess::pause);
                up
            }
            Self::Split | Self::Shatter => match cluster.world() {
                None => false,
                Some(world) => {
                    let others: Vec<u32> = (1..=nodes).filter(|other| *other != node).collect();
                    let parts: &[&[u32]] = if self == Self::Split { &[&others] } else { &[] };
                    world.net().partition(parts)?;
                    true
                }
            },
            Self::DaemonKill | Self::DaemonPause => match daemons(cluster) {
                None => false,
                Some((daemons, _)) => {
                    let up = daemons.is_up(node);
                    if self == Self::DaemonKill {
                        daemons.kill(node)
                    } else {
                        daemons.pause(node)
                    }
                    up
                }
            },
        };
        Ok(if hit { Hit::Hit } else { Hit::Nothing })
    }

    /// True if what it hit is still as it left it: nobody started it again, and it did not end.
    pub fn holds(self, cluster: &mut Cluster, at: usize) -> bool {
        match self {
            Self::Kill | Self::Stop => !cluster.is_up(at),
            Self::KillAll => (0..cluster.len()).all(|at| !cluster.is_up(at)),
            Self::Pause => {
                cluster.is_up(at) && cluster.process(at).is_some_and(|it| it.stands_still())
            }
            Self::Split | Self::Shatter => true,
            Self::DaemonKill => daemons(cluster).is_some_and(|(it, _)| !it.is_up(at as u32 + 1)),
            Self::DaemonPause => daemons(cluster).is_some_and(|(it, _)| it.is_up(at as u32 + 1)),
        }
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
                if let Some((daemons, net)) = daemons(cluster) {
                    daemons.restart(net, node)?;
                }
            }
            Self::DaemonPause => {
                if let Some((daemons, _)) = daemons(cluster) {
                    daemons.resume(node);
                }
            }
        }
        Ok(())
    }
}

/// Kills a server. False if it did not run.
fn kill(cluster: &mut Cluster, at: usize) -> bool {
    let up = cluster.is_up(at);
    cluster.kill(at);
    up
}

fn daemons(cluster: &mut Cluster) -> Option<(&mut Daemons, &Net)> {
    cluster.world().and_then(World::daemons)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ClusterOptions;

    /// Two processes that only look like servers.
    fn cluster(program: &str) -> Result<Cluster, ProcessError> {
        let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let program = here.join("tests/fake").join(program);
        Cluster::start(ClusterOptions { servers: 2, ..ClusterOptions::new(program) })
    }

    #[test]
    fn a_fault_hits_what_runs_and_nothing_else() {
        let cluster = &mut cluster("serves.sh").expect("it listens");
        assert_eq!(Fault::Kill.begin(cluster, 0).expect("no network"), Hit::Hit);
        assert!(Fault::Kill.holds(cluster, 0));
        for fault in [Fault::Kill, Fault::Pause, Fault::Stop, Fault::KillAll] {
            let hit = fault.begin(cluster, 0).expect("no network");
            assert_eq!(hit, Hit::Nothing, "{fault} of what is dead");
        }
        assert!(!Fault::Pause.holds(cluster, 0), "what is dead does not stand still");
        Fault::Kill.end(cluster, 0).expect("it is started again");
        assert!(!Fault::Kill.holds(cluster, 0), "it is there again");
        Fault::KillAll.end(cluster, 0).expect("the other as well");
        assert_eq!(Fault::KillAll.begin(cluster, 0).expect("no network"), Hit::Hit);
        assert!(Fault::KillAll.holds(cluster, 0));
    }

    #[test]
    fn a_pause_holds_until_it_ends() {
        let cluster = &mut cluster("serves.sh").expect("it listens");
        assert_eq!(Fault::Pause.begin(cluster, 1).expect("no network"), Hit::Hit);
        // The system stops a process soon after it was told to, not at once.
        while !Fault::Pause.holds(cluster, 1) {
            std::thread::yield_now();
        }
        Fault::Pause.end(cluster, 1).expect("it goes on");
        while Fault::Pause.holds(cluster, 1) {
            std::thread::yield_now();
        }
        cluster.kill(1);
        assert!(!Fault::Pause.holds(cluster, 1));
    }

    #[test]
    fn a_server_that_does_not_stop_in_order_is_unruly() {
        // The script ends by the signal and not with code 0.
        let cluster = &mut cluster("serves.sh").expect("it listens");
        assert_eq!(Fault::Stop.begin(cluster, 0).expect("no network"), Hit::Unruly);
    }

    #[test]
    fn what_needs_nodes_or_daemons_hits_nothing_without_them() {
        let cluster = &mut cluster("serves.sh").expect("it listens");
        for fault in Fault::ALL.into_iter().filter(|fault| fault.needs_nodes()) {
            assert_eq!(fault.begin(cluster, 0).expect("no network"), Hit::Nothing, "{fault}");
        }
    }

    #[test]
    fn a_server_that_ends_before_it_listens_is_told_with_its_log() {
        let error = cluster("ends.sh").expect_err("it ends");
        assert!(matches!(error, ProcessError::Ended { .. }), "{error}");
        assert!(error.to_string().contains("the disk is full"), "{error}");
    }
}
