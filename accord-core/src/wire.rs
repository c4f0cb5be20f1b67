//! Bytes in, values out: the primitives that every encoding in the core is built from.
//!
//! Integers are little-endian or LEB128 varints; byte strings are length-prefixed by a varint.
//! Decoding any bytes gives a value or a [`WireError`]: never a panic, and never an allocation
//! larger than the input justifies, because every length is checked against what is left before
//! anything is reserved. Encodings are canonical (one value, one encoding), which lets digests be
//! taken over bytes.

use alloc::vec::Vec;
use bytes::Bytes;
use thiserror::Error;

/// Why bytes could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// The input ended inside a value.
    #[error("the input ends inside a value: {needed} more bytes needed")]
    Truncated {
        /// How many bytes are missing at least.
        needed: usize,
    },
    /// Bytes were left over after the value.
    #[error("{count} bytes follow the value")]
    Trailing {
        /// How many bytes are left.
        count: usize,
    },
    /// A tag that this version does not know.
    #[error("unknown {what} tag {tag}")]
    UnknownTag {
        /// What was being decoded.
        what: &'static str,
        /// The tag found.
        tag: u64,
    },
    /// A length or count above its bound.
    #[error("{what} is {found}, at most {max} allowed")]
    OverLimit {
        /// What was being decoded.
        what: &'static str,
        /// The length found.
        found: u64,
        /// The bound.
        max: u64,
    },
    /// Of a group that is not served here.
    #[error("it is of group {found}, and only group 0 is served here")]
    Group {
        /// The group found.
        found: u32,
    },
    /// A varint that is not in its shortest form or exceeds 64 bits.
    #[error("a varint is malformed")]
    Varint,
    /// A version that this build does not speak.
    #[error("version {found} is not spoken here (known: {known})")]
    Version {
        /// The version found.
        found: u64,
        /// The version known.
        known: u64,
    },
    /// A value that is well-formed but not allowed, such as a bool that is 2 or keys out of order.
    #[error("{what} has a value that is not allowed")]
    Invalid {
        /// What was being decoded.
        what: &'static str,
    },
}

/// A value with a canonical encoding.
pub trait Encode {
    /// Appends the encoding to `out`.
    fn encode(&self, out: &mut Writer);

    /// The encoding as a fresh buffer.
    fn to_bytes(&self) -> Bytes {
        let mut out = Writer::new();
        self.encode(&mut out);
        out.finish()
    }
}

/// A value that can be read back from its encoding.
pub trait Decode: Sized {
    /// Reads one value from the front of `input`.
    ///
    /// # Errors
    /// A [`WireError`] if the bytes are not the encoding of a value.
    fn decode(input: &mut Reader) -> Result<Self, WireError>;

    /// Reads a value that fills `bytes` exactly.
    ///
    /// # Errors
    /// A [`WireError`] if the bytes are not the encoding of a value, or if bytes follow it.
    fn from_bytes(bytes: &Bytes) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes.clone());
        let value = Self::decode(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }
}

/// Appends encoded values to a growing buffer.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    buffer: Vec<u8>,
}

impl Writer {
    /// An empty buffer.
    pub const fn new() -> Self {
        Self { buffer: Vec::new() }
    }
    /// An empty buffer with room for `bytes` bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { buffer: Vec::with_capacity(bytes) }
    }
    /// Bytes written so far.
    pub const fn len(&self) -> usize {
        self.buffer.len()
    }
    /// True if nothing was written.
    pub const fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }
    /// What was written so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.buffer
    }
    /// What was written so far, for patching a reserved place.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.buffer
    }
    /// The buffer, without a copy.
    pub fn finish(self) -> Bytes {
        Bytes::from(self.buffer)
    }
    /// The buffer itself.
    pub fn into_vec(self) -> Vec<u8> {
        self.buffer
    }
    /// Empties the buffer and keeps its memory.
    pub fn clear(&mut self) {
        self.buffer.clear();
    }
    /// Appends one byte.
    pub fn u8(&mut self, value: u8) {
        self.buffer.push(value);
    }
    /// Appends a bool as 0 or 1.
    pub fn bool(&mut self, value: bool) {
        self.u8(u8::from(value));
    }
    /// Appends four bytes, little-endian.
    pub fn u32(&mut self, value: u32) {
        self.buffer.extend_from_slice(&value.to_le_bytes());
    }
    /// Appends eight bytes, little-endian.
    pub fn u64(&mut self, value: u64) {
        self.buffer.extend_from_slice(&value.to_le_bytes());
    }
    /// Appends a LEB128 varint of 1 to 10 bytes.
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.buffer.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.buffer.push(value as u8);
    }
    /// Appends a signed number, zigzag-encoded.
    pub fn varint_signed(&mut self, value: i64) {
        self.varint(((value << 1) ^ (value >> 63)) as u64);
    }
    /// Appends the bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }
    /// Appends a length and the bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.raw(bytes);
    }
}

impl From<Vec<u8>> for Writer {
    /// A writer that appends to what is in the buffer.
    fn from(buffer: Vec<u8>) -> Self {
        Self { buffer }
    }
}

/// Reads encoded values from the front of a buffer. Byte strings come out as slices that share it.
#[derive(Clone, Debug)]
pub struct Reader {
    input: Bytes,
    at: usize,
    /// Where the part ends that is being read. Invariant: `at <= end <= input.len()`.
    end: usize,
}

/// The end of what a [`Reader`] was reading before it entered a part: see [`Reader::enter`].
#[derive(Debug)]
#[must_use]
pub struct OuterEnd {
    end: usize,
}

impl Reader {
    /// A reader at the front of `input`.
    pub const fn new(input: Bytes) -> Self {
        let end = input.len();
        Self { input, at: 0, end }
    }
    /// Bytes not yet read.
    pub const fn remaining(&self) -> usize {
        self.end - self.at
    }
    /// What was not yet read.
    pub fn unread(&self) -> &[u8] {
        &self.input[self.at..self.end]
    }
    /// Reads the length of a part, and ends after it until [`Self::leave`].
    ///
    /// # Errors
    /// [`WireError::Truncated`] or [`WireError::Varint`].
    pub fn enter(&mut self) -> Result<OuterEnd, WireError> {
        let found = self.varint()?;
        let (bytes, left) = (usize::try_from(found).unwrap_or(usize::MAX), self.remaining());
        if bytes > left {
            return Err(WireError::Truncated { needed: bytes - left });
        }
        let outer = OuterEnd { end: self.end };
        self.end = self.at + bytes;
        Ok(outer)
    }
    /// Goes on after a part, whether or not all of it was read.
    pub const fn leave(&mut self, outer: OuterEnd) {
        (self.at, self.end) = (self.end, outer.end);
    }
    /// Bytes read so far.
    pub const fn position(&self) -> usize {
        self.at
    }
    /// Checks that everything was read.
    ///
    /// # Errors
    /// [`WireError::Trailing`] if bytes are left.
    pub fn finish(&self) -> Result<(), WireError> {
        match self.remaining() {
            0 => Ok(()),
            count => Err(WireError::Trailing { count }),
        }
    }
    fn take(&mut self, count: usize) -> Result<&[u8], WireError> {
        let left = self.remaining();
        if count > left {
            return Err(WireError::Truncated { needed: count - left });
        }
        let from = self.at;
        self.at += count;
        Ok(&self.input[from..self.at])
    }
    /// Reads these bytes if they come next.
    #[inline]
    pub fn skip_if(&mut self, bytes: &[u8]) -> bool {
        let next = self.unread().starts_with(bytes);
        if next {
            self.at += bytes.len();
        }
        next
    }
    /// Reads one byte.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    #[inline]
    pub fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.take(1)?[0])
    }
    /// Reads a bool.
    ///
    /// # Errors
    /// [`WireError::Truncated`], or [`WireError::Invalid`] for a byte above 1.
    pub fn bool(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Invalid { what: "bool" }),
        }
    }
    /// Reads four bytes, little-endian.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn u32(&mut self) -> Result<u32, WireError> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
    /// Reads eight bytes, little-endian.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn u64(&mut self) -> Result<u64, WireError> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(bytes))
    }
    /// Reads a varint in its shortest form.
    ///
    /// # Errors
    /// [`WireError::Truncated`] or [`WireError::Varint`].
    #[inline]
    pub fn varint(&mut self) -> Result<u64, WireError> {
        match self.unread().first().copied() {
            Some(byte) if byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }
    fn long_varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(WireError::Varint);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                let longer_than_needed = byte == 0 && shift > 0;
                return if longer_than_needed { Err(WireError::Varint) } else { Ok(value) };
            }
        }
        Err(WireError::Varint)
    }
    /// Reads a varint that must fit into 32 bits.
    ///
    /// # Errors
    /// [`WireError::Truncated`], [`WireError::Varint`] or [`WireError::OverLimit`].
    pub fn varint_u32(&mut self, what: &'static str) -> Result<u32, WireError> {
        let found = self.varint()?;
        u32::try_from(found).map_err(|_| WireError::OverLimit {
            what,
            found,
            max: u64::from(u32::MAX),
        })
    }
    /// Reads a zigzag-encoded signed number.
    ///
    /// # Errors
    /// [`WireError::Truncated`] or [`WireError::Varint`].
    pub fn varint_signed(&mut self) -> Result<i64, WireError> {
        let raw = self.varint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }
    /// Reads `count` bytes as a slice that shares the input.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn raw(&mut self, count: usize) -> Result<Bytes, WireError> {
        self.take(count)?;
        Ok(self.input.slice(self.at - count..self.at))
    }
    /// Everything that was not read, as a slice that shares the input.
    pub fn rest(&mut self) -> Bytes {
        let rest = self.input.slice(self.at..self.end);
        self.at = self.end;
        rest
    }
    /// Reads a length-prefixed byte string of at most `max` bytes, sharing the input.
    ///
    /// # Errors
    /// [`WireError::Truncated`], [`WireError::Varint`] or [`WireError::OverLimit`].
    pub fn bytes(&mut self, what: &'static str, max: usize) -> Result<Bytes, WireError> {
        let found = self.varint()?;
        if found > max as u64 {
            return Err(WireError::OverLimit { what, found, max: max as u64 });
        }
        self.raw(found as usize)
    }
    /// Reads a count of items, each of at least `item_bytes_min` bytes, so that reserving room for
    /// them is justified by the input.
    ///
    /// # Errors
    /// [`WireError::Truncated`], [`WireError::Varint`] or [`WireError::OverLimit`].
    pub fn count(
        &mut self,
        what: &'static str,
        max: usize,
        item_bytes_min: usize,
    ) -> Result<usize, WireError> {
        let found = self.varint()?;
        if found > max as u64 {
            return Err(WireError::OverLimit { what, found, max: max as u64 });
        }
        let needed = found as usize * item_bytes_min.max(1);
        match needed.checked_sub(self.remaining()) {
            Some(missing) if missing > 0 => Err(WireError::Truncated { needed: missing }),
            _ => Ok(found as usize),
        }
    }
    /// Checks the version byte at the front of an encoding.
    ///
    /// # Errors
    /// [`WireError::Truncated`] or [`WireError::Version`].
    pub fn version(&mut self, known: u8) -> Result<(), WireError> {
        match self.u8()? {
            found if found == known => Ok(()),
            found => Err(WireError::Version { found: u64::from(found), known: u64::from(known) }),
        }
    }
}

/// Reads a key. Its length is bounded by the input here and by the state's limits when it is used.
pub(crate) fn decode_key(input: &mut Reader) -> Result<Bytes, WireError> {
    input.bytes("key", usize::MAX)
}

/// Writes an optional value as a bool and the value.
pub(crate) fn encode_option<T: ?Sized>(
    value: Option<&T>,
    out: &mut Writer,
    encode: impl FnOnce(&T, &mut Writer),
) {
    out.bool(value.is_some());
    if let Some(value) = value {
        encode(value, out);
    }
}

/// Reads an optional value.
pub(crate) fn decode_option<T>(
    input: &mut Reader,
    decode: impl FnOnce(&mut Reader) -> Result<T, WireError>,
) -> Result<Option<T>, WireError> {
    if input.bool()? { decode(input).map(Some) } else { Ok(None) }
}

/// No counter of a real state comes near this; one that does would soon overflow.
pub(crate) const COUNTER_MAX: u64 = 1 << 62;

/// Reads a number that only ever grew by ones.
pub(crate) fn decode_counter(input: &mut Reader, what: &'static str) -> Result<u64, WireError> {
    let found = input.varint()?;
    if found > COUNTER_MAX {
        return Err(WireError::OverLimit { what, found, max: COUNTER_MAX });
    }
    Ok(found)
}

macro_rules! varint_newtype {
    ($($name:ident),*) => {$(
        impl Encode for crate::ids::$name {
            fn encode(&self, out: &mut Writer) {
                out.varint(u64::from(self.0));
            }
        }
        impl Decode for crate::ids::$name {
            fn decode(input: &mut Reader) -> Result<Self, WireError> {
                let found = input.varint()?;
                let inner = found.try_into().map_err(|_| WireError::OverLimit {
                    what: stringify!($name),
                    found,
                    max: u64::from(u32::MAX),
                })?;
                Ok(Self(inner))
            }
        }
    )*};
}
varint_newtype!(NodeId, Revision, SessionId, RequestId, WatchId, ConnId);

/// Where the last number that counts is refused, so that a server which is sent it never has to
/// count on from it.
macro_rules! counter_newtype {
    ($($name:ident($is_last:expr)),*) => {$(
        impl Encode for crate::ids::$name {
            fn encode(&self, out: &mut Writer) {
                out.varint(self.0);
            }
        }
        impl Decode for crate::ids::$name {
            fn decode(input: &mut Reader) -> Result<Self, WireError> {
                let found = Self(input.varint()?);
                let is_last: fn(&Self) -> bool = $is_last;
                if is_last(&found) {
                    return Err(WireError::Invalid { what: stringify!($name) });
                }
                Ok(found)
            }
        }
    )*};
}
counter_newtype!(Epoch(|epoch| epoch.is_last_of_era()), Index(|index| index.0 == u64::MAX));

impl Encode for crate::ids::GroupId {
    fn encode(&self, out: &mut Writer) {
        out.u32(self.0);
    }
}
impl Decode for crate::ids::GroupId {
    /// Reads the group, which must be the one that there is.
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        match Self(input.u32()?) {
            Self::ONLY => Ok(Self::ONLY),
            Self(found) => Err(WireError::Group { found }),
        }
    }
}

impl Encode for crate::ids::Stamp {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.0);
    }
}
impl Decode for crate::ids::Stamp {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let found = input.varint()?;
        if found > Self::MAX.0 {
            return Err(WireError::OverLimit { what: "stamp", found, max: Self::MAX.0 });
        }
        Ok(Self(found))
    }
}

macro_rules! fixed_newtype {
    ($($name:ident),*) => {$(
        impl Encode for crate::ids::$name {
            fn encode(&self, out: &mut Writer) {
                out.u64(self.0);
            }
        }
        impl Decode for crate::ids::$name {
            fn decode(input: &mut Reader) -> Result<Self, WireError> {
                Ok(Self(input.u64()?))
            }
        }
    )*};
}
fixed_newtype!(StoreId, ClusterId);

impl Encode for crate::ids::LogPosition {
    fn encode(&self, out: &mut Writer) {
        self.epoch.encode(out);
        self.index.encode(out);
    }
}
impl Decode for crate::ids::LogPosition {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { epoch: Decode::decode(input)?, index: Decode::decode(input)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_round_trip(value: u64, signed: i64) {
            let mut out = Writer::new();
            out.varint(value);
            out.varint_signed(signed);
            let mut reader = Reader::new(out.finish());
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert_eq!(reader.varint_signed(), Ok(signed));
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn a_decoded_varint_encodes_to_the_same_bytes(
            bytes in proptest::collection::vec(any::<u8>(), 0..12),
        ) {
            let mut reader = Reader::new(Bytes::from(bytes.clone()));
            if let Ok(value) = reader.varint() {
                let mut out = Writer::new();
                out.varint(value);
                prop_assert_eq!(out.as_slice(), &bytes[..reader.position()]);
            }
        }
    }

    #[test]
    fn a_count_that_the_input_cannot_hold_is_refused_before_anything_is_reserved() {
        let mut out = Writer::new();
        out.varint(1 << 40);
        let bytes = out.finish();
        assert!(Reader::new(bytes.clone()).count("item", usize::MAX, 1).is_err());
        assert!(Reader::new(bytes).bytes("value", usize::MAX).is_err());
    }
}
