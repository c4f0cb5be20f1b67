//! The command line: what it prints and how it exits.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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
