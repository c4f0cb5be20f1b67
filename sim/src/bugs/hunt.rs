//! Going through the seeds until one shows a violation: what runs in the copy that has the bug.
//!
//! The worlds are those of the default campaign, from a first seed on, in campaigns one after the
//! other. The lowest seed that fails is what counts, whatever the number of threads. Its plan is
//! shrunk here too, if asked, since only here does it fail.

use crate::campaign::interrupt::Stop;
use crate::campaign::shrink::{self, RUNS_MAX};
use crate::campaign::{Campaign, seeds_from};
use crate::judge::Violation;
use crate::plan::{Overrides, Plan};
use crate::worlds::{self, WorldKind};
use serde_json::{Value, json};
use std::num::NonZero;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// Worlds of the first campaign, for each thread; each further campaign is half as long again, so
/// that little time is lost at the end of one and the budget is not exceeded by much.
const WORLDS_FIRST: u64 = 8;
/// Worlds of a campaign at most, for each thread.
const WORLDS_MAX: u64 = 128;

/// What `accord-sim hunt` takes. It is not for people: `accord-sim bugs` runs it.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// In which world.
    #[arg(long = "world", default_value = "bare", value_parser = WorldKind::parse)]
    pub kind: WorldKind,
    /// Seconds after which no world is begun.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub budget_seconds: u64,
    /// Worlds side by side; as many as there are cores if not given.
    #[arg(long, value_name = "COUNT")]
    pub threads: Option<NonZero<usize>>,
    /// The first seed.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Shrink the plan that fails.
    #[arg(long)]
    pub shrink: bool,
}

/// How a bug is hunted.
#[derive(Clone, Copy, Debug)]
pub struct Hunt {
    /// In which world.
    pub world: WorldKind,
    /// The first seed.
    pub from: u64,
    /// Time after which no world is begun.
    pub budget: Duration,
    /// Worlds side by side.
    pub threads: NonZero<usize>,
    /// Whether the plan that fails is shrunk.
    pub shrink: bool,
}

/// What a hunt came to. Travels as a line of JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The seed that failed.
    pub seed: u64,
    /// The word for the property that did not hold.
    pub property: String,
    /// What was seen.
    pub detail: String,
    /// The smaller plan that fails in the same way, if one was asked for.
    pub shrunk: Option<ShrunkPlan>,
}

/// A shrunk plan, and its measures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShrunkPlan {
    /// The plan, as text.
    pub plan: String,
    /// Its faults, and how many there were.
    pub faults: [u64; 2],
    /// The operations that its clients start at most, and how many they were.
    pub operations: [u64; 2],
    /// Worlds that were run to find it.
    pub runs: u64,
}

impl Found {
    fn new(seed: u64, violation: &Violation) -> Self {
        let property = violation.property.name().to_owned();
        Self { seed, property, detail: violation.to_string(), shrunk: None }
    }
}

impl ShrunkPlan {
    /// Shrinks the plan of a seed that fails in a world with `violation`.
    pub fn of(world: WorldKind, seed: u64, violation: &Violation) -> Self {
        let plan = Plan::draw(seed, &Overrides::default());
        let run = |plan: &Plan| worlds::run(world, plan, None).violation;
        let shrunk = shrink::shrink(&plan, violation, RUNS_MAX, run);
        Self {
            faults: [&shrunk.plan, &plan].map(|plan| plan.faults.len() as u64),
            operations: [&shrunk.plan, &plan].map(|plan| u64::from(plan.options.operations)),
            plan: shrunk.plan.to_string(),
            runs: u64::from(shrunk.runs),
        }
    }

    /// True if the world of the plan violates nothing in this program.
    pub fn holds_here(&self, world: WorldKind) -> bool {
        let plan = crate::plan::text::read(&self.plan);
        plan.is_ok_and(|plan| worlds::run(world, &plan, None).violation.is_none())
    }

    fn json(&self) -> Value {
        let Self { plan, faults, operations, runs } = self;
        json!({"plan": plan, "faults": faults, "operations": operations, "runs": runs})
    }

    fn parse(value: &Value) -> Option<Self> {
        let pair = |name: &str| {
            let pair = value.get(name)?;
            Some([pair.get(0)?.as_u64()?, pair.get(1)?.as_u64()?])
        };
        Some(Self {
            plan: value.get("plan")?.as_str()?.to_owned(),
            faults: pair("faults")?,
            operations: pair("operations")?,
            runs: value.get("runs")?.as_u64()?,
        })
    }
}

/// What the copy tells while it hunts, a line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// So many worlds have ended well.
    Progress(u64),
    /// A world failed, and its plan is being shrunk.
    Shrinking,
    /// A world failed.
    Caught(Found),
    /// The time is over, after so many worlds.
    Nothing(u64),
}

impl Report {
    /// The line of JSON.
    pub fn line(&self) -> String {
        match self {
            Self::Progress(seeds) => json!({"progress": seeds}).to_string(),
            Self::Shrinking => json!({"shrinking": true}).to_string(),
            Self::Caught(Found { seed, property, detail, shrunk }) => {
                let shrunk = shrunk.as_ref().map(ShrunkPlan::json);
                json!({"seed": seed, "property": property, "detail": detail, "shrunk": shrunk})
                    .to_string()
            }
            Self::Nothing(seeds) => json!({"nothing": seeds}).to_string(),
        }
    }

    /// Reads a line. `None` if it is none of ours.
    pub fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let number = |name: &str| value.get(name).and_then(Value::as_u64);
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        if let Some(seeds) = number("progress") {
            return Some(Self::Progress(seeds));
        }
        if let Some(seeds) = number("nothing") {
            return Some(Self::Nothing(seeds));
        }
        if value.get("shrinking").is_some() {
            return Some(Self::Shrinking);
        }
        let (seed, property, detail) = (number("seed")?, text("property")?, text("detail")?);
        let shrunk = value.get("shrunk").and_then(ShrunkPlan::parse);
        Some(Self::Caught(Found { seed, property, detail, shrunk }))
    }
}

/// How many worlds can run side by side.
pub fn threads_available() -> NonZero<usize> {
    thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}

/// Hunts, and prints a line of JSON now and then and one in the end.
pub fn run(options: &Options) -> ExitCode {
    let asked = Hunt {
        world: options.kind,
        from: options.seed,
        budget: Duration::from_secs(options.budget_seconds),
        threads: options.threads.unwrap_or_else(threads_available),
        shrink: options.shrink,
    };
    let tell = |report: Report| say!("{}", report.line());
    let report = hunt(asked, tell);
    say!("{}", report.line());
    ExitCode::SUCCESS
}

/// The first violation of one seed's world, if there is one.
pub fn try_seed(world: WorldKind, seed: u64) -> Option<Found> {
    let plan = Plan::draw(seed, &Overrides::default());
    worlds::run(world, &plan, None).violation.map(|violation| Found::new(seed, &violation))
}

/// Runs campaigns until one fails or the time is over. `progress` is told how many worlds have
/// ended well, after each campaign, and when shrinking begins.
pub fn hunt(asked: Hunt, progress: impl Fn(Report)) -> Report {
    let Hunt { world, from, budget, threads, shrink } = asked;
    let begun = Instant::now();
    let (mut done, mut per_thread) = (0, WORLDS_FIRST);
    let seeds = seeds_from(from);
    while begun.elapsed() < budget && done < seeds {
        let first = from + done;
        let count = (per_thread * threads.get() as u64).min(seeds - done);
        let overrides = Overrides::default();
        let (budget, stop) = (None, Stop::default());
        let campaign = Campaign { world, first, count, overrides, threads, budget, stop };
        if let Some((seed, violation)) = campaign.run(|_| {}).failure {
            let shrunk = shrink.then(|| {
                progress(Report::Shrinking);
                ShrunkPlan::of(world, seed, &violation)
            });
            return Report::Caught(Found { shrunk, ..Found::new(seed, &violation) });
        }
        done += count;
        per_thread = (per_thread + per_thread / 2).min(WORLDS_MAX);
        progress(Report::Progress(done));
    }
    Report::Nothing(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_come_through_as_lines() {
        let (property, detail) = ("exactly-once".to_owned(), "a \"b\"\nc".to_owned());
        let catch = Found { seed: 7, property, detail, shrunk: None };
        let plan = "accord-sim plan 1\nservers 3\n".to_owned();
        let small = ShrunkPlan { plan, faults: [2, 30], operations: [5, 200], runs: 99 };
        let shrunk = Found { shrunk: Some(small), ..catch.clone() };
        let caught = [Report::Caught(catch), Report::Caught(shrunk)];
        for report in
            [Report::Progress(3), Report::Nothing(9), Report::Shrinking].into_iter().chain(caught)
        {
            assert!(!report.line().contains('\n'));
            assert_eq!(Report::parse(&report.line()), Some(report));
        }
        assert_eq!(Report::parse("warning: something"), None);
        assert_eq!(Report::parse("{\"seed\": 1}"), None);
    }

    #[test]
    fn a_hunt_without_time_finds_nothing() {
        let asked = Hunt {
            world: WorldKind::Bare,
            from: 5,
            budget: Duration::ZERO,
            threads: NonZero::<usize>::MIN,
            shrink: false,
        };
        assert_eq!(hunt(asked, |_| {}), Report::Nothing(0));
    }

    #[test]
    fn a_hunt_ends_with_the_last_seed() {
        let asked = Hunt {
            world: WorldKind::Bare,
            from: u64::MAX,
            budget: Duration::from_secs(3600),
            threads: NonZero::<usize>::MIN,
            shrink: false,
        };
        assert_eq!(hunt(asked, |_| {}), Report::Nothing(1));
    }
}
