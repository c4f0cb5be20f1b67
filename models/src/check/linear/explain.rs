//! From a refused partition to the few operations that contradict each other.
//!
//! Leaving an operation out of a history is no way to shrink it: without the write, every read of
//! its value is wrong. An operation is instead *relaxed*: it may take effect any number of times,
//! or never, at any time ([`Role::Free`]) or at any time up to its return ([`Role::Past`]). If the
//! rest still cannot be ordered, the relaxed operation had nothing to do with the contradiction, or
//! only by being over too early to resolve it. The operations that are left are the explanation,
//! and it is minimal: with any one of them free, there is an order.
//!
//! A contradiction is nearly always near the place where the search got stuck, so shrinking starts
//! with a few operations there, all others being past, and takes more until they contradict.

use std::collections::BTreeMap;

use super::search::{Call, Found, Free, Stuck, search};
use crate::check::budget::{Budget, BudgetLeft};
use crate::history::History;
use crate::spec::Spec;
use crate::verdict::Explanation;

/// What is demanded of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// What the history says.
    Strict,
    /// It takes effect before its return, any number of times or never.
    Past,
    /// It takes effect at any time, any number of times or never.
    Free,
}

/// A contradiction that has been shrunk as far as the budget went.
pub(super) struct Minimal<'a, S: Spec> {
    spec: &'a S,
    /// The operations that contradict each other.
    strict: Vec<Call<S::Op>>,
    /// The longest order of all operations, and the operation that has no place after it.
    furthest: Furthest<S::State>,
    /// Operations that matter only by being over too early: their indices.
    past: Vec<usize>,
    /// How many other operations there are.
    free_count: usize,
    is_minimal: bool,
}

impl<'a, S: Spec> Minimal<'a, S> {
    /// Shrinks `calls`, which cannot be ordered past `stuck`.
    pub(super) fn of(
        spec: &'a S,
        calls: &[Call<S::Op>],
        stuck: Stuck<S::State>,
        budget: &Budget,
    ) -> Self {
        let event = stuck.event;
        let prefix = prefix(calls, event);
        let mut shrinking = Shrinking {
            spec,
            roles: vec![Role::Strict; prefix.len()],
            left: BudgetLeft { steps: budget.explain_steps_max, ..budget.left() },
            steps_per_trial: budget.explain_steps_max / 20,
            prefix,
        };
        let is_minimal = shrinking.shrink();
        let index = |number: &usize| calls[*number].index;
        let furthest = Furthest {
            order: stuck.order.iter().map(index).collect(),
            state: stuck.state,
            blocked: calls.iter().find(|call| call.returned == event).map(|call| call.index),
            event,
        };
        let strict = shrinking.strict();
        let past = shrinking.past();
        let free_count = calls.len() - strict.len() - past.len();
        Self { spec, strict, furthest, past, free_count, is_minimal }
    }

    /// The contradiction in words.
    pub(super) fn explanation(&self, name: &str, history: &History) -> Explanation {
        let summary = match self.strict.len() {
            1 => format!("no order explains the result of this operation on {name}"),
            count => {
                format!("no order of these {count} operations on {name} explains their results")
            }
        };
        let indices = self.strict.iter().map(|call| call.index);
        let mut explanation = Explanation::new("not-linearizable", summary, indices);
        let notes = &mut explanation.notes;
        notes.extend(self.furthest(history));
        if !self.past.is_empty() {
            let past = names(&self.past);
            notes.push(format!("these would help, but were over too early: {past}"));
        }
        if self.free_count > 0 {
            let count = self.free_count;
            notes.push(format!("{count} other operations would not help, wherever they stood"));
        }
        if !self.is_minimal {
            notes.push("the budget ended before the set was smallest".to_owned());
        }
        explanation
    }

    /// The longest order that fits, and what has no place after it.
    fn furthest(&self, history: &History) -> Option<String> {
        let Furthest { order, state, blocked, event } = &self.furthest;
        let index = (*blocked)?;
        let order = match order[..] {
            [] => "nothing else can come before".to_owned(),
            _ => format!("the longest order that fits is {}", names(order)),
        };
        let (f, state) = (&history.operations()[index].f, self.spec.describe(state));
        Some(format!(
            "by event {event}, {order}: then {state}, and #{index} :{f} cannot have its result"
        ))
    }
}

/// Where the search got furthest, with operations by their indices.
struct Furthest<State> {
    order: Vec<usize>,
    state: State,
    blocked: Option<usize>,
    event: u64,
}

/// Operations by index; of many, the last.
fn names(indices: &[usize]) -> String {
    const NAMED_MAX: usize = 6;
    let shown = &indices[indices.len().saturating_sub(NAMED_MAX)..];
    let names: Vec<String> = shown.iter().map(|index| format!("#{index}")).collect();
    match indices.len() - shown.len() {
        0 => names.join(", "),
        more => format!("{more} others and {}", names.join(", ")),
    }
}

/// The part of `calls` that the search could not get past: what was invoked before `event`, and of
/// that, what returned later may have taken effect or not.
fn prefix<Op: Clone>(calls: &[Call<Op>], event: u64) -> Vec<Call<Op>> {
    let mut prefix: Vec<Call<Op>> =
        calls.iter().filter(|call| call.invoked < event).cloned().collect();
    for call in &mut prefix {
        if call.returned > event {
            call.returned = u64::MAX;
        }
    }
    prefix
}

struct Shrinking<'a, S: Spec> {
    spec: &'a S,
    prefix: Vec<Call<S::Op>>,
    roles: Vec<Role>,
    left: BudgetLeft,
    steps_per_trial: u64,
}

impl<S: Spec> Shrinking<'_, S> {
    /// True if what is left strict is minimal for certain.
    fn shrink(&mut self) -> bool {
        self.take_last();
        let is_minimal = self.relax(Role::Strict, Role::Free);
        self.relax(Role::Strict, Role::Past);
        self.relax(Role::Past, Role::Free);
        is_minimal
    }

    /// Makes the fewest last operations strict, doubling, that contradict; the others are past.
    fn take_last(&mut self) {
        let count = self.prefix.len();
        let mut taken = 1;
        while taken < count {
            self.roles.fill(Role::Past);
            self.roles[count - taken..].fill(Role::Strict);
            if self.is_stuck() == Some(true) {
                return;
            }
            taken *= 2;
        }
        self.roles.fill(Role::Strict);
    }

    /// Gives operations of role `from` the role `to`, many at once while that works, oldest first,
    /// if the rest still contradicts. True if for each one that is left it is certain that it
    /// cannot.
    fn relax(&mut self, from: Role, to: Role) -> bool {
        let mut chunk = self.units(from).len();
        loop {
            let mut relaxed_any = false;
            let mut is_certain = true;
            for part in self.units(from).chunks(chunk.max(1)) {
                part.iter().flatten().for_each(|number| self.roles[*number] = to);
                let is_stuck = self.is_stuck();
                if is_stuck == Some(true) {
                    relaxed_any = true;
                } else {
                    part.iter().flatten().for_each(|number| self.roles[*number] = from);
                    is_certain &= is_stuck.is_some();
                }
            }
            match chunk {
                0 | 1 if !relaxed_any || self.left.steps == 0 => return is_certain,
                0 | 1 => {}
                _ => chunk = chunk.div_ceil(2),
            }
        }
    }

    /// The operations of a role, one by one; of relaxed ones those that are alike together, as only
    /// the last of them counts.
    fn units(&self, role: Role) -> Vec<Vec<usize>> {
        let with_role = (0..self.roles.len()).filter(|number| self.roles[*number] == role);
        if role == Role::Strict {
            return with_role.map(|number| vec![number]).collect();
        }
        let mut alike: BTreeMap<&S::Op, Vec<usize>> = BTreeMap::new();
        for number in with_role {
            alike.entry(&self.prefix[number].op).or_default().push(number);
        }
        alike.into_values().collect()
    }

    /// Of past operations that are alike, the last.
    fn past(&self) -> Vec<usize> {
        let units = self.units(Role::Past);
        let last = |unit: &Vec<usize>| {
            unit.iter().map(|number| &self.prefix[*number]).max_by_key(|call| call.returned)
        };
        let mut past: Vec<usize> = units.iter().filter_map(last).map(|call| call.index).collect();
        past.sort_unstable();
        past
    }

    /// Whether there is no order; `None` if that was too hard to tell.
    fn is_stuck(&mut self) -> Option<bool> {
        let mut trial = self.trial_budget(self.left.steps);
        let given = trial.steps;
        let found = self.trial(&mut trial);
        self.left.steps -= given - trial.steps;
        match found {
            Found::Stuck(_) => Some(true),
            Found::Ordered(_) => Some(false),
            Found::Exhausted => None,
        }
    }

    fn trial_budget(&self, steps_max: u64) -> BudgetLeft {
        BudgetLeft { steps: self.steps_per_trial.min(steps_max), ..self.left }
    }

    fn trial(&self, left: &mut BudgetLeft) -> Found<S::State> {
        let mut calls = self.strict();
        let relaxed = self.prefix.iter().zip(&self.roles);
        let relaxed =
            relaxed.filter(|(call, role)| **role != Role::Strict && !self.spec.is_pure(&call.op));
        if !S::FINITE {
            // Any number of times would be too many: once, at any time.
            calls.extend(relaxed.map(|(call, _)| Call {
                invoked: 0,
                returned: u64::MAX,
                ..call.clone()
            }));
            return search(self.spec, &calls, &[], left);
        }
        let relaxed: Vec<_> = relaxed.collect();
        let strict: Vec<S::Op> = calls.iter().map(|call| call.op.clone()).collect();
        let others: Vec<S::Op> = relaxed.iter().map(|(call, _)| call.op.clone()).collect();
        let helpful = self.spec.helpful(&strict, &others);
        let free = relaxed.iter().zip(&helpful).filter(|(_, helps)| **helps).map(|(it, _)| {
            let until = if *it.1 == Role::Past { it.0.returned } else { u64::MAX };
            Free { op: it.0.op.clone(), until }
        });
        let mut free: Vec<Free<S::Op>> = free.collect();
        // Of equal operations the one that may come latest is enough.
        free.sort_unstable_by(|a, b| b.cmp(a));
        free.dedup_by(|earlier, later| earlier.op == later.op);
        search(self.spec, &calls, &free, left)
    }

    fn strict(&self) -> Vec<Call<S::Op>> {
        self.with_role(Role::Strict).cloned().collect()
    }

    fn with_role(&self, role: Role) -> impl Iterator<Item = &Call<S::Op>> {
        let calls = self.prefix.iter().zip(&self.roles);
        calls.filter(move |(_, its)| **its == role).map(|(call, _)| call)
    }
}
