//! Long jobs on immutable data, run off the server's thread: making and restoring snapshots.
//!
//! A store of a million records takes a good part of a second to encode or decode. On the server's
//! thread that would delay all else, and the group would take the server for dead. So the server
//! emits a [`Job`]. The driver runs it on another thread, or after a delay that a simulation draws,
//! and hands in the [`JobResult`]. A job owns its data, so when and where it runs makes no
//! difference.

use super::{Output, Service};
use crate::ids::{LogPosition, Revision};
use crate::limits::Limits;
use crate::pieces::Pieces;
use crate::replica::io::{HaltReason, Snapshot};
use crate::replica::voters::VoterSet;
use crate::replica::{Image, SnapshotHead};
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

/// Long work that needs nothing but its own data.
#[derive(Clone, Debug)]
pub struct Job(JobKind);

#[derive(Clone, Debug)]
enum JobKind {
    Image(Box<(SnapshotHead, Frozen)>),
    Backup { number: u64, backup: Box<Backup>, frozen: Box<Frozen> },
    Restore { number: u64, bytes: Bytes, limits: Limits },
    Discard(Box<State>),
}

/// The result of a [`Job`].
#[derive(Clone, Debug)]
pub struct JobResult(JobOutcome);

#[derive(Clone, Debug)]
enum JobOutcome {
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
    /// Runs the job to its end.
    pub fn run(self) -> Box<JobResult> {
        Box::new(JobResult(match self.0 {
            JobKind::Image(work) => {
                let (frame, frozen) = *work;
                JobOutcome::Image(frame.image(frozen.image()))
            }
            JobKind::Backup { number, mut backup, frozen } => {
                backup.state = frozen.image();
                JobOutcome::Backup { number, backup }
            }
            JobKind::Restore { number, bytes, limits } => restore(number, &bytes, limits),
            JobKind::Discard(state) => {
                drop(state);
                JobOutcome::Discarded
            }
        }))
    }

    /// About how many bytes the job works on: simulations draw its duration from it.
    pub fn bytes(&self) -> u64 {
        match &self.0 {
            JobKind::Image(work) => work.1.bytes(),
            JobKind::Backup { frozen, .. } => frozen.bytes(),
            JobKind::Restore { bytes, .. } => bytes.len() as u64,
            JobKind::Discard(state) => state.store_bytes(),
        }
    }
}

fn restore(number: u64, bytes: &Bytes, limits: Limits) -> JobOutcome {
    let Ok(snapshot) = Snapshot::from_bytes(bytes) else { return JobOutcome::Damaged { number } };
    match State::restore(&snapshot.state.whole(), limits) {
        Ok(state) => JobOutcome::Restored { number, snapshot, state: Box::new(state) },
        Err(_) => JobOutcome::Unusable,
    }
}

impl Service {
    pub(super) fn image_job(&self) -> Output {
        let work = Box::new((self.replica.wanted_frame(), self.state.freeze()));
        Output::Job(Job(JobKind::Image(work)))
    }

    pub(super) fn restore_job(&self, number: u64, bytes: Bytes) -> Output {
        let limits = self.limits.clone();
        Output::Job(Job(JobKind::Restore { number, bytes, limits }))
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
        self.outputs.push_back(Output::Job(Job(JobKind::Backup { number, backup, frozen })));
    }

    /// Takes the result of a job.
    pub fn handle_job_done(&mut self, now: Instant, done: JobResult) {
        self.now = now;
        match done.0 {
            JobOutcome::Image(image) => self.replica.provide_snapshot(now, image),
            JobOutcome::Backup { number, backup } => {
                self.outputs.push_back(Output::BackedUp { number, backup });
            }
            JobOutcome::Restored { number, snapshot, state } => {
                if self.replica.handle_received(now, number, Some(snapshot)) {
                    self.prepared = Some(state);
                } else {
                    self.discard(*state);
                }
            }
            JobOutcome::Damaged { number } => {
                self.replica.handle_received(now, number, None);
            }
            JobOutcome::Unusable => self.halt(HaltReason::BadSnapshot),
            JobOutcome::Discarded => {}
        }
    }

    /// Has the memory of a state freed off the server's thread.
    pub(super) fn discard(&mut self, state: State) {
        if state.records() > 0 {
            self.outputs.push_back(Output::Job(Job(JobKind::Discard(Box::new(state)))));
        }
    }
}
