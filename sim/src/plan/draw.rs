//! From a seed to a plan: swarm testing (Groce et al., ISSTA 2012).
//!
//! Every world gets its own shape, its own subset of the kinds of fault and its own intensity,
//! since a world in which everything goes wrong all the time hides what a single fault at the right
//! moment shows. Bounds are tiny as often as large, so that every one is hit.

use super::Plan;
use super::fault::{Fault, FaultKind, Kind, Nodes};
use crate::plan::WorkloadKind;
use crate::plan::options::{Group, Options, SERVERS_MAX, Scale, Storage};
use crate::plan::rng::{Concern, Rng};
use accord_core::replica::config::Durability;
use accord_core::time::{Duration, DurationExt};

/// Which kinds of fault a plan may draw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultMix {
    kinds: Vec<Kind>,
    /// True if each world takes a random part of the kinds.
    swarm: bool,
}

impl Default for FaultMix {
    /// Every kind; each world draws its own part of them.
    fn default() -> Self {
        Self { kinds: Kind::ALL.to_vec(), swarm: true }
    }
}

impl FaultMix {
    /// Nothing goes wrong.
    pub const fn none() -> Self {
        Self { kinds: Vec::new(), swarm: false }
    }

    /// Every kind in every world.
    pub fn everything() -> Self {
        Self { kinds: Kind::ALL.to_vec(), swarm: false }
    }

    /// Reads `all`, `swarm`, `none`, or kinds separated by commas.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "all" => return Ok(Self::everything()),
            "swarm" => return Ok(Self::default()),
            "none" => return Ok(Self::none()),
            _ => {}
        }
        let kinds = text.split(',').map(Kind::named).collect::<Option<Vec<_>>>();
        let kinds = kinds.ok_or_else(|| {
            let names = Kind::ALL.map(Kind::name).join(", ");
            format!("swarm, all, none, or kinds separated by commas: {names}")
        })?;
        Ok(Self { kinds, swarm: false })
    }

    /// True if all of these kinds may be drawn.
    pub(super) fn has_all(&self, kinds: &[Kind]) -> bool {
        kinds.iter().all(|kind| self.kinds.contains(kind))
    }

    /// The weight of each kind in the world of `options`; all zero if nothing can go wrong.
    fn weights(&self, options: &Options, rng: &mut Rng) -> Vec<u32> {
        Kind::ALL
            .iter()
            .map(|kind| {
                if *kind == Kind::Damage {
                    // Drawn by itself, from a stream of its own.
                    return 0;
                }
                // Drawn for every kind, so that one more kind does not shift the others.
                let (taken, weight) = (rng.percent(50), rng.within(1, 4) as u32);
                let allowed = self.kinds.contains(kind) && possible(*kind, options);
                if allowed && (taken || !self.swarm) { weight } else { 0 }
            })
            .collect()
    }
}

/// What the caller fixes; the seed decides the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Options by name and text, as in a plan. Invariant: each was accepted by [`Options::set`].
    pub options: Vec<(&'static str, String)>,
    /// What may go wrong.
    pub faults: FaultMix,
}

/// True if a fault of this kind has a meaning in the world of `options`.
fn possible(kind: Kind, options: &Options) -> bool {
    let persistent = options.mode == Durability::Persistent;
    let ring = options.group == Group::Ring;
    let several = options.nodes() > 1;
    match kind {
        Kind::Partition | Kind::OneWay | Kind::Delay => several,
        // The adversary carries messages itself: packets exist only below the ring.
        Kind::Sever => ring && options.nodes() > 2,
        Kind::Loss | Kind::Duplicate | Kind::Reorder => ring && several,
        Kind::PowerLoss
        | Kind::Blackout
        | Kind::StartKill
        | Kind::StartLoss
        | Kind::Rot
        | Kind::SlowDisk
        | Kind::FailDisk => persistent,
        Kind::Wipe => options.servers >= 3,
        Kind::Swap => persistent && options.servers >= 3,
        // In memory mode, a crash forgets: it needs a majority that remembers.
        Kind::Crash => persistent || options.servers >= 3,
        Kind::AddVoter => options.observers > 0,
        Kind::RemoveVoter => options.servers >= 2,
        // Drawn by themselves: nothing that comes after the first two means anything, nobody
        // recovers a cluster every other minute, and memory is seldom damaged.
        Kind::Amnesia | Kind::Oblivion | Kind::Recover | Kind::Damage => false,
        Kind::Pause
        | Kind::ClockRate
        | Kind::ClockLeap
        | Kind::HangUp
        | Kind::Unreachable
        | Kind::Isolate
        | Kind::Gone => true,
    }
}

impl Plan {
    /// The plan of `seed`, but for what the caller fixes.
    ///
    /// # Panics
    /// If the overrides contradict each other; [`Options::problem`] on the result of
    /// [`draw_options`] tells a person first.
    pub fn draw(seed: u64, overrides: &Overrides) -> Self {
        let options = draw_options(seed, overrides);
        options.check();
        let faults = draw_faults(&options, &overrides.faults);
        let plan = Self { options, faults };
        plan.check();
        plan
    }
}

/// Persistent worlds with the real storage code, in a hundred. It makes a world several times as
/// expensive.
const REAL_STORAGE_PERCENT: u32 = 15;

/// The options of `seed`, with the caller's in their place.
pub fn draw_options(seed: u64, overrides: &Overrides) -> Options {
    let rng = &mut Rng::of(seed, Concern::Options, 0);
    let mut options = draw_shape(seed, rng);
    draw_tempo(&mut options, rng);
    // Its own stream: which worlds have it changes nothing else in any.
    let real = Rng::of(seed, Concern::Engine, 0).percent(REAL_STORAGE_PERCENT);
    for (name, text) in &overrides.options {
        options.set(name, text).expect("overrides were accepted where they were read");
    }
    let fixed = |option| overrides.options.iter().any(|(name, _)| *name == option);
    if !fixed("observers") {
        options.observers = options.observers.min(SERVERS_MAX.saturating_sub(options.servers));
    }
    if !fixed("inputs-per-poll") {
        options.inputs_per_poll = draw_inputs_per_poll(seed);
    }
    if real && !fixed("storage") && options.mode == Durability::Persistent {
        options.storage = Storage::Real;
    }
    options
}

/// In two worlds of five each input is polled by itself; in the others several come together.
fn draw_inputs_per_poll(seed: u64) -> u32 {
    // Its own stream: it changes nothing else in any world.
    let rng = &mut Rng::of(seed, Concern::Options, 1);
    let most = [1, 8, 128][rng.weighted(&[40, 30, 30])];
    rng.within(u64::from(most > 1) + 1, most.max(1)) as u32
}

fn draw_shape(seed: u64, rng: &mut Rng) -> Options {
    let servers = [1, 2, 3, 5, 7][rng.weighted(&[6, 3, 60, 25, 3])];
    let observers = [0, 1, 2][rng.weighted(&[70, 20, 10])];
    let mode = *rng.pick(&[Durability::Memory, Durability::Persistent]);
    let group = [Group::Ring, Group::Adversary][rng.weighted(&[80, 20])];
    let limits = *rng.pick(&[Scale::Tiny, Scale::Small, Scale::Roomy]);
    Options {
        seed,
        servers,
        observers,
        mode,
        group,
        limits,
        clients: rng.within(1, 8) as u32,
        workloads: draw_workloads(rng),
        operations: rng.log_uniform(32, 1024) as u32,
        ..Options::default()
    }
}

/// One workload in half of the worlds, several together in the others.
fn draw_workloads(rng: &mut Rng) -> Vec<WorkloadKind> {
    let first = *rng.pick(&WorkloadKind::ALL);
    let together = rng.percent(50);
    let mut drawn = vec![first];
    for kind in WorkloadKind::ALL {
        if rng.percent(40) && together && kind != first {
            drawn.push(kind);
        }
    }
    drawn
}

/// The shortest pause of a client between two operations.
const THINK_MIN: Duration = Duration::from_micros(500);
/// The longest, so that a client still does something in a short world.
const THINK_MAX: Duration = Duration::from_secs(1);

fn draw_tempo(options: &mut Options, rng: &mut Rng) {
    options.think = Duration::from_micros(rng.log_uniform(500, 100_000));
    options.safety = Duration::from_millis(rng.log_uniform(2_000, 32_000));
    if rng.percent(60) {
        // Else all is done, more often than not, before most faults begin.
        let clients = u64::from(options.clients);
        let spread = options.safety.scaled(clients, u64::from(options.operations));
        let percent = rng.within(50, 120);
        options.think = spread.scaled(percent, 100).clamp(THINK_MIN, THINK_MAX);
    }
    options.delay_min = Duration::from_micros(rng.log_uniform(20, 2_000));
    options.delay_max = options.delay_min + Duration::from_micros(rng.log_uniform(1, 8_000));
    let calm = rng.percent(50);
    let per_mille = |rng: &mut Rng, most| {
        let drawn = rng.log_uniform(1, most) as u32;
        if calm { 0 } else { drawn }
    };
    options.loss_per_mille = per_mille(rng, 64);
    options.duplicate_per_mille = per_mille(rng, 64);
    options.reorder_per_mille = per_mille(rng, 256);
    options.sync_min = Duration::from_micros(rng.log_uniform(20, 4_000));
    options.sync_max = options.sync_min + Duration::from_micros(rng.log_uniform(1, 32_000));
    options.check_every = *rng.pick(&[1, 8, 64]);
}

/// The faults of the world of `options`.
pub fn draw_faults(options: &Options, mix: &FaultMix) -> Vec<Fault> {
    let rng = &mut Rng::of(options.seed, Concern::Plan, 0);
    let weights = mix.weights(options, rng);
    let safety_ms = options.safety.to_millis().max(1);
    let something = weights.iter().any(|weight| *weight > 0);
    let count = if something { rng.log_uniform(1, 32) } else { 0 };
    let amnesia = draw_amnesia(options, mix, rng);
    let recovery = draw_recovery(options, mix);
    let mut faults: Vec<Fault> = (0..count)
        .map(|number| {
            let rng = &mut Rng::of(options.seed, Concern::Plan, 1 + number);
            let at = Duration::from_millis(rng.below(safety_ms));
            let left_ms = safety_ms - at.to_millis();
            let lasts = Duration::from_millis(rng.log_uniform(1, left_ms.clamp(1, 8_000)));
            let kind = draw_kind(Kind::ALL[rng.weighted(&weights)], options, rng);
            let lasts = if kind.kind().lasts() { lasts } else { Duration::ZERO };
            Fault { at, lasts, kind }
        })
        .chain(amnesia)
        .chain(recovery)
        .chain(draw_damage(options, mix))
        .chain(super::scenario::draw(options, mix))
        .collect();
    faults.sort_by_key(|fault| fault.at);
    faults
}

/// In one world in sixteen of those that could, a majority loses its memory, or everybody.
fn draw_amnesia(options: &Options, mix: &FaultMix, rng: &mut Rng) -> Option<Fault> {
    let at_ms = rng.within(options.safety.to_millis() / 2, options.safety.to_millis());
    let drawn = rng.below(16) == 0 || !mix.swarm;
    let possible = options.mode == Durability::Memory && options.servers >= 3;
    let fault = Fault {
        at: Duration::from_millis(at_ms),
        lasts: Duration::from_millis(rng.log_uniform(1, 2_000)),
        kind: if rng.percent(30) { FaultKind::Oblivion } else { FaultKind::Amnesia },
    };
    (drawn && possible && mix.kinds.contains(&fault.kind.kind())).then_some(fault)
}

/// In one world in eight of those that could, a majority is lost, and the operator goes on without.
fn draw_recovery(options: &Options, mix: &FaultMix) -> Vec<Fault> {
    // Its own stream: which worlds have it changes nothing else in any.
    let rng = &mut Rng::of(options.seed, Concern::Plan, RECOVERY_STREAM);
    let drawn = rng.below(8) == 0 || !mix.swarm;
    let possible = options.servers >= 3 && mix.kinds.contains(&Kind::Recover);
    let safety_ms = options.safety.to_millis();
    let at_ms = rng.within(safety_ms / 8, safety_ms * 5 / 8);
    let fault = Fault {
        at: Duration::from_millis(at_ms),
        lasts: Duration::from_millis(rng.log_uniform(1_000, 8_000)),
        kind: FaultKind::Recover,
    };
    if !drawn || !possible {
        return Vec::new();
    }
    let mut faults = vec![fault];
    if rng.percent(60) && mix.kinds.contains(&Kind::Partition) {
        // The others go on without those who are to be left, who then lack what the lost had.
        let before_ms = rng.within(200, 2_500).min(at_ms);
        let last = options.servers - options.servers / 2..=options.servers;
        let left: Nodes = last.skip(1).collect();
        let until_ms = at_ms + rng.within(500, 3_000);
        faults.push(Fault {
            at: Duration::from_millis(at_ms - before_ms),
            lasts: Duration::from_millis(until_ms + before_ms - at_ms),
            kind: FaultKind::Partition(left),
        });
    }
    faults
}

/// In one world in eight of those that could, the state of one server is damaged.
fn draw_damage(options: &Options, mix: &FaultMix) -> Vec<Fault> {
    // Its own stream: which worlds have it changes nothing else in any.
    let rng = &mut Rng::of(options.seed, Concern::Plan, DAMAGE_STREAM);
    let drawn = rng.below(8) == 0 || !mix.swarm;
    // In memory mode, who stops itself forgets.
    let possible = options.mode == Durability::Persistent && options.servers >= 3;
    let safety_ms = options.safety.to_millis();
    let at_ms = rng.within(safety_ms / 8, safety_ms);
    let node = rng.within(1, u64::from(options.nodes())) as u32;
    let kind = FaultKind::Damage(node);
    if !drawn || !possible || !mix.kinds.contains(&Kind::Damage) {
        return Vec::new();
    }
    let mut faults = vec![Fault { at: Duration::from_millis(at_ms), lasts: Duration::ZERO, kind }];
    if rng.percent(40) && mix.kinds.contains(&Kind::Wipe) {
        // Another voter has its vote back in the same epoch: it counts with the others.
        let readmitted = node % options.servers + 1;
        let before_ms = rng.within(300, 2_000).min(at_ms);
        faults.push(Fault {
            at: Duration::from_millis(at_ms - before_ms),
            lasts: Duration::from_millis(rng.within(1, before_ms.max(2) / 2)),
            kind: FaultKind::Wipe(readmitted),
        });
    }
    faults
}

/// Numbers the draws of damage, apart from those of single faults.
const DAMAGE_STREAM: u64 = 1 << 34;

/// Numbers the draws of recoveries, apart from those of single faults.
const RECOVERY_STREAM: u64 = 1 << 33;

fn draw_kind(kind: Kind, options: &Options, rng: &mut Rng) -> FaultKind {
    let nodes = u64::from(options.nodes());
    let node = rng.within(1, nodes) as u32;
    let client = rng.within(1, u64::from(options.clients)) as u32;
    let percent = rng.log_uniform(1, 60) as u32;
    match kind {
        Kind::Partition => FaultKind::Partition(draw_side(options, rng)),
        Kind::OneWay => {
            let from = draw_side(options, rng);
            let to = (1..=options.nodes()).filter(|node| !from.contains(*node));
            FaultKind::OneWay(from, to.collect())
        }
        Kind::Sever => {
            let other = (u64::from(node) - 1 + rng.within(1, nodes - 1)) % nodes + 1;
            FaultKind::Sever(node, other as u32)
        }
        Kind::Loss => FaultKind::Loss(percent),
        Kind::Duplicate => FaultKind::Duplicate(percent),
        Kind::Reorder => FaultKind::Reorder(percent),
        Kind::Delay => FaultKind::Delay(Duration::from_millis(rng.log_uniform(1, 500))),
        Kind::Crash => FaultKind::Crash(node),
        Kind::PowerLoss => FaultKind::PowerLoss(node),
        Kind::Blackout => FaultKind::Blackout,
        Kind::StartKill => FaultKind::StartKill(node),
        Kind::StartLoss => FaultKind::StartLoss(node),
        Kind::Wipe => FaultKind::Wipe(node),
        Kind::Rot => FaultKind::Rot(node),
        Kind::Swap => FaultKind::Swap(node),
        Kind::Pause => FaultKind::Pause(node),
        Kind::ClockRate => FaultKind::ClockRate(node, rng.log_uniform(10, 1_000) as u32),
        Kind::ClockLeap => {
            FaultKind::ClockLeap(node, Duration::from_millis(rng.log_uniform(10, 10_000)))
        }
        Kind::SlowDisk => {
            FaultKind::SlowDisk(node, Duration::from_millis(rng.log_uniform(5, 1_000)))
        }
        Kind::FailDisk => FaultKind::FailDisk(node),
        Kind::AddVoter => {
            let observer = options.servers as u64 + rng.within(1, u64::from(options.observers));
            FaultKind::AddVoter(observer as u32)
        }
        Kind::RemoveVoter => FaultKind::RemoveVoter(node),
        Kind::HangUp => FaultKind::HangUp(node),
        Kind::Unreachable => FaultKind::Unreachable(node),
        Kind::Isolate => FaultKind::Isolate(client),
        Kind::Gone => FaultKind::Gone(client),
        Kind::Amnesia => FaultKind::Amnesia,
        Kind::Oblivion => FaultKind::Oblivion,
        Kind::Recover => FaultKind::Recover,
        Kind::Damage => FaultKind::Damage(node),
    }
}

/// One side of a partition: not empty, not everybody.
fn draw_side(options: &Options, rng: &mut Rng) -> Nodes {
    let count = options.nodes();
    let side: Nodes = (1..=count).filter(|_| rng.percent(50)).collect();
    let lonely = rng.within(1, u64::from(count)) as u32;
    let proper = !side.is_empty() && side.len() < count as usize;
    if proper { side } else { [lonely].into_iter().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_plan_is_a_function_of_its_seed() {
        let overrides = Overrides::default();
        assert_eq!(Plan::draw(5, &overrides), Plan::draw(5, &overrides));
        assert_ne!(Plan::draw(5, &overrides), Plan::draw(6, &overrides));
    }

    #[test]
    fn a_few_hundred_seeds_draw_every_shape_and_every_fault() {
        let plans: Vec<Plan> =
            (0..600).map(|seed| Plan::draw(seed, &Overrides::default())).collect();
        let kinds: BTreeSet<Kind> = plans
            .iter()
            .flat_map(|plan| plan.faults.iter().map(|fault| fault.kind.kind()))
            .collect();
        assert_eq!(kinds.len(), Kind::ALL.len(), "{kinds:?}");
        let servers: BTreeSet<u32> = plans.iter().map(|plan| plan.options.servers).collect();
        assert_eq!(servers, [1, 2, 3, 5, 7].into_iter().collect());
        let tiny = plans.iter().filter(|plan| plan.options.limits == Scale::Tiny).count();
        assert!((150..250).contains(&tiny), "{tiny} of 600 worlds are tiny");
    }

    #[test]
    fn an_option_or_a_mix_of_the_caller_is_kept() {
        let overrides = Overrides {
            options: vec![("servers", "5".to_owned()), ("mode", "memory".to_owned())],
            faults: FaultMix::parse("pause,gone").expect("two kinds"),
        };
        for seed in 0..50 {
            let plan = Plan::draw(seed, &overrides);
            assert_eq!((plan.options.servers, plan.options.mode), (5, Durability::Memory));
            let only = |fault: &Fault| matches!(fault.kind.kind(), Kind::Pause | Kind::Gone);
            assert!(plan.faults.iter().all(only));
        }
        assert_eq!(FaultMix::parse("none"), Ok(FaultMix::none()));
        assert!(FaultMix::parse("pause,melt").is_err());
    }
}
