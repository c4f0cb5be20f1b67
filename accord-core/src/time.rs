//! Time as a value: integer nanoseconds, handed in by the driver.
//!
//! The core never asks what time it is. An [`Instant`] is a number that can be written in a trace
//! and read back; `std::time::Instant` is neither. Spans are the standard library's. Arithmetic
//! saturates, so a jumping clock cannot panic a server.

use core::fmt;
use core::ops::{Add, Sub};

pub use core::time::Duration;

/// A point on one server's monotonic clock, in nanoseconds since an origin that the driver chose.
///
/// Instants of different servers are not comparable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The driver's origin.
    pub const ZERO: Self = Self(0);
    /// Later than every deadline that is ever set.
    pub const FAR_FUTURE: Self = Self(u64::MAX);

    /// The instant `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time since `earlier`; zero if `earlier` is in fact later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(nanos(rhs)))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;
    fn sub(self, rhs: Instant) -> Duration {
        self.since(rhs)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000 / 1_000)
    }
}

/// Integer arithmetic on spans of time, saturating at `u64::MAX` nanoseconds (584 years), as that
/// on instants does.
///
/// The standard library's own conversions are 128 bits wide, and its products panic when they
/// overflow.
pub trait DurationExt {
    /// The span in nanoseconds.
    fn to_nanos(self) -> u64;
    /// The span in whole microseconds, rounded down.
    fn to_micros(self) -> u64;
    /// The span in whole milliseconds, rounded down.
    fn to_millis(self) -> u64;
    /// The span multiplied by `factor`.
    #[must_use]
    fn times(self, factor: u64) -> Self;
    /// The span scaled by the ratio `numerator / denominator`, rounded down.
    ///
    /// # Panics
    /// If `denominator` is zero.
    #[must_use]
    fn scaled(self, numerator: u64, denominator: u64) -> Self;
}

impl DurationExt for Duration {
    fn to_nanos(self) -> u64 {
        nanos(self)
    }
    fn to_micros(self) -> u64 {
        u64::try_from(self.as_micros()).unwrap_or(u64::MAX)
    }
    fn to_millis(self) -> u64 {
        u64::try_from(self.as_millis()).unwrap_or(u64::MAX)
    }
    fn times(self, factor: u64) -> Self {
        Self::from_nanos(nanos(self).saturating_mul(factor))
    }
    fn scaled(self, numerator: u64, denominator: u64) -> Self {
        let wide = u128::from(nanos(self)) * u128::from(numerator) / u128::from(denominator);
        Self::from_nanos(u64::try_from(wide).unwrap_or(u64::MAX))
    }
}

const fn nanos(span: Duration) -> u64 {
    let wide = span.as_nanos();
    if wide > u64::MAX as u128 { u64::MAX } else { wide as u64 }
}

/// A span as text, in the largest unit that needs no fraction: `2s`, `1500ms`, `250us`, `7ns`.
#[derive(Clone, Copy)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match nanos(self.0) {
            ns if ns % 1_000_000_000 == 0 => write!(f, "{}s", ns / 1_000_000_000),
            ns if ns % 1_000_000 == 0 => write!(f, "{}ms", ns / 1_000_000),
            ns if ns % 1_000 == 0 => write!(f, "{}us", ns / 1_000),
            ns => write!(f, "{ns}ns"),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate alloc;
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_clock_that_jumps_saturates_instead_of_panicking() {
        assert_eq!(Instant::ZERO.since(Instant::FAR_FUTURE), Duration::ZERO);
        assert_eq!(Instant::FAR_FUTURE + Duration::from_secs(1), Instant::FAR_FUTURE);
        assert_eq!(Instant::ZERO + Duration::MAX, Instant::FAR_FUTURE);
        assert_eq!(Duration::MAX.times(2), Duration::from_nanos(u64::MAX));
        assert_eq!(Duration::from_secs(3).scaled(1, 2), Duration::from_millis(1500));
    }

    #[test]
    fn a_span_is_shown_in_the_largest_unit_without_a_fraction() {
        let shown = [2_000_000_000, 1_500_000_000, 250_000, 7]
            .map(|ns| Span(Duration::from_nanos(ns)).to_string());
        assert_eq!(shown, ["2s", "1500ms", "250us", "7ns"]);
    }
}
