//! The sans-IO, deterministic heart of Accord.
//!
//! Nothing in this crate performs IO, reads a clock, starts a thread or draws randomness that it was
//! not handed. Every machine in it takes inputs together with the current [`time::Instant`] and hands
//! back outputs; a driver (tokio, a simulator, a model checker) moves the bytes. Read the modules in
//! this order:
//!
//! 1. [`time`], [`ids`], [`limits`], [`wire`]: the vocabulary: instants, ids, bounds, bytes.
//! 2. [`group`]: the ordering contract and its implementations.
//! 3. [`replica`]: from agreed order to durable, linearizable commits.
//! 4. [`state`]: what is replicated: store, transactions, sessions, events.
//! 5. [`server`]: replica and state behind the client's requests.
//! 6. [`client`]: the client's half of the session, also sans-IO.
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::disallowed_types, clippy::disallowed_methods, clippy::float_arithmetic)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod client;
pub mod group;
pub mod ids;
pub mod limits;
pub mod protocol;
pub mod replica;
pub mod rng;
pub mod server;
pub mod state;
pub mod time;
pub mod wire;
