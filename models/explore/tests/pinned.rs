//! The number of states of each model at its small bounds, and what a broken property looks like.
//!
//! A number changes when the core does something else, or the model lets something else happen.
//! Both are to be understood before the number is written down anew: a change that was to keep the
//! core's behaviour keeps the numbers.

use accord_explore::cases::{KNOWN_BUGS, Level, cases};
use accord_explore::run::{Limits, Report};
use std::collections::BTreeSet;

/// A case with the depth at which it is cut, the states that differ, and all that are generated.
type Pinned = (&'static str, Option<usize>, usize, usize);

const PINNED: [Pinned; 23] = [
    ("replica-views", None, 9290, 21910),
    ("replica-order", None, 3124, 7594),
    ("replica-crash", None, 19129, 53841),
    ("replica-wipe", None, 19906, 57214),
    ("replica-reads", None, 534, 1241),
    ("voters", None, 10818, 31078),
    ("voters-readmitted", Some(24), 26522, 52094),
    ("voters-twice", None, 2413, 3801),
    ("digests", None, 25, 28),
    ("recovery", None, 3427, 4727),
    ("recovery-more", None, 1917, 2820),
    ("recovery-apart", None, 966, 1093),
    ("recovery-cut", None, 12854, 30155),
    ("recovery-crash", None, 1692, 2135),
    ("recovery-image", None, 2240, 3061),
    ("sessions", None, 4895, 9105),
    ("sessions-return", None, 3532, 6390),
    ("sessions-linear", None, 13925, 29839),
    ("watches", None, 14652, 41315),
    ("watches-own", None, 13323, 28866),
    ("ring-losses", None, 306, 468),
    ("ring-copies", None, 858, 1494),
    ("ring-recovery", None, 8458, 17004),
];

fn verify(name: &str, depth: Option<usize>) -> Report {
    let case = cases(Level::Small).into_iter().find(|case| case.name == name).unwrap();
    // One thread: breadth first, what lies beyond a bound on the depth depends on the order.
    let limits = Limits { depth, states_max: 1_000_000, threads: 1 };
    case.model.verify(limits, &mut |_| {})
}

#[test]
fn the_models_have_as_many_states_as_they_had_and_all_of_them_are_good() {
    let names: Vec<&str> = cases(Level::Small).iter().map(|case| case.name).collect();
    assert_eq!(names, PINNED.map(|(name, ..)| name));
    for (name, depth, unique, generated) in PINNED {
        let report = verify(name, depth);
        assert_eq!(report.broken, [], "{name}");
        assert_eq!(
            (report.progress.unique, report.progress.generated),
            (unique, generated),
            "{name}"
        );
        assert_eq!(report.complete, depth.is_none(), "{name}");
        assert!(report.is_good(), "{name}: never {:?}", report.unreached);
    }
}

#[test]
fn a_bound_on_the_depth_or_the_states_is_told() {
    let shallow = verify("sessions", Some(5));
    assert!(!shallow.complete && shallow.progress.unique < 100, "{:?}", shallow.progress);
    assert!(!shallow.unreached.is_empty(), "nobody comes far in five steps");
    let case = cases(Level::Small).into_iter().find(|case| case.name == "sessions").unwrap();
    let limits = Limits { depth: None, states_max: 1000, threads: 1 };
    assert!(!case.model.verify(limits, &mut |_| {}).complete);
}

#[test]
fn both_levels_have_the_same_cases_and_the_known_bugs_name_them() {
    let names = |level| cases(level).iter().map(|case| case.name).collect::<BTreeSet<_>>();
    assert_eq!(names(Level::Small), names(Level::Full));
    for (bug, case, level) in KNOWN_BUGS {
        assert!(names(Level::Small).contains(case), "{bug}");
        assert!(["small", "full"].contains(&level), "{bug}");
    }
}
