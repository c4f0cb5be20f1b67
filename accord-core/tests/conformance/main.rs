//! The conformance suite of the ordering contract on the group layers of the core, and what the
//! ring does beyond the contract: timing, packing, cliques, refusals.

mod net;
mod ring;
mod ring_membership;
mod ring_ordering;
mod solo;
