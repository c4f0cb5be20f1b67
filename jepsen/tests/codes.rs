//! The exit codes of the command: 2 if something could not be run or there would be nothing to
//! judge, whatever the subcommand.

use std::process::{Command, Output};

fn jepsen(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_accord-jepsen")).args(args).output().expect("it runs")
}

#[test]
fn a_server_that_cannot_be_run_ends_every_subcommand_with_2() {
    let ends = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake/ends.sh");
    for subcommand in ["run", "grow", "sessions", "rejoin", "checkpoints"] {
        for (program, named) in [("/no/such/accord", "/no/such/accord"), (ends, "disk is full")] {
            let output = jepsen(&[subcommand, "--accord", program]);
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{subcommand} {program}: {words}");
            assert!(words.contains(named), "{subcommand} {program}: {words}");
        }
    }
}

#[test]
fn what_would_judge_nothing_is_refused_with_2() {
    for args in [
        &["run", "--rounds", "0"][..],
        &["run", "--faults", ""],
        &["run", "--faults", "melt"],
        &["run", "--faults", "kill-all"],
        &["run", "--faults", "split"],
        &["run", "--faults", "daemon-kill"],
        &["grow", "--sizes", "3"],
        &["grow", "--sizes", "3,3"],
        &["sessions", "--sessions", "0"],
        &["sessions", "--leaving", "0"],
        &["sessions", "--observers", "0"],
        &["sessions", "--sessions", "10", "--leaving", "10"],
        &["rejoin", "--writes", "0"],
        &["rejoin", "--clients", "0"],
        &["checkpoints", "--checkpoints", "0"],
        &["checkpoints", "--lanes", "0"],
    ] {
        let output = jepsen(args);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {words}");
        // Before anything is started.
        assert!(!words.contains("cannot start"), "{args:?}: {words}");
    }
}

#[test]
fn a_reader_that_has_gone_away_changes_no_exit_code() {
    let gone = || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        writer
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_accord-jepsen"));
    command.args(["run", "--accord", "/no/such/accord"]);
    let status = command.stdout(gone()).stderr(gone()).status().expect("it runs");
    assert_eq!(status.code(), Some(2), "not the 101 of a panic");
}
