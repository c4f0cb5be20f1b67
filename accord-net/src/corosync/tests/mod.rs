//! Machines over a [`model`] of Corosync, judged by the checker of the ordering contract: the
//! conformance suite ([`rig`]), every step in any order, and single situations.

mod model;
mod rig;

use super::machine::Refusal;
use super::message::{Address, Message, Seen, Sync};
use accord_core::group::GroupEvent;
use accord_core::ids::NodeId;
use bytes::Bytes;
use model::{KEY, What, World};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn the_contract_is_kept_over_everything_that_corosync_does(
        seed in any::<u64>(),
        nodes in 1_u32..=5,
        turns in 0_u32..8000,
    ) {
        let mut world = World::new(seed, nodes);
        world.run(nodes, turns);
        world.settle(nodes);
    }
}

#[test]
fn members_that_took_the_same_move_together() {
    let mut world = World::new(1, 3);
    world.calm(3);
    let alone = |world: &World| -> u64 {
        world.processes.values().map(|p| p.machine.status().counters.alone).sum()
    };
    assert_eq!(alone(&world), 0);
    world.kill_process(3);
    world.calm(3);
    world.reform(&[[1, 2].into(), [3].into()], false);
    world.calm(2);
    assert_eq!(alone(&world), 0, "the survivors had no view of their own meanwhile");
    assert!(world.checker.views() >= 3);
}

/// Daemons that were apart for a moment that was not told tell that they stayed together.
#[test]
fn a_ring_that_forms_anew_makes_a_new_view_though_nobody_went() {
    let mut world = World::new(2, 3);
    world.calm(3);
    let id = |world: &World| world.processes[&1].machine.status().view;
    let before = id(&world);
    world.reform(&[[1].into(), [2].into(), [3].into()], true);
    world.reform(&[[1, 2, 3].into()], true);
    world.reform(&[[1, 2, 3].into()], false);
    world.calm(3);
    assert_ne!(id(&world), before);
    world.settle(3);
}

/// Two members in a view of their own, and a driver for what a third process does.
struct Siege {
    world: World,
    intruder: Address,
}

impl Siege {
    fn new() -> Self {
        let mut world = World::new(1, 2);
        world.calm(2);
        let intruder = Address { node: 2, pid: 7 };
        world.daemons.get_mut(&2).unwrap().queue.push_back(What::Join(intruder));
        world.calm(2);
        Self { world, intruder }
    }

    fn says(&mut self, bytes: Bytes) {
        let what = What::Message(self.intruder, bytes);
        self.world.daemons.get_mut(&2).unwrap().queue.push_back(what);
        self.world.calm(2);
    }

    fn refused(&self, refusal: Refusal) -> u64 {
        let counters = self.world.processes[&1].machine.status().counters;
        counters.refused.get(&refusal).copied().unwrap_or_default()
    }

    fn members_serve(&mut self) {
        let views = self.world.checker.views();
        self.world.settle(2);
        assert!(self.world.checker.views() <= views + 2, "strangers cost no views of their own");
    }
}

#[test]
fn a_strangers_messages_are_refused_and_counted_and_the_members_serve() {
    let mut siege = Siege::new();
    siege.says(Bytes::from_static(b"not for you"));
    assert_eq!(siege.refused(Refusal::Foreign), 1);
    let mut newer = Message::Call.encode(&KEY, siege.intruder).to_vec();
    newer[4] += 1;
    siege.says(newer.into());
    assert_eq!(siege.refused(Refusal::Version), 1);
    let sync = Message::Sync(Sync { nonce: 1, seq: 99, view: 0, taken: 0 });
    siege.says(sync.encode(&[8; 32], siege.intruder));
    siege.says(Message::Call.encode(&KEY, Address { node: 1, pid: 101 }));
    assert_eq!(siege.refused(Refusal::Unauthentic), 2);
    let view = siege.world.processes[&1].machine.status().view.unwrap().salt;
    let seen = Seen { view, seen: 1 };
    siege.says(Message::Seen(seen).encode(&KEY, siege.intruder));
    assert_eq!(siege.refused(Refusal::Outsider), 1);
    siege.members_serve();
}

#[test]
fn a_second_process_with_the_same_number_is_left_out() {
    let mut siege = Siege::new();
    let sync = Message::Sync(Sync { nonce: 1, seq: 0, view: 0, taken: 0 });
    siege.says(sync.encode(&KEY, siege.intruder));
    siege.world.settle(2);
    let group = siege.world.checker.view_of(siege.world.processes[&1].run).unwrap();
    assert_eq!(group.members, [NodeId(1), NodeId(2)]);
}

#[test]
fn a_sender_that_dies_in_mid_fragment_leaves_nothing_behind() {
    let mut world = World::new(3, 2);
    world.calm(2);
    let payload = Bytes::from(vec![1; 1500]);
    let process = world.processes.get_mut(&2).unwrap();
    process.machine.submit(world.now, payload.clone()).unwrap();
    world.checker.on_submit(process.run, &payload);
    // Two chunks of six are ordered; then its daemon dies.
    world.step(2);
    (0..2).for_each(|_| world.send(2));
    (0..8).for_each(|_| world.receive(1));
    world.kill_daemon(2);
    world.reform(&[[1].into()], false);
    let delivered = world.checker.deliveries();
    world.calm(1);
    assert_eq!(world.checker.deliveries(), delivered);
    world.settle(2);
}

#[test]
fn when_the_daemon_is_away_one_is_alone_and_serves_oneself() {
    let mut world = World::new(4, 1);
    world.calm(1);
    world.kill_daemon(1);
    world.submit(1);
    world.take(1);
    let process = world.processes.get_mut(&1).unwrap();
    assert_eq!(process.machine.status().stage, "away");
    while let Some(event) = process.machine.poll_event() {
        assert!(matches!(event, GroupEvent::View(_) | GroupEvent::Deliver { .. }));
        world.checker.on_event(process.run, &event).unwrap();
    }
    world.settle(1);
}
