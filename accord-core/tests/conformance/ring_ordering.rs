//! Messages in an undisturbed ring: speed, size, latency, idleness, back-pressure.

use crate::net::{Net, Weather};
use accord_core::group::ring::{RingLimits, RingTimeouts};
use accord_core::time::Duration;

fn settled(count: usize, limits: RingLimits) -> Net {
    let mut net = Net::new(7, count, limits, RingTimeouts::default());
    net.converge(Duration::from_secs(2)).unwrap();
    net
}

#[test]
fn all_members_deliver_the_same_in_the_same_order() {
    let mut net = settled(3, RingLimits::default());
    net.log = Some(vec![Vec::new(); 3]);
    for round in 0..200 {
        (0..3).for_each(|node| assert!(net.submit(node, 10 + round * node)));
        net.run_for(Duration::from_micros(300));
    }
    net.converge(Duration::from_secs(1)).unwrap();
    net.run_for(Duration::from_millis(50));
    let log = net.log.take().unwrap();
    assert_eq!(log[0].len(), 600);
    assert!(log[0] == log[1] && log[1] == log[2]);
}

#[test]
fn large_messages_arrive_whole_under_loss() {
    let limits = RingLimits { datagram_bytes_max: 1400, ..RingLimits::default() };
    let mut net = settled(3, limits);
    net.weather = Weather { loss_percent: 2, ..Weather::FAIR };
    for node in 0..3 {
        assert!(net.submit(node, 1 << 20));
    }
    net.run_for(Duration::from_secs(5));
    net.converge(Duration::from_secs(20)).unwrap();
    let counters = net.status(0).counters;
    assert_eq!(counters.messages_delivered, 3);
    assert!(counters.packets_resent > 0, "the loss was felt");
}

#[test]
fn the_largest_message_passes_and_one_byte_more_is_refused() {
    let limits = RingLimits::default();
    let largest = limits.message_bytes_max;
    let mut net = settled(2, limits);
    assert!(!net.submit(0, largest + 1));
    assert!(net.submit(0, largest));
    net.run_for(Duration::from_secs(2));
    assert_eq!(net.violation, None);
    assert_eq!(net.status(1).counters.bytes_delivered, largest as u64);
}

/// What was only partly sent when the view changed is sent again from its beginning.
#[test]
fn a_message_interrupted_by_a_view_change_is_not_lost() {
    let limits = RingLimits { datagram_bytes_max: 1400, ..RingLimits::default() };
    let mut net = settled(3, limits);
    assert!(net.submit(0, 4 << 20));
    net.run_for(Duration::from_millis(3));
    assert_eq!(net.status(0).counters.messages_delivered, 0);
    assert!(net.status(0).counters.packets_sent > 0);
    net.crash(2);
    net.converge(Duration::from_secs(5)).unwrap();
    net.run_for(Duration::from_secs(2));
    for node in [0, 1] {
        assert_eq!(net.status(node).counters.messages_delivered, 1);
    }
}

#[test]
fn back_pressure_refuses_and_loses_nothing() {
    let limits = RingLimits { pending_messages_max: 100, ..RingLimits::default() };
    let mut net = settled(3, limits);
    let mut accepted = 0;
    let mut refused = 0;
    for _ in 0..3000 {
        match net.submit(0, 1000) {
            true => accepted += 1,
            false => refused += 1,
        }
        net.run_for(Duration::from_micros(1));
    }
    assert!(refused > 0);
    net.converge(Duration::from_secs(1)).unwrap();
    net.run_for(Duration::from_millis(50));
    assert_eq!(net.status(1).counters.messages_delivered, accepted);
}

#[test]
fn an_idle_ring_is_cheap_and_wakes_at_once() {
    let mut net = settled(3, RingLimits::default());
    net.run_for(Duration::from_secs(1));
    let before = net.datagrams;
    net.run_for(Duration::from_secs(10));
    let per_second = (net.datagrams - before) / 10;
    assert!(per_second <= 160, "{per_second} datagrams a second in an idle ring");
    for node in 0..3 {
        net.run_for(Duration::from_millis(207));
        let before = net.status(node).counters.messages_delivered;
        assert!(net.submit(node, 10));
        let start = net.now;
        while net.status(node).counters.messages_delivered == before {
            net.run_for(Duration::from_micros(10));
        }
        let took = net.now - start;
        assert!(took < Duration::from_micros(500), "member {node} took {took:?}");
    }
}

/// Many small messages share a datagram, and the datagrams of a visit follow the token.
#[test]
fn small_messages_are_packed() {
    let mut net = settled(3, RingLimits::default());
    let before = (net.bytes_sent, net.status(0).counters.packets_sent);
    for _ in 0..50 {
        for node in 0..3 {
            (0..400).for_each(|_| assert!(net.submit(node, 32)));
        }
        net.run_for(Duration::from_millis(1));
    }
    net.converge(Duration::from_secs(1)).unwrap();
    let packets = net.status(0).counters.packets_sent - before.1;
    assert!(packets <= 100, "{packets} datagrams for 20000 messages");
    let bytes = (net.bytes_sent - before.0) / (2 * 60_000);
    assert!(bytes < 40, "{bytes} bytes on each wire for a message of 32");
}

/// The accelerated ring: the next member has the token while we still send.
#[test]
fn the_token_leaves_before_the_last_datagrams_of_a_visit() {
    let limits = RingLimits::default();
    let mut net = settled(2, limits);
    net.recording = Some(Vec::new());
    (0..40).for_each(|_| assert!(net.submit(0, 15_000)));
    net.run_for(Duration::from_millis(5));
    let sent = net.recording.take().unwrap();
    let visit: Vec<bool> = sent.iter().map(|(_, _, bytes)| bytes.len() > 1000).collect();
    let (burst, after) = (limits.burst_packets_max as usize, limits.accelerated_packets as usize);
    let mut expected = vec![true; burst - after];
    expected.push(false);
    expected.extend(vec![true; after]);
    let found = visit.windows(expected.len()).any(|window| window == expected);
    assert!(found, "{visit:?}");
}
