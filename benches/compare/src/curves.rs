//! Curves: one thing varied, everything else as it was.
//!
//! By window, by connections, by value size, by steps in a transaction, by servers, and latency
//! against load in an open loop. Each point is measured on every system in turn before the next is,
//! so that neighbours on one curve are as far apart in time as the systems are on one point.

use crate::compare::{start_all, warm_up};
use crate::failure::{Failure, Result};
use crate::load::{Measurement, Target, Timing, measure_patiently};
use crate::plan::Depth;
use crate::progress::Progress;
use crate::report::{grouped, sides, time};
use crate::results::Results;
use crate::systems::{Cluster, Mode, Setup, System};
use crate::workload::Workload;
use std::fmt::Write as _;
use std::time::Duration;

/// The most bytes outstanding on one connection: Accord's servers read on only below this, so more
/// would measure how long requests wait in sockets.
const OUTSTANDING_BYTES_MAX: usize = 4 << 20;
/// The same for all connections together: three servers and their logs share the memory.
const ALL_BYTES_MAX: usize = 32 << 20;

/// What is varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Curve {
    /// Its name, for `--curves`; measurements of it have `curve-NAME` as their row.
    pub name: &'static str,
    /// What is varied, as the axis says it.
    pub axis: &'static str,
    /// What each request is.
    pub title: &'static str,
    points: &'static [usize],
    quick: &'static [usize],
}

/// All curves.
pub const CURVES: [Curve; 6] = [
    Curve {
        name: "window",
        axis: "requests outstanding on each of 16 connections",
        title: "Writes by window",
        points: &[1, 4, 16, 64, 256, 1024],
        quick: &[1, 16, 256],
    },
    Curve {
        name: "connections",
        axis: "connections, 16 requests outstanding on each",
        title: "Writes by connections",
        points: &[1, 4, 16, 64, 256, 1024],
        quick: &[1, 16, 256],
    },
    Curve {
        name: "value",
        axis: "bytes of a value",
        title: "Writes by value size",
        points: &[8, 100, 1 << 10, 10 << 10, 100 << 10, 1 << 20],
        quick: &[8, 1 << 10, 100 << 10],
    },
    Curve {
        name: "steps",
        axis: "writes in one transaction",
        title: "Transactions by steps",
        points: &[1, 10, 100],
        quick: &[1, 100],
    },
    Curve {
        name: "servers",
        axis: "servers",
        title: "Writes by servers",
        points: &[3, 5, 7],
        quick: &[3, 5],
    },
    Curve {
        name: "load",
        axis: "writes a second (open loop)",
        title: "Latency against load",
        points: &[10, 25, 50, 75, 90],
        quick: &[25, 75],
    },
];

impl Curve {
    /// The curve of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn of(name: &str) -> Result<Self> {
        let known: Vec<_> = CURVES.iter().map(|curve| curve.name).collect();
        let found = CURVES.into_iter().find(|curve| curve.name == name);
        let what = || format!("there is no curve {name}; there are: {}", known.join(", "));
        found.ok_or_else(|| Failure::Usage(what()))
    }

    /// The name of the row that its measurements have.
    pub fn row(&self) -> String {
        format!("curve-{}", self.name)
    }

    /// Where a measurement stands on its axis.
    pub fn x(&self, of: &Measurement) -> f64 {
        match self.name {
            "window" => of.workload.window as f64,
            "connections" => of.workload.connections as f64,
            "value" => of.workload.value_bytes as f64,
            "steps" => of.workload.steps as f64,
            "servers" => of.servers as f64,
            _ => of.workload.rate.unwrap_or(0) as f64,
        }
    }

    /// What is asked at a point.
    fn workload(&self, point: usize) -> Workload {
        let mut workload = Workload::default();
        match self.name {
            "window" => workload.window = point,
            "connections" => (workload.connections, workload.window) = (point, 16),
            "value" => workload.value_bytes = point,
            "steps" => (workload.steps, workload.window) = (point, 16),
            _ => {}
        }
        let bytes = workload.value_bytes * workload.steps;
        let one = OUTSTANDING_BYTES_MAX / bytes;
        let all = ALL_BYTES_MAX / (bytes * workload.connections);
        workload.window = workload.window.min(one).min(all).max(1);
        if workload.value_bytes > 4096 {
            // Large values fill memories and disks: fewer keys, and they fit.
            workload.keys = 10;
        }
        workload
    }
}

/// What curves are drawn of.
#[derive(Clone, Debug)]
pub struct Drawing {
    /// Which systems.
    pub systems: Vec<System>,
    /// Which curves.
    pub curves: Vec<Curve>,
    /// Few points, and short.
    pub quick: bool,
    /// How long each point is measured.
    pub seconds: f64,
    /// How clusters are started; the system is replaced.
    pub setup: Setup,
}

impl Drawing {
    /// Measures all points.
    ///
    /// # Errors
    /// If a server does something wrong.
    pub fn run(
        &self,
        results: &mut Results,
        progress: &Progress,
        mut keep: impl FnMut(&Results) -> Result<()>,
    ) -> Result<()> {
        let (own, shared): (Vec<&Curve>, Vec<&Curve>) =
            self.curves.iter().partition(|curve| curve.name == "servers");
        if !shared.is_empty() {
            let clusters = self.start(self.setup.servers, results, progress)?;
            for curve in shared {
                match curve.name {
                    "load" => self.run_loads(curve, &clusters, results, progress)?,
                    _ => self.run_curve(curve, &clusters, results, progress)?,
                }
                keep(results)?;
            }
        }
        for curve in own {
            for servers in self.points(curve) {
                let clusters = self.start(*servers, results, progress)?;
                self.run_point(curve, *servers, &clusters, results, progress)?;
                keep(results)?;
            }
        }
        Ok(())
    }

    const fn points(&self, curve: &Curve) -> &'static [usize] {
        if self.quick { curve.quick } else { curve.points }
    }

    fn timing(&self) -> Timing {
        let measure = Duration::from_secs_f64(self.seconds);
        Timing { warm: measure.min(Duration::from_secs(1)), warm_max: Duration::ZERO, measure }
    }

    fn start(
        &self,
        servers: usize,
        results: &mut Results,
        progress: &Progress,
    ) -> Result<Vec<Cluster>> {
        let setup = Setup { servers, ..self.setup.clone() };
        let clusters = start_all(&self.systems, &setup, &mut results.skipped, progress)?;
        for cluster in &clusters {
            results.manifest.describe(cluster);
            let depth = if self.quick { Depth::Quick } else { Depth::Usual };
            warm_up(cluster, depth.warm_up(), progress)?;
        }
        Ok(clusters)
    }

    fn measure(
        &self,
        cluster: &Cluster,
        row: &str,
        workload: &Workload,
        progress: &Progress,
    ) -> Result<Measurement> {
        let (target, note) = (Target::from(cluster), |what: String| progress.note(&what));
        measure_patiently(&target, (row, 0), workload, self.timing(), note)
    }

    fn run_curve(
        &self,
        curve: &Curve,
        clusters: &[Cluster],
        results: &mut Results,
        progress: &Progress,
    ) -> Result<()> {
        let points = self.points(curve).iter();
        let mut each =
            points.map(|point| self.run_point(curve, *point, clusters, results, progress));
        each.try_for_each(|done| done)
    }

    fn run_point(
        &self,
        curve: &Curve,
        point: usize,
        clusters: &[Cluster],
        results: &mut Results,
        progress: &Progress,
    ) -> Result<()> {
        for cluster in clusters {
            let name = cluster.setup.system.name();
            progress.say(&format!("{}: {point}, {name}", curve.title));
            let mut workload = curve.workload(point);
            let (system, connections) = (cluster.setup.system, workload.connections);
            workload.window = system.admitted_window(workload.window, connections);
            let row = curve.row();
            let done = self.measure(cluster, &row, &workload, progress)?;
            let rate = grouped(done.per_second());
            progress.note(&format!("{} ({point}), {name}: {rate}/s", curve.title));
            results.measurements.push(done);
            cluster.tidy();
        }
        Ok(())
    }

    /// Open loops at shares of what each system can do.
    fn run_loads(
        &self,
        curve: &Curve,
        clusters: &[Cluster],
        results: &mut Results,
        progress: &Progress,
    ) -> Result<()> {
        for cluster in clusters {
            let row = curve.row();
            progress.say(&format!("{}: what it can do", cluster.setup.system.name()));
            let closed = Workload::default();
            let most = self.measure(cluster, &row, &closed, progress)?.per_second();
            for share in self.points(curve) {
                let rate = ((most * *share as f64 / 100.0) as u64).max(1);
                let name = cluster.setup.system.name();
                progress.say(&format!("{}: {rate}/s, {name}", curve.title));
                // The window does not limit: what waits, waits at the server.
                let window = cluster.setup.system.admitted_window(1000, closed.connections);
                let workload = Workload { rate: Some(rate), window, ..Workload::default() };
                let done = self.measure(cluster, &row, &workload, progress)?;
                let p99 = time(done.latency.p99_us);
                progress.note(&format!("{}: {name} at {rate}/s: p99 {p99}", curve.title));
                results.measurements.push(done);
                cluster.tidy();
            }
        }
        Ok(())
    }
}

/// The curves as tables, if any were measured.
pub fn tables(results: &Results, text: &mut String) {
    for curve in CURVES {
        for mode in [Mode::Memory, Mode::Persistent] {
            let row = curve.row();
            let of = results.measurements.iter();
            let of: Vec<_> = of.filter(|of| of.row == row && of.mode == mode).collect();
            if !of.is_empty() {
                table(curve, mode, &of, text);
            }
        }
    }
}

fn table(curve: Curve, mode: Mode, measurements: &[&Measurement], text: &mut String) {
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "\n## {} in {} mode\n\n| {} | system | requests/s | median | p99 | servers us/op |\n\
         |---|---|---|---|---|---|\n",
        curve.title,
        mode.name(),
        curve.axis
    );
    let mut points: Vec<f64> = measurements.iter().map(|of| curve.x(of)).collect();
    points.sort_by(f64::total_cmp);
    points.dedup();
    for point in points {
        for side in sides(measurements.iter().copied().filter(|of| curve.x(of) == point)) {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {:.2} |",
                grouped(point),
                side.system.name(),
                grouped(side.spread(Measurement::per_second).median),
                time(side.spread(|of| of.latency.p50_us).median),
                time(side.spread(|of| of.latency.p99_us).median),
                side.spread(Measurement::servers_us).median,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_makes_sense_and_stays_within_what_servers_read() {
        for curve in CURVES {
            assert_eq!(Curve::of(curve.name).unwrap(), curve);
            for point in curve.points.iter().chain(curve.quick) {
                let workload = curve.workload(*point);
                workload.check().unwrap();
                let bytes = workload.window * workload.value_bytes * workload.steps;
                assert!(bytes <= OUTSTANDING_BYTES_MAX, "{}: {point}", curve.name);
            }
        }
        assert!(Curve::of("shape").unwrap_err().to_string().contains("window"));
    }
}
