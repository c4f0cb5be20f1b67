//! Going through the seeds until one shows a violation: what runs in the copy that has the bug.
//!
//! The worlds are those of the default campaign, from seed 0 on, in campaigns one after the other.
//! The lowest seed that fails is what counts, whatever the number of threads.

use crate::campaign::Campaign;
use crate::plan::{Overrides, Plan};
use crate::properties::Violation;
use crate::world;
use crate::worlds::WorldKind;
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
    /// Seconds after which no world is begun.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub budget_seconds: u64,
    /// Worlds side by side; as many as there are cores if not given.
    #[arg(long, value_name = "COUNT")]
    pub threads: Option<NonZero<usize>>,
}

/// What a hunt came to. Travels as a line of JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catch {
    /// The seed that failed.
    pub seed: u64,
    /// The word for the property that did not hold.
    pub property: String,
    /// What was seen.
    pub detail: String,
}

impl Catch {
    fn new(seed: u64, violation: &Violation) -> Self {
        let property = violation.property.name().to_owned();
        Self { seed, property, detail: violation.to_string() }
    }
}

/// What the copy tells while it hunts, a line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// So many worlds have ended well.
    Progress(u64),
    /// A world failed.
    Caught(Catch),
    /// The time is over, after so many worlds.
    Nothing(u64),
}

impl Report {
    /// The line of JSON.
    pub fn line(&self) -> String {
        match self {
            Self::Progress(seeds) => json!({"progress": seeds}).to_string(),
            Self::Caught(Catch { seed, property, detail }) => {
                json!({"seed": seed, "property": property, "detail": detail}).to_string()
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
        let (seed, property, detail) = (number("seed")?, text("property")?, text("detail")?);
        Some(Self::Caught(Catch { seed, property, detail }))
    }
}

/// How many worlds can run side by side.
pub fn threads_available() -> NonZero<usize> {
    thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}

/// Hunts, and prints a line of JSON now and then and one in the end.
pub fn run(options: &Options) -> ExitCode {
    let budget = Duration::from_secs(options.budget_seconds);
    let threads = options.threads.unwrap_or_else(threads_available);
    let report = hunt(budget, threads, |seeds| println!("{}", Report::Progress(seeds).line()));
    println!("{}", report.line());
    ExitCode::SUCCESS
}

/// The first violation of one seed's world, if there is one.
pub fn try_seed(seed: u64) -> Option<Catch> {
    let plan = Plan::draw(seed, &Overrides::default());
    world::run(&plan, None).violation.map(|violation| Catch::new(seed, &violation))
}

/// Runs campaigns from seed 0 on until one fails or `budget` is over. `progress` is told how many
/// worlds have ended well, after each campaign.
pub fn hunt(budget: Duration, threads: NonZero<usize>, progress: impl Fn(u64)) -> Report {
    let begun = Instant::now();
    let (mut first, mut per_thread) = (0, WORLDS_FIRST);
    while begun.elapsed() < budget {
        let (world, count) = (WorldKind::Bare, per_thread * threads.get() as u64);
        let campaign = Campaign { world, first, count, overrides: Overrides::default(), threads };
        if let Some((seed, violation)) = campaign.run(|_| {}).failure {
            return Report::Caught(Catch::new(seed, &violation));
        }
        first += count;
        per_thread = (per_thread + per_thread / 2).min(WORLDS_MAX);
        progress(first);
    }
    Report::Nothing(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_come_through_as_lines() {
        let catch = Catch { seed: 7, property: "exactly-once".into(), detail: "a \"b\"\nc".into() };
        for report in [Report::Progress(3), Report::Nothing(9), Report::Caught(catch)] {
            assert!(!report.line().contains('\n'));
            assert_eq!(Report::parse(&report.line()), Some(report));
        }
        assert_eq!(Report::parse("warning: something"), None);
        assert_eq!(Report::parse("{\"seed\": 1}"), None);
    }

    #[test]
    fn a_hunt_without_time_finds_nothing() {
        assert_eq!(hunt(Duration::ZERO, NonZero::<usize>::MIN, |_| {}), Report::Nothing(0));
    }
}
