//! A register with compare-and-set.
//!
//! Claims: C-write-linearizable, C-read-fresh

use std::collections::BTreeMap;

use super::{Fact, Spec};
use crate::edn::Value;

/// An operation on a register. Values are numbers given by the reader of the history; 0 is `nil`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegisterOp {
    /// A read that returned the value.
    Read(u32),
    /// A write of the value.
    Write(u32),
    /// A compare-and-set that succeeded (or may have, if its outcome is not known).
    Cas {
        /// The value that was expected.
        from: u32,
        /// The value that replaced it.
        to: u32,
    },
}

impl RegisterOp {
    /// The value without which the operation does not take effect.
    pub const fn needs(self) -> Option<u32> {
        match self {
            Self::Read(value) | Self::Cas { from: value, .. } => Some(value),
            Self::Write(_) => None,
        }
    }
}

/// A register that starts with `nil`.
#[derive(Clone, Debug, Default)]
pub struct Register {
    /// What the numbers in operations stand for.
    pub values: Vec<Value>,
}

impl Spec for Register {
    type Op = RegisterOp;
    type State = u32;
    const FINITE: bool = true;

    fn initial(&self) -> u32 {
        0
    }

    fn step(&self, state: &u32, op: &RegisterOp) -> Option<u32> {
        match *op {
            RegisterOp::Write(value) => Some(value),
            RegisterOp::Read(value) => (*state == value).then_some(value),
            RegisterOp::Cas { from, to } => (*state == from).then_some(to),
        }
    }

    fn is_pure(&self, op: &RegisterOp) -> bool {
        matches!(op, RegisterOp::Read(_))
    }

    /// What makes a value that is needed, by these or by a compare-and-set that itself helps.
    fn helpful(&self, strict: &[RegisterOp], others: &[RegisterOp]) -> Vec<bool> {
        let mut makers: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (number, other) in others.iter().enumerate() {
            if let RegisterOp::Write(value) | RegisterOp::Cas { to: value, .. } = *other {
                makers.entry(value).or_default().push(number);
            }
        }
        let mut helpful = vec![false; others.len()];
        let mut needed: Vec<u32> = strict.iter().filter_map(|op| op.needs()).collect();
        while let Some(value) = needed.pop() {
            for number in makers.remove(&value).unwrap_or_default() {
                helpful[number] = true;
                needed.extend(others[number].needs());
            }
        }
        helpful
    }

    fn needs(&self, op: &RegisterOp) -> Vec<Fact> {
        RegisterOp::needs(*op).map(|value| (0, value)).into_iter().collect()
    }

    fn makes(&self, op: &RegisterOp) -> Vec<Fact> {
        match *op {
            RegisterOp::Write(value) | RegisterOp::Cas { to: value, .. } => vec![(0, value)],
            RegisterOp::Read(_) => Vec::new(),
        }
    }

    fn name_fact(&self, (_, value): Fact) -> String {
        format!("{} in the register", self.values.get(value as usize).unwrap_or(&Value::Nil))
    }

    fn describe(&self, state: &u32) -> String {
        format!("the register holds {}", self.values.get(*state as usize).unwrap_or(&Value::Nil))
    }
}
