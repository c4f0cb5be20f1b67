//! Streams of frames and prefaces: however a stream is torn, the same messages come out, and no
//! more is kept than has arrived.

#![no_main]

use accord_core::stream::{FrameError, FrameReader, PREFACE_BYTES, Preface, write_message};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

const MESSAGE_BYTES_MAX: usize = 1000;

/// All messages of a stream that arrives in pieces of these sizes, and the error that ends it.
fn read(stream: &[u8], mut sizes: impl Iterator<Item = usize>) -> (Vec<Bytes>, Option<FrameError>) {
    let mut reader = FrameReader::new(MESSAGE_BYTES_MAX);
    let (mut rest, mut messages) = (stream, Vec::new());
    while !rest.is_empty() {
        let size = sizes.next().unwrap_or(usize::MAX).clamp(1, rest.len());
        let (piece, after) = rest.split_at(size);
        rest = after;
        reader.push(Bytes::copy_from_slice(piece));
        loop {
            match reader.next_message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
        assert!(reader.kept_bytes() <= stream.len() - rest.len());
        assert!(reader.fragment_bytes() <= MESSAGE_BYTES_MAX);
    }
    (messages, None)
}

fuzz_target!(|data: &[u8]| {
    if let Some(preface) = data.first_chunk::<PREFACE_BYTES>()
        && let Ok(preface) = Preface::from_bytes(*preface)
    {
        assert_eq!(Preface::from_bytes(preface.to_bytes()), Ok(preface));
    }
    let Some((count, rest)) = data.split_first() else { return };
    let (sizes, stream) = rest.split_at(usize::from(*count).min(rest.len()));
    let whole = read(stream, std::iter::empty());
    let torn = read(stream, sizes.iter().map(|size| usize::from(*size)));
    assert_eq!(whole, torn);
    // What was read is written so that it is read again.
    let mut again = Vec::new();
    for message in &whole.0 {
        assert!(message.len() <= MESSAGE_BYTES_MAX);
        write_message(&mut again, |out| out.extend_from_slice(message));
    }
    assert_eq!(read(&again, std::iter::empty()), (whole.0, None));
});
