//! Reads: answered from this server's applied state, once it is recent enough.
//!
//! A linearizable read joins the next barrier, passes it, and waits until what the barrier names is
//! applied. If the primary component is lost meanwhile, the barrier passes in a later epoch or the
//! read is refused after a while; it is never answered from a state that might be old. A local read
//! waits only until the state has what its session saw before. A read may have a place among the
//! requests of its session as well: see `order`. A read is answered after the events of everything
//! that it reflects, because both go out over one connection in the order of application.

use super::Gateway;
use super::events::WatchRequest;
use super::message::{Consistency, ReadWatch, Refusal, ServerMessage};
use crate::ids::{ConnId, Index, RequestId, Revision};
use crate::service::{BarrierId, Service};
use crate::state::ReadQuery;
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

/// A read as its client asks for it.
#[derive(Clone, Debug)]
pub(super) struct ReadRequest {
    pub(super) read: u64,
    pub(super) consistency: Consistency,
    pub(super) after: Option<RequestId>,
    pub(super) watch: Option<Box<ReadWatch>>,
    pub(super) query: ReadQuery,
}

impl ReadRequest {
    /// A read without a place and without a watch.
    pub(super) const fn plain(read: u64, consistency: Consistency, query: ReadQuery) -> Self {
        Self { read, consistency, after: None, watch: None, query }
    }
}

/// A read that waits.
#[derive(Clone, Debug)]
pub(super) struct Wait {
    pub(super) conn: ConnId,
    request: ReadRequest,
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
    /// The state is fresh enough: for its place in the session's order.
    Turn,
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
            Stage::Barrier | Stage::Turn => {}
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

    /// The state is fresh enough for a read. Returns its connection if it waits for its place in
    /// the session's order.
    fn freshen(&mut self, place: u64) -> Option<ConnId> {
        let wait = self.waits.get_mut(&place).expect("the caller just saw it");
        wait.request.after?;
        match core::mem::replace(&mut wait.stage, Stage::Turn) {
            Stage::Index(index) => self.by_index.remove(&(index, place)),
            Stage::Floor(revision) => self.by_floor.remove(&(revision, place)),
            Stage::Barrier | Stage::Turn => unreachable!("it waited for the state"),
        };
        Some(wait.conn)
    }

    /// A read sets no watch, though its client had asked for one.
    pub(super) fn forget_watch(&mut self, place: u64) {
        if let Some(wait) = self.waits.get_mut(&place) {
            wait.request.watch = None;
        }
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

const READS_GO_WITH_IT: &str = "the reads of a connection go with it";

impl Gateway {
    pub(super) fn on_read(&mut self, service: &mut Service, id: ConnId, request: ReadRequest) {
        let read = request.read;
        if let Some(watch) = &request.watch
            && let Err(reason) = self.admit_watch(id, watch.watch, &watch.filter)
        {
            return self.refuse_read(id, read, reason);
        }
        let conn = &self.conns[&id];
        let stage = match request.consistency {
            Consistency::Linearizable => Stage::Barrier,
            Consistency::Local if conn.floor <= service.revision() => Stage::Turn,
            Consistency::Local => Stage::Floor(conn.floor),
        };
        if stage == Stage::Turn && request.after.is_none_or(|after| conn.is_in_turn(after)) {
            return self.answer_read(service, id, request);
        }
        if conn.reads.len() >= self.limits.reads_per_conn_max {
            return self.refuse_read(id, read, Refusal::TooManyReads);
        }
        self.enqueue_read(service, id, request, stage);
    }

    fn enqueue_read(
        &mut self,
        service: &mut Service,
        id: ConnId,
        request: ReadRequest,
        stage: Stage,
    ) {
        let (after, watch) = (request.after, request.watch.as_ref().map(|watch| watch.watch));
        let deadline = self.now + self.limits.read_wait_max;
        let place = self.reads.push(Wait { conn: id, request, stage, deadline });
        if stage == Stage::Barrier {
            let barrier = service.read_barrier();
            self.reads.barriers.push_back((barrier, place));
        }
        let conn = self.conns.get_mut(&id).expect("the caller found it");
        conn.reads.insert(place);
        if let Some(after) = after {
            conn.order.push(place, after, stage == Stage::Turn);
        }
        if let Some(watch) = watch {
            conn.promised.insert(watch, place);
        }
    }

    /// Answers a read that waited.
    pub(super) fn answer_wait(&mut self, service: &Service, wait: Wait) {
        self.answer_read(service, wait.conn, wait.request);
    }

    /// Answers a read from the state, and sets its watch where the result stands.
    fn answer_read(&mut self, service: &Service, id: ConnId, request: ReadRequest) {
        let ReadRequest { read, query, watch, .. } = request;
        let result = service.read(&query);
        let revision = service.revision();
        let reply = ServerMessage::ReadReply { read, revision, result };
        let Some(conn) = self.conns.get(&id) else { return };
        if !conn.has_room(reply.weight(), self.limits.unsent_bytes_max) {
            return self.refuse_read(id, read, Refusal::Busy);
        }
        if let Some(watch) = watch {
            let ReadWatch { watch, filter, mask, once } = *watch;
            self.set_watch(id, revision, WatchRequest { watch, filter, mask, once, from: None });
        }
        self.send(id, reply);
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
            if let Some(id) = self.reads.freshen(place) {
                self.conns.get_mut(&id).expect(READS_GO_WITH_IT).order.freshen(place);
                self.advance(service, id);
            } else {
                let wait = self.take_wait(place);
                self.answer_wait(service, wait);
            }
        }
    }

    /// Refuses the reads that waited for as long as they may.
    pub(super) fn refuse_overdue_reads(&mut self, service: &Service) {
        while let Some(place) = self.reads.next_overdue(self.now) {
            let wait = self.take_wait(place);
            self.refuse_read(wait.conn, wait.request.read, Refusal::NotPrimary);
            if wait.request.after.is_some() {
                self.advance(service, wait.conn);
            }
        }
    }

    pub(super) fn take_wait(&mut self, place: u64) -> Wait {
        let wait = self.reads.remove(place).expect("the caller just saw it");
        let conn = self.conns.get_mut(&wait.conn).expect(READS_GO_WITH_IT);
        conn.reads.remove(&place);
        if wait.request.after.is_some() {
            conn.order.pop(place);
        }
        if let Some(watch) = &wait.request.watch {
            conn.promised.remove(&watch.watch);
        }
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
        let consistency = Consistency::Local;
        let request = ReadRequest::plain(read, consistency, query);
        queue.push(Wait { conn: ConnId(1), request, stage, deadline })
    }

    #[test]
    fn a_read_is_ready_when_its_barrier_is_passed_and_what_it_names_is_applied() {
        let mut queue = ReadQueue::default();
        for read in 0..4 {
            let place = push(&mut queue, read, Stage::Barrier);
            queue.barriers.push_back((BarrierId(1 + read / 2), place));
        }
        assert_eq!(queue.remove(1).map(|wait| wait.request.read), Some(1), "its client is gone");
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
            gone.extend(queue.remove(place).map(|wait| wait.request.read));
        }
        assert_eq!(gone, [0, 1]);
        assert_eq!(queue.next_deadline(), Some(Instant::from_nanos(102)));
        assert!(queue.barriers.is_empty(), "nothing names a read that is gone");
        queue.check();
    }
}
