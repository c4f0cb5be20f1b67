//! Registers: clients read, write and compare-and-set a few keys; each key must be linearizable.
//!
//! Every value written is different, so a read tells which write it saw. A system may have several
//! ways to read; all of them must fit into one order, but for those that promise less.

use crate::{Draw, Outcome};
use accord_models::edn::Value;
use std::collections::BTreeMap;

/// Which of a system's ways to read is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadPath {
    /// Beside the order, but linearizable: the usual one.
    Linearizable,
    /// Through the order, as a write goes. The same as the usual one where there is no such thing.
    Ordered,
    /// What one server has. Promises less, and is no operation of the history.
    Local,
}

/// An operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Read a register.
    Read {
        /// The register.
        key: u64,
        /// The way to read it.
        path: ReadPath,
    },
    /// Write a register.
    Write {
        /// The register.
        key: u64,
        /// The value, which no other operation writes.
        to: i64,
    },
    /// Write a register if it has a certain value.
    Cas {
        /// The register.
        key: u64,
        /// The value that it must have.
        from: i64,
        /// The value, which no other operation writes.
        to: i64,
    },
}

/// What was answered to an operation that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What was read; None: nobody has written it.
    Read(Option<i64>),
    /// It was written.
    Written,
    /// The value was another, and is left as it was.
    Refused,
}

impl Op {
    /// Its register.
    pub const fn key(self) -> u64 {
        let (Self::Read { key, .. } | Self::Write { key, .. } | Self::Cas { key, .. }) = self;
        key
    }

    /// What it is called in a history.
    pub const fn f(self) -> &'static str {
        match self {
            Self::Read { .. } => "read",
            Self::Write { .. } => "write",
            Self::Cas { .. } => "cas",
        }
    }

    /// What is written into a history when it begins.
    pub fn input(self) -> Value {
        match self {
            Self::Read { key, .. } => pair(key, Value::Nil),
            Self::Write { key, to } => pair(key, Value::Int(to)),
            Self::Cas { key, from, to } => {
                pair(key, Value::vector([Value::Int(from), Value::Int(to)]))
            }
        }
    }

    /// What is written into a history when it was answered. An error: it is written down as failed,
    /// for this reason.
    ///
    /// # Errors
    /// [`Answer::Refused`]: its condition did not hold.
    pub fn output(self, answer: Answer) -> Result<Value, &'static str> {
        match answer {
            Answer::Read(value) => Ok(pair(self.key(), value.map_or(Value::Nil, Value::Int))),
            Answer::Written => Ok(self.input()),
            Answer::Refused => Err("the value was another"),
        }
    }
}

fn pair(key: u64, value: Value) -> Value {
    Value::vector([Value::from(key), value])
}

/// How registers are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Registers in use at a time; at least one.
    pub keys: u64,
    /// Operations on one register, on average, before clients move on to fresh ones: what a checker
    /// decides fast. None: they never do.
    pub operations_max: Option<u64>,
}

/// The generator. All clients of a run share it.
#[derive(Clone, Debug)]
pub struct Registers {
    options: Options,
    /// The first register in use.
    first: u64,
    operations: u64,
    last_value: i64,
    /// What was last seen of each key by anybody: good guesses for compare-and-set.
    seen: BTreeMap<u64, i64>,
}

impl Registers {
    /// Registers that nobody wrote.
    pub const fn new(options: Options) -> Self {
        Self { options, first: 0, operations: 0, last_value: 0, seen: BTreeMap::new() }
    }

    /// The registers in use, which are to be read in the end.
    pub fn keys(&self) -> std::ops::Range<u64> {
        self.first..self.first + self.options.keys.max(1)
    }

    /// The next operation.
    pub fn next(&mut self, draw: &mut impl Draw) -> Op {
        let key = self.first + draw.below(self.options.keys.max(1));
        let op = match draw.below(100) {
            0..=29 => self.write(key),
            30..=54 => self.cas(key),
            55..=79 => Op::Read { key, path: ReadPath::Linearizable },
            80..=89 => Op::Read { key, path: ReadPath::Ordered },
            _ => Op::Read { key, path: ReadPath::Local },
        };
        self.operations += 1;
        if let Some(most) = self.options.operations_max
            && self.operations >= most.saturating_mul(self.options.keys.max(1))
        {
            self.operations = 0;
            self.first = self.keys().end;
            self.seen.clear();
        }
        op
    }

    fn next_value(&mut self) -> i64 {
        self.last_value += 1;
        self.last_value
    }

    fn write(&mut self, key: u64) -> Op {
        Op::Write { key, to: self.next_value() }
    }

    fn cas(&mut self, key: u64) -> Op {
        match self.seen.get(&key).copied() {
            None => self.write(key),
            Some(from) => Op::Cas { key, from, to: self.next_value() },
        }
    }

    /// Takes in what came of an operation.
    pub fn on_answer(&mut self, op: Op, answer: Answer) {
        let seen = match (op, answer) {
            (Op::Read { .. }, Answer::Read(value)) => value,
            (Op::Write { to, .. } | Op::Cas { to, .. }, Answer::Written) => Some(to),
            (_, _) => None,
        };
        match seen {
            // Of registers that are left behind nothing need be known.
            Some(value) if op.key() >= self.first => drop(self.seen.insert(op.key(), value)),
            _ => drop(self.seen.remove(&op.key())),
        }
    }
}

/// A client of a system that has registers.
pub trait Register {
    /// Reads a register by one of the ways that promise linearizability.
    fn read(&self, key: u64, path: ReadPath) -> impl Future<Output = Outcome<Option<i64>>> + Send;

    /// Writes a register.
    fn write(&self, key: u64, to: i64) -> impl Future<Output = Outcome<()>> + Send;

    /// Writes a register if it has a certain value; false: it has another.
    fn cas(&self, key: u64, from: i64, to: i64) -> impl Future<Output = Outcome<bool>> + Send;
}

/// Carries out an operation.
pub async fn carry_out(client: &impl Register, op: Op) -> Outcome<Answer> {
    match op {
        Op::Read { key, path } => client.read(key, path).await.map(Answer::Read),
        Op::Write { key, to } => client.write(key, to).await.map(|()| Answer::Written),
        Op::Cas { key, from, to } => client.cas(key, from, to).await.map(|held| match held {
            true => Answer::Written,
            false => Answer::Refused,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seeded;

    const FEW: Options = Options { keys: 3, operations_max: Some(50) };

    /// A generator against registers that do at once what they are asked.
    fn run(seed: u64, count: usize) -> Vec<Op> {
        let (mut generator, mut draw) = (Registers::new(FEW), Seeded::new(seed));
        let mut values: BTreeMap<u64, i64> = BTreeMap::new();
        let mut done = Vec::new();
        for _ in 0..count {
            let op = generator.next(&mut draw);
            let current = values.get(&op.key()).copied();
            let answer = match op {
                Op::Read { .. } => Answer::Read(current),
                Op::Cas { from, .. } if current != Some(from) => Answer::Refused,
                Op::Write { key, to } | Op::Cas { key, to, .. } => {
                    values.insert(key, to);
                    Answer::Written
                }
            };
            generator.on_answer(op, answer);
            done.push(op);
        }
        done
    }

    #[test]
    fn the_same_seed_gives_the_same_operations() {
        assert_eq!(run(1, 500), run(1, 500));
        assert_ne!(run(1, 500), run(2, 500));
    }

    #[test]
    fn values_differ_and_every_kind_of_operation_is_drawn() {
        let ops = run(1, 1000);
        let written = |op: &Op| match op {
            Op::Write { to, .. } | Op::Cas { to, .. } => Some(*to),
            Op::Read { .. } => None,
        };
        let mut values: Vec<i64> = ops.iter().filter_map(written).collect();
        let all = values.len();
        values.dedup();
        assert_eq!(values.len(), all, "they ascend");
        for kind in ["read", "write", "cas"] {
            let count = ops.iter().filter(|op| op.f() == kind).count();
            assert!(count > 100, "{kind}: {count}");
        }
    }

    #[test]
    fn clients_move_on_to_fresh_registers() {
        let last = run(1, 1000).last().expect("there are some").key();
        assert!((15..21).contains(&last), "1000 operations, 50 on each: {last}");
    }

    #[test]
    fn a_guess_that_was_wrong_is_not_made_again() {
        let mut generator = Registers::new(FEW);
        let write = Op::Write { key: 1, to: 7 };
        generator.on_answer(write, Answer::Written);
        assert!(matches!(generator.cas(1), Op::Cas { from: 7, .. }));
        generator.on_answer(Op::Cas { key: 1, from: 7, to: 8 }, Answer::Refused);
        assert!(matches!(generator.cas(1), Op::Write { .. }));
    }

    #[test]
    fn what_did_not_hold_is_written_down_as_failed() {
        let cas = Op::Cas { key: 1, from: 2, to: 3 };
        assert!(cas.output(Answer::Refused).is_err());
        assert_eq!(cas.output(Answer::Written).expect("it was done").to_string(), "[1 [2 3]]");
        let read = Op::Read { key: 1, path: ReadPath::Ordered };
        assert_eq!(read.output(Answer::Read(None)).expect("it was done").to_string(), "[1 nil]");
    }
}
