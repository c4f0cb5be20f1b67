//! A directory of format 3, as the last version before format 4 wrote it: one server of the cluster
//! `old`, mode persistent, which was opened by a client that wrote one record.
//!
//! It is kept as the sectors that are not zero. Of each file: the length of its name in a byte, the
//! name, its length in eight bytes, the count of sectors in four. Of each sector: its number in
//! four bytes, and its contents. Numbers are little-endian.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const SECTORS: &[u8] = include_bytes!("format-3.sectors");
const SECTOR_BYTES: usize = 512;

/// Makes the directory at `dir`.
pub fn write_format_3(dir: &Path) {
    std::fs::create_dir(dir).expect("it is not there yet");
    let mut rest = SECTORS;
    let mut take = |count: usize| rest.split_off(..count).expect("the sample is whole");
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let mut files = 0;
    while files < 4 {
        let name_bytes = take(1)[0];
        let name = str::from_utf8(take(name_bytes.into())).expect("names are text");
        let file = File::create_new(dir.join(name)).expect("files have different names");
        file.set_len(number(take(8))).expect("a healthy disk");
        for _ in 0..number(take(4)) {
            let at = number(take(4)) * SECTOR_BYTES as u64;
            file.write_all_at(take(SECTOR_BYTES), at).expect("a healthy disk");
        }
        files += 1;
    }
    assert!(rest.is_empty(), "nothing follows the last file");
}
