//! A naive model of the state: maps that are copied for each transaction, histories that are never
//! forgotten, no index, no undo. Written from the documentation, to be compared with the real one.

use accord_core::limits::Limits;
use accord_core::state::{
    Branch, Compare, Flags, KeyEventKind, ListQuery, Outcome, Range, Relation, RequestError, Step,
    StepError, Txn, TxnOutcome, Width,
};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub value: Vec<u8>,
    pub version: u64,
    pub created: u64,
    pub modified: u64,
    pub owner: Option<u64>,
}

pub type Records = BTreeMap<Vec<u8>, Record>;

#[derive(Clone, Debug)]
pub struct Session {
    pub owner: Option<u32>,
    pub generation: u32,
    /// Everything that ever ran, with its answer.
    pub ran: BTreeMap<u64, Answer>,
    pub acked: u64,
}

/// What an event should say: kind, key, version.
pub type Happened = (KeyEventKind, Vec<u8>, u64);

/// The part of an outcome that a list of numbers and bytes can say.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Committed { revision: u64, then: bool, results: Vec<Given> },
    Aborted { then: bool, step: usize, error: StepError },
    Refused(RequestError),
}

/// What a step gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    Read(Vec<u8>, Record),
    Written(u64, Option<Vec<u8>>),
    Nothing,
    Copied(u64),
    Incremented(u64, u64),
    /// Keys, records (values only if asked for), more.
    Listed(Vec<(Vec<u8>, Record, bool)>, bool),
}

#[derive(Clone, Debug)]
pub struct Model {
    pub limits: Limits,
    pub revision: u64,
    pub sequence: u64,
    pub records: Records,
    pub sessions: BTreeMap<u64, Session>,
}

struct Attempt {
    records: Records,
    sequence: u64,
    happened: Vec<Happened>,
    result_bytes: u64,
    session: u64,
    revision: u64,
}

impl Model {
    pub fn new(limits: Limits) -> Self {
        let (records, sessions) = (BTreeMap::new(), BTreeMap::new());
        Self { limits, revision: 0, sequence: 1, records, sessions }
    }

    pub fn open(&mut self, server: u32) -> Option<u64> {
        if self.sessions.len() as u32 == self.limits.sessions_max {
            return None;
        }
        self.revision += 1;
        let (owner, generation, ran, acked) = (Some(server), 1, BTreeMap::new(), 0);
        self.sessions.insert(self.revision, Session { owner, generation, ran, acked });
        Some(self.revision)
    }

    pub fn end(&mut self, session: u64) -> Vec<Happened> {
        self.sessions.remove(&session);
        self.revision += 1;
        let dies = |record: &Record| record.owner == Some(session);
        let mut happened = Vec::new();
        for (key, record) in self.records.iter().filter(|(_, record)| dies(record)) {
            happened.push((KeyEventKind::Deleted, key.clone(), record.version));
        }
        self.records.retain(|_, record| !dies(record));
        happened
    }

    pub fn request(
        &mut self,
        id: u64,
        number: u64,
        acked: u64,
        txn: &Txn,
        command_bytes: usize,
    ) -> (Answer, Vec<Happened>) {
        match self.admit(id, number, acked, txn, command_bytes) {
            Err(answer) => (answer, Vec::new()),
            Ok(()) => {
                let (answer, happened) = self.run(id, txn);
                let session = self.sessions.get_mut(&id).expect("it was admitted");
                session.ran.insert(number, answer.clone());
                (answer, happened)
            }
        }
    }

    fn admit(
        &mut self,
        id: u64,
        number: u64,
        acked: u64,
        txn: &Txn,
        command_bytes: usize,
    ) -> Result<(), Answer> {
        let refuse = |error| Err(Answer::Refused(error));
        let never = id == 0 || id > self.revision;
        let Some(session) = self.sessions.get_mut(&id) else {
            let (unknown, ended) = (RequestError::SessionUnknown, RequestError::SessionEnded);
            return refuse(if never { unknown } else { ended });
        };
        if number == 0 {
            return refuse(RequestError::Malformed);
        }
        let last = session.ran.keys().max().copied().unwrap_or(0);
        session.acked = session.acked.max(acked.min(number).min(last + 1));
        if number <= last {
            let acked_below = accord_core::ids::RequestId(session.acked);
            return if number < session.acked {
                refuse(RequestError::Acknowledged { acked_below })
            } else if let Some(answer) = session.ran.get(&number) {
                Err(answer.clone())
            } else {
                refuse(RequestError::PassedOver { last: accord_core::ids::RequestId(last) })
            };
        }
        let kept: Vec<u64> = session.ran.range(session.acked..).map(|(_, a)| cost(a)).collect();
        let full = kept.len() as u32 >= self.limits.outcomes_max;
        if full || kept.iter().sum::<u64>() >= self.limits.outcome_bytes_max {
            return refuse(RequestError::WindowFull);
        }
        if command_bytes as u64 > self.limits.command_bytes_max {
            return refuse(RequestError::CommandTooLarge);
        }
        let parts = [txn.guard.len(), txn.then.len(), txn.otherwise.len()];
        if parts.iter().any(|part| *part > self.limits.steps_max as usize) {
            return refuse(RequestError::TooManySteps);
        }
        Ok(())
    }

    fn run(&mut self, session: u64, txn: &Txn) -> (Answer, Vec<Happened>) {
        let mut attempt = Attempt {
            records: self.records.clone(),
            sequence: self.sequence,
            happened: Vec::new(),
            result_bytes: 0,
            session,
            revision: self.revision + 1,
        };
        let then = txn.guard.iter().all(|compare| holds(&self.records, compare).is_ok());
        let steps = if then { &txn.then } else { &txn.otherwise };
        let mut results = Vec::new();
        for (step, what) in steps.iter().enumerate() {
            match attempt.step(what, &self.limits) {
                Ok(given) => results.push(given),
                Err(error) => return (Answer::Aborted { then, step, error }, Vec::new()),
            }
        }
        self.records = attempt.records;
        self.sequence = attempt.sequence;
        if !attempt.happened.is_empty() {
            self.revision += 1;
        }
        (Answer::Committed { revision: self.revision, then, results }, attempt.happened)
    }
}

fn cost(answer: &Answer) -> u64 {
    let given = |given: &Given| match given {
        Given::Read(value, _) => value.len() as u64,
        Given::Written(_, Some(key)) => key.len() as u64,
        Given::Listed(entries, _) => entries.iter().map(entry_cost).sum(),
        _ => 0,
    };
    match answer {
        Answer::Committed { results, .. } => results.iter().map(|g| 64 + given(g)).sum(),
        Answer::Aborted { .. } => 64,
        Answer::Refused(_) => unreachable!("a refusal is not recorded"),
    }
}

fn entry_cost((key, record, with_value): &(Vec<u8>, Record, bool)) -> u64 {
    let value = if *with_value { record.value.len() } else { 0 };
    (key.len() + value + 16) as u64
}

fn related<T: Ord>(left: &T, relation: Relation, right: &T) -> Result<(), StepError> {
    let holds = match relation {
        Relation::Equal => left == right,
        Relation::Unequal => left != right,
        Relation::Less => left < right,
        Relation::AtMost => left <= right,
        Relation::Greater => left > right,
        Relation::AtLeast => left >= right,
    };
    if holds { Ok(()) } else { Err(StepError::Unequal) }
}

fn holds(records: &Records, compare: &Compare) -> Result<(), StepError> {
    let find = |key: &[u8]| records.get(key).ok_or(StepError::NotFound);
    match compare {
        Compare::Value { key, relation, value } => {
            related(&find(key)?.value, *relation, &value.to_vec())
        }
        Compare::Keys { key, relation, other } => {
            related(&find(key)?.value, *relation, &find(other)?.value)
        }
        Compare::Version { key, relation, version } => {
            related(&find(key).map_or(0, |r| r.version), *relation, version)
        }
        Compare::Created { key, relation, revision } => {
            related(&find(key).map_or(0, |r| r.created), *relation, &revision.0)
        }
        Compare::Modified { key, relation, revision } => {
            related(&find(key).map_or(0, |r| r.modified), *relation, &revision.0)
        }
        Compare::Exists { key } => find(key).map(|_| ()),
        Compare::Missing { key } => find(key).map_or(Ok(()), |_| Err(StepError::Exists)),
    }
}

impl Attempt {
    fn step(&mut self, step: &Step, limits: &Limits) -> Result<Given, StepError> {
        match step {
            Step::Read { key, offset, length_max } => {
                let record = self.find(key)?;
                let rest = record.value.iter().skip(usize::try_from(*offset).unwrap_or(usize::MAX));
                let most = usize::try_from(*length_max).unwrap_or(usize::MAX);
                let value: Vec<u8> = rest.take(most).copied().collect();
                self.give(value.len() as u64, limits)?;
                Ok(Given::Read(value, record))
            }
            Step::Write { key, value, offset, flags } if flags.has(Flags::SEQUENCE) => {
                let key = [&key[..], format!("{:020}", self.sequence).as_bytes()].concat();
                if self.records.contains_key(&key) {
                    return Err(StepError::Exists);
                }
                let flags = *flags | Flags::CREATE;
                let version = self.put(&key, value, *offset, flags, false, limits)?;
                self.sequence += 1;
                Ok(Given::Written(version, Some(key)))
            }
            Step::Write { key, value, offset, flags } => {
                let version = self.put(key, value, *offset, *flags, false, limits)?;
                Ok(Given::Written(version, None))
            }
            Step::Delete { key } => {
                let record = self.find(key)?;
                self.records.remove(&key[..]);
                self.happened.push((KeyEventKind::Deleted, key.to_vec(), record.version));
                Ok(Given::Nothing)
            }
            Step::Copy { source, target, flags } => {
                let value = self.find(source)?.value;
                let flags = *flags | Flags::REPLACE;
                self.put(target, &value, 0, flags, true, limits).map(Given::Copied)
            }
            Step::Compare(compare) => holds(&self.records, compare).map(|()| Given::Nothing),
            Step::Increment { key, delta, offset, width, flags } => {
                self.increment(key, *delta, *offset, *width, *flags, limits)
            }
            Step::List(query) => {
                let (entries, more) = list(&self.records, query, limits);
                self.give(entries.iter().map(entry_cost).sum(), limits)?;
                Ok(Given::Listed(entries, more))
            }
        }
    }

    fn find(&self, key: &[u8]) -> Result<Record, StepError> {
        self.records.get(key).cloned().ok_or(StepError::NotFound)
    }

    fn give(&mut self, bytes: u64, limits: &Limits) -> Result<(), StepError> {
        self.result_bytes += bytes;
        let over = self.result_bytes > limits.result_bytes_max;
        if over { Err(StepError::ResultTooLarge) } else { Ok(()) }
    }

    fn put(
        &mut self,
        key: &[u8],
        data: &[u8],
        offset: u64,
        flags: Flags,
        copied: bool,
        limits: &Limits,
    ) -> Result<u64, StepError> {
        let old = self.records.get(key).cloned();
        let create = flags.has(Flags::CREATE);
        match &old {
            Some(_) if create && flags.has(Flags::EXCLUSIVE) => return Err(StepError::Exists),
            None if !create => return Err(StepError::NotFound),
            None if key.len() as u32 > limits.key_bytes_max => return Err(StepError::KeyTooLarge),
            _ => {}
        }
        let kept = !flags.has(Flags::REPLACE);
        let mut value = old.iter().filter(|_| kept).flat_map(|old| old.value.clone()).collect();
        let at = if flags.has(Flags::APPEND) { Vec::len(&value) as u64 } else { offset };
        let end = u128::from(at) + data.len() as u128;
        if end > u128::from(limits.value_bytes_max) {
            return Err(StepError::ValueTooLarge);
        }
        let (at, end) = (at as usize, end as usize);
        value.resize(value.len().max(end), 0);
        value[at..end].copy_from_slice(data);
        let ephemeral = flags.has(Flags::EPHEMERAL) && old.is_none();
        let mine = |record: &&Record| record.owner == Some(self.session);
        let owned = self.records.values().filter(mine).count();
        if ephemeral && owned as u32 >= limits.ephemerals_max {
            return Err(StepError::EphemeralsFull);
        }
        let fresh = Record {
            value: Vec::new(),
            version: 0,
            created: self.revision,
            modified: self.revision,
            owner: ephemeral.then_some(self.session),
        };
        let existed = old.is_some();
        let old = old.unwrap_or(fresh);
        let version = old.version + 1;
        let grows = !existed || value.len() > old.value.len();
        let record = Record { value, version, modified: self.revision, ..old };
        let mut after = self.records.clone();
        after.insert(key.to_vec(), record);
        let bytes: usize = after.iter().map(|(key, record)| key.len() + record.value.len()).sum();
        if grows && bytes as u64 > limits.store_bytes_max {
            return Err(StepError::StoreFull);
        }
        self.records = after;
        let kind = match (copied, existed) {
            (true, _) => KeyEventKind::Copied,
            (false, true) => KeyEventKind::Changed,
            (false, false) => KeyEventKind::Created,
        };
        self.happened.push((kind, key.to_vec(), version));
        Ok(version)
    }

    fn increment(
        &mut self,
        key: &[u8],
        delta: i64,
        offset: Option<u64>,
        width: Width,
        flags: Flags,
        limits: &Limits,
    ) -> Result<Given, StepError> {
        let value = self.records.get(key).map(|record| record.value.clone());
        let fits = |value: &Vec<u8>| match offset {
            None => value.len() == width.bytes(),
            Some(at) => u128::from(at) + width.bytes() as u128 <= value.len() as u128,
        };
        if value.as_ref().is_some_and(|value| !fits(value)) {
            return Err(StepError::NotANumber);
        }
        let at = offset.unwrap_or(0);
        let old = value.map_or(vec![0; width.bytes()], |value| {
            value[at as usize..at as usize + width.bytes()].to_vec()
        });
        let (number, bytes) = match width {
            Width::Four => {
                let old = u32::from_le_bytes(old.try_into().expect("four bytes"));
                let new = old.wrapping_add(delta as u32);
                (u64::from(new), new.to_le_bytes().to_vec())
            }
            Width::Eight => {
                let old = u64::from_le_bytes(old.try_into().expect("eight bytes"));
                let new = old.wrapping_add(delta as u64);
                (new, new.to_le_bytes().to_vec())
            }
        };
        let version = self.put(key, &bytes, at, flags, false, limits)?;
        Ok(Given::Incremented(number, version))
    }
}

type Entries = Vec<(Vec<u8>, Record, bool)>;

pub fn list(records: &Records, query: &ListQuery, limits: &Limits) -> (Entries, bool) {
    let inside = |key: &[u8]| match &query.range {
        Range::Prefix(prefix) => key.len() >= prefix.len() && key[..prefix.len()] == prefix[..],
        Range::Span { from, until } => {
            *key >= from[..] && until.as_ref().is_none_or(|until| *key < until[..])
        }
    };
    let later = |key: &[u8]| query.after.as_ref().is_none_or(|after| *key > after[..]);
    let all: Entries = records
        .iter()
        .filter(|(key, _)| inside(key) && later(key))
        .map(|(key, record)| (key.clone(), record.clone(), !query.keys_only))
        .collect();
    let mut page = Vec::new();
    let mut bytes = 0;
    for entry in &all {
        bytes += entry_cost(entry);
        let count_over = page.len() as u32 >= query.limit.min(limits.page_entries_max);
        if count_over || (!page.is_empty() && bytes > limits.page_bytes_max) {
            return (page, true);
        }
        page.push(entry.clone());
    }
    (page, false)
}

/// The real outcome in the model's words.
pub fn answer_of(outcome: &Outcome) -> Answer {
    use accord_core::state::{Stat, StepResult};
    let record = |stat: &Stat, value: Vec<u8>| {
        assert!(value.len() as u64 <= stat.size);
        Record {
            value,
            version: stat.version,
            created: stat.created.0,
            modified: stat.modified.0,
            owner: stat.owner.map(|owner| owner.0),
        }
    };
    let given = |result: &StepResult| match result {
        StepResult::Read { value, stat } => Given::Read(value.to_vec(), record(stat, vec![])),
        StepResult::Written { version, key } => {
            Given::Written(*version, key.as_ref().map(|key| key.to_vec()))
        }
        StepResult::Deleted | StepResult::Held => Given::Nothing,
        StepResult::Copied { version } => Given::Copied(*version),
        StepResult::Incremented { value, version } => Given::Incremented(*value, *version),
        StepResult::Listed(page) => {
            let entry = |entry: &accord_core::state::ListEntry| {
                let value = entry.value.as_ref().map(|value| value.to_vec());
                let with_value = value.is_some();
                (entry.key.to_vec(), record(&entry.stat, value.unwrap_or_default()), with_value)
            };
            Given::Listed(page.entries.iter().map(entry).collect(), page.more)
        }
    };
    match outcome {
        Outcome::Txn(TxnOutcome::Committed { revision, branch, results }) => Answer::Committed {
            revision: revision.0,
            then: *branch == Branch::Then,
            results: results.iter().map(given).collect(),
        },
        Outcome::Txn(TxnOutcome::Aborted { branch, step, error }) => {
            Answer::Aborted { then: *branch == Branch::Then, step: *step as usize, error: *error }
        }
        Outcome::Tree(outcome) => panic!("the model has no znodes: {outcome:?}"),
        Outcome::Refused(error) => Answer::Refused(*error),
    }
}

/// The model's answer without the values that the real one does not repeat: of a read, the record's
/// whole value; of a list of keys, all values.
pub fn without_values(answer: Answer) -> Answer {
    let strip = |given| match given {
        Given::Read(value, record) => Given::Read(value, Record { value: vec![], ..record }),
        Given::Listed(entries, more) => {
            let entry = |(key, record, with): (Vec<u8>, Record, bool)| {
                let value = if with { record.value.clone() } else { vec![] };
                (key, Record { value, ..record }, with)
            };
            Given::Listed(entries.into_iter().map(entry).collect(), more)
        }
        other => other,
    };
    match answer {
        Answer::Committed { revision, then, results } => {
            let results = results.into_iter().map(strip).collect();
            Answer::Committed { revision, then, results }
        }
        other => other,
    }
}
