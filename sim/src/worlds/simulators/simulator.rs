//! What a simulator must bring so that whole servers and clients of `accord-net` run inside it.
//!
//! A [`Simulator`] is asked from within a simulated machine: whose sockets, timers and tasks are
//! meant follows from who runs at the moment, so it has no value. A [`Control`] is asked from
//! outside, by the [fault driver](super::fault_driver).

use super::host::Host;
use crate::world::clock::WorldTime;
use bytes::Bytes;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// A datagram that came, and from where.
pub(super) type Received = (SocketAddr, Bytes);

/// A simulator, as those see it who live in it.
pub(super) trait Simulator: 'static {
    /// A socket for datagrams.
    type Udp: 'static;
    /// A stream, both ways.
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;
    /// Accepts streams.
    type Listener: 'static;
    /// True if a stream goes on after a cut. Otherwise it is dead for ever, and nobody is told: the
    /// world resets it when the cut ends, as real systems do sooner or later.
    const STREAMS_OUTLIVE_CUTS: bool;

    /// The time since the world began.
    fn now() -> WorldTime;
    /// Waits, in steps of a millisecond.
    fn sleep(span: Duration) -> impl Future<Output = ()> + 'static;
    /// Runs a task on the present machine.
    fn spawn(task: impl Future<Output = ()> + 'static);
    /// A socket at this port of the present machine.
    fn bind_udp(port: u16) -> impl Future<Output = io::Result<Self::Udp>>;
    /// Sends a datagram without waiting.
    fn send(udp: &Rc<Self::Udp>, to: SocketAddr, bytes: Bytes);
    /// Waits for a datagram. Safe to cancel.
    fn receive(udp: &Self::Udp) -> impl Future<Output = io::Result<Received>>;
    /// Accepts streams at this port of the present machine.
    fn listen(port: u16) -> impl Future<Output = io::Result<Self::Listener>>;
    /// The next stream.
    fn accept(
        listener: &Self::Listener,
    ) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>>;
    /// Opens a stream.
    fn connect(to: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>>;
}

/// A simulator, as seen from outside.
pub(super) trait Control {
    /// The server's process ends at once.
    fn crash(&mut self, server: u32);
    /// Its process starts again.
    fn restart(&mut self, server: u32);
    /// From now on nothing gets from one host to the other, or everything does.
    fn set_cut(&mut self, from: Host, to: Host, cut: bool);
}
