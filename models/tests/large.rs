//! Histories of the size that campaigns produce, and searches that end in time.

#[path = "support/registers.rs"]
mod registers;
#[path = "support/rng.rs"]
mod rng;

use accord_models::check::{Options, check};
use accord_models::edn::Value;
use accord_models::{Budget, History, Model, OpId, Recorder, Verdict};
use registers::registers;
use rng::Rng;

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
            if rng.below(2) == 0 {
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
