//! What is to happen in a world, as data: options and faults.
//!
//! A [`Plan`] is drawn from a seed, printed, saved, read back, replayed and shrunk. A world is a
//! function of its plan and nothing else: the seed in the plan still decides all that the plan does
//! not spell out (delays, fates of packets, the clients' wishes).
//!
//! Read [`fault`] for what can go wrong, [`draw`] for how a seed becomes a plan, [`text`] for the
//! form on disk.

pub mod draw;
pub mod fault;
pub mod options;
pub mod rng;
mod scenario;
pub mod setup;
pub mod text;
mod words;
mod workloads;

pub use draw::{FaultMix, Overrides};
pub use fault::{Fault, FaultKind, Kind, Nodes};
pub use text::PlanError;
pub use words::Words;
pub use workloads::WorkloadKind;

use crate::plan::options::Options;
use std::fmt;

/// Everything that decides what happens in a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The world.
    pub options: Options,
    /// What goes wrong in it. Invariant: names only servers and clients that the options have.
    pub faults: Vec<Fault>,
}

impl Plan {
    /// Asserts the invariant.
    ///
    /// # Panics
    /// If a fault names a server or a client that does not exist.
    pub fn check(&self) {
        self.options.check();
        for fault in &self.faults {
            let nodes = fault.kind.nodes();
            assert!(nodes.max() <= self.options.nodes(), "{fault}: no such server");
            assert!(!nodes.contains(0), "{fault}: servers are numbered from 1");
            let client = fault.kind.client().unwrap_or(1);
            assert!((1..=self.options.clients).contains(&client), "{fault}: no such client");
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "accord-sim plan 1")?;
        write!(f, "{}", self.options)?;
        self.faults.iter().try_for_each(|fault| writeln!(f, "{fault}"))?;
        writeln!(f, "end")
    }
}
