//! Many datagrams in one system call: Linux's `sendmmsg` and `recvmmsg`.

use super::{DATAGRAM_BYTES_MAX, Datagram};
use bytes::Bytes;
use nix::sys::socket::{
    MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg, setsockopt, sockopt,
};
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use tokio::net::UdpSocket;

/// Datagrams in one system call.
const BATCH_MAX: usize = 32;

/// Memory for the calls of one socket.
pub(super) struct Buffers {
    /// `BATCH_MAX` places of `DATAGRAM_BYTES_MAX` bytes each.
    places: Vec<u8>,
    incoming: MultiHeaders<SockaddrStorage>,
    outgoing: MultiHeaders<SockaddrStorage>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self {
            places: vec![0; BATCH_MAX * DATAGRAM_BYTES_MAX],
            incoming: MultiHeaders::preallocate(BATCH_MAX, None),
            outgoing: MultiHeaders::preallocate(BATCH_MAX, None),
        }
    }
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffers").finish_non_exhaustive()
    }
}

/// Asks for larger buffers; the system takes as much of the wish as it allows.
pub(super) fn enlarge(socket: &UdpSocket, bytes: usize) {
    for result in
        [setsockopt(socket, sockopt::RcvBuf, &bytes), setsockopt(socket, sockopt::SndBuf, &bytes)]
    {
        if let Err(error) = result {
            tracing::warn!(%error, "a socket's buffer could not be enlarged");
        }
    }
}

impl Buffers {
    /// Sends what the socket takes; the rest is lost.
    pub(super) fn send(&mut self, socket: &UdpSocket, datagrams: &mut Vec<Datagram>) {
        let fd = socket.as_raw_fd();
        for some in datagrams.chunks(BATCH_MAX) {
            let slices: Vec<[IoSlice<'_>; 1]> =
                some.iter().map(|(_, bytes)| [IoSlice::new(bytes)]).collect();
            let addresses: Vec<Option<SockaddrStorage>> =
                some.iter().map(|(to, _)| Some(SockaddrStorage::from(*to))).collect();
            let headers = &mut self.outgoing;
            let mut at = 0;
            while at < some.len() {
                let flags = MsgFlags::MSG_DONTWAIT;
                let sent = sendmmsg(fd, headers, &slices[at..], &addresses[at..], [], flags)
                    .map(Iterator::count);
                match sent {
                    Ok(sent) if sent > 0 => at += sent,
                    // The first of them cannot be sent now, or to there: it is lost.
                    Ok(_) | Err(_) => at += 1,
                }
            }
        }
        datagrams.clear();
    }

    /// Takes what has arrived.
    pub(super) fn receive(
        &mut self,
        socket: &UdpSocket,
        datagrams: &mut Vec<Datagram>,
    ) -> io::Result<()> {
        let mut slices: Vec<[IoSliceMut<'_>; 1]> = self
            .places
            .chunks_mut(DATAGRAM_BYTES_MAX)
            .map(|place| [IoSliceMut::new(place)])
            .collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        let arrived =
            recvmmsg(socket.as_raw_fd(), &mut self.incoming, slices.iter_mut(), flags, None)?;
        for message in arrived {
            let Some(from) = message.address.as_ref().and_then(to_std) else { continue };
            let bytes = message.iovs().next().unwrap_or_default();
            datagrams.push((from, Bytes::copy_from_slice(bytes)));
        }
        Ok(())
    }
}

fn to_std(address: &SockaddrStorage) -> Option<SocketAddr> {
    let four = address.as_sockaddr_in().map(|from| SocketAddr::V4(SocketAddrV4::from(*from)));
    four.or_else(|| address.as_sockaddr_in6().map(|from| SocketAddr::V6(SocketAddrV6::from(*from))))
}
