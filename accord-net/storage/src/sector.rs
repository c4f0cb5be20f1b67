//! How a commit looks on the disk: a frame of checksummed sectors.
//!
//! ```text
//! sector  | crc32 (4) | 508 bytes of the frame |
//! frame   | number (8) | first record (8) | base (8) | count (4) | bytes (8) | records | 0 ... |
//! record  | length (varint) | bytes |
//! ```
//!
//! Every sector bears its own checksum, over its contents and over where it belongs: store,
//! segment, place in the segment, frame. Since a frame is written over zeros, a sector that was
//! never written is zero, one that was is valid, and anything else is damage. That is what tells a
//! torn write (some sectors zero, all others valid: it was never reported as durable) from rot,
//! without a second sync for a mark of what is durable.
//!
//! Invariant: a valid sector is never all zero, for a checksum is never zero.

use super::disk::SECTOR_BYTES;

/// What a sector holds of a frame.
pub(super) const PAYLOAD_BYTES: usize = SECTOR_BYTES - CRC_BYTES;
/// Number, first record, base, count of records, bytes of records.
pub(super) const HEAD_BYTES: usize = 36;
const CRC_BYTES: usize = 4;

/// Where a sector belongs; part of its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The store's incarnation.
    pub(super) store: u64,
    /// The segment.
    pub(super) segment: u64,
    /// The sector in the segment.
    pub(super) sector: u64,
    /// The frame.
    pub(super) frame: u64,
}

/// What a sector turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Never written.
    Zero,
    /// As it was written, at this place.
    Valid,
    /// Neither.
    Damaged,
}

impl Place {
    /// The place `sectors` further on in the same frame.
    pub(super) const fn further(self, sectors: u64) -> Self {
        Self { sector: self.sector + sectors, ..self }
    }

    fn checksum(self, payload: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        for number in [self.store, self.segment, self.sector, self.frame] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(payload);
        hasher.finalize().max(1)
    }

    /// Appends the sector at this place with up to [`PAYLOAD_BYTES`] of `payload`, and zeros.
    pub(super) fn seal(self, payload: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; CRC_BYTES]);
        out.extend_from_slice(payload);
        out.resize(start + SECTOR_BYTES, 0);
        let checksum = self.checksum(&out[start + CRC_BYTES..]);
        out[start..start + CRC_BYTES].copy_from_slice(&checksum.to_le_bytes());
    }

    /// What `sector` is, if it should be at this place.
    pub(super) fn judge(self, sector: &[u8]) -> Found {
        if sector.iter().all(|byte| *byte == 0) {
            return Found::Zero;
        }
        match self.checksum(&sector[CRC_BYTES..]).to_le_bytes() == sector[..CRC_BYTES] {
            true => Found::Valid,
            false => Found::Damaged,
        }
    }
}

/// The payload of a sector.
pub(super) fn payload(sector: &[u8]) -> &[u8] {
    &sector[CRC_BYTES..]
}

/// The front of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Counts frames from 1.
    pub(super) frame: u64,
    /// The number of its first record.
    pub(super) first: u64,
    /// The generation of the checkpoint file's base when it was written. The file may hold a later
    /// one, never an earlier one.
    pub(super) base: u64,
    /// How many records it has.
    pub(super) records: u32,
    /// Their bytes, with their lengths.
    pub(super) bytes: u64,
}

impl Head {
    /// As bytes.
    pub(super) fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let mut out = [0; HEAD_BYTES];
        out[..8].copy_from_slice(&self.frame.to_le_bytes());
        out[8..16].copy_from_slice(&self.first.to_le_bytes());
        out[16..24].copy_from_slice(&self.base.to_le_bytes());
        out[24..28].copy_from_slice(&self.records.to_le_bytes());
        out[28..].copy_from_slice(&self.bytes.to_le_bytes());
        out
    }

    /// From the payload of a frame's first sector.
    pub(super) fn of(payload: &[u8]) -> Self {
        let number = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&payload[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let mut records = [0; 4];
        records.copy_from_slice(&payload[24..28]);
        Self {
            frame: number(0),
            first: number(8),
            base: number(16),
            records: u32::from_le_bytes(records),
            bytes: number(28),
        }
    }

    /// Sectors that the whole frame takes.
    pub(super) const fn sectors(self) -> u64 {
        self.bytes.saturating_add(HEAD_BYTES as u64).div_ceil(PAYLOAD_BYTES as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { store: 1, segment: 2, sector: 3, frame: 4 };

    #[test]
    fn a_sector_is_valid_at_its_own_place_only_and_every_turned_bit_is_damage() {
        let mut sector = Vec::new();
        PLACE.seal(b"payload", &mut sector);
        assert_eq!(sector.len(), SECTOR_BYTES);
        assert_eq!(PLACE.judge(&sector), Found::Valid);
        assert_eq!(PLACE.judge(&[0; SECTOR_BYTES]), Found::Zero);
        for other in [
            Place { store: 9, ..PLACE },
            Place { segment: 9, ..PLACE },
            Place { sector: 9, ..PLACE },
            Place { frame: 9, ..PLACE },
        ] {
            assert_eq!(other.judge(&sector), Found::Damaged);
        }
        for bit in 0..SECTOR_BYTES * 8 {
            sector[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(PLACE.judge(&sector), Found::Damaged);
            sector[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn heads_come_back_and_absurd_lengths_do_not_overflow() {
        let head = Head { frame: 7, first: 8, base: 6, records: 9, bytes: 1009 };
        assert_eq!(Head::of(&head.to_bytes()), head);
        assert_eq!(head.sectors(), 3);
        assert!(Head { bytes: u64::MAX, ..head }.sectors() > 1 << 54);
    }
}
