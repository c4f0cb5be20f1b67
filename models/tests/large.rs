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

/// A watch of each of many sessions over changes that are acknowledged, and results in between.
fn watches(changes: u64, sessions: u64, prefixes: bool, gives_log: bool) -> History {
    let mut recorder = Recorder::new(sessions + 1);
    let of = |session: u64| [("session", Value::from(session)), ("watch", Value::Int(1))];
    let key = |number: u64| Value::text(format!("k{number}/"));
    let filter = if prefixes { "prefix" } else { "key" };
    for session in 0..sessions {
        let watch = of(session).into_iter().chain([(filter, key(session))]);
        let id = recorder.invoke(session, 0, "watch", Value::map(watch.clone()));
        recorder.ok(id, 0, Value::map(watch.chain([("from", Value::Int(0))])));
    }
    let change = |revision: u64| {
        let kind = ("kind", Value::keyword("changed"));
        [("revision", Value::from(revision)), ("key", key(revision % sessions)), kind]
    };
    for revision in 1..=changes {
        let session = revision % sessions;
        let writer = ("session", Value::from(sessions));
        let asked = [writer.clone(), ("key", key(session))];
        let id = recorder.invoke(sessions, 0, "write", Value::map(asked));
        recorder.ok(id, 0, Value::map(change(revision).into_iter().chain([writer])));
        let event = of(session).into_iter().chain(change(revision));
        recorder.observe(session, 0, "event", Value::map(event));
        let seen = [("session", Value::from(session)), ("revision", Value::from(revision))];
        recorder.observe(session, 0, "read", Value::map(seen));
    }
    if gives_log {
        let log = Value::vector((1..=changes).map(|revision| Value::map(change(revision))));
        recorder.observe(sessions, 0, "log", log);
    }
    recorder.finish()
}

/// In time that grows with the square of its size, ten thousand watches take most of a minute.
#[test]
fn many_watches_of_many_changes_are_judged() {
    for (sessions, prefixes, gives_log) in
        [(1, false, false), (100, true, true), (2_000, true, false), (10_000, false, true)]
    {
        let history = watches(60_000, sessions, prefixes, gives_log);
        let verdict = check(&history, Model::Watch, &Options::default()).unwrap();
        assert_eq!(verdict, Verdict::Valid, "{sessions} sessions");
    }
}

#[test]
fn a_cycle_says_what_graver_kinds_the_budget_left_out() {
    let text = include_str!("histories/append-read-skew.wrong.edn");
    let history = accord_models::history::read(text.as_bytes()).unwrap();
    let mut said = std::collections::BTreeSet::new();
    for steps_max in 0..60 {
        let budget = Budget { steps_max, ..Budget::default() };
        let options = Options { budget, ..Options::default() };
        match check(&history, Model::ListAppend, &options).unwrap() {
            Verdict::Undecided { .. } => {}
            Verdict::Invalid(why) => {
                let notes = why.notes.join(" ");
                let cut = notes.contains("graver kinds were searched for to the end");
                assert_eq!(why.anomaly == "G2", cut && notes.contains("G-single"), "{notes}");
                said.insert(why.anomaly);
            }
            Verdict::Valid => panic!("a budget of {steps_max} steps made it valid"),
        }
    }
    let said: Vec<String> = said.into_iter().collect();
    assert_eq!(said, ["G-single", "G2"]);
}
