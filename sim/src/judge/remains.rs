//! In a world at rest, the session of a client that is gone ends within its timeout, and with it go
//! its locks and its ephemeral records. No queue is full there and no server is away, so nothing
//! excuses a session that stays.

use crate::world::clock::WorldTime;
use accord_core::ids::{Epoch, SessionId};
use accord_core::time::{Duration, DurationExt};

/// What it may take beyond the timeout: to propose the end, to commit it, to look again.
const SLACK: Duration = Duration::from_secs(3);

/// The sessions that outlive their clients.
#[derive(Debug, Default)]
pub struct Remains {
    /// Since when the world is at rest, in one epoch: with another, every session has its time
    /// from the beginning.
    since: Option<(WorldTime, Epoch)>,
}

impl Remains {
    /// The world is not at rest.
    pub const fn on_unrest(&mut self) {
        self.since = None;
    }

    /// The world is at rest in this epoch, and these sessions, each with its timeout, have no
    /// client. True if there are none, so that all is over.
    ///
    /// # Errors
    /// If one of them should have ended by now.
    pub fn on_rest(
        &mut self,
        (now, epoch): (WorldTime, Epoch),
        left: impl Iterator<Item = (SessionId, Duration)>,
    ) -> Result<bool, String> {
        let (mut since, before) = *self.since.get_or_insert((now, epoch));
        if before != epoch {
            (since, self.since) = (now, Some((now, epoch)));
        }
        let mut over = true;
        for (session, timeout) in left {
            over = false;
            if since.after(timeout + SLACK) < now {
                let timeout_ms = timeout.to_millis();
                return Err(format!(
                    "{session} has no client and a timeout of {timeout_ms} ms, and is still there \
                     after the world was at rest since {since}"
                ));
            }
        }
        Ok(over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_without_a_client_has_its_timeout_and_no_more() {
        let at = |ms| (WorldTime::START.after(Duration::from_millis(ms)), Epoch(1));
        let left = || [(SessionId(7), Duration::from_secs(1))].into_iter();
        let mut remains = Remains::default();
        assert_eq!(remains.on_rest(at(100), left()), Ok(false));
        assert_eq!(remains.on_rest(at(4_100), left()), Ok(false));
        assert!(remains.on_rest(at(4_101), left()).is_err());
        remains.on_unrest();
        assert_eq!(remains.on_rest(at(4_101), left()), Ok(false), "from the rest on");
        let later = (at(9_000).0, Epoch(2));
        assert_eq!(remains.on_rest(later, left()), Ok(false), "from the epoch on");
        assert_eq!(remains.on_rest(at(9_900), std::iter::empty()), Ok(true));
    }
}
