//! What a team's nightly run relies on: exit codes, reports in files, a budget of time, seeds that
//! follow the commit, regressions that run first.

use accord_sim::judge::Property;
use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn run(args: &[&str]) -> Output {
    let short = ["--set", "safety=1s", "--set", "operations=20", "--faults", "none"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_accord-sim"));
    command.arg("run").args(args).args(short).output().expect("the binary runs")
}

fn place(name: &str) -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nightly").join(name);
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place).expect("a directory");
    place
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of plain characters")
}

fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// The names of the cases of a JUnit report, and which of them failed.
fn cases(xml: &str) -> (Vec<String>, Vec<String>) {
    let (mut names, mut failed) = (Vec::new(), Vec::new());
    let mut reader = Reader::from_str(xml);
    loop {
        match reader.read_event().expect("it is well-formed") {
            Event::Start(tag) | Event::Empty(tag) => match tag.name().as_ref() {
                b"testcase" => {
                    let name = tag.try_get_attribute("name").expect("attributes").expect("a name");
                    names.push(name.unescape_value().expect("escapes").into_owned());
                }
                b"failure" => failed.push(names.last().expect("a case").clone()),
                _ => {}
            },
            Event::Eof => return (names, failed),
            _ => {}
        }
    }
}

#[test]
fn a_run_that_holds_ends_with_0_and_says_so_in_its_files() {
    let place = place("holds");
    let (json, junit) = (place.join("out.json"), place.join("out.xml"));
    let files = ["--json", text(&json), "--junit", text(&junit)];
    let output = run(&[&["--seeds", "3", "--seed", "5"], &files[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("no violation"), "the tables are printed as well");
    let json = fs::read_to_string(&json).expect("a file");
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["worlds"], &json["failure"]), (&Value::from(3), &Value::Null));
    assert_eq!(json["time_is_over"], false);
    let (names, failed) = cases(&fs::read_to_string(&junit).expect("a file"));
    assert!(names.iter().any(|name| name == "reads-fresh"), "{names:?}");
    assert_eq!(names.len(), Property::ALL.len(), "{names:?}");
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn a_violation_ends_with_1_and_its_line_makes_it_a_regression_that_runs_first() {
    let place = place("violated");
    let (junit, seeds) = (place.join("out.xml"), place.join("sim.seeds"));
    let out = ["--out", text(&place), "--junit", text(&junit), "--set", "canary=reads-fresh"];
    let output = run(&[&["--seeds", "2", "--seed", "7"], &out[..]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let (_, failed) = cases(&fs::read_to_string(&junit).expect("a file"));
    assert_eq!(failed, ["reads-fresh"]);
    let words = said(&output);
    let (_, rest) = words.split_once("append to --regressions:\n    ").expect("a line to append");
    let line = rest.lines().next().expect("a line");
    assert!(line.starts_with("seed 7 ") && line.contains("--set canary=reads-fresh"), "{line}");

    // The line is appended as it was printed; a plan and words for people stand before it.
    let plan = "accord-sim plan 1\nseed 1\noperations 5\nsafety 1s\nend\n";
    fs::write(place.join("good.plan"), plan).expect("a plan");
    let file = format!("# what failed once\nplan good.plan   # holds by now\n\n{line}\n");
    fs::write(&seeds, file).expect("a file of regressions");
    let files = ["--out", text(&place), "--junit", text(&junit), "--regressions", text(&seeds)];
    let output = run(&[&["--seeds", "1000000"], &files[..]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let (names, failed) = cases(&fs::read_to_string(&junit).expect("a file"));
    assert_eq!(names[..2], ["plan good.plan".to_owned(), line.to_owned()]);
    assert_eq!(failed, [line, "reads-fresh"]);
    assert!(!said(&output).contains("append to --regressions"), "it is one already");
}

#[test]
fn a_budget_ends_a_run_cleanly_and_says_how_many_worlds_there_were() {
    let place = place("budget");
    let json = place.join("out.json");
    let output = run(&["--budget", "1s", "--json", text(&json)]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let json = fs::read_to_string(&json).expect("a file");
    let json: Value = serde_json::from_str(&json).expect("JSON");
    let worlds = json["worlds"].as_u64().expect("a number");
    assert!(worlds >= 1 && json["time_is_over"] == true, "{json}");
    let printed = said(&output);
    assert!(printed.contains("ended") && printed.contains("by the budget of time"), "{printed}");
}

#[test]
fn a_run_that_is_interrupted_reports_what_was_done_and_ends_with_130() {
    let place = place("interrupted");
    let seeds = place.join("sim.seeds");
    fs::write(&seeds, "seed 1 --set operations=5\n").expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_accord-sim"));
    command.args([
        "run",
        "--budget",
        "10h",
        "--regressions",
        text(&seeds),
        "--set",
        "operations=9",
    ]);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    // Once it names its regression, it takes signals.
    let mut words = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut line = String::new();
    words.read_line(&mut line).expect("a line");
    assert!(line.starts_with("regression: seed 1"), "{line}");
    let number = child.id().to_string();
    let kill = Command::new("kill").args(["-INT", &number]).status().expect("kill runs");
    assert!(kill.success());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    assert!(said(&output).contains("by an interrupt"), "{}", said(&output));
}

#[test]
fn seeds_follow_the_commit() {
    let digest = |commit: &str| {
        let output = run(&["--seeds", "2", "--seeds-from", commit, "--json"]);
        let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        json["digest"].clone()
    };
    assert_eq!(digest("899b438"), digest("899b438"));
    assert_ne!(digest("899b438"), digest("268096e"));
}

#[test]
fn what_is_wrong_with_a_nightly_run_is_named_and_ends_with_2() {
    let place = place("wrong");
    let seeds = place.join("sim.seeds");
    fs::write(&seeds, "# fine\nseed 1\nseed one\n").expect("a file");
    for (args, named) in [
        (&["--regressions", text(&seeds)][..], "line 3"),
        (&["--regressions", "no-such.seeds"], "no-such.seeds"),
        (&["--budget", "10"], "such as 90s, 10m or 2h"),
        (&["--seeds-from", "abc", "--seed", "1"], "cannot be used with"),
        (&["--seeds", "1", "--junit", "no-such-directory/out.xml"], "no-such-directory"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", said(&output));
        assert!(said(&output).contains(named), "{args:?}: {}", said(&output));
    }
}
