//! Removing what a process that was killed could not remove: directories and namespaces.
//!
//! Who makes something holds the lock of a file that stands for it, as long as it lives; the kernel
//! gives the lock back in any case. What can be locked by somebody else is left over. So nothing
//! that is in use is ever taken for a leftover, by any process.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The file in a directory whose lock is held by its maker.
const LOCK: &str = "in-use";

/// A claim on something, held until it is dropped.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    _locked: File,
}

impl Claim {
    /// Claims what the file at `path` stands for.
    ///
    /// # Errors
    /// As the system says; also if it is claimed already.
    pub fn new(path: PathBuf) -> io::Result<Self> {
        // It has its name only when it is locked, so nobody finds it unclaimed in between.
        let unnamed = path.with_extension(format!("{}.new", std::process::id()));
        let file = File::create(&unnamed)?;
        file.try_lock()?;
        fs::rename(&unnamed, &path)?;
        Ok(Self { path, _locked: file })
    }

    /// Claims a directory.
    ///
    /// # Errors
    /// As the system says.
    pub fn of_dir(dir: &Path) -> io::Result<Self> {
        Self::new(dir.join(LOCK))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Its directory may be gone.
        let _ = fs::remove_file(&self.path);
    }
}

/// True if there is such a file, and nobody holds the claim.
pub fn is_left(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}

/// Removes directories in `base` that were claimed under names that begin with `prefix`, and whose
/// makers are gone.
pub fn sweep_dirs(base: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix)
            && is_left(&entry.path().join(LOCK))
        {
            // Somebody else may be removing it as well.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_claimed_no_longer_is_removed() {
        let base = tempfile::tempdir().expect("a directory");
        let dir = |name: &str| {
            let dir = base.path().join(name);
            fs::create_dir(&dir).expect("it is new");
            dir
        };
        let (held, left, other, never) = (dir("it-1"), dir("it-2"), dir("other"), dir("it-3"));
        let _held = Claim::of_dir(&held).expect("nobody has it");
        // As a process that was killed leaves them.
        fs::write(left.join(LOCK), "").expect("it is ours");
        fs::write(other.join(LOCK), "").expect("it is ours");
        sweep_dirs(base.path(), "it-");
        assert!(held.exists() && !left.exists() && other.exists() && never.exists());
    }

    #[test]
    fn a_claim_is_held_until_it_is_dropped() {
        let base = tempfile::tempdir().expect("a directory");
        let path = base.path().join("a.lock");
        let claim = Claim::new(path.clone()).expect("nobody has it");
        assert!(!is_left(&path));
        drop(claim);
        assert!(!path.exists());
    }
}
