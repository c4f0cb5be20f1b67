//! Accord on real networks and disks: servers, the client library and the `accord` command.
//!
//! The protocol and the state live in [`accord_core`], which does no IO. This crate moves bytes,
//! time and completions between it and a world, and decides nothing about the protocol. Read on:
//!
//! 1. [`env`](mod@env): the seam to the world: clock, sockets, tasks.
//! 2. [`transport`]: streams of bytes; [`accord_core::stream`] has the messages in them.
//! 3. [`server`]: a running server; a listener for each protocol that its clients speak.
//! 4. [`client`]: the client library; [`blocking`]: the same without async.
//! 5. [`operator`]: asking servers and changing a cluster while it serves; [`backup`]: its state
//!    in a file.
//! 6. [`embedded`]: a cluster inside this process, for tests and examples.
//! 7. [`storage`]: what a persistent server keeps on its disk, its own crate; [`corosync`]: groups
//!    over Corosync, for clusters of several machines.
//! 8. `settings` (feature `cli`): from `accord.toml`, the environment and flags to a server.

pub mod backup;
pub mod blocking;
pub mod client;
pub mod corosync;
pub mod embedded;
pub mod env;
pub mod operator;
pub mod ports;
pub mod server;
#[cfg(feature = "cli")]
pub mod settings;
pub mod transport;

pub use accord_storage as storage;
