//! Jute: how ZooKeeper's protocol writes values. Big-endian, lengths before strings and buffers.
//!
//! Invariant: reading any bytes ends in a value or an error.

use super::Broken;
use bytes::Bytes;

/// The longest string or buffer that is believed.
const BYTES_MAX: usize = 64 << 20;
/// The bytes of a Stat.
const STAT_BYTES: usize = 68;

/// What is known of a record besides its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// How often the value was set.
    pub version: i32,
}

/// Appends values.
pub trait JuteWrite {
    /// An int.
    fn int(&mut self, value: i32);
    /// A long.
    fn long(&mut self, value: i64);
    /// A boolean.
    fn boolean(&mut self, value: bool);
    /// A buffer, or a string.
    fn buffer(&mut self, value: &[u8]);
}

impl JuteWrite for Vec<u8> {
    fn int(&mut self, value: i32) {
        self.extend_from_slice(&value.to_be_bytes());
    }
    fn long(&mut self, value: i64) {
        self.extend_from_slice(&value.to_be_bytes());
    }
    fn boolean(&mut self, value: bool) {
        self.push(u8::from(value));
    }
    fn buffer(&mut self, value: &[u8]) {
        let length = i32::try_from(value.len()).expect("nothing so long is written");
        self.int(length);
        self.extend_from_slice(value);
    }
}

/// Appends a frame: its length, then what `write` appends.
pub fn frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.int(0);
    write(out);
    let length = i32::try_from(out.len() - start - 4).expect("nothing so long is written");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Reads values, front to back.
#[derive(Debug)]
pub struct JuteReader<'a> {
    rest: &'a [u8],
}

impl<'a> JuteReader<'a> {
    /// Reads these bytes.
    pub const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Broken> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(Broken::because("ZooKeeper: a message ends inside a value"));
        };
        self.rest = rest;
        Ok(taken)
    }

    /// An int.
    ///
    /// # Errors
    /// If the bytes end before.
    pub fn int(&mut self) -> Result<i32, Broken> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into().expect("there are four")))
    }

    /// A long.
    ///
    /// # Errors
    /// If the bytes end before.
    pub fn long(&mut self) -> Result<i64, Broken> {
        Ok(i64::from_be_bytes(self.take(8)?.try_into().expect("there are eight")))
    }

    /// A boolean.
    ///
    /// # Errors
    /// If the bytes end before.
    pub fn boolean(&mut self) -> Result<bool, Broken> {
        Ok(self.take(1)?[0] != 0)
    }

    /// A buffer or a string; one that is null is empty.
    ///
    /// # Errors
    /// If the bytes end before, or it is impossibly long.
    pub fn buffer(&mut self) -> Result<Bytes, Broken> {
        let length = usize::try_from(self.int()?.max(0)).unwrap_or(usize::MAX);
        if length > BYTES_MAX {
            return Err(Broken(format!("ZooKeeper: a buffer of {length} bytes is announced")));
        }
        Ok(Bytes::copy_from_slice(self.take(length)?))
    }

    /// A Stat: all but the version of the value is passed over.
    ///
    /// # Errors
    /// If the bytes end before.
    pub fn stat(&mut self) -> Result<Stat, Broken> {
        let mut stat = JuteReader::new(self.take(STAT_BYTES)?);
        // Two numbers of changes and two times come before it.
        stat.take(4 * 8)?;
        Ok(Stat { version: stat.int()? })
    }

    /// Checks that nothing follows.
    ///
    /// # Errors
    /// If something does.
    pub fn finish(self) -> Result<(), Broken> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(Broken(format!("ZooKeeper: {bytes} bytes follow a reply"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read() {
        let mut out = Vec::new();
        frame(&mut out, |out| {
            out.int(-2);
            out.long(1 << 40);
            out.boolean(true);
            out.buffer(b"/path");
        });
        assert_eq!(out[..8], [0, 0, 0, 22, 0xff, 0xff, 0xff, 0xfe]);
        let mut reader = JuteReader::new(&out[4..]);
        assert_eq!((reader.int().unwrap(), reader.long().unwrap()), (-2, 1 << 40));
        assert!(reader.boolean().unwrap());
        assert_eq!(&reader.buffer().unwrap()[..], b"/path");
        reader.finish().unwrap();
    }

    #[test]
    fn what_is_only_announced_is_not_believed() {
        let mut long = Vec::new();
        long.int(i32::MAX);
        assert!(JuteReader::new(&long).buffer().is_err());
        let mut null = Vec::new();
        null.int(-1);
        assert!(JuteReader::new(&null).buffer().unwrap().is_empty());
        assert!(JuteReader::new(&[0]).finish().is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_values_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..99),
        ) {
            let mut reader = JuteReader::new(&bytes);
            while reader.buffer().is_ok() && !reader.rest.is_empty() {}
            let _ = reader.int();
            let _ = reader.stat();
        }
    }
}
