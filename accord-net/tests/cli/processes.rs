//! Servers and clusters as processes: how they start, how they end, and what they say if they
//! cannot.

use super::support::{Cluster, Process, accord, command, eventually, is_alive, run, send};
use accord_net::settings::new_key;
use nix::sys::signal::Signal;
use std::net::{TcpListener, UdpSocket};

/// A server that is ready, and where its clients connect.
fn server(args: &[&str]) -> (Process, String) {
    let fixed = ["server", "--exit-with-parent", "--client-listen", "127.0.0.1:0"];
    let mut process = Process::start(command().args(fixed).args(args));
    let line = process.line(" listens for clients at ");
    let at = line.split(" at ").nth(1).and_then(|rest| rest.split(',').next());
    let at = at.expect("the line names it").to_owned();
    (process, at)
}

#[test]
fn a_server_serves_and_stops_when_told_or_alone() {
    for how in ["SIGTERM", "SIGINT", "the end of its input"] {
        let (mut server, at) = server(&["--bootstrap", "--http-listen", "127.0.0.1:0"]);
        run(command().args(["put", "a", "1", "--servers", &at]), b"").done();
        assert_eq!(accord(&["get", "a", "--servers", &at]).done(), "1\n");
        match how {
            "SIGTERM" => server.signal(Signal::SIGTERM),
            "SIGINT" => server.signal(Signal::SIGINT),
            _ => server.end_input(),
        }
        assert_eq!(server.end().code(), Some(0), "{how}");
    }
}

#[test]
fn http_tells_whether_a_server_is_ready() {
    use std::io::{Read, Write};
    let fixed = [
        "server",
        "--exit-with-parent",
        "--client-listen",
        "127.0.0.1:0",
        "--http-listen",
        "127.0.0.1:0",
    ];
    let mut server = Process::start(command().args(fixed).arg("--bootstrap"));
    let line = server.line(" listens for clients at ");
    let http = line.rsplit(' ').next().expect("it ends in the address").to_owned();
    let ask = |path: &str| {
        let mut stream = std::net::TcpStream::connect(&http).expect("it listens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    };
    assert!(ask("/health").starts_with("HTTP/1.1 200"));
    eventually("it is ready", || ask("/ready").starts_with("HTTP/1.1 200").then_some(()));
    assert!(ask("/metrics").contains("# EOF"));
}

// Claims: C-genesis
#[test]
fn a_server_without_permission_to_form_a_cluster_says_so() {
    let (_server, at) = server(&["--http-listen", "off"]);
    let status = eventually("it knows why", || {
        let status = accord(&["status", "--servers", &at]);
        status.out.contains("no cluster is formed").then_some(status)
    });
    assert_eq!(status.code, Some(1), "{status:?}");
}

#[test]
fn ctrl_c_ends_a_cluster_and_all_its_servers() {
    let mut cluster = Cluster::start(&["--servers", "3"]);
    assert_eq!(cluster.pids.len(), 3);
    // A session that has nowhere to go must not hold up the end for long.
    let mut watch = Process::start(&mut cluster.command(&["watch", "--members"]));
    watch.line("accord: watching");
    cluster.process.signal(Signal::SIGINT);
    cluster.process.line("accord: all servers have ended");
    assert_eq!(cluster.process.end().code(), Some(0));
    assert!(cluster.pids.iter().all(|pid| !is_alive(*pid)));
}

#[test]
fn a_cluster_that_is_killed_leaves_no_server_behind() {
    let mut cluster = Cluster::start(&[]);
    // Also one that does not run at the moment, as soon as it does again.
    send(cluster.pids[2], Signal::SIGSTOP);
    cluster.process.signal(Signal::SIGKILL);
    cluster.process.end();
    send(cluster.pids[2], Signal::SIGCONT);
    eventually("all servers end", || cluster.pids.iter().all(|pid| !is_alive(*pid)).then_some(()));
}

#[test]
fn a_cluster_serves_on_without_one_server_and_tells_of_its_end() {
    let directory = tempfile::tempdir().expect("there is a place for it");
    let dir = directory.path().join("demo");
    let shown = dir.to_str().expect("it is text");
    let mut cluster = Cluster::start(&["--dir", shown]);
    cluster.run(&["put", "a", "1"]).done();
    send(cluster.pids[0], Signal::SIGKILL);
    let line = cluster.process.line("server 1 ");
    let line = if line.contains("ended") { line } else { cluster.process.line("ended") };
    let again = line.split("start it again: accord ").nth(1).expect("it says how");
    assert_eq!(cluster.run(&["get", "a"]).done(), "1\n", "two of three are a majority");
    let args: Vec<_> = again.split(' ').collect();
    let mut server = Process::start(command().args(args).arg("--exit-with-parent"));
    let line = server.line(" listens for clients at ");
    let at = line.split(" at ").nth(1).and_then(|rest| rest.split(',').next());
    let at = at.expect("the line names it").to_owned();
    eventually("it is one of them again", || {
        let status = accord(&["status", "--servers", &at]).out;
        (status.contains("  serving") && status.contains("connected 1,2,3")).then_some(())
    });
    assert_eq!(accord(&["get", "a", "--servers", &at]).done(), "1\n");
    let log = std::fs::read_to_string(dir.join("server-2.log")).expect("there is a log");
    assert!(log.contains("the server listens"), "{log}");
}

// Claims: C-memory-stops, C-recover-asked
#[test]
fn a_cluster_whose_majority_forgot_is_started_anew_only_on_command() {
    let directory = tempfile::tempdir().expect("there is a place for it");
    let dir = directory.path().join("demo");
    let cluster = Cluster::start(&["--dir", dir.to_str().expect("it is text")]);
    cluster.run(&["put", "kept", "1"]).done();
    let survivor = cluster.servers.split(',').next().expect("there are three").to_owned();
    eventually("the first server has it", || {
        (accord(&["get", "kept", "--local", "--servers", &survivor]).code == Some(0)).then_some(())
    });
    let refused = accord(&["recover", &survivor, "--accept-loss"]).failed(1);
    assert!(refused.starts_with(&format!("accord: {survivor}: ")), "{refused}");
    send(cluster.pids[1], Signal::SIGKILL);
    send(cluster.pids[2], Signal::SIGKILL);
    let mut again = Vec::new();
    for id in [2, 3] {
        let config = dir.join(format!("server-{id}.toml"));
        let config = config.to_str().expect("it is text");
        again.push(Process::start(command().args([
            "server",
            "--config",
            config,
            "--exit-with-parent",
        ])));
    }
    eventually("it says why it stopped", || {
        let status = accord(&["status", "--servers", &survivor]).out;
        status.contains("some servers have lost their memory").then_some(())
    });
    assert_eq!(accord(&["recover", &survivor]).code, Some(2), "the loss must be accepted");
    accord(&["recover", &survivor, "--accept-loss"]).done();
    let get = ["get", "kept", "--servers", &survivor];
    eventually("it serves again", || (accord(&get).code == Some(0)).then_some(()));
}

#[test]
fn a_persistent_cluster_finds_what_was_stored() {
    let args = ["cluster", "--mode", "persistent", "--client-port-base", "auto", "--http", "auto"];
    let error = accord(&args).failed(2);
    assert!(error.contains("name a directory"), "{error}");
    let directory = tempfile::tempdir().expect("there is a place for it");
    let dir = directory.path().join("demo");
    let args = ["--dir", dir.to_str().expect("it is text"), "--mode", "persistent"];
    let mut first = Cluster::start(&args);
    first.run(&["put", "kept", "1"]).done();
    first.process.signal(Signal::SIGTERM);
    assert_eq!(first.process.end().code(), Some(0));
    let mut second = Cluster::start(&args);
    assert_eq!(second.run(&["get", "kept"]).done(), "1\n");
    second.run(&["put", "kept", "2"]).done();
    // Also when all of them end without a word.
    second.pids.iter().for_each(|pid| send(*pid, Signal::SIGKILL));
    assert_eq!(second.process.end().code(), Some(1), "all servers ended");
    assert_eq!(Cluster::start(&args).run(&["get", "kept"]).done(), "2\n");
}

#[test]
fn a_server_that_cannot_start_does_not_end_the_others() {
    let directory = tempfile::tempdir().expect("there is a place for it");
    let dir = directory.path().join("demo");
    let args = ["--dir", dir.to_str().expect("it is text"), "--mode", "persistent"];
    let mut first = Cluster::start(&args);
    first.run(&["put", "kept", "1"]).done();
    first.process.signal(Signal::SIGTERM);
    assert_eq!(first.process.end().code(), Some(0));
    std::fs::write(dir.join("server-2").join("servers.json"), "{\n").expect("it is ours");
    // It waits until those that run serve.
    let mut second = Cluster::start(&args);
    assert_eq!(second.pids.len(), 2);
    let said = second.process.seen().join("\n");
    assert!(said.contains("accord: server 2: could not start (exit status: 1); start it again: "));
    assert!(said.contains("server 2: ") && said.contains("servers.json"), "its reason: {said}");
    assert!(said.contains("accord: 2 of 3 servers run on\n"), "{said}");
    assert_eq!(second.run(&["get", "kept"]).done(), "1\n");
    second.process.signal(Signal::SIGTERM);
    assert_eq!(second.process.end().code(), Some(0));
}

#[test]
fn a_directory_is_one_clusters_at_a_time() {
    let directory = tempfile::tempdir().expect("there is a place for it");
    let dir = directory.path().join("demo");
    let shown = dir.to_str().expect("it is text");
    let first = Cluster::start(&["--dir", shown]);
    let config = dir.join("server-1.toml");
    let before = std::fs::read_to_string(&config).expect("it is there");
    let second =
        ["cluster", "--client-port-base", "auto", "--http", "off", "--dir", shown, "--plain"];
    let error = accord(&second).failed(1);
    assert!(error.contains("another `accord cluster` runs in "), "{error}");
    assert_eq!(std::fs::read_to_string(&config).expect("it is there"), before);
    first.run(&["put", "a", "1"]).done();
}

#[test]
fn a_cluster_of_one_needs_no_ring() {
    let cluster = Cluster::start(&["--servers", "1", "--set", "log=debug"]);
    cluster.run(&["put", "a", "1"]).done();
    assert_eq!(cluster.pids.len(), 1);
}

#[test]
fn an_address_in_use_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let at = taken.local_addr().expect("it is bound");
    let port = at.port().to_string();
    let (none, free) = ("off", "127.0.0.1:0");
    let error =
        accord(&["server", "--client-listen", &at.to_string(), "--http-listen", none]).failed(1);
    assert!(
        error.contains(&format!("cannot listen for clients at {at}"))
            && error.contains("choose another port"),
        "{error}"
    );
    let error =
        accord(&["server", "--client-listen", free, "--http-listen", &at.to_string()]).failed(1);
    assert!(
        error.contains(&format!("cannot listen for HTTP at {at}"))
            && error.contains("choose another port"),
        "{error}"
    );
    let error =
        accord(&["cluster", "--servers", "1", "--client-port-base", &port, "--http", "off"])
            .failed(1);
    assert!(
        error.contains(&format!("server 1 cannot listen for clients at port {port}")),
        "{error}"
    );
    assert!(
        error.contains("Is another cluster running?") && error.contains("--client-port-base auto"),
        "{error}"
    );
    let datagrams = UdpSocket::bind("127.0.0.1:0").expect("there is a port");
    let port = datagrams.local_addr().expect("it is bound").port().to_string();
    let error = accord(&[
        "cluster",
        "--servers",
        "1",
        "--client-port-base",
        "auto",
        "--http",
        "off",
        "--ring-port-base",
        &port,
    ])
    .failed(1);
    assert!(error.contains("the ring") && error.contains("--ring-port-base auto"), "{error}");
    let error = accord(&["cluster", "--client-port-base", "65535"]).failed(2);
    assert!(error.contains("above 65535"), "{error}");
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let directory = tempfile::tempdir().expect("there is a place for it");
    // A file where a directory is needed fails whoever runs the test.
    let file = directory.path().join("file");
    std::fs::write(&file, "").expect("it can be written");
    let dir = file.join("cluster");
    let error = accord(&[
        "cluster",
        "--client-port-base",
        "auto",
        "--http",
        "off",
        "--dir",
        dir.to_str().expect("it is text"),
    ])
    .failed(1);
    assert!(
        error.contains("cannot write ") && error.contains("Choose another directory with --dir"),
        "{error}"
    );
}

#[test]
fn a_wrong_setting_of_a_cluster_ends_it_with_the_reason() {
    let mut cluster = Process::start(command().args([
        "cluster",
        "--client-port-base",
        "auto",
        "--http",
        "off",
        "--plain",
        "--exit-with-parent",
        "--set",
        "ring.token_loss_ms=1",
    ]));
    cluster.line("unknown setting `ring.token_loss_ms`; it belongs to the section [ring.timeouts]");
    assert_eq!(cluster.end().code(), Some(1));
}

fn free_ports(count: usize) -> Vec<u16> {
    accord_net::ports::free(count).expect("there are ports")
}

#[test]
fn a_server_with_another_key_is_kept_out_and_status_says_why() {
    let ports = free_ports(3);
    let members: Vec<_> =
        ports.iter().zip(1..).map(|(port, id)| format!("{id}=127.0.0.1:{port}")).collect();
    let members = members.join(",");
    let (right, wrong) = (new_key(), new_key());
    let start = |id: &str, key: &str| {
        let key = format!("key={key}");
        server(&[
            "--id",
            id,
            "--group",
            "ring",
            "--member",
            &members,
            "--set",
            &key,
            "--http-listen",
            "off",
            "--bootstrap",
        ])
    };
    let (_one, at) = start("1", &right);
    let (_two, _) = start("2", &right);
    let (_three, other) = start("3", &wrong);
    for at in [&at, &other] {
        let status = eventually("it is refused", || {
            let status = accord(&["status", "--servers", at]);
            status.out.contains("unauthentic=").then_some(status)
        });
        assert_eq!(status.code, Some(1), "not formed: {status:?}");
        assert!(status.out.contains("no cluster is formed: "), "{status:?}");
    }
}

#[test]
fn a_name_that_does_not_resolve_does_not_stop_the_others() {
    let ports = free_ports(3);
    let directory = tempfile::tempdir().expect("there is a place for it");
    let key = format!("key={}", new_key());
    let member = |id: usize| format!("{id}=127.0.0.1:{}", ports[id - 1]);
    let start = |id: usize, third: &str| {
        let members = format!("{},{},{third}", member(1), member(2));
        let dir = directory.path().join(id.to_string());
        let dir = dir.to_str().expect("it is text");
        let id = id.to_string();
        let fixed = ["--group", "ring", "--mode", "persistent", "--http-listen", "off"];
        let own = ["--id", &id, "--member", &members, "--data-dir", dir, "--set", &key];
        server(&[&fixed[..], &own[..], &["--bootstrap"]].concat())
    };
    let serves = |at: &str| {
        eventually("it serves", || {
            accord(&["status", "--servers", at]).out.contains("  serving").then_some(())
        });
    };
    {
        let all = [1, 2, 3].map(|id| start(id, &member(3)));
        all.iter().for_each(|(_, at)| serves(at));
    }
    // The third is gone, and its name as well.
    let gone = "3=nosuch.invalid:7902";
    let mut two = [1, 2].map(|id| start(id, gone));
    two.iter().for_each(|(_, at)| serves(at));
    let said = two[0].0.seen().join("\n");
    assert!(
        said.contains("server 3: the host of `nosuch.invalid:7902` is not found")
            && said.contains("starting without it, and looking it up again"),
        "{said}"
    );
    // A list of servers that lacks one must not become everybody's.
    let add = ["admin", "add-server", "--node", "4", "--address", "127.0.0.1:1", "--servers"];
    let error = accord(&[&add[..], &[&two[0].1]].concat()).failed(1);
    assert!(error.contains("where server 3 is is not known here"), "{error}");
    let malformed = ["--group", "ring", "--member", "1=127.0.0.1:1,2=nosuch", "--set", &key];
    let error = accord(&[&["server"][..], &malformed].concat()).failed(2);
    assert!(error.contains("expected HOST:PORT"), "{error}");
    two.iter_mut().for_each(|(server, _)| server.end_input());
}

#[test]
fn two_servers_with_one_number_are_found_out() {
    let ports = free_ports(2);
    let members = format!("1=127.0.0.1:{},1=127.0.0.1:{}", ports[0], ports[1]);
    let key = format!("key={}", new_key());
    let error =
        accord(&["server", "--group", "ring", "--member", &members, "--set", &key]).failed(2);
    assert!(
        error.contains("server 1 is listed twice: each server needs an id of its own"),
        "{error}"
    );
    // The second server of a number has the first one's address.
    let members = format!("1=127.0.0.1:{},2=127.0.0.1:{}", ports[0], ports[1]);
    let args = [
        "--id",
        "1",
        "--group",
        "ring",
        "--member",
        &members,
        "--set",
        &key,
        "--http-listen",
        "off",
    ];
    let (_first, _) = server(&args);
    let second =
        run(command().args(["server", "--client-listen", "127.0.0.1:0"]).args(args), b"").failed(1);
    assert!(second.contains("Another process uses it: is the server running already?"), "{second}");
}
