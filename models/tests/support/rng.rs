//! Numbers that look random, the same in every run.

pub use accord_models::self_check::Rng;
