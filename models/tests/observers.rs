//! Watches and sessions: right worlds are accepted, and any one thing changed in what an observer
//! was told is refused.

#[path = "support/rng.rs"]
mod rng;

use std::collections::BTreeSet;

use accord_models::check::{Options, check};
use accord_models::edn::Value;
use accord_models::{History, Model, Recorder, Verdict};
use rng::Rng;

fn int(n: u64) -> Value {
    Value::from(n)
}

fn judge(history: &History, model: Model) -> Verdict {
    check(history, model, &Options::default()).unwrap()
}

/// What happens to the one watch of a random world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// It reports the change with this revision.
    Event(u64),
    /// Its session sees a result of this revision.
    Result(u64),
}

/// A history of a watch on the key "a", later than revision `from`, over a log in which `is_a` says
/// for each revision from 1 whether it changed "a" or another key.
fn watch_history(is_a: &[bool], from: u64, told: &[Told], gives_log: bool) -> History {
    let key = |revision: u64| Value::text(if is_a[revision as usize - 1] { "a" } else { "b" });
    let change = |revision: u64| {
        [("revision", int(revision)), ("key", key(revision)), ("kind", Value::keyword("changed"))]
    };
    let mut recorder = Recorder::new(4);
    let watch = [("session", int(1)), ("watch", int(1)), ("key", Value::text("a"))];
    let id = recorder.invoke(0, 0, "watch", Value::map(watch.clone()));
    recorder.ok(id, 0, Value::map(watch.into_iter().chain([("from", int(from))])));
    for revision in 1..=is_a.len() as u64 {
        let asked = [("session", int(2)), ("key", key(revision))];
        let id = recorder.invoke(1, 0, "write", Value::map(asked));
        let written = change(revision).into_iter().chain([("session", int(2))]);
        recorder.ok(id, 0, Value::map(written));
    }
    for item in told {
        match *item {
            Told::Event(revision) => {
                let event = [("session", int(1)), ("watch", int(1))].into_iter();
                recorder.observe(0, 0, "event", Value::map(event.chain(change(revision))));
            }
            Told::Result(revision) => {
                let result = [("session", int(1)), ("revision", int(revision))];
                recorder.observe(0, 0, "read", Value::map(result));
            }
        }
    }
    if gives_log {
        let log = (1..=is_a.len() as u64).map(|revision| Value::map(change(revision)));
        recorder.observe(3, 0, "log", Value::vector(log));
    }
    recorder.finish()
}

/// The promise in its plainest form: the events are those due, in order, up to some point, and no
/// result comes before an event that it reflects.
fn watch_is_right(is_a: &[bool], from: u64, told: &[Told]) -> bool {
    let revisions = (from + 1)..=(is_a.len() as u64);
    let mut due = revisions.filter(|revision| is_a[*revision as usize - 1]).peekable();
    told.iter().all(|item| match item {
        Told::Event(revision) => due.next() == Some(*revision),
        Told::Result(revision) => due.peek().is_none_or(|next| next > revision),
    })
}

#[test]
fn watches_are_judged_as_the_promise_says() {
    let (mut right, mut wrong) = (0, 0);
    for seed in 0..20_000 {
        let mut rng = Rng::new(seed);
        let is_a: Vec<bool> = (0..1 + rng.below(5)).map(|_| rng.below(3) > 0).collect();
        let count = is_a.len() as u64;
        let from = rng.below(count);
        let mut told = Vec::new();
        let mut state = from;
        for revision in from + 1..=count {
            state = if rng.below(4) > 0 { revision } else { state };
            if is_a[revision as usize - 1] && rng.below(8) > 0 {
                told.push(Told::Event(revision));
            }
            if rng.below(2) == 0 {
                told.push(Told::Result(state));
            }
        }
        if !told.is_empty() && rng.below(3) == 0 {
            let length = told.len() as u64;
            told.swap(rng.below(length) as usize, rng.below(length) as usize);
        }
        if !told.is_empty() && rng.below(8) == 0 {
            told.push(told[rng.below(told.len() as u64) as usize]);
        }
        let expected = watch_is_right(&is_a, from, &told);
        let history = watch_history(&is_a, from, &told, rng.below(2) == 0);
        let verdict = judge(&history, Model::Watch);
        assert_eq!(verdict.is_valid(), expected, "seed {seed}: {verdict:?}\n{history}");
        *(if expected { &mut right } else { &mut wrong }) += 1;
    }
    assert!(right > 3_000 && wrong > 3_000, "{right} right, {wrong} wrong");
}

/// A session that joins or leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    joined: bool,
    session: u64,
}

/// A random sequence of joins and leaves; revisions are places in it, from 1.
fn random_changes(rng: &mut Rng) -> Vec<Change> {
    let mut members: Vec<u64> = Vec::new();
    let mut changes = Vec::new();
    for session in 1..=6 {
        members.push(session);
        changes.push(Change { joined: true, session });
        if rng.below(3) == 0 {
            let session = members.swap_remove(rng.below(members.len() as u64) as usize);
            changes.push(Change { joined: false, session });
        }
    }
    changes
}

/// What one observer is told: revision, change, members afterwards.
type Notice = (u64, u64, Change, BTreeSet<u64>);

/// What every session is told while it is a member: all changes from its own joining on.
fn notices(changes: &[Change], rng: &mut Rng) -> Vec<Notice> {
    let mut members = BTreeSet::new();
    let mut notices = Vec::new();
    for (number, change) in changes.iter().enumerate() {
        let was_told = members.clone();
        if change.joined {
            members.insert(change.session);
        } else {
            members.remove(&change.session);
        }
        for observer in
            was_told.intersection(&members).copied().chain(change.joined.then_some(change.session))
        {
            notices.push((observer, number as u64 + 1, *change, members.clone()));
        }
    }
    // Observers are told at different times, each in its order.
    for _ in 0..notices.len() * 2 {
        let at = rng.below(notices.len() as u64 - 1) as usize;
        if notices[at].0 != notices[at + 1].0 {
            notices.swap(at, at + 1);
        }
    }
    notices
}

fn session_history(notices: &[Notice], with_members: bool) -> History {
    let mut recorder = Recorder::new(10);
    for (observer, revision, change, members) in notices {
        let kind = Value::keyword(if change.joined { "joined" } else { "left" });
        let mut entries = vec![
            ("observer", int(*observer)),
            ("revision", int(*revision)),
            ("kind", kind),
            ("session", int(change.session)),
        ];
        if with_members {
            entries.push(("members", Value::vector(members.iter().map(|member| int(*member)))));
        }
        recorder.observe(*observer, 0, "member", Value::map(entries));
    }
    recorder.finish()
}

#[test]
fn sessions_that_are_told_the_truth_are_accepted_and_a_lie_is_refused() {
    for seed in 0..4_000 {
        let mut rng = Rng::new(seed);
        let truth = notices(&random_changes(&mut rng), &mut rng);
        for with_members in [true, false] {
            let history = session_history(&truth, with_members);
            let verdict = judge(&history, Model::Session);
            assert!(verdict.is_valid(), "seed {seed}: {verdict:?}\n{history}");
        }
        let mut told = truth.clone();
        let at = rng.below(told.len() as u64) as usize;
        let observer = told[at].0;
        let its = |told: &[Notice]| -> Vec<usize> {
            (0..told.len()).filter(|n| told[*n].0 == observer).collect()
        };
        let places = its(&told);
        match rng.below(4) {
            0 if places.len() > 2 => {
                // One is left out between its first and its last, which others were told.
                let revision = told[places[1]].1;
                if told.iter().filter(|notice| notice.1 == revision).count() < 2 {
                    continue;
                }
                told.remove(places[1]);
            }
            1 => told.insert(at + 1, told[at].clone()),
            2 if places.len() > 1 => told.swap(places[0], places[1]),
            _ => {
                // The first that anybody is told of a revision has to be believed.
                let is_known = told.iter().filter(|notice| notice.1 == told[at].1).count() > 1;
                if places[0] == at && !is_known {
                    continue;
                }
                let members = &mut told[at].3;
                assert!(members.insert(99));
            }
        }
        let history = session_history(&told, true);
        assert!(!judge(&history, Model::Session).is_valid(), "seed {seed}\n{history}");
    }
}
