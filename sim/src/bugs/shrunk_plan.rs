//! The shrunk plans of bugs: what a person reads to see how a mistake shows.
//!
//! A plan is kept only if it fails in the copy that has the bug, for the property for which its
//! seed failed, and in nothing without the bug. [`crate::campaign::shrink`] finds it.

use super::hunt::Found;
use super::trial::{Trial, Verdict};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Keeps the shrunk plan of a trial as `BUG.plan`, if it has one.
///
/// # Errors
/// For people: what cannot be written.
pub fn keep(directory: &Path, trial: &Trial) -> Result<(), String> {
    let Verdict::Found(Found { shrunk: Some(small), .. }) = &trial.verdict else { return Ok(()) };
    let path = directory.join(format!("{}.plan", trial.bug.name));
    fs::create_dir_all(directory)
        .and_then(|()| fs::write(&path, &small.plan))
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// How small the plans are, as a table for a page.
pub fn markdown(trials: &[Trial]) -> String {
    let mut out = String::from(
        "| bug | by property | seed | faults | operations | worlds run |\n|---|---|---:|---:|---:|---:|\n",
    );
    for trial in trials {
        let name = &trial.bug.name;
        let row = match &trial.verdict {
            Verdict::Found(Found { seed, property, shrunk: Some(small), .. }) => {
                let [faults, faults_before] = small.faults;
                let [operations, operations_before] = small.operations;
                format!(
                    "| {name} | {property} | {seed} | {faults} of {faults_before} \
                     | {operations} of {operations_before} | {} |",
                    small.runs
                )
            }
            Verdict::Found(Found { seed, property, .. }) => {
                format!("| {name} | {property} | {seed} | its small plan fails anyway | - | - |")
            }
            _ => format!("| {name} | - | - | - | - | - |"),
        };
        writeln!(out, "{row}").expect("a string takes all");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::hunt::ShrunkPlan;
    use super::*;
    use accord_bugs::catalogue::Bug;
    use std::time::Duration;

    fn trial(shrunk: Option<ShrunkPlan>) -> Trial {
        let bug = Bug::parse("some-bug".into(), "# It is.\n".into()).expect("it has a story");
        let catch =
            Found { seed: 41, property: "epochs-unique".into(), shrunk, ..Found::default() };
        Trial { bug, verdict: Verdict::Found(catch), hunted: Duration::ZERO }
    }

    #[test]
    fn a_plan_is_kept_under_the_name_of_its_bug_and_measured() {
        let directory = std::env::temp_dir().join(format!("small-{}", std::process::id()));
        let plan = "accord-sim plan 1\n".to_owned();
        let small = ShrunkPlan { plan, faults: [3, 40], operations: [7, 200], runs: 99 };
        let trials = [trial(Some(small)), trial(None)];
        trials.iter().for_each(|trial| keep(&directory, trial).expect("it can be written"));
        let kept = fs::read_to_string(directory.join("some-bug.plan")).expect("it was kept");
        assert_eq!(kept, "accord-sim plan 1\n");
        fs::remove_dir_all(&directory).expect("it is there");
        let table = markdown(&trials);
        let row = "| some-bug | epochs-unique | 41 | 3 of 40 | 7 of 200 | 99 |";
        assert!(table.contains(row), "{table}");
        assert!(table.contains("fails anyway"), "{table}");
    }
}
