//! What can go wrong with a disk, told apart, with a remedy in each text.
//!
//! [`OpenError`]: nothing was changed, whatever is wrong. [`StorageError`]: a write or a sync
//! failed; what was not yet reported durable may or may not be, so the server must stop, and what
//! it finds at its next start decides.

use accord_core::ids::{Index, NodeId};
use accord_core::replica::log::RecoveryError;
use std::io;

/// Why a directory could not be opened. Its files are as they were.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{path} is locked: another process uses this directory; stop it first")]
    Locked {
        /// The lock's file.
        path: String,
    },
    /// The directory can be read but not written.
    #[error(
        "{path} cannot be written ({source}): mount it for writing, or give the server's user \
         permission"
    )]
    ReadOnly {
        /// What could not be written.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The disk has no room for what a start writes.
    #[error(
        "no room for {path}: free some space on this disk, or move the directory to a larger one"
    )]
    Full {
        /// What could not be written.
        path: String,
    },
    /// The directory is another server's.
    #[error(
        "{path} belongs to server {found}, not to {expected}: point this server to its own \
         directory, or to an empty one"
    )]
    OtherServer {
        /// The file that says so.
        path: String,
        /// Whose it is.
        found: NodeId,
        /// Who asks.
        expected: NodeId,
    },
    /// The directory is that of a server of another cluster.
    #[error(
        "{path} belongs to a server of the cluster `{found}`, and this server is of `{expected}`: \
         point it to its own directory, or to an empty one, or set cluster"
    )]
    OtherCluster {
        /// The file that says so.
        path: String,
        /// The cluster that the file names.
        found: String,
        /// This server's.
        expected: String,
    },
    /// No server has been in the directory, and something else is there.
    #[error(
        "{path} holds `{name}` and no server's data: point data_dir to an empty directory, or to \
         one that is not there yet"
    )]
    Foreign {
        /// The directory.
        path: String,
        /// A file in it that is no server's.
        name: String,
    },
    /// A later version wrote it.
    #[error(
        "{path} has format {found}, this version reads up to {known}: start the version that wrote \
         it, or a later one"
    )]
    NewerFormat {
        /// The file.
        path: String,
        /// Its format.
        found: u32,
        /// The newest format that this version reads.
        known: u32,
    },
    /// An earlier version wrote it.
    #[error(
        "{path} has format {found}, which no release wrote, and this version reads {known}: it is \
         left as it is; start the version that wrote it, and copy the records with a client"
    )]
    OlderFormat {
        /// The file.
        path: String,
        /// Its format.
        found: u32,
        /// The oldest format that this version reads.
        known: u32,
    },
    /// What was synced is not there any more, or not as it was.
    #[error(
        "{damage}: the disk did not keep what it had promised to; keep this directory for \
         inspection and start with an empty one, so that the other servers supply the data"
    )]
    Damaged {
        /// What, and where.
        damage: Damage,
    },
    /// Whole, undamaged records make no sense together: a fault of the server that wrote them.
    #[error(
        "the records in {path} are whole but make no sense together ({source}): keep this directory \
         for inspection and start with an empty one"
    )]
    Inconsistent {
        /// The directory.
        path: String,
        /// What is wrong.
        source: RecoveryError,
    },
    /// The system failed.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
}

/// Damage of what was synced: where, and what it hits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} is damaged{}: {why}{}", at(*offset), behind(*after))]
pub struct Damage {
    /// The file.
    pub path: String,
    /// The first byte of the damaged piece, if it can be told.
    pub offset: Option<u64>,
    /// The last entry of the log that can be read before the damage, if any was looked for.
    pub after: Option<Index>,
    /// What is wrong with it.
    pub why: String,
}

fn at(offset: Option<u64>) -> String {
    offset.map_or_else(String::new, |offset| format!(" at byte {offset}"))
}

fn behind(after: Option<Index>) -> String {
    after.map_or_else(String::new, |index| format!(" (behind log index {index})"))
}

/// Why records could not be made durable. The store refuses everything from then on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    /// The disk is full.
    #[error("no room for {path}: free some space on this disk and start the server again")]
    Full {
        /// What could not be written.
        path: String,
    },
    /// The system failed.
    #[error("cannot {what} {path}: {why}; look at the system's log, then start the server again")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: String,
        /// What the system says.
        why: String,
    },
    /// An earlier write or sync failed, so it is unknown what the disk holds.
    #[error("an earlier write failed ({first}); start the server again")]
    Failed {
        /// What failed first.
        first: String,
    },
}

impl StorageError {
    /// The error for a failed attempt to do `what` with the file at `path`.
    pub(super) fn io(what: &'static str, path: String, error: &io::Error) -> Self {
        match is_full(error) {
            true => Self::Full { path },
            false => Self::Io { what, path, why: error.to_string() },
        }
    }
}

impl OpenError {
    /// The error for a failed attempt to do `what` with the file at `path`.
    pub(super) fn io(what: &'static str, path: String, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { path, source }
            }
            _ if is_full(&source) => Self::Full { path },
            _ => Self::Io { what, path, source },
        }
    }
}

impl From<Damage> for OpenError {
    fn from(damage: Damage) -> Self {
        Self::Damaged { damage }
    }
}

fn is_full(error: &io::Error) -> bool {
    let full = [
        io::ErrorKind::StorageFull,
        io::ErrorKind::QuotaExceeded,
        io::ErrorKind::FileTooLarge,
        io::ErrorKind::WriteZero,
    ];
    full.contains(&error.kind())
}
