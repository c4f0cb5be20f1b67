//! Session churn: sessions are opened, moved, closed and left to expire while their requests are
//! under way, and are sent again over each new connection; every request must take effect exactly
//! once.
//!
//! The requests add one to counters, several at a time, and are told the sum. So an addition that
//! was done twice, lost, or answered and then undone is seen in the sums: see [`fault`]. Each
//! session's own additions take effect in the order in which it made them, and a session knows of
//! the requests that it was answered.

use super::ledger::{Answer, Entry, Ledger};
use super::{ClientCtx, Intent, Workload, WorkloadKind, get};
use crate::judge::Property;
use crate::plan::options::Options;
use crate::plan::rng::{Concern, Rng};
use crate::world::env::Surroundings;
use accord_core::client::{ClientEvent, ReadId};
use accord_core::ids::RequestId;
use accord_core::protocol::Consistency;
use accord_core::state::{
    Flags, Outcome, ReadQuery, ReadResult, Step, StepResult, Txn, TxnOutcome, Width,
};
use accord_models::edn::Value;
use accord_models::{History, Outcome as Known};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Additions that a client makes at once, at most.
const BURST_MAX: u64 = 4;

/// What one life was told.
#[derive(Debug, Default)]
struct Life {
    /// The sums by counter and request.
    sums: BTreeMap<(u64, RequestId), u64>,
    /// The last request that was answered.
    answered: RequestId,
    /// Questions for the session, with the last request that had been answered before.
    asks: BTreeMap<ReadId, RequestId>,
    /// Counters read in the end.
    read: u64,
}

/// The workload.
#[derive(Debug)]
pub struct Churn {
    counters: u64,
    /// What is remembered of an operation: the counter.
    ledger: Ledger<u64>,
    lives: BTreeMap<u64, Life>,
}

impl Churn {
    /// Nothing was done so far.
    pub fn new(options: &Options) -> Self {
        let mut rng = Rng::of(options.seed, Concern::Workload, 1003);
        Self {
            counters: rng.within(1, 3),
            ledger: Ledger::new(options.clients + 1),
            lives: BTreeMap::new(),
        }
    }

    fn life(&mut self, life: u64) -> &mut Life {
        self.lives.entry(life).or_default()
    }

    fn add(&mut self, ctx: &mut ClientCtx<'_>) {
        let (width, flags) = (Width::Eight, Flags::CREATE);
        for _ in 0..ctx.rng.within(1, BURST_MAX) {
            let counter = ctx.rng.below(self.counters);
            let key = name(counter);
            let step = Step::Increment { key, delta: 1, offset: None, width, flags };
            let input = pair(counter, Value::Nil);
            self.ledger.submit(ctx, &Txn::of(vec![step]), "add", input, counter);
        }
    }

    fn read(&mut self, ctx: &mut ClientCtx<'_>, counter: u64) {
        let query = get(name(counter), 8);
        self.ledger.read(ctx, query, "read", pair(counter, Value::Nil), counter);
    }

    /// Asks what the servers know of the session.
    fn ask(&mut self, ctx: &mut ClientCtx<'_>) {
        let Some(session) = ctx.session() else { return };
        let query = ReadQuery::Session { session };
        if let Some(read) = ctx.read(query, Consistency::Linearizable) {
            let life = self.life(ctx.life);
            life.asks.insert(read, life.answered);
        }
    }

    fn on_asked(&self, ctx: &mut ClientCtx<'_>, answered: RequestId, result: &ReadResult) {
        match result {
            ReadResult::Session(info) if info.last >= answered => {}
            // It has ended; that will be said.
            ReadResult::NotFound => {}
            other => {
                let detail = format!("a session that was answered {answered} is {other:?}");
                ctx.fail(format!("churn: {detail}"));
            }
        }
    }

    /// A session's requests take effect in their order.
    fn on_sum(&mut self, ctx: &mut ClientCtx<'_>, counter: u64, request: RequestId, sum: u64) {
        let sums = &mut self.life(ctx.life).sums;
        let before = sums.range(..(counter, request)).next_back();
        let before = before.filter(|((other, _), _)| *other == counter);
        let after = sums.range((counter, request.next())..).next();
        let after = after.filter(|((other, _), _)| *other == counter);
        let ordered = before.is_none_or(|(_, before)| *before < sum)
            && after.is_none_or(|(_, after)| sum < *after);
        if !ordered {
            let detail = format!("{request} gave {sum}, between {before:?} and {after:?}");
            return ctx.fail(format!("churn: requests ran out of order: {detail}"));
        }
        sums.insert((counter, request), sum);
    }

    fn on_number(&mut self, ctx: &mut ClientCtx<'_>, entry: Entry<u64>, result: &ReadResult) {
        let sum = match result {
            ReadResult::NotFound => Some(0),
            ReadResult::Value { value, .. } => value[..].try_into().ok().map(u64::from_le_bytes),
            _ => None,
        };
        let Some(sum) = sum else {
            return ctx.fail(format!("churn: a counter came back as {result:?}"));
        };
        if !ctx.env.stormy {
            let life = self.life(ctx.life);
            life.read = life.read.max(entry.memo + 1);
        }
        let output = pair(entry.memo, Value::from(sum));
        self.ledger.ok(ctx.time_ns(), entry.id, output);
    }
}

impl Workload for Churn {
    fn kind(&self) -> WorkloadKind {
        WorkloadKind::Churn
    }

    fn step(&mut self, ctx: &mut ClientCtx<'_>) {
        match ctx.rng.below(100) {
            0..=4 => ctx.close(),
            5..=7 => ctx.intend(Intent::Vanish),
            8..=19 => {
                self.add(ctx);
                ctx.intend(Intent::HangUp);
            }
            20..=74 => self.add(ctx),
            75..=89 => {
                let counter = ctx.rng.below(self.counters);
                self.read(ctx, counter);
            }
            _ => self.ask(ctx),
        }
    }

    fn on_event(&mut self, ctx: &mut ClientCtx<'_>, event: &ClientEvent) {
        if let ClientEvent::ReadDone { read, result, .. } = event
            && let Some(answered) = self.life(ctx.life).asks.remove(read)
        {
            return self.on_asked(ctx, answered, result);
        }
        if let ClientEvent::Done { request, outcome: Outcome::Txn(_) } = event {
            let life = self.life(ctx.life);
            life.answered = life.answered.max(*request);
        }
        match (self.ledger.settle(ctx, event), event) {
            (
                Some(Answer::Txn(entry, TxnOutcome::Committed { results, .. })),
                ClientEvent::Done { request, .. },
            ) => match results.first() {
                Some(StepResult::Incremented { value, .. }) => {
                    let output = pair(entry.memo, Value::from(*value));
                    self.ledger.ok(ctx.time_ns(), entry.id, output);
                    self.on_sum(ctx, entry.memo, *request, *value);
                }
                other => ctx.fail(format!("churn: an addition came back as {other:?}")),
            },
            (Some(Answer::Txn(entry, TxnOutcome::Aborted { error, .. })), _) => {
                self.ledger.fail(ctx.time_ns(), entry.id, error.to_string());
            }
            (Some(Answer::Read(entry, _, result)), _) => self.on_number(ctx, entry, &result),
            _ => {}
        }
    }

    fn on_life_ended(&mut self, life: u64, time_ns: u64) {
        self.ledger.end_life(life, time_ns);
        self.lives.remove(&life);
    }

    fn conclude(&mut self, ctx: &mut ClientCtx<'_>) -> bool {
        let next = self.life(ctx.life).read;
        if next < self.counters {
            self.read(ctx, next);
        }
        next >= self.counters
    }

    fn check(&mut self, env: &mut Surroundings) {
        if let Some(fault) = fault(self.ledger.history()) {
            env.fail(Property::Workload, format!("churn: {fault}"));
        }
    }

    fn history(&mut self) -> &History {
        self.ledger.history()
    }
}

fn name(counter: u64) -> Bytes {
    Bytes::from(format!("c/{counter}"))
}

fn pair(counter: u64, sum: Value) -> Value {
    Value::vector([Value::from(counter), sum])
}

/// One side of an operation, in the order of the history.
#[derive(Clone, Copy, Debug)]
enum Side {
    Invoked,
    Returned,
}

/// What is wrong with a history of additions and reads, if anything is.
///
/// A sum is told to one addition only. It is greater than every sum told before the addition began
/// (a read's: not smaller), and no greater than the number of additions that may have taken effect
/// by the time of the answer.
fn fault(history: &History) -> Option<String> {
    let mut sides: Vec<(u64, usize, Side)> = Vec::new();
    for (index, op) in history.operations().iter().enumerate() {
        sides.push((op.invoked.event, index, Side::Invoked));
        if op.outcome == Known::Ok {
            sides.push((op.returned(), index, Side::Returned));
        }
    }
    sides.sort_unstable_by_key(|(event, ..)| *event);
    let mut counters: BTreeMap<Option<i64>, Sums> = BTreeMap::new();
    sides.into_iter().find_map(|(_, index, side)| {
        let op = &history.operations()[index];
        let items = if op.outcome == Known::Ok { op.output.items() } else { op.input.items() };
        let [counter, sum] = items? else { return None };
        let sums = counters.entry(counter.as_int()).or_default();
        let is_add = op.f == "add";
        let why = match side {
            Side::Invoked => {
                sums.floors.insert(index, sums.told);
                sums.additions += u64::from(is_add && op.outcome != Known::Fail);
                return None;
            }
            Side::Returned => sums.on_sum(index, is_add, sum.as_count()?)?,
        };
        Some(format!("{} of counter {counter} gave {sum}: {why}", op.f))
    })
}

/// What was told of one counter.
#[derive(Debug, Default)]
struct Sums {
    /// Additions that began and may take effect.
    additions: u64,
    /// The greatest sum told.
    told: u64,
    /// What had been told when each operation began.
    floors: BTreeMap<usize, u64>,
    /// Sums told to additions.
    of_additions: BTreeMap<u64, usize>,
}

impl Sums {
    fn on_sum(&mut self, index: usize, is_add: bool, sum: u64) -> Option<String> {
        let floor = self.floors.get(&index).copied().unwrap_or(0) + u64::from(is_add);
        if sum < floor {
            return Some(format!("{floor} was the least it could give"));
        }
        if sum > self.additions {
            return Some(format!("only {} additions had begun", self.additions));
        }
        if is_add && self.of_additions.insert(sum, index).is_some() {
            return Some("another addition gave the same".to_owned());
        }
        self.told = self.told.max(sum);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use accord_models::Recorder;

    /// Operations one after another: an addition or a read, and the sum; none: never answered.
    fn history(operations: &[(&'static str, Option<u64>)]) -> History {
        let mut recorder = Recorder::new(1);
        for (time, (f, sum)) in (0..).zip(operations) {
            let op = recorder.invoke(0, time, *f, pair(0, Value::Nil));
            if let Some(sum) = sum {
                recorder.ok(op, time, pair(0, Value::from(*sum)));
            }
        }
        recorder.finish()
    }

    #[test]
    fn sums_without_gaps_and_gaps_that_an_unanswered_addition_explains_are_accepted() {
        assert_eq!(fault(&history(&[("add", Some(1)), ("read", Some(1)), ("add", Some(2))])), None);
        assert_eq!(fault(&history(&[("add", None), ("read", Some(0)), ("add", Some(2))])), None);
        assert_eq!(fault(&history(&[("add", None), ("read", Some(0)), ("read", Some(1))])), None);
    }

    #[test]
    fn an_addition_done_twice_lost_or_undone_is_refused() {
        let twice = [("add", Some(2))];
        let lost = [("add", Some(1)), ("add", Some(1))];
        let undone = [("add", Some(1)), ("read", Some(0))];
        let behind = [("add", None), ("read", Some(1)), ("add", Some(1))];
        for wrong in [&twice[..], &lost, &undone, &behind] {
            assert!(fault(&history(wrong)).is_some(), "{wrong:?}");
        }
    }
}
