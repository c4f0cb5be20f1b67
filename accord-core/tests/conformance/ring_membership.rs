//! Who forms a ring with whom, and when: one scenario for each situation.

use crate::net::{Net, Weather};
use accord_core::group::ring::{Refusal, Ring, RingConfig, RingLimits, RingStage, RingTimeouts};
use accord_core::ids::NodeId;
use accord_core::time::{Duration, Instant};
use bytes::Bytes;

fn net(seed: u64, count: usize) -> Net {
    Net::new(seed, count, RingLimits::default(), RingTimeouts::default())
}

/// A network whose members share one view.
fn settled(seed: u64, count: usize) -> Net {
    let mut net = net(seed, count);
    net.converge(Duration::from_secs(2)).unwrap();
    net
}

/// Runs with some traffic, and expects no violation.
fn run_busy(net: &mut Net, span: Duration) {
    let end = net.now + span;
    while net.now < end {
        for node in 0..net.len() {
            net.submit(node, 40);
        }
        net.run_for(Duration::from_millis(10));
        assert_eq!(net.violation, None);
    }
}

fn views(net: &Net) -> u64 {
    (0..net.len()).filter(|node| net.is_up(*node)).map(|node| net.status(node).counters.views).sum()
}

#[test]
fn a_lone_member_delivers_at_once() {
    let mut net = net(1, 3);
    (0..3).for_each(|a| (0..a).for_each(|b| net.cut_pair(a, b)));
    assert_eq!(net.view(0), [1]);
    assert!(net.submit(0, 10));
    assert_eq!(net.status(0).counters.messages_delivered, 1);
}

#[test]
fn a_group_forms_soon_after_its_start() {
    for count in [2, 3, 5, 9] {
        let mut net = net(count as u64, count);
        let took = net.converge(Duration::from_secs(2)).unwrap();
        assert!(took < Duration::from_millis(500), "{count} members took {took:?}");
    }
}

#[test]
fn a_crash_is_noticed_after_token_loss_and_gather() {
    let mut net = settled(1, 3);
    net.crash(1);
    let took = net.converge(Duration::from_secs(2)).unwrap();
    assert!(took > Duration::from_millis(300) && took < Duration::from_millis(800), "{took:?}");
    let before = net.status(0).counters.gathers;
    run_busy(&mut net, Duration::from_secs(3));
    assert_eq!(net.status(0).counters.gathers, before, "what the dead said is not heeded");
}

#[test]
fn a_farewell_needs_no_time_out() {
    let mut net = settled(1, 3);
    net.leave(2);
    let took = net.converge(Duration::from_secs(2)).unwrap();
    assert!(took < Duration::from_millis(30), "{took:?}");
}

#[test]
fn a_quick_restart_is_another_processor() {
    for seed in 0..20 {
        let mut net = settled(seed, 3);
        run_busy(&mut net, Duration::from_millis(50));
        let before = net.status(0).view.id;
        net.crash(2);
        net.start(2);
        run_busy(&mut net, Duration::from_millis(30));
        let took = net.converge(Duration::from_secs(3)).unwrap();
        assert!(took < Duration::from_millis(1500), "{took:?}");
        assert!(net.status(0).view.id.seq > before.seq, "the old run's view ended");
    }
}

#[test]
fn two_halves_merge_after_the_heal() {
    let mut net = settled(1, 5);
    net.partition(|node| node < 2);
    run_busy(&mut net, Duration::from_secs(2));
    assert_eq!((net.view(0), net.view(4)), (vec![1, 2], vec![3, 4, 5]));
    net.heal();
    let took = net.converge(Duration::from_secs(3)).unwrap();
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_cut_that_is_not_transitive_leaves_a_majority_in_service_and_at_peace() {
    for seed in 0..6 {
        let mut net = settled(seed, 3);
        net.cut_pair(0, 1);
        run_busy(&mut net, Duration::from_millis(1500));
        assert_eq!((net.view(0), net.view(1), net.view(2)), (vec![1, 3], vec![2], vec![1, 3]));
        let before = (views(&net), net.checker.deliveries());
        run_busy(&mut net, Duration::from_secs(20));
        assert_eq!(views(&net), before.0, "seed {seed}: nobody gathers again and again");
        assert!(net.checker.deliveries() > before.1 + 2000);
        net.heal();
        net.converge(Duration::from_secs(3)).unwrap();
    }
}

#[test]
fn a_one_way_cut_leaves_a_majority_in_service() {
    for seed in 0..8 {
        let mut net = settled(seed, 3);
        let (from, to) = [(0, 1), (1, 0), (2, 0), (1, 2)][seed as usize % 4];
        net.cut[from][to] = true;
        run_busy(&mut net, Duration::from_secs(2));
        let before = net.checker.deliveries();
        run_busy(&mut net, Duration::from_secs(5));
        assert!((0..3).any(|node| net.view(node).len() >= 2), "seed {seed}");
        assert!(net.checker.deliveries() > before + 500, "seed {seed}");
        net.heal();
        net.converge(Duration::from_secs(6)).unwrap();
    }
}

#[test]
fn any_cut_ends_in_a_largest_clique_and_stays_there() {
    for seed in 0..20 {
        let mut net = settled(seed, 5);
        let mut cuts = Vec::new();
        for a in 0..5 {
            for b in 0..a {
                if net.rng.chance(1, 3) {
                    net.cut_pair(a, b);
                    cuts.push((a, b));
                }
            }
        }
        let largest = (0u32..32)
            .filter(|set| cuts.iter().all(|(a, b)| set >> a & set >> b & 1 == 0))
            .map(u32::count_ones)
            .max();
        run_busy(&mut net, Duration::from_secs(4));
        let found = (0..5).map(|node| net.view(node).len() as u32).max();
        // A ring whose token meets no cut stays, and is larger: others send again what is cut off.
        assert!(found >= largest, "seed {seed}, cuts {cuts:?}: {found:?} of {largest:?}");
        let before = views(&net);
        run_busy(&mut net, Duration::from_secs(3));
        assert_eq!(views(&net), before, "seed {seed}, cuts {cuts:?}: they gather again");
        net.heal();
        net.converge(Duration::from_secs(6)).unwrap();
    }
}

#[test]
fn observers_do_not_pull_a_voter_away_from_the_only_majority() {
    for seed in 0..6 {
        let mut net = settled(seed, 5);
        net.elect(3);
        net.crash(2);
        net.cut_pair(0, 3);
        net.cut_pair(0, 4);
        run_busy(&mut net, Duration::from_secs(2));
        assert_eq!(net.view(0), [1, 2], "seed {seed}: the voters that are left");
        assert_eq!(net.view(1), [1, 2], "seed {seed}: the voters that are left");
        assert_eq!(net.view(4), [4, 5], "seed {seed}: the observers");
        let before = views(&net);
        run_busy(&mut net, Duration::from_secs(20));
        assert_eq!(views(&net), before, "seed {seed}: nobody gathers again and again");
        net.heal();
        net.converge(Duration::from_secs(3)).unwrap();
    }
}

#[test]
fn a_ring_that_works_is_left_for_one_with_more_voters() {
    let mut net = settled(1, 5);
    net.elect(3);
    net.crash(2);
    net.partition(|node| node == 0);
    run_busy(&mut net, Duration::from_secs(2));
    assert_eq!((net.view(0), net.view(1)), (vec![1], vec![2, 4, 5]));
    // Now voter 1 reaches voter 2, and no one else.
    net.heal();
    net.cut_pair(0, 3);
    net.cut_pair(0, 4);
    run_busy(&mut net, Duration::from_secs(2));
    assert_eq!((net.view(0), net.view(4)), (vec![1, 2], vec![4, 5]));
}

#[test]
fn any_cut_ends_in_a_clique_with_the_most_voters_and_stays_there() {
    for seed in 0..20 {
        let mut net = settled(seed, 6);
        net.elect(3);
        let mut cuts = Vec::new();
        for a in 0..6 {
            for b in 0..a {
                if net.rng.chance(1, 3) {
                    net.cut_pair(a, b);
                    cuts.push((a, b));
                }
            }
        }
        let cliques =
            (0u32..64).filter(|set| cuts.iter().all(|(a, b)| set >> a & set >> b & 1 == 0));
        let most = cliques.map(|set| (set & 0b111).count_ones()).max();
        run_busy(&mut net, Duration::from_secs(4));
        let voters = |node| net.view(node).iter().filter(|node| **node <= 3).count() as u32;
        let found = (0..6).map(voters).max();
        assert!(found >= most, "seed {seed}, cuts {cuts:?}: {found:?} of {most:?}");
        let before = views(&net);
        run_busy(&mut net, Duration::from_secs(3));
        assert_eq!(views(&net), before, "seed {seed}, cuts {cuts:?}: they gather again");
    }
}

#[test]
fn a_member_that_wakes_from_a_pause_comes_back() {
    let mut net = settled(3, 3);
    net.pause(1, Duration::from_secs(3));
    run_busy(&mut net, Duration::from_secs(2));
    assert_eq!(net.view(0), [1, 3]);
    run_busy(&mut net, Duration::from_secs(2));
    net.converge(Duration::from_secs(2)).unwrap();
}

#[test]
fn a_member_that_cannot_receive_data_leaves_the_others_alone() {
    let mut net = settled(3, 3);
    (net.narrow, net.narrow_bytes_max) = (vec![2], 500);
    for _ in 0..100 {
        net.submit(0, 900);
        net.run_for(Duration::from_millis(100));
    }
    assert_eq!(net.violation, None);
    assert!(net.status(2).counters.receive_failures > 0);
    let delivered = net.status(1).counters.messages_delivered;
    assert!(delivered > 50, "the others were served: {delivered}");
}

#[test]
fn a_member_that_does_not_poll_is_left_behind_with_bounded_memory() {
    let mut net = settled(3, 3);
    net.inattentive = vec![2];
    for _ in 0..400 {
        (0..20).for_each(|_| {
            net.submit(0, 50_000);
        });
        net.run_for(Duration::from_millis(10));
    }
    assert_eq!(net.violation, None);
    assert!(net.status(2).stored_packets <= 1024);
    assert!(net.status(0).counters.messages_delivered > 2000, "{:?}", net.status(0));
    net.inattentive.clear();
    net.converge(Duration::from_secs(10)).unwrap();
}

#[test]
fn strangers_and_damage_are_counted_and_change_nothing() {
    let mut net = settled(4, 3);
    let mut other_key = RingConfig::new(NodeId(2), vec![NodeId(1)], [1; 32]);
    other_key.limits = RingLimits::default();
    let mut stranger = Ring::new(other_key, 5, Instant::ZERO);
    stranger.handle_timer(Instant::ZERO);
    let foreign = stranger.poll_transmit().unwrap().bytes;
    let mut unlisted =
        Ring::new(RingConfig::new(NodeId(9), vec![NodeId(1)], [9; 32]), 5, Instant::ZERO);
    unlisted.handle_timer(Instant::ZERO);
    let unlisted = unlisted.poll_transmit().unwrap().bytes;
    let mut twin =
        Ring::new(RingConfig::new(NodeId(1), vec![NodeId(2)], [9; 32]), 77, Instant::ZERO);
    twin.handle_timer(Instant::ZERO);
    let twin = twin.poll_transmit().unwrap().bytes;
    let before = views(&net);
    for bytes in [&foreign, &Bytes::new(), &Bytes::from_static(&[0; 70_000])] {
        net.inject(1, 0, bytes.clone());
    }
    net.inject(1, 0, unlisted);
    net.inject(1, 0, twin);
    run_busy(&mut net, Duration::from_millis(300));
    assert_eq!(views(&net), before);
    let counters = net.status(0).counters;
    let counted = |refusal| counters.refused_for(refusal);
    assert_eq!(counted(Refusal::Unauthentic), 2);
    assert_eq!(counted(Refusal::Malformed), 1);
    assert_eq!(counted(Refusal::UnknownNode), 1);
    assert_eq!(counted(Refusal::DuplicateNode), 1);
}

#[test]
fn replayed_datagrams_change_nothing() {
    let mut net = net(4, 3);
    net.recording = Some(Vec::new());
    net.converge(Duration::from_secs(2)).unwrap();
    run_busy(&mut net, Duration::from_millis(100));
    net.crash(2);
    net.converge(Duration::from_secs(2)).unwrap();
    replay(&mut net);
    net.start(2);
    net.converge(Duration::from_secs(2)).unwrap();
    replay(&mut net);
}

/// Sends again all that was ever sent, and expects that nobody's view changes.
fn replay(net: &mut Net) {
    let views = |net: &Net| net.status(0).counters.views;
    let before = views(net);
    for (from, to, bytes) in net.recording.clone().unwrap() {
        net.inject(from, to, bytes);
        if net.rng.chance(1, 100) {
            run_busy(net, Duration::from_millis(1));
        }
    }
    run_busy(net, Duration::from_secs(2));
    assert_eq!(views(net), before);
    net.converge(Duration::from_secs(1)).unwrap();
}

/// What comes of the old ring after all have said what they have would be delivered by one alone.
#[test]
fn recovery_takes_in_nothing_of_the_old_ring_but_what_is_carried_over() {
    let mut net = settled(4, 3);
    net.recording = Some(Vec::new());
    (net.cut[2][0], net.cut[2][1]) = (true, true);
    net.submit(2, 100);
    net.run_for(Duration::from_millis(50));
    assert_eq!(net.status(2).counters.messages_delivered, 1, "it delivered to itself alone");
    net.crash(2);
    while net.status(0).stage != RingStage::Recovering {
        net.run_for(Duration::from_micros(10));
    }
    for (from, to, bytes) in net.recording.take().unwrap() {
        if (from, to) == (2, 0) {
            net.inject(from, to, bytes);
        }
    }
    net.converge(Duration::from_secs(1)).unwrap();
    assert_eq!(net.status(0).counters.messages_delivered, 0);
}

#[test]
fn a_second_machine_with_the_same_id_is_counted_and_does_not_stop_the_group() {
    let mut net = settled(4, 3);
    let peers = vec![NodeId(2), NodeId(3)];
    let mut twin = Ring::new(RingConfig::new(NodeId(1), peers, [9; 32]), 77, net.now);
    let delivered = net.status(1).counters.messages_delivered;
    for _ in 0..300 {
        twin.handle_timer(net.now);
        while let Some(transmit) = twin.poll_transmit() {
            (0..3).for_each(|to| net.inject(0, to, transmit.bytes.clone()));
        }
        run_busy(&mut net, Duration::from_millis(10));
    }
    assert!(net.status(0).counters.refused_for(Refusal::DuplicateNode) > 5);
    assert!(net.status(1).counters.node_conflicts > 5);
    assert!(net.status(1).counters.messages_delivered > delivered + 500);
}

#[test]
fn heavy_loss_costs_time_but_not_the_ring() {
    let mut net = settled(4, 4);
    net.weather = Weather { loss_percent: 20, ..Weather::FAIR };
    run_busy(&mut net, Duration::from_secs(10));
    assert!(net.status(0).counters.views < 20, "{:?}", net.status(0));
    net.weather = Weather::FAIR;
    net.converge(Duration::from_secs(2)).unwrap();
}

#[test]
fn who_left_is_silent_and_accepts_nothing() {
    let config = RingConfig::new(NodeId(1), vec![NodeId(2)], [9; 32]);
    let mut ring = Ring::new(config, 5, Instant::ZERO);
    ring.leave(Instant::ZERO);
    ring.check();
    assert_eq!(ring.status().stage, RingStage::Left);
    assert!(ring.submit(Instant::ZERO, Bytes::new()).is_err());
    assert_eq!(ring.next_deadline(), None);
    ring.handle_datagram(Instant::ZERO, NodeId(2), &Bytes::new());
    assert_eq!(ring.status().counters.refused_for(Refusal::Left), 1);
}

#[test]
fn members_that_start_one_after_the_other_form_a_group_soon() {
    let mut worst = Duration::ZERO;
    for seed in 0..400 {
        let mut net = net(seed, 3);
        net.weather.delay_min = Duration::from_micros(10);
        net.weather.delay_max = Duration::from_micros(seed % 10 * 40 + 20);
        (0..3).for_each(|node| net.crash(node));
        for node in 0..3 {
            net.start(node);
            net.run_for(Duration::from_micros(seed * 2 + seed % 7 * 37));
        }
        let took = net.converge(Duration::from_secs(5)).unwrap();
        worst = worst.max(took);
    }
    assert!(worst < Duration::from_millis(800), "{worst:?}");
}
