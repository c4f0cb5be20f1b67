//! The tree object: ZooKeeper's znodes, and the operations on them.
//!
//! What a client of ZooKeeper can do to the data of a cluster is here, with ZooKeeper's rules and
//! errors, but none of its wire: a front-end turns requests into a [`TreeOp`] or a [`TreeQuery`],
//! and outcomes, answers and events into replies. A zxid is a revision. Time is that of the batch
//! in the order, so all replicas write the same.
//!
//! Read in this order: [`path`], [`acl`] and [`stat`] (the words), [`op`] and [`read`] (what can be
//! asked), [`outcome`], [`error`] and [`event`] (what comes of it), then `execute`, `quota`,
//! [`reap`] and `store` for how; `section` is its part of a snapshot.

pub mod acl;
pub mod error;
pub mod event;
mod execute;
pub mod op;
pub mod outcome;
pub mod path;
mod quota;
pub mod read;
pub mod reap;
mod schemes;
pub(super) mod section;
pub mod stat;
mod store;

pub use acl::{Acl, AclList, Identity, perms};
pub use error::TreeError;
pub use event::{NoticeKind, TreeEvent, TreeEventKind, WatchKind};
pub use op::{CreateMode, CreateRequest, Life, TreeChange, TreeOp, TreeStep};
pub use outcome::{StepDone, TreeOutcome, TreeResult};
pub use read::{Ask, TreeAnswer, TreeQuery, TreeQuestion, ZnodeAnswer, ZnodeQuestion};
pub use reap::ReapCandidate;
pub use stat::{Lifetime, ZnodeStat};

pub(super) use execute::Context;

use super::compact::{Key, Value};
use super::event::Event;
use super::invariant::first_broken;
use crate::ids::{Revision, SessionId, Stamp};
use crate::limits::Limits;
use crate::wire::{Decode, Reader, WireError};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use store::{Store, Znode};

/// The tree object.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    store: Store,
}

impl Default for Tree {
    /// The znodes that are there from the beginning: the root, and those that describe the cluster.
    fn default() -> Self {
        let mut store = Store::default();
        let always = [
            (path::held(path::ROOT), Acl::open(), 1, 0),
            (path::RESERVED, Acl::open(), 2, 0),
            // ZooKeeper sets this list at the start, without a version.
            (path::CONFIG, Acl::read_only(), 0, -1),
            (path::QUOTA, Acl::open(), 0, 0),
        ];
        for (held, acl, children, aversion) in always {
            let list = store.acl(core::slice::from_ref(&acl));
            let time = (Revision(0), Stamp(0));
            let mut node = Znode::new(Some(Value::EMPTY), list, Lifetime::Persistent, time);
            node.children = children;
            node.aversion = aversion;
            store.insert(held, node);
        }
        Self { store }
    }
}

impl Tree {
    /// How many znodes there are.
    pub(super) fn len(&self) -> usize {
        self.store.len()
    }
    /// The size of all paths and data, in bytes.
    pub(super) const fn bytes(&self) -> u64 {
        self.store.bytes()
    }
    /// How many znodes end with this session.
    pub(super) fn ephemerals(&self, session: SessionId) -> usize {
        self.store.ephemerals(session)
    }
    /// The sessions that own znodes.
    pub(super) fn owners(&self) -> impl Iterator<Item = SessionId> {
        self.store.owners()
    }

    /// Carries out the operation that is all that `input` has left.
    ///
    /// # Errors
    /// If its bytes are none. It had no effect.
    pub(super) fn run(
        &mut self,
        input: &mut Reader,
        context: Context<'_>,
    ) -> Result<TreeOutcome, WireError> {
        let op = TreeOp::decode(input)?;
        input.finish()?;
        Ok(execute::run(&mut self.store, &op, context))
    }

    /// Deletes the znodes of a session that ends, in `revision`.
    pub(super) fn end_session(
        &mut self,
        session: SessionId,
        revision: Revision,
        events: &mut Vec<Event>,
    ) {
        execute::end_session(&mut self.store, session, revision, events);
    }

    /// Deletes the znodes of a session without a word.
    pub(super) fn forget_session(&mut self, session: SessionId, revision: Revision) {
        execute::end_session(&mut self.store, session, revision, &mut Vec::new());
    }

    /// Ends the candidates that are still due and as they were seen. Says how many.
    pub(super) fn reap(
        &mut self,
        candidates: &[ReapCandidate],
        (revision, now): (Revision, Stamp),
        events: &mut Vec<Event>,
    ) -> u32 {
        reap::reap(&mut self.store, candidates, (revision, now), events)
    }

    /// The znodes behind `after` that would be reaped now, at most `max`.
    pub(super) fn reap_candidates(
        &self,
        after: Option<&[u8]>,
        now: Stamp,
        max: usize,
    ) -> Vec<ReapCandidate> {
        reap::candidates(&self.store, after, now, max)
    }

    /// Answers a question.
    pub(super) fn answer(&self, query: &TreeQuery, limits: &Limits) -> TreeAnswer {
        read::answer(&self.store, query, limits)
    }

    /// The first invariant that is broken.
    pub(super) fn fault(&self, revision: Revision, limits: &Limits) -> Option<&'static str> {
        let store = &self.store;
        let always = [path::held(path::ROOT), path::RESERVED, path::CONFIG, path::QUOTA];
        let mut children: BTreeMap<&[u8], u32> = BTreeMap::new();
        for (key, node) in store.nodes().iter() {
            let broken = self.node_fault(key, node, revision, limits);
            if broken.is_some() {
                return broken;
            }
            if !key.is_empty() {
                *children.entry(path::parent(key)).or_default() += 1;
            }
        }
        let counted = |(held, count): (&&[u8], &u32)| {
            store.get(held).is_some_and(|node| node.children == *count)
        };
        let most = limits.ephemerals_max as usize;
        let owned = |session: SessionId| store.ephemerals(session) <= most;
        let parents = store.nodes().iter().filter(|(_, node)| node.children > 0).count();
        let own = first_broken(&[
            (always.iter().all(|held| store.get(held).is_some()), "the root is there"),
            (children.iter().all(counted), "children are counted at their parent"),
            (parents == children.len(), "only what has children counts some"),
            (store.owners().all(owned), "ephemerals_max holds"),
        ]);
        own.or_else(|| store.fault())
    }

    fn node_fault(
        &self,
        key: &Key,
        node: &Znode,
        revision: Revision,
        limits: &Limits,
    ) -> Option<&'static str> {
        let named = path::named(key);
        let ephemeral = matches!(node.lifetime(), Lifetime::Session(_));
        let created = node.czxid <= node.mzxid && node.czxid <= node.pzxid;
        first_broken(&[
            (path::validate(named, u32::MAX).is_ok(), "a path is valid"),
            (key[..] != *path::ROOT, "the root is held under no path"),
            (created, "a znode is created, then changed"),
            (node.mzxid <= revision && node.pzxid <= revision, "changes were applied"),
            (!(ephemeral && node.children > 0), "ephemerals have no children"),
            (node.creations >= 0, "creations are counted"),
            (!node.acl.entries().is_empty(), "a list has an entry"),
            (node.data_len() as u64 <= limits.command_bytes_max, "data came in a command"),
        ])
    }
}
