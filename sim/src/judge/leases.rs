//! A client believes in its session no longer than it surely lives.
//!
//! What holds a lock works until its lease ends, and the next holder begins when the session has
//! ended: they must not meet. The judge asks each client at each of its steps, and looks when an
//! expiry is committed. It is a promise among clocks of one pace, so nothing is judged any more
//! when a server's clock was moved.

use super::Judgement;
use crate::world::clock::WorldTime;
use accord_core::ids::SessionId;
use std::collections::BTreeMap;

/// Until when each living client believes in its session.
#[derive(Debug, Default)]
pub struct Leases {
    until: BTreeMap<SessionId, WorldTime>,
    clocks_differ: bool,
}

impl Leases {
    /// A client believes in its session until this time.
    pub fn on_belief(&mut self, session: SessionId, until: WorldTime) {
        self.until.insert(session, until);
    }

    /// The client is gone, and believes nothing.
    pub fn on_gone(&mut self, session: SessionId) {
        self.until.remove(&session);
    }

    /// A server's clock runs at another pace, or leaps.
    pub const fn on_clock_moved(&mut self) {
        self.clocks_differ = true;
    }

    /// A session has expired.
    ///
    /// # Errors
    /// If its client believes in it still.
    pub fn on_expired(&mut self, session: SessionId, now: WorldTime) -> Judgement {
        match self.until.remove(&session) {
            Some(until) if until > now && !self.clocks_differ => {
                Err(format!("{session} has expired, and its client believes in it until {until}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_expires_only_after_its_client_has_ceased_to_believe_in_it() {
        let at = WorldTime::from_nanos;
        let (early, late) = (SessionId(1), SessionId(2));
        let mut leases = Leases::default();
        leases.on_belief(early, at(10));
        leases.on_belief(late, at(10));
        assert_eq!(leases.on_expired(late, at(10)), Ok(()));
        assert!(leases.on_expired(early, at(9)).is_err());
        leases.on_belief(early, at(10));
        leases.on_gone(early);
        assert_eq!(leases.on_expired(early, at(9)), Ok(()), "nobody is there to believe it");
        leases.on_belief(early, at(10));
        leases.on_clock_moved();
        assert_eq!(leases.on_expired(early, at(9)), Ok(()), "no clock can promise it");
    }
}
