//! A store of several keys with transactions of reads, writes and compares.
//!
//! Claims: C-write-linearizable, C-write-atomic, C-read-fresh

use std::collections::{BTreeMap, BTreeSet};

use super::{Fact, Spec};
use crate::edn::Value;

/// One step of a transaction. Keys and values are numbers given by the reader of the history; the
/// value 0 is `nil`: the key is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreStep {
    /// Reads the key; the value is what was returned, `None` if that is not known.
    Read(u32, Option<u32>),
    /// Writes the value to the key.
    Write(u32, u32),
    /// Aborts the transaction unless the key has the value.
    Compare(u32, u32),
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreResult {
    /// Every step took effect.
    Committed,
    /// The compare at this step was false, those before it were true, and nothing took effect.
    Aborted(usize),
}

/// A transaction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreOp {
    /// The steps; each sees the earlier ones.
    pub steps: Vec<StoreStep>,
    /// How it ended (or ended if it took effect, for an unknown outcome).
    pub result: StoreResult,
}

/// A key and the value that it must have; `None`: another than some value.
type Need = (u32, Option<u32>);

impl StoreOp {
    /// What must hold for the transaction to have its result.
    fn needs(&self) -> impl Iterator<Item = Need> {
        let result = self.result;
        self.steps.iter().enumerate().filter_map(move |(number, step)| match (*step, result) {
            (StoreStep::Compare(key, _), StoreResult::Aborted(at)) if at == number => {
                Some((key, None))
            }
            (StoreStep::Compare(key, value), _) => Some((key, Some(value))),
            (StoreStep::Read(key, seen), StoreResult::Committed) => {
                seen.map(|value| (key, Some(value)))
            }
            _ => None,
        })
    }
}

/// A store in which every key is absent at first.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// What the keys' numbers stand for.
    pub keys: Vec<Value>,
    /// What the values' numbers stand for.
    pub values: Vec<Value>,
}

impl Spec for Store {
    type Op = StoreOp;
    type State = Box<[u32]>;
    const FINITE: bool = true;

    fn initial(&self) -> Box<[u32]> {
        vec![0; self.keys.len()].into()
    }

    fn step(&self, state: &Box<[u32]>, op: &StoreOp) -> Option<Box<[u32]>> {
        let mut after = state.clone();
        for (number, step) in op.steps.iter().enumerate() {
            match *step {
                StoreStep::Write(key, value) => after[key as usize] = value,
                StoreStep::Read(key, seen) if op.result == StoreResult::Committed => {
                    if seen.is_some_and(|value| value != after[key as usize]) {
                        return None;
                    }
                }
                StoreStep::Read(..) => {}
                StoreStep::Compare(key, value) => {
                    let holds = after[key as usize] == value;
                    match op.result {
                        StoreResult::Aborted(at) if at == number => {
                            return (!holds).then(|| state.clone());
                        }
                        _ if !holds => return None,
                        _ => {}
                    }
                }
            }
        }
        (op.result == StoreResult::Committed).then_some(after)
    }

    fn is_pure(&self, op: &StoreOp) -> bool {
        op.result != StoreResult::Committed
            || !op.steps.iter().any(|step| matches!(step, StoreStep::Write(..)))
    }

    /// What writes a value that is needed, or anything to a key that must not have a value.
    fn helpful(&self, strict: &[StoreOp], others: &[StoreOp]) -> Vec<bool> {
        let mut makers: BTreeMap<Need, Vec<usize>> = BTreeMap::new();
        for (number, other) in others.iter().enumerate() {
            for step in &other.steps {
                if let StoreStep::Write(key, value) = *step {
                    makers.entry((key, Some(value))).or_default().push(number);
                    makers.entry((key, None)).or_default().push(number);
                }
            }
        }
        let mut helpful = vec![false; others.len()];
        let mut needed: Vec<Need> = strict.iter().flat_map(StoreOp::needs).collect();
        while let Some(need) = needed.pop() {
            for number in makers.remove(&need).unwrap_or_default() {
                helpful[number] = true;
                needed.extend(others[number].needs());
            }
        }
        helpful
    }

    /// What the transaction reads or compares before it writes the key itself.
    fn needs(&self, op: &StoreOp) -> Vec<Fact> {
        let mut written = BTreeSet::new();
        let mut needs = BTreeSet::new();
        for (number, step) in op.steps.iter().enumerate() {
            match (*step, op.result) {
                (StoreStep::Compare(..), StoreResult::Aborted(at)) if at == number => break,
                (StoreStep::Write(key, _), _) => {
                    written.insert(key);
                }
                (StoreStep::Compare(key, value), _)
                | (StoreStep::Read(key, Some(value)), StoreResult::Committed)
                    if !written.contains(&key) =>
                {
                    needs.insert((key, value));
                }
                _ => {}
            }
        }
        needs.into_iter().collect()
    }

    /// What it writes last to each key.
    fn makes(&self, op: &StoreOp) -> Vec<Fact> {
        let mut written = BTreeMap::new();
        for step in op.steps.iter().filter(|_| op.result == StoreResult::Committed) {
            if let StoreStep::Write(key, value) = *step {
                written.insert(key, value);
            }
        }
        written.into_iter().collect()
    }

    fn name_fact(&self, (key, value): Fact) -> String {
        format!("{} in {}", self.values[value as usize], self.keys[key as usize])
    }

    fn state_bytes(&self, state: &Box<[u32]>) -> usize {
        size_of_val(state) + size_of_val(&state[..])
    }

    fn describe(&self, state: &Box<[u32]>) -> String {
        let present = self.keys.iter().zip(state).filter(|(_, value)| **value != 0);
        let entries =
            present.map(|(key, value)| (key.clone(), self.values[*value as usize].clone()));
        format!("the store holds {}", Value::Map(entries.collect()))
    }
}
