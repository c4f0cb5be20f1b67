//! Durability: which records are on the disk, and which are under way.
//!
//! Records are written in order and complete in order. In memory mode the medium is memory: a
//! record is durable at once, and nothing is written.

use super::applying::Backlog;
use super::io::{Action, Body, Entry, Record, Snapshot, Ticket};
use super::{Phase, Replica};
use crate::group::Standing;
use crate::ids::{Epoch, Index, LogPosition, NodeId};
use crate::pieces::Pieces;
use alloc::collections::{BTreeMap, VecDeque};

/// What becomes true when a record is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// The log is durable up to here.
    Log(Index),
    /// The epoch is promised.
    Promise(Epoch),
    /// The log up to here is not needed any more.
    Checkpoint(Index),
    /// Nothing to be told.
    None,
}

/// The server's disk as the replica sees it.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    ticket: Ticket,
    /// Written, not yet durable. Bounded by what the replica appends, which acknowledgements pace.
    pending: VecDeque<(Ticket, Effect)>,
    /// Invariant: never above the log's end.
    durable: Index,
    checkpointed: Index,
    /// Bytes appended since the last checkpoint.
    appended_bytes: usize,
    /// Bytes of the state in the last checkpoint.
    state_bytes: usize,
    checkpoint_under_way: bool,
}

impl Disk {
    pub(super) const fn new(durable: Index, checkpointed: Index, state_bytes: usize) -> Self {
        Self {
            ticket: Ticket(0),
            pending: VecDeque::new(),
            durable,
            checkpointed,
            appended_bytes: 0,
            state_bytes,
            checkpoint_under_way: false,
        }
    }

    pub(super) const fn durable(&self) -> Index {
        self.durable
    }

    pub(super) const fn checkpointed(&self) -> Index {
        self.checkpointed
    }

    /// What follows `end` is no longer part of the log, even if it becomes durable.
    fn cut(&mut self, end: Index) {
        self.durable = self.durable.min(end);
        for (_, effect) in &mut self.pending {
            if let Effect::Log(index) = effect {
                *index = (*index).min(end);
            }
        }
    }
}

/// What a snapshot says besides the state, which [`Action::SnapshotWanted`] asks for.
#[derive(Clone, Debug)]
pub struct SnapshotHead {
    pub(super) last: LogPosition,
    ends: super::ends::EpochEnds,
    voters: super::voters::VoterSet,
    origins: BTreeMap<NodeId, super::io::Origin>,
}

impl SnapshotHead {
    /// The last entry that the state contains.
    pub const fn last(&self) -> LogPosition {
        self.last
    }

    /// The snapshot with this state, and as it is sent to others. Reads the whole state for a
    /// checksum: costs nothing to the server if it is done on another thread.
    pub fn image(self, state: impl Into<Pieces>) -> Image {
        let Self { last, ends, voters, origins } = self;
        let mut snapshot = Snapshot { last, ends, voters, origins, state: state.into() };
        let (encoded, state) = snapshot.encoded();
        // The state shares the encoding's list of pieces: a million pieces have one list, and
        // dropping one of the two drops no pieces.
        snapshot.state = state;
        Image { encoded, snapshot }
    }
}

/// A snapshot, and as it is sent to others.
#[derive(Clone, Debug)]
pub struct Image {
    pub(super) snapshot: Snapshot,
    pub(super) encoded: Pieces,
}

impl Replica {
    /// Writes a record, or in memory mode lets it be durable at once.
    pub(super) fn persist(&mut self, record: Record) {
        let effect = match &record {
            Record::Identity { .. } => Effect::None,
            Record::Promise(epoch) => Effect::Promise(*epoch),
            Record::Append(entry) => Effect::Log(entry.index),
            Record::Truncate(from) => Effect::Log(from.prev()),
            Record::Checkpoint(snapshot) => Effect::Checkpoint(snapshot.last.index),
            Record::Install(snapshot) => Effect::Log(snapshot.last.index),
        };
        if !self.is_persistent() {
            self.on_durable(effect);
            return;
        }
        self.disk.ticket.0 += 1;
        let ticket = self.disk.ticket;
        self.disk.pending.push_back((ticket, effect));
        self.actions.push_back(Action::Persist { ticket, record });
    }

    pub(super) fn on_stored(&mut self, ticket: Ticket) {
        while let Some((waiting, effect)) = self.disk.pending.front().copied() {
            if waiting > ticket {
                break;
            }
            self.disk.pending.pop_front();
            self.on_durable(effect);
        }
    }

    fn on_durable(&mut self, effect: Effect) {
        match effect {
            Effect::Log(index) => self.disk.durable = index,
            Effect::Promise(epoch) => self.on_promise_durable(epoch),
            Effect::Checkpoint(index) => {
                self.disk.checkpointed = index;
                self.disk.checkpoint_under_way = false;
            }
            Effect::None => {}
        }
    }

    /// Appends an entry to the log and writes it.
    pub(super) fn append(&mut self, entry: Entry) {
        self.disk.appended_bytes += entry.cost_bytes();
        let votes = matches!(entry.body, Body::Voters(_));
        self.log.append(entry.clone());
        self.persist(Record::Append(entry));
        if votes {
            self.tell_standing();
        }
    }

    /// Drops a suffix that was never committed.
    pub(super) fn truncate(&mut self, from: Index) {
        assert!(from > self.commit, "nothing committed is ever truncated");
        let votes = self.log.voters_index() >= from;
        self.log.truncate(from);
        self.disk.cut(from.prev());
        self.persist(Record::Truncate(from));
        if votes {
            self.tell_standing();
        }
    }

    /// Replaces log and state by a snapshot from another server.
    pub(super) fn install(&mut self, snapshot: Snapshot) {
        assert!(snapshot.last.index > self.applied, "a snapshot leads forward");
        self.log = super::log::Log::after(&snapshot);
        self.applied = snapshot.last.index;
        self.commit = snapshot.last.index;
        self.backlog = Backlog::default();
        self.origins = snapshot.origins.clone();
        self.disk.cut(Index(0));
        self.disk.appended_bytes = 0;
        self.disk.checkpointed = snapshot.last.index;
        self.disk.state_bytes = snapshot.state.len();
        let state = snapshot.state.whole();
        self.actions.push_back(Action::Install { index: self.applied, state });
        self.persist(Record::Install(snapshot));
        self.settle_installed_batches();
        self.tell_standing();
    }

    /// Tells the group layer who votes, as the log now says.
    pub(super) fn tell_standing(&mut self) {
        let voters = self.log.voters();
        let standing = Standing {
            known_at: self.log.last(),
            voters: voters.voters.keys().copied().collect(),
            votes: voters.is_intact(self.config.node, self.store),
        };
        self.actions.push_back(Action::Standing(standing));
    }

    /// What this server can vouch for in the open epoch; zero for nothing.
    pub(super) fn acknowledgeable(&self) -> Index {
        match &self.phase {
            Phase::Open(epoch) if epoch.is_synced() && self.disk.durable >= epoch.begin => {
                self.disk.durable
            }
            _ => Index(0),
        }
    }

    /// Asks for a checkpoint when the log on disk has grown enough: at least by what the last one
    /// took, so that checkpoints write no more than the log does, however large the state is.
    pub(super) fn consider_checkpoint(&mut self) {
        let enough = self.config.limits.checkpoint_bytes.max(self.disk.state_bytes);
        let due = self.disk.appended_bytes >= enough;
        let useful = self.applied > self.disk.checkpointed;
        if self.is_persistent() && due && useful && !self.disk.checkpoint_under_way {
            self.disk.checkpoint_under_way = true;
            self.disk.appended_bytes = 0;
            self.want_snapshot(true);
        }
    }

    pub(super) fn snapshot_frame(&self) -> SnapshotHead {
        let last = self.position_applied();
        SnapshotHead {
            last,
            ends: self.log.ends().up_to(last),
            voters: self.log.voters_at(self.applied).clone(),
            origins: self.origins.clone(),
        }
    }

    /// What [`Action::SnapshotWanted`] asks the state for.
    ///
    /// # Panics
    /// If nothing was asked for.
    pub fn wanted_frame(&self) -> SnapshotHead {
        self.serving.wanted_frame()
    }

    /// Takes the snapshot that [`Action::SnapshotWanted`] asked for: the image that
    /// [`Replica::wanted_frame`] makes of the state.
    ///
    /// # Panics
    /// If it was not asked for.
    pub fn provide_snapshot(&mut self, now: crate::time::Instant, image: Image) {
        if self.halted {
            return;
        }
        let Image { snapshot, encoded } = image;
        let (frame, for_disk) = self.serving.take_wanted();
        let last = snapshot.last;
        assert_eq!(frame.last, last, "the image is the one that was asked for");
        self.serve_image(now, last, encoded);
        // An installed state may have overtaken the checkpoint.
        if for_disk && last.index > self.disk.checkpointed && self.log.base().index <= last.index {
            self.disk.state_bytes = snapshot.state.len();
            self.persist(Record::Checkpoint(snapshot));
        } else if for_disk {
            self.disk.checkpoint_under_way = false;
        }
        self.check();
    }
}
