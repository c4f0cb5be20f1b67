//! A replica's configuration: identity, durability, bounds.

use crate::ids::NodeId;
use crate::time::Duration;
use alloc::collections::BTreeSet;

/// What "durable" means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Memory is the medium: an entry is durable when appended, and a restarted server has a new
    /// incarnation and is readmitted by the others.
    Memory,
    /// The disk is the medium: an entry is durable when [`super::io::Ticket`] comes back.
    Persistent,
}

/// How a replica is set up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReplicaConfig {
    /// This server.
    pub node: NodeId,
    /// The servers that form the cluster together at its very first start.
    pub initial: BTreeSet<NodeId>,
    /// What "durable" means.
    pub durability: Durability,
    /// Bounds.
    pub limits: ReplicaLimits,
}

/// The bounds of a replica's queues and messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReplicaLimits {
    /// A batch is closed when it has this many bytes; one larger command makes a batch of its own.
    pub batch_bytes_max: usize,
    /// The largest command, in bytes. By default as large as the state takes one: a value of the
    /// most bytes, its key, and what goes with them.
    pub command_bytes_max: usize,
    /// Own messages that may be in the group layer, not yet delivered back. More make larger
    /// pipelines, fewer make larger batches.
    pub frames_in_flight_max: usize,
    /// Bytes of own commands that wait for commitment; above, proposals are refused.
    pub proposals_bytes_max: usize,
    /// Bytes of the open epoch's entries that a server keeps while it still fetches older ones.
    /// What does not fit is fetched later. What does is taken over in one go in the end.
    pub live_bytes_max: usize,
    /// Bytes of entries in one message of a transfer; of a snapshot, four times as many.
    pub chunk_bytes_max: usize,
    /// Bytes of entries a second that a server fetches at most, so that it and the others have time
    /// for what is new; of a snapshot, four times as many. Doubled for one that does not come
    /// nearer.
    pub transfer_bytes_per_second_max: u64,
    /// The largest snapshot accepted from another server, in bytes.
    pub snapshot_bytes_max: u64,
    /// Bytes of applied entries kept in memory for servers that were away for a short time; with a
    /// large state, a quarter of its bytes. Who was away for longer gets an image of the state.
    pub log_bytes_retained: usize,
    /// Bytes of committed entries applied in one slice; at least one entry. With a longer backlog,
    /// as after a restart, other events come in turn between slices.
    pub apply_bytes_max: usize,
    /// Bytes of log after which a checkpoint is taken (persistent mode), or as many as the state
    /// had in the last one if that is more.
    pub checkpoint_bytes: usize,
    /// A digest of the state is exchanged whenever the index is a multiple of this. At least 1.
    pub digest_interval: u64,
    /// How long an unanswered request for a transfer waits before the next server is asked.
    pub transfer_timeout: Duration,
}

impl Default for ReplicaLimits {
    fn default() -> Self {
        Self {
            batch_bytes_max: 64 << 10,
            command_bytes_max: 65 << 20,
            frames_in_flight_max: 4,
            proposals_bytes_max: 16 << 20,
            live_bytes_max: 1 << 20,
            chunk_bytes_max: 16 << 10,
            transfer_bytes_per_second_max: 8 << 20,
            snapshot_bytes_max: 64 << 30,
            log_bytes_retained: 64 << 20,
            apply_bytes_max: 16 << 10,
            checkpoint_bytes: 256 << 20,
            digest_interval: 1024,
            transfer_timeout: Duration::from_millis(500),
        }
    }
}

impl ReplicaLimits {
    /// Asserts that the bounds make sense together.
    pub fn check(&self) {
        assert!(self.batch_bytes_max > 0 && self.command_bytes_max > 0);
        assert!(self.frames_in_flight_max > 0, "at least one message must be allowed in flight");
        assert!(self.chunk_bytes_max > 0 && self.digest_interval > 0);
        assert!(self.transfer_bytes_per_second_max > 0);
    }
}
