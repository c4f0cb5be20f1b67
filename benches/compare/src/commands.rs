//! The subcommands: from arguments to measurements, and from those to text and files.

use crate::cli::{CompareArgs, CurvesArgs, LoadArgs, RegressArgs, ReportArgs, WatchArgs};
use crate::compare::{Comparison, start_all, warm_up};
use crate::curves::Drawing;
use crate::failure::{During, Failure, Result, wrong};
use crate::load::{Measurement, Target, Timing, explain, measure};
use crate::plan::Depth;
use crate::progress::Progress;
use crate::report::{grouped, time};
use crate::results::{Manifest, Results, is_csv};
use crate::systems::{Cluster, Mode, System, accord};
use crate::workload::Workload;
use crate::{plots, regress, report, watch};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The `accord` program, if one of the systems needs it.
fn program(systems: &[System], given: Option<&Path>) -> Result<Option<PathBuf>> {
    let needed = systems
        .iter()
        .any(|one| matches!(one, System::Accord | System::Corosync | System::Library));
    needed.then(|| accord::program(given)).transpose()
}

fn seconds(seconds: f64) -> Result<Duration> {
    let usage = |why: &str| Failure::Usage(format!("{seconds} seconds: {why}"));
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if time.is_zero() => Err(usage("more than none are needed")),
        Ok(time) => Ok(time),
        Err(error) => Err(usage(&error.to_string())),
    }
}

/// The paired comparison.
///
/// # Errors
/// What went wrong; what was measured before is written nevertheless.
pub fn compare(args: &CompareArgs) -> Result<()> {
    let progress = Progress::new();
    let mut systems = args.systems.clone();
    systems.sort_unstable();
    systems.dedup();
    let accord = program(&systems, args.cluster.accord.as_deref())?;
    let (measured, warm_up) = (args.seconds.map(seconds), args.warm_up.map(seconds));
    let comparison = Comparison {
        systems,
        modes: args.modes.clone(),
        rows: args.chosen_rows()?,
        depth: args.depth(),
        rounds: args.rounds,
        seconds: measured.transpose()?,
        warm_up: warm_up.transpose()?,
        setup: args.cluster.setup(System::Accord, Mode::Memory),
    };
    let mut results = Results { manifest: Manifest::new(accord.as_deref()), ..Results::default() };
    let done = comparison.run(&mut results, &progress, |results| results.write(&args.out));
    finish(&progress, &results, &args.out)?;
    done
}

/// Curves.
///
/// # Errors
/// What went wrong; what was measured before is written nevertheless.
pub fn curves(args: &CurvesArgs) -> Result<()> {
    let progress = Progress::new();
    let accord = program(&args.systems, args.cluster.accord.as_deref())?;
    let per_point = args.seconds.unwrap_or(if args.quick { 1.5 } else { 5.0 });
    seconds(per_point)?;
    let chosen = args.chosen_curves()?;
    let mut setup = args.cluster.setup(System::Accord, args.mode);
    if chosen.iter().any(|curve| curve.name == "value") && setup.java_heap == "1g" {
        // ZooKeeper keeps the last 500 writes on its heap: those of 1 MiB need as much.
        setup.java_heap = "4g".to_owned();
    }
    let drawing = Drawing {
        systems: args.systems.clone(),
        curves: chosen,
        quick: args.quick,
        seconds: per_point,
        setup,
    };
    let mut results = Results { manifest: Manifest::new(accord.as_deref()), ..Results::default() };
    let done = drawing.run(&mut results, &progress, |results| results.write(&args.out));
    finish(&progress, &results, &args.out)?;
    done
}

fn finish(progress: &Progress, results: &Results, out: &Path) -> Result<()> {
    progress.finish();
    match results.measurements.is_empty() {
        true => Ok(()),
        false => write_report(results, out),
    }
}

/// Writes tables and plots, and says where everything is.
fn write_report(results: &Results, out: &Path) -> Result<()> {
    std::fs::create_dir_all(out).during(out.display())?;
    let path = out.join("report.md");
    let mut text = report::markdown(results);
    for plot in plots::draw_all(results, out)? {
        let name = plot.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        text.push_str(&format!("\n![{name}]({name})\n"));
    }
    std::fs::write(&path, text).during(path.display())?;
    accord_testbed::complain!("tables: {}; plots, CSV and JSON beside them", path.display());
    Ok(())
}

/// Writes plots alone: measurements in a CSV do not say with what they were made.
fn write_plots(results: &Results, out: &Path) -> Result<()> {
    let plots = plots::draw_all(results, out)?;
    accord_testbed::complain!("{} plots: {}", plots.len(), out.display());
    Ok(())
}

/// Tables and plots of results that were measured before.
///
/// # Errors
/// If the files cannot be read or written.
pub fn redraw(args: &ReportArgs) -> Result<()> {
    let mut all = Results::default();
    for (at, path) in args.results.iter().enumerate() {
        let results = Results::read(path)?;
        if at == 0 {
            all.manifest = results.manifest;
        }
        all.skipped.extend(results.skipped);
        all.measurements.extend(results.measurements);
    }
    if args.results.iter().any(|path| is_csv(path)) {
        return write_plots(&all, &args.out);
    }
    all.write(&args.out)?;
    write_report(&all, &args.out)
}

/// One workload on one system.
///
/// # Errors
/// If a server does something wrong.
pub fn load(args: &LoadArgs) -> Result<()> {
    let workload = Workload::from(&args.workload);
    workload.check()?;
    let warm = seconds(args.warm_up)?;
    let timing = Timing { warm, warm_max: warm * 10, measure: seconds(args.seconds)? };
    let cluster = match args.addresses.is_empty() {
        true => Some(Cluster::start(args.cluster.setup(args.system, args.mode))?),
        false => None,
    };
    if let Some(cluster) = &cluster {
        // For whoever wants to look at them meanwhile, with a profiler say.
        let pids: Vec<_> = cluster.pids().iter().map(u32::to_string).collect();
        accord_testbed::complain!("{} serves: processes {}", args.system.name(), pids.join(", "));
    }
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
            true => accord_testbed::say!("{}", serde_json::to_string(&done).map_err(wrong)?),
            false => {
                // Whoever reads it may have gone.
                let _ = writeln!(std::io::stdout(), "{}", measurement_text(&done));
            }
        }
    }
    Ok(())
}

fn measurement_text(of: &Measurement) -> String {
    let latency = &of.latency;
    let mut text = format!(
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
        text.push_str(&format!(
            "\n  servers: {:.2} us of processor time for a request ({:.0} % in the system), {} MiB \
             of memory, {:.0} bytes written for a request",
            of.servers_us(),
            usage.system_seconds / usage.cpu_seconds * 100.0,
            usage.resident_bytes >> 20,
            usage.written_bytes as f64 / of.requests.max(1) as f64,
        ));
    }
    let generator = of.generator_us();
    text + &format!("\n  generator: {generator:.2} us of processor time for a request")
}

/// One write, many watchers.
///
/// # Errors
/// If a server does something wrong.
pub fn watch(args: &WatchArgs) -> Result<()> {
    let progress = Progress::new();
    let setup = args.cluster.setup(System::Accord, args.mode);
    let mut skipped = Vec::new();
    let clusters = start_all(&args.systems, &setup, &mut skipped, &progress)?;
    for cluster in &clusters {
        let depth = if args.quick { Depth::Quick } else { Depth::Usual };
        warm_up(cluster, depth.warm_up(), &progress)?;
    }
    for round in 1..=args.rounds {
        for cluster in &clusters {
            let name = cluster.setup.system.name();
            progress.say(&format!("{name}: {} watchers, round {round}", args.watchers));
            let target = Target::from(cluster);
            let done = watch::run(&target, args.watchers, args.writes);
            let done = done.map_err(|error| explain(&target, error))?;
            progress.note(&format!(
                "{name}: the last of {} watchers is told after {} (median of {} writes), p99 {}",
                args.watchers,
                time(done.last.p50_us),
                done.writes,
                time(done.last.p99_us)
            ));
        }
    }
    progress.finish();
    Ok(())
}

/// Two commits against each other.
///
/// # Errors
/// If one does not build, or a server does something wrong.
pub fn regress(args: &RegressArgs) -> Result<()> {
    let progress = Progress::new();
    let workload = Workload::from(&args.workload);
    workload.check()?;
    let measure = seconds(args.seconds)?;
    let warm = measure.min(Duration::from_secs(2));
    let timing = Timing { warm, warm_max: Duration::ZERO, measure };
    let builds =
        [regress::build(&args.before, &progress)?, regress::build(&args.after, &progress)?];
    let setup = args.cluster.setup(System::Accord, args.mode);
    let rounds = (args.rounds, timing);
    let done = regress::measure_both(&builds, &setup, &workload, rounds, &progress)?;
    progress.finish();
    accord_testbed::say!("{}", done.text(&builds));
    Ok(())
}
