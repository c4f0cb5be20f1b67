//! Faults that belong together: what single faults at random moments would hardly ever line up to.
//!
//! A scenario aims at a known weakness of protocols of this kind, at random as to who, when and how
//! long. Each is drawn in a small part of the worlds that can have it, in addition to their other
//! faults.

use super::draw::FaultMix;
use super::fault::{Fault, FaultKind, Kind, Nodes};
use crate::options::Options;
use crate::rng::{Concern, Rng};
use accord_core::replica::config::Durability;
use accord_core::time::Duration;

/// Numbers the draws of scenarios, apart from those of single faults.
const STREAM: u64 = 1 << 32;
/// A world has a scenario with this chance, in percent, if it can have one.
const CHANCE_PERCENT: u32 = 15;

/// The faults of a scenario, or none.
pub(super) fn draw(options: &Options, mix: &FaultMix) -> Vec<Fault> {
    let rng = &mut Rng::of(options.seed, Concern::Plan, STREAM);
    let needed = [Kind::Swap, Kind::SlowDisk, Kind::PowerLoss, Kind::Partition];
    let possible = options.mode == Durability::Persistent && options.servers >= 3;
    if !rng.percent(CHANCE_PERCENT) || !possible || !mix.has_all(&needed) {
        return Vec::new();
    }
    if rng.percent(50) { old_disk_returns(options, rng) } else { carousel(options, rng) }
}

/// A server comes back with an empty disk while others lag behind, who lose power before they catch
/// up; then its old disk returns to them, and those who went on with the new one are cut off. Who
/// counts the old disk's vote and the new one's has two majorities.
fn old_disk_returns(options: &Options, rng: &mut Rng) -> Vec<Fault> {
    let servers = shuffled(options.servers, rng);
    let laggards = &servers[1..=servers.len() / 2];
    let others: Nodes = servers[1 + laggards.len()..].iter().copied().collect();
    let slow_ms = rng.log_uniform(20, 400);
    let begin = rng.within(100, options.safety.as_millis() / 3);
    let cut = begin + rng.within(1, 6 * slow_ms + 600);
    let back = cut + rng.within(200, 3_000);
    let end = back + rng.within(500, 5_000);
    let slow = Duration::from_millis(slow_ms);
    let mut faults = vec![
        fault(begin, back, FaultKind::Swap(servers[0])),
        fault(back, end, FaultKind::Partition(others)),
    ];
    for laggard in laggards {
        faults.push(fault(begin, cut, FaultKind::SlowDisk(*laggard, slow)));
        faults.push(fault(cut, back, FaultKind::PowerLoss(*laggard)));
    }
    faults
}

/// One server after the other is alone while all disks are slow, and others lose power: epochs
/// follow each other so fast that their beginnings are on few disks (Ongaro 2014, figure 3.7).
fn carousel(options: &Options, rng: &mut Rng) -> Vec<Fault> {
    let slow_ms = rng.log_uniform(20, 400);
    let begin = rng.within(100, options.safety.as_millis() / 3);
    let mut faults = Vec::new();
    let mut at = begin;
    for _ in 0..rng.within(4, 16) {
        let servers = shuffled(options.servers, rng);
        let next = at + rng.within(slow_ms, 5 * slow_ms + 500);
        let alone = FaultKind::Partition([servers[0]].into_iter().collect());
        faults.push(fault(at, next, alone));
        if rng.percent(60) {
            let lost = rng.within(at, next);
            let lasts = rng.log_uniform(1, 200);
            faults.push(fault(lost, lost + lasts, FaultKind::PowerLoss(servers[1])));
        }
        at = next;
    }
    for node in 1..=options.servers {
        let by = Duration::from_millis(slow_ms);
        faults.push(fault(begin, at, FaultKind::SlowDisk(node, by)));
    }
    faults
}

/// Times in milliseconds since the world's start.
fn fault(at: u64, until: u64, kind: FaultKind) -> Fault {
    let lasts = Duration::from_millis(until - at);
    Fault { at: Duration::from_millis(at), lasts, kind }
}

/// The servers 1 to `count` in any order.
fn shuffled(count: u32, rng: &mut Rng) -> Vec<u32> {
    let mut servers: Vec<u32> = (1..=count).collect();
    for at in (1..servers.len()).rev() {
        servers.swap(at, rng.below(at as u64 + 1) as usize);
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::super::{Overrides, Plan};
    use super::*;

    #[test]
    fn both_scenarios_are_drawn_where_they_can_be_and_are_plans_of_their_own() {
        let overrides = Overrides::default();
        let (mut swaps, mut carousels) = (0, 0);
        for seed in 0..1_000 {
            let options = Plan::draw(seed, &overrides).options;
            let faults = draw(&options, &overrides.faults);
            let has = |kind| faults.iter().any(|fault| fault.kind.kind() == kind);
            let able = options.servers >= 3 && options.mode == Durability::Persistent;
            assert!(able || faults.is_empty());
            swaps += u32::from(has(Kind::Swap));
            carousels += u32::from(!faults.is_empty() && !has(Kind::Swap));
            Plan { options, faults }.check();
        }
        assert!(swaps > 10 && carousels > 10, "{swaps} and {carousels} of 1000");
    }
}
