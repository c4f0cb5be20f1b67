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
//! 5. [`rounds`]: faults, one after the other, and the verdict; [`sessions`]: very many at once;
//!    [`grow`]: a cluster that grows and shrinks; [`conclusion`]: what a run comes to, and its
//!    exit code.
//! 6. [`load`]: steady writers, for what is measured: a server that comes back ([`transfer`]),
//!    checkpoints of a large store ([`checkpoints`]).
//!
//! Invariant: a process that was started here is ended here, and no other is touched.

pub mod checkpoints;
pub mod cluster;
pub mod conclusion;
pub mod corosync;
pub mod grow;
pub mod keeper;
pub mod load;
pub mod nemesis;
pub mod netns;
pub mod out;
pub mod process;
pub mod rounds;
pub mod sessions;
pub mod transfer;
pub mod workload;
pub mod world;
