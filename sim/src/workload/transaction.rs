//! Transactions: clients append to lists and read them, several keys at once; the whole must be
//! strictly serializable.
//!
//! What clients do is drawn by [`accord_workloads::lists`]; here it becomes requests of the core's
//! client. A list is a record to which elements of a fixed width are appended. Lists are read by a
//! step on the record, or by a step or a query that lists a range, which is how an absent record is
//! read. Some transactions end in a step that fails: nothing of them may ever be seen.

use super::ledger::{Answer, Entry, Ledger};
use super::{ClientCtx, Workload, WorkloadKind};
use crate::plan::options::Options;
use crate::plan::rng::{Concern, Rng};
use crate::world::env::Surroundings;
use accord_core::client::ClientEvent;
use accord_core::state::{
    Compare, Flags, ListEntry, ListQuery, Page, Range, ReadQuery, ReadResult, Step, StepResult,
    Txn, TxnOutcome,
};
use accord_models::{History, Model};
use accord_workloads::lists::{self, Op, Part, TXN, input, output};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// The width of an element, in bytes.
const ELEMENT_BYTES: usize = 5;
/// The most bytes of a list that are read: more than any list has.
const READ_BYTES_MAX: u64 = 2048;

/// The workload.
#[derive(Debug)]
pub struct Transactions {
    generator: lists::Transactions,
    /// Lists that are known to exist: they are never deleted.
    exist: BTreeSet<u64>,
    ledger: Ledger<Vec<Part>>,
    /// Lists that a life has still to read in the end.
    to_read: BTreeMap<u64, BTreeSet<u64>>,
    undecided: Option<String>,
}

impl Transactions {
    /// Nothing was done so far.
    pub fn new(options: &Options) -> Self {
        let mut rng = Rng::of(options.seed, Concern::Workload, 1001);
        Self {
            generator: lists::Transactions::new(rng.within(1, 4)),
            exist: BTreeSet::new(),
            ledger: Ledger::new(options.clients + 1),
            to_read: BTreeMap::new(),
            undecided: None,
        }
    }

    fn transact(&mut self, ctx: &mut ClientCtx<'_>, parts: Vec<Part>) {
        let mut known = self.exist.clone();
        let mut steps: Vec<Step> =
            parts.iter().map(|part| step(*part, &mut known, ctx.rng)).collect();
        if ctx.rng.percent(10) {
            steps.push(Step::Compare(Compare::Exists { key: Bytes::from_static(b"t/never") }));
        }
        self.ledger.submit(ctx, &Txn::of(steps), TXN, input(&parts), parts);
    }

    /// Reads one or two neighbouring lists at one revision, without a transaction.
    fn query(&mut self, ctx: &mut ClientCtx<'_>, first: u64, count: u64) {
        let parts = lists::query(first, count);
        let query = ReadQuery::List(span(first, count));
        self.ledger.read(ctx, query, TXN, input(&parts), parts);
    }

    fn on_committed(
        &mut self,
        ctx: &mut ClientCtx<'_>,
        entry: Entry<Vec<Part>>,
        results: &[StepResult],
    ) {
        let mut lists = Vec::new();
        for (part, result) in entry.memo.iter().zip(results) {
            lists.push(match (part, result) {
                (Part::Append { key, .. }, StepResult::Written { .. }) => {
                    self.exist.insert(*key);
                    None
                }
                (Part::Read { .. }, StepResult::Read { value, .. }) => elements(value),
                (Part::Read { key }, StepResult::Listed(page)) => on_page(page, *key),
                _ => return ctx.fail(format!("{part:?} came back as {result:?}")),
            });
            if let (Part::Read { .. }, Some(None)) = (part, lists.last()) {
                return ctx.fail(format!("{part:?} came back as {result:?}"));
            }
        }
        self.on_answer(ctx, entry, &lists);
    }

    fn on_listed(&mut self, ctx: &mut ClientCtx<'_>, entry: Entry<Vec<Part>>, page: &Page) {
        if let Some(keys) = self.to_read.get_mut(&ctx.life) {
            keys.retain(|key| !entry.memo.contains(&Part::Read { key: *key }));
        }
        if page.more {
            return self.ledger.fail(ctx.time_ns(), entry.id, "the page was cut");
        }
        let read = |part: &Part| on_page(page, part.key());
        let lists: Vec<_> = entry.memo.iter().map(read).collect();
        if lists.contains(&None) {
            return ctx.fail(format!("a list came back as {page:?}"));
        }
        self.on_answer(ctx, entry, &lists);
    }

    fn on_answer(
        &mut self,
        ctx: &ClientCtx<'_>,
        entry: Entry<Vec<Part>>,
        lists: &[Option<Vec<i64>>],
    ) {
        for (part, list) in entry.memo.iter().zip(lists) {
            if list.as_ref().is_some_and(|list| !list.is_empty()) {
                self.exist.insert(part.key());
            }
        }
        self.generator.on_answer(&entry.memo, lists);
        self.ledger.ok(ctx.time_ns(), entry.id, output(&entry.memo, lists));
    }
}

impl Workload for Transactions {
    fn kind(&self) -> WorkloadKind {
        WorkloadKind::Transaction
    }

    fn step(&mut self, ctx: &mut ClientCtx<'_>) {
        match self.generator.next(ctx.rng) {
            Op::Transact(parts) => self.transact(ctx, parts),
            Op::Query { first, count } => self.query(ctx, first, count),
        }
    }

    fn on_event(&mut self, ctx: &mut ClientCtx<'_>, event: &ClientEvent) {
        match self.ledger.settle(ctx, event) {
            Some(Answer::Txn(entry, TxnOutcome::Committed { results, .. })) => {
                self.on_committed(ctx, entry, &results);
            }
            Some(Answer::Txn(entry, TxnOutcome::Aborted { error, .. })) => {
                self.ledger.fail(ctx.time_ns(), entry.id, error.to_string());
            }
            Some(Answer::Read(entry, _, ReadResult::Listed(page))) => {
                self.on_listed(ctx, entry, &page);
            }
            Some(Answer::Read(_, _, other)) => ctx.fail(format!("a list came back as {other:?}")),
            None => {}
        }
    }

    fn on_life_ended(&mut self, life: u64, time_ns: u64) {
        self.ledger.end_life(life, time_ns);
        self.to_read.remove(&life);
    }

    fn conclude(&mut self, ctx: &mut ClientCtx<'_>) -> bool {
        let all = || self.generator.keys().collect();
        let left = self.to_read.entry(ctx.life).or_insert_with(all).first().copied();
        if let Some(key) = left {
            self.query(ctx, key, 1);
        }
        left.is_none()
    }

    fn check(&mut self, env: &mut Surroundings) {
        let history = self.ledger.history();
        self.undecided = super::judge(env, self.kind(), Model::ListAppend, history);
    }

    fn undecided(&mut self) -> Option<String> {
        self.undecided.take()
    }

    fn history(&mut self) -> &History {
        self.ledger.history()
    }
}

fn name(key: u64) -> Bytes {
    Bytes::from(format!("t/{key:06}"))
}

fn span(first: u64, count: u64) -> ListQuery {
    let range = Range::Span { from: name(first), until: Some(name(first + count)) };
    ListQuery { range, after: None, limit: count as u32, keys_only: false }
}

/// The step of a transaction; `known` are the lists that exist when it runs.
fn step(part: Part, known: &mut BTreeSet<u64>, rng: &mut Rng) -> Step {
    match part {
        Part::Append { key, element } => {
            known.insert(key);
            let value = Bytes::from(format!("{element:0ELEMENT_BYTES$}"));
            let flags = Flags::CREATE | Flags::APPEND;
            Step::Write { key: name(key), value, offset: 0, flags }
        }
        Part::Read { key } if known.contains(&key) && rng.percent(80) => {
            Step::Read { key: name(key), offset: 0, length_max: READ_BYTES_MAX }
        }
        Part::Read { key } => Step::List(span(key, 1)),
    }
}

/// The list `key` on a page that has it if it exists.
fn on_page(page: &Page, key: u64) -> Option<Vec<i64>> {
    let name = name(key);
    let entry = page.entries.iter().find(|entry: &&ListEntry| entry.key == name);
    entry.map_or(Some(Vec::new()), |entry| elements(entry.value.as_ref()?))
}

fn elements(value: &[u8]) -> Option<Vec<i64>> {
    let chunks = value.chunks(ELEMENT_BYTES);
    chunks
        .map(|chunk| {
            let digits = std::str::from_utf8(chunk).ok()?;
            if chunk.len() == ELEMENT_BYTES { digits.parse().ok() } else { None }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::tests::refuses;
    use accord_models::Recorder;

    /// Two elements are appended one after the other, and the list is read.
    fn history(read: &[i64]) -> History {
        let mut recorder = Recorder::new(1);
        for element in [1, 2] {
            recorder.observe(0, 0, TXN, input(&[Part::Append { key: 0, element }]));
        }
        let parts = [Part::Read { key: 0 }];
        let op = recorder.invoke(0, 1, TXN, input(&parts));
        recorder.ok(op, 1, output(&parts, &[Some(read.to_vec())]));
        recorder.finish()
    }

    #[test]
    fn a_list_that_lacks_doubles_or_misplaces_an_element_is_refused() {
        let refuses = |read| refuses(WorkloadKind::Transaction, Model::ListAppend, &history(read));
        assert!(!refuses(&[1, 2]));
        for wrong in [&[1][..], &[2, 1], &[1, 2, 2], &[1, 2, 3]] {
            assert!(refuses(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_list_is_cut_into_its_elements_and_nothing_else() {
        assert_eq!(elements(b""), Some(vec![]));
        assert_eq!(elements(b"0000100042"), Some(vec![1, 42]));
        assert_eq!(elements(b"000010004"), None);
        assert_eq!(elements(b"00001xxxxx"), None);
    }

    #[test]
    fn a_read_of_what_may_be_absent_lists() {
        let mut rng = Rng::of(1, Concern::Workload, 1);
        let mut known = BTreeSet::new();
        let read = Part::Read { key: 1 };
        assert!(matches!(step(read, &mut known, &mut rng), Step::List(_)));
        step(Part::Append { key: 1, element: 7 }, &mut known, &mut rng);
        let steps: Vec<Step> = (0..50).map(|_| step(read, &mut known, &mut rng)).collect();
        assert!(steps.iter().any(|step| matches!(step, Step::Read { .. })));
    }
}
