//! How a server is set up: parsed, checked, ready to run. Where it comes from: [`crate::settings`].

use crate::corosync::{CorosyncLimits, GroupConfig, MachineConfig};
use crate::storage::CLUSTER_NAME_DEFAULT;
use accord_core::group::ring::{RingConfig, RingLimits, RingTimeouts};
use accord_core::holder::SecretKey;
use accord_core::ids::NodeId;
use accord_core::limits::Limits;
use accord_core::replica::config::{Durability, ReplicaConfig, ReplicaLimits};
use accord_core::server::{ServerConfig, ServerLimits};
use accord_core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The name of the cluster.
    pub cluster: String,
    /// Its number, unique in the cluster.
    pub node: NodeId,
    /// The servers that form the cluster at its very first start.
    pub initial: BTreeSet<NodeId>,
    /// Whether it writes to a disk.
    pub durability: Durability,
    /// True at the very first start of a new cluster, and never again.
    pub bootstrap: bool,
    /// Where clients and operators connect.
    pub client_listen: SocketAddr,
    /// How it reaches the other servers.
    pub group: GroupOptions,
    /// The bounds of replication.
    pub replica: ReplicaLimits,
    /// The bounds of the replicated state: the same on every server.
    pub state: Limits,
    /// The bounds of dealings with clients.
    pub limits: ServerLimits,
    /// The bounds of connections.
    pub net: NetLimits,
}

/// How a server reaches the others.
#[derive(Clone, Debug)]
pub enum GroupOptions {
    /// There are no others.
    Solo,
    /// By the built-in ring.
    Ring(RingOptions),
    /// By a Corosync daemon on this machine.
    Corosync(CorosyncOptions),
}

/// How a server takes part in a group over Corosync.
#[derive(Clone)]
pub struct CorosyncOptions {
    /// Where it receives streams with transfers, which do not go through Corosync.
    pub listen: SocketAddr,
    /// Where the others reach it.
    pub address: SocketAddr,
    /// Where the others do.
    pub peers: BTreeMap<NodeId, SocketAddr>,
    /// The secret that all servers of the cluster share.
    pub key: [u8; 32],
    /// The process group's name.
    pub group: String,
    /// Bounds and tempo.
    pub limits: CorosyncLimits,
}

impl fmt::Debug for CorosyncOptions {
    /// Everything but the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CorosyncOptions")
            .field("listen", &self.listen)
            .field("peers", &self.peers)
            .field("group", &self.group)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl CorosyncOptions {
    /// What the group is told.
    pub fn config(&self, node: NodeId) -> GroupConfig {
        let machine = MachineConfig { node, key: self.key, limits: self.limits };
        GroupConfig { name: self.group.clone(), machine }
    }
}

/// Transfers between servers, outside the group's order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streams<'a> {
    pub(super) listen: SocketAddr,
    pub(super) address: SocketAddr,
    pub(super) peers: &'a BTreeMap<NodeId, SocketAddr>,
    pub(super) key: [u8; 32],
}

impl GroupOptions {
    /// How servers stream to each other, if there are others.
    pub(super) const fn streams(&self) -> Option<Streams<'_>> {
        match self {
            Self::Solo => None,
            Self::Ring(RingOptions { listen, address, peers, key, .. })
            | Self::Corosync(CorosyncOptions { listen, address, peers, key, .. }) => {
                Some(Streams { listen: *listen, address: *address, peers, key: *key })
            }
        }
    }

    /// Goes by other servers than those configured.
    pub(super) fn set_peers(&mut self, others: BTreeMap<NodeId, SocketAddr>) {
        match self {
            Self::Solo => {}
            Self::Ring(RingOptions { peers, .. })
            | Self::Corosync(CorosyncOptions { peers, .. }) => *peers = others,
        }
    }

    /// Where other servers are heard, if there are others.
    pub fn listen(&self) -> Option<SocketAddr> {
        self.streams().map(|streams| streams.listen)
    }
}

/// How a server takes part in a ring.
#[derive(Clone)]
pub struct RingOptions {
    /// Where it receives datagrams, and at the same port streams with transfers.
    pub listen: SocketAddr,
    /// By which address the others reach it.
    pub address: SocketAddr,
    /// Where the others do.
    pub peers: BTreeMap<NodeId, SocketAddr>,
    /// The secret that all servers of the cluster share.
    pub key: [u8; 32],
    /// Bounds.
    pub limits: RingLimits,
    /// Tempo.
    pub timeouts: RingTimeouts,
}

impl fmt::Debug for RingOptions {
    /// Everything but the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingOptions")
            .field("listen", &self.listen)
            .field("address", &self.address)
            .field("peers", &self.peers)
            .field("limits", &self.limits)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

/// The bounds of a server's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetLimits {
    /// How long a new connection may take to send its preface.
    pub preface_timeout: Duration,
    /// How long a client's connection may be without a session.
    pub sessionless_timeout: Duration,
    /// How long a client that is hung up on may take for what it was sent before.
    pub linger_timeout: Duration,
    /// How long a server that stops waits for its clients to move to others.
    pub drain_timeout: Duration,
    /// Bytes for another server that have not left; more are dropped, since transfers ask again.
    pub peer_bytes_max: usize,
    /// Connections of operators at once.
    pub operators_max: usize,
    /// How long an operator may say nothing, or not take an answer.
    pub operator_timeout: Duration,
    /// Connections at one port that have not said what they are for; more are closed at once.
    pub strangers_max: usize,
    /// How long a client may take none of what it is sent.
    pub stall_timeout: Duration,
    /// Bytes of messages in several frames whose ends have not arrived, over all clients. A client
    /// that exceeds it is disconnected.
    pub fragment_bytes_max: usize,
    /// Bytes of records that wait for the disk; while there are more, nothing is taken from the
    /// group.
    pub journal_bytes_max: usize,
}

impl Default for NetLimits {
    fn default() -> Self {
        Self {
            preface_timeout: Duration::from_secs(5),
            sessionless_timeout: Duration::from_secs(60),
            linger_timeout: Duration::from_secs(2),
            drain_timeout: Duration::from_secs(3),
            peer_bytes_max: 16 << 20,
            operators_max: 64,
            operator_timeout: Duration::from_secs(60),
            strangers_max: 10_000,
            stall_timeout: Duration::from_secs(30),
            fragment_bytes_max: 512 << 20,
            journal_bytes_max: 64 << 20,
        }
    }
}

impl ServerOptions {
    /// A server in memory mode with the default bounds.
    pub fn new(node: NodeId, client_listen: SocketAddr, group: GroupOptions) -> Self {
        let mut initial = BTreeSet::from([node]);
        initial.extend(group.streams().iter().flat_map(|streams| streams.peers.keys()));
        Self {
            cluster: CLUSTER_NAME_DEFAULT.to_owned(),
            node,
            initial,
            durability: Durability::Memory,
            bootstrap: false,
            client_listen,
            group,
            replica: ReplicaLimits::default(),
            state: Limits::default(),
            limits: ServerLimits::default(),
            net: NetLimits::default(),
        }
    }

    /// What the core is told, with the key of this start's secrets.
    pub fn core(&self, secrets: SecretKey) -> ServerConfig {
        ServerConfig {
            replica: ReplicaConfig {
                node: self.node,
                initial: self.initial.clone(),
                durability: self.durability,
                limits: self.replica.clone(),
            },
            state: self.state.clone(),
            limits: self.limits.clone(),
            secrets,
        }
    }
}

impl RingOptions {
    /// A member of a ring with the default bounds and tempo.
    pub fn new(listen: SocketAddr, peers: BTreeMap<NodeId, SocketAddr>, key: [u8; 32]) -> Self {
        let (limits, timeouts) = Default::default();
        Self { listen, address: listen, peers, key, limits, timeouts }
    }

    /// What the core is told.
    pub fn core(&self, node: NodeId) -> RingConfig {
        RingConfig {
            node,
            peers: self.peers.keys().copied().collect(),
            key: self.key,
            limits: self.limits,
            timeouts: self.timeouts,
        }
    }
}
