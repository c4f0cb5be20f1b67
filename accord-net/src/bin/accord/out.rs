//! How things are printed, and exit codes.
//!
//! Whoever reads the output may be gone (`accord list | head -1`): that ends the command in
//! silence.

use std::io::{self, Write};
use std::process;

/// Done.
pub const DONE: u8 = 0;
/// Not done: not found, exists already, unequal, refused.
pub const FAILED: u8 = 1;
/// The command line or the settings are wrong.
pub const MISUSED: u8 = 2;
/// It may have been done or not.
pub const UNKNOWN: u8 = 3;
/// No server was reached.
pub const UNREACHABLE: u8 = 4;

/// Prints to the standard output, at once.
pub fn print_bytes(bytes: &[u8]) -> u8 {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => DONE,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => process::exit(i32::from(DONE)),
        Err(error) => {
            complain(&format!("cannot write to the standard output: {error}"));
            process::exit(i32::from(FAILED));
        }
    }
}

/// Prints to the standard output, at once.
pub fn print_text(text: &str) -> u8 {
    print_bytes(text.as_bytes())
}

/// Tells the user what is wrong.
pub fn complain(what: &str) {
    // Nothing is left to be done if nobody listens.
    let _ = writeln!(io::stderr().lock(), "accord: {what}");
}
