//! The command line: what it prints and how it exits.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_accord-models")).args(arguments).output().unwrap()
}

fn history(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories");
    folder.join(name).to_str().unwrap().to_owned()
}

/// A history of the test's own, in a file that is gone afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, text: &[u8]) -> Self {
        let name = format!("accord-models-{}-{name}.edn", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_valid_history_exits_with_0() {
    let file = history("cas-both-succeed.right.edn");
    let output = run(&["check", &file, "--model", "cas-register"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), "3 operations: 2 ok, 1 failed, 0 unknown\nvalid\n");
}

#[test]
fn an_invalid_history_exits_with_1_and_is_explained() {
    let file = history("append-write-skew.wrong.edn");
    let output = run(&["check", &file, "--model", "list-append"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(text.contains("invalid: G2: "), "{text}");
    assert!(
        text.contains("#0 before #1 (rw): #0 read :x as [], without what #1 appended"),
        "{text}"
    );
    assert!(text.contains("line 4]"), "{text}");
}

#[test]
fn json_says_the_same() {
    let file = history("append-write-skew.wrong.edn");
    let output = run(&["check", &file, "--model", "list-append", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["verdict"], "invalid");
    assert_eq!(json["anomaly"], "G2");
    assert_eq!(json["operations"][1]["operation"], 1);
    assert_eq!(json["links"][0]["kind"], "rw");
}

#[test]
fn without_real_time_an_old_read_is_serializable() {
    let file = history("append-stale-read.wrong.edn");
    let loose = run(&["check", &file, "--model", "list-append", "--no-realtime"]);
    assert_eq!(loose.status.code(), Some(0));
    let strict = run(&["check", &file, "--model", "list-append"]);
    assert_eq!(strict.status.code(), Some(1));
}

#[test]
fn a_budget_that_ends_exits_with_2() {
    let file = history("cas-both-succeed.wrong.edn");
    let output = run(&["check", &file, "--model", "cas-register", "--budget-steps", "2"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stdout(&output).contains("undecided: the search over the register :leader"));
}

#[test]
fn bad_input_exits_with_2_and_names_the_place() {
    let bad = |name: &str, text: &[u8], model: &str| {
        let scratch = Scratch::new(name, text);
        let output = run(&["check", scratch.path(), "--model", model]);
        assert_eq!(output.status.code(), Some(2));
        stderr(&output).replace(scratch.path(), "FILE")
    };
    assert_eq!(
        bad("syntax", b"{:type :invoke, :process 0\n :f ]}", "register"),
        "FILE:2:5: expected the key's value, found ']'\n"
    );
    assert_eq!(
        bad("shape", b"{:type :invoke, :process 0, :f :write, :value [:x 1 2]}", "register"),
        "FILE:1:47: expected the :value of :write to be [key value], or a value, found [:x 1 2]\n"
    );
    assert_eq!(
        bad("model", b"\n{:type :invoke, :process 0, :f :cas, :value [1 2]}", "register"),
        "FILE:2:45: expected an operation that the model knows (:read, :write), found :cas\n"
    );
    assert_eq!(
        bad("utf8", b"[\n \xc3\x28]", "register"),
        "FILE:2:2: expected UTF-8 text, found the byte 0xc3\n"
    );
    let missing = run(&["check", "/nowhere/history.edn", "--model", "lock"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).contains("No such file"));
    let unknown = run(&["check", "x.edn", "--model", "unicorn"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("possible values: register"));
}

#[test]
fn the_standard_input_is_judged_too() {
    let judge = |text: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_accord-models"))
            .args(["check", "-", "--model", "register"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The input ends when it is dropped.
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let write = "{:type :invoke, :f :write, :value 1, :process 0}\n";
    let known = format!("{write}{{:type :ok, :f :write, :value 1, :process 0}}");
    let output = judge(&known);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), "1 operations: 1 ok, 0 failed, 0 unknown\nvalid\n");
    let output = judge("{:type}");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("standard input:1:7: expected"), "{}", stderr(&output));
}

#[test]
fn what_says_nothing_is_not_called_valid() {
    let nothing = [
        ("", "undecided: the history has no operations: there is nothing to judge"),
        ("[]", "undecided: the history has no operations"),
        ("{:type :info :f :cut :process :nemesis}", "undecided: the history has no operations"),
        (
            "{:type :invoke, :f :acquire, :value {:lock 1 :session 1}, :process 0}",
            "undecided: none of the 1 operations is known to have taken effect",
        ),
    ];
    for (text, said) in nothing {
        let scratch = Scratch::new("nothing", text.as_bytes());
        let output = run(&["check", scratch.path(), "--model", "lock"]);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(stdout(&output).contains(said), "{}", stdout(&output));
        let json = run(&["check", scratch.path(), "--model", "lock", "--json"]);
        assert!(stdout(&json).contains("\"verdict\": \"undecided\""), "{}", stdout(&json));
    }
}

#[test]
fn a_lonely_wrong_read_is_explained_by_what_was() {
    let explained = |text: &str| {
        let scratch = Scratch::new("lonely", text.as_bytes());
        let output = run(&["check", scratch.path(), "--model", "register"]);
        assert_eq!(output.status.code(), Some(1));
        stdout(&output)
    };
    let write = "{:type :invoke, :f :write, :value 1, :process 0}\n\
                 {:type :ok, :f :write, :value 1, :process 0}\n";
    let read = |value: &str| {
        format!(
            "{{:type :invoke, :f :read, :value nil, :process 1}}\n\
             {{:type :ok, :f :read, :value {value}, :process 1}}\n"
        )
    };
    let text = explained(&format!("{write}{}", read("3")));
    assert!(
        text.contains("#1 cannot have its result: no operation leaves 3 in the register"),
        "{text}"
    );
    let text = explained(&format!("{write}{}", read("nil")));
    assert!(
        text.contains("the longest order that fits is #0: then the register holds 1, and #1 :read"),
        "{text}"
    );
}

/// Whatever ends `accord-models explore` ends the explorer: they are one process.
#[cfg(unix)]
#[test]
fn the_explorer_takes_the_process_over() {
    // Nothing that is run here is written here: a program under a writer's hand cannot be run.
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(std::process::id().to_string());
    std::fs::create_dir(&dir).unwrap();
    let program = dir.join("accord-models");
    std::fs::hard_link(env!("CARGO_BIN_EXE_accord-models"), &program).unwrap();
    std::os::unix::fs::symlink("/bin/sh", dir.join("accord-explore")).unwrap();
    std::fs::write(dir.join("explore"), "echo \"$$ $*\"; exit 7").unwrap();
    let child = Command::new(&program)
        .args(["explore", "sessions", "--port", "1"])
        .current_dir(&dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let started = child.id();
    let output = child.wait_with_output().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(stdout(&output), format!("{started} sessions --port 1\n"));
    assert_eq!(output.status.code(), Some(7));
}

#[test]
fn a_self_check_tells_what_it_did() {
    let output = run(&["self-check", "--histories", "50", "--model", "lock", "--model", "txn"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("txn: 50 histories, "), "{text}");
    assert!(lines[1].starts_with("lock: 50 histories, "), "{text}");
    assert!(lines.len() == 2 && lines[1].contains(": the checker agrees, "), "{text}");
    for bad in [["--histories", "0"], ["--seed", "18446744073709551615"]] {
        assert_eq!(run(&["self-check", bad[0], bad[1]]).status.code(), Some(2), "{bad:?}");
    }
}

#[test]
fn every_model_is_listed_with_its_operations() {
    let output = run(&["list"]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    for model in accord_models::Model::ALL {
        assert!(text.contains(&format!("{}: {}", model.name(), model.demands())), "{model:?}");
        for op in model.operations() {
            assert!(text.contains(&format!(":f :{}", op.f)), "{op:?}");
        }
    }
}

/// The code of a panic is no verdict.
#[test]
fn a_reader_that_has_gone_away_changes_no_exit_code() {
    let gone = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        writer
    };
    for arguments in [&["list"][..], &["check", "no-such.edn", "--model", "lock"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_accord-models"));
        let status = command.args(arguments).stdout(gone()).stderr(gone()).status().unwrap();
        assert_eq!(status.code(), run(arguments).status.code(), "{arguments:?}");
        assert_ne!(status.code(), Some(101), "{arguments:?}");
    }
}
