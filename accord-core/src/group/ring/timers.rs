//! The ring's timers: an enum and a table.

use crate::time::Instant;

/// What a ring waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// The token, or the commit token, is overdue: the ring is broken.
    TokenLoss,
    /// The token that was passed on may have been lost: send it again.
    TokenRetransmit,
    /// The token of an idle ring has been kept for long enough.
    Hold,
    /// Those who are missing from the gathering had their time.
    Gather,
    /// Presence is to be announced.
    Presence,
}

impl Timer {
    /// All timers, in the order in which those due at one instant are served.
    pub(super) const ALL: [Self; 5] =
        [Self::TokenLoss, Self::TokenRetransmit, Self::Hold, Self::Gather, Self::Presence];
}

/// When each timer is due.
#[derive(Clone, Debug, Default)]
pub(super) struct Timers([Option<Instant>; Timer::ALL.len()]);

impl Timers {
    /// Sets a timer, replacing its earlier due time.
    pub(super) const fn set(&mut self, timer: Timer, at: Instant) {
        self.0[timer as usize] = Some(at);
    }
    /// Sets a timer unless it is due earlier anyway.
    pub(super) fn set_no_later(&mut self, timer: Timer, at: Instant) {
        let slot = &mut self.0[timer as usize];
        *slot = Some(slot.map_or(at, |due| due.min(at)));
    }
    /// Stops a timer.
    pub(super) const fn clear(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }
    /// Stops all timers.
    pub(super) fn clear_all(&mut self) {
        *self = Self::default();
    }
    /// The earliest due time.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.iter().flatten().min().copied()
    }
    /// Stops and returns a timer that is due, the first in the order of [`Timer::ALL`].
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Timer> {
        let due = |timer: &Timer| self.0[*timer as usize].is_some_and(|at| at <= now);
        let timer = Timer::ALL.into_iter().find(due)?;
        self.clear(timer);
        Some(timer)
    }
}
