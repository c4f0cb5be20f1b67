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
use accord_core::time::{Duration, DurationExt};

/// Numbers the draws of scenarios, apart from those of single faults.
const STREAM: u64 = 1 << 32;
/// A world has a scenario with this chance, in percent, if it can have one.
const CHANCE_PERCENT: u32 = 25;

/// The faults of a scenario, or none.
pub(super) fn draw(options: &Options, mix: &FaultMix) -> Vec<Fault> {
    let rng = &mut Rng::of(options.seed, Concern::Plan, STREAM);
    if !rng.percent(CHANCE_PERCENT) || options.servers < 3 {
        return Vec::new();
    }
    let persistent = options.mode == Durability::Persistent;
    let of_disks = [Kind::Swap, Kind::SlowDisk, Kind::PowerLoss, Kind::Partition];
    let mut faults = match rng.below(4) {
        0 if persistent && mix.has_all(&of_disks) => old_disk_returns(options, rng),
        1 if persistent && mix.has_all(&of_disks) => old_copies_return(options, rng),
        2 if persistent && mix.has_all(&of_disks) => carousel(options, rng),
        _ if mix.has_all(&[Kind::Pause, Kind::Partition]) => drowsiness(options, rng),
        _ => Vec::new(),
    };
    faults.retain(|fault| fault.at < options.safety && mix.has_all(&[fault.kind.kind()]));
    faults
}

/// A server comes back with an empty disk while others lag behind, who lose power before they catch
/// up; then its old disk returns to them, and those who went on with the new one are cut off. Who
/// counts the old disk's vote and the new one's has two majorities.
fn old_disk_returns(options: &Options, rng: &mut Rng) -> Vec<Fault> {
    let servers = shuffled(options.servers, rng);
    let laggards = &servers[1..=servers.len() / 2];
    let others: Nodes = servers[1 + laggards.len()..].iter().copied().collect();
    let slow_ms = rng.log_uniform(20, 400);
    let begin = rng.within(100, (options.safety.to_millis() / 3).max(100));
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

/// One server alone has the end of an epoch's log. Others open an epoch whose beginning only one of
/// them keeps; then those who forgot it take the first server's log for the best, and copy it while
/// their disks are slow; then they meet the one who kept that beginning. Who counts copies of an
/// older epoch before the new epoch's own entry loses them (Ongaro 2014, figure 3.7).
fn old_copies_return(options: &Options, rng: &mut Rng) -> Vec<Fault> {
    let servers = shuffled(options.servers, rng);
    let (first, keeper) = (servers[0], servers[1]);
    let (bridge, idle) = servers[2..].split_at(servers.len() / 2);
    let safety_ms = options.safety.to_millis();
    let slow_ms = rng.within(50, 1_200).min(safety_ms / 14);
    // In tenths of a sync: a promise is one, and so is each part of the log.
    let tenths = |rng: &mut Rng, low, high| slow_ms * rng.within(low, high) / 10;
    let begin = rng.within(300, 300 + safety_ms / 8);
    let cut = begin + 2 * slow_ms;
    let bridged = cut + OUTAGE_MS + tenths(rng, 11, 20);
    let met = bridged + OUTAGE_MS + tenths(rng, 21, 31);
    let end = met + OUTAGE_MS + 4 * slow_ms;
    let only = |node: u32| FaultKind::Partition([node].into_iter().collect());
    let slow = Duration::from_millis(slow_ms);
    let mut faults = vec![
        fault(cut, bridged, only(first)),
        fault(bridged, met, only(keeper)),
        fault(met, end, only(first)),
        fault(begin, cut, FaultKind::SlowDisk(keeper, slow)),
        fault(cut, cut + OUTAGE_MS, FaultKind::PowerLoss(keeper)),
    ];
    for node in bridge {
        faults.push(fault(begin, end, FaultKind::SlowDisk(*node, slow)));
        let outages =
            [cut, bridged, met].map(|at| fault(at, at + OUTAGE_MS, FaultKind::PowerLoss(*node)));
        faults.extend(outages);
    }
    if !idle.is_empty() {
        faults.push(fault(begin, end, FaultKind::Partition(idle.iter().copied().collect())));
    }
    faults
}

/// How long a server is off that only has to lose what it did not sync.
const OUTAGE_MS: u64 = 50;

/// One server after the other nods off for a moment and wakes to a world that has gone on.
fn drowsiness(options: &Options, rng: &mut Rng) -> Vec<Fault> {
    let (mut faults, mut at) = (Vec::new(), rng.within(100, 1_000));
    while at < options.safety.to_millis() && faults.len() < NAPS_MAX {
        let node = rng.within(1, u64::from(options.servers)) as u32;
        let wakes = at + rng.within(10, 400);
        if rng.percent(20) {
            let heard_again = wakes + rng.within(1, 300);
            faults.push(fault(at, heard_again, FaultKind::Partition([node].into_iter().collect())));
        }
        faults.push(fault(at, wakes, FaultKind::Pause(node)));
        at = wakes + rng.within(50, 400);
    }
    faults
}

/// Faults after which nobody nods off any more.
const NAPS_MAX: usize = 48;

/// One server after the other is alone while all disks are slow, and others lose power: epochs
/// follow each other so fast that their beginnings are on few disks (Ongaro 2014, figure 3.7).
fn carousel(options: &Options, rng: &mut Rng) -> Vec<Fault> {
    let slow_ms = rng.log_uniform(20, 400);
    let begin = rng.within(100, (options.safety.to_millis() / 3).max(100));
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
    fn every_scenario_is_drawn_where_it_can_be_and_is_a_plan_of_its_own() {
        let overrides = Overrides::default();
        let (mut swaps, mut slow, mut naps) = (0, 0, 0);
        for seed in 0..1_000 {
            let options = Plan::draw(seed, &overrides).options;
            let faults = draw(&options, &overrides.faults);
            let has = |kind| faults.iter().any(|fault| fault.kind.kind() == kind);
            let disks = has(Kind::Swap) || has(Kind::SlowDisk);
            assert!(options.servers >= 3 || faults.is_empty());
            assert!(options.mode == Durability::Persistent || !disks);
            swaps += u32::from(has(Kind::Swap));
            slow += u32::from(disks && !has(Kind::Swap));
            naps += u32::from(has(Kind::Pause));
            assert!(faults.iter().all(|fault| fault.at < options.safety), "the storm ends in time");
            Plan { options, faults }.check();
        }
        assert!(swaps > 10 && slow > 20 && naps > 40, "{swaps}, {slow}, {naps} of 1000");
    }
}
