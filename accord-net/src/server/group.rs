//! The group layer of a running server, whichever it is, and the way of its datagrams.

use super::options::{GroupOptions, RingOptions};
use crate::corosync::{CorosyncError, CorosyncGroup, GroupStatus};
use crate::env::{Clock, Datagram};
use accord_core::group::ring::{ConfigError, Ring, RingStatus, To, Transmit};
use accord_core::group::solo::{Solo, SoloLimits};
use accord_core::group::{GroupEvent, Standing, SubmitError};
use accord_core::ids::NodeId;
use accord_core::time::Instant;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::Notify;

/// A server's group layer.
#[derive(Debug)]
pub(super) enum Group {
    Solo(Solo),
    Ring(Box<RingGroup>),
    Corosync(CorosyncGroup),
}

/// How a server's group layer is.
#[derive(Debug)]
pub(super) enum GroupReport {
    Solo,
    /// And how many datagrams came from strangers.
    Ring(Box<RingStatus>, u64),
    Corosync(Box<GroupStatus>),
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
    pub(super) fn new(
        options: &GroupOptions,
        node: NodeId,
        seed: u64,
        clock: Clock,
    ) -> Result<Self, CorosyncError> {
        let now = clock();
        Ok(match options {
            GroupOptions::Solo => Self::Solo(Solo::new(node, SoloLimits::default(), seed, now)),
            GroupOptions::Ring(ring) => Self::Ring(Box::new(RingGroup::new(ring, node, seed, now))),
            GroupOptions::Corosync(corosync) => {
                Self::Corosync(CorosyncGroup::start(corosync.config(node), seed, clock)?)
            }
        })
    }

    /// Told when events wait that came on another thread, if they can.
    pub(super) fn news(&self) -> Option<Arc<Notify>> {
        match self {
            Self::Solo(_) | Self::Ring(_) => None,
            Self::Corosync(group) => Some(group.news()),
        }
    }

    pub(super) fn submit(&mut self, now: Instant, payload: Bytes) -> Result<(), SubmitError> {
        match self {
            Self::Solo(solo) => solo.submit(now, payload),
            Self::Ring(group) => group.ring.submit(now, payload),
            Self::Corosync(group) => group.submit(payload),
        }
    }

    pub(super) fn poll_event(&mut self) -> Option<GroupEvent> {
        match self {
            Self::Solo(solo) => solo.poll_event(),
            Self::Ring(group) => group.ring.poll_event(),
            Self::Corosync(group) => group.poll_event(),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self {
            Self::Solo(solo) => solo.next_deadline(),
            Self::Ring(group) => group.ring.next_deadline(),
            // Its thread has its own.
            Self::Corosync(_) => None,
        }
    }

    pub(super) fn handle_timer(&mut self, now: Instant) {
        match self {
            Self::Solo(solo) => solo.handle_timer(now),
            Self::Ring(group) => group.ring.handle_timer(now),
            Self::Corosync(_) => {}
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

    /// Tells of this server's vote. Corosync does not ask.
    pub(super) fn set_standing(&mut self, now: Instant, standing: Standing) {
        if let Self::Ring(group) = self {
            group.ring.set_standing(now, standing);
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
        match self {
            Self::Solo(_) => {}
            Self::Ring(group) => group.ring.leave(now),
            Self::Corosync(group) => group.leave(),
        }
    }

    pub(super) fn report(&self) -> GroupReport {
        match self {
            Self::Solo(_) => GroupReport::Solo,
            Self::Ring(group) => GroupReport::Ring(Box::new(group.ring.status()), group.strangers),
            Self::Corosync(group) => GroupReport::Corosync(Box::new(group.status())),
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
