//! `accord-models`: judges histories from the command line.
//!
//! Exit codes: 0 the history is valid, 1 it is invalid, 2 undecided, nothing known, or bad input.
//!
//! `explore` and `verify` are handed to `accord-explore`, a program of its own: it is built from
//! the core, of which nothing here may know.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::time::{Duration, Instant};

use accord_models::history::{self, History};
use accord_models::{Budget, Model, Options, Outcome, Verdict, check_known, self_check};
use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};
use serde_json::json;

/// Judges histories of operations in Jepsen's EDN form.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
A history is a file of events, one after another, each a map:

  {:type :invoke, :f :write, :value [:x 1], :process 0}
  {:type :ok,     :f :write, :value [:x 1], :process 0}

An operation's completion is :ok (it took effect), :fail (it did not and never will) or :info \
(nobody knows: it may take effect at any later time); without a completion it is :info. A process \
has one operation at a time. Real time is the order of the events. `accord-models list` shows the \
operations of each model.

Examples:
  accord-models check history.edn --model cas-register
  accord-models check history.edn --model list-append --json | jq .anomaly
  lein run test | accord-models check - --model register

Exit codes: 0 valid, 1 invalid (with the smallest set of operations that contradict each other), \
2 undecided (the budget ended, or no operation is known to have taken effect) or bad input (with \
line and column).";

#[derive(Subcommand)]
enum Command {
    /// Judge a history
    Check(CheckArguments),
    /// List the models with the operations that each knows
    List,
    /// Judge random histories by the checkers and by trying everything, and compare
    SelfCheck(SelfCheckArguments),
    /// Show the states of an exhaustive model in a browser (`explore --help` teaches the rest)
    #[command(disable_help_flag = true)]
    Explore(Forwarded),
    /// Go through all states of the exhaustive models (`verify --help` teaches the rest)
    #[command(disable_help_flag = true)]
    Verify(Forwarded),
}

#[derive(clap::Args)]
struct Forwarded {
    /// What `accord-explore` is to be told
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// How often a self-check tells how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// The program that goes through the states of the models.
const EXPLORER: &str = "accord-explore";

#[derive(clap::Args)]
struct CheckArguments {
    /// The history: an EDN file; - for the standard input
    history: PathBuf,
    /// What to judge it by
    #[arg(long, value_parser = PossibleValuesParser::new(Model::ALL.map(Model::name)))]
    model: String,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
    /// For list-append: allow any order that explains the results, whatever the time
    #[arg(long)]
    no_realtime: bool,
    /// Steps of the search before giving up as undecided
    #[arg(long, value_name = "STEPS", default_value_t = Budget::default().steps_max)]
    budget_steps: u64,
    /// Memory of the search before giving up as undecided
    #[arg(long, value_name = "MIB", default_value_t = Budget::default().cache_bytes_max >> 20)]
    budget_mib: usize,
    /// Steps spent on making an explanation small
    #[arg(long, value_name = "STEPS", default_value_t = Budget::default().explain_steps_max)]
    budget_explain: u64,
}

#[derive(clap::Args)]
struct SelfCheckArguments {
    /// Histories for each model
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    histories: u64,
    /// The seed of the first
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    /// A model whose checker is tried; all, if none is named
    #[arg(long, value_parser = PossibleValuesParser::new(Model::ALL.map(Model::name)))]
    model: Vec<String>,
}

const EXIT_INVALID: u8 = 1;
const EXIT_UNDECIDED: u8 = 2;

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Check(arguments) => run_check(&arguments),
        Command::List => {
            list();
            ExitCode::SUCCESS
        }
        Command::SelfCheck(arguments) => run_self_check(&arguments),
        Command::Explore(forwarded) => forward("explore", &forwarded.arguments),
        Command::Verify(forwarded) => forward("verify", &forwarded.arguments),
    }
}

/// Runs the explorer that stands beside this program, or else the one that cargo builds from the
/// sources here.
fn forward(command: &str, arguments: &[OsString]) -> ExitCode {
    let beside = std::env::current_exe().ok().map(|path| path.with_file_name(EXPLORER));
    let mut explorer = match beside.filter(|path| path.is_file()) {
        Some(path) => process::Command::new(path),
        None => {
            let mut cargo = process::Command::new("cargo");
            cargo.args(["run", "--release", "--quiet", "--package", EXPLORER, "--"]);
            cargo
        }
    };
    match become_program(explorer.arg(command).args(arguments)) {
        Ok(code) => code,
        Err(error) => {
            complain(format_args!(
                "{EXPLORER} is neither beside this program nor to be built here: {error}"
            ));
            ExitCode::from(EXIT_UNDECIDED)
        }
    }
}

/// Becomes the other program: it takes this process over, so that whatever ends this one, a signal
/// that cannot be caught among it, ends that one.
#[cfg(unix)]
fn become_program(program: &mut process::Command) -> std::io::Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    Err(program.exec())
}

/// Runs the other program to its end: a process cannot become another here.
#[cfg(not(unix))]
fn become_program(program: &mut process::Command) -> std::io::Result<ExitCode> {
    let code = program.status()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(EXIT_UNDECIDED)))
}

/// Tries the checkers. The exit code is 1 if one of them is wrong, 2 if nothing was asked for.
fn run_self_check(arguments: &SelfCheckArguments) -> ExitCode {
    let SelfCheckArguments { histories, seed, model: named } = arguments;
    let Some(end) = seed.checked_add(*histories).filter(|_| *histories > 0) else {
        complain(format_args!("expected at least one history, and seeds up to {}", u64::MAX));
        return ExitCode::from(EXIT_UNDECIDED);
    };
    let chosen = |model: &Model| named.is_empty() || named.iter().any(|name| name == model.name());
    let mut code = ExitCode::SUCCESS;
    for model in Model::ALL.into_iter().filter(chosen) {
        let (begun, mut told) = (Instant::now(), Instant::now());
        let found = self_check::run(model, *seed..end, |tally| {
            if told.elapsed() >= TOLD_EVERY {
                told = Instant::now();
                let done = tally.valid + tally.invalid;
                complain(format_args!("{}: {done} of {histories} histories", model.name()));
            }
        });
        let seconds = begun.elapsed().as_secs_f64();
        match found {
            Ok(tally) => say(format_args!(
                "{}: {histories} histories, {} valid, {} invalid: the checker agrees, {seconds:.1} s\n",
                model.name(),
                tally.valid,
                tally.invalid
            )),
            Err(disagreement) => {
                say(format_args!("{disagreement}"));
                code = ExitCode::from(EXIT_INVALID);
            }
        }
    }
    code
}

fn run_check(arguments: &CheckArguments) -> ExitCode {
    match judge(arguments) {
        Ok((history, verdict)) => {
            if arguments.json {
                say(format_args!("{:#}\n", verdict.to_json(&history)));
            } else {
                report(&history, &verdict);
            }
            match verdict {
                Verdict::Valid => ExitCode::SUCCESS,
                Verdict::Invalid(_) => ExitCode::from(EXIT_INVALID),
                Verdict::Undecided { .. } => ExitCode::from(EXIT_UNDECIDED),
            }
        }
        Err(why) => {
            if arguments.json {
                say(format_args!("{:#}\n", json!({"verdict": "bad-input", "why": why})));
            }
            complain(format_args!("{why}"));
            ExitCode::from(EXIT_UNDECIDED)
        }
    }
}

/// Reads and judges; the error says where the input is bad.
fn judge(arguments: &CheckArguments) -> Result<(History, Verdict), String> {
    let path: &Path = &arguments.history;
    let is_stdin = path == Path::new("-");
    let name = if is_stdin { Path::new("standard input") } else { path };
    let at = |error: &dyn std::fmt::Display| format!("{}:{error}", name.display());
    let mut bytes = Vec::new();
    let read = if is_stdin {
        std::io::stdin().lock().read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes))
    };
    read.map_err(|error| at(&format_args!(" {error}")))?;
    let history = history::read(&bytes).map_err(|error| at(&error))?;
    let model = Model::named(&arguments.model).expect("clap allows no other");
    let options = Options {
        budget: Budget {
            steps_max: arguments.budget_steps,
            cache_bytes_max: arguments.budget_mib.saturating_mul(1 << 20),
            explain_steps_max: arguments.budget_explain,
        },
        realtime: !arguments.no_realtime,
    };
    let verdict = check_known(&history, model, &options).map_err(|error| at(&error))?;
    Ok((history, verdict))
}

fn report(history: &History, verdict: &Verdict) {
    say(format_args!(
        "{} operations: {} ok, {} failed, {} unknown\n",
        history.operations().len(),
        history.count(Outcome::Ok),
        history.count(Outcome::Fail),
        history.count(Outcome::Info)
    ));
    match verdict {
        Verdict::Valid => say(format_args!("valid\n")),
        Verdict::Undecided { why } => say(format_args!("undecided: {why}\n")),
        Verdict::Invalid(why) => say(format_args!("invalid: {}", why.display(history))),
    }
}

fn list() {
    for model in Model::ALL {
        say(format_args!("{}: {}\n", model.name(), model.demands()));
        for op in model.operations() {
            say(format_args!("  :f :{:8} :value {}\n", op.f, op.input));
            if !op.output.is_empty() {
                say(format_args!("{:17}:ok    {}\n", "", op.output));
            }
            say(format_args!("{:17}{}\n", "", op.meaning));
        }
        say(format_args!("\n"));
    }
}

/// Writes to the standard output. A reader that has gone away (`| head`) is no error.
fn say(text: std::fmt::Arguments<'_>) {
    let _ = std::io::stdout().write_fmt(text);
}

/// Writes a line to the standard error. It is no error either if nobody reads it.
fn complain(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }
}
