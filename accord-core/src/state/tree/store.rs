//! The store of znodes: one ordered map by whole path, with what its bounds, the ends of sessions
//! and the reaping of containers need.
//!
//! Every change goes through [`Store::insert`], [`Store::remove`], [`Store::update`] and
//! [`Store::set_acl`], which keep the indices and counts true. While an operation of several steps
//! runs, each change also notes how to take it back. Which changes are allowed is decided in
//! [`super::execute`].
//!
//! The children of a znode are found in the map itself: their paths begin with its own and a `/`.
//! A listing skips what is below each child by a search, so its cost is that of the children.

use super::super::compact::{Key, Value};
use super::super::invariant::first_broken;
use super::super::map::Map;
use super::acl::{Acl, AclList, AclLists};
use super::path;
use super::quota;
use super::stat::{Lifetime, ZnodeStat};
use crate::ids::{Revision, SessionId, Stamp};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use bytes::Bytes;
use core::mem;
use core::ops::Bound;

/// One znode. Its lists and counts of 32 bits wrap around as ZooKeeper's do.
#[derive(Clone, Debug)]
pub(super) struct Znode {
    /// `None` is null, which ZooKeeper tells from no bytes.
    pub(super) data: Option<Value>,
    pub(super) acl: AclList,
    /// Invariant: at most `mzxid` and `pzxid`.
    pub(super) czxid: Revision,
    /// Invariant: at most the state's revision; so is `pzxid`.
    pub(super) mzxid: Revision,
    pub(super) pzxid: Revision,
    pub(super) ctime: Stamp,
    pub(super) mtime: Stamp,
    /// As [`Lifetime::kept_owner`] writes it: half the size.
    pub(super) owner: u64,
    pub(super) version: i32,
    /// How many children were ever created: the number of the next sequential one.
    pub(super) creations: i32,
    pub(super) aversion: i32,
    /// Invariant: as many as there are.
    pub(super) children: u32,
}

impl Znode {
    /// A znode without children that is created now.
    pub(super) fn new(
        data: Option<Value>,
        acl: AclList,
        lifetime: Lifetime,
        (revision, now): (Revision, Stamp),
    ) -> Self {
        Self {
            data,
            acl,
            czxid: revision,
            mzxid: revision,
            pzxid: revision,
            ctime: now,
            mtime: now,
            owner: lifetime.kept_owner(),
            version: 0,
            creations: 0,
            aversion: 0,
            children: 0,
        }
    }

    pub(super) const fn lifetime(&self) -> Lifetime {
        Lifetime::from_kept_owner(self.owner)
    }

    pub(super) fn data_len(&self) -> usize {
        self.data.as_ref().map_or(0, |data| data.len())
    }

    /// The data in shareable form.
    pub(super) fn data(&self) -> Option<Bytes> {
        self.data.as_ref().map(|data| data.part(0, u64::MAX))
    }

    pub(super) fn stat(&self) -> ZnodeStat {
        // The number counts creations and deletions; what is kept are the creations.
        let cversion = self.creations.wrapping_mul(2).wrapping_sub(self.children as i32);
        ZnodeStat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            pzxid: self.pzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion,
            aversion: self.aversion,
            lifetime: self.lifetime(),
            data_length: self.data_len() as u32,
            num_children: self.children,
        }
    }
}

/// How to take back one change.
#[derive(Clone, Debug)]
enum Undo {
    /// Remove what was inserted.
    Remove(Key),
    /// Insert what was removed.
    Insert(Key, Znode),
    /// Put the former znode back.
    Restore(Key, Znode),
}

/// The znodes, by path.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    nodes: Map<Znode>,
    /// Invariant: what inserting the znodes one by one makes of it.
    index: Index,
    /// Invariant: the lists of the znodes.
    acls: AclLists,
    /// How to take back the steps so far, while several are carried out.
    undo: Option<Vec<Undo>>,
}

/// What is found without going through all znodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Index {
    /// The sizes of all paths and data.
    bytes: u64,
    /// The paths of the ephemerals; no set is empty.
    ephemerals: BTreeMap<SessionId, BTreeSet<Key>>,
    /// The paths of containers and of what has a time to live.
    reaped: BTreeSet<Key>,
    /// The paths below which a quota holds: those whose limits are a znode.
    quotas: BTreeSet<Key>,
}

impl Index {
    fn insert(&mut self, key: &Key, node: &Znode) {
        self.bytes += size(key, node);
        if let Some(limited) = quota::limited_by(key) {
            self.quotas.insert(Key::new(limited));
        }
        match node.lifetime() {
            Lifetime::Persistent => {}
            Lifetime::Session(session) => {
                self.ephemerals.entry(session).or_default().insert(key.clone());
            }
            Lifetime::Container | Lifetime::Ttl(_) => {
                self.reaped.insert(key.clone());
            }
        }
    }

    fn remove(&mut self, key: &Key, node: &Znode) {
        self.bytes -= size(key, node);
        if let Some(limited) = quota::limited_by(key) {
            self.quotas.remove(limited);
        }
        match node.lifetime() {
            Lifetime::Persistent => {}
            Lifetime::Session(session) => {
                let keys = self.ephemerals.get_mut(&session).expect("ephemerals are indexed");
                keys.remove(&key[..]);
                if keys.is_empty() {
                    self.ephemerals.remove(&session);
                }
            }
            Lifetime::Container | Lifetime::Ttl(_) => {
                self.reaped.remove(&key[..]);
            }
        }
    }
}

impl Store {
    /// How many znodes there are.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }
    /// Paths and data, in bytes.
    pub(super) const fn bytes(&self) -> u64 {
        self.index.bytes
    }
    /// How many different access control lists there are.
    pub(super) fn lists(&self) -> usize {
        self.acls.uses().len()
    }
    /// The znode of this held path.
    pub(super) fn get(&self, held: &[u8]) -> Option<&Znode> {
        self.nodes.get(held)
    }
    /// The znodes as they are now; later changes do not affect them.
    pub(super) fn nodes(&self) -> &Map<Znode> {
        &self.nodes
    }
    /// How many znodes end with this session.
    pub(super) fn ephemerals(&self, session: SessionId) -> usize {
        self.index.ephemerals.get(&session).map_or(0, BTreeSet::len)
    }
    /// The paths of the znodes that end with this session, in order.
    pub(super) fn ephemerals_of(&self, session: SessionId) -> impl Iterator<Item = &Key> {
        self.index.ephemerals.get(&session).into_iter().flatten()
    }
    /// The sessions that own znodes.
    pub(super) fn owners(&self) -> impl Iterator<Item = SessionId> {
        self.index.ephemerals.keys().copied()
    }
    /// The paths of what ends by itself, from behind this one on, in order.
    pub(super) fn reaped_after(&self, after: Bound<&[u8]>) -> impl Iterator<Item = &Key> {
        self.index.reaped.range::<[u8], _>((after, Bound::Unbounded))
    }
    /// The deepest path at or above this one below which a quota holds.
    pub(super) fn quota_of<'a>(&self, held: &'a [u8]) -> Option<&'a [u8]> {
        if self.index.quotas.is_empty() {
            return None;
        }
        path::upwards(held).find(|above| self.index.quotas.contains(*above))
    }

    /// A store of znodes whose paths ascend.
    pub(super) fn from_nodes(nodes: Vec<(Key, Znode)>) -> Self {
        let mut store = Self::default();
        for (key, node) in &nodes {
            store.acls.keep(&node.acl);
            store.index.insert(key, node);
        }
        store.nodes = Map::from_ascending(nodes.into_iter());
        store
    }

    /// The list of these entries, for a znode that is inserted next.
    pub(super) fn acl(&mut self, entries: &[Acl]) -> AclList {
        self.acls.find(entries)
    }

    /// Adds a znode under a path that has none.
    pub(super) fn insert(&mut self, held: &[u8], node: Znode) {
        let key = Key::new(held);
        self.acls.keep(&node.acl);
        self.index.insert(&key, &node);
        self.note(|| Undo::Remove(key.clone()));
        self.nodes.insert(key, node);
    }

    /// Takes out the znode of this path, if there is one.
    pub(super) fn remove(&mut self, held: &[u8]) -> Option<Znode> {
        let (key, node) = self.nodes.remove(held)?;
        self.acls.release(&node.acl);
        self.index.remove(&key, &node);
        self.note(|| Undo::Insert(key, node.clone()));
        Some(node)
    }

    /// Changes the znode of this path, but neither its lifetime nor its list.
    pub(super) fn update(&mut self, held: &[u8], change: impl FnOnce(&mut Znode)) -> ZnodeStat {
        let node = self.nodes.get_mut(held).expect("the caller found it");
        if let Some(undo) = &mut self.undo {
            undo.push(Undo::Restore(Key::new(held), node.clone()));
        }
        self.index.bytes -= node.data_len() as u64;
        change(node);
        self.index.bytes += node.data_len() as u64;
        node.stat()
    }

    /// Gives the znode of this path another list, and counts that.
    pub(super) fn set_acl(&mut self, held: &[u8], entries: &[Acl]) -> ZnodeStat {
        let list = self.acls.acquire(entries);
        let mut former = list.clone();
        let stat = self.update(held, |node| {
            former = mem::replace(&mut node.acl, list);
            node.aversion = next_version(node.aversion);
        });
        self.acls.release(&former);
        stat
    }

    fn note(&mut self, undo: impl FnOnce() -> Undo) {
        if let Some(all) = &mut self.undo {
            all.push(undo());
        }
    }

    /// From now on, each change notes how it is taken back.
    pub(super) fn begin(&mut self) {
        self.undo = Some(Vec::new());
    }

    /// The changes since [`Self::begin`] stay.
    pub(super) fn commit(&mut self) {
        self.undo = None;
    }

    /// Takes the changes since [`Self::begin`] back, the latest first.
    pub(super) fn roll_back(&mut self) {
        for undo in self.undo.take().into_iter().flatten().rev() {
            match undo {
                Undo::Remove(key) => drop(self.remove(&key)),
                Undo::Insert(key, node) => self.insert(&key, node),
                Undo::Restore(key, former) => self.restore(&key, former),
            }
        }
    }

    fn restore(&mut self, key: &Key, former: Znode) {
        let node = self.nodes.get_mut(key).expect("what was changed is there");
        self.index.bytes -= node.data_len() as u64;
        self.index.bytes += former.data_len() as u64;
        self.acls.keep(&former.acl);
        let replaced = mem::replace(node, former);
        self.acls.release(&replaced.acl);
    }

    /// Hands the name of each child of this path to `visit`, in order, until it returns false.
    pub(super) fn each_child(&self, held: &[u8], mut visit: impl FnMut(&[u8]) -> bool) {
        let prefix = below(held);
        let mut from = Some(prefix.clone());
        while let Some(start) = from.take() {
            for (key, _) in self.nodes.range_from(Bound::Included(&start)) {
                let Some(name) = key.strip_prefix(&prefix[..]) else { return };
                if let Some(slash) = name.iter().position(|byte| *byte == b'/') {
                    // Below a child: all that is there comes before what follows the slash.
                    let mut behind = key[..prefix.len() + slash].to_vec();
                    behind.push(b'/' + 1);
                    from = Some(behind);
                    break;
                }
                if !visit(name) {
                    return;
                }
            }
        }
    }

    /// The znodes below this path, at any depth: how many, and the bytes of their data.
    pub(super) fn below(&self, held: &[u8]) -> (u64, u64) {
        let prefix = below(held);
        let from = self.nodes.range_from(Bound::Included(&prefix));
        let within = from.take_while(|(key, _)| key.starts_with(&prefix));
        within.fold((0, 0), |(count, bytes), (_, node)| (count + 1, bytes + node.data_len() as u64))
    }

    /// The first invariant that is broken.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let mut index = Index::default();
        let mut acls = AclLists::default();
        for (key, node) in self.nodes.iter() {
            index.insert(key, node);
            acls.keep(&node.acl);
        }
        let own = first_broken(&[
            (self.undo.is_none(), "no step is taken back later"),
            (self.index == index, "the index is of the znodes"),
            (self.acls.uses() == acls.uses(), "the lists in use are counted"),
        ]);
        own.or_else(|| self.nodes.fault())
    }
}

/// The next number of a version. It never is -1, which stands for any version.
pub(super) const fn next_version(version: i32) -> i32 {
    match version.wrapping_add(1) {
        -1 => 0,
        next => next,
    }
}

fn size(key: &Key, node: &Znode) -> u64 {
    (key.len() + node.data_len()) as u64
}

/// What the paths below a path begin with.
fn below(held: &[u8]) -> Vec<u8> {
    let mut prefix = Vec::with_capacity(held.len() + 1);
    prefix.extend_from_slice(held);
    prefix.push(b'/');
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_znode_takes_twelve_words_and_its_short_path_three() {
        assert_eq!((size_of::<Znode>(), size_of::<Key>()), (96, 24));
    }

    #[test]
    fn a_version_is_never_the_one_that_stands_for_any() {
        let table = [(0, 1), (i32::MAX, i32::MIN), (-3, -2), (-2, 0), (-1, 0)];
        for (version, next) in table {
            assert_eq!(next_version(version), next, "after {version}");
        }
    }
}
