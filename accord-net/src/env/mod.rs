//! The seam between this crate and the world: clock, randomness, tasks, datagrams, streams.
//!
//! The driver, the servers and the clients are written once against [`Env`], and run unchanged on
//! tokio ([`real`]) and inside simulators. What the seam promises, and what it leaves open so that
//! simulators can keep it:
//!
//! - time is one server's or client's own: monotonic, not comparable with others';
//! - tasks run on one thread: nothing here needs to be `Send`;
//! - a datagram may be lost without notice, also by its own sender;
//! - a stream sends what was written when it is flushed, at the latest;
//! - receiving is safe to cancel: what was not returned is still there.
//!
//! Where next: [`crate::server`], [`crate::client`].

#[cfg(target_os = "linux")]
mod batched;
pub mod real;

use accord_core::ids::Stamp;
use accord_core::time::{Duration, Instant};
use bytes::Bytes;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// A datagram and its other end: whom it goes to, or whom it came from.
pub type Datagram = (SocketAddr, Bytes);

/// A clock for code without an [`Env`]: an application's own threads.
pub type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// The world as a server or a client sees it. Cheap to clone: all clones are one world.
pub trait Env: Clone + 'static {
    /// A socket for datagrams.
    type Udp: Udp;
    /// The receiving half of a stream.
    type Reader: AsyncRead + Unpin + 'static;
    /// The sending half of a stream. Dropping it ends the stream.
    type Writer: AsyncWrite + Unpin + 'static;
    /// Accepts streams.
    type Listener: 'static;

    /// The time. Never goes back.
    fn now(&self) -> Instant;
    /// The same time, for other threads.
    fn clock(&self) -> Clock;
    /// The time of day, as the machine's clock shows it: it may be wrong, and may be set back.
    fn wall(&self) -> Stamp;
    /// A number that no other start of a server or client draws.
    fn draw(&self) -> u64;
    /// Waits until it is `at`, or a little later.
    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> + 'static;
    /// Runs a task concurrently with the caller's, on the same thread.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);
    /// Runs a long computation outside the tasks: on another thread, where the world has some.
    /// Dropping what is returned may or may not stop it.
    fn work<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T>;

    /// A socket for datagrams at this address.
    fn bind_udp(&self, at: SocketAddr) -> impl Future<Output = io::Result<Self::Udp>>;
    /// Accepts streams at this address.
    fn listen(&self, at: SocketAddr) -> impl Future<Output = io::Result<Self::Listener>>;
    /// The address of a listener, with the port that the system chose if it was asked to.
    ///
    /// # Errors
    /// As the system says.
    fn local_addr(&self, listener: &Self::Listener) -> io::Result<SocketAddr>;
    /// The next stream that somebody opens.
    fn accept(
        &self,
        listener: &Self::Listener,
    ) -> impl Future<Output = io::Result<(Self::Reader, Self::Writer, SocketAddr)>>;
    /// Looks up the addresses of a `HOST:PORT`. Most worlds have no names.
    fn lookup(&self, name: &str) -> impl Future<Output = io::Result<Vec<SocketAddr>>> {
        let refused = io::Error::new(io::ErrorKind::Unsupported, format!("{name} is no address"));
        std::future::ready(Err(refused))
    }
    /// Opens a stream.
    fn connect(
        &self,
        to: SocketAddr,
    ) -> impl Future<Output = io::Result<(Self::Reader, Self::Writer)>>;
}

/// Does something, unless it takes longer than `limit`.
pub(crate) async fn within<E: Env, T>(
    env: &E,
    limit: Duration,
    task: impl Future<Output = T>,
) -> Option<T> {
    let deadline = env.now() + limit;
    tokio::select! {
        biased;
        done = task => Some(done),
        () = env.sleep_until(deadline) => None,
    }
}

/// A socket for datagrams.
pub trait Udp: 'static {
    /// Sends datagrams, or loses them. Empties `datagrams` and keeps its memory.
    fn send(&self, datagrams: &mut Vec<Datagram>);
    /// Waits for datagrams and puts at least one into `datagrams`.
    fn receive(&self, datagrams: &mut Vec<Datagram>) -> impl Future<Output = io::Result<()>>;
    /// Its address, with the port that the system chose if it was asked to.
    ///
    /// # Errors
    /// As the system says.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// The longest datagram that can arrive.
pub const DATAGRAM_BYTES_MAX: usize = 65_536;
