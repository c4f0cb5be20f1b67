//! Real Accord servers under faults: processes that are killed and paused while clients work, and
//! the judgement of what the clients saw.
//!
//! The simulator in `accord-sim` hunts in the core; this harness hunts in everything around it:
//! sockets, the driver, the client library, process death. Read on:
//!
//! 1. `accord-testbed`: servers as processes, where they run, and what is done to them.
//! 2. [`systems`] has clients of Accord, ZooKeeper and etcd, and what their errors mean.
//! 3. [`workload`] is what clients do, recorded as histories in Jepsen's form.
//! 4. [`nemesis`] injects faults.
//! 5. [`rounds`] injects faults one after the other and judges; [`sessions`] opens very many
//!    sessions at once; [`grow`] grows and shrinks a cluster. What a run comes to, with its exit
//!    code, is a [`conclusion`].
//! 6. [`load`] has steady writers, for what is measured: a server that comes back ([`transfer`]),
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
