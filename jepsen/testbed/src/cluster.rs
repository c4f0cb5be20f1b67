//! A cluster of server processes on this machine: on the loopback interface, or on nodes of their
//! own.
//!
//! A cluster on the loopback interface has an address of its own there, and ports that the system
//! chose on it. Nobody else uses that address: a port stays free while a server is down.

use crate::leftovers::{Claim, sweep_dirs};
use crate::nodes::{GroupChoice, Nodes};
use crate::process::{Process, ProcessError, tail};
use crate::spawn;
use crate::system::{Launch, Layout, Place, System};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take until it listens.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(60);
/// How often we look whether something has come about.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// How a cluster is set up, whatever its system.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// How many servers.
    pub servers: usize,
    /// How many of them are there from the start; the others are to join later.
    pub initial: usize,
    /// True if they keep what they acknowledged on disk.
    pub persistent: bool,
    /// The directory for the cluster's own; None: that for temporary files.
    pub base: Option<PathBuf>,
    /// What the name of the cluster's directory begins with.
    pub prefix: String,
}

impl Default for ClusterOptions {
    /// Three servers in memory mode.
    fn default() -> Self {
        let prefix = "accord-cluster-".to_owned();
        Self { servers: 3, initial: usize::MAX, persistent: false, base: None, prefix }
    }
}

/// A cluster of server processes. Dropping it ends them all, and removes their files.
#[derive(Debug)]
pub struct Cluster {
    system: Arc<dyn System>,
    layout: Layout,
    // In this order: what runs is ended before the nodes are, and before the files are removed.
    servers: Vec<Server>,
    nodes: Option<Nodes>,
    _claim: Claim,
    dir: TempDir,
}

#[derive(Debug)]
struct Server {
    launch: Launch,
    log: PathBuf,
    process: Option<Process>,
}

impl Cluster {
    /// Starts a new cluster on the loopback interface, and waits until its servers listen. It forms
    /// once all servers are up.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn start(
        system: impl System + 'static,
        options: &ClusterOptions,
    ) -> Result<Self, ProcessError> {
        Self::start_in(None, system, options)
    }

    /// Starts a new cluster on nodes of their own, as many as it has servers.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn start_in(
        mut nodes: Option<Nodes>,
        system: impl System + 'static,
        options: &ClusterOptions,
    ) -> Result<Self, ProcessError> {
        spawn::prepare();
        let base = options.base.clone().unwrap_or_else(std::env::temp_dir);
        sweep_dirs(&base, &options.prefix);
        let made = TempDir::with_prefix_in(&options.prefix, &base);
        let dir = made.map_err(ProcessError::file(&base))?;
        let claim = Claim::of_dir(dir.path()).map_err(ProcessError::file(dir.path()))?;
        if let Some(nodes) = &mut nodes {
            nodes.start_daemons(dir.path())?;
        }
        let (count, ports) = (options.servers, system.ports());
        let places = match &nodes {
            Some(nodes) => (0..count).map(|at| nodes.place(at, ports)).collect(),
            None => loopback(count, ports)
                .map_err(ProcessError::file(Path::new("a port of the loopback interface")))?,
        };
        let layout = Layout {
            dir: dir.path().to_owned(),
            places,
            initial: options.initial.min(count),
            persistent: options.persistent,
            group: nodes.as_ref().map_or(GroupChoice::Ring, Nodes::group),
        };
        let mut servers = Vec::new();
        for at in 0..count {
            let launch = system.prepare(&layout, at)?;
            let log = dir.path().join(&launch.log);
            servers.push(Server { launch, log, process: None });
        }
        let system = Arc::new(system);
        let mut cluster = Self { system, layout, servers, nodes, _claim: claim, dir };
        // All at once: some take seconds until they listen.
        (0..cluster.layout.initial).try_for_each(|at| cluster.launch(at, true))?;
        (0..cluster.layout.initial).try_for_each(|at| cluster.wait_until_it_listens(at))?;
        Ok(cluster)
    }

    fn launch(&mut self, at: usize, first: bool) -> Result<(), ProcessError> {
        let Server { launch, log, process } = &mut self.servers[at];
        let program = &launch.program;
        let failed = |error| ProcessError::Spawn {
            program: program.clone(),
            error,
            hint: self.system.hint(),
        };
        // It is started in another directory, and what starts it does not tell as well that it is
        // not there.
        let program = &std::path::absolute(program).map_err(failed)?;
        std::fs::metadata(program).map_err(failed)?;
        let mut command = match &self.nodes {
            Some(nodes) => nodes.command(at, program),
            None => spawn::command(program),
        };
        command.args(&launch.args).current_dir(self.dir.path());
        command.args(if first { &launch.first_args[..] } else { &[] });
        *process = Some(Process::start(command, log).map_err(failed)?);
        Ok(())
    }

    fn wait_until_it_listens(&mut self, at: usize) -> Result<(), ProcessError> {
        let deadline = Instant::now() + LISTEN_TIMEOUT;
        loop {
            let ended = self.process(at).is_none_or(|process| process.ended().is_some());
            let log = || tail(&self.servers[at].log);
            let system = self.system.name();
            if ended {
                return Err(ProcessError::Ended { system, log: log() });
            }
            if self.inside(|| self.system.listens(&self.layout, at))? {
                return Ok(());
            }
            if Instant::now() > deadline {
                let (what, span) = ("a server does not listen", LISTEN_TIMEOUT);
                return Err(ProcessError::Late { system, what, span, log: log() });
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// True if all servers serve, and the cluster has all the redundancy that it can have.
    pub fn is_ready(&self) -> bool {
        self.inside(|| self.system.is_ready(&self.layout)).unwrap_or(false)
    }

    /// The same as a question that may be asked from another thread, which must be able to reach
    /// the servers.
    pub fn readiness(&self) -> impl Fn() -> bool + Send + 'static {
        let (system, layout) = (self.system.clone(), self.layout.clone());
        move || system.is_ready(&layout)
    }

    /// Waits until the cluster is ready, unless a server ends.
    ///
    /// # Errors
    /// [`ProcessError::Ended`] or [`ProcessError::Late`], with the ends of the logs.
    pub fn wait_until_ready(&mut self, span: Duration) -> Result<(), ProcessError> {
        let deadline = Instant::now() + span;
        let system = self.system.name();
        while !self.is_ready() {
            if (0..self.layout.initial).any(|at| !self.is_up(at)) {
                return Err(ProcessError::Ended { system, log: self.log_tails() });
            }
            if Instant::now() > deadline {
                let (what, log) = ("the servers do not serve", self.log_tails());
                return Err(ProcessError::Late { system, what, span, log });
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Its system.
    pub fn system(&self) -> &dyn System {
        &*self.system
    }

    /// How many servers there are, up or not.
    pub const fn len(&self) -> usize {
        self.servers.len()
    }

    /// True if there are none.
    pub const fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// True if the servers keep what they acknowledged on disk.
    pub const fn is_persistent(&self) -> bool {
        self.layout.persistent
    }

    /// The nodes that it runs on, if it is not on the loopback interface.
    pub const fn nodes(&mut self) -> Option<&mut Nodes> {
        self.nodes.as_mut()
    }

    /// The numbers of the processes that its servers need besides.
    pub fn daemon_pids(&self) -> Vec<u32> {
        self.nodes.as_ref().map(Nodes::daemon_pids).unwrap_or_default()
    }

    /// The numbers of its servers' processes.
    pub fn pids(&self) -> Vec<u32> {
        self.servers.iter().filter_map(|server| server.process.as_ref()).map(Process::id).collect()
    }

    /// Does something where its servers can be reached. What was opened there stays there.
    ///
    /// # Errors
    /// If that place is gone.
    pub fn inside<T>(&self, act: impl FnOnce() -> T) -> Result<T, ProcessError> {
        match &self.nodes {
            Some(nodes) => Ok(nodes.net().among_clients(act)?),
            None => Ok(act()),
        }
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where clients connect, by server.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        (0..self.len()).map(|at| self.layout.client(at)).collect()
    }

    /// Where the other servers reach one.
    pub fn peer_address(&self, at: usize) -> SocketAddr {
        self.layout.peer(at)
    }

    /// Where a server tells what it counts, if it does.
    pub fn metrics_address(&self, at: usize) -> Option<SocketAddr> {
        self.system.metrics_port().map(|port| self.layout.at(at, port))
    }

    /// A server's process, if it was started.
    pub fn process(&mut self, at: usize) -> Option<&mut Process> {
        self.servers[at].process.as_mut()
    }

    /// True if a server's process runs: it was started, and has not ended by itself.
    pub fn is_up(&mut self, at: usize) -> bool {
        self.process(at).is_some_and(|process| process.ended().is_none())
    }

    /// Kills a server, if it is up.
    pub fn kill(&mut self, at: usize) {
        if let Some(process) = self.servers[at].process.take() {
            process.kill();
        }
    }

    /// Holds a server, if it is up.
    pub fn pause(&mut self, at: usize) {
        self.process(at).into_iter().for_each(Process::pause);
    }

    /// Lets a server go on.
    pub fn resume(&mut self, at: usize) {
        self.process(at).into_iter().for_each(Process::resume);
    }

    /// Asks a server to stop in order, if it is up, and waits. False if it had to be killed, or
    /// ended with an error.
    pub fn stop(&mut self, at: usize) -> bool {
        let Some(process) = self.servers[at].process.take() else { return true };
        process.stop().is_some_and(|status| self.system.is_orderly(status))
    }

    /// Starts a server again, if it is down, and waits until it listens. It comes back with what
    /// its disk has.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn restart(&mut self, at: usize) -> Result<(), ProcessError> {
        if self.is_up(at) {
            return Ok(());
        }
        self.launch(at, false)?;
        self.wait_until_it_listens(at)
    }

    /// Where a server keeps what must survive it.
    pub fn data_dir(&self, at: usize) -> PathBuf {
        self.system.data(self.dir.path(), at)
    }

    /// The file with what a server said.
    pub fn log(&self, at: usize) -> &Path {
        &self.servers[at].log
    }

    /// The ends of all servers' logs, for reports.
    pub fn log_tails(&self) -> String {
        let mut text = String::new();
        for (at, server) in self.servers.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "--- server {}\n{}", at + 1, tail(&server.log));
        }
        text + &self.nodes.as_ref().map(Nodes::log_tails).unwrap_or_default()
    }

    /// The first server's command line and configuration, for the record.
    pub fn description(&self) -> String {
        let Some(Server { launch, .. }) = self.servers.first() else { return String::new() };
        let (args, first) = (launch.args.join(" "), launch.first_args.join(" "));
        let line = format!("{} {args} {first}", launch.program.display());
        format!("{}\n{}", line.trim_end(), launch.configuration).trim_end().to_owned()
    }

    /// Removes what servers have written and do not need, if they do not do so themselves.
    pub fn tidy(&self) {
        self.system.tidy(self.dir());
    }
}

/// Places on an address of the loopback interface that is drawn, with ports that the system chooses
/// there. A system that has no more of such addresses than one gets ports on that.
fn loopback(servers: usize, ports: usize) -> std::io::Result<Vec<Place>> {
    let mut drawn = [0; 3];
    getrandom::fill(&mut drawn).map_err(std::io::Error::other)?;
    // Not the first and the last of all, and not those near the one that everybody uses.
    let [a, b, c] = [drawn[0] | 1, drawn[1], drawn[2].clamp(1, 254)];
    let own = Ipv4Addr::new(127, a, b, c);
    let address = match TcpListener::bind((own, 0)) {
        Ok(_) => IpAddr::V4(own),
        Err(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    // Held until all are chosen, so that none is chosen twice.
    let mut held = Vec::new();
    for _ in 0..servers * ports {
        held.push(free(address)?);
    }
    let chosen: Vec<u16> = held.iter().map(|(_, _, port)| *port).collect();
    Ok(chosen.chunks(ports).map(|ports| Place { address, ports: ports.to_vec() }).collect())
}

/// A port that is free for streams and for datagrams.
fn free(address: IpAddr) -> std::io::Result<(TcpListener, UdpSocket, u16)> {
    const ATTEMPTS: usize = 100;
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrInUse);
    for _ in 0..ATTEMPTS {
        let stream = TcpListener::bind((address, 0))?;
        let port = stream.local_addr()?.port();
        match UdpSocket::bind((address, port)) {
            Ok(datagrams) => return Ok((stream, datagrams, port)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// A system whose servers are a shell command.
    #[derive(Debug)]
    struct Script(&'static str);

    impl System for Script {
        fn name(&self) -> &'static str {
            "script"
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
            let program = spawn::find("sh").expect("every Unix has it");
            let args = vec!["-c".to_owned(), self.0.to_owned()];
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
            false
        }
    }

    #[test]
    fn servers_end_and_files_go_when_a_cluster_is_dropped() {
        let cluster = Cluster::start(Script("exec sleep 600"), &ClusterOptions::default());
        let mut cluster = cluster.expect("it starts");
        let (pids, dir) = (cluster.pids(), cluster.dir().to_owned());
        assert_eq!((pids.len(), dir.exists()), (3, true));
        assert!((0..3).all(|at| cluster.is_up(at)));
        cluster.kill(1);
        assert!(!cluster.is_up(1) && cluster.is_up(2));
        cluster.restart(1).expect("it starts again");
        assert!(cluster.is_up(1));
        let again = cluster.pids();
        drop(cluster);
        assert!(pids.iter().chain(&again).all(|pid| !crate::process::is_alive(*pid)));
        assert!(!dir.exists());
    }

    #[test]
    fn a_server_that_ends_is_told_with_its_log() {
        let script = Script("echo no such flag >&2; exit 3");
        let started = Cluster::start(script, &ClusterOptions::default());
        let error = match started {
            // It may end only after it was looked at.
            Ok(mut cluster) => cluster.wait_until_ready(Duration::from_secs(30)).expect_err("ends"),
            Err(error) => error,
        };
        assert!(matches!(error, ProcessError::Ended { .. }), "{error}");
        assert!(error.to_string().contains("no such flag"), "{error}");
    }

    #[test]
    fn a_server_that_does_not_stop_in_order_is_told() {
        let script = Script("exec sleep 600");
        let mut cluster = Cluster::start(script, &ClusterOptions::default()).expect("it starts");
        assert!(!cluster.stop(0), "the signal ended it");
        assert!(cluster.stop(0), "it is down");
    }

    #[test]
    fn places_of_a_cluster_share_no_port() {
        let places = loopback(5, 3).expect("there are ports");
        let ports: BTreeSet<u16> = places.iter().flat_map(|place| place.ports.clone()).collect();
        assert_eq!(ports.len(), 15);
        assert!(places.iter().all(|place| place.address.is_loopback()));
    }
}
