//! The bookkeeping of a workload: which operation each answer belongs to, and the history.
//!
//! Invariant: every operation invoked gets at most one completion; what is outstanding when its
//! life ends stays unknown.

use super::ClientCtx;
use accord_core::client::{Cause, ClientEvent, ReadId};
use accord_core::ids::{RequestId, Revision};
use accord_core::protocol::Consistency;
use accord_core::state::{Outcome, ReadQuery, ReadResult, Txn, TxnOutcome};
use accord_models::edn::Value;
use accord_models::{History, OpId, Recorder};
use std::collections::BTreeMap;

/// The process of what no client did.
const WORLD: u64 = 0;

/// Outstanding operations, each with what the workload wants to remember of it.
#[derive(Debug)]
pub struct Ledger<T> {
    recorder: Recorder,
    requests: BTreeMap<(u64, RequestId), Entry<T>>,
    reads: BTreeMap<(u64, ReadId), Entry<T>>,
}

/// One outstanding operation.
#[derive(Debug)]
pub struct Entry<T> {
    /// Its place in the history.
    pub id: OpId,
    /// What the workload remembers of it.
    pub memo: T,
}

/// What came of an operation that was not simply refused or lost.
#[derive(Debug)]
pub enum Answer<T> {
    /// A transaction ran.
    Txn(Entry<T>, TxnOutcome),
    /// A read was answered, as of a revision.
    Read(Entry<T>, Revision, ReadResult),
}

impl<T> Ledger<T> {
    /// An empty history of clients numbered below `clients_max`.
    pub fn new(clients_max: u32) -> Self {
        Self {
            recorder: Recorder::new(u64::from(clients_max)),
            requests: BTreeMap::new(),
            reads: BTreeMap::new(),
        }
    }

    /// Submits a transaction as the operation `f` with `value`. False: not taken.
    pub fn submit(
        &mut self,
        ctx: &mut ClientCtx<'_>,
        txn: &Txn,
        f: &'static str,
        value: Value,
        memo: T,
    ) -> bool {
        let Some(request) = ctx.submit(txn) else { return false };
        let id = self.recorder.invoke(u64::from(ctx.client), ctx.time_ns(), f, value);
        self.requests.insert((ctx.life, request), Entry { id, memo });
        true
    }

    /// Begins a read as the operation `f` with `value`. False: not taken.
    pub fn read(
        &mut self,
        ctx: &mut ClientCtx<'_>,
        query: ReadQuery,
        f: &'static str,
        value: Value,
        memo: T,
    ) -> bool {
        let read = ctx.read(query, Consistency::Linearizable);
        self.note_read(ctx, read, f, value, memo)
    }

    /// Notes a read that was begun as the operation `f` with `value`. False: it was not taken.
    pub fn note_read(
        &mut self,
        ctx: &ClientCtx<'_>,
        read: Option<ReadId>,
        f: &'static str,
        value: Value,
        memo: T,
    ) -> bool {
        let Some(read) = read else { return false };
        let id = self.recorder.invoke(u64::from(ctx.client), ctx.time_ns(), f, value);
        self.reads.insert((ctx.life, read), Entry { id, memo });
        true
    }

    /// Goes on with an operation that needs another transaction. If it is not taken, the operation
    /// has failed.
    pub fn go_on(&mut self, ctx: &mut ClientCtx<'_>, entry: Entry<T>, txn: &Txn) {
        match ctx.submit(txn) {
            Some(request) => drop(self.requests.insert((ctx.life, request), entry)),
            None => self.fail(ctx.time_ns(), entry.id, "the client takes no more"),
        }
    }

    /// Takes what a client was told: what ran or was read goes to the caller to be completed, what
    /// was refused or lost is completed here.
    pub fn settle(&mut self, ctx: &ClientCtx<'_>, event: &ClientEvent) -> Option<Answer<T>> {
        let (life, now) = (ctx.life, ctx.time_ns());
        match event {
            ClientEvent::Done { request, outcome } => {
                let entry = self.take_request(life, *request)?;
                match outcome {
                    Outcome::Txn(outcome) => return Some(Answer::Txn(entry, outcome.clone())),
                    Outcome::Tree(outcome) => panic!("no client asks for a znode: {outcome:?}"),
                    Outcome::Refused(error) => self.fail(now, entry.id, error.to_string()),
                }
            }
            ClientEvent::ReadDone { read, revision, result } => {
                let entry = self.take_read(life, *read)?;
                return Some(Answer::Read(entry, *revision, result.clone()));
            }
            ClientEvent::Failed { request, cause } => {
                let entry = self.take_request(life, *request)?;
                self.fail(now, entry.id, cause.to_string());
            }
            ClientEvent::Unknown { request, cause } => {
                let entry = self.take_request(life, *request)?;
                self.unknown(now, entry.id, *cause);
            }
            ClientEvent::ReadFailed { read, cause } => {
                let entry = self.take_read(life, *read)?;
                self.fail(now, entry.id, cause.to_string());
            }
            _ => {}
        }
        None
    }

    /// The operation that a request's outcome belongs to, which is outstanding no longer.
    pub fn take_request(&mut self, life: u64, request: RequestId) -> Option<Entry<T>> {
        self.requests.remove(&(life, request))
    }

    /// The operation that a read's result belongs to, which is outstanding no longer.
    pub fn take_read(&mut self, life: u64, read: ReadId) -> Option<Entry<T>> {
        self.reads.remove(&(life, read))
    }

    /// How many operations a life has outstanding.
    pub fn outstanding(&self, life: u64) -> usize {
        let requests = (life, RequestId(0))..(life + 1, RequestId(0));
        let reads = (life, ReadId(0))..(life + 1, ReadId(0));
        self.requests.range(requests).count() + self.reads.range(reads).count()
    }

    /// The operation took effect.
    pub fn ok(&mut self, time_ns: u64, id: OpId, value: Value) {
        self.recorder.ok(id, time_ns, value);
    }

    /// The operation did not take effect.
    pub fn fail(&mut self, time_ns: u64, id: OpId, why: impl Into<String>) {
        self.recorder.fail(id, time_ns, Value::text(why));
    }

    /// Nobody knows.
    pub fn unknown(&mut self, time_ns: u64, id: OpId, cause: Cause) {
        self.recorder.unknown(id, time_ns, Value::text(cause.to_string()));
    }

    /// A life ended: what it had outstanding stays unknown.
    pub fn end_life(&mut self, life: u64, time_ns: u64) {
        let requests: Vec<_> = self.requests.keys().filter(|key| key.0 == life).copied().collect();
        let reads: Vec<_> = self.reads.keys().filter(|key| key.0 == life).copied().collect();
        let requests = requests.iter().filter_map(|key| self.requests.remove(key));
        let reads = reads.iter().filter_map(|key| self.reads.remove(key));
        for entry in requests.chain(reads) {
            self.recorder.unknown(entry.id, time_ns, Value::keyword("gone"));
        }
    }

    /// Records an operation that is none of the client's requests and reads.
    pub fn invoke(&mut self, ctx: &ClientCtx<'_>, f: &'static str, value: Value) -> OpId {
        self.recorder.invoke(u64::from(ctx.client), ctx.time_ns(), f, value)
    }

    /// Records something that a client was told without asking.
    pub fn observe(&mut self, ctx: &ClientCtx<'_>, f: &'static str, value: Value) {
        self.recorder.observe(u64::from(ctx.client), ctx.time_ns(), f, value);
    }

    /// Records something that the world knows.
    pub fn observe_world(&mut self, time_ns: u64, f: &'static str, value: Value) {
        self.recorder.observe(WORLD, time_ns, f, value);
    }

    /// The history so far.
    pub fn history(&self) -> &History {
        self.recorder.history()
    }
}
