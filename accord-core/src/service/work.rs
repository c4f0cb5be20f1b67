//! Work that takes long and touches nothing: making images of the state, restoring them.
//!
//! A store of a million records takes a good part of a second to be written down or read back.
//! Done in between, that would hold up all that the server's thread does, and the group would take
//! the server for dead. So the server hands such work out as a [`Job`]; the driver runs it
//! beside, on a thread of its own or after a time that a simulation draws, and hands back what came
//! of it. A job works on what nobody else changes, so when and where it runs makes no difference.

use super::{Output, Service};
use crate::ids::{LogPosition, Revision};
use crate::limits::Limits;
use crate::pieces::Pieces;
use crate::replica::io::{HaltReason, Snapshot};
use crate::replica::voters::VoterSet;
use crate::replica::{Image, SnapshotFrame};
use crate::state::{Frozen, State};
use crate::time::Instant;
use crate::wire::Decode;
use alloc::boxed::Box;
use bytes::Bytes;

/// The state at one point of the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The last entry that it contains.
    pub last: LogPosition,
    /// The voter set at that point.
    pub voters: VoterSet,
    /// The state's revision.
    pub revision: Revision,
    /// The state's digest.
    pub digest: u64,
    /// The state, as a snapshot.
    pub state: Pieces,
}

/// Something to be worked out.
#[derive(Clone, Debug)]
pub struct Job(Work);

#[derive(Clone, Debug)]
enum Work {
    Image(Box<(SnapshotFrame, Frozen)>),
    Backup { number: u64, backup: Box<Backup>, frozen: Box<Frozen> },
    Restore { number: u64, bytes: Bytes, limits: Limits },
    Discard(Box<State>),
}

/// What came of a [`Job`].
#[derive(Clone, Debug)]
pub struct Done(Worked);

#[derive(Clone, Debug)]
enum Worked {
    Image(Image),
    Backup {
        number: u64,
        backup: Box<Backup>,
    },
    Restored {
        number: u64,
        snapshot: Snapshot,
        state: Box<State>,
    },
    /// The bytes are none that a server wrote.
    Damaged {
        number: u64,
    },
    /// They are, but no state of this cluster.
    Unusable,
    Discarded,
}

impl Job {
    /// Does it.
    pub fn run(self) -> Box<Done> {
        Box::new(Done(match self.0 {
            Work::Image(work) => {
                let (frame, frozen) = *work;
                Worked::Image(frame.image(frozen.image()))
            }
            Work::Backup { number, mut backup, frozen } => {
                backup.state = frozen.image();
                Worked::Backup { number, backup }
            }
            Work::Restore { number, bytes, limits } => restore(number, &bytes, limits),
            Work::Discard(state) => {
                drop(state);
                Worked::Discarded
            }
        }))
    }

    /// About how many bytes it works on, for whoever is to say how long it takes.
    pub fn bytes(&self) -> u64 {
        match &self.0 {
            Work::Image(work) => work.1.bytes(),
            Work::Backup { frozen, .. } => frozen.bytes(),
            Work::Restore { bytes, .. } => bytes.len() as u64,
            Work::Discard(state) => state.store_bytes(),
        }
    }
}

fn restore(number: u64, bytes: &Bytes, limits: Limits) -> Worked {
    let Ok(snapshot) = Snapshot::from_bytes(bytes) else { return Worked::Damaged { number } };
    match State::restore(&snapshot.state.whole(), limits) {
        Ok(state) => Worked::Restored { number, snapshot, state: Box::new(state) },
        Err(_) => Worked::Unusable,
    }
}

impl Service {
    pub(super) fn image_job(&self) -> Output {
        let work = Box::new((self.replica.wanted_frame(), self.state.freeze()));
        Output::Work(Job(Work::Image(work)))
    }

    pub(super) fn restore_job(&self, number: u64, bytes: Bytes) -> Output {
        let limits = self.limits.clone();
        Output::Work(Job(Work::Restore { number, bytes, limits }))
    }

    /// Has the state written down, as it is now: it comes as [`Output::BackedUp`] with the caller's
    /// number. To be called when no output is left, so that log and state are of one moment.
    pub fn back_up(&mut self, number: u64) {
        let log = self.replica.log();
        let last = log.position_at(self.applied);
        let backup = Box::new(Backup {
            last: last.expect("the last applied entry is held, or the base"),
            voters: self.voters_applied(),
            revision: self.state.revision(),
            digest: self.state.digest(),
            state: Pieces::default(),
        });
        let frozen = Box::new(self.state.freeze());
        self.outputs.push_back(Output::Work(Job(Work::Backup { number, backup, frozen })));
    }

    /// Takes what came of a job.
    pub fn handle_worked(&mut self, now: Instant, done: Done) {
        self.now = now;
        match done.0 {
            Worked::Image(image) => self.replica.provide_snapshot(now, image),
            Worked::Backup { number, backup } => {
                self.outputs.push_back(Output::BackedUp { number, backup });
            }
            Worked::Restored { number, snapshot, state } => {
                if self.replica.handle_received(now, number, Some(snapshot)) {
                    self.prepared = Some(state);
                } else {
                    self.discard(*state);
                }
            }
            Worked::Damaged { number } => {
                self.replica.handle_received(now, number, None);
            }
            Worked::Unusable => self.halt(HaltReason::BadSnapshot),
            Worked::Discarded => {}
        }
    }

    /// Lets somebody else free the memory of a state.
    pub(super) fn discard(&mut self, state: State) {
        if state.records() > 0 {
            self.outputs.push_back(Output::Work(Job(Work::Discard(Box::new(state)))));
        }
    }
}
