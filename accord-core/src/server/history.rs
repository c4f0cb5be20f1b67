//! What happened lately: the events of the last revisions, from which a watch that was cut off
//! resumes.
//!
//! Bounded by number and by bytes; whole revisions go at once, so that what is left has no gap. The
//! history is this server's own: it begins anew at the revision of the snapshot that it started
//! from.

use super::watches::concerns;
use crate::ids::Revision;
use crate::protocol::{EventMask, WatchFilter, event_weight};
use crate::state::Event;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The events of the last revisions, without a gap.
#[derive(Clone, Debug)]
pub(super) struct History {
    /// Invariant: every event after this revision is here.
    floor: Revision,
    /// Invariant: no group is empty, all events of a group have one revision, revisions ascend.
    groups: VecDeque<Arc<[Event]>>,
    /// Invariant: the number of events in `groups`, at most `events_max`.
    events: usize,
    /// Invariant: the weight of the events in `groups`, at most `bytes_max`.
    bytes: usize,
    events_max: usize,
    bytes_max: usize,
}

/// What a watch missed, oldest first: the events of each revision that concerned it.
pub(super) type Missed = Vec<Arc<[Event]>>;

impl History {
    /// Empty, complete after `floor`.
    pub(super) fn new(floor: Revision, events_max: usize, bytes_max: usize) -> Self {
        Self { floor, groups: VecDeque::new(), events: 0, bytes: 0, events_max, bytes_max }
    }

    /// Every event after this revision is known.
    pub(super) const fn floor(&self) -> Revision {
        self.floor
    }

    /// Events held.
    pub(super) const fn len(&self) -> usize {
        self.events
    }

    /// Forgets everything: the next event known is the one after `floor`.
    pub(super) fn reset(&mut self, floor: Revision) {
        *self = Self::new(floor, self.events_max, self.bytes_max);
    }

    /// Adds the events of the next revision that had any.
    ///
    /// # Panics
    /// If the revision is not later than the last.
    pub(super) fn push(&mut self, group: Arc<[Event]>) {
        let Some(first) = group.first() else { return };
        let last = self.groups.back().map_or(self.floor, |group| group[0].revision());
        assert!(first.revision() > last, "revisions ascend");
        self.events += group.len();
        self.bytes += weight(&group);
        self.groups.push_back(group);
        while self.events > self.events_max || self.bytes > self.bytes_max {
            self.evict_one();
        }
    }

    fn evict_one(&mut self) {
        let group = self.groups.pop_front().expect("an empty history is within its bounds");
        self.events -= group.len();
        self.bytes -= weight(&group);
        self.floor = group[0].revision();
    }

    /// What concerned a watch after `from`; only the first revision of it if `once`. `None` if that
    /// is not known any more, or weighs more than `bytes_max`.
    pub(super) fn since(
        &self,
        from: Revision,
        filter: &WatchFilter,
        mask: EventMask,
        once: bool,
        bytes_max: usize,
    ) -> Option<Missed> {
        if from < self.floor {
            return None;
        }
        let start = self.groups.partition_point(|group| group[0].revision() <= from);
        let mut missed = Missed::new();
        let mut bytes = 0;
        for group in self.groups.range(start..) {
            let looks = |event: &&Event| concerns(filter, mask, event);
            let found: Vec<Event> = group.iter().filter(looks).cloned().collect();
            if found.is_empty() {
                continue;
            }
            bytes += weight(&found);
            if bytes > bytes_max {
                return None;
            }
            missed.push(Arc::from(found));
            if once {
                break;
            }
        }
        Some(missed)
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        assert!(self.events <= self.events_max && self.bytes <= self.bytes_max);
        assert_eq!(self.events, self.groups.iter().map(|group| group.len()).sum::<usize>());
        assert_eq!(self.bytes, self.groups.iter().map(|group| weight(group)).sum::<usize>());
        let mut last = self.floor;
        for group in &self.groups {
            let revision = group[0].revision();
            assert!(revision > last, "revisions ascend from the floor");
            assert!(group.iter().all(|event| event.revision() == revision));
            last = revision;
        }
    }
}

fn weight(events: &[Event]) -> usize {
    events.iter().map(event_weight).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{KeyEvent, KeyEventKind};
    use bytes::Bytes;
    use std::vec;

    fn group(revision: u64, keys: &[&'static str]) -> Arc<[Event]> {
        let event = |key: &&'static str| {
            Event::Key(KeyEvent {
                revision: Revision(revision),
                kind: KeyEventKind::Changed,
                key: Bytes::from_static(key.as_bytes()),
                version: 1,
                offset: 0,
                data: Bytes::new(),
                size: 0,
            })
        };
        keys.iter().map(event).collect()
    }

    fn since(history: &History, from: u64, key: &'static str, once: bool) -> Option<Vec<u64>> {
        let filter = WatchFilter::Key(Bytes::from_static(key.as_bytes()));
        let missed = history.since(Revision(from), &filter, EventMask::ALL, once, usize::MAX)?;
        Some(missed.iter().map(|events| events[0].revision().0).collect())
    }

    #[test]
    fn what_is_left_has_no_gap_and_what_is_gone_is_said() {
        let mut history = History::new(Revision(10), 4, usize::MAX);
        assert_eq!(since(&history, 10, "a", false), Some(vec![]));
        assert_eq!(since(&history, 9, "a", false), None);
        for (revision, keys) in [(11, &["a"][..]), (13, &["b", "a"]), (14, &["b"]), (20, &["a"])] {
            history.push(group(revision, keys));
            history.check();
        }
        assert_eq!(history.floor(), Revision(11), "five events in all: the oldest revision went");
        assert_eq!(since(&history, 10, "a", false), None);
        assert_eq!(since(&history, 11, "a", false), Some(vec![13, 20]));
        assert_eq!(since(&history, 11, "a", true), Some(vec![13]));
        assert_eq!(since(&history, 13, "b", false), Some(vec![14]));
        assert_eq!(since(&history, 19, "a", false), Some(vec![20]));
        history.reset(Revision(30));
        assert_eq!(since(&history, 29, "a", false), None);
        assert_eq!(since(&history, 30, "a", false), Some(vec![]));
    }

    #[test]
    fn weight_is_bounded_as_well_as_number() {
        let one = event_weight(&group(1, &["a"])[0]);
        let mut history = History::new(Revision(0), 100, 3 * one);
        for revision in 1..=5 {
            history.push(group(revision, &["a"]));
            history.check();
        }
        assert_eq!((history.len(), history.floor()), (3, Revision(2)));
        let filter = WatchFilter::Prefix(Bytes::new());
        let missed = |bytes_max| {
            history.since(Revision(2), &filter, EventMask::ALL, false, bytes_max).map(|m| m.len())
        };
        assert_eq!(missed(3 * one), Some(3));
        assert_eq!(missed(3 * one - 1), None, "what cannot be sent is not begun");
        history.push(group(6, &["a", "a", "a", "a"]));
        assert_eq!((history.len(), history.floor()), (0, Revision(6)));
    }
}
