//! The files of the log: segments, written with zeros before they are used.
//!
//! A segment begins with a sector that says whose it is, in which format, and how long; frames
//! follow ([`super::sector`]). It is created under a name of its own, filled with zeros, synced and
//! then renamed, so that a segment under its final name is always whole, and a commit into it
//! changes no metadata of the file system: syncing it is one write. A frame never spans segments.
//!
//! A segment that the log does not need any more becomes a new one: the same file, under another
//! name and with zeros from end to end. Its blocks are there, and so are its pages in the system's
//! memory; to write to pages that are new costs twice as much. To recovery it is as any other.
//!
//! The first sector's magic, format and checksum stand at the same place in every format, so that
//! an old version can name a new one.

use super::disk::{Access, Directory, DiskFile, SECTOR_BYTES};
use super::error::{Damage, OpenError, StorageError};
use super::sector::{self, Found, Place};
use accord_core::ids::NodeId;
use std::io;
use std::sync::Arc;

/// The format of segments that this version writes, and the newest that it reads.
pub(super) const FORMAT: u32 = 2;
const MAGIC: &[u8; 12] = b"accord log\r\n";
/// Zeros are written and synced in pieces of this size: a commit waits for at most one of them.
const PIECE_BYTES: u64 = 1 << 20;
const PREFIX: &str = "log-";
/// The end of the name of what is not complete.
pub(super) const UNFINISHED: &str = ".new";

/// The name of segment `id`.
pub(super) fn name(id: u64) -> String {
    format!("{PREFIX}{id:016}")
}

/// The segment that a file of this name is.
pub(super) fn id_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?;
    let whole = digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole { digits.parse().ok() } else { None }
}

/// An open segment.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// Counts from 1.
    pub(super) id: u64,
    /// Its length, the first sector included.
    pub(super) sectors: u64,
    /// Its bytes.
    pub(super) file: Arc<dyn DiskFile>,
}

/// Whose segments these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// The server.
    pub(super) node: NodeId,
    /// The incarnation of its store.
    pub(super) store: u64,
}

fn head(owner: Owner, id: u64, sectors: u64) -> Vec<u8> {
    let mut payload = MAGIC.to_vec();
    payload.extend_from_slice(&FORMAT.to_le_bytes());
    payload.extend_from_slice(&owner.node.0.to_le_bytes());
    for number in [owner.store, id, sectors] {
        payload.extend_from_slice(&number.to_le_bytes());
    }
    let mut out = Vec::new();
    HEAD_PLACE.seal(&payload, &mut out);
    out
}

/// The checksum of a first sector covers its contents alone: they say where it belongs.
const HEAD_PLACE: Place = Place { store: 0, segment: 0, sector: 0, frame: 0 };

/// Opens the segment `id` and checks its first sector and its length.
pub(super) fn open(
    directory: &dyn Directory,
    owner: Owner,
    id: u64,
    access: Access,
) -> Result<Segment, OpenError> {
    let path = || directory.describe(&name(id));
    let damage = |offset, why: &str| Damage { path: path(), offset, after: None, why: why.into() };
    let file = directory.open(&name(id), access).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => OpenError::from(damage(None, "the file is missing")),
        _ => OpenError::io("open", path(), error),
    })?;
    let bytes = file.len_bytes().map_err(|error| OpenError::io("measure", path(), error))?;
    if bytes < SECTOR_BYTES as u64 {
        return Err(damage(Some(bytes), "the file is truncated").into());
    }
    let mut first = [0; SECTOR_BYTES];
    file.read_at(0, &mut first)
        .map_err(|error| damage(Some(0), &format!("it cannot be read: {error}")))?;
    if HEAD_PLACE.judge(&first) != Found::Valid || !sector::payload(&first).starts_with(MAGIC) {
        return Err(damage(Some(0), "the first sector is not that of a segment").into());
    }
    let payload = sector::payload(&first);
    let mut word = [0; 4];
    word.copy_from_slice(&payload[MAGIC.len()..MAGIC.len() + 4]);
    let found = u32::from_le_bytes(word);
    match found {
        FORMAT => {}
        ..FORMAT => return Err(OpenError::OlderFormat { path: path(), found, known: FORMAT }),
        _ => return Err(OpenError::NewerFormat { path: path(), found, known: FORMAT }),
    }
    let sectors = u64::from_le_bytes(words(payload));
    if first != head(owner, id, sectors)[..] {
        return Err(damage(Some(0), "it is a segment of another store").into());
    }
    match bytes == sectors.saturating_mul(SECTOR_BYTES as u64) {
        true => Ok(Segment { id, sectors, file }),
        false => Err(damage(Some(bytes), "the file is truncated, or was extended").into()),
    }
}

/// The number of sectors in a first sector's payload.
fn words(payload: &[u8]) -> [u8; 8] {
    let mut word = [0; 8];
    word.copy_from_slice(&payload[36..44]);
    word
}

/// A segment that is being made.
#[derive(Debug)]
pub(super) struct Maker {
    directory: Arc<dyn Directory>,
    segment: Segment,
    written: u64,
    /// A piece of zeros, made once and not for each piece.
    zeros: Vec<u8>,
}

impl Maker {
    /// Begins a segment of at least `bytes`, in the file of segment `old` if one is given and as
    /// long. Nothing is to need what is in that any more, now or after a loss of power.
    pub(super) fn new(
        directory: &Arc<dyn Directory>,
        owner: Owner,
        id: u64,
        bytes: u64,
        old: Option<u64>,
    ) -> Result<Self, StorageError> {
        let sectors = bytes.div_ceil(SECTOR_BYTES as u64) + 1;
        let unfinished = name(id) + UNFINISHED;
        let failed = |error| StorageError::io("create", directory.describe(&unfinished), &error);
        let reused = match old {
            Some(old) => reuse(directory.as_ref(), &name(old), &unfinished, sectors),
            None => Ok(None),
        };
        let file = match reused.map_err(failed)? {
            Some(file) => file,
            None => directory.create(&unfinished).map_err(failed)?,
        };
        file.write_at(0, &head(owner, id, sectors)).map_err(failed)?;
        let segment = Segment { id, sectors, file };
        let zeros = vec![0; PIECE_BYTES.min(sectors * SECTOR_BYTES as u64) as usize];
        let written = SECTOR_BYTES as u64;
        Ok(Self { directory: directory.clone(), segment, written, zeros })
    }

    /// The segment's number.
    pub(super) const fn id(&self) -> u64 {
        self.segment.id
    }

    /// Sectors that frames can have in it.
    pub(super) const fn room(&self) -> u64 {
        self.segment.sectors - 1
    }

    /// Writes and syncs one piece. Returns the segment when it is complete and under its name.
    pub(super) fn step(&mut self) -> Result<Option<Segment>, StorageError> {
        let unfinished = name(self.segment.id) + UNFINISHED;
        let path = || self.directory.describe(&unfinished);
        let failed = |error| StorageError::io("write", path(), &error);
        let left = self.segment.sectors * SECTOR_BYTES as u64 - self.written;
        let piece = left.min(PIECE_BYTES);
        self.segment.file.write_at(self.written, &self.zeros[..piece as usize]).map_err(failed)?;
        self.segment.file.sync().map_err(failed)?;
        self.written += piece;
        if left > piece {
            return Ok(None);
        }
        let renamed = self.directory.rename(&unfinished, &name(self.segment.id));
        renamed.and_then(|()| self.directory.sync()).map_err(failed)?;
        Ok(Some(self.segment.clone()))
    }
}

/// The file `old` under another name; or none, and it is gone, if it has not that many sectors.
fn reuse(
    directory: &dyn Directory,
    old: &str,
    name: &str,
    sectors: u64,
) -> io::Result<Option<Arc<dyn DiskFile>>> {
    let file = match directory.open(old, Access::Write) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if file.len_bytes()? != sectors * SECTOR_BYTES as u64 {
        directory.remove(old)?;
        return Ok(None);
    }
    directory.rename(old, name)?;
    Ok(Some(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_their_numbers_and_come_back() {
        assert!(name(9) < name(10));
        assert_eq!(id_of(&name(123)), Some(123));
        for other in ["log-1", "log-000000000000000a", "log-0000000000000001.new", "lock", ""] {
            assert_eq!(id_of(other), None, "{other}");
        }
    }

    #[test]
    fn the_first_sector_is_pinned_since_every_version_must_tell_it() {
        let head = head(Owner { node: NodeId(7), store: 0x0102 }, 3, 65);
        assert_eq!(&head[4..16], MAGIC);
        assert_eq!(&head[16..24], [2, 0, 0, 0, 7, 0, 0, 0]);
        assert_eq!(u64::from_le_bytes(words(sector::payload(&head))), 65);
        assert_eq!(HEAD_PLACE.judge(&head), Found::Valid);
    }
}
