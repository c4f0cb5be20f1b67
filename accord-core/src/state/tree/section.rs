//! The tree as a snapshot holds it: the access control lists in use, then the znodes in the order
//! of their paths.

use super::super::compact::{Key, Value};
use super::super::kind;
use super::super::map::Map;
use super::Tree;
use super::acl::{Acl, AclList, decode_list, encode_list};
use super::stat::{Lifetime, decode_i32};
use super::store::{Store, Znode};
use crate::pieces::PiecesWriter;
use crate::wire::{Decode, Encode, Reader, WireError, Writer};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// A znode whose data is null. Other flags are kept for what znodes may become.
const FLAG_NULL: u8 = 1;

/// The tree as it was at one moment; what it has in common with the living one is shared.
#[derive(Clone, Debug)]
pub(in crate::state) struct FrozenTree {
    /// Of paths and data.
    pub(in crate::state) bytes: u64,
    nodes: Map<Znode>,
}

impl Tree {
    /// The tree as it is now, whatever is applied later.
    pub(in crate::state) fn freeze(&self) -> FrozenTree {
        FrozenTree { bytes: self.store.bytes(), nodes: self.store.nodes().clone() }
    }

    /// The tree of a snapshot.
    ///
    /// # Errors
    /// The first invariant that the znodes break.
    pub(in crate::state) fn restore(
        lists: &[SnapshotList],
        nodes: Vec<SnapshotZnode>,
    ) -> Result<Self, &'static str> {
        if !lists.is_sorted_by(|a, b| a.0 < b.0) {
            return Err("lists ascend");
        }
        if !nodes.is_sorted_by(|a, b| a.0 < b.0) {
            return Err("paths ascend");
        }
        let nodes = nodes.into_iter().map(|SnapshotZnode(key, node)| (key, node)).collect();
        let store = Store::from_nodes(nodes);
        if store.lists() == lists.len() { Ok(Self { store }) } else { Err("lists are in use") }
    }
}

impl FrozenTree {
    /// About how many bytes of an image are not shared.
    pub(in crate::state) fn copied_bytes(&self) -> usize {
        let copied = |node: &Znode| match &node.data {
            Some(data) if !data.is_shared() => data.len(),
            _ => 0,
        };
        let nodes = self.nodes.iter().map(|(key, node)| key.len() + copied(node));
        nodes.sum::<usize>() + self.nodes.len() * 40
    }

    /// The lists in use, in order, each with its place.
    pub(in crate::state) fn lists(&self) -> FrozenLists<'_> {
        let mut lists = BTreeMap::new();
        let mut last = None;
        for (_, node) in self.nodes.iter() {
            if !last.is_some_and(|last| node.acl.is(last)) {
                lists.insert(&node.acl, 0);
                last = Some(&node.acl);
            }
        }
        lists.values_mut().zip(0..).for_each(|(place, number)| *place = number);
        FrozenLists(lists)
    }

    /// Appends what stands before the lists and the znodes.
    pub(in crate::state) fn encode_head(&self, lists: &FrozenLists<'_>, out: &mut Writer) {
        out.u8(kind::TREE);
        out.varint(lists.0.len() as u64);
        out.varint(self.nodes.len() as u64);
    }

    /// The znodes, in the order of their paths.
    pub(in crate::state) fn iter(&self) -> impl Iterator<Item = FrozenZnode<'_>> {
        self.nodes.iter().map(|(key, node)| FrozenZnode(key, node))
    }
}

/// The lists in use.
pub(in crate::state) struct FrozenLists<'a>(BTreeMap<&'a AclList, u64>);

impl FrozenLists<'_> {
    /// Each of them, in order.
    pub(in crate::state) fn iter(&self) -> impl Iterator<Item = &[Acl]> {
        self.0.keys().map(|list| list.entries())
    }
}

/// Appends a list.
pub(in crate::state) fn encode_acl(list: &[Acl], all: &mut PiecesWriter) {
    encode_list(list, &mut all.copied);
}

/// Reads a list.
pub(in crate::state) fn decode_acl(input: &mut Reader) -> Result<SnapshotList, WireError> {
    let list = decode_list(input)?;
    Ok(SnapshotList(AclList::of(list.iter().map(Acl::detached).collect())))
}

/// A list read from a snapshot.
pub(in crate::state) struct SnapshotList(AclList);

/// A znode to be written to a snapshot.
pub(in crate::state) struct FrozenZnode<'a>(&'a Key, &'a Znode);

impl FrozenZnode<'_> {
    /// Appends the znode; large data is shared, not copied.
    pub(in crate::state) fn encode(&self, lists: &FrozenLists<'_>, all: &mut PiecesWriter) {
        let Self(key, node) = self;
        let out = &mut all.copied;
        out.u8(if node.data.is_none() { FLAG_NULL } else { 0 });
        out.bytes(key);
        if let Some(data) = &node.data {
            out.varint(data.len() as u64);
            match data.shared() {
                Some(data) => all.share(data),
                None => out.raw(data),
            }
        }
        let out = &mut all.copied;
        out.varint(lists.0[&node.acl]);
        [node.czxid, node.mzxid, node.pzxid].iter().for_each(|revision| revision.encode(out));
        [node.ctime, node.mtime].iter().for_each(|time| time.encode(out));
        let versions = [node.version, node.creations, node.aversion];
        versions.iter().for_each(|version| out.varint_signed(i64::from(*version)));
        node.lifetime().encode(out);
        out.varint(u64::from(node.children));
    }
}

/// What stands before the lists and the znodes.
pub(in crate::state) struct TreeHead {
    /// How many lists follow.
    pub(in crate::state) lists: u64,
    /// How many znodes follow them.
    pub(in crate::state) nodes: u64,
}

impl Decode for TreeHead {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        match input.u8()? {
            kind::TREE => {}
            other => return Err(kind::unknown(other)),
        }
        Ok(Self { lists: input.varint()?, nodes: input.varint()? })
    }
}

/// A znode read from a snapshot.
pub(in crate::state) struct SnapshotZnode(Key, Znode);

impl SnapshotZnode {
    /// Reads a znode whose list is one of `lists`.
    pub(in crate::state) fn decode(
        input: &mut Reader,
        lists: &[SnapshotList],
    ) -> Result<Self, WireError> {
        let flags = input.u8()?;
        if flags > FLAG_NULL {
            return Err(WireError::Invalid { what: "znode flags" });
        }
        let key = Key::new(&input.bytes("path", usize::MAX)?);
        let data = match flags {
            FLAG_NULL => None,
            _ => Some(Value::new(&input.bytes("data", usize::MAX)?)),
        };
        let list = usize::try_from(input.varint()?).ok().and_then(|number| lists.get(number));
        let SnapshotList(acl) = list.ok_or(WireError::Invalid { what: "list of a znode" })?;
        let node = Znode {
            data,
            acl: acl.clone(),
            czxid: Decode::decode(input)?,
            mzxid: Decode::decode(input)?,
            pzxid: Decode::decode(input)?,
            ctime: Decode::decode(input)?,
            mtime: Decode::decode(input)?,
            version: decode_i32(input, "version")?,
            creations: decode_i32(input, "creations")?,
            aversion: decode_i32(input, "aversion")?,
            owner: Lifetime::decode(input)?.kept_owner(),
            children: input.varint_u32("children")?,
        };
        Ok(Self(key, node))
    }
}
