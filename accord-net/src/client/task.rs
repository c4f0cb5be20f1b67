//! The client's task: one connection at a time, as the core asks, and the bytes over it.

use super::address::ServerAddr;
use super::shared::Shared;
use crate::env::Env;
use crate::transport::{READ_BYTES, Transport};
use accord_core::client::{ClientInput, ClientOutput};
use accord_core::protocol::{
    ClientMessage, MESSAGE_BYTES_MAX, PROTOCOL_VERSION, ServerMessage, decode_server,
    encode_client_into,
};
use accord_core::stream::{FrameReader, Kind, PREFACE_BYTES, Preface, PrefaceError, write_message};
use accord_core::time::Instant;
use accord_core::wire::Writer;
use bytes::{Buf, Bytes};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

thread_local! {
    /// Where bytes are read to, of all clients that a thread serves: idle ones keep no buffer.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

const PREFACE: Preface = Preface { kind: Kind::Client, version: PROTOCOL_VERSION };

/// Runs a client until its session has ended.
pub(super) async fn run<E: Env>(env: E, shared: Arc<Shared>) {
    let mut task = Task::<E> { shared: shared.clone(), stream: None, server: 0, connect: None };
    let mut sleep = Box::pin(env.sleep_until(Instant::FAR_FUTURE));
    let mut armed = Instant::FAR_FUTURE;
    let mut connecting = Box::pin(open(env.clone(), shared.options.servers[0].clone()));
    let mut is_connecting = false;
    loop {
        let deadline = task.carry_out(&mut is_connecting);
        if shared.session.borrow().is_final() {
            return task.finish().await;
        }
        if let Some(server) = task.connect.take() {
            connecting.set(open(env.clone(), shared.options.servers[server].clone()));
            is_connecting = true;
        }
        if let Some(at) = deadline
            && at != armed
        {
            sleep.set(env.sleep_until(at));
            armed = at;
        }
        tokio::select! {
            biased;
            () = shared.wake.notified() => {}
            event = next_event::<E>(&mut task.stream) => task.on_event(event),
            result = &mut connecting, if is_connecting => {
                is_connecting = false;
                task.on_opened(result);
            }
            () = &mut sleep => {
                armed = Instant::FAR_FUTURE;
                let now = shared.now();
                shared.lock().core.handle(now, ClientInput::Timer);
            }
        }
    }
}

/// Opens a connection and exchanges prefaces.
pub(super) async fn open<E: Env>(env: E, at: ServerAddr) -> io::Result<Transport<E>> {
    let mut stream = at.connect(&env).await?;
    stream.write_all(&PREFACE.to_bytes()).await?;
    stream.flush().await?;
    let mut preface = [0; PREFACE_BYTES];
    stream.read_exact(&mut preface).await?;
    let fits = Preface::from_bytes(preface).and_then(|found| found.expect(PREFACE));
    fits.map_err(|error: PrefaceError| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(stream)
}

struct Task<E: Env> {
    shared: Arc<Shared>,
    stream: Option<Stream<E>>,
    /// The place of the server that the connection is to.
    server: usize,
    /// The core asked to connect there.
    connect: Option<usize>,
}

struct Stream<E: Env> {
    transport: Transport<E>,
    frames: FrameReader,
    /// What is leaving now.
    leaving: Bytes,
    /// What is to leave next.
    outbox: Vec<u8>,
    unflushed: bool,
}

/// What comes of a connection.
enum StreamEvent {
    Received(Bytes),
    Broken(io::Error),
}

/// Writes what is to leave and waits for something to come. Safe to cancel.
async fn next_event<E: Env>(stream: &mut Option<Stream<E>>) -> StreamEvent {
    match stream {
        Some(stream) => poll_fn(|cx| stream.poll(cx)).await,
        None => std::future::pending().await,
    }
}

impl<E: Env> Stream<E> {
    fn new(transport: Transport<E>) -> Self {
        Self {
            transport,
            frames: FrameReader::new(MESSAGE_BYTES_MAX),
            leaving: Bytes::new(),
            outbox: Vec::new(),
            unflushed: false,
        }
    }

    fn send(&mut self, message: &ClientMessage) {
        write_message(&mut self.outbox, |bytes| {
            let mut writer = Writer::from(std::mem::take(bytes));
            encode_client_into(message, &mut writer);
            *bytes = writer.into_vec();
        });
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<StreamEvent> {
        if let Poll::Ready(Err(error)) = self.poll_write(cx) {
            return Poll::Ready(StreamEvent::Broken(error));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            let received = ready!(Pin::new(&mut self.transport).poll_read(cx, &mut buffer));
            Poll::Ready(match received {
                Err(error) => StreamEvent::Broken(error),
                Ok(()) if buffer.filled().is_empty() => {
                    StreamEvent::Broken(io::ErrorKind::UnexpectedEof.into())
                }
                Ok(()) => StreamEvent::Received(Bytes::copy_from_slice(buffer.filled())),
            })
        })
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while !self.leaving.is_empty() {
                let written = ready!(Pin::new(&mut self.transport).poll_write(cx, &self.leaving))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.leaving.advance(written);
                self.unflushed = true;
            }
            if self.outbox.is_empty() {
                break;
            }
            self.leaving = Bytes::from(std::mem::take(&mut self.outbox));
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.transport).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl<E: Env> Task<E> {
    /// Does what the core asks. Tells when it wants to be woken.
    fn carry_out(&mut self, is_connecting: &mut bool) -> Option<Instant> {
        let shared = self.shared.clone();
        let state = &mut *shared.lock();
        while let Some(output) = state.core.poll_output() {
            match output {
                ClientOutput::Connect { server } => {
                    self.server = server.0 as usize;
                    self.connect = Some(self.server);
                }
                ClientOutput::Disconnect => {
                    self.stream = None;
                    self.connect = None;
                    *is_connecting = false;
                }
                ClientOutput::Send(message) => {
                    if let Some(stream) = &mut self.stream {
                        stream.send(&message);
                    }
                }
                ClientOutput::Event(event) => shared.dispatch(state, event),
            }
        }
        state.core.next_deadline()
    }

    fn on_opened(&mut self, result: io::Result<Transport<E>>) {
        let now = self.shared.now();
        match result {
            Ok(transport) => {
                self.stream = Some(Stream::new(transport));
                self.shared.lock().core.handle(now, ClientInput::Connected);
            }
            Err(error) => self.on_trouble(error.to_string()),
        }
    }

    /// The connection is gone, or never came about.
    fn on_trouble(&mut self, trouble: String) {
        tracing::debug!(server = %self.shared.options.servers[self.server], trouble, "disconnected");
        self.stream = None;
        let now = self.shared.now();
        let state = &mut *self.shared.lock();
        state.troubles.insert(self.server, trouble);
        state.core.handle(now, ClientInput::Disconnected);
    }

    fn on_event(&mut self, event: StreamEvent) {
        let trouble = match event {
            StreamEvent::Broken(error) => Some(error.to_string()),
            StreamEvent::Received(bytes) => self.on_received(bytes).err(),
        };
        if let Some(trouble) = trouble {
            self.on_trouble(trouble);
        }
    }

    fn on_received(&mut self, bytes: Bytes) -> Result<(), String> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        stream.frames.push(bytes);
        let now = self.shared.now();
        let state = &mut *self.shared.lock();
        while let Some(payload) = stream.frames.next_message().map_err(|e| e.to_string())? {
            let message = decode_server(&payload).map_err(|e| e.to_string())?;
            if let ServerMessage::Status { primary: false } = message {
                let why = "the server is not in the primary component".to_owned();
                state.troubles.insert(self.server, why);
            }
            state.core.handle(now, ClientInput::Message(message));
        }
        Ok(())
    }

    /// Lets the last words leave, if the connection takes them at once.
    async fn finish(mut self) {
        if let Some(stream) = &mut self.stream {
            let _ = poll_fn(|cx| match stream.poll_write(cx) {
                Poll::Ready(result) => Poll::Ready(result),
                Poll::Pending => Poll::Ready(Ok(())),
            })
            .await;
        }
    }
}
