//! A server's machine in a simulated world: its clock and its disk, which outlive the process, and
//! what the world knows of the process on it. The process itself: `server_task`.

use super::clock::MachineClock;
use super::process::{Process, RunState};
use crate::plan::options::Options;
use crate::plan::rng::{Concern, Rng};
use crate::world::engine::Engine;
use accord_core::ids::{LogPosition, StoreId};
use accord_core::replica::voters::VoterSet;
use accord_core::server::{Input, Server};
use accord_core::time::Duration;
use std::cell::RefCell;
use std::rc::Rc;

/// A running server, whatever world it runs in.
pub(super) trait Served {
    /// Looks at the core's server.
    fn look(&self, look: &mut dyn FnMut(&Server));
    /// Tells it something.
    fn tell(&self, input: Input);
    /// Hangs up on its clients.
    fn hang_up_all(&self);
}

/// A machine, and the server on it if it is up.
pub(super) struct Machine {
    pub(super) id: u32,
    pub(super) clock: MachineClock,
    pub(super) engine: Rc<RefCell<Engine>>,
    /// A disk that was taken out, with the incarnation on it.
    pub(super) aside: Option<(Engine, Option<StoreId>)>,
    pub(super) served: Option<Rc<dyn Served>>,
    /// The process that runs.
    pub(super) process: Rc<Process>,
    /// The incarnation of the memory it has. `None`: it has forgotten.
    pub(super) store: Option<StoreId>,
    /// How often a process was started.
    pub(super) starts: u64,
    /// Faults that keep it down.
    pub(super) downs: u32,
    /// Faults that keep it paused.
    pub(super) pauses: u32,
    /// The process stopped itself, and waits for its next start.
    pub(super) stopped: bool,
    /// The next sync fails.
    pub(super) failing: bool,
    /// What the faults in force add to a sync.
    pub(super) slowness: Duration,
    sync: (Duration, Duration),
    /// The end of the log, and the voter set there, when the process was last seen.
    seen: Option<(LogPosition, VoterSet)>,
    pub(super) rng: Rng,
    disk_rng: Rng,
}

impl Machine {
    /// A machine that is switched off, with an empty disk.
    pub(super) fn new(id: u32, options: &Options) -> Self {
        let mut rng = Rng::of(options.seed, Concern::Process, u64::from(id));
        let offset = Duration::from_millis(rng.below(100_000));
        let damage = Rng::of(options.seed, Concern::Engine, u64::from(id));
        Self {
            id,
            clock: MachineClock::new(offset),
            engine: Rc::new(RefCell::new(Engine::new(damage))),
            aside: None,
            served: None,
            process: Process::new(),
            store: None,
            starts: 0,
            downs: 0,
            pauses: 0,
            stopped: false,
            failing: false,
            slowness: Duration::ZERO,
            sync: (options.sync_min, options.sync_max),
            seen: None,
            rng,
            disk_rng: Rng::of(options.seed, Concern::Disk, u64::from(id)),
        }
    }

    /// How long the next sync takes.
    pub(super) fn draw_sync(&mut self) -> Duration {
        self.disk_rng.duration(self.sync.0, self.sync.1) + self.slowness
    }

    /// How long the machine takes to start again.
    pub(super) fn draw_restart(&mut self) -> Duration {
        Duration::from_millis(self.rng.within(10, 500))
    }

    /// Looks at the core's server, if there is one.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Server) -> T) -> Option<T> {
        let (mut look, mut seen) = (Some(look), None);
        self.served.as_ref()?.look(&mut |server| seen = look.take().map(|look| look(server)));
        seen
    }

    /// The end of the log, and the voter set there, as far as the world can see.
    pub(super) fn voters(&self) -> Option<(LogPosition, VoterSet)> {
        let now = self.look(|server| {
            let log = server.replica().log();
            (log.last(), log.voters().clone())
        });
        now.or_else(|| self.seen.clone())
    }

    /// The process ends. What its disk and its memory still have is the caller's to say.
    pub(super) fn stop(&mut self) {
        self.seen = self.voters();
        self.served = None;
        self.engine.borrow_mut().crash();
    }

    /// Everything that the process and the machine remember is gone.
    pub(super) fn forget(&mut self) {
        // The old disk goes to the scrap heap.
        drop(self.engine.borrow_mut().replace());
        self.store = None;
    }

    /// Lets the process go on or not, as the faults in force have it.
    pub(super) fn set_paused(&self) {
        self.process.set(if self.pauses > 0 { RunState::Paused } else { RunState::Running });
    }
}
