//! The timer of a machine: its next event on the agenda.

use crate::world::clock::WorldTime;

/// The one event on the agenda that will wake a machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timer {
    number: u64,
    at: Option<WorldTime>,
}

impl Timer {
    /// Makes sure that an event with the returned number comes at `at` or before. `None`: one does
    /// already.
    pub fn arm(&mut self, at: WorldTime) -> Option<u64> {
        if self.at.is_some_and(|armed| armed <= at) {
            return None;
        }
        self.number += 1;
        self.at = Some(at);
        Some(self.number)
    }

    /// The event of this number came. False if it means nothing any more.
    pub fn fire(&mut self, number: u64) -> bool {
        let current = self.number == number && self.at.is_some();
        if current {
            self.at = None;
        }
        current
    }

    /// Whatever comes means nothing.
    pub fn disarm(&mut self) {
        self.at = None;
    }
}
