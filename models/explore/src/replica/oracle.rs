//! What must hold: prefixes agree, what was committed is in every later epoch, reads are fresh.
//!
//! The oracle sees what servers commit, which epochs they open with which log, and the history of
//! the clients' operations on the register. It knows nothing of views, promises and
//! acknowledgements.
//!
//! A recovery gives up what only the lost servers held, and they may go on without it. So all of
//! that is judged by history ([`accord_core::replica::history`]): within one, nothing is lost; and
//! what is of two is never mixed.
//!
//! Claims: C-state-same, C-epoch-unique, C-write-durable, C-read-fresh, C-recover-apart

use super::server::Server;
use crate::flaw::{self, Flaw};
use crate::kept::Fingerprint;
use accord_core::fingerprint;
use accord_core::group::ViewId;
use accord_core::ids::{Epoch, Index, NodeId, StoreId};
use accord_core::replica::history::History;
use accord_core::replica::io::{Body, Entry, commands};
use accord_core::replica::voters::VoterSet;
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
    /// A server took over the state of another.
    Installed,
    /// A client writes.
    Write {
        /// The write.
        op: OpId,
    },
    /// Its server has committed the write, and says so.
    WriteDone {
        /// The write.
        op: OpId,
        /// Its revision.
        revision: u64,
        /// The epoch in which it stands in the log.
        epoch: Epoch,
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

/// What was committed in one history is in no state of another.
pub const MIXED: &str = "a state is that of its history";
/// No two acknowledged writes have one revision, whatever was recovered in between; but for what a
/// recovery took over without knowing that it was committed.
pub const NUMBERS: &str = "no revision is given twice";
/// A server drops nothing that was committed, also where a recovery has given it up.
pub const STAYS: &str = "nothing committed is dropped from a log";
/// A server that has met the recovered cluster serves nothing older.
pub const OLDER: &str = "who met a recovered cluster serves nothing older";

type Tester = LinearizabilityTester<OpId, Register<OpId>>;

/// A history by the id of its last recovery; zero for none.
type HistoryId = u64;

fn id_of(history: &History) -> HistoryId {
    history.recoveries().last().map_or(0, |recovery| recovery.id)
}

/// What has been seen of one history.
#[derive(Clone, Debug)]
struct Branch {
    history: History,
    committed: BTreeMap<Index, Entry>,
    /// The first epoch in which each is known to have been committed: not that of the entry, if it
    /// was committed together with later ones.
    committed_in: BTreeMap<Index, Epoch>,
    register: Tester,
}

/// What has been seen so far.
#[derive(Clone, Debug)]
pub struct Oracle {
    branches: BTreeMap<HistoryId, Branch>,
    opened: BTreeMap<(HistoryId, Epoch), ViewId>,
    /// What clients have asked for.
    asked: Vec<(OpId, RegisterOp<OpId>)>,
    /// Revisions of acknowledged writes.
    revisions: BTreeMap<u64, OpId>,
    acknowledged: usize,
    reads_done: usize,
}

impl Default for Oracle {
    fn default() -> Self {
        let mut oracle = Self {
            branches: BTreeMap::new(),
            opened: BTreeMap::new(),
            asked: Vec::new(),
            revisions: BTreeMap::new(),
            acknowledged: 0,
            reads_done: 0,
        };
        oracle.branch(&History::default());
        oracle
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
    pub fn committed(&self) -> impl Iterator<Item = &Entry> {
        self.branches.values().flat_map(|branch| branch.committed.values())
    }

    /// What is known of a history. In a new one, whatever was asked for may have happened or not.
    fn branch(&mut self, history: &History) -> &mut Branch {
        let asked = &self.asked;
        self.branches.entry(id_of(history)).or_insert_with(|| {
            let mut register = Tester::new(Register(0));
            for (op, what) in asked {
                register.on_invoke(*op, what.clone()).expect("an operation begins once");
            }
            let (committed, committed_in) = (BTreeMap::new(), BTreeMap::new());
            Branch { history: history.clone(), committed, committed_in, register }
        })
    }

    /// The history in which a server commits: that of the epoch in which it takes part, also while
    /// it lacks a part of the log.
    fn history_of(&self, server: &Server, view: Option<ViewId>) -> History {
        let epoch = server.replica.status().epoch;
        let mut opened = self.opened.iter();
        let known = opened.find(|((_, at), within)| Some(*at) == epoch && Some(**within) == view);
        match known {
            Some(((id, _), _)) => self.branches[id].history.clone(),
            None => server.replica.log().voters().history.clone(),
        }
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
            let history = self.history_of(server, view);
            match note {
                Note::Committed { node, entry } => {
                    if let Some(epoch) = server.replica.status().epoch {
                        let committed_in = &mut self.branch(&history).committed_in;
                        let first = committed_in.entry(entry.index).or_insert(epoch);
                        *first = epoch.min(*first);
                        check_era(server, epoch, &mut flaw);
                    }
                    self.on_committed(&history, node, entry, &mut flaw);
                }
                Note::Opened { epoch } => {
                    check_era(server, epoch, &mut flaw);
                    self.on_opened(epoch, server, view, &mut flaw);
                }
                Note::Installed => {}
                Note::Write { op } => self.invoke(op, RegisterOp::Write(op)),
                Note::Read { op } => self.invoke(op, RegisterOp::Read),
                Note::WriteDone { op, revision, epoch } => {
                    self.acknowledged += 1;
                    self.answer(&history, op, RegisterRet::WriteOk, &mut flaw);
                    // A recovery takes over what was perhaps not committed, with its revisions.
                    if epoch.era() < history.era() {
                        continue;
                    }
                    let first = *self.revisions.entry(revision).or_insert(op);
                    if first != op {
                        let detail = format!("{revision} is that of {first} and of {op}");
                        flaw::note(&mut flaw, NUMBERS, detail);
                    }
                }
                Note::ReadDone { op, value } => {
                    self.reads_done += 1;
                    self.answer(&history, op, RegisterRet::ReadOk(value), &mut flaw);
                }
            }
        }
        self.check_applied(server, view, &mut flaw);
        flaw
    }

    /// The flaw if a server has dropped an entry of its log that was committed in its history.
    pub fn dropped(&self, before: &Server, after: &Server) -> Option<Flaw> {
        let (log, next) = (before.replica.log(), after.replica.log());
        let last = log.last();
        if next.base().index >= last.index || next.position_at(last.index) == Some(last) {
            return None;
        }
        let branch = self.branches.get(&id_of(&log.voters().history))?;
        let was_dropped = |entry: &&Entry| {
            let held = log.position_at(entry.index) == Some(entry.position());
            let later = entry.index > next.base().index;
            held && later && next.position_at(entry.index) != Some(entry.position())
        };
        let entry = branch.committed.values().find(was_dropped)?;
        let detail = format!("{} drops the committed {entry:?}", before.replica.node());
        Some(Flaw { property: STAYS, detail })
    }

    fn on_committed(
        &mut self,
        history: &History,
        node: NodeId,
        entry: Entry,
        flaw: &mut Option<Flaw>,
    ) {
        let committed = &mut self.branch(history).committed;
        let known = committed.entry(entry.index).or_insert_with(|| entry.clone());
        if *known != entry {
            let detail = format!("{node} commits {entry:?} where {known:?} is committed");
            flaw::note(flaw, PREFIXES, detail);
        }
        let sets = committed.values().filter_map(|entry| match &entry.body {
            Body::Voters(set) => Some(set),
            Body::Marker { .. } | Body::Batch { .. } => None,
        });
        let sets: Vec<&VoterSet> = sets.collect();
        let steps = sets.windows(2).map(|pair| (pair[0], pair[1]));
        for (before, after) in steps.filter(|(before, after)| before.history == after.history) {
            let (before, after) = (&before.voters, &after.voters);
            let only = |a: &BTreeMap<NodeId, StoreId>, b: &BTreeMap<NodeId, StoreId>| {
                a.iter().filter(|(node, store)| b.get(node) != Some(store)).count()
            };
            if only(before, after) + only(after, before) > 1 {
                flaw::note(flaw, VOTERS, format!("{before:?} became {after:?}"));
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
        let log = server.replica.log();
        let history = log.voters().history.clone();
        self.branch(&history);
        if let Some(view) = view {
            let known = *self.opened.entry((id_of(&history), epoch)).or_insert(view);
            if known != view {
                flaw::note(flaw, EPOCHS, format!("{epoch} is opened in {known} and in {view}"));
            }
        }
        // Of each history on the way, what was committed in epochs before the fork.
        let forks = history.recoveries().iter().map(|recovery| recovery.fork.epoch);
        let ids = std::iter::once(0).chain(history.recoveries().iter().map(|it| it.id));
        for (id, before) in ids.zip(forks.chain([epoch])) {
            let Some(branch) = self.branches.get(&id) else { continue };
            // A batch that was applied before is handed out empty, so that entries of the log are
            // known by their epoch and index alone.
            let lacks = |entry: &&Entry| {
                let forgotten = entry.index < log.base().index;
                let there = log.position_at(entry.index) == Some(entry.position());
                let first = branch.committed_in.get(&entry.index);
                first.is_some_and(|first| *first < before) && !forgotten && !there
            };
            if let Some(entry) = branch.committed.values().find(lacks) {
                let detail = format!("{node} opens {epoch} without the committed {entry:?}");
                flaw::note(flaw, SURVIVES, detail);
            }
        }
    }

    /// What a server has applied is what was committed in its history, each command once.
    fn check_applied(&self, server: &Server, view: Option<ViewId>, flaw: &mut Option<Flaw>) {
        let node = server.replica.node();
        let mut applied = server.applied.clone();
        applied.sort_unstable();
        if applied.windows(2).any(|pair| pair[0] == pair[1]) {
            flaw::note(flaw, ONCE, format!("{node} has applied {:?}", server.applied));
        }
        let history = self.history_of(server, view);
        let expected = self.state(&history, server.applied_index);
        if expected.as_ref().is_some_and(|expected| *expected != server.applied) {
            let detail = format!("{node} has {:?} of {expected:?}", server.applied);
            flaw::note(flaw, MIXED, detail);
        }
    }

    /// The commands of a history's committed entries, if all up to this index are known.
    fn state(&self, history: &History, up_to: Index) -> Option<Vec<OpId>> {
        let mut state = Vec::new();
        for index in (1..=up_to.0).map(Index) {
            if let Body::Batch { commands: batch, .. } = &self.entry(history, index)?.body {
                state.extend(commands(batch).map(|command| command[0]));
            }
        }
        Some(state)
    }

    /// The committed entry of a history at an index. A server need not tell again what it had
    /// committed before it was recovered.
    fn entry(&self, history: &History, index: Index) -> Option<&Entry> {
        let known = |id| self.branches.get(&id)?.committed.get(&index);
        let mut fork = Index(u64::MAX);
        for recovery in history.recoveries().iter().rev() {
            if let Some(entry) = known(recovery.id).filter(|_| index <= fork) {
                return Some(entry);
            }
            fork = recovery.fork.index;
        }
        known(0).filter(|_| index <= fork)
    }

    fn invoke(&mut self, op: OpId, what: RegisterOp<OpId>) {
        // Every operation is of a client of its own: any of them may wait without end.
        for branch in self.branches.values_mut() {
            branch.register.on_invoke(op, what.clone()).expect("an operation begins once");
        }
        self.asked.push((op, what));
    }

    fn answer(
        &mut self,
        history: &History,
        op: OpId,
        result: RegisterRet<OpId>,
        flaw: &mut Option<Flaw>,
    ) {
        let register = &mut self.branch(history).register;
        let answered = register.on_return(op, result).is_ok();
        if !answered || register.serialized_history().is_none() {
            flaw::note(flaw, LINEAR, format!("no order explains {register:?}"));
        }
    }
}

fn check_era(server: &Server, epoch: Epoch, flaw: &mut Option<Flaw>) {
    if epoch.era() < server.met {
        let (node, met) = (server.replica.node(), server.met);
        flaw::note(flaw, OLDER, format!("{node} is in {epoch} and has met {met}"));
    }
}
