//! The seam of `accord-net` inside a simulator: the real driver's clock, sockets and tasks.
//!
//! Everything that enters or leaves a process passes through here: it goes into the trace, and what
//! the simulator cannot do is done here: clocks that disagree, datagrams that are lost, doubled or
//! overtaken, processes that stand still, streams that the world breaks.

use super::clock::MachineClock;
use super::harness::{Harness, StreamEnd};
use super::host::Host;
use super::machine::Machine;
use super::process::Process;
use super::simulator::Simulator;
use crate::plan::rng::Rng;
use crate::world::clock::WorldTime;
use crate::world::event_kind::EventKind;
use accord_core::ids::Stamp;
use accord_core::time::{Duration, DurationExt, Instant};
use accord_net::env::{Clock, Datagram, Env, Udp};
use std::cell::RefCell;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The longest that work beside the tasks takes, in microseconds.
const WORK_MICROS_MAX: u64 = 100_000;

/// The world as one process sees it.
pub(super) struct HostEnv<S> {
    pub(super) harness: Rc<Harness>,
    pub(super) host: Host,
    pub(super) process: Rc<Process>,
    clock: MachineClock,
    rng: Rc<RefCell<Rng>>,
    simulator: PhantomData<fn() -> S>,
}

impl<S> Clone for HostEnv<S> {
    fn clone(&self) -> Self {
        Self {
            harness: self.harness.clone(),
            host: self.host,
            process: self.process.clone(),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
            simulator: PhantomData,
        }
    }
}

impl<S: Simulator> HostEnv<S> {
    /// For a process that starts.
    pub(super) fn new(
        harness: &Rc<Harness>,
        host: Host,
        process: Rc<Process>,
        clock: MachineClock,
        seed: u64,
    ) -> Self {
        let rng = Rc::new(RefCell::new(Rng::from_seed(seed)));
        Self { harness: harness.clone(), host, process, clock, rng, simulator: PhantomData }
    }

    /// Does something with the machine of this server's process.
    pub(super) fn machine<T>(&self, act: impl FnOnce(&mut Machine) -> T) -> T {
        let Host::Server(server) = self.host else { panic!("a client has no machine") };
        act(&mut self.harness.machine(server).borrow_mut())
    }

    fn event(&self, what: EventKind, bytes: &[u8]) {
        self.harness.event(S::now(), self.host, what, bytes);
    }

    fn halves(&self, stream: S::Stream, there: Host) -> (Half<S>, Half<S>) {
        let end = self.harness.stream_end(self.host, there);
        let stream = Rc::new(RefCell::new(stream));
        let half = || Half { stream: stream.clone(), end: end.clone(), env: self.clone() };
        (half(), half())
    }
}

impl<S: Simulator> Env for HostEnv<S> {
    type Udp = HostUdp<S>;
    type Reader = Half<S>;
    type Writer = Half<S>;
    type Listener = S::Listener;

    fn now(&self) -> Instant {
        self.clock.local(S::now())
    }

    fn clock(&self) -> Clock {
        let clock = self.clock.shared();
        Arc::new(move || clock.lock().unwrap_or_else(PoisonError::into_inner).local(S::now()))
    }

    fn wall(&self) -> Stamp {
        self.clock.wall(S::now())
    }

    fn draw(&self) -> u64 {
        self.rng.borrow_mut().next_u64()
    }

    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> + 'static {
        let clock = self.clock.clone();
        async move {
            loop {
                let changed = clock.changed();
                let until = clock.world(at);
                if until <= S::now() && clock.local(S::now()) >= at {
                    return;
                }
                if until == WorldTime::NEVER {
                    changed.await;
                    continue;
                }
                let wait = until.as_nanos().saturating_sub(S::now().as_nanos());
                tokio::select! {
                    biased;
                    () = changed => {}
                    () = S::sleep(Duration::from_nanos(wait)) => {}
                }
            }
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        S::spawn(self.process.task(self.harness.clone(), task));
    }

    async fn work<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let micros = self.rng.borrow_mut().log_uniform(1, WORK_MICROS_MAX);
        let done = job();
        S::sleep(Duration::from_micros(micros)).await;
        self.event(EventKind::JobDone, &[]);
        done
    }

    async fn bind_udp(&self, at: SocketAddr) -> io::Result<HostUdp<S>> {
        let socket = Rc::new(S::bind_udp(at.port()).await?);
        Ok(HostUdp { socket, at, env: self.clone() })
    }

    async fn listen(&self, at: SocketAddr) -> io::Result<S::Listener> {
        S::listen(at.port()).await
    }

    fn local_addr(&self, _listener: &S::Listener) -> io::Result<SocketAddr> {
        Ok(self.host.at(super::host::CLIENT_PORT))
    }

    async fn accept(&self, listener: &S::Listener) -> io::Result<(Half<S>, Half<S>, SocketAddr)> {
        loop {
            let (stream, from) = S::accept(listener).await?;
            // Somebody who is nobody of this world would be the simulator's mistake.
            let Some(there) = Host::of(from.ip()) else { continue };
            self.event(EventKind::StreamAccepted, there.to_string().as_bytes());
            let (reader, writer) = self.halves(stream, there);
            return Ok((reader, writer, from));
        }
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<(Half<S>, Half<S>)> {
        let there = Host::of(to.ip()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let connected = S::connect(to).await;
        if connected.is_err()
            && (self.harness.is_cut(self.host, there) || self.harness.is_cut(there, self.host))
        {
            // Nobody refuses over a way that is cut: whoever connects waits until its patience is
            // at an end.
            std::future::pending::<()>().await;
        }
        self.event(EventKind::StreamOpened, &[u8::from(connected.is_ok())]);
        Ok(self.halves(connected?, there))
    }
}

/// A socket for datagrams.
pub(super) struct HostUdp<S: Simulator> {
    socket: Rc<S::Udp>,
    at: SocketAddr,
    env: HostEnv<S>,
}

impl<S: Simulator> Udp for HostUdp<S> {
    fn send(&self, datagrams: &mut Vec<Datagram>) {
        for (to, bytes) in datagrams.drain(..) {
            let Some(there) = Host::of(to.ip()) else { continue };
            for later in self.env.harness.fates(self.env.host, there) {
                if later.as_millis() == 0 {
                    S::send(&self.socket, to, bytes.clone());
                    continue;
                }
                let (socket, bytes) = (self.socket.clone(), bytes.clone());
                S::spawn(async move {
                    S::sleep(Duration::from_millis(later.to_millis())).await;
                    S::send(&socket, to, bytes);
                });
            }
        }
    }

    async fn receive(&self, datagrams: &mut Vec<Datagram>) -> io::Result<()> {
        let datagram = S::receive(&self.socket).await?;
        self.env.event(EventKind::Datagram, &datagram.1);
        datagrams.push(datagram);
        Ok(())
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.at)
    }
}

/// One half of a stream. The stream ends when both are dropped, which `accord-net` does at once.
pub(super) struct Half<S: Simulator> {
    stream: Rc<RefCell<S::Stream>>,
    end: Rc<StreamEnd>,
    env: HostEnv<S>,
}

impl<S: Simulator> Half<S> {
    fn broken(&self, cx: &Context<'_>) -> io::Result<()> {
        if self.end.is_broken(cx.waker()) {
            self.env.event(EventKind::StreamBroken, self.end.there.to_string().as_bytes());
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl<S: Simulator> AsyncRead for Half<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.broken(cx)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, buffer);
        if read.is_ready() {
            self.env.event(EventKind::StreamRead, &buffer.filled()[before..]);
        }
        read
    }
}

impl<S: Simulator> AsyncWrite for Half<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.broken(cx)?;
        let written = Pin::new(&mut *self.stream.borrow_mut()).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = written {
            self.env.event(EventKind::StreamWritten, &bytes[..count]);
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(cx)
    }
}
