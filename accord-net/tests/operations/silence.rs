//! Servers that take connections and say nothing: who asks them waits as long as it was told to.

use crate::directories::server;
use crate::support::accord;
use std::net::TcpListener;
use tempfile::TempDir;

#[test]
fn whoever_asks_a_silent_server_waits_no_longer_than_it_was_told() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let at = silent.local_addr().expect("it has one").to_string();
    for command in [&["status"][..], &["admin", "members"], &["admin", "digest"]] {
        let told = accord(&[command, &["--servers", &at, "--timeout-ms", "200"]].concat());
        assert_eq!(told.code, Some(4), "{told:?}");
        let said = format!("{}{}", told.out, told.err);
        assert!(said.contains("it took longer than 200 ms"), "{said}");
    }
}

#[test]
fn a_name_that_is_not_known_does_not_keep_the_others_from_being_asked() {
    let parent = TempDir::new().expect("there is a place for it");
    let (_process, at) = server(&parent.path().join("n1"), &["--bootstrap"]);
    accord(&["put", "a", "1", "--servers", &at]).done();
    let named = format!("no.such.host.invalid:1,{at}");
    let told = accord(&["admin", "digest", "--servers", &named]);
    assert!(told.err.contains("no.such.host.invalid"), "{told:?}");
    assert!(told.done().contains("the same state on 1 of 1 servers"));
    let nobody = accord(&["admin", "members", "--servers", "no.such.host.invalid:1"]).failed(2);
    assert!(nobody.contains("no.such.host.invalid"), "{nobody}");
}
