//! The open epoch: frames are appended, acknowledged and committed.
//!
//! The index of the next entry, the voter set and the commit index are functions of the frames
//! delivered in the epoch. So they are the same at every member at the same point of the order,
//! also at a member that still lacks older entries.
//!
//! An index is committed when a majority of the voters has acknowledged it *in this epoch*; older
//! entries are committed with it (Raft section 5.4.2: counting copies of older epochs proves
//! nothing).

use super::io::{Action, Body, Entry};
use super::log::Log;
use super::message::Frame;
use super::plan::Plan;
use super::transfer::Fetching;
use super::voters::{ChangeError, VoterChange, VoterSet};
use super::{Phase, Replica};
use crate::ids::{Index, NodeId};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// What a member knows of the open epoch.
#[derive(Clone, Debug)]
pub(super) struct OpenEpoch {
    pub(super) plan: Plan,
    /// Those of the view who take part, sorted.
    pub(super) members: Vec<NodeId>,
    /// Where the epoch's first entry stands.
    pub(super) begin: Index,
    /// Where the next entry will stand.
    pub(super) next: Index,
    /// How many frames of the epoch were delivered.
    pub(super) position: u64,
    /// The voter set as of the latest entry.
    pub(super) voters: VoterSet,
    /// Where it was set; the epoch's first entry, if before.
    pub(super) voters_index: Index,
    /// What each member has acknowledged in this epoch.
    pub(super) acked: BTreeMap<NodeId, Index>,
    /// How many frames each member had seen.
    pub(super) seen: BTreeMap<NodeId, u64>,
    /// Committed, as far as this epoch's acknowledgements and the reports tell.
    pub(super) commit: Index,
    /// Up to where this server's log is known to be the epoch's.
    pub(super) agreed: Index,
    /// What is still to be fetched.
    pub(super) fetching: Option<Fetching>,
    /// Own frames sent and not delivered back.
    pub(super) frames_in_flight: usize,
    /// The last acknowledgement sent.
    pub(super) acked_sent: Index,
    /// True if another server's read waits for word that this one is still here.
    pub(super) seen_due: bool,
    /// Digest to be sent.
    pub(super) digest_due: Option<(Index, u64)>,
    /// Digests by index and server.
    pub(super) digests: BTreeMap<Index, BTreeMap<NodeId, u64>>,
    /// Change of voters to be sent.
    pub(super) change_due: Option<(u64, VoterChange)>,
    /// Own change that was sent and not delivered back.
    pub(super) change_sent: Option<u64>,
    /// Own changes that were appended and are not committed.
    pub(super) changes_appended: VecDeque<(u64, Index)>,
}

impl OpenEpoch {
    pub(super) fn new(plan: Plan, commit_here: Index) -> Self {
        let begin = plan.source_last.index.next();
        Self {
            begin,
            next: begin,
            position: 0,
            voters: plan.voters.clone(),
            voters_index: begin,
            acked: BTreeMap::new(),
            seen: BTreeMap::new(),
            commit: plan.commit,
            agreed: commit_here,
            fetching: None,
            frames_in_flight: 0,
            acked_sent: Index(0),
            seen_due: false,
            digest_due: None,
            digests: BTreeMap::new(),
            change_due: None,
            change_sent: None,
            changes_appended: VecDeque::new(),
            members: plan.members(),
            plan,
        }
    }

    pub(super) fn is_synced(&self) -> bool {
        self.fetching.is_none()
    }

    /// The entries that open the epoch: its marker, after the voters if it forms the cluster, so
    /// that no log ever holds an entry of an era without the recovery that began it.
    pub(super) fn first_entries(&self) -> Vec<Entry> {
        let genesis = self.plan.genesis.then(|| Body::Voters(self.plan.voters.clone()));
        let bodies = genesis.into_iter().chain([Body::Marker { members: self.members.clone() }]);
        let mut index = self.begin.prev();
        let entries = bodies.map(|body| {
            index = index.next();
            Entry { epoch: self.plan.epoch, index, body }
        });
        entries.collect()
    }

    /// Own changes of voters whose outcome is open.
    pub(super) fn changes_waiting(&self) -> impl Iterator<Item = u64> + '_ {
        let due = self.change_due.map(|(request, _)| request);
        let appended = self.changes_appended.iter().map(|(request, _)| *request);
        due.into_iter().chain(self.change_sent).chain(appended).filter(|request| *request != 0)
    }

    fn on_acknowledgement(&mut self, from: NodeId, acked: Index, seen: u64) {
        let slot = self.acked.entry(from).or_default();
        // No member can have more than what was delivered before.
        *slot = (*slot).max(acked.min(self.next.prev()));
        let slot = self.seen.entry(from).or_default();
        *slot = (*slot).max(seen.min(self.position));
    }

    /// The largest index that a majority of the voters acknowledged in this epoch.
    fn quorum_acked(&self) -> Index {
        Index(self.voters.quorum_value(|node, store| {
            let present = self.plan.stores.get(&node) == Some(&store);
            let acked = self.acked.get(&node).copied().unwrap_or_default();
            if present { acked.0 } else { 0 }
        }))
    }

    /// How many frames a majority of the voters has seen; `me` has seen all that it delivered.
    pub(super) fn quorum_seen(&self, me: NodeId) -> u64 {
        self.voters.quorum_value(|node, store| {
            let present = self.plan.stores.get(&node) == Some(&store);
            let seen = match node == me {
                true => self.position,
                false => self.seen.get(&node).copied().unwrap_or_default(),
            };
            if present { seen } else { 0 }
        })
    }

    /// True if the member's present incarnation is one of the voters in force now.
    pub(super) fn votes(&self, node: NodeId) -> bool {
        self.plan.stores.get(&node).is_some_and(|store| self.voters.is_intact(node, *store))
    }

    /// True if a member has the log of this epoch.
    pub(super) fn has_caught_up(&self, node: NodeId) -> bool {
        self.acked.get(&node).is_some_and(|acked| *acked >= self.begin)
    }

    /// Whether a change of voters may be appended now; the set it leads to.
    pub(super) fn changed_voters(&self, change: VoterChange) -> Result<VoterSet, ChangeError> {
        if self.commit < self.begin || self.commit < self.voters_index {
            return Err(ChangeError::InProgress);
        }
        if let VoterChange::Add { node, store } = change {
            if self.plan.stores.get(&node) != Some(&store) {
                return Err(ChangeError::NotMember);
            }
            if !self.has_caught_up(node) {
                return Err(ChangeError::NotCaughtUp);
            }
        }
        let set = self.voters.changed(change)?;
        if set.count_intact(&self.plan.stores) < set.quorum() {
            return Err(ChangeError::WouldLoseQuorum);
        }
        // Nothing would be committed until enough of them have fetched what they lack.
        let intact = self.plan.stores.iter().filter(|(node, store)| set.is_intact(**node, **store));
        if intact.filter(|(node, _)| self.has_caught_up(**node)).count() < set.quorum() {
            return Err(ChangeError::QuorumBehind);
        }
        Ok(set)
    }

    pub(super) fn check(&self, log: &Log) {
        assert!(self.begin < self.next, "an open epoch has its marker");
        assert!(self.commit < self.next, "what is committed was appended");
        assert!(self.voters_index < self.next, "the voter set was appended");
        self.voters.check();
        if self.is_synced() {
            assert_eq!(log.last().index.next(), self.next, "a synced log is the epoch's log");
            assert_eq!(self.agreed, log.last().index, "a synced log agrees");
        }
    }
}

impl Replica {
    pub(super) fn on_frame(&mut self, from: NodeId, frame: Frame) {
        let me = self.config.node;
        let Phase::Open(epoch) = &mut self.phase else {
            self.messages_ignored += 1;
            return;
        };
        if epoch.plan.epoch != frame.epoch {
            self.messages_ignored += 1;
            return;
        }
        epoch.position += 1;
        epoch.seen_due |= frame.barrier && from != me;
        if from == me {
            epoch.frames_in_flight -= 1;
        }
        let epoch_number = epoch.plan.epoch;
        if let Some(batch) = frame.batch {
            let body = Body::Batch {
                origin: from,
                salt: batch.salt,
                number: batch.number,
                stamp: batch.stamp,
                commands: batch.commands,
            };
            let entry = Entry { epoch: epoch_number, index: epoch.next, body };
            self.append_live(entry);
        }
        if let Some((request, change)) = frame.change {
            self.on_voter_change(from, request, change);
        }
        let Phase::Open(epoch) = &mut self.phase else { return };
        epoch.on_acknowledgement(from, frame.acked, frame.seen);
        if frame.barrier && from == me {
            self.barriers.on_own_delivered(epoch.position, epoch.next.prev());
        }
        self.update_commit();
        if let Some((index, digest)) = frame.digest {
            self.on_digest(from, index, digest);
        }
        self.readmit();
    }

    /// Takes the next entry of the epoch: into the log, or aside while older ones are fetched.
    pub(super) fn append_live(&mut self, entry: Entry) {
        let live_bytes_max = self.config.limits.live_bytes_max;
        let Phase::Open(epoch) = &mut self.phase else { return };
        assert_eq!(entry.index, epoch.next, "entries of an epoch follow each other");
        epoch.next = epoch.next.next();
        match &mut epoch.fetching {
            Some(fetching) => {
                fetching.push_live(entry, live_bytes_max);
                self.after_awaited();
            }
            None => {
                epoch.agreed = entry.index;
                self.append(entry);
            }
        }
    }

    fn on_voter_change(&mut self, from: NodeId, request: u64, change: VoterChange) {
        let me = self.config.node;
        let Phase::Open(epoch) = &mut self.phase else { return };
        if from == me {
            epoch.change_sent = None;
        }
        match epoch.changed_voters(change) {
            Err(error) => {
                if from == me && request != 0 {
                    let result = Err(error);
                    self.actions.push_back(Action::VotersChanged { request, result });
                }
            }
            Ok(set) => {
                let index = epoch.next;
                epoch.voters = set.clone();
                epoch.voters_index = index;
                if from == me {
                    epoch.changes_appended.push_back((request, index));
                }
                let body = Body::Voters(set);
                let entry = Entry { epoch: epoch.plan.epoch, index, body };
                self.append_live(entry);
            }
        }
    }

    /// Looks whether more is committed, and whether barriers are passed.
    pub(super) fn update_commit(&mut self) {
        let me = self.config.node;
        let Phase::Open(epoch) = &mut self.phase else { return };
        let acked = epoch.quorum_acked();
        if acked >= epoch.begin {
            epoch.commit = epoch.commit.max(acked);
        }
        while let Some((request, index)) = epoch.changes_appended.front().copied() {
            if index > epoch.commit {
                break;
            }
            epoch.changes_appended.pop_front();
            if request != 0 {
                self.actions.push_back(Action::VotersChanged { request, result: Ok(()) });
            }
        }
        let held = epoch.commit.min(epoch.agreed);
        let seen = epoch.quorum_seen(me);
        self.commit_up_to(held);
        if let Some((up_to, index)) = self.barriers.take_passed(seen) {
            self.actions.push_back(Action::BarrierDone { up_to, index });
        }
    }

    /// True if there is something to say, and the pipeline has room for it.
    pub(super) fn has_frame_due(&self) -> bool {
        let Phase::Open(epoch) = &self.phase else { return false };
        let room = epoch.frames_in_flight < self.config.limits.frames_in_flight_max;
        let due = (epoch.is_synced() && self.proposals.has_next())
            || self.barriers.is_due()
            || self.acknowledgeable() > epoch.acked_sent
            || epoch.seen_due
            || epoch.digest_due.is_some()
            || epoch.change_due.is_some();
        room && due
    }

    /// Multicasts a frame with all that there is to say, if there is something.
    pub(super) fn compose_frame(&mut self) {
        if !self.has_frame_due() {
            return;
        }
        let acked = self.acknowledgeable();
        let Phase::Open(epoch) = &mut self.phase else { return };
        let batch =
            if epoch.is_synced() { self.proposals.next_batch(self.salt, self.clock) } else { None };
        let barrier = self.barriers.take_due();
        let change = epoch.change_due.take();
        if let Some((request, _)) = change {
            epoch.change_sent = Some(request);
        }
        let (header, buffer) = match batch {
            Some((header, buffer)) => (Some(header), buffer),
            None => (None, super::message::new_buffer(0)),
        };
        let frame = Frame {
            epoch: epoch.plan.epoch,
            acked,
            seen: epoch.position,
            barrier,
            batch: header,
            digest: epoch.digest_due.take(),
            change,
        };
        epoch.acked_sent = epoch.acked_sent.max(acked);
        epoch.seen_due = false;
        epoch.frames_in_flight += 1;
        let payload = frame.seal(buffer);
        self.proposals.on_sent(&frame, &payload);
        self.actions.push_back(Action::Multicast(payload));
    }

    /// Asks for a change of voters; the outcome comes as [`Action::VotersChanged`] with the
    /// caller's `request`, which must not be zero.
    ///
    /// # Errors
    /// [`ChangeError::NotPrimary`] or [`ChangeError::InProgress`] if it cannot even be asked.
    pub fn change_voters(&mut self, request: u64, change: VoterChange) -> Result<(), ChangeError> {
        assert!(request != 0, "zero is for changes that servers make on their own");
        let Phase::Open(epoch) = &mut self.phase else { return Err(ChangeError::NotPrimary) };
        if !epoch.is_synced() {
            return Err(ChangeError::NotPrimary);
        }
        if epoch.change_due.is_some() || epoch.change_sent.is_some() {
            return Err(ChangeError::InProgress);
        }
        epoch.change_due = Some((request, change));
        self.check();
        Ok(())
    }
}
