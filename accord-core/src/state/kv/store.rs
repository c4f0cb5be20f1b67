//! The store: one ordered keyspace of records, with what its bounds and the ends of sessions need.
//!
//! Every change goes through [`Store::fill`], [`Store::remove`] and [`Editor::edit`], which keep
//! the byte count and the index of ephemeral records true; an [`Undo`] takes one back. Which
//! changes are allowed is decided in [`super::execute`].

use super::super::compact::{Key, Value};
use super::super::invariant::first_broken;
use super::super::map::{Map, Vacancy};
use super::list::{ENTRY_OVERHEAD_BYTES, ListEntry, ListQuery, Page, Stat};
use crate::ids::{Revision, SessionId};
use crate::limits::Limits;
use alloc::collections::{BTreeMap, BTreeSet};
use bytes::Bytes;
use core::mem;
use core::ops::Bound;

/// One record.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) value: Value,
    /// Invariant: at least 1.
    pub(super) version: u64,
    /// Invariant: at least 1, and at most `modified`.
    pub(super) created: Revision,
    /// Invariant: at most the state's revision.
    pub(super) modified: Revision,
    /// The session it dies with; 0, which no session is, if it does not.
    pub(super) owner: SessionId,
}

impl Record {
    /// What is known of it besides its value.
    pub(super) fn stat(&self) -> Stat {
        Stat {
            version: self.version,
            created: self.created,
            modified: self.modified,
            size: self.value.len() as u64,
            owner: (self.owner.0 != 0).then_some(self.owner),
        }
    }
}

/// A change of a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edit<'a> {
    /// The bytes to put.
    pub(super) data: &'a [u8],
    /// The offset in the value, in bytes.
    pub(super) offset: usize,
    /// Drop the old value first.
    pub(super) replace: bool,
    /// The revision of the change.
    pub(super) revision: Revision,
}

/// How to take back one change.
#[derive(Clone, Debug)]
pub(super) enum Undo {
    /// Remove what was inserted.
    Remove { key: Bytes },
    /// Insert what was removed.
    Insert { key: Bytes, record: Record },
    /// Put the overwritten bytes back at `offset`, which is not behind `size`; cut the value to it.
    Patch { key: Bytes, modified: Revision, offset: usize, size: usize, old: Value },
    /// Put the whole old value back.
    Restore { key: Bytes, modified: Revision, old: Value },
}

/// The records, in the order of their keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    records: Map<Record>,
    /// Invariant: the sum of the sizes of all keys and values; at most `store_bytes_max`.
    bytes: u64,
    /// The keys of the records with an owner. Invariant: exactly those, and no empty set.
    ephemerals: BTreeMap<SessionId, BTreeSet<Key>>,
}

impl Store {
    /// Records, how many there are.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }
    /// Keys and values, in bytes.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }
    /// The record of this key.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Record> {
        self.records.get(key)
    }
    /// The records as they are now; later changes do not affect them.
    pub(super) fn records(&self) -> Map<Record> {
        self.records.clone()
    }
    /// How many records die with this session.
    pub(super) fn ephemerals(&self, session: SessionId) -> usize {
        self.ephemerals.get(&session).map_or(0, BTreeSet::len)
    }
    /// The sessions that own records.
    pub(super) fn owners(&self) -> impl Iterator<Item = SessionId> {
        self.ephemerals.keys().copied()
    }
    /// The first of the records that die with this session.
    pub(super) fn first_ephemeral(&self, session: SessionId) -> Option<Key> {
        self.ephemerals.get(&session)?.first().cloned()
    }

    /// A store of these records, whose keys ascend.
    pub(super) fn from_records(records: impl Iterator<Item = (Key, Record)>) -> Self {
        let records = Map::from_ascending(records);
        let mut store = Self::default();
        for (key, record) in records.iter() {
            store.bytes += size(key, record);
            if record.owner.0 != 0 {
                store.ephemerals.entry(record.owner).or_default().insert(key.clone());
            }
        }
        store.records = records;
        store
    }

    /// Adds a record under a key that has none.
    fn insert(&mut self, key: &[u8], record: Record) {
        let key = Key::new(key);
        self.on_insert(&key, &record);
        self.records.insert(key, record);
    }

    /// Adds a record where [`Self::editor`] found none of its key; nothing was added or taken out
    /// since.
    pub(super) fn fill(&mut self, vacancy: Vacancy, key: &[u8], record: Record) {
        let key = Key::new(key);
        self.on_insert(&key, &record);
        self.records.fill(vacancy, key, record);
    }

    fn on_insert(&mut self, key: &Key, record: &Record) {
        self.bytes += size(key, record);
        if record.owner.0 != 0 {
            self.ephemerals.entry(record.owner).or_default().insert(key.clone());
        }
    }

    /// Takes out the record of this key.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Record> {
        let (key, record) = self.records.remove(key)?;
        self.bytes -= size(&key, &record);
        if record.owner.0 != 0
            && let Some(keys) = self.ephemerals.get_mut(&record.owner)
        {
            keys.remove(&key[..]);
            if keys.is_empty() {
                self.ephemerals.remove(&record.owner);
            }
        }
        Some(record)
    }

    /// The record of this key, to be changed by [`Editor::edit`] alone; or where it would be.
    pub(super) fn editor(&mut self, key: &[u8]) -> Result<Editor<'_>, Vacancy> {
        let record = self.records.entry(key)?;
        Ok(Editor { record, bytes: &mut self.bytes })
    }

    /// Takes one change back. Changes are taken back in the reverse order.
    pub(super) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Remove { key } => {
                let removed = self.remove(&key);
                assert!(removed.is_some(), "what was inserted is there");
            }
            Undo::Insert { key, record } => self.insert(&key, record),
            Undo::Patch { key, modified, offset, size, old } => {
                self.revert(&key, modified, |value| {
                    value.put(offset, &old);
                    value.resize(size);
                });
            }
            Undo::Restore { key, modified, old } => {
                self.revert(&key, modified, |value| *value = old);
            }
        }
    }

    fn revert(&mut self, key: &[u8], modified: Revision, change: impl FnOnce(&mut Value)) {
        let record = self.records.get_mut(key).expect("what was changed is there");
        self.bytes -= record.value.len() as u64;
        change(&mut record.value);
        self.bytes += record.value.len() as u64;
        record.version -= 1;
        record.modified = modified;
    }

    /// A page of a list, and its size in bytes as the limits count it.
    pub(super) fn page(&self, query: &ListQuery, limits: &Limits) -> (Page, u64) {
        let entries_max = query.limit.min(limits.page_entries_max) as usize;
        let start = match (query.range.start(), &query.after) {
            (Bound::Included(from), Some(after)) if &after[..] >= from => {
                Bound::Excluded(&after[..])
            }
            (from, _) => from,
        };
        let mut page = Page::default();
        let mut bytes = 0;
        for (key, record) in self.records.range_from(start) {
            if !query.range.contains(key) {
                break;
            }
            let value_bytes = if query.keys_only { 0 } else { record.value.len() };
            let entry_bytes = (key.len() + value_bytes) as u64 + ENTRY_OVERHEAD_BYTES;
            let over = bytes + entry_bytes > limits.page_bytes_max && !page.entries.is_empty();
            if over || page.entries.len() >= entries_max {
                page.more = true;
                break;
            }
            bytes += entry_bytes;
            let value = (!query.keys_only).then(|| record.value.part(0, u64::MAX));
            page.entries.push(ListEntry { key: key.to_bytes(), stat: record.stat(), value });
        }
        (page, bytes)
    }

    /// The first invariant that is broken.
    pub(super) fn fault(&self, revision: Revision, limits: &Limits) -> Option<&'static str> {
        let mut bytes = 0;
        let mut owned = 0;
        for (key, record) in self.records.iter() {
            bytes += size(key, record);
            let broken = self.record_fault(key, record, revision, limits);
            if broken.is_some() {
                return broken;
            }
            owned += usize::from(record.owner.0 != 0);
        }
        let records = self.records.fault();
        if records.is_some() {
            return records;
        }
        let mut sets = self.ephemerals.values();
        let sizes = 1..=limits.ephemerals_max as usize;
        first_broken(&[
            (self.bytes == bytes, "the bytes of the store are counted"),
            (bytes <= limits.store_bytes_max, "store_bytes_max holds"),
            (owned == sets.clone().map(BTreeSet::len).sum(), "only what has an owner is indexed"),
            (
                sets.all(|keys| sizes.contains(&keys.len())),
                "ephemerals_max holds, no index is empty",
            ),
        ])
    }

    fn record_fault(
        &self,
        key: &Key,
        record: &Record,
        revision: Revision,
        limits: &Limits,
    ) -> Option<&'static str> {
        let indexed = record.owner.0 == 0
            || self.ephemerals.get(&record.owner).is_some_and(|keys| keys.contains(&key[..]));
        let value_bytes = record.value.len() as u64;
        first_broken(&[
            (record.version >= 1, "a record has a version"),
            (record.created.0 >= 1, "a change has a revision"),
            (record.created <= record.modified, "a record is created, then modified"),
            (record.modified <= revision, "a record is modified by what was applied"),
            (key.len() <= limits.key_bytes_max as usize, "key_bytes_max holds"),
            (value_bytes <= limits.value_bytes_max, "value_bytes_max holds"),
            (indexed, "what has an owner is indexed"),
        ])
    }
}

/// A record about to be changed in place.
pub(super) struct Editor<'a> {
    pub(super) record: &'a mut Record,
    bytes: &'a mut u64,
}

impl Editor<'_> {
    /// Keys and values of the whole store, in bytes.
    pub(super) const fn store_bytes(&self) -> u64 {
        *self.bytes
    }

    /// Changes the value and says how to take it back. With `undo` unset the caller will not take
    /// it back, and nothing is kept of what was there.
    pub(super) fn edit(self, key: &Bytes, edit: Edit<'_>, undo: bool) -> Option<Undo> {
        let Record { value, version, modified, .. } = self.record;
        *self.bytes -= value.len() as u64;
        let old = undo.then(|| Self::take(key, *modified, value, edit));
        if edit.replace {
            *value = Value::EMPTY;
        }
        value.put(edit.offset, edit.data);
        *self.bytes += value.len() as u64;
        *version += 1;
        *modified = edit.revision;
        old
    }

    fn take(key: &Bytes, modified: Revision, value: &mut Value, edit: Edit<'_>) -> Undo {
        let key = key.clone();
        if edit.replace {
            return Undo::Restore { key, modified, old: mem::replace(value, Value::EMPTY) };
        }
        let size = value.len();
        let from = edit.offset.min(size);
        let until = (edit.offset + edit.data.len()).min(size);
        let old = Value::new(&value[from..until]);
        Undo::Patch { key, modified, offset: from, size, old }
    }
}

fn size(key: &Key, record: &Record) -> u64 {
    (key.len() + record.value.len()) as u64
}
