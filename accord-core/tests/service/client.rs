//! What the client owes to its application, one promise a test.

use crate::app::{App, config};
use crate::cluster::{Cluster, put};
use accord_core::client::{
    Cause, Client, ClientConfig, ClientError, ClientEvent, ClientInput, ClientOutput,
};
use accord_core::ids::{NodeId, RequestId, Revision, WatchId};
use accord_core::protocol::{ClientMessage, Consistency, EventMask, ServerMessage, WatchFilter};
use accord_core::state::{OpRef, Outcome, ReadQuery, ReadResult, RequestError, TxnOutcome};
use accord_core::time::{Duration, Instant};
use accord_core::wire::Encode;
use bytes::Bytes;

fn get(key: &'static str) -> ReadQuery {
    ReadQuery::Get { key: Bytes::from_static(key.as_bytes()), offset: 0, length_max: 1 << 20 }
}

fn outcomes(events: &[ClientEvent]) -> Vec<(u64, &'static str)> {
    let told = events.iter().filter_map(|event| match event {
        ClientEvent::Done { request, .. } => Some((request.0, "done")),
        ClientEvent::Failed { request, .. } => Some((request.0, "failed")),
        ClientEvent::Unknown { request, .. } => Some((request.0, "unknown")),
        _ => None,
    });
    told.collect()
}

fn watched(events: &[ClientEvent]) -> Vec<(u64, u64)> {
    let told = events.iter().filter_map(|event| match event {
        ClientEvent::Watch { watch, revision, .. } => Some((watch.0, revision.0)),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_session_opens_executes_reads_and_closes() {
    let mut cluster = Cluster::new(3);
    let mut app = App::new(config(3), 1, cluster.now);
    app.run(&mut cluster);
    assert!(matches!(app.take()[..], [ClientEvent::SessionOpened { timeout_ms: 3000, .. }]));
    app.client.submit(cluster.now, &put("k", "v")).unwrap();
    app.run(&mut cluster);
    assert_eq!(outcomes(&app.take()), [(1, "done")]);
    app.client.read(cluster.now, get("k"), Consistency::Linearizable).unwrap();
    app.run(&mut cluster);
    let [ClientEvent::ReadDone { result: ReadResult::Value { value, .. }, .. }] = &app.take()[..]
    else {
        panic!("the read is answered");
    };
    assert_eq!(&value[..], b"v");
    app.client.submit(cluster.now, &put("k", "w")).unwrap();
    app.client.close(cluster.now);
    assert_eq!(app.client.submit(cluster.now, &put("k", "x")), Err(ClientError::Ended));
    app.run(&mut cluster);
    let events = app.take();
    assert_eq!(outcomes(&events), [(2, "done")], "closing waits for what is under way");
    assert_eq!(events.last(), Some(&ClientEvent::Closed { confirmed: true }));
    assert_eq!(cluster.servers[&NodeId(1)].status().sessions, 0);
}

// Claims: C-write-once
#[test]
fn a_retry_after_a_lost_answer_finds_the_recorded_outcome() {
    let mut cluster = Cluster::new(3);
    let mut app = App::ready(&mut cluster, 3, 2);
    let first = app.server;
    app.client.submit(cluster.now, &put("k", "v")).unwrap();
    app.pump(&mut cluster);
    cluster.run();
    let revision = cluster.servers[&NodeId(1)].state().revision();
    app.break_connection(&mut cluster);
    app.pass(&mut cluster, Duration::from_secs(1));
    assert_ne!(app.server, first, "it went on to the next server");
    let events = app.take();
    assert_eq!(outcomes(&events), [(1, "done")]);
    assert!(events.contains(&ClientEvent::Suspended) && events.contains(&ClientEvent::Resumed));
    let done = events.iter().find_map(|event| match event {
        ClientEvent::Done {
            outcome: Outcome::Txn(TxnOutcome::Committed { revision, .. }), ..
        } => Some(*revision),
        _ => None,
    });
    assert_eq!(done, Some(revision), "it ran once, before the connection broke");
    assert_eq!(cluster.servers[&NodeId(1)].state().revision(), revision);
}

// Claims: C-watch-first, C-session-order
#[test]
fn watches_are_set_again_before_requests_are_sent_again_in_order() {
    let mut cluster = Cluster::new(3);
    let mut app = App::ready(&mut cluster, 3, 3);
    app.client
        .watch(cluster.now, WatchFilter::Prefix(Bytes::new()), EventMask::ALL, false, None)
        .unwrap();
    app.run(&mut cluster);
    for _ in 0..3 {
        app.client.submit(cluster.now, &put("k", "v")).unwrap();
    }
    app.pump(&mut cluster);
    app.break_connection(&mut cluster);
    app.said.clear();
    app.pass(&mut cluster, Duration::from_secs(1));
    let said: Vec<String> = app
        .said
        .iter()
        .map(|message| match message {
            ClientMessage::Attach { .. } => "attach".into(),
            ClientMessage::Watch { from, .. } => format!("watch {}", from.is_some()),
            ClientMessage::Request { request, acked_below, .. } => {
                format!("{request} {acked_below}")
            }
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(said, ["attach", "watch true", "q1 q1", "q2 q1", "q3 q1"]);
    assert_eq!(outcomes(&app.events), [(1, "done"), (2, "done"), (3, "done")]);
    let revisions: Vec<u64> = watched(&app.events).iter().map(|(_, revision)| *revision).collect();
    assert_eq!(revisions, [2, 3, 4], "each change is told once");
}

// Claims: C-watch-complete
#[test]
fn a_watch_behind_others_at_a_second_loss_misses_nothing() {
    let mut cluster = Cluster::new(3);
    let mut app = App::ready(&mut cluster, 3, 4);
    let mut writer = App::ready(&mut cluster, 3, 5);
    for key in ["a", "b"] {
        let filter = WatchFilter::Key(Bytes::from_static(key.as_bytes()));
        app.client.watch(cluster.now, filter, EventMask::ALL, false, None).unwrap();
    }
    app.run(&mut cluster);
    app.take();
    app.break_connection(&mut cluster);
    for key in ["b", "a", "b"] {
        writer.client.submit(cluster.now, &put(key, "v")).unwrap();
        writer.run(&mut cluster);
    }
    // The new connection breaks when the first watch has caught up and the second has not.
    while !app.client.is_ready() {
        cluster.now = app.client.next_deadline().unwrap().max(cluster.now);
        app.client.handle(cluster.now, ClientInput::Timer);
        app.pump(&mut cluster);
        cluster.run();
        app.receive(&mut cluster);
    }
    app.pump(&mut cluster);
    cluster.run();
    while !matches!(app.heard.last(), Some(ServerMessage::Events { watch: WatchId(1), .. })) {
        assert!(app.receive(&mut cluster), "the first watch catches up first");
    }
    app.break_connection(&mut cluster);
    app.pass(&mut cluster, Duration::from_secs(5));
    let mut told = watched(&app.take());
    told.sort_unstable();
    let from = told[0].1 - 1;
    assert_eq!(told, [(1, from + 1), (2, from), (2, from + 2)]);
}

#[test]
fn a_quiet_watch_is_kept_fresh_by_pings() {
    let mut cluster = Cluster::with(3, |config| config.limits.history_events_max = 3);
    let mut app = App::ready(&mut cluster, 3, 6);
    let mut writer = App::ready(&mut cluster, 3, 7);
    let filter = WatchFilter::Key(Bytes::from_static(b"quiet"));
    app.client.watch(cluster.now, filter, EventMask::ALL, false, None).unwrap();
    app.run(&mut cluster);
    for _ in 0..10 {
        writer.client.submit(cluster.now, &put("busy", "v")).unwrap();
        writer.run(&mut cluster);
    }
    app.pass(&mut cluster, Duration::from_millis(1500));
    app.break_connection(&mut cluster);
    app.pass(&mut cluster, Duration::from_secs(1));
    assert!(app.client.is_ready());
    let lost = app.events.iter().any(|event| matches!(event, ClientEvent::WatchLost { .. }));
    assert!(!lost, "{:?}", app.events);
}

// Claims: C-watch-complete
#[test]
fn a_one_shot_watch_that_fired_is_over_also_after_a_reconnection() {
    let mut cluster = Cluster::new(3);
    let mut app = App::ready(&mut cluster, 3, 8);
    let filter = WatchFilter::Prefix(Bytes::new());
    app.client.watch(cluster.now, filter, EventMask::ALL, true, None).unwrap();
    app.run(&mut cluster);
    for _ in 0..2 {
        app.client.submit(cluster.now, &put("k", "v")).unwrap();
        app.run(&mut cluster);
    }
    app.break_connection(&mut cluster);
    app.pass(&mut cluster, Duration::from_secs(1));
    assert!(app.client.is_ready());
    app.client.submit(cluster.now, &put("k", "w")).unwrap();
    app.run(&mut cluster);
    let told = watched(&app.take());
    assert_eq!(told.len(), 1, "only the first change is told: {told:?}");
}

// Claims: C-outcome-failed, C-outcome-unknown
#[test]
fn what_was_never_sent_fails_and_what_was_sent_is_unknown() {
    let mut cluster = Cluster::new(3);
    let mut app = App::ready(&mut cluster, 3, 8);
    cluster.partition(&[&[1], &[2], &[3]]);
    app.client.submit(cluster.now, &put("k", "1")).unwrap();
    app.run(&mut cluster);
    app.break_connection(&mut cluster);
    app.unreachable = [1, 2, 3].map(NodeId).into();
    app.client.submit(cluster.now, &put("k", "2")).unwrap();
    app.client.read(cluster.now, get("k"), Consistency::Linearizable).unwrap();
    app.pass(&mut cluster, Duration::from_secs(11));
    let events = app.take();
    assert_eq!(outcomes(&events), [(1, "unknown"), (2, "failed")]);
    let read = |event: &ClientEvent| {
        matches!(event, ClientEvent::ReadFailed { cause: Cause::Timeout, .. })
    };
    assert!(events.iter().any(read), "{events:?}");
}

// Claims: C-session-ends
#[test]
fn a_session_that_expired_while_away_is_lost_and_says_so() {
    let mut cluster = Cluster::new(3);
    let mut app = App::ready(&mut cluster, 3, 9);
    app.client.submit(cluster.now, &put("k", "1")).unwrap();
    app.pump(&mut cluster);
    app.break_connection(&mut cluster);
    app.unreachable = [1, 2, 3].map(NodeId).into();
    app.pass(&mut cluster, Duration::from_secs(5));
    assert_eq!(app.take(), [ClientEvent::Suspended], "it cannot know");
    app.unreachable.clear();
    app.pass(&mut cluster, Duration::from_secs(4));
    let events = app.take();
    assert_eq!(outcomes(&events), [(1, "unknown")]);
    assert_eq!(events.last(), Some(&ClientEvent::SessionLost));
    assert_eq!(app.client.next_deadline(), None);
    assert_eq!(app.client.submit(cluster.now, &put("k", "2")), Err(ClientError::Ended));
}

// Claims: C-session-silence
#[test]
fn an_idle_session_lives_on_by_pings() {
    let mut cluster = Cluster::new(3);
    let mut app = App::ready(&mut cluster, 3, 10);
    app.pass(&mut cluster, Duration::from_secs(60));
    assert_eq!(app.take(), []);
    assert!(app.client.is_ready());
}

#[test]
fn a_server_that_falls_silent_is_left_in_time_to_keep_the_session() {
    let mut cluster = Cluster::new(3);
    let mut app = App::ready(&mut cluster, 3, 11);
    let silent = app.server.unwrap();
    cluster.deaf.insert(silent);
    app.pass(&mut cluster, Duration::from_secs(20));
    assert_ne!(app.server, Some(silent));
    assert_eq!(app.take(), [ClientEvent::Suspended, ClientEvent::Resumed]);
}

#[test]
fn a_client_moves_on_from_a_server_outside_the_primary_component() {
    let mut cluster = Cluster::new(3);
    let mut app = App::ready(&mut cluster, 3, 12);
    let home = app.server.unwrap().0;
    let others: Vec<u32> = (1..=3).filter(|node| *node != home).collect();
    cluster.partition(&[&[home], &others]);
    app.client.submit(cluster.now, &put("k", "v")).unwrap();
    app.pass(&mut cluster, Duration::from_secs(9));
    assert_eq!(outcomes(&app.take()), [(1, "done")]);
    assert_ne!(app.server.unwrap().0, home);
}

#[test]
fn the_window_counts_from_the_oldest_unanswered_request() {
    let mut cluster = Cluster::new(1);
    let mut config = config(1);
    config.requests_max = 3;
    let mut app = App::new(config, 13, cluster.now);
    for _ in 0..3 {
        app.client.submit(cluster.now, &put("k", "v")).unwrap();
    }
    let full = app.client.submit(cluster.now, &put("k", "v"));
    assert_eq!(full, Err(ClientError::TooManyRequests));
    app.run(&mut cluster);
    assert_eq!(outcomes(&app.take()).len(), 3);
    app.client.submit(cluster.now, &put("k", "v")).unwrap();
    app.pump(&mut cluster);
    let acked = |message: &ClientMessage| match message {
        ClientMessage::Request { acked_below, .. } => Some(*acked_below),
        _ => None,
    };
    assert_eq!(app.said.iter().rev().find_map(acked), Some(RequestId(4)));
}

// Claims: C-outcome-failed
#[test]
fn a_refusal_is_definite_only_if_it_holds_for_every_copy() {
    let full = Outcome::Refused(RequestError::WindowFull);
    let passed = Outcome::Refused(RequestError::PassedOver { last: RequestId(9) });
    for (copies, outcome, expected) in [
        (1, &full, "failed"),
        (2, &full, "unknown"),
        (1, &passed, "failed"),
        (2, &passed, "failed"),
    ] {
        let mut cluster = Cluster::new(3);
        let mut app = App::ready(&mut cluster, 3, 14);
        app.client.submit(cluster.now, &put("k", "v")).unwrap();
        app.pump(&mut cluster);
        if copies == 2 {
            cluster.partition(&[&[1], &[2], &[3]]);
            app.break_connection(&mut cluster);
            cluster.partition_quietly(&[&[1, 2, 3]]);
            let mut sent = 0;
            while sent == 0 {
                cluster.now = app.client.next_deadline().unwrap().max(cluster.now);
                app.client.handle(cluster.now, ClientInput::Timer);
                app.said.clear();
                while app.pump(&mut cluster) | cluster.deliver_one() | app.receive(&mut cluster) {
                    let again = |m: &&ClientMessage| matches!(m, ClientMessage::Request { .. });
                    sent = app.said.iter().filter(again).count();
                    if sent > 0 {
                        break;
                    }
                }
            }
        }
        app.take();
        let message = ServerMessage::Reply { request: RequestId(1), outcome: outcome.clone() };
        app.client.handle(cluster.now, ClientInput::Message(message));
        app.pump(&mut cluster);
        assert_eq!(outcomes(&app.take()), [(1, expected)], "{copies} {outcome:?}");
    }
}

#[test]
fn a_pong_proves_nothing_about_a_watch_set_after_its_ping() {
    let mut cluster = Cluster::new(1);
    let mut app = App::ready(&mut cluster, 1, 15);
    for _ in 0..3 {
        app.client.submit(cluster.now, &put("k", "v")).unwrap();
    }
    app.run(&mut cluster);
    app.pass(&mut cluster, Duration::from_millis(1500));
    let ping = |message: &ClientMessage| match message {
        ClientMessage::Ping { nonce } => Some(*nonce),
        _ => None,
    };
    let nonce = app.said.iter().rev().find_map(ping).expect("it pings");
    app.take();
    let filter = WatchFilter::Key(Bytes::from_static(b"k"));
    let all = EventMask::ALL;
    app.client.watch(cluster.now, filter, all, false, Some(Revision(1))).unwrap();
    app.pump(&mut cluster);
    let late = ServerMessage::Pong { nonce, revision: Revision(4) };
    app.client.handle(cluster.now, ClientInput::Message(late));
    app.break_connection(&mut cluster);
    app.pass(&mut cluster, Duration::from_secs(1));
    assert_eq!(watched(&app.take()), [(1, 2), (1, 3), (1, 4)]);
}

/// A request with less time than those before it is given up before them.
#[test]
fn each_request_may_have_a_time_of_its_own() {
    let mut client = Client::new(ClientConfig::new(vec![NodeId(1)]), 7, Instant::ZERO);
    let patient = client.submit(Instant::ZERO, &put("k", "v")).unwrap();
    let soon = Duration::from_millis(100);
    let hasty =
        client.submit_within(Instant::ZERO, OpRef::Kv(&put("k", "w")).to_bytes(), soon).unwrap();
    assert_eq!(client.next_deadline(), Some(Instant::ZERO + soon));
    client.handle(Instant::ZERO + soon, ClientInput::Timer);
    client.check();
    let mut told = Vec::new();
    while let Some(output) = client.poll_output() {
        if let ClientOutput::Event(event) = output {
            told.push(event);
        }
    }
    let cause = Cause::Timeout;
    assert_eq!(told, [ClientEvent::Failed { request: hasty, cause }], "it was never sent");
    assert_ne!(patient, hasty);
}

fn value(event: &ClientEvent) -> Option<String> {
    match event {
        ClientEvent::ReadDone { result: ReadResult::Value { value, .. }, .. } => {
            Some(String::from_utf8_lossy(value).to_string())
        }
        ClientEvent::ReadDone { .. } => Some(String::new()),
        _ => None,
    }
}

// Claims: C-read-order
#[test]
fn reads_in_order_show_the_requests_submitted_before_them() {
    let mut cluster = Cluster::new(3);
    let mut app = App::ready(&mut cluster, 3, 31);
    for number in 1..=5 {
        app.client.submit(cluster.now, &put("k", &number.to_string())).unwrap();
        let consistency = match number % 2 {
            0 => Consistency::Local,
            _ => Consistency::Linearizable,
        };
        app.client.read_in_order(cluster.now, get("k"), consistency).unwrap();
    }
    app.run(&mut cluster);
    let events = app.take();
    let values: Vec<String> = events.iter().filter_map(value).collect();
    assert_eq!(values, ["1", "2", "3", "4", "5"]);
    let answers = events.iter().filter(|event| !matches!(event, ClientEvent::ReadDone { .. }));
    assert_eq!(answers.count(), 5);
    // Sent again over another connection, they still stand behind their requests.
    app.client.submit(cluster.now, &put("k", "6")).unwrap();
    app.client.read_in_order(cluster.now, get("k"), Consistency::Local).unwrap();
    app.break_connection(&mut cluster);
    app.pass(&mut cluster, Duration::from_secs(1));
    let events = app.take();
    assert_eq!(events.iter().filter_map(value).collect::<Vec<_>>(), ["6"]);
    assert!(matches!(events[events.len() - 2], ClientEvent::Done { .. }), "{events:?}");
}

// Claims: C-read-watch, C-watch-resume
#[test]
fn a_watch_that_a_read_sets_goes_on_over_lost_connections() {
    let mut cluster = Cluster::new(3);
    let mut app = App::ready(&mut cluster, 3, 32);
    let mut writer = App::ready(&mut cluster, 3, 33);
    let on_k = || (WatchFilter::Key(Bytes::from_static(b"k")), EventMask::ALL, false);
    // The connection breaks before the server has heard of it, and once more when it is set.
    let set = app.client.read_and_watch(cluster.now, get("k"), Consistency::Linearizable, on_k());
    let (_, watch) = set.unwrap();
    app.break_connection(&mut cluster);
    app.pass(&mut cluster, Duration::from_secs(1));
    let events = app.take();
    let set = events.iter().position(|event| matches!(event, ClientEvent::Watching { .. }));
    let read = events.iter().position(|event| matches!(event, ClientEvent::ReadDone { .. }));
    assert!(read.is_some() && set == read.map(|at| at + 1), "{events:?}");
    app.break_connection(&mut cluster);
    writer.client.submit(cluster.now, &put("k", "1")).unwrap();
    writer.run(&mut cluster);
    app.pass(&mut cluster, Duration::from_secs(1));
    writer.client.submit(cluster.now, &put("k", "2")).unwrap();
    writer.run(&mut cluster);
    app.run(&mut cluster);
    let told = watched(&app.take());
    assert_eq!(told.iter().map(|(watch, _)| *watch).collect::<Vec<_>>(), [watch.0, watch.0]);
}

#[test]
fn a_read_that_is_given_up_leaves_no_watch() {
    let mut cluster = Cluster::new(3);
    let mut app = App::ready(&mut cluster, 1, 34);
    cluster.partition(&[&[1], &[2], &[3]]);
    let on_k = (WatchFilter::Key(Bytes::from_static(b"k")), EventMask::ALL, false);
    app.client.read_and_watch(cluster.now, get("k"), Consistency::Linearizable, on_k).unwrap();
    app.pass(&mut cluster, Duration::from_secs(6));
    let failed = |event: &ClientEvent| matches!(event, ClientEvent::ReadFailed { .. });
    assert_eq!(app.take().iter().filter(|event| failed(event)).count(), 1);
    cluster.partition(&[&[1, 2, 3]]);
    app.pass(&mut cluster, Duration::from_secs(1));
    assert_eq!(cluster.servers[&NodeId(1)].status().watches, 0);
    app.client.check();
}
