//! The ordering contract, tried on every implementation in the core.

mod net;
mod ring_faults;
mod ring_membership;
mod ring_ordering;
mod solo;
