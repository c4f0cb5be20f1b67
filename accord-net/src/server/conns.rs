//! Connections of clients: one task each, which moves bytes both ways.
//!
//! A connection's task writes what its outbox has, and reads on as long as the server accepts more
//! of it: back-pressure is a socket that is not read. Received bytes pass through one buffer that
//! all connections of a server share, so an idle connection keeps none. Invariants:
//!
//! - bytes leave in the order in which the server said them;
//! - a connection that was hung up on still gets what was said before, within a bounded time;
//! - a connection without a session, or that never says what it is for, ends by itself;
//! - what begins a session fits into one frame: more is not gathered for a client without one.

use super::driver::Driver;
use crate::env::Env;
use crate::frame::{FRAME_BYTES_MAX, FrameReader, write_message};
use crate::transport::Transport;
use accord_core::ids::ConnId;
use accord_core::protocol::{MESSAGE_BYTES_MAX, ServerMessage, encode_server_into};
use accord_core::time::{Duration, Instant};
use accord_core::wire::Writer;
use bytes::{Buf, Bytes};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes read at once.
pub(super) const READ_BYTES: usize = 64 << 10;

/// A connection, as the driver knows it.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) id: ConnId,
    outbox: RefCell<Outbox>,
    waker: RefCell<Option<Waker>>,
    closing: Cell<bool>,
    attached: Cell<bool>,
}

/// What was said and has not begun to leave.
#[derive(Debug, Default)]
struct Outbox {
    bytes: Vec<u8>,
    messages: usize,
}

impl Conn {
    pub(super) fn new(id: ConnId) -> Self {
        Self {
            id,
            outbox: RefCell::default(),
            waker: RefCell::new(None),
            closing: Cell::new(false),
            attached: Cell::new(false),
        }
    }

    /// Queues a message. The core bounds how many.
    pub(super) fn send(&self, message: &ServerMessage) {
        let outbox = &mut *self.outbox.borrow_mut();
        write_message(&mut outbox.bytes, |bytes| {
            let mut writer = Writer::from(std::mem::take(bytes));
            encode_server_into(message, &mut writer);
            *bytes = writer.into_vec();
        });
        outbox.messages += 1;
        self.wake();
    }

    /// No more is said: the connection ends when what was said has left.
    pub(super) fn close(&self) {
        self.closing.set(true);
        self.wake();
    }

    /// The connection has a session.
    pub(super) fn on_attached(&self) {
        self.attached.set(true);
    }

    /// Lets the connection's task run.
    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// Memory for reading, shared by the connections of a server.
pub(super) type Scratch = Rc<RefCell<Box<[u8]>>>;

/// Serves a client until its connection ends.
pub(super) async fn serve<E: Env>(driver: Rc<Driver<E>>, stream: Transport<E>, scratch: Scratch) {
    let conn = driver.connect(Conn::new);
    let from = stream.remote();
    let mut task = ConnTask {
        driver: driver.clone(),
        conn: conn.clone(),
        stream,
        scratch,
        frames: FrameReader::new(FRAME_BYTES_MAX),
        leaving: Bytes::new(),
        leaving_messages: 0,
        fragment_bytes: 0,
        unflushed: false,
        reading: true,
        watchdog: None,
        written: 0,
        stall: None,
    };
    task.watch(driver.options.net.sessionless_timeout);
    let end = poll_fn(|cx| task.poll(cx)).await;
    tracing::debug!(conn = %conn.id, %from, %end, "connection ended");
    driver.fragment_bytes.set(driver.fragment_bytes.get() - task.fragment_bytes);
    driver.metrics.conn_ends.get_or_create(&end.label()).inc();
    driver.disconnect(conn.id);
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
    #[error("the client sent no frame: {0}")]
    Frame(#[from] crate::frame::FrameError),
    #[error("the client sent no message: {0}")]
    Message(#[from] accord_core::wire::WireError),
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
            Self::Frame(_) => "malformed_frame",
            Self::Message(_) => "malformed_message",
        })
    }
}

struct ConnTask<E: Env> {
    driver: Rc<Driver<E>>,
    conn: Rc<Conn>,
    stream: Transport<E>,
    scratch: Scratch,
    frames: FrameReader,
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
        *self.conn.waker.borrow_mut() = Some(cx.waker().clone());
        match self.poll_all(cx) {
            Ok(Some(end)) | Err(end) => Poll::Ready(end),
            Ok(None) => Poll::Pending,
        }
    }

    fn poll_all(&mut self, cx: &mut Context<'_>) -> Result<Option<End>, End> {
        if !self.conn.closing.get() {
            self.poll_read(cx)?;
        }
        let drained = self.poll_write(cx)?.is_ready();
        self.poll_stall(cx, drained)?;
        if self.conn.closing.get() {
            if drained {
                return Ok(Some(End::ByServer));
            }
            if self.reading {
                // From here on only the rest of what was said matters.
                self.reading = false;
                self.watch(self.driver.options.net.linger_timeout);
            }
        }
        self.poll_watchdog(cx)
    }

    fn watch(&mut self, span: Duration) {
        let at: Instant = self.driver.env.now() + span;
        self.watchdog = Some(Box::pin(self.driver.env.sleep_until(at)));
    }

    /// Ends the connection if its client takes nothing for too long.
    fn poll_stall(&mut self, cx: &mut Context<'_>, drained: bool) -> Result<(), End> {
        if drained {
            self.stall = None;
            return Ok(());
        }
        loop {
            let at = self.driver.env.now() + self.driver.options.net.stall_timeout;
            let sleep = || Box::pin(self.driver.env.sleep_until(at)) as Pin<Box<_>>;
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
        if self.conn.attached.get() && !self.conn.closing.get() {
            self.watchdog = None;
            self.frames.set_message_bytes_max(MESSAGE_BYTES_MAX);
        }
        let Some(watchdog) = &mut self.watchdog else { return Ok(None) };
        if watchdog.as_mut().poll(cx).is_pending() {
            return Ok(None);
        }
        self.watchdog = None;
        Err(if self.conn.closing.get() { End::Lingered } else { End::Sessionless })
    }

    /// Reads as long as there is something and the server accepts it.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        loop {
            let accepted = self.take_messages()?;
            self.count_fragments()?;
            if !accepted {
                return Ok(());
            }
            let scratch = &mut *self.scratch.borrow_mut();
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(error)) => return Err(End::Io(error)),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Err(End::ByClient),
                Poll::Ready(Ok(())) => self.frames.push(Bytes::copy_from_slice(buffer.filled())),
            }
        }
    }

    /// Hands in the messages that have arrived. False if the server wants to hear no more for now.
    fn take_messages(&mut self) -> Result<bool, End> {
        let now = self.driver.env.now();
        let mut taken = 0;
        let accepted = loop {
            if !self.driver.accepts(self.conn.id) {
                break false;
            }
            match self.frames.next_message()? {
                Some(payload) => self.driver.on_message(self.conn.id, now, &payload)?,
                None => break true,
            }
            taken += 1;
        };
        if taken > 0 {
            self.driver.ask_for_turn();
        }
        Ok(accepted)
    }

    /// Accounts for what is kept of a message in several frames.
    fn count_fragments(&mut self) -> Result<(), End> {
        let (kept, counted) = (self.frames.fragment_bytes(), &self.driver.fragment_bytes);
        if kept == self.fragment_bytes {
            return Ok(());
        }
        let grows = kept > self.fragment_bytes;
        counted.set(counted.get() - self.fragment_bytes + kept);
        self.fragment_bytes = kept;
        match grows && counted.get() > self.driver.options.net.fragment_bytes_max {
            true => Err(End::Fragments),
            false => Ok(()),
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
                self.driver.on_written(self.conn.id, std::mem::take(&mut self.leaving_messages));
            }
            let outbox = &mut *self.conn.outbox.borrow_mut();
            if outbox.bytes.is_empty() {
                break;
            }
            self.leaving = Bytes::from(std::mem::take(&mut outbox.bytes));
            self.leaving_messages = std::mem::take(&mut outbox.messages);
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}
