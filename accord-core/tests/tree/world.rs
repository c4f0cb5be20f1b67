//! A state with sessions, and short names for what is asked of its tree.

use accord_core::holder::Holder;
use accord_core::ids::{NodeId, RequestId, SessionId, Stamp};
use accord_core::limits::Limits;
use accord_core::state::tree::{
    Acl, Ask, CreateMode, Identity, ReapCandidate, StepDone, TreeAnswer, TreeChange, TreeOp,
    TreeOutcome, TreeQuery, TreeQuestion, TreeResult, TreeStep, ZnodeAnswer, ZnodeQuestion,
    ZnodeStat,
};
use accord_core::state::{
    Command, Completion, Event, Op, Outcome, ReadQuery, ReadResult, State, TreeEvent,
};
use accord_core::wire::Encode;
use bytes::Bytes;
use std::collections::BTreeMap;

/// A state, and what the last command gave.
pub struct World {
    pub state: State,
    pub events: Vec<Event>,
    /// Of each session, the number of its last request.
    last: BTreeMap<SessionId, u64>,
}

impl World {
    pub fn new(limits: Limits) -> Self {
        Self { state: State::new(limits), events: Vec::new(), last: BTreeMap::new() }
    }

    /// Begins a batch at this time.
    pub fn at(&mut self, ms: u64) {
        self.state.begin_batch(Stamp(ms));
    }

    /// Applies a command, and checks the invariants.
    pub fn apply(&mut self, command: &Command) -> Completion {
        let completion = self.state.apply(&command.to_bytes(), &mut self.events);
        self.state.check();
        completion
    }

    pub fn open(&mut self) -> SessionId {
        let (server, token, timeout_ms) = (NodeId(1), 7, 500);
        match self.apply(&Command::Open { server, token, timeout_ms, holder: Holder::default() }) {
            Completion::Opened { session, .. } => session,
            other => panic!("not opened: {other:?}"),
        }
    }

    pub fn close(&mut self, session: SessionId) {
        let completion = self.apply(&Command::Close { session });
        assert!(matches!(completion, Completion::Ended { .. }), "{completion:?}");
    }

    pub fn reap(&mut self, candidates: Vec<ReapCandidate>) -> u32 {
        match self.apply(&Command::Reap { candidates }) {
            Completion::Reaped { count } => count,
            other => panic!("not reaped: {other:?}"),
        }
    }

    /// The next request of a session, which acknowledges all before it.
    pub fn run(&mut self, session: SessionId, op: TreeOp) -> TreeOutcome {
        let last = self.last.entry(session).or_default();
        *last += 1;
        let (request, acked_below) = (RequestId(*last), RequestId(*last));
        match self.apply(&Command::Request { session, request, acked_below, op: Op::Tree(op) }) {
            Completion::Request { outcome: Outcome::Tree(outcome), .. } => (*outcome).clone(),
            other => panic!("not run: {other:?}"),
        }
    }

    /// One step of a client without identities: what it did, or ZooKeeper's number of its error.
    pub fn step(&mut self, session: SessionId, step: TreeStep) -> Result<StepDone, i32> {
        match self.run(session, one(&[], step)).result {
            TreeResult::One(done) => Ok(done),
            TreeResult::Failed(error) => Err(error.code()),
            other => panic!("not the result of one step: {other:?}"),
        }
    }

    pub fn answer(&self, who: &[Identity], question: TreeQuestion) -> TreeAnswer {
        let query = TreeQuery { identities: who.to_vec(), question };
        match self.state.read(&ReadQuery::Tree(query)) {
            ReadResult::Tree(answer) => answer,
            other => panic!("not an answer of the tree: {other:?}"),
        }
    }

    pub fn ask(&self, who: &[Identity], what: Ask, path: &str) -> ZnodeAnswer {
        match self.answer(who, TreeQuestion::One(ZnodeQuestion { what, path: b(path) })) {
            TreeAnswer::One(answer) => answer,
            other => panic!("not the answer to one question: {other:?}"),
        }
    }

    pub fn stat(&self, path: &str) -> Option<ZnodeStat> {
        match self.ask(&[], Ask::Exists, path) {
            ZnodeAnswer::Stat(stat) => Some(stat),
            _ => None,
        }
    }

    /// The events of the tree of the last command.
    pub fn tree_events(&self) -> Vec<TreeEvent> {
        let of_tree = |event: &Event| match event {
            Event::Tree(event) => Some(event.clone()),
            _ => None,
        };
        self.events.iter().filter_map(of_tree).collect()
    }
}

pub fn b(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub fn one(who: &[Identity], step: TreeStep) -> TreeOp {
    TreeOp { identities: who.to_vec(), change: TreeChange::One(step) }
}

pub fn create(path: &str, mode: CreateMode) -> TreeStep {
    TreeStep::Create { path: b(path), data: Some(b("data")), acl: vec![Acl::open()], mode }
}

pub fn delete(path: &str) -> TreeStep {
    TreeStep::Delete { path: b(path), version: -1 }
}

pub fn set(path: &str, data: &str) -> TreeStep {
    TreeStep::SetData { path: b(path), data: Some(b(data)), version: -1 }
}
