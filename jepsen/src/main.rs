//! The command line of the harness.

mod clusters;

use accord_jepsen::cluster::{Cluster, ClusterOptions};
use accord_jepsen::nemesis::Fault;
use accord_jepsen::rounds::{RoundsOptions, run};
use accord_jepsen::sessions::SessionsOptions;
use accord_jepsen::world::{GroupChoice, World};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

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
    /// if one is undecided or something could not be run.
    Run(RunArgs),
    /// Open very many sessions at once, each with an ephemeral record and a watch; let many leave.
    ///
    /// Exit code: 0 if all were served and told, 1 if not, 2 if it could not be run.
    Sessions(SessionsArgs),
    /// Bring up and down clusters on nodes of their own: network namespaces joined by a bridge.
    Cluster(clusters::ClusterArgs),
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
struct RunArgs {
    /// The accord program; by default the one beside this program
    #[arg(long)]
    accord: Option<PathBuf>,
    /// Servers of the cluster
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(3..=9))]
    servers: u32,
    /// How often a server fails; servers and faults take turns
    #[arg(long, default_value_t = 20)]
    rounds: usize,
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
    let world = match &cli.command {
        Command::Run(RunArgs { group: Some(group), servers, nodes, .. }) => {
            let options = nodes.options(format!("run{}", std::process::id()), *group, *servers);
            match World::up(options).and_then(|world| world.net().enter().map(|()| world)) {
                Ok(world) => Some(world),
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
        Command::Run(args) => runtime.block_on(run_rounds(args, world)),
        Command::Sessions(args) => runtime.block_on(run_sessions(args)),
        Command::Cluster(_) => unreachable!("it was run"),
    }
}

/// The accord program: the one named, or the one beside this.
fn program(named: Option<PathBuf>) -> Result<PathBuf, std::io::Error> {
    let beside = || std::env::current_exe().map(|this| this.with_file_name("accord"));
    named.map_or_else(beside, Ok)
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
    raise_open_files();
    let started = program(args.accord).map_err(|error| error.to_string()).and_then(|program| {
        Cluster::start(ClusterOptions::new(program)).map_err(|error| error.to_string())
    });
    let mut cluster = match started {
        Ok(cluster) => cluster,
        Err(error) => return fail(&error),
    };
    let SessionsArgs { sessions, leaving, observers, .. } = args;
    let options = SessionsOptions { sessions, leaving, observers, opening_max: 256 };
    match accord_jepsen::sessions::run(&mut cluster, options, |line| println!("{line}")).await {
        Ok(report) => {
            let bytes = report.memory_bytes_per_session;
            println!("memory of all servers for each idle session: {bytes} bytes");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}\n{}", cluster.log_tails());
            ExitCode::from(1)
        }
    }
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(2)
}

async fn run_rounds(args: RunArgs, world: Option<World>) -> ExitCode {
    let program = match program(args.accord) {
        Ok(program) => program,
        Err(error) => return fail(&error),
    };
    if args.faults.contains(&Fault::KillAll) && !args.persistent {
        return fail(&"kill-all ends a cluster in memory mode for good: add --persistent");
    }
    let group = args.group;
    if let Some(fault) = args.faults.iter().find(|fault| {
        (fault.needs_nodes() && group.is_none())
            || (fault.needs_daemons() && group != Some(GroupChoice::Corosync))
    }) {
        return fail(&format!("{fault} needs --group corosync, or split and shatter --group ring"));
    }
    let (servers, persistent) = (args.servers, args.persistent);
    let options = ClusterOptions { servers, persistent, ..ClusterOptions::new(program) };
    let mut cluster = match Cluster::start_in(world, options) {
        Ok(cluster) => cluster,
        Err(error) => return fail(&error),
    };
    let options = RoundsOptions {
        rounds: args.rounds,
        faults: args.faults,
        clients: args.clients,
        lanes: args.lanes,
        fault_span: Duration::from_millis(args.fault_ms),
        session_timeout: Duration::from_millis(args.session_timeout_ms),
        seed: args.seed,
        ..RoundsOptions::default()
    };
    let report = match run(&mut cluster, &options, |line| println!("{line}")).await {
        Ok(report) => report,
        Err(error) => {
            eprintln!("error: {error}\n{}", cluster.log_tails());
            return ExitCode::from(1);
        }
    };
    for fault in Fault::ALL {
        let waits: Vec<String> =
            report.waits_of(fault).iter().map(|wait| wait.as_millis().to_string()).collect();
        if let Some((least, median, most)) = report.outages_of(fault) {
            let [least, median, most] = [least, median, most].map(|wait| wait.as_millis());
            println!("longest wait, {fault}: least {least} ms, median {median} ms, most {most} ms");
            println!("  all of {} rounds: {}", waits.len(), waits.join(" "));
        }
    }
    println!("sessions lost: {}", report.sessions_lost);
    if let Some(dir) = &args.histories
        && let Err(error) = report.write_histories(dir)
    {
        return fail(&error);
    }
    let undecided = |judged: &accord_jepsen::rounds::Judged| {
        matches!(judged.verdict, accord_models::Verdict::Undecided { .. })
    };
    match (report.is_valid(), report.judged.iter().any(undecided)) {
        (true, _) => ExitCode::SUCCESS,
        (false, true) => ExitCode::from(2),
        (false, false) => ExitCode::from(1),
    }
}
