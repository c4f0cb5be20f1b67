//! The time of day, as the driver tells it now and then.

use super::Server;
use crate::ids::Stamp;
use crate::time::Instant;

/// What the clock on the wall showed at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    /// The moment, and what it showed. `None`: it was never told.
    told: Option<(Instant, Stamp)>,
}

impl Clock {
    /// What it shows at `now`, if it was not set since it was told. Zero if it never was.
    pub(super) fn at(&self, now: Instant) -> Stamp {
        let Some((then, wall)) = self.told else { return Stamp(0) };
        Stamp(wall.0.saturating_add(now.since(then).as_millis() as u64))
    }
}

impl Server {
    pub(super) fn on_clock(&mut self, wall: Stamp) {
        self.clock.told = Some((self.now, wall));
        self.service.note_clock(wall);
    }
}
