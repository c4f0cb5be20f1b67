//! One server of the model: the core's `Replica`, a register as the state that it replicates, and
//! what it has written to its disk and not synced.
//!
//! Commands are single bytes, each proposed once; the register holds the last one applied. A step
//! hands the replica one input, carries out what it asks until nothing is left, and tells in
//! [`Note`]s what a checker wants to know.

use super::oracle::{Note, OpId};
use crate::kept::Fingerprint;
use accord_core::fingerprint;
use accord_core::group::{GroupEvent, ViewId};
use accord_core::ids::{Era, Index, NodeId};
use accord_core::replica::Replica;
use accord_core::replica::history::Standing;
use accord_core::replica::io::{
    Action, BarrierId, Body, Entry, HaltReason, Record, Snapshot, Ticket, commands,
};
use accord_core::replica::message::GroupMessage;
use accord_core::time::Instant;
use accord_core::wire::Decode;
use bytes::Bytes;

/// One running server.
#[derive(Clone, Debug)]
pub struct Server {
    /// The machine under test.
    pub replica: Replica,
    /// Its clock stands still but for timers that fire.
    pub clock: Instant,
    /// Written to the disk and lost in a crash.
    pub unsynced: Vec<(Ticket, Record)>,
    /// The commands applied, in their order.
    pub applied: Vec<OpId>,
    /// The last entry applied.
    pub applied_index: Index,
    /// The revision of the last command applied, as the state counts them.
    revision: u64,
    /// True if the state in memory is not what was applied.
    pub damaged: bool,
    /// The first era after its own of which it was told by the reports of a view; zero for none.
    pub met: Era,
    /// What the reports of its view have told.
    reported: Reported,
    /// An image of the state that is not looked at, and its number.
    received: Option<(u64, Bytes)>,
    /// True if images are looked at later.
    looks_later: bool,
    /// Reads that wait for their barrier, or for what it names to be applied.
    reads: Vec<Read>,
    /// Why it stopped itself.
    pub halted: Option<HaltReason>,
}

/// What the reports of a view have told.
#[derive(Clone, Debug, Default)]
struct Reported {
    /// The view, and how many its members are.
    view: Option<(ViewId, usize)>,
    /// How many of them have reported.
    count: usize,
    /// The first era of those that continue the server's own history.
    era: Option<Era>,
}

#[derive(Clone, Debug)]
struct Read {
    op: OpId,
    barrier: BarrierId,
    index: Option<Index>,
}

/// What a step wants done outside of the server.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be ordered by the group.
    pub multicasts: Vec<Bytes>,
    /// To be sent to one server beside the group.
    pub peers: Vec<(NodeId, Bytes)>,
    /// For the oracle.
    pub notes: Vec<Note>,
}

impl Fingerprint for Server {
    fn fingerprint(&self) -> u64 {
        let Self { replica, clock, unsynced, applied, applied_index, reads, halted, .. } = self;
        let Self { revision, damaged, met, reported, received, .. } = self;
        let print = replica.fingerprint();
        let recovery = (revision, damaged, met, reported, received);
        fingerprint::of(&(print, clock, unsynced, applied, applied_index, reads, halted, recovery))
    }
}

impl Server {
    /// A server that has just started, with a disk that says that it has met an era.
    pub fn new(replica: Replica, met: Era, looks_later: bool) -> Self {
        Self {
            replica,
            clock: Instant::ZERO,
            unsynced: Vec::new(),
            applied: Vec::new(),
            applied_index: Index(0),
            revision: 0,
            damaged: false,
            met,
            reported: Reported::default(),
            received: None,
            looks_later,
            reads: Vec::new(),
            halted: None,
        }
    }

    /// The register's value.
    fn value(&self) -> OpId {
        self.applied.last().copied().unwrap_or_default()
    }

    /// Proposes to write its own number into the register.
    pub fn propose(&mut self, op: OpId, effects: &mut Effects) {
        self.replica.propose(&[op]).expect("there is room for the few commands of a model");
        effects.notes.push(Note::Write { op });
        self.drain(effects);
    }

    /// Begins a linearizable read of the register.
    pub fn read(&mut self, op: OpId, effects: &mut Effects) {
        let barrier = self.replica.read_barrier();
        self.reads.push(Read { op, barrier, index: None });
        effects.notes.push(Note::Read { op });
        self.drain(effects);
    }

    /// Takes what the group delivers.
    pub fn handle_group(&mut self, event: GroupEvent, effects: &mut Effects) {
        match &event {
            GroupEvent::View(view) => {
                let view = Some((view.id, view.members.len()));
                self.reported = Reported { view, ..Reported::default() };
            }
            GroupEvent::Deliver { payload, .. } => self.note_report(payload),
        }
        self.replica.handle_group(self.clock, event);
        self.drain(effects);
    }

    /// Once all of a view have reported, it knows which of them have a later history than its own.
    fn note_report(&mut self, payload: &Bytes) {
        let Ok(GroupMessage::Report(report)) = GroupMessage::from_payload(payload) else { return };
        let Reported { view: Some((view, members)), count, era } = &mut self.reported else {
            return;
        };
        if report.recover || report.view != *view {
            return;
        }
        *count += 1;
        let own = &self.replica.log().voters().history;
        if let Standing::ContinuedBy(next) = own.standing(&report.voters.history) {
            *era = Some(era.map_or(next.era, |era| era.min(next.era)));
        }
        if count == members {
            self.met = self.met.max(era.unwrap_or_default());
        }
    }

    /// Looks at the image of the state that has arrived.
    pub fn look(&mut self, effects: &mut Effects) {
        let (number, bytes) = self.received.take().expect("the caller has looked");
        let snapshot = Snapshot::from_bytes(&bytes).ok();
        self.replica.handle_received(self.clock, number, snapshot);
        self.drain(effects);
    }

    /// True if an image of the state waits to be looked at.
    pub const fn has_received(&self) -> bool {
        self.received.is_some()
    }

    /// Everything written so far is durable now: what was written.
    pub fn sync(&mut self, effects: &mut Effects) -> Vec<Record> {
        let (ticket, _) = self.unsynced.last().expect("the caller has looked");
        let ticket = *ticket;
        let records = self.unsynced.drain(..).map(|(_, record)| record).collect();
        self.replica.handle_stored(self.clock, ticket);
        self.drain(effects);
        records
    }

    /// Carries out what the replica asks, until nothing is left.
    pub fn drain(&mut self, effects: &mut Effects) {
        while let Some(action) = self.replica.poll_action() {
            self.carry_out(action, effects);
        }
        let (applied, value) = (self.applied_index, self.value());
        self.reads.retain(|read| {
            let ready = read.index.is_some_and(|index| index <= applied);
            if ready {
                effects.notes.push(Note::ReadDone { op: read.op, value });
            }
            !ready
        });
    }

    fn carry_out(&mut self, action: Action, effects: &mut Effects) {
        match action {
            Action::Multicast(payload) => effects.multicasts.push(payload),
            Action::Persist { ticket, record } => self.unsynced.push((ticket, record)),
            Action::Peer { to, message } => effects.peers.push((to, message)),
            Action::Commit(entry) => self.apply(entry, effects),
            Action::Install { index, state } => {
                let mut state = state.to_vec();
                self.applied = state.split_off(size_of::<u64>());
                self.revision = u64::from_le_bytes(state.try_into().expect("just split"));
                self.applied_index = index;
                effects.notes.push(Note::Installed);
            }
            Action::SnapshotWanted => {
                let mut state = self.revision.to_le_bytes().to_vec();
                state.extend(&self.applied);
                let image = self.replica.wanted_frame().image(Bytes::from(state));
                self.replica.provide_snapshot(self.clock, image);
            }
            Action::SnapshotReceived { number, bytes } => {
                self.received = Some((number, bytes));
                if !self.looks_later {
                    self.look(effects);
                }
            }
            Action::Opened { epoch, .. } => effects.notes.push(Note::Opened { epoch }),
            Action::BarrierDone { up_to, index } => {
                for read in self.reads.iter_mut().filter(|read| read.barrier <= up_to) {
                    read.index.get_or_insert(index);
                }
            }
            Action::Closed(_) | Action::VotersChanged { .. } | Action::Standing(_) => {}
            Action::Halt(reason) => self.halted = Some(reason),
        }
    }

    fn apply(&mut self, entry: Entry, effects: &mut Effects) {
        let node = self.replica.node();
        assert_eq!(entry.index, self.applied_index.next(), "commits come without gaps");
        self.applied_index = entry.index;
        effects.notes.push(Note::Committed { node, entry: entry.clone() });
        match &entry.body {
            Body::Batch { origin, salt, commands: batch, .. } => {
                let own = *origin == node && *salt == self.replica.salt();
                for command in commands(batch) {
                    self.applied.push(command[0]);
                    self.revision += 1;
                    if own {
                        let (op, revision, epoch) = (command[0], self.revision, entry.epoch);
                        effects.notes.push(Note::WriteDone { op, revision, epoch });
                    }
                }
            }
            Body::Voters(set) => {
                let recovery = set.recovery_at(entry.index);
                self.revision += recovery.map_or(0, |recovery| recovery.revisions_skipped());
            }
            Body::Marker { .. } => {}
        }
        if self.replica.wants_digest(entry.index) {
            let digest = fingerprint::of(&(&self.applied, self.damaged));
            self.replica.note_digest(entry.index, digest);
        }
    }
}
