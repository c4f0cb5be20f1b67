//! Who does not belong into the group: refused or survived, counted, and no state touched.

use crate::raw::Raw;
use crate::rig::{GROUP, KEY, RealRig, daemons, harness, start_member};
use accord_core::ids::NodeId;
use accord_net::corosync::machine::Refusal;
use accord_net::corosync::message::{Address, Message};
use accord_net::corosync::{CorosyncError, CorosyncGroup, GroupConfig};
use accord_net::env::Env;
use accord_net::env::real::{Real, draw};
use accord_testbed::corosync::DaemonOptions;
use std::time::Duration;

const TWO: [u32; 2] = [1, 2];
const LOAD: Duration = Duration::from_millis(300);

fn refused(rig: &RealRig, refusal: Refusal) -> u64 {
    let refused = rig.status(1).machine.counters.refused;
    refused.get(&refusal).copied().unwrap_or_default()
}

#[test]
fn another_program_in_the_group_is_counted_and_harms_nobody() {
    let mut h = harness("another program", &TWO, &daemons());
    h.wait_for_view(&h.nodes());
    let stranger = Raw::join(&h.rig.nodes, 3, GROUP);
    stranger.send(b"hello");
    stranger.send(&vec![0; 200_000]);
    let own = Address { node: 3, pid: std::process::id() };
    let mut newer = Message::Call.encode(&KEY, own).to_vec();
    newer[4] += 1;
    stranger.send(&newer);
    stranger.send(&Message::Call.encode(&[8; 32], own));
    stranger.send(
        &Message::Seen(accord_net::corosync::message::Seen { view: 1, seen: 9 }).encode(&KEY, own),
    );
    h.load(LOAD);
    h.wait("each is counted", |h| {
        refused(&h.rig, Refusal::Foreign) == 2
            && refused(&h.rig, Refusal::Version) == 1
            && refused(&h.rig, Refusal::Unauthentic) == 1
            && refused(&h.rig, Refusal::Late) >= 1
    });
    h.settle();
    // It stays and says nothing: later views form without it.
    h.leave(NodeId(2));
    h.wait_for_view(&[NodeId(1)]);
    h.start(NodeId(2));
    h.load(LOAD);
    h.settle();
    drop(stranger);
    h.settle();
}

#[test]
fn a_server_with_another_key_is_left_out_and_alone() {
    let mut h = harness("another key", &TWO, &daemons());
    h.wait_for_view(&h.nodes());
    let other = start_member(&h.rig.nodes, 3, [8; 32]).expect("Corosync lets it in");
    h.load(LOAD);
    h.wait("it is refused", |h| refused(&h.rig, Refusal::Unauthentic) > 0);
    h.settle();
    // For the other it is the same the other way round.
    h.wait("the other has a view of its own", |_| {
        let refused = other.status().machine.counters.refused;
        refused.contains_key(&Refusal::Unauthentic) && other.status().machine.view.is_some()
    });
    assert_eq!(h.view_of(NodeId(1)).unwrap().members, [NodeId(1), NodeId(2)]);
}

#[test]
fn a_daemon_of_another_key_does_not_get_in() {
    let daemons = DaemonOptions { token_ms: 600, crypto: true, ..DaemonOptions::default() };
    let mut h = harness("a daemon of another key", &TWO, &daemons);
    h.wait_for_view(&h.nodes());
    let (daemons, net) = h.rig.nodes.daemons().unwrap();
    daemons.kill(3);
    daemons.forge_key(3).unwrap();
    daemons.restart(net, 3).unwrap();
    let mut third = start_member(&h.rig.nodes, 3, KEY);
    h.wait("its daemon is up", |h| {
        if third.is_err() {
            third = start_member(&h.rig.nodes, 3, KEY);
        }
        third.as_ref().is_ok_and(|third| third.status().machine.view.is_some())
    });
    h.load(LOAD);
    h.settle();
    let third = third.unwrap().status();
    assert_eq!(third.link.nodes, [3], "it has a ring of its own");
}

#[test]
fn a_sender_whose_daemon_dies_in_mid_message_leaves_no_part_of_it() {
    let mut h = harness("a sender whose daemon dies", &[1, 2, 3], &daemons());
    h.wait_for_view(&h.nodes());
    for _ in 0..3 {
        h.submit(NodeId(3), 30_000_000).unwrap();
        h.wait("a part of it is on its way", |h| {
            h.rig.status(3).machine.counters.chunks > 2
                && h.rig.status(1).machine.held_chunks < 1000
        });
        h.rig.nodes.daemons().unwrap().0.kill(3);
        h.wait_for_view(&[NodeId(3)]);
        h.wait_for_view(&[NodeId(1), NodeId(2)]);
        let (daemons, net) = h.rig.nodes.daemons().unwrap();
        daemons.restart(net, 3).unwrap();
        h.load(LOAD);
        h.settle();
    }
}

#[test]
fn what_is_missing_is_said_when_a_server_starts() {
    let rig = RealRig::with(&[], &daemons());
    let start = |node: u32, on: u32| {
        std::thread::scope(|scope| {
            let start = scope.spawn(|| {
                rig.nodes.net().enter_node(on).unwrap();
                let config = GroupConfig::new(GROUP, NodeId(node), KEY);
                CorosyncGroup::start(config, draw(), Real.clock()).map(drop)
            });
            start.join().unwrap()
        })
    };
    let other = Err(CorosyncError::OtherNode { daemon: 1, server: 2 });
    assert_eq!(start(2, 1), other);
    // In this machine's own network, no daemon listens that is any of these tests'.
    let config = GroupConfig::new(GROUP, NodeId(77), KEY);
    let here = CorosyncGroup::start(config, draw(), Real.clock()).map(drop).unwrap_err();
    let expected = [CorosyncError::NoDaemon];
    let foreign = matches!(here, CorosyncError::OtherNode { server: 77, .. });
    assert!(expected.contains(&here) || foreign, "{here}");
}
