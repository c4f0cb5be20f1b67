//! The ordering contract over real daemons, whatever happens to them and to the network.

use crate::raw::Raw;
use crate::rig::Rig;
use accord_testbed::corosync::DaemonOptions;
use std::time::Duration;

const ALL: [u32; 3] = [1, 2, 3];
const LOAD: Duration = Duration::from_millis(1500);

#[test]
fn one_order_for_all_and_large_messages_in_parts() {
    let mut rig = Rig::new(&ALL);
    rig.wait_for_view(&ALL);
    rig.load(LOAD);
    rig.submit(1, 5_000_000);
    rig.settle();
    // Nothing failed, so all are delivered all.
    rig.wait("everything is everywhere", |rig| rig.checker.deliveries() == rig.accepted * 3);
    // Who leaves is left out at once, and may come back.
    rig.stop(3);
    rig.wait_for_view(&[1, 2]);
    rig.start(3);
    rig.load(LOAD);
    rig.settle();
}

#[test]
fn order_and_synchrony_hold_across_partition_and_merge() {
    let mut rig = Rig::new(&ALL);
    rig.wait_for_view(&ALL);
    for cut in ALL {
        rig.load(LOAD / 3);
        let others: Vec<u32> = ALL.into_iter().filter(|node| *node != cut).collect();
        rig.nodes.net().partition(&[&others]).unwrap();
        rig.load(LOAD / 3);
        rig.wait_for_view(&others);
        rig.wait_for_view(&[cut]);
        rig.load(LOAD / 3);
        rig.nodes.net().heal().unwrap();
        rig.load(LOAD / 3);
        rig.settle();
    }
    rig.nodes.net().partition(&[]).unwrap();
    rig.load(LOAD / 3);
    ALL.iter().for_each(|node| rig.wait_for_view(&[*node]));
    rig.nodes.net().heal().unwrap();
    rig.load(LOAD / 3);
    rig.settle();
}

#[test]
fn a_daemon_that_dies_leaves_its_server_alone_until_it_is_back() {
    let mut rig = Rig::new(&ALL);
    rig.wait_for_view(&ALL);
    for node in ALL {
        rig.load(LOAD / 3);
        rig.nodes.daemons().unwrap().0.kill(node);
        rig.wait_for_view(&[node]);
        assert!(rig.status(node).link.error.is_some());
        let others: Vec<u32> = ALL.into_iter().filter(|other| *other != node).collect();
        rig.load(LOAD / 3);
        rig.wait_for_view(&others);
        let (daemons, net) = rig.nodes.daemons().unwrap();
        daemons.restart(net, node).unwrap();
        rig.load(LOAD / 3);
        rig.settle();
        assert_eq!(rig.status(node).link.error, None);
    }
}

#[test]
fn a_daemon_that_is_held_leaves_its_server_alone_and_its_late_messages_harm_nobody() {
    let mut rig = Rig::new(&ALL);
    rig.wait_for_view(&ALL);
    for node in ALL {
        rig.load(LOAD / 3);
        rig.nodes.daemons().unwrap().0.pause(node);
        rig.load(LOAD / 3);
        rig.wait_for_view(&[node]);
        let others: Vec<u32> = ALL.into_iter().filter(|other| *other != node).collect();
        rig.wait_for_view(&others);
        rig.load(LOAD / 3);
        rig.nodes.daemons().unwrap().0.resume(node);
        rig.load(LOAD / 3);
        rig.settle();
    }
}

#[test]
fn a_pause_that_the_ring_does_not_notice_is_survived_in_the_same_view() {
    // Longer than the machine's patience, shorter than the ring's.
    let daemons = DaemonOptions { token_ms: 8000, ..DaemonOptions::default() };
    let mut rig = Rig::with(&ALL, &daemons);
    rig.wait_for_view(&ALL);
    rig.load(LOAD / 3);
    rig.nodes.daemons().unwrap().0.pause(2);
    rig.load(LOAD / 3);
    // Nothing comes back to anybody, since the token waits: all count as alone, and say so.
    ALL.iter().for_each(|node| rig.wait_for_view(&[*node]));
    rig.nodes.daemons().unwrap().0.resume(2);
    rig.settle();
}

#[test]
fn lost_packets_cost_time_and_nothing_else() {
    let mut rig = Rig::new(&ALL);
    rig.wait_for_view(&ALL);
    rig.nodes.net().lose(5, 400).unwrap();
    rig.load(LOAD * 2);
    rig.nodes.net().heal().unwrap();
    rig.settle();
    assert!(rig.checker.deliveries() > 100);
}

/// Corosync's order is *agreed*, not *safe*: a process may be delivered what nobody else ever is.
/// The ordering contract does not promise otherwise; that is why a replica waits for a majority's
/// acknowledgements before it answers.
#[test]
fn what_corosync_delivers_to_one_it_may_never_deliver_to_another() {
    let mut rig = Rig::new(&[]);
    let (one, two) = (Raw::join(&rig.nodes, 1, "raw"), Raw::join(&rig.nodes, 2, "raw"));
    rig.wait("both are members", |_| one.members() == 2 && two.members() == 2);
    one.send(b"before");
    rig.wait("both are delivered the first", |_| one.delivered() == 1 && two.delivered() == 1);
    // What node 1 sends is lost from here on; its daemon has the token now and then until it has
    // noticed.
    rig.nodes.net().partition(&[&[2, 3]]).unwrap();
    for _ in 0..200 {
        one.send(&[1; 600]);
    }
    rig.wait("node 1 is delivered its own", |_| one.delivered() > 1);
    rig.nodes.daemons().unwrap().0.kill(1);
    rig.nodes.net().heal().unwrap();
    two.send(b"after");
    rig.wait("node 2 goes on", |_| two.delivered() >= 2);
    let (daemons, net) = rig.nodes.daemons().unwrap();
    daemons.restart(net, 1).unwrap();
    daemons.wait_for(net, 3).unwrap();
    two.send(b"after");
    rig.wait("node 2 goes on", |_| two.delivered() >= 3);
    assert!(one.delivered() > 1);
    assert_eq!(two.delivered(), 3, "node 2 was delivered none of what node 1 was");
}

/// The same seen through the adapter: what a member cut off from the others takes as delivered is a
/// prefix of the view's order all the same, and is not told to others as their own.
#[test]
fn a_member_that_is_cut_off_takes_nothing_beyond_a_hole() {
    let mut rig = Rig::new(&ALL);
    rig.wait_for_view(&ALL);
    for _ in 0..3 {
        rig.nodes.net().lose(40, 200).unwrap();
        rig.load(LOAD / 3);
        rig.nodes.net().partition(&[&[2, 3]]).unwrap();
        rig.load(LOAD / 3);
        rig.wait_for_view(&[1]);
        rig.wait_for_view(&[2, 3]);
        rig.nodes.net().heal().unwrap();
        rig.settle();
    }
}
