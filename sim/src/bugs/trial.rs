//! One bug from its patch to a verdict: apply, build, hunt, and try the same seed without the bug.

use super::hunt::{self, Found, Hunt, Report};
use accord_bugs::catalogue::Bug;
use accord_bugs::tree::Tree;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A bug and what came of it.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The bug.
    pub bug: Bug,
    /// What came of it.
    pub verdict: Verdict,
    /// How long the hunt took, without the build.
    pub hunted: Duration,
}

/// What came of a bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The simulator finds it.
    Found(Found),
    /// No world shows it, but another layer of the tests does.
    FoundBeside {
        /// Which layer, and what in it.
        by: String,
    },
    /// It does not, in so many worlds.
    NotFound {
        /// The number of worlds that were tried.
        seeds: u64,
    },
    /// The patch does not apply, or the copy does not build or run.
    Broken(String),
    /// The seed that fails with the bug fails without it as well, so it says nothing of the bug.
    FailsAnyway(Found),
}

impl Trial {
    /// Tries one bug, and tells `progress` what is being done. What is found is drawn into `pages`,
    /// if there is such a directory, by the copy: only there does it fail.
    pub fn run(
        root: &Path,
        bug: &Bug,
        hunt: Hunt,
        pages: Option<&Path>,
        progress: impl Fn(&str),
    ) -> Self {
        progress("building");
        let built = accord_bugs::build(&Tree::of(root), root, bug);
        let begun = Instant::now();
        let report = built.as_ref().map_err(Clone::clone);
        let report = report.and_then(|program| hunt_in(program, hunt, &progress));
        let hunted = begun.elapsed();
        let without = |seed| hunt::try_seed(hunt.world, seed);
        let verdict = report.map_or_else(Verdict::Broken, |report| judge(report, without));
        let drawn = match (&verdict, pages, &built) {
            (Verdict::Found(catch), Some(pages), Ok(program)) => {
                progress("drawing");
                draw(program, pages, &bug.name, catch)
            }
            _ => Ok(()),
        };
        let verdict = drawn.map_or_else(Verdict::Broken, |()| verdict);
        Self { bug: bug.clone(), verdict: without_bug(verdict, hunt), hunted }
    }
}

/// Draws how a bug shows, as `BUG.html` in a directory: the smaller world, if there is one.
fn draw(program: &Path, pages: &Path, name: &str, catch: &Found) -> Result<(), String> {
    let wrong = |error| format!("{}: {error}", pages.display());
    fs::create_dir_all(pages).map_err(wrong)?;
    let mut command = Command::new(program);
    command.arg("replay").arg("--html").arg(pages.join(format!("{name}.html")));
    match &catch.shrunk {
        Some(small) => {
            let plan = pages.join(format!("{name}.plan"));
            fs::write(&plan, &small.plan).map_err(wrong)?;
            command.arg("--plan").arg(plan);
        }
        None => {
            command.args(["--seed", &catch.seed.to_string()]);
        }
    }
    let output = command.output().map_err(|error| format!("{}: {error}", program.display()))?;
    // With the bug, the world violates something.
    match output.status.code() {
        Some(code) if code == i32::from(crate::report::exit::VIOLATED) => Ok(()),
        _ => Err(format!(
            "its run cannot be drawn: {}",
            String::from_utf8_lossy(&output.stderr).trim_end()
        )),
    }
}

/// Runs the copy's hunt.
///
/// # Errors
/// For people: why it gave no result.
pub fn hunt_in(program: &Path, hunt: Hunt, progress: &impl Fn(&str)) -> Result<Report, String> {
    progress("hunting");
    let mut child = Command::new(program)
        .args(["hunt", "--world", hunt.world.name()])
        .args(["--budget-seconds", &hunt.budget.as_secs().to_string()])
        .args(["--threads", &hunt.threads.to_string(), "--seed", &hunt.from.to_string()])
        .args(hunt.shrink.then_some("--shrink"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{} cannot be run: {error}", program.display()))?;
    let lines = BufReader::new(child.stdout.take().expect("the output is piped")).lines();
    let mut result = None;
    for line in lines.map_while(Result::ok) {
        match Report::parse(&line) {
            Some(Report::Progress(seeds)) => progress(&format!("hunting, {seeds} seeds")),
            Some(Report::Shrinking) => progress("found, shrinking"),
            Some(report) => result = Some(report),
            None => {}
        }
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    result.ok_or_else(|| format!("the copy's simulator ended with {status} and no result"))
}

impl Verdict {
    /// True if the nets caught the bug.
    pub const fn is_found(&self) -> bool {
        matches!(self, Self::Found(_) | Self::FoundBeside { .. })
    }
}

/// What a hunt's result means, given what comes of a seed without the bug.
pub fn judge(report: Report, without_bug: impl Fn(u64) -> Option<Found>) -> Verdict {
    match report {
        Report::Caught(catch) => match without_bug(catch.seed) {
            None => Verdict::Found(catch),
            Some(anyway) => Verdict::FailsAnyway(anyway),
        },
        Report::Nothing(seeds) | Report::Progress(seeds) => Verdict::NotFound { seeds },
        Report::Shrinking => Verdict::NotFound { seeds: 0 },
    }
}

/// A shrunk plan that fails without the bug says nothing of the bug, although its seed does.
fn without_bug(mut verdict: Verdict, hunt: Hunt) -> Verdict {
    if let Verdict::Found(Found { shrunk, .. }) = &mut verdict
        && shrunk.as_ref().is_some_and(|small| !small.holds_here(hunt.world))
    {
        *shrunk = None;
    }
    verdict
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, seconds) = (&self.bug.name, self.hunted.as_secs_f64());
        match &self.verdict {
            Verdict::Found(Found { seed, detail, .. }) => {
                let detail = detail.lines().next().unwrap_or_default();
                write!(f, "{name}: found in {seconds:.1} s, seed {seed}: {detail}")
            }
            Verdict::FoundBeside { by } => write!(f, "{name}: found by {by}"),
            Verdict::NotFound { seeds } => {
                write!(f, "{name}: NOT FOUND in {seeds} seeds, {seconds:.1} s")
            }
            Verdict::Broken(why) => write!(f, "{name}: CANNOT BE TRIED: {why}"),
            Verdict::FailsAnyway(Found { seed, detail, .. }) => {
                write!(f, "{name}: seed {seed} FAILS WITHOUT THE BUG AS WELL: {detail}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catch(property: &str) -> Found {
        Found { seed: 4, property: property.to_owned(), ..Found::default() }
    }

    #[test]
    fn a_seed_that_fails_without_the_bug_proves_nothing() {
        let report = Report::Caught(catch("reads-fresh"));
        assert_eq!(judge(report.clone(), |_| None), Verdict::Found(catch("reads-fresh")));
        let anyway = judge(report, |_| Some(catch("convergence")));
        assert_eq!(anyway, Verdict::FailsAnyway(catch("convergence")));
        assert_eq!(judge(Report::Nothing(9), |_| None), Verdict::NotFound { seeds: 9 });
    }
}
