//! The bookkeeping of a workload: which operation each answer belongs to, and the history.
//!
//! Invariant: every operation invoked gets at most one completion; what is outstanding when its life
//! ends stays unknown.

use super::Hands;
use accord_core::client::{Cause, ReadId};
use accord_core::ids::RequestId;
use accord_core::protocol::Consistency;
use accord_core::state::{ReadQuery, Txn};
use accord_models::edn::Value;
use accord_models::{History, OpId, Recorder};
use std::collections::BTreeMap;

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
        hands: &mut Hands<'_>,
        txn: &Txn,
        f: &'static str,
        value: Value,
        memo: T,
    ) -> bool {
        let Some(request) = hands.submit(txn) else { return false };
        let id = self.recorder.invoke(u64::from(hands.client), hands.time_ns(), f, value);
        self.requests.insert((hands.life, request), Entry { id, memo });
        true
    }

    /// Begins a read as the operation `f` with `value`. False: not taken.
    pub fn read(
        &mut self,
        hands: &mut Hands<'_>,
        query: ReadQuery,
        f: &'static str,
        value: Value,
        memo: T,
    ) -> bool {
        let Some(read) = hands.read(query, Consistency::Linearizable) else { return false };
        let id = self.recorder.invoke(u64::from(hands.client), hands.time_ns(), f, value);
        self.reads.insert((hands.life, read), Entry { id, memo });
        true
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

    /// Records something that a client was told without asking.
    pub fn observe(&mut self, hands: &Hands<'_>, f: &'static str, value: Value) {
        self.recorder.observe(u64::from(hands.client), hands.time_ns(), f, value);
    }

    /// The history so far.
    pub fn history(&self) -> &History {
        self.recorder.history()
    }
}
