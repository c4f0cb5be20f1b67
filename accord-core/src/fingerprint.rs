//! A machine's state as one number, by which a model checker identifies states.
//!
//! The machine's [`fmt::Debug`] output is hashed while it is printed. This is slower than hashing
//! fields, but cannot forget a field that is added later. A machine's `fingerprint` destructures
//! the machine, so the compiler asks about every new field, and leaves out fields that do not
//! affect its behaviour: counters for operators, reused buffers, and the configuration, which never
//! changes.
//!
//! Invariant: two states with different futures print differently, except for durations below a
//! microsecond, which [`crate::time::Instant`] does not print.

use core::fmt::{self, Write};
use xxhash_rust::xxh3::Xxh3;

struct Sink(Xxh3);

impl Write for Sink {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

/// The fingerprint of what a value prints.
///
/// # Panics
/// If the value refuses to print itself, which nothing here does.
pub fn of(value: &impl fmt::Debug) -> u64 {
    let mut sink = Sink(Xxh3::new());
    write!(sink, "{value:?}").expect("a hash takes any text");
    sink.0.digest()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Duration, Instant};

    #[test]
    fn what_prints_alike_is_alike_down_to_microseconds() {
        let at = |nanos| Instant::ZERO + Duration::from_nanos(nanos);
        assert_eq!(of(&at(1_000)), of(&at(1_999)));
        assert_ne!(of(&at(1_000)), of(&at(2_000)));
        assert_ne!(of(&(1, 23)), of(&(12, 3)));
    }
}
