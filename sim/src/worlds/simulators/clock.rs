//! The clock of a machine in a simulated world: the simulator's time, at a pace of its own.

use crate::world::clock::{Clock as Skewed, WorldTime};
use accord_core::ids::Stamp;
use accord_core::time::{Duration, Instant};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// The clock of a machine, which outlives its processes.
#[derive(Clone, Debug)]
pub(super) struct MachineClock {
    clock: Arc<Mutex<Skewed>>,
    /// Whoever sleeps looks again.
    changed: Rc<Notify>,
    /// The latest time that it showed. What a process does when the simulator tears it down happens
    /// outside of its machine, where the simulator knows no time.
    shown: Rc<Cell<Instant>>,
}

impl MachineClock {
    pub(super) fn new(offset: Duration) -> Self {
        Self {
            clock: Arc::new(Mutex::new(Skewed::new(offset))),
            changed: Rc::default(),
            shown: Rc::new(Cell::new(Instant::from_nanos(0))),
        }
    }

    /// Changes how it goes.
    pub(super) fn change(&self, change: impl FnOnce(&mut Skewed)) {
        change(&mut self.clock.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_waiters();
    }

    /// The clock itself, for those who read it and nothing else.
    pub(super) fn shared(&self) -> Arc<Mutex<Skewed>> {
        self.clock.clone()
    }

    /// Ends when the clock's course is changed.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// What the clock shows. It never goes back.
    pub(super) fn local(&self, now: WorldTime) -> Instant {
        let local = self.clock.lock().unwrap_or_else(PoisonError::into_inner).local(now);
        self.shown.set(self.shown.get().max(local));
        self.shown.get()
    }

    /// What the clock on the wall shows.
    pub(super) fn wall(&self, now: WorldTime) -> Stamp {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner).wall(now)
    }

    pub(super) fn world(&self, at: Instant) -> WorldTime {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner).world(at)
    }
}
