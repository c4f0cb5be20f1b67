//! What a server owes to its clients, one promise a test.

use crate::cluster::{Cluster, committed, put, request, watch};
use accord_core::holder::SessionSecret;
use accord_core::ids::{ConnId, NodeId, RequestId, Revision, SessionId, WatchId};
use accord_core::protocol::{
    ClientMessage, Consistency, EventMask, Refusal, ServerMessage, SessionEnd, SessionRefusal,
    WatchFilter,
};
use accord_core::replica::io::HaltReason;
use accord_core::replica::voters::{ChangeError, VoterChange};
use accord_core::server::{DisconnectReason, Input, OperatorReply, OperatorRequest};
use accord_core::state::{Event, KeyEventKind, Outcome, ReadQuery, ReadResult};
use accord_core::time::Duration;
use bytes::Bytes;
use std::collections::BTreeSet;

fn get(read: u64, consistency: Consistency, key: &'static str) -> ClientMessage {
    let key = Bytes::from_static(key.as_bytes());
    let query = ReadQuery::Get { key, offset: 0, length_max: 1 << 20 };
    ClientMessage::read(read, consistency, query)
}

fn value(message: &ServerMessage) -> &[u8] {
    match message {
        ServerMessage::ReadReply { result: ReadResult::Value { value, .. }, .. } => value,
        ServerMessage::ReadReply { result: ReadResult::NotFound, .. } => b"",
        other => panic!("not the answer to a read: {other:?}"),
    }
}

// Claims: C-outcome-done
#[test]
fn a_write_is_answered_once_it_is_applied_and_only_to_who_asked() {
    let mut cluster = Cluster::new(3);
    let (first, _) = cluster.open(1, 5000);
    let (second, _) = cluster.open(2, 5000);
    cluster.say(first, request(1, &put("k", "v")));
    assert_eq!(cluster.take(first), [], "nothing is answered before the order carried it");
    cluster.run();
    let replies = cluster.take(first);
    assert_eq!(replies.len(), 1);
    committed(&replies[0]);
    assert_eq!(cluster.take(second), []);
    let digests: Vec<u64> = cluster.servers.values().map(|s| s.status().digest).collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
}

// Claims: C-watch-first
#[test]
fn a_client_sees_its_own_change_before_the_answer_to_it() {
    let mut cluster = Cluster::new(1);
    let (conn, _) = cluster.open(1, 5000);
    cluster.tell(conn, watch(1, "k"));
    assert!(matches!(cluster.next(conn), Some(ServerMessage::Watching { .. })));
    cluster.tell(conn, request(1, &put("k", "v")));
    let Some(ServerMessage::Events { watch: WatchId(1), revision, events }) = cluster.next(conn)
    else {
        panic!("the event comes first");
    };
    assert!(matches!(&events[0], Event::Key(event) if event.kind == KeyEventKind::Created));
    assert_eq!(committed(&cluster.next(conn).unwrap()), revision);
}

// Claims: C-watch-first
#[test]
fn a_read_by_another_client_comes_after_the_event_that_it_reflects() {
    let mut cluster = Cluster::new(3);
    let (writer, _) = cluster.open(1, 5000);
    let (reader, _) = cluster.open(2, 5000);
    cluster.tell(reader, watch(1, "k"));
    cluster.take(reader);
    cluster.say(writer, request(1, &put("k", "v")));
    cluster.say(reader, get(1, Consistency::Linearizable, "k"));
    cluster.run();
    let got = cluster.take(reader);
    let event = got.iter().position(|m| matches!(m, ServerMessage::Events { .. })).unwrap();
    let read = got.iter().position(|m| matches!(m, ServerMessage::ReadReply { .. })).unwrap();
    assert!(value(&got[read]) == b"" || event < read, "{got:?}");
}

// Claims: C-write-once
#[test]
fn a_retry_is_answered_from_the_record_and_changes_nothing() {
    let mut cluster = Cluster::new(3);
    let (conn, session) = cluster.open(1, 5000);
    cluster.tell(conn, request(1, &put("k", "first")));
    let original = cluster.take(conn);
    let (other, _) = cluster.open(3, 5000);
    cluster.tell(other, request(1, &put("k", "second")));
    cluster.hang_up(conn);

    let again = cluster.attach(2, session);
    cluster.tell(again, request(1, &put("k", "first")));
    assert_eq!(cluster.take(again), original);
    cluster.tell(again, get(1, Consistency::Linearizable, "k"));
    assert_eq!(value(&cluster.next(again).unwrap()), b"second");
}

// Claims: C-write-once
#[test]
fn a_request_that_was_under_way_at_two_servers_takes_effect_once() {
    let mut cluster = Cluster::new(3);
    let (conn, session) = cluster.open(1, 5000);
    cluster.say(conn, request(1, &put("k", "x")));
    cluster.hang_up(conn);
    let again = cluster.connect(2);
    let attach = cluster.attachment(session, Revision(0));
    cluster.say(again, attach);
    cluster.run();
    cluster.take(again);
    cluster.tell(again, request(1, &put("k", "x")));
    let revision = committed(&cluster.next(again).unwrap());
    assert_eq!(cluster.servers.values().next().unwrap().state().revision(), revision);
}

#[test]
fn attaching_elsewhere_fences_the_old_connection() {
    let mut cluster = Cluster::new(3);
    let (old, session) = cluster.open(1, 5000);
    let new = cluster.attach(2, session);
    assert_eq!(cluster.take(old), [ServerMessage::SessionClosed { reason: SessionEnd::Moved }]);
    assert_eq!(cluster.closed(old), Some(DisconnectReason::SessionClosed));
    let newer = cluster.attach(2, session);
    assert_eq!(cluster.take(new), [ServerMessage::SessionClosed { reason: SessionEnd::Moved }]);
    assert_eq!(cluster.closed(newer), None);
}

// Claims: C-watch-resume, C-watch-first
#[test]
fn a_watch_resumes_where_it_was_cut_off_before_the_recorded_answer() {
    let mut cluster = Cluster::new(3);
    let (conn, session) = cluster.open(1, 5000);
    cluster.tell(conn, watch(1, "k"));
    let Some(ServerMessage::Watching { from, .. }) = cluster.next(conn) else { panic!() };
    cluster.say(conn, request(1, &put("k", "v")));
    cluster.hang_up(conn);
    cluster.run();

    let again = cluster.attach(2, session);
    let ClientMessage::Watch { watch, filter, mask, once, .. } = watch(1, "k") else { panic!() };
    cluster.say(again, ClientMessage::Watch { watch, filter, mask, once, from: Some(from) });
    cluster.tell(again, request(1, &put("k", "v")));
    let got = cluster.take(again);
    assert!(matches!(got[0], ServerMessage::Watching { members: None, .. }), "{got:?}");
    assert!(matches!(got[1], ServerMessage::Events { .. }), "{got:?}");
    committed(&got[2]);
    assert_eq!(got.len(), 3, "none twice, none missed: {got:?}");
}

// Claims: C-watch-resume
#[test]
fn a_watch_whose_history_is_gone_is_told_so() {
    let mut cluster = Cluster::with(1, |config| config.limits.history_events_max = 2);
    let (conn, _) = cluster.open(1, 5000);
    for number in 1..=5 {
        cluster.tell(conn, request(number, &put("k", "v")));
    }
    cluster.take(conn);
    let watch = |number, from| ClientMessage::Watch {
        watch: WatchId(number),
        filter: WatchFilter::Prefix(Bytes::new()),
        mask: EventMask::ALL,
        once: false,
        from: Some(Revision(from)),
    };
    cluster.tell(conn, watch(1, 3));
    let lost = ServerMessage::WatchLost { watch: WatchId(1), oldest: Revision(4) };
    assert_eq!(cluster.take(conn), [lost]);
    cluster.tell(conn, watch(2, 4));
    assert_eq!(cluster.take(conn).len(), 3, "set, and two revisions of events");
}

// Claims: C-watch-whole
#[test]
fn a_one_shot_watch_tells_the_first_revision_only() {
    let mut cluster = Cluster::new(1);
    let (conn, _) = cluster.open(1, 5000);
    let once = |number, from| ClientMessage::Watch {
        watch: WatchId(number),
        filter: WatchFilter::Key(Bytes::from_static(b"k")),
        mask: EventMask::ALL,
        once: true,
        from,
    };
    cluster.tell(conn, once(1, None));
    cluster.tell(conn, request(1, &put("k", "1")));
    cluster.tell(conn, request(2, &put("k", "2")));
    cluster.tell(conn, once(2, Some(Revision(1))));
    cluster.tell(conn, request(3, &put("k", "3")));
    let got = cluster.take(conn);
    let told: Vec<_> = got
        .iter()
        .filter_map(|message| match message {
            ServerMessage::Events { watch, revision, .. } => Some((watch.0, revision.0)),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(1, 2), (2, 2)]);
    assert_eq!(cluster.servers.values().next().unwrap().status().watches, 0);
}

// Claims: C-members
#[test]
fn members_are_listed_once_and_then_told_by_difference() {
    let mut cluster = Cluster::new(2);
    let (conn, mine) = cluster.open(1, 5000);
    let (_, second) = cluster.open(2, 5000);
    cluster.tell(
        conn,
        ClientMessage::Watch {
            watch: WatchId(9),
            filter: WatchFilter::Members,
            mask: EventMask::ALL,
            once: false,
            from: None,
        },
    );
    let Some(ServerMessage::Watching { members, .. }) = cluster.next(conn) else { panic!() };
    assert_eq!(members, Some(vec![mine, second]));
    let (third_conn, third) = cluster.open(2, 5000);
    cluster.tell(third_conn, ClientMessage::Close);
    let sessions: Vec<_> = cluster
        .take(conn)
        .iter()
        .map(|message| match message {
            ServerMessage::Events { events, .. } => match &events[..] {
                [Event::Member(event)] => event.session,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sessions, [third, third], "joined, then left");
}

// Claims: C-session-silence
#[test]
fn a_silent_session_expires_and_one_that_pings_does_not() {
    let mut cluster = Cluster::new(3);
    let (silent, _) = cluster.open(1, 1000);
    let (lively, _) = cluster.open(1, 1000);
    for nonce in 0..5 {
        cluster.pass(Duration::from_millis(300));
        cluster.tell(lively, ClientMessage::Ping { nonce });
    }
    assert_eq!(
        cluster.take(silent),
        [ServerMessage::SessionClosed { reason: SessionEnd::Expired }]
    );
    let pongs = cluster.take(lively);
    assert_eq!(pongs.len(), 5, "{pongs:?}");
    assert!(pongs.iter().all(|message| matches!(message, ServerMessage::Pong { .. })));
    assert_eq!(cluster.closed(lively), None);
}

// Claims: C-session-ends, C-session-silence
#[test]
fn an_open_connection_alone_keeps_no_session_and_a_lost_one_ends_none() {
    let mut cluster = Cluster::new(1);
    let (conn, session) = cluster.open(1, 1000);
    cluster.hang_up(conn);
    cluster.pass(Duration::from_millis(900));
    let again = cluster.attach(1, session);
    cluster.pass(Duration::from_millis(900));
    assert_eq!(cluster.closed(again), None, "attaching gave it its time anew");
    cluster.pass(Duration::from_millis(200));
    assert_eq!(cluster.closed(again), Some(DisconnectReason::SessionExpired));
}

// Claims: C-session-attached
#[test]
fn an_expiry_that_is_under_way_spares_a_session_attached_elsewhere_first() {
    let mut cluster = Cluster::new(2);
    let (conn, session) = cluster.open(1, 1000);
    cluster.hang_up(conn);
    let new = cluster.connect(2);
    let attach = cluster.attachment(session, Revision(0));
    cluster.say(new, attach);
    // The owner's clock runs out before it hears of the attachment.
    cluster.now = cluster.now + Duration::from_millis(1000);
    cluster.input(NodeId(1), Input::Timer);
    cluster.run();
    assert!(matches!(cluster.next(new), Some(ServerMessage::Attached { generation: 2, .. })));
    assert_eq!(cluster.closed(new), None);
    assert_eq!(cluster.servers.values().next().unwrap().status().sessions, 1);
}

// Claims: C-session-collected
#[test]
fn the_sessions_of_a_lost_server_are_adopted_with_their_time_anew() {
    let mut cluster = Cluster::new(3);
    let sessions: Vec<_> = (0..4).map(|_| cluster.open(3, 1000).1).collect();
    cluster.pass(Duration::from_millis(900));
    cluster.partition(&[&[1, 2], &[3]]);
    let count = |cluster: &Cluster| cluster.servers.values().next().unwrap().status().sessions;
    cluster.pass(Duration::from_millis(900));
    assert_eq!(count(&cluster), 4, "the adopters give each its time anew");
    let saved = cluster.attach(2, sessions[0]);
    cluster.pass(Duration::from_millis(200));
    assert_eq!(count(&cluster), 1);
    assert_eq!(cluster.closed(saved), None);
}

// Claims: C-session-collected
#[test]
fn an_adopter_that_lags_keeps_no_dead_session_alive() {
    let mut cluster = Cluster::new(5);
    let sessions = 4;
    (0..sessions).for_each(|_| {
        cluster.open(5, 1000);
    });
    cluster.partition(&[&[1, 2, 3, 4], &[5]]);
    // One of the four is the first to judge each session; server 4 is too slow to do anything.
    cluster.frozen.insert(NodeId(4));
    let count = |cluster: &Cluster| cluster.servers.values().next().unwrap().status().sessions;
    cluster.pass(Duration::from_millis(1100));
    assert_eq!(count(&cluster), 1, "the others have judged theirs");
    cluster.pass(Duration::from_millis(1000));
    assert_eq!(count(&cluster), 0, "the next one judges in place of the one that lags");
}

// Claims: C-session-silence, C-read-fresh
#[test]
fn a_server_without_a_primary_expires_nobody_and_reads_nothing_stale() {
    let mut cluster = Cluster::new(3);
    let (conn, session) = cluster.open(3, 1000);
    cluster.tell(conn, request(1, &put("k", "old")));
    cluster.take(conn);
    cluster.partition(&[&[1, 2], &[3]]);
    assert_eq!(cluster.next(conn), Some(ServerMessage::Status { primary: false }));
    let (other, _) = cluster.open(1, 60_000);
    cluster.tell(other, request(1, &put("k", "new")));
    cluster.tell(conn, get(1, Consistency::Local, "k"));
    assert_eq!(value(&cluster.next(conn).unwrap()), b"old", "a local read may be old");
    cluster.tell(conn, get(2, Consistency::Linearizable, "k"));
    assert_eq!(cluster.next(conn), None);
    cluster.pass(Duration::from_secs(6));
    let refused = ServerMessage::ReadRefused { read: 2, reason: Refusal::NotPrimary };
    assert_eq!(cluster.take(conn), [refused]);
    assert!(cluster.servers[&NodeId(3)].state().session(session).is_some());

    cluster.tell(conn, get(3, Consistency::Linearizable, "k"));
    cluster.partition(&[&[1, 2, 3]]);
    let got = cluster.take(conn);
    let read = got.iter().find(|m| matches!(m, ServerMessage::ReadReply { .. }));
    assert!(read.is_none_or(|read| value(read) == b"new"), "{got:?}");
}

#[test]
fn requests_are_held_while_there_is_no_primary_and_run_when_there_is() {
    let mut cluster = Cluster::new(3);
    let (conn, _) = cluster.open(1, 60_000);
    cluster.partition(&[&[1], &[2], &[3]]);
    cluster.take(conn);
    for number in 1..=3 {
        cluster.tell(conn, request(number, &put("k", &number.to_string())));
    }
    assert_eq!(cluster.take(conn), []);
    cluster.partition(&[&[1, 2, 3]]);
    let got = cluster.take(conn);
    let numbers: Vec<u64> = got
        .iter()
        .filter_map(|message| match message {
            ServerMessage::Reply { request, .. } => Some(request.0),
            _ => None,
        })
        .collect();
    assert_eq!(numbers, [1, 2, 3], "{got:?}");
}

#[test]
fn a_server_that_the_cluster_gave_up_sends_its_clients_away() {
    let mut cluster = Cluster::new(3);
    let (conn, session) = cluster.open(3, 60_000);
    cluster.partition(&[&[1, 2], &[3]]);
    cluster.partition(&[&[1, 2, 3]]);
    assert_eq!(cluster.closed(conn), Some(DisconnectReason::Orphaned));
    cluster.attach(3, session);
}

// Claims: C-bounds
#[test]
fn what_exceeds_a_bound_is_refused_by_name() {
    let mut cluster = Cluster::with(1, |config| {
        config.limits.requests_per_conn_max = 2;
        config.limits.watches_per_conn_max = 1;
        config.replica.limits.command_bytes_max = 200;
    });
    let (conn, _) = cluster.open(1, 5000);
    let refusal = |cluster: &mut Cluster| match cluster.next(conn) {
        Some(
            ServerMessage::RequestRefused { reason, .. }
            | ServerMessage::WatchRefused { reason, .. },
        ) => reason,
        other => panic!("{other:?}"),
    };
    cluster.tell(conn, request(1, &put("k", &"x".repeat(500))));
    assert_eq!(refusal(&mut cluster), Refusal::TooLarge);
    cluster.say(conn, request(2, &put("k", "1")));
    cluster.say(conn, request(3, &put("k", "2")));
    let node = NodeId(1);
    assert!(!cluster.servers[&node].accepts(conn), "the driver was told to stop reading");
    cluster.say(conn, request(4, &put("k", "3")));
    assert_eq!(refusal(&mut cluster), Refusal::TooManyOutstanding);
    cluster.run();
    assert!(cluster.servers[&node].accepts(conn));
    cluster.take(conn);
    cluster.tell(conn, watch(1, "a"));
    cluster.tell(conn, watch(1, "a"));
    cluster.next(conn);
    assert_eq!(refusal(&mut cluster), Refusal::WatchInUse);
    cluster.tell(conn, watch(2, "a"));
    assert_eq!(refusal(&mut cluster), Refusal::TooManyWatches);
    assert_eq!(cluster.servers[&node].status().refusals.len(), 4);
}

// Claims: C-session-silence
#[test]
fn a_client_that_is_not_read_is_alive_while_it_takes_what_is_sent() {
    for takes in [true, false] {
        let mut cluster = Cluster::with(1, |config| config.limits.unsent_bytes_max = 2000);
        let (slow, _) = cluster.open(1, 1000);
        let (writer, _) = cluster.open(1, 60_000);
        cluster.tell(slow, watch(1, "k"));
        cluster.take(slow);
        cluster.writes_at_once = false;
        let mut number = 0;
        while cluster.servers[&NodeId(1)].accepts(slow) {
            number += 1;
            cluster.tell(writer, request(number, &put("k", "0123456789")));
            cluster.input(NodeId(1), Input::Written { conn: writer, messages: 1 });
        }
        for _ in 0..4 {
            cluster.pass(Duration::from_millis(500));
            if takes {
                // It takes an event, and another one is there: the server still does not read it.
                cluster.input(NodeId(1), Input::Written { conn: slow, messages: 1 });
                number += 1;
                cluster.tell(writer, request(number, &put("k", "0123456789")));
                cluster.input(NodeId(1), Input::Written { conn: writer, messages: 1 });
                assert!(!cluster.servers[&NodeId(1)].accepts(slow));
            }
        }
        let expired = ServerMessage::SessionClosed { reason: SessionEnd::Expired };
        assert_eq!(cluster.take(slow).contains(&expired), !takes);
    }
}

// Claims: C-session-silence
#[test]
fn the_silence_of_a_client_that_was_not_read_begins_when_its_connection_ends() {
    for read in [true, false] {
        let mut cluster = Cluster::with(1, |config| config.limits.reads_per_conn_max = 1);
        let (conn, session) = cluster.open(1, 1000);
        if !read {
            // It waits for its turn in the order, and the pings that come meanwhile are not read.
            cluster.say(conn, get(1, Consistency::Linearizable, "k"));
            assert!(!cluster.servers[&NodeId(1)].accepts(conn));
        }
        cluster.now = cluster.now + Duration::from_millis(800);
        cluster.input(NodeId(1), Input::Disconnected { conn });
        cluster.pass(Duration::from_millis(400));
        let lives = cluster.servers[&NodeId(1)].state().session(session).is_some();
        assert_eq!(lives, !read, "1,200 ms after its last word that was read");
        cluster.pass(Duration::from_millis(700));
        assert!(cluster.servers[&NodeId(1)].state().session(session).is_none(), "in time");
    }
}

// Claims: C-watch-complete, C-bounds
#[test]
fn a_client_that_takes_nothing_is_disconnected_and_not_gapped() {
    let mut cluster = Cluster::with(1, |config| config.limits.unsent_bytes_max = 1000);
    let (slow, session) = cluster.open(1, 60_000);
    let (writer, _) = cluster.open(1, 60_000);
    cluster.tell(slow, watch(1, "k"));
    let Some(ServerMessage::Watching { from, .. }) = cluster.next(slow) else { panic!() };
    cluster.writes_at_once = false;
    let mut number = 0;
    while cluster.closed(slow).is_none() {
        number += 1;
        cluster.tell(writer, request(number, &put("k", "0123456789")));
        cluster.input(NodeId(1), Input::Written { conn: writer, messages: 1 });
    }
    assert_eq!(cluster.closed(slow), Some(DisconnectReason::TooSlow));
    let revisions = |got: &[ServerMessage]| -> Vec<u64> {
        let events = got.iter().filter_map(|message| match message {
            ServerMessage::Events { revision, .. } => Some(revision.0),
            _ => None,
        });
        events.collect()
    };
    let before = revisions(&cluster.take(slow));
    assert!((3..20).contains(&before.len()), "{before:?}");
    cluster.writes_at_once = true;
    let again = cluster.attach(1, session);
    let seen = Revision(before.last().copied().unwrap_or(from.0));
    let ClientMessage::Watch { watch, filter, mask, once, .. } = watch(1, "k") else { panic!() };
    cluster.tell(again, ClientMessage::Watch { watch, filter, mask, once, from: Some(seen) });
    let after = revisions(&cluster.take(again));
    let all: Vec<u64> = before.into_iter().chain(after).collect();
    assert!(all.windows(2).all(|pair| pair[0] + 1 == pair[1]), "no gap, none twice: {all:?}");
    assert_eq!(all.len() as u64, number);
}

#[test]
fn who_speaks_out_of_turn_is_disconnected() {
    let mut cluster = Cluster::new(1);
    let conn = cluster.connect(1);
    cluster.tell(conn, request(1, &put("k", "v")));
    assert!(matches!(cluster.closed(conn), Some(DisconnectReason::Protocol(_))));
    let conn = cluster.connect(1);
    let unknown = accord_core::ids::SessionId(999);
    let attach = cluster.attachment(unknown, Revision(0));
    cluster.tell(conn, attach);
    let refused = ServerMessage::SessionRefused { reason: SessionRefusal::Unknown };
    assert_eq!(cluster.take(conn), [refused]);
}

// Claims: C-input
#[test]
fn a_malformed_transaction_is_refused_and_disturbs_nothing() {
    let mut cluster = Cluster::new(1);
    let (conn, _) = cluster.open(1, 5000);
    let junk = ClientMessage::Request {
        request: RequestId(1),
        acked_below: RequestId(1),
        op: Bytes::from_static(&[1, 0xff, 0xff, 0xff]),
    };
    cluster.tell(conn, junk);
    let got = cluster.next(conn);
    assert!(
        matches!(got, Some(ServerMessage::Reply { outcome: Outcome::Refused(_), .. })),
        "{got:?}"
    );
    cluster.tell(conn, request(2, &put("k", "v")));
    committed(&cluster.next(conn).unwrap());
}

#[test]
fn an_operator_sees_how_the_server_is() {
    let mut cluster = Cluster::new(3);
    let (conn, _) = cluster.open(1, 5000);
    cluster.tell(conn, watch(1, "a"));
    let OperatorReply::Status(status) = cluster.ask(1, OperatorRequest::Status) else { panic!() };
    assert!(status.primary);
    assert_eq!((status.sessions, status.attached, status.watches, status.conns), (1, 1, 1, 1));
    assert_eq!(status.replica.voters.voters.len(), 3);
}

/// Server 3 misses what the others commit, and then takes over their state in one piece while its
/// session is still its own. Its client's first request is among what it missed.
fn overtaken(cluster: &mut Cluster, watching: bool) -> ConnId {
    let (conn, _) = cluster.open(3, 60_000);
    let (other, _) = cluster.open(1, 60_000);
    if watching {
        cluster.tell(conn, watch(1, "k"));
    }
    cluster.take(conn);
    cluster.frozen.insert(NodeId(3));
    cluster.tell(conn, request(1, &put("k", "mine")));
    for number in 1..=20 {
        cluster.tell(other, request(number, &put("k", "theirs")));
    }
    assert_eq!(cluster.take(conn), []);
    cluster.frozen.clear();
    let missed = cluster.servers[&NodeId(3)].status().applied;
    assert!(cluster.servers[&NodeId(1)].status().replica.log_start > missed.next());
    cluster.partition_quietly(&[&[1, 2], &[3]]);
    cluster.partition(&[&[1, 2, 3]]);
    conn
}

#[test]
fn with_a_large_state_more_of_the_log_is_kept() {
    let kept = |value_bytes: usize| {
        let mut cluster = Cluster::with(3, |config| config.replica.limits.log_bytes_retained = 100);
        let (conn, _) = cluster.open(1, 5000);
        cluster.tell(conn, request(1, &put("large", &"x".repeat(value_bytes))));
        (2..=100).for_each(|number| cluster.tell(conn, request(number, &put("k", "v"))));
        let status = cluster.servers[&NodeId(2)].status();
        status.applied.0 + 1 - status.replica.log_start.0
    };
    let (usual, large) = (kept(1), kept(4000));
    assert!(usual <= 3, "{usual} entries");
    assert!((8..=25).contains(&large), "a thousand bytes of entries, not {large}");
}

// Claims: C-write-once
#[test]
fn a_request_contained_in_an_installed_state_is_answered_from_its_record() {
    let mut cluster = Cluster::with(3, |config| config.replica.limits.log_bytes_retained = 100);
    let conn = overtaken(&mut cluster, false);
    assert_eq!(cluster.closed(conn), None);
    let got = cluster.take(conn);
    let replies: Vec<_> =
        got.iter().filter(|message| matches!(message, ServerMessage::Reply { .. })).collect();
    assert_eq!(replies.len(), 1, "{got:?}");
    assert_eq!(committed(replies[0]), Revision(3));
    cluster.tell(conn, request(2, &put("k", "again")));
    assert_eq!(committed(&cluster.next(conn).unwrap()), Revision(24));
}

// Claims: C-watch-complete, C-watch-resume
#[test]
fn a_watch_does_not_silently_skip_what_an_installed_state_contains() {
    let mut cluster = Cluster::with(3, |config| config.replica.limits.log_bytes_retained = 100);
    let conn = overtaken(&mut cluster, true);
    assert_eq!(cluster.closed(conn), Some(DisconnectReason::Replaced));
    let told = |message: &ServerMessage| matches!(message, ServerMessage::Events { .. });
    assert!(!cluster.take(conn).iter().any(told));
}

// Claims: C-session-silence
#[test]
fn a_server_that_slept_gives_every_session_its_time_anew() {
    let mut cluster = Cluster::new(1);
    let (conn, _) = cluster.open(1, 1000);
    cluster.now = cluster.now + Duration::from_secs(10);
    cluster.input(NodeId(1), Input::Timer);
    cluster.run();
    assert_eq!(cluster.take(conn), [], "the client may have spoken all the while");
    cluster.pass(Duration::from_millis(1000));
    assert_eq!(cluster.closed(conn), Some(DisconnectReason::SessionExpired));
}

// Claims: C-session-silence
#[test]
fn a_client_that_the_server_does_not_read_is_not_called_silent() {
    let mut cluster = Cluster::with(2, |config| config.limits.requests_per_conn_max = 1);
    let (conn, _) = cluster.open(1, 1000);
    cluster.say(conn, request(1, &put("k", "v")));
    assert!(!cluster.servers[&NodeId(1)].accepts(conn));
    for _ in 0..30 {
        cluster.now = cluster.now + Duration::from_millis(100);
        cluster.input(NodeId(1), Input::Timer);
    }
    cluster.run();
    assert_eq!(cluster.closed(conn), None);
    cluster.pass(Duration::from_millis(1100));
    assert_eq!(cluster.closed(conn), Some(DisconnectReason::SessionExpired));
}

// Claims: C-voters-change
#[test]
fn an_operator_changes_who_votes() {
    let mut cluster = Cluster::new(3);
    let store = accord_core::ids::StoreId(3);
    let change = VoterChange::Remove { node: NodeId(3), store, returning: false };
    let removed = cluster.ask(1, OperatorRequest::ChangeVoters(change));
    assert_eq!(removed, OperatorReply::VotersChanged(Ok(())));
    assert_eq!(cluster.servers[&NodeId(2)].status().replica.voters.voters.len(), 2);
    let again = cluster.ask(1, OperatorRequest::ChangeVoters(change));
    assert_eq!(again, OperatorReply::VotersChanged(Err(ChangeError::NotVoter)));
    let forced = cluster.ask(1, OperatorRequest::ForceRecovery);
    assert!(matches!(forced, OperatorReply::Recovering(Err(_))), "{forced:?}");
}

#[test]
fn a_server_whose_disk_failed_stops_for_good() {
    let mut cluster = Cluster::new(1);
    let (conn, _) = cluster.open(1, 5000);
    cluster.input(NodeId(1), Input::StoreFailed);
    assert_eq!(cluster.halts, [(NodeId(1), HaltReason::StorageFailed)]);
    cluster.tell(conn, request(1, &put("k", "v")));
    assert_eq!(cluster.take(conn), []);
    assert_eq!(cluster.servers[&NodeId(1)].next_deadline(), None);
}

// Claims: C-session-silence
#[test]
fn time_without_a_primary_counts_against_nobody() {
    let mut cluster = Cluster::new(3);
    let (conn, session) = cluster.open(1, 10_000);
    cluster.partition(&[&[1], &[2], &[3]]);
    cluster.pass(Duration::from_secs(15));
    cluster.partition(&[&[1, 2, 3]]);
    assert_eq!(cluster.closed(conn), None);
    cluster.pass(Duration::from_millis(9_900));
    assert!(cluster.servers[&NodeId(2)].state().session(session).is_some());
    cluster.pass(Duration::from_millis(200));
    assert_eq!(cluster.closed(conn), Some(DisconnectReason::SessionExpired));
}

// Claims: C-read-monotonic
#[test]
fn a_local_read_waits_for_what_its_session_has_seen() {
    let mut cluster = Cluster::new(1);
    let (old, session) = cluster.open(1, 5000);
    cluster.hang_up(old);
    let conn = cluster.connect(1);
    let attach = cluster.attachment(session, Revision(4));
    cluster.tell(conn, attach);
    cluster.take(conn);
    cluster.tell(conn, get(1, Consistency::Local, "k"));
    let (writer, _) = cluster.open(1, 5000);
    cluster.tell(writer, request(1, &put("k", "3")));
    assert_eq!(cluster.take(conn), [], "this server is at revision 3");
    cluster.tell(writer, request(2, &put("k", "4")));
    assert_eq!(value(&cluster.next(conn).unwrap()), b"4");
}

// Claims: C-session-order
#[test]
fn a_small_request_does_not_overtake_a_large_one_for_which_there_is_no_room() {
    let mut cluster = Cluster::with(2, |config| config.replica.limits.proposals_bytes_max = 600);
    let (conn, _) = cluster.open(1, 5000);
    for number in 1..=20 {
        let bytes = if number % 3 == 0 { 5 } else { 300 };
        cluster.say(conn, request(number, &put("k", &"x".repeat(bytes))));
    }
    assert!(cluster.servers[&NodeId(1)].status().deferred > 0);
    cluster.run();
    let replies = cluster.take(conn);
    let revisions: Vec<u64> = replies.iter().map(|reply| committed(reply).0).collect();
    assert_eq!(revisions, (2..=21).collect::<Vec<u64>>());
}

// Claims: C-session-pong
#[test]
fn no_pong_follows_a_proposed_expiry_not_even_over_an_installed_state() {
    let mut cluster = Cluster::with(3, |config| config.replica.limits.log_bytes_retained = 100);
    let (conn, _) = cluster.open(3, 1000);
    let (other, _) = cluster.open(1, 60_000);
    cluster.frozen.insert(NodeId(3));
    for number in 1..=20 {
        cluster.tell(other, request(number, &put("k", "theirs")));
    }
    // Its client was silent for its whole timeout: server 3 proposes the end, unheard.
    cluster.now = cluster.now + Duration::from_millis(1000);
    cluster.input(NodeId(3), Input::Timer);
    cluster.frozen.clear();
    cluster.say(conn, ClientMessage::Ping { nonce: 1 });
    assert_eq!(cluster.take(conn), [], "an expiry is proposed: no pong");
    cluster.partition_quietly(&[&[1, 2], &[3]]);
    cluster.partition_quietly(&[&[1, 2, 3]]);
    let mut nonce = 1;
    while cluster.deliver_one() {
        nonce += 1;
        cluster.say(conn, ClientMessage::Ping { nonce });
    }
    let status = |primary| ServerMessage::Status { primary };
    let expired = ServerMessage::SessionClosed { reason: SessionEnd::Expired };
    assert_eq!(cluster.take(conn), [status(false), status(true), expired], "and no pong");
}

// Claims: C-recover-numbers, C-recover-sessions
#[test]
fn what_the_lost_majority_gave_is_never_given_again_after_a_recovery() {
    let mut cluster = Cluster::new(3);
    let (before, session_before) = cluster.open(1, 60_000);
    cluster.tell(before, request(1, &put("k", "before")));
    committed(&cluster.take(before)[0]);
    cluster.partition(&[&[1], &[2, 3]]);
    let (a, session_a) = cluster.open(2, 60_000);
    cluster.tell(a, request(1, &put("k", "a")));
    let lost = committed(&cluster.take(a)[0]).0;
    cluster.take(before);
    // Servers 2 and 3 are gone for good, with all their memory. The operator recovers.
    cluster.partition(&[&[1]]);
    cluster.hang_up(a);
    let reply = cluster.ask(1, OperatorRequest::ForceRecovery);
    assert!(matches!(reply, OperatorReply::Recovering(Ok(()))), "{reply:?}");
    // Sessions from before learn that history was cut: their clients may have gone on elsewhere.
    let gone = ServerMessage::SessionClosed { reason: SessionEnd::Gone };
    assert!(cluster.take(before).contains(&gone), "the session of {session_before} has ended");
    let (c, session_c) = cluster.open(1, 60_000);
    assert!(session_c.0 > lost && session_c != session_a, "{session_c} is new");
    cluster.tell(c, request(1, &put("k", "c")));
    assert!(committed(&cluster.take(c)[0]).0 > lost, "revisions rise over all that was given");
    // The client of the lost servers comes back: it has no session, and is told so.
    let again = cluster.connect(1);
    let attach = cluster.attachment(session_a, Revision(lost));
    cluster.tell(again, attach);
    let refused = ServerMessage::SessionRefused { reason: SessionRefusal::Unknown };
    assert_eq!(cluster.take(again), [refused]);
    // A watch that resumes from what it saw there does not miss in silence what it saw.
    let (d, _) = cluster.open(1, 60_000);
    let ClientMessage::Watch { watch, filter, mask, once, .. } = watch(1, "k") else { panic!() };
    cluster.tell(d, ClientMessage::Watch { watch, filter, mask, once, from: Some(Revision(lost)) });
    let told = cluster.take(d);
    assert!(told.iter().any(|m| matches!(m, ServerMessage::WatchLost { .. })), "{told:?}");
}

// Claims: C-session-secret
#[test]
fn a_wrong_secret_and_no_session_get_the_same_answer_and_disturb_nothing() {
    let mut cluster = Cluster::new(2);
    let (conn, session) = cluster.open(1, 5000);
    let secret = cluster.secrets[&session];
    let refused = [ServerMessage::SessionRefused { reason: SessionRefusal::Unknown }];
    let mut wrong = secret;
    wrong.0[15] ^= 1;
    for (session, secret) in [
        (session, wrong),
        (session, SessionSecret(secret.hash().0)),
        (SessionId(session.0 + 1), secret),
    ] {
        let thief = cluster.connect(2);
        cluster.tell(thief, ClientMessage::Attach { session, secret, seen: Revision(0) });
        assert_eq!(cluster.take(thief), refused, "{session}");
    }
    cluster.tell(conn, request(1, &put("k", "mine")));
    committed(&cluster.next(conn).expect("its client has it"));
    let again = cluster.attach(2, session);
    cluster.tell(again, request(2, &put("k", "still mine")));
    committed(&cluster.next(again).expect("its client has it"));
}

#[test]
fn secrets_differ_and_their_servers_keep_none_of_them() {
    let mut cluster = Cluster::new(2);
    let sessions: Vec<_> = (0..8).map(|number| cluster.open(1 + number % 2, 5000).1).collect();
    let secrets: BTreeSet<_> = sessions.iter().map(|it| cluster.secrets[it].0).collect();
    assert_eq!(secrets.len(), 8);
    for server in cluster.servers.values() {
        let snapshot = server.state().snapshot();
        for secret in &secrets {
            assert!(!snapshot.windows(16).any(|bytes| bytes == secret), "the state has hashes");
        }
    }
}
