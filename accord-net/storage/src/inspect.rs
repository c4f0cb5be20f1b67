//! What is in a directory, for people: without starting a server, and without changing anything.
//!
//! It runs the code with which a start reads and judges ([`super::recover`]), so a directory that
//! can be inspected can be started from, and one that cannot is refused with the same words. The
//! list of servers in the directory is not the storage's: `Disk::inspect` of `accord-net` reads
//! both.

use super::checkpoint;
use super::disk::{Directory, Guard, LOCK_NAME};
use super::error::OpenError;
use super::recover::{self, Found};
use accord_core::ids::{Epoch, LogPosition, NodeId, StoreId};
use accord_core::replica::voters::VoterSet;

/// Memory for the checkpoint file's pages.
const CACHE_BYTES: usize = 8 << 20;

/// What a directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The server it is of.
    pub node: NodeId,
    /// The incarnation.
    pub store: StoreId,
    /// The label of the cluster.
    pub cluster: u64,
    /// Its name, as far as it is known.
    pub cluster_name: String,
    /// The format of the directory.
    pub format: u32,
    /// True if a new cluster may be formed with it.
    pub bootstrap: bool,
    /// The highest epoch promised.
    pub promised: Epoch,
    /// What the checkpoint holds, and its bytes, if there is one.
    pub checkpoint: Option<(LogPosition, u64)>,
    /// The end of the log.
    pub last: LogPosition,
    /// The latest voter set.
    pub voters: VoterSet,
    /// The first and the last segment of the log.
    pub segments: (u64, u64),
    /// Frames that a start reads.
    pub frames: u64,
    /// Sectors of a commit that was cut off.
    pub torn_sectors: u64,
}

/// Reads a directory that no server uses. `None`: there is nothing in it.
///
/// # Errors
/// As a start: [`OpenError`] tells what is wrong and what to do about it.
pub fn inspect(directory: &dyn Directory) -> Result<Option<Inspection>, OpenError> {
    recover::refuse_foreign(directory)?;
    // Without the file the lock is free, and none is to be made here.
    let _guard = match recover::names(directory)?.iter().any(|name| name == LOCK_NAME) {
        true => lock(directory)?,
        false => None,
    };
    let Some(Found { contents, scanned, recovered }) =
        recover::judge(directory, None, CACHE_BYTES)?.1
    else {
        return Ok(None);
    };
    let identity = contents.identity;
    let snapshot = contents.snapshot.as_ref();
    Ok(Some(Inspection {
        node: identity.owner.node,
        store: recovered.store,
        cluster: identity.cluster,
        cluster_name: recover::cluster_named(identity.cluster, &contents.cluster_name),
        format: checkpoint::FORMAT,
        bootstrap: identity.bootstrap,
        promised: recovered.promised,
        checkpoint: snapshot.map(|snapshot| (snapshot.last, snapshot.state.len() as u64)),
        last: recovered.log.last(),
        voters: recovered.log.voters().clone(),
        segments: (contents.base.at.segment, scanned.end.segment),
        frames: scanned.frames.len() as u64,
        torn_sectors: scanned.torn.len() as u64,
    }))
}

/// Keeps servers out while the directory is read. One that cannot be written cannot be in use by a
/// server either.
fn lock(directory: &dyn Directory) -> Result<Option<Box<dyn Guard>>, OpenError> {
    let path = || directory.describe(LOCK_NAME);
    match directory.lock() {
        Ok(Some(guard)) => Ok(Some(guard)),
        Ok(None) => Err(OpenError::Locked { path: path() }),
        Err(error) => match OpenError::io("lock", path(), error) {
            OpenError::ReadOnly { .. } | OpenError::Full { .. } => Ok(None),
            error => Err(error),
        },
    }
}
