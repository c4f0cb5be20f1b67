//! The state of a simulated disk, and what befalls it.
//!
//! Invariant: unless a sync failed, the contents that readers see are the durable ones with all
//! unsynced changes applied in order; so are the names.

use super::SimDisk;
use super::image::Image;
use crate::SECTOR_BYTES;
use accord_core::rng::Rng;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

/// Is shown the disk in the middle of every change.
pub type Witness = Box<dyn FnMut(&SimDisk) + Send>;

/// A change of a file that is not synced.
#[derive(Clone, Debug)]
enum Unsynced {
    Write { offset: u64, data: Bytes },
    SetLen(u64),
}

impl Unsynced {
    fn apply(&self, image: &mut Image) {
        match self {
            Self::Write { offset, data } => image.write(*offset, data),
            Self::SetLen(len) => image.set_len(*len),
        }
    }
}

/// A change of the directory that is not synced.
#[derive(Clone, Debug)]
enum Naming {
    Link(String, u64),
    Rename(String, String, u64),
    Unlink(String),
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Link(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            Self::Unlink(name) => {
                names.remove(name);
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
struct File {
    now: Image,
    durable: Image,
    unsynced: Vec<Unsynced>,
    /// Sectors that cannot be read.
    lost: BTreeSet<u64>,
}

/// A disk, the power that it has, and the process that uses it.
pub(super) struct Machine {
    files: BTreeMap<u64, File>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    unsynced_names: Vec<Naming>,
    next_inode: u64,
    /// Counts the processes that used it.
    pub(super) boot: u64,
    locked: bool,
    pub(super) cut_after: Option<u64>,
    pub(super) lying: bool,
    pub(super) failing: bool,
    pub(super) read_only: bool,
    pub(super) capacity_bytes: Option<u64>,
    pub(super) changes: u64,
    pub(super) syncs: u64,
    pub(super) digest: u64,
    pub(super) witness: Option<Witness>,
    rng: Rng,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Machine {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            next_inode: 1,
            boot: 0,
            locked: false,
            cut_after: None,
            lying: false,
            failing: false,
            read_only: false,
            capacity_bytes: None,
            changes: 0,
            syncs: 0,
            digest: 0xcbf2_9ce4_8422_2325,
            witness: None,
            rng: Rng::new(seed),
        }
    }

    pub(super) fn fork(&self, seed: u64) -> Self {
        let mut fork = Self::new(seed);
        fork.files = self.files.clone();
        fork.names = self.names.clone();
        fork.durable_names = self.durable_names.clone();
        fork.unsynced_names = self.unsynced_names.clone();
        fork.next_inode = self.next_inode;
        (fork.boot, fork.locked) = (self.boot, self.locked);
        (fork.lying, fork.capacity_bytes) = (self.lying, self.capacity_bytes);
        fork
    }

    pub(super) fn powered(&self) -> io::Result<()> {
        match self.cut_after {
            Some(0) => Err(io::Error::other("the power is off")),
            _ => Ok(()),
        }
    }

    pub(super) fn crash(&mut self) {
        self.boot += 1;
        self.locked = false;
        (self.cut_after, self.failing) = (None, false);
    }

    pub(super) fn wipe(&mut self) {
        self.crash();
        self.files.clear();
        self.names.clear();
        self.durable_names.clear();
        self.unsynced_names.clear();
    }

    pub(super) fn lose_power(&mut self) {
        self.crash();
        let mut rng = Rng::new(self.rng.next_u64());
        let mut names = std::mem::take(&mut self.durable_names);
        let keep = Keep::draw(&mut rng);
        for (at, naming) in self.unsynced_names.drain(..).enumerate() {
            if keep.keeps(&mut rng, at) {
                naming.apply(&mut names);
            }
        }
        for file in self.files.values_mut() {
            let keep = Keep::draw(&mut rng);
            for (at, change) in std::mem::take(&mut file.unsynced).iter().enumerate() {
                match change {
                    _ if !keep.keeps(&mut rng, at) => {}
                    Unsynced::Write { offset, data } if keep.tears(&mut rng) => {
                        let mut kept = || rng.chance(1, 2);
                        file.durable.write_torn(*offset, data, &mut kept);
                    }
                    change => change.apply(&mut file.durable),
                }
            }
            file.now = file.durable.clone();
        }
        let there: BTreeSet<u64> = names.values().copied().collect();
        self.files.retain(|inode, _| there.contains(inode));
        self.names = names.clone();
        self.durable_names = names;
    }

    /// Counts a change, and refuses it if it cannot be.
    fn begin(&mut self, what: u8, about: &[&[u8]]) -> io::Result<()> {
        self.powered()?;
        if self.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        if let Some(left) = &mut self.cut_after {
            *left -= 1;
        }
        self.changes += 1;
        for byte in [what].iter().chain(about.iter().copied().flatten()) {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }

    /// The change is under way.
    fn show(&mut self) {
        if let Some(mut witness) = self.witness.take() {
            let fork = SimDisk(Arc::new(Mutex::new(self.fork(0))));
            witness(&fork);
            self.witness = Some(witness);
        }
    }

    /// Refuses what would need more room than there is.
    fn room_for(&self, more: u64) -> io::Result<()> {
        let used: u64 = self.files.values().map(|file| file.now.len()).sum();
        match self.capacity_bytes.is_some_and(|capacity| used + more > capacity) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }

    pub(super) fn lock(&mut self) -> io::Result<Option<u64>> {
        self.powered()?;
        if self.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let free = !std::mem::replace(&mut self.locked, true);
        Ok(free.then_some(self.boot))
    }

    pub(super) fn unlock(&mut self, boot: u64) {
        if self.boot == boot {
            self.locked = false;
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    pub(super) fn open(&self, name: &str) -> io::Result<(u64, u64)> {
        self.powered()?;
        let inode = self.names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok((inode, self.boot))
    }

    pub(super) fn create(&mut self, name: &str) -> io::Result<(u64, u64)> {
        if self.names.contains_key(name) {
            let (inode, boot) = self.open(name)?;
            self.set_len(inode, 0)?;
            return Ok((inode, boot));
        }
        self.begin(0, &[name.as_bytes()])?;
        let inode = self.next_inode;
        self.next_inode += 1;
        self.files.insert(inode, File::default());
        self.name(Naming::Link(name.to_owned(), inode));
        Ok((inode, self.boot))
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.begin(1, &[from.as_bytes(), to.as_bytes()])?;
        let inode = self.names.get(from).copied().ok_or(io::ErrorKind::NotFound)?;
        self.name(Naming::Rename(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        self.begin(2, &[name.as_bytes()])?;
        self.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        self.name(Naming::Unlink(name.to_owned()));
        Ok(())
    }

    fn name(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.unsynced_names.push(naming);
        self.show();
    }

    pub(super) fn sync_names(&mut self) -> io::Result<()> {
        self.begin(3, &[])?;
        self.show();
        if self.failing {
            return Err(io::Error::other("the disk failed to sync"));
        }
        if !self.lying {
            self.durable_names = self.names.clone();
            self.unsynced_names.clear();
        }
        Ok(())
    }

    fn file(&mut self, inode: u64) -> &mut File {
        self.files.get_mut(&inode).expect("a handle keeps its file")
    }

    pub(super) fn len(&self, inode: u64) -> u64 {
        self.files[&inode].now.len()
    }

    pub(super) fn read(&self, inode: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let file = &self.files[&inode];
        let end = offset.checked_add(out.len() as u64).filter(|end| *end <= file.now.len());
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let sectors = offset / SECTOR_BYTES as u64..end.div_ceil(SECTOR_BYTES as u64);
        if file.lost.range(sectors).next().is_some() {
            return Err(io::Error::other("a sector cannot be read"));
        }
        file.now.read(offset, out);
        Ok(())
    }

    pub(super) fn write(&mut self, inode: u64, offset: u64, data: Bytes) -> io::Result<()> {
        self.begin(4, &[&inode.to_le_bytes(), &offset.to_le_bytes(), &data])?;
        self.room_for((offset + data.len() as u64).saturating_sub(self.len(inode)))?;
        let file = self.file(inode);
        file.now.write(offset, &data);
        file.unsynced.push(Unsynced::Write { offset, data });
        self.show();
        Ok(())
    }

    pub(super) fn set_len(&mut self, inode: u64, len: u64) -> io::Result<()> {
        self.begin(5, &[&inode.to_le_bytes(), &len.to_le_bytes()])?;
        self.room_for(len.saturating_sub(self.len(inode)))?;
        let file = self.file(inode);
        file.now.set_len(len);
        file.unsynced.push(Unsynced::SetLen(len));
        self.show();
        Ok(())
    }

    pub(super) fn sync(&mut self, inode: u64) -> io::Result<()> {
        self.begin(6, &[&inode.to_le_bytes()])?;
        self.syncs += 1;
        self.show();
        let (failing, lying) = (self.failing, self.lying);
        let file = self.file(inode);
        if failing {
            // As Linux has it: the system takes what it could not write for written, shows it to
            // every reader, and never tries again.
            file.unsynced.clear();
            return Err(io::Error::other("the disk failed to sync"));
        }
        if !lying {
            let File { durable, unsynced, .. } = file;
            unsynced.drain(..).for_each(|change| change.apply(durable));
        }
        Ok(())
    }

    pub(super) fn rot(&mut self) -> Option<(String, u64)> {
        let names = self.names();
        let bytes: u64 = names.iter().map(|name| self.len(self.names[name])).sum();
        let mut at = self.rng.below(bytes);
        for name in names {
            let len = self.len(self.names[&name]);
            if at < len {
                let mask = 1 << self.rng.below(8);
                self.flip(&name, at, mask);
                return Some((name, at));
            }
            at -= len;
        }
        None
    }

    /// Damages what is there, whether it is durable or on its way.
    fn spoil(&mut self, name: &str, spoil: impl Fn(&mut Image)) {
        let inode = *self.names.get(name).expect("the file is there");
        let file = self.file(inode);
        spoil(&mut file.now);
        spoil(&mut file.durable);
    }

    pub(super) fn flip(&mut self, name: &str, offset: u64, mask: u8) {
        self.spoil(name, |image| {
            if offset < image.len() {
                let mut byte = [0];
                image.read(offset, &mut byte);
                image.write(offset, &[byte[0] ^ mask]);
            }
        });
    }

    pub(super) fn lose_sector(&mut self, name: &str, offset: u64) {
        let inode = *self.names.get(name).expect("the file is there");
        self.file(inode).lost.insert(offset / SECTOR_BYTES as u64);
    }

    pub(super) fn truncate(&mut self, name: &str, len: u64) {
        self.spoil(name, |image| image.set_len(len.min(image.len())));
    }

    pub(super) fn contents(&self, name: &str) -> Vec<u8> {
        let file = &self.files[self.names.get(name).expect("the file is there")];
        let mut contents = vec![0; file.now.len() as usize];
        file.now.read(0, &mut contents);
        contents
    }
}

/// How much of what was not synced a loss of power leaves. Drawn for each file.
#[derive(Clone, Copy, Debug)]
enum Keep {
    Nothing,
    Everything,
    /// This many of the first changes.
    Prefix(u64),
    /// Each change by chance, whole.
    Some,
    /// Each change by chance, and some of its sectors.
    Torn,
}

impl Keep {
    fn draw(rng: &mut Rng) -> Self {
        match rng.below(8) {
            0 => Self::Nothing,
            1 => Self::Everything,
            2 => Self::Prefix(rng.below(8)),
            3 | 4 => Self::Some,
            _ => Self::Torn,
        }
    }

    fn keeps(self, rng: &mut Rng, at: usize) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Prefix(count) => (at as u64) < count,
            Self::Some => rng.chance(1, 2),
            Self::Torn => rng.chance(3, 4),
        }
    }

    fn tears(self, rng: &mut Rng) -> bool {
        matches!(self, Self::Torn) && rng.chance(3, 4)
    }
}
