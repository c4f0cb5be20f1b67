//! Who is where: every server and every client is a machine of its own.

use crate::world::who::Actor;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Where servers hear clients.
pub(super) const CLIENT_PORT: u16 = 9000;
/// Where servers hear each other.
pub(super) const PEER_PORT: u16 = 7000;

/// A machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Host {
    /// A server's, by number from 1.
    Server(u32),
    /// A client's, by number from 1.
    Client(u32),
}

impl Host {
    /// Its address.
    pub(super) fn ip(self) -> IpAddr {
        let (net, number) = match self {
            Self::Server(number) => (1, number),
            Self::Client(number) => (2, number),
        };
        let last = u8::try_from(number).expect("worlds have less than 256 machines of a kind");
        Ipv4Addr::new(10, 0, net, last).into()
    }

    /// An address with this port.
    pub(super) fn at(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(), port)
    }

    /// Who has this address.
    pub(super) fn of(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(ip) => match ip.octets() {
                [10, 0, 1, number] => Some(Self::Server(number.into())),
                [10, 0, 2, number] => Some(Self::Client(number.into())),
                _ => None,
            },
            IpAddr::V6(_) => None,
        }
    }

    /// As traces have it.
    pub(super) const fn actor(self) -> Actor {
        match self {
            Self::Server(number) => Actor::Server(number),
            Self::Client(number) => Actor::Client(number),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.actor().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_tells_whose_it_is() {
        for host in [Host::Server(1), Host::Server(15), Host::Client(1), Host::Client(64)] {
            assert_eq!(Host::of(host.ip()), Some(host));
        }
        assert_eq!(Host::of(Ipv4Addr::LOCALHOST.into()), None);
    }
}
