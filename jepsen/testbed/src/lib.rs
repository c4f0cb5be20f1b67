//! Clusters of server processes on this machine, for tests, the harness and the comparison: Accord,
//! Accord over Corosync, ZooKeeper and etcd.
//!
//! Programs are known by their paths and asked over their own ports, so this package depends on
//! none of the systems. Read on:
//!
//! 1. [`system`]: what a system must say of itself; [`systems`]: those that are known.
//! 2. [`cluster`]: its servers: started, stopped, killed, paused, asked.
//! 3. [`nodes`]: network namespaces to run them in; [`netns`] makes them, [`mod@corosync`] runs its
//!    daemons there.
//! 4. [`process`] and [`spawn`]: one program, and the thread that starts all of them.
//! 5. [`leftovers`]: what a test that was killed could not remove.
//! 6. `clients` (a feature of that name): the protocols of ZooKeeper and etcd, without IO.
//!
//! Invariant: a process that was started here is ended here by its number, and no other is touched.
//! If this process is killed, the kernel ends those that it started (see [`spawn`]); the next start
//! removes what else it left (see [`leftovers`]).

pub mod ask;
#[cfg(feature = "clients")]
pub mod clients;
pub mod cluster;
pub mod corosync;
pub mod leftovers;
pub mod netns;
pub mod nodes;
pub mod out;
pub mod process;
pub mod spawn;
pub mod system;
pub mod systems;
