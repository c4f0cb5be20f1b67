//! A connection that speaks a protocol without IO over a socket.
//!
//! A task moves the bytes. When the connection ends, whatever was asked and not answered is told
//! [`Lost`]: it may have been done.

use accord_testbed::clients::{Broken, Machine, Received};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

/// How long a server may take until it is connected and a session is open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server may take to answer. Longer than an election takes.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a connection is looked after.
const TICK: Duration = Duration::from_millis(250);
/// How long a client waits before it tries to connect again.
pub const RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// The most requests that wait to be sent.
const REQUESTS_MAX: usize = 1000;

/// The connection ended, or the server did not answer in time: what was asked may have been done.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Lost(pub String);

type Ask<M> = (<M as Machine>::Request, oneshot::Sender<<M as Machine>::Reply>);

/// A connection. Dropping it ends it.
#[derive(Debug)]
pub struct Wire<M: Machine> {
    asks: mpsc::Sender<Ask<M>>,
}

impl<M: Machine + 'static> Wire<M>
where
    M::Reply: Send,
{
    /// Connects, and waits until requests may be sent.
    ///
    /// # Errors
    /// Why not, for people.
    pub async fn open(
        address: SocketAddr,
        new: impl FnOnce(&mut Vec<u8>) -> M,
    ) -> Result<Self, String> {
        let opening = async {
            let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
            // It would wait for acknowledgements of the other end's system.
            let _ = stream.set_nodelay(true);
            let mut out = Vec::new();
            let machine = new(&mut out);
            let asked = BTreeMap::new();
            let mut line = Line { stream, machine, out, asked, next: 0, start: Instant::now() };
            line.flush().await.map_err(|error| error.to_string())?;
            while !line.machine.is_ready() {
                line.read().await.map_err(|error| error.to_string())?;
            }
            Ok(line)
        };
        let opened = tokio::time::timeout(OPEN_TIMEOUT, opening).await;
        let line = opened.unwrap_or_else(|_| Err("no session is opened in time".to_owned()));
        let line = line.map_err(|why: String| format!("{address}: {why}"))?;
        let (asks, taken) = mpsc::channel(REQUESTS_MAX);
        tokio::spawn(line.run(taken));
        Ok(Self { asks })
    }

    /// Asks, and waits for the reply.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn ask(&self, request: M::Request) -> Result<M::Reply, Lost> {
        let (tell, told) = oneshot::channel();
        let lost = || Lost("the connection ended".to_owned());
        let asking = async {
            self.asks.send((request, tell)).await.map_err(|_| lost())?;
            told.await.map_err(|_| lost())
        };
        match tokio::time::timeout(REPLY_TIMEOUT, asking).await {
            Ok(replied) => replied,
            Err(_) => Err(Lost("the server does not answer".to_owned())),
        }
    }

    /// True once it has ended.
    pub fn is_over(&self) -> bool {
        self.asks.is_closed()
    }
}

/// One end of a connection, with what was asked over it.
struct Line<M: Machine> {
    stream: TcpStream,
    machine: M,
    out: Vec<u8>,
    asked: BTreeMap<u64, (Instant, oneshot::Sender<M::Reply>)>,
    next: u64,
    start: Instant,
}

impl<M: Machine> Line<M> {
    /// Until the connection ends, or nobody can ask any more.
    async fn run(mut self, mut asks: mpsc::Receiver<Ask<M>>) {
        while let Ok(true) = self.turn(&mut asks).await {}
        // What is asked from now on is refused before what was asked is told that it is lost: who
        // is told looks whether the connection is over.
        asks.close();
        drop(asks);
        self.machine.close(&mut self.out);
        let _ = self.flush().await;
    }

    /// Waits for the next thing to do. False: nobody can ask any more.
    async fn turn(&mut self, asks: &mut mpsc::Receiver<Ask<M>>) -> Result<bool, Broken> {
        let mut bytes = [0; 16 << 10];
        tokio::select! {
            read = self.stream.read(&mut bytes) => {
                let count = read.map_err(Broken::because)?;
                self.receive(&bytes[..count])?;
            }
            ask = asks.recv() => {
                let Some((request, tell)) = ask else { return Ok(false) };
                let (now_ns, tag) = (self.now_ns(), self.next);
                self.next += 1;
                self.asked.insert(tag, (Instant::now(), tell));
                self.machine.ask(now_ns, Some(tag), request, &mut self.out)?;
            }
            () = tokio::time::sleep(TICK) => {}
        }
        let late = |(since, _): &(Instant, _)| since.elapsed() > REPLY_TIMEOUT;
        if self.asked.first_key_value().is_some_and(|(_, asked)| late(asked)) {
            return Err(Broken::because("the server does not answer"));
        }
        let now_ns = self.now_ns();
        self.machine.tick(now_ns, &mut self.out);
        self.flush().await?;
        Ok(true)
    }

    fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    async fn read(&mut self) -> Result<(), Broken> {
        let mut bytes = [0; 16 << 10];
        let count = self.stream.read(&mut bytes).await.map_err(Broken::because)?;
        self.receive(&bytes[..count])?;
        self.flush().await
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        if bytes.is_empty() {
            return Err(Broken::because("the server hung up"));
        }
        let mut received = Received::default();
        self.machine.receive(bytes, &mut received)?;
        for (tag, reply) in received.replies {
            if let Some((_, tell)) = self.asked.remove(&tag) {
                // Who asked may have given up.
                let _ = tell.send(reply);
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Broken> {
        self.machine.drain(&mut self.out)?;
        if !self.out.is_empty() {
            self.stream.write_all(&self.out).await.map_err(Broken::because)?;
            self.out.clear();
        }
        Ok(())
    }
}
