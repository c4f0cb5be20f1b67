//! Transactions: clients append to lists and read them, several at once; the whole must be strictly
//! serializable. A write that was lost, or that ran twice, shows in a list.
//!
//! An element is appended once. When a list has grown long, clients move on to others.

use crate::{Draw, Outcome};
use accord_models::edn::Value;
use std::collections::BTreeMap;

/// The elements after which clients turn to another list.
pub const ELEMENTS_MAX: usize = 30;
/// The most parts of a transaction.
const PARTS_MAX: u64 = 5;
/// How many of a hundred operations are transactions; the others only read.
const TRANSACTIONS_PERCENT: u64 = 80;

/// A part of a transaction, as the client means it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Append to a list.
    Append {
        /// The list.
        key: u64,
        /// The element, which is appended nowhere else.
        element: i64,
    },
    /// Read a list.
    Read {
        /// The list.
        key: u64,
    },
}

impl Part {
    /// Its list.
    pub const fn key(self) -> u64 {
        let (Self::Append { key, .. } | Self::Read { key }) = self;
        key
    }

    /// What is written into a history when its transaction begins.
    pub fn input(self) -> Value {
        match self {
            Self::Append { key, element } => {
                Value::vector([Value::keyword("append"), Value::from(key), Value::Int(element)])
            }
            Self::Read { key } => {
                Value::vector([Value::keyword("r"), Value::from(key), Value::Nil])
            }
        }
    }

    fn output(self, read: Option<&[i64]>) -> Value {
        match (self, read) {
            (Self::Read { key }, Some(list)) => {
                let list = Value::vector(list.iter().copied().map(Value::Int));
                Value::vector([Value::keyword("r"), Value::from(key), list])
            }
            (part, _) => part.input(),
        }
    }
}

/// What a transaction is called in a history.
pub const TXN: &str = "txn";

/// What is written into a history when a transaction begins.
pub fn input(parts: &[Part]) -> Value {
    Value::vector(parts.iter().map(|part| part.input()))
}

/// What is written into a history when a transaction was done. `lists` holds what was read, at the
/// places of the parts that read.
pub fn output(parts: &[Part], lists: &[Option<Vec<i64>>]) -> Value {
    let pairs = parts.iter().zip(lists);
    Value::vector(pairs.map(|(part, list)| part.output(list.as_deref())))
}

/// An operation. In a history both kinds are transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A transaction.
    Transact(Vec<Part>),
    /// Neighbouring lists are read at once, without a transaction if the system can do so.
    Query {
        /// The first list.
        first: u64,
        /// How many.
        count: u64,
    },
}

impl Op {
    /// Its parts, as a transaction has them.
    pub fn parts(&self) -> Vec<Part> {
        match self {
            Self::Transact(parts) => parts.clone(),
            Self::Query { first, count } => query(*first, *count),
        }
    }
}

/// The parts that read neighbouring lists.
pub fn query(first: u64, count: u64) -> Vec<Part> {
    (first..first + count).map(|key| Part::Read { key }).collect()
}

/// The generator. All clients of a run share it.
#[derive(Clone, Debug)]
pub struct Transactions {
    /// Lists in use at a time.
    width: u64,
    /// The first list in use.
    first: u64,
    last_element: i64,
}

impl Transactions {
    /// Lists that are empty, of which so many are in use at a time.
    pub fn new(width: u64) -> Self {
        Self { width: width.max(1), first: 0, last_element: 0 }
    }

    /// All lists that were in use, which are to be read in the end.
    pub const fn keys(&self) -> std::ops::Range<u64> {
        0..self.first + self.width
    }

    /// The lists in use now.
    pub const fn current(&self) -> std::ops::Range<u64> {
        self.first..self.first + self.width
    }

    /// The next operation.
    pub fn next(&mut self, draw: &mut impl Draw) -> Op {
        if draw.percent(TRANSACTIONS_PERCENT) {
            return Op::Transact(self.parts(draw));
        }
        let first = self.first + draw.below(self.width);
        Op::Query { first, count: draw.within(1, 2) }
    }

    fn parts(&mut self, draw: &mut impl Draw) -> Vec<Part> {
        let count = draw.within(1, PARTS_MAX);
        let parts = (0..count).map(|_| {
            let key = self.first + draw.below(self.width);
            if draw.percent(50) {
                return Part::Read { key };
            }
            self.last_element += 1;
            Part::Append { key, element: self.last_element }
        });
        parts.collect()
    }

    /// Takes in that a list was read.
    pub fn on_read(&mut self, key: u64, elements: usize) {
        if elements >= ELEMENTS_MAX {
            self.first = self.first.max(key + 1);
        }
    }

    /// Takes in what was read by a transaction.
    pub fn on_answer(&mut self, parts: &[Part], lists: &[Option<Vec<i64>>]) {
        for (part, list) in parts.iter().zip(lists) {
            if let (Part::Read { key }, Some(list)) = (part, list) {
                self.on_read(*key, list.len());
            }
        }
    }
}

/// A client of a system that has lists and transactions over several of them.
pub trait Lists {
    /// Carries out a transaction. Its answer holds what was read, at the places of the parts that
    /// read: a list as it is at that place, with what the transaction itself appended before.
    fn transact(&self, parts: &[Part]) -> impl Future<Output = Outcome<Answers>> + Send;
}

/// What the parts of a transaction read: `None` for an append.
pub type Answers = Vec<Option<Vec<i64>>>;

/// What a transaction answers and leaves, of lists as they are before it: for systems that read
/// first, and then write if nothing has changed. `lists` returns the present elements of a list;
/// returned are what the parts read, and the lists that it changes.
pub fn run_on(
    parts: &[Part],
    lists: impl Fn(u64) -> Vec<i64>,
) -> (Answers, BTreeMap<u64, Vec<i64>>) {
    let mut changed = BTreeMap::new();
    let answers = parts.iter().map(|part| match *part {
        Part::Append { key, element } => {
            changed.entry(key).or_insert_with(|| lists(key)).push(element);
            None
        }
        Part::Read { key } => Some(changed.get(&key).cloned().unwrap_or_else(|| lists(key))),
    });
    let answers = answers.collect();
    (answers, changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seeded;

    #[test]
    fn transactions_see_what_they_appended_themselves() {
        let read = Part::Read { key: 1 };
        let parts = [read, Part::Append { key: 1, element: 9 }, read, Part::Read { key: 2 }];
        let lists = |key| if key == 1 { vec![7] } else { Vec::new() };
        let (answers, changed) = run_on(&parts, lists);
        assert_eq!(answers, [Some(vec![7]), None, Some(vec![7, 9]), Some(vec![])]);
        assert_eq!(changed, BTreeMap::from([(1, vec![7, 9])]));
        let text = output(&parts, &answers).to_string();
        assert_eq!(text, "[[:r 1 [7]] [:append 1 9] [:r 1 [7 9]] [:r 2 []]]");
        assert_eq!(input(&parts[..2]).to_string(), "[[:r 1 nil] [:append 1 9]]");
    }

    #[test]
    fn elements_are_appended_once_and_clients_move_on_when_lists_are_long() {
        let (mut generator, mut draw) = (Transactions::new(2), Seeded::new(1));
        let mut lists: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
        let mut last = 0;
        for _ in 0..500 {
            let parts = generator.next(&mut draw).parts();
            for part in &parts {
                if let Part::Append { element, .. } = part {
                    assert_eq!(*element, last + 1);
                    last = *element;
                }
            }
            let list = |key| lists.get(&key).cloned().unwrap_or_default();
            let (answers, changed) = run_on(&parts, list);
            lists.extend(changed);
            generator.on_answer(&parts, &answers);
        }
        assert!(generator.current().start > 10, "{:?}", generator.current());
        assert!(lists.values().all(|list| list.len() < 2 * ELEMENTS_MAX));
        assert_eq!(generator.keys().start, 0);
    }
}
