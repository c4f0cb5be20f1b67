//! The native client protocol: the bytes of the messages between a client and its server.
//!
//! What the messages mean is in [`crate::gateway::message`], which all protocols share. Here they
//! become bytes and messages again; framing is in [`crate::stream`], encryption and sockets belong
//! to the driver. Every message starts with [`PROTOCOL_VERSION`], every length is checked against
//! the input before room is made for it, and decoding any bytes gives a message or an error.
//!
//! Read next: [`crate::client`] and [`crate::gateway::native`] are the two ends of a connection.

mod codec;

pub use crate::gateway::message::{
    ClientMessage, Consistency, EventMask, ReadWatch, Refusal, ServerMessage, SessionEnd,
    SessionRefusal, WATCH_KEY_BYTES_MAX, WatchFilter,
};
pub use codec::{
    decode_client, decode_server, encode_client, encode_client_into, encode_server,
    encode_server_into,
};

/// The version that every message begins with. A server and a client of different versions part at
/// once, with a [`crate::wire::WireError::Version`].
pub const PROTOCOL_VERSION: u8 = 2;

/// The longest encoding of one message, in bytes. A driver need not read a longer frame.
pub const MESSAGE_BYTES_MAX: usize = 96 << 20;
