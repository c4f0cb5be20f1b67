//! The command line. What stands here as documentation is what `--help` prints.

use crate::curves::{CURVES, Curve};
use crate::failure::{Failure, Result};
use crate::plan::{Depth, Row, rows};
use crate::systems::{Mode, Setup, System};
use crate::workload::Workload;
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

const AFTER: &str = "\
Examples:
  accord-bench compare --quick
      Accord beside ZooKeeper and etcd, in memory and on disk, in some minutes.
  accord-bench compare --systems accord,zookeeper --rows write-existing --modes memory
      One row alone.
  accord-bench load accord --window 256
      How many writes a second three servers of Accord take.
  accord-bench load accord --rate 50000 --window 1000 --seconds 30
      Latencies at 50,000 writes a second (an open loop: a stall counts for all that wait).
  accord-bench curves --curves value,steps --quick
      How rates change with the size of values and of transactions.
  accord-bench watch --watchers 1000
      One write, a thousand watchers, beside ZooKeeper.
  accord-bench regress main HEAD --window 256
      Whether a change made writes faster or slower.
  accord-bench load zookeeper --addresses 10.0.0.1:2181,10.0.0.2:2181
      Servers that already run.

Servers are started on this machine's loopback, each cluster in a directory of its own, and ended
and removed afterwards, also on Ctrl-C. ZooKeeper and etcd are Debian's packages zookeeper and
etcd-server; what is missing is left out. Read docs/benchmarks.md before quoting any figure.";

/// Measures Accord beside ZooKeeper and etcd, and over its own commits.
#[derive(Debug, Parser)]
#[command(name = "accord-bench", version, after_help = AFTER)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The paired comparison: all systems in turns, row by row, with ratios and their intervals.
    Compare(CompareArgs),
    /// One workload on one system: started here, or already running.
    Load(LoadArgs),
    /// One thing varied at a time: windows, connections, value sizes, steps, servers, load.
    Curves(CurvesArgs),
    /// One write that many watchers wait for: how long until the last of them is told.
    Watch(WatchArgs),
    /// Tables and plots of results that were measured before.
    Report(ReportArgs),
    /// Two commits of Accord against each other, in turns, by the same generator.
    Regress(RegressArgs),
}

/// How clusters are started.
#[derive(Clone, Debug, Args)]
pub struct ClusterArgs {
    /// Servers of each cluster.
    #[arg(long, default_value_t = 3, value_parser = parse_servers)]
    pub servers: usize,
    /// The accord program; without it, the one beside accord-bench.
    #[arg(long, value_name = "PATH")]
    pub accord: Option<PathBuf>,
    /// A directory on a disk, where persistent servers keep their files.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    pub data_dir: PathBuf,
    /// The heap of each of ZooKeeper's servers. They keep the last 500 writes in it: values of
    /// 1 MiB need 4g.
    #[arg(long, value_name = "SIZE", default_value = "1g")]
    pub java_heap: String,
    /// A setting for Accord's servers, as SECTION.KEY=VALUE; may be repeated. What can be set:
    /// `accord config`.
    #[arg(long = "set", value_name = "SETTING")]
    pub settings: Vec<String>,
    /// The longest packet of the links that Accord over Corosync runs on, in bytes: 1500 is
    /// Ethernet's, 9000 is what jumbo frames usually have.
    #[arg(long, value_name = "BYTES", default_value_t = 65_535,
        value_parser = clap::value_parser!(u32).range(1500..=65_535))]
    pub mtu: u32,
}

fn parse_servers(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(count @ (1 | 3 | 5 | 7)) => Ok(count),
        _ => Err("1, 3, 5 or 7: an even number tolerates no more failures than one less".into()),
    }
}

impl ClusterArgs {
    /// A cluster of a system.
    pub fn setup(&self, system: System, mode: Mode) -> Setup {
        Setup {
            system,
            mode,
            servers: self.servers,
            accord: self.accord.clone(),
            disk: self.data_dir.clone(),
            java_heap: self.java_heap.clone(),
            settings: self.settings.clone(),
            mtu: self.mtu,
        }
    }
}

/// Arguments of `compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// A few minutes: three rounds of two seconds.
    #[arg(long, conflicts_with = "full")]
    pub quick: bool,
    /// Hours: eleven rounds of ten seconds, more windows.
    #[arg(long)]
    pub full: bool,
    /// Which systems; "library" is Accord by its client library.
    #[arg(long, value_delimiter = ',', default_value = "accord,zookeeper,etcd")]
    pub systems: Vec<System>,
    /// In which modes.
    #[arg(long, value_delimiter = ',', default_value = "memory,persistent")]
    pub modes: Vec<Mode>,
    /// Which rows; all without it. A wrong name lists them.
    #[arg(long, value_delimiter = ',', value_name = "ROW")]
    pub rows: Vec<String>,
    /// Connections, spread over the servers.
    #[arg(long, default_value_t = 16)]
    pub connections: usize,
    /// Rounds, instead of as many as the depth has.
    #[arg(long)]
    pub rounds: Option<usize>,
    /// Seconds of each measurement, instead of as many as the depth has.
    #[arg(long)]
    pub seconds: Option<f64>,
    /// Seconds of load at most before a system that was just started is measured, instead of as
    /// many as the depth has. Too few, and a virtual machine is measured before it has compiled.
    #[arg(long)]
    pub warm_up: Option<f64>,
    /// Where results go.
    #[arg(long, value_name = "DIR", default_value = "target/comparison")]
    pub out: PathBuf,
    /// How clusters are started.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

impl CompareArgs {
    /// How thorough.
    pub const fn depth(&self) -> Depth {
        match (self.quick, self.full) {
            (true, _) => Depth::Quick,
            (_, true) => Depth::Full,
            _ => Depth::Usual,
        }
    }

    /// The rows that were asked for.
    ///
    /// # Errors
    /// If there is no such row.
    pub fn chosen_rows(&self) -> Result<Vec<Row>> {
        let all = rows();
        let known: Vec<_> = all.iter().map(|row| row.name).collect();
        if let Some(unknown) = self.rows.iter().find(|row| !known.contains(&row.as_str())) {
            let what = format!("there is no row {unknown}; there are: {}", known.join(", "));
            return Err(Failure::Usage(what));
        }
        let wanted =
            |row: &Row| self.rows.is_empty() || self.rows.iter().any(|one| one == row.name);
        let mut chosen: Vec<Row> = all.into_iter().filter(wanted).collect();
        chosen.iter_mut().for_each(|row| row.workload.connections = self.connections);
        Ok(chosen)
    }
}

/// What is asked of a system.
#[derive(Clone, Debug, Args)]
pub struct WorkloadArgs {
    /// Connections, spread over the servers.
    #[arg(long, default_value_t = 16)]
    pub connections: usize,
    /// Requests outstanding on each connection.
    #[arg(long, default_value_t = 64)]
    pub window: usize,
    /// Keys of each connection.
    #[arg(long, default_value_t = 100)]
    pub keys: usize,
    /// Bytes of a value.
    #[arg(long, default_value_t = 8)]
    pub value_bytes: usize,
    /// How many of a hundred requests read.
    #[arg(long, default_value_t = 0)]
    pub read_percent: u32,
    /// Reads see every write that was answered before them, by whichever server.
    #[arg(long)]
    pub linearizable: bool,
    /// Every write creates a key.
    #[arg(long)]
    pub fresh: bool,
    /// Writes in one transaction; 1: plain writes.
    #[arg(long, default_value_t = 1)]
    pub steps: usize,
    /// Requests a second over all connections (an open loop), instead of as many as are answered.
    #[arg(long)]
    pub rate: Option<u64>,
}

impl From<&WorkloadArgs> for Workload {
    fn from(args: &WorkloadArgs) -> Self {
        Self {
            connections: args.connections,
            window: args.window,
            keys: args.keys,
            value_bytes: args.value_bytes,
            read_percent: args.read_percent,
            linearizable: args.linearizable,
            fresh: args.fresh,
            steps: args.steps,
            rate: args.rate,
        }
    }
}

/// Arguments of `load`.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// Which system.
    pub system: System,
    /// What a write is safe in when it is answered. With --addresses: how those servers are set up.
    #[arg(long, default_value = "memory")]
    pub mode: Mode,
    /// Servers that already run, instead of starting some: host:port, separated by commas. Their
    /// processor time is not known.
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS")]
    pub addresses: Vec<SocketAddr>,
    /// What is asked.
    #[command(flatten)]
    pub workload: WorkloadArgs,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Seconds of load before that, at least; then until the rate is stable, at most ten times as
    /// long. ZooKeeper needs a minute after its start.
    #[arg(long, alias = "warm", default_value_t = 2.0)]
    pub warm_up: f64,
    /// Measurements, one after the other.
    #[arg(long, default_value_t = 1)]
    pub repeat: usize,
    /// Print each measurement as a line of JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// How the cluster is started.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Arguments of `curves`.
#[derive(Debug, Args)]
pub struct CurvesArgs {
    /// Which curves; all without it. A wrong name lists them.
    #[arg(long, value_delimiter = ',', value_name = "CURVE")]
    pub curves: Vec<String>,
    /// Few points, and short ones.
    #[arg(long)]
    pub quick: bool,
    /// Which systems; "library" is Accord by its client library.
    #[arg(long, value_delimiter = ',', default_value = "accord,zookeeper,etcd")]
    pub systems: Vec<System>,
    /// What a write is safe in when it is answered.
    #[arg(long, default_value = "memory")]
    pub mode: Mode,
    /// Seconds for each point.
    #[arg(long)]
    pub seconds: Option<f64>,
    /// Where results go.
    #[arg(long, value_name = "DIR", default_value = "target/curves")]
    pub out: PathBuf,
    /// How clusters are started.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

impl CurvesArgs {
    /// The curves that were asked for.
    ///
    /// # Errors
    /// If there is no such curve.
    pub fn chosen_curves(&self) -> Result<Vec<Curve>> {
        match self.curves.is_empty() {
            true => Ok(CURVES.to_vec()),
            false => self.curves.iter().map(|name| Curve::of(name)).collect(),
        }
    }
}

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Watchers, each a connection of its own.
    #[arg(long, default_value_t = 1000)]
    pub watchers: usize,
    /// Writes in each round.
    #[arg(long, default_value_t = 30)]
    pub writes: usize,
    /// Rounds, in which the systems take turns.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Warm up for a shorter time.
    #[arg(long)]
    pub quick: bool,
    /// Which systems: accord, zookeeper.
    #[arg(long, value_delimiter = ',', default_value = "accord,zookeeper")]
    pub systems: Vec<System>,
    /// What a write is safe in when it is answered.
    #[arg(long, default_value = "memory")]
    pub mode: Mode,
    /// How clusters are started.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Files that `compare` or `curves` wrote; several are put together. Of a results.csv, which
    /// does not say with what it was measured, plots alone are made.
    #[arg(required = true, value_name = "RESULTS.JSON")]
    pub results: Vec<PathBuf>,
    /// Where tables, plots, JSON and CSV go.
    #[arg(long, value_name = "DIR", default_value = "target/report")]
    pub out: PathBuf,
}

/// Arguments of `regress`.
#[derive(Debug, Args)]
pub struct RegressArgs {
    /// The commit before: a branch, a tag or a number.
    pub before: String,
    /// The commit after.
    pub after: String,
    /// Rounds, in which the two take turns.
    #[arg(long, default_value_t = 10)]
    pub rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// What a write is safe in when it is answered.
    #[arg(long, default_value = "memory")]
    pub mode: Mode,
    /// What is asked.
    #[command(flatten)]
    pub workload: WorkloadArgs,
    /// How clusters are started.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_rows_and_counts_of_servers_are_told_with_what_there_is() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["accord-bench"], args].concat());
        let cli = parse(&["compare", "--rows", "write-nothing"]).unwrap();
        let Command::Compare(args) = cli.command else { panic!("it compares") };
        let error = args.chosen_rows().unwrap_err().to_string();
        assert!(error.contains("write-existing"), "{error}");
        let error = parse(&["load", "accord", "--servers", "4"]).unwrap_err().to_string();
        assert!(error.contains("1, 3, 5 or 7"), "{error}");
    }
}
