//! Reads that have a place among the requests of their session.

use crate::cluster::{Cluster, put, request};
use accord_core::ids::{ConnId, NodeId, RequestId, Revision};
use accord_core::protocol::{ClientMessage, Consistency, ReadWatch, ServerMessage};
use accord_core::server::{DisconnectReason, Input};
use accord_core::state::{Event, ReadQuery, ReadResult};
use accord_core::time::Duration;
use bytes::Bytes;

pub const BOTH: [Consistency; 2] = [Consistency::Local, Consistency::Linearizable];

/// A read of a key behind a request, perhaps with a watch.
pub fn read_behind(
    read: u64,
    consistency: Consistency,
    key: &str,
    after: u64,
    watch: Option<ReadWatch>,
) -> ClientMessage {
    let key = Bytes::copy_from_slice(key.as_bytes());
    let query = ReadQuery::Get { key, offset: 0, length_max: 1 << 20 };
    let (after, watch) = (Some(RequestId(after)), watch.map(Box::new));
    ClientMessage::Read { read, consistency, after, watch, query }
}

fn behind(read: u64, consistency: Consistency, key: &str, after: u64) -> ClientMessage {
    read_behind(read, consistency, key, after, None)
}

/// What a client received, in short.
pub fn in_short(messages: &[ServerMessage]) -> Vec<String> {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).to_string();
    let one = |message: &ServerMessage| match message {
        ServerMessage::Reply { request, .. } => format!("{request}"),
        ServerMessage::RequestRefused { request, reason } => format!("{request} {reason:?}"),
        ServerMessage::ReadReply { read, result, .. } => match result {
            ReadResult::Value { value, .. } => format!("{read}={}", text(value)),
            _ => format!("{read}=none"),
        },
        ServerMessage::ReadRefused { read, reason } => format!("{read} {reason:?}"),
        ServerMessage::Events { watch, events, .. } => {
            let events = events.iter().map(|event| match event {
                Event::Key(event) => text(&event.data),
                Event::Tree(event) => text(&event.path),
                Event::Member(_) => "member".into(),
            });
            format!("{watch}:{}", events.collect::<Vec<_>>().join("+"))
        }
        ServerMessage::SessionClosed { reason } => format!("{reason:?}"),
        other => format!("{other:?}"),
    };
    messages.iter().map(one).collect()
}

fn heard(cluster: &mut Cluster, conn: ConnId) -> Vec<String> {
    in_short(&cluster.take(conn))
}

/// `count` writes, each with a read behind it.
fn pipeline(count: u64, consistency: Consistency) -> Vec<ClientMessage> {
    let pair = |number: u64| {
        [request(number, &put("k", &number.to_string())), behind(number, consistency, "k", number)]
    };
    (1..=count).flat_map(pair).collect()
}

// Claims: C-read-order
#[test]
fn a_pipeline_of_writes_and_reads_is_answered_in_its_order() {
    let expected: Vec<String> =
        (1..=6).flat_map(|number| [format!("q{number}"), format!("{number}={number}")]).collect();
    for (servers, consistency) in [1, 3].into_iter().flat_map(|n| BOTH.map(|it| (n, it))) {
        let mut cluster = Cluster::new(servers);
        let (conn, _) = cluster.open(1, 5000);
        pipeline(6, consistency).into_iter().for_each(|message| cluster.say(conn, message));
        cluster.run();
        assert_eq!(heard(&mut cluster, conn), expected, "{servers} {consistency:?}");

        let (conn, _) = cluster.open(1, 5000);
        cluster.say_at_once(conn, pipeline(6, consistency));
        cluster.run();
        assert_eq!(heard(&mut cluster, conn), expected, "at once: {servers} {consistency:?}");
    }
}

// Claims: C-read-order
#[test]
fn a_read_shows_no_later_request_though_its_barrier_passes_later() {
    let mut cluster = Cluster::new(3);
    let (conn, _) = cluster.open(1, 5000);
    cluster.tell(conn, request(1, &put("k", "1")));
    cluster.take(conn);
    // What comes together travels in one frame: the barrier and the request behind it.
    let together = vec![
        behind(1, Consistency::Linearizable, "k", 1),
        request(2, &put("k", "2")),
        behind(2, Consistency::Local, "k", 2),
        ClientMessage::Close,
        ClientMessage::Close,
    ];
    cluster.say_at_once(conn, together);
    cluster.run();
    assert_eq!(heard(&mut cluster, conn), ["1=1", "q2", "2=2", "Closed"]);
}

// Claims: C-read-order, C-read-fresh
#[test]
fn a_linearizable_read_behind_a_request_also_shows_what_others_were_answered() {
    let mut cluster = Cluster::new(3);
    let (conn, _) = cluster.open(1, 5000);
    let (other, _) = cluster.open(2, 5000);
    // The write is ordered first. The other's is answered by server 2 before the read is sent, and
    // applied by server 1 after the write.
    cluster.say(conn, request(1, &put("k", "1")));
    cluster.tell(other, request(1, &put("other", "done")));
    assert_eq!(heard(&mut cluster, other), ["q1"]);
    cluster.say(conn, behind(1, Consistency::Linearizable, "other", 1));
    cluster.run();
    assert_eq!(heard(&mut cluster, conn), ["q1", "1=done"]);
}

// Claims: C-read-order
#[test]
fn reads_with_a_place_are_answered_in_the_order_in_which_they_came() {
    let mut cluster = Cluster::new(3);
    let (conn, _) = cluster.open(1, 5000);
    // As a client does that synchronizes and then reads locally.
    cluster.say(conn, behind(1, Consistency::Linearizable, "k", 0));
    cluster.say(conn, behind(2, Consistency::Local, "k", 0));
    cluster.say(conn, behind(3, Consistency::Linearizable, "k", 0));
    cluster.say(conn, request(1, &put("k", "v")));
    let query = ReadQuery::Members { after: None, limit: 1 };
    cluster.say(conn, ClientMessage::read(9, Consistency::Local, query));
    assert_eq!(heard(&mut cluster, conn), ["9=none"], "what has no place waits for nothing");
    cluster.run();
    assert_eq!(heard(&mut cluster, conn), ["1=none", "2=none", "3=none", "q1"]);
}

#[test]
fn a_read_behind_what_is_answered_or_refused_is_answered_at_once() {
    let mut cluster = Cluster::with(1, |config| config.replica.limits.command_bytes_max = 200);
    let (conn, _) = cluster.open(1, 5000);
    cluster.tell(conn, request(1, &put("k", "1")));
    cluster.say(conn, behind(1, Consistency::Local, "k", 1));
    assert_eq!(heard(&mut cluster, conn), ["q1", "1=1"]);
    // Behind a request that the server refuses, one that it takes, and one that it never saw.
    cluster.say(conn, request(2, &put("k", &"x".repeat(500))));
    cluster.say(conn, behind(2, Consistency::Local, "k", 2));
    assert_eq!(heard(&mut cluster, conn), ["q2 TooLarge", "2=1"]);
    cluster.say(conn, request(3, &put("k", "3")));
    cluster.say(conn, request(4, &put("k", &"x".repeat(500))));
    cluster.say(conn, behind(3, Consistency::Local, "k", 4));
    assert_eq!(heard(&mut cluster, conn), ["q4 TooLarge"], "request 3 is in front of it as well");
    cluster.run();
    assert_eq!(heard(&mut cluster, conn), ["q3", "3=3"]);
    cluster.say(conn, behind(4, Consistency::Local, "k", 99));
    assert_eq!(heard(&mut cluster, conn), ["4=3"]);
}

#[test]
fn a_request_that_the_order_refuses_lets_the_reads_behind_it_go_on() {
    let mut cluster = Cluster::new(1);
    let (conn, _) = cluster.open(1, 5000);
    cluster.tell(conn, request(5, &put("k", "5")));
    cluster.say(conn, request(4, &put("k", "4")));
    cluster.say(conn, behind(1, Consistency::Local, "k", 5));
    cluster.run();
    assert_eq!(heard(&mut cluster, conn), ["q5", "q4", "1=5"], "request 4 was passed over");
}

#[test]
fn a_read_is_refused_in_time_and_what_was_kept_back_goes_on() {
    for consistency in BOTH {
        let mut cluster = Cluster::new(3);
        let (conn, _) = cluster.open(1, 60_000);
        cluster.partition(&[&[1], &[2], &[3]]);
        cluster.take(conn);
        cluster.tell(conn, request(1, &put("k", "1")));
        cluster.tell(conn, behind(1, consistency, "k", 1));
        cluster.tell(conn, request(2, &put("k", "2")));
        cluster.tell(conn, behind(2, consistency, "k", 2));
        cluster.pass(Duration::from_millis(4900));
        assert_eq!(heard(&mut cluster, conn), [""; 0]);
        cluster.pass(Duration::from_millis(200));
        assert_eq!(heard(&mut cluster, conn), ["1 NotPrimary", "2 NotPrimary"]);
        cluster.tell(conn, behind(3, consistency, "k", 2));
        cluster.partition(&[&[1, 2, 3]]);
        let heard = heard(&mut cluster, conn);
        assert_eq!(heard[1..], ["q1", "q2", "3=2"], "{consistency:?} {heard:?}");
    }
}

#[test]
fn what_waits_in_a_sessions_order_is_bounded_as_all_else() {
    let mut cluster = Cluster::with(3, |config| {
        config.limits.requests_per_conn_max = 2;
        config.limits.reads_per_conn_max = 2;
    });
    let (conn, _) = cluster.open(1, 5000);
    let accepts = |cluster: &Cluster| cluster.servers[&NodeId(1)].accepts(conn);
    cluster.say(conn, behind(1, Consistency::Linearizable, "k", 0));
    cluster.say(conn, request(1, &put("k", "1")));
    assert!(accepts(&cluster));
    cluster.say(conn, request(2, &put("k", "2")));
    assert!(!accepts(&cluster), "what is kept back counts");
    cluster.say(conn, request(3, &put("k", "3")));
    cluster.say(conn, behind(2, Consistency::Local, "k", 2));
    cluster.say(conn, behind(3, Consistency::Local, "k", 2));
    assert_eq!(heard(&mut cluster, conn), ["q3 TooManyOutstanding", "3 TooManyReads"]);
    cluster.run();
    assert_eq!(heard(&mut cluster, conn), ["1=none", "q1", "q2", "2=2"]);
    assert!(accepts(&cluster));
}

#[test]
fn what_is_kept_back_counts_for_all_connections_together() {
    let mut cluster = Cluster::with(3, |config| config.limits.deferred_max = 3);
    let (conn, _) = cluster.open(1, 60_000);
    let (other, _) = cluster.open(1, 60_000);
    let (third, _) = cluster.open(1, 60_000);
    cluster.partition(&[&[1], &[2], &[3]]);
    for conn in [conn, other, third] {
        cluster.take(conn);
    }
    for conn in [conn, other] {
        cluster.tell(conn, behind(1, Consistency::Linearizable, "k", 0));
        cluster.tell(conn, request(1, &put("k", "1")));
    }
    assert!(!cluster.servers[&NodeId(1)].accepts(third), "half of the bound is reached");
    cluster.tell(third, request(1, &put("o", "v")));
    cluster.tell(conn, request(2, &put("k", "2")));
    assert_eq!(heard(&mut cluster, conn), ["q2 Busy"]);
    cluster.hang_up(other);
    cluster.tell(conn, request(2, &put("k", "2")));
    cluster.pass(Duration::from_millis(5100));
    cluster.tell(conn, behind(2, Consistency::Local, "k", 2));
    cluster.partition(&[&[1, 2, 3]]);
    let heard = heard(&mut cluster, conn);
    assert_eq!(heard[0], "1 NotPrimary");
    assert_eq!(heard[heard.len() - 3..], ["q1", "q2", "2=2"], "{heard:?}");
}

#[test]
fn a_place_in_the_order_needs_a_session_and_goes_with_its_connection() {
    let mut cluster = Cluster::new(3);
    let conn = cluster.connect(1);
    cluster.tell(conn, behind(1, Consistency::Local, "k", 0));
    assert!(matches!(cluster.closed(conn), Some(DisconnectReason::Protocol(_))));

    let (conn, session) = cluster.open(1, 5000);
    cluster.say(conn, request(1, &put("k", "1")));
    cluster.say(conn, behind(1, Consistency::Linearizable, "k", 1));
    cluster.say(conn, request(2, &put("k", "2")));
    let new = cluster.connect(1);
    cluster.tell(new, cluster.attachment(session, Revision(0)));
    assert_eq!(heard(&mut cluster, conn).last().map(String::as_str), Some("Moved"));
    assert_eq!(cluster.closed(conn), Some(DisconnectReason::SessionClosed));
    cluster.take(new);
    // The copies of a new connection are a new order.
    cluster.say(new, request(1, &put("k", "1")));
    cluster.say(new, behind(1, Consistency::Local, "k", 1));
    cluster.say(new, request(2, &put("k", "2")));
    cluster.run();
    assert_eq!(heard(&mut cluster, new).len(), 3);
    let status = cluster.servers[&NodeId(1)].status();
    assert_eq!((status.reads, status.requests, status.deferred), (0, 0, 0));
}

/// A server that fell behind is given another's state at once: what stands between two requests in
/// it is not known.
#[test]
fn a_replaced_state_answers_no_read_that_waits_for_a_request() {
    let mut cluster = Cluster::with(3, |config| config.replica.limits.log_bytes_retained = 1);
    let (conn, session) = cluster.open(1, 60_000);
    cluster.say(conn, request(1, &put("k", "1")));
    cluster.say(conn, behind(1, Consistency::Local, "k", 1));
    cluster.say(conn, request(2, &put("k", "2")));
    cluster.frozen.insert(NodeId(1));
    cluster.run();
    let (other, _) = cluster.open(2, 60_000);
    for number in 1..=50 {
        cluster.tell(other, request(number, &put("o", "v")));
    }
    cluster.partition(&[&[1], &[2, 3]]);
    cluster.frozen.clear();
    cluster.partition(&[&[1, 2, 3]]);
    let heard = heard(&mut cluster, conn);
    assert!(heard.iter().all(|it| !it.starts_with("1=")), "{heard:?}");
    assert!(cluster.closed(conn).is_some(), "{heard:?}");
    let again = cluster.attach(1, session);
    cluster.say(again, request(1, &put("k", "1")));
    cluster.say(again, request(2, &put("k", "2")));
    cluster.tell(again, behind(1, Consistency::Local, "k", 2));
    assert_eq!(in_short(&cluster.take(again)), ["q1", "q2", "1=2"]);
}

#[test]
fn a_timer_alone_answers_nothing_out_of_order() {
    let mut cluster = Cluster::new(3);
    let (conn, _) = cluster.open(1, 60_000);
    cluster.say(conn, request(1, &put("k", "1")));
    cluster.say(conn, behind(1, Consistency::Linearizable, "k", 1));
    cluster.input(NodeId(1), Input::Timer);
    assert_eq!(heard(&mut cluster, conn), [""; 0]);
    cluster.run();
    assert_eq!(heard(&mut cluster, conn), ["q1", "1=1"]);
}
