//! One server of the model: the core's `Replica`, a register as the state that it replicates, and
//! what it has written to its disk and not synced.
//!
//! Commands are single bytes, each proposed once; the register holds the last one applied. A step
//! hands the replica one input, carries out what it asks until nothing is left, and tells in
//! [`Note`]s what a checker wants to know.

use super::oracle::{Note, OpId};
use crate::kept::Fingerprint;
use accord_core::fingerprint;
use accord_core::ids::{Index, NodeId};
use accord_core::replica::Replica;
use accord_core::replica::io::{
    Action, BarrierId, Body, HaltReason, Record, Snapshot, Ticket, commands,
};
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
    applied_index: Index,
    /// Reads that wait for their barrier, or for what it names to be applied.
    reads: Vec<Read>,
    /// Why it stopped itself.
    pub halted: Option<HaltReason>,
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
        let Self { replica, clock, unsynced, applied, applied_index, reads, halted } = self;
        let print = replica.fingerprint();
        fingerprint::of(&(print, clock, unsynced, applied, applied_index, reads, halted))
    }
}

impl Server {
    /// A server that has just started.
    pub fn new(replica: Replica) -> Self {
        Self {
            replica,
            clock: Instant::ZERO,
            unsynced: Vec::new(),
            applied: Vec::new(),
            applied_index: Index(0),
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
        let node = self.replica.node();
        match action {
            Action::Multicast(payload) => effects.multicasts.push(payload),
            Action::Persist { ticket, record } => self.unsynced.push((ticket, record)),
            Action::Peer { to, message } => effects.peers.push((to, message)),
            Action::Commit(entry) => {
                assert_eq!(entry.index, self.applied_index.next(), "commits come without gaps");
                self.applied_index = entry.index;
                effects.notes.push(Note::Committed { node, entry: entry.clone() });
                if let Body::Batch { origin, salt, commands: batch, .. } = &entry.body {
                    let own = *origin == node && *salt == self.replica.salt();
                    for command in commands(batch) {
                        self.applied.push(command[0]);
                        if own {
                            effects.notes.push(Note::WriteDone { op: command[0] });
                        }
                    }
                }
            }
            Action::Install { index, state } => {
                (self.applied_index, self.applied) = (index, state.to_vec());
            }
            Action::SnapshotWanted => {
                let state = Bytes::from(self.applied.clone());
                self.replica.provide_snapshot(self.clock, state);
            }
            Action::SnapshotReceived { number, bytes } => {
                let snapshot = Snapshot::from_bytes(&bytes).ok();
                self.replica.handle_received(self.clock, number, snapshot);
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
}
