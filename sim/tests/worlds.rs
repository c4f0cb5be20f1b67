//! Whole servers and clients in simulators: the same seed gives the same events, in a process and
//! in another; different seeds differ; no fault makes a violation, and what goes wrong is seen.

#[cfg(not(madsim))]
compile_error!(
    "these tests need `--cfg madsim`, which .cargo/config.toml sets: unset the environment variable \
     RUSTFLAGS, or put `--cfg madsim` into it"
);

use accord_sim::campaign::Campaign;
use accord_sim::campaign::interrupt::Stop;
use accord_sim::judge::Property;
use accord_sim::plan::WorkloadKind;
use accord_sim::plan::{FaultMix, Kind, Overrides, Plan};
use accord_sim::world::Run;
use accord_sim::worlds::{self, WorldKind};
use std::collections::BTreeSet;
use std::num::NonZero;
use std::process::Command;

const WORLDS: [WorldKind; 2] = [WorldKind::Turmoil, WorldKind::Madsim];

fn short(more: &[(&'static str, &str)], faults: FaultMix) -> Overrides {
    let usual = [("safety", "1500ms"), ("operations", "60")];
    let options = usual.iter().chain(more).map(|(name, text)| (*name, (*text).to_owned()));
    Overrides { options: options.collect(), faults }
}

fn run(world: WorldKind, seed: u64, overrides: &Overrides) -> Run {
    worlds::run(world, &Plan::draw(seed, overrides), None)
}

#[test]
fn twice_in_one_process_and_once_in_another() {
    let overrides = short(&[], FaultMix::default());
    for world in WORLDS {
        for seed in 0..3 {
            let first = run(world, seed, &overrides);
            assert_eq!(first.digest, run(world, seed, &overrides).digest, "{world:?}, seed {seed}");
            let mut replay = Command::new(env!("CARGO_BIN_EXE_accord-sim"));
            let replay = replay.args(["replay", "--world", world.name(), "--seed"]);
            let replay = replay.arg(seed.to_string());
            let replay = replay.args(["--set", "safety=1500ms", "--set", "operations=60"]);
            let output = replay.output().expect("runs");
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            let expected = format!("seed {seed} digest {:016x}", first.digest);
            assert!(printed.contains(&expected), "{world:?}: {printed}, but here {expected}");
        }
    }
}

#[test]
fn different_seeds_and_different_worlds_give_different_events() {
    let overrides = short(&[], FaultMix::none());
    let digests: BTreeSet<u64> = WORLDS
        .into_iter()
        .flat_map(|world| (0..4).map(move |seed| (world, seed)))
        .map(|(world, seed)| run(world, seed, &overrides).digest)
        .collect();
    assert_eq!(digests.len(), 8);
}

#[test]
fn each_workload_gets_its_operations_done_in_calm_worlds() {
    for world in WORLDS {
        for (kind, mode) in
            WorkloadKind::ALL.into_iter().zip(["memory", "persistent"].iter().cycle())
        {
            let more = [("workloads", kind.name()), ("mode", *mode), ("servers", "3")];
            let mut overrides = short(&more, FaultMix::none());
            // What clients try before they have sessions counts as well, and comes to nothing.
            overrides.options.retain(|(name, _)| *name != "operations");
            overrides.options.push(("operations", "600".to_owned()));
            let run = run(world, 5, &overrides);
            assert_eq!(run.violation, None, "{world:?}, {}", kind.name());
            assert!(run.counts.operations_ok >= 10, "{world:?}, {}: {:?}", kind.name(), run.counts);
            assert_eq!(run.counts.faults_total(), 0);
        }
    }
}

#[test]
fn a_small_campaign_meets_faults_and_finds_no_violation() {
    for world in WORLDS {
        let overrides = short(&[], FaultMix::default());
        let threads = NonZero::new(2).expect("not zero");
        let outcome = Campaign {
            world,
            first: 0,
            count: 24,
            overrides,
            threads,
            budget: None,
            stop: Stop::default(),
        }
        .run(|_| {});
        assert_eq!(outcome.failure, None, "{world:?}");
        let counts = outcome.counts;
        assert!(counts.faults.len() >= 10, "{world:?}: {:?}", counts.faults);
        assert!(counts.crashes > 0 && counts.operations_ok > 200, "{world:?}: {counts:?}");
    }
}

#[test]
fn servers_crash_for_a_while_and_are_cut_off_and_others_go_on() {
    for world in WORLDS {
        let faults = FaultMix::parse("crash,partition,oneway,pause,isolate").expect("kinds");
        let more = [("servers", "3"), ("mode", "persistent"), ("clients", "3")];
        let mut happened = BTreeSet::new();
        for seed in 0..6 {
            let run = run(world, seed, &short(&more, faults.clone()));
            assert_eq!(run.violation, None, "{world:?}, seed {seed}");
            happened.extend(run.counts.faults.into_keys());
        }
        assert!(
            happened.contains(&Kind::Crash) && happened.contains(&Kind::Partition),
            "{happened:?}"
        );
    }
}

#[test]
fn a_property_that_is_taken_for_violated_is_reported() {
    let judged = [
        Property::ReadsFresh,
        Property::WatchesTell,
        Property::AcknowledgedSurvive,
        Property::PrefixesAgree,
        Property::DigestsAgree,
        Property::Convergence,
        Property::Workload,
    ];
    for world in WORLDS {
        for property in judged {
            let more = [("canary", property.name()), ("workloads", "register")];
            let run = run(world, 1, &short(&more, FaultMix::none()));
            assert_eq!(run.violation.map(|it| it.property), Some(property), "{world:?}");
        }
    }
}
