//! Every wrong history in `histories/` is refused for the reason that it states, with the
//! operations that it names; its repaired twin is accepted.
//!
//! A file begins with its story; `; model:` names the model, and `; refused:` of a wrong history
//! the anomaly and the operations of the explanation, by index.

#[path = "support/rng.rs"]
mod rng;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use accord_models::check::{Options, check};
use accord_models::history::{self, History};
use accord_models::{Explanation, Model, Verdict};

struct File {
    name: String,
    text: String,
    model: Model,
}

fn files(ending: &str) -> Vec<File> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/histories");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file_name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(name) = file_name.strip_suffix(ending) else { continue };
        let text = std::fs::read_to_string(&path).unwrap();
        let model = Model::named(header(&text, "model").expect("a model")).expect("a known model");
        assert!(text.starts_with("; "), "{file_name} begins with its story");
        files.push(File { name: name.to_owned(), text, model });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let start = format!("; {name}: ");
    text.lines().find_map(|line| line.strip_prefix(start.as_str()))
}

fn judge(file: &File) -> (History, Verdict) {
    let history = history::read(file.text.as_bytes())
        .unwrap_or_else(|error| panic!("{}: {error}", file.name));
    let verdict = check(&history, file.model, &Options::default())
        .unwrap_or_else(|error| panic!("{}: {error}", file.name));
    (history, verdict)
}

fn stated(explanation: &Explanation) -> String {
    let operations = explanation.operations.iter().map(|index| format!(" {index}"));
    format!("{}{}", explanation.anomaly, operations.collect::<String>())
}

#[test]
fn every_wrong_history_is_refused_for_its_reason() {
    let mut failures = Vec::new();
    for file in files(".wrong.edn") {
        let expected = header(&file.text, "refused").expect("a reason");
        let (history, verdict) = judge(&file);
        match verdict.explanation() {
            Some(explanation) if stated(explanation) == expected => {}
            Some(explanation) => failures.push(format!(
                "{}: expected {expected}, got {}\n{}",
                file.name,
                stated(explanation),
                explanation.display(&history)
            )),
            None => failures.push(format!("{}: {verdict:?}", file.name)),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_repaired_history_is_accepted() {
    let mut failures = Vec::new();
    for file in files(".right.edn") {
        let (history, verdict) = judge(&file);
        if let Some(explanation) = verdict.explanation() {
            failures.push(format!("{}: {}", file.name, explanation.display(&history)));
        }
        assert!(header(&file.text, "refused").is_none(), "{}", file.name);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_catalogue_is_complete() {
    let names = |ending| files(ending).into_iter().map(|file| file.name).collect::<Vec<_>>();
    assert_eq!(names(".wrong.edn"), names(".right.edn"), "every history has its twin");
    let wrong = files(".wrong.edn");
    assert!(wrong.len() >= 30, "at least thirty wrong histories");
    let mut kinds: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for file in &wrong {
        let anomaly = header(&file.text, "refused").unwrap().split(' ').next().unwrap();
        kinds.entry(file.model.name()).or_default().insert(anomaly);
    }
    for model in Model::ALL {
        assert!(wrong.iter().filter(|file| file.model == model).count() >= 2, "{model:?}");
    }
    let kinds_count: usize = kinds.values().map(BTreeSet::len).sum();
    assert!(kinds_count >= 30, "at least thirty kinds of wrong: {kinds:?}");
}

#[test]
fn damaged_histories_are_judged_or_refused_without_a_panic() {
    let small = Options {
        budget: accord_models::Budget {
            steps_max: 20_000,
            cache_bytes_max: 1 << 20,
            explain_steps_max: 2_000,
        },
        ..Options::default()
    };
    let mut rng = rng::Rng::new(1);
    for file in files(".edn").into_iter() {
        for _ in 0..40 {
            let mut lines: Vec<&str> = file.text.lines().filter(|l| l.starts_with('{')).collect();
            let mut at = |length: usize| rng.below(length as u64) as usize;
            let (from, to) = (at(lines.len()), at(lines.len()));
            lines.swap(from, to);
            let mut text = lines.join("\n").into_bytes();
            for _ in 0..2 {
                let digits: Vec<usize> =
                    (0..text.len()).filter(|i| text[*i].is_ascii_digit()).collect();
                text[digits[at(digits.len())]] = b'0' + at(4) as u8;
            }
            if let Ok(history) = history::read(&text) {
                for model in Model::ALL {
                    let _ = check(&history, model, &small);
                }
            }
        }
    }
}
