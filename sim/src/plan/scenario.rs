//! Faults that belong together: what single faults at random moments would hardly ever line up to.
//!
//! A scenario aims at a known weakness of protocols of this kind, at random as to who, when and how
//! long. Each is drawn in a small part of the worlds that can have it, in addition to their other
//! faults.

use super::draw::FaultMix;
use super::fault::{Fault, FaultKind, Kind, Nodes};
use crate::plan::options::{Group, Options};
use crate::plan::rng::{Concern, Rng};
use accord_core::replica::config::Durability;
use accord_core::time::{Duration, DurationExt};

/// Numbers the draws of scenarios, apart from those of single faults.
const STREAM: u64 = 1 << 32;
/// A world has a scenario with this chance, in percent, if it can have one.
const CHANCE_PERCENT: u32 = 50;

/// The faults of a scenario, or none.
pub(super) fn draw(options: &Options, mix: &FaultMix) -> Vec<Fault> {
    let rng = &mut Rng::of(options.seed, Concern::Plan, STREAM);
    if !rng.percent(CHANCE_PERCENT) || options.servers < 3 {
        return Vec::new();
    }
    let persistent = options.mode == Durability::Persistent;
    let of_disks = [Kind::Swap, Kind::SlowDisk, Kind::PowerLoss, Kind::Partition];
    let of_starts = [Kind::StartKill, Kind::StartLoss, Kind::Crash, Kind::PowerLoss];
    let of_voters = [Kind::AddVoter, Kind::RemoveVoter, Kind::Partition];
    let slow_and_alone = [Kind::SlowDisk, Kind::Partition, Kind::OneWay, Kind::Pause];
    let adversary = options.group == Group::Adversary;
    let mut faults = match rng.below(10) {
        6.. if adversary && persistent && mix.has_all(&slow_and_alone) => {
            dropped_on_the_way(options, rng)
        }
        0 if persistent && mix.has_all(&of_disks) => old_disk_returns(options, rng),
        1 if persistent && mix.has_all(&of_disks) => old_copies_return(options, rng),
        2 if persistent && mix.has_all(&of_disks) => carousel(options, rng),
        3 | 4 if persistent && mix.has_all(&slow_and_alone) => dropped_on_the_way(options, rng),
        9 if mix.has_all(&[Kind::Isolate, Kind::Partition]) => silences(options, rng),
        5 if persistent && mix.has_all(&of_starts) => bad_starts(options, rng),
        6 | 7 if mix.has_all(&of_voters) => voters_move(options, rng),
        8 if mix.has_all(&[Kind::Crash, Kind::Partition]) => far_behind(options, rng),
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

/// One server after the other, its disk so slow that what it writes is under way for seconds, is
/// alone for a moment and comes back: what only it had is dropped while it is being written, and
/// what comes in its place is acknowledged by the others. Who takes the old write for the new one
/// vouches for what is not on its disk.
fn dropped_on_the_way(options: &Options, rng: &mut Rng) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut at = rng.within(200, 1_500);
    let all = Nodes::first(options.nodes());
    let ring = options.group == Group::Ring;
    // The adversary delivers to one what nobody else gets, and changes views at once.
    let (rounds, gap_ms) = if ring { (rng.within(3, 10), 1_500) } else { (rng.within(8, 24), 300) };
    for _ in 0..rounds {
        let node = rng.within(1, u64::from(options.servers)) as u32;
        let slow = Duration::from_millis(rng.within(1_000, 6_000));
        let alone = at + rng.within(250, 600);
        let back = alone + rng.within(gap_ms / 8, gap_ms);
        let end = back + rng.within(gap_ms / 2, 2 * gap_ms);
        if ring {
            // While it stands still, its clients' requests pile up; then, for one turn of the
            // token, it says all of them to nobody but itself.
            let others = all.iter().filter(|other| *other != node).collect();
            let mute = FaultKind::OneWay([node].into_iter().collect(), others);
            let naps = alone - rng.within(20, 200);
            faults.push(fault(naps, alone, FaultKind::Pause(node)));
            faults.push(fault(alone - 1, back, mute));
        }
        faults.push(fault(at, end, FaultKind::SlowDisk(node, slow)));
        let cut = alone + if ring { 60 } else { 0 };
        if cut < back {
            faults.push(fault(cut, back, FaultKind::Partition([node].into_iter().collect())));
        }
        at = end + rng.within(100, 800);
    }
    faults
}

/// One process after the other dies and does not come up at once: it is killed again in the middle
/// of its start, or the power goes then, or soon after the start.
fn bad_starts(options: &Options, rng: &mut Rng) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut at = rng.within(200, 1_500);
    for _ in 0..rng.within(4, 16) {
        let node = rng.within(1, u64::from(options.servers)) as u32;
        let up = at + rng.within(1, 300);
        let first = match rng.below(3) {
            0 => FaultKind::StartKill(node),
            1 => FaultKind::StartLoss(node),
            _ => FaultKind::Crash(node),
        };
        faults.push(fault(at, up, first));
        if rng.percent(70) {
            // What the start found in the system's memory, and what came of it, is soon relied on.
            let lost = up + rng.log_uniform(1, 1_000);
            faults.push(fault(lost, lost + rng.within(1, 200), FaultKind::PowerLoss(node)));
        }
        at = up + rng.within(100, 1_500);
    }
    faults
}

/// The voters change twice or more, one right after the other, and those who were a majority before
/// are cut off from the others. Who counts two changes at once, or a change that is not committed,
/// has a majority on each side.
fn voters_move(options: &Options, rng: &mut Rng) -> Vec<Fault> {
    let (servers, nodes) = (options.servers, options.nodes());
    let order = shuffled(servers, rng);
    let mut faults = Vec::new();
    let mut at = rng.within(300, (options.safety.to_millis() / 3).max(300));
    for round in 0..rng.within(1, 3) {
        let changes: Vec<FaultKind> = if nodes > servers && (round % 2 == 0 || servers < 4) {
            (servers + 1..=nodes).map(FaultKind::AddVoter).collect()
        } else {
            order.iter().rev().take(2).map(|node| FaultKind::RemoveVoter(*node)).collect()
        };
        // At one moment, by two servers; or one after the other is committed.
        let apart = *rng.pick(&[0, 0, 2, 20, 300]);
        for change in changes {
            faults.push(fault(at, at, change));
            at += apart;
        }
        let cut = at + rng.log_uniform(1, 600);
        let back = cut + rng.within(500, 4_000);
        let old_majority: Nodes = order[..servers as usize / 2 + 1].iter().copied().collect();
        faults.push(fault(cut, back, FaultKind::Partition(old_majority)));
        at = back + rng.within(200, 1_500);
    }
    faults
}

/// A server is alone, restarts there, and comes back when the others have gone so far that it needs
/// their state, in which its earlier start's last words stand; then it is alone again, with its
/// clients' new requests.
fn far_behind(options: &Options, rng: &mut Rng) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut at = rng.within(300, 2_000);
    while at < options.safety.to_millis() && faults.len() < NAPS_MAX {
        let node = rng.within(1, u64::from(options.servers)) as u32;
        let only = || FaultKind::Partition([node].into_iter().collect());
        let back = at + rng.within(1_000, 5_000);
        let dies = rng.within(at, at + 300);
        faults.push(fault(at, back, only()));
        faults.push(fault(dies, dies + rng.within(1, 400), FaultKind::Crash(node)));
        let again = back + rng.within(200, 2_000);
        let end = again + rng.within(200, 2_000);
        faults.push(fault(again, end, only()));
        at = end + rng.within(100, 1_500);
    }
    faults
}

/// Clients fall silent for about their timeouts, while what is proposed takes long to be committed
/// and the primary component goes and comes back.
fn silences(options: &Options, rng: &mut Rng) -> Vec<Fault> {
    let mut faults = Vec::new();
    let safety_ms = options.safety.to_millis();
    for client in 1..=options.clients {
        let mut at = rng.within(200, 2_000);
        while at < safety_ms && faults.len() < NAPS_MAX {
            let back = at + rng.log_uniform(300, 9_000);
            faults.push(fault(at, back, FaultKind::Isolate(client)));
            at = back + rng.within(200, 3_000);
        }
    }
    let mut at = rng.within(500, 2_500);
    while at < safety_ms && faults.len() < NAPS_MAX * 2 {
        // Nobody has a majority, for less than a timeout or for much more.
        let back = at + rng.log_uniform(50, 6_000);
        for node in 2..=options.servers {
            faults.push(fault(at, back, FaultKind::Partition([node].into_iter().collect())));
        }
        at = back + rng.within(500, 4_000);
    }
    if options.mode == Durability::Persistent {
        for node in 1..=options.servers {
            let by = Duration::from_millis(rng.log_uniform(20, 1_000));
            faults.push(fault(200, safety_ms, FaultKind::SlowDisk(node, by)));
        }
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
