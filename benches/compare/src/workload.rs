//! What is asked of every system alike, and how its answers are judged.
//!
//! Each connection works on keys of its own, so that it knows what a read may return: a value names
//! its key and carries a number that ascends with the writes to that key. A read must not return a
//! write that was certainly replaced before the read was sent, nor one that was never sent.

use crate::failure::{Result, wrong};
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// The smallest value: the number of its write, and what names its key.
pub const VALUE_BYTES_MIN: usize = 8;

/// A load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// Connections, spread over the servers.
    pub connections: usize,
    /// Requests outstanding on each at most.
    pub window: usize,
    /// Keys of each connection.
    pub keys: usize,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// How many of a hundred requests read.
    pub read_percent: u32,
    /// Reads see every write that was answered before them.
    pub linearizable: bool,
    /// Every write creates a key.
    pub fresh: bool,
    /// Writes in one transaction; 1: plain writes.
    pub steps: usize,
    /// Requests a second over all connections, or as many as are answered.
    pub rate: Option<u64>,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            connections: 16,
            window: 64,
            keys: 100,
            value_bytes: 8,
            read_percent: 0,
            linearizable: false,
            fresh: false,
            steps: 1,
            rate: None,
        }
    }
}

impl Workload {
    /// Checks that it can be carried out.
    ///
    /// # Errors
    /// Says which option to change.
    pub fn check(&self) -> Result<()> {
        let usage = |what: &str| Err(crate::failure::Failure::Usage(what.to_owned()));
        if self.connections == 0 || self.window == 0 || self.keys == 0 || self.steps == 0 {
            return usage("--connections, --window, --keys and --steps are at least 1");
        }
        if self.value_bytes < VALUE_BYTES_MIN {
            return usage("--value-bytes is at least 8: a value names its key and its write");
        }
        if self.read_percent > 100 {
            return usage("--read-percent is at most 100");
        }
        if self.steps > self.keys && !self.fresh {
            return usage("--steps is at most --keys: a transaction writes each key once");
        }
        if self.rate == Some(0) {
            return usage("--rate is at least 1 request a second");
        }
        Ok(())
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Make sure that the record is there, whether or not it was.
    Ensure {
        /// Which record.
        key: Bytes,
        /// Its value if it is created.
        value: Bytes,
    },
    /// Replace the value of a record that is there.
    Write {
        /// Which record.
        key: Bytes,
        /// Its new value.
        value: Bytes,
    },
    /// Create a record that is not there.
    Create {
        /// Which record.
        key: Bytes,
        /// Its value.
        value: Bytes,
    },
    /// Remove a record that is there.
    Remove {
        /// Which record.
        key: Bytes,
    },
    /// Several writes, all or none.
    Transact {
        /// The records and their new values.
        writes: Vec<(Bytes, Bytes)>,
        /// They are created.
        fresh: bool,
    },
    /// Read a record.
    Read {
        /// Which record.
        key: Bytes,
        /// See every write that was answered before.
        linearizable: bool,
    },
    /// Tell of the next change of a record.
    Watch {
        /// Which record.
        key: Bytes,
    },
}

/// How a system answered. Errors are not among them: they end the measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Written or removed, as asked.
    Written,
    /// The value that was read.
    Value(Bytes),
    /// The watch is set.
    Watching,
}

/// The keys of one connection.
#[derive(Debug)]
pub struct Keys {
    /// What all its keys begin with.
    prefix: String,
    names: Vec<Bytes>,
    states: Vec<KeyState>,
    next: usize,
    /// Records created.
    fresh: u64,
    connection: u16,
    value_bytes: usize,
    /// The system carries out what one connection sends in the order in which it was sent.
    ordered: bool,
    /// The state of the sequence that decides what is read and what is written.
    mix: u64,
    /// Memory for keys and values that are made: many share an allocation.
    memory: BytesMut,
}

/// Bytes that are allocated at once for keys and values.
const MEMORY_BYTES: usize = 16 << 10;
/// Digits of the largest number.
const DIGITS_MAX: usize = 20;

#[derive(Clone, Copy, Debug, Default)]
struct KeyState {
    /// The number of the last write that was sent.
    sent: u32,
    /// No older write than this can be seen any more.
    floor: u32,
    /// Writes sent and not answered.
    open: u32,
    /// The first write after a moment without any under way: it replaced all before it.
    alone: u32,
}

/// What has to be known of a request when its answer comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A write of this number.
    Write {
        /// Which keys, by place: from one on.
        key: usize,
        /// How many of them.
        count: usize,
        /// The number of the write.
        number: u32,
    },
    /// A created or a removed record.
    Done,
    /// A read that must not return an older write.
    Read {
        /// Which key, by place.
        key: usize,
        /// The oldest write that may be seen.
        floor: u32,
    },
    /// A watch.
    Watch,
    /// A record of another connection's: any value will do.
    Any,
}

impl Keys {
    /// The keys of one connection. `run` tells apart what several loads create in one cluster.
    pub fn new(workload: &Workload, connection: u16, run: u64, ordered: bool) -> Self {
        let prefix = format!("/b{connection}");
        let name = |at: usize| Bytes::from(format!("{prefix}/{at}"));
        Self {
            names: (0..workload.keys).map(name).collect(),
            prefix: format!("{prefix}/{run:x}-"),
            states: vec![KeyState::default(); workload.keys],
            next: 0,
            fresh: 0,
            connection,
            value_bytes: workload.value_bytes,
            ordered,
            mix: u64::from(connection) << 32 | (run & 0xffff_ffff),
            memory: BytesMut::new(),
        }
    }

    /// The record above all of a connection's, for systems whose keys are a tree.
    pub fn parent(connection: u16) -> Bytes {
        Bytes::from(format!("/b{connection}"))
    }

    /// What makes the `at`th key exist, if there are so many.
    pub fn ensure(&mut self, at: usize) -> Option<Ask> {
        let key = self.names.get(at)?.clone();
        Some(Ask::Ensure { key, value: self.value(at, 0) })
    }

    /// The first write of each key, so that what was there before this load is gone.
    pub fn first_write(&mut self, at: usize) -> Option<(Ask, Expected)> {
        (at < self.names.len()).then(|| self.write(at))
    }

    /// The next request of a load.
    pub fn next(&mut self, workload: &Workload) -> (Ask, Expected) {
        let reads = match workload.read_percent {
            0 => false,
            100 => true,
            percent => (self.draw() >> 33) % 100 < u64::from(percent),
        };
        if reads {
            let at = self.turn(1);
            let expected = Expected::Read { key: at, floor: self.states[at].floor };
            let key = self.names[at].clone();
            return (Ask::Read { key, linearizable: workload.linearizable }, expected);
        }
        match (workload.fresh, workload.steps) {
            (true, 1) => {
                let (key, value) = self.create();
                (Ask::Create { key, value }, Expected::Done)
            }
            (true, steps) => {
                let writes = (0..steps).map(|_| self.create()).collect();
                (Ask::Transact { writes, fresh: true }, Expected::Done)
            }
            (false, 1) => {
                let at = self.turn(1);
                self.write(at)
            }
            (false, steps) => self.write_many(steps),
        }
    }

    /// The next key in turn, so that `count` keys from it on are there.
    fn turn(&mut self, count: usize) -> usize {
        if self.next + count > self.names.len() {
            self.next = 0;
        }
        let at = self.next;
        self.next += count;
        at
    }

    /// A fixed sequence that looks random: the same load asks the same of every system.
    const fn draw(&mut self) -> u64 {
        self.mix = self.mix.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
        self.mix
    }

    fn begin_write(&mut self, at: usize) -> u32 {
        let state = &mut self.states[at];
        state.sent += 1;
        if state.open == 0 {
            state.alone = state.sent;
        }
        state.open += 1;
        state.sent
    }

    fn write(&mut self, at: usize) -> (Ask, Expected) {
        let number = self.begin_write(at);
        let (key, value) = (self.names[at].clone(), self.value(at, number));
        (Ask::Write { key, value }, Expected::Write { key: at, count: 1, number })
    }

    fn write_many(&mut self, count: usize) -> (Ask, Expected) {
        let key = self.turn(count);
        // All keys of a transaction are always written together, so their numbers are the same but
        // where a shorter turn at the end of the list was left out.
        let number = (key..key + count).map(|at| self.states[at].sent).max().unwrap_or(0) + 1;
        let mut writes = Vec::with_capacity(count);
        for at in key..key + count {
            self.states[at].sent = number - 1;
            self.begin_write(at);
            writes.push((self.names[at].clone(), self.value(at, number)));
        }
        (Ask::Transact { writes, fresh: false }, Expected::Write { key, count, number })
    }

    /// Removes a record that this load created, the first one first.
    pub fn remove(&mut self, at: usize) -> Option<(Ask, Expected)> {
        let number = at as u64 + 1;
        let key = (number <= self.fresh).then(|| self.created(number))?;
        Some((Ask::Remove { key }, Expected::Done))
    }

    fn create(&mut self) -> (Bytes, Bytes) {
        self.fresh += 1;
        (self.created(self.fresh), self.value(0, 1))
    }

    /// The key of the record that was created as so manieth.
    fn created(&mut self, number: u64) -> Bytes {
        self.make_room(self.prefix.len() + DIGITS_MAX);
        // Writing to memory cannot fail.
        let _ = write!(self.memory, "{}{number}", self.prefix);
        self.memory.split().freeze()
    }

    /// The value that write `number` of key `at` leaves.
    fn value(&mut self, at: usize, number: u32) -> Bytes {
        self.make_room(self.value_bytes);
        let tag = self.tag(at);
        self.memory.put_u32(number);
        self.memory.put_u32(tag);
        self.memory.resize(self.value_bytes, number as u8);
        self.memory.split().freeze()
    }

    fn make_room(&mut self, bytes: usize) {
        if self.memory.capacity() < bytes {
            self.memory = BytesMut::with_capacity(MEMORY_BYTES.max(bytes));
        }
    }

    const fn tag(&self, at: usize) -> u32 {
        (self.connection as u32) << 16 ^ at as u32
    }

    /// Judges an answer.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn judge(&mut self, expected: &Expected, answer: &Answer) -> Result<()> {
        match (expected, answer) {
            (Expected::Write { key, count, number }, Answer::Written) => {
                (*key..key + count).for_each(|at| self.end_write(at, *number));
                Ok(())
            }
            (Expected::Done, Answer::Written)
            | (Expected::Watch, Answer::Watching)
            | (Expected::Any, Answer::Value(_)) => Ok(()),
            (Expected::Read { key, floor }, Answer::Value(value)) => self.look(*key, *floor, value),
            (expected, answer) => Err(wrong(format!("{answer:?} does not answer {expected:?}"))),
        }
    }

    fn end_write(&mut self, at: usize, number: u32) {
        let state = &mut self.states[at];
        state.open -= 1;
        let floor = if self.ordered { number } else { state.alone };
        state.floor = state.floor.max(floor);
    }

    fn look(&self, at: usize, floor: u32, value: &Bytes) -> Result<()> {
        let name = String::from_utf8_lossy(&self.names[at]);
        if value.len() != self.value_bytes {
            let (found, bytes) = (value.len(), self.value_bytes);
            return Err(wrong(format!("{name} has {found} bytes instead of {bytes}")));
        }
        let word = |from: usize| {
            u32::from_be_bytes(value[from..from + 4].try_into().expect("it has 8 bytes"))
        };
        let (number, sent) = (word(0), self.states[at].sent);
        if word(4) != self.tag(at) {
            return Err(wrong(format!("{name} has the value of another key: {value:?}")));
        }
        if number < floor || number > sent {
            let what = "a read returned write";
            return Err(wrong(format!("{name}: {what} {number}, not one of {floor}..={sent}")));
        }
        match value[VALUE_BYTES_MIN..].iter().all(|byte| *byte == number as u8) {
            true => Ok(()),
            false => Err(wrong(format!("{name}: the value of write {number} is torn"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(ordered: bool) -> Keys {
        Keys::new(&Workload { keys: 1, ..Workload::default() }, 3, 1, ordered)
    }

    fn written(keys: &mut Keys) -> (Expected, Answer) {
        let (ask, expected) = keys.next(&Workload { keys: 1, ..Workload::default() });
        let Ask::Write { value, .. } = ask else { panic!("it writes") };
        (expected, Answer::Value(value))
    }

    #[test]
    fn a_read_returns_a_write_that_was_sent_and_not_replaced() {
        let mut keys = keys(true);
        let (first, old) = written(&mut keys);
        let (second, new) = written(&mut keys);
        let read = |floor| Expected::Read { key: 0, floor };
        assert!(keys.judge(&read(0), &old).is_ok() && keys.judge(&read(0), &new).is_ok());
        keys.judge(&first, &Answer::Written).unwrap();
        keys.judge(&second, &Answer::Written).unwrap();
        let (_, expected) = keys.next(&Workload { read_percent: 100, ..Workload::default() });
        assert_eq!(expected, read(2));
        assert!(keys.judge(&expected, &old).is_err(), "it was replaced before");
        assert!(keys.judge(&expected, &new).is_ok());
        let unsent = Answer::Value(keys.value(0, 3));
        assert!(keys.judge(&expected, &unsent).is_err());
    }

    #[test]
    fn without_an_order_only_what_came_alone_replaces() {
        let mut keys = keys(false);
        let (first, old) = written(&mut keys);
        let (second, _) = written(&mut keys);
        keys.judge(&second, &Answer::Written).unwrap();
        keys.judge(&first, &Answer::Written).unwrap();
        assert_eq!(keys.states[0].floor, 1, "the second may have been carried out first");
        let (third, _) = written(&mut keys);
        keys.judge(&third, &Answer::Written).unwrap();
        let read = Expected::Read { key: 0, floor: keys.states[0].floor };
        assert!(keys.judge(&read, &old).is_err(), "the third was sent after the first was done");
    }

    #[test]
    fn values_of_other_keys_other_sizes_and_torn_ones_are_found() {
        let workload = Workload { value_bytes: 32, ..Workload::default() };
        let mut keys = Keys::new(&workload, 1, 1, true);
        let read = Expected::Read { key: 5, floor: 0 };
        let (right, other) = (keys.value(5, 0), keys.value(6, 0));
        assert!(keys.judge(&read, &Answer::Value(right.clone())).is_ok());
        assert!(keys.judge(&read, &Answer::Value(other)).is_err());
        assert!(keys.judge(&read, &Answer::Value(right.slice(..31))).is_err());
        let mut torn = right.to_vec();
        torn[31] ^= 1;
        assert!(keys.judge(&read, &Answer::Value(torn.into())).is_err());
        assert!(keys.judge(&read, &Answer::Written).is_err());
    }

    #[test]
    fn a_mix_has_its_share_of_reads_and_is_the_same_each_time() {
        let workload = Workload { read_percent: 90, ..Workload::default() };
        let draw = || {
            let mut keys = Keys::new(&workload, 1, 7, true);
            let reads = (0..10_000).map(|_| matches!(keys.next(&workload).0, Ask::Read { .. }));
            reads.collect::<Vec<_>>()
        };
        let reads = draw();
        let count = reads.iter().filter(|reads| **reads).count();
        assert!((8_800..9_200).contains(&count), "{count} of 10,000");
        assert_eq!(reads, draw());
    }

    #[test]
    fn a_transaction_writes_different_keys_with_one_number() {
        let workload = Workload { keys: 10, steps: 4, ..Workload::default() };
        let mut keys = Keys::new(&workload, 1, 1, true);
        for _ in 0..7 {
            let (ask, expected) = keys.next(&workload);
            let Ask::Transact { writes, .. } = ask else { panic!("it is a transaction") };
            let mut names: Vec<_> = writes.iter().map(|(key, _)| key.clone()).collect();
            names.dedup();
            assert_eq!(names.len(), 4);
            keys.judge(&expected, &Answer::Written).unwrap();
        }
    }
}
