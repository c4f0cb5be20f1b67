//! The shrunk plans of planted bugs: small enough to be followed, and no failure without the bug.
//!
//! That each fails with its bug is what `accord-sim bugs --shrink` has seen when it made it.

use accord_sim::plan::{Plan, text};
use accord_sim::world;
use std::fs;
use std::path::{Path, PathBuf};

const FAULTS_MAX: usize = 10;
const OPERATIONS_MAX: u32 = 20;

fn plans() -> Vec<(PathBuf, Plan)> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = fs::read_dir(here.join("tests/plans")).expect("there are plans");
    let plan = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.expect("an entry").path();
        let words = fs::read_to_string(&path).expect("a plan");
        let plan = text::read(&words).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, plan)
    };
    entries.map(plan).collect()
}

#[test]
fn ten_plans_at_least_are_small_and_each_belongs_to_a_bug() {
    let plans = plans();
    assert!(plans.len() >= 10, "{}", plans.len());
    for (path, plan) in plans {
        let (faults, operations) = (plan.faults.len(), plan.options.operations);
        let small = faults <= FAULTS_MAX && operations <= OPERATIONS_MAX;
        assert!(small, "{}: {faults} faults, {operations} operations", path.display());
        let bug = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let patch = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("bugs/{bug}.patch"));
        assert!(patch.is_file(), "{bug} is no bug");
    }
}

#[test]
fn without_its_bug_each_holds() {
    for (path, plan) in plans() {
        assert_eq!(world::run(&plan, None).violation, None, "{}", path.display());
    }
}
