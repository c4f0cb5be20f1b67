//! The seam between the storage engine and what keeps its bytes.
//!
//! Everything that the engine does to a disk goes through [`Directory`] and [`DiskFile`], so that
//! the same code runs on real files ([`RealDirectory`]) and on a simulated disk that loses power.
//! What the engine assumes of them is what POSIX promises and no more:
//! - a write is on the medium when a sync of that file, begun after it, has returned; until then
//!   any of its sectors of [`SECTOR_BYTES`] may be there or not, in any order;
//! - an entry of a directory (created, renamed, removed) is on the medium when a sync of the
//!   directory has returned; until then any such change may be there or not, but whole.
//!
//! What is in a server's directory is for its user alone: directories are made with mode 0700 and
//! files with 0600, and what is open to others is closed to them ([`RealDirectory::tighten`]).
//!
//! Read `segment.rs` and `checkpoint.rs` next for what is written through it.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a disk writes as a whole: after a loss of power a sector has its old or its new contents.
pub const SECTOR_BYTES: usize = 512;

/// The name of the file whose lock keeps two processes out of one directory.
pub const LOCK_NAME: &str = "lock";

/// A flat directory of files that belongs to one server.
pub trait Directory: fmt::Debug + Send + Sync {
    /// Takes the directory for this process, until the guard is dropped. `None`: another has it.
    ///
    /// # Errors
    /// What the system says, such as that the directory cannot be written.
    fn lock(&self) -> io::Result<Option<Box<dyn Guard>>>;
    /// The names of the files, sorted.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens a file that is there, for reading only or for both.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>>;
    /// Creates an empty file, or empties it if it is there.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Gives a file another name, in the place of what had it.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes the changes to the directory's entries durable.
    ///
    /// # Errors
    /// What the system says. It is then unknown what is durable.
    fn sync(&self) -> io::Result<()>;
    /// How to name a file to a person.
    fn describe(&self, name: &str) -> String;
}

/// Keeps a directory locked until it is dropped.
pub trait Guard: fmt::Debug + Send + Sync {}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It is only looked at.
    Read,
    /// It is read and written.
    Write,
}

/// An open file. Handles may be used by several threads at once, in different places.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Length in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn len_bytes(&self) -> io::Result<u64>;
    /// Fills `out` from `offset` on.
    ///
    /// # Errors
    /// What the system says; `UnexpectedEof` if the file ends before.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    /// Writes all of `data`, growing the file as needed.
    ///
    /// # Errors
    /// What the system says. Any part may have been written.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Cuts the file, or lets it grow by zeros.
    ///
    /// # Errors
    /// What the system says.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes what was written, and the length, durable.
    ///
    /// # Errors
    /// What the system says. It is then unknown what is durable.
    fn sync(&self) -> io::Result<()>;
}

/// A directory of a real file system.
#[derive(Clone, Debug)]
pub struct RealDirectory {
    path: PathBuf,
}

impl RealDirectory {
    /// The directory at `path`, created if it is not there.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        if !path.is_dir() {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            DirBuilder::new().mode(DIRECTORY_MODE).create(&path)?;
            // Its own entry must last as well. A parent that cannot be opened is not ours to judge.
            if let Some(parent) = path.parent().and_then(|parent| File::open(parent).ok()) {
                parent.sync_all()?;
            }
        }
        Ok(Self { path })
    }

    /// Takes from others the permissions to the directory and to these files in it, and returns
    /// true if there were any to take.
    ///
    /// # Errors
    /// What the system says, such as that they are not this user's.
    pub fn tighten<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> io::Result<bool> {
        let mut found = close_to_others(&self.path)?;
        for name in names {
            found |= close_to_others(&self.path.join(name))?;
        }
        Ok(found)
    }
}

const DIRECTORY_MODE: u32 = 0o700;
/// The permissions of every file in a server's directory: its user alone reads and writes it.
pub const FILE_MODE: u32 = 0o600;
const OTHERS: u32 = 0o077;

fn close_to_others(path: &Path) -> io::Result<bool> {
    let mut permissions = match fs::metadata(path) {
        // The worker may have removed it meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        found => found?.permissions(),
    };
    if permissions.mode() & OTHERS == 0 {
        return Ok(false);
    }
    permissions.set_mode(permissions.mode() & !OTHERS);
    fs::set_permissions(path, permissions)?;
    Ok(true)
}

#[derive(Debug)]
struct RealGuard {
    /// The lock goes with the last handle of the file.
    _file: File,
}
impl Guard for RealGuard {}

impl Directory for RealDirectory {
    fn lock(&self) -> io::Result<Option<Box<dyn Guard>>> {
        let options = OpenOptions::new().create(true).truncate(false).write(true).to_owned();
        let file = options.clone().mode(FILE_MODE).open(self.path.join(LOCK_NAME))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(RealGuard { _file: file }))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is not text is none of ours, and is not like any of ours when shown.
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let write = access == Access::Write;
        let file = OpenOptions::new().read(true).write(write).open(self.path.join(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let options = OpenOptions::new().create(true).truncate(true).read(true).to_owned();
        let file = options.clone().write(true).mode(FILE_MODE).open(self.path.join(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn describe(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        // The length is part of what fdatasync makes durable; times are not, and need not be.
        self.0.sync_data()
    }
}
