//! Linearizability: is there one order of the operations that respects real time and explains every
//! result?
//!
//! A history is cut into partitions that do not touch each other (keys, or groups of keys that
//! transactions join); it is linearizable if and only if each of them is (Herlihy & Wing 1990).
//! What no order can explain is refused at once by [`founded`]; each partition is then searched by
//! [`search`]; a refused one is shrunk by [`explain`] to the operations that
//! matter. What runs out of budget is undecided, and said so.

mod bits;
mod explain;
mod founded;
mod search;

pub use search::{Call, Found, Stuck, search};

use super::budget::Budget;
use crate::history::History;
use crate::spec::Spec;
use crate::verdict::Verdict;

/// A part of a history that touches no other part.
#[derive(Clone, Debug)]
pub struct Partition<S: Spec> {
    /// What it is about, for people: `key :x`.
    pub name: String,
    /// What its operations are to obey.
    pub spec: S,
    /// Its operations, in the order of their invocations.
    pub calls: Vec<Call<S::Op>>,
}

/// An order of the operations of a partition that explains every result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What the partition is about, for people.
    pub name: String,
    /// The operations in that order, as indices into the history's.
    pub operations: Vec<usize>,
}

/// An order for each partition that has one that the budget finds.
pub fn order_partitions<S: Spec>(partitions: &[Partition<S>], budget: &Budget) -> Vec<Order> {
    let mut left = budget.left();
    let order = |Partition { name, spec, calls }: &Partition<S>| {
        let Found::Ordered(numbers) = search(spec, calls, &[], &mut left) else { return None };
        let operations = numbers.into_iter().map(|number| calls[number].index).collect();
        Some(Order { name: name.clone(), operations })
    };
    partitions.iter().filter_map(order).collect()
}

/// Judges every partition. A refusal is reported even if another partition is undecided.
pub fn check_partitions<S: Spec>(
    history: &History,
    partitions: &[Partition<S>],
    budget: &Budget,
) -> Verdict {
    let mut left = budget.left();
    let mut undecided = None;
    let founded: Result<Vec<_>, _> = partitions.iter().map(founded::filter).collect();
    let founded = match founded {
        Ok(founded) => founded,
        Err(explanation) => return Verdict::Invalid(explanation),
    };
    for (Partition { name, spec, .. }, calls) in partitions.iter().zip(&founded) {
        match search(spec, calls, &[], &mut left) {
            Found::Ordered(_) => {}
            Found::Stuck(stuck) => {
                let minimal = explain::Minimal::of(spec, calls, stuck, budget);
                return Verdict::Invalid(minimal.explanation(name, history));
            }
            Found::Exhausted => {
                undecided.get_or_insert_with(|| {
                    format!(
                        "the search over {name} ({} operations) ran out of steps or memory",
                        calls.len()
                    )
                });
            }
        }
    }
    undecided.map_or(Verdict::Valid, |why| Verdict::Undecided { why })
}
