//! What can be refused before a search: results that nothing can have brought about.
//!
//! A result such as a read needs facts: that a key has a value. A fact holds from the beginning, or
//! some other operation makes it, and that takes effect no earlier than it is invoked and than the
//! facts hold that it needs itself. So every fact has an earliest moment, found as shortest paths
//! are; an operation that is over before one of its facts can hold has no place in any order. If it
//! is required, the history is refused; if it may have no effect, it has none, and the search is
//! the shorter for it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::{Call, Partition};
use crate::spec::{Fact, Spec};
use crate::verdict::Explanation;

/// Leaves out what cannot take effect.
///
/// # Errors
/// The explanation, if a required operation cannot.
pub(super) fn filter<S: Spec>(partition: &Partition<S>) -> Result<Vec<Call<S::Op>>, Explanation> {
    let Partition { name, spec, calls } = partition;
    let moments = Moments::of(spec, calls);
    let unfounded = |number: &usize| moments.starts[*number] >= calls[*number].returned;
    let required = (0..calls.len()).filter(|number| calls[*number].is_required());
    if let Some(number) = required.filter(unfounded).min_by_key(|number| calls[*number].returned) {
        return Err(explanation(name, spec, calls, &moments, number));
    }
    let possible = |number: &usize| moments.starts[*number] != u64::MAX;
    Ok((0..calls.len()).filter(possible).map(|number| calls[number].clone()).collect())
}

fn explanation<S: Spec>(
    name: &str,
    spec: &S,
    calls: &[Call<S::Op>],
    moments: &Moments,
    number: usize,
) -> Explanation {
    let call = &calls[number];
    let needs = spec.needs(&call.op);
    let missing = needs.iter().find(|fact| moments.of_fact(**fact) >= call.returned);
    let missing = *missing.expect("it lacks a fact");
    let makes = |other: &&Call<S::Op>| {
        other.index != call.index && spec.makes(&other.op).contains(&missing)
    };
    let maker = calls.iter().filter(makes).min_by_key(|other| other.invoked);
    let fact = spec.name_fact(missing);
    let (involved, why) = match maker {
        None => (vec![call.index], format!("no operation leaves {fact}")),
        Some(maker) if maker.invoked > call.returned => (
            vec![call.index, maker.index],
            format!("#{}, the first that leaves {fact}, began later", maker.index),
        ),
        Some(maker) => (
            vec![call.index, maker.index],
            format!("#{} would leave {fact}, but cannot by then", maker.index),
        ),
    };
    let summary = match involved.len() {
        1 => format!("no order explains the result of this operation on {name}"),
        count => {
            format!("no order of these {count} operations on {name} explains their results")
        }
    };
    let mut explanation = Explanation::new("not-linearizable", summary, involved);
    explanation.notes.push(format!("#{} cannot have its result: {why}", call.index));
    explanation
}

/// The earliest moments: `u64::MAX` is never.
struct Moments {
    /// Of each call.
    starts: Vec<u64>,
    facts: BTreeMap<Fact, u64>,
}

impl Moments {
    fn of<S: Spec>(spec: &S, calls: &[Call<S::Op>]) -> Self {
        // Who waits for a fact, and how many facts each still waits for.
        let mut waiting: BTreeMap<Fact, Vec<usize>> = BTreeMap::new();
        let mut moments = Self { starts: vec![u64::MAX; calls.len()], facts: BTreeMap::new() };
        let mut lacks = vec![0_usize; calls.len()];
        // Calls that wait for nothing, the earliest first.
        let mut ready = BinaryHeap::new();
        for (number, call) in calls.iter().enumerate() {
            for fact in spec.needs(&call.op) {
                if !spec.holds_at_first(fact) {
                    waiting.entry(fact).or_default().push(number);
                    lacks[number] += 1;
                }
            }
            if lacks[number] == 0 {
                ready.push(Reverse((call.invoked, number)));
            }
        }
        while let Some(Reverse((start, number))) = ready.pop() {
            moments.starts[number] = start;
            if start >= calls[number].returned {
                continue;
            }
            for fact in spec.makes(&calls[number].op) {
                if spec.holds_at_first(fact) || moments.facts.contains_key(&fact) {
                    continue;
                }
                moments.facts.insert(fact, start);
                for waiter in waiting.remove(&fact).unwrap_or_default() {
                    lacks[waiter] -= 1;
                    if lacks[waiter] == 0 {
                        ready.push(Reverse((start.max(calls[waiter].invoked), waiter)));
                    }
                }
            }
        }
        moments
    }

    fn of_fact(&self, fact: Fact) -> u64 {
        self.facts.get(&fact).copied().unwrap_or(u64::MAX)
    }
}
