//! Large histories of registers that are right, for tests and benches.

use accord_models::edn::Value;
use accord_models::{History, OpId, Recorder};

use crate::rng::Rng;

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
pub fn registers(operations: i64, keys: u64, unknown_every: u64) -> History {
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
                let is_unknown = unknown_every > 0 && rng.below(unknown_every) == 0;
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
