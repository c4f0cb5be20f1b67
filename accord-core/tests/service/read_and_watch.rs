//! Reads that set a watch in the same step, and the order of events and results.

use crate::cluster::{Cluster, put, request, watch};
use crate::order::{BOTH, in_short, read_behind};
use accord_core::ids::{ConnId, NodeId, WatchId};
use accord_core::protocol::{
    ClientMessage, Consistency, EventMask, ReadWatch, Refusal, ServerMessage, WatchFilter,
};
use accord_core::state::{Outcome, ReadQuery, Step, Txn, TxnOutcome};
use accord_core::time::Duration;
use bytes::Bytes;

fn on(number: u64, key: &'static str, once: bool) -> ReadWatch {
    let filter = WatchFilter::Key(Bytes::from_static(key.as_bytes()));
    ReadWatch { watch: WatchId(number), filter, mask: EventMask::ALL, once }
}

fn read_and_watch(read: u64, consistency: Consistency, after: u64, once: bool) -> ClientMessage {
    read_behind(read, consistency, "k", after, Some(on(read, "k", once)))
}

fn heard(cluster: &mut Cluster, conn: ConnId) -> Vec<String> {
    in_short(&cluster.take(conn))
}

fn watches(cluster: &Cluster) -> usize {
    cluster.servers[&NodeId(1)].status().watches
}

// Claims: C-read-watch
#[test]
fn a_watch_that_a_read_sets_tells_what_comes_after_the_result_and_no_more() {
    for (servers, consistency) in [1, 3].into_iter().flat_map(|n| BOTH.map(|it| (n, it))) {
        let mut cluster = Cluster::new(servers);
        let (conn, _) = cluster.open(1, 5000);
        let (other, _) = cluster.open(servers, 5000);
        let messages = vec![
            request(1, &put("k", "1")),
            read_and_watch(1, consistency, 1, false),
            request(2, &put("k", "2")),
            request(3, &put("k", "3")),
        ];
        cluster.say_at_once(conn, messages);
        cluster.run();
        let expected = ["q1", "1=1", "w1:2", "q2", "w1:3", "q3"];
        assert_eq!(heard(&mut cluster, conn), expected, "{servers} {consistency:?}");
        cluster.tell(other, request(1, &put("k", "4")));
        assert_eq!(heard(&mut cluster, conn), ["w1:4"]);
        cluster.tell(conn, ClientMessage::Unwatch { watch: WatchId(1) });
        cluster.tell(other, request(2, &put("k", "5")));
        assert_eq!(heard(&mut cluster, conn), [""; 0]);
    }
}

// Claims: C-read-watch
#[test]
fn a_one_shot_watch_waits_for_a_key_that_does_not_exist() {
    for consistency in BOTH {
        let mut cluster = Cluster::new(3);
        let (conn, _) = cluster.open(1, 5000);
        let (other, _) = cluster.open(2, 5000);
        cluster.tell(conn, read_and_watch(1, consistency, 0, true));
        assert_eq!(heard(&mut cluster, conn), ["1=none"]);
        for number in 1..=3 {
            cluster.tell(other, request(number, &put("k", &number.to_string())));
        }
        assert_eq!(heard(&mut cluster, conn), ["w1:1"]);
        assert_eq!(watches(&cluster), 0);
    }
}

// Claims: C-read-watch
#[test]
fn a_read_without_a_result_sets_no_watch() {
    let mut cluster = Cluster::with(3, |config| config.limits.watches_per_conn_max = 2);
    let (conn, _) = cluster.open(1, 60_000);
    cluster.tell(conn, watch(7, "other"));
    cluster.take(conn);
    let refused = |read, reason| [ServerMessage::ReadRefused { read, reason }];
    // The number of a watch that is set.
    cluster.tell(conn, read_and_watch(7, Consistency::Local, 0, false));
    assert_eq!(cluster.take(conn), refused(7, Refusal::WatchInUse));
    let long =
        ReadWatch { filter: WatchFilter::Prefix(Bytes::from(vec![0; 5000])), ..on(8, "k", false) };
    cluster.tell(conn, read_behind(8, Consistency::Local, "k", 0, Some(long)));
    assert_eq!(cluster.take(conn), refused(8, Refusal::KeyTooLong));
    // The number and the room of a watch that a read under way is to set.
    cluster.say(conn, read_and_watch(1, Consistency::Linearizable, 0, false));
    cluster.say(conn, read_and_watch(1, Consistency::Local, 0, false));
    assert_eq!(cluster.take(conn), refused(1, Refusal::WatchInUse));
    cluster.say(conn, watch(2, "k"));
    let reason = Refusal::TooManyWatches;
    assert_eq!(cluster.take(conn), [ServerMessage::WatchRefused { watch: WatchId(2), reason }]);
    cluster.run();
    assert_eq!(heard(&mut cluster, conn), ["1=none"]);
    assert_eq!(watches(&cluster), 2);
    cluster.tell(conn, ClientMessage::Unwatch { watch: WatchId(1) });
    // A read that gives up.
    cluster.partition(&[&[1], &[2], &[3]]);
    cluster.take(conn);
    cluster.tell(conn, read_and_watch(3, Consistency::Linearizable, 0, false));
    cluster.pass(Duration::from_secs(6));
    assert_eq!(cluster.take(conn), refused(3, Refusal::NotPrimary));
    assert_eq!(watches(&cluster), 1);
}

#[test]
fn a_result_that_does_not_fit_sets_no_watch() {
    let mut cluster = Cluster::with(1, |config| config.limits.unsent_bytes_max = 1000);
    let (conn, _) = cluster.open(1, 5000);
    cluster.tell(conn, request(1, &put("k", &"x".repeat(700))));
    cluster.take(conn);
    cluster.writes_at_once = false;
    cluster.tell(conn, read_and_watch(1, Consistency::Local, 1, false));
    cluster.tell(conn, read_and_watch(2, Consistency::Local, 1, false));
    let heard = cluster.take(conn);
    let refused = ServerMessage::ReadRefused { read: 2, reason: Refusal::Busy };
    assert_eq!(heard[1..], [refused], "{heard:?}");
    assert_eq!(watches(&cluster), 1);
}

#[test]
fn a_watch_that_is_ended_before_its_read_is_answered_is_never_set() {
    let mut cluster = Cluster::new(3);
    let (conn, _) = cluster.open(1, 5000);
    cluster.say(conn, read_and_watch(1, Consistency::Linearizable, 0, false));
    cluster.say(conn, ClientMessage::Unwatch { watch: WatchId(1) });
    cluster.run();
    cluster.tell(conn, request(1, &put("k", "1")));
    assert_eq!(heard(&mut cluster, conn), ["1=none", "q1"]);
    assert_eq!(watches(&cluster), 0);
    cluster.tell(conn, read_and_watch(1, Consistency::Linearizable, 1, false));
    assert_eq!(heard(&mut cluster, conn), ["1=1"], "the number is free again");
}

/// Events first, whatever shows the change: for the client that made it and for another one.
// Claims: C-watch-first
#[test]
fn events_come_before_every_kind_of_result_that_shows_them() {
    let get = |read, consistency| {
        let query = ReadQuery::Get { key: "k".into(), offset: 0, length_max: 100 };
        ClientMessage::read(read, consistency, query)
    };
    let inside = Txn::of(vec![Step::Read { key: "k".into(), offset: 0, length_max: 100 }]);
    let results: Vec<(&str, Vec<ClientMessage>)> = vec![
        ("reply of a request", vec![request(2, &inside)]),
        ("local read", vec![get(1, Consistency::Local)]),
        ("linearizable read", vec![get(1, Consistency::Linearizable)]),
        ("read behind a request", vec![read_behind(1, Consistency::Local, "k", 1, None)]),
        ("with a barrier", vec![read_behind(1, Consistency::Linearizable, "k", 1, None)]),
        ("read with a watch", vec![read_and_watch(5, Consistency::Local, 1, false)]),
        ("pong", vec![ClientMessage::Ping { nonce: 1 }]),
    ];
    for (what, asked) in results {
        for watcher_at in [1, 2] {
            let mut cluster = Cluster::new(2);
            let (writer, _) = cluster.open(1, 5000);
            let (watcher, _) = cluster.open(watcher_at, 5000);
            for conn in [writer, watcher] {
                cluster.tell(conn, watch(1, "k"));
                cluster.take(conn);
            }
            cluster.say(writer, request(1, &put("k", "new")));
            let mut asked_by = |conn: ConnId| {
                asked.iter().cloned().for_each(|message| cluster.say(conn, message));
            };
            asked_by(writer);
            asked_by(watcher);
            // One after another: each question may be answered at any moment.
            for _ in 0..100 {
                cluster.deliver_one();
                for conn in [writer, watcher] {
                    let query = ReadQuery::Get { key: "k".into(), offset: 0, length_max: 100 };
                    cluster.say(conn, ClientMessage::read(9, Consistency::Local, query));
                    cluster.say(conn, ClientMessage::Ping { nonce: 9 });
                }
            }
            cluster.run();
            for conn in [writer, watcher] {
                check_events_first(&cluster.take(conn), what);
            }
        }
    }
}

fn check_events_first(messages: &[ServerMessage], what: &str) {
    let mut told = 0;
    let mut shown = 0;
    for message in messages {
        let revision = match message {
            ServerMessage::Events { revision, .. } => {
                told = revision.0;
                continue;
            }
            ServerMessage::ReadReply { revision, .. } | ServerMessage::Pong { revision, .. } => {
                revision.0
            }
            ServerMessage::Reply {
                outcome: Outcome::Txn(TxnOutcome::Committed { revision, .. }),
                ..
            } => revision.0,
            // A refusal, or an outcome that shows nothing: the key was not there yet.
            _ => continue,
        };
        // Two sessions were opened, and the third revision is the change that is watched.
        if revision >= 3 {
            assert_eq!(told, 3, "{what}: a result in front of its event: {messages:?}");
            shown += 1;
        }
    }
    assert!(shown > 0, "{what}: the change was shown: {messages:?}");
}
