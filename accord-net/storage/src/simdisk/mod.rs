//! A simulated disk: files in memory that lose power, tear, rot, fill up and fail, from a seed.
//!
//! It keeps exactly what [`super::disk`] promises and breaks everything else. What was written and
//! not synced is seen by every reader, as in a system's memory, until the power goes; then any of
//! its sectors may be there, in any order, and so may any change of a name that was not synced.
//! Handles of a process that crashed are dead: what its destructors still write goes nowhere.
//!
//! Deterministic: the same calls on a disk of the same seed give the same bytes, in any build.
//!
//! A [`SimDisk`] is a handle; clones share the disk, and [`SimDisk::fork`] copies it.

mod image;
mod machine;

use super::disk::{Access, Directory, DiskFile, Guard};
use bytes::Bytes;
use machine::Machine;
pub use machine::Witness;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A disk with one directory.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<Machine>>);

impl SimDisk {
    /// An empty disk, whose damage is drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Machine::new(seed))))
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of the disk with all that is on its way, whose further damage is drawn from `seed`.
    pub fn fork(&self, seed: u64) -> Self {
        let machine = self.machine().fork(seed);
        Self(Arc::new(Mutex::new(machine)))
    }

    /// The process is gone; what it wrote stays in the system's memory.
    pub fn crash(&self) {
        self.machine().crash();
    }

    /// The machine lost power and has it again: of what was not synced, anything may be there.
    pub fn lose_power(&self) {
        self.machine().lose_power();
    }

    /// The directory is empty.
    pub fn wipe(&self) {
        self.machine().wipe();
    }

    /// After this many more changes, everything fails. `None` takes it back.
    pub fn cut_after(&self, changes: Option<u64>) {
        self.machine().cut_after = changes;
    }

    /// Syncs say that they succeed, and do nothing.
    pub fn set_lying(&self, lying: bool) {
        self.machine().lying = lying;
    }

    /// Syncs fail.
    pub fn set_failing(&self, failing: bool) {
        self.machine().failing = failing;
    }

    /// Nothing can be written.
    pub fn set_read_only(&self, read_only: bool) {
        self.machine().read_only = read_only;
    }

    /// Bounds the bytes of all files together.
    pub fn set_capacity_bytes(&self, bytes: Option<u64>) {
        self.machine().capacity_bytes = bytes;
    }

    /// Turns one bit anywhere. Returns where: the file and the byte. `None` if there is none.
    pub fn rot(&self) -> Option<(String, u64)> {
        self.machine().rot()
    }

    /// Turns the bits of `mask` in one byte.
    ///
    /// # Panics
    /// If it is not there.
    pub fn flip(&self, name: &str, offset: u64, mask: u8) {
        self.machine().flip(name, offset, mask);
    }

    /// The sector with this byte cannot be read from now on.
    ///
    /// # Panics
    /// If the file is not there.
    pub fn lose_sector(&self, name: &str, offset: u64) {
        self.machine().lose_sector(name, offset);
    }

    /// The file ends here from now on, as if it always had.
    ///
    /// # Panics
    /// If it is not there.
    pub fn truncate(&self, name: &str, len: u64) {
        self.machine().truncate(name, len);
    }

    /// The contents of a file.
    ///
    /// # Panics
    /// If it is not there.
    pub fn contents(&self, name: &str) -> Vec<u8> {
        self.machine().contents(name)
    }

    /// The files and their contents.
    pub fn all_contents(&self) -> Vec<(String, Vec<u8>)> {
        let machine = self.machine();
        machine.names().into_iter().map(|name| (name.clone(), machine.contents(&name))).collect()
    }

    /// Changes so far: writes, syncs, changes of names.
    pub fn changes(&self) -> u64 {
        self.machine().changes
    }

    /// Syncs of files so far.
    pub fn syncs(&self) -> u64 {
        self.machine().syncs
    }

    /// A digest of all changes so far and of their order.
    pub fn digest(&self) -> u64 {
        self.machine().digest
    }

    /// From now on, `witness` is called in the middle of every change: what is written is on its
    /// way and may be lost, what is synced is not synced yet. It is given a copy of the disk.
    pub fn set_witness(&self, witness: Option<Witness>) {
        self.machine().witness = witness;
    }
}

#[derive(Debug)]
struct SimGuard {
    machine: Arc<Mutex<Machine>>,
    boot: u64,
}
impl Guard for SimGuard {}
impl Drop for SimGuard {
    fn drop(&mut self) {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner).unlock(self.boot);
    }
}

impl Directory for SimDisk {
    fn lock(&self) -> io::Result<Option<Box<dyn Guard>>> {
        let boot = self.machine().lock()?;
        let guard = |boot| Box::new(SimGuard { machine: self.0.clone(), boot }) as Box<dyn Guard>;
        Ok(boot.map(guard))
    }
    fn list(&self) -> io::Result<Vec<String>> {
        let machine = self.machine();
        machine.powered()?;
        Ok(machine.names())
    }
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let (inode, boot) = self.machine().open(name)?;
        Ok(Arc::new(SimFile { machine: self.0.clone(), inode, boot, access }))
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let (inode, boot) = self.machine().create(name)?;
        Ok(Arc::new(SimFile { machine: self.0.clone(), inode, boot, access: Access::Write }))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.machine().rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.machine().remove(name)
    }
    fn sync(&self) -> io::Result<()> {
        self.machine().sync_names()
    }
    fn describe(&self, name: &str) -> String {
        format!("disk/{name}")
    }
}

#[derive(Debug)]
struct SimFile {
    machine: Arc<Mutex<Machine>>,
    inode: u64,
    boot: u64,
    access: Access,
}

impl SimFile {
    /// The machine, if the process that opened this still runs on it.
    fn machine(&self) -> io::Result<MutexGuard<'_, Machine>> {
        let machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        machine.powered()?;
        match machine.boot == self.boot {
            true => Ok(machine),
            false => Err(io::Error::other("the process that opened this is gone")),
        }
    }

    fn writable(&self) -> io::Result<MutexGuard<'_, Machine>> {
        match self.access {
            Access::Write => self.machine(),
            Access::Read => Err(io::Error::other("a handle for reading is not written to")),
        }
    }
}

impl DiskFile for SimFile {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.machine()?.len(self.inode))
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.machine()?.read(self.inode, offset, out)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.writable()?.write(self.inode, offset, Bytes::copy_from_slice(data))
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.writable()?.set_len(self.inode, len)
    }
    fn sync(&self) -> io::Result<()> {
        self.writable()?.sync(self.inode)
    }
}
