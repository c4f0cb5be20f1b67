//! Registers: clients read, write and compare-and-set a few keys; each key must be linearizable.
//!
//! What clients do is drawn by [`accord_workloads::register`]; here it becomes requests of the
//! core's client. Some reads go through the order (a transaction's step), some beside it (a
//! linearizable query, with or without a place among the session's requests): all must fit into one
//! order. Local reads are made as well; they promise less, and the world judges them by their
//! revision and their place alone.

use super::ledger::{self, Entry, Ledger};
use super::{ClientCtx, Workload, WorkloadKind};
use crate::plan::options::Options;
use crate::plan::rng::{Concern, Rng};
use crate::world::env::Surroundings;
use accord_core::client::ClientEvent;
use accord_core::protocol::Consistency;
use accord_core::state::{
    Branch, Compare, Flags, ReadQuery, ReadResult, Relation, Step, StepResult, Txn, TxnOutcome,
};
use accord_models::{History, Model};
use accord_workloads::register::{self, Answer, Op, ReadPath};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// The workload.
#[derive(Debug)]
pub struct Registers {
    generator: register::Registers,
    ledger: Ledger<Op>,
    /// Keys that a life has still to read in the end.
    to_read: BTreeMap<u64, BTreeSet<u64>>,
    undecided: Option<String>,
}

impl Registers {
    /// Nothing was done so far.
    pub fn new(options: &Options) -> Self {
        let mut rng = Rng::of(options.seed, Concern::Workload, 1000);
        let few = register::Options { keys: rng.within(1, 6), operations_max: None };
        Self {
            generator: register::Registers::new(few),
            ledger: Ledger::new(options.clients + 1),
            to_read: BTreeMap::new(),
            undecided: None,
        }
    }

    fn begin(&mut self, ctx: &mut ClientCtx<'_>, op: Op) {
        // Reads of every other key have a place among the session's requests.
        let has_place = op.key().is_multiple_of(2);
        match request(op) {
            Request::Txn(txn) => drop(self.ledger.submit(ctx, &txn, op.f(), op.input(), op)),
            Request::Read(query) if has_place => {
                let read = ctx.read_in_order(query, Consistency::Linearizable);
                self.ledger.note_read(ctx, read, op.f(), op.input(), op);
            }
            Request::Read(query) => drop(self.ledger.read(ctx, query, op.f(), op.input(), op)),
            Request::LocalRead(query) if has_place => {
                ctx.read_in_order(query, Consistency::Local);
            }
            Request::LocalRead(query) => drop(ctx.read(query, Consistency::Local)),
        }
    }

    fn on_done(&mut self, ctx: &mut ClientCtx<'_>, entry: Entry<Op>, outcome: &TxnOutcome) {
        let (branch, results) = match outcome {
            TxnOutcome::Committed { branch, results, .. } => (*branch, results),
            TxnOutcome::Aborted { error, .. } => {
                return self.ledger.fail(ctx.time_ns(), entry.id, error.to_string());
            }
        };
        match (entry.memo, branch) {
            (Op::Write { .. }, _) | (Op::Cas { .. }, Branch::Then) => {
                self.on_answer(ctx, entry, Answer::Written);
            }
            (Op::Cas { .. }, Branch::Otherwise) => self.on_answer(ctx, entry, Answer::Refused),
            (Op::Read { .. }, Branch::Then) => match results.iter().next() {
                Some(StepResult::Read { value, .. }) => self.on_value(ctx, entry, value),
                other => ctx.fail(format!("a read came back as {other:?}")),
            },
            (Op::Read { .. }, Branch::Otherwise) => {
                self.on_answer(ctx, entry, Answer::Read(None));
            }
        }
    }

    fn on_read(&mut self, ctx: &mut ClientCtx<'_>, entry: Entry<Op>, result: &ReadResult) {
        let key = entry.memo.key();
        match result {
            ReadResult::Value { value, .. } => self.on_value(ctx, entry, value),
            ReadResult::NotFound => self.on_answer(ctx, entry, Answer::Read(None)),
            other => ctx.fail(format!("a read came back as {other:?}")),
        }
        if let Some(keys) = self.to_read.get_mut(&ctx.life) {
            keys.remove(&key);
        }
    }

    fn on_value(&mut self, ctx: &mut ClientCtx<'_>, entry: Entry<Op>, value: &[u8]) {
        let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        let Some(number) = number else {
            let key = entry.memo.key();
            return ctx.fail(format!("register {key} holds {value:?}, which nobody wrote"));
        };
        self.on_answer(ctx, entry, Answer::Read(Some(number)));
    }

    fn on_answer(&mut self, ctx: &ClientCtx<'_>, entry: Entry<Op>, answer: Answer) {
        self.generator.on_answer(entry.memo, answer);
        let now = ctx.time_ns();
        match entry.memo.output(answer) {
            Ok(value) => self.ledger.ok(now, entry.id, value),
            Err(why) => self.ledger.fail(now, entry.id, why),
        }
    }
}

impl Workload for Registers {
    fn kind(&self) -> WorkloadKind {
        WorkloadKind::Register
    }

    fn step(&mut self, ctx: &mut ClientCtx<'_>) {
        let op = self.generator.next(ctx.rng);
        self.begin(ctx, op);
    }

    fn on_event(&mut self, ctx: &mut ClientCtx<'_>, event: &ClientEvent) {
        match self.ledger.settle(ctx, event) {
            Some(ledger::Answer::Txn(entry, outcome)) => self.on_done(ctx, entry, &outcome),
            Some(ledger::Answer::Read(entry, _, result)) => self.on_read(ctx, entry, &result),
            None => {}
        }
    }

    fn on_life_ended(&mut self, life: u64, time_ns: u64) {
        self.ledger.end_life(life, time_ns);
        self.to_read.remove(&life);
    }

    fn conclude(&mut self, ctx: &mut ClientCtx<'_>) -> bool {
        let life = ctx.life;
        let all = || self.generator.keys().collect();
        let left = self.to_read.entry(life).or_insert_with(all).first().copied();
        if let Some(key) = left
            && self.ledger.outstanding(life) == 0
        {
            self.begin(ctx, Op::Read { key, path: ReadPath::Linearizable });
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

/// What the core's client is asked for an operation.
enum Request {
    Txn(Txn),
    Read(ReadQuery),
    LocalRead(ReadQuery),
}

fn request(op: Op) -> Request {
    match op {
        Op::Read { key, path: ReadPath::Linearizable } => Request::Read(get(key)),
        Op::Read { key, path: ReadPath::Local } => Request::LocalRead(get(key)),
        Op::Read { key, path: ReadPath::Ordered } => Request::Txn(Txn {
            guard: vec![Compare::Exists { key: name(key) }],
            then: vec![Step::Read { key: name(key), offset: 0, length_max: 32 }],
            otherwise: Vec::new(),
        }),
        Op::Write { key, to } => Request::Txn(Txn::of(vec![write_step(key, to)])),
        Op::Cas { key, from, to } => {
            let (relation, value) = (Relation::Equal, text(from));
            let guard = vec![Compare::Value { key: name(key), relation, value }];
            let then = vec![write_step(key, to)];
            Request::Txn(Txn { guard, then, otherwise: Vec::new() })
        }
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
