//! The store as a snapshot holds it: its records, in the order of their keys.

use super::super::compact::{Key, Value};
use super::super::kind;
use super::super::map::Map;
use super::Kv;
use super::store::{Record, Store};
use crate::ids::SessionId;
use crate::pieces::PiecesWriter;
use crate::wire::{Decode, Encode, Reader, WireError, Writer, decode_counter};
use alloc::vec::Vec;

/// A record with an owner. Other flags are kept for what records may become.
const FLAG_EPHEMERAL: u8 = 1;

/// The object as it was at one moment; what it has in common with the living one is shared.
#[derive(Clone, Debug)]
pub(in crate::state) struct FrozenKv {
    sequence: u64,
    /// Of keys and values.
    pub(in crate::state) bytes: u64,
    records: Map<Record>,
}

impl Kv {
    /// The object as it is now, whatever is applied later.
    pub(in crate::state) fn freeze(&self) -> FrozenKv {
        FrozenKv {
            sequence: self.sequence,
            bytes: self.store.bytes(),
            records: self.store.records(),
        }
    }

    /// The object of a snapshot.
    ///
    /// # Errors
    /// The first invariant that the records break.
    pub(in crate::state) fn restore(
        sequence: u64,
        records: Vec<SnapshotRecord>,
    ) -> Result<Self, &'static str> {
        if !records.is_sorted_by(|a, b| a.0 < b.0) {
            return Err("keys ascend");
        }
        let records = records.into_iter().map(|SnapshotRecord(key, record)| (key, record));
        Ok(Self::new(sequence, Store::from_records(records)))
    }
}

impl FrozenKv {
    /// About how many bytes of an image are not shared.
    pub(in crate::state) fn copied_bytes(&self) -> usize {
        let copied = |value: &Value| if value.is_shared() { 0 } else { value.len() };
        let records = self.records.iter().map(|(key, record)| key.len() + copied(&record.value));
        records.sum::<usize>() + self.records.len() * 16
    }

    /// Appends what stands before the records.
    pub(in crate::state) fn encode_head(&self, out: &mut Writer) {
        out.u8(kind::KV);
        out.varint(self.sequence);
        out.varint(self.records.len() as u64);
    }

    /// The records, in the order of their keys.
    pub(in crate::state) fn iter(&self) -> impl Iterator<Item = FrozenRecord<'_>> {
        self.records.iter().map(|(key, record)| FrozenRecord(key, record))
    }
}

/// A record to be written to a snapshot.
pub(in crate::state) struct FrozenRecord<'a>(&'a Key, &'a Record);

/// What stands before the records.
pub(in crate::state) struct KvHead {
    pub(in crate::state) sequence: u64,
    /// How many records follow.
    pub(in crate::state) records: u64,
}

impl Decode for KvHead {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        match input.u8()? {
            kind::KV => {}
            other => return Err(kind::unknown(other)),
        }
        Ok(Self { sequence: decode_counter(input, "sequence")?, records: input.varint()? })
    }
}

/// A record read from a snapshot.
pub(in crate::state) struct SnapshotRecord(Key, Record);

impl FrozenRecord<'_> {
    /// Appends the record; a large value is shared, not copied.
    pub(in crate::state) fn encode(&self, all: &mut PiecesWriter) {
        let Self(key, record) = self;
        let ephemeral = record.owner.0 != 0;
        let out = &mut all.copied;
        out.u8(if ephemeral { FLAG_EPHEMERAL } else { 0 });
        out.bytes(key);
        out.varint(record.value.len() as u64);
        match record.value.shared() {
            Some(value) => all.share(value),
            None => out.raw(&record.value),
        }
        let out = &mut all.copied;
        out.varint(record.version);
        record.created.encode(out);
        record.modified.encode(out);
        if ephemeral {
            record.owner.encode(out);
        }
    }
}

impl Decode for SnapshotRecord {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let flags = input.u8()?;
        if flags > FLAG_EPHEMERAL {
            return Err(WireError::Invalid { what: "record flags" });
        }
        let key = Key::new(&input.bytes("key", usize::MAX)?);
        let value = Value::new(&input.bytes("value", usize::MAX)?);
        let version = decode_counter(input, "version")?;
        let created = Decode::decode(input)?;
        let modified = Decode::decode(input)?;
        let owner = if flags == FLAG_EPHEMERAL { Decode::decode(input)? } else { SessionId(0) };
        if flags == FLAG_EPHEMERAL && owner.0 == 0 {
            return Err(WireError::Invalid { what: "owner" });
        }
        Ok(Self(key, Record { value, version, created, modified, owner }))
    }
}
