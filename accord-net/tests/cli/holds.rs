//! Commands under a lock end before somebody else can hold it, whatever becomes of the network and
//! of `accord` itself; and the lock is kept for as long as they take to end.

use super::relay::Relay;
use super::support::{Cluster, Process, eventually, is_alive};
use nix::sys::signal::Signal;

fn server(cluster: &Cluster, at: usize) -> &str {
    cluster.servers.split(',').nth(at).expect("there are three")
}

/// The processes that a script names in its line `begun PID ...`.
fn begun(process: &mut Process) -> Vec<i32> {
    let line = process.line("begun ");
    line.split(' ').skip(1).map(|pid| pid.parse().expect("a number")).collect()
}

/// Runs a shell and another below it, that do this when they are asked to end.
fn two(when_asked: &str) -> String {
    let loops = format!("trap '{when_asked}' TERM; while :; do sleep 0.05; done");
    format!("trap '{when_asked}' TERM; ( {loops} ) & echo begun $$ $!; while :; do wait; done")
}

/// Holds a lock through a relay, freezes it, and sees that nothing of the command runs any more
/// when somebody else holds the lock, be the command willing to end or not.
#[track_caller]
fn the_next_begins_alone(cluster: &Cluster, name: &str, timeout_ms: &str) {
    let relay = Relay::to(server(cluster, 0));
    let held = ["--servers", &relay.at, "--session-timeout-ms", timeout_ms, "--", "sh", "-c"];
    let mut holders = Vec::new();
    for (kind, when_asked) in [("willing", "exit 5"), ("unwilling", "")] {
        let (lock, script) = (format!("{name}/{kind}"), two(when_asked));
        let args: Vec<&str> = ["lock", &lock].into_iter().chain(held).chain([&*script]).collect();
        let mut holder = Process::start(&mut cluster.command(&args));
        let pids = begun(&mut holder);
        holders.push((lock, holder, pids));
    }
    relay.freeze();
    let mut next: Vec<Process> = Vec::new();
    for (lock, _, pids) in &holders {
        let script = format!(
            "for pid in {} {}; do kill -0 $pid 2>&- && echo together; done; echo looked",
            pids[0], pids[1]
        );
        let other = server(cluster, 1);
        let args = ["lock", lock, "--servers", other, "--", "sh", "-c", &script];
        next.push(Process::start(&mut cluster.command(&args)));
    }
    for mut next in next {
        assert_eq!(next.line(""), "looked", "nothing of the earlier holder's runs");
        assert_eq!(next.end().code(), Some(0));
    }
    for (lock, holder, pids) in &mut holders {
        assert_eq!(holder.end().code(), Some(3), "{lock}: it was lost");
        assert!(!pids.iter().any(|pid| is_alive(*pid)));
    }
}

#[test]
fn a_command_is_over_before_the_next_holder_begins_if_no_server_answers() {
    the_next_begins_alone(Cluster::shared(), "frozen", "4000");
}

#[test]
fn the_timeout_that_the_cluster_grants_counts_and_not_the_one_asked_for() {
    let cluster = Cluster::start(&["--set", "state.timeout_ms_max=3000"]);
    the_next_begins_alone(&cluster, "granted", "60000");
}

#[test]
fn a_signal_ends_all_that_the_command_started_and_the_lock_is_free_then() {
    let cluster = Cluster::shared();
    let script = "sleep 1000 & echo begun $$ $!; wait; true";
    let mut holder =
        Process::start(&mut cluster.command(&["lock", "tree", "--", "sh", "-c", script]));
    let pids = begun(&mut holder);
    holder.signal(Signal::SIGTERM);
    assert_eq!(holder.end().code(), Some(128 + Signal::SIGTERM as i32));
    assert!(!pids.iter().any(|pid| is_alive(*pid)), "the shell and what it ran");
    let free = cluster.run(&["lock", "tree", "--try", "--", "echo", "free"]);
    assert_eq!(free.done(), "free\n");
}

#[test]
fn the_lock_is_kept_while_the_command_is_ending() {
    let cluster = Cluster::shared();
    let below = "trap 'echo ending; read line; echo over' TERM; echo begun $$; wait; \
                 while read line; do :; done";
    // The command ends at once, and what it started takes its time.
    let script = format!("exec 3<&0; ( {below} ) <&3 & sleep 1000");
    let mut holder =
        Process::start(&mut cluster.command(&["lock", "ending", "--", "sh", "-c", &script]));
    holder.line("begun ");
    holder.signal(Signal::SIGTERM);
    // A shell that reads looks at its trap when there is something to read.
    holder.say("");
    holder.line("ending");
    let taken = cluster.run(&["lock", "ending", "--try", "--", "true"]);
    assert!(taken.failed(1).contains("somebody else holds it"));
    holder.end_input();
    holder.line("over");
    assert_eq!(holder.end().code(), Some(128 + Signal::SIGTERM as i32));
    cluster.run(&["lock", "ending", "--try", "--", "true"]).done();
}

#[test]
fn a_command_does_not_outlive_the_one_that_holds_the_lock() {
    let cluster = Cluster::shared();
    for (lock, when_asked) in [("killed/willing", "exit"), ("killed/unwilling", "")] {
        let script = two(when_asked);
        let args = ["lock", lock, "--session-timeout-ms", "2000", "--", "sh", "-c", &script];
        let mut holder = Process::start(&mut cluster.command(&args));
        let pids = begun(&mut holder);
        holder.signal(Signal::SIGKILL);
        eventually("nothing of it runs", || (!pids.iter().any(|pid| is_alive(*pid))).then_some(()));
    }
}

#[test]
fn who_holds_a_lock_is_told() {
    let cluster = Cluster::shared();
    let nobody = cluster.run(&["lock", "whose", "--who"]).failed(1);
    assert_eq!(nobody, "accord: lock whose: it is free\n");
    let mut holder =
        Process::start(&mut cluster.command(&["lock", "whose", "--", "sh", "-c", "read line"]));
    let who = eventually("it is held", || {
        let who = cluster.run(&["lock", "whose", "--who"]);
        (who.code == Some(0)).then_some(who.out)
    });
    let process = format!(", process {}: sh -c read line (fencing token ", holder.pid());
    assert!(who.contains(&process), "{who}");
    holder.say("");
    assert_eq!(holder.end().code(), Some(0));
    let mut named =
        Process::start(&mut cluster.command(&["lock", "whose", "--owner", "night shift"]));
    let line = named.line("held, fencing token ");
    let token: u64 = line.rsplit(' ').next().and_then(|token| token.parse().ok()).expect("a token");
    let who = &cluster.run(&["lock", "whose", "--who", "--json"]).json()[0];
    assert_eq!((who["owner"].as_str(), who["token"].as_u64()), (Some("night shift"), Some(token)));
    named.signal(Signal::SIGINT);
    assert_eq!(named.end().code(), Some(0));
}
