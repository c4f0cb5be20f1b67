//! Going through the seeds until one shows a violation: what runs in the copy that has the bug.
//!
//! The seeds are those of the default campaign, from 0 on, and what is found does not depend on the
//! number of threads: worlds are begun in the order of their seeds, and the lowest that fails counts.

use crate::plan::{Overrides, Plan};
use crate::properties::Violation;
use crate::world;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often progress is printed, in seeds.
const PROGRESS_EVERY: u64 = 16;

/// What `accord-sim hunt` takes. It is not for people: `accord-sim bugs` runs it.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Seconds after which no world is begun.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub budget_seconds: u64,
    /// Worlds side by side; as many as there are cores if not given.
    #[arg(long, value_name = "COUNT")]
    pub threads: Option<usize>,
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
pub fn threads_available() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Hunts, and prints a line of JSON now and then and one in the end.
pub fn run(options: &Options) -> ExitCode {
    let budget = Duration::from_secs(options.budget_seconds);
    let threads = options.threads.unwrap_or_else(threads_available).max(1);
    let report = hunt(budget, threads, |seeds| println!("{}", Report::Progress(seeds).line()));
    println!("{}", report.line());
    ExitCode::SUCCESS
}

/// The first violation of one seed's world, if there is one.
pub fn try_seed(seed: u64) -> Option<Catch> {
    let plan = Plan::draw(seed, &Overrides::default());
    world::run(&plan, None).violation.map(|violation| Catch::new(seed, &violation))
}

/// Goes through the seeds from 0 on until one fails or `budget` is over.
pub fn hunt(budget: Duration, threads: usize, progress: impl Fn(u64) + Sync) -> Report {
    let begun = Instant::now();
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let caught: Mutex<Option<Catch>> = Mutex::new(None);
    let lowest = |seed: u64| {
        let caught = caught.lock().unwrap_or_else(PoisonError::into_inner);
        caught.as_ref().is_none_or(|caught| seed < caught.seed)
    };
    let work = || {
        while begun.elapsed() < budget {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if !lowest(seed) {
                break;
            }
            if let Some(catch) = try_seed(seed) {
                let mut caught = caught.lock().unwrap_or_else(PoisonError::into_inner);
                if caught.as_ref().is_none_or(|before| catch.seed < before.seed) {
                    *caught = Some(catch);
                }
            }
            let ended = done.fetch_add(1, Ordering::Relaxed) + 1;
            if ended.is_multiple_of(PROGRESS_EVERY) {
                progress(ended);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let caught = caught.into_inner().unwrap_or_else(PoisonError::into_inner);
    caught.map_or_else(|| Report::Nothing(done.into_inner()), Report::Caught)
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
        assert_eq!(hunt(Duration::ZERO, 2, |_| {}), Report::Nothing(0));
    }
}
