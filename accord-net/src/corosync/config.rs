//! How a member of a process group is set up: bounds and tempo.

use accord_core::time::{Duration, DurationExt};
use std::fmt;

/// A member of a process group, as it is told at its start.
#[derive(Clone)]
pub struct MachineConfig {
    /// This server. Its Corosync daemon must have the same number.
    pub node: accord_core::ids::NodeId,
    /// The secret that all servers of the cluster share: proves who belongs to it.
    pub key: [u8; 32],
    /// Bounds and tempo.
    pub limits: CorosyncLimits,
}

impl fmt::Debug for MachineConfig {
    /// Everything but the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MachineConfig")
            .field("node", &self.node)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// The bounds and the tempo of a group over Corosync. Every queue in it has a bound here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorosyncLimits {
    /// The largest message handed to Corosync. Larger ones of ours travel in fragments, smaller
    /// ones together.
    pub chunk_bytes_max: usize,
    /// The largest message of the replica.
    pub message_bytes_max: usize,
    /// The most bytes submitted and not yet handed to Corosync.
    pub pending_bytes_max: usize,
    /// The most messages submitted and not yet handed to Corosync.
    pub pending_messages_max: usize,
    /// The most bytes handed to Corosync that are not known to be in the order.
    pub window_bytes_max: usize,
    /// The most messages handed to Corosync that are not known to be in the order. Below 250: a
    /// daemon that hangs makes the 279th call of its library spin.
    pub window_chunks_max: usize,
    /// The most bytes delivered that wait for the replica; above, nothing is taken from Corosync.
    pub events_bytes_max: usize,
    /// A member that has nothing to say says so this often.
    pub alive: Duration,
    /// A member that was not heard for this long, while others were, is left out. One whose own
    /// messages do not come back for this long counts as alone.
    pub silence: Duration,
    /// How long a view that forms waits for a member of the group that says nothing.
    pub form: Duration,
    /// How long others wait for the sender of the last message to say that it has it in order.
    pub seen: Duration,
}

impl Default for CorosyncLimits {
    fn default() -> Self {
        Self {
            // With what Corosync puts before it, one of its frames.
            chunk_bytes_max: 60_000,
            message_bytes_max: 72 << 20,
            pending_bytes_max: 80 << 20,
            pending_messages_max: 64 << 10,
            window_bytes_max: 2 << 20,
            window_chunks_max: 128,
            events_bytes_max: 256 << 20,
            alive: Duration::from_millis(250),
            silence: Duration::from_millis(3000),
            form: Duration::from_millis(1000),
            seen: Duration::from_millis(2),
        }
    }
}

impl CorosyncLimits {
    /// The smallest chunk worth its overhead.
    pub const CHUNK_BYTES_LEAST: usize = 256;
    /// The largest: above, Corosync's library cuts messages itself, in ways that may fail halfway.
    pub const CHUNK_BYTES_MOST: usize = 1_000_000;
    /// The most messages that a hanging daemon's socket takes without making us spin, minus those
    /// outside the window.
    pub const WINDOW_CHUNKS_MOST: usize = 250;

    /// Looks for bounds that contradict each other.
    ///
    /// # Errors
    /// What is wrong, with the names of the bounds.
    pub fn validate(&self) -> Result<(), &'static str> {
        let rules = [
            (
                (Self::CHUNK_BYTES_LEAST..=Self::CHUNK_BYTES_MOST).contains(&self.chunk_bytes_max),
                "chunk_bytes_max: from 256 to 1000000",
            ),
            (
                (1..=Self::WINDOW_CHUNKS_MOST).contains(&self.window_chunks_max),
                "window_chunks_max: from 1 to 250",
            ),
            (
                self.window_bytes_max >= self.chunk_bytes_max,
                "window_bytes_max is below chunk_bytes_max: a full chunk would never leave",
            ),
            (
                self.pending_bytes_max >= self.message_bytes_max,
                "pending_bytes_max is below message_bytes_max: the largest message would never fit",
            ),
            (self.pending_messages_max > 0, "pending_messages_max is 0: at least 1"),
            (self.events_bytes_max > 0, "events_bytes_max is 0: at least 1"),
            (self.alive > Duration::ZERO, "alive is 0: at least 1"),
            (
                self.silence >= self.alive.times(2),
                "silence is below twice alive: members would leave each other out for nothing",
            ),
            (self.form > Duration::ZERO, "form is 0: at least 1"),
        ];
        rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, what)| Err(*what))
    }
}
