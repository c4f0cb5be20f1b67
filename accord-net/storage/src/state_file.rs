//! A state in a file of its own: a redb database of one table, the chunks of the state by number.
//!
//! It is written from the first chunk to the last and closed; then the checkpoint file names its
//! generation, and from then on it is only read, by a start. When a later state is the base, it is
//! removed. In one file with others it would be a table to delete, and for that redb reads all of
//! it: a state of a gigabyte would take the disk from commits for seconds, at each checkpoint.

use super::database::{self, DatabaseFile};
use super::disk::Directory;
use super::error::{OpenError, StorageError};
use accord_core::pieces::Pieces;
use bytes::Bytes;
use redb::TableDefinition;
use std::ops::Range;

const PREFIX: &str = "state-";
const SUFFIX: &str = ".redb";
const STATE: TableDefinition<u32, &[u8]> = TableDefinition::new("state");
const CRC_BYTES: usize = 4;

/// The name of the state of a generation.
pub(super) fn name(generation: u64) -> String {
    format!("{PREFIX}{generation:016}{SUFFIX}")
}

/// The generation of which a file of this name has the state.
pub(super) fn generation_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let whole = digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole { digits.parse().ok() } else { None }
}

/// A state being written.
#[derive(Debug)]
pub(super) struct StateFile {
    file: DatabaseFile,
    generation: u64,
}

impl StateFile {
    /// Creates the file, in the place of one that was not finished.
    pub(super) fn create(
        directory: &dyn Directory,
        generation: u64,
        cache_bytes: usize,
    ) -> Result<Self, StorageError> {
        let name = name(generation);
        let file = DatabaseFile::create(directory, &name, cache_bytes)?;
        file.transact(|transaction| Ok(transaction.open_table(STATE).map(|_| ())?))?;
        let synced = directory.sync();
        synced.map_err(|error| StorageError::io("create", directory.describe(&name), &error))?;
        Ok(Self { file, generation })
    }

    /// Writes chunks of the state, by their numbers, durably.
    pub(super) fn write(
        &self,
        state: &Pieces,
        chunk_bytes: usize,
        numbers: Range<u32>,
    ) -> Result<(), StorageError> {
        self.file.transact(|transaction| {
            let mut table = transaction.open_table(STATE)?;
            for number in numbers {
                let from = number as usize * chunk_bytes;
                let to = state.len().min(from + chunk_bytes);
                let mut value = table.insert_reserve(number, to - from + CRC_BYTES)?;
                let (crc, chunk) = value.as_mut().split_at_mut(CRC_BYTES);
                let mut at = 0;
                for part in state.parts(from..to) {
                    chunk[at..at + part.len()].copy_from_slice(part);
                    at += part.len();
                }
                crc.copy_from_slice(&chunk_crc(self.generation, number, chunk));
            }
            Ok(())
        })
    }
}

/// The state of a generation, which has this many chunks and bytes.
pub(super) fn read(
    directory: &dyn Directory,
    generation: u64,
    chunks: u32,
    bytes: u64,
    cache_bytes: usize,
) -> Result<Bytes, OpenError> {
    database::read(directory, &name(generation), cache_bytes, |file| {
        let table = file.transaction.open_table(STATE).map_err(|error| file.error(error))?;
        // A length is believed as far as the file can hold it.
        let mut state = Vec::with_capacity(bytes.min(file.file_bytes) as usize);
        for number in 0..chunks {
            let value = table.get(number).map_err(|error| file.error(error))?;
            let value = value.ok_or_else(|| file.damage(format!("chunk {number} is missing")))?;
            let chunk = value.value().split_first_chunk::<CRC_BYTES>();
            let whole = chunk.filter(|(crc, bytes)| **crc == chunk_crc(generation, number, bytes));
            let damaged = || file.damage(format!("chunk {number} is damaged"));
            state.extend_from_slice(whole.ok_or_else(damaged)?.1);
        }
        match state.len() as u64 == bytes {
            true => Ok(Bytes::from(state)),
            false => Err(file.damage("it is not as long as it was")),
        }
    })
}

fn chunk_crc(generation: u64, number: u32, chunk: &[u8]) -> [u8; CRC_BYTES] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&generation.to_le_bytes());
    hasher.update(&number.to_le_bytes());
    hasher.update(chunk);
    hasher.finalize().to_le_bytes()
}
