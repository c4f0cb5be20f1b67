//! Rate limit for catching up: leaves time for live traffic, doubles if the gap does not shrink.

use crate::time::{Duration, Instant};

/// How often the gap is compared with what it was.
const REVIEW_INTERVAL: Duration = Duration::from_secs(1);

/// The bound on the bytes that a server fetches in a second.
#[derive(Clone, Debug)]
pub(super) struct TransferRate {
    bytes_per_second: u64,
    /// The time at which the bound allows all that was fetched so far.
    allowed_at: Instant,
    reviewed_at: Instant,
    /// Entries that were missing at `reviewed_at`. None before the first review.
    gap: Option<u64>,
}

impl TransferRate {
    pub(super) const fn new(bytes_per_second: u64, now: Instant) -> Self {
        Self { bytes_per_second, allowed_at: now, reviewed_at: now, gap: None }
    }

    /// Counts bytes just fetched. Returns when more may be requested.
    pub(super) fn spend(&mut self, now: Instant, bytes: u64) -> Instant {
        let nanos = bytes.saturating_mul(1_000_000_000) / self.bytes_per_second;
        self.allowed_at = self.allowed_at.max(now) + Duration::from_nanos(nanos);
        self.allowed_at
    }

    /// Takes in how many entries are missing, and doubles the rate if that hardly shrinks.
    pub(super) fn note_gap(&mut self, now: Instant, gap: u64) {
        match self.gap {
            Some(_) if now.since(self.reviewed_at) < REVIEW_INTERVAL => return,
            // A gap that shrinks by a sixteenth per interval is closed in a bounded time.
            Some(last) if gap > last - last / 16 => self.double(),
            _ => {}
        }
        (self.reviewed_at, self.gap) = (now, Some(gap));
    }

    /// The present rate would not close the gap.
    pub(super) const fn double(&mut self) {
        self.bytes_per_second = self.bytes_per_second.saturating_mul(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn what_is_fetched_is_within_the_bound() {
        let mut rate = TransferRate::new(1000, at(0));
        assert_eq!(rate.spend(at(0), 500), at(500));
        assert_eq!(rate.spend(at(500), 250), at(750));
        assert_eq!(rate.spend(at(5000), 1), at(5001), "idle time is not saved up");
    }

    #[test]
    fn the_rate_doubles_if_the_gap_does_not_shrink() {
        let mut rate = TransferRate::new(1000, at(0));
        rate.note_gap(at(0), 1600);
        rate.note_gap(at(999), 1600);
        assert_eq!(rate.spend(at(1000), 1000), at(2000), "it is too early to tell");
        rate.note_gap(at(1000), 1500);
        assert_eq!(rate.spend(at(2000), 1000), at(3000), "a sixteenth is enough");
        rate.note_gap(at(2000), 1499);
        assert_eq!(rate.spend(at(3000), 1000), at(3500));
    }
}
