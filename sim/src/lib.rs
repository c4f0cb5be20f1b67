//! A simulated world that hunts faults in Accord.
//!
//! Whole clusters of the real core run on one thread, over a simulated network, simulated disks and
//! clocks that disagree, with clients that come and go, while a fault plan goes wrong around them.
//! A world is a function of its [`plan::Plan`]: the same plan gives the same events, in every build
//! and at every number of threads.
//!
//! Read in this order: [`plan`] (what a world is, as data), [`world`] (the bare world: what it is
//! made of, servers, clients, and who calls whom), [`judge`] (what must hold), [`workload`] (what
//! clients do), [`worlds`] (the simulators in which whole servers and clients of `accord-net` run
//! under the same plans), [`campaign`] (many worlds, and shrinking the plan of one that failed),
//! [`report`] (what is said of it all), [`bugs`] (planted mistakes), [`cli`].
#![forbid(unsafe_code)]

// First, since the others print by its macros.
#[macro_use]
pub mod report;

pub mod bugs;
pub mod campaign;
pub mod cli;
pub mod judge;
pub mod plan;
pub mod workload;
pub mod world;
pub mod worlds;
