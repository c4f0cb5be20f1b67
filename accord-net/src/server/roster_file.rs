//! The list of servers in a persistent server's data directory: whole, checked, never older.

use crate::operator::roster::Roster;
use crate::storage::FILE_MODE;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// The file in a server's data directory.
pub(super) const FILE: &str = "servers.json";
/// Far more than any roster has.
const BYTES_MAX: u64 = 64 << 10;

/// The roster in a server's data directory, written on another thread.
#[derive(Debug)]
pub struct RosterFile {
    path: PathBuf,
    found: Option<Roster>,
    /// The version last written, so that an earlier one never overwrites it.
    written: Arc<Mutex<u64>>,
}

impl RosterFile {
    /// Reads what is there.
    ///
    /// # Errors
    /// If the file cannot be read, or what it says makes no sense.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join(FILE);
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let found = match std::fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
            Ok(found) if found.len() > BYTES_MAX => return Err(invalid("it is too long".into())),
            Ok(_) => {
                let bytes = std::fs::read(&path)?;
                let text = unsealed(&bytes).ok_or_else(|| {
                    invalid("its checksum does not match its contents".to_owned())
                })?;
                Some(Roster::from_bytes(text).map_err(invalid)?)
            }
        };
        let written = Arc::new(Mutex::new(found.as_ref().map_or(0, |roster| roster.version)));
        Ok(Self { path, found, written })
    }

    /// What an earlier life left.
    pub(super) const fn found(&self) -> Option<&Roster> {
        self.found.as_ref()
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a roster durable, and tells when it is.
    pub(super) fn keep(&self, roster: &Roster) -> oneshot::Receiver<io::Result<()>> {
        let (tell, told) = oneshot::channel();
        let (path, written) = (self.path.clone(), self.written.clone());
        let roster = roster.clone();
        let work = move || {
            let mut version = written.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = match roster.version >= *version {
                true => write(&path, &roster.to_bytes()),
                false => Ok(()),
            };
            match &kept {
                Ok(()) => *version = (*version).max(roster.version),
                Err(error) => {
                    let path = path.display();
                    tracing::error!(%path, %error, "the list of servers cannot be kept");
                }
            }
            // The operator's connection may be gone.
            let _ = tell.send(kept);
        };
        if let Err(error) = std::thread::Builder::new().name("accord-roster".into()).spawn(work) {
            tracing::error!(%error, "the list of servers cannot be kept: no thread");
        }
        told
    }
}

fn sealed(text: &[u8]) -> Vec<u8> {
    let mut bytes = text.to_vec();
    bytes.extend_from_slice(format!("\n{:08x}\n", crc32fast::hash(text)).as_bytes());
    bytes
}

fn unsealed(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    (sealed(&bytes[..end]) == bytes).then_some(&bytes[..end])
}

/// Writes the file whole or not at all.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("json.new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(FILE_MODE);
    let mut file = options.open(&unfinished)?;
    file.write_all(&sealed(text))?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    let directory = path.parent().expect("it is a file in a directory");
    std::fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster(version: u64, servers: &[(u32, &str)]) -> Roster {
        let at = |at: &str| at.parse().expect("an address");
        Roster {
            version,
            cluster_id: 0,
            servers: servers.iter().map(|(node, a)| (*node, at(a))).collect(),
        }
    }

    #[test]
    fn a_kept_roster_is_found_and_a_damaged_one_refused() {
        let dir = std::env::temp_dir().join(format!("accord-roster-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("there is a place for it");
        let file = RosterFile::open(&dir).expect("nothing is there");
        assert_eq!(file.found(), None);
        let (older, newer) = (roster(1, &[(1, "127.0.0.1:1")]), roster(2, &[(2, "127.0.0.1:2")]));
        file.keep(&newer).blocking_recv().expect("it ends").expect("it is kept");
        file.keep(&older).blocking_recv().expect("it ends").expect("nothing is to do");
        assert_eq!(RosterFile::open(&dir).expect("it is intact").found(), Some(&newer));
        let path = dir.join(FILE);
        let mut bytes = std::fs::read(&path).expect("it is there");
        bytes[3] ^= 1;
        std::fs::write(&path, bytes).expect("it can be written");
        assert!(RosterFile::open(&dir).is_err());
        std::fs::remove_dir_all(&dir).expect("it is ours");
    }
}
