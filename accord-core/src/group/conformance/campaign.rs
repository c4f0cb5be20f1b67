//! Random faults, all that a rig has, under load; then everything is mended and must converge.

use super::harness::Harness;
use super::{Need, Rig, Setup};
use crate::ids::NodeId;
use crate::rng::Rng;
use crate::time::Duration;
use alloc::vec;
use alloc::vec::Vec;

/// Faults and pauses between them in one campaign.
const ROUNDS: u64 = 60;

/// What a campaign met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Deliveries judged.
    pub deliveries: u64,
    /// Distinct views seen.
    pub views: u64,
    /// How long it took to converge after the end of all faults.
    pub converged_after: Duration,
}

/// One campaign, what it met, and its rig in the end.
///
/// # Panics
/// If the contract is broken, or the members do not converge in the end.
pub fn campaign<R: Rig>(seed: u64) -> (Tally, R) {
    run::<R>("a campaign", seed)
}

/// What is broken at present.
#[derive(Default)]
struct Broken {
    held: Vec<NodeId>,
    daemons_dead: Vec<NodeId>,
    daemons_held: Vec<NodeId>,
}

pub(super) fn run<R: Rig>(name: &'static str, seed: u64) -> (Tally, R) {
    let mut rng = Rng::new(seed);
    let members = match R::MEMBERS_MAX {
        1 => 1,
        max => 2 + rng.below(u64::from(max) - 1) as u32,
    };
    let setup = Setup { members, seed: rng.next_u64(), tight: rng.chance(1, 2) };
    let mut h = Harness::<R>::with(name, setup);
    let mut broken = Broken::default();
    let rounds = ROUNDS + rng.below(ROUNDS);
    // A round is as long as the rig's faults take to show, now and then.
    let round_nanos = R::LOAD.as_nanos() as u64 / 5;
    for _ in 0..rounds {
        if rng.chance(1, 4) {
            disturb(&mut h, &mut broken, &mut rng);
        }
        submit_some(&mut h, &broken, &mut rng);
        h.run_for(Duration::from_nanos(rng.below(round_nanos)));
    }
    mend(&mut h, &mut broken);
    submit_some(&mut h, &broken, &mut rng);
    let began = h.rig.now();
    h.settle();
    let tally = Tally {
        deliveries: h.checker().deliveries(),
        views: h.checker().views(),
        converged_after: h.rig.now().since(began),
    };
    (tally, h.rig)
}

fn submit_some<R: Rig>(h: &mut Harness<R>, broken: &Broken, rng: &mut Rng) {
    let nodes = h.nodes();
    for _ in 0..rng.below(12) {
        let node = nodes[rng.below(nodes.len() as u64) as usize];
        let bytes = match rng.below(10) {
            0 => rng.below(4000),
            _ => rng.below(100),
        };
        if h.is_up(node) && !broken.held.contains(&node) {
            // Refusals are a part of the contract.
            let _ = h.submit(node, bytes as usize);
        }
    }
}

fn disturb<R: Rig>(h: &mut Harness<R>, broken: &mut Broken, rng: &mut Rng) {
    let has = |need| !R::LACKS.iter().any(|(lack, _)| *lack == need);
    let nodes = h.nodes();
    let node = nodes[rng.below(nodes.len() as u64) as usize];
    match rng.below(14) {
        0..=1 => start_all(h),
        2 if has(Need::Crash) => crash(h, broken, node),
        3 if has(Need::Crash) => {
            crash(h, broken, node);
            h.start(node);
        }
        4 if has(Need::Leave) && h.is_up(node) && !broken.held.contains(&node) => h.leave(node),
        5..=6 if has(Need::Partition) => {
            let mut sides = vec![Vec::new(); 1 + rng.below(3) as usize];
            for node in &nodes {
                let at = rng.below(sides.len() as u64) as usize;
                sides[at].push(*node);
            }
            h.partition(&sides);
        }
        7 if has(Need::Hold) && h.is_up(node) && !broken.held.contains(&node) => {
            h.rig.hold(node);
            h.neglect(node);
            broken.held.push(node);
        }
        8 => release(h, broken),
        9 if has(Need::Loss) => h.rig.lose([1, 5, 20][rng.below(3) as usize]),
        10 if has(Need::Daemon) && !broken.daemons_dead.contains(&node) => {
            broken.daemons_held.retain(|held| *held != node);
            h.rig.kill_daemon(node);
            broken.daemons_dead.push(node);
        }
        11 if has(Need::DaemonHold) && !broken.daemons_dead.contains(&node) => {
            h.rig.hold_daemon(node);
            broken.daemons_held.push(node);
        }
        12 => h.rig.heal(),
        _ => h.rig.disturb(rng),
    }
}

fn crash<R: Rig>(h: &mut Harness<R>, broken: &mut Broken, node: NodeId) {
    if h.is_up(node) {
        broken.held.retain(|held| *held != node);
        h.crash(node);
    }
}

/// Lets all that stand still go on, and starts the daemons that are dead.
fn release<R: Rig>(h: &mut Harness<R>, broken: &mut Broken) {
    for node in broken.held.drain(..) {
        h.rig.release(node);
        h.attend(node);
    }
    for node in broken.daemons_dead.drain(..) {
        h.rig.start_daemon(node);
    }
    for node in broken.daemons_held.drain(..) {
        h.rig.release_daemon(node);
    }
}

fn mend<R: Rig>(h: &mut Harness<R>, broken: &mut Broken) {
    release(h, broken);
    h.rig.heal();
    start_all(h);
}

fn start_all<R: Rig>(h: &mut Harness<R>) {
    for node in h.nodes() {
        if !h.is_up(node) {
            h.start(node);
        }
    }
}
