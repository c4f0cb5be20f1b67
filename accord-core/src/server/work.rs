//! Work that takes long and touches nothing: making images of the state, restoring them.
//!
//! A store of a million records takes a good part of a second to be written down or read back.
//! Done in between, that would hold up all that the server's thread does, and the group would take
//! the server for dead. So the server hands such work out as a [`Job`]; the driver runs it
//! beside, on a thread of its own or after a time that a simulation draws, and hands back what came
//! of it. A job works on what nobody else changes, so when and where it runs makes no difference.

use super::Server;
use super::io::{AdminId, AdminReply, Image as Backup, Output};
use crate::limits::Limits;
use crate::replica::io::{HaltReason, Snapshot};
use crate::replica::{Image, SnapshotFrame};
use crate::state::{Frozen, State};
use crate::wire::Decode;
use alloc::boxed::Box;
use bytes::Bytes;

/// Something to be worked out.
#[derive(Clone, Debug)]
pub struct Job(Work);

#[derive(Clone, Debug)]
enum Work {
    Image(Box<(SnapshotFrame, Frozen)>),
    Backup { admin: AdminId, image: Box<Backup>, frozen: Box<Frozen> },
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
        admin: AdminId,
        image: Box<Backup>,
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
            Work::Backup { admin, mut image, frozen } => {
                image.state = frozen.image();
                Worked::Backup { admin, image }
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

impl Server {
    pub(super) fn make_image(&mut self) {
        let work = Box::new((self.replica.wanted_frame(), self.state.freeze()));
        self.outputs.push_back(Output::Work(Job(Work::Image(work))));
    }

    pub(super) fn make_backup(&mut self, admin: AdminId, image: Backup) {
        let (image, frozen) = (Box::new(image), Box::new(self.state.freeze()));
        self.outputs.push_back(Output::Work(Job(Work::Backup { admin, image, frozen })));
    }

    pub(super) fn look_at(&mut self, number: u64, bytes: Bytes) {
        let limits = self.config.state.clone();
        self.outputs.push_back(Output::Work(Job(Work::Restore { number, bytes, limits })));
    }

    pub(super) fn on_worked(&mut self, done: Done) {
        match done.0 {
            Worked::Image(image) => self.replica.provide_snapshot(self.now, image),
            Worked::Backup { admin, image } => {
                let reply = AdminReply::Image(image);
                self.outputs.push_back(Output::Admin { admin, reply });
            }
            Worked::Restored { number, snapshot, state } => {
                if self.replica.handle_received(self.now, number, Some(snapshot)) {
                    self.prepared = Some(state);
                } else {
                    self.discard(*state);
                }
            }
            Worked::Damaged { number } => {
                self.replica.handle_received(self.now, number, None);
            }
            Worked::Unusable => self.halt(HaltReason::BadSnapshot),
            Worked::Discarded => {}
        }
    }

    /// The state of a snapshot that is to be installed.
    pub(super) fn prepared(&mut self, state: &Bytes) -> Option<State> {
        match self.prepared.take() {
            Some(prepared) => Some(*prepared),
            // At the start there was nobody to prepare it.
            None => State::restore(state, self.config.state.clone()).ok(),
        }
    }

    /// Lets somebody else free the memory of a state.
    pub(super) fn discard(&mut self, state: State) {
        if state.records() > 0 {
            self.outputs.push_back(Output::Work(Job(Work::Discard(Box::new(state)))));
        }
    }
}
