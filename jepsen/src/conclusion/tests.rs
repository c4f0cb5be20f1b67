//! What a campaign concludes: verdicts, faults that hit, exit codes.

use super::*;
use crate::checkpoints::Times;
use crate::nemesis::{Fault, FaultError};
use accord_models::edn::Value;
use accord_models::{Explanation, Model, Recorder};
use accord_net::client::ConnectError;
use std::time::Duration;

/// A history in which so many operations were done, with a verdict.
fn judged(done: u64, verdict: Verdict) -> Judged {
    let mut recorder = Recorder::new(8);
    for time in 0..done {
        let id = recorder.invoke(0, 2 * time, "read", Value::Nil);
        recorder.ok(id, 2 * time + 1, Value::Nil);
    }
    Judged { model: Model::CasRegister, history: recorder.history().clone(), verdict }
}

fn invalid() -> Verdict {
    let (anomaly, summary) = ("not-linearizable".to_owned(), "it is wrong".to_owned());
    let (operations, links, notes) = (Vec::new(), Vec::new(), Vec::new());
    Verdict::Invalid(Explanation { anomaly, summary, operations, links, notes })
}

fn undecided() -> Verdict {
    Verdict::Undecided { why: "the steps ran out".to_owned() }
}

fn rounds(faults: &[Fault], judged: Vec<Judged>) -> rounds::Report {
    let outages = faults.iter().map(|fault| (*fault, 0, Duration::from_millis(1))).collect();
    rounds::Report { outages, missed: Vec::new(), judged, sessions_lost: 0 }
}

fn growth() -> grow::Report {
    grow::Report {
        changes: vec![("1 to 2".to_owned(), Duration::from_secs(1))],
        missed: Vec::new(),
        judged: rounds(&[], vec![judged(3, Verdict::Valid)]),
        errors: Vec::new(),
    }
}

fn process(ended: bool) -> ProcessError {
    match ended {
        true => ProcessError::Ended { system: "Accord", log: "the log is damaged".to_owned() },
        false => ProcessError::Missing("no such program".to_owned()),
    }
}

fn connect() -> ConnectError {
    ConnectError::NoServer
}

#[test]
fn what_is_broken_outweighs_what_is_open_and_each_has_its_code() {
    let broken = || Conclusion::Broken("b".to_owned());
    let open = || Conclusion::Open("o".to_owned());
    assert_eq!([Conclusion::Holds, broken(), open()].map(|it| it.exit_code()), [0, 1, 2]);
    assert_eq!(Conclusion::Holds.and(open()), open());
    assert_eq!(open().and(Conclusion::Holds), open());
    assert_eq!(open().and(broken()), broken());
    assert_eq!(broken().and(open()), broken());
    assert_eq!(open().and(Conclusion::Open("later".to_owned())), open());
    assert_eq!(Conclusion::Holds.and(Conclusion::Holds), Conclusion::Holds);
}

#[test]
fn histories_are_valid_only_if_there_are_some_and_something_was_done_in_each() {
    let code = |judged: &[Judged]| Conclusion::of_histories(judged).exit_code();
    assert_eq!(code(&[judged(1, Verdict::Valid), judged(2, Verdict::Valid)]), 0);
    assert_eq!(code(&[]), 2);
    assert_eq!(code(&[judged(1, Verdict::Valid), judged(0, Verdict::Valid)]), 2);
    assert_eq!(code(&[judged(1, undecided()), judged(1, Verdict::Valid)]), 2);
    assert_eq!(code(&[judged(1, undecided()), judged(1, invalid())]), 1, "invalid all the same");
    assert_eq!(code(&[judged(0, invalid())]), 1);
    assert!(judged(0, Verdict::Valid).summary().ends_with("not judged: nothing was done"));
    assert!(judged(1, Verdict::Valid).summary().ends_with(": valid"));
}

#[test]
fn rounds_of_kill_and_pause_and_of_corosync_count_only_faults_that_hit() {
    let code = |report: &rounds::Report| Conclusion::of_rounds(report).exit_code();
    for fault in [Fault::Kill, Fault::Pause, Fault::DaemonKill, Fault::DaemonPause, Fault::Split] {
        let good = rounds(&[fault; 3], vec![judged(3, Verdict::Valid)]);
        assert_eq!(code(&good), 0, "{fault}");
        let missed = rounds::Report {
            missed: vec![rounds::Missed { fault, server: 1, why: "it is down".to_owned() }],
            ..good
        };
        assert_eq!(code(&missed), 2, "{fault}");
        let why = Conclusion::of_rounds(&missed).to_string();
        assert_eq!(why, format!("open: {fault} of server 2 was skipped: it is down"));
        let judged = vec![judged(3, invalid())];
        assert_eq!(code(&rounds::Report { judged, ..missed }), 1, "{fault}");
    }
    assert_eq!(code(&rounds(&[], vec![judged(3, Verdict::Valid)])), 2, "no fault took place");
}

#[test]
fn rounds_that_end_early_are_broken_if_the_servers_failed_and_open_if_the_harness_did() {
    let code = |error: RoundsError| Conclusion::from(&error).exit_code();
    let (fault, patience) = (Fault::Kill, Duration::from_secs(20));
    assert_eq!(code(RoundsError::NoService { round: 1, fault, server: 1, patience }), 1);
    assert_eq!(code(RoundsError::NotRead { patience }), 1);
    let not_stopped = FaultError::NotStopped;
    assert_eq!(code(RoundsError::Fault { round: 1, fault, server: 1, error: not_stopped }), 1);
    let not_run = FaultError::Process(process(false));
    assert_eq!(code(RoundsError::Fault { round: 1, fault, server: 1, error: not_run }), 2);
    assert_eq!(code(RoundsError::Process(process(true))), 1, "it did not come back");
    assert_eq!(code(RoundsError::Process(process(false))), 2);
    assert_eq!(code(RoundsError::Connect("nobody is there".to_owned())), 2);
    assert_eq!(code(RoundsError::History("no".to_owned())), 2);
    let net = accord_testbed::netns::NetError::Options("not root".to_owned());
    assert_eq!(code(RoundsError::Process(ProcessError::Net(net))), 2, "corosync without its nodes");
}

#[test]
fn growth_is_judged_by_histories_errors_sessions_changes_and_kills() {
    let code = |report: &grow::Report| Conclusion::of_growth(report).exit_code();
    assert_eq!(code(&growth()), 0);
    assert!(growth().is_good());
    assert_eq!(code(&grow::Report { errors: vec!["it failed".to_owned()], ..growth() }), 1);
    assert_eq!(code(&grow::Report { changes: Vec::new(), ..growth() }), 2);
    assert_eq!(code(&grow::Report { missed: vec!["it was down".to_owned()], ..growth() }), 2);
    let mut lost = growth();
    lost.judged.sessions_lost = 1;
    assert_eq!(code(&lost), 1);
    let mut idle = growth();
    idle.judged.judged = vec![judged(0, Verdict::Valid)];
    assert_eq!(code(&idle), 2);

    let code = |error: GrowError| Conclusion::from(&error).exit_code();
    let (why, patience) = ("late".to_owned(), Duration::from_secs(1));
    assert_eq!(code(GrowError::NotDone { what: "adding", server: 2, patience, why }), 1);
    assert_eq!(code(GrowError::States("1 differs".to_owned())), 1);
    assert_eq!(code(GrowError::NotCompared("nobody answers".to_owned())), 2);
    assert_eq!(code(GrowError::Process(process(true))), 1);
    assert_eq!(code(GrowError::Connect(connect())), 2);
    assert_eq!(code(GrowError::Rounds(RoundsError::History("no".to_owned()))), 2);
    for sizes in [&[][..], &[0, 2], &[1], &[3], &[3, 3], &[16, 1]] {
        assert!(grow::servers_of(sizes).is_err(), "{sizes:?}");
    }
    assert_eq!(grow::servers_of(&[1, 3]), Ok((3, 1)));
}

#[test]
fn sessions_that_are_not_served_are_broken_and_those_that_judge_nothing_open() {
    use crate::sessions::SessionsOptions;
    let code = |error: SessionsError| Conclusion::from(&error).exit_code();
    assert_eq!(code(SessionsError::Connect(connect())), 1);
    assert_eq!(code(SessionsError::Broken("another order".to_owned())), 1);
    assert_eq!(code(SessionsError::Late { what: "departures" }), 1);
    assert_eq!(code(SessionsError::NotBegun(connect())), 2);
    let good = SessionsOptions { sessions: 10, leaving: 2, observers: 8, opening_max: 4 };
    good.check().expect("8 stay and observe");
    for options in [
        SessionsOptions { sessions: 0, ..good },
        SessionsOptions { leaving: 0, ..good },
        SessionsOptions { observers: 0, ..good },
        SessionsOptions { observers: 9, ..good },
        SessionsOptions { leaving: 11, ..good },
    ] {
        let error = options.check().expect_err("nothing to judge");
        assert_eq!(code(error), 2, "{options:?}");
    }
}

#[test]
fn a_return_is_judged_only_if_something_was_missed() {
    let report = TransferReport {
        missed: 1,
        rejoined_in: Duration::from_secs(1),
        rate_whole: 1.0,
        rate_before: 1.0,
        rate_meanwhile: 1.0,
        rate_after: 1.0,
    };
    assert_eq!(Conclusion::of_transfer(&report), Conclusion::Holds);
    assert_eq!(Conclusion::of_transfer(&TransferReport { missed: 0, ..report }).exit_code(), 2);
    let code = |error: TransferError| Conclusion::from(&error).exit_code();
    assert_eq!(code(TransferError::Away), 1);
    assert_eq!(code(TransferError::NotKilled("it was down".to_owned())), 2);
    assert_eq!(code(TransferError::Process(process(true))), 1);
    assert_eq!(code(TransferError::Load(LoadError::Connect(connect()))), 2);
}

#[test]
fn checkpoints_are_judged_only_if_some_were_taken_and_somebody_wrote() {
    let zero = Duration::ZERO;
    let times = |writes| Times { writes, median: zero, p999: zero, longest: zero };
    let report = |completed: &[Duration], writes| CheckpointsReport {
        completed: completed.to_vec(),
        all: times(writes),
        longest_by_second: Vec::new(),
    };
    assert_eq!(Conclusion::of_checkpoints(&report(&[zero], 5)), Conclusion::Holds);
    assert_eq!(Conclusion::of_checkpoints(&report(&[], 5)).exit_code(), 2);
    assert_eq!(Conclusion::of_checkpoints(&report(&[zero], 0)).exit_code(), 2);
    let code = |error: CheckpointsError| Conclusion::from(&error).exit_code();
    assert_eq!(code(CheckpointsError::NotTaken), 1);
    assert_eq!(code(CheckpointsError::Load(LoadError::Connect(connect()))), 2);
}
