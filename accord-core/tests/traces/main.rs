//! Traces: protocols as data. Each `*.txt` in a folder beside this file tells one situation:
//! commands, `----`, and what came of them. `UPDATE_TRACES=1` rewrites the outputs; read the
//! difference before you commit it.
//!
//! Each folder has a language of its own, documented in its `mod.rs`; [`script`] has the form.

mod gateway;
mod replica;
mod ring;
mod script;

use script::{Command, Script};
use std::fs;
use std::path::{Path, PathBuf};

/// What the commands of a language act on.
trait Stage: Default {
    /// Carries out a command.
    fn execute(&mut self, command: &Command) -> Result<(), String>;
    /// What the last command came to.
    fn output(&self) -> &str;
    /// Checks all invariants. Called after each command.
    fn check(&mut self);
}

/// A language: its folder, how a trace is replayed, and the least number of traces, since fewer
/// means that they were not found.
type Language = (&'static str, fn(&str, &str) -> (String, Result<(), String>), usize);

const LANGUAGES: [Language; 3] = [
    ("replica", replay::<replica::World>, 60),
    ("ring", replay::<ring::World>, 10),
    ("gateway", replay::<gateway::World>, 10),
];

fn traces(folder: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces").join(folder);
    let entries = fs::read_dir(directory).expect("the traces are there");
    let paths = entries.map(|entry| entry.expect("the traces are readable").path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|ext| ext == "txt")).collect();
    paths.sort();
    paths
}

/// What the script says when it is run, up to a command that cannot be carried out.
fn replay<S: Stage>(name: &str, text: &str) -> (String, Result<(), String>) {
    let mut script = match Script::parse(text) {
        Ok(script) => script,
        Err(error) => return (text.into(), Err(format!("{name}:{error}"))),
    };
    let mut stage = S::default();
    let mut result = Ok(());
    for block in &mut script.blocks {
        let mut output = String::new();
        for command in &block.commands {
            if result.is_err() {
                break;
            }
            let said = stage.execute(command);
            result = said.map_err(|error| format!("{name}:{}: {error}", command.line));
            output.push_str(stage.output());
            stage.check();
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
    let mut failures = Vec::new();
    for (folder, replay, least) in LANGUAGES {
        let paths = traces(folder);
        assert!(paths.len() >= least || update, "only {} traces of the {folder}", paths.len());
        for path in paths {
            let name = path.file_name().expect("a file").to_string_lossy();
            let name = format!("{folder}/{name}");
            let text = fs::read_to_string(&path).expect("the trace is readable");
            let (found, result) = replay(&name, &text);
            failures.extend(result.err());
            if update {
                fs::write(&path, found).expect("the trace is writable");
            } else if text != found {
                failures.push(format!("{name}:{}", first_difference(&text, &found)));
            }
        }
    }
    assert!(failures.is_empty(), "UPDATE_TRACES=1 accepts this:\n{}", failures.join("\n"));
}

#[test]
fn an_unknown_command_or_argument_fails_with_its_line() {
    let fails = |text: &str| replay::<replica::World>("x.txt", text).1.unwrap_err();
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
    let found = replay::<replica::World>("x.txt", text).0;
    assert_eq!(first_difference(text, &found), "3:\n  expected: fine\n  found:    ok");
}
