//! `accord-jepsen cluster`: clusters on nodes of their own, for tests, benches and people.

use crate::{fail, program};
use accord_jepsen::keeper;
use accord_jepsen::rounds::is_ready;
use accord_testbed::cluster::{Cluster, ClusterOptions};
use accord_testbed::corosync::DaemonOptions;
use accord_testbed::nodes::{GroupChoice, MTU, Nodes, NodesOptions};
use accord_testbed::say;
use accord_testbed::systems::accord::Accord;
use clap::{Args, Subcommand};
use nix::sys::signal::{SigSet, Signal};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How long the servers may take until they serve.
const TIMEOUT: Duration = Duration::from_secs(45);
/// How often that is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
pub struct ClusterArgs {
    #[command(subcommand)]
    command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// Start a cluster in the background, and print how to reach it.
    Up(UpArgs),
    /// End a cluster and remove all that is left of it, also after a crash.
    Down {
        /// Its name
        #[arg(long, default_value = "dev")]
        name: String,
    },
    /// What `up` starts in the background.
    #[command(hide = true)]
    Keep(UpArgs),
}

#[derive(Clone, Debug, Args)]
pub struct UpArgs {
    /// The accord program; by default the one beside this program
    #[arg(long)]
    accord: Option<PathBuf>,
    /// Its name: letters and digits
    #[arg(long, default_value = "dev")]
    name: String,
    /// Servers, each on a node of its own
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=9))]
    nodes: u32,
    /// By what they are a group
    #[arg(long, default_value = "ring", value_name = "ring|corosync")]
    group: GroupChoice,
    #[command(flatten)]
    node: NodeArgs,
    /// Keep the servers' state on disk
    #[arg(long)]
    persistent: bool,
    /// A line for every server's configuration, such as replica.frames_in_flight_max = 8
    #[arg(long = "set", value_name = "KEY = VALUE")]
    set: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub struct NodeArgs {
    /// The longest packet of the nodes' links, in bytes
    #[arg(long, default_value_t = MTU, value_parser = mtus())]
    mtu: u32,
    /// Corosync's token time-out, in milliseconds; a dead node is noticed after 2.2 times as long
    #[arg(long, default_value_t = 1000, value_parser = token_spans())]
    token_ms: u32,
    /// Encrypt and authenticate Corosync's packets
    #[arg(long)]
    crypto: bool,
}

fn mtus() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(576..=65_535)
}

fn token_spans() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(150..=60_000)
}

impl NodeArgs {
    /// Nodes of this name and number.
    pub fn options(&self, name: String, group: GroupChoice, nodes: u32) -> NodesOptions {
        let Self { mtu, token_ms, crypto } = *self;
        let daemons = DaemonOptions { token_ms, crypto, ..DaemonOptions::default() };
        NodesOptions { name, nodes, mtu, group, daemons }
    }
}

impl UpArgs {
    fn arguments(&self) -> Vec<String> {
        let group = match self.group {
            GroupChoice::Ring => "ring",
            GroupChoice::Corosync => "corosync",
        };
        let (nodes, mtu) = (self.nodes.to_string(), self.node.mtu.to_string());
        let token_ms = self.node.token_ms.to_string();
        let mut arguments = vec!["cluster", "keep", "--name", &self.name, "--group", group];
        arguments.extend(["--nodes", &nodes, "--mtu", &mtu, "--token-ms", &token_ms]);
        arguments.extend(self.node.crypto.then_some("--crypto"));
        arguments.extend(self.persistent.then_some("--persistent"));
        arguments.extend(self.set.iter().flat_map(|line| ["--set", line]));
        let mut arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        if let Some(accord) = &self.accord {
            // The keeper may have another directory.
            let accord = std::path::absolute(accord).unwrap_or_else(|_| accord.clone());
            arguments.extend(["--accord".to_owned(), accord.display().to_string()]);
        }
        arguments
    }
}

/// Does what is asked.
pub fn run(args: &ClusterArgs) -> ExitCode {
    let done = match &args.command {
        ClusterCommand::Up(up) => keeper::up(&up.name, &up.arguments()),
        ClusterCommand::Down { name } => keeper::down(name).map(|()| format!("{name} is down\n")),
        ClusterCommand::Keep(up) => keep(up).map(|()| String::new()),
    };
    match done {
        Ok(said) => {
            say!("{}", said.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error.trim_start_matches("error: ").trim_end()),
    }
}

/// Holds a cluster until it is told to end.
fn keep(up: &UpArgs) -> Result<(), String> {
    let mut stop = SigSet::empty();
    stop.add(Signal::SIGTERM);
    stop.add(Signal::SIGINT);
    // Before any thread is started, so that all of them leave it to us.
    stop.thread_block().map_err(|error| error.to_string())?;
    let options = up.node.options(up.name.clone(), up.group, up.nodes);
    let nodes = Nodes::up(options).map_err(|error| error.to_string())?;
    nodes.net().enter().map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let extra: String = up.set.iter().map(|line| format!("{line}\n")).collect();
    let accord = Accord { extra, ..Accord::new(program(up.accord.clone())) };
    let (servers, persistent) = (up.nodes as usize, up.persistent);
    let options = ClusterOptions { servers, persistent, ..ClusterOptions::default() };
    let cluster =
        Cluster::start_in(Some(nodes), accord, &options).map_err(|error| error.to_string())?;
    let whole = async {
        while !is_ready(&cluster).await {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    let whole = runtime.block_on(async { tokio::time::timeout(TIMEOUT, whole).await });
    if whole.is_err() {
        return Err(format!("the servers do not serve\n{}", cluster.log_tails()));
    }
    keeper::ready(&up.name, &reach(up, &cluster)).map_err(|error| error.to_string())?;
    stop.wait().map_err(|error| error.to_string())?;
    drop(cluster);
    Ok(())
}

/// How to reach a cluster.
fn reach(up: &UpArgs, cluster: &Cluster) -> String {
    let name = &up.name;
    let mut text = String::new();
    let servers: Vec<String> = cluster.addresses().iter().map(ToString::to_string).collect();
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "{name} is up: servers at {}\n\
         reach them:  ip netns exec accord-{name}-br accord status --servers {}\n\
         a node:      ip netns exec accord-{name}-1 ...\n\
         its files:   {}\n\
         end it:      accord-jepsen cluster down --name {name}\n",
        servers.join(" "),
        servers.join(","),
        keeper::dir(name).display()
    );
    text
}
