//! The world's time, and the clocks of its servers, which disagree.
//!
//! A server's clock is monotonic, as the core demands, but runs at its own rate and may leap ahead
//! (a suspended machine, a stolen processor). Rates are ratios of integers, so no rounding depends
//! on the build. Invariant: a clock never runs backwards over any change of its rate.

use accord_core::ids::Stamp;
use accord_core::time::{Duration, DurationExt, Instant};
use std::fmt;

/// What a clock on the wall shows when the monotonic one shows zero, in milliseconds since 1970.
const WALL_AT_ZERO: u64 = 1_700_000_000_000;

/// A point in the world's own time, in nanoseconds since the world began.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WorldTime(u64);

impl WorldTime {
    /// When the world begins.
    pub const START: Self = Self(0);
    /// Later than everything.
    pub const NEVER: Self = Self(u64::MAX);

    /// The point `nanos` nanoseconds after the start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }
    /// Nanoseconds since the start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }
    /// Time since the start.
    pub fn since_start(self) -> Duration {
        Duration::from_nanos(self.0)
    }
    /// The point `span` later, saturating.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.to_nanos()))
    }
}

impl fmt::Display for WorldTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000 / 1_000)
    }
}
impl fmt::Debug for WorldTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One server's (or client's) clock.
#[derive(Clone, Debug)]
pub struct Clock {
    world_base: u64,
    local_base: u64,
    /// By how many milliseconds the clock on the wall was set back so far.
    set_back: u64,
    /// Local nanoseconds per hundred nanoseconds of the world. Invariant: not zero.
    percent: u32,
}

impl Clock {
    /// A clock that shows `offset` when the world begins, and is true to the world's pace.
    pub fn new(offset: Duration) -> Self {
        Self { world_base: 0, local_base: offset.to_nanos(), set_back: 0, percent: 100 }
    }

    /// What the clock shows at `world`.
    pub fn local(&self, world: WorldTime) -> Instant {
        let elapsed = u128::from(world.0.saturating_sub(self.world_base));
        let local = u128::from(self.local_base) + elapsed * u128::from(self.percent) / 100;
        Instant::from_nanos(u64::try_from(local).unwrap_or(u64::MAX))
    }

    /// What the clock on the wall shows at `world`: other than the monotonic one, it is set back
    /// when that leaps.
    pub fn wall(&self, world: WorldTime) -> Stamp {
        let shown = WALL_AT_ZERO + self.local(world).as_nanos() / 1_000_000;
        Stamp(shown.saturating_sub(self.set_back))
    }

    /// The first point of the world's time at which the clock shows `local` or later.
    pub fn world(&self, local: Instant) -> WorldTime {
        if local == Instant::FAR_FUTURE {
            return WorldTime::NEVER;
        }
        let wait = u128::from(local.as_nanos().saturating_sub(self.local_base));
        let wait = (wait * 100).div_ceil(u128::from(self.percent));
        let world = u128::from(self.world_base) + wait;
        WorldTime(u64::try_from(world).unwrap_or(u64::MAX))
    }

    /// From `now` on, the clock runs at `percent` of the world's pace.
    ///
    /// # Panics
    /// If `percent` is zero: a clock that stands still wakes nobody, ever.
    pub fn set_rate(&mut self, now: WorldTime, percent: u32) {
        assert!(percent > 0, "a clock must go on");
        self.local_base = self.local(now).as_nanos();
        self.world_base = now.0;
        self.percent = percent;
    }

    /// At `now`, the clock leaps ahead, and the one on the wall is set back as far.
    pub fn leap(&mut self, now: WorldTime, by: Duration) {
        self.set_back = self.set_back.saturating_add(by.to_millis().saturating_mul(2));
        self.local_base = self.local(now).as_nanos().saturating_add(by.to_nanos());
        self.world_base = now.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> WorldTime {
        WorldTime::START.after(Duration::from_millis(ms))
    }

    #[test]
    fn a_clock_runs_at_its_rate_and_never_backwards() {
        let mut clock = Clock::new(Duration::from_secs(100));
        clock.set_rate(ms(10), 50);
        assert_eq!(clock.local(ms(20)), Instant::ZERO + Duration::from_millis(100_015));
        clock.leap(ms(20), Duration::from_secs(1));
        clock.set_rate(ms(20), 200);
        assert_eq!(clock.local(ms(20)), Instant::ZERO + Duration::from_millis(101_015));
        assert_eq!(clock.local(ms(21)), Instant::ZERO + Duration::from_millis(101_017));
    }

    #[test]
    fn the_clock_on_the_wall_goes_with_the_other_and_back_when_that_leaps() {
        let mut clock = Clock::new(Duration::from_secs(100));
        assert_eq!(clock.wall(ms(7)), Stamp(WALL_AT_ZERO + 100_007));
        clock.leap(ms(10), Duration::from_secs(60));
        assert_eq!(clock.wall(ms(10)), Stamp(WALL_AT_ZERO + 40_010));
        assert_eq!(clock.wall(ms(11)), Stamp(WALL_AT_ZERO + 40_011));
    }

    #[test]
    fn a_wake_up_comes_when_the_clock_shows_the_deadline_and_not_before() {
        let mut clock = Clock::new(Duration::from_nanos(5));
        for percent in [1, 33, 100, 101, 300] {
            clock.set_rate(ms(1), percent);
            for wait in [0, 1, 7, 1_000_003] {
                let deadline = clock.local(ms(1)) + Duration::from_nanos(wait);
                let wake = clock.world(deadline);
                assert!(clock.local(wake) >= deadline, "at {percent}%");
                assert!(wake == ms(1) || clock.local(WorldTime(wake.0 - 1)) < deadline);
            }
        }
        assert_eq!(clock.world(Instant::FAR_FUTURE), WorldTime::NEVER);
    }
}
