//! From a refused partition to the few operations that contradict each other.
//!
//! Leaving an operation out of a history is no way to shrink it: without the write, every read of its
//! value is wrong. An operation is instead set *free*: it may take effect at any time, any number of
//! times, or never. If the rest still cannot be ordered, then the free operation had nothing to do
//! with the contradiction, wherever it stood. What cannot be set free is the explanation, and it is
//! minimal: with any one of its operations set free, there is an order.

use super::search::{Call, Found, Stuck, search};
use crate::check::budget::{Budget, Purse};
use crate::history::History;
use crate::spec::Spec;
use crate::verdict::Explanation;

/// A contradiction that has been shrunk as far as the budget went.
pub(super) struct Minimal<'a, S: Spec> {
    spec: &'a S,
    /// The operations that contradict each other.
    strict: Vec<Call<S::Op>>,
    /// Where an order of these gets stuck, if the budget sufficed to find out.
    stuck: Option<Stuck<S::State>>,
    /// The event at which the contradiction is complete.
    event: u64,
    /// Indices of operations whose place does not matter.
    freed: Vec<usize>,
    /// Whether operations were invoked when the contradiction was already complete.
    has_later: bool,
    is_minimal: bool,
}

impl<'a, S: Spec> Minimal<'a, S> {
    /// Shrinks `calls`, which cannot be ordered past `stuck`.
    pub(super) fn of(
        spec: &'a S,
        calls: &[Call<S::Op>],
        stuck: &Stuck<S::State>,
        budget: &Budget,
    ) -> Self {
        let event = stuck.event;
        let prefix = prefix(calls, event);
        let has_later = prefix.len() < calls.len();
        let mut shrinking = Shrinking {
            spec,
            is_free: vec![false; prefix.len()],
            purse: Purse { steps: budget.explain_steps_max, ..budget.purse() },
            steps_per_trial: budget.explain_steps_max / 20,
            prefix,
        };
        let is_minimal = shrinking.shrink();
        let strict = shrinking.strict();
        let freed = shrinking.freed();
        let stuck = match shrinking.trial(&mut budget.purse()) {
            Found::Stuck(stuck) => Some(stuck),
            Found::Ordered(_) | Found::Exhausted => None,
        };
        Self { spec, strict, stuck, event, freed, has_later, is_minimal }
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
        explanation.notes.extend(self.furthest(history));
        explanation.notes.extend(self.unhelpful());
        if self.has_later {
            explanation.notes.push(format!(
                "what was invoked after event {} came too late to matter",
                self.event
            ));
        }
        if !self.is_minimal {
            explanation.notes.push("the budget ended before the set was smallest".to_owned());
        }
        explanation
    }

    /// The operations that were set free.
    fn unhelpful(&self) -> Option<String> {
        const NAMED_MAX: usize = 6;
        let names: Vec<String> = self.freed.iter().map(|index| format!("#{index}")).collect();
        let who = match names.len() {
            0 => return None,
            1..=NAMED_MAX => names.join(", "),
            count => format!("{count} other operations"),
        };
        Some(format!("it would not help if these took effect at any time, or never: {who}"))
    }

    /// The order that gets furthest, and what it cannot explain.
    fn furthest(&self, history: &History) -> Option<String> {
        let stuck = self.stuck.as_ref()?;
        let blocked = self.strict.iter().find(|call| call.returned == stuck.event)?;
        let order: Vec<String> = stuck.order.iter().filter_map(|n| self.name_of(*n)).collect();
        let order =
            if order.is_empty() { "at first".to_owned() } else { order.join(", ") + ", then" };
        let state = self.spec.describe(&stuck.state);
        let (index, f) = (blocked.index, &history.operations()[blocked.index].f);
        Some(format!(
            "the furthest order: {order} {state}, where #{index} :{f} cannot have its result"
        ))
    }

    /// `None` for a free operation, which stands behind the strict ones.
    fn name_of(&self, number: usize) -> Option<String> {
        self.strict.get(number).map(|call| format!("#{}", call.index))
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
    is_free: Vec<bool>,
    purse: Purse,
    steps_per_trial: u64,
}

impl<S: Spec> Shrinking<'_, S> {
    /// Frees operations, many at once while that works, oldest first. True if what is left is minimal.
    fn shrink(&mut self) -> bool {
        let mut chunk = self.prefix.len().div_ceil(2);
        loop {
            let mut freed_any = false;
            let mut is_certain = true;
            let strict: Vec<usize> = (0..self.prefix.len()).filter(|n| !self.is_free[*n]).collect();
            for part in strict.chunks(chunk.max(1)) {
                match self.is_stuck_without(part) {
                    Some(true) => freed_any = true,
                    Some(false) => {}
                    None => is_certain = false,
                }
            }
            match (chunk, freed_any) {
                (0 | 1, false) => return is_certain,
                (0 | 1, true) => {}
                _ => chunk = chunk.div_ceil(2),
            }
        }
    }

    /// Frees `part` if the rest is still stuck. `None` if that was too hard to tell.
    fn is_stuck_without(&mut self, part: &[usize]) -> Option<bool> {
        self.set(part, true);
        let mut trial = Purse { steps: self.steps_per_trial.min(self.purse.steps), ..self.purse };
        let given = trial.steps;
        let found = self.trial(&mut trial);
        self.purse.steps -= given - trial.steps;
        if !matches!(found, Found::Stuck(_)) {
            self.set(part, false);
        }
        match found {
            Found::Stuck(_) => Some(true),
            Found::Ordered(_) => Some(false),
            Found::Exhausted => None,
        }
    }

    fn trial(&self, purse: &mut Purse) -> Found<S::State> {
        let mut calls = self.strict();
        if calls.is_empty() {
            return Found::Ordered(Vec::new());
        }
        let free = self
            .prefix
            .iter()
            .zip(&self.is_free)
            .filter(|(call, is_free)| **is_free && !self.spec.is_pure(&call.op));
        if S::FINITE {
            let mut free: Vec<S::Op> = free.map(|(call, _)| call.op.clone()).collect();
            free.sort_unstable();
            free.dedup();
            return search(self.spec, &calls, &free, purse);
        }
        calls.extend(free.map(|(call, _)| Call { invoked: 0, returned: u64::MAX, ..call.clone() }));
        search(self.spec, &calls, &[], purse)
    }

    fn strict(&self) -> Vec<Call<S::Op>> {
        let strict = self.prefix.iter().zip(&self.is_free).filter(|(_, is_free)| !**is_free);
        strict.map(|(call, _)| call.clone()).collect()
    }

    fn freed(&self) -> Vec<usize> {
        let freed = self.prefix.iter().zip(&self.is_free).filter(|(_, is_free)| **is_free);
        freed.map(|(call, _)| call.index).collect()
    }

    fn set(&mut self, part: &[usize], is_free: bool) {
        for number in part {
            self.is_free[*number] = is_free;
        }
    }
}
