//! Inputs whose verdict hangs on how they are read: equal values in several spellings, what Clojure
//! prints, what contradicts itself, what says nothing.
//!
//! A file begins with its story; `; model:` names the model and `; right:` the verdict: `valid`,
//! `undecided`, `invalid` with the anomaly and its operations, or `bad input` with the place.

use std::path::PathBuf;

use accord_models::check::{Options, check_known};
use accord_models::{Model, Verdict, history};

fn header<'a>(text: &'a str, name: &str) -> &'a str {
    let start = format!("; {name}: ");
    text.lines().find_map(|line| line.strip_prefix(start.as_str())).expect("the header")
}

/// The verdict on `text` as a file's header states it.
fn said(text: &str, model: Model) -> String {
    let judged = history::read(text.as_bytes())
        .and_then(|history| check_known(&history, model, &Options::default()));
    match judged {
        Ok(Verdict::Valid) => "valid".to_owned(),
        Ok(Verdict::Undecided { .. }) => "undecided".to_owned(),
        Ok(Verdict::Invalid(why)) => {
            let operations = why.operations.iter().map(|index| format!(" {index}"));
            format!("invalid {}{}", why.anomaly, operations.collect::<String>())
        }
        Err(error) => format!("bad input {}", error.at),
    }
}

#[test]
fn every_input_is_judged_as_it_states() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/inputs");
    let (mut failures, mut count) = (Vec::new(), 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("; "), "{} begins with its story", path.display());
        let model = Model::named(header(&text, "model")).expect("a known model");
        let (said, right) = (said(&text, model), header(&text, "right"));
        if said != right {
            failures.push(format!("{}: {said}, right: {right}", path.display()));
        }
        count += 1;
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(count >= 15, "{count} inputs");
}
