//! What the fuzz targets share: operations taken from a fuzzer's bytes, and a server for them.

pub mod world;

use accord_core::wire::{Decode, Encode};
use bytes::Bytes;
use std::fmt::Debug;

/// A fuzzer's bytes as operations: a byte that says which, one that says how long, and so many
/// bytes. A length of 255 takes all that is left.
pub struct Operations<'a>(&'a [u8]);

impl<'a> Operations<'a> {
    /// The operations in these bytes.
    pub const fn new(data: &'a [u8]) -> Self {
        Self(data)
    }
}

impl<'a> Iterator for Operations<'a> {
    type Item = (u8, &'a [u8]);
    fn next(&mut self) -> Option<Self::Item> {
        let (&[which, length], rest) = self.0.split_first_chunk::<2>()?;
        let length = if length == u8::MAX { rest.len() } else { usize::from(length) };
        let (bytes, rest) = rest.split_at(length.min(rest.len()));
        self.0 = rest;
        Some((which, bytes))
    }
}

/// Appends an operation. At most 254 bytes, unless it is the last.
pub fn push_operation(out: &mut Vec<u8>, which: u8, bytes: &[u8]) {
    out.extend_from_slice(&[which, bytes.len().min(255) as u8]);
    out.extend_from_slice(bytes);
}

/// Decodes bytes, or does not; what decodes has these bytes as its only encoding.
pub fn is_canonical<T: Decode + Encode + Debug>(bytes: &Bytes) -> Option<T> {
    let value = T::from_bytes(bytes).ok()?;
    assert_eq!(value.to_bytes(), bytes, "{value:?} has one encoding");
    Some(value)
}
