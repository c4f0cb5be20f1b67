//! Messages in a stream of bytes: the preface of a connection, and frames.
//!
//! A message travels in one or more frames of `length (4 bytes, little-endian), payload`. The
//! length's highest bit says that the message goes on in the next frame. A frame carries at most
//! [`FRAME_BYTES_MAX`] bytes of payload, so a peer cannot make us set aside more than that for
//! bytes that it only announces; a message as a whole has a bound of its own. See
//! `docs/protocol.md`.
//!
//! No IO here: bytes in, messages out. Invariant: what is kept is what arrived, no more.

use alloc::vec::Vec;
use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

/// The most bytes of payload in one frame.
pub const FRAME_BYTES_MAX: usize = 256 << 10;
/// The bytes before a frame's payload.
pub const HEADER_BYTES: usize = 4;
const MORE: u32 = 1 << 31;

/// What a connection is for, as its opener says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client's session.
    Client,
    /// An operator's questions.
    Operator,
    /// Another server's transfers.
    Peer,
}

/// The bytes of a preface.
pub const PREFACE_BYTES: usize = 8;
const MAGIC: [u8; 4] = *b"ACRD";

/// The first bytes of a connection, from either end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preface {
    /// What the connection is for.
    pub kind: Kind,
    /// The version of what follows.
    pub version: u8,
}

/// Why the first bytes of a connection were not those of a preface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PrefaceError {
    /// The other end does not speak Accord.
    #[error("the other end does not speak Accord's protocol: is this the right port?")]
    Stranger,
    /// The other end is of another version.
    #[error(
        "the other end speaks version {theirs} of the protocol, this one version {ours}: \
         bring both to the same release"
    )]
    Version {
        /// What the other end speaks.
        theirs: u8,
        /// What this end speaks.
        ours: u8,
    },
    /// The other end wants something that is not to be had at this port.
    #[error("the connection is for something that this port does not serve")]
    Kind,
}

impl Preface {
    /// The preface as bytes.
    pub const fn to_bytes(self) -> [u8; PREFACE_BYTES] {
        let kind = match self.kind {
            Kind::Client => b'C',
            Kind::Operator => b'O',
            Kind::Peer => b'P',
        };
        let [a, b, c, d] = MAGIC;
        [a, b, c, d, kind, self.version, 0, 0]
    }

    /// Reads a preface. The last two bytes are kept for later versions, and not looked at.
    ///
    /// # Errors
    /// [`PrefaceError::Stranger`] or [`PrefaceError::Kind`]. The version is for the caller to look
    /// at: [`Self::expect`].
    pub fn from_bytes(bytes: [u8; PREFACE_BYTES]) -> Result<Self, PrefaceError> {
        if bytes[..4] != MAGIC {
            return Err(PrefaceError::Stranger);
        }
        let kind = match bytes[4] {
            b'C' => Kind::Client,
            b'O' => Kind::Operator,
            b'P' => Kind::Peer,
            _ => return Err(PrefaceError::Kind),
        };
        Ok(Self { kind, version: bytes[5] })
    }

    /// Checks that the other end wants the same.
    ///
    /// # Errors
    /// [`PrefaceError::Version`] or [`PrefaceError::Kind`].
    pub fn expect(self, ours: Self) -> Result<(), PrefaceError> {
        if self.kind != ours.kind {
            return Err(PrefaceError::Kind);
        }
        if self.version != ours.version {
            return Err(PrefaceError::Version { theirs: self.version, ours: ours.version });
        }
        Ok(())
    }
}

/// Why a stream of frames cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A frame is longer than allowed.
    #[error("a frame of {bytes} bytes exceeds the limit of {FRAME_BYTES_MAX}")]
    FrameTooLarge {
        /// Its length, as announced.
        bytes: usize,
    },
    /// A message is longer than allowed.
    #[error("a message of more than {bytes_max} bytes exceeds the limit")]
    MessageTooLarge {
        /// The bound.
        bytes_max: usize,
    },
    /// A frame that is not the last of its message carries nothing.
    #[error("an empty frame announces more")]
    Empty,
}

/// Takes a stream apart into messages.
#[derive(Debug)]
pub struct FrameReader {
    message_bytes_max: usize,
    /// What arrived and was not looked at.
    input: Bytes,
    /// The beginning of a frame whose end has not arrived.
    partial: BytesMut,
    /// The frames of a message whose end has not arrived.
    message: BytesMut,
}

impl FrameReader {
    /// A reader at the beginning of a stream.
    pub fn new(message_bytes_max: usize) -> Self {
        Self {
            message_bytes_max,
            input: Bytes::new(),
            partial: BytesMut::new(),
            message: BytesMut::new(),
        }
    }

    /// Takes messages up to another length from here on.
    pub const fn set_message_bytes_max(&mut self, message_bytes_max: usize) {
        self.message_bytes_max = message_bytes_max;
    }

    /// Takes bytes that arrived. All messages before them must have been taken out.
    ///
    /// # Panics
    /// If they have not.
    pub fn push(&mut self, input: Bytes) {
        assert!(self.input.is_empty(), "messages are taken out before more is put in");
        self.input = input;
    }

    /// Bytes kept for messages whose end has not arrived.
    pub fn kept_bytes(&self) -> usize {
        self.input.len() + self.partial.len() + self.message.len()
    }

    /// Of those, bytes of whole frames: of a message in several.
    pub fn fragment_bytes(&self) -> usize {
        self.message.len()
    }

    /// The next message, if it has arrived wholly. Shares the memory of what was pushed, if it came
    /// in one piece.
    ///
    /// # Errors
    /// [`FrameError`]: the stream cannot be read on.
    pub fn next_message(&mut self) -> Result<Option<Bytes>, FrameError> {
        while let Some((payload, more)) = self.next_frame()? {
            let bytes_max = self.message_bytes_max;
            if self.message.len() + payload.len() > bytes_max {
                return Err(FrameError::MessageTooLarge { bytes_max });
            }
            if more && payload.is_empty() {
                return Err(FrameError::Empty);
            }
            if !more && self.message.is_empty() {
                return Ok(Some(payload));
            }
            self.message.extend_from_slice(&payload);
            if !more {
                return Ok(Some(core::mem::take(&mut self.message).freeze()));
            }
        }
        Ok(None)
    }

    fn next_frame(&mut self) -> Result<Option<(Bytes, bool)>, FrameError> {
        if self.partial.is_empty()
            && let Some((length, more)) = header(&self.input)?
            && self.input.len() - HEADER_BYTES >= length
        {
            self.input.advance(HEADER_BYTES);
            return Ok(Some((self.input.split_to(length), more)));
        }
        self.fill_partial(HEADER_BYTES);
        let Some((length, more)) = header(&self.partial)? else { return Ok(None) };
        self.fill_partial(HEADER_BYTES + length);
        if self.partial.len() < HEADER_BYTES + length {
            return Ok(None);
        }
        let mut frame = core::mem::take(&mut self.partial).freeze();
        frame.advance(HEADER_BYTES);
        Ok(Some((frame, more)))
    }

    /// Moves input behind the partial frame, until it has `bytes` bytes or the input ends.
    fn fill_partial(&mut self, bytes: usize) {
        let missing = bytes.saturating_sub(self.partial.len()).min(self.input.len());
        self.partial.extend_from_slice(&self.input.split_to(missing));
        if self.input.is_empty() {
            // Do not keep alive the buffer it came in.
            self.input = Bytes::new();
        }
    }
}

fn header(bytes: &[u8]) -> Result<Option<(usize, bool)>, FrameError> {
    let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let word = u32::from_le_bytes(*head);
    let bytes = (word & !MORE) as usize;
    if bytes > FRAME_BYTES_MAX {
        return Err(FrameError::FrameTooLarge { bytes });
    }
    Ok(Some((bytes, word & MORE != 0)))
}

/// Appends a message to a buffer, as `encode` writes it, and cuts it into frames.
pub fn write_message(out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    encode(out);
    let bytes = out.len() - start - HEADER_BYTES;
    if bytes <= FRAME_BYTES_MAX {
        out[start..start + HEADER_BYTES].copy_from_slice(&(bytes as u32).to_le_bytes());
        return;
    }
    let message = out.split_off(start + HEADER_BYTES);
    out.truncate(start);
    let mut rest = &message[..];
    while !rest.is_empty() {
        let (frame, after) = rest.split_at(rest.len().min(FRAME_BYTES_MAX));
        let more = if after.is_empty() { 0 } else { MORE };
        out.extend_from_slice(&(frame.len() as u32 | more).to_le_bytes());
        out.extend_from_slice(frame);
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 1 << 20;

    fn read_in_pieces(stream: &[u8], piece: usize) -> Result<Vec<Bytes>, FrameError> {
        let mut reader = FrameReader::new(MAX);
        let mut messages = Vec::new();
        for some in stream.chunks(piece.max(1)) {
            reader.push(Bytes::copy_from_slice(some));
            while let Some(message) = reader.next_message()? {
                messages.push(message);
            }
        }
        assert_eq!(reader.kept_bytes(), 0, "all is taken out");
        Ok(messages)
    }

    #[test]
    fn messages_of_every_size_pass_however_the_stream_is_torn() {
        let sizes = [0, 1, 3, 1000, FRAME_BYTES_MAX, FRAME_BYTES_MAX + 1, MAX];
        let messages: Vec<Vec<u8>> =
            sizes.iter().map(|size| (0..*size).map(|at| at as u8).collect()).collect();
        let mut stream = Vec::new();
        for message in &messages {
            write_message(&mut stream, |out| out.extend_from_slice(message));
        }
        for piece in [1, 2, 7, 4096, 100_000, stream.len()] {
            assert_eq!(read_in_pieces(&stream, piece).unwrap(), messages, "pieces of {piece}");
        }
    }

    #[test]
    fn what_is_only_announced_costs_nothing() {
        let mut reader = FrameReader::new(MAX);
        reader.push(Bytes::from_static(&[0, 0, 4, 0, 1, 2]));
        assert_eq!(reader.next_message(), Ok(None));
        assert!(reader.kept_bytes() <= 6 && reader.partial.capacity() < 4096);
    }

    #[test]
    fn bounds_are_kept() {
        let too_large = (FRAME_BYTES_MAX as u32 + 1).to_le_bytes();
        let bytes = FRAME_BYTES_MAX + 1;
        assert_eq!(read_in_pieces(&too_large, 4), Err(FrameError::FrameTooLarge { bytes }));
        assert_eq!(read_in_pieces(&MORE.to_le_bytes(), 4), Err(FrameError::Empty));
        let mut stream = Vec::new();
        write_message(&mut stream, |out| out.resize(out.len() + MAX + 1, 7));
        let error = FrameError::MessageTooLarge { bytes_max: MAX };
        assert_eq!(read_in_pieces(&stream, 9999), Err(error));
    }

    #[test]
    fn a_preface_tells_strangers_and_versions_apart() {
        let ours = Preface { kind: Kind::Client, version: 1 };
        assert_eq!(Preface::from_bytes(ours.to_bytes()), Ok(ours));
        assert_eq!(Preface::from_bytes(*b"GET / HT"), Err(PrefaceError::Stranger));
        let later = Preface { version: 9, ..ours };
        assert_eq!(later.expect(ours), Err(PrefaceError::Version { theirs: 9, ours: 1 }));
        let other = Preface { kind: Kind::Peer, ..ours };
        assert_eq!(other.expect(ours), Err(PrefaceError::Kind));
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_messages_or_an_error(
            stream in proptest::collection::vec(any::<u8>(), 0..200),
            piece in 1usize..50,
        ) {
            let mut reader = FrameReader::new(64);
            'all: for some in stream.chunks(piece) {
                reader.push(Bytes::copy_from_slice(some));
                loop {
                    match reader.next_message() {
                        Ok(Some(message)) => prop_assert!(message.len() <= 64),
                        Ok(None) => break,
                        Err(_) => break 'all,
                    }
                }
                prop_assert!(reader.kept_bytes() <= stream.len());
            }
        }
    }
}
