//! Disks that cannot be written or are full, as file systems of their own: these tests run in a
//! mount namespace, which needs root. Without it they are skipped, and say so; what they check is
//! also checked on the simulated disk (`storage/tests/store/errors.rs`).

use crate::contents;
use crate::directories::{flags, server};
use crate::support::{Process, accord, command, run};
use accord_core::time::Duration;
use accord_net::client::{Client, ClientOptions};
use nix::sys::signal::Signal;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const INSIDE: &str = "OPERATIONS_IN_A_NAMESPACE";

/// Runs the rest of this test in a mount namespace of its own: true in there.
fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let unshare = ["--mount", "--propagation", "private"];
    let possible = Command::new("unshare").args(unshare).arg("true").status();
    if !possible.is_ok_and(|status| status.success()) {
        println!("skipped: a mount namespace needs root, and unshare");
        return false;
    }
    let this = std::env::current_exe().expect("this program has a name");
    let mut again = Command::new("unshare");
    again.args(unshare).arg(this).args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    assert!(again.status().expect("it runs").success());
    false
}

#[track_caller]
fn mount(args: &[&str], at: &Path) {
    let status = Command::new("mount").args(args).arg(at).status().expect("there is a mount");
    assert!(status.success(), "mount {args:?}");
}

/// A file system in memory of this size. It goes with the namespace.
fn small(size: &str) -> (TempDir, PathBuf) {
    let parent = TempDir::new().expect("there is a place for it");
    let disk = parent.path().join("disk");
    std::fs::create_dir(&disk).expect("it can be made");
    mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "none"], &disk);
    (parent, disk)
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    if !inside("disks::a_directory_that_cannot_be_written_is_named") {
        return;
    }
    let (_parent, disk) = small("100m");
    let dir = disk.join("n1");
    let (mut process, at) = server(&dir, &["--bootstrap"]);
    accord(&["put", "a", "1", "--servers", &at]).done();
    process.signal(Signal::SIGTERM);
    process.end();
    mount(&["-o", "remount,ro"], &disk);
    let before = contents(&dir);
    let told = run(command().args(flags(&dir)), b"").failed(1);
    assert!(told.contains("cannot be written") && told.contains("mount it for writing"), "{told}");
    let new = disk.join("new");
    let told = run(command().args(flags(&new)), b"").failed(1);
    assert!(told.contains("choose a directory that this user may write to"), "{told}");
    assert!(contents(&dir) == before);
    // It can be looked at.
    let dir = dir.to_str().expect("it is text");
    assert!(accord(&["admin", "inspect", dir]).done().contains("server 1 of the cluster accord"));
}

#[test]
fn a_new_directory_on_a_full_disk_is_named() {
    if !inside("disks::a_new_directory_on_a_full_disk_is_named") {
        return;
    }
    let (_parent, disk) = small("1m");
    let dir = disk.join("n1");
    let mut process = Process::start(command().args(flags(&dir)).arg("--bootstrap"));
    let told = process.line("the server stopped itself, because its disk failed: no room for");
    assert!(told.contains("free some space"), "{told}");
    assert_eq!(process.end().code(), Some(3));
    mount(&["-o", "remount,size=100m"], &disk);
    let (_process, at) = server(&dir, &["--bootstrap"]);
    accord(&["put", "a", "1", "--servers", &at]).done();
}

// Claims: C-disk-synced
#[test]
fn a_disk_that_fills_up_stops_the_server_and_loses_nothing_that_was_answered() {
    if !inside("disks::a_disk_that_fills_up_stops_the_server_and_loses_nothing_that_was_answered") {
        return;
    }
    // Two segments of the log, and not three.
    let (_parent, disk) = small("80m");
    let dir = disk.join("n1");
    let (mut process, at) = server(&dir, &["--bootstrap"]);
    let runtime = tokio::runtime::Runtime::new().expect("it can be made");
    let value = vec![7; 1 << 20];
    let answered = runtime.block_on(async {
        let mut options = ClientOptions::new([at]);
        options.request_timeout = Duration::from_secs(10);
        let client = Client::connect(options).await.expect("it serves");
        let mut answered = 0;
        while client.put(format!("key/{answered}"), value.clone()).await.is_ok() {
            answered += 1;
            assert!(answered < 1000, "it fills up");
        }
        answered
    });
    assert!(answered > 20, "{answered}");
    process.line("the server stopped itself, because its disk failed: no room for");
    assert_eq!(process.end().code(), Some(3));
    mount(&["-o", "remount,size=300m"], &disk);
    let (_process, at) = server(&dir, &[]);
    runtime.block_on(async {
        let options = ClientOptions::new([at]);
        let client = Client::connect(options).await.expect("it serves");
        for number in 0..answered {
            let found = client.get(format!("key/{number}")).await.expect("it can be read");
            assert_eq!(found.expect("it was answered").value, value, "key/{number}");
        }
        client.put("more", "goes in").await.expect("there is room");
    });
}
