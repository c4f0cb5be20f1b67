//! Events of the tree: what one change did to one znode, and which watches see it.

use super::acl::{AclList, Identity, decode_list, encode_list};
use super::path;
use crate::ids::Revision;
use crate::wire::{Decode, Encode, Reader, WireError, Writer, decode_option, encode_option};
use bytes::Bytes;

/// A change of a znode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEvent {
    /// Shared by all events of one command.
    pub revision: Revision,
    /// What happened.
    pub kind: TreeEventKind,
    /// To which znode.
    pub path: Bytes,
    /// Its access control list: who may not read the znode is told nothing.
    pub acl: AclList,
    /// The list of the parent whose children changed, if any did.
    pub parent_acl: Option<AclList>,
}

/// What happened to a znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TreeEventKind {
    /// It was created, which also changes the children of its parent.
    Created,
    /// It was deleted, or ended with its session or by itself. The children of its parent change.
    Deleted,
    /// Its data was set, perhaps to what it was.
    DataChanged,
    /// Its access control list was set, which no watch sees.
    AclChanged,
}

/// What a watch waits for. ZooKeeper has two more names for the same: a watch of `exists` and one
/// of `getData` are both [`WatchKind::Data`], and what is left on a path without a znode is, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WatchKind {
    /// What `exists` and `getData` leave: one event of the znode itself.
    Data,
    /// What `getChildren` leaves: one event of the znode's children, or its end.
    Child,
    /// Every event of the znode itself and of its children.
    Persistent,
    /// Every event of the znode itself and of all znodes below it.
    PersistentRecursive,
}

/// What a watch is told: ZooKeeper's types of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoticeKind {
    /// The znode was created.
    Created = 1,
    /// The znode was deleted.
    Deleted = 2,
    /// The data was set.
    DataChanged = 3,
    /// A child was created or deleted.
    ChildrenChanged = 4,
}

impl TreeEventKind {
    /// Each kind; its place is its tag in encodings.
    pub const ALL: [Self; 4] = [Self::Created, Self::Deleted, Self::DataChanged, Self::AclChanged];
}

impl TreeEvent {
    /// The znode whose children changed, as clients name it; `None` if none did.
    pub fn parent(&self) -> Option<&[u8]> {
        let children = matches!(self.kind, TreeEventKind::Created | TreeEventKind::Deleted);
        children.then(|| path::named(path::parent(&self.path)))
    }

    /// What a watch of this kind on `watched` is told of the event, if [`Self::may_tell`] allows
    /// it; a one-shot watch is over in any case. A recursive one is told it of [`Self::path`], the
    /// others of `watched`. ZooKeeper tells of the znode itself before it tells of the parent's
    /// children.
    pub fn notice(&self, watch: WatchKind, watched: &[u8]) -> Option<NoticeKind> {
        let own = match self.kind {
            TreeEventKind::Created => NoticeKind::Created,
            TreeEventKind::Deleted => NoticeKind::Deleted,
            TreeEventKind::DataChanged => NoticeKind::DataChanged,
            TreeEventKind::AclChanged => return None,
        };
        let itself = self.path == watched;
        let of_itself = match watch {
            WatchKind::Data | WatchKind::Persistent => itself,
            WatchKind::Child => itself && own == NoticeKind::Deleted,
            WatchKind::PersistentRecursive => itself || self.is_below(watched),
        };
        if of_itself {
            return Some(own);
        }
        let of_children = matches!(watch, WatchKind::Child | WatchKind::Persistent);
        (of_children && self.parent() == Some(watched)).then_some(NoticeKind::ChildrenChanged)
    }

    /// True if a client with these identities may be told that: if it may read the znode that it is
    /// about.
    pub fn may_tell(&self, notice: NoticeKind, who: &[Identity]) -> bool {
        let list = match notice {
            NoticeKind::ChildrenChanged => self.parent_acl.as_ref(),
            NoticeKind::Created | NoticeKind::Deleted | NoticeKind::DataChanged => Some(&self.acl),
        };
        list.is_some_and(|list| list.lets_read(who))
    }

    fn is_below(&self, above: &[u8]) -> bool {
        self.path.strip_prefix(path::held(above)).is_some_and(|rest| rest.starts_with(b"/"))
    }

    /// The event with bytes of its own.
    pub(in crate::state) fn detached(&self) -> Self {
        Self { path: Bytes::copy_from_slice(&self.path), ..self.clone() }
    }
}

impl Encode for TreeEvent {
    fn encode(&self, out: &mut Writer) {
        out.u8(self.kind as u8);
        self.revision.encode(out);
        out.bytes(&self.path);
        encode_list(self.acl.entries(), out);
        encode_option(self.parent_acl.as_ref(), out, |acl, out| encode_list(acl.entries(), out));
    }
}
impl Decode for TreeEvent {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let tag = input.u8()?;
        let kind = TreeEventKind::ALL
            .get(usize::from(tag))
            .copied()
            .ok_or(WireError::UnknownTag { what: "event", tag: u64::from(tag) })?;
        let revision = Decode::decode(input)?;
        let path = input.bytes("path", usize::MAX)?;
        let acl = AclList::of(decode_list(input)?);
        let parent_acl = decode_option(input, |input| decode_list(input).map(AclList::of))?;
        Ok(Self { revision, kind, path, acl, parent_acl })
    }
}

#[cfg(test)]
mod tests {
    use super::super::acl::Acl;
    use super::*;
    use std::vec;

    #[test]
    fn each_kind_of_watch_sees_what_it_waits_for() {
        let event = |kind, path: &'static str| TreeEvent {
            revision: Revision(1),
            kind,
            path: Bytes::from_static(path.as_bytes()),
            acl: AclList::of(vec![Acl::read_only()]),
            parent_acl: Some(AclList::of(vec![Acl::read_only()])),
        };
        use NoticeKind as Notice;
        use TreeEventKind as Kind;
        let table = [
            // Kind, path, watched; then Data, Child, Persistent, PersistentRecursive.
            (Kind::Created, "/a", "/a", [Some(1), None, Some(1), Some(1)]),
            (Kind::Created, "/a/b", "/a", [None, Some(4), Some(4), Some(1)]),
            (Kind::Created, "/a", "/", [None, Some(4), Some(4), Some(1)]),
            (Kind::Created, "/a/b/c", "/a", [None, None, None, Some(1)]),
            (Kind::Created, "/ab", "/a", [None; 4]),
            (Kind::Deleted, "/a", "/a", [Some(2); 4]),
            (Kind::Deleted, "/a/b", "/a", [None, Some(4), Some(4), Some(2)]),
            (Kind::DataChanged, "/a", "/a", [Some(3), None, Some(3), Some(3)]),
            (Kind::DataChanged, "/a/b", "/a", [None, None, None, Some(3)]),
            (Kind::DataChanged, "/", "/", [Some(3), None, Some(3), Some(3)]),
            (Kind::AclChanged, "/a", "/a", [None; 4]),
        ];
        let kinds = [
            WatchKind::Data,
            WatchKind::Child,
            WatchKind::Persistent,
            WatchKind::PersistentRecursive,
        ];
        for (kind, path, watched, expected) in table {
            let seen = kinds.map(|watch| event(kind, path).notice(watch, watched.as_bytes()));
            let expected = expected.map(|number: Option<u8>| {
                let all = [Notice::Created, Notice::Deleted, Notice::DataChanged];
                number.map(|number| {
                    all.get(usize::from(number) - 1).copied().unwrap_or(Notice::ChildrenChanged)
                })
            });
            assert_eq!(seen, expected, "{kind:?} {path} at {watched}");
        }
    }

    #[test]
    fn a_watch_sees_only_what_its_client_may_read() {
        let joe = [Identity::new("digest", "joe:x")];
        let of_joe = AclList::of(vec![Acl { perms: 1, identity: joe[0].clone() }]);
        let open = AclList::of(vec![Acl::open()]);
        let event = |acl: &AclList, parent: &AclList| TreeEvent {
            revision: Revision(1),
            kind: TreeEventKind::Deleted,
            path: Bytes::from_static(b"/a/b"),
            acl: acl.clone(),
            parent_acl: Some(parent.clone()),
        };
        let tells = |event: &TreeEvent, who: &[Identity]| {
            [NoticeKind::Deleted, NoticeKind::ChildrenChanged].map(|kind| event.may_tell(kind, who))
        };
        let hidden = event(&of_joe, &open);
        assert_eq!((tells(&hidden, &[]), tells(&hidden, &joe)), ([false, true], [true, true]));
        let below_hidden = event(&open, &of_joe);
        let seen = (tells(&below_hidden, &[]), tells(&below_hidden, &joe));
        assert_eq!(seen, ([true, false], [true, true]));
    }
}
