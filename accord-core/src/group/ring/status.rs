//! A ring's status: its stage and its counters.

use crate::group::View;
use crate::group::ring::packet::Proc;

/// Why a datagram was ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// The authentication code is wrong: a stranger, another key, or damage on the way.
    Unauthentic,
    /// Authentic, but not of this version or layout.
    Malformed,
    /// Its sender is not among the configured peers.
    UnknownNode,
    /// Its sender is not the node that it came from.
    Misdirected,
    /// It is our own, come back.
    OwnEcho,
    /// Its sender has our node id, and is not us: an earlier run of ours, or a second machine.
    DuplicateNode,
    /// It belongs to a ring that we are not in, or not in that way.
    OtherRing,
    /// It is older than what we know: a copy, a late one, or a replay.
    Stale,
    /// A numbered datagram that is here already.
    DuplicateData,
    /// A numbered datagram further ahead than we have room for.
    Beyond,
    /// Too many events wait to be polled.
    Overloaded,
    /// We left the group.
    Left,
}

impl Refusal {
    /// All reasons, in the order of [`Counters::refused`].
    pub const ALL: [Self; 12] = [
        Self::Unauthentic,
        Self::Malformed,
        Self::UnknownNode,
        Self::Misdirected,
        Self::OwnEcho,
        Self::DuplicateNode,
        Self::OtherRing,
        Self::Stale,
        Self::DuplicateData,
        Self::Beyond,
        Self::Overloaded,
        Self::Left,
    ];
}

/// What a ring has counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams ignored, by reason, in the order of [`Refusal::ALL`]. See [`Self::refused_for`].
    pub refused: [u64; Refusal::ALL.len()],
    /// Datagrams taken in.
    pub accepted: u64,
    /// Views installed.
    pub views: u64,
    /// Gatherings begun.
    pub gathers: u64,
    /// Gatherings begun because the token, or a forming ring, was lost.
    pub token_losses: u64,
    /// Gatherings begun to form a larger ring with nodes outside.
    pub merges: u64,
    /// Gatherings begun because we could not receive what the others have.
    pub receive_failures: u64,
    /// Commit tokens that we sent on their way.
    pub commits: u64,
    /// Recoveries entered.
    pub recoveries: u64,
    /// Visits of the token.
    pub tokens: u64,
    /// Tokens sent again.
    pub token_retransmits: u64,
    /// Numbered datagrams that we made.
    pub packets_sent: u64,
    /// Numbered datagrams sent again because somebody asked.
    pub packets_resent: u64,
    /// Old datagrams carried over into a new ring by us.
    pub packets_recovered: u64,
    /// Numbers that we missed and asked for.
    pub requests: u64,
    /// Messages delivered.
    pub messages_delivered: u64,
    /// Payload bytes delivered.
    pub bytes_delivered: u64,
    /// Authentic data that made no sense when it was to be delivered.
    pub malformed_bodies: u64,
    /// Datagrams that found the outgoing queue full and were lost.
    pub transmits_dropped: u64,
    /// Announcements by a node of the ring from another run of it: a restart, or a second machine.
    pub node_conflicts: u64,
    /// Processors that were heard but did not agree, and were left out for a while.
    pub suspicions: u64,
}

impl Counters {
    /// Datagrams ignored for this reason.
    pub const fn refused_for(&self, refusal: Refusal) -> u64 {
        self.refused[refusal as usize]
    }

    /// Datagrams ignored for any reason.
    pub fn refused_total(&self) -> u64 {
        self.refused.iter().sum()
    }

    pub(super) const fn refuse(&mut self, refusal: Refusal) {
        self.refused[refusal as usize] += 1;
    }
}

/// What a ring is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingStage {
    /// Ordering messages.
    Operational,
    /// Finding out who is there.
    Gathering,
    /// Agreeing on the members of a new ring.
    Committing,
    /// Exchanging the old ring's messages in the new one.
    Recovering,
    /// Gone for good.
    Left,
}

/// A snapshot of a ring for operators and tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingStatus {
    /// This run of this node.
    pub proc: Proc,
    /// What it is doing.
    pub stage: RingStage,
    /// The view installed last. Its event may still wait to be polled.
    pub view: View,
    /// Messages submitted and not yet sent.
    pub pending_messages: usize,
    /// Numbered datagrams kept.
    pub stored_packets: u64,
    /// Events waiting to be polled.
    pub events_waiting: usize,
    /// The counters.
    pub counters: Counters,
}
