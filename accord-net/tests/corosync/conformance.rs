//! The conformance suite over real daemons, and what concerns Corosync alone.

use crate::raw::Raw;
use crate::rig::{RealRig, daemons, harness};
use accord_core::group::conformance::{Need, Rig, run_all};
use accord_core::ids::NodeId;
use accord_testbed::corosync::DaemonOptions;

const ALL: [u32; 3] = [1, 2, 3];

// Claims: C-order
#[test]
fn members_over_real_daemons_have_every_property_of_the_contract() {
    let report = run_all::<RealRig>();
    let out_of_reach = [("who_is_held_harms_nobody_with_what_it_says_late", Need::Hold)];
    assert_eq!((report.held.len(), &report.out_of_reach[..]), (17, &out_of_reach[..]));
}

#[test]
fn a_member_says_why_it_is_alone_while_its_daemon_is_dead() {
    let mut h = harness("an error while the daemon is dead", &ALL, &daemons());
    h.wait_for_view(&h.nodes());
    h.rig.kill_daemon(NodeId(2));
    h.wait_for_view(&[NodeId(2)]);
    assert!(h.rig.status(2).link.error.is_some());
    h.rig.start_daemon(NodeId(2));
    h.settle();
    assert_eq!(h.rig.status(2).link.error, None);
}

#[test]
fn a_pause_that_the_ring_does_not_notice_is_survived_in_the_same_view() {
    // Longer than the machine's patience, shorter than the ring's.
    let daemons = DaemonOptions { token_ms: 8000, ..DaemonOptions::default() };
    let mut h = harness("a pause that the ring does not notice", &ALL, &daemons);
    h.wait_for_view(&h.nodes());
    h.load(RealRig::LOAD / 3);
    h.rig.hold_daemon(NodeId(2));
    h.load(RealRig::LOAD / 3);
    // Nothing comes back to anybody, since the token waits: all count as alone, and say so.
    h.nodes().iter().for_each(|node| h.wait_for_view(&[*node]));
    h.rig.release_daemon(NodeId(2));
    h.settle();
}

/// Corosync's order is *agreed*, not *safe*: a process may be delivered what nobody else ever is.
/// The ordering contract does not promise otherwise; that is why a replica waits for a majority's
/// acknowledgements before it answers.
#[test]
fn what_corosync_delivers_to_one_it_may_never_deliver_to_another() {
    let mut h = harness("agreed is not safe", &[], &daemons());
    let (one, two) = (Raw::join(&h.rig.nodes, 1, "raw"), Raw::join(&h.rig.nodes, 2, "raw"));
    h.wait("both are members", |_| one.members() == 2 && two.members() == 2);
    one.send(b"before");
    h.wait("both are delivered the first", |_| one.delivered() == 1 && two.delivered() == 1);
    // What node 1 sends is lost from here on; its daemon has the token now and then until it has
    // noticed.
    h.rig.partition(&[vec![NodeId(2), NodeId(3)]]);
    for _ in 0..200 {
        one.send(&[1; 600]);
    }
    h.wait("node 1 is delivered its own", |_| one.delivered() > 1);
    h.rig.kill_daemon(NodeId(1));
    h.rig.heal();
    two.send(b"after");
    h.wait("node 2 goes on", |_| two.delivered() >= 2);
    h.rig.start_daemon(NodeId(1));
    let (daemons, net) = h.rig.nodes.daemons().unwrap();
    daemons.wait_for(net, 3).unwrap();
    two.send(b"after");
    h.wait("node 2 goes on", |_| two.delivered() >= 3);
    assert!(one.delivered() > 1);
    assert_eq!(two.delivered(), 3, "node 2 was delivered none of what node 1 was");
}
