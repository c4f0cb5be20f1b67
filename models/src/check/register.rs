//! Registers, with or without compare-and-set, one per key.
//!
//! Shapes: `:read [key nil] -> [key value]`, `:write [key value]`, `:cas [key [from to]]`; or
//! without the key, for a history of a single register. A failed compare-and-set counts as one that
//! did not take effect.

use std::collections::{BTreeMap, BTreeSet};

use super::budget::Budget;
use super::linear::{Call, Order, Partition, check_partitions, order_partitions};
use super::shape::{Numbers, Shape, unknown_f};
use crate::edn::Value;
use crate::history::{History, HistoryError, Operation, Outcome};
use crate::spec::{Register, RegisterOp};
use crate::verdict::Verdict;

const READ: &str = "[key value], or a value; invoked with nil in its place";
const WRITE: &str = "[key value], or a value";
const CAS: &str = "[key [from to]], or [from to]";

/// Judges `history` as registers; `:cas` is allowed if `has_cas`.
pub(super) fn check(
    history: &History,
    has_cas: bool,
    budget: &Budget,
) -> Result<Verdict, HistoryError> {
    let partitions = partitions(history, has_cas)?;
    Ok(check_partitions(history, &partitions, budget))
}

/// The orders that explain `history` as registers.
pub(super) fn orders(
    history: &History,
    has_cas: bool,
    budget: &Budget,
) -> Result<Vec<Order>, HistoryError> {
    Ok(order_partitions(&partitions(history, has_cas)?, budget))
}

/// One register's calls and values, while they are read.
struct Reading {
    calls: Vec<Call<RegisterOp>>,
    values: Numbers,
}

fn partitions(history: &History, has_cas: bool) -> Result<Vec<Partition<Register>>, HistoryError> {
    let mut registers: BTreeMap<Value, Reading> = BTreeMap::new();
    for (index, op) in history.operations().iter().enumerate() {
        let (key, parsed) = parse(op, has_cas)?;
        if op.outcome == Outcome::Fail || (op.outcome == Outcome::Info && op.f == "read") {
            continue;
        }
        let fresh = || Reading { calls: Vec::new(), values: Numbers::new() };
        let register = registers.entry(key).or_insert_with(fresh);
        let op_numbers = match parsed {
            Parsed::Read(value) => RegisterOp::Read(register.values.of(value)),
            Parsed::Write(value) => RegisterOp::Write(register.values.of(value)),
            Parsed::Cas(from, to) => {
                RegisterOp::Cas { from: register.values.of(from), to: register.values.of(to) }
            }
        };
        let (invoked, returned) = (op.invoked.event, op.returned());
        register.calls.push(Call { index, op: op_numbers, invoked, returned });
    }
    let partitions = registers.into_iter().map(|(key, mut register)| {
        drop_useless(&mut register.calls);
        let name =
            if key.is_nil() { "the register".to_owned() } else { format!("the register {key}") };
        let spec = Register { values: register.values.into_values() };
        Partition { name, spec, calls: register.calls }
    });
    Ok(partitions.collect())
}

enum Parsed<'a> {
    Read(&'a Value),
    Write(&'a Value),
    Cas(&'a Value, &'a Value),
}

fn parse(op: &Operation, has_cas: bool) -> Result<(Value, Parsed<'_>), HistoryError> {
    match op.f.as_ref() {
        "read" => {
            let (key, _) = Shape::input(op, "[key nil], or nil").keyed()?;
            Shape::agree_keyed(op, READ)?;
            let (_, value) = Shape::best(op, READ).keyed()?;
            Ok((key, Parsed::Read(value.value)))
        }
        "write" => {
            let (key, value) = Shape::input(op, WRITE).keyed()?;
            Shape::agree(op, WRITE)?;
            Ok((key, Parsed::Write(value.value)))
        }
        "cas" if has_cas => {
            let shape = Shape::input(op, CAS);
            Shape::agree(op, CAS)?;
            let [first, second] = shape.items()?;
            let (key, pair) = match second.value.items() {
                Some(_) => (first.value.clone(), second),
                None => (Value::Nil, shape),
            };
            let [from, to] = pair.items()?;
            Ok((key, Parsed::Cas(from.value, to.value)))
        }
        _ => Err(unknown_f(op, if has_cas { ":read, :write, :cas" } else { ":read, :write" })),
    }
}

/// Drops operations with an unknown outcome whose value no other operation needs: in any order they
/// can be left out, and each one kept may double the search.
fn drop_useless(calls: &mut Vec<Call<RegisterOp>>) {
    let needed: BTreeSet<u32> = calls.iter().filter_map(|call| call.op.needs()).collect();
    calls.retain(|call| match call.op {
        _ if call.is_required() => true,
        RegisterOp::Write(value) | RegisterOp::Cas { to: value, .. } => needed.contains(&value),
        RegisterOp::Read(_) => false,
    });
}
