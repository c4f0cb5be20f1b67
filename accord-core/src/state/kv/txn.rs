//! Transactions: what a client may ask of the store, and how it is written down.
//!
//! A [`Txn`] is a guard of comparisons and two branches of steps. If all comparisons hold, `then`
//! runs, else `otherwise`; its steps run in order, each sees what the earlier ones did, and all
//! take effect or none. Everything the first Accord had is one step here; every write is answered
//! once a quorum holds it durably, so its flag SYNC is what always happens.
//!
//! The encoding is canonical: one transaction, one byte string. Step tags 0..=63 are the key-value
//! store's; those from 64 are kept for the tree of znodes. Read [`super::execute`] next for what
//! the steps do.

use super::list::ListQuery;
use crate::ids::Revision;
use crate::limits::STEPS_MAX;
use crate::wire::{
    Decode, Encode, Reader, WireError, Writer, decode_key, decode_option, encode_option,
};
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use core::ops::BitOr;

/// A guarded transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// Decides the branch: `then` if all hold (or none are there), else `otherwise`.
    pub guard: Vec<Compare>,
    /// The steps if the guard holds.
    pub then: Vec<Step>,
    /// The steps if it does not. Empty: nothing happens, and the outcome says which branch it was.
    pub otherwise: Vec<Step>,
}

impl Txn {
    /// A transaction of these steps, without a guard.
    pub fn of(steps: Vec<Step>) -> Self {
        Self { guard: Vec::new(), then: steps, otherwise: Vec::new() }
    }

    /// Reads a transaction into the memory of this one.
    ///
    /// # Errors
    /// A [`WireError`]; the transaction is then what could be read before it.
    pub fn decode_into(&mut self, input: &mut Reader) -> Result<(), WireError> {
        self.clear();
        decode_items(input, "guard", 2, &mut self.guard)?;
        decode_items(input, "steps", 2, &mut self.then)?;
        decode_items(input, "steps", 2, &mut self.otherwise)
    }

    /// Reads the transaction that is all the input has left into the memory of this one, which is
    /// empty; but one of a single step without a guard, as most are, is not moved through memory
    /// and returned instead.
    #[inline]
    pub(super) fn decode_rest(&mut self, input: &mut Reader) -> Result<Option<Step>, WireError> {
        if !input.skip_if(&[0, 1]) {
            self.decode_into(input)?;
            return input.finish().map(|()| None);
        }
        let step = Step::decode(input)?;
        if !input.skip_if(&[0]) {
            self.then.push(step);
            decode_items(input, "steps", 2, &mut self.otherwise)?;
            return input.finish().map(|()| None);
        }
        input.finish().map(|()| Some(step))
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.guard.clear();
        self.then.clear();
        self.otherwise.clear();
    }

    /// Comparisons in the guard or steps in a branch, whichever is most.
    pub fn steps(&self) -> usize {
        self.guard.len().max(self.then.len()).max(self.otherwise.len())
    }
}

/// Reads a count and that many items, reserving no more than the input can hold.
pub(super) fn decode_items<T: Decode>(
    input: &mut Reader,
    what: &'static str,
    item_bytes_min: usize,
    items: &mut Vec<T>,
) -> Result<(), WireError> {
    let count = input.count(what, STEPS_MAX, item_bytes_min)?;
    // A step in memory is larger than its shortest encoding: reserve for what is likely, then grow.
    items.reserve(count.min(64));
    for _ in 0..count {
        items.push(T::decode(input)?);
    }
    Ok(())
}

/// Writes a count and that many items.
pub(super) fn encode_items<T: Encode>(items: &[T], out: &mut Writer) {
    out.varint(items.len() as u64);
    for item in items {
        item.encode(out);
    }
}

impl Encode for Txn {
    fn encode(&self, out: &mut Writer) {
        encode_items(&self.guard, out);
        encode_items(&self.then, out);
        encode_items(&self.otherwise, out);
    }
}
impl Decode for Txn {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let mut txn = Self::default();
        txn.decode_into(input)?;
        Ok(txn)
    }
}

/// How a step treats a key that is missing or already there, and the bytes that were there before.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Flags(u8);

impl Flags {
    /// The key must exist; a write changes the bytes from its offset on.
    pub const NONE: Self = Self(0);
    /// A missing key is created instead of refused.
    pub const CREATE: Self = Self(1);
    /// With [`Flags::CREATE`]: a key that exists is refused.
    pub const EXCLUSIVE: Self = Self(2);
    /// The offset is the end of the value; the step's own offset is ignored.
    pub const APPEND: Self = Self(4);
    /// The old value is dropped first, so that the value is exactly what is written (from the
    /// offset).
    pub const REPLACE: Self = Self(8);
    /// A record that this step creates belongs to the requesting session and dies with it. No
    /// effect on a record that exists.
    pub const EPHEMERAL: Self = Self(16);
    /// The key gets a number from the order as its suffix, 20 decimal digits, ascending over the
    /// whole store. Implies [`Flags::CREATE`] and [`Flags::EXCLUSIVE`].
    pub const SEQUENCE: Self = Self(32);

    /// These flags and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    /// True if all of `other` are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
    /// The flags as bits, as they are encoded.
    pub const fn bits(self) -> u8 {
        self.0
    }
    fn decode_within(input: &mut Reader, known: Self) -> Result<Self, WireError> {
        let found = Self(input.u8()?);
        if known.has(found) { Ok(found) } else { Err(WireError::Invalid { what: "flags" }) }
    }
}

/// What [`Step::Write`] takes.
const WRITE_FLAGS: Flags = Flags(63);
/// What [`Step::Copy`] takes.
const COPY_FLAGS: Flags = Flags::CREATE.with(Flags::EXCLUSIVE).with(Flags::EPHEMERAL);
/// What [`Step::Increment`] takes.
const INCREMENT_FLAGS: Flags = Flags::CREATE.with(Flags::EPHEMERAL);

impl BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(Flags, &str); 6] = [
            (Flags::CREATE, "create"),
            (Flags::EXCLUSIVE, "exclusive"),
            (Flags::APPEND, "append"),
            (Flags::REPLACE, "replace"),
            (Flags::EPHEMERAL, "ephemeral"),
            (Flags::SEQUENCE, "sequence"),
        ];
        let mut separator = "";
        for (_, name) in NAMES.iter().filter(|(flag, _)| self.has(*flag)) {
            write!(f, "{separator}{name}")?;
            separator = "+";
        }
        if separator.is_empty() { write!(f, "none") } else { Ok(()) }
    }
}

/// How large the number is that [`Step::Increment`] adds to. Little-endian, wrapping around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// Four bytes, as in the first Accord.
    Four,
    /// Eight bytes.
    Eight,
}

impl Width {
    /// The size of the number in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
        }
    }
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Up to `length_max` bytes from `offset`; fewer (or none) at the end of the value.
    Read {
        /// Which record; it must exist.
        key: Bytes,
        /// Where to begin, in bytes.
        offset: u64,
        /// The most bytes to return.
        length_max: u64,
    },
    /// Replaces the bytes `offset..offset + value.len()`. The rest stays; the value is never made
    /// shorter (but for [`Flags::REPLACE`]); a gap is filled with zeros.
    Write {
        /// Which record, or with [`Flags::SEQUENCE`] the part of its key before the number.
        key: Bytes,
        /// The bytes to write.
        value: Bytes,
        /// Where they go, in bytes.
        offset: u64,
        /// How to treat what is or is not there.
        flags: Flags,
    },
    /// Removes a record that must exist.
    Delete {
        /// The key of the record.
        key: Bytes,
    },
    /// Gives `target` the whole value of `source`.
    Copy {
        /// The record to copy from; it must exist.
        source: Bytes,
        /// The record to copy to.
        target: Bytes,
        /// [`Flags::CREATE`], [`Flags::EXCLUSIVE`] and [`Flags::EPHEMERAL`] only: whether the
        /// target must, may or must not exist.
        flags: Flags,
    },
    /// Aborts the transaction if the comparison does not hold.
    Compare(Compare),
    /// Adds to a number in place.
    Increment {
        /// The record that holds the number.
        key: Bytes,
        /// What to add, modulo the width.
        delta: i64,
        /// `None`: the value is the number, and must be of exactly its width. Otherwise where in a
        /// larger value the number stands; it must lie within the value.
        offset: Option<u64>,
        /// How wide the number is.
        width: Width,
        /// [`Flags::CREATE`] and [`Flags::EPHEMERAL`] only: with CREATE, a missing number is
        /// created as zero (behind `offset` zero bytes) before it is added to.
        flags: Flags,
    },
    /// A page of the records in a range.
    List(ListQuery),
}

mod tag {
    pub(super) const READ: u8 = 1;
    pub(super) const WRITE: u8 = 2;
    pub(super) const DELETE: u8 = 3;
    pub(super) const COPY: u8 = 4;
    pub(super) const COMPARE: u8 = 5;
    pub(super) const INCREMENT: u8 = 6;
    pub(super) const LIST: u8 = 7;
}

impl Encode for Step {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Read { key, offset, length_max } => {
                out.u8(tag::READ);
                out.bytes(key);
                out.varint(*offset);
                out.varint(*length_max);
            }
            Self::Write { key, value, offset, flags } => {
                out.u8(tag::WRITE);
                out.u8(flags.0);
                out.bytes(key);
                out.varint(*offset);
                out.bytes(value);
            }
            Self::Delete { key } => {
                out.u8(tag::DELETE);
                out.bytes(key);
            }
            Self::Copy { source, target, flags } => {
                out.u8(tag::COPY);
                out.u8(flags.0);
                out.bytes(source);
                out.bytes(target);
            }
            Self::Compare(compare) => {
                out.u8(tag::COMPARE);
                compare.encode(out);
            }
            Self::Increment { key, delta, offset, width, flags } => {
                out.u8(tag::INCREMENT);
                out.u8(flags.0);
                out.u8(width.bytes() as u8);
                out.bytes(key);
                out.varint_signed(*delta);
                encode_option(offset.as_ref(), out, |offset, out| out.varint(*offset));
            }
            Self::List(query) => {
                out.u8(tag::LIST);
                query.encode(out);
            }
        }
    }
}

impl Decode for Step {
    #[inline(always)]
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        match input.u8()? {
            tag::READ => Ok(Self::Read {
                key: decode_key(input)?,
                offset: input.varint()?,
                length_max: input.varint()?,
            }),
            tag::WRITE => {
                let flags = Flags::decode_within(input, WRITE_FLAGS)?;
                let key = decode_key(input)?;
                let offset = input.varint()?;
                let value = input.bytes("value", usize::MAX)?;
                Ok(Self::Write { key, value, offset, flags })
            }
            tag::DELETE => Ok(Self::Delete { key: decode_key(input)? }),
            tag::COPY => {
                let flags = Flags::decode_within(input, COPY_FLAGS)?;
                Ok(Self::Copy { flags, source: decode_key(input)?, target: decode_key(input)? })
            }
            tag::COMPARE => Ok(Self::Compare(Compare::decode(input)?)),
            tag::INCREMENT => decode_increment(input),
            tag::LIST => Ok(Self::List(ListQuery::decode(input)?)),
            found => Err(WireError::UnknownTag { what: "step", tag: u64::from(found) }),
        }
    }
}

fn decode_increment(input: &mut Reader) -> Result<Step, WireError> {
    let flags = Flags::decode_within(input, INCREMENT_FLAGS)?;
    let width = match input.u8()? {
        4 => Width::Four,
        8 => Width::Eight,
        found => return Err(WireError::UnknownTag { what: "width", tag: u64::from(found) }),
    };
    let key = decode_key(input)?;
    let delta = input.varint_signed()?;
    let offset = decode_option(input, Reader::varint)?;
    Ok(Step::Increment { key, delta, offset, width, flags })
}

/// How the left side of a comparison must stand to the right. Byte strings compare as in a
/// dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relation {
    /// Equal; for byte strings, in size and content.
    Equal,
    /// Not equal.
    Unequal,
    /// Less than.
    Less,
    /// Less or equal.
    AtMost,
    /// Greater than.
    Greater,
    /// Greater or equal.
    AtLeast,
}

impl Relation {
    /// Each relation; its place is its tag in encodings.
    pub const ALL: [Self; 6] =
        [Self::Equal, Self::Unequal, Self::Less, Self::AtMost, Self::Greater, Self::AtLeast];

    /// True if two things that compare so stand in this relation.
    pub const fn holds(self, ordering: core::cmp::Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::Unequal => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::AtMost => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::AtLeast => ordering.is_ge(),
        }
    }
}

impl Encode for Relation {
    fn encode(&self, out: &mut Writer) {
        out.u8(*self as u8);
    }
}
impl Decode for Relation {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let tag = input.u8()?;
        let known = Self::ALL.get(usize::from(tag)).copied();
        known.ok_or(WireError::UnknownTag { what: "relation", tag: u64::from(tag) })
    }
}

/// A condition on the store. In a guard it chooses the branch (an absent record fails it); as a
/// step it aborts the transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The record's value stands so to these bytes. An absent record is *not found*.
    Value {
        /// Left side: the value of this record.
        key: Bytes,
        /// How it must stand to the right side.
        relation: Relation,
        /// Right side.
        value: Bytes,
    },
    /// The values of two records stand so to each other. An absent record is *not found*.
    Keys {
        /// Left side: the value of this record.
        key: Bytes,
        /// How it must stand to the right side.
        relation: Relation,
        /// Right side: the value of this record.
        other: Bytes,
    },
    /// The record's version stands so to this number. An absent record has version 0.
    Version {
        /// Left side: the version of this record.
        key: Bytes,
        /// How it must stand to the right side.
        relation: Relation,
        /// Right side.
        version: u64,
    },
    /// The revision that created the record stands so to this one. An absent record has revision 0.
    /// With a fencing token on the right and [`Relation::Equal`], it says that the lock is still
    /// held.
    Created {
        /// Left side: the created revision of this record.
        key: Bytes,
        /// How it must stand to the right side.
        relation: Relation,
        /// Right side.
        revision: Revision,
    },
    /// The revision that last changed the record stands so to this one. An absent record has 0.
    Modified {
        /// Left side: the modified revision of this record.
        key: Bytes,
        /// How it must stand to the right side.
        relation: Relation,
        /// Right side.
        revision: Revision,
    },
    /// The record exists. As a step it fails as *not found*.
    Exists {
        /// The key of the record.
        key: Bytes,
    },
    /// The record does not exist. As a step it fails as *exists*.
    Missing {
        /// The key at which there is no record.
        key: Bytes,
    },
}

impl Encode for Compare {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Value { key, relation, value } => {
                encode_compare_head(1, key, *relation, out);
                out.bytes(value);
            }
            Self::Keys { key, relation, other } => {
                encode_compare_head(2, key, *relation, out);
                out.bytes(other);
            }
            Self::Version { key, relation, version } => {
                encode_compare_head(3, key, *relation, out);
                out.varint(*version);
            }
            Self::Created { key, relation, revision } => {
                encode_compare_head(4, key, *relation, out);
                revision.encode(out);
            }
            Self::Modified { key, relation, revision } => {
                encode_compare_head(5, key, *relation, out);
                revision.encode(out);
            }
            Self::Exists { key } => {
                out.u8(6);
                out.bytes(key);
            }
            Self::Missing { key } => {
                out.u8(7);
                out.bytes(key);
            }
        }
    }
}

fn encode_compare_head(tag: u8, key: &Bytes, relation: Relation, out: &mut Writer) {
    out.u8(tag);
    out.bytes(key);
    relation.encode(out);
}

impl Decode for Compare {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let tag = input.u8()?;
        if !(1..=7).contains(&tag) {
            return Err(WireError::UnknownTag { what: "compare", tag: u64::from(tag) });
        }
        let key = decode_key(input)?;
        match tag {
            6 => return Ok(Self::Exists { key }),
            7 => return Ok(Self::Missing { key }),
            _ => {}
        }
        let relation = Relation::decode(input)?;
        Ok(match tag {
            1 => Self::Value { key, relation, value: input.bytes("value", usize::MAX)? },
            2 => Self::Keys { key, relation, other: decode_key(input)? },
            3 => Self::Version { key, relation, version: input.varint()? },
            4 => Self::Created { key, relation, revision: Decode::decode(input)? },
            _ => Self::Modified { key, relation, revision: Decode::decode(input)? },
        })
    }
}
