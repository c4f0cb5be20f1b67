//! Carrying out a transaction: its guard, the steps of the branch, and taking them back if one
//! fails.
//!
//! A step checks everything before it changes anything, so what is to be taken back are the earlier
//! steps alone; a branch of one step keeps no undo log. Changes share the revision that the command
//! will have if it commits with a change, and the one after the current in any case.

use super::super::compact::Value;
use super::super::event::Event;
use super::super::map::Vacancy;
use super::event::{KeyEvent, KeyEventKind};
use super::outcome::{Branch, Results, StepError, StepResult, TxnOutcome};
use super::store::{Edit, Record, Store, Undo};
use super::txn::{Compare, Flags, Relation, Step, Txn, Width};
use crate::ids::{Revision, SessionId};
use crate::limits::Limits;
use alloc::vec::Vec;
use bytes::Bytes;
use core::cmp::Ordering;

/// The digits of a sequence number in a key: enough for 64 bits, so that keys order as numbers do.
pub const SEQUENCE_DIGITS: usize = 20;

/// Memory that is used again by each transaction.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    undo: Vec<Undo>,
    results: Vec<StepResult>,
}

impl Scratch {
    /// True if nothing of a transaction is left in it.
    pub(super) fn is_empty(&self) -> bool {
        self.undo.is_empty() && self.results.is_empty()
    }
}

/// A transaction being carried out.
pub(super) struct Execution<'a> {
    pub(super) store: &'a mut Store,
    /// The number of the next sequence key.
    pub(super) sequence: &'a mut u64,
    pub(super) events: &'a mut Vec<Event>,
    pub(super) scratch: &'a mut Scratch,
    pub(super) limits: &'a Limits,
    /// The session that asks.
    pub(super) session: SessionId,
    /// The state's revision so far.
    pub(super) revision: Revision,
}

/// One branch being carried out.
struct Run<'a, 'b> {
    at: &'b mut Execution<'a>,
    /// The revision of the changes.
    revision: Revision,
    /// Whether changes may have to be taken back.
    undo: bool,
    changed: bool,
    result_bytes: u64,
}

impl Execution<'_> {
    /// Carries the transaction out and takes its steps: all of a branch, or nothing. A commit that
    /// changed something has the next revision.
    pub(super) fn run(&mut self, txn: &mut Txn) -> TxnOutcome {
        let holds = txn.guard.iter().all(|compare| check_compare(self.store, compare).is_ok());
        let (branch, steps) = if holds {
            (Branch::Then, &mut txn.then)
        } else {
            (Branch::Otherwise, &mut txn.otherwise)
        };
        let sequence = *self.sequence;
        let revision = self.revision.next();
        let undo = steps.len() > 1;
        let mut run = Run { at: self, revision, undo, changed: false, result_bytes: 0 };
        for (step, what) in steps.drain(..).enumerate() {
            match run.step(what) {
                Ok(result) => run.at.scratch.results.push(result),
                Err(error) => {
                    self.roll_back(sequence);
                    return TxnOutcome::Aborted { branch, step: step as u32, error };
                }
            }
        }
        let revision = if run.changed { revision } else { self.revision };
        self.scratch.undo.clear();
        let results = Results::drain(&mut self.scratch.results);
        TxnOutcome::Committed { revision, branch, results }
    }

    /// Carries out a transaction of one step without a guard. Such a step changes nothing if it
    /// fails, so there is nothing to take back.
    // Inlined with its decoding and what it calls for a write: worth 4 % of applying one.
    #[inline(always)]
    pub(super) fn run_step(&mut self, step: Step) -> TxnOutcome {
        let (branch, unchanged) = (Branch::Then, self.revision);
        let revision = unchanged.next();
        let mut run = Run { at: self, revision, undo: false, changed: false, result_bytes: 0 };
        match run.step(step) {
            Ok(result) => {
                let revision = if run.changed { revision } else { unchanged };
                TxnOutcome::Committed { revision, branch, results: Results::one(result) }
            }
            Err(error) => TxnOutcome::Aborted { branch, step: 0, error },
        }
    }

    fn roll_back(&mut self, sequence: u64) {
        while let Some(undo) = self.scratch.undo.pop() {
            self.store.undo(undo);
        }
        self.scratch.results.clear();
        self.events.clear();
        *self.sequence = sequence;
    }
}

/// Whether a comparison holds, and if not, why.
fn check_compare(store: &Store, compare: &Compare) -> Result<(), StepError> {
    let value = |key: &Bytes| store.get(key).map(|record| &record.value[..]);
    let number = |key: &Bytes, of: fn(&Record) -> u64| store.get(key).map_or(0, of);
    let (ordering, relation) = match compare {
        Compare::Value { key, relation, value: right } => {
            (value(key).ok_or(StepError::NotFound)?.cmp(right), *relation)
        }
        Compare::Keys { key, relation, other } => {
            let left = value(key).ok_or(StepError::NotFound)?;
            (left.cmp(value(other).ok_or(StepError::NotFound)?), *relation)
        }
        Compare::Version { key, relation, version } => {
            (number(key, |record| record.version).cmp(version), *relation)
        }
        Compare::Created { key, relation, revision } => {
            (number(key, |record| record.created.0).cmp(&revision.0), *relation)
        }
        Compare::Modified { key, relation, revision } => {
            (number(key, |record| record.modified.0).cmp(&revision.0), *relation)
        }
        Compare::Exists { key } => {
            value(key).ok_or(StepError::NotFound)?;
            (Ordering::Equal, Relation::Equal)
        }
        Compare::Missing { key } => {
            return if value(key).is_none() { Ok(()) } else { Err(StepError::Exists) };
        }
    };
    if relation.holds(ordering) { Ok(()) } else { Err(StepError::Unequal) }
}

/// A change that one step wants to make.
struct Change {
    key: Bytes,
    data: Bytes,
    offset: u64,
    flags: Flags,
    kind: KeyEventKind,
}

impl Run<'_, '_> {
    #[inline(always)]
    fn step(&mut self, step: Step) -> Result<StepResult, StepError> {
        match step {
            Step::Read { key, offset, length_max } => self.read(&key, offset, length_max),
            Step::Write { key, value, offset, flags } => self.write(key, value, offset, flags),
            Step::Delete { key } => self.delete(key),
            Step::Copy { source, target, flags } => self.copy(&source, target, flags),
            Step::Compare(compare) => {
                check_compare(self.at.store, &compare).map(|()| StepResult::Held)
            }
            Step::Increment { key, delta, offset, width, flags } => {
                self.increment(key, delta, offset, width, flags)
            }
            Step::List(query) => {
                let (page, bytes) = self.at.store.page(&query, self.at.limits);
                self.count_result(bytes)?;
                Ok(StepResult::Listed(page))
            }
        }
    }

    fn count_result(&mut self, bytes: u64) -> Result<(), StepError> {
        self.result_bytes = self.result_bytes.saturating_add(bytes);
        let over = self.result_bytes > self.at.limits.result_bytes_max;
        if over { Err(StepError::ResultTooLarge) } else { Ok(()) }
    }

    fn read(&mut self, key: &Bytes, from: u64, length_max: u64) -> Result<StepResult, StepError> {
        let record = self.at.store.get(key).ok_or(StepError::NotFound)?;
        let stat = record.stat();
        let length = stat.size.saturating_sub(from).min(length_max);
        self.count_result(length)?;
        let record = self.at.store.get(key).ok_or(StepError::NotFound)?;
        Ok(StepResult::Read { value: record.value.part(from, length), stat })
    }

    #[inline(always)]
    fn write(
        &mut self,
        key: Bytes,
        data: Bytes,
        offset: u64,
        flags: Flags,
    ) -> Result<StepResult, StepError> {
        let kind = KeyEventKind::Changed;
        if !flags.has(Flags::SEQUENCE) {
            let version = self.change(Change { key, data, offset, flags, kind })?;
            return Ok(StepResult::Written { version, key: None });
        }
        let whole = sequence_key(&key, *self.at.sequence);
        let flags = flags | Flags::CREATE | Flags::EXCLUSIVE;
        let version = self.change(Change { key: whole.clone(), data, offset, flags, kind })?;
        *self.at.sequence += 1;
        Ok(StepResult::Written { version, key: Some(whole) })
    }

    fn delete(&mut self, key: Bytes) -> Result<StepResult, StepError> {
        let record = self.at.store.remove(&key).ok_or(StepError::NotFound)?;
        self.changed = true;
        self.at.events.push(deleted(self.revision, key.clone(), &record));
        if self.undo {
            self.at.scratch.undo.push(Undo::Insert { key, record });
        }
        Ok(StepResult::Deleted)
    }

    fn copy(
        &mut self,
        source: &Bytes,
        target: Bytes,
        flags: Flags,
    ) -> Result<StepResult, StepError> {
        let record = self.at.store.get(source).ok_or(StepError::NotFound)?;
        let data = record.value.part(0, u64::MAX);
        let flags = flags | Flags::REPLACE;
        let kind = KeyEventKind::Copied;
        let version = self.change(Change { key: target, data, offset: 0, flags, kind })?;
        Ok(StepResult::Copied { version })
    }

    fn increment(
        &mut self,
        key: Bytes,
        delta: i64,
        offset: Option<u64>,
        width: Width,
        flags: Flags,
    ) -> Result<StepResult, StepError> {
        let bytes = width.bytes();
        let number = match self.at.store.get(&key) {
            Some(record) => number_at(&record.value, offset, bytes)?,
            None => 0,
        };
        let mask = u64::MAX >> (64 - 8 * bytes);
        let value = number.wrapping_add_signed(delta) & mask;
        let data = Bytes::copy_from_slice(&value.to_le_bytes()[..bytes]);
        let kind = KeyEventKind::Changed;
        let offset = offset.unwrap_or(0);
        let version = self.change(Change { key, data, offset, flags, kind })?;
        Ok(StepResult::Incremented { value, version })
    }

    /// Makes a change, if the flags and the limits allow it, and gives the record's new version.
    fn change(&mut self, change: Change) -> Result<u64, StepError> {
        let limits = self.at.limits;
        let editor = match self.at.store.editor(&change.key) {
            Ok(editor) => editor,
            Err(vacancy) => return self.create(change, vacancy),
        };
        if change.flags.has(Flags::CREATE | Flags::EXCLUSIVE) {
            return Err(StepError::Exists);
        }
        let before = editor.record.value.len() as u64;
        let replace = change.flags.has(Flags::REPLACE);
        let kept = if replace { 0 } else { before };
        let offset = if change.flags.has(Flags::APPEND) { kept } else { change.offset };
        let size = size_after(kept, offset, &change.data, limits)?;
        if size > before && editor.store_bytes() - before + size > limits.store_bytes_max {
            return Err(StepError::StoreFull);
        }
        let version = editor.record.version + 1;
        let revision = self.revision;
        let edit = Edit { data: &change.data, offset: offset as usize, replace, revision };
        let undo = editor.edit(&change.key, edit, self.undo);
        self.at.scratch.undo.extend(undo);
        self.changed(change.kind, version, offset, size, change);
        Ok(version)
    }

    fn create(&mut self, change: Change, vacancy: Vacancy) -> Result<u64, StepError> {
        let limits = self.at.limits;
        let key = &change.key;
        if !change.flags.has(Flags::CREATE) {
            return Err(StepError::NotFound);
        }
        if key.len() > limits.key_bytes_max as usize {
            return Err(StepError::KeyTooLarge);
        }
        let offset = if change.flags.has(Flags::APPEND) { 0 } else { change.offset };
        let size = size_after(0, offset, &change.data, limits)?;
        let ephemeral = change.flags.has(Flags::EPHEMERAL);
        let owned = if ephemeral { self.at.store.ephemerals(self.at.session) } else { 0 };
        if ephemeral && owned >= limits.ephemerals_max as usize {
            return Err(StepError::EphemeralsFull);
        }
        let bytes = key.len() as u64 + size;
        if self.at.store.bytes().saturating_add(bytes) > limits.store_bytes_max {
            return Err(StepError::StoreFull);
        }
        let mut value = Value::EMPTY;
        value.put(offset as usize, &change.data);
        let owner = if ephemeral { self.at.session } else { SessionId(0) };
        let (created, modified) = (self.revision, self.revision);
        let record = Record { value, version: 1, created, modified, owner };
        self.at.store.fill(vacancy, key, record);
        if self.undo {
            self.at.scratch.undo.push(Undo::Remove { key: key.clone() });
        }
        let copied = change.kind == KeyEventKind::Copied;
        let kind = if copied { KeyEventKind::Copied } else { KeyEventKind::Created };
        self.changed(kind, 1, offset, size, change);
        Ok(1)
    }

    fn changed(
        &mut self,
        kind: KeyEventKind,
        version: u64,
        offset: u64,
        size: u64,
        change: Change,
    ) {
        self.changed = true;
        let Change { key, mut data, flags, .. } = change;
        let mut at = offset;
        if flags.has(Flags::REPLACE) && offset > 0 {
            // A watcher cannot know that the gap is to be zeros and not what was there.
            let mut whole = Value::EMPTY;
            whole.put(offset as usize, &data);
            data = whole.part(0, u64::MAX);
            at = 0;
        }
        self.at.events.push(Event::Key(KeyEvent {
            revision: self.revision,
            kind,
            key,
            version,
            offset: at,
            data,
            size,
        }));
    }
}

/// The event of a deletion.
pub(super) fn deleted(revision: Revision, key: Bytes, record: &Record) -> Event {
    Event::Key(KeyEvent {
        revision,
        kind: KeyEventKind::Deleted,
        key,
        version: record.version,
        offset: 0,
        data: Bytes::new(),
        size: 0,
    })
}

/// The size of a value of `kept` bytes after `data` was put at `offset`.
fn size_after(kept: u64, offset: u64, data: &Bytes, limits: &Limits) -> Result<u64, StepError> {
    let end = offset.checked_add(data.len() as u64).ok_or(StepError::ValueTooLarge)?;
    let size = kept.max(end);
    if size > limits.value_bytes_max { Err(StepError::ValueTooLarge) } else { Ok(size) }
}

/// The number of `width` bytes that is the value, or that stands at `offset` in it.
fn number_at(value: &[u8], offset: Option<u64>, width: usize) -> Result<u64, StepError> {
    let number = match offset {
        None => value,
        Some(offset) => {
            let from = usize::try_from(offset).map_err(|_| StepError::NotANumber)?;
            let rest = value.get(from..).ok_or(StepError::NotANumber)?;
            rest.get(..width).ok_or(StepError::NotANumber)?
        }
    };
    if number.len() != width {
        return Err(StepError::NotANumber);
    }
    let mut bytes = [0; 8];
    bytes[..width].copy_from_slice(number);
    Ok(u64::from_le_bytes(bytes))
}

/// The prefix followed by the number in [`SEQUENCE_DIGITS`] decimal digits.
fn sequence_key(prefix: &[u8], mut number: u64) -> Bytes {
    let mut key = Vec::with_capacity(prefix.len() + SEQUENCE_DIGITS);
    key.extend_from_slice(prefix);
    key.resize(prefix.len() + SEQUENCE_DIGITS, b'0');
    for digit in key[prefix.len()..].iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    Bytes::from(key)
}
