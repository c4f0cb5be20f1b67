//! The transactions, what they read, and the reads that are wrong whatever the order.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::shape::{Numbers, Shape, unknown_f};
use crate::edn::Value;
use crate::history::{History, HistoryError, Operation, Outcome};
use crate::verdict::Explanation;

const INPUT: &str = "steps such as [[:append key value] [:r key nil]]";
const OUTPUT: &str = "the invocation's steps with every read filled in: [:r key [value ...]]";

/// One step of a transaction. Keys and values are numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Append(u32, u32),
    /// A read, with the list that was returned if the transaction's outcome is ok.
    Read(u32, Vec<u32>),
}

/// One transaction: its number is the index of its operation.
#[derive(Debug)]
pub(super) struct Txn {
    pub(super) steps: Vec<Step>,
    pub(super) outcome: Outcome,
    /// Whether it took effect: it is ok, or somebody saw an append of it.
    pub(super) is_committed: bool,
}

/// What is known of one key.
#[derive(Debug, Default)]
pub(super) struct Key {
    /// For each value appended: the transaction, and whether it is its last append to the key.
    pub(super) writers: BTreeMap<u32, Writer>,
    /// The longest list that was read: the order of the appends.
    pub(super) versions: Vec<u32>,
    /// Who read it.
    pub(super) longest_reader: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Writer {
    pub(super) txn: usize,
    is_last: bool,
}

/// A read of what others wrote: the list without the appends of the reader itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ExternalRead {
    pub(super) key: u32,
    pub(super) txn: usize,
    /// How many values of the key's versions it saw.
    pub(super) length: usize,
}

/// A history of transactions.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) txns: Vec<Txn>,
    pub(super) keys: BTreeMap<u32, Key>,
    pub(super) names: Vec<Value>,
}

impl Observed {
    pub(super) fn read(history: &History) -> Result<Self, HistoryError> {
        let mut numbers = Numbers::new();
        let mut txns = Vec::new();
        let mut keys: BTreeMap<u32, Key> = BTreeMap::new();
        for (index, op) in history.operations().iter().enumerate() {
            let steps = parse(op, &mut numbers)?;
            let mut last: BTreeMap<u32, u32> = BTreeMap::new();
            for step in &steps {
                let Step::Append(key, value) = *step else { continue };
                let writer = Writer { txn: index, is_last: false };
                if keys.entry(key).or_default().writers.insert(value, writer).is_some() {
                    return Err(twice(op, &numbers, key, value));
                }
                last.insert(key, value);
            }
            for (key, value) in last {
                let writers = &mut keys.entry(key).or_default().writers;
                writers.insert(value, Writer { txn: index, is_last: true });
            }
            let is_committed = op.outcome == Outcome::Ok;
            txns.push(Txn { steps, outcome: op.outcome, is_committed });
        }
        let mut observed = Self { txns, keys, names: numbers.into_values() };
        observed.order_versions();
        Ok(observed)
    }

    fn order_versions(&mut self) {
        for (index, txn) in self.txns.iter().enumerate() {
            if txn.outcome != Outcome::Ok {
                continue;
            }
            for step in &txn.steps {
                let Step::Read(number, list) = step else { continue };
                let key = self.keys.entry(*number).or_default();
                if key.longest_reader.is_none() || key.versions.len() < list.len() {
                    key.versions.clone_from(list);
                    key.longest_reader = Some(index);
                }
            }
        }
        for key in self.keys.values() {
            for value in &key.versions {
                if let Some(writer) = key.writers.get(value) {
                    let txn = &mut self.txns[writer.txn];
                    txn.is_committed |= txn.outcome == Outcome::Info;
                }
            }
        }
    }

    /// The first read that no order of transactions explains.
    pub(super) fn refuse(&self) -> Option<Explanation> {
        let mut reads = self.reads();
        self.txns
            .iter()
            .enumerate()
            .find_map(|(index, txn)| self.internal(index, txn))
            .or_else(|| reads.find_map(|(txn, key, list)| self.impossible(txn, key, list)))
            .or_else(|| self.reads().find_map(|(txn, key, list)| self.diverging(txn, key, list)))
            .or_else(|| self.rearranged())
            .or_else(|| self.reads().find_map(|(txn, key, list)| self.intermediate(txn, key, list)))
            .or_else(|| self.lost_update())
    }

    /// Every read of a transaction that is ok.
    fn reads(&self) -> impl Iterator<Item = (usize, u32, &[u32])> {
        let ok = self.txns.iter().enumerate().filter(|(_, txn)| txn.outcome == Outcome::Ok);
        ok.flat_map(|(index, txn)| {
            txn.steps.iter().filter_map(move |step| match step {
                Step::Read(key, list) => Some((index, *key, list.as_slice())),
                Step::Append(..) => None,
            })
        })
    }

    /// Every read's view of others' appends, each once, in order.
    pub(super) fn external_reads(&self) -> BTreeSet<ExternalRead> {
        let external = self.reads().map(|(txn, key, list)| {
            let others = self.without_own(txn, key, list);
            ExternalRead { key, txn, length: others.len() }
        });
        external.collect()
    }

    fn without_own<'a>(&self, txn: usize, key: u32, list: &'a [u32]) -> &'a [u32] {
        let is_own = |value: &u32| self.writer(key, *value).is_some_and(|w| w.txn == txn);
        let own_count = list.iter().rev().take_while(|value| is_own(value)).count();
        &list[..list.len() - own_count]
    }

    pub(super) fn writer(&self, key: u32, value: u32) -> Option<Writer> {
        self.keys.get(&key)?.writers.get(&value).copied()
    }

    /// A transaction reads what it has itself appended and read.
    fn internal(&self, index: usize, txn: &Txn) -> Option<Explanation> {
        // For each key: the list if it is known, and what was appended since.
        let mut known: BTreeMap<u32, (Option<Vec<u32>>, Vec<u32>)> = BTreeMap::new();
        for step in txn.steps.iter().filter(|_| txn.outcome == Outcome::Ok) {
            match step {
                Step::Append(key, value) => known.entry(*key).or_default().1.push(*value),
                Step::Read(key, list) => {
                    let (before, own) = known.entry(*key).or_default();
                    let fits = match before {
                        Some(before) => *list == [before.as_slice(), own].concat(),
                        None => {
                            self.without_own(index, *key, list).len() + own.len() == list.len()
                                && list.ends_with(own)
                        }
                    };
                    if !fits {
                        let summary = format!(
                            "it reads {} of {} and contradicts its own earlier steps",
                            self.list(list),
                            self.name(*key)
                        );
                        return Some(Explanation::new("internal", summary, [index]));
                    }
                    (*before, *own) = (Some(list.clone()), Vec::new());
                }
            }
        }
        None
    }

    /// Values that nobody appended, that were appended by a failed transaction, or that are there
    /// twice.
    fn impossible(&self, txn: usize, key: u32, list: &[u32]) -> Option<Explanation> {
        let mut seen = BTreeSet::new();
        for value in list {
            let (value_name, key_name) = (self.name(*value), self.name(key));
            if !seen.insert(value) {
                let summary = format!("it reads {value_name} twice in {key_name}");
                return Some(Explanation::new("duplicate-elements", summary, [txn]));
            }
            let Some(writer) = self.writer(key, *value) else {
                let summary = format!("it reads {value_name} in {key_name}: nobody appended it");
                return Some(Explanation::new("garbage-read", summary, [txn]));
            };
            if self.txns[writer.txn].outcome == Outcome::Fail {
                let summary = format!(
                    "#{txn} reads {value_name} in {key_name}, which #{} appended and took back",
                    writer.txn
                );
                return Some(Explanation::new("G1a", summary, [txn, writer.txn]));
            }
        }
        None
    }

    /// Every list of a key is a prefix of the longest.
    fn diverging(&self, txn: usize, number: u32, list: &[u32]) -> Option<Explanation> {
        let key = &self.keys[&number];
        if key.versions.starts_with(list) {
            return None;
        }
        let longest = key.longest_reader?;
        let summary = format!(
            "#{txn} and #{longest} read {} in different orders: {} and {}",
            self.name(number),
            self.list(list),
            self.list(&key.versions)
        );
        Some(Explanation::new("incompatible-order", summary, [txn, longest]))
    }

    /// What a transaction appends to a key stands there in its order, from its first on. (That
    /// nothing stands between, and that nothing is missing at the end, the graph and
    /// [`Self::intermediate`] see to.)
    fn rearranged(&self) -> Option<Explanation> {
        for (number, key) in &self.keys {
            let mut next: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
            for value in &key.versions {
                let txn = key.writers.get(value)?.txn;
                // The appends of the transaction that are still to come, the next one last.
                let left = next.entry(txn).or_insert_with(|| {
                    let mut appends = self.appends(txn, *number);
                    appends.reverse();
                    appends
                });
                if left.pop() != Some(*value) {
                    let reader = key.longest_reader?;
                    let summary = format!(
                        "#{reader} reads {} as {}, but #{txn} appended {} to it: what a \
                         transaction appends is there in its order, or not at all",
                        self.name(*number),
                        self.list(&key.versions),
                        self.list(&self.appends(txn, *number)),
                    );
                    return Some(Explanation::new("rearranged", summary, [txn, reader]));
                }
            }
        }
        None
    }

    /// What a transaction appends to a key, in order.
    fn appends(&self, txn: usize, number: u32) -> Vec<u32> {
        let appended = self.txns[txn].steps.iter().filter_map(|step| match step {
            Step::Append(key, value) if *key == number => Some(*value),
            _ => None,
        });
        appended.collect()
    }

    /// A read of others' appends ends with the last append of a transaction to the key.
    fn intermediate(&self, txn: usize, key: u32, list: &[u32]) -> Option<Explanation> {
        let last = *self.without_own(txn, key, list).last()?;
        let writer = self.writer(key, last)?;
        (!writer.is_last && writer.txn != txn).then(|| {
            let summary = format!(
                "#{txn} reads {} in {} as last, which is not the last append of #{}",
                self.name(last),
                self.name(key),
                writer.txn
            );
            Explanation::new("G1b", summary, [txn, writer.txn])
        })
    }

    /// No two transactions read the same version of a key and append to it.
    fn lost_update(&self) -> Option<Explanation> {
        let appends = |read: &ExternalRead| {
            self.txns[read.txn]
                .steps
                .iter()
                .any(|step| matches!(step, Step::Append(key, _) if *key == read.key))
        };
        let mut updates: BTreeMap<(u32, usize), usize> = BTreeMap::new();
        for read in self.external_reads().into_iter().filter(appends) {
            let first = *updates.entry((read.key, read.length)).or_insert(read.txn);
            if first != read.txn {
                let version = &self.keys[&read.key].versions[..read.length];
                let summary = format!(
                    "#{first} and #{} both read {} as {} and then appended to it: \
                     one did not see the other",
                    read.txn,
                    self.name(read.key),
                    self.list(version)
                );
                return Some(Explanation::new("lost-update", summary, [first, read.txn]));
            }
        }
        None
    }

    /// A key or value as it stood in the history.
    pub(super) fn name(&self, number: u32) -> &Value {
        &self.names[number as usize]
    }

    /// The end of a list in words: lists grow long.
    pub(super) fn list(&self, list: &[u32]) -> String {
        const SHOWN_MAX: usize = 6;
        let shown = &list[list.len().saturating_sub(SHOWN_MAX)..];
        let names: Vec<String> = shown.iter().map(|value| self.name(*value).to_string()).collect();
        let dots = if shown.len() < list.len() { "... " } else { "" };
        format!("[{dots}{}]", names.join(" "))
    }
}

fn twice(op: &Operation, numbers: &Numbers, key: u32, value: u32) -> HistoryError {
    let expected = format!(
        "each value to be appended to a key once in the history (event {})",
        op.invoked.event
    );
    let found = format!("{} appended to {} again", numbers.name(value), numbers.name(key));
    HistoryError::new(op.input_at, expected, found)
}

fn parse(op: &Operation, numbers: &mut Numbers) -> Result<Vec<Step>, HistoryError> {
    if op.f != "txn" {
        return Err(unknown_f(op, ":txn"));
    }
    let asked = steps(Shape::input(op, INPUT), numbers, false)?;
    let output = Shape::output(op, OUTPUT);
    if op.outcome != Outcome::Ok && op.output.is_nil() {
        return Ok(asked);
    }
    let answered = steps(output, numbers, true)?;
    let same = asked.len() == answered.len()
        && asked.iter().zip(&answered).all(|pair| match pair {
            (Step::Read(asked, _), Step::Read(answered, _)) => asked == answered,
            (asked, answered) => asked == answered,
        });
    let is_ok = op.outcome == Outcome::Ok;
    output.need(same.then_some(if is_ok { answered } else { asked }))
}

fn steps(
    shape: Shape<'_>,
    numbers: &mut Numbers,
    is_answer: bool,
) -> Result<Vec<Step>, HistoryError> {
    let step = |shape: Shape<'_>| {
        let [f, key, value] = shape.items()?;
        let key = numbers.of(key.value);
        match f.value.as_keyword() {
            Some("append") => Ok(Step::Append(key, numbers.of(value.value))),
            // The list of a key that was never appended to is nil, as Jepsen has it, or empty.
            Some("r") if !is_answer || value.value.is_nil() => Ok(Step::Read(key, Vec::new())),
            Some("r") => {
                let list = value.all()?.map(|item| numbers.of(item.value));
                Ok(Step::Read(key, list.collect()))
            }
            _ => Err(f.error()),
        }
    };
    shape.all()?.map(step).collect()
}
