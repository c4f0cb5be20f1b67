//! What must hold: prefixes agree, what was committed is in every later epoch, reads are fresh.
//!
//! The oracle sees what servers commit, which epochs they open with which log, and the history of
//! the clients' operations on the register. It knows nothing of views, promises and
//! acknowledgements.

use super::server::Server;
use crate::flaw::{self, Flaw};
use crate::kept::Fingerprint;
use accord_core::fingerprint;
use accord_core::group::ViewId;
use accord_core::ids::{Epoch, Index, NodeId, StoreId};
use accord_core::replica::io::{Body, Entry};
use stateright::semantics::register::{Register, RegisterOp, RegisterRet};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester};
use std::collections::BTreeMap;

/// The number of an operation on the register, over the whole run. A write writes its number.
pub type OpId = u8;

/// What a step tells the oracle.
#[derive(Clone, Debug)]
pub enum Note {
    /// A server handed out a committed entry.
    Committed {
        /// Which server.
        node: NodeId,
        /// The entry.
        entry: Entry,
    },
    /// A server is in an open epoch with the log that the epoch began with.
    Opened {
        /// The epoch.
        epoch: Epoch,
    },
    /// A client writes.
    Write {
        /// The write.
        op: OpId,
    },
    /// Its server has committed the write, and says so.
    WriteDone {
        /// The write.
        op: OpId,
    },
    /// A client reads.
    Read {
        /// The read.
        op: OpId,
    },
    /// The read is answered.
    ReadDone {
        /// The read.
        op: OpId,
        /// What was read.
        value: OpId,
    },
}

/// No two servers commit different entries at one index.
pub const PREFIXES: &str = "committed prefixes agree";
/// No epoch is opened in two views.
pub const EPOCHS: &str = "an epoch is opened in one view";
/// The log that an epoch begins with has all that was committed before.
pub const SURVIVES: &str = "what was committed is in every later epoch";
/// No command is applied twice.
pub const ONCE: &str = "a command is applied once";
/// The clients' history is that of a register.
pub const LINEAR: &str = "reads and writes are linearizable";
/// Neighbouring voter sets of the committed log differ by one incarnation.
pub const VOTERS: &str = "voters change one at a time";

type Tester = LinearizabilityTester<OpId, Register<OpId>>;

/// What has been seen so far.
#[derive(Clone, Debug)]
pub struct Oracle {
    committed: BTreeMap<Index, Entry>,
    /// The first epoch in which each is known to have been committed: not that of the entry, if it
    /// was committed together with later ones.
    committed_in: BTreeMap<Index, Epoch>,
    opened: BTreeMap<Epoch, ViewId>,
    history: Tester,
    acknowledged: usize,
    reads_done: usize,
}

impl Default for Oracle {
    fn default() -> Self {
        let history = Tester::new(Register(0));
        Self {
            committed: BTreeMap::new(),
            committed_in: BTreeMap::new(),
            opened: BTreeMap::new(),
            history,
            acknowledged: 0,
            reads_done: 0,
        }
    }
}

impl Fingerprint for Oracle {
    fn fingerprint(&self) -> u64 {
        fingerprint::of(self)
    }
}

impl Oracle {
    /// How many writes were acknowledged.
    pub const fn acknowledged(&self) -> usize {
        self.acknowledged
    }

    /// How many reads were answered.
    pub const fn reads_done(&self) -> usize {
        self.reads_done
    }

    /// The entries that some server has committed.
    pub const fn committed(&self) -> &BTreeMap<Index, Entry> {
        &self.committed
    }

    /// Takes what a step of `server`, which is in `view`, told. The first flaw, if there is one.
    pub fn hear(
        &mut self,
        notes: Vec<Note>,
        server: &Server,
        view: Option<ViewId>,
    ) -> Option<Flaw> {
        let mut flaw = None;
        for note in notes {
            match note {
                Note::Committed { node, entry } => {
                    if let Some(epoch) = server.replica.status().epoch {
                        let first = self.committed_in.entry(entry.index).or_insert(epoch);
                        *first = epoch.min(*first);
                    }
                    self.on_committed(node, entry, &mut flaw);
                }
                Note::Opened { epoch } => self.on_opened(epoch, server, view, &mut flaw),
                Note::Write { op } => self.invoke(op, RegisterOp::Write(op)),
                Note::Read { op } => self.invoke(op, RegisterOp::Read),
                Note::WriteDone { op } => {
                    self.acknowledged += 1;
                    self.answer(op, RegisterRet::WriteOk, &mut flaw);
                }
                Note::ReadDone { op, value } => {
                    self.reads_done += 1;
                    self.answer(op, RegisterRet::ReadOk(value), &mut flaw);
                }
            }
        }
        let mut applied = server.applied.clone();
        applied.sort_unstable();
        if applied.windows(2).any(|pair| pair[0] == pair[1]) {
            let node = server.replica.node();
            flaw::note(&mut flaw, ONCE, format!("{node} has applied {:?}", server.applied));
        }
        flaw
    }

    fn on_committed(&mut self, node: NodeId, entry: Entry, flaw: &mut Option<Flaw>) {
        let index = entry.index;
        let known = self.committed.entry(index).or_insert_with(|| entry.clone());
        if *known != entry {
            let detail = format!("{node} commits {entry:?} where {known:?} is committed");
            flaw::note(flaw, PREFIXES, detail);
        }
        let sets = self.committed.values().filter_map(|entry| match &entry.body {
            Body::Voters(set) => Some(&set.voters),
            Body::Marker { .. } | Body::Batch { .. } => None,
        });
        let sets: Vec<_> = sets.collect();
        for pair in sets.windows(2) {
            let only = |a: &BTreeMap<NodeId, StoreId>, b: &BTreeMap<NodeId, StoreId>| {
                a.iter().filter(|(node, store)| b.get(node) != Some(store)).count()
            };
            if only(pair[0], pair[1]) + only(pair[1], pair[0]) > 1 {
                flaw::note(flaw, VOTERS, format!("{:?} became {:?}", pair[0], pair[1]));
            }
        }
    }

    fn on_opened(
        &mut self,
        epoch: Epoch,
        server: &Server,
        view: Option<ViewId>,
        flaw: &mut Option<Flaw>,
    ) {
        let node = server.replica.node();
        if let Some(view) = view {
            let known = *self.opened.entry(epoch).or_insert(view);
            if known != view {
                flaw::note(flaw, EPOCHS, format!("{epoch} is opened in {known} and in {view}"));
            }
        }
        let log = server.replica.log();
        // A batch that was applied before is handed out empty, so that entries of the log are known
        // by their epoch and index alone.
        let lacks = |entry: &&Entry| {
            let forgotten = entry.index < log.base().index;
            let there = log.position_at(entry.index) == Some(entry.position());
            let before = self.committed_in.get(&entry.index).is_some_and(|first| *first < epoch);
            before && !forgotten && !there
        };
        if let Some(entry) = self.committed.values().find(lacks) {
            let detail = format!("{node} opens {epoch} without the committed {entry:?}");
            flaw::note(flaw, SURVIVES, detail);
        }
    }

    fn invoke(&mut self, op: OpId, what: RegisterOp<OpId>) {
        // Every operation is of a client of its own: any of them may wait for ever.
        self.history.on_invoke(op, what).expect("an operation begins once");
    }

    fn answer(&mut self, op: OpId, result: RegisterRet<OpId>, flaw: &mut Option<Flaw>) {
        let answered = self.history.on_return(op, result).is_ok();
        if !answered || self.history.serialized_history().is_none() {
            flaw::note(flaw, LINEAR, format!("no order explains {:?}", self.history));
        }
    }
}
