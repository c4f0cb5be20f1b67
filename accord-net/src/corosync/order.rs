//! The order of one view: numbers, what is held back, what is taken.
//!
//! Corosync delivers, at a change of its ring, also what lies beyond a message that no member there
//! has any more, and does not say where that part begins. So a chunk is *taken* only when a member
//! has told, in a message delivered here and in the same view, that the chunk had been delivered to
//! it: what is delivered beyond a hole was sent by members that have the same hole, so they can
//! have told only of what lies before it. Positions up to the largest number told are therefore a
//! prefix of the view's one order; the rest is dropped when the view ends.
//!
//! Invariants: `taken <= confirmed <= delivered`; `held` has exactly the chunks at positions
//! `taken + 1 ..= delivered`, or is empty once the order is closed.

use super::message::{Address, Chunk, Seen};
use super::pack::{Assembly, Nonsense};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// A view's order, as far as it came here.
#[derive(Debug)]
pub(super) struct Order {
    salt: u64,
    members: BTreeMap<Address, Member>,
    delivered: u64,
    confirmed: u64,
    taken: u64,
    held: VecDeque<(Address, Bytes)>,
    held_bytes: usize,
    /// Nothing is taken any more: the view has ended, or something is missing.
    closed: bool,
}

#[derive(Debug, Default)]
struct Member {
    /// Of its last chunk.
    number: u64,
    assembly: Assembly,
    /// How many own signs of life came back since it was heard.
    quiet: u64,
}

/// Why nothing more can be taken in this view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A chunk of its sender is missing before it.
    Hole,
    /// Its sender was delivered chunks that did not come here.
    Behind,
    /// More waits to be told of than its senders may have under way.
    TooMuch,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It belongs to the order.
    InOrder,
    /// It comes after the order's end.
    Late,
    /// Its sender is no member.
    Outsider,
}

impl Order {
    pub(super) fn new(salt: u64, members: impl Iterator<Item = Address>) -> Self {
        Self {
            salt,
            members: members.map(|address| (address, Member::default())).collect(),
            delivered: 0,
            confirmed: 0,
            taken: 0,
            held: VecDeque::new(),
            held_bytes: 0,
            closed: false,
        }
    }

    pub(super) const fn salt(&self) -> u64 {
        self.salt
    }

    pub(super) const fn taken(&self) -> u64 {
        self.taken
    }

    pub(super) const fn delivered(&self) -> u64 {
        self.delivered
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// True if no message has confirmed the last delivered chunk.
    pub(super) const fn is_unconfirmed(&self) -> bool {
        !self.closed && self.confirmed < self.delivered
    }

    /// Who sent the last chunk that waits.
    pub(super) fn last_from(&self) -> Option<Address> {
        self.held.back().map(|(from, _)| *from)
    }

    /// Ends the order: what was not taken by now is dropped.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.held.clear();
        self.held_bytes = 0;
    }

    pub(super) fn on_chunk(
        &mut self,
        from: Address,
        chunk: Chunk,
        held_bytes_max: usize,
    ) -> Result<Taken, Fault> {
        let Some(member) = self.members.get_mut(&from) else { return Ok(Taken::Outsider) };
        if self.closed {
            return Ok(Taken::Late);
        }
        member.quiet = 0;
        if chunk.number != member.number + 1 {
            return Err(Fault::Hole);
        }
        if chunk.seen > self.delivered {
            return Err(Fault::Behind);
        }
        if self.held_bytes + chunk.pieces.len() > held_bytes_max {
            return Err(Fault::TooMuch);
        }
        member.number += 1;
        self.delivered += 1;
        self.confirmed = self.confirmed.max(chunk.seen);
        self.held_bytes += chunk.pieces.len();
        self.held.push_back((from, chunk.pieces));
        self.check();
        Ok(Taken::InOrder)
    }

    pub(super) fn on_seen(&mut self, from: Address, seen: Seen) -> Result<Taken, Fault> {
        let Some(member) = self.members.get_mut(&from) else { return Ok(Taken::Outsider) };
        if self.closed {
            return Ok(Taken::Late);
        }
        member.quiet = 0;
        if seen.seen > self.delivered {
            return Err(Fault::Behind);
        }
        self.confirmed = self.confirmed.max(seen.seen);
        Ok(Taken::InOrder)
    }

    /// The next chunk that is surely in the order: its sender, and its messages that are whole.
    pub(super) fn take(
        &mut self,
        message_bytes_max: usize,
        whole: &mut Vec<Bytes>,
    ) -> Option<(Address, Result<(), Nonsense>)> {
        if self.closed || self.taken == self.confirmed {
            return None;
        }
        let (from, pieces) = self.held.pop_front()?;
        self.held_bytes -= pieces.len();
        self.taken += 1;
        let member = self.members.get_mut(&from)?;
        Some((from, member.assembly.take(pieces, message_bytes_max, whole)))
    }

    /// An own sign of life came back. Returns the members not heard for `beats_max` of them.
    pub(super) fn on_own_beat(&mut self, own: Address, beats_max: u64) -> Vec<Address> {
        let mut silent = Vec::new();
        for (address, member) in &mut self.members {
            member.quiet += u64::from(*address != own);
            if member.quiet >= beats_max {
                silent.push(*address);
            }
        }
        silent
    }

    fn check(&self) {
        assert!(self.taken <= self.confirmed && self.confirmed <= self.delivered);
        assert_eq!(self.held.len() as u64, self.delivered - self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corosync::message::Piece;
    use accord_core::wire::{Encode, Writer};

    const A: Address = Address { node: 1, pid: 1 };
    const B: Address = Address { node: 2, pid: 2 };
    const MAX: usize = 10_000;

    fn chunk(number: u64, seen: u64, text: &'static str) -> Chunk {
        let mut out = Writer::new();
        Piece::Whole(Bytes::from_static(text.as_bytes())).encode(&mut out);
        Chunk { view: 9, number, seen, pieces: out.finish() }
    }

    fn taken(order: &mut Order) -> Vec<Bytes> {
        let mut whole = Vec::new();
        while order.take(MAX, &mut whole).is_some() {}
        whole
    }

    #[test]
    fn a_chunk_is_held_back_until_somebody_tells_that_it_was_delivered_to_him() {
        let mut order = Order::new(9, [A, B].into_iter());
        assert_eq!(order.on_chunk(A, chunk(1, 0, "a1"), MAX), Ok(Taken::InOrder));
        assert_eq!(order.on_chunk(A, chunk(2, 0, "a2"), MAX), Ok(Taken::InOrder));
        assert!(taken(&mut order).is_empty() && order.is_unconfirmed());
        assert_eq!(order.on_chunk(B, chunk(1, 1, "b1"), MAX), Ok(Taken::InOrder));
        assert_eq!(taken(&mut order), ["a1"]);
        assert_eq!(order.on_seen(A, Seen { view: 9, seen: 3 }), Ok(Taken::InOrder));
        assert_eq!(taken(&mut order), ["a2", "b1"]);
        assert!(!order.is_unconfirmed());
    }

    #[test]
    fn what_lies_beyond_a_hole_is_never_taken() {
        // The order was a1 b1 a2, and b1 is lost to A: in its part, A may tell of a1 alone.
        let mut order = Order::new(9, [A, B].into_iter());
        order.on_chunk(A, chunk(1, 0, "a1"), MAX).unwrap();
        order.on_chunk(A, chunk(2, 1, "a2"), MAX).unwrap();
        assert_eq!(taken(&mut order), ["a1"]);
        order.close();
        assert_eq!((taken(&mut order).len(), order.taken(), order.held()), (0, 1, 0));
        assert_eq!(order.on_seen(A, Seen { view: 9, seen: 2 }), Ok(Taken::Late));
    }

    #[test]
    fn missing_chunks_are_noticed() {
        let mut order = Order::new(9, [A, B].into_iter());
        order.on_chunk(A, chunk(1, 0, "a1"), MAX).unwrap();
        assert_eq!(order.on_chunk(A, chunk(3, 0, "a3"), MAX), Err(Fault::Hole));
        assert_eq!(order.on_chunk(B, chunk(1, 2, "b1"), MAX), Err(Fault::Behind));
        assert_eq!(order.on_seen(B, Seen { view: 9, seen: 2 }), Err(Fault::Behind));
        assert_eq!(order.on_chunk(A, chunk(2, 0, "a2"), 5), Err(Fault::TooMuch));
        let stranger = Address { node: 1, pid: 7 };
        assert_eq!(order.on_chunk(stranger, chunk(1, 0, "x"), MAX), Ok(Taken::Outsider));
    }

    #[test]
    fn silence_counts_by_own_signs_of_life() {
        let mut order = Order::new(9, [A, B].into_iter());
        assert!(order.on_own_beat(A, 3).is_empty() && order.on_own_beat(A, 3).is_empty());
        order.on_seen(B, Seen { view: 9, seen: 0 }).unwrap();
        assert!(order.on_own_beat(A, 3).is_empty() && order.on_own_beat(A, 3).is_empty());
        assert_eq!(order.on_own_beat(A, 3), [B]);
    }
}
