//! What the command prints, to a reader that may have gone.
//!
//! A reader that has gone away (`accord-sim run | head`) is no error: what is left to be said is
//! dropped, and the exit code is still the verdict's. The standard macros would panic, which means
//! something else here: exit code 101 is a fault of the simulator. Any other error of the standard
//! output, such as a full disk, ends the command, since a report that is missing is none.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};

/// Prints to the standard output, at once.
pub fn print(text: Arguments<'_>) {
    let mut out = io::stdout().lock();
    match out.write_fmt(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            complain(format_args!("accord-sim: cannot write to the standard output: {error}"));
            std::process::exit(i32::from(crate::report::exit::MISUSED));
        }
        _ => {}
    }
}

/// Prints a line to the standard error, at once.
pub fn complain(text: Arguments<'_>) {
    // Nothing is left to be done if nobody listens.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// As `println!`, by [`print`].
macro_rules! say {
    ($($what:tt)*) => { $crate::report::out::print(format_args!("{}\n", format_args!($($what)*))) };
}

/// As `print!`, by [`print`].
macro_rules! say_text {
    ($($what:tt)*) => { $crate::report::out::print(format_args!($($what)*)) };
}

/// As `eprintln!`, by [`complain`].
macro_rules! complain {
    ($($what:tt)*) => { $crate::report::out::complain(format_args!($($what)*)) };
}
