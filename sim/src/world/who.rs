//! Who acts in an event: the world, a server or a client.

use std::fmt;

/// Who acts in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Actor {
    /// The world itself.
    World,
    /// A server, by number.
    Server(u32),
    /// A client, by number.
    Client(u32),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::World => f.write_str("world"),
            Self::Server(node) => write!(f, "n{node}"),
            Self::Client(client) => write!(f, "client{client}"),
        }
    }
}
