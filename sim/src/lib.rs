//! A simulated world that hunts faults in Accord.
//!
//! Whole clusters of the real core run on one thread, over a simulated network, simulated disks and
//! clocks that disagree, with clients that come and go, while a fault plan goes wrong around them.
//! A world is a function of its [`plan::Plan`]: the same plan gives the same events, in every build
//! and at every number of threads.
//!
//! Read in this order: [`plan`] and [`options`] (what a world is), [`rng`], [`clock`], [`network`],
//! [`disk`] (what it is made of); [`node`], [`process`], [`actor`] (servers and clients); [`world`]
//! (who calls whom); [`properties`], [`hearing`] and [`workload`] (what must hold); [`campaign`],
//! [`shrink`], [`report`], [`cli`]; [`record`] and [`page`] (a run as a picture); [`bugs`];
//! [`worlds`] (the simulators in which whole servers and clients of `accord-net` run under the same
//! plans).
#![forbid(unsafe_code)]

// First, since the others print by its macros.
#[macro_use]
mod out;

pub mod actor;
mod adversarial;
pub mod bugs;
pub mod campaign;
pub mod cli;
pub mod clock;
pub mod conns;
pub mod digest;
pub mod disk;
pub mod engine;
pub mod env;
pub mod hearing;
mod inject;
pub mod interrupt;
mod judging;
pub mod junit;
pub mod network;
pub mod node;
pub mod options;
pub mod page;
pub mod panics;
pub mod plan;
pub mod process;
pub mod properties;
pub mod record;
pub mod recovery;
pub mod report;
pub mod rng;
pub mod schedule;
pub mod setup;
pub mod shrink;
pub mod situations;
mod story;
pub mod trace;
pub mod workload;
pub mod world;
pub mod worlds;
