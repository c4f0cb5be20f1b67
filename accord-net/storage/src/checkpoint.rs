//! The checkpoint file: what the log's beginning is, and what everything before it led to.
//!
//! A redb database of one table that holds the format, whose store it is, the *base* (where the log
//! begins, the state before it) and the last segment made. The state itself lies in a file of its
//! own ([`super::state_file`]): a new one is staged while the old one stays, in many small
//! transactions, so that commits to the log get the disk between them. Then one transaction here
//! makes it the base.
//! Until then the old base and the log that follows it stand.
//!
//! Every value carries a checksum of its own in addition to redb's, because redb verifies a page
//! only when it is opened.

use super::database::{self, DatabaseFile, Reading};
use super::disk::Directory;
use super::error::{OpenError, StorageError};
use super::scan::Position;
use super::segment::{Owner, UNFINISHED};
use super::state_file::{self, StateFile};
use accord_core::ids::{Epoch, NodeId};
use accord_core::pieces::Pieces;
use accord_core::replica::io::Snapshot;
use accord_core::wire::{Decode, Encode, Reader, WireError, Writer};
use bytes::Bytes;
use redb::{TableDefinition, TableError};
use std::ops::Range;

/// The file's name.
pub(super) const NAME: &str = "checkpoint.redb";
/// The format of the file, and the newest that this version reads.
pub(super) const FORMAT: u32 = 4;

/// The longest name of a cluster.
pub(super) const CLUSTER_NAME_BYTES_MAX: usize = 255;

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

/// Whose store it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) owner: Owner,
    /// A new cluster may be formed with it.
    pub(super) bootstrap: bool,
    /// The caller's label of the cluster.
    pub(super) cluster: u64,
}

/// Where the log begins, and what led there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    /// Counts bases. The file with the state has it in its name.
    pub(super) generation: u64,
    /// The frame to begin with.
    pub(super) at: Position,
    /// The record to begin with, in that frame or a later one.
    pub(super) from: u64,
    /// The highest epoch promised in the records before.
    pub(super) promised: Epoch,
    /// What they amount to, if they were more than an identity and promises.
    pub(super) snapshot: Option<Stored>,
}

/// A snapshot in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// The snapshot, encoded without its state.
    pub(super) head: Bytes,
    /// Chunks of the state.
    pub(super) chunks: u32,
    /// Bytes of the state.
    pub(super) bytes: u64,
}

impl Stored {
    /// What is stored of `snapshot` in addition to its state in chunks of `chunk_bytes`.
    pub(super) fn of(snapshot: &Snapshot, chunk_bytes: usize) -> Self {
        let head = Snapshot { state: Pieces::default(), ..snapshot.clone() }.to_bytes();
        let chunks = snapshot.state.len().div_ceil(chunk_bytes);
        let chunks = u32::try_from(chunks).expect("a state is far below 4 G chunks");
        Self { head, chunks, bytes: snapshot.state.len() as u64 }
    }
}

/// What a checkpoint file holds.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) identity: Identity,
    pub(super) base: Base,
    pub(super) snapshot: Option<Snapshot>,
    /// The last segment that was made.
    pub(super) last_segment: u64,
    /// The name of the cluster, for people.
    pub(super) cluster_name: String,
}

/// The file, open for writing, and the state that is being staged.
#[derive(Debug)]
pub(super) struct CheckpointFile {
    file: DatabaseFile,
    /// What stands in the file.
    pub(super) base: Base,
    /// Counts states that were put in the place of everything: what was staged before is void.
    pub(super) installs: u64,
    /// The state of the next base, as far as it was written.
    staged: Option<StateFile>,
    /// The generations of states that no base needs any more.
    old_states: Vec<u64>,
}

impl CheckpointFile {
    const fn new(file: DatabaseFile, base: Base) -> Self {
        Self { file, base, installs: 0, staged: None, old_states: Vec::new() }
    }

    /// Creates the file, whole or not at all.
    pub(super) fn create(
        directory: &dyn Directory,
        identity: Identity,
        cluster_name: &str,
        base: Base,
        cache_bytes: usize,
    ) -> Result<Self, StorageError> {
        let unfinished = NAME.to_owned() + UNFINISHED;
        let path = directory.describe(NAME);
        let mut file = DatabaseFile::create(directory, &unfinished, cache_bytes)?;
        file.set_path(path.clone());
        let created = Self::new(file, base.clone());
        created.write(|meta| {
            meta("format", &sealed(|out| out.u32(FORMAT)))?;
            meta("identity", &sealed(|out| identity.encode(out)))?;
            meta("cluster", &sealed(|out| out.bytes(cluster_name.as_bytes())))?;
            meta("segment", &sealed(|out| out.u64(base.at.segment)))?;
            meta("base", &sealed(|out| base.encode(out)))
        })?;
        let renamed = directory.rename(&unfinished, NAME).and_then(|()| directory.sync());
        renamed.map_err(|error| StorageError::io("create", path, &error))?;
        Ok(created)
    }

    /// Opens the file, in which `base` was found.
    pub(super) fn open(
        directory: &dyn Directory,
        base: Base,
        cache_bytes: usize,
    ) -> Result<Self, OpenError> {
        Ok(Self::new(DatabaseFile::open(directory, NAME, cache_bytes)?, base))
    }

    /// From now on a new cluster may be formed with this store.
    pub(super) fn allow_bootstrap(&self, identity: Identity) -> Result<(), StorageError> {
        let identity = Identity { bootstrap: true, ..identity };
        self.write(|meta| meta("identity", &sealed(|out| identity.encode(out))))
    }

    fn write(
        &self,
        fill: impl FnOnce(&mut dyn FnMut(&str, &[u8]) -> redb::Result) -> redb::Result,
    ) -> Result<(), StorageError> {
        self.file.transact(|transaction| {
            let mut table = transaction.open_table(META)?;
            fill(&mut |key, value| table.insert(key, value).map(|_| ()))?;
            Ok(())
        })
    }

    /// Begins to stage a state. What was staged is void.
    pub(super) fn begin_state(
        &mut self,
        directory: &dyn Directory,
        cache_bytes: usize,
    ) -> Result<(), StorageError> {
        // redb writes to a file when it closes it: that must be the old one.
        self.staged = None;
        self.staged = Some(StateFile::create(directory, self.base.generation + 1, cache_bytes)?);
        Ok(())
    }

    /// Writes chunks of the state, by their numbers.
    pub(super) fn stage(
        &self,
        state: &Pieces,
        chunk_bytes: usize,
        numbers: Range<u32>,
    ) -> Result<(), StorageError> {
        let staged = self.staged.as_ref().expect("a state was begun");
        staged.write(state, chunk_bytes, numbers)
    }

    /// Makes what was staged the base.
    pub(super) fn flip(&mut self, base: Base) -> Result<(), StorageError> {
        assert_eq!(base.generation, self.base.generation + 1, "bases are counted");
        assert!(self.staged.take().is_some(), "a base has a state");
        self.write(|meta| meta("base", &sealed(|out| base.encode(out))))?;
        let old = std::mem::replace(&mut self.base, base);
        self.old_states.extend(old.snapshot.map(|_| old.generation));
        Ok(())
    }

    /// A state that no base needs any more, to be removed.
    pub(super) fn take_old_state(&mut self) -> Option<u64> {
        self.old_states.pop()
    }

    /// From now on, the segments up to `id` must be there.
    pub(super) fn note_segment(&self, id: u64) -> Result<(), StorageError> {
        self.write(|meta| meta("segment", &sealed(|out| out.u64(id))))
    }
}

/// Reads the whole file and the state that it names, and leaves both as they are.
pub(super) fn read(directory: &dyn Directory, cache_bytes: usize) -> Result<Contents, OpenError> {
    let mut contents = database::read(directory, NAME, cache_bytes, read_meta)?;
    if let (Some(stored), Some(snapshot)) = (&contents.base.snapshot, &mut contents.snapshot) {
        let generation = contents.base.generation;
        let (chunks, bytes) = (stored.chunks, stored.bytes);
        let state = state_file::read(directory, generation, chunks, bytes, cache_bytes)?;
        snapshot.state = state.into();
    }
    Ok(contents)
}

/// All but the state.
fn read_meta(file: &Reading) -> Result<Contents, OpenError> {
    let meta = match file.transaction.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::TableDoesNotExist(_)) => {
            return Err(file.damage("it has no table of this server"));
        }
        Err(error) => return Err(file.error(error)),
    };
    let get = |key: &str| -> Result<Reader, OpenError> {
        let value = meta.get(key).map_err(|error| file.error(error))?;
        let value = value.map(|value| Bytes::copy_from_slice(value.value()));
        value.and_then(unsealed).ok_or_else(|| file.damage(format!("{key} is damaged")))
    };
    let bad = |error: WireError| file.damage(error);
    let found = get("format")?.u32().map_err(bad)?;
    let path = || file.path.clone();
    match found {
        FORMAT => {}
        1..FORMAT => return Err(OpenError::OlderFormat { path: path(), found, known: FORMAT }),
        _ => return Err(OpenError::NewerFormat { path: path(), found, known: FORMAT }),
    }
    let identity = Identity::decode(&mut get("identity")?).map_err(bad)?;
    let base = Base::decode(&mut get("base")?).map_err(bad)?;
    let last_segment = get("segment")?.u64().map_err(bad)?;
    let cluster_name = get("cluster")?.bytes("cluster", CLUSTER_NAME_BYTES_MAX).map_err(bad)?;
    let cluster_name = String::from_utf8_lossy(&cluster_name).into_owned();
    let head = base.snapshot.as_ref().map(|stored| Snapshot::from_bytes(&stored.head));
    let snapshot = head.transpose().map_err(bad)?;
    Ok(Contents { identity, base, snapshot, last_segment, cluster_name })
}

const CRC_BYTES: usize = 4;

/// A value with its checksum.
fn sealed(fill: impl FnOnce(&mut Writer)) -> Bytes {
    let mut out = Writer::new();
    fill(&mut out);
    out.u32(crc32fast::hash(out.as_slice()));
    out.finish()
}

/// The value, if its checksum matches.
fn unsealed(value: Bytes) -> Option<Reader> {
    let split = value.len().checked_sub(CRC_BYTES)?;
    let matches = crc32fast::hash(&value[..split]).to_le_bytes() == value[split..];
    matches.then(|| Reader::new(value.slice(..split)))
}

impl Encode for Identity {
    fn encode(&self, out: &mut Writer) {
        out.u32(self.owner.node.0);
        out.u64(self.owner.store);
        out.bool(self.bootstrap);
        out.u64(self.cluster);
    }
}

impl Decode for Identity {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let owner = Owner { node: NodeId(input.u32()?), store: input.u64()? };
        Ok(Self { owner, bootstrap: input.bool()?, cluster: input.u64()? })
    }
}

impl Encode for Base {
    fn encode(&self, out: &mut Writer) {
        let Position { segment, sector, frame, first } = self.at;
        for number in [self.generation, segment, sector, frame, first, self.from] {
            out.u64(number);
        }
        self.promised.encode(out);
        out.bool(self.snapshot.is_some());
        if let Some(stored) = &self.snapshot {
            out.bytes(&stored.head);
            out.u32(stored.chunks);
            out.u64(stored.bytes);
        }
    }
}

impl Decode for Base {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let generation = input.u64()?;
        let at = Position {
            segment: input.u64()?,
            sector: input.u64()?,
            frame: input.u64()?,
            first: input.u64()?,
        };
        let (from, promised) = (input.u64()?, Epoch::decode(input)?);
        let snapshot = match input.bool()? {
            false => None,
            true => Some(Stored {
                head: input.bytes("snapshot head", usize::MAX)?,
                chunks: input.u32()?,
                bytes: input.u64()?,
            }),
        };
        Ok(Self { generation, at, from, promised, snapshot })
    }
}
