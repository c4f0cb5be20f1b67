//! What the commands print, to a reader that may have gone.
//!
//! A reader that has gone away (`accord-jepsen run | head`) is no error: what is left to be said
//! is dropped, and the run goes on to its end, with its own exit code. The standard macros would
//! panic. Any other error of the standard output, such as a full disk, is remembered: a run whose
//! report is missing has not come to a verdict.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

static FAILED: AtomicBool = AtomicBool::new(false);

/// Prints to the standard output, at once.
pub fn print(text: Arguments<'_>) {
    let mut out = io::stdout().lock();
    match out.write_fmt(text).and_then(|()| out.flush()) {
        Err(error)
            if error.kind() != ErrorKind::BrokenPipe && !FAILED.swap(true, Ordering::Relaxed) =>
        {
            complain(format_args!("error: cannot write to the standard output: {error}"));
        }
        _ => {}
    }
}

/// True if something could not be printed though somebody listens.
pub fn has_failed() -> bool {
    FAILED.load(Ordering::Relaxed)
}

/// Prints a line to the standard error, at once.
pub fn complain(text: Arguments<'_>) {
    // Nothing is left to be done if nobody listens.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// As `println!`, by [`print()`].
#[macro_export]
macro_rules! say {
    ($($what:tt)*) => { $crate::out::print(format_args!("{}\n", format_args!($($what)*))) };
}

/// As `eprintln!`, by [`complain()`].
#[macro_export]
macro_rules! complain {
    ($($what:tt)*) => { $crate::out::complain(format_args!($($what)*)) };
}
