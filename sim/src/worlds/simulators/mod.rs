//! Whole servers and clients of `accord-net` in simulators of sockets and timers.
//!
//! Read in this order: `simulator` and `host` (what a simulator must bring), `turmoil` and `madsim`
//! (the two), `harness` (what machines share), `env` (the seam of `accord-net`), `clock`,
//! `process`, `machine`, `server_task`, `journal`, `client`, `client_task` (who lives there),
//! `fault_driver`, `machines`, `verdict` (who makes things go wrong, and judges).

mod client;
mod client_task;
mod clock;
mod env;
mod fault_driver;
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

use super::WorldKind;
use crate::plan::Plan;
use crate::world::Run;
use crate::world::panics::quietly;
use crate::world::trace::Story;
use std::rc::Rc;

/// Runs the world of a fitted plan to its end.
///
/// # Panics
/// If no simulator of this build has it.
pub(super) fn run(world: WorldKind, plan: Plan, story: Option<Story>) -> Run {
    match world {
        WorldKind::Bare => unreachable!("the bare world needs no simulator"),
        WorldKind::Turmoil => quietly(|| turmoil::run(plan, story)),
        #[cfg(madsim)]
        WorldKind::Madsim => madsim::run(plan, story),
        #[cfg(not(madsim))]
        WorldKind::Madsim => panic!("this build has no madsim"),
    }
}

/// The world is over: disks are taken from processes before their destructors run.
fn tear_down(harness: &Rc<harness::Harness>) {
    harness.machines.iter().for_each(|machine| machine.borrow_mut().stop());
}
