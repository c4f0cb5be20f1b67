//! Histories of the size that campaigns produce, and searches that end in time.

use accord_core::rng::Rng;
use accord_models::check::{Options, check};
use accord_models::edn::Value;
use accord_models::{Budget, History, Model, OpId, Recorder, Verdict};

/// An operation under way; its result, once it took effect.
struct Pending {
    id: OpId,
    key: i64,
    request: Request,
    result: Option<Result<Value, Value>>,
}

#[derive(Clone, Copy)]
enum Request {
    Read,
    Write(i64),
    Cas(i64, i64),
}

/// A history of `operations` on correct registers by 10 clients that overlap; one write in
/// `unknown_every` never gets its answer.
fn registers(operations: i64, keys: u64, unknown_every: u64) -> History {
    let mut rng = Rng::new(7);
    let mut registers: Vec<Value> = vec![Value::Nil; keys as usize];
    let mut pending: Vec<Option<Pending>> = (0..10).map(|_| None).collect();
    let mut recorder = Recorder::new(10);
    let mut time_ns = 0;
    while recorder.operations_count() < operations as usize {
        time_ns += 1;
        let client = rng.below(10) as usize;
        match pending[client].take() {
            None => {
                let (key, value) = (rng.below(keys) as i64, rng.below(5) as i64);
                let request = match rng.below(3) {
                    0 => Request::Read,
                    1 => Request::Write(value),
                    _ => Request::Cas(rng.below(5) as i64, value),
                };
                let keyed = |value| Value::vector([Value::Int(key), value]);
                let (f, value) = match request {
                    Request::Read => ("read", keyed(Value::Nil)),
                    Request::Write(value) => ("write", keyed(Value::Int(value))),
                    Request::Cas(from, to) => {
                        ("cas", keyed(Value::vector([Value::Int(from), Value::Int(to)])))
                    }
                };
                let id = recorder.invoke(client as u64, time_ns, f, value);
                pending[client] = Some(Pending { id, key, request, result: None });
            }
            Some(mut op) if op.result.is_none() => {
                op.result = Some(apply(&mut registers[op.key as usize], &op));
                pending[client] = Some(op);
            }
            Some(op) => {
                let is_write = !matches!(op.request, Request::Read);
                let is_unknown = unknown_every > 0 && rng.chance(1, unknown_every);
                match op.result.expect("it took effect") {
                    _ if is_unknown && is_write => {
                        recorder.unknown(op.id, time_ns, Value::keyword("timeout"));
                    }
                    Ok(value) => recorder.ok(op.id, time_ns, value),
                    Err(error) => recorder.fail(op.id, time_ns, error),
                }
            }
        }
    }
    recorder.finish()
}

fn apply(register: &mut Value, op: &Pending) -> Result<Value, Value> {
    let keyed = |value| Value::vector([Value::Int(op.key), value]);
    match op.request {
        Request::Read => Ok(keyed(register.clone())),
        Request::Write(value) => {
            *register = Value::Int(value);
            Ok(keyed(register.clone()))
        }
        Request::Cas(from, to) if *register == Value::Int(from) => {
            *register = Value::Int(to);
            Ok(keyed(Value::vector([Value::Int(from), Value::Int(to)])))
        }
        Request::Cas(..) => Err(Value::keyword("mismatch")),
    }
}

/// `history` with the last read's value changed to one that was never written.
fn with_a_wrong_read(history: &History) -> History {
    let text = history.to_string();
    let start = text.rfind(":type :ok, :f :read").unwrap();
    let (before, last) = text.split_at(start);
    let open = last.find('[').unwrap();
    let close = last.find(']').unwrap();
    let key = last[open + 1..close].split(' ').next().unwrap();
    let wrong = format!("{before}{}[{key} 99{}", &last[..open], &last[close..]);
    accord_models::history::read(wrong.as_bytes()).unwrap()
}

#[test]
fn ten_thousand_operations_of_fifty_keys_are_judged() {
    let history = registers(10_000, 50, 100);
    let options = Options::default();
    assert_eq!(check(&history, Model::CasRegister, &options).unwrap(), Verdict::Valid);
    let wrong = with_a_wrong_read(&history);
    let verdict = check(&wrong, Model::CasRegister, &options).unwrap();
    assert_eq!(verdict.explanation().unwrap().operations.len(), 1);
}

#[test]
fn a_single_busy_key_is_judged() {
    let history = registers(2_000, 1, 0);
    assert_eq!(check(&history, Model::CasRegister, &Options::default()).unwrap(), Verdict::Valid);
}

#[test]
fn what_the_budget_does_not_reach_is_undecided_and_not_valid() {
    let history = registers(2_000, 1, 0);
    let budget = Budget { steps_max: 500, ..Budget::default() };
    let options = Options { budget, ..Options::default() };
    let verdict = check(&history, Model::CasRegister, &options).unwrap();
    assert!(matches!(&verdict, Verdict::Undecided { why } if why.contains("ran out")));
    let budget = Budget { cache_bytes_max: 1_000, ..Budget::default() };
    let options = Options { budget, ..Options::default() };
    let verdict = check(&history, Model::CasRegister, &options).unwrap();
    assert!(matches!(verdict, Verdict::Undecided { .. }));
}

/// Transactions of appends and reads of lists, one after another in time or overlapping.
fn lists(transactions: i64) -> History {
    let mut rng = Rng::new(3);
    let mut lists: Vec<Vec<Value>> = vec![Vec::new(); 50];
    let mut recorder = Recorder::new(10);
    let mut waiting: Vec<(OpId, Value)> = Vec::new();
    for number in 0..transactions {
        let mut asked = Vec::new();
        let mut answered = Vec::new();
        for step in 0..3 {
            let key = rng.below(50) as usize;
            let name = Value::Int(key as i64);
            if rng.chance(1, 2) {
                let value = Value::Int(number * 3 + step);
                lists[key].push(value.clone());
                let append = Value::vector([Value::keyword("append"), name, value]);
                asked.push(append.clone());
                answered.push(append);
            } else {
                asked.push(Value::vector([Value::keyword("r"), name.clone(), Value::Nil]));
                let list = Value::Vector(lists[key].clone());
                answered.push(Value::vector([Value::keyword("r"), name, list]));
            }
        }
        let id = recorder.invoke(number as u64 % 10, number as u64, "txn", Value::Vector(asked));
        waiting.push((id, Value::Vector(answered)));
        while waiting.len() > rng.below(10) as usize {
            let (id, answer) = waiting.swap_remove(rng.below(waiting.len() as u64) as usize);
            recorder.ok(id, number as u64, answer);
        }
    }
    recorder.finish()
}

#[test]
fn thousands_of_list_transactions_are_judged() {
    let history = lists(3_000);
    assert_eq!(check(&history, Model::ListAppend, &Options::default()).unwrap(), Verdict::Valid);
}
