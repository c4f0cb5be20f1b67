//! Promises and their judges, read from the documents and the sources.
//!
//! A *claim* is a row of a table in a document whose head begins with `claim` and `promise`: an id
//! (`C-write-once`) and one sentence. A *judge* names the ids that it checks:
//! - a test, in the line above its attributes: `Claims: C-a, C-b` behind two slashes;
//! - a model (a specification or an exhaustive model), in a line of its module documentation;
//! - a trace, in a line of its story: `Claims: C-a` behind a `#`;
//! - a property of the simulated worlds, in `Property::claims`.
//!
//! [`Claims::remarks`] says what is wrong: a claim without a judge, a judge of an unknown claim, a
//! row without an id. [`Claims::table`] is the list of judges in `docs/consistency.md`.

use crate::{code_only, item_end};
use std::collections::{BTreeMap, BTreeSet};

/// No line of the table is longer.
const COLUMNS_MAX: usize = 150;
const BEGIN: &str = "<!-- claims:begin -->";
const END: &str = "<!-- claims:end -->";

/// What a judge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A property of the simulated worlds.
    Property,
    /// A specification or an exhaustive model.
    Model,
    /// A test or a trace.
    Test,
}

/// A judge, and one of the claims that it checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judge {
    /// The claim's id.
    pub claim: String,
    /// What it is.
    pub kind: Kind,
    /// A property's name, or where the model or test is: crate and file.
    pub name: String,
}

/// All that the workspace says of claims.
#[derive(Debug, Default)]
pub struct Claims {
    /// In the order of the documents.
    promised: Vec<String>,
    judges: Vec<Judge>,
    remarks: Vec<String>,
}

impl Claims {
    /// Reads a document's promises, and the ids that it mentions.
    pub fn read_document(&mut self, path: &str, text: &str) {
        let mut in_table = false;
        for (at, line) in text.lines().enumerate() {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            if line.starts_with("| claim | promise |") {
                in_table = true;
            } else if !line.starts_with('|') {
                in_table = false;
            } else if in_table && !line.starts_with("|---") {
                self.read_row(&format!("{path}:{}", at + 1), &cells);
            }
        }
    }

    fn read_row(&mut self, place: &str, cells: &[&str]) {
        let (id, promise) = (cells.get(1).copied().unwrap_or(""), cells.get(2).unwrap_or(&""));
        let sentences = promise.matches(". ").count() + usize::from(promise.ends_with('.'));
        match ids(id).as_slice() {
            [only] if id == format!("`{only}`") => {
                if self.promised.contains(only) {
                    self.remarks.push(format!("{place}: {only} is promised twice"));
                } else if sentences != 1 {
                    self.remarks.push(format!("{place}: {only} is not one sentence"));
                }
                self.promised.push(only.clone());
            }
            _ => self.remarks.push(format!("{place}: a promise without an id")),
        }
    }

    /// Reads the judges in a source.
    pub fn read_source(&mut self, path: &str, text: &str) {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (at, line) in lines.iter().enumerate() {
            let place = format!("{path}:{}", at + 1);
            if let Some(list) = line.strip_prefix("//! Claims:") {
                if path.starts_with("models/") {
                    self.add(Kind::Model, &short(path), &ids(list));
                } else {
                    self.remarks.push(format!("{place}: only a model's file is a judge"));
                }
            } else if let Some(list) = line.strip_prefix("// Claims:") {
                if stands_above_a_test(&lines[at + 1..]) {
                    self.add(Kind::Test, &short(path), &ids(list));
                } else {
                    self.remarks.push(format!("{place}: claims that stand above no test"));
                }
                if ids(list).is_empty() {
                    self.remarks.push(format!("{place}: no claim is named"));
                }
            }
        }
        self.read_properties(text);
    }

    /// Reads the judges in a trace.
    pub fn read_trace(&mut self, path: &str, text: &str) {
        for list in text.lines().filter_map(|line| line.strip_prefix("# Claims:")) {
            self.add(Kind::Test, &short(path), &ids(list));
        }
    }

    /// Reads `Property::claims`, where each variant has an arm with the list of its claims.
    fn read_properties(&mut self, text: &str) {
        const HEAD: &str = "const fn claims(self) -> &'static [&'static str]";
        let Some(start) = text.find(HEAD) else { return };
        // Comments and literals are blank in the code, byte for byte, as sources are ASCII.
        let body = &text[start..item_end(&code_only(text), start)];
        for arm in body.split("Self::").skip(1) {
            let (variant, list) = arm.split_once("=>").unwrap_or((arm, ""));
            self.add(Kind::Property, &kebab(variant.trim()), &ids(list));
        }
    }

    fn add(&mut self, kind: Kind, name: &str, claims: &[String]) {
        let judge = |claim: &String| Judge { claim: claim.clone(), kind, name: name.into() };
        self.judges.extend(claims.iter().map(judge));
    }

    /// What is wrong, sorted.
    pub fn remarks(&self) -> Vec<String> {
        let promised: BTreeSet<&String> = self.promised.iter().collect();
        let judged: BTreeSet<&String> = self.judges.iter().map(|judge| &judge.claim).collect();
        let mut found = self.remarks.clone();
        found.extend(promised.difference(&judged).map(|claim| format!("{claim} has no judge")));
        let unknown = self.judges.iter().filter(|judge| !promised.contains(&judge.claim));
        found.extend(unknown.map(|judge| format!("{}: no claim {}", judge.name, judge.claim)));
        found.sort();
        found
    }

    /// The judges of each claim, as a table.
    pub fn table(&self) -> String {
        let mut out = String::from("| claim | properties | models | tests |\n|---|---|---|---|\n");
        for claim in &self.promised {
            let names = |kind| {
                let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
                let judges = self.judges.iter();
                for judge in judges.filter(|judge| judge.kind == kind && judge.claim == *claim) {
                    *counts.entry(&judge.name).or_default() += 1;
                }
                let many = |(name, count): (&&str, &usize)| match count {
                    1 => (*name).to_string(),
                    _ => format!("{name} ({count})"),
                };
                counts.iter().map(many).collect::<Vec<String>>()
            };
            let columns = [Kind::Property, Kind::Model, Kind::Test].map(names);
            out.push_str(&rows(claim, columns));
        }
        out
    }

    /// The document with the table as it should be.
    pub fn with_table(&self, document: &str) -> String {
        let (before, rest) = document.split_once(BEGIN).expect("the document has the mark");
        let (_, after) = rest.split_once(END).expect("the document has the end mark");
        format!("{before}{BEGIN}\n{}{END}{after}", self.table())
    }
}

/// The rows of one claim: what does not fit into a line goes into the next.
fn rows(claim: &str, mut columns: [Vec<String>; 3]) -> String {
    columns.iter_mut().for_each(|names| names.reverse());
    let mut head = format!("`{claim}`");
    let mut out = String::new();
    loop {
        let mut cells: [Vec<String>; 3] = Default::default();
        let width = |cells: &[Vec<String>; 3], head: &str| {
            let names = cells.iter().map(|names| names.join(", ").len() + 3);
            names.sum::<usize>() + head.len() + 4
        };
        for at in 0..3 {
            while let Some(name) = columns[at].last().cloned() {
                cells[at].push(name);
                if width(&cells, &head) > COLUMNS_MAX {
                    cells[at].pop();
                    break;
                }
                columns[at].pop();
            }
        }
        let [properties, models, tests] = cells.map(|names| names.join(", "));
        out.push_str(&format!("| {head} | {properties} | {models} | {tests} |\n"));
        if columns.iter().all(Vec::is_empty) {
            return out;
        }
        head.clear();
    }
}

/// The claims' ids in a text, in order.
fn ids(text: &str) -> Vec<String> {
    let part_of_id = |c: char| c.is_ascii_lowercase() || c == '-';
    let mut found = Vec::new();
    for (at, _) in text.match_indices("C-") {
        let rest = &text[at + 2..];
        let end = rest.find(|c| !part_of_id(c)).unwrap_or(rest.len());
        if end > 0 {
            found.push(format!("C-{}", rest[..end].trim_end_matches('-')));
        }
    }
    found
}

/// True if the lines go on with a test: attributes, one of which is `test`, and a function.
fn stands_above_a_test(lines: &[&str]) -> bool {
    let attributes = lines.iter().take_while(|line| line.starts_with("#["));
    let attributes: Vec<&&str> = attributes.collect();
    let test = |line: &&&str| line.starts_with("#[test]") || line.contains("::test");
    attributes.iter().any(test) && lines[attributes.len()..].first().is_some_and(is_function)
}

fn is_function(line: &&str) -> bool {
    line.split_whitespace().any(|word| word == "fn")
}

/// Crate and file, as short as they can be told apart: `core/service/server`.
fn short(path: &str) -> String {
    let path = path.trim_end_matches(".rs").trim_end_matches(".txt");
    let path = path.replace("models/explore", "explore");
    let parts = path.split('/').filter(|part| !matches!(*part, "tests" | "src" | "mod" | "main"));
    parts.map(|part| part.strip_prefix("accord-").unwrap_or(part)).collect::<Vec<_>>().join("/")
}

/// `ExactlyOnce` as `exactly-once`.
fn kebab(variant: &str) -> String {
    let mut out = String::new();
    for (at, c) in variant.char_indices() {
        if c.is_uppercase() && at > 0 {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two claims, a property, a model and a test.
    const PAGE: &str = "| claim | promise | not promised |\n|---|---|---|\n\
    | `C-a` | It is so. | |\n| `C-b` | It is not. | |\n\n| id | word |\n|---|---|\n| x | y |\n";
    const PROPERTY: &str = "const fn claims(self) -> &'static [&'static str] {\n match self {\n\
        Self::ExactlyOnce => &[\"C-a\"],\n Self::Other => &[],\n }\n}\n";
    const MODEL: &str = "//! Doc.\n//! Claims: C-a\n";
    const TEST: &str = "// Claims: C-a, C-b\n#[test]\nfn it_is_so() {}\n";

    fn read(page: &str, sources: &[(&str, &str)]) -> Claims {
        let mut claims = Claims::default();
        claims.read_document("docs/a.md", page);
        sources.iter().for_each(|(path, text)| claims.read_source(path, text));
        claims
    }

    #[test]
    fn each_claim_and_each_judge_is_found_and_listed() {
        let sources = [
            ("sim/src/judge/mod.rs", PROPERTY),
            ("models/src/spec/lock.rs", MODEL),
            ("accord-core/tests/state/main.rs", TEST),
            ("accord-net/storage/tests/store/power.rs", TEST),
            ("accord-net/storage/tests/store/power.rs", TEST),
        ];
        let claims = read(PAGE, &sources);
        assert_eq!(claims.remarks(), Vec::<String>::new());
        let expected = "| claim | properties | models | tests |\n|---|---|---|---|\n\
            | `C-a` | exactly-once | models/spec/lock | core/state, net/storage/store/power (2) |\n\
            | `C-b` |  |  | core/state, net/storage/store/power (2) |\n";
        assert_eq!(claims.table(), expected);
        let document = format!("before\n{BEGIN}\nold\n{END}\nafter");
        let current = format!("before\n{BEGIN}\n{expected}{END}\nafter");
        assert_eq!(claims.with_table(&document), current);
    }

    #[test]
    fn a_judge_taken_out_a_wrong_id_and_a_row_without_one_are_found() {
        let test = ("accord-core/tests/a.rs", TEST);
        let remarks = |page: &str, sources: &[(&str, &str)]| read(page, sources).remarks();
        assert_eq!(remarks(PAGE, &[test]), Vec::<String>::new());
        assert_eq!(remarks(PAGE, &[("sim/a.rs", PROPERTY)]), ["C-b has no judge"]);
        assert_eq!(remarks(PAGE, &[]), ["C-a has no judge", "C-b has no judge"]);
        let unknown = PROPERTY.replace("C-a", "C-c");
        let found = remarks(PAGE, &[test, ("sim/a.rs", &unknown)]);
        assert_eq!(found, ["exactly-once: no claim C-c"]);
        let (nameless, two) = (PAGE.replace("`C-b`", ""), PAGE.replace("not.", "not. Nor was it."));
        let again = PAGE.replace("C-b", "C-a");
        let found = remarks(&nameless, &[("sim/a.rs", PROPERTY)]);
        assert_eq!(found, ["docs/a.md:4: a promise without an id"]);
        assert_eq!(remarks(&two, &[test]), ["docs/a.md:4: C-b is not one sentence"]);
        let found = remarks(&again, &[("sim/a.rs", PROPERTY)]);
        assert_eq!(found, ["docs/a.md:4: C-a is promised twice"]);
    }

    #[test]
    fn claims_that_stand_above_no_test_judge_nothing() {
        let loose =
            "// Claims: C-a\nfn helper() {}\n// Claims: C-b\n#[test]\n#[ignore]\nfn t() {}\n";
        let found = read(PAGE, &[("a/tests/b.rs", loose), ("a/src/c.rs", MODEL)]).remarks();
        let expected = [
            "C-a has no judge",
            "a/src/c.rs:2: only a model's file is a judge",
            "a/tests/b.rs:1: claims that stand above no test",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_does_not_fit_into_a_row_goes_into_the_next() {
        let path = |at| format!("accord-core/tests/{}{at}.rs", "long".repeat(8));
        let sources: Vec<(String, &str)> = (0..7).map(|at| (path(at), TEST)).collect();
        let mut claims = read(PAGE, &[]);
        sources.iter().for_each(|(path, text)| claims.read_source(path, text));
        let table = claims.table();
        assert!(table.lines().all(|line| line.len() <= COLUMNS_MAX), "{table}");
        assert_eq!(table.lines().count(), 2 + 2 * 3, "{table}");
    }
}
