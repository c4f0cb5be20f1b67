//! Commands that go on: watches, locks, elections, records that are held.

use super::support::{Cluster, Process, eventually};
use nix::sys::signal::Signal;

#[test]
fn a_watch_tells_every_change_in_order() {
    let cluster = Cluster::shared();
    let mut watch =
        Process::start(&mut cluster.command(&["watch", "--prefix", "watch/", "--count", "5"]));
    watch.line("accord: watching what happens after revision ");
    for args in [
        &["put", "watch/a", "one"][..],
        &["put", "watch/a", "two"],
        &["put", "watch/a", "X", "--offset", "1"],
        &["copy", "watch/a", "watch/b"],
        &["del", "watch/a"],
    ] {
        cluster.run(args).done();
    }
    for expected in [
        " created watch/a = one",
        " changed watch/a = two",
        " changed watch/a [1+1 of 3] = X",
        " copied watch/b = tXo",
        " deleted watch/a",
    ] {
        let line = watch.line("watch/");
        assert!(line.starts_with('r') && line.ends_with(expected), "{line}: expected {expected}");
    }
    assert_eq!(watch.end().code(), Some(0));
}

#[test]
fn a_watch_can_be_narrowed_begun_earlier_and_read_by_programs() {
    let cluster = Cluster::shared();
    let put = &cluster.run(&["put", "from/a", "one", "--json"]).json()[0];
    let before = (put["revision"].as_u64().expect("it is a number") - 1).to_string();
    cluster.run(&["del", "from/a"]).done();
    cluster.run(&["put", "from/a", "two"]).done();
    let args =
        ["watch", "from/a", "--from", &before, "--json", "--count", "2", "--mask", "created"];
    let lines = cluster.run(&args).json();
    let data: Vec<_> = lines.iter().map(|line| (&line["kind"], &line["data"])).collect();
    assert_eq!(data, [(&"created".into(), &"one".into()), (&"created".into(), &"two".into())]);
    let once = cluster
        .run(&["watch", "from/a", "--from", &before, "--once", "--mask", "deleted,copied"])
        .done();
    assert_eq!(once.lines().count(), 1, "{once}");
    assert!(once.contains(" deleted from/a"), "{once}");
    let error = cluster.run(&["watch", "from/a", "--mask", "touched"]).failed(2);
    assert!(error.contains("created, changed, deleted, copied, joined, left"), "{error}");
}

#[test]
fn a_watch_from_the_future_and_of_a_key_that_is_no_text_say_so() {
    let cluster = Cluster::shared();
    let mut watch = Process::start(&mut cluster.command(&["watch", "later", "--from", "9999999"]));
    watch.line("accord: watching what happens after revision 9999999");
    watch.line("accord: revision 9999999 is not reached yet: nothing is told before it");
    watch.signal(Signal::SIGINT);
    assert_eq!(watch.end().code(), Some(0));
    let escaped = ["watch", "--escaped", "watched/\\xff", "--count", "1"];
    let mut watch = Process::start(&mut cluster.command(&escaped));
    watch.line("accord: watching");
    cluster.run(&["put", "--escaped", "watched/\\xff", "a b"]).done();
    let line = watch.line("watched/");
    assert!(line.ends_with(" created \"watched/\\xff\" = \"a b\""), "{line}");
    assert_eq!(watch.end().code(), Some(0));
}

#[test]
fn who_joins_and_leaves_is_told() {
    let cluster = Cluster::shared();
    let mut watch = Process::start(&mut cluster.command(&["watch", "--members"]));
    watch.line("accord: watching");
    let mut held =
        Process::start(&mut cluster.command(&["put", "here", "me", "--ephemeral", "--hold"]));
    let line = held.line("accord: holding session ");
    let session =
        line.split_whitespace().nth(3).expect("it is named").trim_end_matches(';').to_owned();
    watch.line(&format!(" joined session {session}, "));
    assert_eq!(cluster.run(&["get", "here"]).done(), "me\n");
    held.signal(Signal::SIGINT);
    assert_eq!(held.end().code(), Some(0));
    watch.line(&format!(" left session {session}, "));
    assert_eq!(cluster.run(&["get", "here"]).code, Some(1), "it died with its session");
    watch.signal(Signal::SIGTERM);
    assert_eq!(watch.end().code(), Some(0));
}

#[test]
fn a_command_runs_while_the_lock_is_held() {
    let cluster = Cluster::shared();
    let script = "echo token $ACCORD_FENCING_TOKEN key $ACCORD_LOCK_KEY at $ACCORD_SERVERS; exit 7";
    let ran = cluster.run(&["lock", "one", "--", "sh", "-c", script]);
    assert_eq!(ran.code, Some(7), "{ran:?}");
    assert!(ran.out.contains(" key lock/one/0") && ran.out.contains(&cluster.servers), "{ran:?}");
    assert!(ran.out.starts_with("token ") && !ran.out.starts_with("token  "), "{ran:?}");
    let missing = cluster.run(&["lock", "one", "--", "no-such-command"]).failed(2);
    assert!(missing.contains("cannot run no-such-command"), "{missing}");
    // What is written under the lock can be made to depend on it.
    let bin = env!("CARGO_BIN_EXE_accord");
    let script = format!(
        "'{bin}' txn \"when created $ACCORD_LOCK_KEY = $ACCORD_FENCING_TOKEN; put fenced yes\""
    );
    cluster.run(&["lock", "one", "--", "sh", "-c", &script]).done();
    assert_eq!(cluster.run(&["get", "fenced"]).done(), "yes\n");
}

#[test]
fn a_lock_excludes_and_passes_on() {
    let cluster = Cluster::shared();
    let mut first = Process::start(&mut cluster.command(&["lock", "two"]));
    let token = |line: String| -> u64 {
        line.rsplit(' ').next().and_then(|token| token.parse().ok()).expect("it ends in the token")
    };
    let held = token(first.line("held, fencing token "));
    assert_eq!(
        cluster.run(&["lock", "two", "--try", "--", "true"]).failed(1),
        "accord: lock two: somebody else holds it\n"
    );
    assert_eq!(cluster.run(&["lock", "two", "--wait-ms", "50", "--", "true"]).code, Some(1));
    let mut second = Process::start(&mut cluster.command(&["lock", "two"]));
    eventually("the second stands in the line", || {
        (cluster.run(&["list", "lock/two/", "--keys"]).done().lines().count() == 2).then_some(())
    });
    first.signal(Signal::SIGINT);
    assert_eq!(first.end().code(), Some(0));
    let passed = token(second.line("held, fencing token "));
    assert!(passed > held, "{passed} after {held}");
    second.signal(Signal::SIGTERM);
    assert_eq!(second.end().code(), Some(0));
    assert_eq!(cluster.run(&["list", "lock/two/"]).done(), "", "it is released");
}

#[test]
fn signals_reach_the_command_under_the_lock() {
    let cluster = Cluster::shared();
    let script =
        "trap 'echo got it; exit 5' TERM; echo ready; while :; do read line || exit 9; done";
    let mut holder =
        Process::start(&mut cluster.command(&["lock", "three", "--", "sh", "-c", script]));
    holder.line("ready");
    holder.signal(Signal::SIGTERM);
    // The shell looks at its trap when it has something to read.
    holder.say("");
    holder.line("got it");
    assert_eq!(holder.end().code(), Some(5));
}

#[test]
fn one_leads_at_a_time() {
    let cluster = Cluster::shared();
    assert_eq!(
        cluster.run(&["elect", "db", "--leader"]).failed(1),
        "accord: db: there is no leader\n"
    );
    let mut first = Process::start(&mut cluster.command(&["elect", "db", "--value", "alice"]));
    first.line("held, fencing token ");
    assert_eq!(cluster.run(&["elect", "db", "--leader"]).done(), "alice\n");
    let mut second = Process::start(&mut cluster.command(&[
        "elect",
        "db",
        "--value",
        "bob",
        "--",
        "sh",
        "-c",
        "echo leading; read line",
    ]));
    eventually("the second stands", || {
        (cluster.run(&["list", "election/db/"]).done().lines().count() == 2).then_some(())
    });
    first.signal(Signal::SIGINT);
    assert_eq!(first.end().code(), Some(0));
    second.line("leading");
    let leader = &cluster.run(&["elect", "db", "--leader", "--json"]).json()[0];
    assert_eq!(leader["value"], "bob");
    second.say("enough");
    assert_eq!(second.end().code(), Some(0));
}
