//! Reads: answered from this server's applied state, once it is recent enough.
//!
//! A linearizable read joins the next barrier, passes it, and waits until what the barrier names is
//! applied. If the primary component is lost meanwhile, the barrier passes in a later epoch or the
//! read is refused after a while; it is never answered from a state that might be old. A local read
//! waits only until the state has what its session saw before. A read is answered after the events
//! of everything that it reflects, because both go out over one connection in the order of
//! application.

use super::Gateway;
use super::message::{Consistency, Refusal, ServerMessage};
use crate::ids::{ConnId, Index, Revision};
use crate::service::{BarrierId, Service};
use crate::state::ReadQuery;
use crate::time::Instant;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

/// A read that waits.
#[derive(Clone, Debug)]
pub(super) struct Wait {
    pub(super) conn: ConnId,
    pub(super) read: u64,
    pub(super) query: ReadQuery,
    stage: Stage,
    deadline: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// For its barrier.
    Barrier,
    /// For the entry to be applied.
    Index(Index),
    /// For the revision to be reached.
    Floor(Revision),
}

/// All reads that wait, by their place in the queue: places ascend, and deadlines with them.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadQueue {
    next: u64,
    waits: BTreeMap<u64, Wait>,
    /// In order of both. May name reads that no longer wait.
    barriers: VecDeque<(BarrierId, u64)>,
    /// Invariant: exactly the reads of that stage.
    by_index: BTreeSet<(Index, u64)>,
    /// Invariant: exactly the reads of that stage.
    by_floor: BTreeSet<(Revision, u64)>,
}

impl ReadQueue {
    pub(super) fn len(&self) -> usize {
        self.waits.len()
    }

    fn push(&mut self, wait: Wait) -> u64 {
        let place = self.next;
        self.next += 1;
        if let Stage::Floor(revision) = wait.stage {
            self.by_floor.insert((revision, place));
        }
        self.waits.insert(place, wait);
        place
    }

    /// Takes a read out of the queue.
    pub(super) fn remove(&mut self, place: u64) -> Option<Wait> {
        let wait = self.waits.remove(&place)?;
        match wait.stage {
            Stage::Barrier => {}
            Stage::Index(index) => {
                self.by_index.remove(&(index, place));
            }
            Stage::Floor(revision) => {
                self.by_floor.remove(&(revision, place));
            }
        }
        while self.barriers.front().is_some_and(|(_, place)| !self.waits.contains_key(place)) {
            self.barriers.pop_front();
        }
        Some(wait)
    }

    fn on_barrier_done(&mut self, up_to: BarrierId, index: Index) {
        while let Some((barrier, place)) = self.barriers.front().copied() {
            if barrier > up_to {
                break;
            }
            self.barriers.pop_front();
            if let Some(wait) = self.waits.get_mut(&place) {
                wait.stage = Stage::Index(index);
                self.by_index.insert((index, place));
            }
        }
    }

    /// The next read for which the state is recent enough.
    fn next_ready(&self, applied: Index, revision: Revision) -> Option<u64> {
        let by_index = self.by_index.first().filter(|(index, _)| *index <= applied);
        let by_floor = self.by_floor.first().filter(|(floor, _)| *floor <= revision);
        by_index.map(|(_, place)| *place).or(by_floor.map(|(_, place)| *place))
    }

    fn next_overdue(&self, now: Instant) -> Option<u64> {
        let (place, wait) = self.waits.first_key_value()?;
        (wait.deadline <= now).then_some(*place)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waits.first_key_value().map(|(_, wait)| wait.deadline)
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        let stage = |of: fn(&Stage) -> bool| self.waits.values().filter(|w| of(&w.stage)).count();
        assert_eq!(stage(|stage| matches!(stage, Stage::Index(_))), self.by_index.len());
        assert_eq!(stage(|stage| matches!(stage, Stage::Floor(_))), self.by_floor.len());
        let waiting = |(_, place): &&(BarrierId, u64)| self.waits.contains_key(place);
        let barriers = self.barriers.iter().filter(waiting).count();
        assert_eq!(stage(|stage| matches!(stage, Stage::Barrier)), barriers);
        let deadlines: Vec<Instant> = self.waits.values().map(|wait| wait.deadline).collect();
        assert!(deadlines.is_sorted(), "who came first gives up first");
    }
}

impl Gateway {
    pub(super) fn on_read(
        &mut self,
        service: &mut Service,
        id: ConnId,
        read: u64,
        consistency: Consistency,
        query: ReadQuery,
    ) {
        let conn = &self.conns[&id];
        let stage = match consistency {
            Consistency::Linearizable => Stage::Barrier,
            Consistency::Local if conn.floor <= service.revision() => {
                return self.answer_read(service, id, read, &query);
            }
            Consistency::Local => Stage::Floor(conn.floor),
        };
        if conn.reads.len() >= self.limits.reads_per_conn_max {
            return self.refuse_read(id, read, Refusal::TooManyReads);
        }
        let deadline = self.now + self.limits.read_wait_max;
        let place = self.reads.push(Wait { conn: id, read, query, stage, deadline });
        if stage == Stage::Barrier {
            let barrier = service.read_barrier();
            self.reads.barriers.push_back((barrier, place));
        }
        self.conns.get_mut(&id).expect("just seen").reads.insert(place);
    }

    fn answer_read(&mut self, service: &Service, id: ConnId, read: u64, query: &ReadQuery) {
        let result = service.read(query);
        let revision = service.revision();
        let reply = ServerMessage::ReadReply { read, revision, result };
        let Some(conn) = self.conns.get(&id) else { return };
        if conn.has_room(reply.weight(), self.limits.unsent_bytes_max) {
            self.send(id, reply);
        } else {
            self.refuse_read(id, read, Refusal::Busy);
        }
    }

    fn refuse_read(&mut self, id: ConnId, read: u64, reason: Refusal) {
        self.count_refusal(reason);
        self.send(id, ServerMessage::ReadRefused { read, reason });
    }

    pub(super) fn on_barrier_done(&mut self, service: &Service, up_to: BarrierId, index: Index) {
        self.reads.on_barrier_done(up_to, index);
        self.answer_ready_reads(service);
    }

    /// Answers every read for which the state is recent enough.
    pub(super) fn answer_ready_reads(&mut self, service: &Service) {
        while let Some(place) = self.reads.next_ready(service.applied(), service.revision()) {
            let wait = self.take_wait(place);
            self.answer_read(service, wait.conn, wait.read, &wait.query);
        }
    }

    /// Refuses the reads that waited for as long as they may.
    pub(super) fn refuse_overdue_reads(&mut self) {
        while let Some(place) = self.reads.next_overdue(self.now) {
            let wait = self.take_wait(place);
            self.refuse_read(wait.conn, wait.read, Refusal::NotPrimary);
        }
    }

    fn take_wait(&mut self, place: u64) -> Wait {
        let wait = self.reads.remove(place).expect("the caller just saw it");
        let conn = self.conns.get_mut(&wait.conn).expect("the reads of a connection go with it");
        conn.reads.remove(&place);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SessionId;
    use std::vec;

    fn push(queue: &mut ReadQueue, read: u64, stage: Stage) -> u64 {
        let query = ReadQuery::Session { session: SessionId(1) };
        let deadline = Instant::from_nanos(100 + read);
        queue.push(Wait { conn: ConnId(1), read, query, stage, deadline })
    }

    #[test]
    fn a_read_is_ready_when_its_barrier_is_passed_and_what_it_names_is_applied() {
        let mut queue = ReadQueue::default();
        for read in 0..4 {
            let place = push(&mut queue, read, Stage::Barrier);
            queue.barriers.push_back((BarrierId(1 + read / 2), place));
        }
        assert_eq!(queue.remove(1).map(|wait| wait.read), Some(1), "its client is gone");
        queue.on_barrier_done(BarrierId(1), Index(7));
        queue.check();
        assert_eq!(queue.next_ready(Index(6), Revision(99)), None, "passed, but not applied");
        assert_eq!(queue.next_ready(Index(7), Revision(0)), Some(0));
        queue.remove(0);
        assert_eq!(queue.next_ready(Index(99), Revision(99)), None, "applied, but not passed");
        queue.on_barrier_done(BarrierId(2), Index(8));
        assert_eq!(queue.next_ready(Index(8), Revision(0)), Some(2));
        queue.check();
    }

    #[test]
    fn reads_give_up_in_the_order_they_came_whatever_they_wait_for() {
        let mut queue = ReadQueue::default();
        push(&mut queue, 0, Stage::Floor(Revision(5)));
        let place = push(&mut queue, 1, Stage::Barrier);
        queue.barriers.push_back((BarrierId(1), place));
        push(&mut queue, 2, Stage::Floor(Revision(3)));
        assert_eq!(queue.next_ready(Index(0), Revision(4)), Some(2));
        let mut gone = vec![];
        while let Some(place) = queue.next_overdue(Instant::from_nanos(101)) {
            gone.extend(queue.remove(place).map(|wait| wait.read));
        }
        assert_eq!(gone, [0, 1]);
        assert_eq!(queue.next_deadline(), Some(Instant::from_nanos(102)));
        assert!(queue.barriers.is_empty(), "nothing names a read that is gone");
        queue.check();
    }
}
