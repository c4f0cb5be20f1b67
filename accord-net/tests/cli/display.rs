//! How keys and values are shown and typed, bounds, and what the exit code says when the output
//! fails.

use super::support::{Cluster, Ran, accord, run};
use std::fs::File;
use std::io::Write;
use std::process::Stdio;

#[test]
fn what_is_shown_tells_different_bytes_apart_and_can_be_typed_again() {
    let cluster = Cluster::shared();
    cluster.run(&["put", "show/v1", "x\\ry"]).done();
    cluster.run(&["put", "show/v2", "x\ry"]).done();
    assert_eq!(
        cluster.run(&["list", "show/v"]).done(),
        "show/v1 = \"x\\\\ry\"\nshow/v2 = \"x\\ry\"\n"
    );
    let typed =
        "put \"show/\\xffkey\" 1; put \"show/\\\\xffkey\" 2; put \"show/a = b\" \"c \\\"d\\\"\"";
    cluster.run(&["txn", typed]).done();
    let keys = cluster.run(&["list", "show/", "--keys"]).done();
    for key in ["\"show/\\xffkey\"", "\"show/\\\\xffkey\"", "\"show/a = b\""] {
        assert!(keys.lines().any(|line| line == key), "{key} in {keys}");
        assert!(cluster.run(&["txn", &format!("get {key}")]).done().contains(&format!("{key}: ")));
    }
    let got = cluster.run(&["txn", "get 'show/a = b'"]).done();
    assert!(got.contains("\"show/a = b\": \"c \\\"d\\\"\"\n"), "{got}");
}

#[test]
fn keys_that_are_no_text_are_given_as_they_are_or_with_escapes() {
    use std::os::unix::ffi::OsStrExt;
    let cluster = Cluster::shared();
    let raw = std::ffi::OsStr::from_bytes(b"raw/\xff\\");
    let put = run(cluster.command(&["put"]).arg(raw).arg("1"), b"").done();
    assert!(put.starts_with("\"raw/\\xff\\\\\": version 1, "), "{put}");
    for key in ["raw/\\xff\\\\", "\"raw/\\xff\\\\\""] {
        assert_eq!(cluster.run(&["get", "--escaped", key]).done(), "1\n");
    }
    let escaped = |args: &[&str]| cluster.run(&[args, &["--escaped"]].concat());
    assert!(escaped(&["copy", "raw/\\xff\\\\", "raw/\\x00"]).done().contains("raw/\\x00"));
    assert_eq!(escaped(&["incr", "raw/\\x01"]).done(), "1\n");
    assert_eq!(escaped(&["list", "raw/\\x00", "--keys"]).done(), "\"raw/\\x00\"\n");
    assert_eq!(
        escaped(&["list", "raw/", "--keys", "--after", "raw/\\x01"]).done().lines().count(),
        1
    );
    escaped(&["put", "raw/value", "\"two\\nlines\""]).done();
    assert_eq!(cluster.run(&["get", "raw/value"]).done(), "two\nlines\n");
    assert!(escaped(&["del", "raw/\\xff\\\\", "raw/\\x00"]).done().starts_with("2 deleted"));
    escaped(&["queue", "push", "raw", "\\x07"]).done();
    assert_eq!(cluster.run(&["queue", "pop", "raw"]).done(), "\x07");
    assert!(escaped(&["get", "a\\q"]).failed(2).contains("--escaped: at 2: expected \\n, "));
}

#[test]
fn a_value_goes_into_a_pipe_as_it_is() {
    let cluster = Cluster::shared();
    for (value, piped) in [
        (&b"one\r\ntwo\r\n"[..], &b"one\r\ntwo\r\n"[..]),
        (b"\xff\xd8\x00", b"\xff\xd8\x00"),
        (b"text", b"text\n"),
    ] {
        run(&mut cluster.command(&["put", "piped", "-"]), value).done();
        let output = |args: &[&str]| cluster.command(args).output().expect("it runs").stdout;
        assert_eq!(output(&["get", "piped"]), piped);
        assert_eq!(output(&["get", "piped", "--raw"]), value);
        run(&mut cluster.command(&["queue", "push", "piped", "-"]), value).done();
        run(&mut cluster.command(&["queue", "push", "piped", "-"]), value).done();
        assert_eq!(output(&["queue", "pop", "piped"]), piped);
        assert_eq!(output(&["queue", "pop", "piped", "--raw"]), value);
    }
}

#[test]
fn a_list_does_not_print_megabytes_of_a_value() {
    let cluster = Cluster::shared();
    let value = vec![b'v'; 2 << 20];
    run(&mut cluster.command(&["put", "long/a", "-"]), &value).done();
    let cut = format!("long/a = \"{}\"... (2097152 bytes)\n", "v".repeat(256));
    assert_eq!(cluster.run(&["list", "long/"]).done(), cut);
    assert!(cluster.run(&["txn", "list long/"]).done().contains(&cut));
    assert_eq!(
        cluster.run(&["list", "long/", "--full"]).done().len(),
        "long/a = \n".len() + (2 << 20)
    );
    let whole = &cluster.run(&["list", "long/", "--json"]).json()[0];
    assert_eq!(whole["value"].as_str().map(str::len), Some(2 << 20));
}

#[test]
fn the_largest_value_can_be_put_and_a_refusal_names_its_bound_and_number() {
    let cluster = Cluster::shared();
    let mut value = vec![0; 67_108_864];
    let long_key = "k".repeat(4096);
    run(&mut cluster.command(&["put", &long_key, "-"]), &value).done();
    let got = &cluster.run(&["get", &long_key, "--length", "1", "--json"]).json()[0];
    assert_eq!(got["size"], 67_108_864);
    cluster.run(&["del", &long_key]).done();
    value.push(0);
    let error = run(&mut cluster.command(&["put", "m", "-"]), &value).failed(1);
    assert_eq!(
        error,
        "accord: m: the value would be too large: the servers' state.value_bytes_max, 67108864 \
         unless it is set otherwise\n"
    );
    value.resize(70 << 20, 0);
    let error = run(&mut cluster.command(&["put", "m", "-"]), &value).failed(1);
    assert!(error.contains("the servers' replica.command_bytes_max, 68157440 unless"), "{error}");
    let error = cluster.run(&["put", &"k".repeat(70_000), "1"]).failed(1);
    assert!(error.contains("k\"... (70000 bytes): the key is too long"), "{error}");
    assert!(error.contains("the servers' state.key_bytes_max, 4096 unless"), "{error}");
    assert!(error.len() < 300, "{error}");
    let error = cluster.run(&["txn", &format!("put {} 1", "k".repeat(5000))]).failed(1);
    assert!(error.contains("kkk... (5004 bytes)): the key is too long: "), "{error}");
    assert!(error.len() < 350, "{error}");
    let error = cluster.run(&["txn", &"k".repeat(5000)]).failed(2);
    assert!(error.contains("k\"... (5000 bytes)") && error.len() < 300, "{error}");
    let error = cluster.run(&["watch", &"k".repeat(4097)]).failed(2);
    assert!(error.contains("at most 4096 bytes can be watched"), "{error}");
}

/// Runs a command whose output cannot be written.
fn unprinted(cluster: &Cluster, args: &[&str]) -> Ran {
    let full = File::options().write(true).open("/dev/full").expect("the system has it");
    let output = cluster.command(args).stdout(full).stderr(Stdio::piped()).output();
    let output = output.expect("it runs");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    Ran { code: output.status.code(), out: String::new(), err }
}

#[cfg(target_os = "linux")]
#[test]
fn what_was_done_is_not_called_failed_if_its_answer_cannot_be_printed() {
    let cluster = Cluster::shared();
    for (args, code) in [
        (&["incr", "full/n"][..], 5),
        (&["put", "full/a", "1"], 5),
        (&["put", "full/a", "1", "--json"], 5),
        (&["copy", "full/a", "full/b"], 5),
        (&["txn", "put full/c 1"], 5),
        (&["txn", "get full/c"], 1),
        (&["del", "full/c"], 5),
        (&["get", "full/a"], 1),
        (&["list", "full/"], 1),
        (&["put", "full/a", "1", "--create", "--json"], 1),
        (&["get", "full/a", "--json", "--servers", "127.0.0.1:1"], 4),
    ] {
        let ran = unprinted(cluster, args);
        assert_eq!(ran.code, Some(code), "{args:?}: {ran:?}");
        assert!(ran.err.contains("the standard output cannot be written: "), "{ran:?}");
        assert_eq!(ran.err.contains("it was done, but"), code == 5, "{ran:?}");
    }
    assert_eq!(cluster.run(&["get", "full/n", "--number"]).done(), "1\n", "it counted once");
    cluster.run(&["queue", "push", "full", "only"]).done();
    assert_eq!(unprinted(cluster, &["queue", "pop", "full"]).code, Some(5), "the item is gone");
    assert!(accord(&["--help"]).done().contains("5, it was done,"));
}

#[test]
fn an_answer_that_nobody_takes_keeps_its_code() {
    let cluster = Cluster::shared();
    for (args, code) in [(&["get", "nobody/a", "--json"][..], 1), (&["incr", "nobody/n"], 5)] {
        let mut child = cluster
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), &complaint[..]), (Some(code), ""));
    }
}

#[test]
fn a_file_is_put_and_comes_back_byte_for_byte() {
    let cluster = Cluster::shared();
    let directory = tempfile::tempdir().expect("there is a place for it");
    let path = directory.path().join("crlf");
    let mut file = File::create(&path).expect("it can be written");
    file.write_all(b"one\r\ntwo\r\n").expect("it can be written");
    let path = path.to_str().expect("it is text");
    cluster.run(&["put", "conf", "--file", path]).done();
    let out = File::create(directory.path().join("out")).expect("it can be written");
    let status = cluster.command(&["get", "conf"]).stdout(out).status().expect("it runs");
    assert!(status.success());
    let back = std::fs::read(directory.path().join("out")).expect("it is there");
    assert_eq!(back, b"one\r\ntwo\r\n");
}
