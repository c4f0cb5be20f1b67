//! What the machine of a server can be handed.

use crate::world::conns::ToServer;
use accord_core::group::GroupEvent;
use accord_core::ids::ConnId;
use accord_core::server::Input;
use bytes::Bytes;

/// What a machine can be told.
#[derive(Debug)]
pub enum NodeInput {
    /// A datagram for the ring.
    Datagram {
        /// From whom.
        from: u32,
        /// The datagram, with its code.
        bytes: Bytes,
    },
    /// An event of the adversarial group.
    Group(GroupEvent),
    /// Anything else for the server.
    Server(Box<Input>),
    /// A connection has something.
    Conn(ConnId, ToServer),
    /// The time may have come.
    Timer,
}
