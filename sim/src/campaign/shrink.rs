//! From a plan that fails to a smaller one that fails in the same way.
//!
//! Delta debugging (Zeller and Hildebrandt, 2002) over everything that a plan spells out: faults,
//! their spans and moments, operations, clients, servers, observers, time, the network's habits. A
//! change is kept only if the smaller world violates the same property, so the plan that comes out
//! is known to fail.
//!
//! What happens in a world depends on its seed, so a smaller world is another world, in which the
//! same mistake needs another stroke of luck. Therefore two rounds: the first keeps the seed; the
//! second gives each smaller plan some further seeds, which is what brings a plan of dozens of
//! faults and hundreds of operations down to something a person can follow. Shrinking is a search,
//! not a proof; it ends when no change helps any more, or after a bounded number of runs, and is a
//! function of the plan.

use crate::judge::{Property, Violation};
use crate::plan::options::{Scale, Storage};
use crate::plan::{Fault, FaultKind, Nodes, Plan};
use accord_core::time::{Duration, DurationExt};

/// The most worlds that are run to shrink one plan.
pub const RUNS_MAX: u32 = 2_000;
/// The part of them, in percent, that the round with the plan's own seed may take.
const FIRST_ROUND_PERCENT: u32 = 40;
/// Further seeds for each smaller plan in the second round.
const SEEDS_TRIED: u32 = 6;
/// Servers form their group in the first part of a world: no fault is moved into it.
const QUIET: Duration = Duration::from_millis(300);

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
    /// Further seeds that each smaller plan is given.
    seeds: u32,
    /// The last of these.
    seed_last: u64,
    run: F,
}

/// Shrinks `plan`, which fails with `violation`. `run` runs a world and returns its violation.
pub fn shrink(
    plan: &Plan,
    violation: &Violation,
    runs_max: u32,
    run: impl FnMut(&Plan) -> Option<Violation>,
) -> Shrunk {
    let mut shrinker = Shrinker {
        best: plan.clone(),
        violation: violation.clone(),
        property: violation.property,
        runs: 0,
        runs_max: runs_max.saturating_mul(FIRST_ROUND_PERCENT) / 100,
        seeds: 0,
        seed_last: 0,
        run,
    };
    shrinker.shrink_fully();
    (shrinker.runs_max, shrinker.seeds) = (runs_max, SEEDS_TRIED);
    shrinker.shrink_fully();
    Shrunk { plan: shrinker.best, violation: shrinker.violation, runs: shrinker.runs }
}

impl<F: FnMut(&Plan) -> Option<Violation>> Shrinker<F> {
    /// Makes the plan smaller until nothing helps any more.
    fn shrink_fully(&mut self) {
        loop {
            let before = self.best.clone();
            self.end_early();
            self.drop_faults();
            self.fewer_operations();
            self.simplify_options();
            self.drop_servers();
            self.drop_clients();
            self.fewer_operations();
            self.less_time();
            self.halve_spans();
            if self.best == before || self.runs >= self.runs_max {
                break;
            }
        }
    }

    /// Keeps `plan` if it is another plan that fails in the same way, with the seed that it has or
    /// with another.
    fn try_plan(&mut self, mut plan: Plan) -> bool {
        if plan == self.best || plan.options.problem().is_some() {
            return false;
        }
        for attempt in 0..=self.seeds {
            if attempt > 0 {
                self.seed_last += 1;
                plan.options.seed = self.seed_last;
            }
            if self.fails(&plan) {
                self.best = plan;
                return true;
            }
        }
        false
    }

    /// Runs the world of `plan`. True, and the violation is kept, if it fails in the same way.
    fn fails(&mut self, plan: &Plan) -> bool {
        if self.runs >= self.runs_max {
            return false;
        }
        self.runs += 1;
        match (self.run)(plan) {
            Some(violation) if violation.property == self.property => {
                self.violation = violation;
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
        let seen = Duration::from_millis(self.violation.at.since_start().to_millis() + 1);
        if seen < self.best.options.safety {
            self.try_change(|plan| end_storm_at(plan, seen));
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
        self.try_change(|plan| plan.options.storage = Storage::Modelled);
        if !self.try_change(|plan| plan.options.inputs_per_poll = 1) {
            self.try_change(|plan| {
                plan.options.inputs_per_poll = plan.options.inputs_per_poll.min(4)
            });
        }
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
        let few = |most: u32| [1, 2, 3, 5].into_iter().filter(move |few| *few < most);
        let mut tried: Vec<u32> = few(self.best.options.servers).collect();
        tried.extend(self.best.options.servers.checked_sub(1));
        for servers in tried {
            let dropped = self.try_change(|plan| {
                plan.options.servers = servers;
                without_strangers(plan);
            });
            if dropped {
                break;
            }
        }
    }

    fn drop_clients(&mut self) {
        let few = |most: u32| [1, 2, 3, 4, 6].into_iter().filter(move |few| *few < most);
        let mut tried: Vec<u32> = few(self.best.options.clients).collect();
        tried.extend(self.best.options.clients.checked_sub(1));
        for clients in tried {
            let dropped = self.try_change(|plan| {
                plan.options.clients = clients;
                without_strangers(plan);
            });
            if dropped {
                break;
            }
        }
    }

    /// Fewer operations at the same pace, which are over sooner; or at a slower pace, so that they
    /// still last until what goes wrong.
    fn fewer_operations(&mut self) {
        for (part, parts) in [(1, 8), (1, 2), (3, 4)] {
            loop {
                let before = self.best.options.operations;
                let fewer = (u64::from(before) * part / parts) as u32;
                if fewer == 0 || fewer == before {
                    break;
                }
                let slower = self.best.options.think.scaled(parts, part).min(THINK_MAX);
                let changed = self.try_change(|plan| plan.options.operations = fewer)
                    || self.try_change(|plan| {
                        plan.options.operations = fewer;
                        plan.options.think = slower;
                    });
                if !changed {
                    break;
                }
            }
        }
        while self.best.options.operations > 1 {
            if !self.try_change(|plan| plan.options.operations -= 1) {
                break;
            }
        }
    }

    /// Moves faults together and towards the beginning, and ends the storm sooner.
    fn less_time(&mut self) {
        for at in 0..self.best.faults.len() {
            let begin = if at == 0 { QUIET } else { self.best.faults[at - 1].at };
            let gap = self.best.faults[at].at.to_nanos().saturating_sub(begin.to_nanos());
            for gap in [gap, gap / 2, gap / 4] {
                let by = Duration::from_millis(gap / 1_000_000);
                if by > Duration::ZERO && self.try_change(|plan| move_up(plan, at, by)) {
                    break;
                }
            }
        }
        while self.best.options.safety > QUIET {
            let sooner = Duration::from_millis(self.best.options.safety.to_millis() * 2 / 3);
            if !self.try_change(|plan| end_storm_at(plan, sooner)) {
                break;
            }
        }
    }

    fn halve_spans(&mut self) {
        for at in 0..self.best.faults.len() {
            while self.best.faults[at].lasts > Duration::from_millis(1) {
                let halved = self.try_change(|plan| {
                    let lasts = plan.faults[at].lasts.to_millis() / 2;
                    plan.faults[at].lasts = Duration::from_millis(lasts);
                });
                if !halved {
                    break;
                }
            }
        }
    }
}

/// Clients that think longer than this do nothing at all while a person watches.
const THINK_MAX: Duration = Duration::from_secs(2);

/// Ends the storm at `end`, without the faults that would begin later.
fn end_storm_at(plan: &mut Plan, end: Duration) {
    plan.options.safety = end;
    plan.faults.retain(|fault| fault.at < end);
}

/// Moves the fault number `from` and all after it towards the beginning, and the storm's end too.
fn move_up(plan: &mut Plan, from: usize, by: Duration) {
    let earlier = |at: Duration| Duration::from_nanos(at.to_nanos().saturating_sub(by.to_nanos()));
    for fault in &mut plan.faults[from..] {
        fault.at = earlier(fault.at);
    }
    plan.options.safety = earlier(plan.options.safety).max(QUIET);
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
    use crate::plan::{FaultMix, Kind, Overrides};
    use crate::world::clock::WorldTime;

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
