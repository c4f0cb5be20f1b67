//! What each step does, as rows: what is there, what is asked, what comes of it.

use crate::support::*;
use accord_core::ids::Revision;
use accord_core::limits::Limits;
use accord_core::state::{
    Branch, Compare, Flags, ListQuery, Outcome, Range, Relation, Step, StepError, StepResult, Txn,
    TxnOutcome, Width,
};
use bytes::Bytes;

const NONE: Flags = Flags::NONE;
const CREATE: Flags = Flags::CREATE;
const EXCL: Flags = Flags::CREATE.with(Flags::EXCLUSIVE);
const APPEND: Flags = Flags::APPEND;

/// Runs `steps` on a store with `a` = "alpha" and `n` = 4 bytes of 7, and compares with what is
/// expected: the value of `a` afterwards, or the step that fails and why. After a failure nothing
/// must have changed.
fn row(steps: Vec<Step>, expected: Result<&str, (u32, StepError)>) {
    let mut world = World::new(Limits::tiny());
    world.commit(vec![put("a", "alpha"), put("n", "\x07\0\0\0")]);
    let before = (world.contents(), world.state.revision());
    let outcome = world.run(Txn::of(steps.clone()));
    match (expected, outcome) {
        (Ok(value), Outcome::Txn(TxnOutcome::Committed { results, .. })) => {
            assert_eq!(results.len(), steps.len(), "{steps:?}: one result for each step");
            let found = world.value("a").unwrap_or_default();
            assert_eq!(found.escape_ascii().to_string(), value, "{steps:?}");
        }
        (Err((step, error)), Outcome::Txn(aborted)) => {
            let branch = Branch::Then;
            assert_eq!(aborted, TxnOutcome::Aborted { branch, step, error }, "{steps:?}");
            assert_eq!(before, (world.contents(), world.state.revision()), "{steps:?}");
            assert_eq!(world.events(), Vec::<String>::new(), "{steps:?}");
        }
        (expected, found) => panic!("{steps:?}: expected {expected:?}, found {found:?}"),
    }
}

#[test]
fn writes_as_in_the_first_accord() {
    row(vec![write("a", "AL", 0, NONE)], Ok("ALpha"));
    row(vec![write("a", "PH", 2, NONE)], Ok("alPHa"));
    row(vec![write("a", "BET", 4, NONE)], Ok("alphBET"));
    row(vec![write("a", "!", 7, NONE)], Ok(r"alpha\x00\x00!"));
    row(vec![write("a", "", 0, NONE)], Ok("alpha"));
    row(vec![write("a", "", 7, NONE)], Ok(r"alpha\x00\x00"));
    row(vec![write("a", "+", 0, APPEND)], Ok("alpha+"));
    row(vec![write("a", "+", 99, APPEND)], Ok("alpha+"));
    row(vec![write("a", "+", 0, APPEND), write("a", "+", 0, APPEND)], Ok("alpha++"));
    row(vec![write("a", "x", 0, CREATE)], Ok("xlpha"));
    row(vec![write("a", "x", 0, Flags::EXCLUSIVE)], Ok("xlpha"));
    row(vec![write("a", "x", 0, EXCL)], Err((0, StepError::Exists)));
    row(vec![write("b", "x", 0, NONE)], Err((0, StepError::NotFound)));
    row(vec![write("b", "x", 0, APPEND)], Err((0, StepError::NotFound)));
    row(vec![write("b", "x", 0, EXCL), get("b")], Ok("alpha"));
    row(vec![write("b", "x", 9, CREATE | APPEND), Step::Compare(cmp("b", "x"))], Ok("alpha"));
    row(vec![write("b", "x", 2, CREATE), Step::Compare(cmp("b", "\0\0x"))], Ok("alpha"));
}

#[test]
fn a_replacing_write_drops_what_was_there() {
    row(vec![write("a", "z", 0, Flags::REPLACE)], Ok("z"));
    row(vec![write("a", "z", 2, Flags::REPLACE)], Ok(r"\x00\x00z"));
    row(vec![write("a", "z", 2, Flags::REPLACE | APPEND)], Ok("z"));
    row(vec![write("a", "", 0, Flags::REPLACE)], Ok(""));
    row(vec![write("b", "z", 0, Flags::REPLACE)], Err((0, StepError::NotFound)));
}

#[test]
fn reads_are_short_at_the_end() {
    for (offset, length_max, expected) in
        [(0, 99, "alpha"), (1, 2, "lp"), (3, 9, "ha"), (5, 1, ""), (u64::MAX, u64::MAX, "")]
    {
        let mut world = World::new(Limits::tiny());
        world.commit(vec![put("a", "alpha")]);
        match &world.commit(vec![read("a", offset, length_max)])[..] {
            [StepResult::Read { value, stat }] => {
                assert_eq!((&value[..], stat.size), (expected.as_bytes(), 5));
            }
            other => panic!("{other:?}"),
        }
    }
    row(vec![get("b")], Err((0, StepError::NotFound)));
}

#[test]
fn deletes_and_copies() {
    row(vec![delete("a")], Ok(""));
    row(vec![delete("b")], Err((0, StepError::NotFound)));
    row(vec![delete("a"), delete("a")], Err((1, StepError::NotFound)));
    row(vec![delete("a"), put("a", "new")], Ok("new"));
    row(vec![copy("a", "b", NONE)], Err((0, StepError::NotFound)));
    row(vec![copy("b", "a", NONE)], Err((0, StepError::NotFound)));
    row(vec![copy("a", "b", CREATE), Step::Compare(cmp("b", "alpha"))], Ok("alpha"));
    row(vec![copy("a", "n", EXCL)], Err((0, StepError::Exists)));
    row(vec![copy("a", "b", EXCL)], Ok("alpha"));
    row(vec![copy("n", "a", NONE)], Ok(r"\x07\x00\x00\x00"));
    row(vec![copy("a", "a", NONE)], Ok("alpha"));
    // Swap two keys, as the first Accord's tests do.
    let swap = vec![copy("a", "t", CREATE), copy("n", "a", NONE), copy("t", "n", NONE)];
    row(
        [swap, vec![delete("t"), Step::Compare(cmp("n", "alpha"))]].concat(),
        Ok(r"\x07\x00\x00\x00"),
    );
}

fn add(key: &str, delta: i64, offset: Option<u64>, width: Width, flags: Flags) -> Step {
    Step::Increment { key: b(key), delta, offset, width, flags }
}

#[test]
fn increments_wrap_and_need_a_number() {
    let four = |key, delta| add(key, delta, None, Width::Four, NONE);
    let is = |value: &'static [u8]| {
        let (key, relation, value) = (b("n"), Relation::Equal, Bytes::from_static(value));
        Step::Compare(Compare::Value { key, relation, value })
    };
    row(vec![four("n", 1), is(b"\x08\0\0\0")], Ok("alpha"));
    row(vec![four("n", -8), is(b"\xff\xff\xff\xff")], Ok("alpha"));
    row(vec![four("n", i64::from(u32::MAX)), is(b"\x06\0\0\0")], Ok("alpha"));
    row(vec![four("n", 1 << 32), is(b"\x07\0\0\0")], Ok("alpha"));
    row(vec![four("a", 1)], Err((0, StepError::NotANumber)));
    row(vec![four("b", 1)], Err((0, StepError::NotFound)));
    row(vec![add("n", 1, None, Width::Eight, NONE)], Err((0, StepError::NotANumber)));
    row(vec![add("a", 1, Some(1), Width::Four, NONE)], Ok("ampha"));
    row(vec![add("a", 1, Some(2), Width::Four, NONE)], Err((0, StepError::NotANumber)));
    row(vec![add("a", 1, Some(u64::MAX), Width::Four, NONE)], Err((0, StepError::NotANumber)));
    row(vec![add("c", -1, None, Width::Eight, CREATE), get("c")], Ok("alpha"));
    row(vec![add("c", 5, Some(3), Width::Four, CREATE), get("c")], Ok("alpha"));
    let mut world = World::new(Limits::tiny());
    let results = world.commit(vec![
        add("c", -1, None, Width::Eight, CREATE),
        add("c", 3, None, Width::Eight, CREATE),
    ]);
    let (first, second) = (u64::MAX, 2);
    assert_eq!(
        results,
        [
            StepResult::Incremented { value: first, version: 1 },
            StepResult::Incremented { value: second, version: 2 },
        ]
    );
    assert_eq!(world.value("c"), Some(vec![2, 0, 0, 0, 0, 0, 0, 0]));
}

#[test]
fn comparisons_hold_fail_or_miss_their_key() {
    use Relation::{AtLeast, AtMost, Equal, Greater, Less, Unequal};
    let value = |key, relation, value| Compare::Value { key: b(key), relation, value: b(value) };
    let keys = |key, relation, other| Compare::Keys { key: b(key), relation, other: b(other) };
    let version = |key, relation, version| Compare::Version { key: b(key), relation, version };
    let created =
        |key, relation, r| Compare::Created { key: b(key), relation, revision: Revision(r) };
    let modified =
        |key, relation, r| Compare::Modified { key: b(key), relation, revision: Revision(r) };
    let unequal = Err(StepError::Unequal);
    let missing = Err(StepError::NotFound);
    // `a` is created by revision 2 and changed by 3; `n` is as in 2; `b` is missing.
    for (compare, expected) in [
        (value("a", Equal, "alpha"), Ok(())),
        (value("a", Equal, "alph"), unequal),
        (value("a", Unequal, "alph"), Ok(())),
        (value("a", Less, "beta"), Ok(())),
        (value("a", Greater, "alph"), Ok(())),
        (value("a", Less, "alpha"), unequal),
        (value("a", AtMost, "alpha"), Ok(())),
        (value("a", AtLeast, "alpha"), Ok(())),
        (value("b", Unequal, "alpha"), missing),
        (keys("a", Equal, "a"), Ok(())),
        (keys("a", Equal, "n"), unequal),
        (keys("a", Greater, "n"), Ok(())),
        (keys("a", Equal, "b"), missing),
        (keys("b", Equal, "a"), missing),
        (version("a", Equal, 2), Ok(())),
        (version("a", Less, 2), unequal),
        (version("b", Equal, 0), Ok(())),
        (created("a", Equal, 2), Ok(())),
        (created("a", Equal, 3), unequal),
        (created("b", Less, 1), Ok(())),
        (modified("a", Greater, 2), Ok(())),
        (modified("a", Equal, 3), Ok(())),
        (modified("n", Equal, 3), unequal),
        (Compare::Exists { key: b("a") }, Ok(())),
        (Compare::Exists { key: b("b") }, missing),
        (Compare::Missing { key: b("b") }, Ok(())),
        (Compare::Missing { key: b("a") }, Err(StepError::Exists)),
    ] {
        let mut world = World::new(Limits::tiny());
        world.commit(vec![put("a", "beta"), put("n", "\x07\0\0\0")]);
        world.commit(vec![put("a", "alpha")]);
        let outcome = world.run(Txn::of(vec![Step::Compare(compare.clone())]));
        let found = match outcome {
            Outcome::Txn(TxnOutcome::Committed { revision, .. }) => {
                assert_eq!(revision, Revision(3), "it saw the state as it is");
                Ok(())
            }
            Outcome::Txn(TxnOutcome::Aborted { error, .. }) => Err(error),
            other => panic!("{other:?}"),
        };
        assert_eq!(found, expected, "{compare:?}");
        // In a guard the same comparison chooses the branch.
        let (then, otherwise) = (vec![put("b", "then")], vec![put("b", "else")]);
        let outcome = world.run(Txn { guard: vec![compare.clone()], then, otherwise });
        let branch = if expected.is_ok() { Branch::Then } else { Branch::Otherwise };
        let is_branch = matches!(
            outcome,
            Outcome::Txn(TxnOutcome::Committed { branch: found, .. }) if found == branch
        );
        assert!(is_branch, "{compare:?}: {outcome:?}");
        let written = if expected.is_ok() { "then" } else { "else" };
        assert_eq!(world.value("b"), Some(written.as_bytes().to_vec()), "{compare:?}");
    }
}

// Claims: C-write-atomic
#[test]
fn an_empty_branch_commits_without_results_and_a_failing_one_names_itself() {
    let mut world = World::new(Limits::tiny());
    let guard = vec![Compare::Exists { key: b("a") }];
    let txn = Txn { guard: guard.clone(), then: vec![], otherwise: vec![] };
    let Outcome::Txn(TxnOutcome::Committed { revision, branch, results }) = world.run(txn) else {
        panic!("an empty branch commits");
    };
    assert_eq!((revision, branch, results.len()), (Revision(1), Branch::Otherwise, 0));
    let otherwise = vec![put("b", "x"), delete("a")];
    let outcome = world.run(Txn { guard, then: vec![], otherwise });
    let (branch, error) = (Branch::Otherwise, StepError::NotFound);
    assert_eq!(outcome, Outcome::Txn(TxnOutcome::Aborted { branch, step: 1, error }));
    assert_eq!(world.contents(), []);
}

// Claims: C-write-atomic
#[test]
fn a_transaction_sees_its_own_steps_and_is_taken_back_whole() {
    row(vec![put("b", "1"), Step::Compare(cmp("b", "1")), put("a", "seen")], Ok("seen"));
    let fail = Step::Compare(cmp("a", "never"));
    for steps in [
        vec![put("b", "1"), fail.clone()],
        vec![delete("a"), fail.clone()],
        vec![put("a", ""), write("a", "a longer value than inline", 3, NONE), fail.clone()],
        vec![
            write("a", "a longer value than inline", 30, NONE),
            write("a", "x", 1, NONE),
            fail.clone(),
        ],
        vec![copy("n", "a", NONE), delete("n"), copy("a", "n", CREATE), delete("a"), fail.clone()],
        vec![
            add("n", 1, None, Width::Four, NONE),
            add("n", 1, None, Width::Four, NONE),
            fail.clone(),
        ],
        vec![
            write("s", "", 0, Flags::SEQUENCE),
            write("e", "", 0, CREATE | Flags::EPHEMERAL),
            fail,
        ],
    ] {
        let step = steps.len() as u32 - 1;
        let error = if steps.iter().any(|step| *step == delete("a")) {
            StepError::NotFound
        } else {
            StepError::Unequal
        };
        row(steps, Err((step, error)));
    }
}

#[test]
fn bounds_are_errors_of_the_step_that_meets_them() {
    let long = "k".repeat(25);
    let ephemeral = |key| write(key, "", 0, CREATE | Flags::EPHEMERAL);
    row(vec![put(&long, "")], Err((0, StepError::KeyTooLarge)));
    row(vec![write("fiver", "", 0, Flags::SEQUENCE)], Err((0, StepError::KeyTooLarge)));
    row(vec![copy("a", &long, CREATE)], Err((0, StepError::KeyTooLarge)));
    row(vec![write("a", "x", 64, NONE)], Err((0, StepError::ValueTooLarge)));
    row(vec![write("a", "x", u64::MAX, NONE)], Err((0, StepError::ValueTooLarge)));
    row(vec![write("b", "x", u64::MAX, CREATE)], Err((0, StepError::ValueTooLarge)));
    row(vec![add("b", 1, Some(61), Width::Four, CREATE)], Err((0, StepError::ValueTooLarge)));
    row(vec![write("a", "x", 63, NONE), delete("a")], Ok(""));
    row(vec![ephemeral("e"), ephemeral("f"), ephemeral("g")], Err((2, StepError::EphemeralsFull)));
    let fill = |key| write(key, "", 64, CREATE);
    let page = Step::List(list(Range::ALL, None, 9));
    row(vec![fill("x"), get("x"), get("x"), get("a")], Err((3, StepError::ResultTooLarge)));
    row(vec![fill("x"), get("x"), page.clone(), page], Err((3, StepError::ResultTooLarge)));
}

#[test]
fn a_full_store_takes_no_more_but_what_makes_it_no_larger() {
    let mut world = World::new(Limits { store_bytes_max: 20, ..Limits::tiny() });
    world.commit(vec![write("k", "", 19, CREATE)]);
    let full = |step| {
        let (branch, error) = (Branch::Then, StepError::StoreFull);
        (Txn::of(vec![step]), Outcome::Txn(TxnOutcome::Aborted { branch, step: 0, error }))
    };
    for (txn, expected) in
        [full(put("l", "")), full(write("k", "x", 0, APPEND)), full(copy("k", "l", CREATE))]
    {
        assert_eq!(world.run(txn), expected);
    }
    world.commit(vec![write("k", "x", 18, NONE)]);
    world.commit(vec![put("k", "short"), put("l", "")]);
    assert_eq!(world.state.store_bytes(), 7);
}

#[test]
fn lists_are_paged_in_order() {
    let mut world = World::new(Limits { page_bytes_max: 99, ..Limits::tiny() });
    world.commit(["a", "b/1", "b/2", "b/3", "c"].map(|key| put(key, key)).to_vec());
    let span = |from, until: Option<&str>| Range::Span { from: b(from), until: until.map(b) };
    let prefix = |prefix| Range::Prefix(b(prefix));
    for (query, keys, more) in [
        (list(prefix(""), None, 9), &["a", "b/1", "b/2"][..], true),
        (list(prefix(""), Some("b/2"), 9), &["b/3", "c"], false),
        (list(prefix("b/"), None, 9), &["b/1", "b/2", "b/3"], false),
        (list(prefix("b/"), None, 2), &["b/1", "b/2"], true),
        (list(prefix("b/"), Some("b/2"), 2), &["b/3"], false),
        (list(prefix("b/"), Some("a"), 1), &["b/1"], true),
        (list(prefix("b/"), Some("c"), 1), &[], false),
        (list(prefix("x"), None, 1), &[], false),
        (list(prefix("b/"), None, 0), &[], true),
        (list(span("b", Some("b/3")), None, 9), &["b/1", "b/2"], false),
        (list(span("b/3", None), None, 9), &["b/3", "c"], false),
        (list(span("c", Some("a")), None, 9), &[], false),
    ] {
        match &world.commit(vec![Step::List(query.clone())])[..] {
            [StepResult::Listed(page)] => {
                assert_eq!(
                    (&keys_of(page)[..], page.more),
                    (&keys.map_owned()[..], more),
                    "{query:?}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    let query = ListQuery { keys_only: true, ..list(prefix("a"), None, 1) };
    match &world.commit(vec![Step::List(query)])[..] {
        [StepResult::Listed(page)] => assert_eq!(page.entries[0].value, None),
        other => panic!("{other:?}"),
    }
}

trait MapOwned {
    fn map_owned(&self) -> Vec<String>;
}
impl MapOwned for [&str] {
    fn map_owned(&self) -> Vec<String> {
        self.iter().map(|key| (*key).to_string()).collect()
    }
}

#[test]
fn a_page_is_cut_by_its_bytes_but_has_an_entry() {
    let mut world = World::new(Limits::tiny());
    world.commit(vec![write("a", "", 64, CREATE), put("b", "x"), put("c", "")]);
    let page = |after| Step::List(list(Range::ALL, after, 9));
    let results = world.commit(vec![page(None), page(Some("a"))]);
    match &results[..] {
        [StepResult::Listed(first), StepResult::Listed(second)] => {
            assert_eq!((keys_of(first), first.more), (vec!["a".into()], true));
            assert_eq!((keys_of(second), second.more), (vec!["b".into(), "c".into()], false));
        }
        other => panic!("{other:?}"),
    }
}

// Claims: C-token-ascending
#[test]
fn sequence_keys_ascend_and_a_number_taken_back_is_used_again() {
    let mut world = World::new(Limits { key_bytes_max: 99, ..Limits::tiny() });
    let next = |key| write(key, "", 0, Flags::SEQUENCE);
    let key = |prefix: &str, number: u64| Some(b(&format!("{prefix}{number:020}")));
    let results = world.commit(vec![next("q/"), next("other/")]);
    let written = |key| StepResult::Written { version: 1, key };
    assert_eq!(results, [written(key("q/", 1)), written(key("other/", 2))]);
    let aborted = world.run(Txn::of(vec![next("q/"), delete("none")]));
    assert!(matches!(aborted, Outcome::Txn(TxnOutcome::Aborted { step: 1, .. })));
    assert_eq!(world.commit(vec![next("q/")]), [written(key("q/", 3))]);
    // A key that somebody wrote by hand is not overwritten.
    world.commit(vec![put(&format!("q/{:020}", 4), "by hand")]);
    let outcome = world.run(Txn::of(vec![next("q/")]));
    let (branch, error) = (Branch::Then, StepError::Exists);
    assert_eq!(outcome, Outcome::Txn(TxnOutcome::Aborted { branch, step: 0, error }));
    assert_eq!(world.commit(vec![next("r/")]), [written(key("r/", 4))]);
}

#[test]
fn events_say_what_a_watcher_needs_in_the_order_of_the_steps() {
    let mut world = World::new(Limits::tiny());
    world.commit(vec![put("a", "alpha"), write("a", "PH", 2, NONE), write("a", "+", 0, APPEND)]);
    assert_eq!(
        world.events(),
        ["Created a v1 alpha@0 of 5", "Changed a v2 PH@2 of 5", "Changed a v3 +@5 of 6"]
    );
    world.commit(vec![copy("a", "b", CREATE), copy("a", "b", NONE), delete("a"), put("b", "x")]);
    assert_eq!(
        world.events(),
        [
            "Copied b v1 alPHa+@0 of 6",
            "Copied b v2 alPHa+@0 of 6",
            "Deleted a v3 @0 of 0",
            "Changed b v3 x@0 of 1",
        ]
    );
    world.commit(vec![write("b", "y", 2, Flags::REPLACE), write("c", "z", 1, CREATE)]);
    assert_eq!(world.events(), [r"Changed b v4 \x00\x00y@0 of 3", "Created c v1 z@1 of 2"]);
    world.commit(vec![add("n", 258, None, Width::Four, CREATE)]);
    assert_eq!(world.events(), [r"Created n v1 \x02\x01\x00\x00@0 of 4"]);
    world.commit(vec![get("n"), add("n", 1, None, Width::Four, NONE)]);
    assert_eq!(world.events(), [r"Changed n v2 \x03\x01\x00\x00@0 of 4"]);
    world.commit(vec![get("n")]);
    assert_eq!(world.events(), Vec::<String>::new());
}

// Claims: C-token-lock
#[test]
fn a_revision_is_taken_by_a_change_and_is_the_fencing_token_of_a_lock() {
    let mut world = World::new(Limits::tiny());
    assert_eq!(world.state.revision(), Revision(1), "the opening took one");
    let lock = write("lock", "me", 0, EXCL | Flags::EPHEMERAL);
    let Outcome::Txn(TxnOutcome::Committed { revision: token, .. }) =
        world.run(Txn::of(vec![lock.clone()]))
    else {
        panic!("the lock is free");
    };
    assert_eq!(token, Revision(2));
    assert!(matches!(
        world.run(Txn::of(vec![lock])),
        Outcome::Txn(TxnOutcome::Aborted { error: StepError::Exists, .. })
    ));
    let held = |token| {
        Step::Compare(Compare::Created {
            key: b("lock"),
            relation: Relation::Equal,
            revision: token,
        })
    };
    world.commit(vec![held(token)]);
    assert_eq!(world.state.revision(), Revision(2), "reads and aborts take none");
    world.commit(vec![write("lock", "me", 0, NONE)]);
    assert_eq!(world.state.revision(), Revision(3), "a change of nothing is a change");
    world.commit(vec![held(token), delete("lock")]);
    let outcome = world.run(Txn::of(vec![held(token), put("x", "late")]));
    assert!(matches!(
        outcome,
        Outcome::Txn(TxnOutcome::Aborted { step: 0, error: StepError::Unequal, .. })
    ));
}

#[test]
fn a_transaction_of_as_many_steps_as_the_first_accord_allowed() {
    let mut world = World::new(Limits::default());
    let steps = vec![write("log", "12345678", 0, CREATE | APPEND); 65_535];
    assert_eq!(world.commit(steps).len(), 65_535);
    assert_eq!(world.value("log").map(|value| value.len()), Some(8 * 65_535));
    assert_eq!(world.state.revision(), Revision(2));
}
