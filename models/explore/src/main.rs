//! `accord-explore`: goes through every state of Accord's models.
//!
//! Exit codes: 0 all properties hold, 1 a counterexample, 2 bad input, 3 a state that should be
//! reached is not.

use std::process::ExitCode;

fn main() -> ExitCode {
    accord_explore::cli::run()
}
