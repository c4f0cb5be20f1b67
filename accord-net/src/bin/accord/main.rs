//! The `accord` command: servers, clusters on one machine, and clients on the command line.
//!
//! 1. [`args`]: what can be said.
//! 2. [`server`]: one server.
//! 3. [`cluster`]: several, as child processes.
//! 4. [`client`]: what clients can do.
//! 5. [`shell`]: the same, interactively.
//! 6. [`out`]: how things are printed; exit codes.

mod args;
mod client;
mod cluster;
mod out;
mod server;
mod shell;
mod signals;

use args::{Cli, Command};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse_from(args::in_order(std::env::args_os().collect()));
    let code = match cli.command {
        Command::Server(args) => server::run(&args),
        Command::Cluster(args) => cluster::run(&args),
        Command::Client(command) => client::run(&command),
        Command::Shell(args) => shell::run(&args),
        #[cfg(target_os = "linux")]
        Command::Guard(args) => client::held::guard(&args),
        Command::Config => out::print_text(&accord_net::settings::commented_default()),
        Command::Key => out::print_text(&format!("{}\n", accord_net::settings::new_key())),
        Command::Completions { shell } => args::print_completions(shell),
    };
    ExitCode::from(code)
}
