//! Transactions over a whole store, linearizable.
//!
//! Shape: `:txn [[:r key nil] [:w key value] [:cmp key value]]`, answered by the same steps with
//! the reads filled in, or by `{:aborted step}`: the compare at this step (from 0) was false. A
//! write of `nil` deletes. Keys that no transaction joins, directly or through others, are judged
//! apart.

use std::collections::BTreeMap;

use super::budget::Budget;
use super::linear::{Call, Order, Partition, check_partitions, order_partitions};
use super::shape::{Numbers, Shape, unknown_f};
use crate::edn::Value;
use crate::history::{History, HistoryError, Operation, Outcome};
use crate::spec::{Store, StoreOp, StoreResult, StoreStep};
use crate::verdict::Verdict;

const INPUT: &str = "steps such as [[:r key nil] [:w key value] [:cmp key value]]";
const OUTPUT: &str = "the invocation's steps with the reads filled in, or {:aborted step}";

/// Judges `history` as one store.
pub(super) fn check(history: &History, budget: &Budget) -> Result<Verdict, HistoryError> {
    Ok(check_partitions(history, &partitions(history)?, budget))
}

/// The orders that explain `history` as one store.
pub(super) fn orders(history: &History, budget: &Budget) -> Result<Vec<Order>, HistoryError> {
    Ok(order_partitions(&partitions(history)?, budget))
}

fn partitions(history: &History) -> Result<Vec<Partition<Store>>, HistoryError> {
    let (mut keys, mut values) = (Numbers::new(), Numbers::new());
    let mut calls = Vec::new();
    for (index, op) in history.operations().iter().enumerate() {
        let parsed = parse(op, &mut keys, &mut values)?;
        if op.outcome != Outcome::Fail && !parsed.steps.is_empty() {
            let (invoked, returned) = (op.invoked.event, op.returned());
            calls.push(Call { index, op: parsed, invoked, returned });
        }
    }
    let (keys, values) = (keys.into_values(), values.into_values());
    let mut groups = Groups::new(keys.len());
    for call in &calls {
        let first = key_of(call.op.steps[0]);
        call.op.steps.iter().for_each(|step| groups.join(first, key_of(*step)));
    }
    Ok(cut(calls, &mut groups, &keys, &values))
}

/// One partition for each group of keys, in which the keys are numbered anew.
fn cut(
    calls: Vec<Call<StoreOp>>,
    groups: &mut Groups,
    keys: &[Value],
    values: &[Value],
) -> Vec<Partition<Store>> {
    let mut partitions: BTreeMap<u32, Partition<Store>> = BTreeMap::new();
    let mut local = vec![0; keys.len()];
    for key in 0..keys.len() as u32 {
        let partition = partitions.entry(groups.root(key)).or_insert_with(|| {
            let spec = Store { keys: Vec::new(), values: values.to_vec() };
            Partition { name: String::new(), spec, calls: Vec::new() }
        });
        local[key as usize] = partition.spec.keys.len() as u32;
        partition.spec.keys.push(keys[key as usize].clone());
    }
    for mut call in calls {
        let root = groups.root(key_of(call.op.steps[0]));
        for step in &mut call.op.steps {
            let (StoreStep::Read(key, _) | StoreStep::Write(key, _) | StoreStep::Compare(key, _)) =
                step;
            *key = local[*key as usize];
        }
        partitions.get_mut(&root).expect("every key has a group").calls.push(call);
    }
    for partition in partitions.values_mut() {
        partition.name = name(&partition.spec.keys);
    }
    partitions.into_values().collect()
}

fn name(keys: &[Value]) -> String {
    const NAMED_MAX: usize = 4;
    let named: Vec<String> = keys.iter().take(NAMED_MAX).map(Value::to_string).collect();
    match keys.len().saturating_sub(NAMED_MAX) {
        0 => format!("the keys {}", named.join(" ")),
        more => format!("the keys {} and {more} more", named.join(" ")),
    }
}

const fn key_of(step: StoreStep) -> u32 {
    match step {
        StoreStep::Read(key, _) | StoreStep::Write(key, _) | StoreStep::Compare(key, _) => key,
    }
}

fn parse(
    op: &Operation,
    keys: &mut Numbers,
    values: &mut Numbers,
) -> Result<StoreOp, HistoryError> {
    if op.f != "txn" {
        return Err(unknown_f(op, ":txn"));
    }
    let asked = steps(Shape::input(op, INPUT), keys, values, false)?;
    let output = Shape::output(op, OUTPUT);
    let is_ok = op.outcome == Outcome::Ok;
    if !is_ok && op.output.is_nil() {
        return Ok(StoreOp { steps: asked, result: StoreResult::Committed });
    }
    if let Some(aborted) = output.key_if_any("aborted").filter(|_| is_ok) {
        let at = aborted.count()? as usize;
        output.need(matches!(asked.get(at), Some(StoreStep::Compare(..))).then_some(()))?;
        return Ok(StoreOp { steps: asked, result: StoreResult::Aborted(at) });
    }
    let answered = steps(output, keys, values, true)?;
    let same = answered.len() == asked.len()
        && asked.iter().zip(&answered).all(|(asked, answered)| match (*asked, *answered) {
            (StoreStep::Read(asked, _), StoreStep::Read(answered, _)) => asked == answered,
            (asked, answered) => asked == answered,
        });
    output.need(same.then_some(()))?;
    let steps = if is_ok { answered } else { asked };
    Ok(StoreOp { steps, result: StoreResult::Committed })
}

fn steps(
    shape: Shape<'_>,
    keys: &mut Numbers,
    values: &mut Numbers,
    is_answer: bool,
) -> Result<Vec<StoreStep>, HistoryError> {
    let step = |shape: Shape<'_>| {
        let [f, key, value] = shape.items()?;
        let key_number = keys.of(key.value);
        let value_number = values.of(value.value);
        match f.value.as_keyword() {
            Some("r") => Ok(StoreStep::Read(key_number, is_answer.then_some(value_number))),
            Some("w") => Ok(StoreStep::Write(key_number, value_number)),
            Some("cmp") => Ok(StoreStep::Compare(key_number, value_number)),
            _ => Err(f.error()),
        }
    };
    shape.all()?.map(step).collect()
}

/// Keys that belong together: a forest of disjoint sets.
struct Groups {
    parent: Vec<u32>,
}

impl Groups {
    fn new(keys_count: usize) -> Self {
        Self { parent: (0..keys_count as u32).collect() }
    }

    fn root(&mut self, mut key: u32) -> u32 {
        while self.parent[key as usize] != key {
            let grandparent = self.parent[self.parent[key as usize] as usize];
            self.parent[key as usize] = grandparent;
            key = grandparent;
        }
        key
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b) as usize] = a.min(b);
    }
}
