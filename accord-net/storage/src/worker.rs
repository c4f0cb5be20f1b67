//! What is done behind the commits: checkpoints are written, segments are made ready and removed.
//!
//! A [`Worker`] shares the directory with its [`Store`](super::Store) and runs on another thread,
//! or on the same one between commits. It works in small steps, each with at most about a megabyte
//! to sync, so that no commit waits long for the disk. What it has not done costs time, never
//! safety: a checkpoint that is not finished leaves the old one and the whole log; a segment that
//! is not ready is made by the commit that needs it.
//!
//! Locks are taken in the order `making`, `file`, `todo`.

use super::checkpoint::{Base, CheckpointFile, Stored};
use super::disk::{Directory, SECTOR_BYTES};
use super::error::StorageError;
use super::recover;
use super::scan::Position;
use super::segment::{self, Maker, Owner, Segment};
use super::state_file;
use super::store::Options;
use accord_core::ids::Epoch;
use accord_core::replica::io::Snapshot;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most segments before the base that are kept to become new ones. What is kept for long is
/// new memory to the system by the time it is used, and not there for others until then.
const OLD_SEGMENTS_MAX: u64 = 2;

/// What a store and its worker share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) directory: Arc<dyn Directory>,
    pub(super) options: Options,
    making: Mutex<Making>,
    /// `None` until the store has its identity.
    file: Mutex<Option<CheckpointFile>>,
    todo: Mutex<Todo>,
    /// Keeps other processes out while either lives.
    _guard: Box<dyn super::disk::Guard>,
}

/// The segment that follows the one in use.
#[derive(Debug)]
pub(super) enum Making {
    /// Nothing is known of any.
    Idle,
    /// It is to be made.
    Wanted(Owner, u64),
    /// It is being made.
    Under(Owner, Maker),
    /// It is there.
    Ready(Owner, Segment),
}

/// Its lock is never held while the disk is waited for.
#[derive(Debug, Default)]
struct Todo {
    /// Something was put to do since the worker last looked.
    work: bool,
    checkpoint: Option<Pending>,
    /// The newest base that the worker wrote, until the store has seen it.
    flipped: Option<Flipped>,
    /// The oldest segment that may still be there under its name.
    oldest_segment: u64,
    failed: Option<StorageError>,
}

/// A base that the worker wrote.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flipped {
    pub(super) generation: u64,
    pub(super) from: u64,
    pub(super) at: Position,
}

/// A checkpoint that is to be written.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) snapshot: Snapshot,
    pub(super) from: u64,
    pub(super) at: Position,
    pub(super) promised: Epoch,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked has left its state as it was or has failed with it: see `Shared::run`.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(
        directory: Arc<dyn Directory>,
        guard: Box<dyn super::disk::Guard>,
        options: Options,
    ) -> Arc<Self> {
        Arc::new(Self {
            directory,
            options,
            making: Mutex::new(Making::Idle),
            file: Mutex::new(None),
            todo: Mutex::new(Todo::default()),
            _guard: guard,
        })
    }

    /// The file, once there is one, and the oldest segment that may be there.
    pub(super) fn set_file(&self, file: CheckpointFile, oldest_segment: u64) {
        locked(&self.todo).oldest_segment = oldest_segment;
        *locked(&self.file) = Some(file);
    }

    /// Runs `act`, unless something failed before. If it fails, everything does from then on: who
    /// does not know what is on the disk must not go on writing to it.
    pub(super) fn run<T>(
        &self,
        act: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        if let Some(first) = &locked(&self.todo).failed {
            return Err(StorageError::Failed { first: first.to_string() });
        }
        act().inspect_err(|error| {
            locked(&self.todo).failed.get_or_insert(error.clone());
            recover::suspect(self.directory.as_ref());
        })
    }

    /// The segment after the last one is to be made, unless it is there or being made.
    pub(super) fn want_segment(&self, owner: Owner, id: u64) {
        let making = &mut *locked(&self.making);
        if matches!(making, Making::Idle) {
            *making = Making::Wanted(owner, id);
            locked(&self.todo).work = true;
        }
    }

    /// It is there already.
    pub(super) fn has_segment(&self, owner: Owner, segment: Segment) {
        *locked(&self.making) = Making::Ready(owner, segment);
    }

    /// Takes the next segment, with room for a frame of this many sectors. If it was not requested
    /// before, it is `id`.
    pub(super) fn take_segment(
        &self,
        owner: Owner,
        id: u64,
        sectors: u64,
    ) -> Result<Segment, StorageError> {
        let mut making = locked(&self.making);
        if matches!(*making, Making::Idle) {
            *making = Making::Wanted(owner, id);
        }
        if let Making::Ready(owner, segment) = &*making
            && segment.sectors - 1 < sectors
        {
            let (owner, id) = (*owner, segment.id);
            let bytes = sectors * SECTOR_BYTES as u64;
            *making = Making::Under(owner, Maker::new(&self.directory, owner, id, bytes, None)?);
        }
        if let Making::Under(owner, maker) = &*making
            && maker.room() < sectors
        {
            let (owner, id) = (*owner, maker.id());
            let bytes = sectors * SECTOR_BYTES as u64;
            *making = Making::Under(owner, Maker::new(&self.directory, owner, id, bytes, None)?);
        }
        loop {
            if let Making::Ready(_, segment) = &*making {
                let segment = segment.clone();
                // The one after is wanted once a frame in this one is durable: a start takes a
                // segment that is there for a sign that the one before was used.
                *making = Making::Idle;
                return Ok(segment);
            }
            self.make(&mut making, sectors)?;
        }
    }

    /// A segment before the base, which is to become another.
    fn take_old(&self) -> Option<u64> {
        let base = self.base_segment();
        let oldest = &mut locked(&self.todo).oldest_segment;
        let old = (*oldest < base).then_some(*oldest)?;
        *oldest += 1;
        Some(old)
    }

    /// The first segment that is needed; 0 if it is not known yet.
    fn base_segment(&self) -> u64 {
        locked(&self.file).as_ref().map_or(0, |file| file.base.at.segment)
    }

    /// One step towards the next segment. False if there is nothing to do.
    fn make(&self, making: &mut Making, sectors_min: u64) -> Result<bool, StorageError> {
        match making {
            Making::Idle | Making::Ready(..) => return Ok(false),
            Making::Wanted(owner, id) => {
                let bytes = self.options.segment_bytes.max(sectors_min * SECTOR_BYTES as u64);
                let maker = Maker::new(&self.directory, *owner, *id, bytes, self.take_old())?;
                *making = Making::Under(*owner, maker);
            }
            Making::Under(owner, maker) => {
                if let Some(segment) = maker.step()? {
                    let file = locked(&self.file);
                    file.as_ref()
                        .expect("segments follow the identity")
                        .note_segment(segment.id)?;
                    *making = Making::Ready(*owner, segment);
                }
            }
        }
        Ok(true)
    }

    /// Hands a checkpoint to the worker, in the place of one that it has not begun.
    pub(super) fn submit(&self, checkpoint: Pending) {
        let mut todo = locked(&self.todo);
        todo.checkpoint = Some(checkpoint);
        todo.work = true;
    }

    /// The newest base that the worker wrote since this was last asked.
    pub(super) fn take_flipped(&self) -> Option<Flipped> {
        locked(&self.todo).flipped.take()
    }

    /// Makes a state the base, at once, and returns its generation. Whatever checkpoint is under
    /// way is void.
    pub(super) fn install(&self, pending: &Pending) -> Result<u64, StorageError> {
        let mut file = locked(&self.file);
        let file = file.as_mut().expect("a state follows the identity");
        file.installs += 1;
        let mut todo = locked(&self.todo);
        (todo.checkpoint, todo.flipped, todo.work) = (None, None, true);
        drop(todo);
        let mut staging = Staging::begin(file, self, pending.clone())?;
        while !staging.step(file, &self.options)? {}
        Ok(file.base.generation)
    }

    /// True if the worker was given something to do since its last step began. Does not block.
    pub(super) fn has_work(&self) -> bool {
        locked(&self.todo).work
    }
}

/// A checkpoint that is being written.
#[derive(Debug)]
struct Staging {
    pending: Pending,
    next_chunk: u32,
    /// As the file counted when this began.
    installs: u64,
}

impl Staging {
    fn begin(
        file: &mut CheckpointFile,
        shared: &Shared,
        pending: Pending,
    ) -> Result<Self, StorageError> {
        file.begin_state(shared.directory.as_ref(), shared.options.cache_bytes)?;
        Ok(Self { pending, next_chunk: 0, installs: file.installs })
    }

    /// Writes some more of it. True if it is now the base.
    fn step(&mut self, file: &mut CheckpointFile, options: &Options) -> Result<bool, StorageError> {
        let chunk_bytes = options.chunk_bytes;
        let stored = Stored::of(&self.pending.snapshot, chunk_bytes);
        if self.next_chunk < stored.chunks {
            let step = u32::try_from(options.step_chunks).unwrap_or(u32::MAX);
            let end = stored.chunks.min(self.next_chunk.saturating_add(step));
            let numbers = self.next_chunk..end;
            file.stage(&self.pending.snapshot.state, chunk_bytes, numbers)?;
            self.next_chunk = end;
            return Ok(false);
        }
        let Pending { from, at, promised, .. } = self.pending;
        let generation = file.base.generation + 1;
        file.flip(Base { generation, at, from, promised, snapshot: Some(stored) })?;
        Ok(true)
    }
}

/// Writes checkpoints, makes segments ready and removes old ones, behind the commits of its store.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    staging: Option<Staging>,
}

impl Worker {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared, staging: None }
    }

    /// Does everything that there is to do.
    ///
    /// # Errors
    /// As [`Worker::step`].
    pub fn run(&mut self) -> Result<(), StorageError> {
        while self.step()? {}
        Ok(())
    }

    /// Does one step of what there is to do. False if there is nothing.
    ///
    /// # Errors
    /// If the disk failed, now or before. The store fails with it.
    pub fn step(&mut self) -> Result<bool, StorageError> {
        let shared = self.shared.clone();
        // Work added from here on is seen by this step or by a later look.
        locked(&shared.todo).work = false;
        shared.run(|| {
            if shared.make(&mut locked(&shared.making), 0)? {
                return Ok(true);
            }
            Ok(self.checkpoint()? || self.remove_state()? || self.remove_segment()?)
        })
    }

    /// True while a checkpoint is being written.
    pub fn is_checkpointing(&self) -> bool {
        self.staging.is_some()
    }

    fn checkpoint(&mut self) -> Result<bool, StorageError> {
        let mut file = locked(&self.shared.file);
        let Some(file) = file.as_mut() else { return Ok(false) };
        let overtaken = |staging: &Staging| staging.installs != file.installs;
        if self.staging.as_ref().is_some_and(overtaken) {
            self.staging = None;
        }
        if let Some(staging) = &mut self.staging {
            if staging.step(file, &self.shared.options)? {
                let (from, at) = (staging.pending.from, staging.pending.at);
                let generation = file.base.generation;
                locked(&self.shared.todo).flipped = Some(Flipped { generation, from, at });
                self.staging = None;
            }
            return Ok(true);
        }
        let pending = locked(&self.shared.todo).checkpoint.take();
        if let Some(pending) = pending {
            self.staging = Some(Staging::begin(file, &self.shared, pending)?);
            return Ok(true);
        }
        Ok(false)
    }

    /// Removes a state that is not needed any more. If that is lost, the next start does it again.
    fn remove_state(&mut self) -> Result<bool, StorageError> {
        let old = locked(&self.shared.file).as_mut().and_then(CheckpointFile::take_old_state);
        let Some(generation) = old else { return Ok(false) };
        self.remove(&state_file::name(generation))?;
        Ok(true)
    }

    /// Removes a segment before the base, of those that are not kept to become others. If that is
    /// lost, the next start does it again.
    fn remove_segment(&mut self) -> Result<bool, StorageError> {
        let base = self.shared.base_segment();
        let id = locked(&self.shared.todo).oldest_segment;
        if id + OLD_SEGMENTS_MAX >= base {
            return Ok(false);
        }
        self.remove(&segment::name(id))?;
        locked(&self.shared.todo).oldest_segment = id + 1;
        Ok(true)
    }

    fn remove(&self, name: &str) -> Result<(), StorageError> {
        let directory = &self.shared.directory;
        match directory.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StorageError::io("remove", directory.describe(name), &error))
            }
            _ => Ok(()),
        }
    }
}
