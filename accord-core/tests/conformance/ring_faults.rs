//! Hundreds of seeded runs with every fault a network and a machine have, then a heal.

use crate::net::{Net, Weather};
use accord_core::group::ring::{RingLimits, RingTimeouts};
use accord_core::rng::Rng;
use accord_core::time::Duration;

/// Bounds so small that every one of them is hit.
fn tiny_limits() -> RingLimits {
    RingLimits {
        datagram_bytes_max: 300,
        message_bytes_max: 4096,
        pending_bytes_max: 8192,
        pending_messages_max: 20,
        burst_packets_max: 4,
        accelerated_packets: 2,
        window_packets_max: 6,
        store_packets_max: 24,
        transmit_packets_max: 64,
        events_max: 100,
    }
}

fn limits(rng: &mut Rng) -> RingLimits {
    let accelerated_packets = rng.below(5) as u32;
    match rng.below(2) {
        0 => tiny_limits(),
        _ => RingLimits { accelerated_packets, datagram_bytes_max: 1400, ..RingLimits::default() },
    }
}

fn weather(rng: &mut Rng) -> Weather {
    let spread_micros = [1000, 8000, 60_000][rng.below(3) as usize];
    Weather {
        loss_percent: [0, 0, 1, 5, 20][rng.below(5) as usize],
        duplicate_percent: [0, 5, 30][rng.below(3) as usize],
        damage_percent: [0, 1][rng.below(2) as usize],
        delay_min: Duration::from_micros(20 + rng.below(200)),
        delay_max: Duration::from_micros(300 + rng.below(spread_micros)),
        straggle_permille: [0, 1, 20][rng.below(3) as usize],
    }
}

fn disturb(net: &mut Net, rng: &mut Rng) {
    let count = net.len();
    let mut node = || rng.below(count as u64) as usize;
    let (a, b) = (node(), node());
    match rng.below(12) {
        0 => net.crash(a),
        1 | 2 => (0..count).for_each(|node| net.start(node)),
        3 => {
            net.crash(a);
            net.start(a);
        }
        4 => net.leave(a),
        5 => net.pause(a, Duration::from_millis(rng.below(1500))),
        6 => {
            let side = rng.next_u64();
            net.partition(|node| side >> node & 1 == 1);
        }
        7 => net.cut_pair(a, b),
        8 => net.cut[a][b] = true,
        9 => net.weather = weather(rng),
        _ => net.heal(),
    }
}

fn submit_some(net: &mut Net, rng: &mut Rng) {
    for _ in 0..rng.below(12) {
        let node = rng.below(net.len() as u64) as usize;
        let bytes = match rng.below(10) {
            0 => rng.below(4000),
            _ => rng.below(100),
        };
        net.submit(node, bytes as usize);
    }
}

struct Tally {
    deliveries: u64,
    views: u64,
    recovered: u64,
    slowest: Duration,
}

fn campaign(seed: u64, tally: &mut Tally) {
    let mut rng = Rng::new(seed);
    let count = 2 + rng.below(4) as usize;
    let mut net = Net::new(rng.next_u64(), count, limits(&mut rng), RingTimeouts::default());
    net.weather = weather(&mut rng);
    for _ in 0..60 + rng.below(60) {
        if rng.chance(1, 4) {
            disturb(&mut net, &mut rng);
        }
        submit_some(&mut net, &mut rng);
        net.run_for(Duration::from_micros(rng.below(60_000)));
        if let Some(violation) = &net.violation {
            panic!("seed {seed} at {}: {violation}", net.now);
        }
    }
    for node in 0..count {
        tally.recovered += match net.is_up(node) {
            true => net.status(node).counters.packets_recovered,
            false => 0,
        };
    }
    net.heal();
    net.weather = Weather { loss_percent: net.weather.loss_percent.min(1), ..Weather::FAIR };
    (0..count).for_each(|node| net.start(node));
    submit_some(&mut net, &mut rng);
    let took = net.converge(Duration::from_secs(20));
    let took = took.unwrap_or_else(|violation| {
        (0..count).for_each(|node| println!("{:?}", net.status(node)));
        panic!("seed {seed} at {}: {violation}", net.now)
    });
    tally.slowest = tally.slowest.max(took);
    tally.deliveries += net.checker.deliveries();
    tally.views += net.checker.views();
}

#[test]
fn the_contract_holds_under_every_fault_and_the_ring_converges_after_the_heal() {
    let mut tally = Tally { deliveries: 0, views: 0, recovered: 0, slowest: Duration::ZERO };
    let seeds = std::env::var("RING_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let first = std::env::var("RING_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    for seed in first..first + seeds {
        campaign(seed, &mut tally);
    }
    let Tally { deliveries, views, recovered, slowest } = tally;
    println!("{deliveries} deliveries, {views} views, {recovered} recovered, slowest {slowest:?}");
    // The campaign must have met what it is for.
    if seeds >= 100 {
        assert!(deliveries > 10_000 && views > 1000 && recovered > 100);
    }
}
