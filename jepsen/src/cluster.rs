//! A cluster of server processes on this machine, on ports that the system chose.

use crate::process::{ProcessError, ServerProcess};
use crate::world::{GroupChoice, World};
use accord_core::time::Duration;
use accord_net::client::{Client, ClientOptions, ConnectError};
use accord_net::env::real::{Real, draw};
use accord_net::operator::{OperatorClient, StatusReport};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// How a cluster is set up.
#[derive(Clone, Debug, Default)]
pub struct ClusterOptions {
    /// The `accord` program.
    pub program: PathBuf,
    /// How many servers.
    pub servers: u32,
    /// How many of them are there from the start; the others are to join later.
    pub initial: u32,
    /// True if they keep their state on disk.
    pub persistent: bool,
    /// Lines for every server's configuration file, above its sections.
    pub extra: String,
    /// Sections for every server's configuration file, at its end.
    pub sections: String,
}

impl ClusterOptions {
    /// Three servers in memory mode.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let program = program.into();
        Self { program, servers: 3, initial: u32::MAX, ..Self::default() }
    }
}

/// A cluster of server processes. Dropping it ends them all.
#[derive(Debug)]
pub struct Cluster {
    options: ClusterOptions,
    // In this order: what runs is ended before the nodes are, and before the files are removed.
    members: Vec<Member>,
    world: Option<World>,
    dir: TempDir,
}

#[derive(Debug)]
struct Member {
    config: PathBuf,
    log: PathBuf,
    client_addr: SocketAddr,
    ring_addr: SocketAddr,
    process: Option<ServerProcess>,
}

/// A port of the loopback interface that nobody uses now, neither for streams nor for datagrams.
fn free_addr() -> std::io::Result<SocketAddr> {
    Ok(([127, 0, 0, 1], accord_net::ports::free(1)?[0]).into())
}

impl Cluster {
    /// Starts a new cluster. It forms once all servers are up.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn start(options: ClusterOptions) -> Result<Self, ProcessError> {
        Self::start_in(None, options)
    }

    /// Starts a new cluster on nodes of their own, as many as it has servers.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn start_in(
        mut world: Option<World>,
        options: ClusterOptions,
    ) -> Result<Self, ProcessError> {
        let file = |path: &Path| {
            let path = path.to_owned();
            move |error| ProcessError::File { path, error }
        };
        let dir = TempDir::with_prefix("accord-cluster-").map_err(file(Path::new("TMPDIR")))?;
        let port = |_| free_addr().map_err(file(Path::new("127.0.0.1:0")));
        if let Some(world) = &mut world {
            world.start_daemons(dir.path())?;
        }
        let (mut clients, mut rings) = (Vec::new(), Vec::new());
        for at in 0..options.servers {
            let (client, ring) = match &world {
                Some(world) => world.addresses(at as usize),
                None => (port(at)?, port(at)?),
            };
            clients.push(client);
            rings.push(ring);
        }
        let group = world.as_ref().map_or(GroupChoice::Ring, World::group);
        let key: String = (0..4).map(|_| format!("{:016x}", draw())).collect();
        let mut members = Vec::new();
        for (at, client_addr) in clients.into_iter().enumerate() {
            let config = dir.path().join(format!("accord-{}.toml", at + 1));
            let mut extra = options.extra.clone();
            if options.persistent {
                let data = dir.path().join(format!("data-{}", at + 1));
                let _ = write!(extra, "mode = \"persistent\"\ndata_dir = {data:?}\n");
            }
            // Who joins later lists those before it; those before it are told by an operator.
            let listed = rings.len().min((options.initial as usize).max(at + 1));
            let solo = rings.len() == 1 && group == GroupChoice::Ring;
            let group = if solo { "solo" } else { group.name() };
            let mut text = configuration(at, client_addr, (group, &rings[..listed]), &key, &extra);
            text.push_str(&options.sections);
            std::fs::write(&config, text).map_err(file(&config))?;
            let log = dir.path().join(format!("accord-{}.log", at + 1));
            members.push(Member { config, log, client_addr, ring_addr: rings[at], process: None });
        }
        let mut cluster = Self { options, members, world, dir };
        for at in 0..cluster.members.len().min(cluster.options.initial as usize) {
            cluster.launch(at, &["--bootstrap"])?;
        }
        Ok(cluster)
    }

    fn launch(&mut self, at: usize, flags: &[&str]) -> Result<(), ProcessError> {
        let member = &mut self.members[at];
        let program = &self.options.program;
        let command = match &self.world {
            Some(world) => world.command(at, program),
            None => Command::new(program),
        };
        let process =
            ServerProcess::start_by(command, program, &member.config, flags, &member.log)?;
        member.process = Some(process);
        Ok(())
    }

    /// How many servers there are, up or not.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// True if the servers keep their state on disk.
    pub const fn is_persistent(&self) -> bool {
        self.options.persistent
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Where it runs, if not on this machine's loopback.
    pub const fn world(&mut self) -> Option<&mut World> {
        self.world.as_mut()
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where clients connect, by server.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.client_addr).collect()
    }

    /// Where the other servers reach one.
    pub fn ring_address(&self, at: usize) -> SocketAddr {
        self.members[at].ring_addr
    }

    /// A server's process, if it is up.
    pub fn process(&mut self, at: usize) -> Option<&mut ServerProcess> {
        self.members[at].process.as_mut()
    }

    /// Kills a server, if it is up.
    pub fn kill(&mut self, at: usize) {
        if let Some(process) = self.members[at].process.take() {
            process.kill();
        }
    }

    /// Stops a server without haste, if it is up. False if it had to be killed, or ended with an
    /// error.
    pub fn stop(&mut self, at: usize) -> bool {
        let Some(process) = self.members[at].process.take() else { return true };
        process.stop().is_some_and(|status| status.success())
    }

    /// True if a server's process runs: it was started, and has not ended by itself.
    pub fn is_up(&mut self, at: usize) -> bool {
        self.process(at).is_some_and(|process| process.ended().is_none())
    }

    /// Starts a server again, if it is down. It comes back with what its disk has.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn restart(&mut self, at: usize) -> Result<(), ProcessError> {
        if self.members[at].process.is_some() {
            return Ok(());
        }
        self.launch(at, &[])
    }

    /// Where a server keeps its state, if it is persistent.
    pub fn data_dir(&self, at: usize) -> PathBuf {
        self.dir.path().join(format!("data-{}", at + 1))
    }

    /// How a server is, if it answers.
    pub async fn status(&self, at: usize) -> Option<StatusReport> {
        let address = self.members[at].client_addr;
        OperatorClient::connect(&Real, address).await.ok()?.status().await.ok()
    }

    /// True if every server is up, votes with the memory it has, and has all of the log.
    pub async fn is_whole(&self) -> bool {
        for at in 0..self.members.len() {
            let Some(status) = self.status(at).await else { return false };
            let all = self.members.len();
            // A voter that has just come back with an empty memory is listed until it is exchanged.
            let votes = status.votes && status.returning.is_empty();
            let settled = status.primary && status.synced && votes;
            if !settled || status.voters.len() != all || status.members.len() != all {
                return false;
            }
        }
        true
    }

    /// The ends of all servers' logs, for reports.
    pub fn log_tails(&self) -> String {
        let mut text = String::new();
        for (at, member) in self.members.iter().enumerate() {
            let tail = member.process.as_ref().map(ServerProcess::log_tail).unwrap_or_default();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "--- server {}\n{tail}", at + 1);
        }
        text += &self.world.as_ref().map(World::log_tails).unwrap_or_default();
        text
    }

    /// How a client of this cluster is set up, that prefers the server at `at`.
    pub fn client_options(&self, at: usize) -> ClientOptions {
        let mut servers = self.addresses();
        servers.rotate_left(at % self.members.len());
        let mut options = ClientOptions::new(servers);
        options.connect_timeout = Duration::from_secs(30);
        options
    }

    /// A client of the whole cluster.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn client(&self) -> Result<Client, ConnectError> {
        Client::connect(self.client_options(0)).await
    }

    /// A client of one server alone.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn client_of(&self, at: usize) -> Result<Client, ConnectError> {
        let options = self.client_options(0);
        let servers = vec![self.members[at].client_addr.into()];
        Client::connect(ClientOptions { servers, ..options }).await
    }
}

fn configuration(
    at: usize,
    client: SocketAddr,
    (group, rings): (&str, &[SocketAddr]),
    key: &str,
    extra: &str,
) -> String {
    let mut text = format!(
        "id = {}\nclient_listen = \"{client}\"\nhttp_listen = \"off\"\nkey = \"{key}\"\n{extra}\n",
        at + 1
    );
    // Writing to a string cannot fail.
    let _ = writeln!(text, "group = \"{group}\"");
    if group == "solo" {
        return text;
    }
    for (at, ring) in rings.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n[[servers]]\nid = {}\nring = \"{ring}\"\n", at + 1);
    }
    text
}
