//! Transactions of every sort on a few records: writes at offsets and behind ends, values that grow
//! and shrink, numbers of both widths within values, copies, conditions on what may be missing,
//! branches of several steps of which a late one fails, lists by pages.
//!
//! The workload judges nothing itself but its reads. What its transactions come to is judged where
//! they are committed and where they are told, by the naive model of the state: see
//! [`crate::judge::naive`].

use super::ledger::{Answer, Ledger};
use super::{ClientCtx, Workload, WorkloadKind};
use crate::judge::Property;
use crate::plan::options::Options;
use crate::plan::rng::Rng;
use crate::world::env::Surroundings;
use accord_core::client::ClientEvent;
use accord_core::ids::Revision;
use accord_core::state::{
    Compare, Flags, ListQuery, Range, ReadQuery, ReadResult, Relation, Step, Txn, TxnOutcome, Width,
};
use accord_models::History;
use accord_models::edn::Value;
use bytes::Bytes;

/// Records in use.
const KEYS: u64 = 5;
/// The most bytes that a write writes.
const VALUE_BYTES_MAX: u64 = 24;
/// The largest offset, but for a few that are out of all bounds.
const OFFSET_MAX: u64 = 32;
/// The most steps of a branch.
const STEPS_MAX: u64 = 4;

/// The workload.
#[derive(Debug)]
pub struct Stores {
    /// What is remembered of a read: what was asked.
    ledger: Ledger<Option<ReadQuery>>,
    looked: std::collections::BTreeSet<u64>,
}

impl Stores {
    /// Nothing was done so far.
    pub fn new(options: &Options) -> Self {
        Self { ledger: Ledger::new(options.clients + 1), looked: Default::default() }
    }

    fn list(&mut self, ctx: &mut ClientCtx<'_>, after: Option<Bytes>) -> bool {
        let range = Range::Prefix(Bytes::from_static(b"s/"));
        let (limit, keys_only) = (ctx.rng.within(1, 3) as u32, ctx.rng.percent(30));
        let query = ReadQuery::List(ListQuery { range, after, limit, keys_only });
        self.ledger.read(ctx, query.clone(), "list", Value::Nil, Some(query))
    }

    fn get(&mut self, ctx: &mut ClientCtx<'_>) {
        let key = name(ctx.rng);
        let (offset, length_max) = (ctx.rng.below(OFFSET_MAX), ctx.rng.below(OFFSET_MAX));
        let query = ReadQuery::Get { key, offset, length_max };
        self.ledger.read(ctx, query.clone(), "get", Value::Nil, Some(query));
    }

    fn on_read(
        &mut self,
        ctx: &mut ClientCtx<'_>,
        query: &ReadQuery,
        revision: Revision,
        result: &ReadResult,
    ) {
        let judgement = ctx.env.judges.committed.judge_read(revision, query, result);
        ctx.env.judge(Property::StateAsDocumented, judgement);
        if let (ReadQuery::List(_), ReadResult::Listed(page)) = (query, result)
            && let Some(last) = page.entries.last().filter(|_| page.more)
        {
            // The next page, of whatever the records are by then.
            self.list(ctx, Some(last.key.clone()));
        }
    }
}

impl Workload for Stores {
    fn kind(&self) -> WorkloadKind {
        WorkloadKind::Store
    }

    fn step(&mut self, ctx: &mut ClientCtx<'_>) {
        match ctx.rng.below(10) {
            0 => drop(self.list(ctx, None)),
            1 => self.get(ctx),
            _ => {
                let txn = txn(ctx.rng);
                self.ledger.submit(ctx, &txn, "txn", Value::Nil, None);
            }
        }
    }

    fn on_event(&mut self, ctx: &mut ClientCtx<'_>, event: &ClientEvent) {
        let now = ctx.time_ns();
        match self.ledger.settle(ctx, event) {
            Some(Answer::Txn(entry, TxnOutcome::Committed { .. })) => {
                self.ledger.ok(now, entry.id, Value::Nil);
            }
            Some(Answer::Txn(entry, TxnOutcome::Aborted { error, .. })) => {
                self.ledger.fail(now, entry.id, error.to_string());
            }
            Some(Answer::Read(entry, revision, result)) => {
                self.ledger.ok(now, entry.id, Value::Nil);
                if let Some(query) = entry.memo {
                    self.on_read(ctx, &query, revision, &result);
                }
            }
            None => {}
        }
    }

    fn on_life_ended(&mut self, life: u64, time_ns: u64) {
        self.ledger.end_life(life, time_ns);
        self.looked.remove(&life);
    }

    fn conclude(&mut self, ctx: &mut ClientCtx<'_>) -> bool {
        if self.looked.contains(&ctx.life) {
            return true;
        }
        if self.list(ctx, None) {
            self.looked.insert(ctx.life);
        }
        false
    }

    fn check(&mut self, _env: &mut Surroundings) {}

    fn history(&mut self) -> &History {
        self.ledger.history()
    }
}

fn name(rng: &mut Rng) -> Bytes {
    Bytes::from(format!("s/{}", rng.below(KEYS)))
}

fn bytes(rng: &mut Rng) -> Bytes {
    let length = if rng.percent(30) { *rng.pick(&[0, 4, 8]) } else { rng.below(VALUE_BYTES_MAX) };
    (0..length).map(|_| rng.below(4) as u8).collect::<Vec<u8>>().into()
}

fn offset(rng: &mut Rng) -> u64 {
    match rng.below(40) {
        0 => u64::MAX,
        1 => rng.next_u64(),
        2..=14 => 0,
        _ => rng.below(OFFSET_MAX),
    }
}

fn txn(rng: &mut Rng) -> Txn {
    let guards = rng.below(3);
    let guard: Vec<Compare> = (0..guards).map(|_| compare(rng)).collect();
    let then = steps(rng);
    let otherwise = if guards > 0 && rng.percent(80) { steps(rng) } else { Vec::new() };
    Txn { guard, then, otherwise }
}

/// Some steps, of which the last fails now and then, so that the others are taken back.
fn steps(rng: &mut Rng) -> Vec<Step> {
    let mut steps: Vec<Step> = (0..rng.below(STEPS_MAX)).map(|_| step(rng)).collect();
    if rng.percent(15) {
        steps.push(Step::Compare(Compare::Exists { key: Bytes::from_static(b"s/never") }));
    }
    steps
}

fn step(rng: &mut Rng) -> Step {
    let (key, other) = (name(rng), name(rng));
    match rng.below(20) {
        0..=9 => Step::Write { key, value: bytes(rng), offset: offset(rng), flags: flags(rng) },
        10 => Step::Delete { key },
        11 => Step::Copy { source: key, target: other, flags: Flags::CREATE },
        12 => Step::Compare(compare(rng)),
        13..=15 => {
            let (delta, width) = (rng.next_u64() as i64 >> rng.below(64), width(rng));
            let offset = rng.percent(60).then(|| offset(rng));
            let flags = if rng.percent(60) { Flags::CREATE } else { Flags::NONE };
            Step::Increment { key, delta, offset, width, flags }
        }
        16 => {
            let range = Range::Span { from: key, until: Some(other) };
            let (limit, keys_only) = (rng.within(1, 3) as u32, rng.percent(30));
            Step::List(ListQuery { range, after: None, limit, keys_only })
        }
        _ => Step::Read { key, offset: offset(rng), length_max: rng.below(OFFSET_MAX) },
    }
}

fn flags(rng: &mut Rng) -> Flags {
    let some = [Flags::EXCLUSIVE, Flags::APPEND, Flags::REPLACE, Flags::EPHEMERAL];
    let mut flags = if rng.percent(80) { Flags::CREATE } else { Flags::NONE };
    for (flag, percent) in some.into_iter().zip([10, 15, 25, 10]) {
        if rng.percent(percent) {
            flags = flags | flag;
        }
    }
    flags
}

fn width(rng: &mut Rng) -> Width {
    *rng.pick(&[Width::Four, Width::Eight])
}

fn compare(rng: &mut Rng) -> Compare {
    const RELATIONS: [Relation; 4] =
        [Relation::Equal, Relation::Unequal, Relation::Less, Relation::AtLeast];
    let (key, relation) = (name(rng), *rng.pick(&RELATIONS));
    match rng.below(7) {
        0 => Compare::Value { key, relation, value: bytes(rng) },
        1 => Compare::Keys { key, relation, other: name(rng) },
        2 => Compare::Version { key, relation, version: rng.below(4) },
        3 => Compare::Created { key, relation, revision: Revision(rng.below(200)) },
        4 => Compare::Modified { key, relation, revision: Revision(rng.below(200)) },
        5 => Compare::Exists { key },
        _ => Compare::Missing { key },
    }
}
