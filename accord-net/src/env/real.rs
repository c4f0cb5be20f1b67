//! The real world: tokio's sockets and timers, the system's clock and randomness.
//!
//! A server's tasks are spawned on tokio's `LocalSet`: each server is one thread, and several
//! servers in one process do not share one.

use super::{Clock, Datagram, Env, Udp};
use accord_core::ids::Stamp;
use accord_core::time::{DurationExt, Instant};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// The origin of this process's clock.
static ORIGIN: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);

/// Bytes that a socket for datagrams may keep for us, as a wish: the system may allow fewer.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// The real world.
#[derive(Clone, Copy, Debug, Default)]
pub struct Real;

impl Env for Real {
    type Udp = RealUdp;
    type Reader = OwnedReadHalf;
    type Writer = OwnedWriteHalf;
    type Listener = TcpListener;

    fn now(&self) -> Instant {
        now()
    }

    fn clock(&self) -> Clock {
        Arc::new(now)
    }

    fn wall(&self) -> Stamp {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Stamp(since_1970.to_millis())
    }

    fn draw(&self) -> u64 {
        draw()
    }

    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> + 'static {
        let wait = at.since(self.now());
        tokio::time::sleep(wait)
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        tokio::task::spawn_local(task);
    }

    async fn work<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        match tokio::task::spawn_blocking(job).await {
            Ok(done) => done,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is being shut down, and the waiting task with it.
            Err(_) => std::future::pending().await,
        }
    }

    async fn bind_udp(&self, at: SocketAddr) -> io::Result<RealUdp> {
        RealUdp::bind(at).await
    }

    async fn listen(&self, at: SocketAddr) -> io::Result<TcpListener> {
        TcpListener::bind(at).await
    }

    fn local_addr(&self, listener: &TcpListener) -> io::Result<SocketAddr> {
        listener.local_addr()
    }

    async fn accept(
        &self,
        listener: &TcpListener,
    ) -> io::Result<(OwnedReadHalf, OwnedWriteHalf, SocketAddr)> {
        let (stream, from) = listener.accept().await?;
        let (reader, writer) = halves(stream)?;
        Ok((reader, writer, from))
    }

    async fn lookup(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host(name).await?.collect())
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<(OwnedReadHalf, OwnedWriteHalf)> {
        halves(TcpStream::connect(to).await?)
    }
}

fn halves(stream: TcpStream) -> io::Result<(OwnedReadHalf, OwnedWriteHalf)> {
    // Batching is done here, above the socket, where it is known what waits.
    stream.set_nodelay(true)?;
    Ok(stream.into_split())
}

fn now() -> Instant {
    // 584 years of nanoseconds fit.
    Instant::from_nanos(ORIGIN.elapsed().as_nanos() as u64)
}

/// A number from the system's randomness.
///
/// # Panics
/// If the system has none, without which no server may start.
pub fn draw() -> u64 {
    getrandom::u64().expect("the system gives random numbers")
}

/// A socket for datagrams; on Linux, one system call moves many of them.
#[derive(Debug)]
pub struct RealUdp {
    socket: UdpSocket,
    #[cfg(target_os = "linux")]
    batched: std::cell::RefCell<super::batched::Buffers>,
}

impl RealUdp {
    async fn bind(at: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(at).await?;
        #[cfg(target_os = "linux")]
        {
            super::batched::enlarge(&socket, SOCKET_BUFFER_BYTES);
            Ok(Self { socket, batched: Default::default() })
        }
        #[cfg(not(target_os = "linux"))]
        Ok(Self { socket })
    }
}

impl Udp for RealUdp {
    #[cfg(target_os = "linux")]
    fn send(&self, datagrams: &mut Vec<Datagram>) {
        self.batched.borrow_mut().send(&self.socket, datagrams);
    }

    #[cfg(not(target_os = "linux"))]
    fn send(&self, datagrams: &mut Vec<Datagram>) {
        for (to, bytes) in datagrams.drain(..) {
            // A full buffer loses it, as a full switch would.
            let _ = self.socket.try_send_to(&bytes, to);
        }
    }

    #[cfg(target_os = "linux")]
    async fn receive(&self, datagrams: &mut Vec<Datagram>) -> io::Result<()> {
        loop {
            self.socket.readable().await?;
            let read = || self.batched.borrow_mut().receive(&self.socket, datagrams);
            match self.socket.try_io(tokio::io::Interest::READABLE, read) {
                Ok(()) if datagrams.is_empty() => {}
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    async fn receive(&self, datagrams: &mut Vec<Datagram>) -> io::Result<()> {
        let mut buffer = vec![0; super::DATAGRAM_BYTES_MAX];
        let (bytes, from) = self.socket.recv_from(&mut buffer).await?;
        buffer.truncate(bytes);
        datagrams.push((from, buffer.into()));
        Ok(())
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[tokio::test]
    async fn many_datagrams_pass_in_few_calls_and_unharmed() {
        let at = SocketAddr::from(([127, 0, 0, 1], 0));
        let (near, far) = (Real.bind_udp(at).await.unwrap(), Real.bind_udp(at).await.unwrap());
        let to = far.local_addr().unwrap();
        let sizes = [0, 1, 1400, 16_000, 65_000];
        let sent: Vec<Bytes> = (0..40)
            .map(|number| Bytes::from(vec![number as u8; sizes[number % sizes.len()]]))
            .collect();
        let mut arrived = Vec::new();
        for some in sent.chunks(8) {
            near.send(&mut some.iter().map(|bytes| (to, bytes.clone())).collect());
            let wanted = arrived.len() + some.len();
            while arrived.len() < wanted {
                far.receive(&mut arrived).await.unwrap();
            }
        }
        assert!(arrived.iter().all(|(from, _)| *from == near.local_addr().unwrap()));
        assert_eq!(arrived.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>(), sent);
    }
}
