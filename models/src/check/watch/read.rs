//! The operations of watches, gathered by watch.

use std::collections::BTreeMap;

use crate::check::shape::{Shape, unknown_f};
use crate::history::{History, HistoryError, Operation, Outcome};
use crate::spec::{Change, ChangeKind, WatchFilter};

const WATCH: &str = "{:session number, :watch number, :key name or :prefix name, :kinds [...], \
                     :once true}";
const WATCHING: &str = "the invocation's with :from revision";
const WATCH_ID: &str = "{:session number, :watch number}";
const EVENT: &str = "{:session number, :watch number, :revision number, :key name, :kind kind}";
const WRITE: &str = "{:session number, :key name}";
const WRITTEN: &str = "{:session number, :key name, :revision number, :kind kind}";
const READ: &str = "{:session number}, answered with :revision number";
const LOG: &str = "[{:revision number, :key name, :kind kind} ...]";

/// A session's number and its watch's.
pub(super) type WatchKey = (u64, u64);

/// All that is known of one watch. Numbers are indices of operations.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) op: usize,
    pub(super) filter: WatchFilter,
    pub(super) is_once: bool,
    /// The revision after which it reports, if the watch was answered.
    pub(super) from: Option<u64>,
    /// What it reported, in the order observed.
    pub(super) events: Vec<(usize, Change)>,
    /// The first operation that ended it.
    pub(super) end: Option<usize>,
}

/// A result that a session saw.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) op: usize,
    pub(super) session: u64,
    pub(super) revision: u64,
}

/// A history of watches.
pub(super) struct Reading<'a> {
    pub(super) ops: &'a [Operation],
    pub(super) watches: BTreeMap<WatchKey, Watch>,
    /// Events of watches that were never asked for, or not yet.
    pub(super) strays: Vec<(usize, WatchKey)>,
    pub(super) results: Vec<Seen>,
    /// Changes that were acknowledged, each with the operation that made it.
    pub(super) acknowledged: Vec<(usize, Change)>,
    /// Writes that may have taken effect: the operation and the key.
    pub(super) unknown: Vec<usize>,
    /// The logs given, with who gave them.
    pub(super) logs: Vec<(usize, Vec<Change>)>,
}

impl<'a> Reading<'a> {
    pub(super) fn of(history: &'a History) -> Result<Self, HistoryError> {
        let mut reading = Self {
            ops: history.operations(),
            watches: BTreeMap::new(),
            strays: Vec::new(),
            results: Vec::new(),
            acknowledged: Vec::new(),
            unknown: Vec::new(),
            logs: Vec::new(),
        };
        for (index, op) in history.operations().iter().enumerate() {
            Shape::agree(op, "the same at both of its events, but for what is answered")?;
            match op.f.as_ref() {
                "watch" => reading.watch(index, op)?,
                "unwatch" | "lost" => reading.end(index, op)?,
                "event" => reading.event(index, op)?,
                "write" => reading.write(index, op)?,
                "read" => reading.result(index, op, READ)?,
                "log" => {
                    let log = Shape::best(op, LOG).all()?.map(change);
                    reading.logs.push((index, log.collect::<Result<_, _>>()?));
                }
                _ => {
                    let known = ":watch, :unwatch, :event, :lost, :write, :read, :log";
                    return Err(unknown_f(op, known));
                }
            }
        }
        Ok(reading)
    }

    fn watch(&mut self, index: usize, op: &Operation) -> Result<(), HistoryError> {
        let shape = Shape::input(op, WATCH);
        let (key, is_prefix) = match shape.key_if_any("prefix") {
            Some(prefix) => (prefix, true),
            None => (shape.key("key")?, false),
        };
        let kinds = match shape.key_if_any("kinds") {
            Some(kinds) => kinds.all()?.map(kind).collect::<Result<_, _>>()?,
            None => ChangeKind::ALL.to_vec(),
        };
        let from = match op.outcome {
            Outcome::Ok => Some(Shape::output(op, WATCHING).count_at("from")?),
            Outcome::Info => None,
            Outcome::Fail => return Ok(()),
        };
        let watch = Watch {
            op: index,
            filter: WatchFilter { key: key.value.clone(), is_prefix, kinds },
            is_once: shape.key_if_any("once").is_some_and(|once| *once.value == true.into()),
            from,
            events: Vec::new(),
            end: None,
        };
        if self.watches.insert(watch_key(shape)?, watch).is_some() {
            let expected = "a watch's number to be used once in its session";
            return Err(HistoryError::new(op.input_at, expected, &op.input));
        }
        Ok(())
    }

    fn end(&mut self, index: usize, op: &Operation) -> Result<(), HistoryError> {
        let key = watch_key(Shape::input(op, WATCH_ID))?;
        if let Some(watch) = self.watches.get_mut(&key).filter(|_| op.outcome != Outcome::Fail) {
            watch.end.get_or_insert(index);
        }
        Ok(())
    }

    fn event(&mut self, index: usize, op: &Operation) -> Result<(), HistoryError> {
        let shape = Shape::best(op, EVENT);
        let key = watch_key(shape)?;
        let change = change(shape)?;
        match self.watches.get_mut(&key) {
            Some(watch) => watch.events.push((index, change)),
            None => self.strays.push((index, key)),
        }
        Ok(())
    }

    fn write(&mut self, index: usize, op: &Operation) -> Result<(), HistoryError> {
        Shape::input(op, WRITE).key("key")?;
        match op.outcome {
            Outcome::Ok => {
                let written = Shape::output(op, WRITTEN);
                self.acknowledged.push((index, change(written)?));
                self.result(index, op, WRITTEN)
            }
            Outcome::Info => {
                self.unknown.push(index);
                Ok(())
            }
            Outcome::Fail => Ok(()),
        }
    }

    fn result(
        &mut self,
        index: usize,
        op: &Operation,
        expected: &'static str,
    ) -> Result<(), HistoryError> {
        if op.outcome == Outcome::Ok {
            let shape = Shape::output(op, expected);
            let (session, revision) = (shape.count_at("session")?, shape.count_at("revision")?);
            self.results.push(Seen { op: index, session, revision });
        }
        Ok(())
    }
}

fn watch_key(shape: Shape<'_>) -> Result<WatchKey, HistoryError> {
    Ok((shape.count_at("session")?, shape.count_at("watch")?))
}

fn change(shape: Shape<'_>) -> Result<Change, HistoryError> {
    Ok(Change {
        revision: shape.count_at("revision")?,
        key: shape.key("key")?.value.clone(),
        kind: kind(shape.key("kind")?)?,
    })
}

fn kind(shape: Shape<'_>) -> Result<ChangeKind, HistoryError> {
    let name = shape.value.as_keyword();
    shape.need(ChangeKind::ALL.into_iter().find(|kind| Some(kind.name()) == name))
}
