//! Where servers are: addresses, and names that are looked up each time.

use crate::env::Env;
use crate::transport::Transport;
use std::fmt;
use std::io;
use std::net::SocketAddr;

/// Where a server is: an address, or a host's name and a port, such as `accord-1.example:9090`.
///
/// A name is looked up at each attempt to connect, so a server may move; one that cannot be found
/// is passed over like a server that does not answer. If it stands for several addresses, they are
/// tried in turn.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerAddr {
    /// An address.
    Address(SocketAddr),
    /// `HOST:PORT`.
    Name(String),
}

impl From<SocketAddr> for ServerAddr {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

impl From<&str> for ServerAddr {
    fn from(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Address)
    }
}

impl From<String> for ServerAddr {
    fn from(text: String) -> Self {
        text.parse().map_or(Self::Name(text), Self::Address)
    }
}

impl fmt::Display for ServerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl ServerAddr {
    /// Opens a stream to the server.
    pub(super) async fn connect<E: Env>(self, env: &E) -> io::Result<Transport<E>> {
        let name = match self {
            Self::Address(address) => return Transport::connect(env, address).await,
            Self::Name(name) => name,
        };
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in env.lookup(&name).await? {
            match Transport::connect(env, address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_is_a_name() {
        let address = ServerAddr::Address("127.0.0.1:9090".parse().expect("an address"));
        assert_eq!(ServerAddr::from("127.0.0.1:9090"), address);
        assert_eq!(ServerAddr::from("127.0.0.1:9090".to_owned()), address);
        assert_eq!(ServerAddr::from("db:9090"), ServerAddr::Name("db:9090".to_owned()));
        assert_eq!(ServerAddr::from("[::1]:9090").to_string(), "[::1]:9090");
        assert_eq!(ServerAddr::from("db:9090").to_string(), "db:9090");
    }
}
