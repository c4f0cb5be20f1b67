//! Client commands that end by themselves, as text and as JSON, with their exit codes.

use super::support::{Cluster, accord, command, eventually, run};
use serde_json::json;

#[test]
fn a_record_is_written_read_and_deleted() {
    let cluster = Cluster::shared();
    let line = cluster.run(&["put", "record/a", "one"]).done();
    assert!(line.starts_with("record/a: version 1, revision "), "{line}");
    assert_eq!(cluster.run(&["get", "record/a"]).done(), "one\n");
    eventually("also the server that is asked has it", || {
        (cluster.run(&["get", "record/a", "--local"]).code == Some(0)).then_some(())
    });
    assert_eq!(cluster.run(&["put", "record/a", "two"]).code, Some(0));
    let got = &cluster.run(&["get", "record/a", "--json"]).json()[0];
    assert_eq!((&got["key"], &got["value"]), (&json!("record/a"), &json!("two")));
    assert_eq!((&got["version"], &got["size"]), (&json!(2), &json!(3)));
    assert_eq!(cluster.run(&["get", "record/a", "--offset", "1", "--length", "1"]).done(), "w\n");
    assert!(cluster.run(&["del", "record/a"]).done().starts_with("1 deleted, revision "));
    assert_eq!(cluster.run(&["get", "record/a"]).failed(1), "accord: record/a: not found\n");
    assert_eq!(cluster.run(&["del", "record/a"]).failed(1), "accord: record/a: not found\n");
    let error = cluster.run(&["get", "record/a", "--json"]);
    assert_eq!(error.json()[0]["error"], "not_found");
}

#[test]
fn deleting_several_is_all_or_nothing() {
    let cluster = Cluster::shared();
    cluster.run(&["put", "several/a", "1"]).done();
    assert_eq!(
        cluster.run(&["del", "several/a", "several/b"]).failed(1),
        "accord: several/b: not found\n"
    );
    assert_eq!(cluster.run(&["get", "several/a"]).done(), "1\n");
    let deleted = &cluster.run(&["del", "several/a", "--json"]).json()[0];
    assert_eq!(deleted["deleted"], 1);
}

#[test]
fn writing_has_conditions_and_parts() {
    let cluster = Cluster::shared();
    assert_eq!(
        cluster.run(&["put", "write/a", "x", "--existing"]).failed(1),
        "accord: write/a: not found\n"
    );
    cluster.run(&["put", "write/a", "abc", "--exclusive"]).done();
    assert_eq!(
        cluster.run(&["put", "write/a", "x", "--create"]).failed(1),
        "accord: write/a: exists already\n"
    );
    cluster.run(&["put", "write/a", "def", "--append"]).done();
    cluster.run(&["put", "write/a", "XY", "--offset", "1"]).done();
    assert_eq!(cluster.run(&["get", "write/a"]).done(), "aXYdef\n");
    let line = &cluster.run(&["put", "write/s-", "x", "--sequence", "--json"]).json()[0];
    let key = line["key"].as_str().expect("the key is text");
    assert!(key.len() == "write/s-".len() + 20 && key.starts_with("write/s-0"), "{key}");
    assert_eq!(cluster.run(&["get", key]).done(), "x\n");
    let error = cluster.run(&["put", "write/e", "x", "--ephemeral"]).failed(2);
    assert!(error.contains("add --hold"), "{error}");
    assert_eq!(
        cluster.run(&["put", "write/h", "-5"]).code,
        Some(0),
        "a value may look like a flag"
    );
}

#[test]
fn values_come_from_files_and_pipes_and_bytes_are_kept() {
    let cluster = Cluster::shared();
    let bytes = [0u8, 255, 10, 27, b'a'];
    let put = run(&mut cluster.command(&["put", "bytes/a", "-"]), &bytes);
    assert_eq!(put.code, Some(0), "{put:?}");
    assert_eq!(cluster.run(&["get", "bytes/a", "--json"]).json()[0]["value_hex"], "00ff0a1b61");
    let raw = cluster.command(&["get", "bytes/a", "--raw"]).output().expect("it runs");
    assert_eq!(raw.stdout, bytes);
    let directory = tempfile::tempdir().expect("there is a place for it");
    let large = directory.path().join("large");
    std::fs::write(&large, vec![b'x'; 3 << 20]).expect("it can be written");
    let path = large.to_str().expect("it is text");
    cluster.run(&["put", "bytes/large", "--file", path]).done();
    assert_eq!(cluster.run(&["get", "bytes/large"]).done().len(), (3 << 20) + 1);
    let error = cluster.run(&["put", "bytes/large", "--file", "no-such-file"]).failed(2);
    assert!(error.contains("cannot read no-such-file"), "{error}");
}

#[test]
fn lists_are_in_order_and_in_parts() {
    let cluster = Cluster::shared();
    for (key, value) in [("list/b", "2"), ("list/a", "1"), ("list/c", "3")] {
        cluster.run(&["put", key, value]).done();
    }
    assert_eq!(cluster.run(&["list", "list/"]).done(), "list/a = 1\nlist/b = 2\nlist/c = 3\n");
    assert_eq!(
        cluster.run(&["list", "list/", "--keys", "--limit", "2"]).done(),
        "list/a\nlist/b\n"
    );
    assert_eq!(cluster.run(&["list", "list/", "--after", "list/b"]).done(), "list/c = 3\n");
    let lines = cluster.run(&["list", "list/", "--json"]).json();
    assert_eq!(lines.len(), 3);
    assert_eq!((&lines[2]["key"], &lines[2]["value"]), (&json!("list/c"), &json!("3")));
    assert_eq!(cluster.run(&["list", "list/none"]).done(), "");
}

#[test]
fn copies_and_numbers() {
    let cluster = Cluster::shared();
    cluster.run(&["put", "copy/a", "x"]).done();
    cluster.run(&["copy", "copy/a", "copy/b", "--exclusive"]).done();
    assert_eq!(cluster.run(&["get", "copy/b"]).done(), "x\n");
    assert_eq!(cluster.run(&["copy", "copy/a", "copy/b", "--exclusive"]).code, Some(1));
    assert_eq!(cluster.run(&["copy", "copy/a", "copy/none", "--existing"]).code, Some(1));
    assert_eq!(
        cluster.run(&["copy", "copy/none", "copy/b"]).failed(1),
        "accord: copy/none to copy/b: not found\n"
    );
    assert_eq!(cluster.run(&["incr", "copy/n"]).done(), "1\n");
    assert_eq!(cluster.run(&["incr", "copy/n", "41"]).done(), "42\n");
    assert_eq!(cluster.run(&["incr", "copy/n", "-2"]).done(), "40\n");
    assert_eq!(cluster.run(&["get", "copy/n", "--number"]).done(), "40\n");
    assert_eq!(cluster.run(&["incr", "copy/n", "--json"]).json()[0]["number"], 41);
    assert!(cluster.run(&["incr", "copy/a"]).failed(1).contains("no number of 8 bytes"));
    assert_eq!(cluster.run(&["incr", "copy/four", "7", "--width", "4"]).done(), "7\n");
    assert!(
        cluster.run(&["get", "copy/a", "--number"]).failed(1).contains("1 bytes are no number")
    );
}

#[test]
fn numbers_that_would_overflow_are_refused_and_left() {
    let cluster = Cluster::shared();
    for (key, width, most, least) in [
        ("over/8", "8", i64::MAX.to_string(), i64::MIN.to_string()),
        ("over/4", "4", i32::MAX.to_string(), i32::MIN.to_string()),
    ] {
        let incr = |delta: &str| cluster.run(&["incr", key, "--width", width, "--", delta]);
        assert_eq!(incr(&most).done(), format!("{most}\n"));
        let error = incr("1").failed(1);
        assert!(
            error.starts_with(&format!("accord: {key}: it is {most}, and +1 would")),
            "{error}"
        );
        assert_eq!(cluster.run(&["get", key, "--number"]).done(), format!("{most}\n"));
        incr(&format!("-{most}")).done();
        assert_eq!(incr(&least).done(), format!("{least}\n"));
        assert!(incr("-1").failed(1).contains("-1 would leave the range"));
    }
    let both = [i32::MAX.to_le_bytes(), [7, 0, 0, 0]].concat();
    run(&mut cluster.command(&["put", "over/two", "-"]), &both).done();
    let second = ["incr", "over/two", "--width", "4", "--offset", "4"];
    assert_eq!(cluster.run(&second).done(), "8\n");
    let first = ["incr", "over/two", "--width", "4", "--offset", "0"];
    assert!(cluster.run(&first).failed(1).contains("nothing was done"));
    cluster.run(&["put", "over/text", "5"]).done();
    let error = cluster.run(&["incr", "over/text"]).failed(1);
    assert!(error.contains("is no number of 8 bytes, little-endian; digits as text"), "{error}");
    let error = cluster.run(&["incr", "over/text", "--offset", "3"]).failed(1);
    assert!(error.contains("has none of 8 bytes at byte 3"), "{error}");
}

#[test]
fn all_that_begin_so_are_deleted_in_batches() {
    let cluster = Cluster::shared();
    let script: String = (0..1203).map(|n| format!("put many/{n} x\n")).collect();
    run(&mut cluster.command(&["txn"]), script.as_bytes()).done();
    cluster.run(&["put", "many", "stays"]).done();
    let done = cluster.run(&["del", "--prefix", "many/"]).done();
    assert!(done.starts_with("1203 deleted, revision "), "{done}");
    assert_eq!(cluster.run(&["list", "many"]).done(), "many = stays\n");
    assert_eq!(cluster.run(&["del", "--prefix", "many/"]).done(), "0 deleted\n");
    let done = &cluster.run(&["del", "many", "many", "--json"]).json()[0];
    assert_eq!(done["deleted"], 1, "named twice, it is deleted once");
    assert_eq!(cluster.run(&["del"]).code, Some(2));
    assert_eq!(cluster.run(&["del", "a", "--prefix", "b"]).code, Some(2));
}

#[test]
fn earlier_values_are_refused_with_the_reason() {
    let cluster = Cluster::shared();
    let revision = |args: &[&str]| cluster.run(args).json()[0]["revision"].as_u64();
    let first = revision(&["put", "rev/a", "1", "--json"]).expect("it is a number");
    let second = revision(&["put", "rev/a", "2", "--json"]).expect("it is a number");
    let get = |rev: u64| cluster.run(&["get", "rev/a", "--rev", &rev.to_string()]);
    assert_eq!(get(second).done(), "2\n");
    let error = get(first).failed(1);
    assert!(error.contains(&format!("at revision {first} is not kept: only present")), "{error}");
    assert!(error.contains(&format!("watch --from {first}")), "{error}");
    assert!(get(u64::MAX).failed(1).contains("is not reached yet"));
}

#[test]
fn options_may_stand_before_the_command() {
    let cluster = Cluster::shared();
    cluster.run(&["put", "before/a", "1"]).done();
    let args = ["--servers", &cluster.servers, "--timeout-ms=30000", "--json", "get", "before/a"];
    assert_eq!(accord(&args).json()[0]["value"], "1");
}

#[test]
fn transactions_are_decided_by_what_is_there() {
    let cluster = Cluster::shared();
    let first = "when missing txn/a; put txn/a 1; put txn/b 'x y'; else get txn/a";
    let out = cluster.run(&["txn", first]).done();
    assert!(
        out.starts_with(
            "the conditions hold\nput txn/a: version 1\nput txn/b: version 1\nrevision "
        ),
        "{out}"
    );
    let out = cluster.run(&["txn", first]).done();
    assert!(out.starts_with("the conditions do not hold: else\nget txn/a: 1\n"), "{out}");
    let done = &cluster.run(&["txn", "get txn/b; incr txn/n 2; list txn/", "--json"]).json()[0];
    assert_eq!((&done["branch"], &done["results"][0]["value"]), (&json!("then"), &json!("x y")));
    assert_eq!(done["results"][1]["number"], 2);
    assert_eq!(done["results"][2]["entries"].as_array().map(Vec::len), Some(3));
    let none = cluster.run(&["txn", "when value txn/a = 2; put txn/a 3"]);
    assert_eq!(
        (none.code, none.out.lines().next()),
        (Some(1), Some("the conditions do not hold: nothing was done"))
    );
    let error = cluster.run(&["txn", "put txn/a 9; get txn/none"]).failed(1);
    assert_eq!(error, "accord: nothing was done: step 2 (get txn/none): not found\n");
    assert_eq!(cluster.run(&["get", "txn/a"]).done(), "1\n");
    let error = cluster.run(&["txn", "check value txn/a = 5; put txn/a 9", "--json"]);
    assert_eq!((error.code, error.json()[0]["error"].as_str()), (Some(1), Some("unequal")));
    let piped = run(&mut cluster.command(&["txn"]), b"put txn/c 1\nget txn/c # a comment\n").done();
    assert!(piped.contains("get txn/c: 1\n"), "{piped}");
    let words = cluster.run(&["txn", "put", "txn/w", "a; b", ";", "get", "txn/w"]).done();
    assert!(words.contains("get txn/w: \"a; b\"\n"), "{words}");
    let error = cluster.run(&["txn", "putt a 1"]).failed(2);
    assert!(
        error.starts_with("accord: at 1: expected a step (") && error.contains("did you mean put?"),
        "{error}"
    );
}

#[test]
fn queues_give_items_in_order() {
    let cluster = Cluster::shared();
    assert_eq!(cluster.run(&["queue", "pop", "jobs"]).failed(1), "accord: queue jobs: empty\n");
    cluster.run(&["queue", "push", "jobs", "one", "two"]).done();
    assert_eq!(cluster.run(&["queue", "len", "jobs"]).done(), "2\n");
    assert_eq!(cluster.run(&["queue", "pop", "jobs"]).done(), "one\n");
    assert_eq!(cluster.run(&["queue", "pop", "jobs", "--wait", "--json"]).json()[0]["item"], "two");
}

#[test]
fn members_are_listed() {
    let cluster = Cluster::shared();
    let members = cluster.run(&["members", "--long", "--json"]).json();
    let own: Vec<_> = members.iter().filter(|member| member["own"] == true).collect();
    assert_eq!(own.len(), 1, "{members:?}");
    assert!(own[0]["server"].as_u64().is_some_and(|server| (1..=3).contains(&server)));
    assert!(cluster.run(&["members"]).done().contains("(this command)"));
}

#[test]
fn status_tells_of_every_server_also_of_those_that_do_not_answer() {
    let cluster = Cluster::shared();
    let text = cluster.run(&["status"]).done();
    assert_eq!(text.matches("serving").count(), 3, "{text}");
    let servers = format!("{},127.0.0.1:1", cluster.servers);
    let lines = cluster.run(&["status", "--json", "--servers", &servers]).json();
    let nodes: Vec<_> = lines.iter().filter_map(|line| line["status"]["node"].as_u64()).collect();
    assert_eq!(nodes, [1, 2, 3]);
    assert!(lines[3]["error"].as_str().is_some_and(|why| why.contains("no server listens there")));
    let text = accord(&["status", "--servers", "127.0.0.1:1"]);
    assert_eq!(text.code, Some(4));
    assert!(text.out.starts_with("127.0.0.1:1  no answer: "), "{}", text.out);
}

#[test]
fn nobody_there_is_said_soon_and_with_what_to_do() {
    let error = accord(&["get", "a", "--servers", "127.0.0.1:1"]).failed(4);
    assert!(
        error.contains("no server listens at 127.0.0.1:1") && error.contains("accord cluster"),
        "{error}"
    );
    // Something that is no server of Accord.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let at = listener.local_addr().expect("it is bound").to_string();
    let error = accord(&["get", "a", "--servers", &at, "--timeout-ms", "700"]).failed(4);
    assert!(error.contains("no server answered within 700 ms"), "{error}");
    let error = accord(&["put", "a", "b", "--servers", &at, "--timeout-ms", "700"]).failed(4);
    assert!(error.contains("no server opened a session within 700 ms"), "{error}");
    let error = accord(&["get", "a", "--servers", "nowhere"]).failed(2);
    assert!(error.contains("server `nowhere`") && error.contains("expected HOST:PORT"), "{error}");
    let error = run(command().args(["get", "a"]).env("ACCORD_TIMEOUT_MS", "soon"), b"").failed(2);
    assert!(error.contains("ACCORD_TIMEOUT_MS=soon: expected milliseconds"), "{error}");
}

#[test]
fn misuse_has_its_own_code_and_every_command_teaches() {
    assert_eq!(accord(&["gte", "a"]).code, Some(2));
    assert_eq!(accord(&["get"]).code, Some(2));
    for name in [
        "get", "put", "list", "incr", "txn", "watch", "lock", "elect", "queue", "status",
        "cluster", "server", "shell",
    ] {
        let help = accord(&[name, "--help"]).done();
        assert!(help.contains("Example"), "{name}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{name}: {help}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(accord(&["completions", shell]).done().contains("accord"), "{shell}");
    }
    let key = accord(&["key"]).done();
    assert!(key.trim().len() == 64 && key.trim().chars().all(|c| c.is_ascii_hexdigit()), "{key}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let cluster = Cluster::shared();
    let mut child = cluster
        .command(&["list"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && complaint.is_empty(), "{complaint}");
}
