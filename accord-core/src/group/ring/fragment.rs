//! Messages into datagrams and back: many small ones in one, large ones in fragments.
//!
//! The body of a data datagram is a row of chunks, each a 32-bit header (length, and whether the
//! chunk begins and ends its message) and the bytes. A first fragment that is not the last is
//! preceded by the message's length. A message is kept whole if it fits into a datagram at all.
//! Nothing is carried over from one ring to the next: receivers forget fragments, and the sender
//! starts the message again. This is safe: a message whose last fragment was never sent cannot have
//! been delivered.

use crate::group::SubmitError;
use crate::group::ring::config::RingLimits;
use crate::group::ring::packet::{DATA_OVERHEAD_BYTES, FRAGMENT_HEADER_BYTES};
use crate::ids::NodeId;
use crate::wire::{Reader, WireError, Writer};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;

const FIRST: u32 = 1 << 31;
const LAST: u32 = 1 << 30;
const LENGTH_MASK: u32 = LAST - 1;
const CHUNK_HEADER_BYTES: usize = 4;

/// Messages submitted and not yet sent.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    limits: RingLimits,
    /// Invariant: at most `pending_messages_max` of at most `pending_bytes_max` bytes in all.
    queue: VecDeque<Bytes>,
    bytes: usize,
    /// How much of the front message was sent in fragments. Invariant: less than its length.
    front_sent_bytes: usize,
}

impl Outbox {
    pub(super) const fn new(limits: RingLimits) -> Self {
        Self { limits, queue: VecDeque::new(), bytes: 0, front_sent_bytes: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn push(&mut self, payload: Bytes) -> Result<(), SubmitError> {
        let (bytes, bytes_max) = (payload.len(), self.limits.message_bytes_max);
        if bytes > bytes_max {
            return Err(SubmitError::TooLarge { bytes, bytes_max });
        }
        let full = self.queue.len() >= self.limits.pending_messages_max;
        if full || self.bytes + bytes > self.limits.pending_bytes_max {
            return Err(SubmitError::Full);
        }
        self.bytes += bytes;
        self.queue.push_back(payload);
        Ok(())
    }

    /// Takes the front message whole: a ring of one needs no datagrams.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let payload = self.queue.pop_front()?;
        self.bytes -= payload.len();
        self.front_sent_bytes = 0;
        Some(payload)
    }

    /// Starts the message again that was being sent in fragments.
    pub(super) const fn rewind(&mut self) {
        self.front_sent_bytes = 0;
    }

    /// Bytes of chunks that a datagram holds.
    const fn body_bytes_max(&self) -> usize {
        self.limits.datagram_bytes_max - DATA_OVERHEAD_BYTES
    }

    /// How much room the next datagram needs.
    pub(super) fn next_datagram_bytes(&self) -> usize {
        let max = self.limits.datagram_bytes_max;
        (self.bytes + self.queue.len() * CHUNK_HEADER_BYTES + DATA_OVERHEAD_BYTES).min(max)
    }

    /// Moves messages, or a part of one, into the body of a datagram.
    pub(super) fn pack(&mut self, out: &mut Writer) {
        let start = out.len();
        while let Some(front) = self.queue.front() {
            let room = self.body_bytes_max() - (out.len() - start);
            let whole_bytes = CHUNK_HEADER_BYTES + front.len();
            if self.front_sent_bytes == 0 && whole_bytes <= room {
                out.u32(FIRST | LAST | front.len() as u32);
                out.raw(front);
                self.pop();
                continue;
            }
            // What fits into a datagram of its own is not fragmented, so that it is delivered as a
            // slice of that datagram.
            let fits_alone = self.front_sent_bytes == 0 && whole_bytes <= self.body_bytes_max();
            if fits_alone || room <= FRAGMENT_HEADER_BYTES {
                return;
            }
            self.pack_fragment(room, out);
        }
    }

    fn pack_fragment(&mut self, room: usize, out: &mut Writer) {
        let front = &self.queue[0];
        let from = self.front_sent_bytes;
        let length = (room - FRAGMENT_HEADER_BYTES).min(front.len() - from);
        let first = if from == 0 { FIRST } else { 0 };
        let last = if from + length == front.len() { LAST } else { 0 };
        out.u32(first | last | length as u32);
        if first != 0 {
            out.u64(front.len() as u64);
        }
        out.raw(&front[from..from + length]);
        self.front_sent_bytes = from + length;
        if last != 0 {
            self.pop();
        }
    }

    pub(super) fn check(&self) {
        assert!(self.queue.len() <= self.limits.pending_messages_max);
        assert!(self.bytes <= self.limits.pending_bytes_max);
        let front_bytes = self.queue.front().map_or(0, Bytes::len);
        assert!(self.front_sent_bytes == 0 || self.front_sent_bytes < front_bytes);
    }
}

/// A message of which some fragments are still to come.
#[derive(Clone, Debug)]
struct Partial {
    bytes: usize,
    missing_bytes: usize,
    /// Invariant: none is empty, so there are at most as many as bytes.
    parts: Vec<Bytes>,
}

/// Puts the fragments of each member's messages together.
#[derive(Clone, Debug)]
pub(super) struct Reassembly {
    message_bytes_max: usize,
    /// Invariant: one of at most `message_bytes_max` bytes for each member of the ring at most.
    partials: BTreeMap<NodeId, Partial>,
}

impl Reassembly {
    pub(super) const fn new(message_bytes_max: usize) -> Self {
        Self { message_bytes_max, partials: BTreeMap::new() }
    }

    /// Forgets all that is incomplete.
    pub(super) fn clear(&mut self) {
        self.partials.clear();
    }

    /// Hands each message that `body` completes to `deliver`.
    ///
    /// # Errors
    /// A [`WireError`] if a member made nonsense. The rest of the body is skipped, and what `from`
    /// had begun is forgotten, alike at all members.
    pub(super) fn unpack(
        &mut self,
        from: NodeId,
        body: Bytes,
        mut deliver: impl FnMut(Bytes),
    ) -> Result<(), WireError> {
        let mut input = Reader::new(body);
        while input.remaining() > 0 {
            match self.unpack_chunk(from, &mut input) {
                Ok(Some(message)) => deliver(message),
                Ok(None) => {}
                Err(error) => {
                    self.partials.remove(&from);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn unpack_chunk(
        &mut self,
        from: NodeId,
        input: &mut Reader,
    ) -> Result<Option<Bytes>, WireError> {
        let header = input.u32()?;
        let length = (header & LENGTH_MASK) as usize;
        let (first, last) = (header & FIRST != 0, header & LAST != 0);
        if first && last {
            self.partials.remove(&from);
            return Ok(Some(input.raw(length)?));
        }
        if first {
            let found = input.u64()?;
            let max = self.message_bytes_max as u64;
            if found > max {
                return Err(WireError::OverLimit { what: "message", found, max });
            }
            let bytes = found as usize;
            let partial = Partial { bytes, missing_bytes: bytes, parts: Vec::new() };
            self.partials.insert(from, partial);
        }
        let part = input.raw(length)?;
        let partial =
            self.partials.get_mut(&from).ok_or(WireError::Invalid { what: "fragment" })?;
        let fits = partial.missing_bytes.checked_sub(length);
        let left = fits.filter(|left| length > 0 && (*left == 0) == last);
        partial.missing_bytes = left.ok_or(WireError::Invalid { what: "fragment" })?;
        partial.parts.push(part);
        Ok(if last { self.partials.remove(&from).map(Partial::join) } else { None })
    }

    pub(super) fn check(&self, is_member: impl Fn(NodeId) -> bool) {
        for (from, partial) in &self.partials {
            assert!(is_member(*from), "a fragment of one who is not in the ring");
            assert!(partial.bytes <= self.message_bytes_max);
            let have: usize = partial.parts.iter().map(Bytes::len).sum();
            assert_eq!(have + partial.missing_bytes, partial.bytes);
        }
    }
}

impl Partial {
    fn join(self) -> Bytes {
        let mut message = Vec::with_capacity(self.bytes);
        for part in &self.parts {
            message.extend_from_slice(part);
        }
        Bytes::from(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    const FROM: NodeId = NodeId(1);

    fn limits(datagram_bytes_max: usize) -> RingLimits {
        RingLimits { datagram_bytes_max, message_bytes_max: 4096, ..RingLimits::default() }
    }

    fn bodies(outbox: &mut Outbox) -> Vec<Bytes> {
        let mut bodies = Vec::new();
        while !outbox.is_empty() {
            let mut out = Writer::new();
            outbox.pack(&mut out);
            assert!(out.len() <= outbox.body_bytes_max() && !out.is_empty());
            outbox.check();
            bodies.push(out.finish());
        }
        bodies
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(
            room in 4 * FRAGMENT_HEADER_BYTES + 1..2000,
            sizes in proptest::collection::vec(0usize..4096, 0..20),
        ) {
            let mut outbox = Outbox::new(limits(DATA_OVERHEAD_BYTES + room));
            let messages: Vec<Bytes> = sizes.iter().enumerate()
                .map(|(at, size)| Bytes::from(vec![at as u8; *size])).collect();
            for message in &messages {
                prop_assert_eq!(outbox.push(message.clone()), Ok(()));
            }
            let mut reassembly = Reassembly::new(4096);
            let mut got = Vec::new();
            for body in bodies(&mut outbox) {
                prop_assert_eq!(reassembly.unpack(FROM, body, |m| got.push(m)), Ok(()));
                reassembly.check(|_| true);
            }
            prop_assert_eq!(got, messages);
        }

        #[test]
        fn nonsense_is_refused_without_harm(
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut reassembly = Reassembly::new(4096);
            let _ = reassembly.unpack(FROM, Bytes::from(bytes), |_| {});
            reassembly.check(|_| true);
        }
    }

    #[test]
    fn a_message_that_fits_a_datagram_is_a_slice_of_it() {
        let mut outbox = Outbox::new(limits(DATA_OVERHEAD_BYTES + 104));
        outbox.push(Bytes::from(vec![1; 60])).unwrap();
        outbox.push(Bytes::from(vec![2; 100])).unwrap();
        let bodies = bodies(&mut outbox);
        assert_eq!(bodies.len(), 2);
        let body = bodies[1].clone();
        let within = body.as_ptr_range();
        let mut reassembly = Reassembly::new(4096);
        let check = |message: Bytes| assert!(within.contains(&message.as_ptr()));
        assert_eq!(reassembly.unpack(FROM, body.clone(), check), Ok(()));
    }

    #[test]
    fn a_message_begun_again_replaces_its_beginning() {
        let mut outbox = Outbox::new(limits(DATA_OVERHEAD_BYTES + 100));
        outbox.push(Bytes::from(vec![1; 300])).unwrap();
        let mut first = Writer::new();
        outbox.pack(&mut first);
        outbox.rewind();
        let mut reassembly = Reassembly::new(4096);
        let mut got = Vec::new();
        reassembly.unpack(FROM, first.finish(), |m| got.push(m)).unwrap();
        for body in bodies(&mut outbox) {
            reassembly.unpack(FROM, body, |m| got.push(m)).unwrap();
        }
        assert_eq!(got, [Bytes::from(vec![1; 300])]);
    }

    #[test]
    fn the_bounds_are_kept() {
        let limits = RingLimits { pending_messages_max: 2, ..limits(1000) };
        let mut outbox = Outbox::new(limits);
        let too_large = SubmitError::TooLarge { bytes: 4097, bytes_max: 4096 };
        assert_eq!(outbox.push(Bytes::from(vec![0; 4097])), Err(too_large));
        outbox.push(Bytes::new()).unwrap();
        outbox.push(Bytes::new()).unwrap();
        assert_eq!(outbox.push(Bytes::new()), Err(SubmitError::Full));
        outbox.pop();
        assert_eq!(outbox.push(Bytes::new()), Ok(()));
    }
}
