//! The group layer over Corosync's process groups (CPG), for clusters of several machines.
//!
//! What Corosync promises is less than the ordering contract of [`accord_core::group`] in three
//! ways, and this module makes up for them
//! (decision 0014):
//!
//! - it delivers past holes when its ring changes: `order` takes only what cannot lie beyond one;
//! - messages come in a later view than they were sent in: they name their view, and count;
//! - its changes have no common name: members make one by telling how they left the last view.
//!
//! 1. [`config`]: bounds and tempo.
//! 2. [`message`]: what servers say to each other.
//! 3. [`machine`]: the whole logic, without IO. Always built and tested.
//! 4. [`CorosyncGroup`], in `daemon` (feature `corosync`): the thread that calls the C library.

#[cfg(not(feature = "corosync"))]
mod absent;
pub mod config;
#[cfg(feature = "corosync")]
mod daemon;
mod link;
pub mod machine;
pub mod message;
mod order;
mod pack;
mod refusal;
mod round;
#[cfg(test)]
mod tests;

#[cfg(not(feature = "corosync"))]
pub use absent::CorosyncGroup;
pub use config::{CorosyncLimits, MachineConfig};
#[cfg(feature = "corosync")]
pub use daemon::CorosyncGroup;
pub use link::{CorosyncError, GroupConfig, GroupStatus, LinkStatus};
