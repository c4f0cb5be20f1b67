//! Sequential specifications of Accord, histories in Jepsen's form, and the checkers that judge them.
//!
//! Read the modules in this order:
//!
//! 1. [`edn`]: the notation that histories are written in.
//! 2. [`history`]: operations with three outcomes; recording, reading and writing them.
//! 3. [`verdict`]: what a checker says: valid, invalid with an explanation, or undecided.
#![forbid(unsafe_code)]

pub mod edn;
pub mod history;
pub mod verdict;

pub use history::{History, OpId, Outcome, Recorder};
pub use verdict::{Explanation, Link, Verdict};
