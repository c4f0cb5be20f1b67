//! How redb sees a file: as a backend that writes, or as one that only seems to.
//!
//! Opening a redb file may write to it (repair after a crash, its own marks). A directory that
//! turns out to be another server's, or damaged, must stay as it was. So the first look at a file
//! goes through [`Overlay`], which keeps in memory what redb writes; only when all is found well is
//! the file opened through [`Through`].

use super::disk::DiskFile;
use redb::StorageBackend;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Reads and writes the file itself.
#[derive(Debug)]
pub(super) struct Through(pub(super) Arc<dyn DiskFile>);

impl StorageBackend for Through {
    fn len(&self) -> io::Result<u64> {
        self.0.len_bytes()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data)
    }
}

const PAGE_BYTES: usize = 4096;

/// Reads the file, and keeps what is written in memory.
#[derive(Debug)]
pub(super) struct Overlay {
    file: Arc<dyn DiskFile>,
    state: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    len: u64,
    /// What lies behind is zero unless written: the file's own bytes end here.
    file_len: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    pub(super) fn new(file: Arc<dyn DiskFile>) -> io::Result<Self> {
        let len = file.len_bytes()?;
        let state = Mutex::new(Written { len, file_len: len, pages: BTreeMap::new() });
        Ok(Self { file, state })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, Written> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads from one page, as far as the file or what was written fills it.
    fn read_page(&self, state: &Written, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (page, from) = (offset / PAGE_BYTES as u64, (offset % PAGE_BYTES as u64) as usize);
        if let Some(bytes) = state.pages.get(&page) {
            out.copy_from_slice(&bytes[from..from + out.len()]);
            return Ok(());
        }
        let there = state.file_len.saturating_sub(offset).min(out.len() as u64) as usize;
        out[there..].fill(0);
        if there == 0 { Ok(()) } else { self.file.read_at(offset, &mut out[..there]) }
    }
}

/// The pieces of `offset..offset + len` that lie in one page each: where, and which part.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let room = PAGE_BYTES - (at % PAGE_BYTES as u64) as usize;
        let range = done..len.min(done + room);
        done = range.end;
        (!range.is_empty()).then_some((at, range))
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > state.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        pieces(offset, out.len())
            .try_for_each(|(at, range)| self.read_page(&state, at, &mut out[range]))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        if len < state.len {
            state.file_len = state.file_len.min(len);
            let first_gone = len.div_ceil(PAGE_BYTES as u64);
            state.pages.split_off(&first_gone);
            let (page, from) = (len / PAGE_BYTES as u64, (len % PAGE_BYTES as u64) as usize);
            if let Some(bytes) = state.pages.get_mut(&page) {
                bytes[from..].fill(0);
            }
        }
        state.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        for (at, range) in pieces(offset, data.len()) {
            let (page, from) = (at / PAGE_BYTES as u64, (at % PAGE_BYTES as u64) as usize);
            if !state.pages.contains_key(&page) {
                let mut bytes = vec![0; PAGE_BYTES];
                self.read_page(&state, page * PAGE_BYTES as u64, &mut bytes)?;
                state.pages.insert(page, bytes);
            }
            let bytes = state.pages.get_mut(&page).expect("just put there");
            bytes[from..from + range.len()].copy_from_slice(&data[range]);
        }
        let end = offset + data.len() as u64;
        state.len = state.len.max(end);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Directory;
    use crate::simdisk::SimDisk;
    use accord_core::rng::Rng;

    #[test]
    fn an_overlay_is_what_a_copy_of_the_file_would_be_and_leaves_the_file_as_it_is() {
        let mut rng = Rng::new(1);
        let disk = SimDisk::new(1);
        let file = disk.create("file").expect("it has power");
        let mut bytes: Vec<u8> = (0..10_000).map(|_| rng.next_u64() as u8).collect();
        file.write_at(0, &bytes).expect("it has power");
        let overlay = Overlay::new(file).expect("it has power");
        for step in 0..500 {
            match rng.below(4) {
                0 => {
                    let len = rng.below(20_000);
                    overlay.set_len(len).expect("in memory");
                    bytes.resize(len as usize, 0);
                }
                1 | 2 if !bytes.is_empty() => {
                    let offset = rng.below(bytes.len() as u64) as usize;
                    let len = rng.below((bytes.len() - offset) as u64 + 1) as usize;
                    overlay.write(offset as u64, &vec![step as u8; len]).expect("in memory");
                    bytes[offset..offset + len].fill(step as u8);
                }
                _ => {
                    let mut read = vec![1; bytes.len()];
                    overlay.read(0, &mut read).expect("in memory");
                    assert!(read == bytes, "step {step}");
                }
            }
            assert_eq!(overlay.len().expect("in memory"), bytes.len() as u64);
        }
        let mut beyond = vec![0; bytes.len() + 1];
        assert!(overlay.read(0, &mut beyond).is_err());
        assert_eq!(disk.contents("file").len(), 10_000);
    }
}
