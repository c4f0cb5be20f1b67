//! Servers that take connections and say nothing: who asks them waits as long as it was told to.

use crate::support::accord;
use std::net::TcpListener;

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
