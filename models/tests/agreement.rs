//! The search agrees with trying every order, on thousands of small random histories.

#[path = "support/rng.rs"]
mod rng;

use accord_models::check::linear::Call;
use accord_models::check::{Options, check};
use accord_models::edn::Value;
use accord_models::spec::{
    Lock, LockOp, Queue, QueueOp, Spec, Store, StoreOp, StoreResult, StoreStep,
};
use accord_models::{History, Model, OpId, Recorder, Verdict};
use rng::Rng;

/// Whether some order of some of `calls`, the required ones among them, respects real time and the
/// specification: tries them all.
fn has_order<S: Spec>(spec: &S, state: &S::State, calls: &[Call<S::Op>]) -> bool {
    let items: Vec<Item<'_, S>> =
        calls.iter().map(|call| Item { call, is_required: call.is_required() }).collect();
    has_order_after(spec, state, &items, 0)
}

/// A call that has to be ordered, or may be left out; if it is not, it keeps to its time.
struct Item<'a, S: Spec> {
    call: &'a Call<S::Op>,
    is_required: bool,
}

impl<S: Spec> Clone for Item<'_, S> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

fn has_order_after<S: Spec>(
    spec: &S,
    state: &S::State,
    left: &[Item<'_, S>],
    latest_invoked: u64,
) -> bool {
    if !left.iter().any(|item| item.is_required) {
        return true;
    }
    (0..left.len()).any(|number| {
        let call = left[number].call;
        let is_late = call.returned < latest_invoked;
        let skips = |other: &Item<'_, S>| other.is_required && other.call.returned < call.invoked;
        if is_late || left.iter().any(skips) {
            return false;
        }
        let rest = [&left[..number], &left[number + 1..]].concat();
        let latest = latest_invoked.max(call.invoked);
        let after = spec.step(state, &call.op);
        after.is_some_and(|after| has_order_after(spec, &after, &rest, latest))
    })
}

/// Calls by `clients` clients with random intervals; one in eight with an unknown outcome.
fn random_calls<Op>(rng: &mut Rng, count: u64, op: impl Fn(&mut Rng) -> Op) -> Vec<Call<Op>> {
    let mut outstanding: Vec<(u64, u64, Op)> = Vec::new();
    let mut calls = Vec::new();
    let (mut event, mut invoked_count) = (0, 0);
    while invoked_count < count || !outstanding.is_empty() {
        event += 1;
        if invoked_count < count && (outstanding.is_empty() || rng.below(2) == 0) {
            outstanding.push((invoked_count, event, op(rng)));
            invoked_count += 1;
            continue;
        }
        let (index, invoked, op) =
            outstanding.swap_remove(rng.below(outstanding.len() as u64) as usize);
        let returned = if rng.below(8) == 0 { u64::MAX } else { event };
        calls.push(Call { index: index as usize, op, invoked, returned });
    }
    calls.sort_by_key(|call| call.invoked);
    calls
}

/// How often each verdict was given, so that a test can insist on having seen both.
#[derive(Default)]
struct Seen {
    valid: u32,
    invalid: u32,
}

impl Seen {
    fn count(&mut self, is_valid: bool) {
        *(if is_valid { &mut self.valid } else { &mut self.invalid }) += 1;
    }

    fn assert_both(&self, at_least: u32) {
        assert!(self.valid >= at_least, "only {} valid histories", self.valid);
        assert!(self.invalid >= at_least, "only {} invalid histories", self.invalid);
    }
}

/// What one operation looks like in a history.
struct Written {
    f: &'static str,
    input: Value,
    output: Value,
}

fn history_of<Op>(calls: &[Call<Op>], write: impl Fn(&Op) -> Written) -> History {
    let mut events: Vec<(u64, usize)> = Vec::new();
    for (number, call) in calls.iter().enumerate() {
        events.push((call.invoked, number));
        events.extend(call.is_required().then_some((call.returned, number)));
    }
    events.sort_unstable();
    let mut recorder = Recorder::new(100);
    let mut ids: Vec<Option<OpId>> = calls.iter().map(|_| None).collect();
    for (event, number) in events {
        let Written { f, input, output } = write(&calls[number].op);
        match ids[number].take() {
            None => ids[number] = Some(recorder.invoke(number as u64, event, f, input)),
            Some(id) => recorder.ok(id, event, output),
        }
    }
    recorder.finish()
}

fn judge(history: &History, model: Model) -> Verdict {
    // What is judged is what a file would hold.
    let text = history.to_string();
    let read = accord_models::history::read(text.as_bytes()).unwrap();
    assert_eq!(read.to_string(), text);
    check(&read, model, &Options::default()).unwrap()
}

/// A store with the keys and values that random histories use.
fn small_store() -> Store {
    let values = |names: [i64; 2]| names.map(Value::Int);
    Store {
        keys: values([10, 11]).into(),
        values: [vec![Value::Nil], values([1, 2]).into()].concat(),
    }
}

fn keyed(key: u32, value: Value) -> Value {
    Value::vector([Value::Int(i64::from(key)), value])
}

fn number(value: u32) -> Value {
    if value == 0 { Value::Nil } else { Value::Int(i64::from(value)) }
}

/// A register's operation as a transaction: a read, a write, or a compare and a write.
fn write_register(op: &StoreOp) -> Written {
    match op.steps[..] {
        [StoreStep::Read(key, seen)] => Written {
            f: "read",
            input: keyed(key, Value::Nil),
            output: keyed(key, number(seen.unwrap())),
        },
        [StoreStep::Write(key, value)] => {
            let value = keyed(key, number(value));
            Written { f: "write", input: value.clone(), output: value }
        }
        [StoreStep::Compare(key, from), StoreStep::Write(_, to)] => {
            let value = keyed(key, Value::vector([number(from), number(to)]));
            Written { f: "cas", input: value.clone(), output: value }
        }
        _ => unreachable!("no register does this"),
    }
}

fn write_txn(op: &StoreOp) -> Written {
    let steps = |is_answer: bool| {
        Value::vector(op.steps.iter().map(|step| {
            let (f, key, value) = match *step {
                StoreStep::Read(key, seen) if is_answer => ("r", key, seen.unwrap()),
                StoreStep::Read(key, _) => ("r", key, 0),
                StoreStep::Write(key, value) => ("w", key, value),
                StoreStep::Compare(key, value) => ("cmp", key, value),
            };
            Value::vector([Value::keyword(f), Value::Int(i64::from(key)), number(value)])
        }))
    };
    let output = match op.result {
        StoreResult::Committed => steps(true),
        StoreResult::Aborted(at) => Value::map([("aborted", Value::Int(at as i64))]),
    };
    Written { f: "txn", input: steps(false), output }
}

/// That the checker says of `calls` what trying every order says, and that what it names as
/// contradictory cannot be ordered even if all else took effect at any time before its return.
fn assert_agreement(
    calls: &[Call<StoreOp>],
    model: Model,
    write: impl Fn(&StoreOp) -> Written,
) -> bool {
    let store = small_store();
    // The result of an operation that was never answered is not known.
    let forget = |call: &Call<StoreOp>| {
        let mut call = call.clone();
        if !call.is_required() {
            call.op.result = StoreResult::Committed;
            for step in &mut call.op.steps {
                if let StoreStep::Read(_, seen) = step {
                    *seen = None;
                }
            }
        }
        call
    };
    let calls: Vec<Call<StoreOp>> = calls.iter().map(forget).collect();
    let expected = has_order(&store, &store.initial(), &calls);
    let history = history_of(&calls, |op| {
        let mut op = op.clone();
        for step in &mut op.steps {
            if let StoreStep::Read(_, seen @ None) = step {
                *seen = Some(0);
            }
        }
        write(&op)
    });
    let verdict = judge(&history, model);
    assert_eq!(verdict.is_valid(), expected, "{verdict:?}\n{history}");
    if let Verdict::Invalid(explanation) = &verdict {
        let named = |number: &usize| explanation.operations.contains(number);
        // The contradiction is complete when one of its operations returns.
        let contradicts = |event: u64| {
            let mut relaxed = calls.clone();
            relaxed.retain(|call| call.invoked < event);
            for call in &mut relaxed {
                if !named(&call.index) {
                    call.invoked = 0;
                }
                if call.returned > event {
                    call.returned = u64::MAX;
                }
            }
            let item = |call| Item { call, is_required: call.is_required() && named(&call.index) };
            let items: Vec<Item<'_, Store>> = relaxed.iter().map(item).collect();
            !has_order_after(&store, &store.initial(), &items, 0)
        };
        let mut returns = explanation.operations.iter().map(|number| calls[*number].returned);
        let report = explanation.display(&history);
        assert!(returns.any(contradicts), "{report}\n{history}");
    }
    expected
}

#[test]
fn registers_are_judged_as_trying_every_order_does() {
    let mut seen = Seen::default();
    for seed in 0..6_000 {
        let mut rng = Rng::new(seed);
        let mut pick = |bound: u64| rng.below(bound) as u32;
        let (count, kinds) = (4 + u64::from(pick(3)), 2 + u64::from(pick(2)));
        let calls = random_calls(&mut rng, count, |rng| {
            let mut pick = |bound: u64| rng.below(bound) as u32;
            let key = u32::from(pick(4) == 0);
            let steps = match pick(kinds) {
                0 => vec![StoreStep::Read(key, Some(pick(3)))],
                1 => vec![StoreStep::Write(key, 1 + pick(2))],
                _ => vec![StoreStep::Compare(key, pick(3)), StoreStep::Write(key, 1 + pick(2))],
            };
            StoreOp { steps, result: StoreResult::Committed }
        });
        let model = if kinds == 2 { Model::Register } else { Model::CasRegister };
        seen.count(assert_agreement(&calls, model, write_register));
    }
    seen.assert_both(1_000);
}

#[test]
fn transactions_are_judged_as_trying_every_order_does() {
    let mut seen = Seen::default();
    for seed in 0..6_000 {
        let mut rng = Rng::new(seed);
        let count = 3 + rng.below(4);
        let calls = random_calls(&mut rng, count, |rng| {
            let mut pick = |bound: u64| rng.below(bound) as u32;
            let steps: Vec<StoreStep> = (0..=pick(2))
                .map(|_| match pick(5) {
                    0 | 1 => StoreStep::Read(pick(2), Some(pick(3))),
                    2 | 3 => StoreStep::Write(pick(2), pick(3)),
                    _ => StoreStep::Compare(pick(2), pick(3)),
                })
                .collect();
            let compares = |step: &StoreStep| matches!(step, StoreStep::Compare(..));
            let result = match steps.iter().position(compares) {
                Some(at) if pick(2) == 0 => StoreResult::Aborted(at),
                _ => StoreResult::Committed,
            };
            StoreOp { steps, result }
        });
        seen.count(assert_agreement(&calls, Model::Txn, write_txn));
    }
    seen.assert_both(900);
}

fn write_lock(op: &LockOp) -> Written {
    let value = |token: u64| Value::map([("lock", Value::keyword("l")), ("token", token.into())]);
    match *op {
        LockOp::Acquire { token } => {
            // A session for each hold: none of them expires.
            let entry = |key, value: u64| (Value::keyword(key), Value::from(value));
            let Value::Map(mut entries) = value(token) else { unreachable!("it is a map") };
            entries.push(entry("session", token));
            let output = Value::Map(entries.clone());
            entries.remove(1);
            Written { f: "acquire", input: Value::Map(entries), output }
        }
        LockOp::End { token } => Written { f: "release", input: value(token), output: Value::Nil },
        LockOp::Use { token } => Written { f: "use", input: value(token), output: Value::Nil },
    }
}

#[test]
fn locks_are_judged_as_trying_every_order_does() {
    let mut seen = Seen::default();
    for seed in 0..20_000 {
        let mut rng = Rng::new(seed);
        let count = 3 + rng.below(4);
        let mut calls = random_calls(&mut rng, count, |rng| {
            let token = 1 + rng.below(3);
            match rng.below(5) {
                0 | 1 => LockOp::Acquire { token },
                2 | 3 => LockOp::End { token },
                _ => LockOp::Use { token },
            }
        });
        // An acquisition that was never answered has no token to compare.
        calls.retain(|call| call.is_required() || !matches!(call.op, LockOp::Acquire { .. }));
        let expected = has_order(&Lock, &Lock.initial(), &calls);
        let history = history_of(&calls, write_lock);
        let verdict = judge(&history, Model::Lock);
        assert_eq!(verdict.is_valid(), expected, "{verdict:?}\n{history}");
        seen.count(expected);
    }
    seen.assert_both(500);
}

/// Lists that start empty. A transaction's steps are appends and reads with their results.
struct Lists;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ListStep {
    Append(usize, i64),
    /// A read; `None` if its result is not known.
    Read(usize, Option<Vec<i64>>),
}

impl Spec for Lists {
    type Op = Vec<ListStep>;
    type State = [Vec<i64>; 2];
    const FINITE: bool = false;

    fn initial(&self) -> Self::State {
        Self::State::default()
    }

    fn step(&self, state: &Self::State, op: &Self::Op) -> Option<Self::State> {
        let mut after = state.clone();
        for step in op {
            match step {
                ListStep::Append(key, value) => after[*key].push(*value),
                ListStep::Read(_, None) => {}
                ListStep::Read(key, Some(list)) if *list == after[*key] => {}
                ListStep::Read(..) => return None,
            }
        }
        Some(after)
    }

    fn is_pure(&self, _: &Self::Op) -> bool {
        false
    }

    fn describe(&self, state: &Self::State) -> String {
        format!("{state:?}")
    }
}

fn write_lists(op: &[ListStep]) -> Written {
    let steps = |is_answer: bool| {
        Value::vector(op.iter().map(|step| {
            let (f, key, value) = match step {
                ListStep::Append(key, value) => ("append", key, Value::Int(*value)),
                ListStep::Read(key, Some(list)) if is_answer => {
                    ("r", key, Value::vector(list.iter().map(|value| Value::Int(*value))))
                }
                ListStep::Read(key, _) => ("r", key, Value::Nil),
            };
            Value::vector([Value::keyword(f), Value::Int(*key as i64), value])
        }))
    };
    Written { f: "txn", input: steps(false), output: steps(true) }
}

/// Transactions whose reads see prefixes of one order of appends, mostly, so that many histories
/// are right and most wrong ones nearly so.
fn random_lists(rng: &mut Rng) -> Vec<Call<Vec<ListStep>>> {
    let count = 2 + rng.below(3);
    let value = std::cell::Cell::new(0);
    let mut calls = random_calls(rng, count, |rng| {
        let step = |rng: &mut Rng| match rng.below(2) {
            0 => {
                value.set(value.get() + 1);
                ListStep::Append(rng.below(2) as usize, value.get())
            }
            _ => ListStep::Read(rng.below(2) as usize, None),
        };
        (0..=rng.below(3)).map(|_| step(rng)).collect::<Vec<_>>()
    });
    let mut order: Vec<usize> = (0..calls.len()).collect();
    if rng.below(4) == 0 {
        order.reverse();
    }
    // Run the transactions in this order, with some reads falling behind by one append.
    let mut state: [Vec<i64>; 2] = Default::default();
    for number in order {
        let is_required = calls[number].is_required();
        if !is_required && rng.below(3) == 0 {
            continue;
        }
        for step in &mut calls[number].op {
            match step {
                ListStep::Append(key, value) => state[*key].push(*value),
                ListStep::Read(key, seen) if is_required => {
                    let length = state[*key].len();
                    let behind = usize::from(rng.below(4) == 0);
                    *seen = Some(state[*key][..length.saturating_sub(behind)].to_vec());
                }
                ListStep::Read(..) => {}
            }
        }
    }
    for step in calls.iter_mut().filter(|call| call.is_required()).flat_map(|call| &mut call.op) {
        if let ListStep::Read(_, seen @ None) = step {
            *seen = Some(Vec::new());
        }
    }
    calls
}

#[test]
fn list_transactions_are_judged_as_trying_every_order_does() {
    let (mut strict, mut loose) = (Seen::default(), Seen::default());
    for seed in 0..20_000 {
        let calls = random_lists(&mut Rng::new(seed));
        let history = history_of(&calls, |op| write_lists(op));
        let expected = has_order(&Lists, &Lists.initial(), &calls);
        let verdict = judge(&history, Model::ListAppend);
        assert_eq!(verdict.is_valid(), expected, "seed {seed}: {verdict:?}\n{history}");
        strict.count(expected);

        let options = Options { realtime: false, ..Options::default() };
        let verdict = check(&history, Model::ListAppend, &options).unwrap();
        let timeless: Vec<_> = calls
            .into_iter()
            .map(|call| Call { invoked: 0, returned: call.returned.max(u64::MAX - 1), ..call })
            .collect();
        let expected = has_order(&Lists, &Lists.initial(), &timeless);
        assert_eq!(verdict.is_valid(), expected, "seed {seed}: {verdict:?}\n{history}");
        loose.count(expected);
    }
    strict.assert_both(2_000);
    loose.assert_both(2_000);
    assert!(strict.invalid > loose.invalid, "real time must refuse some");
}

fn write_queue(op: &QueueOp) -> Written {
    let taken = |output: Value| Written { f: "dequeue", input: Value::Nil, output };
    match *op {
        QueueOp::Enqueue(value) => {
            Written { f: "enqueue", input: number(value), output: number(value) }
        }
        QueueOp::Dequeue(value) => taken(number(value)),
        QueueOp::DequeueEmpty | QueueOp::DequeueUnknown => taken(Value::Nil),
    }
}

#[test]
fn queues_are_judged_as_trying_every_order_does() {
    let mut seen = Seen::default();
    for seed in 0..30_000 {
        let mut rng = Rng::new(seed);
        let count = 3 + rng.below(5);
        let mut enqueued = std::collections::BTreeSet::new();
        let mut calls = random_calls(&mut rng, count, |rng| match rng.below(9) {
            0..4 => QueueOp::Enqueue(1 + rng.below(4) as u32),
            4..8 => QueueOp::Dequeue(1 + rng.below(3) as u32),
            _ => QueueOp::DequeueEmpty,
        });
        // Values are unique; a dequeue that was never answered has no value.
        calls.retain(|call| match call.op {
            QueueOp::Enqueue(value) => enqueued.insert(value),
            _ => true,
        });
        for call in calls.iter_mut().filter(|call| !call.is_required()) {
            if !matches!(call.op, QueueOp::Enqueue(_)) {
                call.op = QueueOp::DequeueUnknown;
            }
        }
        let queue = Queue { values: (0..5).map(Value::Int).collect() };
        let expected = has_order(&queue, &queue.initial(), &calls);
        let history = history_of(&calls, write_queue);
        let verdict = judge(&history, Model::Queue);
        assert_eq!(verdict.is_valid(), expected, "seed {seed}: {verdict:?}\n{history}");
        seen.count(expected);
    }
    seen.assert_both(3_000);
}
