//! First-in, first-out queues.
//!
//! Shapes: `:enqueue value`; `:dequeue nil`, answered by the value, or by `nil` if the queue was
//! empty. `[queue value]` and `[queue nil]` name one of several queues. A value is enqueued at most
//! once in a queue and is not `nil`.
//!
//! As values are unique, a history is wrong if and only if it shows one of a few patterns
//! ([`patterns`]). The exception are dequeues with an unknown outcome, each of which may have taken
//! any value: they are matched to the values that are missing, and if that does not settle it, an
//! order is searched for as for any other object.
//!
//! Sources: Henzinger, Sezgin & Vafeiadis, "Aspect-oriented linearizability proofs", 2013;
//! Bouajjani, Emmi, Enea & Hamza, "On reducing linearizability to state reachability", 2015.

mod patterns;

use std::collections::BTreeMap;

use super::budget::Budget;
use super::linear::{Call, Order, Partition, check_partitions, order_partitions};
use super::shape::{Numbers, Shape, unknown_f};
use crate::edn::Value;
use crate::history::{History, HistoryError, Outcome};
use crate::spec::{Queue, QueueOp};
use crate::verdict::{Explanation, Verdict};
use patterns::{Item, Items};

const ENQUEUE: &str = "a value that is not nil, or [queue value]";
const DEQUEUE: &str = "nil or [queue nil]; answered: the value, nil if empty, or [queue value]";

/// Judges `history` as queues.
pub(super) fn check(history: &History, budget: &Budget) -> Result<Verdict, HistoryError> {
    let mut hard = Vec::new();
    for (key, reading) in read(history)? {
        let name = name(&key);
        match reading.judge(history, &name) {
            Judged::Valid => {}
            Judged::Invalid(explanation) => return Ok(Verdict::Invalid(explanation)),
            Judged::Hard => hard.push(reading.partition(history, &name)),
        }
    }
    Ok(check_partitions(history, &hard, budget))
}

/// The orders that explain `history` as queues.
pub(super) fn orders(history: &History, budget: &Budget) -> Result<Vec<Order>, HistoryError> {
    let readings = read(history)?;
    let partition = |(key, reading): (Value, Reading)| reading.partition(history, &name(&key));
    let partitions: Vec<_> = readings.into_iter().map(partition).collect();
    Ok(order_partitions(&partitions, budget))
}

/// What the patterns say about a queue.
enum Judged {
    Valid,
    Invalid(Explanation),
    /// The operations with unknown outcomes leave it open.
    Hard,
}

/// The operations on one queue, as indices of operations.
struct Reading {
    values: Numbers,
    enqueued: BTreeMap<u32, usize>,
    /// Values and who took them; a value may wrongly be taken twice.
    dequeued: Vec<(u32, usize)>,
    empty: Vec<usize>,
    unknown: Vec<usize>,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            values: Numbers::new(),
            enqueued: BTreeMap::new(),
            dequeued: Vec::new(),
            empty: Vec::new(),
            unknown: Vec::new(),
        }
    }
}

/// A queue's name in words.
fn name(key: &Value) -> String {
    if key.is_nil() { "the queue".to_owned() } else { format!("the queue {key}") }
}

fn read(history: &History) -> Result<BTreeMap<Value, Reading>, HistoryError> {
    let mut queues: BTreeMap<Value, Reading> = BTreeMap::new();
    for (index, op) in history.operations().iter().enumerate() {
        match op.f.as_ref() {
            "enqueue" => {
                let shape = Shape::input(op, ENQUEUE);
                let (key, value) = shape.keyed()?;
                value.need((!value.value.is_nil()).then_some(()))?;
                Shape::agree(op, ENQUEUE)?;
                if op.outcome == Outcome::Fail {
                    continue;
                }
                let queue = queues.entry(key).or_default();
                let number = queue.values.of(value.value);
                if queue.enqueued.insert(number, index).is_some() {
                    let expected = "each value to be enqueued once in the history";
                    let found = format!("{} again", value.value);
                    return Err(HistoryError::new(op.input_at, expected, found));
                }
            }
            "dequeue" => {
                let (key, _) = Shape::input(op, DEQUEUE).keyed()?;
                Shape::agree_keyed(op, DEQUEUE)?;
                let queue = queues.entry(key).or_default();
                match op.outcome {
                    Outcome::Fail => {}
                    Outcome::Info => queue.unknown.push(index),
                    Outcome::Ok => {
                        let (_, value) = Shape::output(op, DEQUEUE).keyed()?;
                        if value.value.is_nil() {
                            queue.empty.push(index);
                        } else {
                            queue.dequeued.push((queue.values.of(value.value), index));
                        }
                    }
                }
            }
            _ => return Err(unknown_f(op, ":enqueue, :dequeue")),
        }
    }
    Ok(queues)
}

impl Reading {
    fn judge(&self, history: &History, name: &str) -> Judged {
        if let Some(explanation) = self.miscounted(history, name) {
            return Judged::Invalid(explanation);
        }
        let mut items = self.items(history);
        let mut unused = self.unknown.iter().copied();
        while let Some(pattern) = items.pattern(name) {
            let missing = pattern.values.iter().find(|value| items.is_missing(**value)).copied();
            let is_certain = !pattern.values.iter().any(|value| items.is_guessed(*value));
            match missing {
                // An unknown dequeue may have taken what is missing; the earliest fits best.
                Some(value) if is_certain => match unused.next() {
                    Some(dequeue) => items.guess(value, dequeue),
                    None if self.unknown.is_empty() => return Judged::Invalid(pattern.explanation),
                    None => return Judged::Hard,
                },
                None if is_certain => return Judged::Invalid(pattern.explanation),
                _ => return Judged::Hard,
            }
        }
        Judged::Valid
    }

    /// Values taken twice, never put in, or taken before they were put in.
    fn miscounted(&self, history: &History, name: &str) -> Option<Explanation> {
        let ops = history.operations();
        let mut taken: BTreeMap<u32, usize> = BTreeMap::new();
        for (number, dequeue) in &self.dequeued {
            let value = self.values.name(*number);
            if let Some(first) = taken.insert(*number, *dequeue) {
                let summary = format!("{value} was taken twice from {name}");
                return Some(Explanation::new("doubled", summary, [first, *dequeue]));
            }
            let Some(enqueue) = self.enqueued.get(number) else {
                let summary = format!("{value} was taken from {name}, but nobody put it in");
                return Some(Explanation::new("invented", summary, [*dequeue]));
            };
            if ops[*dequeue].precedes(&ops[*enqueue]) {
                let summary = format!("{value} was taken from {name} before it was put in");
                return Some(Explanation::new("invented", summary, [*dequeue, *enqueue]));
            }
        }
        None
    }

    fn items(&self, history: &History) -> Items {
        let ops = history.operations();
        let taken: BTreeMap<u32, usize> = self.dequeued.iter().copied().collect();
        let item = |(number, enqueue): (&u32, &usize)| {
            let dequeue = taken.get(number).copied();
            // Nobody saw it: whether it was put in makes no difference.
            if dequeue.is_none() && ops[*enqueue].outcome == Outcome::Info {
                return None;
            }
            Some(Item::new(ops, *number, *enqueue, dequeue))
        };
        let names = |item: &Item| self.values.name(item.value).to_string();
        let items: Vec<Item> = self.enqueued.iter().filter_map(item).collect();
        let names = items.iter().map(|item| (item.value, names(item))).collect();
        let empty = self.empty.iter().map(|op| (ops[*op].invoked.event, ops[*op].returned(), *op));
        let invoked = self.unknown.iter().map(|op| (*op, ops[*op].invoked.event)).collect();
        Items::new(items, names, empty.collect(), invoked)
    }

    fn partition(&self, history: &History, name: &str) -> Partition<Queue> {
        let ops = history.operations();
        let call = |index: usize, op: QueueOp| {
            let (invoked, returned) = (ops[index].invoked.event, ops[index].returned());
            Call { index, op, invoked, returned }
        };
        let taken: BTreeMap<u32, usize> = self.dequeued.iter().copied().collect();
        let is_seen = |(value, op): &(&u32, &usize)| {
            taken.contains_key(value) || ops[**op].outcome == Outcome::Ok
        };
        let enqueued = self.enqueued.iter().filter(is_seen);
        let mut calls: Vec<Call<QueueOp>> = enqueued
            .map(|(value, op)| call(*op, QueueOp::Enqueue(*value)))
            .chain(self.dequeued.iter().map(|(value, op)| call(*op, QueueOp::Dequeue(*value))))
            .chain(self.empty.iter().map(|op| call(*op, QueueOp::DequeueEmpty)))
            .chain(self.unknown.iter().map(|op| call(*op, QueueOp::DequeueUnknown)))
            .collect();
        calls.sort_by_key(|call| call.invoked);
        let values = self.values.all().to_vec();
        Partition { name: name.to_owned(), spec: Queue { values }, calls }
    }
}
