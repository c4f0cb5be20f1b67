//! The command line of the harness.

mod clusters;

use accord_jepsen::checkpoints::CheckpointsOptions;
use accord_jepsen::conclusion::Conclusion;
use accord_jepsen::grow::{self, GrowOptions};
use accord_jepsen::load::LoadOptions;
use accord_jepsen::nemesis::Fault;
use accord_jepsen::rounds::{Report, RoundsOptions, run, run_on};
use accord_jepsen::sessions::SessionsOptions;
use accord_jepsen::systems::etcd::EtcdClient;
use accord_jepsen::systems::zookeeper::ZooKeeperClient;
use accord_jepsen::transfer::TransferOptions;
use accord_testbed::cluster::{Cluster, ClusterOptions};
use accord_testbed::netns::own_name;
use accord_testbed::nodes::{GroupChoice, Nodes};
use accord_testbed::process::ProcessError;
use accord_testbed::systems::accord::Accord;
use accord_testbed::systems::etcd::Etcd;
use accord_testbed::systems::zookeeper::ZooKeeper;
use accord_testbed::{complain, out, say};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How long a new cluster may take until it serves.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// Real Accord servers under faults, judged by what their clients saw.
///
/// Servers run as processes on this machine and are killed, paused and stopped while clients work.
/// What the clients were told is recorded in Jepsen's form and judged by the checkers of
/// accord-models.
#[derive(Debug, Parser)]
#[command(version, name = "accord-jepsen")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run rounds of faults under load and judge the histories.
    ///
    /// Exit code: 0 if all histories are valid, 1 if one is not or the service did not come back, 2
    /// if one is undecided, nothing was done in one, a fault hit nothing or something could not be
    /// run.
    Run(RunArgs),
    /// Let a cluster grow server by server and shrink again, while clients work and servers are
    /// killed in the middle of each change.
    ///
    /// Exit code: 0 if all histories are valid and no client was told of a failure, 1 if not or if
    /// a change did not come about, 2 if a history is undecided, nothing was done in one, no server
    /// was there to be killed in a change or something could not be run.
    Grow(GrowArgs),
    /// Open very many sessions at once, each with an ephemeral record and a watch; let many leave.
    ///
    /// Exit code: 0 if all were served and told, 1 if not, 2 if it could not be run.
    Sessions(SessionsArgs),
    /// Bring up and down clusters on nodes of their own: network namespaces joined by a bridge.
    Cluster(clusters::ClusterArgs),
    /// Let a server miss very many writes, and see it come back while the others serve on.
    ///
    /// Exit code: 0 if it came back, 1 if not, 2 if it could not be run. How fast: read it.
    Rejoin(RejoinArgs),
    /// Take checkpoints of a large store under load, and see how long writes wait meanwhile.
    ///
    /// Exit code: 0 if all writes were done, 1 if not, 2 if it could not be run. How long they took
    /// is for you to read.
    Checkpoints(CheckpointsArgs),
}

#[derive(Debug, Args)]
struct LoadArgs {
    /// The accord program; by default the one beside this program
    #[arg(long)]
    accord: Option<PathBuf>,
    /// Records in the store
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Bytes of each value
    #[arg(long, default_value_t = 8)]
    value_bytes: usize,
    /// Clients that write
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: u16,
    /// Writes that each client has outstanding
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    lanes: u16,
}

impl LoadArgs {
    const fn options(&self) -> LoadOptions {
        let Self { keys, value_bytes, clients, lanes, .. } = *self;
        LoadOptions { clients: clients as usize, lanes: lanes as usize, keys, value_bytes }
    }
}

#[derive(Debug, Args)]
struct RejoinArgs {
    #[command(flatten)]
    load: LoadArgs,
    /// Writes that the server misses
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    writes: u64,
    /// Keep the servers' state on disk
    #[arg(long)]
    persistent: bool,
}

#[derive(Debug, Args)]
struct CheckpointsArgs {
    #[command(flatten)]
    load: LoadArgs,
    /// Checkpoints to wait for
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    checkpoints: u16,
    /// Bytes of log after which a checkpoint is taken
    #[arg(long, default_value_t = 16 << 20)]
    checkpoint_bytes: usize,
}

#[derive(Debug, Args)]
struct SessionsArgs {
    /// The accord program; by default the one beside this program
    #[arg(long)]
    accord: Option<PathBuf>,
    /// Sessions at once
    #[arg(long, default_value_t = 10_000)]
    sessions: usize,
    /// How many of them leave at once
    #[arg(long, default_value_t = 1000)]
    leaving: usize,
    /// How many of those who stay are told of every departure
    #[arg(long, default_value_t = 100)]
    observers: usize,
}

#[derive(Debug, Args)]
struct GrowArgs {
    /// The accord program; by default the one beside this program
    #[arg(long)]
    accord: Option<PathBuf>,
    /// The sizes that the cluster has one after the other, each reached server by server
    #[arg(long, value_delimiter = ',', default_value = "1,3,5,3")]
    sizes: Vec<u32>,
    /// Keep the servers' state on disk
    #[arg(long)]
    persistent: bool,
    /// Clients of each of the two workloads
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=1000))]
    clients: u64,
    /// Operations that each client has outstanding
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=1000))]
    lanes: u64,
    /// How long a server that was killed is down
    #[arg(long, default_value_t = 500)]
    down_ms: u64,
    /// The sessions' timeout; a client gives up a silent server after two thirds of it
    #[arg(long, default_value_t = 10000)]
    session_timeout_ms: u64,
    /// Decides what clients do
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the histories into this directory
    #[arg(long)]
    histories: Option<PathBuf>,
}

/// Systems of which servers are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SystemChoice {
    /// Accord
    Accord,
    /// ZooKeeper, as Debian has it
    Zookeeper,
    /// etcd, as Debian has it
    Etcd,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Whose servers: the same workloads drive all of them
    #[arg(long, value_enum, default_value = "accord")]
    system: SystemChoice,
    /// The accord program; by default the one beside this program
    #[arg(long)]
    accord: Option<PathBuf>,
    /// Servers of the cluster
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(3..=9))]
    servers: u32,
    /// How often a server fails; servers and faults take turns
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Keep the servers' state on disk
    #[arg(long)]
    persistent: bool,
    /// Run each server on a node of its own, with Corosync daemons (corosync) or without (ring)
    #[arg(long, value_name = "ring|corosync")]
    group: Option<GroupChoice>,
    /// How those nodes are set up
    #[command(flatten)]
    nodes: clusters::NodeArgs,
    /// In which ways: kill, pause, stop, with --persistent also kill-all, with --group also split
    /// and shatter, and with --group corosync also daemon-kill and daemon-pause
    #[arg(long, value_delimiter = ',', default_value = "kill,pause")]
    faults: Vec<Fault>,
    /// Clients of each of the two workloads
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1000))]
    clients: u64,
    /// Operations that each client has outstanding
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1000))]
    lanes: u64,
    /// How long a fault lasts
    #[arg(long, default_value_t = 3000)]
    fault_ms: u64,
    /// The sessions' timeout; a client gives up a silent server after two thirds of it
    #[arg(long, default_value_t = 3000)]
    session_timeout_ms: u64,
    /// Decides what clients do
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the histories into this directory
    #[arg(long)]
    histories: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Who enters a network does so before the runtime starts its threads.
    let nodes = match &cli.command {
        Command::Run(RunArgs { group: Some(group), servers, nodes, .. }) => {
            let options = nodes.options(own_name("run"), *group, *servers);
            match Nodes::up(options).and_then(|nodes| nodes.net().enter().map(|()| nodes)) {
                Ok(nodes) => Some(nodes),
                Err(error) => return fail(&error),
            }
        }
        Command::Cluster(args) => return clusters::run(args),
        _ => None,
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    match cli.command {
        Command::Run(args) => runtime.block_on(run_rounds(args, nodes)),
        Command::Grow(args) => runtime.block_on(run_grow(args)),
        Command::Sessions(args) => runtime.block_on(run_sessions(args)),
        Command::Rejoin(args) => runtime.block_on(run_rejoin(args)),
        Command::Checkpoints(args) => runtime.block_on(run_checkpoints(args)),
        Command::Cluster(_) => unreachable!("it was run"),
    }
}

/// The accord program: the one named, or the one beside this.
fn program(named: Option<PathBuf>) -> PathBuf {
    let beside = || std::env::current_exe().ok().map(|this| this.with_file_name("accord"));
    named.or_else(beside).unwrap_or_else(|| "accord".into())
}

/// A session is a socket: takes as many as the system allows.
fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // If it cannot be raised, connecting says so.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

async fn run_sessions(args: SessionsArgs) -> ExitCode {
    let SessionsArgs { sessions, leaving, observers, .. } = args;
    let options = SessionsOptions { sessions, leaving, observers, opening_max: 256 };
    if let Err(error) = options.check() {
        return fail(&error);
    }
    raise_open_files();
    let mut cluster = match start(args.accord, &ClusterOptions::default(), String::new()) {
        Ok(cluster) => cluster,
        Err(error) => return fail(&error),
    };
    match accord_jepsen::sessions::run(&mut cluster, options, |line| say!("{line}")).await {
        Ok(report) => {
            let bytes = report.memory_bytes_per_session;
            say!("memory of all servers for each idle session: {bytes} bytes");
            conclude(&Conclusion::Holds)
        }
        Err(error) => end_with(&Conclusion::from(&error), &cluster),
    }
}

/// Tells what a run comes to.
fn conclude(conclusion: &Conclusion) -> ExitCode {
    say!("{conclusion}");
    let told = match out::has_failed() {
        true => Conclusion::Open("the report could not be printed".to_owned()),
        false => Conclusion::Holds,
    };
    ExitCode::from(conclusion.clone().and(told).exit_code())
}

/// Tells why a run ended, with the ends of the servers' logs.
fn end_with(conclusion: &Conclusion, cluster: &Cluster) -> ExitCode {
    complain!("error: {conclusion}\n{}", cluster.log_tails());
    ExitCode::from(conclusion.exit_code())
}

fn start(
    named: Option<PathBuf>,
    options: &ClusterOptions,
    sections: String,
) -> Result<Cluster, ProcessError> {
    let accord = Accord { sections, ..Accord::new(program(named)) };
    Cluster::start(accord, options)
}

async fn run_rejoin(args: RejoinArgs) -> ExitCode {
    let options = TransferOptions { writes: args.writes, load: args.load.options() };
    let cluster = ClusterOptions { persistent: args.persistent, ..ClusterOptions::default() };
    let mut cluster = match start(args.load.accord, &cluster, String::new()) {
        Ok(cluster) => cluster,
        Err(error) => return fail(&error),
    };
    match accord_jepsen::transfer::run(&mut cluster, options, |line| say!("{line}")).await {
        Ok(report) => {
            say!(
                "missed {} writes, back in {:.1} s; writes a second with all servers {:.0}, \
                 without it {:.0}, while it came back {:.0} ({:.0} % and {:.0} %), after {:.0}",
                report.missed,
                report.rejoined_in.as_secs_f64(),
                report.rate_whole,
                report.rate_before,
                report.rate_meanwhile,
                100.0 * report.rate_meanwhile / report.rate_whole,
                100.0 * report.rate_meanwhile / report.rate_before,
                report.rate_after,
            );
            conclude(&Conclusion::of_transfer(&report))
        }
        Err(error) => end_with(&Conclusion::from(&error), &cluster),
    }
}

async fn run_checkpoints(args: CheckpointsArgs) -> ExitCode {
    let (checkpoints, load) = (usize::from(args.checkpoints), args.load.options());
    let sections = format!("[replica]\ncheckpoint_bytes = {}\n", args.checkpoint_bytes);
    let cluster = ClusterOptions { persistent: true, ..ClusterOptions::default() };
    let cluster = match start(args.load.accord, &cluster, sections) {
        Ok(cluster) => cluster,
        Err(error) => return fail(&error),
    };
    let options = CheckpointsOptions { checkpoints, load };
    match accord_jepsen::checkpoints::run(&cluster, options, |line| say!("{line}")).await {
        Ok(report) => {
            let millis = |span: Duration| span.as_secs_f64() * 1000.0;
            let all = report.all;
            say!(
                "{} writes: median {:.1} ms, 99.9 % within {:.1} ms, longest {:.1} ms",
                all.writes,
                millis(all.median),
                millis(all.p999),
                millis(all.longest),
            );
            let longest: Vec<_> =
                report.longest_by_second.iter().map(|at| at.as_millis()).collect();
            say!("longest of each second, ms: {longest:?}");
            conclude(&Conclusion::of_checkpoints(&report))
        }
        Err(error) => end_with(&Conclusion::from(&error), &cluster),
    }
}

async fn run_grow(args: GrowArgs) -> ExitCode {
    let (servers, initial) = match grow::servers_of(&args.sizes) {
        Ok(servers) => servers,
        Err(error) => return fail(&error),
    };
    let persistent = args.persistent;
    let cluster = ClusterOptions { servers, initial, persistent, ..ClusterOptions::default() };
    let mut cluster = match start(args.accord, &cluster, String::new()) {
        Ok(cluster) => cluster,
        Err(error) => return fail(&error),
    };
    let load = RoundsOptions {
        clients: args.clients,
        lanes: args.lanes,
        session_timeout: Duration::from_millis(args.session_timeout_ms),
        seed: args.seed,
        ..RoundsOptions::default()
    };
    let options = GrowOptions {
        load,
        sizes: args.sizes,
        down: Duration::from_millis(args.down_ms),
        patience: Duration::from_secs(120),
    };
    let report = match grow::run(&mut cluster, &options, |line| say!("{line}")).await {
        Ok(report) => report,
        Err(error) => return end_with(&Conclusion::from(&error), &cluster),
    };
    if let Some(dir) = &args.histories
        && let Err(error) = report.judged.write_histories(dir)
    {
        return fail(&error);
    }
    conclude(&Conclusion::of_growth(&report))
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    complain!("error: {error}");
    ExitCode::from(2)
}

async fn run_rounds(args: RunArgs, nodes: Option<Nodes>) -> ExitCode {
    if args.faults.contains(&Fault::KillAll) && !args.persistent {
        return fail(&"kill-all ends a cluster in memory mode for good: add --persistent");
    }
    let group = args.group;
    if args.system != SystemChoice::Accord && (group.is_some() || args.accord.is_some()) {
        return fail(&"--group and --accord are for --system accord");
    }
    if let Some(fault) = args.faults.iter().find(|fault| {
        (fault.needs_nodes() && group.is_none())
            || (fault.needs_daemons() && group != Some(GroupChoice::Corosync))
    }) {
        return fail(&format!("{fault} needs --group corosync, or split and shatter --group ring"));
    }
    let (servers, persistent) = (args.servers as usize, args.persistent);
    let options = ClusterOptions { servers, persistent, ..ClusterOptions::default() };
    let started = match args.system {
        SystemChoice::Accord => {
            Cluster::start_in(nodes, Accord::new(program(args.accord)), &options)
        }
        SystemChoice::Zookeeper => {
            ZooKeeper::installed().and_then(|zookeeper| Cluster::start(zookeeper, &options))
        }
        SystemChoice::Etcd => Etcd::installed().and_then(|etcd| Cluster::start(etcd, &options)),
    };
    let mut cluster = match started {
        Ok(cluster) => cluster,
        Err(error) => return fail(&error),
    };
    if let Err(error) = cluster.wait_until_ready(READY_TIMEOUT) {
        return fail(&error);
    }
    let options = RoundsOptions {
        rounds: args.rounds as usize,
        faults: args.faults,
        clients: args.clients,
        lanes: args.lanes,
        fault_span: Duration::from_millis(args.fault_ms),
        session_timeout: Duration::from_millis(args.session_timeout_ms),
        seed: args.seed,
        ..RoundsOptions::default()
    };
    let tell = |line: &str| say!("{line}");
    let ran = match args.system {
        SystemChoice::Accord => run(&mut cluster, &options, tell).await,
        SystemChoice::Zookeeper => run_on::<ZooKeeperClient>(&mut cluster, &options, tell).await,
        SystemChoice::Etcd => run_on::<EtcdClient>(&mut cluster, &options, tell).await,
    };
    let report = match ran {
        Ok(report) => report,
        Err(error) => return end_with(&Conclusion::from(&error), &cluster),
    };
    report_rounds(&report);
    if let Some(dir) = &args.histories
        && let Err(error) = report.write_histories(dir)
    {
        return fail(&error);
    }
    conclude(&Conclusion::of_rounds(&report))
}

/// Tells what came of rounds of faults.
fn report_rounds(report: &Report) {
    for fault in Fault::ALL {
        let waits: Vec<String> =
            report.waits_of(fault).iter().map(|wait| wait.as_millis().to_string()).collect();
        if let Some((least, median, most)) = report.outages_of(fault) {
            let [least, median, most] = [least, median, most].map(|wait| wait.as_millis());
            say!("longest wait, {fault}: least {least} ms, median {median} ms, most {most} ms");
            say!("  all of {} rounds: {}", waits.len(), waits.join(" "));
        }
    }
    let (held, missed) = (report.outages.len(), report.missed.len());
    say!("rounds: {held}; faults that were skipped: {missed}");
    say!("sessions lost: {}", report.sessions_lost);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
