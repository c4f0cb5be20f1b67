//! Encodings of requests, which are kept until answered: small ones share an allocation.

use crate::wire::{Encode, Writer};
use bytes::{Bytes, BytesMut};

/// Bytes of an allocation. One small request that stays unanswered keeps all of them alive.
const CHUNK_BYTES: usize = 4 << 10;
/// A larger encoding has an allocation of its own.
const SHARED_BYTES_MAX: usize = CHUNK_BYTES / 8;

/// Encodes one value after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Encoder {
    scratch: Writer,
    /// The rest of the last allocation.
    chunk: BytesMut,
}

impl Encoder {
    pub(super) fn encode(&mut self, value: &impl Encode) -> Bytes {
        value.encode(&mut self.scratch);
        if self.scratch.len() > SHARED_BYTES_MAX {
            return core::mem::take(&mut self.scratch).finish();
        }
        let bytes = self.scratch.as_slice();
        if self.chunk.capacity() < bytes.len() {
            self.chunk = BytesMut::with_capacity(CHUNK_BYTES);
        }
        self.chunk.extend_from_slice(bytes);
        self.scratch.clear();
        self.chunk.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Flags, Step, Txn};

    #[test]
    fn encodings_of_any_size_are_those_of_the_value() {
        let mut encoder = Encoder::default();
        let sizes = [0, 1, 8, 100, SHARED_BYTES_MAX, 10 * CHUNK_BYTES];
        for size in sizes.into_iter().cycle().take(100) {
            let (key, value) = (Bytes::from_static(b"key"), Bytes::from(alloc::vec![7; size]));
            let txn =
                Txn::of(alloc::vec![Step::Write { key, value, offset: 0, flags: Flags::CREATE }]);
            assert_eq!(encoder.encode(&txn), txn.to_bytes());
        }
    }
}
