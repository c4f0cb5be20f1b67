//! What a campaign amounts to, for people and for programs.

pub mod exit;
pub mod junit;
// Its macros print what the others say.
#[macro_use]
pub mod out;
pub mod page;
pub mod record;
pub mod typed;

use crate::campaign::Outcome;
use crate::campaign::shrink::Shrunk;
use crate::judge::counts::Counts;
use crate::judge::situations::Situation;
use crate::judge::{Property, Violation};
use crate::plan::Kind;
use crate::worlds::WorldKind;
use serde_json::{Value as Json, json};
use std::fmt::{self, Write};
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

/// A violation, and everything that helps to find its cause.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The world's seed.
    pub seed: u64,
    /// What was violated in it.
    pub original: Violation,
    /// Faults in its plan before it was shrunk.
    pub faults_before: usize,
    /// The smaller plan, and what is violated in its world.
    pub shrunk: Shrunk,
    /// Where the smaller plan is.
    pub plan_path: PathBuf,
    /// Where its story is.
    pub trace_path: PathBuf,
    /// Where its clients' histories are.
    pub histories: Vec<PathBuf>,
    /// The command that runs the smaller plan.
    pub reproduce: String,
    /// The command that runs the whole plan.
    pub whole: String,
    /// The line that makes it a regression; `None`: it is one.
    pub regression: Option<String>,
}

/// A campaign's outcome with what surrounds it.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// In which world it was.
    pub world: WorldKind,
    /// What came of it.
    pub outcome: &'a Outcome,
    /// How long it took.
    pub wall: Duration,
    /// On how many threads.
    pub threads: NonZero<usize>,
    /// The violation that ended it.
    pub failure: Option<&'a Failure>,
    /// Regressions that were run before the campaign.
    pub regressions: u64,
    /// True if the campaign ended because its time was over.
    pub time_is_over: bool,
    /// True if it ended because somebody interrupted it.
    pub is_interrupted: bool,
}

/// The verdict over a property that no world came to judge.
pub const NOT_JUDGED: &str = "not judged";

/// One line while a campaign runs.
pub fn progress_line(counts: &Counts) -> String {
    let (operations, faults) = (counts.operations(), counts.faults_total());
    format!("{operations} operations, {faults} faults, {} epochs", counts.epochs)
}

/// A number with its thousands apart.
fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut apart = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            apart.push(' ');
        }
        apart.push(digit);
    }
    apart
}

fn row(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "  {name:<22}{value}");
}

/// What happened, as a table.
pub fn counts_table(counts: &Counts) -> String {
    let mut text = String::new();
    let (ok, failed) = (number(counts.operations_ok), number(counts.operations_failed));
    let unknown = number(counts.operations_unknown);
    row(&mut text, "operations", &format!("{ok} ok, {failed} failed, {unknown} unknown"));
    row(&mut text, "entries committed", &number(counts.entries));
    row(&mut text, "sessions", &number(counts.sessions));
    row(
        &mut text,
        "views, epochs",
        &format!("{}, {}", number(counts.views), number(counts.epochs)),
    );
    row(&mut text, "crashes", &number(counts.crashes));
    let hours = counts.simulated_ns as f64 / 3.6e12;
    row(&mut text, "simulated hours", &format!("{hours:.2}"));
    row(&mut text, "core events", &number(counts.core_events));
    let skipped = number(counts.faults_skipped);
    let faults = number(counts.faults_total());
    row(&mut text, "faults injected", &format!("{faults} ({skipped} of the plans skipped)"));
    let kinds: Vec<String> = Kind::ALL
        .iter()
        .filter_map(|kind| Some(format!("{} {}", kind.name(), counts.faults.get(kind)?)))
        .collect();
    for line in kinds.chunks(4) {
        let cells: Vec<String> = line.iter().map(|cell| format!("{cell:<19}")).collect();
        let _ = writeln!(text, "      {}", cells.concat().trim_end());
    }
    text
}

/// How many of the worlds came to each situation, as a table.
pub fn situations_table(counts: &Counts) -> String {
    let mut text = String::from("\n  situation               worlds      is\n");
    for situation in Situation::ALL {
        let worlds = number(counts.situations.get(&situation).copied().unwrap_or_default());
        let (name, says) = (situation.name(), situation.says());
        let _ = writeln!(text, "  {name:<24}{worlds:<12}{says}");
    }
    text
}

impl Report<'_> {
    fn events_per_second(&self) -> (f64, f64) {
        let all = self.outcome.counts.core_events as f64 / self.wall.as_secs_f64().max(1e-9);
        (all, all / self.threads.get() as f64)
    }

    fn simulated_per_second(&self) -> f64 {
        self.outcome.counts.simulated_ns as f64 / 1e9 / self.wall.as_secs_f64().max(1e-9)
    }

    /// What is counted: inputs of the core's machines, or what passes the seam of `accord-net`.
    const fn events_name(&self) -> &'static str {
        match self.world {
            WorldKind::Bare => "core events/s",
            WorldKind::Turmoil | WorldKind::Madsim => "events at the seam/s",
        }
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let outcome = self.outcome;
        let _ = writeln!(text, "accord-sim: {} worlds", number(outcome.worlds));
        if self.regressions > 0 {
            row(&mut text, "regressions run first", &number(self.regressions));
        }
        if self.time_is_over {
            row(&mut text, "ended", "by the budget of time");
        }
        if self.is_interrupted {
            row(&mut text, "ended", "by an interrupt: what follows is what was done until then");
        }
        text.push_str(&counts_table(&outcome.counts));
        let (all, each) = self.events_per_second();
        row(&mut text, "wall time", &format!("{:.1} s", self.wall.as_secs_f64()));
        let threads = self.threads;
        let speed = format!(
            "{} on {threads} threads, {} on each, checks included",
            number(all as u64),
            number(each as u64)
        );
        row(&mut text, self.events_name(), &speed);
        let simulated = format!("{:.0}", self.simulated_per_second());
        row(&mut text, "simulated s/s", &simulated);
        row(&mut text, "digest", &format!("{:016x}", outcome.digest));
        if self.world == WorldKind::Bare {
            text.push_str(&situations_table(&outcome.counts));
        }
        let _ = writeln!(text, "\n  property              verdict     says");
        for property in Property::ALL {
            let verdict = self.verdict(property);
            let _ = writeln!(text, "  {property:<22}{verdict:<12}{}", property.says());
        }
        for (seed, why) in &outcome.undecided {
            let _ = writeln!(text, "  undecided in seed {seed}: {why}");
        }
        match self.failure {
            Some(failure) => failure.tell(&mut text),
            None if outcome.worlds == 0 => text.push_str("\n  no world ran: nothing was judged\n"),
            None => text.push_str("\n  no violation\n"),
        }
        text
    }

    /// What came of a property, in a word. It held only if it was judged.
    pub fn verdict(&self, property: Property) -> &'static str {
        let Outcome { failure, undecided, counts, .. } = self.outcome;
        let violated = failure.as_ref().map(|(_, violation)| violation.property);
        match (violated == Some(property), property) {
            (true, _) => "VIOLATED",
            (false, Property::Workload) if !undecided.is_empty() => "undecided",
            (false, property) if counts.is_judged(property) => "held",
            (false, _) => NOT_JUDGED,
        }
    }

    /// For programs.
    pub fn to_json(&self) -> Json {
        let counts = &self.outcome.counts;
        let faults: serde_json::Map<String, Json> = Kind::ALL
            .iter()
            .filter_map(|kind| Some((kind.name().to_owned(), json!(counts.faults.get(kind)?))))
            .collect();
        let situations: serde_json::Map<String, Json> = Situation::ALL
            .iter()
            .map(|it| (it.name().to_owned(), json!(counts.situations.get(it).unwrap_or(&0))))
            .collect();
        let verdicts: serde_json::Map<String, Json> = Property::ALL
            .iter()
            .map(|property| {
                (property.name().to_owned(), json!(self.verdict(*property).to_lowercase()))
            })
            .collect();
        let undecided: Vec<Json> = self
            .outcome
            .undecided
            .iter()
            .map(|(seed, why)| json!({"seed": seed, "why": why}))
            .collect();
        json!({
            "worlds": self.outcome.worlds,
            "regressions": self.regressions,
            "time_is_over": self.time_is_over,
            "is_interrupted": self.is_interrupted,
            "operations": {
                "ok": counts.operations_ok,
                "failed": counts.operations_failed,
                "unknown": counts.operations_unknown,
            },
            "entries": counts.entries,
            "sessions": counts.sessions,
            "views": counts.views,
            "epochs": counts.epochs,
            "crashes": counts.crashes,
            "simulated_hours": counts.simulated_ns as f64 / 3.6e12,
            "core_events": counts.core_events,
            "faults": faults,
            "situations": situations,
            "faults_skipped": counts.faults_skipped,
            "wall_seconds": self.wall.as_secs_f64(),
            "threads": self.threads.get(),
            "core_events_per_second": self.events_per_second().0,
            "simulated_seconds_per_second": self.simulated_per_second(),
            "world": self.world.name(),
            "digest": format!("{:016x}", self.outcome.digest),
            "verdicts": verdicts,
            "undecided": undecided,
            "failure": self.failure.map(Failure::to_json),
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.tell(&mut text);
        f.write_str(&text)
    }
}

impl Failure {
    fn tell(&self, text: &mut String) {
        let Shrunk { plan, violation, runs } = &self.shrunk;
        let (before, after) = (self.faults_before, plan.faults.len());
        let _ = writeln!(text, "\nVIOLATION in seed {} of {}", self.seed, self.original);
        let _ = writeln!(text, "\nshrunk from {before} to {after} faults in {runs} runs:\n");
        let _ = writeln!(text, "{plan}\nwhich violates {violation}\n");
        let _ = writeln!(text, "plan:      {}", self.plan_path.display());
        let _ = writeln!(text, "trace:     {}", self.trace_path.display());
        for history in &self.histories {
            let _ = writeln!(text, "history:   {}", history.display());
        }
        let _ = writeln!(text, "whole:     {}", self.whole);
        if let Some(line) = &self.regression {
            let _ = writeln!(
                text,
                "\nto run it first from now on, append to --regressions:\n    {line}"
            );
        }
        let _ = writeln!(text, "\nreproduce with:\n    {}", self.reproduce);
    }

    fn to_json(&self) -> Json {
        json!({
            "seed": self.seed,
            "property": self.original.property.name(),
            "detail": self.original.detail,
            "at_ns": self.original.at.as_nanos(),
            "shrunk_plan": self.shrunk.plan.to_string(),
            "shrunk_detail": self.shrunk.violation.detail,
            "plan": self.plan_path,
            "trace": self.trace_path,
            "histories": self.histories,
            "reproduce": self.reproduce,
            "whole": self.whole,
            "regression": self.regression,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(["0", "999", "1 000", "12 345 678"], [0, 999, 1000, 12_345_678].map(number)[..]);
    }

    #[test]
    fn a_report_names_every_property_and_every_fault_that_took_place() {
        let mut outcome = Outcome { worlds: 3, ..Outcome::default() };
        outcome.counts.faults.insert(Kind::Rot, 7);
        outcome.counts.judged[Property::ReadsFresh as usize] = 2;
        let (wall, threads) = (Duration::from_secs(1), NonZero::<usize>::MIN);
        let world = WorldKind::Bare;
        let report = Report {
            world,
            outcome: &outcome,
            wall,
            threads,
            failure: None,
            regressions: 0,
            time_is_over: false,
            is_interrupted: false,
        };
        let text = report.to_text();
        assert!(Property::ALL.iter().all(|property| text.contains(property.name())), "{text}");
        assert!(text.contains("rot 7") && text.contains("no violation"), "{text}");
        assert_eq!(report.verdict(Property::ReadsFresh), "held");
        assert_eq!(text.matches(NOT_JUDGED).count(), Property::ALL.len() - 1, "{text}");
        assert_eq!(report.to_json()["faults"], json!({"rot": 7}));
    }

    #[test]
    fn a_campaign_of_no_worlds_says_of_nothing_that_it_held() {
        let outcome = Outcome::default();
        let report = Report {
            world: WorldKind::Bare,
            outcome: &outcome,
            wall: Duration::ZERO,
            threads: NonZero::<usize>::MIN,
            failure: None,
            regressions: 0,
            time_is_over: false,
            is_interrupted: false,
        };
        let text = report.to_text();
        assert!(text.contains("no world ran: nothing was judged"), "{text}");
        assert!(!text.contains(" held ") && !text.contains("no violation"), "{text}");
    }
}
