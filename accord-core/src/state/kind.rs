//! The kinds of objects, by which everything about one of them begins in encodings: requests,
//! results, events, reads, sections of a snapshot.
//!
//! A kind that is not known is refused by its number, before anything of it is read.

use crate::wire::WireError;

/// What concerns sessions, or no object.
pub(super) const SESSIONS: u8 = 0;
/// The key-value object.
pub(super) const KV: u8 = 1;
/// The tree of znodes.
pub(super) const TREE: u8 = 2;

pub(super) const fn unknown(kind: u8) -> WireError {
    WireError::UnknownTag { what: "kind of object", tag: kind as u64 }
}
