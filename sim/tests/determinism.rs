//! The same seed gives the same events: twice in a process, in two processes, told or not, at any
//! number of threads. (That a debug and a release build agree is part of continuous integration,
//! which has both.)

use accord_sim::plan::{Overrides, Plan};
use accord_sim::world;
use std::process::Command;

const SEEDS: std::ops::Range<u64> = 0..12;

fn digest(seed: u64) -> u64 {
    world::run(&Plan::draw(seed, &Overrides::default()), None).digest
}

#[test]
fn twice_in_one_process_and_once_in_another() {
    for seed in SEEDS {
        let first = digest(seed);
        assert_eq!(first, digest(seed), "seed {seed}, again in this process");
        let mut replay = Command::new(env!("CARGO_BIN_EXE_accord-sim"));
        let output = replay.args(["replay", "--seed", &seed.to_string()]).output().expect("runs");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let expected = format!("seed {seed} digest {first:016x}");
        assert!(printed.contains(&expected), "{printed}, but here {expected}");
    }
}

#[test]
fn telling_the_story_changes_nothing() {
    for seed in SEEDS {
        let plan = Plan::draw(seed, &Overrides::default());
        let told = world::run(&plan, Some(Box::new(std::io::sink())));
        assert_eq!(told.digest, world::run(&plan, None).digest, "seed {seed}");
    }
}

#[test]
fn a_plan_written_and_read_again_gives_the_same_events() {
    for seed in SEEDS {
        let plan = Plan::draw(seed, &Overrides::default());
        let read = accord_sim::plan::text::read(&plan.to_string()).expect("its own text");
        assert_eq!(world::run(&read, None).digest, digest(seed), "seed {seed}");
    }
}

#[test]
fn different_seeds_give_different_events() {
    let digests: std::collections::BTreeSet<u64> = SEEDS.map(digest).collect();
    assert_eq!(digests.len(), SEEDS.count());
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let run = |threads: &str| {
        let mut campaign = Command::new(env!("CARGO_BIN_EXE_accord-sim"));
        campaign.args(["run", "--seeds", "12", "--json", "--threads", threads]);
        let output = campaign.output().expect("runs").stdout;
        let json: serde_json::Value = serde_json::from_slice(&output).expect("JSON");
        (json["digest"].clone(), json["operations"].clone(), json["faults"].clone())
    };
    assert_eq!(run("1"), run("3"));
}
