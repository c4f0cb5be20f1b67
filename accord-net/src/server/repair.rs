//! A server whose disk did not keep what it had promised to takes its state from the others.
//!
//! The damaged directory is renamed, never changed: it is for people to look at, and the last hope
//! if the others lose theirs. The server begins with an empty one. That is safe: an empty directory
//! is a new incarnation, which does not vote until a living majority has readmitted it, and which
//! may not form a new cluster, whatever the settings say. So what is forgotten is never taken for
//! what never was.

use super::journal::{Disk, DiskError};
use crate::storage::{OpenError, Options};
use accord_core::ids::NodeId;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// A disk that does this again and again is not worth another try.
pub const SET_ASIDE_MAX: u32 = 8;

/// A directory that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Where it is now.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// As [`Disk::open`], but a damaged directory is set aside and an empty one is opened.
///
/// # Errors
/// [`DiskError`]: nothing was changed. If a damaged directory cannot be set aside, the damage is
/// the error.
pub fn open(
    path: &Path,
    node: NodeId,
    options: &Options,
) -> Result<(Disk, Option<SetAside>), DiskError> {
    // What was set aside had been in a cluster, whatever the settings say.
    let was_set_aside = named_aside(path, 1).is_some_and(|earlier| earlier.exists());
    let mut options = options.clone();
    options.bootstrap &= !was_set_aside;
    let error = match Disk::open(path, node, options.clone()) {
        Ok(disk) => return Ok((disk, None)),
        Err(error) => error,
    };
    let DiskError::Open(damaged @ (OpenError::Damaged { .. } | OpenError::Inconsistent { .. })) =
        &error
    else {
        return Err(error);
    };
    let Some(target) = name_aside(path) else { return Err(error) };
    let why = damaged.to_string();
    if let Err(failed) = set_aside(path, &target) {
        tracing::error!(error = %failed, to = %target.display(), "it could not be set aside");
        return Err(error);
    }
    options.bootstrap = false;
    let disk = Disk::open(path, node, options)?;
    Ok((disk, Some(SetAside { path: target, why })))
}

/// The first name of a directory that was never set aside, if there are not too many already.
fn name_aside(path: &Path) -> Option<PathBuf> {
    let named = |number| named_aside(path, number);
    (1..=SET_ASIDE_MAX).filter_map(named).find(|target| !target.exists())
}

fn named_aside(path: &Path, number: u32) -> Option<PathBuf> {
    let mut name = path.file_name()?.to_owned();
    name.push(format!(".damaged-{number}"));
    Some(path.with_file_name(name))
}

fn set_aside(path: &Path, target: &Path) -> io::Result<()> {
    fs::rename(path, target)?;
    // So that no later crash brings it back.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
