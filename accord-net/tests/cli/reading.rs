//! Reads that need no session, names that are not found, and what a watch tells of its connection.

use super::relay::Relay;
use super::support::{Cluster, Process, accord, command, eventually, send};
use nix::sys::signal::Signal;

// Claims: C-read-no-session
#[test]
fn a_read_costs_no_session_and_a_local_one_needs_no_majority() {
    let cluster = Cluster::start(&[]);
    let put = &cluster.run(&["put", "k", "v", "--json"]).json()[0];
    // The session of the put has ended, in one more revision.
    let revision = put["revision"].as_u64().expect("it is a number") + 1;
    for _ in 0..3 {
        let got = &cluster.run(&["get", "k", "--json"]).json()[0];
        assert_eq!(got["revision"], revision, "nothing was written");
        assert_eq!(cluster.run(&["list", "k", "--keys"]).done(), "k\n");
    }
    let first = cluster.servers.split(',').next().expect("there are three");
    assert_eq!(accord(&["get", "k", "--servers", first]).done(), "v\n");
    send(cluster.pids[1], Signal::SIGKILL);
    send(cluster.pids[2], Signal::SIGKILL);
    for args in
        [&["get", "k", "--local"][..], &["list", "--local"], &["get", "k", "--local", "--stat"]]
    {
        let ran = cluster.run(args);
        assert!(ran.code == Some(0) && ran.out.contains('v'), "{ran:?}");
    }
    let error = accord(&["get", "k", "--servers", first, "--timeout-ms", "700"]).failed(4);
    assert!(error.contains("no server answered within 700 ms"), "{error}");
}

#[test]
fn a_name_that_is_not_found_stops_nobody_who_has_another_server() {
    let cluster = Cluster::shared();
    let servers = format!("no-such-host.invalid:9090,{}", cluster.servers);
    for args in [&["put", "named", "v"][..], &["get", "named"], &["lock", "named", "--", "true"]] {
        let ran = cluster.run(&[args, &["--servers", &servers]].concat());
        assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
    }
    for args in [&["put", "named", "v"][..], &["get", "named"]] {
        let alone = [args, &["--servers", "no-such-host.invalid:9090"]].concat();
        let error = accord(&alone).failed(4);
        assert!(error.contains("no-such-host.invalid:9090 (the name cannot be "), "{error}");
    }
}

#[test]
fn a_watch_tells_of_its_connection() {
    let cluster = Cluster::shared();
    let relay = Relay::to(cluster.servers.split(',').next().expect("there are three"));
    let args = ["watch", "connected", "--servers", &relay.at, "--count", "1"];
    let mut watch = Process::start(&mut cluster.command(&args));
    watch.line("accord: watching");
    relay.cut();
    watch.line("accord: the connection is lost; looking for another server");
    watch.line("accord: connected again");
    cluster.run(&["put", "connected", "v"]).done();
    watch.line(" created connected = v");
    assert_eq!(watch.end().code(), Some(0));
}

#[test]
fn a_watch_whose_session_has_expired_ends_and_says_from_where_another_goes_on() {
    let port = accord_net::ports::free(1).expect("there is a port")[0];
    let at = format!("127.0.0.1:{port}");
    let args = ["server", "--exit-with-parent", "--bootstrap", "--http-listen", "off"];
    let start = || {
        let mut server = Process::start(command().args(args).args(["--client-listen", &at]));
        server.line(" listens for clients at ");
        server
    };
    let mut first = start();
    let mut watch = Process::start(command().args(["watch", "k", "--servers", &at]));
    let line = watch.line("accord: watching what happens after revision ");
    let revision = line.rsplit(' ').next().expect("it is named").to_owned();
    first.signal(Signal::SIGKILL);
    first.end();
    watch.line("accord: the connection is lost; looking for another server");
    let _second = start();
    let line = watch.line("the session has ended");
    assert!(line.contains(&format!("`--from {revision}` goes on from here")), "{line}");
    assert_eq!(watch.end().code(), Some(1));
    eventually("it serves", || {
        (accord(&["put", "k", "v", "--servers", &at]).code == Some(0)).then_some(())
    });
}
