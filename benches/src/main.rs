//! `accord-bench`: Accord measured beside ZooKeeper and etcd.
//!
//! One generator drives all systems with the same workloads ([`generator`], [`workload`]), over a
//! protocol without IO for each ([`systems`]). [`load`] measures one workload on one cluster,
//! [`compare`] many in turns; [`stats`] and [`report`] make figures of it. What the
//! figures mean, and what they do not, is in `docs/benchmarks.md`.

mod cli;
mod compare;
mod failure;
mod generator;
mod interrupt;
mod library;
mod load;
mod measure;
mod plan;
mod progress;
mod report;
mod results;
mod stats;
mod systems;
mod workload;

use clap::Parser;
use cli::{Cli, Command, CompareArgs, LoadArgs};
use compare::Comparison;
use failure::{During, Failure, Result};
use load::{Measurement, Target, Timing, measure};
use progress::Progress;
use results::{Manifest, Results};
use std::process::ExitCode;
use std::time::Duration;
use systems::{Cluster, Mode, System};
use workload::Workload;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = interrupt::catch().and_then(|()| match &cli.command {
        Command::Compare(args) => compare(args),
        Command::Load(args) => load(args),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("accord-bench: {error}");
            match error {
                Failure::Usage(_) => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn compare(args: &CompareArgs) -> Result<()> {
    let progress = Progress::new();
    let mut systems = args.systems.clone();
    systems.dedup();
    let is_accord = |system: &System| matches!(system, System::Accord | System::Library);
    let accord = match systems.iter().any(is_accord) {
        true => Some(systems::accord::program(args.cluster.accord.as_deref())?),
        false => None,
    };
    let comparison = Comparison {
        systems,
        modes: args.modes.clone(),
        rows: args.chosen_rows()?,
        depth: args.depth(),
        rounds: args.rounds,
        seconds: args.seconds,
        setup: args.cluster.setup(System::Accord, Mode::Memory),
    };
    let mut results = Results { manifest: Manifest::new(accord.as_deref()), ..Results::default() };
    let done = comparison.run(&mut results, &progress, |results| results.write(&args.out));
    progress.finish();
    if !results.measurements.is_empty() {
        write_report(&results, &args.out)?;
    }
    done
}

/// Writes the tables, and says where everything is.
fn write_report(results: &Results, out: &std::path::Path) -> Result<()> {
    let path = out.join("report.md");
    std::fs::write(&path, report::markdown(results)).during(path.display())?;
    eprintln!("results are in {}", out.display());
    Ok(())
}

fn load(args: &LoadArgs) -> Result<()> {
    let workload = Workload::from(&args.workload);
    workload.check()?;
    let seconds = |seconds: f64| {
        Duration::try_from_secs_f64(seconds)
            .map_err(|error| Failure::Usage(format!("{seconds} seconds: {error}")))
    };
    let warm = seconds(args.warm)?;
    let timing = Timing { warm, warm_max: warm * 10, measure: seconds(args.seconds)? };
    let cluster = match args.addresses.is_empty() {
        true => Some(Cluster::start(args.cluster.setup(args.system, args.mode))?),
        false => None,
    };
    let target = match &cluster {
        Some(cluster) => Target::from(cluster),
        None => Target {
            system: args.system,
            mode: args.mode,
            addresses: args.addresses.clone(),
            cluster: None,
        },
    };
    for round in 0..args.repeat {
        let done = measure(&target, ("load", round), &workload, timing)?;
        match args.json {
            true => println!("{}", serde_json::to_string(&done).map_err(failure::wrong)?),
            false => print_measurement(&done),
        }
    }
    Ok(())
}

fn print_measurement(of: &Measurement) {
    use report::{grouped, time};
    let latency = &of.latency;
    println!(
        "{} ({}, {} servers): {} requests/s\n  latency: median {}, p90 {}, p99 {}, p99.9 {}, max {}",
        of.system.name(),
        of.mode.name(),
        of.servers,
        grouped(of.per_second()),
        time(latency.p50_us),
        time(latency.p90_us),
        time(latency.p99_us),
        time(latency.p999_us),
        time(latency.max_us),
    );
    let usage = &of.servers_usage;
    if usage.cpu_seconds > 0.0 {
        println!(
            "  servers: {:.2} us of processor time for a request ({:.0} % in the system), {} MiB \
             of memory, {:.0} bytes written for a request",
            of.servers_us(),
            usage.system_seconds / usage.cpu_seconds * 100.0,
            usage.resident_bytes >> 20,
            usage.written_bytes as f64 / of.requests.max(1) as f64,
        );
    }
    println!("  generator: {:.2} us of processor time for a request", of.generator_us());
}
