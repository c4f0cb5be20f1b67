//! Connections of clients: one task each, which moves bytes both ways.
//!
//! A connection's task writes what its outbox has, and reads on as long as the server accepts more
//! of it: back-pressure is a socket that is not read. Received bytes pass through one buffer that
//! all connections of a server share, so an idle connection keeps none. Invariants:
//!
//! - bytes leave in the order in which the server said them;
//! - a connection that was hung up on still gets what was said before, within a bounded time;
//! - a connection without a session ends by itself;
//! - bytes are read only when the front-end asks for them, so it never has to queue calls.

use super::driver::Driver;
use super::outbox::Outbox;
use crate::env::Env;
use crate::transport::{READ_BYTES, Transport};
use accord_core::gateway::front_end::{FrontEnd, Malformed, Next};
use accord_core::holder::Principal;
use accord_core::time::{Duration, Instant};
use bytes::{Buf, Bytes};
use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Memory for reading, shared by the connections of a server.
pub(super) type Scratch = Rc<RefCell<Box<[u8]>>>;

/// The memory for one server's connections.
pub(super) fn scratch() -> Scratch {
    Rc::new(RefCell::new(vec![0; READ_BYTES].into_boxed_slice()))
}

/// Serves a client until its connection ends.
pub(super) async fn serve<E: Env>(
    driver: Rc<Driver<E>>,
    stream: Transport<E>,
    principal: Principal,
    front_end: Box<dyn FrontEnd>,
    scratch: Scratch,
) {
    let outbox = driver.connect(principal, front_end);
    let from = stream.remote();
    let mut task = ConnTask {
        driver: driver.clone(),
        outbox: outbox.clone(),
        stream,
        scratch,
        leaving: Bytes::new(),
        leaving_messages: 0,
        fragment_bytes: 0,
        unflushed: false,
        reading: true,
        watchdog: None,
        written: 0,
        stall: None,
    };
    task.watch(driver.options().net.sessionless_timeout);
    let end = poll_fn(|cx| task.poll(cx)).await;
    tracing::debug!(conn = %outbox.id(), %from, %end, "connection ended");
    driver.count_fragments(task.fragment_bytes, 0);
    driver.metrics().conn_ends.get_or_create(&end.label()).inc();
    driver.disconnect(outbox.id());
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the client hung up")]
    ByClient,
    #[error("the server hung up")]
    ByServer,
    #[error("the client did not take what it was sent before the end")]
    Lingered,
    #[error("no session was begun in time")]
    Sessionless,
    #[error("the client takes nothing of what it is sent")]
    Stalled,
    #[error("all clients together have sent too much of messages that have no end yet")]
    Fragments,
    #[error("the stream broke: {0}")]
    Io(std::io::Error),
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl End {
    fn label(&self) -> super::metrics::Reason {
        super::metrics::Reason::of(match self {
            Self::ByClient => "by_client",
            Self::ByServer => "by_server",
            Self::Lingered => "lingered",
            Self::Sessionless => "sessionless",
            Self::Stalled => "stalled",
            Self::Fragments => "fragments",
            Self::Io(_) => "io",
            Self::Malformed(malformed) => malformed.reason,
        })
    }
}

struct ConnTask<E: Env> {
    driver: Rc<Driver<E>>,
    outbox: Rc<Outbox>,
    stream: Transport<E>,
    scratch: Scratch,
    /// What is leaving now.
    leaving: Bytes,
    leaving_messages: usize,
    /// What `frames` has of a message in several frames, as it is counted for all connections.
    fragment_bytes: usize,
    unflushed: bool,
    /// False while the server does not want to hear more, or ever again.
    reading: bool,
    watchdog: Option<Sleep>,
    /// Bytes that have left.
    written: u64,
    /// While bytes wait to leave: what had left when that was looked at last, and when it is again.
    stall: Option<(u64, Sleep)>,
}

type Sleep = Pin<Box<dyn Future<Output = ()>>>;

impl<E: Env> ConnTask<E> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.outbox.set_waker(cx.waker());
        match self.poll_all(cx) {
            Ok(Some(end)) | Err(end) => Poll::Ready(end),
            Ok(None) => Poll::Pending,
        }
    }

    fn poll_all(&mut self, cx: &mut Context<'_>) -> Result<Option<End>, End> {
        if !self.outbox.is_closing() {
            self.poll_read(cx)?;
        }
        let drained = self.poll_write(cx)?.is_ready();
        self.poll_stall(cx, drained)?;
        if self.outbox.is_closing() {
            if drained {
                return Ok(Some(End::ByServer));
            }
            if self.reading {
                // From here on only the rest of what was said matters.
                self.reading = false;
                self.watch(self.driver.options().net.linger_timeout);
            }
        }
        self.poll_watchdog(cx)
    }

    fn watch(&mut self, span: Duration) {
        let at: Instant = self.driver.env().now() + span;
        self.watchdog = Some(Box::pin(self.driver.env().sleep_until(at)));
    }

    /// Ends the connection if its client takes nothing for too long.
    fn poll_stall(&mut self, cx: &mut Context<'_>, drained: bool) -> Result<(), End> {
        if drained {
            self.stall = None;
            return Ok(());
        }
        loop {
            let at = self.driver.env().now() + self.driver.options().net.stall_timeout;
            let sleep = || Box::pin(self.driver.env().sleep_until(at)) as Pin<Box<_>>;
            let (written, stall) = self.stall.get_or_insert_with(|| (self.written, sleep()));
            if stall.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            if *written == self.written {
                return Err(End::Stalled);
            }
            self.stall = None;
        }
    }

    fn poll_watchdog(&mut self, cx: &mut Context<'_>) -> Result<Option<End>, End> {
        if self.outbox.is_attached() && !self.outbox.is_closing() {
            self.watchdog = None;
        }
        let Some(watchdog) = &mut self.watchdog else { return Ok(None) };
        if watchdog.as_mut().poll(cx).is_pending() {
            return Ok(None);
        }
        self.watchdog = None;
        Err(if self.outbox.is_closing() { End::Lingered } else { End::Sessionless })
    }

    /// Reads as long as there is something and the server accepts it.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        loop {
            let wanted = self.take_calls()?;
            self.count_fragments()?;
            if !wanted {
                return Ok(());
            }
            let scratch = &mut *self.scratch.borrow_mut();
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(error)) => return Err(End::Io(error)),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Err(End::ByClient),
                Poll::Ready(Ok(())) => self.outbox.receive(Bytes::copy_from_slice(buffer.filled())),
            }
        }
    }

    /// Hands in the calls that have arrived. True if more bytes are wanted: by the front-end, and
    /// by the server.
    fn take_calls(&mut self) -> Result<bool, End> {
        let now = self.driver.env().now();
        let mut taken = 0;
        let wanted = loop {
            if !self.driver.accepts(self.outbox.id()) {
                break false;
            }
            match self.outbox.next()? {
                Next::Call(call) => self.driver.on_call(self.outbox.id(), now, call),
                Next::Bytes => break true,
                Next::Word => break false,
            }
            taken += 1;
        };
        if taken > 0 {
            self.driver.ask_for_turn();
        }
        Ok(wanted)
    }

    /// Accounts for what is kept of a message in several frames.
    fn count_fragments(&mut self) -> Result<(), End> {
        let kept = self.outbox.fragment_bytes();
        let before = std::mem::replace(&mut self.fragment_bytes, kept);
        match self.driver.count_fragments(before, kept) {
            true => Ok(()),
            false => Err(End::Fragments),
        }
    }

    /// Writes until all has left.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, End> {
        match self.try_poll_write(cx) {
            Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
            Poll::Ready(Err(error)) => Err(End::Io(error)),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    fn try_poll_write(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        loop {
            while !self.leaving.is_empty() {
                let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.leaving))?;
                if written == 0 {
                    return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
                }
                self.leaving.advance(written);
                self.written += written as u64;
                self.unflushed = true;
            }
            if self.leaving_messages > 0 {
                self.driver
                    .on_written(self.outbox.id(), std::mem::take(&mut self.leaving_messages));
            }
            let waiting = self.outbox.take();
            if waiting.is_empty() {
                break;
            }
            self.leaving = Bytes::from(waiting.bytes);
            self.leaving_messages = waiting.messages;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}
