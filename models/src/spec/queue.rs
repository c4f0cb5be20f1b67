//! A first-in, first-out queue.
//!
//! Claims: C-write-linearizable, C-write-once

use super::Spec;
use crate::edn::Value;

/// An operation on a queue. Values are numbers given by the reader of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QueueOp {
    /// Adds the value at the tail.
    Enqueue(u32),
    /// Took the value from the head.
    Dequeue(u32),
    /// Found the queue empty.
    DequeueEmpty,
    /// Took whatever was at the head, or found nothing: the outcome is not known.
    DequeueUnknown,
}

/// A queue that is empty at first.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    /// What the values' numbers stand for.
    pub values: Vec<Value>,
}

impl Spec for Queue {
    type Op = QueueOp;
    type State = Vec<u32>;
    const FINITE: bool = false;

    fn initial(&self) -> Vec<u32> {
        Vec::new()
    }

    fn step(&self, state: &Vec<u32>, op: &QueueOp) -> Option<Vec<u32>> {
        match *op {
            QueueOp::Enqueue(value) => {
                let mut after = Vec::with_capacity(state.len() + 1);
                after.extend_from_slice(state);
                after.push(value);
                Some(after)
            }
            QueueOp::Dequeue(value) => (state.first() == Some(&value)).then(|| state[1..].to_vec()),
            QueueOp::DequeueEmpty => state.is_empty().then(Vec::new),
            QueueOp::DequeueUnknown => (!state.is_empty()).then(|| state[1..].to_vec()),
        }
    }

    fn is_pure(&self, op: &QueueOp) -> bool {
        *op == QueueOp::DequeueEmpty
    }

    fn state_bytes(&self, state: &Vec<u32>) -> usize {
        size_of_val(state) + size_of_val(&state[..])
    }

    fn describe(&self, state: &Vec<u32>) -> String {
        let values = state.iter().map(|value| self.values[*value as usize].clone());
        format!("the queue holds {}", Value::Vector(values.collect()))
    }
}
