//! Streams above the seam to the world: every stream of clients, operators and other servers is a
//! [`Transport`]. HTTP for metrics is served apart.
//!
//! Clients, operators and other servers are accepted by a [`Listener`]; the client library, the
//! operators' client and the streams between servers open theirs with [`Transport::connect`]. No
//! other module names the two halves that [`Env`] gives, so a stream that is more than the
//! world's bytes (TLS) is one more variant here. It is then made above the seam: simulated worlds
//! run it as real ones do.
//!
//! - Accepting never waits for the other end. What a variant has to say first, it says when the
//!   stream is identified or first read, under the reader's own time limit.
//! - A stream has one owner, which reads and writes in turn: bytes that were written leave when
//!   the stream is flushed, at the latest.
//!
//! Where next: [`accord_core::stream`], `server::listen`.

use crate::env::{Env, within};
use accord_core::holder::Principal;
use accord_core::time::Duration;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes read at once.
pub(crate) const READ_BYTES: usize = 64 << 10;

/// A stream of bytes to another process.
pub struct Transport<E: Env> {
    stream: Stream<E>,
    remote: SocketAddr,
}

/// How the bytes travel.
enum Stream<E: Env> {
    /// As the world carries them.
    Plain { reader: E::Reader, writer: E::Writer },
}

impl<E: Env> Transport<E> {
    /// Opens a stream.
    ///
    /// # Errors
    /// As the system says.
    pub async fn connect(env: &E, to: SocketAddr) -> io::Result<Self> {
        let (reader, writer) = env.connect(to).await?;
        Ok(Self { stream: Stream::Plain { reader, writer }, remote: to })
    }

    /// The address of the other end.
    pub const fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Finds out who the other end is: waits until it has proved it, where a variant has it do so.
    /// Safe to cancel, but the stream is of no use then.
    ///
    /// # Errors
    /// If the stream breaks, or the other end proves nothing.
    pub async fn identify(&mut self) -> io::Result<Principal> {
        match &mut self.stream {
            Stream::Plain { .. } => Ok(Principal::Anonymous),
        }
    }
}

impl<E: Env> AsyncRead for Transport<E> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain { reader, .. } => Pin::new(reader).poll_read(cx, buffer),
        }
    }
}

impl<E: Env> AsyncWrite for Transport<E> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain { writer, .. } => Pin::new(writer).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain { writer, .. } => Pin::new(writer).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain { writer, .. } => Pin::new(writer).poll_shutdown(cx),
        }
    }
}

impl<E: Env> fmt::Debug for Transport<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("remote", &self.remote).finish_non_exhaustive()
    }
}

/// Accepts streams at one address.
pub struct Listener<E: Env> {
    env: E,
    listener: E::Listener,
}

impl<E: Env> Listener<E> {
    /// Begins to accept streams at this address.
    ///
    /// # Errors
    /// As the system says.
    pub async fn bind(env: &E, at: SocketAddr) -> io::Result<Self> {
        Ok(Self { env: env.clone(), listener: env.listen(at).await? })
    }

    /// Its address, with the port that the system chose if it was asked to.
    ///
    /// # Errors
    /// As the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.env.local_addr(&self.listener)
    }

    /// The next stream that another process opens. Safe to cancel.
    ///
    /// # Errors
    /// As the system says. Later streams may still be accepted.
    pub async fn accept(&self) -> io::Result<Transport<E>> {
        let (reader, writer, remote) = self.env.accept(&self.listener).await?;
        Ok(Transport { stream: Stream::Plain { reader, writer }, remote })
    }
}

impl<E: Env> fmt::Debug for Listener<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

/// Gives up on what takes too long, with [`io::ErrorKind::TimedOut`].
pub(crate) async fn in_time<E: Env, T>(
    env: &E,
    limit: Duration,
    task: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    within(env, limit, task).await.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
}
