//! Ports for servers that are about to be started on this machine.
//!
//! A port that the system chose for one socket is soon chosen for another, for example a client's
//! connection, and then the server that was to have it cannot start. So these lie below
//! that range, begin somewhere at random, and are not given twice by one process.

use crate::env::real::draw;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The first of them.
const FIRST: u64 = 12_000;
/// How many there are. Linux chooses ports from 32,768 on for sockets that ask for any.
const SPAN: u64 = 20_000;

static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(draw() % SPAN));

/// Ports of the loopback interface that are free now, for streams and for datagrams.
///
/// # Errors
/// If there are fewer than `count`, or what the system says.
pub fn free(count: usize) -> io::Result<Vec<u16>> {
    let next = || FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % SPAN;
    let tried = (0..SPAN).map(|_| u16::try_from(next()).expect("they are below 65,536"));
    let ports: Vec<u16> = tried.filter(|port| is_free(*port)).take(count).collect();
    match ports.len() == count {
        true => Ok(ports),
        false => Err(io::Error::new(io::ErrorKind::AddrInUse, "all ports are in use")),
    }
}

fn is_free(port: u16) -> bool {
    let at = (Ipv4Addr::LOCALHOST, port);
    TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let mut ports = free(50).expect("there are many");
        ports.extend(free(50).expect("there are many"));
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 100);
    }
}
