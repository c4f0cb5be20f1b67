//! Sequential specifications of Accord, histories in Jepsen's form, and the checkers that judge
//! them.
//!
//! Read the modules in this order:
//!
//! 1. [`edn`]: the notation that histories are written in.
//! 2. [`history`]: operations with three outcomes; recording, reading and writing them.
//! 3. [`spec`]: what each object does when one operation follows another.
//! 4. [`model`]: what a history can be judged by, and the shapes of its operations.
//! 5. [`mod@check`]: the checkers.
//! 6. [`verdict`]: what they say: valid, invalid with an explanation, or undecided.
//! 7. [`self_check`]: the checkers against trying everything.
#![forbid(unsafe_code)]

pub mod check;
pub mod edn;
pub mod history;
pub mod model;
pub mod self_check;
pub mod spec;
pub mod verdict;

pub use check::{Budget, Options, check, check_known};
pub use history::{History, OpId, Outcome, Recorder};
pub use model::Model;
pub use verdict::{Explanation, Link, Verdict};
