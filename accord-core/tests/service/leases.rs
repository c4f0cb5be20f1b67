//! Until when a client believes in its session.

use crate::app::{App, config};
use crate::cluster::{Cluster, put};
use accord_core::client::ClientInput;
use accord_core::protocol::{Consistency, ServerMessage};
use accord_core::state::ReadQuery;
use accord_core::time::{Duration, Instant};
use bytes::Bytes;

const TIMEOUT: Duration = Duration::from_secs(3);

fn lease_ends(app: &App) -> Instant {
    app.client.lease_ends().expect("the session is open")
}

fn ready(cluster: &mut Cluster, seed: u64) -> App {
    let mut config = config(3);
    config.lease = true;
    let mut app = App::new(config, seed, cluster.now);
    app.run(cluster);
    assert!(app.client.is_ready());
    app.take();
    app
}

/// Lets the client's next ping go out. Its pong waits to be received.
fn ping(app: &mut App, cluster: &mut Cluster) -> Instant {
    cluster.now = app.client.next_deadline().expect("a ping is due");
    app.client.handle(cluster.now, ClientInput::Timer);
    app.pump(cluster);
    cluster.run();
    cluster.now
}

// Claims: C-session-lease
#[test]
fn the_granted_timeout_counts() {
    let mut cluster = Cluster::with(3, |config| config.state.timeout_ms_max = 1000);
    let app = App::ready(&mut cluster, 3, 31);
    assert_eq!(app.client.session_timeout(), Duration::from_secs(1));
    assert_eq!(lease_ends(&app), cluster.now + Duration::from_secs(1));
}

// Claims: C-session-lease
#[test]
fn a_ping_counts_from_its_sending_when_its_pong_has_come() {
    let mut cluster = Cluster::new(3);
    let mut app = ready(&mut cluster, 32);
    let opened = cluster.now;
    assert_eq!(lease_ends(&app), opened + TIMEOUT);
    let sent = ping(&mut app, &mut cluster);
    assert_eq!(lease_ends(&app), opened + TIMEOUT, "it is not answered");
    cluster.now = sent + Duration::from_millis(300);
    while app.receive(&mut cluster) {
        if lease_ends(&app) > opened + TIMEOUT {
            break;
        }
    }
    let answers = app.heard.iter().rev().take(2);
    let is_read = |message: &ServerMessage| matches!(message, ServerMessage::ReadReply { .. });
    let is_pong = |message: &ServerMessage| matches!(message, ServerMessage::Pong { .. });
    assert!(answers.clone().any(is_read) && answers.clone().any(is_pong), "both have come");
    assert_eq!(app.take(), [], "the application is not told of them");
    assert_eq!(lease_ends(&app), sent + TIMEOUT);
    assert!(lease_ends(&app) > opened + TIMEOUT);
}

// Claims: C-session-lease
#[test]
fn other_answers_prove_nothing() {
    let mut cluster = Cluster::new(3);
    let mut app = ready(&mut cluster, 33);
    let before = lease_ends(&app);
    cluster.now = cluster.now + Duration::from_millis(500);
    let query = ReadQuery::Get { key: Bytes::from_static(b"k"), offset: 0, length_max: 9 };
    app.client.read(cluster.now, query, Consistency::Local).unwrap();
    app.client.submit(cluster.now, &put("k", "v")).unwrap();
    app.run(&mut cluster);
    assert_eq!(app.take().len(), 2, "both are answered");
    assert_eq!(lease_ends(&app), before);
}

// Claims: C-session-lease
#[test]
fn the_pong_of_a_server_outside_the_primary_component_proves_nothing() {
    let mut cluster = Cluster::new(3);
    let mut app = ready(&mut cluster, 34);
    let before = lease_ends(&app);
    let home = app.server.unwrap().0;
    let others: Vec<u32> = (1..=3).filter(|node| *node != home).collect();
    cluster.partition(&[&[home], &others]);
    app.run(&mut cluster);
    let mut pongs = 0;
    while app.server.is_some_and(|server| server.0 == home) {
        ping(&mut app, &mut cluster);
        while app.receive(&mut cluster) {}
        pongs += usize::from(matches!(app.heard.last(), Some(ServerMessage::Pong { .. })));
        assert!(app.server.is_none_or(|server| server.0 != home) || lease_ends(&app) == before);
        app.pump(&mut cluster);
    }
    assert!(pongs > 0, "it answered");
    app.pass(&mut cluster, Duration::from_secs(1));
    assert!(app.client.is_ready() && lease_ends(&app) > before, "it is attached elsewhere");
}
