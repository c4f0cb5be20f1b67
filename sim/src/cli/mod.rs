//! The command line: campaigns, replays, plans.
//!
//! Exit codes: 0, all properties that were judged held; 1, one did not; 2, an option or a plan is
//! wrong; 130, it was interrupted. A violation ends with one command that reproduces it.

mod args;
mod campaign;
mod nightly;
mod replay;

pub use crate::report::exit::{HELD, INTERRUPTED, MISUSED, VIOLATED};
pub use args::{Cli, Command, WorldArgs};

use clap::Parser;
use std::process::ExitCode;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let code = match cli.command {
        None => campaign::run(&args::RunArgs::default()),
        Some(Command::Run(args)) => campaign::run(&args),
        Some(Command::Replay(args)) => replay::run(&args),
        Some(Command::Plan(args)) => replay::print_plan(&args),
        Some(Command::Worlds) => Ok(replay::print_worlds()),
        Some(Command::Faults) => Ok(replay::print_faults()),
        Some(Command::Bugs(options)) => return crate::bugs::run(&options),
        Some(Command::Hunt(options)) => return crate::bugs::hunt::run(&options),
    };
    ExitCode::from(code.unwrap_or_else(|message| {
        complain!("accord-sim: {message}");
        MISUSED
    }))
}
