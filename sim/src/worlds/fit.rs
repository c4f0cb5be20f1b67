//! What of a plan a simulated world can express, and the plan as it runs there.
//!
//! A plan is drawn as for the bare world and then fitted: everything takes milliseconds where the
//! bare world has microseconds, storms are shorter, since a simulator runs some fifty times slower,
//! and what makes no sense is left out. Fitting is a function of the plan, and fitting a fitted
//! plan changes nothing, so a plan that was saved runs as it ran.

use super::WorldKind;
use crate::plan::options::{Group, Options, Storage};
use crate::plan::{Kind, Plan};
use accord_core::replica::config::Durability;
use accord_core::time::{Duration, DurationExt};

/// The longest storm.
const SAFETY_MAX: Duration = Duration::from_secs(5);
/// The most operations of all clients.
const OPERATIONS_MAX: u32 = 400;
/// The shortest mean pause of a client.
const THINK_MIN: Duration = Duration::from_millis(4);
/// The fastest packet: simulators count in milliseconds.
const DELAY_MIN: Duration = Duration::from_millis(1);
/// The slowest may take at least this long.
const DELAY_MAX_LEAST: Duration = Duration::from_millis(5);
/// The slowest takes no longer than this.
const DELAY_MAX_MOST: Duration = Duration::from_millis(12);
/// What goes by in steps of a millisecond at both ends of a way: the tempo of servers reckons with
/// it, and the simulator's own delays do not have it.
const STEPS: Duration = Duration::from_millis(3);

/// How well a world expresses something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expressed {
    /// As the bare world does.
    Fully,
    /// With a difference.
    With(&'static str),
    /// Not at all: it is left out of the plan.
    Not(&'static str),
}

/// How well a world expresses a kind of fault.
pub const fn expressed(world: WorldKind, kind: Kind) -> Expressed {
    if matches!(world, WorldKind::Bare) {
        return Expressed::Fully;
    }
    let turmoil = matches!(world, WorldKind::Turmoil);
    match kind {
        Kind::Partition | Kind::OneWay | Kind::Sever if turmoil => Expressed::With(
            "streams between servers are reset when the cut ends: what a cut swallows is never sent again",
        ),
        Kind::Partition | Kind::OneWay | Kind::Sever => Expressed::With(
            "streams stall and go on after the cut; a stream's end is seen even through a cut",
        ),
        Kind::Loss | Kind::Duplicate | Kind::Reorder | Kind::Delay => {
            Expressed::With("done to the ring's datagrams; streams are complete and in order")
        }
        Kind::Unreachable | Kind::Isolate if turmoil => {
            Expressed::With("connections are reset when the cut ends, as in the bare world")
        }
        Kind::Unreachable | Kind::Isolate => {
            Expressed::With("connections stall and go on after the cut")
        }
        Kind::Crash if turmoil => {
            Expressed::With("peers see the end of streams, unless they are cut")
        }
        Kind::Crash => Expressed::With("peers see the end of streams at once: none is half open"),
        Kind::Pause => Expressed::With("the disk's syncs stand still as well"),
        Kind::StartKill | Kind::StartLoss => Expressed::Not("a start is not cut off half-way"),
        Kind::Recover => Expressed::Not("no operator recovers a cluster there"),
        Kind::Damage => Expressed::Not("no state is damaged there"),
        _ => Expressed::Fully,
    }
}

/// What a world cannot express of a plan's options, for people.
pub const fn options_lost(world: WorldKind) -> &'static [&'static str] {
    match world {
        WorldKind::Bare => &[],
        WorldKind::Turmoil | WorldKind::Madsim => &[
            "group adversary: servers of accord-net have the ring",
            "storage modelled: they have the real store, on the simulated disk",
            "delays and pauses below a millisecond",
            "storms of more than 5 s: times are scaled down",
            "the judge of the group's contract, which stands between ring and replica",
        ],
    }
}

/// The plan as it runs in this world, and how many of its faults were left out.
pub fn fit(world: WorldKind, plan: &Plan) -> (Plan, u64) {
    let mut plan = plan.clone();
    if world == WorldKind::Bare {
        return (plan, 0);
    }
    let before = plan.options.safety;
    fit_options(&mut plan.options);
    let after = plan.options.safety;
    let faults = plan.faults.len();
    plan.faults.retain(|fault| !matches!(expressed(world, fault.kind.kind()), Expressed::Not(_)));
    if after < before {
        for fault in &mut plan.faults {
            fault.at = fault.at.scaled(after.to_millis(), before.to_millis());
            fault.lasts = fault.lasts.scaled(after.to_millis(), before.to_millis());
        }
    }
    let left_out = faults - plan.faults.len();
    (plan, left_out as u64)
}

fn fit_options(options: &mut Options) {
    options.group = Group::Ring;
    options.storage = match options.mode {
        Durability::Memory => Storage::Modelled,
        Durability::Persistent => Storage::Real,
    };
    if options.safety > SAFETY_MAX {
        let think = options.think.scaled(SAFETY_MAX.to_millis(), options.safety.to_millis());
        (options.safety, options.think) = (SAFETY_MAX, think);
    }
    options.think = options.think.max(THINK_MIN);
    options.operations = options.operations.min(OPERATIONS_MAX);
    options.delay_min = options.delay_min.max(DELAY_MIN);
    options.delay_max =
        options.delay_max.clamp(DELAY_MAX_LEAST, DELAY_MAX_MOST).max(options.delay_min + STEPS);
}

/// The simulator's own delays in the world of fitted options, whose end is not reached.
pub fn latencies(options: &Options) -> (Duration, Duration) {
    let min = options.delay_min;
    let max = options.delay_max.to_nanos().saturating_sub(STEPS.to_nanos());
    let max = Duration::from_nanos(max).max(min + Duration::from_millis(1));
    (min, max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Overrides;

    #[test]
    fn a_fitted_plan_makes_sense_and_stays_as_it_is() {
        for seed in 0..300 {
            let drawn = Plan::draw(seed, &Overrides::default());
            for world in [WorldKind::Turmoil, WorldKind::Madsim] {
                let (fitted, _) = fit(world, &drawn);
                fitted.check();
                assert_eq!(fit(world, &fitted), (fitted.clone(), 0), "seed {seed}");
                assert!(fitted.options.safety <= SAFETY_MAX);
                let (min, max) = latencies(&fitted.options);
                assert!(min < max && max.as_millis() <= 12, "{min:?}..{max:?}");
            }
            assert_eq!(fit(WorldKind::Bare, &drawn), (drawn, 0));
        }
    }
}
