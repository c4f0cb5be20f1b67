//! Who wants to know what: the watches of this server's connections, found by key.
//!
//! Watches are local to a server: they are set by a connection and go with it. An event looks its
//! key up once among the watched keys and once for every *length* of watched prefix, so that its
//! cost is that of the watches it concerns and not of those that are set.
//!
//! The events of one revision that concern one watch are told together, in one message: a
//! connection that breaks between two messages leaves its client with whole revisions, and a watch
//! can resume from one.
//!
//! Where next: `history`, from which a watch catches up.

use super::message::{EventMask, WatchFilter};
use crate::ids::{ConnId, Revision, WatchId};
use crate::state::Event;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;

/// Which watch of which connection.
pub(super) type Target = (ConnId, WatchId);

/// What is wanted of a watch, beside what it is set on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// Which kinds of event.
    pub(super) mask: EventMask,
    /// Ends with the first revision that concerns it.
    pub(super) once: bool,
    /// Only what is later than this concerns it.
    pub(super) after: Revision,
}

/// The events of one revision for one watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    /// For whom.
    pub(super) target: Target,
    /// At least one.
    pub(super) events: Arc<[Event]>,
    /// The watch was one-shot, and is removed.
    pub(super) done: bool,
}

/// All watches of a server.
#[derive(Clone, Debug, Default)]
pub(super) struct WatchTable {
    /// Invariant: holds exactly the targets that stand in one of the three indexes below.
    filters: BTreeMap<Target, WatchFilter>,
    keys: BTreeMap<Bytes, BTreeMap<Target, Terms>>,
    prefixes: BTreeMap<Bytes, BTreeMap<Target, Terms>>,
    /// How many of the watched prefixes have each length.
    prefix_lengths: BTreeMap<usize, usize>,
    members: BTreeMap<Target, Terms>,
}

impl WatchTable {
    /// How many watches are set.
    pub(super) fn len(&self) -> usize {
        self.filters.len()
    }

    pub(super) fn contains(&self, target: Target) -> bool {
        self.filters.contains_key(&target)
    }

    /// Sets a watch.
    ///
    /// # Panics
    /// If the target has a watch already: the caller refuses that.
    pub(super) fn insert(&mut self, target: Target, filter: WatchFilter, terms: Terms) {
        match &filter {
            WatchFilter::Key(key) => {
                self.keys.entry(key.clone()).or_default().insert(target, terms);
            }
            WatchFilter::Prefix(prefix) => {
                let group = self.prefixes.entry(prefix.clone()).or_default();
                if group.is_empty() {
                    *self.prefix_lengths.entry(prefix.len()).or_default() += 1;
                }
                group.insert(target, terms);
            }
            WatchFilter::Members => {
                self.members.insert(target, terms);
            }
        }
        let before = self.filters.insert(target, filter);
        assert!(before.is_none(), "a watch number stands for one watch");
    }

    /// Removes a watch, if it is set.
    pub(super) fn remove(&mut self, target: Target) {
        match self.filters.remove(&target) {
            None => {}
            Some(WatchFilter::Key(key)) => remove_from(&mut self.keys, &key, target),
            Some(WatchFilter::Prefix(prefix)) => {
                remove_from(&mut self.prefixes, &prefix, target);
                if !self.prefixes.contains_key(&prefix) {
                    self.forget_prefix_length(prefix.len());
                }
            }
            Some(WatchFilter::Members) => {
                self.members.remove(&target);
            }
        }
    }

    fn forget_prefix_length(&mut self, length: usize) {
        let count = self.prefix_lengths.get_mut(&length).expect("counted when it was inserted");
        *count -= 1;
        if *count == 0 {
            self.prefix_lengths.remove(&length);
        }
    }

    /// The watches of one connection, ascending.
    pub(super) fn of_conn(&self, conn: ConnId) -> impl Iterator<Item = Target> {
        let all = (conn, WatchId(0))..=(conn, WatchId(u64::MAX));
        self.filters.range(all).map(|(target, _)| *target)
    }

    /// Removes every watch of a connection.
    pub(super) fn remove_conn(&mut self, conn: ConnId) {
        let targets: Vec<Target> = self.of_conn(conn).collect();
        targets.into_iter().for_each(|target| self.remove(target));
    }

    /// Appends to `deliveries` what the events of one revision mean to whom, and removes the
    /// one-shot watches that are thereby done. Each target appears once. The events may share the
    /// memory of a message; what is delivered has its own.
    pub(super) fn deliver(&mut self, group: &[Event], deliveries: &mut Vec<Delivery>) {
        if self.filters.is_empty() {
            return;
        }
        let first = deliveries.len();
        match group {
            [] => return,
            [event] => {
                let mut shared: Option<Arc<[Event]>> = None;
                self.each_concerned(event, |target, terms| {
                    let events =
                        shared.get_or_insert_with(|| Arc::from([event.detached()])).clone();
                    deliveries.push(Delivery { target, events, done: terms.once });
                });
            }
            _ => self.deliver_many(group, deliveries),
        }
        for delivery in &deliveries[first..] {
            if delivery.done {
                self.remove(delivery.target);
            }
        }
    }

    fn deliver_many(&self, group: &[Event], deliveries: &mut Vec<Delivery>) {
        let mut concerned: BTreeMap<Target, (bool, Vec<Event>)> = BTreeMap::new();
        for event in group {
            let mut shared: Option<Event> = None;
            self.each_concerned(event, |target, terms| {
                let (once, events) = concerned.entry(target).or_default();
                *once = terms.once;
                events.push(shared.get_or_insert_with(|| event.detached()).clone());
            });
        }
        deliveries.extend(concerned.into_iter().map(|(target, (done, events))| Delivery {
            target,
            events: Arc::from(events),
            done,
        }));
    }

    fn each_concerned(&self, event: &Event, mut tell: impl FnMut(Target, Terms)) {
        let mut tell_all = |group: &BTreeMap<Target, Terms>| {
            for (target, terms) in group {
                if terms.mask.admits(event) && event.revision() > terms.after {
                    tell(*target, *terms);
                }
            }
        };
        let Some(key) = key_of(event) else { return tell_all(&self.members) };
        if let Some(group) = self.keys.get(key) {
            tell_all(group);
        }
        for (&length, _) in self.prefix_lengths.range(..=key.len()) {
            if let Some(group) = self.prefixes.get(&key[..length]) {
                tell_all(group);
            }
        }
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        let indexed = self.keys.values().chain(self.prefixes.values()).chain([&self.members]);
        let count: usize = indexed.map(BTreeMap::len).sum();
        assert_eq!(count, self.filters.len(), "every watch stands in one index");
        let lengths: usize = self.prefix_lengths.values().sum();
        assert_eq!(lengths, self.prefixes.len(), "every watched prefix has its length counted");
        let lengths: BTreeSet<usize> = self.prefixes.keys().map(Bytes::len).collect();
        assert!(lengths.iter().eq(self.prefix_lengths.keys()), "no length is counted in vain");
    }
}

/// True if a watch on `filter` with `mask` looks at an event of this kind, about this key (none: of
/// the membership).
pub(super) fn concerns(
    filter: &WatchFilter,
    mask: EventMask,
    kind: EventMask,
    key: Option<&[u8]>,
) -> bool {
    let place = match (filter, key) {
        (WatchFilter::Key(key), Some(found)) => key == found,
        (WatchFilter::Prefix(prefix), Some(found)) => found.starts_with(prefix),
        (WatchFilter::Members, None) => true,
        (WatchFilter::Key(_) | WatchFilter::Prefix(_), None) | (WatchFilter::Members, Some(_)) => {
            false
        }
    };
    place && mask.bits() & kind.bits() != 0
}

fn remove_from(index: &mut BTreeMap<Bytes, BTreeMap<Target, Terms>>, key: &Bytes, target: Target) {
    let group = index.get_mut(key).expect("an index holds what the filters hold");
    group.remove(&target);
    if group.is_empty() {
        index.remove(key);
    }
}

/// The record that an event is about; `None` for an event of the membership, or of a znode.
pub(super) fn key_of(event: &Event) -> Option<&[u8]> {
    match event {
        Event::Key(event) => Some(&event.key),
        Event::Member(_) | Event::Tree(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SessionId;
    use crate::rng::Rng;
    use crate::state::{KeyEvent, KeyEventKind, MemberEvent, MemberEventKind};
    use std::string::String;
    use std::vec;

    fn random_key(rng: &mut Rng) -> Bytes {
        let length = rng.below(4);
        let key: String = (0..length).map(|_| if rng.chance(1, 2) { 'a' } else { 'b' }).collect();
        Bytes::from(key)
    }

    fn random_event(rng: &mut Rng, revision: Revision) -> Event {
        if rng.chance(1, 5) {
            let kind = MemberEventKind::Joined;
            return Event::Member(MemberEvent {
                revision,
                kind,
                session: SessionId(1),
                members: 1,
            });
        }
        Event::Key(KeyEvent {
            revision,
            kind: KeyEventKind::ALL[rng.below(4) as usize],
            key: random_key(rng),
            version: 1,
            offset: 0,
            data: Bytes::new(),
            size: 0,
        })
    }

    fn random_filter(rng: &mut Rng) -> WatchFilter {
        match rng.below(5) {
            0 | 1 => WatchFilter::Key(random_key(rng)),
            2 | 3 => WatchFilter::Prefix(random_key(rng)),
            _ => WatchFilter::Members,
        }
    }

    /// The table against a list that is looked through for every event.
    #[test]
    fn the_index_finds_what_a_search_through_all_watches_finds() {
        let mut rng = Rng::new(11);
        for _ in 0..50 {
            let mut table = WatchTable::default();
            let mut naive: BTreeMap<Target, (WatchFilter, Terms)> = BTreeMap::new();
            for revision in 1..60 {
                let target = (ConnId(rng.below(3)), WatchId(rng.below(10)));
                match rng.below(8) {
                    0 => {
                        table.remove_conn(target.0);
                        naive.retain(|(conn, _), _| *conn != target.0);
                    }
                    1 => {
                        table.remove(target);
                        naive.remove(&target);
                    }
                    2..=4 if !table.contains(target) => {
                        let mask = EventMask::from_bits(1 + rng.below(63) as u8).unwrap();
                        let after = Revision(rng.below(80));
                        let terms = Terms { mask, once: rng.chance(1, 3), after };
                        let filter = random_filter(&mut rng);
                        table.insert(target, filter.clone(), terms);
                        naive.insert(target, (filter, terms));
                    }
                    _ => {
                        let count = 1 + rng.below(3);
                        let events = (0..count).map(|_| random_event(&mut rng, Revision(revision)));
                        compare(&mut table, &mut naive, &events.collect::<Vec<_>>());
                    }
                }
                table.check();
                assert_eq!(table.len(), naive.len());
            }
        }
    }

    fn compare(
        table: &mut WatchTable,
        naive: &mut BTreeMap<Target, (WatchFilter, Terms)>,
        events: &[Event],
    ) {
        let mut found = vec![];
        table.deliver(events, &mut found);
        found.sort_by_key(|delivery| delivery.target);
        let mut expected = vec![];
        for (target, (filter, terms)) in naive.iter() {
            let looks = |event: &&Event| {
                let (kind, key) = (EventMask::of(event), key_of(event));
                concerns(filter, terms.mask, kind, key) && event.revision() > terms.after
            };
            let events: Vec<Event> = events.iter().filter(looks).cloned().collect();
            if !events.is_empty() {
                let (target, events, done) = (*target, Arc::from(events), terms.once);
                expected.push(Delivery { target, events, done });
            }
        }
        assert_eq!(found, expected);
        let done = |target: &Target| expected.iter().any(|d| d.target == *target && d.done);
        naive.retain(|target, _| !done(target));
    }
}
