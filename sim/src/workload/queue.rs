//! Queues: clients put values in and take them out; nothing is lost, doubled or out of order.
//!
//! Two queues, built as the two ways suggest themselves. The first keeps two counters, as the first
//! Accord did: an item is written under the number at the back, and taken from under the number at
//! the front, by transactions whose guard compares the counter with what the client believes it to
//! be; a wrong belief is corrected by the other branch. The second has sequence keys: the first key
//! is looked up, then read and deleted in one transaction if it still exists; nothing can come
//! before it, since numbers ascend.

use super::ledger::{Answer, Entry, Ledger};
use super::{ClientCtx, Workload, WorkloadKind, first_of};
use crate::plan::options::Options;
use crate::world::env::Surroundings;
use accord_core::client::ClientEvent;
use accord_core::state::{
    Branch, Compare, Flags, ReadQuery, ReadResult, Relation, Step, StepResult, Txn, TxnOutcome,
    Width,
};
use accord_models::edn::Value;
use accord_models::{History, Model};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// The number of the next item to be taken, as 8 bytes, little-endian.
const FRONT: Bytes = Bytes::from_static(b"q/front");
/// The number of the next item to be put in.
const BACK: Bytes = Bytes::from_static(b"q/back");
/// What the items of the second queue begin with.
const SEQUENCE: &str = "qs/";
/// The most bytes of an item.
const ITEM_BYTES_MAX: u64 = 20;

/// Which queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Queue {
    Counters,
    Sequence,
}

/// What is remembered of an outstanding operation.
#[derive(Clone, Copy, Debug)]
enum Memo {
    /// What the value is, in a queue.
    Enqueue(Queue, i64),
    Dequeue(Queue),
}

/// What a life believes, and what it still has to do.
#[derive(Debug)]
struct Life {
    front: u64,
    back: u64,
    /// Queues that it has not found empty in the end.
    full: BTreeSet<Queue>,
}

impl Default for Life {
    fn default() -> Self {
        Self { front: 0, back: 0, full: [Queue::Counters, Queue::Sequence].into() }
    }
}

/// The workload.
#[derive(Debug)]
pub struct Queues {
    last_value: i64,
    ledger: Ledger<Memo>,
    lives: BTreeMap<u64, Life>,
    undecided: Option<String>,
}

impl Queues {
    /// Nothing was done so far.
    pub fn new(options: &Options) -> Self {
        Self {
            last_value: 0,
            ledger: Ledger::new(options.clients + 1),
            lives: BTreeMap::new(),
            undecided: None,
        }
    }

    fn life(&mut self, life: u64) -> &mut Life {
        self.lives.entry(life).or_default()
    }

    fn enqueue(&mut self, ctx: &mut ClientCtx<'_>, queue: Queue) {
        self.last_value += 1;
        let value = self.last_value;
        let txn = match queue {
            Queue::Counters => put(self.life(ctx.life).back, value),
            Queue::Sequence => {
                let key = Bytes::from_static(SEQUENCE.as_bytes());
                let flags = Flags::SEQUENCE;
                Txn::of(vec![Step::Write { key, value: text(value), offset: 0, flags }])
            }
        };
        let input = named(queue, Value::Int(value));
        self.ledger.submit(ctx, &txn, "enqueue", input, Memo::Enqueue(queue, value));
    }

    fn dequeue(&mut self, ctx: &mut ClientCtx<'_>, queue: Queue) {
        let (input, memo) = (named(queue, Value::Nil), Memo::Dequeue(queue));
        match queue {
            Queue::Counters => {
                let txn = take(self.life(ctx.life).front);
                self.ledger.submit(ctx, &txn, "dequeue", input, memo);
            }
            Queue::Sequence => {
                let first = ReadQuery::List(first_of(SEQUENCE, 1, true));
                self.ledger.read(ctx, first, "dequeue", input, memo);
            }
        }
    }

    fn on_committed(
        &mut self,
        ctx: &mut ClientCtx<'_>,
        entry: Entry<Memo>,
        branch: Branch,
        results: &[StepResult],
    ) {
        let (now, life) = (ctx.time_ns(), ctx.life);
        match (entry.memo, branch, results) {
            (Memo::Enqueue(queue, value), Branch::Then, _) => {
                self.life(life).back += 1;
                self.ledger.ok(now, entry.id, named(queue, Value::Int(value)));
            }
            (Memo::Dequeue(queue), Branch::Then, [StepResult::Read { value, .. }, ..]) => {
                self.life(life).front += 1;
                match std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()) {
                    Some(number) => {
                        let value = named(queue, Value::Int(number));
                        self.ledger.ok(now, entry.id, value);
                    }
                    None => ctx.fail(format!("an item is {value:?}, which nobody put in")),
                }
            }
            (Memo::Dequeue(Queue::Sequence), Branch::Otherwise, _) => {
                self.ledger.fail(now, entry.id, "another was faster");
            }
            (Memo::Enqueue(..), Branch::Otherwise, [StepResult::Incremented { value, .. }]) => {
                self.life(life).back = *value;
                self.ledger.fail(now, entry.id, "the back is elsewhere");
            }
            (
                Memo::Dequeue(queue),
                Branch::Otherwise,
                [
                    StepResult::Incremented { value: front, .. },
                    StepResult::Incremented { value: back, .. },
                ],
            ) => {
                *self.life(life) = Life {
                    front: *front,
                    back: *back,
                    full: std::mem::take(&mut self.life(life).full),
                };
                if front == back {
                    self.on_empty(ctx, entry, queue);
                } else {
                    self.ledger.fail(now, entry.id, "the front is elsewhere");
                }
            }
            (memo, ..) => ctx.fail(format!("{memo:?} came back as {results:?}")),
        }
    }

    fn on_empty(&mut self, ctx: &ClientCtx<'_>, entry: Entry<Memo>, queue: Queue) {
        if !ctx.env.stormy {
            self.life(ctx.life).full.remove(&queue);
        }
        self.ledger.ok(ctx.time_ns(), entry.id, named(queue, Value::Nil));
    }

    fn on_first(&mut self, ctx: &mut ClientCtx<'_>, entry: Entry<Memo>, result: &ReadResult) {
        let ReadResult::Listed(page) = result else {
            return ctx.fail(format!("a list came back as {result:?}"));
        };
        match page.entries.first() {
            None => self.on_empty(ctx, entry, Queue::Sequence),
            Some(first) => {
                let key = first.key.clone();
                let txn = Txn {
                    guard: vec![Compare::Exists { key: key.clone() }],
                    then: vec![read(key.clone()), Step::Delete { key }],
                    otherwise: Vec::new(),
                };
                self.ledger.go_on(ctx, entry, &txn);
            }
        }
    }
}

impl Workload for Queues {
    fn kind(&self) -> WorkloadKind {
        WorkloadKind::Queue
    }

    fn step(&mut self, ctx: &mut ClientCtx<'_>) {
        let queue = *ctx.rng.pick(&[Queue::Counters, Queue::Sequence]);
        if ctx.rng.percent(50) {
            self.enqueue(ctx, queue);
        } else {
            self.dequeue(ctx, queue);
        }
    }

    fn on_event(&mut self, ctx: &mut ClientCtx<'_>, event: &ClientEvent) {
        match self.ledger.settle(ctx, event) {
            Some(Answer::Txn(entry, TxnOutcome::Committed { branch, results, .. })) => {
                self.on_committed(ctx, entry, branch, &results);
            }
            Some(Answer::Txn(entry, TxnOutcome::Aborted { error, .. })) => {
                self.ledger.fail(ctx.time_ns(), entry.id, error.to_string());
            }
            Some(Answer::Read(entry, _, result)) => self.on_first(ctx, entry, &result),
            None => {}
        }
    }

    fn on_life_ended(&mut self, life: u64, time_ns: u64) {
        self.ledger.end_life(life, time_ns);
        self.lives.remove(&life);
    }

    /// Takes out everything, until both queues are found empty.
    fn conclude(&mut self, ctx: &mut ClientCtx<'_>) -> bool {
        let full = self.life(ctx.life).full.first().copied();
        if let Some(queue) = full {
            self.dequeue(ctx, queue);
        }
        full.is_none()
    }

    fn check(&mut self, env: &mut Surroundings) {
        let history = self.ledger.history();
        self.undecided = super::judge(env, self.kind(), Model::Queue, history);
    }

    fn undecided(&mut self) -> Option<String> {
        self.undecided.take()
    }

    fn history(&mut self) -> &History {
        self.ledger.history()
    }
}

fn named(queue: Queue, value: Value) -> Value {
    let name = match queue {
        Queue::Counters => "counters",
        Queue::Sequence => "sequence",
    };
    Value::vector([Value::keyword(name), value])
}

fn text(value: i64) -> Bytes {
    Bytes::from(value.to_string())
}

fn item(number: u64) -> Bytes {
    Bytes::from(format!("q/i/{number}"))
}

fn read(key: Bytes) -> Step {
    Step::Read { key, offset: 0, length_max: ITEM_BYTES_MAX }
}

/// Adds to a counter; by zero, it creates it or tells what it is.
const fn add(key: Bytes, delta: i64) -> Step {
    let (width, flags) = (Width::Eight, Flags::CREATE);
    Step::Increment { key, delta, offset: None, width, flags }
}

fn is(key: Bytes, number: u64) -> Compare {
    let value = Bytes::copy_from_slice(&number.to_le_bytes());
    Compare::Value { key, relation: Relation::Equal, value }
}

/// Puts an item in under `back`, if that is the number at the back; else tells which is.
fn put(back: u64, value: i64) -> Txn {
    let flags = Flags::CREATE | Flags::EXCLUSIVE;
    let write = Step::Write { key: item(back), value: text(value), offset: 0, flags };
    Txn {
        guard: vec![is(BACK, back)],
        then: vec![write, add(BACK, 1)],
        otherwise: vec![add(BACK, 0)],
    }
}

/// Takes the item under `front`, if that is the number at the front and there is one; else tells
/// both numbers.
fn take(front: u64) -> Txn {
    let filled = Compare::Keys { key: FRONT, relation: Relation::Unequal, other: BACK };
    let key = item(front);
    Txn {
        guard: vec![is(FRONT, front), filled],
        then: vec![read(key.clone()), Step::Delete { key }, add(FRONT, 1)],
        otherwise: vec![add(FRONT, 0), add(BACK, 0)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::tests::refuses;
    use accord_models::Recorder;

    /// Two values are put in one after the other, and these are taken out.
    fn history(taken: [i64; 2]) -> History {
        let mut recorder = Recorder::new(1);
        for value in [1, 2] {
            recorder.observe(0, 0, "enqueue", named(Queue::Counters, Value::Int(value)));
        }
        for value in taken {
            let op = recorder.invoke(0, 1, "dequeue", named(Queue::Counters, Value::Nil));
            recorder.ok(op, 1, named(Queue::Counters, Value::Int(value)));
        }
        recorder.finish()
    }

    #[test]
    fn what_is_doubled_or_out_of_order_is_refused() {
        let refuses = |taken| refuses(WorkloadKind::Queue, Model::Queue, &history(taken));
        assert!(!refuses([1, 2]));
        assert!(refuses([1, 1]));
        assert!(refuses([2, 1]));
    }

    #[test]
    fn a_wrong_belief_is_corrected_by_the_other_branch() {
        assert!(matches!(&put(3, 1).otherwise[..], [Step::Increment { delta: 0, .. }]));
        assert_eq!(take(3).otherwise.len(), 2);
        assert!(take(3).guard.contains(&is(FRONT, 3)));
    }
}
