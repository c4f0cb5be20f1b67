//! Tidiness as a test, for the whole workspace. The rules, each with the message that it gives, are
//! in [`RULES`]; a rule that nobody checks is not a rule.

use accord_tidy::{code_only, files, glossary, imports, item_end, without_tests, words, workspace};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const LINE_COLUMNS_MAX: usize = 100;
const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 600;
/// Files that import from each other in a circle can only be understood together.
const CIRCLE_FILES_MAX: usize = 3;
/// Directories with a larger circle that is to be opened: the list only becomes shorter.
const LARGER_CIRCLES: [&str; 1] = ["accord-net/src/client/"];
const MARKDOWN_COLUMNS_MAX: usize = 150;
/// A row of a table cannot be wrapped. A cell that needs more is text below the table.
const MARKDOWN_ROW_COLUMNS_MAX: usize = 250;

/// The rules for Rust sources.
type Rule = fn(&Source) -> Vec<String>;
const RULES: [Rule; 5] = [module_doc, short_lines, ascii, short_functions, short_files];

/// Words that do not belong into what is handed over. Taken apart, so that this file passes.
const BANNED: [(&str, &str); 7] = [
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/ro", "ot/"), "a path of one machine"),
    (concat!("/ho", "me/"), "a path of one machine"),
    (concat!("to", "do!"), "finish it"),
    (concat!("TO", "DO"), "finish it, or write down why not"),
    (concat!("FIX", "ME"), "finish it, or write down why not"),
    (concat!("X", "XX"), "finish it, or write down why not"),
];

/// A Rust source with the forms of it that rules look at.
struct Source {
    path: String,
    text: String,
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into(), code: code_only(text) }
    }

    fn is_test(&self) -> bool {
        self.path.contains("tests/") || self.path.ends_with("tests.rs")
    }
}

fn module_doc(source: &Source) -> Vec<String> {
    let documented = source.text.starts_with("//!");
    if documented {
        Vec::new()
    } else {
        vec!["1: no module documentation on the first line".into()]
    }
}

fn short_lines(source: &Source) -> Vec<String> {
    let lines = source.text.lines().enumerate();
    // A table or a text in quotes is not torn apart.
    let whole = |line: &str| line.contains('"') || line.contains("//! |");
    let long = lines.filter(|(_, line)| line.chars().count() > LINE_COLUMNS_MAX && !whole(line));
    long.map(|(at, _)| format!("{}: longer than {LINE_COLUMNS_MAX} columns", at + 1)).collect()
}

fn ascii(source: &Source) -> Vec<String> {
    let lines = source.text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.is_ascii())
        .map(|(at, _)| format!("{}: not ASCII", at + 1))
        .collect()
}

fn short_functions(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let mut offset = 0;
    for (at, line) in source.code.lines().enumerate() {
        if let Some(name) = function_name(line) {
            let start = offset + line.find("fn ").unwrap_or(0);
            let body = &source.code[start..item_end(&source.code, start)];
            let lines = body.lines().count();
            if lines > FUNCTION_LINES_MAX {
                let max = FUNCTION_LINES_MAX;
                found.push(format!("{}: fn {name} has {lines} lines, at most {max}", at + 1));
            }
        }
        offset += line.len() + 1;
    }
    found
}

/// The name of the function that a line of code declares.
fn function_name(line: &str) -> Option<&str> {
    let mut words = words(line).skip_while(|word| *word != "fn");
    words.next()?;
    words.next()
}

fn short_files(source: &Source) -> Vec<String> {
    if source.is_test() {
        return Vec::new();
    }
    let last_code = |code: &str| code.lines().filter(|line| !line.trim().is_empty()).count();
    // Lines of comments count, lines of tests do not.
    let tests = last_code(&source.code) - last_code(&without_tests(&source.code));
    let lines = source.text.lines().count() - tests;
    match lines > FILE_LINES_MAX {
        true => vec![format!("{lines}: more than {FILE_LINES_MAX} lines that are not tests")],
        false => Vec::new(),
    }
}

/// Lines of a Markdown text that are too long, in blocks of code too.
fn long_markdown_lines(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let row = line.starts_with('|');
        let max = if row { MARKDOWN_ROW_COLUMNS_MAX } else { MARKDOWN_COLUMNS_MAX };
        if line.chars().count() > max {
            found.push(format!("{}: longer than {max} columns", at + 1));
        }
    }
    found
}

fn banned_words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for (word, why) in BANNED {
            if is_a_word_of(line, word) {
                found.push(format!("{}: {word}: {why}", at + 1));
            }
        }
    }
    found
}

/// True if the line contains the word, and not as a part of a longer one.
fn is_a_word_of(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let continues = |c: char| c.is_alphanumeric() && !word.starts_with('/');
        let before = line[..at].chars().next_back().is_some_and(continues);
        let after = line[at + word.len()..].chars().next().is_some_and(continues);
        !before && !after
    })
}

/// The targets of a Markdown text's links that are files, with their lines.
fn file_links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for part in line.split("](").skip(1) {
            let target = part.split([')', ' ', '#']).next().unwrap_or_default();
            let elsewhere = target.contains("://") || target.starts_with("mailto:");
            if !target.is_empty() && !elsewhere {
                links.push((at + 1, target.to_string()));
            }
        }
    }
    links
}

/// Directories named in a list or a table: between a mark and the next, ending in `/`.
fn members(manifest: &str) -> BTreeSet<String> {
    let list = manifest.split("members = [").nth(1).expect("the workspace has members");
    let list = list.split(']').next().unwrap_or_default();
    let names = list.split(',').map(|name| name.trim().trim_matches('"').to_string());
    names.filter(|name| !name.is_empty()).collect()
}

/// The second column of the table under `## Crates`.
fn mapped(architecture: &str) -> BTreeSet<String> {
    let section = architecture.split("## Crates").nth(1).expect("the map has a section Crates");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.filter_map(|row| row.split('|').nth(2));
    cells.map(|cell| cell.trim().trim_matches(['`', '/']).to_string()).collect()
}

/// All files with an extension, with their paths from the workspace.
fn texts(extension: &str) -> Vec<(String, String)> {
    let root = workspace();
    let read = |path: &Path| {
        let name = path.strip_prefix(&root).expect("it is in the workspace").display().to_string();
        (name, fs::read_to_string(path).expect("the file is readable"))
    };
    files(&root, extension).iter().map(|path| read(path)).collect()
}

#[test]
fn sources_follow_the_rules() {
    let mut found = Vec::new();
    for (path, text) in texts("rs") {
        let source = Source::new(&path, &text);
        let broken = RULES.iter().flat_map(|rule| rule(&source));
        found.extend(broken.map(|what| format!("{path}:{what}")));
    }
    assert!(found.is_empty(), "{} remarks:\n{}", found.len(), found.join("\n"));
}

#[test]
fn no_import_circle_is_larger_than_three_files() {
    let mut found = imports::circles(&texts("rs"), CIRCLE_FILES_MAX);
    found.retain(|circle| !LARGER_CIRCLES.iter().any(|known| circle.contains(known)));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn nothing_is_imported_across_the_seams() {
    let found = imports::refused(&texts("rs"));
    assert!(found.is_empty(), "imports that are refused:\n{}", found.join("\n"));
}

#[test]
fn an_import_across_a_seam_is_found() {
    let planted = |path: &str, line: &str| {
        let text = format!("//! Doc.\n{line}\n");
        imports::refused(&[(format!("accord-core/src/{path}"), text)])
    };
    let refused = ["accord-core/src/gateway/conn.rs: replica".to_owned()];
    assert_eq!(planted("gateway/conn.rs", "use crate::replica::Replica;"), refused);
    assert_eq!(planted("gateway/conn.rs", "use crate::{ids::Index, replica::Replica};"), refused);
    assert_eq!(planted("gateway/conn.rs", "fn f(_: &crate::replica::Replica) {}"), refused);
    assert_eq!(planted("service/mod.rs", "use crate::protocol::Refusal;").len(), 1);
    assert_eq!(planted("service/mod.rs", "use crate::gateway;").len(), 1);
    assert!(planted("service/mod.rs", "use crate::replica::Replica;").is_empty());
    assert!(planted("gateway/conn.rs", "// crate::replica is not known here.").is_empty());
    let codec = "use crate::protocol::decode_client;";
    assert_eq!(planted("gateway/conn.rs", codec).len(), 1);
    assert_eq!(planted("gateway/another/mod.rs", codec).len(), 1);
    assert!(planted("gateway/native/mod.rs", codec).is_empty());
    assert_eq!(planted("gateway/native/mod.rs", "use crate::replica::Replica;").len(), 1);
}

#[test]
fn no_banned_word_is_handed_over() {
    let mut found = Vec::new();
    for extension in ["rs", "md", "toml", "txt", "patch", "yml"] {
        for (path, text) in texts(extension) {
            found.extend(banned_words(&text).into_iter().map(|what| format!("{path}:{what}")));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn lines_in_documents_are_bounded() {
    let mut found = Vec::new();
    for (path, text) in texts("md") {
        found.extend(long_markdown_lines(&text).iter().map(|what| format!("{path}:{what}")));
    }
    assert!(found.is_empty(), "{} remarks:\n{}", found.len(), found.join("\n"));
}

#[test]
fn long_lines_of_documents_are_found() {
    let data = format!("```wire\n{}\n```\n", "-".repeat(151));
    let text = format!("{0}\n{0}x\n|{0}{0}\n|{1}\n{data}", "-".repeat(150), "-".repeat(249));
    let expected = [2, 3, 6]
        .map(|line| format!("{line}: longer than {} columns", if line == 3 { 250 } else { 150 }));
    assert_eq!(long_markdown_lines(&text), expected);
}

#[test]
fn links_in_documents_resolve() {
    let root = workspace();
    let mut broken = Vec::new();
    for (path, text) in texts("md") {
        let directory = root.join(&path);
        let directory = directory.parent().expect("a file is in a directory");
        for (line, target) in file_links(&text) {
            if !directory.join(&target).exists() {
                broken.push(format!("{path}:{line}: {target} is not there"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

fn glossary_text() -> String {
    fs::read_to_string(workspace().join("docs/glossary.md")).expect("the glossary is readable")
}

#[test]
fn terms_of_the_glossary_are_names_in_the_code() {
    let (terms, _) = glossary::read(&glossary_text());
    let mut known = BTreeSet::new();
    for (_, text) in texts("rs") {
        known.extend(words(&code_only(&text)).map(str::to_string));
    }
    let mut seen = BTreeSet::new();
    for term in &terms {
        let (line, word) = (term.line, &term.term);
        assert!(seen.insert(word.clone()), "docs/glossary.md:{line}: {word} is there twice");
        for name in &term.names {
            assert!(known.contains(name), "docs/glossary.md:{line}: the code has no {name}");
        }
    }
    assert!(terms.len() > 50, "{} terms were read", terms.len());
}

#[test]
fn phrases_that_the_glossary_replaces_are_not_used() {
    let (_, phrases) = glossary::read(&glossary_text());
    let mut found = Vec::new();
    let checked = |path: &str| {
        let document = path.ends_with(".md") && !path.starts_with("paper/");
        let source = path.starts_with("accord-core/src") || path.starts_with("accord-net/src");
        let later = ["server/", "service/", "gateway/"];
        let later = later.iter().any(|part| path.starts_with(&format!("accord-core/src/{part}")));
        path != "docs/glossary.md" && (document || source) && !later
    };
    for (path, text) in ["md", "rs"].iter().flat_map(|extension| texts(extension)) {
        if checked(&path) {
            let used = glossary::uses(&text, &phrases);
            found.extend(used.iter().map(|(line, phrase)| format!("{path}:{line}: {phrase}")));
        }
    }
    assert!(found.is_empty(), "{} remarks:\n{}", found.len(), found.join("\n"));
}

#[test]
fn terms_and_phrases_are_read_and_found() {
    let text = "| term | meaning | in the code |\n|---|---|---|\n| a | b | `C`, `D` |\n| e | f | |\n\
                ## Phrases to avoid\n\n| avoid | say |\n|---|---|\n| g h, i | j |\n";
    let (terms, phrases) = glossary::read(text);
    let row = |line, term: &str, names: &[&str]| glossary::Term {
        line,
        term: term.into(),
        names: names.iter().map(|name| (*name).to_string()).collect(),
    };
    assert_eq!(terms, [row(3, "a", &["C", "D"]), row(4, "e", &[])]);
    assert_eq!(phrases, ["g h", "i"]);
    let used = glossary::uses("// G\n// h_i i.\nx g\n  h", &phrases);
    assert_eq!(used, [(2, "i".into()), (3, "g h".into())]);
}

#[test]
fn the_map_names_the_crates_of_the_workspace() {
    let read = |name: &str| fs::read_to_string(workspace().join(name)).expect("it is readable");
    assert_eq!(mapped(&read("ARCHITECTURE.md")), members(&read("Cargo.toml")));
}

/// The remarks of all rules on one source.
fn remarks(path: &str, text: &str) -> Vec<String> {
    let source = Source::new(path, text);
    RULES.iter().flat_map(|rule| rule(&source)).collect()
}

#[test]
fn each_rule_finds_what_it_is_for() {
    let long_function =
        format!("//! Doc.\nfn long() {{\n{}}}\nfn short() {{}}\n", "    x();\n".repeat(69));
    let long_file = "//! Doc.\n".repeat(601);
    let tested = format!(
        "//! Doc.\n{}#[cfg(test)]\nmod tests {{\n{}}}\n",
        "x;\n".repeat(590),
        "y;\n".repeat(50)
    );
    let umlaut = "//! Doc.\nfn \u{fc}() {}\n";
    let wide = format!("//! Doc.\n//{}\n", "-".repeat(LINE_COLUMNS_MAX - 1));
    let too_wide = format!("2: longer than {LINE_COLUMNS_MAX} columns");
    for (path, text, expected) in [
        ("src/a.rs", "fn a() {}\n", &["1: no module documentation on the first line"][..]),
        ("src/a.rs", &wide, &[&too_wide]),
        ("src/a.rs", umlaut, &["2: not ASCII"]),
        ("src/a.rs", &long_function, &["2: fn long has 71 lines, at most 70"]),
        ("src/a.rs", &long_file, &["601: more than 600 lines that are not tests"]),
        ("tests/a.rs", &long_file, &[]),
        ("src/a.rs", &tested, &[]),
        ("src/a.rs", "//! Doc.\nfn a() {}\n", &[]),
    ] {
        assert_eq!(remarks(path, text), expected, "{path}: {}", text.lines().last().unwrap());
    }
}

#[test]
fn banned_words_broken_links_and_wrong_maps_are_found() {
    let word = BANNED[3].0;
    assert_eq!(
        banned_words(&format!("fine\nfn a() {{ {word}() }}\n"))[0],
        format!("2: {word}: finish it")
    );
    let text = "[a](b.md#part) [c](https://d) ![e](f.svg \"g\") [h](#i)\n\n[j](../k/)";
    let links = [(1, "b.md".into()), (1, "f.svg".into()), (3, "../k/".into())];
    assert_eq!(file_links(text), links);
    let map = "## Crates\n\n| crate | directory |\n|---|---|\n| `x` | `a/` | b |\n\n## Next\n| `y` | `z/` |\n";
    assert_eq!(mapped(map), BTreeSet::from(["a".to_string()]));
    assert_eq!(members("members = [\"a\", \"b\"]\n"), BTreeSet::from(["a".into(), "b".into()]));
}
