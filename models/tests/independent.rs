//! The checkers know nothing of the core, so that they cannot share its mistakes: `Cargo.lock` says
//! what each package is built from, its tests and features included.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The packages of a lock file, each with those that it names as its dependencies.
fn packages(lock: &str) -> BTreeMap<&str, Vec<&str>> {
    let blocks = lock.split("[[package]]").skip(1);
    blocks
        .filter_map(|block| {
            let quoted: Vec<&str> = block.split('"').skip(1).step_by(2).collect();
            let name = *quoted.first()?;
            let listed = block.split_once("dependencies = [")?.1;
            let names = listed.split('"').skip(1).step_by(2);
            // A name may be followed by the version, if there are several.
            let names = names.filter_map(|name| name.split(' ').next());
            Some((name, names.collect()))
        })
        .collect()
}

/// All that `package` is built from.
fn reachable<'a>(
    packages: &BTreeMap<&'a str, Vec<&'a str>>,
    package: &'a str,
) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open = vec![package];
    while let Some(name) = open.pop() {
        for next in packages.get(name).into_iter().flatten() {
            if found.insert(*next) {
                open.push(next);
            }
        }
    }
    found
}

#[test]
fn the_checkers_are_built_without_the_core() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    let lock = std::fs::read_to_string(path).unwrap();
    let packages = packages(&lock);
    let core = "accord-core";
    assert!(reachable(&packages, "accord-explore").contains(core), "the search finds nothing");
    let ours = reachable(&packages, "accord-models");
    assert!(ours.contains("clap"), "{ours:?}");
    assert!(!ours.contains(core), "{ours:?}");
}
