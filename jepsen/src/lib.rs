//! Real Accord servers under faults: processes that are killed and paused while clients work, and
//! the judgement of what the clients saw.
//!
//! The simulator in `accord-sim` hunts in the core; this harness hunts in everything around it:
//! sockets, the driver, the client library, process death. Read on:
//!
//! 1. `accord-testbed`: servers as processes, where they run, and what is done to them.
//! 2. [`systems`]: clients of Accord, ZooKeeper and etcd, and what their errors mean.
//! 3. [`workload`]: what clients do, recorded as histories in Jepsen's form.
//! 4. [`nemesis`]: faults.
//! 5. [`rounds`]: faults, one after the other, and the verdict; [`sessions`]: very many at once;
//!    [`grow`]: a cluster that grows and shrinks; [`conclusion`]: what a run comes to, and its
//!    exit code.
//! 6. [`load`]: steady writers, for what is measured: a server that comes back ([`transfer`]),
//!    checkpoints of a large store ([`checkpoints`]).
//!
//! Invariant: a process that was started here is ended here, and no other is touched.

pub mod checkpoints;
pub mod conclusion;
pub mod grow;
pub mod keeper;
pub mod load;
pub mod nemesis;
pub mod rounds;
pub mod sessions;
pub mod systems;
pub mod transfer;
pub mod workload;
