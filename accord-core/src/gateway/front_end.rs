//! Protocol front-ends: one machine for each connection, between its bytes and the server.
//!
//! A [`FrontEnd`] speaks one protocol with one client. It does no IO and knows no clock: bytes come
//! in and calls to the server come out; what the server says comes in and bytes come out. The
//! driver makes one for each connection, as the connection's listener says. The
//! [`native`](super::native) protocol is the first one, and the gateway knows none of them by name.
//!
//! The server holds back and bounds all front-ends alike:
//!
//! - it takes a call only while it accepts one more of that connection, and reads on only when
//!   [`FrontEnd::next`] asks for bytes: a client that is ahead of the server waits in its socket;
//! - each message that it says counts until the bytes for it have left, and a client that does not
//!   take them is hung up on;
//! - what a front-end keeps of unfinished input is bounded by its protocol, and what is long counts
//!   against a bound for all clients together ([`FrontEnd::fragment_bytes`]).
//!
//! What the server promises each of them:
//!
//! - the calls of a connection are taken in order, and the events of a revision are said before any
//!   result that shows it;
//! - a read that names the requests in front of it is answered in its place, so a front-end never
//!   waits before it hands on a read;
//! - a read can set a watch in the same step.
//!
//! A protocol whose clients number nothing has [`Numbers`](super::numbers::Numbers).
//!
//! Where next: [`native`](super::native); `accord-net/tests/front_end/lines.rs` is a whole one in
//! lines of text.

use super::message::{ClientMessage, ServerMessage};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

/// Speaks one protocol with one client.
pub trait FrontEnd {
    /// Takes bytes that arrived, in order. Only called after [`Self::next`] has asked for them.
    fn receive(&mut self, bytes: Bytes);

    /// What the client wants next.
    ///
    /// # Errors
    /// [`Malformed`]: the stream cannot be read on. The connection ends.
    fn next(&mut self) -> Result<Next, Malformed>;

    /// The server says this: appends the bytes that the client is to be sent for it, if any.
    /// Afterwards [`Self::next`] is asked again.
    fn say(&mut self, message: &ServerMessage, out: &mut Vec<u8>);

    /// Bytes kept of input that has no end yet, beyond what any connection may keep: they count
    /// against `fragment_bytes_max`, which all clients share.
    fn fragment_bytes(&self) -> usize {
        0
    }
}

/// What a front-end wants next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// A call to the server.
    Call(ClientMessage),
    /// More bytes of the client.
    Bytes,
    /// Something that the server has yet to say: nothing is read until then.
    Word,
}

/// Why a stream cannot be read on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Malformed {
    /// What is malformed, in a word for metrics, such as `malformed_frame`.
    pub reason: &'static str,
    /// What is wrong, for people.
    pub why: String,
}
