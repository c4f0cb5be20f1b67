//! Real Accord servers under faults: processes that are killed and paused while clients work, and
//! the judgement of what the clients saw.
//!
//! The simulator in `accord-sim` hunts in the core; this harness hunts in everything around it:
//! sockets, the driver, the client library, process death. Read on:
//!
//! 1. [`process`]: one server as a process: started, killed, paused.
//! 2. [`cluster`]: several of them, configured.
//! 3. [`workload`]: what clients do, recorded as histories in Jepsen's form.
//! 4. [`world`]: where they run; [`netns`]: a network of their own; [`mod@corosync`]: its daemons.
//! 5. [`rounds`]: faults, one after the other, and the verdict; [`sessions`]: very many at once.
//!
//! Invariant: a process that was started here is ended here, and no other is touched.

pub mod cluster;
pub mod corosync;
pub mod keeper;
pub mod nemesis;
pub mod netns;
pub mod process;
pub mod rounds;
pub mod sessions;
pub mod workload;
pub mod world;
