//! The ring as a rig of the conformance suite.

use crate::net::{Net, Weather};
use accord_core::group::conformance::{Need, Rig, Setup, campaign, run_all};
use accord_core::group::ring::{RingLimits, RingTimeouts};
use accord_core::group::{GroupEvent, SubmitError};
use accord_core::ids::NodeId;
use accord_core::rng::Rng;
use accord_core::time::{Duration, Instant};
use bytes::Bytes;

const STEP: Duration = Duration::from_micros(500);

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

fn limits(rng: &mut Rng, tight: bool) -> RingLimits {
    let accelerated_packets = rng.below(5) as u32;
    match tight {
        true => tiny_limits(),
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

/// Members of a ring, over a network of virtual time.
pub struct RingRig {
    net: Net,
    limits: RingLimits,
    /// What the network is like without faults: a tight one loses something now and then.
    calm: Weather,
}

const fn at(node: NodeId) -> usize {
    node.0 as usize - 1
}

impl Rig for RingRig {
    const NAME: &'static str = "the ring";
    const LACKS: &'static [(Need, &'static str)] = &[
        (Need::Daemon, "members speak to each other themselves"),
        (Need::DaemonHold, "members speak to each other themselves"),
    ];
    const MEMBERS: u32 = 3;
    const MEMBERS_MAX: u32 = 5;
    const LOAD: Duration = Duration::from_millis(300);
    const TIMEOUT: Duration = Duration::from_secs(20);
    const CAMPAIGNS: u64 = 10;

    fn new(setup: Setup) -> Self {
        let mut rng = Rng::new(setup.seed);
        let limits = limits(&mut rng, setup.tight);
        let (seed, timeouts) = (rng.next_u64(), RingTimeouts::default());
        let mut net = Net::stopped(seed, setup.members as usize, limits, timeouts);
        net.polled = true;
        let calm = Weather { loss_percent: u64::from(setup.tight), ..Weather::FAIR };
        net.weather = calm;
        (0..net.len()).for_each(|node| net.start(node));
        Self { net, limits, calm }
    }

    fn now(&self) -> Instant {
        self.net.now
    }

    fn step(&mut self) {
        self.net.run_for(STEP);
    }

    fn message_bytes_max(&self) -> usize {
        self.limits.message_bytes_max
    }

    fn submit(&mut self, node: NodeId, payload: Bytes) -> Result<(), SubmitError> {
        self.net.submit_payload(at(node), payload)
    }

    fn poll(&mut self, node: NodeId) -> Option<GroupEvent> {
        self.net.poll(at(node))
    }

    fn start(&mut self, node: NodeId) {
        self.net.start(at(node));
    }

    fn describe(&mut self) -> String {
        let up = (0..self.net.len()).filter(|node| self.net.is_up(*node));
        let status = |node| format!("{:?}", self.net.status(node));
        format!("at {}:\n{}", self.net.now, up.map(status).collect::<Vec<_>>().join("\n"))
    }

    fn crash(&mut self, node: NodeId) {
        self.net.crash(at(node));
    }

    fn leave(&mut self, node: NodeId) {
        self.net.leave(at(node));
    }

    fn partition(&mut self, sides: &[Vec<NodeId>]) {
        let side = |node: usize| sides.iter().position(|side| side.iter().any(|n| at(*n) == node));
        for a in 0..self.net.len() {
            for b in 0..self.net.len() {
                self.net.cut[a][b] = a != b && (side(a) != side(b) || side(a).is_none());
            }
        }
    }

    fn heal(&mut self) {
        self.net.heal();
        self.net.weather = self.calm;
    }

    fn hold(&mut self, node: NodeId) {
        self.net.hold(at(node));
    }

    fn release(&mut self, node: NodeId) {
        self.net.release(at(node));
    }

    fn lose(&mut self, percent: u32) {
        self.net.weather.loss_percent = u64::from(percent);
    }

    /// Cuts of one pair, of one direction, and all that a network does to datagrams.
    fn disturb(&mut self, rng: &mut Rng) {
        let count = self.net.len() as u64;
        let (a, b) = (rng.below(count) as usize, rng.below(count) as usize);
        match rng.below(4) {
            0 => self.net.cut_pair(a, b),
            1 => self.net.cut[a][b] = true,
            2 => self.net.pause(a, Duration::from_millis(rng.below(1500))),
            _ => self.net.weather = weather(rng),
        }
    }
}

// Claims: C-order
#[test]
fn the_ring_has_every_property_of_the_contract() {
    let report = run_all::<RingRig>();
    let out_of_reach = [
        ("a_daemon_that_dies_leaves_its_member_alone_until_it_is_back", Need::Daemon),
        ("a_daemon_that_is_held_leaves_its_member_alone_and_harms_nobody", Need::DaemonHold),
    ];
    assert_eq!((report.held.len(), &report.out_of_reach[..]), (16, &out_of_reach[..]));
}

/// The campaigns must meet what they are for. `RING_SEEDS` and `RING_SEED` choose others.
// Claims: C-order
#[test]
fn campaigns_meet_views_deliveries_and_recoveries() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (first, seeds) = (number("RING_SEED").unwrap_or(0), number("RING_SEEDS").unwrap_or(300));
    let (mut deliveries, mut views, mut recovered) = (0, 0, 0);
    let mut slowest = Duration::ZERO;
    for seed in first..first + seeds {
        let (tally, rig) = campaign::<RingRig>(seed);
        deliveries += tally.deliveries;
        views += tally.views;
        slowest = slowest.max(tally.converged_after);
        let count = |node| rig.net.status(node).counters.packets_recovered;
        recovered += (0..rig.net.len()).map(count).sum::<u64>();
    }
    println!("{deliveries} deliveries, {views} views, {recovered} recovered, slowest {slowest:?}");
    if seeds >= 100 {
        assert!(deliveries > 10_000 && views > 1000 && recovered > 100);
    }
}
