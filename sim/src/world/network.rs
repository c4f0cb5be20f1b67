//! The network between servers, and the connections between clients and servers.
//!
//! Packets between servers are datagrams: delayed, lost, duplicated, reordered and cut as the plan
//! says; what is neither of these arrives in order. Connections are streams: in order and complete,
//! until the connection breaks. A cut stalls a stream without telling anybody, as in the real
//! world; when the cut ends, both sides learn that the connection is broken.
//!
//! Invariant: cuts are counted, so overlapping faults may end in any order.

use crate::plan::options::Options;
use crate::plan::rng::{Concern, Rng};
use crate::plan::{FaultKind, Nodes};
use crate::world::clock::WorldTime;
use accord_core::time::{Duration, DurationExt};

/// How much later a packet comes that is overtaken, at most, in multiples of the slowest delay.
const OVERTAKEN_FACTOR: u64 = 8;

/// When the copies of one packet arrive: none, one or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrivals {
    /// The packet, unless it is lost.
    pub first: Option<WorldTime>,
    /// A duplicate.
    pub second: Option<WorldTime>,
}

/// Counts of what became of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketCounts {
    /// Sent.
    pub sent: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Stopped by a cut.
    pub cut: u64,
    /// Duplicated.
    pub duplicated: u64,
    /// Overtaken.
    pub reordered: u64,
}

/// The network between the servers of one world.
#[derive(Debug)]
pub struct Network {
    rng: Rng,
    nodes: usize,
    delay_min: Duration,
    delay_max: Duration,
    loss_per_mille: u32,
    duplicate_per_mille: u32,
    reorder_per_mille: u32,
    /// What the faults in force add to each packet's delay.
    extra_delay: Duration,
    /// Cuts in force from one server to another.
    cuts: Vec<u16>,
    /// The latest arrival on each way, so that order is kept.
    latest: Vec<WorldTime>,
    /// What became of packets so far.
    pub counts: PacketCounts,
}

impl Network {
    /// The network of a world in which nothing is wrong yet.
    pub fn new(options: &Options) -> Self {
        let nodes = options.nodes() as usize + 1;
        Self {
            rng: Rng::of(options.seed, Concern::Network, 0),
            nodes,
            delay_min: options.delay_min,
            delay_max: options.delay_max,
            loss_per_mille: options.loss_per_mille,
            duplicate_per_mille: options.duplicate_per_mille,
            reorder_per_mille: options.reorder_per_mille,
            extra_delay: Duration::ZERO,
            cuts: vec![0; nodes * nodes],
            latest: vec![WorldTime::START; nodes * nodes],
            counts: PacketCounts::default(),
        }
    }

    fn way(&self, from: u32, to: u32) -> usize {
        from as usize * self.nodes + to as usize
    }

    /// True if nothing gets from one server to the other.
    pub fn is_cut(&self, from: u32, to: u32) -> bool {
        self.cuts[self.way(from, to)] > 0
    }

    /// Sends a packet at `now`.
    pub fn send(&mut self, now: WorldTime, from: u32, to: u32) -> Arrivals {
        self.counts.sent += 1;
        let way = self.way(from, to);
        if self.cuts[way] > 0 {
            self.counts.cut += 1;
            return Arrivals { first: None, second: None };
        }
        let mut delay = self.rng.duration(self.delay_min, self.delay_max);
        if self.extra_delay > Duration::ZERO {
            delay += self.rng.duration(Duration::ZERO, self.extra_delay);
        }
        let mut second = None;
        if self.rng.per_mille(self.duplicate_per_mille) {
            self.counts.duplicated += 1;
            let later = self.delay_max.times(OVERTAKEN_FACTOR);
            second = Some(now.after(delay + self.rng.duration(Duration::ZERO, later)));
        }
        if self.rng.per_mille(self.loss_per_mille) {
            self.counts.lost += 1;
            return Arrivals { first: None, second };
        }
        if self.rng.per_mille(self.reorder_per_mille) {
            self.counts.reordered += 1;
            let later = self.delay_max.times(OVERTAKEN_FACTOR);
            let overtaken = now.after(delay + self.rng.duration(Duration::ZERO, later));
            return Arrivals { first: Some(overtaken), second };
        }
        let arrival = now.after(delay).max(self.latest[way]);
        self.latest[way] = arrival;
        Arrivals { first: Some(arrival), second }
    }

    /// Puts a fault in force. Kinds that do not concern the network are ignored.
    pub fn begin(&mut self, kind: &FaultKind) {
        self.change(kind, true);
    }

    /// Takes a fault out of force.
    ///
    /// # Panics
    /// If it was not in force.
    pub fn end(&mut self, kind: &FaultKind) {
        self.change(kind, false);
    }

    fn change(&mut self, kind: &FaultKind, begin: bool) {
        match kind {
            FaultKind::Partition(side) => {
                let others = (1..self.nodes as u32).filter(|node| !side.contains(*node)).collect();
                self.change_cuts(*side, others, begin);
                self.change_cuts(others, *side, begin);
            }
            FaultKind::OneWay(from, to) => self.change_cuts(*from, *to, begin),
            FaultKind::Sever(a, b) => {
                let (a, b) = ([*a].into_iter().collect(), [*b].into_iter().collect());
                self.change_cuts(a, b, begin);
                self.change_cuts(b, a, begin);
            }
            FaultKind::Loss(percent) => add(&mut self.loss_per_mille, *percent, begin),
            FaultKind::Duplicate(percent) => add(&mut self.duplicate_per_mille, *percent, begin),
            FaultKind::Reorder(percent) => add(&mut self.reorder_per_mille, *percent, begin),
            FaultKind::Delay(by) => {
                let by = by.to_nanos();
                let now = self.extra_delay.to_nanos();
                let changed = if begin { now.checked_add(by) } else { now.checked_sub(by) };
                self.extra_delay =
                    Duration::from_nanos(changed.expect("a fault ends once, after it began"));
            }
            _ => {}
        }
    }

    fn change_cuts(&mut self, from: Nodes, to: Nodes, begin: bool) {
        for from in from.iter() {
            for to in to.iter().filter(|to| *to != from) {
                let way = self.way(from, to);
                let cuts = &mut self.cuts[way];
                let changed = if begin { cuts.checked_add(1) } else { cuts.checked_sub(1) };
                *cuts = changed.expect("a fault ends once, after it began");
            }
        }
    }

    /// Asserts that no fault is in force, and makes the network calm: no loss, no tricks.
    ///
    /// # Panics
    /// If a cut or a delay is still in force.
    pub fn calm(&mut self) {
        assert!(self.cuts.iter().all(|cuts| *cuts == 0), "every cut has ended");
        assert_eq!(self.extra_delay, Duration::ZERO, "every delay has ended");
        self.loss_per_mille = 0;
        self.duplicate_per_mille = 0;
        self.reorder_per_mille = 0;
    }
}

fn add(per_mille: &mut u32, percent: u32, begin: bool) {
    let by = percent * 10;
    let changed = if begin { per_mille.checked_add(by) } else { per_mille.checked_sub(by) };
    *per_mille = changed.expect("a fault ends once, after it began");
}

/// One way of a connection: a stream, whose items arrive in order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stream {
    latest: WorldTime,
}

impl Stream {
    /// When what is sent at `now` arrives, given the delay that it draws.
    pub fn send(&mut self, now: WorldTime, delay: Duration) -> WorldTime {
        self.latest = now.after(delay).max(self.latest);
        self.latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options { servers: 3, ..Options::default() }
    }

    fn nodes(list: &[u32]) -> Nodes {
        list.iter().copied().collect()
    }

    #[test]
    fn without_faults_everything_arrives_once_and_in_order() {
        let mut network = Network::new(&options());
        let mut last = WorldTime::START;
        for send in 0..1000 {
            let arrivals = network.send(WorldTime::from_nanos(send * 1000), 1, 2);
            let first = arrivals.first.expect("nothing is lost");
            assert!(arrivals.second.is_none() && first >= last);
            last = first;
        }
    }

    #[test]
    fn overlapping_cuts_end_in_any_order() {
        let mut network = Network::new(&options());
        let faults = [
            FaultKind::Partition(nodes(&[1])),
            FaultKind::Sever(1, 2),
            FaultKind::OneWay(nodes(&[2]), nodes(&[3])),
        ];
        faults.iter().for_each(|fault| network.begin(fault));
        assert!(network.is_cut(1, 3) && network.is_cut(3, 1) && network.is_cut(2, 3));
        assert!(!network.is_cut(3, 2), "one way only");
        network.end(&faults[0]);
        assert!(network.is_cut(1, 2) && network.is_cut(2, 1), "still severed");
        assert!(!network.is_cut(1, 3));
        network.end(&faults[2]);
        network.end(&faults[1]);
        network.calm();
    }

    #[test]
    fn each_trick_is_played_about_as_often_as_it_is_told() {
        let mut network = Network::new(&options());
        for fault in [FaultKind::Loss(20), FaultKind::Duplicate(10), FaultKind::Reorder(30)] {
            network.begin(&fault);
        }
        for _ in 0..10_000 {
            network.send(WorldTime::START, 1, 2);
        }
        let counts = network.counts;
        assert!((1800..2200).contains(&counts.lost), "{counts:?}");
        assert!((900..1100).contains(&counts.duplicated), "{counts:?}");
        assert!((2200..2600).contains(&counts.reordered), "30 % of what is not lost: {counts:?}");
    }
}
