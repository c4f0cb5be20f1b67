//! A watch tells every event that it is set on, once, in the order of the log, the events of a
//! revision together, and before any result that reflects them.
//!
//! Compared with the committed log at every message, for every watch of every client, across
//! reconnections. The only way out for a watch is to be told that it is lost.

use super::Judgement;
use super::committed::Committed;
use accord_core::ids::{Revision, SessionId, WatchId};
use accord_core::protocol::{EventMask, WatchFilter};
use accord_core::state::Event;
use std::collections::BTreeMap;

/// The watches that are set.
#[derive(Debug, Default)]
pub struct Watches {
    set: BTreeMap<(u64, WatchId), Watched>,
}

/// What is known of one watch.
#[derive(Debug)]
struct Watched {
    filter: WatchFilter,
    mask: EventMask,
    once: bool,
    from: Option<Revision>,
    /// All up to here was told. None: the watch was not answered.
    told: Option<Revision>,
}

impl Watched {
    fn wants(&self, event: &Event) -> bool {
        let place = match (&self.filter, event) {
            (WatchFilter::Key(key), Event::Key(event)) => event.key == *key,
            (WatchFilter::Prefix(prefix), Event::Key(event)) => event.key.starts_with(prefix),
            (WatchFilter::Members, Event::Member(_)) => true,
            (WatchFilter::Members, Event::Key(_)) | (_, Event::Member(_) | Event::Tree(_)) => false,
        };
        place && self.mask.admits(event)
    }

    /// The first revision after what was told, and up to `until`, that the watch has to tell.
    fn due(&self, committed: &Committed, until: Revision) -> Option<(Revision, Vec<Event>)> {
        committed.between(self.told?, until).find_map(|(revision, events)| {
            let wanted: Vec<Event> =
                events.iter().filter(|event| self.wants(event)).cloned().collect();
            (!wanted.is_empty()).then_some((revision, wanted))
        })
    }
}

impl Watches {
    /// A client asks for a watch.
    pub fn on_set(
        &mut self,
        (life, watch): (u64, WatchId),
        filter: WatchFilter,
        mask: EventMask,
        once: bool,
        from: Option<Revision>,
    ) {
        self.set.insert((life, watch), Watched { filter, mask, once, from, told: None });
    }

    /// A watch has ended: by its client, or because it cannot go on.
    pub fn on_ended(&mut self, life: u64, watch: WatchId) {
        self.set.remove(&(life, watch));
    }

    /// A life has ended, and its watches with it.
    pub fn on_life_ended(&mut self, life: u64) {
        self.set.retain(|(other, _), _| *other != life);
    }

    /// A client is told that its watch is set, when it had been told results up to `seen`.
    ///
    /// # Errors
    /// If the watch begins elsewhere than it was asked to, or with other members than there were.
    pub fn on_watching(
        &mut self,
        (life, watch): (u64, WatchId),
        from: Revision,
        members: Option<&[SessionId]>,
        seen: Revision,
        committed: &Committed,
    ) -> Judgement {
        let Some(watched) = self.set.get_mut(&(life, watch)) else {
            return Err(format!("{watch} of client {life} is answered, and is not set"));
        };
        watched.told = Some(from);
        match watched.from {
            Some(asked) if asked != from => {
                return Err(format!("{watch} of client {life} begins at {from}, not {asked}"));
            }
            None if from < seen => {
                return Err(format!("{watch} of client {life} begins at {from}, it saw {seen}"));
            }
            _ => {}
        }
        let Some(members) = members.filter(|_| committed.is_complete()) else { return Ok(()) };
        let expected = committed.members_at(from);
        if expected.iter().eq(members) {
            return Ok(());
        }
        Err(format!("at {from}, client {life} is told {members:?}: members were {expected:?}"))
    }

    /// A client is told what a revision changed.
    ///
    /// # Errors
    /// If these are not the events that come next.
    pub fn on_events(
        &mut self,
        (life, watch): (u64, WatchId),
        revision: Revision,
        events: &[Event],
        committed: &Committed,
    ) -> Judgement {
        let Some(watched) = self.set.get_mut(&(life, watch)) else {
            return Err(format!("{watch} of client {life} tells {events:?}, and is not set"));
        };
        let Some(told) = watched.told else {
            return Err(format!("{watch} of client {life} tells {events:?}, and was not answered"));
        };
        if revision <= told {
            let what = format!("{revision} again, which was told up to {told}: {events:?}");
            return Err(format!("{watch} of client {life} tells {what}"));
        }
        if committed.is_complete() {
            let due = watched.due(committed, revision);
            if due.as_ref().is_none_or(|(at, due)| *at != revision || due != events) {
                return Err(format!(
                    "{watch} of client {life}, told up to {told}, tells {revision} {events:?}; \
                     the log has {due:?}"
                ));
            }
        }
        watched.told = Some(revision);
        if watched.once {
            self.set.remove(&(life, watch));
        }
        Ok(())
    }

    /// A client is told a result that reflects everything up to `revision`.
    ///
    /// # Errors
    /// If a watch has not told something of it.
    pub fn on_result(&mut self, life: u64, revision: Revision, committed: &Committed) -> Judgement {
        if !committed.is_complete() {
            return Ok(());
        }
        let all = (life, WatchId(0))..=(life, WatchId(u64::MAX));
        for ((_, watch), watched) in self.set.range_mut(all) {
            if let Some((at, due)) = watched.due(committed, revision) {
                let told = watched.told.unwrap_or_default();
                return Err(format!(
                    "client {life} is told a result of {revision}, and {watch}, told up to {told}, \
                     owes it {at} {due:?}"
                ));
            }
            // Nothing in between concerns it: no need to look there again.
            watched.told = watched.told.map(|told| told.max(revision));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::committed::tests::sample;
    use bytes::Bytes;

    const LIFE: u64 = 7;
    const WATCH: (u64, WatchId) = (LIFE, WatchId(1));

    fn watching(committed: &Committed) -> Watches {
        let mut watches = Watches::default();
        watches.on_set(WATCH, WatchFilter::Prefix(Bytes::new()), EventMask::ALL, false, None);
        let watching = watches.on_watching(WATCH, Revision(1), None, Revision(1), committed);
        assert_eq!(watching, Ok(()));
        watches
    }

    fn events(committed: &Committed, revision: u64) -> Vec<Event> {
        let events = committed.events().filter(|event| event.revision() == Revision(revision));
        events.cloned().collect()
    }

    #[test]
    fn a_complete_stream_is_accepted_and_a_repetition_is_not() {
        let log = sample();
        let mut watches = watching(&log);
        for revision in [2, 3] {
            let events = events(&log, revision);
            assert_eq!(watches.on_events(WATCH, Revision(revision), &events, &log), Ok(()));
        }
        assert_eq!(watches.on_result(LIFE, Revision(4), &log), Ok(()));
        assert!(watches.on_events(WATCH, Revision(3), &events(&log, 3), &log).is_err());
    }

    #[test]
    fn a_gap_an_invention_and_a_result_before_its_event_are_refused() {
        let log = sample();
        let mut gap = watching(&log);
        assert!(gap.on_events(WATCH, Revision(3), &events(&log, 3), &log).is_err());
        let mut invention = watching(&log);
        assert!(invention.on_events(WATCH, Revision(2), &events(&log, 3), &log).is_err());
        let mut early = watching(&log);
        assert_eq!(early.on_result(LIFE, Revision(1), &log), Ok(()));
        assert!(early.on_result(LIFE, Revision(2), &log).is_err());
    }

    #[test]
    fn a_watch_that_is_not_set_tells_nothing() {
        let log = sample();
        let mut watches = watching(&log);
        watches.on_ended(LIFE, WatchId(1));
        assert_eq!(watches.on_result(LIFE, Revision(4), &log), Ok(()));
        assert!(watches.on_events(WATCH, Revision(2), &events(&log, 2), &log).is_err());
        assert!(watches.on_watching(WATCH, Revision(1), None, Revision(0), &log).is_err());
    }

    #[test]
    fn a_watch_begins_where_it_was_asked_to_and_with_the_members_there_were() {
        let log = sample();
        let mut watches = Watches::default();
        let from = Some(Revision(2));
        watches.on_set(WATCH, WatchFilter::Members, EventMask::ALL, false, from);
        assert!(watches.on_watching(WATCH, Revision(3), None, Revision(0), &log).is_err());
        watches.on_set(WATCH, WatchFilter::Members, EventMask::ALL, false, None);
        assert!(watches.on_watching(WATCH, Revision(2), None, Revision(3), &log).is_err());
        let mut begins = |at, members: &[SessionId]| {
            watches.on_watching(WATCH, Revision(at), Some(members), Revision(0), &log)
        };
        assert_eq!(begins(3, &[SessionId(1)]), Ok(()));
        assert!(begins(3, &[]).is_err());
        assert!(begins(4, &[SessionId(1)]).is_err());
    }
}
