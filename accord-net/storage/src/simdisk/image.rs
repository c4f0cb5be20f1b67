//! The bytes of a simulated file, cheap to copy: pages are shared until they are written.

use crate::SECTOR_BYTES;
use std::collections::BTreeMap;
use std::sync::Arc;

const PAGE_BYTES: usize = 4096;

/// The contents of a file. Pages that are not there are zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Image {
    len: u64,
    pages: BTreeMap<u64, Arc<Vec<u8>>>,
}

impl Image {
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Fills `out`, which must lie within the file.
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) {
        assert!(offset + out.len() as u64 <= self.len, "the caller keeps within the file");
        let mut done = 0;
        while done < out.len() {
            let (page, from, count) = piece(offset + done as u64, out.len() - done);
            let target = &mut out[done..done + count];
            match self.pages.get(&page) {
                Some(bytes) => target.copy_from_slice(&bytes[from..from + count]),
                None => target.fill(0),
            }
            done += count;
        }
    }

    /// Writes `data`, growing the file as needed.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        let mut done = 0;
        while done < data.len() {
            let (page, from, count) = piece(offset + done as u64, data.len() - done);
            let bytes = self.pages.entry(page).or_insert_with(|| Arc::new(vec![0; PAGE_BYTES]));
            let bytes = Arc::make_mut(bytes);
            bytes[from..from + count].copy_from_slice(&data[done..done + count]);
            done += count;
        }
        self.len = self.len.max(offset + data.len() as u64);
    }

    /// Writes those sectors' parts of `data` that `kept` says.
    pub(super) fn write_torn(&mut self, offset: u64, data: &[u8], mut kept: impl FnMut() -> bool) {
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let room = SECTOR_BYTES - (at % SECTOR_BYTES as u64) as usize;
            let count = room.min(data.len() - done);
            if kept() {
                self.write(at, &data[done..done + count]);
            }
            done += count;
        }
    }

    /// Cuts the file, or lets it grow by zeros.
    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.pages.split_off(&len.div_ceil(PAGE_BYTES as u64));
            let from = (len % PAGE_BYTES as u64) as usize;
            if let Some(bytes) = self.pages.get_mut(&(len / PAGE_BYTES as u64)) {
                Arc::make_mut(bytes)[from..].fill(0);
            }
        }
        self.len = len;
    }
}

/// The page at `offset`, where in it that is, and how much of `len` it holds.
fn piece(offset: u64, len: usize) -> (u64, usize, usize) {
    let from = (offset % PAGE_BYTES as u64) as usize;
    (offset / PAGE_BYTES as u64, from, len.min(PAGE_BYTES - from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_what_a_vector_of_bytes_is() {
        let mut rng = accord_core::rng::Rng::new(1);
        let (mut image, mut bytes) = (Image::default(), Vec::new());
        for step in 0..500u32 {
            if rng.chance(1, 4) {
                let len = rng.below(20_000);
                image.set_len(len);
                bytes.resize(len as usize, 0);
            } else {
                let (offset, len) = (rng.below(15_000) as usize, rng.below(9000) as usize);
                let data = vec![step as u8; len];
                image.write(offset as u64, &data);
                let end = bytes.len().max(offset + len);
                bytes.resize(end, 0);
                bytes[offset..offset + len].copy_from_slice(&data);
            }
            let mut read = vec![1; bytes.len()];
            image.read(0, &mut read);
            assert!(image.len() == bytes.len() as u64 && read == bytes, "step {step}");
        }
    }
}
