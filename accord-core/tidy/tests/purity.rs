//! Purity: no clock, randomness, thread, IO, hash order or float enters the core. The sources are
//! searched for the names by which they would enter, and the manifest for crates that could bring
//! them.
//!
//! Two other guards look at the same promise from other sides: clippy's disallowed types and
//! methods in `clippy.toml`, and `tests/no_std_proof`, which links the crate without the standard
//! library.

use accord_tidy::{code_only, files, without_tests, words, workspace};
use std::fs;
use std::path::{Path, PathBuf};

/// Names that have no business in the core, and why.
const BANNED: [(&str, &str); 18] = [
    ("std", "the core is no_std: use core or alloc"),
    ("HashMap", "iterates in hash order: use BTreeMap"),
    ("HashSet", "iterates in hash order: use BTreeSet"),
    ("RandomState", "is seeded by the system"),
    ("hashbrown", "iterates in hash order: use BTreeMap"),
    ("f32", "floats differ between machines: use integers and ratios"),
    ("f64", "floats differ between machines: use integers and ratios"),
    ("SystemTime", "the core has no clock: time is handed in"),
    ("thread", "the core has no threads"),
    ("thread_local", "the core has no threads"),
    ("rand", "randomness is handed in as a seed: use crate::rng"),
    ("getrandom", "randomness is handed in as a seed: use crate::rng"),
    ("async", "the core is driven, it does not wait"),
    ("await", "the core is driven, it does not wait"),
    ("unsafe", "the core is safe Rust"),
    ("AtomicU64", "the core has no threads"),
    ("AtomicUsize", "the core has no threads"),
    ("static", "the core has no global state"),
];

/// The crates that the core may depend on. None of them reads a clock or draws randomness.
const DEPENDENCIES: [&str; 5] = ["blake3", "bytes", "crc32fast", "thiserror", "xxhash-rust"];

/// What is wrong with a source, as `line: name: why`.
fn impurities(source: &str) -> Vec<String> {
    let code = without_tests(&code_only(source));
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let number = number + 1;
        // A lifetime is not a global.
        let line = line.replace("'static", "");
        for (name, why) in BANNED {
            if words(&line).any(|word| word == name) {
                found.push(format!("{number}: {name}: {why}"));
            }
        }
        if line.contains("Instant::now") {
            found.push(format!("{number}: Instant::now: time is handed in"));
        }
    }
    found
}

/// The files that a source declares to be modules of tests.
fn test_files(path: &Path) -> Vec<PathBuf> {
    let code = code_only(&fs::read_to_string(path).expect("a source is readable"));
    let declared = code.split("#[cfg(test)]").skip(1).filter_map(|after| {
        let (name, _) = after.trim_start().strip_prefix("mod ")?.split_once(';')?;
        words(name).eq([name]).then(|| format!("{name}.rs"))
    });
    let owns_directory = path.ends_with("mod.rs") || path.ends_with("lib.rs");
    let directory = if owns_directory { path.with_file_name("") } else { path.with_extension("") };
    declared.map(|name| directory.join(name)).collect()
}

#[test]
fn no_clock_randomness_hash_order_or_float_is_in_the_sources() {
    let directory = workspace().join("accord-core/src");
    let sources = files(&directory, "rs");
    assert!(sources.len() > 20, "only {} sources were found", sources.len());
    let mut found = Vec::new();
    let tests: Vec<PathBuf> = sources.iter().flat_map(|path| test_files(path)).collect();
    for path in sources.into_iter().filter(|path| !tests.contains(path)) {
        let source = fs::read_to_string(&path).expect("a source is readable");
        let path = path.strip_prefix(&directory).expect("it is below src").display();
        found.extend(impurities(&source).into_iter().map(|what| format!("src/{path}:{what}")));
    }
    assert!(found.is_empty(), "the core is not pure:\n{}", found.join("\n"));
}

#[test]
fn the_search_finds_what_is_planted_and_nothing_else() {
    let planted = r##"//! A doc may speak of std::time and HashMap.
use std::time::Instant;
/* nor does /a comment with f64 count */ fn lifetime<'a>(x: &'a str) -> &'a str { x }
let text = "HashMap and \" rand"; let raw = r#"std "quoted" f32"#; let c = '"';
let map: HashMap<u8, f64> = HashMap::new();
let now = Instant::now();
static GLOBAL: &'static str = "";
const FINE: &'static str = "standard operand";
#[cfg(test)]
mod tests {
    use std::collections::HashSet;
}
let after = rand::random();
"##;
    let lines: Vec<String> = impurities(planted)
        .iter()
        .map(|line| line.splitn(3, ": ").take(2).collect::<Vec<_>>().join(" "))
        .collect();
    let expected =
        ["2 std", "5 HashMap", "5 f64", "6 Instant::now", "7 static", "13 rand"].map(String::from);
    assert_eq!(lines, expected);
}

#[test]
fn the_core_depends_on_nothing_that_could_bring_impurity() {
    let manifest = workspace().join("accord-core/Cargo.toml");
    let manifest = fs::read_to_string(manifest).expect("the manifest is readable");
    let section = manifest.split("\n[dependencies]\n").nth(1).expect("there are dependencies");
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    let names = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let names: Vec<&str> =
        names.map(|line| line.split(['.', ' ', '=']).next().unwrap_or_default()).collect();
    assert_eq!(names, DEPENDENCIES);
}

#[test]
fn the_crate_is_declared_no_std_and_free_of_unsafe_code() {
    let root = include_str!("../../src/lib.rs");
    assert!(root.contains("\n#![no_std]\n") && root.contains("\n#![forbid(unsafe_code)]\n"));
}
