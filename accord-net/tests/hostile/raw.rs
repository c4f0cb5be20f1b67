//! A connection that says whatever it is told to, and how it ends.

use crate::siege::TIMEOUT;
use accord_core::holder::SessionSecret;
use accord_core::ids::SessionId;
use accord_core::protocol::{
    ClientMessage, MESSAGE_BYTES_MAX, PROTOCOL_VERSION, ServerMessage, decode_server, encode_client,
};
use accord_core::stream::{FrameReader, Kind, PREFACE_BYTES, Preface, write_message};
use bytes::Bytes;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A connection.
pub struct Raw {
    pub stream: TcpStream,
    frames: FrameReader,
}

/// Random bytes, the same every time.
pub struct Noise(u64);

impl Noise {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

impl Raw {
    /// Connects and says nothing.
    pub async fn connect(at: SocketAddr) -> Self {
        let stream = TcpStream::connect(at).await.expect("somebody listens");
        stream.set_nodelay(true).expect("it is a socket");
        Self { stream, frames: FrameReader::new(MESSAGE_BYTES_MAX) }
    }

    /// Connects and exchanges prefaces.
    pub async fn greeted(at: SocketAddr, kind: Kind, version: u8) -> Self {
        let mut raw = Self::connect(at).await;
        raw.say(&Preface { kind, version }.to_bytes()).await;
        let mut preface = [0; PREFACE_BYTES];
        let read = timeout(TIMEOUT, raw.stream.read_exact(&mut preface)).await;
        read.expect("in time").expect("the server says its preface");
        let found = Preface::from_bytes(preface).expect("it is a preface");
        assert_eq!(found.kind, kind);
        raw
    }

    /// Connects as a client.
    pub async fn client(at: SocketAddr) -> Self {
        Self::greeted(at, Kind::Client, PROTOCOL_VERSION).await
    }

    /// Connects as a client with a session of its own. Again, if a busy machine takes longer to
    /// open it than the server has patience here.
    pub async fn session(at: SocketAddr, timeout_ms: u32) -> (Self, (SessionId, SessionSecret)) {
        loop {
            let mut raw = Self::client(at).await;
            raw.tell(&ClientMessage::Open { timeout_ms }).await;
            while let Some(message) = raw.hear().await {
                match message {
                    ServerMessage::Opened { session, secret, .. } => {
                        return (raw, (session, secret));
                    }
                    ServerMessage::Status { .. } => {}
                    other => panic!("not asked for: {other:?}"),
                }
            }
        }
    }

    /// Sends bytes. False if the server has hung up.
    pub async fn say(&mut self, bytes: &[u8]) -> bool {
        timeout(TIMEOUT, self.stream.write_all(bytes)).await.expect("in time").is_ok()
    }

    /// Sends bytes as one message.
    pub async fn say_message(&mut self, bytes: &[u8]) -> bool {
        let mut framed = Vec::new();
        write_message(&mut framed, |out| out.extend_from_slice(bytes));
        self.say(&framed).await
    }

    /// Sends a message.
    pub async fn tell(&mut self, message: &ClientMessage) -> bool {
        self.say_message(&encode_client(message)).await
    }

    /// The next message's bytes. None: the server has hung up.
    pub async fn hear_message(&mut self) -> Option<Bytes> {
        loop {
            if let Some(payload) = self.frames.next_message().expect("the server sends frames") {
                return Some(payload);
            }
            let mut buffer = vec![0; 1 << 16];
            match timeout(TIMEOUT, self.stream.read(&mut buffer)).await.expect("in time") {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.frames.push(Bytes::copy_from_slice(&buffer[..count])),
            }
        }
    }

    /// The next message. None: the server has hung up.
    pub async fn hear(&mut self) -> Option<ServerMessage> {
        let payload = self.hear_message().await?;
        Some(decode_server(&payload).expect("the server sends messages"))
    }

    /// Says more, without ever reading, until the server has hung up.
    pub async fn end_without_reading(mut self) {
        let saying = async { while self.tell(&ClientMessage::Ping { nonce: 1 }).await {} };
        timeout(TIMEOUT, saying).await.expect("the server hangs up within a bounded time");
    }

    /// Waits until the server has hung up.
    pub async fn end(mut self) {
        let mut buffer = vec![0; 1 << 16];
        let ended = async { while matches!(self.stream.read(&mut buffer).await, Ok(1..)) {} };
        timeout(TIMEOUT, ended).await.expect("the server hangs up within a bounded time");
    }

    /// Sends a byte at a time, slowly and for ever, until the server has hung up.
    pub async fn drip(mut self, mut bytes: impl Iterator<Item = u8>) {
        const PACE: std::time::Duration = std::time::Duration::from_millis(70);
        let mut buffer = [0; 1 << 10];
        let dripping = async {
            loop {
                match timeout(PACE, self.stream.read(&mut buffer)).await {
                    Ok(Ok(0) | Err(_)) => return,
                    Ok(Ok(_)) => {}
                    Err(_) => {
                        let next = [bytes.next().expect("there is always another byte")];
                        if self.stream.write_all(&next).await.is_err() {
                            return;
                        }
                    }
                }
            }
        };
        timeout(TIMEOUT, dripping).await.expect("the server hangs up within a bounded time");
    }
}
