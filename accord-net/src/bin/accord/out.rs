//! How things are printed, and exit codes.
//!
//! The reader of the output may be gone (`accord list | head -1`): that ends the command in
//! silence. But a change that was made is never called failed because its answer could not be
//! printed: a script that goes by the code would make it once more.

use std::io::{self, Write};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

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
/// It was done, and its answer could not be printed.
pub const UNPRINTED: u8 = 5;

/// True once the present command has changed something.
static CHANGED: AtomicBool = AtomicBool::new(false);

/// A command begins: nothing is changed yet.
pub fn begin() {
    CHANGED.store(false, Ordering::Relaxed);
}

/// The command has changed something. To be said before the answer is printed.
pub fn note_change() {
    CHANGED.store(true, Ordering::Relaxed);
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush())
}

/// The exit code of a command whose output fails.
fn unprinted(changed: bool, error: &io::Error) -> u8 {
    match (changed, error.kind()) {
        (true, _) => UNPRINTED,
        (false, io::ErrorKind::BrokenPipe) => DONE,
        (false, _) => FAILED,
    }
}

fn complain_of_output(changed: bool, error: &io::Error) {
    if error.kind() != io::ErrorKind::BrokenPipe {
        let done = if changed { "it was done, but " } else { "" };
        complain(&format!("{done}the standard output cannot be written: {error}"));
    }
}

/// Prints to the standard output, at once.
pub fn print_bytes(bytes: &[u8]) -> u8 {
    if let Err(error) = write(bytes) {
        let changed = CHANGED.load(Ordering::Relaxed);
        complain_of_output(changed, &error);
        process::exit(i32::from(unprinted(changed, &error)));
    }
    DONE
}

/// Prints to the standard output, at once.
pub fn print_text(text: &str) -> u8 {
    print_bytes(text.as_bytes())
}

/// Prints why something was not done. The code stays what it is if that fails.
pub fn print_failure(text: &str, code: u8) -> u8 {
    if let Err(error) = write(text.as_bytes()) {
        complain_of_output(false, &error);
    }
    code
}

/// Writes a line to the standard error.
pub fn say(line: &str) {
    // Nothing is left to be done without a reader.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Tells the user what is wrong.
pub fn complain(what: &str) {
    say(&format!("accord: {what}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_never_called_failed() {
        for (changed, kind, code) in [
            (false, io::ErrorKind::BrokenPipe, DONE),
            (false, io::ErrorKind::StorageFull, FAILED),
            (true, io::ErrorKind::BrokenPipe, UNPRINTED),
            (true, io::ErrorKind::StorageFull, UNPRINTED),
        ] {
            assert_eq!(unprinted(changed, &kind.into()), code, "{changed} {kind}");
        }
    }
}
