//! The order of one connection: reads behind the session's requests, and requests behind its reads.
//!
//! A read with a place ([`ClientMessage::Read`]'s `after`) shows the state as it stands when the
//! requests in front of it have been answered here, and none that came later. So it is answered
//! together with the last of those requests. By then the state must be fresh enough for it. While
//! it is not (a linearizable read waits for its barrier), what the client sends behind the read is
//! kept back: the state might contain it when the barrier is passed. Invariants:
//!
//! - reads with a place are answered or refused in the order in which they came;
//! - a command is kept back only while a read in front of it is not fresh: what makes a read fresh
//!   never waits for a command of the same connection, so neither waits for the other;
//! - what is kept back counts as under way, against the bounds of requests and reads, and as
//!   deferred, against the bound for all connections.

#[cfg(doc)]
use super::message::ClientMessage;

use super::Gateway;
use super::requests::{Busy, Deferred, Proposed};
use crate::ids::{ConnId, RequestId};
use crate::service::Service;
use alloc::collections::{BTreeSet, VecDeque};

/// The reads of one connection that have a place, and the commands that are kept back behind them.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    /// In the order in which they came.
    reads: VecDeque<PlacedRead>,
    /// Of those, the ones for which the state is not fresh enough yet, by their places in the
    /// server's queue.
    stale: BTreeSet<u64>,
    /// In the order in which they came. Invariant: each is behind a read that is stale.
    commands: VecDeque<KeptBack>,
}

#[derive(Clone, Copy, Debug)]
struct PlacedRead {
    /// Its place in the server's queue.
    place: u64,
    /// It is behind the requests up to this one.
    after: RequestId,
}

/// A command behind a read.
#[derive(Clone, Copy, Debug)]
struct KeptBack {
    command: Deferred,
    bytes: usize,
    /// The last stale read in front of it.
    behind: u64,
}

impl Order {
    /// True if nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        // Commands are behind a read.
        self.reads.is_empty()
    }

    /// The last read for which the state is not fresh enough: commands are kept back behind it.
    pub(super) fn last_stale(&self) -> Option<u64> {
        self.stale.last().copied()
    }

    /// Gives a read its place, behind all that came before.
    pub(super) fn push(&mut self, place: u64, after: RequestId, fresh: bool) {
        self.reads.push_back(PlacedRead { place, after });
        if !fresh {
            self.stale.insert(place);
        }
    }

    /// Notes that the state is fresh enough for a read.
    pub(super) fn freshen(&mut self, place: u64) {
        self.stale.remove(&place);
    }

    /// Removes the read in front.
    ///
    /// # Panics
    /// If that is another.
    pub(super) fn pop(&mut self, place: u64) {
        let first = self.reads.pop_front().map(|read| read.place);
        assert_eq!(first, Some(place), "reads with a place end in their order");
        self.stale.remove(&place);
    }

    /// The read in front, if it is fresh and no request in front of it is under way. `first` is the
    /// first request under way.
    pub(super) fn next_read(&self, first: Option<RequestId>) -> Option<u64> {
        let read = self.reads.front()?;
        let in_turn = first.is_none_or(|first| first > read.after);
        (in_turn && !self.stale.contains(&read.place)).then_some(read.place)
    }

    /// True if a read waits for a request. `first` is the first request under way.
    pub(super) fn waits_for(&self, first: RequestId) -> bool {
        self.reads.iter().any(|read| first <= read.after)
    }

    /// Takes out the next command that no stale read is in front of.
    fn next_command(&mut self) -> Option<(Deferred, usize)> {
        let next = self.commands.front()?;
        if self.stale.first().is_some_and(|stale| *stale <= next.behind) {
            return None;
        }
        self.commands.pop_front().map(|next| (next.command, next.bytes))
    }

    /// The bytes of each command that is kept back.
    pub(super) fn kept_back(&self) -> impl Iterator<Item = usize> {
        self.commands.iter().map(|kept| kept.bytes)
    }

    /// Asserts the invariants. `reads` are the connection's reads that wait.
    pub(super) fn check(&self, reads: &BTreeSet<u64>) {
        assert!(self.reads.iter().is_sorted_by(|a, b| a.place < b.place), "places ascend");
        assert!(
            self.reads.iter().all(|read| reads.contains(&read.place)),
            "what has a place waits"
        );
        let placed: BTreeSet<u64> = self.reads.iter().map(|read| read.place).collect();
        assert!(self.stale.is_subset(&placed), "what is not fresh has a place");
        assert!(
            self.commands.iter().is_sorted_by_key(|kept| kept.behind),
            "commands stay in order"
        );
        let first = self.stale.first();
        let behind = |kept: &KeptBack| first.is_some_and(|first| *first <= kept.behind);
        assert!(self.commands.iter().all(behind), "a command is kept back for a reason");
    }
}

impl Gateway {
    /// Brings a command of a connection into the log, behind the connection's reads.
    pub(super) fn propose_behind(
        &mut self,
        service: &mut Service,
        id: ConnId,
        command: &[u8],
        deferred: Deferred,
        behind: Option<u64>,
    ) -> Result<Proposed, Busy> {
        let Some(behind) = behind else { return self.propose(service, command, deferred) };
        self.make_room(command.len())?;
        let order = &mut self.conns.get_mut(&id).expect("the caller found it").order;
        // To say twice that the session is to be closed says no more.
        if order.commands.back().is_none_or(|last| last.command != deferred) {
            let bytes = command.len();
            order.commands.push_back(KeptBack { command: deferred, bytes, behind });
            self.deferred.keep_back(bytes);
        }
        Ok(Proposed::Deferred)
    }

    /// Answers the reads whose turn has come, and lets the commands go on that were behind them.
    pub(super) fn advance(&mut self, service: &Service, id: ConnId) {
        loop {
            let Some(conn) = self.conns.get_mut(&id) else { return };
            if let Some(place) = conn.order.next_read(conn.requests.first()) {
                let wait = self.take_wait(place);
                self.answer_wait(service, wait);
            } else if let Some((command, bytes)) = conn.order.next_command() {
                self.deferred.let_go(bytes);
                if self.is_wanted(command) {
                    self.deferred.push(command, bytes);
                }
            } else {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn request(number: u64) -> Deferred {
        Deferred::Request { conn: ConnId(1), request: RequestId(number) }
    }

    fn keep(order: &mut Order, number: u64) {
        let behind = *order.stale.last().expect("there is one");
        order.commands.push_back(KeptBack { command: request(number), bytes: 1, behind });
    }

    fn released(order: &mut Order) -> Vec<Deferred> {
        core::iter::from_fn(|| order.next_command()).map(|(command, _)| command).collect()
    }

    #[test]
    fn a_command_waits_for_the_stale_reads_in_front_of_it_and_no_others() {
        let mut order = Order::default();
        order.push(7, RequestId(1), false);
        keep(&mut order, 2);
        order.push(8, RequestId(2), false);
        keep(&mut order, 3);
        order.check(&BTreeSet::from([7, 8]));
        assert_eq!(released(&mut order), []);
        order.freshen(8);
        assert_eq!(released(&mut order), [], "the first is not fresh");
        order.push(9, RequestId(3), false);
        keep(&mut order, 4);
        order.freshen(7);
        assert_eq!(released(&mut order), [request(2), request(3)], "both in front are fresh");
        order.check(&BTreeSet::from([7, 8, 9]));
        order.freshen(9);
        assert_eq!(released(&mut order), [request(4)]);
    }

    #[test]
    fn a_read_is_next_when_it_is_fresh_and_what_is_in_front_of_it_is_answered() {
        let mut order = Order::default();
        order.push(3, RequestId(2), true);
        order.push(4, RequestId(1), true);
        assert_eq!(order.next_read(Some(RequestId(2))), None, "request 2 is under way");
        assert_eq!(order.next_read(Some(RequestId(3))), Some(3));
        order.pop(3);
        assert_eq!(order.next_read(None), Some(4), "in the order in which they came");
        order.pop(4);
        assert_eq!(order.next_read(None), None);
        assert!(order.is_empty());
    }
}
