//! Messages of the replica into chunks, and out of them.
//!
//! Small messages travel together, large ones in parts. Both ends are bounded: the outbox by what
//! may wait, the assembly by the largest message.

use super::message::{PIECE_OVERHEAD_BYTES, Piece};
use accord_core::wire::{Decode, Encode, Reader, Writer};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// What waits to be sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Bytes>,
    /// Invariant: the sum of the queue's lengths, without `front_sent`.
    bytes: usize,
    /// So much of the first message has left.
    front_sent: usize,
}

impl Outbox {
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, message: Bytes) {
        self.bytes += message.len();
        self.queue.push_back(message);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The next whole message, for who delivers it itself.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let message = self.queue.pop_front()?;
        self.bytes -= message.len() - std::mem::take(&mut self.front_sent);
        Some(message)
    }

    /// Pieces of at most `bytes_max` bytes, if anything waits.
    pub(super) fn pieces(&mut self, bytes_max: usize) -> Option<Bytes> {
        let mut out = Writer::new();
        while let Some(front) = self.queue.front() {
            let room = bytes_max.saturating_sub(out.len() + PIECE_OVERHEAD_BYTES);
            let rest = front.slice(self.front_sent..);
            // A message is begun at the end of a chunk only if a good part of it fits.
            if (room < rest.len() && room < bytes_max / 4) || (room == 0 && !out.is_empty()) {
                break;
            }
            let part = rest.slice(..rest.len().min(room));
            let (begun, ends) = (self.front_sent > 0, part.len() == rest.len());
            self.bytes -= part.len();
            self.front_sent += part.len();
            match (begun, ends) {
                (false, true) => Piece::Whole(part).encode(&mut out),
                (false, false) => Piece::First(front.len() as u64, part).encode(&mut out),
                (true, _) => Piece::Next(part).encode(&mut out),
            }
            if !ends {
                break;
            }
            self.queue.pop_front();
            self.front_sent = 0;
        }
        (!out.is_empty()).then(|| out.finish())
    }
}

/// A message of which not all has come.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    begun: Option<(usize, BytesMut)>,
}

/// Pieces that make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nonsense;

impl Assembly {
    /// Takes the pieces of a chunk, and appends the messages that are whole.
    pub(super) fn take(
        &mut self,
        pieces: Bytes,
        message_bytes_max: usize,
        whole: &mut Vec<Bytes>,
    ) -> Result<(), Nonsense> {
        let mut input = Reader::new(pieces);
        while input.remaining() > 0 {
            match (Piece::decode(&mut input).map_err(|_| Nonsense)?, &mut self.begun) {
                (Piece::Whole(bytes), None) => whole.push(bytes),
                (Piece::First(total, bytes), begun @ None) => {
                    let total = usize::try_from(total).map_err(|_| Nonsense)?;
                    if total > message_bytes_max || bytes.len() >= total {
                        return Err(Nonsense);
                    }
                    *begun = Some((total, BytesMut::from(bytes)));
                }
                (Piece::Next(bytes), Some((total, so_far))) => {
                    if so_far.len() + bytes.len() > *total {
                        return Err(Nonsense);
                    }
                    so_far.extend_from_slice(&bytes);
                    if so_far.len() == *total {
                        whole.extend(self.begun.take().map(|(_, bytes)| bytes.freeze()));
                    }
                }
                _ => return Err(Nonsense),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in(
            sizes in proptest::collection::vec(0_usize..3000, 0..30),
            chunk_bytes in 256_usize..1500,
        ) {
            let messages: Vec<Bytes> =
                sizes.iter().enumerate().map(|(at, size)| vec![at as u8; *size].into()).collect();
            let mut outbox = Outbox::default();
            messages.iter().for_each(|message| outbox.push(message.clone()));
            let (mut assembly, mut whole) = (Assembly::default(), Vec::new());
            while let Some(pieces) = outbox.pieces(chunk_bytes) {
                prop_assert!(pieces.len() <= chunk_bytes);
                assembly.take(pieces, 3000, &mut whole).unwrap();
            }
            prop_assert_eq!(whole, messages);
            prop_assert_eq!((outbox.len(), outbox.bytes()), (0, 0));
        }

        #[test]
        fn any_pieces_are_taken_or_refused_within_bounds(
            pieces in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let (mut assembly, mut whole) = (Assembly::default(), Vec::new());
            let _ = assembly.take(pieces.into(), 1000, &mut whole);
            prop_assert!(whole.iter().all(|message| message.len() <= 1000));
        }
    }

    #[test]
    fn a_claim_of_more_than_a_message_may_have_is_refused() {
        let mut out = Writer::new();
        Piece::First(1 << 40, Bytes::from_static(b"x")).encode(&mut out);
        assert_eq!(Assembly::default().take(out.finish(), 1000, &mut Vec::new()), Err(Nonsense));
    }
}
