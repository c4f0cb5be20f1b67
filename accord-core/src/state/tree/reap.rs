//! Reaping: the end of containers that have no children any more, and of znodes whose time to live
//! is over.
//!
//! A server looks for candidates in its own state and proposes them, with what it saw of each. When
//! the command runs, a candidate ends only if it still is as it was seen: a child that came
//! meanwhile wins, and so does a write, which begins a time to live again. Time is that of the
//! order, so all replicas decide alike.

use super::super::event::Event;
use super::acl::decode_all;
use super::execute::delete;
use super::stat::Lifetime;
use super::store::{Store, Znode};
use crate::ids::{Revision, Stamp};
use crate::wire::{Decode, Encode, Reader, WireError, Writer};
use alloc::vec::Vec;
use bytes::Bytes;
use core::ops::Bound;

/// The most candidates in one command.
pub const CANDIDATES_MAX: usize = 1000;

/// A znode that may end by itself, as a server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReapCandidate {
    /// Its path.
    pub path: Bytes,
    /// The revision of the last change of its children, or of its creation.
    pub pzxid: Revision,
    /// The revision at which its data was last set.
    pub mzxid: Revision,
}

/// The znodes behind `after` that would be reaped now, in the order of their paths, at most `max`.
pub(super) fn candidates(
    store: &Store,
    after: Option<&[u8]>,
    now: Stamp,
    max: usize,
) -> Vec<ReapCandidate> {
    let after = after.map_or(Bound::Unbounded, Bound::Excluded);
    let found = store.reaped_after(after).filter_map(|held| {
        let node = store.get(held).filter(|node| is_due(node, now))?;
        Some(ReapCandidate { path: held.to_bytes(), pzxid: node.pzxid, mzxid: node.mzxid })
    });
    found.take(max.min(CANDIDATES_MAX)).collect()
}

/// Ends the candidates that are still due and as they were seen, in `revision`. Says how many.
pub(super) fn reap(
    store: &mut Store,
    candidates: &[ReapCandidate],
    (revision, now): (Revision, Stamp),
    events: &mut Vec<Event>,
) -> u32 {
    let mut count = 0;
    for candidate in candidates {
        let seen = |node: &&Znode| {
            node.pzxid == candidate.pzxid && node.mzxid == candidate.mzxid && is_due(node, now)
        };
        if store.get(&candidate.path).filter(seen).is_some() {
            events.push(delete(store, &candidate.path, revision));
            count += 1;
        }
    }
    count
}

/// True if a znode is over: a container that had children and has none, or one that was not set
/// for longer than its time to live and has none. A container that never had a child stays, as its
/// creator is about to create one.
fn is_due(node: &Znode, now: Stamp) -> bool {
    let over = match node.lifetime() {
        Lifetime::Container => node.creations > 0,
        Lifetime::Ttl(ms) => now.0.saturating_sub(node.mtime.0) > ms,
        Lifetime::Persistent | Lifetime::Session(_) => false,
    };
    over && node.children == 0
}

impl Encode for ReapCandidate {
    fn encode(&self, out: &mut Writer) {
        out.bytes(&self.path);
        self.pzxid.encode(out);
        self.mzxid.encode(out);
    }
}
impl Decode for ReapCandidate {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            path: input.bytes("path", usize::MAX)?,
            pzxid: Decode::decode(input)?,
            mzxid: Decode::decode(input)?,
        })
    }
}

/// Reads candidates.
pub(in crate::state) fn decode_candidates(
    input: &mut Reader,
) -> Result<Vec<ReapCandidate>, WireError> {
    decode_all(input, "candidates", CANDIDATES_MAX, 3)
}
