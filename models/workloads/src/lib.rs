//! What clients do, as pure generators of operations. The simulated worlds and the harness of real
//! processes run the same ones, on Accord and on other systems.
//!
//! A generator gets the outcome of each operation and draws the next one: it does no IO, reads no
//! clock, and draws from what it is handed, so the same draws and outcomes give the same
//! operations. It also says how an operation is written into a history.
//!
//! 1. [`outcome`]: the three outcomes of an operation.
//! 2. [`draw`]: where a generator's choices come from.
//! 3. [`register`]: reads, writes and compare-and-sets of registers.
//! 4. [`lists`]: transactions that append to lists and read them.
//!
//! A system takes part through [`register::Register`] and [`lists::Lists`]. To add a workload: a
//! generator here, a trait of what it asks, and an adapter for each system.
#![forbid(unsafe_code)]

pub mod draw;
pub mod lists;
pub mod outcome;
pub mod register;

pub use draw::{Draw, Seeded};
pub use outcome::Outcome;
