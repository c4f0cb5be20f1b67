//! What must hold of sessions, requests and watches, told from the committed log and from what
//! clients are told.
//!
//! Sessions and requests are told anew here, as simply as can be: a session ends by its client's
//! wish or when the attachment that is named is the present one, a request runs if its number is
//! above the last that ran. What the counter's changes are is told by a state of the oracle's own
//! to which the committed log is applied: the way of their events to the watches is what is judged.
//!
//! Claims: C-write-once, C-session-order, C-session-attached, C-watch-complete

use crate::flaw::{self, Flaw};
use crate::kept::Fingerprint;
use accord_core::fingerprint;
use accord_core::ids::{Index, NodeId, RequestId, Revision, SessionId};
use accord_core::limits::Limits;
use accord_core::replica::io::{Body, Entry, commands};
use accord_core::state::{Command, Event, ReadQuery, ReadResult, State};
use accord_core::wire::Decode;
use bytes::Bytes;
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};
use std::collections::{BTreeMap, BTreeSet};

/// The number of an operation on the counter, over the whole run.
pub type OpId = u8;

/// The counter's key.
pub const COUNTER: &[u8] = b"n";

/// A session lives exactly as long as its attachments say.
pub const SESSIONS: &str = "a session ends by its last attachment's silence only";
/// The counter counts each request once.
pub const ONCE: &str = "a request runs exactly once";
/// What failed has no effect.
pub const FAILED: &str = "what is said to have failed never runs";
/// The clients' history is that of a counter.
pub const LINEAR: &str = "increments and reads are linearizable";
/// Events come in order, without a gap, once.
pub const WATCHED: &str = "a watch is told every change once and in order";
/// No result before its event.
pub const BEFORE: &str = "no result is seen before the events that it reflects";
/// Who is told that its session is over has none.
pub const OVER: &str = "a client told of its session's end has none";

/// A counter, as one client alone would see it.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub struct Counter(u64);

/// What is asked of the counter.
#[derive(Clone, Copy, Debug, PartialEq, Hash)]
pub enum CounterOp {
    /// Add one.
    Increment,
    /// Look.
    Read,
}

impl SequentialSpec for Counter {
    type Op = CounterOp;
    type Ret = u64;

    fn invoke(&mut self, op: &CounterOp) -> u64 {
        self.0 += u64::from(*op == CounterOp::Increment);
        self.0
    }
}

/// A session as it should be.
#[derive(Clone, Debug, Default)]
struct Session {
    generation: u32,
    last: RequestId,
}

/// What a client's watch was told.
#[derive(Clone, Debug)]
struct Told {
    from: Revision,
    revisions: Vec<Revision>,
    once: bool,
    lost: bool,
}

/// What should be true after an entry.
#[derive(Clone, Debug, Default)]
struct Expected {
    sessions: BTreeSet<SessionId>,
    count: u64,
}

/// What has been seen so far.
#[derive(Clone, Debug)]
pub struct Oracle {
    state: State,
    sessions: BTreeMap<SessionId, Session>,
    count: u64,
    ran: BTreeSet<(SessionId, RequestId)>,
    /// After each committed entry, from index 1.
    expected: Vec<Expected>,
    /// The revisions that changed the counter.
    changes: Vec<Revision>,
    told: BTreeMap<usize, Told>,
    history: LinearizabilityTester<OpId, Counter>,
    failed: BTreeSet<(SessionId, RequestId)>,
    /// For the states that are to be reached.
    pub reached: Reached,
}

/// What has been seen at least once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reached {
    /// An expiry was committed that named an attachment of before.
    pub void_expiry: bool,
    /// A session has expired.
    pub expired: bool,
    /// A copy of a request was committed that had run.
    pub repeated: bool,
    /// A session was attached again.
    pub reattached: bool,
    /// A watch was told of a change that it missed while it was cut off.
    pub resumed: bool,
    /// Somebody was told that a request's outcome is not known.
    pub unknown: bool,
}

impl Fingerprint for Oracle {
    fn fingerprint(&self) -> u64 {
        let Self { state, sessions, count, ran, expected, changes, .. } = self;
        let Self { told, history, failed, reached, .. } = self;
        let expected = expected.len();
        let log = (state.digest(), sessions, count, ran, expected, changes);
        fingerprint::of(&(log, told, history, failed, reached))
    }
}

impl Oracle {
    /// An oracle that has seen nothing.
    pub fn new(limits: Limits) -> Self {
        Self {
            state: State::new(limits),
            sessions: BTreeMap::new(),
            count: 0,
            ran: BTreeSet::new(),
            expected: Vec::new(),
            changes: Vec::new(),
            told: BTreeMap::new(),
            history: LinearizabilityTester::new(Counter::default()),
            failed: BTreeSet::new(),
            reached: Reached::default(),
        }
    }

    /// How many changes a client's watch was told.
    pub fn told(&self, user: usize) -> usize {
        self.told.get(&user).map_or(0, |told| told.revisions.len())
    }

    /// Takes the entries that a server has just applied.
    pub fn on_applied(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            if entry.index == Index(self.expected.len() as u64 + 1) {
                self.apply(&entry);
            }
        }
    }

    fn apply(&mut self, entry: &Entry) {
        let mut events = Vec::new();
        match &entry.body {
            Body::Marker { members } => self.state.apply_marker(members),
            Body::Voters(set) => {
                if let Some(recovery) = set.recovery_at(entry.index) {
                    self.state.apply_recovery(recovery.revisions_skipped());
                }
            }
            Body::Batch { stamp, commands: batch, .. } => {
                self.state.begin_batch(*stamp);
                for command in commands(batch) {
                    self.state.apply(&command, &mut events);
                    self.changes.extend(events.iter().filter_map(change));
                    self.tell_anew(&command);
                }
            }
        }
        let sessions = self.sessions.keys().copied().collect();
        self.expected.push(Expected { sessions, count: self.count });
    }

    /// What the command should do to sessions and to the counter.
    fn tell_anew(&mut self, command: &Bytes) {
        let command = Command::from_bytes(command).expect("servers propose commands");
        match command {
            Command::Open { .. } => {
                let id = SessionId(self.state.revision().0);
                let session = Session { generation: 1, last: RequestId(0) };
                self.sessions.insert(id, session);
            }
            Command::Attach { session, .. } => {
                if let Some(open) = self.sessions.get_mut(&session) {
                    open.generation += 1;
                    self.reached.reattached = true;
                }
            }
            Command::Close { session } => {
                self.sessions.remove(&session);
            }
            Command::Expire { session, generation, .. } => {
                let present = self.sessions.get(&session).map(|open| open.generation);
                self.reached.void_expiry |= present.is_some_and(|present| present != generation);
                if present == Some(generation) {
                    self.sessions.remove(&session);
                    self.reached.expired = true;
                }
            }
            Command::Request { session, request, .. } => {
                let Some(open) = self.sessions.get_mut(&session) else { return };
                self.reached.repeated |= self.ran.contains(&(session, request));
                if request > open.last {
                    open.last = request;
                    self.count += 1;
                    self.ran.insert((session, request));
                }
            }
            // No client of the model has znodes.
            Command::Reap { .. } => {}
        }
    }

    /// Compares a server with what should be after as many entries as it has applied.
    pub fn judge(&self, node: NodeId, applied: Index, state: &State, flaw: &mut Option<Flaw>) {
        let Some(at) = applied.0.checked_sub(1) else { return };
        let expected = &self.expected[at as usize];
        let sessions: BTreeSet<SessionId> = state.sessions().map(|(id, _)| id).collect();
        if sessions != expected.sessions {
            let detail = format!("{node} has {sessions:?}, should be {:?}", expected.sessions);
            flaw::note(flaw, SESSIONS, detail);
        }
        let count = count(state);
        if count != expected.count {
            let detail = format!("the counter of {node} is {count}, should be {}", expected.count);
            flaw::note(flaw, ONCE, detail);
        }
        if let Some(request) = self.failed.intersection(&self.ran).next() {
            flaw::note(flaw, FAILED, format!("{request:?} ran"));
        }
    }

    /// An operation begins.
    pub fn on_begin(&mut self, op: OpId, what: CounterOp) {
        self.history.on_invoke(op, what).expect("an operation begins once");
    }

    /// An operation is answered.
    pub fn on_answer(&mut self, op: OpId, value: u64, flaw: &mut Option<Flaw>) {
        let answered = self.history.on_return(op, value).is_ok();
        if !answered || self.history.serialized_history().is_none() {
            flaw::note(flaw, LINEAR, format!("no order explains {:?}", self.history));
        }
    }

    /// A request is said to have failed.
    pub fn on_failed(&mut self, session: Option<SessionId>, request: RequestId) {
        self.failed.extend(session.map(|session| (session, request)));
    }

    /// A client is told that its session is over.
    pub fn on_over(&self, session: SessionId, flaw: &mut Option<Flaw>) {
        if self.sessions.contains_key(&session) {
            flaw::note(flaw, OVER, format!("{session} is open"));
        }
    }

    /// A watch is set.
    pub fn on_watching(&mut self, user: usize, from: Revision, once: bool) {
        let told = Told { from, revisions: Vec::new(), once, lost: false };
        self.told.insert(user, told);
    }

    /// A watch is told of a change. `late` if the server was not connected when it happened.
    pub fn on_event(&mut self, user: usize, revision: Revision, flaw: &mut Option<Flaw>) {
        let reattached = self.reached.reattached;
        let Some(told) = self.told.get_mut(&user) else {
            return flaw::note(
                flaw,
                WATCHED,
                format!("{revision} is told before the watch is set"),
            );
        };
        told.revisions.push(revision);
        let due = self.changes.iter().filter(|change| **change > told.from);
        let due: Vec<Revision> = due.take(told.revisions.len()).copied().collect();
        if due != told.revisions || (told.once && due.len() > 1) {
            let detail = format!("told {:?} after {}, due {due:?}", told.revisions, told.from);
            flaw::note(flaw, WATCHED, detail);
        }
        self.reached.resumed |= reattached;
    }

    /// A watch ends without being told everything, and says so.
    pub fn on_watch_lost(&mut self, user: usize) {
        if let Some(told) = self.told.get_mut(&user) {
            told.lost = true;
        }
    }

    /// A client sees a result of this revision.
    pub fn on_seen(&self, user: usize, revision: Revision, flaw: &mut Option<Flaw>) {
        let Some(told) = self.told.get(&user).filter(|told| !told.lost) else { return };
        let due = self.changes.iter().filter(|at| **at > told.from && **at <= revision);
        let due = if told.once { due.count().min(1) } else { due.count() };
        if told.revisions.len() < due {
            let detail = format!("{revision} is seen, told are only {:?}", told.revisions);
            flaw::note(flaw, BEFORE, detail);
        }
    }
}

fn change(event: &Event) -> Option<Revision> {
    match event {
        Event::Key(event) if event.key == COUNTER => Some(event.revision),
        Event::Key(_) | Event::Tree(_) | Event::Member(_) => None,
    }
}

/// The counter's value.
fn count(state: &State) -> u64 {
    let key = Bytes::from_static(COUNTER);
    match state.read(&ReadQuery::Get { key, offset: 0, length_max: 8 }) {
        ReadResult::Value { value, .. } => number(&value),
        _ => 0,
    }
}

/// A number as the store holds it.
pub fn number(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}
