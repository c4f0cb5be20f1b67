//! A client in Python, written from `docs/protocol.md` alone, against real servers.

use accord_net::embedded::Cluster;
use std::process::Command;

#[test]
fn the_document_suffices_to_write_a_client() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("there is no python3 here: the client in Python was not run");
        return;
    }
    let cluster = Cluster::start(3).expect("the cluster starts");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/protocol/client.py");
    let mut command = Command::new("python3");
    command.arg("-B").arg(script);
    command.args(cluster.addresses().iter().map(ToString::to_string));
    let output = command.output().expect("it runs");
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    assert!(out.ends_with("all is well\n"), "{out}");
}
