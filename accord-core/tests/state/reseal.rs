//! Snapshots that somebody changed and sealed again.

use bytes::Bytes;

/// The kind of the last chunk.
pub const TRAILER: u8 = 5;

/// Changes the payloads of a snapshot's chunks and makes its checksums and its hash right again.
pub fn reseal(bytes: &Bytes, change: impl Fn(u8, &mut [u8])) -> Bytes {
    let (mut at, mut all) = (5, bytes[..5].to_vec());
    while at < bytes.len() {
        let kind = bytes[at];
        let length = bytes[at + 1..at + 5].try_into().map(u32::from_le_bytes).expect("four bytes");
        let mut payload = bytes[at + 9..at + 9 + length as usize].to_vec();
        change(kind, &mut payload);
        if kind == TRAILER {
            payload = xxhash_rust::xxh3::xxh3_64(&all).to_le_bytes().to_vec();
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(&[kind]);
        crc.update(&payload);
        all.push(kind);
        all.extend_from_slice(&length.to_le_bytes());
        all.extend_from_slice(&crc.finalize().to_le_bytes());
        all.extend_from_slice(&payload);
        at += 9 + length as usize;
    }
    Bytes::from(all)
}
