//! Access control lists: who may do what with a znode.
//!
//! A connection has *identities*, which its front-end established; a list grants permissions to
//! identities. The front-end names the identities with every operation and every question, so that
//! each replica decides alike. The schemes and their rules are ZooKeeper's.

use super::error::TreeError;
use super::schemes;
use super::stat::decode_i32;
use crate::wire::{Decode, Encode, Reader, WireError, Writer};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::borrow::Borrow;

/// The most identities that one operation or question names.
pub const IDENTITIES_MAX: usize = 1000;
/// The most entries of a list that is decoded; the limits decide how many a znode may have.
const ENTRIES_DECODED_MAX: usize = 65_535;

/// The permissions, as bits. A list may hold other bits as well, which mean nothing.
pub mod perms {
    /// To read the data and list the children.
    pub const READ: i32 = 1;
    /// To set the data.
    pub const WRITE: i32 = 2;
    /// To create children.
    pub const CREATE: i32 = 4;
    /// To delete children.
    pub const DELETE: i32 = 8;
    /// To set the list itself.
    pub const ADMIN: i32 = 16;
    /// All of them.
    pub const ALL: i32 = 31;
}

/// Somebody: a scheme, and a name within it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// `world`, `auth`, `digest`, `ip`, `sasl`, `x509` or `super`. Others are nobody's.
    pub scheme: Bytes,
    /// The name.
    pub id: Bytes,
}

/// Schemes with a number in encodings, which is their place and one.
const SCHEMES: [&str; 7] = ["world", "auth", "digest", "ip", "sasl", "x509", "super"];

impl Identity {
    /// An identity of its own bytes.
    pub fn new(scheme: &str, id: &str) -> Self {
        let (scheme, id) = (scheme.as_bytes(), id.as_bytes());
        Self { scheme: Bytes::copy_from_slice(scheme), id: Bytes::copy_from_slice(id) }
    }

    /// Everybody.
    pub const fn anyone() -> Self {
        Self { scheme: Bytes::from_static(b"world"), id: Bytes::from_static(b"anyone") }
    }

    fn is_anyone(&self) -> bool {
        self.scheme == "world" && self.id == "anyone"
    }

    fn number(&self) -> Option<usize> {
        SCHEMES.iter().position(|scheme| self.scheme == *scheme)
    }

    fn detached(&self) -> Self {
        let scheme = match self.number() {
            Some(number) => Bytes::from_static(SCHEMES[number].as_bytes()),
            None => Bytes::copy_from_slice(&self.scheme),
        };
        Self { scheme, id: Bytes::copy_from_slice(&self.id) }
    }
}

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Acl {
    /// The permissions, of [`perms`].
    pub perms: i32,
    /// Who has them.
    pub identity: Identity,
}

impl Acl {
    /// All permissions for everybody.
    pub const fn open() -> Self {
        Self { perms: perms::ALL, identity: Identity::anyone() }
    }

    /// The entry with bytes of its own.
    pub(super) fn detached(&self) -> Self {
        Self { perms: self.perms, identity: self.identity.detached() }
    }

    /// The permission to read for everybody.
    pub const fn read_only() -> Self {
        Self { perms: perms::READ, identity: Identity::anyone() }
    }
}

/// Checks that one of the permissions is granted to one of the identities.
pub(super) fn check(list: &[Acl], perms: i32, who: &[Identity]) -> Result<(), TreeError> {
    let grants = |acl: &Acl| {
        let matches = || who.iter().any(|one| schemes::matches(one, &acl.identity));
        acl.perms & perms != 0 && (acl.identity.is_anyone() || matches())
    };
    let is_super = || who.iter().any(|one| one.scheme == "super");
    if list.iter().any(grants) || is_super() { Ok(()) } else { Err(TreeError::NoAuth) }
}

/// The list that a znode gets if a client asks for this one: each entry once, and `auth` replaced
/// by the client's own identities.
pub(super) fn expand(
    wished: &[Acl],
    who: &[Identity],
    entries_max: u32,
) -> Result<Vec<Acl>, TreeError> {
    if wished.is_empty() || wished.len() > entries_max as usize {
        return Err(TreeError::InvalidAcl);
    }
    let mut list = Vec::with_capacity(wished.len());
    for (place, acl) in wished.iter().enumerate() {
        if wished[..place].contains(acl) {
            continue;
        }
        if acl.identity.scheme != "auth" {
            if !acl.identity.is_anyone() && !schemes::is_valid(&acl.identity) {
                return Err(TreeError::InvalidAcl);
            }
            list.push(acl.clone());
            continue;
        }
        let before = list.len();
        let own = who.iter().filter(|one| schemes::is_proven(one));
        list.extend(own.map(|one| Acl { perms: acl.perms, identity: one.clone() }));
        if list.len() == before || list.len() > entries_max as usize {
            return Err(TreeError::InvalidAcl);
        }
    }
    Ok(list)
}

/// A list as a client without the permission to administer it sees it: without the digests of
/// passwords.
pub(super) fn redacted(list: &[Acl]) -> Vec<Acl> {
    let hide = |acl: &Acl| {
        let mut shown = acl.clone();
        if acl.identity.scheme == "digest"
            && let Some(colon) = acl.identity.id.iter().position(|byte| *byte == b':')
        {
            let mut id = acl.identity.id[..colon].to_vec();
            id.extend_from_slice(b":x");
            shown.identity.id = Bytes::from(id);
        }
        shown
    };
    list.iter().map(hide).collect()
}

/// A list that znodes share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AclList(Arc<Box<[Acl]>>);

impl AclList {
    /// A list of entries that have bytes of their own.
    pub fn of(entries: Vec<Acl>) -> Self {
        Self(Arc::new(entries.into()))
    }

    /// The entries.
    pub fn entries(&self) -> &[Acl] {
        &self.0
    }

    /// True if it lets one of the identities read.
    pub fn lets_read(&self, who: &[Identity]) -> bool {
        check(&self.0, perms::READ, who).is_ok()
    }

    /// True if it is the same in memory.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
impl Borrow<[Acl]> for AclList {
    fn borrow(&self) -> &[Acl] {
        &self.0
    }
}

/// The lists in use, each once.
#[derive(Clone, Debug, Default)]
pub(super) struct AclLists {
    /// How many znodes have each. Invariant: at least one.
    uses: BTreeMap<AclList, u64>,
    /// The list used last: most znodes have the same.
    last: Option<AclList>,
}

impl AclLists {
    /// The list of these entries, for one more znode.
    pub(super) fn acquire(&mut self, entries: &[Acl]) -> AclList {
        let list = self.find(entries);
        self.keep(&list);
        list
    }

    /// The list of these entries, for a znode that [`Self::keep`] counts later.
    pub(super) fn find(&self, entries: &[Acl]) -> AclList {
        if let Some(last) = &self.last
            && last.entries() == entries
        {
            return last.clone();
        }
        if let Some((list, _)) = self.uses.get_key_value(entries) {
            return list.clone();
        }
        AclList::of(entries.iter().map(Acl::detached).collect())
    }

    /// Counts one more znode with this list.
    pub(super) fn keep(&mut self, list: &AclList) {
        *self.uses.entry(list.clone()).or_default() += 1;
        if !self.last.as_ref().is_some_and(|last| last.is(list)) {
            self.last = Some(list.clone());
        }
    }

    /// Counts one znode less with this list.
    pub(super) fn release(&mut self, list: &AclList) {
        let uses = self.uses.get_mut(list).expect("a list in use is counted");
        *uses -= 1;
        if *uses == 0 {
            self.uses.remove(list);
            self.last = None;
        }
    }

    /// The lists, and how many znodes have each.
    pub(super) const fn uses(&self) -> &BTreeMap<AclList, u64> {
        &self.uses
    }
}

impl Encode for Identity {
    fn encode(&self, out: &mut Writer) {
        match self.number() {
            Some(number) => out.u8(number as u8 + 1),
            None => {
                out.u8(0);
                out.bytes(&self.scheme);
            }
        }
        out.bytes(&self.id);
    }
}
impl Decode for Identity {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let tag = input.u8()?;
        let scheme = match usize::from(tag).checked_sub(1) {
            None => input.bytes("scheme", usize::MAX)?,
            Some(number) => {
                let unknown = WireError::UnknownTag { what: "scheme", tag: u64::from(tag) };
                Bytes::from_static(SCHEMES.get(number).ok_or(unknown)?.as_bytes())
            }
        };
        let identity = Self { scheme, id: input.bytes("identity", usize::MAX)? };
        match (tag, identity.number()) {
            (0, Some(_)) => Err(WireError::Invalid { what: "scheme" }),
            _ => Ok(identity),
        }
    }
}

impl Encode for Acl {
    fn encode(&self, out: &mut Writer) {
        out.varint_signed(i64::from(self.perms));
        self.identity.encode(out);
    }
}
impl Decode for Acl {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let perms = decode_i32(input, "permissions")?;
        Ok(Self { perms, identity: Decode::decode(input)? })
    }
}

/// Appends a list.
pub(super) fn encode_list(list: &[Acl], out: &mut Writer) {
    out.varint(list.len() as u64);
    list.iter().for_each(|acl| acl.encode(out));
}

/// Reads a list.
pub(super) fn decode_list(input: &mut Reader) -> Result<Vec<Acl>, WireError> {
    decode_all(input, "access control list", ENTRIES_DECODED_MAX, 3)
}

/// Appends identities.
pub(super) fn encode_identities(who: &[Identity], out: &mut Writer) {
    out.varint(who.len() as u64);
    who.iter().for_each(|one| one.encode(out));
}

/// Reads identities.
pub(super) fn decode_identities(input: &mut Reader) -> Result<Vec<Identity>, WireError> {
    decode_all(input, "identities", IDENTITIES_MAX, 2)
}

/// Reads a count and that many items, reserving no more than the input can hold.
pub(super) fn decode_all<T: Decode>(
    input: &mut Reader,
    what: &'static str,
    max: usize,
    item_bytes_min: usize,
) -> Result<Vec<T>, WireError> {
    let count = input.count(what, max, item_bytes_min)?;
    // An item in memory is larger than its shortest encoding: reserve for what is likely.
    let mut items = Vec::with_capacity(count.min(16));
    for _ in 0..count {
        items.push(T::decode(input)?);
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn acl(perms: i32, scheme: &str, id: &str) -> Acl {
        Acl { perms, identity: Identity::new(scheme, id) }
    }

    #[test]
    fn permissions_are_granted_to_identities() {
        let list = [acl(perms::READ, "world", "anyone"), acl(perms::WRITE, "digest", "a:b")];
        let nobody: [Identity; 0] = [];
        let (owner, root) = ([Identity::new("digest", "a:b")], [Identity::new("super", "")]);
        assert_eq!(check(&list, perms::READ, &nobody), Ok(()));
        assert_eq!(check(&list, perms::READ | perms::ADMIN, &nobody), Ok(()));
        assert_eq!(check(&list, perms::WRITE, &nobody), Err(TreeError::NoAuth));
        assert_eq!(check(&list, perms::WRITE, &owner), Ok(()));
        assert_eq!(check(&list, perms::ADMIN, &owner), Err(TreeError::NoAuth));
        assert_eq!(check(&list, perms::ADMIN, &root), Ok(()));
    }

    #[test]
    fn auth_becomes_the_identities_of_who_asks() {
        let who = [
            Identity::new("ip", "127.0.0.1"),
            Identity::new("digest", "a:b"),
            Identity::new("super", ""),
        ];
        let expand = |list: &[Acl], who: &[Identity]| expand(list, who, 4);
        let auth = acl(perms::ALL, "auth", "");
        assert_eq!(expand(core::slice::from_ref(&auth), &who), Ok(vec![acl(31, "digest", "a:b")]));
        assert_eq!(expand(core::slice::from_ref(&auth), &who[..1]), Err(TreeError::InvalidAcl));
        let twice = [Acl::open(), auth.clone(), Acl::open()];
        assert_eq!(expand(&twice, &who), Ok(vec![Acl::open(), acl(31, "digest", "a:b")]));
        let wrong =
            [vec![], vec![acl(31, "", "")], vec![acl(31, "super", "")], vec![Acl::open(); 5]];
        for list in wrong {
            assert_eq!(expand(&list, &who), Err(TreeError::InvalidAcl), "{list:?}");
        }
    }

    #[test]
    fn equal_lists_are_one() {
        let mut lists = AclLists::default();
        let first = lists.acquire(&[Acl::open()]);
        let other = lists.acquire(&[Acl::read_only()]);
        assert!(lists.acquire(&[Acl::open()]).is(&first));
        assert_eq!(lists.uses()[&first], 2);
        lists.release(&first);
        lists.release(&other);
        assert_eq!((lists.uses().len(), lists.uses()[&first]), (1, 1));
        assert!(lists.acquire(&[Acl::open()]).is(&first));
    }

    #[test]
    fn digests_are_hidden() {
        let list = [acl(1, "digest", "a:b:c"), acl(1, "sasl", "a:b"), acl(1, "digest", "a")];
        let shown = [acl(1, "digest", "a:x"), acl(1, "sasl", "a:b"), acl(1, "digest", "a")];
        assert_eq!(redacted(&list), shown);
    }

    #[test]
    fn identities_have_one_encoding() {
        for identity in [Identity::anyone(), Identity::new("x", "y"), Identity::new("", "")] {
            assert_eq!(Identity::from_bytes(&identity.to_bytes()), Ok(identity));
        }
        let mut spelled = Writer::new();
        spelled.u8(0);
        spelled.bytes(b"world");
        spelled.bytes(b"anyone");
        assert!(Identity::from_bytes(&spelled.finish()).is_err());
    }
}
