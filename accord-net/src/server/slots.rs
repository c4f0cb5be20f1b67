//! A bounded number of places, each free again when its holder is dropped.

use std::cell::Cell;
use std::rc::Rc;

/// A bounded number of places, each held by one user at a time.
#[derive(Debug)]
pub(super) struct Slots {
    taken: Rc<Cell<usize>>,
    max: usize,
}

impl Slots {
    pub(super) fn new(max: usize) -> Self {
        Self { taken: Rc::default(), max }
    }

    /// Takes a place. `None`: all are taken.
    pub(super) fn take(&self) -> Option<Slot> {
        if self.taken.get() >= self.max {
            return None;
        }
        self.taken.set(self.taken.get() + 1);
        Some(Slot(self.taken.clone()))
    }
}

/// One place, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot(Rc<Cell<usize>>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_holder_is_gone() {
        let slots = Slots::new(2);
        let (first, second) = (slots.take(), slots.take());
        assert!(first.is_some() && second.is_some() && slots.take().is_none());
        drop(first);
        assert!(slots.take().is_some());
    }
}
