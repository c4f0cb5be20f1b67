//! Presence: the last row of each processor, and which processors we hear.
//!
//! Every announcement carries all fresh rows that its sender knows, so that those who do not hear
//! each other learn of each other, and all come to compute with the same graph. A row counts its
//! processor's announcements: an old one, late or replayed, changes nothing.

use crate::group::Standing;
use crate::group::ring::clique::Vertex;
use crate::group::ring::config::RingConfig;
use crate::group::ring::packet::Proc;
use crate::group::ring::rows::Row;
use crate::ids::NodeId;
use crate::time::{Duration, DurationExt, Instant};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// The most processors remembered. Restarts make new ones; those silent for longest are forgotten.
const PEERS_MAX: usize = 512;
/// A sequence above this is forged: no group forms that many rings.
pub(super) const SEQ_MAX: u64 = 1 << 62;

/// Kept out for a while, because it was heard and would not agree.
#[derive(Clone, Copy, Debug)]
struct Suspicion {
    until: Instant,
    length: Duration,
}

/// What is known of one processor.
#[derive(Clone, Debug)]
struct Peer {
    row: Row,
    /// When `row` became what it is.
    updated: Instant,
    /// When the processor itself was heard last.
    heard: Option<Instant>,
    suspicion: Option<Suspicion>,
    left: bool,
}

/// All that is known of other processors.
#[derive(Clone, Debug)]
pub(super) struct Table {
    allowed: BTreeSet<NodeId>,
    /// Invariant: at most [`PEERS_MAX`], all of allowed nodes.
    peers: BTreeMap<Proc, Peer>,
    /// Counts our own announcements.
    version: u64,
    announced_at: Instant,
    /// Whom we said that we hear.
    hears_announced: Vec<Proc>,
}

impl Table {
    pub(super) fn new(config: &RingConfig) -> Self {
        Self {
            allowed: config.peers.iter().copied().collect(),
            peers: BTreeMap::new(),
            version: 0,
            announced_at: Instant::ZERO,
            hears_announced: Vec::new(),
        }
    }

    /// The number of our last announcement.
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    pub(super) const fn announced_at(&self) -> Instant {
        self.announced_at
    }

    /// Counts an announcement that is about to be made.
    pub(super) const fn note_announcement(&mut self, now: Instant) {
        self.version += 1;
        self.announced_at = now;
    }

    /// True if whom we hear is not what we said last.
    pub(super) fn note_hears(&mut self, hears: Vec<Proc>) -> bool {
        let changed = self.hears_announced != hears;
        self.hears_announced = hears;
        changed
    }

    pub(super) fn set_peers(&mut self, config: &RingConfig) {
        self.allowed = config.peers.iter().copied().collect();
        self.peers.retain(|proc, _| self.allowed.contains(&proc.node));
    }

    /// Takes in the rows of an announcement of `sender`. False if its own row is not new.
    pub(super) fn merge(&mut self, now: Instant, sender: Proc, rows: Vec<Row>) -> bool {
        let mut heard = false;
        for row in rows {
            if !self.allowed.contains(&row.proc.node) || row.seq_max > SEQ_MAX {
                continue;
            }
            let proc = row.proc;
            let known = self.peers.get_mut(&proc);
            let newer = known.as_ref().is_none_or(|peer| row.version > peer.row.version);
            if !newer {
                continue;
            }
            heard |= proc == sender;
            match known {
                Some(peer) => (peer.row, peer.updated) = (row, now),
                None => {
                    let (heard, suspicion) = (None, None);
                    let peer = Peer { row, updated: now, heard, suspicion, left: false };
                    self.peers.insert(proc, peer);
                }
            }
        }
        if heard && let Some(peer) = self.peers.get_mut(&sender) {
            peer.heard = Some(now);
        }
        self.forget_oldest();
        heard
    }

    fn forget_oldest(&mut self) {
        while self.peers.len() > PEERS_MAX {
            let oldest = self.peers.iter().min_by_key(|(_, peer)| peer.updated);
            let oldest = *oldest.expect("a full table has an oldest").0;
            self.peers.remove(&oldest);
        }
    }

    pub(super) fn row(&self, proc: Proc) -> Option<&Row> {
        self.peers.get(&proc).map(|peer| &peer.row)
    }

    /// Processors heard at or after `since`, except those that left or are suspected. Sorted.
    pub(super) fn heard_since(&self, now: Instant, since: Instant) -> Vec<Proc> {
        let counts = |peer: &Peer| {
            let suspected = peer.suspicion.is_some_and(|s| s.until > now);
            !peer.left && !suspected && peer.heard.is_some_and(|at| at >= since)
        };
        self.peers.iter().filter(|(_, peer)| counts(peer)).map(|(proc, _)| *proc).collect()
    }

    /// Rows that became what they are at or after `since`.
    pub(super) fn rows_since(&self, since: Instant) -> impl Iterator<Item = &Row> {
        let fresh = move |peer: &&Peer| !peer.left && peer.updated >= since;
        self.peers.values().filter(fresh).map(|peer| &peer.row)
    }

    /// True if the processor was heard at or after `since` and another run of its node was not.
    pub(super) fn is_replaced(&self, proc: Proc, since: Instant) -> bool {
        let heard = |p: &Peer| p.heard.is_some_and(|at| at >= since);
        let run = |salt| Proc { node: proc.node, salt };
        let another = self.peers.range(run(0)..=run(u64::MAX)).any(|(p, r)| *p != proc && heard(r));
        another && !self.peers.get(&proc).is_some_and(heard)
    }

    /// True unless the processor left or is suspected.
    pub(super) fn is_welcome(&self, now: Instant, proc: Proc) -> bool {
        self.peers
            .get(&proc)
            .is_none_or(|peer| !peer.left && peer.suspicion.is_none_or(|s| s.until <= now))
    }

    /// Keeps the processor out for a while, up to `max`: twice as long as the last time, unless
    /// that is long past.
    pub(super) fn suspect(&mut self, now: Instant, proc: Proc, min: Duration, max: Duration) {
        if let Some(peer) = self.peers.get_mut(&proc) {
            let recent = peer.suspicion.filter(|s| now < s.until + max.times(2));
            let length = recent.map_or(min, |s| s.length.times(2)).min(max);
            peer.suspicion = Some(Suspicion { until: now + length, length });
        }
    }

    pub(super) fn note_left(&mut self, proc: Proc) {
        if let Some(peer) = self.peers.get_mut(&proc) {
            peer.left = true;
        }
    }

    /// The graph of who hears whom, ourselves (`own`) included. Sorted.
    pub(super) fn vertices(&self, own: &Row, since: Instant, ring: &[Proc]) -> Vec<Vertex> {
        let mut vertices: BTreeMap<Proc, Vertex> = BTreeMap::new();
        let mut add = |row: &Row| {
            let (hears, standing) = (row.hears.clone(), row.standing.clone());
            vertices.insert(row.proc, Vertex { proc: row.proc, ring: row.ring, standing, hears });
        };
        self.rows_since(since).for_each(&mut add);
        add(own);
        // Members of a working ring hear each other, also if older rows say otherwise.
        for member in ring {
            let known = || {
                // Who never announced itself here is taken to vote if it is a voter's node.
                let unknown = || Standing { votes: true, ..Standing::default() };
                self.row(*member).map_or_else(unknown, |row| row.standing.clone())
            };
            let vertex = vertices.entry(*member).or_insert_with(|| Vertex {
                proc: *member,
                ring: own.ring,
                standing: known(),
                hears: Vec::new(),
            });
            vertex.ring = own.ring;
            vertex.hears.extend(ring.iter().filter(|other| *other != member));
            vertex.hears.sort_unstable();
            vertex.hears.dedup();
        }
        vertices.into_values().collect()
    }

    pub(super) fn check(&self) {
        assert!(self.peers.len() <= PEERS_MAX);
        assert!(self.peers.keys().all(|proc| self.allowed.contains(&proc.node)));
    }
}
