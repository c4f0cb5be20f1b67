//! Traces: the replication protocol as data. Each `*.txt` beside this file tells one situation:
//! commands, `----`, and what the servers then said, stored, committed. The command language is
//! documented in [`script`]. `UPDATE_TRACES=1` writes the outputs anew; read the difference before
//! you commit it.
//!
//! The servers are real replicas over the adversarial group. Every trace also checks, after each
//! command, that no two servers commit different entries at one index and that every replica's
//! invariants hold.

mod commands;
mod script;
mod show;
mod world;

use script::Script;
use std::fs;
use std::path::{Path, PathBuf};
use world::World;

/// The least number of traces: fewer means that they were not found.
const TRACES_MIN: usize = 25;

fn traces() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces");
    let entries = fs::read_dir(directory).expect("the traces are there");
    let paths = entries.map(|entry| entry.expect("the traces are readable").path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|ext| ext == "txt")).collect();
    paths.sort();
    paths
}

/// What the script says when it is run, up to a command that cannot be carried out.
fn replay(name: &str, text: &str) -> (String, Result<(), String>) {
    let mut script = match Script::parse(text) {
        Ok(script) => script,
        Err(error) => return (text.into(), Err(format!("{name}:{error}"))),
    };
    let mut world = World::default();
    let mut result = Ok(());
    for block in &mut script.blocks {
        let mut output = String::new();
        for command in &block.commands {
            if result.is_err() {
                break;
            }
            let said = commands::execute(&mut world, command);
            result = said.map_err(|error| format!("{name}:{}: {error}", command.line));
            output.push_str(&world.output);
            world.check();
        }
        block.output = if output.is_empty() { "ok\n".into() } else { output };
    }
    (script.to_string(), result)
}

/// The first line in which two texts differ, for people.
fn first_difference(expected: &str, found: &str) -> String {
    let (mut expected_lines, mut found_lines) = (expected.lines(), found.lines());
    let mut number = 0;
    loop {
        number += 1;
        match (expected_lines.next(), found_lines.next()) {
            (Some(a), Some(b)) if a == b => {}
            (a, b) => {
                let show = |line: Option<&str>| line.unwrap_or("(end)").to_string();
                return format!("{number}:\n  expected: {}\n  found:    {}", show(a), show(b));
            }
        }
    }
}

#[test]
fn every_trace_says_what_it_did() {
    let update = std::env::var_os("UPDATE_TRACES").is_some();
    let paths = traces();
    assert!(paths.len() >= TRACES_MIN || update, "only {} traces", paths.len());
    let mut failures = Vec::new();
    for path in paths {
        let name = path.file_name().expect("a file").to_string_lossy().to_string();
        let text = fs::read_to_string(&path).expect("the trace is readable");
        let (found, result) = replay(&name, &text);
        failures.extend(result.err());
        if update {
            fs::write(&path, found).expect("the trace is writable");
        } else if text != found {
            failures.push(format!("{name}:{}", first_difference(&text, &found)));
        }
    }
    assert!(failures.is_empty(), "UPDATE_TRACES=1 accepts this:\n{}", failures.join("\n"));
}

#[test]
fn an_unknown_command_or_argument_fails_with_its_line() {
    let fails = |text: &str| replay("x.txt", text).1.unwrap_err();
    assert_eq!(fails("# a\n\nfly n1\n----\n"), "x.txt:3: unknown command fly");
    let cluster = "cluster 1\n----\nok\n\n";
    let error = fails(&format!("{cluster}start n1 slowly\n----\n"));
    assert_eq!(error, "x.txt:5: unexpected argument slowly");
    let error = fails(&format!("{cluster}start n7\n----\n"));
    assert_eq!(error, "x.txt:5: there is no server n7");
    assert_eq!(fails("cluster 1\n"), "x.txt:1: a command without ----");
}

#[test]
fn a_wrong_expectation_is_found() {
    let text = "cluster 1\n----\nfine\n";
    let found = replay("x.txt", text).0;
    assert_eq!(first_difference(text, &found), "3:\n  expected: fine\n  found:    ok");
}
