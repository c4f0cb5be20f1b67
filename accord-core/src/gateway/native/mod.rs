//! The native protocol: messages in frames, as `docs/protocol.md` has them behind the preface.
//!
//! Invariant: what begins a session fits into one frame: more is not gathered for a client without
//! one.

use super::front_end::{FrontEnd, Malformed, Next};
use super::message::ServerMessage;
use crate::protocol::{MESSAGE_BYTES_MAX, decode_client, encode_server_into};
use crate::stream::{FRAME_BYTES_MAX, FrameError, FrameReader, write_message};
use crate::wire::{WireError, Writer};
use alloc::format;
use alloc::vec::Vec;
use bytes::Bytes;

/// Speaks the native protocol with one client.
#[derive(Debug)]
pub struct Native {
    frames: FrameReader,
}

impl Native {
    /// At the first byte behind the preface.
    pub fn new() -> Self {
        Self { frames: FrameReader::new(FRAME_BYTES_MAX) }
    }
}

impl Default for Native {
    fn default() -> Self {
        Self::new()
    }
}

impl FrontEnd for Native {
    fn receive(&mut self, bytes: Bytes) {
        self.frames.push(bytes);
    }

    fn next(&mut self) -> Result<Next, Malformed> {
        match self.frames.next_message()? {
            Some(payload) => Ok(Next::Call(decode_client(&payload)?)),
            None => Ok(Next::Bytes),
        }
    }

    fn say(&mut self, message: &ServerMessage, out: &mut Vec<u8>) {
        if let ServerMessage::Opened { .. } | ServerMessage::Attached { .. } = message {
            self.frames.set_message_bytes_max(MESSAGE_BYTES_MAX);
        }
        write_message(out, |bytes| {
            let mut writer = Writer::from(core::mem::take(bytes));
            encode_server_into(message, &mut writer);
            *bytes = writer.into_vec();
        });
    }

    fn fragment_bytes(&self) -> usize {
        self.frames.fragment_bytes()
    }
}

impl From<FrameError> for Malformed {
    fn from(error: FrameError) -> Self {
        Self { reason: "malformed_frame", why: format!("the client sent no frame: {error}") }
    }
}

impl From<WireError> for Malformed {
    fn from(error: WireError) -> Self {
        Self { reason: "malformed_message", why: format!("the client sent no message: {error}") }
    }
}
