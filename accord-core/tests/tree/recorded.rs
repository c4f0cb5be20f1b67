//! What a real ZooKeeper answered, the tree answers.
//!
//! `record.py` asks the real one and writes down its answers. To see what the tree answers instead,
//! read the difference that the failing test prints.

use crate::script::Script;
use std::fs;
use std::path::PathBuf;

fn replay(text: &str) -> String {
    let mut script = Script::new(text);
    let mut out = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with(['=', '!'])) {
        out.push(line.to_owned());
        if !line.is_empty() && !line.starts_with('#') {
            out.extend(script.run(line));
        }
    }
    out.join("\n") + "\n"
}

fn differences(name: &str, expected: &str, found: &str) -> Vec<String> {
    let mut command = "";
    let mut all = Vec::new();
    for (expected, found) in expected.lines().zip(found.lines()) {
        if !expected.starts_with(['=', '!', '#']) {
            command = expected;
        }
        if expected != found {
            all.push(format!("{name}: {command}\n    real {expected}\n    tree {found}"));
        }
    }
    if all.is_empty() && expected != found {
        all.push(format!("{name}: one of them has more lines"));
    }
    all
}

// Claims: C-tree-zookeeper
#[test]
fn the_tree_answers_as_the_recorded_server() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/tree/cases");
    let mut found = Vec::new();
    let mut commands = 0;
    for file in fs::read_dir(folder).expect("the cases are there") {
        let path = file.expect("it is readable").path();
        let text = fs::read_to_string(&path).expect("a case is text");
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        commands += text.lines().filter(|line| line.starts_with('=')).count();
        found.extend(differences(&name, &text, &replay(&text)));
    }
    assert!(commands > 250, "only {commands} answers were read");
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
}
