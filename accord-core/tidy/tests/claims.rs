//! Every promise has a judge, every judge a promise, and the list of both is current.

use accord_tidy::claims::Claims;
use accord_tidy::{files, workspace};
use std::fs;

/// The documents, sources or traces of the workspace, with their paths from there.
fn texts(extension: &str) -> Vec<(String, String)> {
    let root = workspace();
    let found = files(&root, extension).into_iter().map(|path| {
        let name = path.strip_prefix(&root).expect("it is in the workspace").display().to_string();
        (name, fs::read_to_string(&path).expect("the file is readable"))
    });
    found.collect()
}

/// All promises and judges of the workspace.
fn claims() -> Claims {
    let mut claims = Claims::default();
    for (path, text) in texts("md") {
        claims.read_document(&path, &text);
    }
    for (path, text) in texts("rs") {
        claims.read_source(&path, &text);
    }
    for (path, text) in texts("txt").iter().filter(|(path, _)| path.contains("/tests/traces/")) {
        claims.read_trace(path, text);
    }
    claims
}

#[test]
fn every_claim_has_a_judge_and_every_judge_a_claim() {
    let found = claims().remarks();
    assert!(found.is_empty(), "{} remarks:\n{}", found.len(), found.join("\n"));
}

#[test]
fn the_table_of_claims_and_judges_is_current() {
    let path = workspace().join("docs/consistency.md");
    let text = fs::read_to_string(&path).expect("it is readable");
    let current = claims().with_table(&text);
    if std::env::var_os("UPDATE_CLAIMS").is_some() {
        fs::write(&path, current).expect("it is writable");
    } else {
        let how = "UPDATE_CLAIMS=1 cargo test -p accord-tidy";
        assert!(text == current, "{how} writes the table in docs/consistency.md");
    }
}
