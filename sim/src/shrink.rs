//! From a plan that fails to a smaller one that fails in the same way.
//!
//! Delta debugging (Zeller and Hildebrandt, 2002) over everything that a plan spells out: faults,
//! their spans, operations, clients, servers, observers, time, the network's habits. A change is
//! kept only if the smaller world violates the same property. What happens in a world depends on
//! its seed, so a smaller world is another world: shrinking is a search, not a proof, and it stops
//! after a bounded number of runs.

use crate::options::Scale;
use crate::plan::{Fault, FaultKind, Nodes, Plan};
use crate::properties::{Property, Violation};
use accord_core::time::Duration;

/// The most worlds that are run to shrink one plan.
pub const RUNS_MAX: u32 = 400;

/// A smaller plan that fails in the same way.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The plan.
    pub plan: Plan,
    /// How it fails.
    pub violation: Violation,
    /// How many worlds were run to find it.
    pub runs: u32,
}

struct Shrinker<F> {
    best: Plan,
    violation: Violation,
    property: Property,
    runs: u32,
    runs_max: u32,
    run: F,
}

/// Shrinks `plan`, which fails with `violation`. `run` runs a world and returns its violation.
pub fn shrink(
    plan: &Plan,
    violation: &Violation,
    runs_max: u32,
    run: impl FnMut(&Plan) -> Option<Violation>,
) -> Shrunk {
    let property = violation.property;
    let (best, violation) = (plan.clone(), violation.clone());
    let mut shrinker = Shrinker { best, violation, property, runs: 0, runs_max, run };
    loop {
        let before = shrinker.best.clone();
        shrinker.end_early();
        shrinker.drop_faults();
        shrinker.simplify_options();
        shrinker.drop_servers();
        shrinker.drop_clients();
        shrinker.halve_numbers();
        if shrinker.best == before || shrinker.runs >= runs_max {
            break;
        }
    }
    Shrunk { plan: shrinker.best, violation: shrinker.violation, runs: shrinker.runs }
}

impl<F: FnMut(&Plan) -> Option<Violation>> Shrinker<F> {
    /// Keeps `plan` if it is another plan that fails in the same way.
    fn try_plan(&mut self, plan: Plan) -> bool {
        if plan == self.best || plan.options.problem().is_some() || self.runs >= self.runs_max {
            return false;
        }
        self.runs += 1;
        match (self.run)(&plan) {
            Some(violation) if violation.property == self.property => {
                (self.best, self.violation) = (plan, violation);
                true
            }
            _ => false,
        }
    }

    fn try_change(&mut self, change: impl FnOnce(&mut Plan)) -> bool {
        let mut plan = self.best.clone();
        change(&mut plan);
        self.try_plan(plan)
    }

    /// Ends the storm when the violation was seen, if it was seen in it.
    fn end_early(&mut self) {
        let seen = Duration::from_millis(self.violation.at.since_start().as_millis() + 1);
        if seen < self.best.options.safety {
            self.try_change(|plan| {
                plan.options.safety = seen;
                plan.faults.retain(|fault| fault.at < seen);
            });
        }
    }

    /// Drops faults, first in large groups, then one by one.
    fn drop_faults(&mut self) {
        let mut group = self.best.faults.len();
        while group > 0 {
            let mut from = 0;
            while from < self.best.faults.len() {
                let dropped = self.try_change(|plan| {
                    let to = (from + group).min(plan.faults.len());
                    plan.faults.drain(from..to);
                });
                if !dropped {
                    from += group;
                }
            }
            group /= 2;
        }
    }

    fn simplify_options(&mut self) {
        self.try_change(|plan| {
            let options = &mut plan.options;
            options.loss_per_mille = 0;
            options.duplicate_per_mille = 0;
            options.reorder_per_mille = 0;
        });
        self.try_change(|plan| plan.options.reorder_per_mille = 0);
        self.try_change(|plan| plan.options.duplicate_per_mille = 0);
        self.try_change(|plan| plan.options.loss_per_mille = 0);
        self.try_change(|plan| plan.options.limits = Scale::Roomy);
        for kind in self.best.options.workloads.clone() {
            if self.best.options.workloads.len() > 1 {
                self.try_change(|plan| plan.options.workloads = vec![kind]);
            }
        }
    }

    fn drop_servers(&mut self) {
        while self.best.options.observers > 0 {
            let dropped = self.try_change(|plan| {
                plan.options.observers -= 1;
                without_strangers(plan);
            });
            if !dropped {
                break;
            }
        }
        for servers in [1, 2, 3, 5] {
            if servers < self.best.options.servers
                && self.try_change(|plan| {
                    plan.options.servers = servers;
                    without_strangers(plan);
                })
            {
                break;
            }
        }
    }

    fn drop_clients(&mut self) {
        for clients in [1, 2, 3, 4, 6] {
            if clients < self.best.options.clients
                && self.try_change(|plan| {
                    plan.options.clients = clients;
                    without_strangers(plan);
                })
            {
                break;
            }
        }
    }

    fn halve_numbers(&mut self) {
        while self.best.options.operations > 1 {
            if !self.try_change(|plan| plan.options.operations /= 2) {
                break;
            }
        }
        for at in 0..self.best.faults.len() {
            while self.best.faults[at].lasts > Duration::from_millis(1) {
                let halved = self.try_change(|plan| {
                    let lasts = plan.faults[at].lasts.as_millis() / 2;
                    plan.faults[at].lasts = Duration::from_millis(lasts);
                });
                if !halved {
                    break;
                }
            }
        }
    }
}

/// Drops what names servers or clients that are no more.
fn without_strangers(plan: &mut Plan) {
    let (nodes, clients) = (plan.options.nodes(), plan.options.clients);
    let faults = std::mem::take(&mut plan.faults);
    plan.faults = faults.into_iter().filter_map(|fault| reduced(fault, nodes, clients)).collect();
}

fn reduced(mut fault: Fault, nodes: u32, clients: u32) -> Option<Fault> {
    let known = |set: Nodes| set.iter().filter(|node| *node <= nodes).collect::<Nodes>();
    match &mut fault.kind {
        FaultKind::Partition(side) => {
            *side = known(*side);
            let proper = !side.is_empty() && side.len() < nodes as usize;
            return proper.then_some(fault);
        }
        FaultKind::OneWay(from, to) => {
            (*from, *to) = (known(*from), known(*to));
            return (!from.is_empty() && !to.is_empty()).then_some(fault);
        }
        _ => {}
    }
    let known_client = fault.kind.client().is_none_or(|client| client <= clients);
    (fault.kind.nodes().max() <= nodes && known_client).then_some(fault)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WorldTime;
    use crate::plan::{FaultMix, Kind, Overrides};

    fn violation(property: Property) -> Violation {
        let at = WorldTime::START.after(Duration::from_millis(1));
        Violation { property, at, detail: String::new() }
    }

    /// Fails if a crash of server 2 comes after a pause of server 1, with three servers at least.
    fn artificial(plan: &Plan) -> Option<Violation> {
        let pause = plan.faults.iter().position(|fault| fault.kind == FaultKind::Pause(1))?;
        let crash = plan.faults.iter().rposition(|fault| fault.kind == FaultKind::Crash(2))?;
        let fails = pause < crash && plan.options.servers >= 3;
        fails.then(|| violation(Property::DigestsAgree))
    }

    fn failing_plan() -> Plan {
        let mut overrides = Overrides { faults: FaultMix::everything(), ..Overrides::default() };
        overrides.options = vec![("servers", "5".to_owned()), ("mode", "persistent".to_owned())];
        let plans = (0..1000).map(|seed| Plan::draw(seed, &overrides));
        let fails = |plan: &Plan| artificial(plan).is_some() && plan.faults.len() > 20;
        plans.into_iter().find(fails).expect("one in a thousand fails")
    }

    #[test]
    fn what_does_not_matter_is_dropped() {
        let plan = failing_plan();
        let shrunk = shrink(&plan, &violation(Property::DigestsAgree), RUNS_MAX, artificial);
        let kinds: Vec<Kind> = shrunk.plan.faults.iter().map(|fault| fault.kind.kind()).collect();
        assert_eq!(kinds, [Kind::Pause, Kind::Crash], "from {} faults", plan.faults.len());
        assert_eq!((shrunk.plan.options.servers, shrunk.plan.options.clients), (3, 1));
        assert_eq!(shrunk.plan.options.operations, 1);
        assert!(artificial(&shrunk.plan).is_some() && shrunk.runs <= RUNS_MAX);
        shrunk.plan.check();
    }

    #[test]
    fn another_property_is_another_failure() {
        let plan = failing_plan();
        let other = |_: &Plan| Some(violation(Property::Convergence));
        let shrunk = shrink(&plan, &violation(Property::DigestsAgree), 50, other);
        assert_eq!((shrunk.plan, shrunk.runs <= 50), (plan, true));
    }
}
