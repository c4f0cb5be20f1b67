//! The world's agenda: what happens when, in one total order.
//!
//! Things due at the same time happen in the order in which they were scheduled, so nothing depends
//! on the memory's layout. Entries of the heap are small; what they stand for waits in a slab.

use crate::world::clock::WorldTime;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// An agenda of things to do.
#[derive(Debug)]
pub struct Schedule<T> {
    heap: BinaryHeap<Reverse<(WorldTime, u64, u32)>>,
    slab: Vec<Option<T>>,
    free: Vec<u32>,
    scheduled: u64,
}

impl<T> Default for Schedule<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), slab: Vec::new(), free: Vec::new(), scheduled: 0 }
    }
}

impl<T> Schedule<T> {
    /// Puts something on the agenda.
    ///
    /// # Panics
    /// If there are more than four thousand million things on it.
    pub fn push(&mut self, at: WorldTime, thing: T) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slab.push(None);
            u32::try_from(self.slab.len() - 1).expect("an agenda of this length is a mistake")
        });
        self.slab[slot as usize] = Some(thing);
        self.heap.push(Reverse((at, self.scheduled, slot)));
        self.scheduled += 1;
    }

    /// When the next thing is due.
    pub fn next_at(&self) -> Option<WorldTime> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes the next thing.
    pub fn pop(&mut self) -> Option<(WorldTime, T)> {
        let Reverse((at, _, slot)) = self.heap.pop()?;
        self.free.push(slot);
        let thing = self.slab[slot as usize].take().expect("an entry's thing waits in its slot");
        Some((at, thing))
    }

    /// How many things are on the agenda.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// True if there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_come_by_time_and_then_in_the_order_they_were_put() {
        let mut agenda = Schedule::default();
        for (at, thing) in [(5, 'c'), (1, 'a'), (5, 'd'), (1, 'b')] {
            agenda.push(WorldTime::from_nanos(at), thing);
        }
        let order: String = std::iter::from_fn(|| agenda.pop().map(|(_, thing)| thing)).collect();
        assert_eq!(order, "abcd");
        agenda.push(WorldTime::from_nanos(1), 'e');
        assert_eq!((agenda.len(), agenda.pop()), (1, Some((WorldTime::from_nanos(1), 'e'))));
    }
}
