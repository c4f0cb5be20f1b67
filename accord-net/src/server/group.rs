//! The group layer of a running server, whichever it is, and the way of its datagrams.

use super::options::{GroupOptions, RingOptions};
use crate::env::Datagram;
use accord_core::group::ring::{ConfigError, Ring, RingStatus, To, Transmit};
use accord_core::group::solo::{Solo, SoloLimits};
use accord_core::group::{GroupEvent, SubmitError};
use accord_core::ids::NodeId;
use accord_core::time::Instant;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// A server's group layer.
#[derive(Debug)]
pub(super) enum Group {
    Solo(Solo),
    Ring(Box<RingGroup>),
}

/// A ring and the addresses of its members.
#[derive(Debug)]
pub(super) struct RingGroup {
    ring: Ring,
    to: BTreeMap<NodeId, SocketAddr>,
    from: BTreeMap<SocketAddr, NodeId>,
    /// Datagrams from addresses that belong to no server.
    strangers: u64,
}

impl Group {
    pub(super) fn new(options: &GroupOptions, node: NodeId, seed: u64, now: Instant) -> Self {
        match options {
            GroupOptions::Solo => Self::Solo(Solo::new(node, SoloLimits::default(), seed, now)),
            GroupOptions::Ring(ring) => Self::Ring(Box::new(RingGroup::new(ring, node, seed, now))),
        }
    }

    pub(super) fn submit(&mut self, now: Instant, payload: Bytes) -> Result<(), SubmitError> {
        match self {
            Self::Solo(solo) => solo.submit(now, payload),
            Self::Ring(group) => group.ring.submit(now, payload),
        }
    }

    pub(super) fn poll_event(&mut self) -> Option<GroupEvent> {
        match self {
            Self::Solo(solo) => solo.poll_event(),
            Self::Ring(group) => group.ring.poll_event(),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self {
            Self::Solo(solo) => solo.next_deadline(),
            Self::Ring(group) => group.ring.next_deadline(),
        }
    }

    pub(super) fn handle_timer(&mut self, now: Instant) {
        match self {
            Self::Solo(solo) => solo.handle_timer(now),
            Self::Ring(group) => group.ring.handle_timer(now),
        }
    }

    pub(super) fn handle_datagram(&mut self, now: Instant, (from, bytes): &Datagram) {
        let Self::Ring(group) = self else { return };
        match group.from.get(from) {
            Some(node) => group.ring.handle_datagram(now, *node, bytes),
            None => group.strangers += 1,
        }
    }

    /// Appends what is to be sent.
    pub(super) fn poll_datagrams(&mut self, out: &mut Vec<Datagram>) {
        let Self::Ring(group) = self else { return };
        while let Some(Transmit { to, bytes }) = group.ring.poll_transmit() {
            match to {
                To::Node(node) => {
                    out.extend(group.to.get(&node).map(|to| (*to, bytes)));
                }
                To::Broadcast => out.extend(group.to.values().map(|to| (*to, bytes.clone()))),
            }
        }
    }

    /// Changes who may take part, and where they are.
    pub(super) fn set_peers(
        &mut self,
        now: Instant,
        peers: &BTreeMap<NodeId, SocketAddr>,
    ) -> Result<(), ConfigError> {
        let Self::Ring(group) = self else { return Ok(()) };
        group.ring.set_peers(now, peers.keys().copied().collect())?;
        group.to.clone_from(peers);
        group.from = peers.iter().map(|(node, at)| (*at, *node)).collect();
        Ok(())
    }

    /// Tells the others that this server goes.
    pub(super) fn leave(&mut self, now: Instant) {
        if let Self::Ring(group) = self {
            group.ring.leave(now);
        }
    }

    pub(super) fn ring_status(&self) -> Option<(RingStatus, u64)> {
        match self {
            Self::Solo(_) => None,
            Self::Ring(group) => Some((group.ring.status(), group.strangers)),
        }
    }
}

impl RingGroup {
    fn new(options: &RingOptions, node: NodeId, seed: u64, now: Instant) -> Self {
        Self {
            ring: Ring::new(options.core(node), seed, now),
            to: options.peers.clone(),
            from: options.peers.iter().map(|(node, at)| (*at, *node)).collect(),
            strangers: 0,
        }
    }
}
