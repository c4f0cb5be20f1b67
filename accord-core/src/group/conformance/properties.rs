//! The list of properties. Each is tried on every rig that has what it needs.

use super::harness::Harness;
use super::{Need, Rig, campaign};
use crate::group::SubmitError;
use crate::ids::NodeId;
use alloc::vec;
use alloc::vec::Vec;

/// A large message, unless the rig's largest is smaller, in bytes.
const LARGE_BYTES: usize = 5_000_000;
/// More submissions in a row than any group takes.
const FLOOD_MAX: usize = 200_000;

/// A property, for rigs of one kind.
pub(super) struct Property {
    pub(super) name: &'static str,
    pub(super) needs: &'static [Need],
    pub(super) run: fn(&'static str),
}

/// Makes the list: a name, and what the property needs.
macro_rules! properties {
    ($($name:ident needs [$($need:ident),*];)*) => {
        /// Every property.
        pub(super) fn all<R: Rig>() -> Vec<Property> {
            vec![$(Property {
                name: stringify!($name),
                needs: &[$(Need::$need),*],
                run: $name::<R>,
            }),*]
        }
    };
}

properties! {
    all_are_delivered_the_same_in_one_order needs [];
    the_largest_message_passes_and_a_larger_one_is_refused needs [];
    a_full_group_refuses_and_loses_nothing needs [];
    members_started_one_after_the_other_form_one_view needs [Peers, Crash];
    a_member_alone_is_delivered_its_own needs [];
    who_leaves_is_left_out_and_may_come_back needs [Peers, Leave];
    who_crashes_is_left_out_and_may_come_back needs [Peers, Crash];
    a_quick_restart_is_another_member needs [Crash];
    a_sender_that_crashes_in_mid_message_leaves_no_part_of_it needs [Peers, Crash];
    order_and_synchrony_hold_across_partitions_and_merges needs [Peers, Partition];
    who_is_held_harms_nobody_with_what_it_says_late needs [Peers, Hold];
    lost_datagrams_cost_time_and_nothing_else needs [Peers, Loss];
    large_messages_arrive_whole_though_datagrams_are_lost needs [Peers, Loss];
    who_is_cut_off_takes_nothing_beyond_a_hole needs [Peers, Partition, Loss];
    who_takes_no_events_holds_nobody_up_and_catches_up needs [Peers, Neglect];
    a_daemon_that_dies_leaves_its_member_alone_until_it_is_back needs [Peers, Daemon];
    a_daemon_that_is_held_leaves_its_member_alone_and_harms_nobody needs [Peers, DaemonHold];
    whatever_happens_the_contract_is_kept_and_all_converges needs [];
}

fn all_are_delivered_the_same_in_one_order<R: Rig>(name: &'static str) {
    let mut h = Harness::<R>::new(name);
    h.wait_for_view(&h.nodes());
    h.load(R::LOAD);
    h.settle();
    // Nothing failed, so all are delivered all.
    h.wait("everything is everywhere", |h| {
        h.nodes().iter().all(|node| h.delivered_to(*node) == h.accepted())
    });
    h.expect(h.accepted() > 20, "there was a load");
}

fn the_largest_message_passes_and_a_larger_one_is_refused<R: Rig>(name: &'static str) {
    let mut h = Harness::<R>::new(name);
    h.wait_for_view(&h.nodes());
    let (node, bytes_max) = (NodeId(1), h.rig.message_bytes_max());
    let refused = Err(SubmitError::TooLarge { bytes: bytes_max + 1, bytes_max });
    let refused_so = h.submit(node, bytes_max + 1) == refused;
    h.expect(refused_so, "a message that is too large is refused by name");
    let taken = h.submit(node, bytes_max.min(LARGE_BYTES)).is_ok();
    h.expect(taken, "the largest message is taken");
    h.wait("it is everywhere", |h| h.nodes().iter().all(|node| h.delivered_to(*node) == 1));
    h.settle();
}

fn a_full_group_refuses_and_loses_nothing<R: Rig>(name: &'static str) {
    let mut h = Harness::<R>::new(name);
    h.wait_for_view(&h.nodes());
    let (node, bytes) = (NodeId(1), h.rig.message_bytes_max().min(4096));
    let refused = (0..FLOOD_MAX).find_map(|_| h.submit(node, bytes).err());
    h.expect(refused == Some(SubmitError::Full), "it is full at some point, and says so");
    h.wait("it takes messages again", |h| h.submit(node, bytes).is_ok());
    h.settle();
    h.wait("what was taken is everywhere", |h| {
        h.nodes().iter().all(|node| h.delivered_to(*node) == h.accepted())
    });
}

fn members_started_one_after_the_other_form_one_view<R: Rig>(name: &'static str) {
    let mut h = Harness::<R>::new(name);
    for node in h.nodes() {
        h.crash(node);
    }
    for node in h.nodes() {
        h.start(node);
        h.load(R::LOAD / 10);
    }
    h.wait_for_view(&h.nodes());
    h.load(R::LOAD / 3);
    h.settle();
}

fn a_member_alone_is_delivered_its_own<R: Rig>(name: &'static str) {
    let mut h = Harness::<R>::new(name);
    h.wait_for_view(&h.nodes());
    if h.nodes().len() > 1 {
        h.partition(&[]);
    }
    for node in h.nodes() {
        h.wait_for_view(&[node]);
        let before = h.delivered_to(node);
        h.wait("it takes a message", |h| h.submit(node, 100).is_ok());
        h.wait("it is delivered its own", |h| h.delivered_to(node) > before);
    }
    h.rig.heal();
    h.settle();
}

fn who_leaves_is_left_out_and_may_come_back<R: Rig>(name: &'static str) {
    let mut h = Harness::<R>::new(name);
    h.wait_for_view(&h.nodes());
    for node in h.nodes() {
        h.load(R::LOAD / 3);
        h.leave(node);
        h.wait_for_view(&h.others(node));
        h.load(R::LOAD / 3);
        h.start(node);
        h.load(R::LOAD / 3);
        h.settle();
    }
}

fn who_crashes_is_left_out_and_may_come_back<R: Rig>(name: &'static str) {
    let mut h = Harness::<R>::new(name);
    h.wait_for_view(&h.nodes());
    for node in h.nodes() {
        h.load(R::LOAD / 3);
        h.crash(node);
        h.load(R::LOAD / 3);
        h.wait_for_view(&h.others(node));
        h.start(node);
        h.load(R::LOAD / 3);
        h.settle();
    }
}

fn a_quick_restart_is_another_member<R: Rig>(name: &'static str) {
    let mut h = Harness::<R>::new(name);
    h.wait_for_view(&h.nodes());
    for node in h.nodes() {
        h.load(R::LOAD / 3);
        let before = h.view_of(node);
        h.crash(node);
        h.start(node);
        h.load(R::LOAD / 3);
        h.settle();
        h.wait("the view of the run before has ended", |h| {
            h.nodes().iter().all(|other| h.view_of(*other) != before)
        });
    }
}

fn a_sender_that_crashes_in_mid_message_leaves_no_part_of_it<R: Rig>(name: &'static str) {
    let mut h = Harness::<R>::new(name);
    h.wait_for_view(&h.nodes());
    let bytes = h.rig.message_bytes_max().min(LARGE_BYTES);
    for node in h.nodes() {
        h.wait("it takes a large message", |h| h.submit(node, bytes).is_ok());
        // A little: a part of it is under way, and the rest is not.
        h.rig.step();
        h.pump();
        h.crash(node);
        h.wait_for_view(&h.others(node));
        h.start(node);
        h.load(R::LOAD / 3);
        h.settle();
    }
}

fn order_and_synchrony_hold_across_partitions_and_merges<R: Rig>(name: &'static str) {
    let mut h = Harness::<R>::new(name);
    h.wait_for_view(&h.nodes());
    for node in h.nodes() {
        h.load(R::LOAD / 3);
        let others = h.others(node);
        h.partition(&[vec![node], others.clone()]);
        h.load(R::LOAD / 3);
        h.wait_for_view(&others);
        h.wait_for_view(&[node]);
        h.load(R::LOAD / 3);
        h.rig.heal();
        h.load(R::LOAD / 3);
        h.settle();
    }
    h.partition(&[]);
    h.load(R::LOAD / 3);
    for node in h.nodes() {
        h.wait_for_view(&[node]);
    }
    h.rig.heal();
    h.load(R::LOAD / 3);
    h.settle();
}

fn who_is_held_harms_nobody_with_what_it_says_late<R: Rig>(name: &'static str) {
    let mut h = Harness::<R>::new(name);
    h.wait_for_view(&h.nodes());
    for node in h.nodes() {
        h.load(R::LOAD / 3);
        h.rig.hold(node);
        h.neglect(node);
        h.load(R::LOAD / 3);
        h.wait_for_view(&h.others(node));
        h.load(R::LOAD / 3);
        h.rig.release(node);
        h.attend(node);
        h.load(R::LOAD / 3);
        h.settle();
    }
}

fn lost_datagrams_cost_time_and_nothing_else<R: Rig>(name: &'static str) {
    let mut h = Harness::<R>::new(name);
    h.wait_for_view(&h.nodes());
    h.rig.lose(5);
    h.load(R::LOAD * 2);
    h.rig.heal();
    h.settle();
    h.expect(h.checker().deliveries() > 100, "the members were served");
}

fn large_messages_arrive_whole_though_datagrams_are_lost<R: Rig>(name: &'static str) {
    let mut h = Harness::<R>::new(name);
    h.wait_for_view(&h.nodes());
    h.rig.lose(2);
    for node in h.nodes() {
        let bytes = h.rig.message_bytes_max().min(1 << 20);
        h.wait("it takes a large message", |h| h.submit(node, bytes).is_ok());
    }
    h.load(R::LOAD);
    h.rig.heal();
    h.settle();
}

fn who_is_cut_off_takes_nothing_beyond_a_hole<R: Rig>(name: &'static str) {
    let mut h = Harness::<R>::new(name);
    h.wait_for_view(&h.nodes());
    let (one, others) = (NodeId(1), h.others(NodeId(1)));
    for _ in 0..3 {
        h.rig.lose(40);
        h.load(R::LOAD / 3);
        h.partition(&[vec![one], others.clone()]);
        h.load(R::LOAD / 3);
        h.wait_for_view(&[one]);
        h.wait_for_view(&others);
        h.rig.heal();
        h.settle();
    }
}

fn who_takes_no_events_holds_nobody_up_and_catches_up<R: Rig>(name: &'static str) {
    let mut h = Harness::<R>::new(name);
    h.wait_for_view(&h.nodes());
    let (idle, busy) = (NodeId(R::MEMBERS), NodeId(1));
    h.neglect(idle);
    let before = h.delivered_to(busy);
    h.load(R::LOAD);
    h.wait("the others are served", |h| h.delivered_to(busy) > before + 20);
    h.attend(idle);
    h.load(R::LOAD / 3);
    h.settle();
}

fn a_daemon_that_dies_leaves_its_member_alone_until_it_is_back<R: Rig>(name: &'static str) {
    let mut h = Harness::<R>::new(name);
    h.wait_for_view(&h.nodes());
    for node in h.nodes() {
        h.load(R::LOAD / 3);
        h.rig.kill_daemon(node);
        h.wait_for_view(&[node]);
        h.load(R::LOAD / 3);
        h.wait_for_view(&h.others(node));
        h.rig.start_daemon(node);
        h.load(R::LOAD / 3);
        h.settle();
    }
}

fn a_daemon_that_is_held_leaves_its_member_alone_and_harms_nobody<R: Rig>(name: &'static str) {
    let mut h = Harness::<R>::new(name);
    h.wait_for_view(&h.nodes());
    for node in h.nodes() {
        h.load(R::LOAD / 3);
        h.rig.hold_daemon(node);
        h.load(R::LOAD / 3);
        h.wait_for_view(&[node]);
        h.wait_for_view(&h.others(node));
        h.load(R::LOAD / 3);
        h.rig.release_daemon(node);
        h.load(R::LOAD / 3);
        h.settle();
    }
}

fn whatever_happens_the_contract_is_kept_and_all_converges<R: Rig>(name: &'static str) {
    for seed in 0..R::CAMPAIGNS {
        campaign::run::<R>(name, seed);
    }
}
