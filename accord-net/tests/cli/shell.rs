//! The shell, as a script reads it.

use super::support::{Cluster, Process, run};

#[test]
fn a_script_runs_in_one_session_and_ends_at_the_first_failure() {
    let cluster = Cluster::shared();
    let script = b"# a comment\nput shell/a 'one two' --ephemeral\nget shell/a\ntxn put shell/b 'x y'; get shell/b\nget shell/none\nget shell/a\n";
    let ran = run(&mut cluster.command(&["shell"]), script);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(ran.err, "accord: shell/none: not found\n");
    assert!(ran.out.contains("one two\n") && ran.out.contains("get shell/b: x y\n"), "{ran:?}");
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
        ("gte a\n", "a similar subcommand exists: 'get'"),
        ("get 'a\n", "a quote is not closed"),
        ("get a --servers x:1\n", "--servers and --timeout-ms are for the whole shell"),
    ] {
        let error = run(&mut cluster.command(&["shell"]), line.as_bytes()).failed(2);
        assert!(error.contains(expected), "{line}: {error}");
    }
}
