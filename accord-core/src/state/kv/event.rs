//! Events of records: what one change did to one of them, as watchers may see it.

use crate::ids::Revision;
use crate::wire::{Decode, Encode, Reader, WireError, Writer, decode_key};
use bytes::Bytes;

/// A change of a record.
///
/// To get the value after the change: take the value before (empty, if the record was created), cut
/// it or fill it with zeros to `size` bytes, and put `data` at `offset`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEvent {
    /// Shared by all events of one command.
    pub revision: Revision,
    /// What happened.
    pub kind: KeyEventKind,
    /// Which record.
    pub key: Bytes,
    /// Its version after the change; for a deletion, the last it had.
    pub version: u64,
    /// Where the bytes of `data` went.
    pub offset: u64,
    /// The bytes that were written; the whole value for a copy or a replacement; none for a
    /// deletion.
    pub data: Bytes,
    /// The size of the value after the change; 0 for a deletion.
    pub size: u64,
}

/// What happened to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyEventKind {
    /// A write or an increment created it.
    Created,
    /// A write or an increment changed it.
    Changed,
    /// It was deleted, or died with its session.
    Deleted,
    /// It received a copy, whether or not it existed before.
    Copied,
}

impl KeyEventKind {
    /// Each kind; its place is its tag in encodings.
    pub const ALL: [Self; 4] = [Self::Created, Self::Changed, Self::Deleted, Self::Copied];
}

impl KeyEvent {
    /// The event with bytes of its own.
    pub(in crate::state) fn detached(&self) -> Self {
        Self {
            key: Bytes::copy_from_slice(&self.key),
            data: Bytes::copy_from_slice(&self.data),
            ..self.clone()
        }
    }
}

impl Encode for KeyEvent {
    fn encode(&self, out: &mut Writer) {
        out.u8(self.kind as u8);
        self.revision.encode(out);
        out.bytes(&self.key);
        out.varint(self.version);
        out.varint(self.offset);
        out.bytes(&self.data);
        out.varint(self.size);
    }
}
impl Decode for KeyEvent {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let tag = input.u8()?;
        let kind = KeyEventKind::ALL
            .get(usize::from(tag))
            .copied()
            .ok_or(WireError::UnknownTag { what: "event", tag: u64::from(tag) })?;
        Ok(Self {
            kind,
            revision: Decode::decode(input)?,
            key: decode_key(input)?,
            version: input.varint()?,
            offset: input.varint()?,
            data: input.bytes("data", usize::MAX)?,
            size: input.varint()?,
        })
    }
}
