//! The results of all trials: for people, for programs, and for a page of the documentation.

use super::hunt::Found;
use super::trial::{Trial, Verdict};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{fs, io};
use thiserror::Error;

/// Stands before the table in a page.
pub const BEGIN: &str = "<!-- bugs:begin -->";
/// Stands after the table in a page.
pub const END: &str = "<!-- bugs:end -->";

/// Why the table could not be written.
#[derive(Debug, Error)]
pub enum TableError {
    /// The page cannot be read or written.
    #[error("{}: {error}", page.display())]
    Io {
        /// Which page.
        page: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
    /// The page has no place for the table.
    #[error("{}: expected a line `{BEGIN}` and after it a line `{END}`", page.display())]
    NoPlace {
        /// Which page.
        page: PathBuf,
    },
}

/// Found or not, seeds and seconds to detection, by which property.
fn cells(trial: &Trial) -> [String; 4] {
    let seconds = format!("{:.1}", trial.hunted.as_secs_f64());
    match &trial.verdict {
        Verdict::Found(Found { seed, property, .. }) => {
            ["yes".into(), (seed + 1).to_string(), seconds, property.clone()]
        }
        Verdict::FoundBeside { by } => ["yes".into(), "-".into(), "-".into(), by.clone()],
        Verdict::NotFound { seeds } => ["NO".into(), format!("> {seeds}"), seconds, "-".into()],
        Verdict::Broken(_) => ["BROKEN".into(), "-".into(), "-".into(), "-".into()],
        Verdict::FailsAnyway(Found { seed, property, .. }) => {
            ["VOID".into(), (seed + 1).to_string(), seconds, property.clone()]
        }
    }
}

/// How many bugs were found.
fn found(trials: &[Trial]) -> usize {
    trials.iter().filter(|trial| trial.verdict.is_found()).count()
}

/// The table for a terminal.
pub fn text(trials: &[Trial]) -> String {
    let mut out = format!(
        "{:33} {:6} {:>7} {:>8}  {:21} story\n",
        "bug", "found", "seeds", "seconds", "by property"
    );
    for trial in trials {
        let [found, seeds, seconds, property] = cells(trial);
        let (name, story) = (&trial.bug.name, &trial.bug.story);
        writeln!(out, "{name:33} {found:6} {seeds:>7} {seconds:>8}  {property:21} {story}")
            .expect("a string takes all");
    }
    writeln!(out, "\n{} of {} bugs found", found(trials), trials.len())
        .expect("a string takes all");
    out
}

/// The results as JSON.
pub fn json(trials: &[Trial]) -> Value {
    let bugs: Vec<Value> = trials.iter().map(trial_json).collect();
    json!({"found": found(trials), "tried": trials.len(), "bugs": bugs})
}

fn trial_json(trial: &Trial) -> Value {
    let (verdict, catch, seeds, why) = match &trial.verdict {
        Verdict::Found(catch) => ("found", Some(catch), Some(catch.seed + 1), None),
        Verdict::FoundBeside { by } => ("found-beside", None, None, Some(by)),
        Verdict::NotFound { seeds } => ("not-found", None, Some(*seeds), None),
        Verdict::Broken(why) => ("broken", None, None, Some(why)),
        Verdict::FailsAnyway(catch) => ("fails-anyway", Some(catch), Some(catch.seed + 1), None),
    };
    let shrunk = catch.and_then(|catch| catch.shrunk.as_ref());
    json!({
        "bug": trial.bug.name,
        "story": trial.bug.story,
        "verdict": verdict,
        "seeds": seeds,
        "seconds": trial.hunted.as_secs_f64(),
        "seed": catch.map(|catch| catch.seed),
        "property": catch.map(|catch| &catch.property),
        "detail": catch.map(|catch| &catch.detail).or(why),
        "shrunk_faults": shrunk.map(|small| small.faults[0]),
        "shrunk_operations": shrunk.map(|small| small.operations[0]),
    })
}

/// The table for a page.
pub fn markdown(trials: &[Trial]) -> String {
    let mut out = String::from(
        "| bug | what goes wrong | found | seeds | seconds | by property |\n|---|---|---|---:|---:|---|\n",
    );
    for trial in trials {
        let [found, seeds, seconds, property] = cells(trial);
        let (name, story) =
            (&trial.bug.name, trial.bug.story.trim_end_matches('.').replace('|', "\\|"));
        writeln!(out, "| {name} | {story} | {found} | {seeds} | {seconds} | {property} |")
            .expect("a string takes all");
    }
    out
}

/// Writes the table into a page, between the two marks.
///
/// # Errors
/// If the page cannot be read or written or has no place for it.
pub fn write(page: &Path, trials: &[Trial]) -> Result<(), TableError> {
    let unusable = |error| TableError::Io { page: page.to_owned(), error };
    let before = fs::read_to_string(page).map_err(unusable)?;
    let after = replaced(&before, &markdown(trials))
        .ok_or_else(|| TableError::NoPlace { page: page.to_owned() })?;
    fs::write(page, after).map_err(unusable)
}

/// The page with another table between the marks.
fn replaced(page: &str, table: &str) -> Option<String> {
    let from = page.find(BEGIN)? + BEGIN.len();
    let to = page[from..].find(END)? + from;
    Some(format!("{}\n{table}{}", &page[..from], &page[to..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use accord_bugs::catalogue::Bug;
    use std::time::Duration;

    fn trial(verdict: Verdict) -> Trial {
        let bug = Bug::parse("some-bug".into(), "# It is a|b.\n".into()).expect("it has a story");
        Trial { bug, verdict, hunted: Duration::from_millis(1250) }
    }

    fn trials() -> Vec<Trial> {
        let catch = Found { seed: 41, property: "exactly-once".into(), ..Found::default() };
        vec![
            trial(Verdict::Found(catch.clone())),
            trial(Verdict::NotFound { seeds: 900 }),
            trial(Verdict::FoundBeside { by: "tests: some::test".into() }),
            trial(Verdict::Broken("why".into())),
            trial(Verdict::FailsAnyway(catch)),
        ]
    }

    #[test]
    fn each_verdict_has_its_row_and_only_what_is_found_counts() {
        let text = text(&trials());
        for part in [
            "yes",
            "NO",
            "BROKEN",
            "VOID",
            "42",
            "> 900",
            "1.2",
            "tests: some",
            "2 of 5 bugs found",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let row = "| some-bug | It is a\\|b | yes | 42 | 1.2 | exactly-once |";
        assert!(markdown(&trials()).contains(row));
        assert_eq!(json(&trials())["bugs"][3]["detail"], "why");
    }

    #[test]
    fn the_table_goes_between_the_marks_and_nothing_else_changes() {
        let page = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let once = replaced(&page, "new\n").expect("there are marks");
        assert_eq!(once, format!("before\n{BEGIN}\nnew\n{END}\nafter\n"));
        assert_eq!(replaced(&once, "new\n").as_ref(), Some(&once));
        assert_eq!(replaced("no marks", "new\n"), None);
        assert_eq!(replaced(&format!("{END}{BEGIN}"), "new\n"), None);
    }
}
