//! Slow networks and many servers: a healthy world must come to rest however long a message takes,
//! since every time-out is drawn to suit the network.

use accord_sim::judge::Property;
use accord_sim::plan::options::Options;
use accord_sim::plan::{FaultMix, Overrides, Plan};
use accord_sim::world;

fn plan(seed: u64, faults: &str, options: &[(&'static str, &str)]) -> Plan {
    let mut overrides =
        Overrides { faults: FaultMix::parse(faults).expect("a mix"), ..Overrides::default() };
    for (name, text) in options {
        Options::default().set(name, text).expect("a good text");
        overrides.options.push((name, (*text).to_owned()));
    }
    Plan::draw(seed, &overrides)
}

/// Reads were refused for ever, since their wait was bounded without regard to the delay, and each
/// refusal made another read.
#[test]
fn reads_are_answered_however_slow_the_network_is() {
    let once = plan(1_700_065, "swarm", &[("delay-max", "40ms")]);
    assert_eq!(world::run(&once, None).violation, None);
    let slow: [&[(&str, &str)]; 3] = [
        &[("servers", "5"), ("delay-min", "20ms"), ("delay-max", "30ms"), ("limits", "tiny")],
        &[("servers", "7"), ("delay-max", "20ms"), ("limits", "tiny")],
        &[("servers", "9"), ("delay-max", "30ms"), ("limits", "tiny")],
    ];
    for options in slow {
        for faults in ["none", "swarm"] {
            let run = world::run(&plan(1_760_366, faults, options), None);
            assert_eq!(run.violation, None, "{options:?}, faults {faults}");
            assert!(run.counts.operations_ok > 0, "{options:?}");
        }
    }
}

#[test]
fn thirty_one_servers_form_a_cluster_and_serve() {
    for (seed, limits) in [(5, "roomy"), (7, "tiny")] {
        let options = [("servers", "31"), ("limits", limits), ("operations", "60")];
        let run = world::run(&plan(seed, "none", &options), None);
        assert_eq!(run.violation, None, "{limits}");
        assert!(run.counts.operations_ok > 0 && run.counts.epochs > 0, "{limits}");
        for property in [Property::DigestsAgree, Property::PrefixesAgree, Property::Convergence] {
            assert!(run.counts.is_judged(property), "{property} with {limits} limits");
        }
    }
}
