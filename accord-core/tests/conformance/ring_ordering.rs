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
