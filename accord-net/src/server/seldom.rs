//! Complaints that others can bring about as often as they like, said once a minute.

use accord_core::time::{Duration, Instant};
use std::cell::Cell;

/// How long nothing more is said after a complaint.
const SILENCE: Duration = Duration::from_secs(60);

/// One kind of complaint.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    said: Cell<Option<Instant>>,
    unsaid: Cell<u64>,
}

impl Seldom {
    /// Something to complain of has happened: if it is to be said now, how often it has happened
    /// since it was said last, this time included.
    pub(super) fn due(&self, now: Instant) -> Option<u64> {
        let times = self.unsaid.get() + 1;
        if self.said.get().is_some_and(|said| now.since(said) < SILENCE) {
            self.unsaid.set(times);
            return None;
        }
        self.said.set(Some(now));
        self.unsaid.set(0);
        Some(times)
    }
}

/// What a server complains of.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    /// Streams that are no server's of this cluster.
    pub(super) strangers: Seldom,
    /// Streams of servers of another version.
    pub(super) versions: Seldom,
    /// Streams of servers that make no sense.
    pub(super) nonsense: Seldom,
    /// Operators beyond the bound.
    pub(super) operators: Seldom,
    /// Connections that the system has no room for.
    pub(super) accepting: Seldom,
    /// Datagrams that the system does not hand out.
    pub(super) receiving: Seldom,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_said_once_a_minute_and_counts_what_it_stands_for() {
        let complaint = Seldom::default();
        let mut now = Instant::ZERO;
        assert_eq!(complaint.due(now), Some(1));
        for _ in 0..299 {
            now = now + Duration::from_millis(200);
            assert_eq!(complaint.due(now), None);
        }
        now = now + Duration::from_millis(200);
        assert_eq!(complaint.due(now), Some(300));
        assert_eq!(complaint.due(now), None);
    }
}
