//! The shell, as a script reads it.

use super::support::{Cluster, Process, run};
use nix::sys::signal::Signal;

#[test]
fn a_script_runs_in_one_session_and_ends_at_the_first_failure() {
    let cluster = Cluster::shared();
    let script = b"# a comment\nput shell/a 'one two' --ephemeral\nget shell/a\ntxn put shell/b 'x y'; get shell/b\nget shell/none\nget shell/a\n";
    let ran = run(&mut cluster.command(&["shell"]), script);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(ran.err, "accord: shell/none: not found\n");
    assert!(ran.out.contains("one two\n") && ran.out.contains("get shell/b: \"x y\"\n"), "{ran:?}");
    assert_eq!(ran.out.matches("one two\n").count(), 1, "it ended at the failure");
    assert_eq!(cluster.run(&["get", "shell/a"]).code, Some(1), "it died with the session");
    let ran = run(&mut cluster.command(&["shell", "--keep-going"]), script);
    assert_eq!((ran.code, ran.out.matches("one two\n").count()), (Some(1), 2), "{ran:?}");
}

#[test]
fn the_session_stays_the_same_and_lines_are_answered_as_they_come() {
    let cluster = Cluster::shared();
    let mut shell = Process::start(&mut cluster.command(&["shell"]));
    shell.say("session");
    let first = shell.line("session ");
    shell.say("put shell/c 1");
    shell.line("shell/c: version 1");
    shell.say("session");
    assert_eq!(shell.line("session "), first);
    shell.say("help get");
    shell.line("Read a record");
    shell.say("exit");
    assert_eq!(shell.end().code(), Some(0));
}

#[test]
fn what_is_not_understood_is_said() {
    let cluster = Cluster::shared();
    for (line, expected) in [
        ("gte a\n", "unrecognized subcommand 'gte'"),
        ("get 'a\n", "a quote is not closed"),
        ("get a --servers x:1\n", "--servers and --timeout-ms are for the whole shell"),
    ] {
        let error = run(&mut cluster.command(&["shell"]), line.as_bytes()).failed(2);
        assert!(error.contains(expected), "{line}: {error}");
    }
}

#[test]
fn what_ended_a_watch_does_not_interrupt_the_next_command() {
    let cluster = Cluster::shared();
    let mut shell = Process::start(&mut cluster.command(&["shell"]));
    for round in ["1", "2", "3"] {
        shell.say("watch --prefix shell/signal/");
        shell.line("accord: watching");
        shell.signal(Signal::SIGINT);
        shell.say(&format!("put shell/signal/{round} {round}"));
        shell.line(&format!("shell/signal/{round}: version 1"));
        shell.say("session");
        shell.line("session ");
    }
    shell.say("exit");
    assert_eq!(shell.end().code(), Some(0), "nothing was interrupted");
}

#[test]
fn a_script_that_waits_for_a_line_ends_by_signals() {
    let cluster = Cluster::shared();
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let mut shell = Process::start(&mut cluster.command(&["shell"]));
        shell.say("session");
        shell.line("session ");
        shell.signal(signal);
        assert_eq!(shell.end().code(), Some(code));
    }
    let mut shell = Process::start(&mut cluster.command(&["shell", "--keep-going"]));
    shell.say("watch --members");
    shell.line("accord: watching");
    shell.signal(Signal::SIGTERM);
    assert_eq!(shell.end().code(), Some(143), "it is for the shell, not only for the command");
}
