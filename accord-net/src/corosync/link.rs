//! How the link to the local daemon is, and why there is none.

use super::config::{CorosyncLimits, MachineConfig};
use super::machine::MachineStatus;
use accord_core::ids::NodeId;
use thiserror::Error;

/// How a server takes part in a process group.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// The group's name: the same on all servers of a cluster, and no other program's.
    pub name: String,
    /// The member.
    pub machine: MachineConfig,
}

impl GroupConfig {
    /// The longest name that Corosync allows.
    pub const NAME_BYTES_MAX: usize = 127;

    /// A member with the default bounds.
    pub fn new(name: impl Into<String>, node: NodeId, key: [u8; 32]) -> Self {
        let limits = CorosyncLimits::default();
        Self { name: name.into(), machine: MachineConfig { node, key, limits } }
    }
}

/// Why there is no group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CorosyncError {
    /// The program has no Corosync in it.
    #[error(
        "this accord was built without Corosync: build it with --features corosync (on Debian, \
         install libcpg-dev, libcfg-dev, libcmap-dev, libquorum-dev and libvotequorum-dev before), \
         or set group = \"ring\""
    )]
    NotBuilt,
    /// No daemon listens.
    #[error(
        "Corosync's daemon does not run on this machine, or is not ready yet: start it with \
         `systemctl start corosync`, and look into its log if it does not stay"
    )]
    NoDaemon,
    /// The daemon does not let this user in.
    #[error(
        "Corosync refuses the user that this server runs as: write `uidgid {{ uid: NAME }}` into a \
         file in /etc/corosync/uidgid.d and restart Corosync or run `corosync-cfgtool -R`"
    )]
    NotAllowed,
    /// The daemon has another number.
    #[error(
        "this server's id is {server}, but the Corosync daemon on this machine is node {daemon}: \
         they must be equal. Set id = {daemon}, or nodeid: {server} in corosync.conf"
    )]
    OtherNode {
        /// The daemon's number.
        daemon: u32,
        /// The server's.
        server: u32,
    },
    /// This process is in the group already.
    #[error("this process is in the group already: one server of a group in a process and node")]
    InUse,
    /// The daemon did not answer.
    #[error(
        "Corosync's daemon does not answer: is it stopped or overloaded? Look with \
         `corosync-cfgtool -s`, and restart it if it hangs"
    )]
    Silent,
    /// Something else.
    #[error("Corosync's library says {0}: look into the daemon's log")]
    Library(&'static str),
}

/// How the link is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkStatus {
    /// Why there is none, if there is none.
    pub error: Option<CorosyncError>,
    /// The daemons' ring: the representative's number and the ring's.
    pub ring: Option<(u32, u64)>,
    /// The daemons in it.
    pub nodes: Vec<u32>,
    /// Whether Corosync's own quorum counts the ring as a majority; `None`: it has no quorum
    /// provider. Accord counts its own votes.
    pub quorate: Option<bool>,
    /// How often the daemon went away.
    pub losses: u64,
    /// How often the daemon asked to try again.
    pub tries_again: u64,
}

/// How the group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// The link to the daemon.
    pub link: LinkStatus,
    /// The member.
    pub machine: MachineStatus,
}
