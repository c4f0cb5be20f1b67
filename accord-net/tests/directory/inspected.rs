//! An inspection says of a directory what a start says of it: each of its files is spoilt in turn,
//! in each way, and both are asked.

use crate::scratch::{Scratch, written};
use crate::script::{NODE, tiny};
use accord_core::rng::Rng;
use accord_net::server::journal::Disk;
use std::collections::BTreeMap;
use std::fs;

const SERVERS: &str = "servers.json";

/// What becomes of a file. `None`: it is gone.
type Spoil = fn(&[u8]) -> Option<Vec<u8>>;

const WAYS: [(&str, Spoil); 7] = [
    ("missing", |_| None),
    ("empty", |_| Some(Vec::new())),
    ("half", |bytes| Some(bytes[..bytes.len() / 2].to_vec())),
    ("a byte short", |bytes| Some(bytes[..bytes.len().saturating_sub(1)].to_vec())),
    ("zeros", |bytes| Some(vec![0; bytes.len()])),
    ("garbage", |bytes| Some(garbage(bytes.len()))),
    ("a little garbage", |_| Some(garbage(100))),
];

fn garbage(len: usize) -> Vec<u8> {
    let mut rng = Rng::new(len as u64);
    (0..len).map(|_| rng.next_u64() as u8).collect()
}

/// The list of servers as it is kept.
fn servers() -> Vec<u8> {
    let text = r#"{"version":1,"cluster_id":0,"servers":{"7":"127.0.0.1:7907"}}"#;
    format!("{text}\n{:08x}\n", crc32fast::hash(text.as_bytes())).into_bytes()
}

type Files = BTreeMap<String, Vec<u8>>;

/// The files of a directory with a checkpoint and a log.
fn whole(test: &str) -> Files {
    let (scratch, _) = written(&format!("inspected-whole-{test}"));
    // A start removes the segments for which the log has no use any more.
    drop(Disk::open(&scratch.0, NODE, tiny()).expect("it is intact"));
    let name = |path: &std::path::Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut files: Files =
        scratch.contents().into_iter().map(|(path, bytes)| (name(&path), bytes)).collect();
    files.insert(SERVERS.to_owned(), servers());
    files
}

fn place(files: &Files, test: &str) -> Scratch {
    let scratch = Scratch::new(&format!("inspected-{test}"));
    fs::create_dir_all(&scratch.0).expect("it can be made");
    for (name, bytes) in files {
        fs::write(scratch.0.join(name), bytes).expect("a healthy disk");
    }
    scratch
}

/// What an inspection and then a start say of these files: nothing, or why not. They must agree.
fn judged(files: &Files, test: &str, what: &str) -> Option<String> {
    let scratch = place(files, test);
    let before = scratch.contents();
    let inspected = Disk::inspect(&scratch.0);
    assert!(scratch.contents() == before, "{what}: an inspection changed something");
    let started = Disk::open(&scratch.0, NODE, tiny());
    let (inspected, started) = match (inspected, started) {
        (Ok(found), Ok(disk)) => {
            let found = found.map(|(found, _)| (found.store, found.last, found.promised));
            let recovered = disk.recovered.as_ref();
            let recovered = recovered.map(|it| (it.store, it.log.last(), it.promised));
            assert_eq!(found, recovered, "{what}");
            return None;
        }
        (inspected, started) => (inspected.map(|_| ()), started.map(|_| ())),
    };
    assert!(scratch.contents() == before, "{what}: a start that failed changed something");
    let told = |result: Result<(), _>| match result {
        Ok(()) => "all is well".to_owned(),
        Err(error) => ToString::to_string(&error),
    };
    let (inspected, started) = (told(inspected), told(started));
    assert_eq!(inspected, started, "{what}");
    Some(started)
}

#[test]
fn an_inspection_says_of_every_file_what_a_start_says_and_both_name_the_right_one() {
    let files = whole("each");
    assert_eq!(judged(&files, "each", "whole"), None);
    let (mut refused, mut taken) = (0, 0);
    for (name, bytes) in &files {
        for (way, spoil) in WAYS {
            let mut spoilt = files.clone();
            match spoil(bytes) {
                Some(bytes) => drop(spoilt.insert(name.clone(), bytes)),
                None => drop(spoilt.remove(name)),
            }
            let what = format!("{name}: {way}");
            match judged(&spoilt, "each", &what) {
                Some(why) => {
                    assert!(why.contains(name.as_str()), "{what}: another is named: {why}");
                    refused += 1;
                }
                None => {
                    // An empty lock is as good; without the list, the configuration's counts.
                    let harmless = name == "lock" || (name == SERVERS && way == "missing");
                    assert!(harmless, "{what}: nobody minds");
                    taken += 1;
                }
            }
        }
    }
    println!("{refused} refused, {taken} taken, of {} files", files.len());
    assert!(refused > 25, "{refused}");
}

/// What is there beside what should be: later segments, things half made, things of others.
#[test]
fn an_inspection_says_of_what_is_there_too_much_what_a_start_says() {
    let files = whole("more");
    let is_segment = |name: &&String| name.starts_with("log-");
    let last = files.keys().rfind(is_segment).expect("there is a log").clone();
    let number: u64 = last["log-".len()..].parse().expect("segments are numbered");
    let segment = |ahead: u64| format!("log-{:016}", number + ahead);
    let copy = files[&last].clone();
    for (name, bytes, named) in [
        (segment(1), Vec::new(), true),
        (segment(1), garbage(1000), true),
        (segment(1), copy.clone(), true),
        (segment(2), Vec::new(), true),
        (segment(1_000_000_000), Vec::new(), true),
        (segment(1) + ".new", garbage(1000), false),
        ("checkpoint.redb.new".to_owned(), garbage(1000), false),
        ("state-9999999999999999.redb".to_owned(), garbage(1000), false),
        ("servers.json.new".to_owned(), garbage(1000), false),
        ("suspect".to_owned(), Vec::new(), false),
        ("notes.txt".to_owned(), b"keep".to_vec(), false),
    ] {
        let mut more = files.clone();
        more.insert(name.clone(), bytes);
        let why = judged(&more, "more", &name);
        assert_eq!(why.is_some(), named, "{name}: {why:?}");
        assert!(why.is_none_or(|why| why.contains(&name)), "{name}");
    }
}

/// A directory in which no server has been: its own leftovers are taken, others' files are not.
#[test]
fn an_inspection_says_of_a_directory_without_a_store_what_a_start_says() {
    let lock = || ("lock".to_owned(), Vec::new());
    for (name, bytes, refused) in [
        ("lost+found", Vec::new(), false),
        (SERVERS, servers(), false),
        ("log-0000000000000001.new", garbage(1000), false),
        ("log-0000000000000001", vec![0; 2048], false),
        ("log-0000000000000001", garbage(2048), true),
        ("state-0000000000000001.redb", garbage(10), true),
        (SERVERS, garbage(100), true),
        ("thesis.tex", Vec::new(), true),
        ("log-1", Vec::new(), true),
    ] {
        let files: Files = [lock(), (name.to_owned(), bytes)].into();
        assert_eq!(judged(&files, "none", name).is_some(), refused, "{name}");
    }
}
