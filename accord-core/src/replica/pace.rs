//! How fast a server that is behind fetches: slowly enough to have time for what is new, and fast
//! enough to come nearer.

use crate::time::{Duration, Instant};

/// How often it is looked whether the server comes nearer.
const LOOK: Duration = Duration::from_secs(1);

/// A bound on the bytes fetched in a second.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    bytes_per_second: u64,
    /// When what was fetched is no more than the bound allows.
    allowed_at: Instant,
    looked_at: Instant,
    /// Entries that were missing then. None: nobody has looked.
    gap: Option<u64>,
}

impl Pace {
    pub(super) const fn new(bytes_per_second: u64, now: Instant) -> Self {
        Self { bytes_per_second, allowed_at: now, looked_at: now, gap: None }
    }

    /// Accounts for bytes just fetched. Returns when more may be asked for.
    pub(super) fn spend(&mut self, now: Instant, bytes: u64) -> Instant {
        let nanos = bytes.saturating_mul(1_000_000_000) / self.bytes_per_second;
        self.allowed_at = self.allowed_at.max(now) + Duration::from_nanos(nanos);
        self.allowed_at
    }

    /// Learns how many entries are missing.
    pub(super) fn note_gap(&mut self, now: Instant, gap: u64) {
        match self.gap {
            Some(_) if now.since(self.looked_at) < LOOK => return,
            // At least a sixteenth less: the rest will not take much longer than this did.
            Some(last) if gap > last - last / 16 => self.hurry(),
            _ => {}
        }
        (self.looked_at, self.gap) = (now, Some(gap));
    }

    /// This is too slow to ever end.
    pub(super) const fn hurry(&mut self) {
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
        let mut pace = Pace::new(1000, at(0));
        assert_eq!(pace.spend(at(0), 500), at(500));
        assert_eq!(pace.spend(at(500), 250), at(750));
        assert_eq!(pace.spend(at(5000), 1), at(5001), "idle time is not saved up");
    }

    #[test]
    fn who_does_not_come_nearer_hurries() {
        let mut pace = Pace::new(1000, at(0));
        pace.note_gap(at(0), 1600);
        pace.note_gap(at(999), 1600);
        assert_eq!(pace.spend(at(1000), 1000), at(2000), "it is too early to tell");
        pace.note_gap(at(1000), 1500);
        assert_eq!(pace.spend(at(2000), 1000), at(3000), "a sixteenth is enough");
        pace.note_gap(at(2000), 1499);
        assert_eq!(pace.spend(at(3000), 1000), at(3500));
    }
}
