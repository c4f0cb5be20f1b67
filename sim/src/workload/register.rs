//! Registers: clients read, write and compare-and-set a few keys; each key must be linearizable.
//!
//! Every value written is different, so a read tells which write it saw. Some reads go through the
//! order (a transaction's step), some beside it (a linearizable query): both must fit into one
//! order. Local reads are made as well; they promise less, and the world judges them by their
//! revision alone.

use super::ledger::{Answer, Entry, Ledger};
use super::{ClientCtx, Workload, WorkloadKind};
use crate::plan::options::Options;
use crate::plan::rng::{Concern, Rng};
use crate::world::env::Surroundings;
use accord_core::client::ClientEvent;
use accord_core::protocol::Consistency;
use accord_core::state::{
    Branch, Compare, Flags, ReadQuery, ReadResult, Relation, Step, StepResult, Txn, TxnOutcome,
};
use accord_models::edn::Value;
use accord_models::{History, Model};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// What is remembered of an outstanding operation.
#[derive(Clone, Copy, Debug)]
enum Memo {
    Read { key: u64 },
    Write { key: u64, value: i64 },
    Cas { key: u64, from: i64, to: i64 },
}

/// The workload.
#[derive(Debug)]
pub struct Registers {
    keys: u64,
    last_value: i64,
    /// What was last seen of each key by anybody: good guesses for compare-and-set.
    seen: BTreeMap<u64, i64>,
    ledger: Ledger<Memo>,
    /// Keys that a life has still to read in the end.
    to_read: BTreeMap<u64, BTreeSet<u64>>,
    undecided: Option<String>,
}

impl Registers {
    /// Nothing was done so far.
    pub fn new(options: &Options) -> Self {
        let mut rng = Rng::of(options.seed, Concern::Workload, 1000);
        Self {
            keys: rng.within(1, 6),
            last_value: 0,
            seen: BTreeMap::new(),
            ledger: Ledger::new(options.clients + 1),
            to_read: BTreeMap::new(),
            undecided: None,
        }
    }

    fn next_value(&mut self) -> i64 {
        self.last_value += 1;
        self.last_value
    }

    fn write(&mut self, ctx: &mut ClientCtx<'_>, key: u64) {
        let value = self.next_value();
        let txn = Txn::of(vec![write_step(key, value)]);
        self.ledger.submit(ctx, &txn, "write", pair(key, value), Memo::Write { key, value });
    }

    fn cas(&mut self, ctx: &mut ClientCtx<'_>, key: u64) {
        let Some(from) = self.seen.get(&key).copied() else { return self.write(ctx, key) };
        let to = self.next_value();
        let compare =
            Compare::Value { key: name(key), relation: Relation::Equal, value: text(from) };
        let txn =
            Txn { guard: vec![compare], then: vec![write_step(key, to)], otherwise: Vec::new() };
        let change = Value::vector([Value::Int(from), Value::Int(to)]);
        let value = Value::vector([Value::from(key), change]);
        self.ledger.submit(ctx, &txn, "cas", value, Memo::Cas { key, from, to });
    }

    fn read(&mut self, ctx: &mut ClientCtx<'_>, key: u64, ordered: bool) -> bool {
        let value = Value::vector([Value::from(key), Value::Nil]);
        let memo = Memo::Read { key };
        if !ordered {
            return self.ledger.read(ctx, get(key), "read", value, memo);
        }
        let read = Step::Read { key: name(key), offset: 0, length_max: 32 };
        let txn = Txn {
            guard: vec![Compare::Exists { key: name(key) }],
            then: vec![read],
            otherwise: Vec::new(),
        };
        self.ledger.submit(ctx, &txn, "read", value, memo)
    }

    fn on_done(&mut self, ctx: &mut ClientCtx<'_>, entry: Entry<Memo>, outcome: &TxnOutcome) {
        let now = ctx.time_ns();
        let (branch, results) = match outcome {
            TxnOutcome::Committed { branch, results, .. } => (*branch, results),
            TxnOutcome::Aborted { error, .. } => {
                return self.ledger.fail(now, entry.id, error.to_string());
            }
        };
        match (entry.memo, branch) {
            (Memo::Write { key, value }, _) => {
                self.seen.insert(key, value);
                self.ledger.ok(now, entry.id, pair(key, value));
            }
            (Memo::Cas { key, from, to }, Branch::Then) => {
                self.seen.insert(key, to);
                let change = Value::vector([Value::Int(from), Value::Int(to)]);
                self.ledger.ok(now, entry.id, Value::vector([Value::from(key), change]));
            }
            (Memo::Cas { key, .. }, Branch::Otherwise) => {
                self.seen.remove(&key);
                self.ledger.fail(now, entry.id, "the value was another");
            }
            (Memo::Read { key }, Branch::Then) => match results.iter().next() {
                Some(StepResult::Read { value, .. }) => self.on_value(ctx, entry, key, value),
                other => ctx.fail(format!("a read came back as {other:?}")),
            },
            (Memo::Read { key }, Branch::Otherwise) => self.on_missing(now, entry, key),
        }
    }

    fn on_read(&mut self, ctx: &mut ClientCtx<'_>, entry: Entry<Memo>, result: &ReadResult) {
        let Memo::Read { key } = entry.memo else {
            return ctx.fail("a result came for an operation that is no read");
        };
        match result {
            ReadResult::Value { value, .. } => self.on_value(ctx, entry, key, value),
            ReadResult::NotFound => self.on_missing(ctx.time_ns(), entry, key),
            other => ctx.fail(format!("a read came back as {other:?}")),
        }
        if let Some(keys) = self.to_read.get_mut(&ctx.life) {
            keys.remove(&key);
        }
    }

    fn on_value(&mut self, ctx: &mut ClientCtx<'_>, entry: Entry<Memo>, key: u64, value: &[u8]) {
        let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        let Some(number) = number else {
            return ctx.fail(format!("register {key} holds {value:?}, which nobody wrote"));
        };
        self.seen.insert(key, number);
        self.ledger.ok(ctx.time_ns(), entry.id, pair(key, number));
    }

    fn on_missing(&mut self, time_ns: u64, entry: Entry<Memo>, key: u64) {
        self.seen.remove(&key);
        let value = Value::vector([Value::from(key), Value::Nil]);
        self.ledger.ok(time_ns, entry.id, value);
    }
}

impl Workload for Registers {
    fn kind(&self) -> WorkloadKind {
        WorkloadKind::Register
    }

    fn step(&mut self, ctx: &mut ClientCtx<'_>) {
        let key = ctx.rng.below(self.keys);
        match ctx.rng.below(100) {
            0..=29 => self.write(ctx, key),
            30..=54 => self.cas(ctx, key),
            55..=79 => drop(self.read(ctx, key, false)),
            80..=89 => drop(self.read(ctx, key, true)),
            _ => drop(ctx.read(get(key), Consistency::Local)),
        }
    }

    fn on_event(&mut self, ctx: &mut ClientCtx<'_>, event: &ClientEvent) {
        match self.ledger.settle(ctx, event) {
            Some(Answer::Txn(entry, outcome)) => self.on_done(ctx, entry, &outcome),
            Some(Answer::Read(entry, _, result)) => self.on_read(ctx, entry, &result),
            None => {}
        }
    }

    fn on_life_ended(&mut self, life: u64, time_ns: u64) {
        self.ledger.end_life(life, time_ns);
        self.to_read.remove(&life);
    }

    fn conclude(&mut self, ctx: &mut ClientCtx<'_>) -> bool {
        let life = ctx.life;
        let all = || (0..self.keys).collect();
        let left = self.to_read.entry(life).or_insert_with(all).first().copied();
        if let Some(key) = left
            && self.ledger.outstanding(life) == 0
        {
            self.read(ctx, key, false);
        }
        left.is_none()
    }

    fn check(&mut self, env: &mut Surroundings) {
        let history = self.ledger.history();
        self.undecided = super::judge(env, self.kind(), Model::CasRegister, history);
    }

    fn undecided(&mut self) -> Option<String> {
        self.undecided.take()
    }

    fn history(&mut self) -> &History {
        self.ledger.history()
    }
}

fn name(key: u64) -> Bytes {
    Bytes::from(format!("r/{key}"))
}

fn text(value: i64) -> Bytes {
    Bytes::from(value.to_string())
}

fn get(key: u64) -> ReadQuery {
    super::get(name(key), 32)
}

fn write_step(key: u64, value: i64) -> Step {
    let flags = Flags::CREATE | Flags::REPLACE;
    Step::Write { key: name(key), value: text(value), offset: 0, flags }
}

fn pair(key: u64, value: i64) -> Value {
    Value::vector([Value::from(key), Value::Int(value)])
}
