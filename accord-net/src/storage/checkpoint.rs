//! The checkpoint file: what the log's beginning is, and what everything before it led to.
//!
//! A redb database of three tables. `meta` holds the format, whose store it is, the *base* (where
//! the log begins, the state before it) and the last segment made. The state itself lies in chunks
//! in one of two tables: a new one is staged in the spare table, in many small transactions, so
//! that commits to the log get the disk in between; then one transaction makes it the base. Until
//! then the old base and the log that follows it stand.
//!
//! Every value carries a checksum of its own beside redb's, for redb verifies a page only when it
//! is opened.

use super::disk::{Access, Directory};
use super::error::{Damage, OpenError, StorageError};
use super::overlay::{Overlay, Through};
use super::scan::Position;
use super::segment::{Owner, UNFINISHED};
use accord_core::ids::{Epoch, NodeId};
use accord_core::pieces::Pieces;
use accord_core::replica::io::Snapshot;
use accord_core::wire::{Decode, Encode, Reader, WireError, Writer};
use bytes::Bytes;
use redb::{Database, ReadableDatabase, TableDefinition, TableError};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The file's name.
pub(super) const NAME: &str = "checkpoint.redb";
/// The format of the file, and the newest that this version reads.
pub(super) const FORMAT: u32 = 1;

/// The longest name of a cluster.
pub(super) const CLUSTER_NAME_BYTES_MAX: usize = 255;

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const STATES: [TableDefinition<u32, &[u8]>; 2] =
    [TableDefinition::new("state-0"), TableDefinition::new("state-1")];

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
    /// Counts bases. Its lowest bit names the table with the state.
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
    /// What is stored of `snapshot` beside its state in chunks of `chunk_bytes`.
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
    /// The name of the cluster, for people; empty in files made before there were names.
    pub(super) cluster_name: String,
}

/// The file, open for writing.
#[derive(Debug)]
pub(super) struct CheckpointFile {
    database: Database,
    path: String,
    /// What stands in the file.
    pub(super) base: Base,
    /// Counts states that were put in the place of everything: what was staged before is void.
    pub(super) installs: u64,
}

impl CheckpointFile {
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
        let failed = |error| StorageError::io("create", path.clone(), &error);
        let file = directory.create(&unfinished).map_err(failed)?;
        let created = builder(cache_bytes).create_with_backend(Through(file));
        let database = created.map_err(|error| write_error("create", &path, error))?;
        let created = Self { database, path: path.clone(), base: base.clone(), installs: 0 };
        created.write(|meta| {
            meta("format", &sealed(|out| out.u32(FORMAT)))?;
            meta("identity", &sealed(|out| identity.encode(out)))?;
            meta("cluster", &sealed(|out| out.bytes(cluster_name.as_bytes())))?;
            meta("segment", &sealed(|out| out.u64(base.at.segment)))?;
            meta("base", &sealed(|out| base.encode(out)))
        })?;
        let renamed = directory.rename(&unfinished, NAME).and_then(|()| directory.sync());
        renamed.map_err(failed)?;
        Ok(created)
    }

    /// Opens the file, in which `base` was found.
    pub(super) fn open(
        directory: &dyn Directory,
        base: Base,
        cache_bytes: usize,
    ) -> Result<Self, OpenError> {
        let path = directory.describe(NAME);
        let file = directory.open(NAME, Access::Write);
        let file = file.map_err(|error| OpenError::io("open", path.clone(), error))?;
        let opened = builder(cache_bytes).create_with_backend(Through(file));
        let database = opened.map_err(|error| read_error(&path, error))?;
        Ok(Self { database, path, base, installs: 0 })
    }

    fn write(
        &self,
        fill: impl FnOnce(&mut dyn FnMut(&str, &[u8]) -> redb::Result) -> redb::Result,
    ) -> Result<(), StorageError> {
        self.transact(|transaction| {
            let mut table = transaction.open_table(META)?;
            fill(&mut |key, value| table.insert(key, value).map(|_| ()))?;
            Ok(())
        })
    }

    fn transact(
        &self,
        act: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), StorageError> {
        let failed = |error: redb::Error| write_error("write", &self.path, error);
        let transaction = self.database.begin_write().map_err(|error| failed(error.into()))?;
        act(&transaction).map_err(failed)?;
        transaction.commit().map_err(|error| failed(error.into()))
    }

    /// Empties the table that is not in use.
    pub(super) fn clear_spare(&self) -> Result<(), StorageError> {
        let spare = STATES[spare(self.base.generation)];
        self.transact(|transaction| Ok(transaction.delete_table(spare).map(|_| ())?))
    }

    /// Writes chunks of a state, by their numbers, to the table that is not in use.
    pub(super) fn stage(
        &self,
        state: &Pieces,
        chunk_bytes: usize,
        numbers: Range<u32>,
    ) -> Result<(), StorageError> {
        let generation = self.base.generation + 1;
        self.transact(|transaction| {
            let mut table = transaction.open_table(STATES[spare(self.base.generation)])?;
            for number in numbers {
                let from = number as usize * chunk_bytes;
                let to = state.len().min(from + chunk_bytes);
                let mut value = table.insert_reserve(number, to - from + CRC_BYTES)?;
                let (crc, chunk) = value.as_mut().split_at_mut(CRC_BYTES);
                let mut at = 0;
                for part in state.parts(from..to) {
                    chunk[at..at + part.len()].copy_from_slice(part);
                    at += part.len();
                }
                crc.copy_from_slice(&chunk_crc(generation, number, chunk));
            }
            Ok(())
        })
    }

    /// Makes what was staged the base.
    pub(super) fn flip(&mut self, base: Base) -> Result<(), StorageError> {
        assert_eq!(base.generation, self.base.generation + 1, "bases are counted");
        self.write(|meta| meta("base", &sealed(|out| base.encode(out))))?;
        self.base = base;
        Ok(())
    }

    /// From now on, the segments up to `id` must be there.
    pub(super) fn note_segment(&self, id: u64) -> Result<(), StorageError> {
        self.write(|meta| meta("segment", &sealed(|out| out.u64(id))))
    }
}

/// Reads the whole file, and leaves it as it is.
pub(super) fn read(directory: &dyn Directory, cache_bytes: usize) -> Result<Contents, OpenError> {
    let path = directory.describe(NAME);
    // redb answers damage with errors, and should it ever panic, that is damage as well.
    let read = catch_unwind(AssertUnwindSafe(|| read_file(directory, &path, cache_bytes)));
    read.unwrap_or_else(|_| Err(damage(&path, "redb cannot make sense of it".into()).into()))
}

fn read_file(
    directory: &dyn Directory,
    path: &str,
    cache_bytes: usize,
) -> Result<Contents, OpenError> {
    let failed = |error| OpenError::io("open", path.to_owned(), error);
    let file = directory.open(NAME, Access::Read).map_err(failed)?;
    let bytes = file.len_bytes().map_err(failed)?;
    if bytes == 0 {
        return Err(damage(path, "the file is empty".into()).into());
    }
    let overlay = Overlay::new(file).map_err(failed)?;
    let mut builder = builder(cache_bytes);
    let opened = builder.set_check_integrity_on_open(true).create_with_backend(overlay);
    let database = opened.map_err(|error| read_error(path, error))?;
    let transaction = database.begin_read().map_err(|error| read_error(path, error))?;
    let meta = match transaction.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::TableDoesNotExist(_)) => {
            return Err(damage(path, "it has no table of this server".into()).into());
        }
        Err(error) => return Err(read_error(path, error)),
    };
    let get = |key: &str| -> Result<Reader, OpenError> {
        let value = meta.get(key).map_err(|error| read_error(path, error))?;
        let value = value.map(|value| Bytes::copy_from_slice(value.value()));
        value.and_then(unsealed).ok_or_else(|| damage(path, format!("{key} is damaged")).into())
    };
    let bad = |error: WireError| OpenError::from(damage(path, error.to_string()));
    let found = get("format")?.u32().map_err(bad)?;
    if found != FORMAT {
        return Err(OpenError::NewerFormat { path: path.to_owned(), found, known: FORMAT });
    }
    let identity = Identity::decode(&mut get("identity")?).map_err(bad)?;
    let base = Base::decode(&mut get("base")?).map_err(bad)?;
    let last_segment = get("segment")?.u64().map_err(bad)?;
    let named = meta.get("cluster").map_err(|error| read_error(path, error))?.is_some();
    let cluster_name = match named {
        true => get("cluster")?.bytes("cluster", CLUSTER_NAME_BYTES_MAX).map_err(bad)?,
        false => Bytes::new(),
    };
    let cluster_name = String::from_utf8_lossy(&cluster_name).into_owned();
    let snapshot = match &base.snapshot {
        None => None,
        Some(stored) => {
            let table = transaction.open_table(STATES[spare(base.generation + 1)]);
            let table = table.map_err(|error| read_error(path, error))?;
            Some(read_snapshot(path, &table, base.generation, stored, bytes)?)
        }
    };
    Ok(Contents { identity, base, snapshot, last_segment, cluster_name })
}

fn read_snapshot(
    path: &str,
    table: &redb::ReadOnlyTable<u32, &'static [u8]>,
    generation: u64,
    stored: &Stored,
    file_bytes: u64,
) -> Result<Snapshot, OpenError> {
    let lost = |why: &str| OpenError::from(damage(path, why.to_owned()));
    let head = Snapshot::from_bytes(&stored.head).map_err(|error| lost(&error.to_string()))?;
    let lost = |why: &str| lost(&format!("the state as of {}: {why}", head.last.index));
    // A length is believed as far as the file can hold it.
    let mut state = Vec::with_capacity(stored.bytes.min(file_bytes) as usize);
    for number in 0..stored.chunks {
        let value = table.get(number).map_err(|error| read_error(path, error))?;
        let value = value.ok_or_else(|| lost(&format!("chunk {number} is missing")))?;
        let chunk = value.value().split_first_chunk::<CRC_BYTES>();
        let whole = chunk.filter(|(crc, bytes)| **crc == chunk_crc(generation, number, bytes));
        let (_, bytes) = whole.ok_or_else(|| lost(&format!("chunk {number} is damaged")))?;
        state.extend_from_slice(bytes);
    }
    match state.len() as u64 == stored.bytes {
        true => Ok(Snapshot { state: Bytes::from(state).into(), ..head }),
        false => Err(lost("it is not as long as it was")),
    }
}

/// The table that is not in use with the base of `generation`.
const fn spare(generation: u64) -> usize {
    (generation as usize + 1) % 2
}

fn builder(cache_bytes: usize) -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes);
    builder
}

fn write_error(what: &'static str, path: &str, error: impl Into<redb::Error>) -> StorageError {
    match error.into() {
        redb::Error::Io(error) => StorageError::io(what, path.to_owned(), &error),
        error => StorageError::Io { what, path: path.to_owned(), why: error.to_string() },
    }
}

fn read_error(path: &str, error: impl Into<redb::Error>) -> OpenError {
    match error.into() {
        // What the system says about reading is an error of the system, but for what only the
        // contents can cause.
        redb::Error::Io(error)
            if !matches!(
                error.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            ) =>
        {
            OpenError::io("read", path.to_owned(), error)
        }
        error => damage(path, error.to_string()).into(),
    }
}

fn damage(path: &str, why: String) -> Damage {
    Damage { path: path.to_owned(), offset: None, after: None, why }
}

const CRC_BYTES: usize = 4;

fn chunk_crc(generation: u64, number: u32, chunk: &[u8]) -> [u8; CRC_BYTES] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&generation.to_le_bytes());
    hasher.update(&number.to_le_bytes());
    hasher.update(chunk);
    hasher.finalize().to_le_bytes()
}

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
