//! Planted bugs: do the models find what they should?
//!
//! The patches are those of `sim/bugs`, which the simulator is measured by. One is applied to a
//! copy of the sources below `target/planted`, the models are built there, and go through their
//! states until a counterexample turns up. Nothing of the sources themselves is changed.

use crate::cases::KNOWN_BUGS;
use crate::cli::{complain, say};
use accord_bugs::catalogue::{Bug, Catalogue};
use accord_bugs::tree::{Tree, workspace};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

const PROGRAM: &str = "accord-explore";
const MEMBERS: [&str; 4] = ["accord-core", "models", "models/explore", "sim/bugs"];
const CARGO_ARGUMENTS: [&str; 1] = ["--no-default-features"];
const BAD_INPUT: u8 = 2;

/// What came of one bug.
enum Verdict {
    /// There is a counterexample.
    Found,
    /// All that was gone through holds.
    NotFound,
    /// It could not be tried.
    Broken(String),
}

/// Tries the bugs of these names, or with `all` the [`KNOWN_BUGS`] ones. The exit code is 0 if each
/// is found, 1 if one is not, 2 if the request makes no sense.
pub fn run(names: &[String]) -> ExitCode {
    let known: Vec<String> = KNOWN_BUGS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    let names = if names.iter().any(|name| name == "all") { known } else { names.to_vec() };
    let chosen = workspace().and_then(|root| {
        let bugs = Catalogue::read(&root)?.choose(&names)?;
        Ok((root, bugs))
    });
    let (root, bugs) = match chosen {
        Ok(chosen) => chosen,
        Err(error) => {
            complain(format_args!("{error}"));
            return ExitCode::from(BAD_INPUT);
        }
    };
    let mut found = true;
    for bug in bugs {
        let begun = Instant::now();
        say(format_args!("\n{}: {}\n", bug.name, bug.story));
        let verdict = try_bug(&root, &bug);
        let seconds = begun.elapsed().as_secs();
        match &verdict {
            Verdict::Found => {
                say(format_args!("{}: found, {seconds} s with the build\n", bug.name))
            }
            Verdict::NotFound => say(format_args!("{}: NOT FOUND in {seconds} s\n", bug.name)),
            Verdict::Broken(why) => say(format_args!("{}: CANNOT BE TRIED: {why}\n", bug.name)),
        }
        found &= matches!(verdict, Verdict::Found);
    }
    if found { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn try_bug(root: &Path, bug: &Bug) -> Verdict {
    let tree = Tree::at(root, "planted", PROGRAM, &MEMBERS, &CARGO_ARGUMENTS);
    let built = accord_bugs::build(&tree, root, bug);
    let program = match built {
        Ok(program) => program,
        Err(why) => return Verdict::Broken(why),
    };
    let mut command = Command::new(&program);
    command.arg("verify").stdin(Stdio::null());
    match KNOWN_BUGS.iter().find(|(name, ..)| *name == bug.name) {
        Some((_, case, level)) => command.args([*case, "--level", *level]),
        None => command.args(["--level", "small"]),
    };
    // What the copy prints is the counterexample.
    match command.status() {
        Ok(status) if status.code() == Some(1) => Verdict::Found,
        Ok(status) if matches!(status.code(), Some(0 | 3)) => Verdict::NotFound,
        Ok(status) => Verdict::Broken(format!("the copy's program ended with {status}")),
        Err(error) => Verdict::Broken(format!("{} cannot be run: {error}", program.display())),
    }
}
