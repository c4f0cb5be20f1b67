//! What is done to the servers while clients work.

use accord_testbed::cluster::Cluster;
use accord_testbed::corosync::Daemons;
use accord_testbed::netns::Net;
use accord_testbed::nodes::Nodes;
use accord_testbed::process::ProcessError;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Whether a fault took place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It hit what it was meant for.
    Installed,
    /// It hit nothing, for this reason: no round of faults.
    Skipped(String),
}

impl Begun {
    /// [`Self::Installed`], or skipped for a reason.
    fn installed_if(installed: bool, why_not: impl FnOnce() -> String) -> Self {
        if installed { Self::Installed } else { Self::Skipped(why_not()) }
    }
}

/// Why nobody can say whether a fault took place.
#[derive(Debug, Error)]
pub enum FaultError {
    /// A server could not be run, or the network not be changed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A server that was asked to stop had to be killed, or ended with an error.
    #[error("a server was asked to stop, and had to be killed or failed")]
    NotStopped,
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

    /// Begins it, and says whether it hit what it was meant for.
    ///
    /// # Errors
    /// [`FaultError`].
    pub fn begin(self, cluster: &mut Cluster, at: usize) -> Result<Begun, FaultError> {
        if let Some(why) = self.nothing_to_hit(cluster, at) {
            return Ok(Begun::Skipped(why));
        }
        let node = at as u32 + 1;
        match self {
            Self::Kill => cluster.kill(at),
            Self::Stop if cluster.stop(at) => {}
            Self::Stop => return Err(FaultError::NotStopped),
            // None of them is spared because another was dead: that was looked at before.
            Self::KillAll => (0..cluster.len()).for_each(|at| cluster.kill(at)),
            Self::Pause => cluster.pause(at),
            Self::Split | Self::Shatter => {
                let nodes = 1..=cluster.len() as u32;
                let others: Vec<u32> = nodes.filter(|other| *other != node).collect();
                let parts: &[&[u32]] = if self == Self::Split { &[&others] } else { &[] };
                if let Some(nodes) = cluster.nodes() {
                    nodes.net().partition(parts).map_err(ProcessError::from)?;
                }
            }
            Self::DaemonKill => {
                daemons(cluster).into_iter().for_each(|(daemons, _)| daemons.kill(node));
            }
            Self::DaemonPause => {
                daemons(cluster).into_iter().for_each(|(daemons, _)| daemons.pause(node));
            }
        }
        Ok(Begun::Installed)
    }

    /// Why there is nothing for it to hit, if so.
    fn nothing_to_hit(self, cluster: &mut Cluster, at: usize) -> Option<String> {
        let down = |at: usize| format!("server {} does not run", at + 1);
        match self {
            Self::Kill | Self::Stop | Self::Pause => (!cluster.is_up(at)).then(|| down(at)),
            Self::KillAll => (0..cluster.len()).find(|at| !cluster.is_up(*at)).map(down),
            Self::Split | Self::Shatter => match cluster.nodes() {
                None => Some("the servers have no nodes of their own".to_owned()),
                Some(_) => None,
            },
            Self::DaemonKill | Self::DaemonPause => {
                match daemons(cluster).map(|(daemons, _)| daemons.is_up(at as u32 + 1)) {
                    None => Some("there are no Corosync daemons".to_owned()),
                    Some(true) => None,
                    Some(false) => Some(format!("the daemon of server {} does not run", at + 1)),
                }
            }
        }
    }

    /// Whether what it hit is still as it left it: nobody started it again, and it did not end.
    pub fn holds(self, cluster: &mut Cluster, at: usize) -> Begun {
        let server = at + 1;
        let daemon_up = |cluster: &mut Cluster| {
            daemons(cluster).is_some_and(|(daemons, _)| daemons.is_up(server as u32))
        };
        match self {
            Self::Kill | Self::Stop => Begun::installed_if(!cluster.is_up(at), || {
                format!("server {server} was started meanwhile")
            }),
            Self::KillAll => {
                let up = (0..cluster.len()).find(|at| cluster.is_up(*at));
                Begun::installed_if(up.is_none(), || "a server was started meanwhile".to_owned())
            }
            Self::Pause => {
                let still =
                    cluster.is_up(at) && cluster.process(at).is_some_and(|it| it.stands_still());
                Begun::installed_if(still, || format!("server {server} did not stand still"))
            }
            Self::Split | Self::Shatter => Begun::Installed,
            Self::DaemonKill => Begun::installed_if(!daemon_up(cluster), || {
                format!("the daemon of server {server} was started meanwhile")
            }),
            Self::DaemonPause => Begun::installed_if(daemon_up(cluster), || {
                format!("the daemon of server {server} ended meanwhile")
            }),
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
            Self::Pause => cluster.resume(at),
            Self::Split | Self::Shatter => {
                if let Some(nodes) = cluster.nodes() {
                    nodes.net().heal()?;
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

fn daemons(cluster: &mut Cluster) -> Option<(&mut Daemons, &Net)> {
    cluster.nodes().and_then(Nodes::daemons)
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
    use accord_testbed::cluster::ClusterOptions;
    use accord_testbed::spawn::find;
    use accord_testbed::system::{Launch, Layout, System};
    use std::path::{Path, PathBuf};

    /// Processes that only look like servers.
    #[derive(Debug)]
    struct Sleep;

    impl System for Sleep {
        fn name(&self) -> &'static str {
            "sleep"
        }
        fn hint(&self) -> &'static str {
            "Every Unix has it"
        }
        fn ports(&self) -> usize {
            2
        }
        fn metrics_port(&self) -> Option<usize> {
            None
        }
        fn prepare(&self, _: &Layout, at: usize) -> Result<Launch, ProcessError> {
            let program = find("sleep").expect("every Unix has it");
            let args = vec!["600".to_owned()];
            let (first_args, configuration) = Default::default();
            Ok(Launch { program, args, first_args, log: format!("{at}.log"), configuration })
        }
        fn data(&self, dir: &Path, at: usize) -> PathBuf {
            dir.join(at.to_string())
        }
        fn listens(&self, _: &Layout, _: usize) -> bool {
            true
        }
        fn is_ready(&self, _: &Layout) -> bool {
            true
        }
    }

    fn cluster() -> Cluster {
        let options = ClusterOptions { servers: 2, ..ClusterOptions::default() };
        Cluster::start(Sleep, &options).expect("it starts")
    }

    fn begin(fault: Fault, cluster: &mut Cluster, at: usize) -> Begun {
        fault.begin(cluster, at).expect("no network is changed")
    }

    #[test]
    fn a_fault_hits_what_runs_and_nothing_else() {
        let cluster = &mut cluster();
        assert_eq!(begin(Fault::Kill, cluster, 0), Begun::Installed);
        assert_eq!(Fault::Kill.holds(cluster, 0), Begun::Installed);
        for fault in [Fault::Kill, Fault::Pause, Fault::Stop, Fault::KillAll] {
            let why = "server 1 does not run".to_owned();
            assert_eq!(begin(fault, cluster, 0), Begun::Skipped(why), "{fault} of what is dead");
        }
        assert!(cluster.is_up(1), "kill-all of some is none");
        let moves = Fault::Pause.holds(cluster, 0);
        assert_eq!(moves, Begun::Skipped("server 1 did not stand still".to_owned()));
        Fault::Kill.end(cluster, 0).expect("it is started again");
        assert_ne!(Fault::Kill.holds(cluster, 0), Begun::Installed, "it is there again");
        assert_eq!(begin(Fault::KillAll, cluster, 0), Begun::Installed);
        assert_eq!(Fault::KillAll.holds(cluster, 0), Begun::Installed);
    }

    #[test]
    fn a_pause_holds_until_it_ends() {
        let cluster = &mut cluster();
        assert_eq!(begin(Fault::Pause, cluster, 1), Begun::Installed);
        // The system stops a process soon after it was told to, not at once.
        while Fault::Pause.holds(cluster, 1) != Begun::Installed {
            std::thread::yield_now();
        }
        Fault::Pause.end(cluster, 1).expect("it goes on");
        while Fault::Pause.holds(cluster, 1) == Begun::Installed {
            std::thread::yield_now();
        }
        cluster.kill(1);
        assert_ne!(Fault::Pause.holds(cluster, 1), Begun::Installed);
    }

    #[test]
    fn a_server_that_does_not_stop_in_order_is_an_error() {
        // It ends by the signal and not with code 0.
        let error = Fault::Stop.begin(&mut cluster(), 0).expect_err("it is no server");
        assert!(matches!(error, FaultError::NotStopped), "{error}");
    }

    #[test]
    fn what_needs_nodes_or_daemons_says_so_without_them() {
        let cluster = &mut cluster();
        for fault in Fault::ALL.into_iter().filter(|fault| fault.needs_nodes()) {
            let begun = begin(fault, cluster, 0);
            let why = match fault.needs_daemons() {
                true => "there are no Corosync daemons",
                false => "the servers have no nodes of their own",
            };
            assert_eq!(begun, Begun::Skipped(why.to_owned()), "{fault}");
        }
    }
}
