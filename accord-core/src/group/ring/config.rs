//! A ring's configuration: node, peers, key, bounds and timeouts.

use crate::group::MEMBERS_MAX;
use crate::group::ring::packet::{DATA_OVERHEAD_BYTES, FRAGMENT_HEADER_BYTES};
use crate::ids::NodeId;
use crate::time::{Duration, DurationExt};
use alloc::vec::Vec;
use core::fmt;
use thiserror::Error;

/// The largest datagram that UDP over IPv4 carries.
pub const DATAGRAM_BYTES_LIMIT: usize = 65_507;

/// A ring member's configuration.
#[derive(Clone)]
pub struct RingConfig {
    /// This server.
    pub node: NodeId,
    /// The other servers that may take part. Datagrams of nodes that are not listed are refused.
    pub peers: Vec<NodeId>,
    /// The secret that all members share; keys the code that authenticates each datagram.
    pub key: [u8; 32],
    /// Bounds.
    pub limits: RingLimits,
    /// Timeouts.
    pub timeouts: RingTimeouts,
}

impl fmt::Debug for RingConfig {
    /// Everything but the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingConfig")
            .field("node", &self.node)
            .field("peers", &self.peers)
            .field("limits", &self.limits)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

/// The bounds of a ring. Every queue in it has one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLimits {
    /// The largest datagram that carries messages. On a real network without jumbo frames, the IP
    /// layer splits larger ones than about 1400 bytes, and loses all of one if it loses a part.
    pub datagram_bytes_max: usize,
    /// The largest message. Larger ones than a datagram travel in fragments.
    pub message_bytes_max: usize,
    /// The most bytes submitted and not yet sent.
    pub pending_bytes_max: usize,
    /// The most messages submitted and not yet sent.
    pub pending_messages_max: usize,
    /// The most datagrams that one member sends in one visit of the token.
    pub burst_packets_max: u32,
    /// How many of the burst's datagrams follow the token instead of going before it.
    pub accelerated_packets: u32,
    /// The most datagrams that all members send in one rotation of the token. An equal part of it
    /// is each one's share; the first rotation in which others begin to send may exceed it.
    pub window_packets_max: u32,
    /// The most datagrams kept until all members have them and they are delivered here.
    /// One member alone has at most a quarter of it on the way.
    pub store_packets_max: u32,
    /// The most datagrams waiting for [`super::Ring::poll_transmit`]; more are lost as on a wire.
    pub transmit_packets_max: usize,
    /// The most events waiting for [`super::Ring::poll_event`] before datagrams are refused.
    pub events_max: usize,
}

impl Default for RingLimits {
    /// A rotation's datagrams fit into the receive buffer that Linux gives a socket unasked (208
    /// KiB), since what overflows it is lost. A driver with larger buffers sets a larger window.
    fn default() -> Self {
        Self {
            datagram_bytes_max: 16_000,
            // The largest command of a replica with default bounds, and what travels with it.
            message_bytes_max: 72 << 20,
            pending_bytes_max: 80 << 20,
            pending_messages_max: 64 << 10,
            burst_packets_max: 6,
            accelerated_packets: 4,
            window_packets_max: 10,
            store_packets_max: 256,
            transmit_packets_max: 1024,
            events_max: 1 << 20,
        }
    }
}

/// The timeouts of a ring.
///
/// A dead member is noticed after `token_loss`, and a ring without it forms after `gather` more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingTimeouts {
    /// Without a token for this long, the ring is taken for broken.
    pub token_loss: Duration,
    /// A token that was passed on is sent again after this long without another.
    pub token_retransmit: Duration,
    /// How long the representative keeps the token of an idle ring before each rotation.
    pub idle_hold: Duration,
    /// Presence is announced this often while gathering.
    pub join: Duration,
    /// How long a gathering waits for those who are missing.
    pub gather: Duration,
    /// Presence is announced this often while there are peers outside the ring.
    pub beacon: Duration,
    /// A node outside the ring that was not heard for this long is not there.
    pub presence: Duration,
    /// A member that for this long could not receive what the others have, or held them back and
    /// delivered nothing, leaves the ring.
    pub receive: Duration,
    /// The longest that a node which would not agree is kept out, after repeated attempts.
    pub suspicion_max: Duration,
}

impl Default for RingTimeouts {
    fn default() -> Self {
        Self {
            token_loss: Duration::from_millis(400),
            token_retransmit: Duration::from_millis(50),
            idle_hold: Duration::from_millis(20),
            join: Duration::from_millis(10),
            gather: Duration::from_millis(100),
            beacon: Duration::from_millis(200),
            presence: Duration::from_millis(1000),
            receive: Duration::from_millis(1000),
            suspicion_max: Duration::from_secs(8),
        }
    }
}

/// Why a configuration cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// A bound or timeout contradicts another; the text names both.
    #[error("{0}")]
    Contradiction(&'static str),
}

impl RingConfig {
    /// A member with the default bounds and timeouts.
    pub fn new(node: NodeId, peers: Vec<NodeId>, key: [u8; 32]) -> Self {
        let (limits, timeouts) = Default::default();
        Self { node, peers, key, limits, timeouts }
    }

    /// Checks that the bounds and timeouts fit together.
    ///
    /// # Errors
    /// [`ConfigError`] names the first pair that does not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let (l, t) = (&self.limits, &self.timeouts);
        let rules = [
            (self.peers.len() < MEMBERS_MAX, "peers exceed the most members of a view"),
            (!self.peers.contains(&self.node), "peers must not contain the node itself"),
            (
                l.datagram_bytes_max > DATA_OVERHEAD_BYTES + 4 * FRAGMENT_HEADER_BYTES,
                "datagram_bytes_max leaves no room for payload",
            ),
            (
                l.datagram_bytes_max <= DATAGRAM_BYTES_LIMIT,
                "datagram_bytes_max exceeds what UDP carries",
            ),
            (
                l.pending_bytes_max >= l.message_bytes_max,
                "pending_bytes_max is below message_bytes_max",
            ),
            (l.pending_messages_max >= 1, "pending_messages_max is zero"),
            (l.burst_packets_max >= 1, "burst_packets_max is zero"),
            (
                l.window_packets_max >= l.burst_packets_max,
                "window_packets_max is below burst_packets_max",
            ),
            (
                l.store_packets_max >= l.window_packets_max.saturating_mul(4),
                "store_packets_max is below four times window_packets_max",
            ),
            (
                l.transmit_packets_max >= l.store_packets_max as usize,
                "transmit_packets_max is below store_packets_max",
            ),
            (l.events_max >= 1, "events_max is zero"),
            (t.token_retransmit > Duration::ZERO, "token_retransmit is zero"),
            (
                t.token_loss >= (t.token_retransmit + t.idle_hold).times(2),
                "token_loss is below twice token_retransmit + idle_hold",
            ),
            (t.join > Duration::ZERO, "join is zero"),
            (t.gather >= t.join.times(4), "gather is below four times join"),
            (t.presence >= t.beacon.times(3), "presence is below three times beacon"),
            (t.beacon > Duration::ZERO, "beacon is zero"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(ConfigError::Contradiction(rule)),
            None => Ok(()),
        }
    }
}
