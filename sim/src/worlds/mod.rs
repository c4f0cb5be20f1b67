//! The worlds there are: the bare one, and two simulators in which whole servers and clients run.
//!
//! In the bare world ([`crate::world`]) the core's machines are driven directly. In the others the
//! driver of `accord-net` runs as it is: sockets, frames, connections, streams between servers,
//! timers, the journal. They share plans, workloads, checkers and the trace with the bare world.
//!
//! Read in this order: [`fit`] (what a world can express), `simulator` and `host` (what a
//! simulator must bring), `turmoil` and `madsim` (the two), `harness` (what machines share), `env`
//! (the seam of `accord-net`), `clock`, `process`, `machine`, `server_task`, `journal`, `client`,
//! `client_task` (who lives there), `fault_driver`, `machines`, `verdict` (who makes things go
//! wrong, and judges). Why it is built so: `docs/decisions/0015-worlds.md`.

mod client;
mod client_task;
mod clock;
mod env;
mod fault_driver;
pub mod fit;
mod harness;
mod host;
mod journal;
mod machine;
mod machines;
#[cfg(madsim)]
mod madsim;
mod process;
mod server_task;
mod simulator;
mod turmoil;
mod verdict;

use crate::plan::Plan;
use crate::world::trace::Story;
use crate::world::{self, Run};
use std::rc::Rc;

/// A world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorldKind {
    /// The core's machines, driven directly.
    #[default]
    Bare,
    /// Servers and clients of `accord-net` in turmoil.
    Turmoil,
    /// Servers and clients of `accord-net` in madsim.
    Madsim,
}

impl WorldKind {
    /// Every world.
    pub const ALL: [Self; 3] = [Self::Bare, Self::Turmoil, Self::Madsim];

    /// The word for it on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Turmoil => "turmoil",
            Self::Madsim => "madsim",
        }
    }

    /// Reads the name of a world that this build has.
    ///
    /// # Errors
    /// For people: what was expected, or what is missing.
    pub fn parse(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|world| world.name() == name);
        let world = found.ok_or_else(|| "bare, turmoil or madsim".to_owned())?;
        if world == Self::Madsim && !cfg!(madsim) {
            return Err("a build with `--cfg madsim`, which .cargo/config.toml sets unless the \
                        environment variable RUSTFLAGS takes its host: build again with it unset, \
                        or with `--cfg madsim` in it"
                .to_owned());
        }
        Ok(world)
    }
}

/// Runs the world of a plan to its end. The story goes to `story`, if it is to be told.
///
/// # Panics
/// If this build does not have the world; [`WorldKind::parse`] says so first.
pub fn run(world: WorldKind, plan: &Plan, story: Option<Story>) -> Run {
    if world == WorldKind::Bare {
        return world::run(plan, story);
    }
    let (plan, left_out) = fit::fit(world, plan);
    let mut run = match world {
        WorldKind::Bare => unreachable!("it was run above"),
        WorldKind::Turmoil => crate::world::panics::quietly(|| turmoil::run(plan, story)),
        #[cfg(madsim)]
        WorldKind::Madsim => madsim::run(plan, story),
        #[cfg(not(madsim))]
        WorldKind::Madsim => panic!("this build has no madsim"),
    };
    run.counts.faults_skipped += left_out;
    run
}

/// The world is over: disks are taken from processes before their destructors run.
fn tear_down(harness: &Rc<harness::Harness>) {
    harness.machines.iter().for_each(|machine| machine.borrow_mut().stop());
}
