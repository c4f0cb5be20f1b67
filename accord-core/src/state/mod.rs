//! What is replicated: a store of records, a tree of znodes, the sessions, and what they may do
//! with them.
//!
//! The [`State`] is a deterministic function of the commands applied: no clock, no connection, no
//! randomness, no iteration in hash order. What is here is the same for every kind of object: the
//! sessions, exactly-once, the revision, the digest and the framing of snapshots. Read in this
//! order: [`command`] (what the order carries), [`outcome`] and [`event`] (what comes of it),
//! [`read`] (questions outside the order), [`session`] and [`snapshot`] for how. The objects are
//! folders: [`kv`], the ordered store of records and its transactions, and [`tree`], ZooKeeper's
//! znodes.
//!
//! # Revisions
//!
//! The revision grows by one with each command that changes what can be watched: a transaction that
//! commits and ran at least one write, delete, copy or increment (whether or not bytes differ after
//! it), an operation on the tree that changed something, an opening, an end of a session, and a
//! command that reaped a znode. All changes of a command share its revision. It stays
//! with a command that is refused or a duplicate, with a transaction that aborts or only reads,
//! with an attachment, and with an epoch's marker. A session's id is the revision of its opening,
//! and a lock's fencing token is the revision that created its key.

pub mod command;
mod compact;
mod digest;
pub mod event;
mod invariant;
mod kind;
pub mod kv;
mod map;
pub mod op;
pub mod outcome;
pub mod read;
mod renewal;
pub mod session;
pub mod snapshot;
pub mod tree;

pub use command::{Command, encode_request};
pub use event::{
    AttachError, Completion, EndCause, Event, MemberEvent, MemberEventKind, NoSession,
};
pub use kv::{
    Branch, Compare, Flags, KeyEvent, KeyEventKind, ListEntry, ListQuery, Page, Range, Relation,
    Results, SEQUENCE_DIGITS, Stat, Step, StepError, StepResult, Txn, TxnOutcome, Width,
};
pub use op::{Op, OpRef};
pub use outcome::{Outcome, RequestError};
pub use read::{ReadQuery, ReadResult, SessionInfo};
pub use session::Session;
pub use snapshot::{Frozen, SnapshotError};
pub use tree::{ReapCandidate, TreeEvent, TreeEventKind, TreeOp, TreeOutcome, TreeQuery};

use crate::holder::Holder;
use crate::ids::{NodeId, RequestId, Revision, SessionId, Stamp};
use crate::limits::Limits;
use crate::wire::Reader;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use command::Head;
use core::ops::Bound;
use digest::Digest;
use invariant::first_broken;
use kv::{Context, Kv, Unfit};
use session::Admission;
use tree::Tree;

/// The replicated state.
#[derive(Clone, Debug)]
pub struct State {
    limits: Limits,
    revision: Revision,
    /// The time of the latest batch; never less than that of one before.
    stamp: Stamp,
    /// Over everything applied.
    digest: Digest,
    kv: Kv,
    tree: Tree,
    /// Invariant: ids are at most `revision`; at most `sessions_max`; every owner of a record or
    /// a znode is here.
    sessions: BTreeMap<SessionId, Session>,
}

impl State {
    /// The state before any command.
    ///
    /// # Panics
    /// If the limits do not fit each other ([`Limits::check`]).
    pub fn new(limits: Limits) -> Self {
        limits.check();
        Self {
            revision: Revision(0),
            stamp: Stamp(0),
            digest: Digest(limits.fingerprint()),
            kv: Kv::default(),
            tree: Tree::default(),
            sessions: BTreeMap::new(),
            limits,
        }
    }

    /// The revision of the last change.
    pub const fn revision(&self) -> Revision {
        self.revision
    }
    /// The time of the batch that is being applied, or was last: by the clock of the server that
    /// proposed it, but never earlier than that of any batch before. Zero: no clock was told.
    pub const fn stamp(&self) -> Stamp {
        self.stamp
    }
    /// The bounds, the same on every replica.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }
    /// How many records there are.
    pub fn records(&self) -> usize {
        self.kv.records()
    }
    /// The size of all keys and values, in bytes.
    pub const fn store_bytes(&self) -> u64 {
        self.kv.bytes()
    }
    /// How many znodes there are.
    pub fn znodes(&self) -> usize {
        self.tree.len()
    }
    /// The size of all paths and data of znodes, in bytes.
    pub const fn tree_bytes(&self) -> u64 {
        self.tree.bytes()
    }
    /// The open sessions, in the order in which they joined.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions.iter().map(|(id, session)| (*id, session))
    }
    /// One session, if it is open.
    pub fn session(&self, session: SessionId) -> Option<&Session> {
        self.sessions.get(&session)
    }

    /// A chain over everything applied, with which replicas compare themselves at equal indices.
    pub const fn digest(&self) -> u64 {
        self.digest.0
    }

    /// Begins a committed batch, whose commands see its time. Clocks differ and jump, so the time
    /// of a batch is at least that of the one before it.
    pub fn begin_batch(&mut self, stamp: Stamp) {
        self.stamp = self.stamp.max(stamp);
        self.digest.numbers([50, self.stamp.0]);
    }

    /// Carries out one committed command and says what became of it; `events` are then what it
    /// changed, in order. Bytes that are no command change nothing.
    pub fn apply(&mut self, command: &Bytes, events: &mut Vec<Event>) -> Completion {
        self.apply_next(&mut Reader::new(command.clone()), events)
    }

    /// Like [`Self::apply`], for a command that is all that `input` has left.
    pub fn apply_next(&mut self, input: &mut Reader, events: &mut Vec<Event>) -> Completion {
        events.clear();
        let bytes = input.remaining() as u64;
        self.digest.bytes(input.unread());
        let completion = match Head::decode(input) {
            Ok(Head::Request { session, request, acked_below }) => {
                let outcome =
                    self.on_request((session, request, acked_below), bytes, input, events);
                Completion::Request { session, request, outcome }
            }
            Ok(Head::Whole(whole)) => match input.finish() {
                Ok(()) => self.on_whole(whole, events),
                Err(error) => Completion::Malformed { error },
            },
            Err(error) => Completion::Malformed { error },
        };
        self.digest.completion(&completion);
        events.iter().for_each(|event| self.digest.event(event));
        completion
    }

    /// Carries out an epoch's marker: sessions whose server is not among the epoch's members are
    /// orphaned, and anyone may propose their end until their client attaches elsewhere.
    pub fn apply_marker(&mut self, members: &[NodeId]) {
        for session in self.sessions.values_mut() {
            if session.owner.is_some_and(|owner| !members.contains(&owner)) {
                session.owner = None;
            }
        }
        self.digest.marker(members);
    }

    fn on_request(
        &mut self,
        (session, request, acked_below): (SessionId, RequestId, RequestId),
        command_bytes: u64,
        input: &mut Reader,
        events: &mut Vec<Event>,
    ) -> Outcome {
        let Some(open) = self.sessions.get_mut(&session) else {
            return Outcome::Refused(match self.no_session(session) {
                NoSession::Unknown => RequestError::SessionUnknown,
                NoSession::Ended => RequestError::SessionEnded,
            });
        };
        match open.admit(request, acked_below, &self.limits) {
            Admission::Run => {}
            Admission::Recorded(outcome) => return outcome,
            Admission::Refused(error) => return Outcome::Refused(error),
        }
        if command_bytes > self.limits.command_bytes_max {
            return Outcome::Refused(RequestError::CommandTooLarge);
        }
        let (limits, revision, now) = (&self.limits, self.revision, self.stamp);
        let ran = match input.u8() {
            Ok(kind::KV) => {
                let context = Context { events, limits, session, revision };
                self.kv.run(input, context).map(Outcome::Txn)
            }
            Ok(kind::TREE) => {
                let context = tree::Context { events, limits, session, revision, now };
                let outcome = self.tree.run(input, context);
                outcome
                    .map(|outcome| Outcome::Tree(Arc::new(outcome)))
                    .map_err(|_| Unfit::Malformed)
            }
            Ok(kind) => return Outcome::Refused(RequestError::UnknownKind { kind }),
            Err(_) => Err(Unfit::Malformed),
        };
        let outcome = match ran {
            Ok(outcome) => outcome,
            Err(Unfit::Malformed) => return Outcome::Refused(RequestError::Malformed),
            Err(Unfit::TooManySteps) => return Outcome::Refused(RequestError::TooManySteps),
        };
        open.record(request, &outcome);
        if !events.is_empty() {
            self.revision = self.revision.next();
        }
        outcome
    }

    fn on_whole(&mut self, command: Command, events: &mut Vec<Event>) -> Completion {
        match command {
            Command::Open { server, token, timeout_ms, holder } => {
                self.on_open((server, token), timeout_ms, holder, events)
            }
            Command::Attach { server, session, token, holder } => {
                self.on_attach((server, token), session, holder)
            }
            Command::Close { session } => {
                if !self.sessions.contains_key(&session) {
                    return Completion::CloseRefused { session, error: self.no_session(session) };
                }
                self.end_session(session, events);
                Completion::Ended { session, cause: EndCause::Closed }
            }
            Command::Expire { server, session, generation } => {
                let counts = self.sessions.get(&session).is_some_and(|open| {
                    let entitled = open.owner.is_none_or(|owner| owner == server);
                    entitled && open.generation == generation
                });
                if !counts {
                    return Completion::ExpireIgnored { server, session, generation };
                }
                self.end_session(session, events);
                Completion::Ended { session, cause: EndCause::Expired }
            }
            Command::Reap { candidates } => self.on_reap(&candidates, events),
            Command::Request { .. } => unreachable!("a request is not decoded whole"),
        }
    }

    fn on_open(
        &mut self,
        (server, token): (NodeId, u64),
        timeout_ms: u32,
        holder: Holder,
        events: &mut Vec<Event>,
    ) -> Completion {
        if self.sessions.len() >= self.limits.sessions_max as usize {
            return Completion::OpenRefused { server, token };
        }
        self.revision = self.revision.next();
        let session = SessionId(self.revision.0);
        let timeout_ms = self.limits.grant_timeout_ms(timeout_ms);
        self.sessions.insert(session, Session::new(server, timeout_ms, holder));
        events.push(self.member_event(MemberEventKind::Joined, session));
        Completion::Opened { server, token, session, timeout_ms }
    }

    fn on_attach(
        &mut self,
        (server, token): (NodeId, u64),
        session: SessionId,
        holder: Holder,
    ) -> Completion {
        let refused = |error| Completion::AttachRefused { server, token, session, error };
        let Some(open) = self.sessions.get_mut(&session) else {
            return refused(AttachError::NoSession(self.no_session(session)));
        };
        if open.holder != holder {
            return refused(AttachError::NotHolder);
        }
        open.owner = Some(server);
        open.generation = open.generation.wrapping_add(1);
        Completion::Attached {
            server,
            token,
            session,
            generation: open.generation,
            timeout_ms: open.timeout_ms,
            last: open.last,
        }
    }

    fn on_reap(&mut self, candidates: &[ReapCandidate], events: &mut Vec<Event>) -> Completion {
        let next = self.revision.next();
        let count = self.tree.reap(candidates, (next, self.stamp), events);
        if count > 0 {
            self.revision = next;
        }
        Completion::Reaped { count }
    }

    /// Containers and znodes with a time to live that are over now: those behind `after` in the
    /// order of their paths, at most `max`. A [`Command::Reap`] ends them if they still are as they
    /// were when it runs.
    pub fn reap_candidates(&self, after: Option<&[u8]>, max: usize) -> Vec<ReapCandidate> {
        self.tree.reap_candidates(after, self.stamp, max)
    }

    /// Ends an open session: first its records and znodes, then itself, in one revision.
    fn end_session(&mut self, session: SessionId, events: &mut Vec<Event>) {
        self.revision = self.revision.next();
        self.kv.end_session(session, self.revision, events);
        self.tree.end_session(session, self.revision, events);
        self.sessions.remove(&session);
        events.push(self.member_event(MemberEventKind::Left, session));
    }

    fn member_event(&self, kind: MemberEventKind, session: SessionId) -> Event {
        let members = self.sessions.len() as u32;
        Event::Member(MemberEvent { revision: self.revision, kind, session, members })
    }

    /// Why there is no session of this id.
    const fn no_session(&self, session: SessionId) -> NoSession {
        let never = session.0 == 0 || session.0 > self.revision.0;
        if never { NoSession::Unknown } else { NoSession::Ended }
    }

    /// Answers a question from what is applied.
    pub fn read(&self, query: &ReadQuery) -> ReadResult {
        match query {
            ReadQuery::Get { key, offset, length_max } => {
                match self.kv.get(key, *offset, *length_max) {
                    None => ReadResult::NotFound,
                    Some((value, stat)) => ReadResult::Value { value, stat },
                }
            }
            ReadQuery::List(query) => ReadResult::Listed(self.kv.page(query, &self.limits)),
            ReadQuery::Tree(query) => ReadResult::Tree(self.tree.answer(query, &self.limits)),
            ReadQuery::Members { after, limit } => self.members(*after, *limit),
            ReadQuery::Session { session } => match self.sessions.get(session) {
                None => ReadResult::NotFound,
                Some(open) => {
                    let owned = self.kv.ephemerals(*session) + self.tree.ephemerals(*session);
                    ReadResult::Session(SessionInfo::new(open, owned))
                }
            },
        }
    }

    fn members(&self, after: Option<SessionId>, limit: u32) -> ReadResult {
        let limit = limit.min(self.limits.page_entries_max) as usize;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.sessions.range((start, Bound::Unbounded)).map(|(id, _)| *id);
        let members = rest.by_ref().take(limit).collect();
        ReadResult::Members { members, more: rest.next().is_some() }
    }

    /// Asserts the invariants, over everything.
    ///
    /// # Panics
    /// If one is broken.
    pub fn check(&self) {
        assert_eq!(self.fault(), None, "an invariant of the state holds");
    }

    /// The first invariant that is broken. What [`State::check`] asserts and a snapshot must
    /// fulfil.
    fn fault(&self) -> Option<&'static str> {
        let mut owners = self.kv.owners().chain(self.tree.owners());
        let own = first_broken(&[
            (self.sessions.len() <= self.limits.sessions_max as usize, "sessions_max holds"),
            (owners.all(|id| self.sessions.contains_key(&id)), "ephemerals die with their session"),
        ]);
        let sessions = self.sessions.iter().find_map(|(id, session)| {
            let opened = (1..=self.revision.0).contains(&id.0);
            let own = first_broken(&[(opened, "a session's id is the revision of its opening")]);
            own.or_else(|| session.fault(&self.limits))
        });
        let objects = || {
            let tree = || self.tree.fault(self.revision, &self.limits);
            self.kv.fault(self.revision, &self.limits).or_else(tree)
        };
        own.or(sessions).or_else(objects)
    }
}
