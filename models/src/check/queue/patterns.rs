//! The patterns by which a history of a queue with unique values is wrong.
//!
//! Order: `a` went in before `b`, but `b` came out before `a`. Emptiness: the queue was found
//! empty, but at every moment of that operation some value was in it for certain. (That a value
//! comes out twice, or without having gone in, is told before.)

use std::collections::BTreeMap;

use crate::history::Operation;
use crate::verdict::Explanation;

/// A value that was certainly in the queue.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) value: u32,
    enqueue: usize,
    dequeue: Option<usize>,
    /// It went in after this event.
    in_after: u64,
    /// It was in by this event.
    in_by: u64,
    /// It came out after this event; never: `u64::MAX`.
    out_after: u64,
    /// It was out by this event; not known: `u64::MAX`.
    out_by: u64,
    is_guessed: bool,
}

impl Item {
    pub(super) fn new(
        ops: &[Operation],
        value: u32,
        enqueue: usize,
        dequeue: Option<usize>,
    ) -> Self {
        let in_after = ops[enqueue].invoked.event;
        let out_by = dequeue.map_or(u64::MAX, |op| ops[op].returned());
        // What came out had gone in before.
        let in_by = ops[enqueue].returned().min(out_by);
        let out_after = dequeue.map_or(u64::MAX, |op| ops[op].invoked.event.max(in_after));
        let is_guessed = false;
        Self { value, enqueue, dequeue, in_after, in_by, out_after, out_by, is_guessed }
    }

    fn operations(&self) -> impl Iterator<Item = usize> {
        [self.enqueue].into_iter().chain(self.dequeue)
    }
}

/// A pattern found.
pub(super) struct Pattern {
    /// The values that make it.
    pub(super) values: Vec<u32>,
    pub(super) explanation: Explanation,
}

/// The values of one queue, and when it was found empty.
pub(super) struct Items {
    items: BTreeMap<u32, Item>,
    names: BTreeMap<u32, String>,
    /// Invocation, return and index of each dequeue that found nothing.
    empty: Vec<(u64, u64, usize)>,
    /// When the dequeues with an unknown outcome were invoked.
    unknown: BTreeMap<usize, u64>,
}

impl Items {
    pub(super) fn new(
        items: Vec<Item>,
        names: BTreeMap<u32, String>,
        empty: Vec<(u64, u64, usize)>,
        unknown: BTreeMap<usize, u64>,
    ) -> Self {
        let items = items.into_iter().map(|item| (item.value, item)).collect();
        Self { items, names, empty, unknown }
    }

    /// Whether nobody is known to have taken the value.
    pub(super) fn is_missing(&self, value: u32) -> bool {
        self.items[&value].dequeue.is_none()
    }

    /// Whether it is only supposed who took the value.
    pub(super) fn is_guessed(&self, value: u32) -> bool {
        self.items[&value].is_guessed
    }

    /// Supposes that the value was taken by a dequeue with an unknown outcome.
    pub(super) fn guess(&mut self, value: u32, dequeue: usize) {
        let invoked = self.unknown[&dequeue];
        let item = self.items.get_mut(&value).expect("a value of this queue");
        assert!(item.dequeue.is_none(), "only what is missing is guessed");
        item.dequeue = Some(dequeue);
        item.out_after = invoked.max(item.in_after);
        item.is_guessed = true;
    }

    /// A pattern, if there is one.
    pub(super) fn pattern(&self, name: &str) -> Option<Pattern> {
        self.order(name).or_else(|| self.emptiness(name))
    }

    fn order(&self, name: &str) -> Option<Pattern> {
        let mut by_in_by: Vec<&Item> = self.items.values().collect();
        by_in_by.sort_by_key(|item| (item.in_by, item.value));
        let mut by_in_after: Vec<&Item> = self.items.values().collect();
        by_in_after.sort_by_key(|item| (item.in_after, item.value));
        let mut earlier = by_in_by.into_iter().peekable();
        // Of those that went in before `b`, the one that came out last.
        let mut last: Option<&Item> = None;
        for b in by_in_after {
            while let Some(a) = earlier.next_if(|a| a.in_by < b.in_after) {
                if last.is_none_or(|last| last.out_after < a.out_after) {
                    last = Some(a);
                }
            }
            if let Some(a) = last.filter(|a| a.out_after > b.out_by) {
                return Some(self.overtaken(name, a, b));
            }
        }
        None
    }

    fn overtaken(&self, name: &str, a: &Item, b: &Item) -> Pattern {
        let (a_name, b_name) = (&self.names[&a.value], &self.names[&b.value]);
        let (anomaly, fate) = match a.dequeue {
            Some(_) => ("not-fifo", format!("{b_name} came out first")),
            None => ("overtaken", format!("{b_name} came out and {a_name} never did")),
        };
        let summary = format!("{a_name} went into {name} before {b_name}, but {fate}");
        let operations = a.operations().chain(b.operations());
        let explanation = Explanation::new(anomaly, summary, operations);
        Pattern { values: vec![a.value, b.value], explanation }
    }

    fn emptiness(&self, name: &str) -> Option<Pattern> {
        // When a value was in for certain, by the start of that time.
        let mut stays: Vec<&Item> = self.items.values().collect();
        stays.retain(|item| item.in_by < item.out_after);
        stays.sort_by_key(|item| (item.in_by, item.value));
        self.empty.iter().find_map(|(invoked, returned, index)| {
            let cover = cover(&stays, *invoked, *returned)?;
            Some(self.not_empty(name, &cover, *index))
        })
    }

    fn not_empty(&self, name: &str, cover: &[&Item], empty: usize) -> Pattern {
        let values: Vec<u32> = cover.iter().map(|item| item.value).collect();
        let names: Vec<&str> = values.iter().map(|value| self.names[value].as_str()).collect();
        let names = names.join(", then ");
        let (anomaly, summary) = match cover.last().filter(|item| item.dequeue.is_none()) {
            Some(lost) if cover.len() == 1 => {
                let lost = &self.names[&lost.value];
                ("lost", format!("{name} was found empty, but {lost} went in and never came out"))
            }
            _ => {
                ("not-empty", format!("{name} was found empty, but {names} was in it all the time"))
            }
        };
        let operations = cover.iter().flat_map(|item| item.operations()).chain([empty]);
        Pattern { values, explanation: Explanation::new(anomaly, summary, operations) }
    }
}

/// The fewest stays that leave no moment between two events of `invoked..=returned` without one.
fn cover<'a>(stays: &[&'a Item], invoked: u64, returned: u64) -> Option<Vec<&'a Item>> {
    let mut cover = Vec::new();
    let mut covered_to = invoked;
    let mut next = 0;
    while covered_to < returned {
        let mut longest: Option<&Item> = None;
        while let Some(stay) = stays.get(next).filter(|stay| stay.in_by <= covered_to) {
            if longest.is_none_or(|longest| longest.out_after < stay.out_after) {
                longest = Some(stay);
            }
            next += 1;
        }
        let longest = longest.filter(|stay| stay.out_after > covered_to)?;
        covered_to = longest.out_after;
        cover.push(longest);
    }
    Some(cover)
}
