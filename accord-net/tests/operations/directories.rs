//! Directories that are not what the server takes them for. Each is told apart and named, by the
//! server and by `accord admin inspect`, and left as it was.

use crate::contents;
use crate::old::write_format_3;
use crate::support::{Process, accord, command, run};
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The flags of a persistent server on its own.
pub fn flags(dir: &Path) -> Vec<String> {
    let dir = dir.to_str().expect("it is text");
    let fixed = ["server", "--exit-with-parent", "--mode", "persistent", "--data-dir", dir];
    let ports = ["--client-listen", "127.0.0.1:0", "--http-listen", "off"];
    fixed.iter().chain(&ports).map(ToString::to_string).collect()
}

/// A server that is ready, and where its clients connect.
pub fn server(dir: &Path, more: &[&str]) -> (Process, String) {
    let mut process = Process::start(command().args(flags(dir)).args(more));
    let line = process.line(" listens for clients at ");
    let at = line.split(" at ").nth(1).and_then(|rest| rest.split(',').next());
    (process, at.expect("the line names it").to_owned())
}

/// The directory of a server that lived.
fn lived() -> (TempDir, PathBuf) {
    let parent = TempDir::new().expect("there is a place for it");
    let dir = parent.path().join("n1");
    let (mut process, at) = server(&dir, &["--bootstrap"]);
    for number in 0..8 {
        accord(&["put", &format!("key/{number}"), "value", "--servers", &at]).done();
    }
    process.signal(Signal::SIGTERM);
    assert_eq!(process.end().code(), Some(0));
    (parent, dir)
}

/// Starts the server, which must refuse the directory, say all of this, and leave it as it is.
#[track_caller]
fn refused(dir: &Path, more: &[&str], said: &[&str]) {
    let before = contents(dir);
    let told = run(command().args(flags(dir)).args(more), b"").failed(1);
    for part in said {
        assert!(told.contains(part), "{part:?} is not in: {told}");
    }
    assert!(contents(dir) == before, "the directory was changed");
}

#[track_caller]
fn inspect(dir: &Path) -> crate::support::Ran {
    accord(&["admin", "inspect", dir.to_str().expect("it is text"), "--json"])
}

// Claims: C-store-owner
#[test]
fn another_clusters_and_another_servers_are_named() {
    let (_parent, dir) = lived();
    let said = ["belongs to a server of the cluster `accord`, and this server is of `other`"];
    refused(&dir, &["--cluster", "other"], &said);
    refused(&dir, &["--id", "2"], &["belongs to server", "not to", "checkpoint.redb"]);
    let found = inspect(&dir).json();
    assert_eq!((&found[0]["node"], &found[0]["cluster"]), (&1.into(), &"accord".into()));
    assert_eq!(found[0]["voters"], serde_json::json!([1]));
    assert!(found[0]["last_index"].as_u64() > Some(8), "{found:?}");
    let text = accord(&["admin", "inspect", dir.to_str().expect("it is text")]).done();
    assert!(text.contains("server 1 of the cluster accord"), "{text}");
    // The name is kept.
    let other = dir.with_file_name("other");
    let (mut process, _) = server(&other, &["--bootstrap", "--cluster", "other"]);
    process.signal(Signal::SIGTERM);
    process.end();
    refused(&other, &[], &["of the cluster `other`, and this server is of `accord`"]);
    assert_eq!(inspect(&other).json()[0]["cluster"], "other");
    let (mut process, at) = server(&dir, &[]);
    assert_eq!(accord(&["get", "key/7", "--servers", &at]).done(), "value\n");
    let told = inspect(&dir).json();
    assert!(told[0]["message"].as_str().is_some_and(|why| why.contains("is locked")), "{told:?}");
    process.signal(Signal::SIGTERM);
    process.end();
}

// Claims: C-store-owner
#[test]
fn a_newer_format_is_named() {
    const META: redb::TableDefinition<&str, &[u8]> = redb::TableDefinition::new("meta");
    let (_parent, dir) = lived();
    let database = redb::Database::open(dir.join("checkpoint.redb")).expect("it is intact");
    let transaction = database.begin_write().expect("it can be written");
    let mut value = 5u32.to_le_bytes().to_vec();
    value.extend_from_slice(&crc32fast::hash(&value).to_le_bytes());
    let mut table = transaction.open_table(META).expect("it is there");
    table.insert("format", value.as_slice()).expect("it is taken");
    drop(table);
    transaction.commit().expect("it is written");
    drop(database);
    refused(&dir, &[], &["checkpoint.redb has format 5", "start the version that wrote it"]);
    assert_eq!(inspect(&dir).code, Some(1));
}

// Claims: C-store-owner
#[test]
fn a_directory_of_an_older_format_is_named_and_left_as_it_is() {
    let parent = TempDir::new().expect("there is a place for it");
    let dir = parent.path().join("old");
    write_format_3(&dir);
    let said = [
        "checkpoint.redb has format 3",
        "this version reads 4",
        "left as it is",
        "start the version that wrote it, and copy the records with a client",
    ];
    refused(&dir, &["--cluster", "old"], &said);
    refused(&dir, &["--cluster", "old", "--bootstrap"], &said);
    let found = inspect(&dir);
    assert_eq!(found.code, Some(1));
    let told = found.json();
    assert!(told[0]["message"].as_str().is_some_and(|why| why.contains("format 3")), "{told:?}");
}

#[test]
fn files_cut_short_are_named() {
    for name in ["log-0000000000000001", "checkpoint.redb"] {
        let (_parent, dir) = lived();
        let path = dir.join(name);
        let file = fs::File::options().write(true).open(&path).expect("it is there");
        let bytes = file.metadata().expect("it has a length").len();
        file.set_len(bytes / 2).expect("it is cut");
        refused(&dir, &[], &[name, "is damaged", "start with an empty one"]);
        let found = inspect(&dir);
        assert_eq!(found.code, Some(1));
        let found = found.json();
        assert_eq!(found[0]["error"], "damaged");
        assert!(found[0]["file"].as_str().is_some_and(|file| file.ends_with(name)), "{found:?}");
    }
}

// Claims: C-store-damage
#[test]
fn a_byte_that_changed_is_named_with_its_place() {
    let (_parent, dir) = lived();
    let name = "log-0000000000000001";
    let file = fs::File::options().read(true).write(true).open(dir.join(name));
    let file = file.expect("it is there");
    // In the second frame: the first entry of the log may be before it.
    let at = 2 * 512 + 100;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("it is there");
    file.write_all_at(&[byte[0] ^ 1], at).expect("it can be written");
    refused(&dir, &[], &[name, "is damaged at byte 1024", "behind log index"]);
    let found = inspect(&dir).json();
    assert_eq!((&found[0]["error"], &found[0]["offset"]), (&"damaged".into(), &1024.into()));
    assert!(found[0]["after_index"].is_u64(), "{found:?}");
}

#[test]
fn a_damaged_list_of_servers_is_named() {
    let (_parent, dir) = lived();
    fs::write(dir.join("servers.json"), "{\"version\":1}\n00000000\n").expect("it can be written");
    refused(&dir, &[], &["servers.json", "checksum", "remove it"]);
    let found = inspect(&dir);
    assert_eq!(found.code, Some(1));
    let found = found.json();
    assert_eq!(found[0]["error"], "damaged");
    assert!(found[0]["file"].as_str().is_some_and(|file| file.ends_with("servers.json")));
    let told = accord(&["admin", "inspect", dir.to_str().expect("it is text")]).failed(1);
    assert!(told.contains("servers.json") && told.contains("remove it"), "{told}");
}

#[test]
fn a_segment_without_its_contents_is_named_and_not_one_before_it() {
    let (_parent, dir) = lived();
    let name = "log-0000000000000003";
    fs::write(dir.join(name), b"").expect("it can be written");
    refused(&dir, &[], &[name, "is damaged", "truncated"]);
    let found = inspect(&dir).json();
    assert!(found[0]["file"].as_str().is_some_and(|file| file.ends_with(name)), "{found:?}");
}

#[test]
fn somebody_elses_directory_is_refused() {
    let parent = TempDir::new().expect("there is a place for it");
    let dir = parent.path().join("home");
    fs::create_dir(&dir).expect("it can be made");
    fs::write(dir.join("thesis.tex"), b"text").expect("it can be written");
    fs::write(dir.join("servers.json"), b"{}").expect("it can be written");
    refused(&dir, &["--bootstrap"], &["thesis.tex", "point data_dir to an empty directory"]);
    let told = inspect(&dir).json();
    assert!(told[0]["message"].as_str().is_some_and(|why| why.contains("thesis.tex")), "{told:?}");
    assert_eq!(contents(&dir).len(), 2);
}

/// Stops a server in order.
fn stop(mut process: Process) {
    process.signal(Signal::SIGTERM);
    assert_eq!(process.end().code(), Some(0));
}

#[test]
fn a_directory_made_without_permission_to_form_a_cluster_is_given_it_while_it_holds_nothing() {
    let parent = TempDir::new().expect("there is a place for it");
    let dir = parent.path().join("n1");
    let mut process = Process::start(command().args(flags(&dir)));
    process.line("no cluster is formed: server 1 is there, but was started without --bootstrap");
    stop(process);
    let mut process = Process::start(command().args(flags(&dir)));
    process.line("made without --bootstrap and holds nothing yet");
    process.line("the server listens");
    stop(process);
    assert_eq!(inspect(&dir).json()[0]["bootstrap"], false);
    let (process, at) = server(&dir, &["--bootstrap"]);
    accord(&["put", "a", "1", "--servers", &at]).done();
    stop(process);
    assert_eq!(inspect(&dir).json()[0]["bootstrap"], true);
    // It is not asked for again.
    let (process, at) = server(&dir, &[]);
    assert_eq!(accord(&["get", "a", "--servers", &at]).done(), "1\n");
    stop(process);
}

#[test]
fn the_end_of_the_terminal_stops_a_server_in_order() {
    let parent = TempDir::new().expect("there is a place for it");
    // The tests themselves may run under nohup.
    let mut heeding = std::process::Command::new("env");
    heeding.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_accord")]);
    heeding.args(flags(&parent.path().join("n1"))).arg("--bootstrap");
    let mut process = Process::start(&mut heeding);
    process.line(" listens for clients at ");
    process.signal(Signal::SIGHUP);
    process.line("SIGHUP; settings are read at a start");
    assert_eq!(process.end().code(), Some(0));
}

#[test]
fn under_nohup_the_end_of_the_terminal_is_ignored() {
    let parent = TempDir::new().expect("there is a place for it");
    let mut nohup = std::process::Command::new("nohup");
    nohup.arg(env!("CARGO_BIN_EXE_accord")).args(flags(&parent.path().join("n1")));
    let mut process = Process::start(nohup.arg("--bootstrap"));
    let line = process.line(" listens for clients at ");
    let at = line.split(" at ").nth(1).and_then(|rest| rest.split(',').next());
    process.signal(Signal::SIGHUP);
    accord(&["put", "a", "1", "--servers", at.expect("the line names it")]).done();
    stop(process);
}

#[test]
fn a_word_that_is_no_level_of_the_log_is_refused() {
    let told = accord(&["server", "--log", "bogus"]).failed(2);
    assert!(told.contains("log: `bogus`: neither a level"), "{told}");
}
