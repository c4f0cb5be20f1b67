//! The comparison: all systems in turns, row by row, first in memory, then on disk.
//!
//! All clusters of a mode run all the time, so that none has to warm up again; those that are not
//! measured are idle. Every round begins with another system. A system that is not installed is
//! left out, and said so.

use crate::failure::{Failure, Result};
use crate::load::{Measurement, Target, Timing, measure, measure_patiently};
use crate::plan::{Depth, Row};
use crate::progress::Progress;
use crate::results::Results;
use crate::systems::{Cluster, Mode, Setup, System};
use crate::workload::Workload;
use std::collections::BTreeMap;
use std::time::Duration;

/// What to compare.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Which systems.
    pub systems: Vec<System>,
    /// In which modes.
    pub modes: Vec<Mode>,
    /// Which rows.
    pub rows: Vec<Row>,
    /// How thoroughly.
    pub depth: Depth,
    /// How often, if not as often as the depth has it.
    pub rounds: Option<usize>,
    /// How long each measurement takes, if not as the depth has it.
    pub seconds: Option<Duration>,
    /// How long systems are warmed up at most, if not as the depth has it.
    pub warm_up: Option<Duration>,
    /// How clusters are started; system and mode are replaced.
    pub setup: Setup,
}

/// Starts what can be started.
pub fn start_all(
    systems: &[System],
    setup: &Setup,
    skipped: &mut Vec<String>,
    progress: &Progress,
) -> Result<Vec<Cluster>> {
    let mut clusters = Vec::new();
    for system in systems {
        progress.say(&format!("{}: starting {} servers", system.name(), setup.servers));
        match Cluster::start(Setup { system: *system, ..setup.clone() }) {
            Ok(cluster) => clusters.push(cluster),
            Err(Failure::Missing(what)) => {
                progress.note(&format!("left out: {what}"));
                if !skipped.contains(&what) {
                    skipped.push(what);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(clusters)
}

impl Comparison {
    /// Carries it out. `keep` is given the results so far whenever there are more.
    ///
    /// # Errors
    /// If a server does something wrong.
    pub fn run(
        &self,
        results: &mut Results,
        progress: &Progress,
        mut keep: impl FnMut(&Results) -> Result<()>,
    ) -> Result<()> {
        for mode in &self.modes {
            let setup = Setup { mode: *mode, ..self.setup.clone() };
            let clusters = start_all(&self.systems, &setup, &mut results.skipped, progress)?;
            for cluster in &clusters {
                results.manifest.describe(cluster);
                let mut timing = self.depth.warm_up();
                timing.warm_max = self.warm_up.unwrap_or(timing.warm_max);
                timing.warm = timing.warm.min(timing.warm_max);
                warm_up(cluster, timing, progress)?;
            }
            for row in &self.rows {
                let mut again = Vec::new();
                let done = self.run_row((*mode, row), &clusters, progress, &mut again);
                results.skipped.append(&mut again);
                let done = done?;
                crate::report::say_row(&done, progress);
                results.measurements.extend(done);
                keep(results)?;
            }
        }
        Ok(())
    }

    fn run_row(
        &self,
        (mode, row): (Mode, &Row),
        clusters: &[Cluster],
        progress: &Progress,
        again: &mut Vec<String>,
    ) -> Result<Vec<Measurement>> {
        let mut note = |what: String| {
            progress.note(&what);
            again.push(what);
        };
        let mut windows = BTreeMap::new();
        for cluster in clusters.iter().filter(|_| row.scanned) {
            let system = cluster.setup.system;
            let say = format!("{}, {}: looking for its window", row.title, system.name());
            progress.say(&say);
            windows.insert(system, self.best_window(cluster, row, &mut note)?);
        }
        let mut timing = self.depth.timing();
        if let Some(seconds) = self.seconds {
            timing.measure = seconds;
            timing.warm = timing.warm.min(timing.measure);
        }
        let rounds = self.rounds.unwrap_or_else(|| self.depth.rounds());
        let mut done = Vec::new();
        for round in 0..rounds {
            for turn in 0..clusters.len() {
                let cluster = &clusters[(turn + round) % clusters.len()];
                let system = cluster.setup.system;
                let of = format!("round {} of {rounds}", round + 1);
                progress.say(&format!("{}, {}, {of}: {}", mode.name(), row.title, system.name()));
                let window = windows.entry(system).or_insert(row.workload.window);
                let measured = measure_admitted(cluster, (row, round), window, timing, &mut note)?;
                done.push(measured);
                cluster.tidy();
            }
        }
        Ok(done)
    }

    /// The window with the highest rate, of those that the system admits: upwards and downwards
    /// again, so that what disturbs the machine for a moment, or a store that grows, decides less.
    fn best_window(
        &self,
        cluster: &Cluster,
        row: &Row,
        mut note: impl FnMut(String),
    ) -> Result<usize> {
        let mut timing = self.depth.scan();
        if let Some(seconds) = self.seconds {
            timing.measure = timing.measure.min(seconds);
            timing.warm = timing.warm.min(timing.measure);
        }
        let (system, connections) = (cluster.setup.system, row.workload.connections);
        let windows = self.depth.windows().iter();
        let mut windows: Vec<_> =
            windows.map(|window| system.admitted_window(*window, connections)).collect();
        windows.dedup();
        let mut rates: BTreeMap<usize, f64> = BTreeMap::new();
        for window in windows.iter().chain(windows.iter().rev()).copied() {
            let workload = Workload { window, ..row.workload.clone() };
            match measure(&Target::from(cluster), (row.name, 0), &workload, timing) {
                Ok(found) => *rates.entry(window).or_default() += found.per_second(),
                Err(Failure::Refused(what)) => {
                    note(format!("not admitted ({}, window {window}): {what}", row.name));
                }
                Err(error) => return Err(error),
            }
            cluster.tidy();
        }
        let best = rates.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
        Ok(best.map_or(row.workload.window, |(window, _)| window))
    }
}

/// Measures a row with this window, or with a smaller one from here on if the system refuses it
/// again and again: etcd does when its members have too much to catch up with.
fn measure_admitted(
    cluster: &Cluster,
    (row, round): (&Row, usize),
    window: &mut usize,
    timing: Timing,
    mut note: impl FnMut(String),
) -> Result<Measurement> {
    loop {
        let workload = Workload { window: *window, ..row.workload.clone() };
        let target = Target::from(cluster);
        match measure_patiently(&target, (row.name, round), &workload, timing, &mut note) {
            Err(Failure::Refused(what)) if *window > 1 => {
                *window /= 2;
                note(format!("from here on with window {window} ({}): {what}", row.name));
                cluster.tidy();
            }
            done => return done,
        }
    }
}

/// Loads a cluster that was just started until its rate is stable. Programs that run on a virtual
/// machine need that; the others get a moment, for their caches and files.
pub fn warm_up(cluster: &Cluster, mut timing: Timing, progress: &Progress) -> Result<()> {
    let system = cluster.setup.system;
    if system != System::Zookeeper {
        timing.warm_max = timing.warm_max.min(Duration::from_secs(2));
        timing.warm = timing.warm_max;
    }
    progress.say(&format!("{}: warming up", system.name()));
    let workload = Workload { read_percent: 20, ..Workload::default() };
    let (target, note) = (Target::from(cluster), |what: String| progress.note(&what));
    let done = measure_patiently(&target, ("warm-up", 0), &workload, timing, note)?;
    let rate = done.per_second();
    progress.note(&format!("{}: warm at {rate:.0} requests/s", system.name()));
    Ok(())
}
