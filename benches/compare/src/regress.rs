//! Two commits against each other: both built, both measured in turns in one run.
//!
//! The generator is this one for both sides, so that only the servers differ. Sources are taken out
//! of the repository into the target directory, where their builds stay for the next time.

use crate::failure::{During, Failure, Result, wrong};
use crate::load::{Measurement, Target, Timing, measure};
use crate::progress::Progress;
use crate::report::{Figure, grouped};
use crate::stats::{Ratio, ratio, spread};
use crate::systems::{Cluster, Setup};
use crate::workload::Workload;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One of the two commits.
#[derive(Debug)]
pub struct Build {
    /// Its name, as it was given, and its number.
    pub name: String,
    /// Its `accord` program.
    pub accord: PathBuf,
}

/// Runs a program to its end.
fn run(program: &str, args: &[&str], dir: &Path) -> Result<String> {
    let mut command = Command::new(program);
    let output = command.args(args).current_dir(dir).output().during(program)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => {
            Err(wrong(format!("{program} {} failed:\n{}", args.join(" "), text(&output.stderr))))
        }
    }
}

/// Builds the `accord` program of a commit.
///
/// # Errors
/// If there is no such commit, or it does not build.
pub fn build(commit: &str, progress: &Progress) -> Result<Build> {
    let here = Path::new(".");
    let top = run("git", &["rev-parse", "--show-toplevel"], here).map_err(|_| {
        Failure::Usage("regress builds commits: run it inside Accord's repository".to_owned())
    })?;
    let name = format!("{commit}^{{commit}}");
    let full = run("git", &["rev-parse", "--verify", "--quiet", &name], here)
        .map_err(|_| Failure::Usage(format!("there is no commit {commit}")))?;
    let short = &full[..full.len().min(12)];
    let all = Path::new(&top).join("target/regress");
    let dir = all.join(short);
    let accord = dir.join("accord");
    if !accord.is_file() {
        progress.say(&format!("building {commit} ({short}); this takes some minutes"));
        std::fs::create_dir_all(&dir).during(dir.display())?;
        let archive = dir.join("sources.tar").display().to_string();
        run("git", &["archive", "--output", &archive, &full], Path::new(&top))?;
        run("tar", &["-xf", &archive], &dir)?;
        // What the commits' dependencies have in common is built once.
        let target = all.join("build");
        let target_text = target.display().to_string();
        // As the profile `dist` has it, said so that a commit without that profile is built alike.
        let config = ["profile.release.lto='fat'", "profile.release.codegen-units=1"];
        let config = config.iter().flat_map(|config| ["--config", config]);
        let args = ["build", "--release", "-p", "accord-net", "--bin", "accord", "--target-dir"];
        let args = args.into_iter().chain([&*target_text]).chain(config);
        run("cargo", &args.collect::<Vec<_>>(), &dir)?;
        let built = target.join("release/accord");
        std::fs::copy(&built, &accord).during(built.display())?;
    }
    Ok(Build { name: format!("{commit} ({short})"), accord })
}

/// What came of it: measurements of both sides, by round.
#[derive(Debug)]
pub struct Regression {
    /// The first commit's.
    pub before: Vec<Measurement>,
    /// The second's.
    pub after: Vec<Measurement>,
}

/// Measures both in turns.
///
/// # Errors
/// If a server does something wrong.
pub fn measure_both(
    builds: &[Build; 2],
    setup: &Setup,
    workload: &Workload,
    (rounds, timing): (usize, Timing),
    progress: &Progress,
) -> Result<Regression> {
    let start = |build: &Build| {
        Cluster::start(Setup { accord: Some(build.accord.clone()), ..setup.clone() })
    };
    let clusters = [start(&builds[0])?, start(&builds[1])?];
    let mut done = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for turn in 0..2 {
            let side = (turn + round) % 2;
            progress.say(&format!("round {} of {rounds}: {}", round + 1, builds[side].name));
            let target = Target::from(&clusters[side]);
            done[side].push(measure(&target, ("regress", round), workload, timing)?);
        }
    }
    let [before, after] = done;
    Ok(Regression { before, after })
}

impl Regression {
    /// How many times more of a figure the second commit has.
    pub fn ratio(&self, figure: impl Fn(&Measurement) -> f64) -> Option<Ratio> {
        let pairs = self.after.iter().zip(&self.before);
        let pairs: Vec<_> = pairs.map(|(after, before)| (figure(after), figure(before))).collect();
        ratio(&pairs)
    }

    /// As text.
    pub fn text(&self, builds: &[Build; 2]) -> String {
        let mut lines = Vec::new();
        for (build, side) in builds.iter().zip([&self.before, &self.after]) {
            let rates: Vec<f64> = side.iter().map(Measurement::per_second).collect();
            let us: Vec<f64> = side.iter().map(Measurement::servers_us).collect();
            let (Some(rate), Some(us)) = (spread(&rates), spread(&us)) else { continue };
            lines.push(format!(
                "{}: {}/s ({}-{}), {:.2} us/op in the servers ({:.2}-{:.2})",
                build.name,
                grouped(rate.median),
                grouped(rate.min),
                grouped(rate.max),
                us.median,
                us.min,
                us.max
            ));
        }
        let figures: [(&str, Figure); 2] =
            [("requests/s", Measurement::per_second), ("servers us/op", Measurement::servers_us)];
        for (what, figure) in figures {
            if let Some(Ratio { median, low, high, confidence, pairs }) = self.ratio(figure) {
                let sure = confidence * 100.0;
                lines.push(format!(
                    "{what}, second to first: {median:.3} ({low:.3}-{high:.3}, {pairs} pairs, \
                     {sure:.0} % sure)"
                ));
            }
        }
        lines.join("\n")
    }
}
