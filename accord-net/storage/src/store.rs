//! The store: records in, durable when [`Store::commit`] returns.
//!
//! A commit is one frame in the log and one sync, however many records wait. Three records are not
//! frames: the identity creates the store's files; a checkpoint is handed to the [`Worker`], and
//! until it is written the log keeps what it would replace, so no commit waits for it and nothing
//! is lost with it; an installed state is written at once, for all that follows builds on it.
//!
//! Invariants: frame n + 1 is written only when frame n is durable. The checkpoint file's base
//! never points behind what is durable in the log. After a failure nothing is written any more.

use super::checkpoint::{Base, CheckpointFile, Identity};
use super::disk::{Directory, SECTOR_BYTES};
use super::error::{OpenError, StorageError};
use super::index::LogIndex;
use super::recover;
use super::scan::Position;
use super::sector::{Head, PAYLOAD_BYTES, Place};
use super::segment::{self, Maker, Owner, Segment};
use super::worker::{Flipped, Pending, Shared, Worker};
use accord_core::ids::{Epoch, Index, NodeId};
use accord_core::replica::io::{Record, Snapshot};
use accord_core::replica::log::Recovered;
use accord_core::wire::{Encode, Writer};
use std::sync::Arc;

/// Sizes, and whose cluster this is.
#[derive(Clone, Debug)]
pub struct Options {
    /// Tells clusters apart: any number that the servers of a cluster share, such as a digest of
    /// its name. A directory with another one is refused.
    pub cluster: u64,
    /// The cluster's name, kept with the id for people; at most 255 bytes.
    pub cluster_name: String,
    /// An operator allows this server to form a new cluster. Of a directory that was made without
    /// that permission it counts only if nothing was written there: no entry and no promise.
    pub bootstrap: bool,
    /// Bytes of a segment of the log.
    pub segment_bytes: u64,
    /// Bytes of records in a frame. More than that in one commit take several, and as many syncs.
    pub frame_bytes_max: usize,
    /// Bytes of a checkpoint in one value of the checkpoint file.
    pub chunk_bytes: usize,
    /// How many of them are written and synced in one step.
    pub step_chunks: usize,
    /// Memory for the checkpoint file's pages.
    pub cache_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cluster: 0,
            cluster_name: String::new(),
            bootstrap: false,
            segment_bytes: 32 << 20,
            frame_bytes_max: 8 << 20,
            // A value and its page's head fill a page of 64 KiB.
            chunk_bytes: (64 << 10) - 128,
            step_chunks: 16,
            cache_bytes: 8 << 20,
        }
    }
}

/// The name that a cluster has unless it is given another.
pub const CLUSTER_NAME_DEFAULT: &str = "accord";

/// The number that stands for a cluster's name in its servers' directories: FNV-1a of 64 bits. The
/// default name has 0, as directories have that were made before there were names.
pub fn cluster_label(name: &str) -> u64 {
    if name == CLUSTER_NAME_DEFAULT {
        return 0;
    }
    let absorb = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, absorb)
}

impl Options {
    /// The default sizes, for a server of the cluster of this name.
    pub fn of_cluster(name: &str) -> Self {
        let (cluster, cluster_name) = (cluster_label(name), name.to_owned());
        Self { cluster, cluster_name, ..Self::default() }
    }
}

/// An opened directory.
#[derive(Debug)]
pub struct Opened {
    /// Takes records.
    pub store: Store,
    /// To be run on another thread.
    pub worker: Worker,
    /// What the records of earlier lives amount to. `None`: the directory is new, and the first
    /// record must be an identity.
    pub recovered: Option<Recovered>,
    /// True if the directory was made without permission to form a cluster, held nothing, and has
    /// the permission now.
    pub allowed: bool,
}

/// A persistent server's records.
#[derive(Debug)]
pub struct Store {
    node: NodeId,
    shared: Arc<Shared>,
    log: Option<Log>,
    /// The records of the frame that is being filled.
    body: Writer,
    records: u32,
    scratch: Writer,
    sectors: Vec<u8>,
    /// A checkpoint among the records that are not durable yet, and where its log begins.
    checkpoint: Option<(Snapshot, u64)>,
    /// The last frame is written, and not yet durable.
    unsynced: bool,
    /// No frame of the log's segment is known to be durable, so the next is not to be begun.
    first_of_segment: bool,
}

/// Where the log is written.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) owner: Owner,
    pub(super) segment: Segment,
    /// Where the next frame goes.
    pub(super) at: Position,
    /// The latest base that is known to be durable.
    pub(super) base: u64,
    pub(super) index: LogIndex,
}

impl Store {
    /// Opens the directory of server `node`. Nothing in it is changed if that fails.
    ///
    /// # Errors
    /// [`OpenError`] tells what is wrong and what to do about it.
    pub fn open(
        directory: impl Directory + 'static,
        node: NodeId,
        options: Options,
    ) -> Result<Opened, OpenError> {
        recover::open(Arc::new(directory), node, options)
    }

    pub(super) fn new(node: NodeId, shared: Arc<Shared>, log: Option<Log>) -> Self {
        let first_of_segment = log.as_ref().is_some_and(|log| log.at.sector == 1);
        Self {
            node,
            shared,
            log,
            body: Writer::new(),
            records: 0,
            scratch: Writer::new(),
            sectors: Vec::new(),
            checkpoint: None,
            unsynced: false,
            first_of_segment,
        }
    }

    /// Makes the records durable, after all earlier ones, with one sync.
    ///
    /// # Errors
    /// If the disk fails. Some first records of these may be durable, and the store takes no more.
    ///
    /// # Panics
    /// If the records are not what a server writes, such as an entry that does not follow the last.
    pub fn commit(&mut self, records: &[Record]) -> Result<(), StorageError> {
        self.write(records)?;
        self.sync()
    }

    /// The first half of a commit: writes the records, to be made durable by [`Store::sync`].
    ///
    /// # Errors
    /// As [`Store::commit`].
    ///
    /// # Panics
    /// As [`Store::commit`].
    pub fn write(&mut self, records: &[Record]) -> Result<(), StorageError> {
        let shared = self.shared.clone();
        shared.run(|| {
            records.iter().try_for_each(|record| self.write_record(record))?;
            self.write_frame()
        })
    }

    /// The second half of a commit.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn sync(&mut self) -> Result<(), StorageError> {
        let shared = self.shared.clone();
        shared.run(|| self.sync_frame())
    }

    /// True if the worker was given something to do since its last step began: wake it. Cheap.
    pub fn has_work(&self) -> bool {
        self.shared.has_work()
    }

    fn write_record(&mut self, record: &Record) -> Result<(), StorageError> {
        match record {
            Record::Identity { node, store, bootstrap } => {
                assert_eq!(*node, self.node, "a server writes its own name");
                let owner = Owner { node: *node, store: store.0 };
                let cluster = self.shared.options.cluster;
                self.create(Identity { owner, bootstrap: *bootstrap, cluster })
            }
            Record::Checkpoint(snapshot) => {
                let from = self.log_mut().index.replay_from(snapshot.last.index);
                self.checkpoint = Some((snapshot.clone(), from));
                Ok(())
            }
            Record::Install(snapshot) => {
                self.write_frame()?;
                self.sync_frame()?;
                self.install(snapshot)
            }
            Record::Promise(_) | Record::Append(_) | Record::Truncate(_) => self.push(record),
        }
    }

    fn log_mut(&mut self) -> &mut Log {
        self.log.as_mut().expect("the first record is the identity")
    }

    /// Creates the files. The checkpoint file comes last: without it, there is no store.
    fn create(&mut self, identity: Identity) -> Result<(), StorageError> {
        assert!(self.log.is_none(), "there is one identity");
        let directory = &self.shared.directory;
        let owner = identity.owner;
        let at = Position { segment: 1, sector: 1, frame: 1, first: 1 };
        let mut maker =
            Maker::new(directory, owner, at.segment, self.shared.options.segment_bytes, None)?;
        let segment = loop {
            if let Some(segment) = maker.step()? {
                break segment;
            }
        };
        let base = Base { generation: 0, at, from: at.first, promised: Epoch(0), snapshot: None };
        let cache_bytes = self.shared.options.cache_bytes;
        let name = &self.shared.options.cluster_name;
        let file = CheckpointFile::create(directory.as_ref(), identity, name, base, cache_bytes)?;
        self.shared.set_file(file, at.segment);
        self.shared.want_segment(owner, at.segment + 1);
        let index = LogIndex::new(at, at.first, Epoch(0), Index(0));
        self.log = Some(Log { owner, segment, at, base: 0, index });
        Ok(())
    }

    /// Adds a record to the frame.
    fn push(&mut self, record: &Record) -> Result<(), StorageError> {
        self.scratch.clear();
        record.encode(&mut self.scratch);
        let bytes = self.body.len() + self.scratch.len();
        if self.records > 0 && bytes > self.shared.options.frame_bytes_max {
            self.write_frame()?;
        }
        self.log_mut().index.note(record);
        self.body.bytes(self.scratch.as_slice());
        self.records += 1;
        Ok(())
    }

    /// Writes the records that wait as a frame, if there are any.
    fn write_frame(&mut self) -> Result<(), StorageError> {
        if self.records == 0 { Ok(()) } else { self.write_frame_of_any() }
    }

    fn write_frame_of_any(&mut self) -> Result<(), StorageError> {
        self.sync_file()?;
        let log = self.log.as_mut().expect("the first record is the identity");
        let (frame, first) = (log.at.frame, log.at.first);
        let bytes = self.body.len() as u64;
        let head = Head { frame, first, base: log.base, records: self.records, bytes };
        if log.segment.sectors - log.at.sector < head.sectors() {
            // An empty one that is too small is replaced, for a used one may follow used ones only.
            let next = log.segment.id + u64::from(!self.first_of_segment);
            log.segment = self.shared.take_segment(log.owner, next, head.sectors())?;
            log.at = Position { segment: log.segment.id, sector: 1, ..log.at };
            self.first_of_segment = true;
        }
        let Position { segment, sector, .. } = log.at;
        let place = Place { store: log.owner.store, segment, sector, frame };
        fill_sectors(place, head, self.body.as_slice(), &mut self.sectors);
        let written = log.segment.file.write_at(sector * SECTOR_BYTES as u64, &self.sectors);
        written.map_err(|error| failed(&self.shared, "write", segment, &error))?;
        self.unsynced = true;
        log.index.note_frame(log.at);
        log.at.sector += head.sectors();
        log.at.frame += 1;
        log.at.first += u64::from(self.records);
        assert_eq!(log.at.first, log.index.next(), "each record has its number");
        self.body.clear();
        self.records = 0;
        Ok(())
    }

    /// Makes the last frame durable, if it is not.
    fn sync_file(&mut self) -> Result<(), StorageError> {
        if self.unsynced {
            let log = self.log.as_ref().expect("a frame was written");
            let synced = log.segment.file.sync();
            synced.map_err(|error| failed(&self.shared, "sync", log.segment.id, &error))?;
            self.unsynced = false;
            if std::mem::take(&mut self.first_of_segment) {
                self.shared.want_segment(log.owner, log.segment.id + 1);
            }
        }
        Ok(())
    }

    /// Makes all that was written durable, and hands on what may follow from it.
    fn sync_frame(&mut self) -> Result<(), StorageError> {
        assert_eq!(self.records, 0, "what waits was written");
        self.sync_file()?;
        let Some(log) = &mut self.log else { return Ok(()) };
        if let Some(Flipped { generation, from, at }) = self.shared.take_flipped() {
            log.base = generation;
            log.index.trim(from, at);
        }
        if let Some((snapshot, from)) = self.checkpoint.take() {
            let promised = log.index.promised_before(from);
            let at = log.index.position(from, log.at);
            self.shared.submit(Pending { snapshot, from, at, promised });
        }
        Ok(())
    }

    /// Puts a state in the place of everything before.
    fn install(&mut self, snapshot: &Snapshot) -> Result<(), StorageError> {
        self.checkpoint = None;
        let log = self.log.as_mut().expect("the first record is the identity");
        let (at, from) = (log.at, log.index.next());
        let promised = log.index.promised_before(from);
        let pending = Pending { snapshot: snapshot.clone(), from, at, promised };
        log.base = self.shared.install(&pending)?;
        log.index.install(snapshot.last.index, at);
        // A frame without records tells a later start that this base was durable: if the checkpoint
        // file is damaged, redb may take its last commit for one that was cut off.
        self.write_frame_of_any()?;
        self.sync_file()
    }
}

fn failed(
    shared: &Shared,
    what: &'static str,
    segment: u64,
    error: &std::io::Error,
) -> StorageError {
    StorageError::io(what, shared.directory.describe(&segment::name(segment)), error)
}

/// The frame as it stands on disk.
fn fill_sectors(place: Place, head: Head, body: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let front = head.to_bytes();
    let split = body.len().min(PAYLOAD_BYTES - front.len());
    let mut first = [0; PAYLOAD_BYTES];
    first[..front.len()].copy_from_slice(&front);
    first[front.len()..front.len() + split].copy_from_slice(&body[..split]);
    place.seal(&first, out);
    for (further, piece) in (1..).zip(body[split..].chunks(PAYLOAD_BYTES)) {
        place.further(further).seal(piece, out);
    }
}
