//! What happened lately: the events of the last revisions, from which a watch that was cut off
//! resumes.
//!
//! Bounded by number and by bytes; whole revisions go at once, so that what is left has no gap. The
//! history is this server's own: it begins anew at the revision of the snapshot that it started
//! from.
//!
//! Every write leaves its events here and hardly any is ever looked at again. So they are kept as
//! bytes, side by side in large pieces: to keep an event is to append to memory that is at hand,
//! and to forget it is to move on; nothing is allocated or given back for each.

use super::message::{EVENT_WEIGHT, EventMask, WatchFilter, event_weight};
use super::watches::concerns;
use crate::ids::{Revision, SessionId};
use crate::state::{Event, KeyEvent, KeyEventKind, MemberEvent, MemberEventKind};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;

/// A chunk takes no more groups once it has so many bytes; few in tests, so that there are many.
const CHUNK_BYTES: usize = if cfg!(test) { 256 } else { 64 << 10 };

/// [`History::check`] reads a history of no more events as a whole; in unit tests any.
const CHECKED_EVENTS_MAX: usize = 32;

/// The events of the last revisions, without a gap.
#[derive(Clone)]
pub(super) struct History {
    /// Invariant: every event after this revision is here.
    floor: Revision,
    /// Invariant: the revision of the last group; the floor if there is none.
    last: Revision,
    /// Invariant: groups of ascending revisions, none without events; no chunk is empty.
    chunks: VecDeque<Chunk>,
    /// So many bytes of the first chunk are forgotten. Invariant: less than it has.
    forgotten: usize,
    /// Invariant: the number of events that are not forgotten, at most `events_max`.
    events: usize,
    /// Invariant: the weight of those events, at most `bytes_max`.
    bytes: usize,
    events_max: usize,
    bytes_max: usize,
}

/// Groups, side by side.
#[derive(Clone)]
struct Chunk {
    /// The revision of the first group.
    first: Revision,
    groups: Vec<u8>,
}

/// What a watch missed, oldest first: the events of each revision that concerned it.
pub(super) type Missed = Vec<Arc<[Event]>>;

impl History {
    /// Empty, complete after `floor`.
    pub(super) const fn new(floor: Revision, events_max: usize, bytes_max: usize) -> Self {
        Self {
            floor,
            last: floor,
            chunks: VecDeque::new(),
            forgotten: 0,
            events: 0,
            bytes: 0,
            events_max,
            bytes_max,
        }
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

    /// Adds the events of the next revision that had any, but for those of znodes: what a watch of
    /// znodes missed is worked out from the tree itself.
    ///
    /// # Panics
    /// If the revision is not later than the last.
    pub(super) fn push(&mut self, events: &[Event]) {
        let of_tree = |event: &Event| matches!(event, Event::Tree(_));
        if events.iter().any(of_tree) {
            let kept: Vec<_> = events.iter().filter(|event| !of_tree(event)).cloned().collect();
            return self.keep(&kept);
        }
        self.keep(events);
    }

    fn keep(&mut self, events: &[Event]) {
        let Some(first) = events.first().map(Event::revision) else { return };
        assert!(first > self.last, "revisions ascend");
        self.last = first;
        let weight = events.iter().map(event_weight).sum();
        if self.chunks.back().is_none_or(|chunk| chunk.groups.len() >= CHUNK_BYTES) {
            let groups = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 16);
            self.chunks.push_back(Chunk { first, groups });
        }
        if let Some(chunk) = self.chunks.back_mut() {
            write_group(events, weight, &mut chunk.groups);
        }
        self.events += events.len();
        self.bytes += weight;
        while self.events > self.events_max || self.bytes > self.bytes_max {
            self.forget_one();
        }
    }

    fn forget_one(&mut self) {
        let chunk = self.chunks.front().expect("an empty history is within its bounds");
        let mut groups = Groups(&chunk.groups[self.forgotten..]);
        let group = groups.next().expect("no chunk is empty");
        (self.floor, self.forgotten) = (group.revision, chunk.groups.len() - groups.0.len());
        self.events -= group.count;
        self.bytes -= group.weight;
        if groups.0.is_empty() {
            self.chunks.pop_front();
            self.forgotten = 0;
        }
    }

    /// The groups from a chunk on.
    fn groups_from(&self, chunk: usize) -> impl Iterator<Item = Group<'_>> {
        let forgotten = |at| if at == 0 { self.forgotten } else { 0 };
        let chunks = self.chunks.iter().enumerate().skip(chunk);
        chunks.flat_map(move |(at, chunk)| Groups(&chunk.groups[forgotten(at)..]))
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
        let chunk = self.chunks.partition_point(|chunk| chunk.first <= from).saturating_sub(1);
        let mut missed = Missed::new();
        let mut bytes = 0;
        for group in self.groups_from(chunk).skip_while(|group| group.revision <= from) {
            let looks = |event: &Kept<'_>| concerns(filter, mask, event.kind, event.key());
            let found: Vec<Event> =
                group.events().filter(looks).map(|kept| kept.to_event(group.revision)).collect();
            if found.is_empty() {
                continue;
            }
            bytes += found.iter().map(event_weight).sum::<usize>();
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

    /// Asserts the invariants. Groups do not change once they are written, and simulations call
    /// this after every step: of a long history only the two ends are looked at.
    pub(super) fn check(&self) {
        assert!(self.events <= self.events_max && self.bytes <= self.bytes_max);
        let oldest = self.groups_from(0).next();
        assert!(oldest.is_none_or(|group| group.revision > self.floor), "the floor is before all");
        if cfg!(test) || self.events <= CHECKED_EVENTS_MAX {
            self.check_groups();
        }
        assert!(self.chunks.iter().all(|chunk| !chunk.groups.is_empty()), "no chunk is empty");
        let first = self.chunks.front().map_or(1, |chunk| chunk.groups.len());
        assert!(self.forgotten < first, "what is forgotten wholly is given back");
    }

    fn check_groups(&self) {
        let (mut events, mut bytes, mut last) = (0, 0, self.floor);
        for group in self.groups_from(0) {
            assert!(group.revision > last, "revisions ascend from the floor");
            last = group.revision;
            assert!(group.count > 0 && group.events().count() == group.count, "events are counted");
            assert_eq!(group.events().map(|kept| kept.weight()).sum::<usize>(), group.weight);
            events += group.count;
            bytes += group.weight;
        }
        assert_eq!((events, bytes, last), (self.events, self.bytes, self.last));
    }
}

/// Shows what is known, and not what memory it is in.
impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = self.groups_from(0).map(|group| {
            group.events().map(|kept| kept.to_event(group.revision)).collect::<Vec<_>>()
        });
        write!(f, "History after {:?}: ", self.floor)?;
        f.debug_list().entries(groups).finish()
    }
}

/// The events of one revision, as they are kept: its head, then the events.
struct Group<'a> {
    revision: Revision,
    count: usize,
    weight: usize,
    events: &'a [u8],
}

impl<'a> Group<'a> {
    fn events(&self) -> impl Iterator<Item = Kept<'a>> + use<'a> {
        let mut rest = self.events;
        core::iter::from_fn(move || (!rest.is_empty()).then(|| Kept::read(&mut rest)))
    }
}

/// Groups in a row of bytes.
struct Groups<'a>(&'a [u8]);

impl<'a> Iterator for Groups<'a> {
    type Item = Group<'a>;
    fn next(&mut self) -> Option<Group<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let [revision, count, weight, bytes] = [(); 4].map(|()| number(&mut self.0));
        let (count, weight) = (count as usize, weight as usize);
        let events = take(&mut self.0, bytes as usize);
        Some(Group { revision: Revision(revision), count, weight, events })
    }
}

/// An event as it is kept.
struct Kept<'a> {
    kind: EventMask,
    body: KeptBody<'a>,
}

enum KeptBody<'a> {
    Key { key: &'a [u8], version: u64, offset: u64, size: u64, data: &'a [u8] },
    Member { session: SessionId, members: u32 },
}

impl<'a> Kept<'a> {
    fn read(bytes: &mut &'a [u8]) -> Self {
        let tag = take(bytes, 1)[0];
        let kind = EventMask::from_bits(tag).expect("what was written is read");
        let member = kind == EventMask::JOINED || kind == EventMask::LEFT;
        let body = if member {
            let [session, members] = [(); 2].map(|()| number(bytes));
            KeptBody::Member { session: SessionId(session), members: members as u32 }
        } else {
            let [version, offset, size] = [(); 3].map(|()| number(bytes));
            let [key, data] = [(); 2].map(|()| number(bytes) as usize);
            let (key, data) = (take(bytes, key), take(bytes, data));
            KeptBody::Key { key, version, offset, size, data }
        };
        Self { kind, body }
    }

    fn key(&self) -> Option<&'a [u8]> {
        match self.body {
            KeptBody::Key { key, .. } => Some(key),
            KeptBody::Member { .. } => None,
        }
    }

    /// As [`event_weight`] has it.
    const fn weight(&self) -> usize {
        match self.body {
            KeptBody::Key { key, data, .. } => EVENT_WEIGHT + key.len() + data.len(),
            KeptBody::Member { .. } => EVENT_WEIGHT,
        }
    }

    fn to_event(&self, revision: Revision) -> Event {
        match self.body {
            KeptBody::Key { key, version, offset, size, data } => {
                let kind = match self.kind {
                    EventMask::CREATED => KeyEventKind::Created,
                    EventMask::CHANGED => KeyEventKind::Changed,
                    EventMask::DELETED => KeyEventKind::Deleted,
                    _ => KeyEventKind::Copied,
                };
                let (key, data) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(data));
                Event::Key(KeyEvent { revision, kind, key, version, offset, data, size })
            }
            KeptBody::Member { session, members } => {
                let joined = self.kind == EventMask::JOINED;
                let kind = if joined { MemberEventKind::Joined } else { MemberEventKind::Left };
                Event::Member(MemberEvent { revision, kind, session, members })
            }
        }
    }
}

fn write_group(events: &[Event], weight: usize, out: &mut Vec<u8>) {
    let revision = events[0].revision();
    [revision.0, events.len() as u64, weight as u64, 0].into_iter().for_each(|n| put(n, out));
    let begin = out.len();
    for event in events {
        assert_eq!(event.revision(), revision, "a group is of one revision");
        out.push(EventMask::of(event).bits());
        match event {
            Event::Key(event) => {
                let numbers = [event.version, event.offset, event.size];
                numbers.into_iter().for_each(|n| put(n, out));
                put(event.key.len() as u64, out);
                put(event.data.len() as u64, out);
                out.extend_from_slice(&event.key);
                out.extend_from_slice(&event.data);
            }
            Event::Tree(_) => unreachable!("events of znodes are not kept"),
            Event::Member(event) => {
                put(event.session.0, out);
                put(u64::from(event.members), out);
            }
        }
    }
    let bytes = (out.len() - begin) as u64;
    out[begin - 8..begin].copy_from_slice(&bytes.to_le_bytes());
}

fn put(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn number(bytes: &mut &[u8]) -> u64 {
    let (number, rest) = bytes.split_first_chunk().expect("what was written is read");
    *bytes = rest;
    u64::from_le_bytes(*number)
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::watches::key_of;
    use crate::rng::Rng;
    use std::vec;

    fn group(revision: u64, keys: &[&'static str]) -> Vec<Event> {
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
            history.push(&group(revision, keys));
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
            history.push(&group(revision, &["a"]));
            history.check();
        }
        assert_eq!((history.len(), history.floor()), (3, Revision(2)));
        let filter = WatchFilter::Prefix(Bytes::new());
        let missed = |bytes_max| {
            history.since(Revision(2), &filter, EventMask::ALL, false, bytes_max).map(|m| m.len())
        };
        assert_eq!(missed(3 * one), Some(3));
        assert_eq!(missed(3 * one - 1), None, "what cannot be sent is not begun");
        history.push(&group(6, &["a", "a", "a", "a"]));
        assert_eq!((history.len(), history.floor()), (0, Revision(6)));
    }

    fn random_event(rng: &mut Rng, revision: Revision) -> Event {
        if rng.chance(1, 5) {
            let joined = rng.chance(1, 2);
            let kind = if joined { MemberEventKind::Joined } else { MemberEventKind::Left };
            let (session, members) = (SessionId(rng.below(9)), rng.below(9) as u32);
            return Event::Member(MemberEvent { revision, kind, session, members });
        }
        let kind = KeyEventKind::ALL[rng.below(4) as usize];
        let key = Bytes::from(vec![b'a'; rng.below(3) as usize]);
        let data = Bytes::from(vec![7; rng.below(40) as usize]);
        let [version, offset, size] = [(); 3].map(|()| rng.next_u64());
        Event::Key(KeyEvent { revision, kind, key, version, offset, data, size })
    }

    #[test]
    fn what_is_found_is_what_a_list_of_all_events_has() {
        let mut rng = Rng::new(5);
        for _ in 0..20 {
            let mut history = History::new(Revision(3), 1 + rng.below(60) as usize, 4096);
            let mut naive: Vec<Vec<Event>> = vec![];
            let mut revision = 3;
            for _ in 0..200 {
                revision += 1 + rng.below(3);
                let events =
                    (0..1 + rng.below(3)).map(|_| random_event(&mut rng, Revision(revision)));
                let events: Vec<Event> = events.collect();
                history.push(&events);
                naive.push(events);
                history.check();
                let from = Revision(rng.below(revision + 2));
                let key = Bytes::from(vec![b'a'; rng.below(3) as usize]);
                let filter = match rng.below(3) {
                    0 => WatchFilter::Key(key),
                    1 => WatchFilter::Prefix(key),
                    _ => WatchFilter::Members,
                };
                let mask = EventMask::from_bits(1 + rng.below(63) as u8).expect("it has a bit");
                let looks =
                    |event: &&Event| concerns(&filter, mask, EventMask::of(event), key_of(event));
                let expected = naive.iter().filter(|group| group[0].revision() > from);
                let expected: Vec<Vec<Event>> = expected
                    .map(|group| group.iter().filter(looks).cloned().collect::<Vec<_>>())
                    .filter(|group| !group.is_empty())
                    .collect();
                let found = history.since(from, &filter, mask, false, usize::MAX);
                match found {
                    None => assert!(from < history.floor()),
                    Some(found) => {
                        assert!(found.iter().map(|group| group.to_vec()).eq(expected));
                    }
                }
            }
        }
    }
}
