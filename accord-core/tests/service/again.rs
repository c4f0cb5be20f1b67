//! Requests that are kept, and asked for again when their outcome is unknown.

use crate::app::App;
use crate::cluster::{Cluster, put};
use accord_core::client::{ClientError, ClientEvent, ClientInput};
use accord_core::ids::{NodeId, RequestId};
use accord_core::protocol::ClientMessage;
use accord_core::state::OpRef;
use accord_core::time::Duration;
use accord_core::wire::Encode;

const TIMEOUT: Duration = Duration::from_secs(10);

fn outcomes(events: &[ClientEvent]) -> Vec<(u64, &'static str)> {
    let told = events.iter().filter_map(|event| match event {
        ClientEvent::Done { request, .. } => Some((request.0, "done")),
        ClientEvent::Failed { request, .. } => Some((request.0, "failed")),
        ClientEvent::Unknown { request, .. } => Some((request.0, "unknown")),
        _ => None,
    });
    told.collect()
}

/// What the last request that was sent acknowledges.
fn acked_below(app: &App) -> Option<u64> {
    app.said.iter().rev().find_map(|message| match message {
        ClientMessage::Request { acked_below, .. } => Some(acked_below.0),
        _ => None,
    })
}

/// Submits a request whose time is up before there is a primary component.
fn lose_sight(app: &mut App, cluster: &mut Cluster, keep: bool) -> RequestId {
    app.take();
    cluster.partition(&[&[1], &[2], &[3]]);
    let request = app.client.submit(cluster.now, &put("k", "v")).unwrap();
    if keep {
        app.client.keep(request);
    }
    app.pass(cluster, TIMEOUT + Duration::from_secs(1));
    assert_eq!(outcomes(&app.take()), [(request.0, "unknown")]);
    request
}

fn heal(app: &mut App, cluster: &mut Cluster) {
    cluster.partition(&[&[1, 2, 3]]);
    app.pass(cluster, Duration::from_secs(2));
    assert!(app.client.is_ready());
    app.take();
}

// Claims: C-outcome-unknown
#[test]
fn what_is_kept_is_not_acknowledged_and_can_be_asked_for() {
    let mut cluster = Cluster::new(3);
    let mut app = App::ready(&mut cluster, 3, 21);
    let request = lose_sight(&mut app, &mut cluster, true);
    heal(&mut app, &mut cluster);
    app.client.ask_again(cluster.now, request, TIMEOUT).unwrap();
    let again = app.client.ask_again(cluster.now, request, TIMEOUT);
    assert_eq!(again, Err(ClientError::NotKept), "it is asked for");
    app.run(&mut cluster);
    assert_eq!(outcomes(&app.take()), [(1, "done")]);
    app.client.submit(cluster.now, &put("k", "w")).unwrap();
    app.run(&mut cluster);
    assert_eq!(acked_below(&app), Some(2), "what is known is acknowledged");
    // One that a later one has passed over has failed for good.
    let request = lose_sight(&mut app, &mut cluster, true);
    heal(&mut app, &mut cluster);
    app.client.submit(cluster.now, &put("k", "x")).unwrap();
    app.run(&mut cluster);
    assert_eq!(acked_below(&app), Some(request.0), "the kept one holds it back");
    app.take();
    app.client.ask_again(cluster.now, request, TIMEOUT).unwrap();
    app.run(&mut cluster);
    assert_eq!(outcomes(&app.take()).len(), 1, "one way or the other, it is known");
}

#[test]
fn what_is_forgotten_or_was_never_kept_is_acknowledged() {
    let mut cluster = Cluster::new(3);
    let mut app = App::ready(&mut cluster, 3, 22);
    for keep in [false, true] {
        let request = lose_sight(&mut app, &mut cluster, keep);
        app.client.forget(request);
        let again = app.client.ask_again(cluster.now, request, TIMEOUT);
        assert_eq!(again, Err(ClientError::NotKept));
        heal(&mut app, &mut cluster);
        app.client.submit(cluster.now, &put("k", "w")).unwrap();
        app.run(&mut cluster);
        assert_eq!(acked_below(&app), Some(request.0 + 1));
    }
}

#[test]
fn a_server_that_does_not_answer_is_left_for_another() {
    let mut cluster = Cluster::new(3);
    let mut app = App::ready(&mut cluster, 3, 23);
    let home = app.server;
    let soon = Duration::from_millis(100);
    let request =
        app.client.submit_within(cluster.now, OpRef::Kv(&put("k", "v")).to_bytes(), soon).unwrap();
    app.client.keep(request);
    app.pump(&mut cluster);
    // The answer comes too late.
    cluster.now = app.client.next_deadline().unwrap();
    app.client.handle(cluster.now, ClientInput::Timer);
    app.run(&mut cluster);
    assert_eq!(outcomes(&app.take()), [(1, "unknown")]);
    app.client.ask_again(cluster.now, request, TIMEOUT).unwrap();
    app.pass(&mut cluster, Duration::from_secs(1));
    assert_ne!(app.server, home);
    assert_eq!(outcomes(&app.take()), [(1, "done")]);
    let revision = cluster.servers[&NodeId(1)].state().revision();
    assert_eq!(revision.0, 2, "the session and one change");
}
