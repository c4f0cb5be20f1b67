//! Lists: a page of the records in a range of keys, the same inside a transaction and in a plain
//! read.
//!
//! A page is bounded in entries and bytes; `more` says that it was cut, and the next page begins
//! `after` its last key. Pages of one transaction are of one state; pages of separate reads are
//! not.

use crate::ids::{Revision, SessionId};
use crate::wire::{
    Decode, Encode, Reader, WireError, Writer, decode_key, decode_option, encode_option,
};
use alloc::vec::Vec;
use bytes::Bytes;
use core::ops::Bound;

/// A set of neighbouring keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Range {
    /// The keys that begin with these bytes; all keys, if there are none.
    Prefix(Bytes),
    /// The keys from `from` on and before `until` (to the end, if there is no `until`).
    Span {
        /// The first key.
        from: Bytes,
        /// The first key that is no longer in the range.
        until: Option<Bytes>,
    },
}

impl Range {
    /// Every key.
    pub const ALL: Self = Self::Prefix(Bytes::new());

    /// True if the key is in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            Self::Prefix(prefix) => key.starts_with(prefix),
            Self::Span { from, until } => {
                key >= &from[..] && until.as_ref().is_none_or(|until| key < &until[..])
            }
        }
    }

    /// Where the range begins.
    pub(super) fn start(&self) -> Bound<&[u8]> {
        match self {
            Self::Prefix(prefix) => Bound::Included(prefix),
            Self::Span { from, .. } => Bound::Included(from),
        }
    }
}

impl Encode for Range {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Prefix(prefix) => {
                out.u8(1);
                out.bytes(prefix);
            }
            Self::Span { from, until } => {
                out.u8(2);
                out.bytes(from);
                encode_option(until.as_ref(), out, |until, out| out.bytes(until));
            }
        }
    }
}
impl Decode for Range {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        match input.u8()? {
            1 => Ok(Self::Prefix(decode_key(input)?)),
            2 => {
                let from = decode_key(input)?;
                Ok(Self::Span { from, until: decode_option(input, decode_key)? })
            }
            found => Err(WireError::UnknownTag { what: "range", tag: u64::from(found) }),
        }
    }
}

/// Which page of which range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// The keys to list.
    pub range: Range,
    /// Only keys greater than this one: the last of the page before.
    pub after: Option<Bytes>,
    /// The most entries to return; the state's own limit holds as well.
    pub limit: u32,
    /// Leave the values out.
    pub keys_only: bool,
}

impl Encode for ListQuery {
    fn encode(&self, out: &mut Writer) {
        self.range.encode(out);
        encode_option(self.after.as_ref(), out, |after, out| out.bytes(after));
        out.varint(u64::from(self.limit));
        out.bool(self.keys_only);
    }
}
impl Decode for ListQuery {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            range: Decode::decode(input)?,
            after: decode_option(input, decode_key)?,
            limit: input.varint_u32("limit")?,
            keys_only: input.bool()?,
        })
    }
}

/// What is known of a record besides its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stat {
    /// Changes since it was created, which is change 1.
    pub version: u64,
    /// The revision that created it. For a lock: the holder's fencing token.
    pub created: Revision,
    /// The revision that last changed it.
    pub modified: Revision,
    /// The size of its value, in bytes.
    pub size: u64,
    /// The session whose end deletes it, if it is ephemeral.
    pub owner: Option<SessionId>,
}

impl Encode for Stat {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.version);
        self.created.encode(out);
        self.modified.encode(out);
        out.varint(self.size);
        encode_option(self.owner.as_ref(), out, SessionId::encode);
    }
}
impl Decode for Stat {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            version: input.varint()?,
            created: Decode::decode(input)?,
            modified: Decode::decode(input)?,
            size: input.varint()?,
            owner: decode_option(input, SessionId::decode)?,
        })
    }
}

/// One record on a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListEntry {
    /// The record's key, of at most `Limits::key_bytes_max` bytes.
    pub key: Bytes,
    /// What is known of it.
    pub stat: Stat,
    /// Its whole value, unless the query left it out.
    pub value: Option<Bytes>,
}

/// What a record on a page counts besides its key and value, in bytes.
pub(super) const ENTRY_OVERHEAD_BYTES: u64 = 16;

impl ListEntry {
    /// What it counts against the limits, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let value_bytes = self.value.as_ref().map_or(0, Bytes::len);
        (self.key.len() + value_bytes) as u64 + ENTRY_OVERHEAD_BYTES
    }

    /// The entry with bytes of its own.
    pub(super) fn detached(&self) -> Self {
        Self {
            key: Bytes::copy_from_slice(&self.key),
            stat: self.stat,
            value: self.value.as_ref().map(|value| Bytes::copy_from_slice(value)),
        }
    }
}

impl Encode for ListEntry {
    fn encode(&self, out: &mut Writer) {
        out.bytes(&self.key);
        self.stat.encode(out);
        encode_option(self.value.as_ref(), out, |value, out| out.bytes(value));
    }
}
impl Decode for ListEntry {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            key: decode_key(input)?,
            stat: Decode::decode(input)?,
            value: decode_option(input, |input| input.bytes("value", usize::MAX))?,
        })
    }
}

/// A page of records, in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The records.
    pub entries: Vec<ListEntry>,
    /// True if the page was cut: there are further records in the range.
    pub more: bool,
}

/// The shortest encoding of a [`ListEntry`], in bytes.
const ENTRY_BYTES_MIN: usize = 7;

impl Encode for Page {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.entries.len() as u64);
        for entry in &self.entries {
            entry.encode(out);
        }
        out.bool(self.more);
    }
}
impl Decode for Page {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let count = input.count("entries", usize::MAX / 16, ENTRY_BYTES_MIN)?;
        let mut entries = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            entries.push(ListEntry::decode(input)?);
        }
        Ok(Self { entries, more: input.bool()? })
    }
}
