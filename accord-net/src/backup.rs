//! Backups: a cluster's state in a file, and a new cluster from it.
//!
//! ```text
//! "accord backup 1\n" | head: one line of JSON | state: as accord-core's snapshots | BLAKE3 of all
//! ```
//!
//! [`Writer`] writes one as its bytes come, reads it back and compares before it gets its name;
//! [`Backup::read`] verifies one; [`restore`] makes the directory of a server from which a *new*
//! cluster grows: another incarnation, another cluster number, no sessions, and numbers that the
//! old cluster never gave. Why so: `docs/decisions/0012-restoring-makes-a-new-cluster.md`.

use crate::env::real::draw;
use crate::operator::protocol::ImageHead;
use crate::storage::{OpenError, Options, RealDirectory, StorageError, Store};
use accord_core::ids::{ClusterId, Epoch, Index, LogPosition, NodeId, StoreId};
use accord_core::replica::ends::EpochEnds;
use accord_core::replica::history::History;
use accord_core::replica::io::{Record, Snapshot};
use accord_core::replica::voters::VoterSet;
use accord_core::state::{SnapshotError, State};
use bytes::Bytes;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The format that this release writes and reads.
pub const BACKUP_FORMAT: u32 = 2;
const MAGIC: &str = "accord backup ";
const HEAD_BYTES_MAX: usize = 64 << 10;
const HASH_BYTES: usize = blake3::OUT_LEN;
/// How much higher revisions and sequence numbers go on after a restore, unless told otherwise: far
/// more changes than the old cluster can have made since the backup.
pub const SKIPPED_DEFAULT: u64 = 1_000_000_000;

/// Why a backup could not be written, read or restored.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The system failed.
    #[error("cannot {what} {path}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: String,
        /// What the system says.
        error: io::Error,
    },
    /// The file is there.
    #[error("{path} is there already: choose another name, or overwrite it with --force")]
    Exists {
        /// The path as the operator gave it.
        path: String,
    },
    /// The file is something else.
    #[error("{path} is no backup of Accord")]
    NotABackup {
        /// The path as the operator gave it.
        path: String,
    },
    /// A version before the first release wrote it.
    #[error(
        "{path} has format {found}, which no release wrote, and this one reads {BACKUP_FORMAT}: \
         restore it with the version that wrote it, and copy the records with a client"
    )]
    OlderFormat {
        /// The path as the operator gave it.
        path: String,
        /// Its format.
        found: u32,
    },
    /// A later release wrote it.
    #[error("{path} has format {found}, this release reads {BACKUP_FORMAT}: use the later release")]
    NewerFormat {
        /// The path as the operator gave it.
        path: String,
        /// Its format.
        found: u32,
    },
    /// It is not as it was written.
    #[error("{path} is damaged: {why}; use another backup")]
    Damaged {
        /// The path as the operator gave it.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The directory is in use.
    #[error("{path} is not empty: a restore begins in an empty directory, or in a new one")]
    NotEmpty {
        /// The path as the operator gave it.
        path: String,
    },
    /// The numbers of the state cannot go on so much higher.
    #[error("revisions cannot go on {skipped} higher: choose less")]
    Skipped {
        /// How much was asked for.
        skipped: u64,
    },
    /// What was written is not what was read back.
    #[error("{path} does not hold what was written to it: is the disk sound?")]
    NotKept {
        /// The path as the operator gave it.
        path: String,
    },
    /// The directory cannot be written.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Writing the directory failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl BackupError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |error| Self::Io { what, path, error }
    }
}

/// A backup being written. Without [`Writer::finish`] there is no backup, and what was written is
/// removed.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    unfinished: PathBuf,
    file: File,
    hash: blake3::Hasher,
    force: bool,
}

impl Writer {
    /// Begins a backup. An existing file is overwritten only if `force` says so, and only when the
    /// backup is complete.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn create(path: &Path, head: &ImageHead, force: bool) -> Result<Self, BackupError> {
        refuse_existing(path, force)?;
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".unfinished");
        let unfinished = PathBuf::from(unfinished);
        let mut options = File::options();
        options.write(true).create(true).truncate(true);
        // It holds everything that clients stored.
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&unfinished);
        let file = file.map_err(BackupError::io("create", &unfinished))?;
        let hash = blake3::Hasher::new();
        let mut writer = Self { path: path.to_owned(), unfinished, file, hash, force };
        let head = serde_json::to_string(head).expect("a head has a form in JSON");
        writer.write(format!("{MAGIC}{BACKUP_FORMAT}\n{head}\n").as_bytes())?;
        Ok(writer)
    }

    /// Adds the state's next bytes.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(BackupError::io("write", &self.unfinished))
    }

    /// Makes the backup durable, reads it back, verifies it and gives it its name.
    ///
    /// # Errors
    /// [`BackupError`]: there is no backup then, and what was there before is.
    pub fn finish(mut self) -> Result<Backup, BackupError> {
        let hash = self.hash.finalize();
        self.write(hash.as_bytes())?;
        self.file.sync_all().map_err(BackupError::io("sync", &self.unfinished))?;
        let backup = Backup::read(&self.unfinished)?;
        if backup.hash != hash {
            return Err(BackupError::NotKept { path: self.unfinished.display().to_string() });
        }
        refuse_existing(&self.path, self.force)?;
        let renamed = fs::rename(&self.unfinished, &self.path).and_then(|()| {
            let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
        });
        renamed.map_err(BackupError::io("rename", &self.unfinished))?;
        Ok(backup)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // After it was renamed, there is nothing.
        let _ = fs::remove_file(&self.unfinished);
    }
}

fn refuse_existing(path: &Path, force: bool) -> Result<(), BackupError> {
    match path.symlink_metadata() {
        Ok(_) if !force => Err(BackupError::Exists { path: path.display().to_string() }),
        _ => Ok(()),
    }
}

/// A backup that was read and verified.
#[derive(Clone, Debug)]
pub struct Backup {
    /// What it is of.
    pub head: ImageHead,
    state: State,
    hash: blake3::Hash,
}

impl Backup {
    /// Reads and verifies a file: its checksum, the state in it with all its invariants, and that
    /// both are what the head says.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn read(path: &Path) -> Result<Self, BackupError> {
        let bytes = Bytes::from(fs::read(path).map_err(BackupError::io("read", path))?);
        let shown = path.display().to_string();
        let damaged = |why: String| BackupError::Damaged { path: shown.clone(), why };
        let not = || BackupError::NotABackup { path: shown.clone() };
        let rest = bytes.strip_prefix(MAGIC.as_bytes()).ok_or_else(not)?;
        let format = rest.iter().take(11).position(|byte| *byte == b'\n').ok_or_else(not)?;
        let found = std::str::from_utf8(&rest[..format]).ok().and_then(|text| text.parse().ok());
        let found: u32 = found.ok_or_else(not)?;
        match found {
            BACKUP_FORMAT => {}
            ..BACKUP_FORMAT => return Err(BackupError::OlderFormat { path: shown, found }),
            _ => return Err(BackupError::NewerFormat { path: shown, found }),
        }
        let begin = MAGIC.len() + format + 1;
        let line = bytes[begin..].iter().take(HEAD_BYTES_MAX).position(|byte| *byte == b'\n');
        let line = line.ok_or_else(|| damaged("it ends within its head".to_owned()))?;
        let head: ImageHead = serde_json::from_slice(&bytes[begin..begin + line])
            .map_err(|error| damaged(format!("its head makes no sense: {error}")))?;
        let from = begin + line + 1;
        let expected = (from + HASH_BYTES) as u64;
        let expected = expected.saturating_add(head.bytes);
        if bytes.len() as u64 != expected {
            let found = bytes.len();
            return Err(damaged(format!("it has {found} bytes, and had {expected}")));
        }
        let to = bytes.len() - HASH_BYTES;
        let hash = blake3::hash(&bytes[..to]);
        if bytes[to..] != hash.as_bytes()[..] {
            return Err(damaged("its checksum does not match its contents".to_owned()));
        }
        let state = decode(&head, &bytes.slice(from..to)).map_err(damaged)?;
        Ok(Self { head, state, hash })
    }

    /// The state.
    pub const fn state(&self) -> &State {
        &self.state
    }
}

/// The state, if it is what the head says.
fn decode(head: &ImageHead, bytes: &Bytes) -> Result<State, String> {
    let limits = head.limits.checked().ok_or("the bounds in its head make no sense")?;
    let state = State::restore(bytes, limits).map_err(|error: SnapshotError| error.to_string())?;
    for (what, found, said) in [
        ("digest", format!("{:016x}", state.digest()), &head.digest),
        ("content", format!("{:016x}", state.digest_full()), &head.content),
        ("revision", state.revision().0.to_string(), &head.revision.to_string()),
    ] {
        if found != *said {
            return Err(format!("its {what} is {found}, and its head says {said}"));
        }
    }
    Ok(state)
}

/// How a new cluster is to begin with a backup.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// The directory of the server that it begins with: empty or not there.
    pub data_dir: PathBuf,
    /// That server.
    pub node: u32,
    /// The servers that are to vote. The others begin with nothing, and vote once they caught up.
    pub voters: BTreeSet<u32>,
    /// The name of the new cluster.
    pub cluster: String,
    /// How much higher revisions and sequence numbers go on.
    pub skipped: u64,
}

/// What a restore made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// The server.
    pub node: u32,
    /// Its incarnation.
    pub store: String,
    /// The number of the new cluster.
    pub cluster_id: String,
    /// The revision that it begins with.
    pub revision: u64,
    /// The index that its log begins behind.
    pub index: u64,
    /// Records.
    pub records: u64,
    /// The digest of the contents.
    pub content: String,
    /// Sessions that were ended.
    pub sessions_ended: u64,
    /// Servers that begin with nothing and vote once they have caught up.
    pub joining: BTreeSet<u32>,
}

/// Writes the directory of a server from which a new cluster grows that begins with this state.
///
/// # Errors
/// [`BackupError`]: what was written to the directory is removed then.
pub fn restore(backup: Backup, options: &RestoreOptions) -> Result<Restored, BackupError> {
    let dir = &options.data_dir;
    refuse_used(dir)?;
    let Backup { head, mut state, .. } = backup;
    let sessions_ended = state.sessions().count() as u64;
    let skipped = options.skipped;
    state.renew(skipped).ok_or(BackupError::Skipped { skipped })?;
    let (node, store) = (NodeId(options.node), StoreId(draw()));
    let cluster = ClusterId(draw().max(1));
    let mut joining = options.voters.clone();
    joining.remove(&options.node);
    let voters = VoterSet {
        cluster,
        history: History::default(),
        voters: BTreeMap::from([(node, store)]),
        returning: joining.iter().copied().map(NodeId).collect(),
    };
    // No server of the old cluster takes part, so its recoveries and its epochs do not matter.
    let last = LogPosition { epoch: Epoch(1), index: Index(head.index.max(1)) };
    let snapshot = Snapshot {
        last,
        ends: EpochEnds::only(last),
        voters,
        origins: BTreeMap::new(),
        state: state.freeze().image(),
    };
    let records =
        [Record::Identity { node, store, bootstrap: false }, Record::Install(snapshot.clone())];
    let there = dir.is_dir();
    let written = write_directory(dir, node, &options.cluster, &records, &snapshot);
    if let Err(error) = written {
        empty(dir, there);
        return Err(error);
    }
    Ok(Restored {
        node: options.node,
        store: format!("{:016x}", store.0),
        cluster_id: format!("{:016x}", cluster.0),
        revision: state.revision().0,
        index: last.index.0,
        records: state.records() as u64,
        content: format!("{:016x}", state.digest_full()),
        sessions_ended,
        joining,
    })
}

fn refuse_used(dir: &Path) -> Result<(), BackupError> {
    let path = || dir.display().to_string();
    match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(BackupError::io("list", dir)(error)),
        Ok(entries) => {
            // A file system of its own has this.
            let used = |entry: io::Result<fs::DirEntry>| {
                entry.is_ok_and(|entry| entry.file_name() != "lost+found")
            };
            match entries.into_iter().any(used) {
                true => Err(BackupError::NotEmpty { path: path() }),
                false => Ok(()),
            }
        }
    }
}

fn write_directory(
    dir: &Path,
    node: NodeId,
    cluster: &str,
    records: &[Record],
    snapshot: &Snapshot,
) -> Result<(), BackupError> {
    let options = Options::of_cluster(cluster);
    let open = || {
        let directory = RealDirectory::new(dir).map_err(BackupError::io("create", dir))?;
        Ok::<_, BackupError>(Store::open(directory, node, options.clone())?)
    };
    let mut opened = open()?;
    opened.store.commit(records)?;
    drop(opened);
    // Read back as a start would.
    let kept = open()?.recovered.and_then(|recovered| recovered.snapshot);
    match kept.as_ref() == Some(snapshot) {
        true => Ok(()),
        false => Err(BackupError::NotKept { path: dir.display().to_string() }),
    }
}

/// Removes what a restore left that did not come to its end. The directory was empty before.
fn empty(dir: &Path, keep: bool) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    // What could not be removed stays in plain sight.
    entries.for_each(|entry| drop(fs::remove_file(entry.path())));
    if !keep {
        let _ = fs::remove_dir(dir);
    }
}
