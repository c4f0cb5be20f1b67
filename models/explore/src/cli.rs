//! The commands: `verify`, `explore`, `list`.

use crate::cases::{Case, Level, cases};
use crate::run::{Limits, Progress, Report};
use clap::{Parser, Subcommand, ValueEnum};
use std::io::{IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

/// Goes through every state of Accord's models.
#[derive(Parser)]
#[command(name = "accord-explore", version, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
The models wrap the core itself: docs/models.md says what each explores and what it leaves out.

Exit codes: 0 all properties hold, 1 a counterexample (printed, as short as can be), 2 bad input, \
3 a state that should be reached is not.";

#[derive(Subcommand)]
enum Command {
    /// Go through all states of the models, and print a table
    Verify(VerifyArguments),
    /// Show the states of a model in a browser
    Explore(ExploreArguments),
    /// List the models
    List,
}

#[derive(clap::Args)]
struct VerifyArguments {
    /// Which models; all if none is named. `replica` stands for all that begin with it
    names: Vec<String>,
    /// How much may happen in a run
    #[arg(long, value_enum, default_value_t = LevelArgument::Full)]
    level: LevelArgument,
    /// Look no further than so many steps from the initial state
    #[arg(long, value_name = "STEPS")]
    depth: Option<usize>,
    /// Give up a model after generating so many states
    #[arg(long, value_name = "COUNT", default_value_t = 40_000_000)]
    states_max: usize,
    /// Threads of the checker
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    threads: usize,
    /// Plant a bug of sim/bugs in a copy of the sources first, and show that the models find it;
    /// `all` for those that they are known to find
    #[arg(long, value_name = "BUG")]
    planted: Vec<String>,
}

#[derive(clap::Args)]
struct ExploreArguments {
    /// Which model
    name: String,
    /// How much may happen in a run
    #[arg(long, value_enum, default_value_t = LevelArgument::Full)]
    level: LevelArgument,
    /// The port, on this machine only; a free one if not given
    #[arg(long)]
    port: Option<u16>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LevelArgument {
    Small,
    Full,
}

impl From<LevelArgument> for Level {
    fn from(level: LevelArgument) -> Self {
        match level {
            LevelArgument::Small => Self::Small,
            LevelArgument::Full => Self::Full,
        }
    }
}

const FOUND: u8 = 1;
const BAD_INPUT: u8 = 2;
const UNREACHED: u8 = 3;

/// Does what the command line asks.
pub fn run() -> ExitCode {
    match Arguments::parse().command {
        Command::Verify(arguments) if arguments.planted.is_empty() => verify(&arguments),
        Command::Verify(arguments) => planted(&arguments.planted),
        Command::Explore(arguments) => explore(&arguments),
        Command::List => {
            for case in cases(Level::Full) {
                say(format_args!("{:18} {}\n", case.name, case.about));
            }
            ExitCode::SUCCESS
        }
    }
}

#[cfg(feature = "planted")]
fn planted(names: &[String]) -> ExitCode {
    crate::planted::run(names)
}

#[cfg(not(feature = "planted"))]
fn planted(_: &[String]) -> ExitCode {
    refuse("this build does not plant bugs: build it with the feature `planted`")
}

/// The cases that the names stand for.
fn choose(names: &[String], level: Level) -> Result<Vec<Case>, String> {
    let all = cases(level);
    let stands_for = |name: &str, case: &Case| {
        let rest = case.name.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    for name in names {
        if !all.iter().any(|case| stands_for(name, case)) {
            let known: Vec<&str> = all.iter().map(|case| case.name).collect();
            return Err(format!("no model is called {name}; expected one of {}", known.join(", ")));
        }
    }
    let chosen = |case: &Case| names.is_empty() || names.iter().any(|name| stands_for(name, case));
    Ok(all.into_iter().filter(chosen).collect())
}

fn verify(arguments: &VerifyArguments) -> ExitCode {
    let cases = match choose(&arguments.names, arguments.level.into()) {
        Ok(cases) => cases,
        Err(why) => return refuse(&why),
    };
    let (depth, states_max, threads) =
        (arguments.depth, arguments.states_max, arguments.threads.max(1));
    let limits = Limits { depth, states_max, threads };
    let (mut broken, mut good) = (false, true);
    say(format_args!("{HEAD}\n"));
    for case in cases {
        let report = case.model.verify(limits, &mut |progress| show_progress(case.name, progress));
        clear_progress();
        say(format_args!("{}\n", row(case.name, &report)));
        for broken in &report.broken {
            say(format_args!("\n{}: {} does not hold:\n", case.name, broken.property));
            for (number, (happens, state)) in broken.steps.iter().enumerate() {
                say(format_args!("{number:>3}. {happens}\n{}", indented(state)));
            }
        }
        for name in report.unreached.iter().filter(|_| report.broken.is_empty()) {
            say(format_args!("{}: never: {name}\n", case.name));
        }
        broken |= !report.broken.is_empty();
        good &= report.is_good();
    }
    match (broken, good) {
        (true, _) => ExitCode::from(FOUND),
        (false, false) => ExitCode::from(UNREACHED),
        (false, true) => ExitCode::SUCCESS,
    }
}

const HEAD: &str =
    "model              unique states  generated  steps  seconds   MiB  hold  reached  states";

fn row(name: &str, report: &Report) -> String {
    let Progress { unique, generated, depth, spent, memory_bytes } = report.progress;
    let (seconds, mib) = (tenths(spent), memory_bytes >> 20);
    let reached = report.sometimes - report.unreached.len();
    let hold = format!("{}/{}", report.always, report.always + report.broken.len());
    let reached = format!("{reached}/{}", report.sometimes);
    let how = match (report.broken.is_empty(), report.complete) {
        (false, _) => "BROKEN",
        (true, true) => "all",
        (true, false) => "some",
    };
    format!(
        "{name:18} {unique:>13} {generated:>10} {depth:>6} {seconds:>8} {mib:>5} {hold:>5} \
         {reached:>8}  {how}"
    )
}

fn tenths(span: Duration) -> String {
    let tenths = span.as_millis() / 100;
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn indented(state: &str) -> String {
    state.lines().map(|line| format!("       {line}\n")).collect()
}

fn show_progress(name: &str, progress: Progress) {
    let mut out = std::io::stderr();
    if out.is_terminal() {
        let (unique, generated, depth) = (progress.unique, progress.generated, progress.depth);
        let seconds = progress.spent.as_secs();
        let _ = write!(
            out,
            "\r\x1b[K{name}: {unique} states of {generated} generated, {depth} steps, {seconds} s"
        );
    }
}

fn clear_progress() {
    let mut out = std::io::stderr();
    if out.is_terminal() {
        let _ = write!(out, "\r\x1b[K");
    }
}

fn explore(arguments: &ExploreArguments) -> ExitCode {
    let found = choose(&[], arguments.level.into()).unwrap_or_default();
    let Some(case) = found.into_iter().find(|case| case.name == arguments.name) else {
        return refuse(
            &choose(std::slice::from_ref(&arguments.name), Level::Full).err().unwrap_or(format!(
                "{} stands for several models; name one of them",
                arguments.name
            )),
        );
    };
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port.unwrap_or(0)));
    let address = TcpListener::bind(wanted).and_then(|listener| listener.local_addr());
    match address {
        Ok(address) => {
            say(format_args!("{} at http://{address}/ (end with ctrl-c)\n", case.name));
            case.model.explore(address);
            ExitCode::SUCCESS
        }
        Err(error) => refuse(&format!("{wanted}: {error}")),
    }
}

fn refuse(why: &str) -> ExitCode {
    complain(format_args!("{why}"));
    ExitCode::from(BAD_INPUT)
}

/// Writes a line to the standard error. It is no error either if nobody reads it.
pub(crate) fn complain(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Writes to the standard output. A reader that has gone away (`| head`) is no error.
pub(crate) fn say(text: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout();
    let _ = out.write_fmt(text).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }
}
