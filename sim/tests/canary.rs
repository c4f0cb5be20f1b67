//! Tests of the tests: a property that is deliberately taken for violated must be reported as such,
//! all the way to the one command that reproduces it.

use accord_sim::judge::Property;
use accord_sim::plan::options::Options;
use accord_sim::plan::{FaultMix, Overrides, Plan};
use accord_sim::world;
use std::path::Path;
use std::process::{Command, Output};

fn accord_sim(args: &[&str]) -> Output {
    let binary = env!("CARGO_BIN_EXE_accord-sim");
    Command::new(binary).args(args).output().expect("the binary runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A short world in which every property is judged at least once.
fn plan(canary: Option<Property>) -> Plan {
    let mut options = Options { operations: 40, canary, ..Options::default() };
    options.set("safety", "2s").expect("a span");
    if canary == Some(Property::AmnesiaNoticed) {
        options.set("mode", "memory").expect("a mode");
    }
    let mut plan = Plan { options, faults: Vec::new() };
    let fault = match canary {
        Some(Property::AmnesiaNoticed) => "at 1500ms for 100ms amnesia",
        Some(Property::DivergenceNoticed) => "at 1s damage 2",
        _ => return plan,
    };
    let text = plan.to_string().replace("\nend\n", &format!("\n{fault}\nend\n"));
    plan = accord_sim::plan::text::read(&text).expect("a plan");
    plan
}

#[test]
fn every_property_that_is_taken_for_violated_is_reported() {
    assert_eq!(world::run(&plan(None), None).violation, None);
    for property in Property::ALL {
        let violation = world::run(&plan(Some(property)), None).violation;
        assert_eq!(violation.map(|it| it.property), Some(property), "{property} is judged");
    }
}

#[test]
fn a_violation_ends_with_a_command_that_reproduces_it() {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("canary");
    let out = out.to_str().expect("a path of plain characters");
    let canary = "canary=reads-fresh";
    let args = ["run", "--seeds", "3", "--seed", "7", "--set", canary, "--out", out];
    let short = ["--set", "safety=2s", "--set", "operations=50"];
    let failed = accord_sim(&[&args[..], &short[..]].concat());
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    let report = text(&failed);
    assert!(report.contains("VIOLATION in seed 7 of reads-fresh"), "{report}");
    let (_, command) = report.split_once("reproduce with:\n    ").expect("a command");
    // As it stands, and outside of the repository: the program is named as it was called.
    let mut shell = Command::new("sh");
    let again = shell.args(["-c", command]).current_dir("/").output().expect("a shell");
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    let seen = report.split("which violates ").nth(1).and_then(|rest| rest.lines().next());
    assert!(text(&again).contains(seen.expect("the shrunk violation is told")), "{again:?}");
}

#[test]
fn the_files_of_a_violation_have_the_name_of_the_seed_that_was_found() {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("canary-files");
    let _ = std::fs::remove_dir_all(&out);
    let place = out.to_str().expect("a path of plain characters");
    let args = ["run", "--seeds", "1", "--seed", "7", "--set", "canary=workload", "--out", place];
    let failed = accord_sim(&args);
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    let names = std::fs::read_dir(&out)
        .expect("there are files")
        .map(|file| file.expect("a file").file_name().into_string().expect("plain characters"));
    let names: Vec<String> = names.collect();
    assert!(names.len() >= 3 && names.iter().all(|it| it.starts_with("seed-7.")), "{names:?}");
    let plan = std::fs::read_to_string(out.join("seed-7.plan")).expect("the plan");
    assert!(plan.starts_with("# shrunk from seed 7; violates workload\n"), "{plan}");
}

/// A reader that has gone away ends nothing with the 101 of a panic.
#[test]
fn every_command_ends_in_order_if_nobody_reads_what_it_prints() {
    for args in [
        &["run", "--seeds", "2", "--set", "safety=1s", "--set", "operations=20"][..],
        &["run", "--seeds", "1", "--json"],
        &["replay", "--seed", "1"],
        &["plan", "--seed", "1"],
        &["worlds"],
        &["faults"],
        &["bugs", "--check"],
        &["replay", "--plan", "no-such.plan"],
    ] {
        let gone = || {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            drop(reader);
            writer
        };
        let read = accord_sim(args).status.code();
        let mut command = Command::new(env!("CARGO_BIN_EXE_accord-sim"));
        let status = command.args(args).stdout(gone()).stderr(gone()).status().expect("it runs");
        assert_eq!(status.code(), read, "{args:?}");
        assert_ne!(read, Some(101), "{args:?}");
    }
}

#[test]
fn what_is_mistyped_is_named_and_ends_with_2() {
    for (args, named) in [
        (&["run", "--servers", "0"][..], "1 to 63 servers"),
        (&["run", "--servers", "99"], "servers 99 (seed 0): expected 1 to 63 servers"),
        (&["run", "--faults", "melt"], "--faults melt: expected swarm"),
        (&["run", "--mode", "paper"], "--mode paper: expected memory or persistent"),
        (&["run", "--set", "colour=red"], "expected an option: one of seed"),
        (&["run", "--set", "colour"], "expected OPTION=VALUE"),
        (&["run", "--set", "seed=3"], "expected the seed as --seed S"),
        (&["run", "--servers", "3", "--set", "servers=5"], "servers was fixed before"),
        (&["run", "--seed", "18446744073709551615", "--seeds", "2"], "there are 1 seeds up to"),
        (&["run", "--workload", "idle"], "--workload idle: expected one or more of"),
        (&["replay"], "--seed"),
        (&["replay", "--plan", "no-such.plan"], "no-such.plan"),
        (&["frobnicate"], "frobnicate"),
    ] {
        let output = accord_sim(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(words.contains(named), "{args:?}: {words}");
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bad.plan");
    std::fs::write(&path, "accord-sim plan 1\nat 1s for 2s melt 1\n").expect("a file");
    let output = accord_sim(&["run", "--plan", path.to_str().expect("plain")]);
    assert_eq!(output.status.code(), Some(2));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("line 2, column 14: expected a kind of fault"), "{words}");
}

#[test]
fn a_world_without_faults_loses_nothing() {
    let overrides = Overrides { faults: FaultMix::none(), ..Overrides::default() };
    for seed in 0..10 {
        let run = world::run(&Plan::draw(seed, &overrides), None);
        assert_eq!(run.violation, None, "seed {seed}");
        assert_eq!(run.counts.faults_total(), 0);
        assert!(run.counts.operations_ok > 0, "seed {seed}");
    }
}
