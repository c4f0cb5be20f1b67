//! A key-value protocol in lines of text: a whole front-end, for tests.
//!
//! `session`, `put KEY VALUE`, `get KEY`, `watch KEY`, one a line. The server numbers requests, a
//! read stands behind the writes that the same client sent before it, and a watch tells the value
//! at once. Answers come in the order of the commands, and events before what shows them.

use accord_core::gateway::front_end::{FrontEnd, Malformed, Next};
use accord_core::gateway::message::{
    ClientMessage, Consistency, EventMask, ServerMessage, WatchFilter,
};
use accord_core::ids::{RequestId, WatchId};
use accord_core::state::{
    Event, Flags, OpRef, Outcome, ReadQuery, ReadResult, Step, Txn, TxnOutcome,
};
use accord_core::wire::Encode;
use bytes::Bytes;
use std::io::Write;

/// The longest line. Also the most that a connection keeps.
pub const LINE_BYTES_MAX: usize = 1 << 10;

/// One client's connection.
#[derive(Debug, Default)]
pub struct Lines {
    input: Vec<u8>,
    /// Writes, reads and watches so far.
    requests: u64,
    reads: u64,
    watches: u64,
    /// Writes that are not answered: a read waits for them.
    writing: u64,
    /// The server is asked for a session or a watch, and the next line waits for it.
    waiting: bool,
    /// A watch that was just set: its key is read before the next line.
    watched: Option<Bytes>,
}

impl FrontEnd for Lines {
    fn receive(&mut self, bytes: Bytes) {
        self.input.extend_from_slice(&bytes);
    }

    fn next(&mut self) -> Result<Next, Malformed> {
        if self.waiting {
            return Ok(Next::Word);
        }
        if let Some(key) = self.watched.take() {
            return Ok(self.read(key));
        }
        let Some(end) = self.input.iter().position(|byte| *byte == b'\n') else {
            return match self.input.len() > LINE_BYTES_MAX {
                true => Err(malformed("a line without an end")),
                false => Ok(Next::Bytes),
            };
        };
        let line = String::from_utf8(self.input[..end].to_vec());
        let line = line.map_err(|_| malformed("a line that is no text"))?;
        let words: Vec<&str> = line.split(' ').collect();
        if let ["get" | "watch", _] = words[..]
            && self.writing > 0
        {
            return Ok(Next::Word);
        }
        self.input.drain(..=end);
        let bytes = |word: &str| Bytes::copy_from_slice(word.as_bytes());
        match words[..] {
            ["session"] => {
                self.waiting = true;
                Ok(Next::Call(ClientMessage::Open { timeout_ms: 10_000 }))
            }
            ["put", key, value] => Ok(self.write(bytes(key), bytes(value))),
            ["get", key] => Ok(self.read(bytes(key))),
            ["watch", key] => Ok(self.watch(bytes(key))),
            _ => Err(malformed("a line that is no command")),
        }
    }

    fn say(&mut self, message: &ServerMessage, out: &mut Vec<u8>) {
        match message {
            ServerMessage::Opened { .. } => {
                self.waiting = false;
                tell(out, "session");
            }
            ServerMessage::Watching { .. } => self.waiting = false,
            ServerMessage::Reply { outcome, .. } => {
                self.writing -= 1;
                match outcome {
                    Outcome::Txn(TxnOutcome::Committed { .. }) => tell(out, "ok"),
                    other => tell(out, &format!("failed {other:?}")),
                }
            }
            ServerMessage::RequestRefused { reason, .. } => {
                self.writing -= 1;
                tell(out, &format!("refused {reason}"));
            }
            ServerMessage::ReadReply { result: ReadResult::Value { value, .. }, .. } => {
                tell(out, &format!("value {}", String::from_utf8_lossy(value)));
            }
            ServerMessage::ReadReply { .. } => tell(out, "none"),
            ServerMessage::Events { events, .. } => {
                for event in events.iter() {
                    let Event::Key(event) = event else { continue };
                    tell(out, &format!("event {}", String::from_utf8_lossy(&event.data)));
                }
            }
            ServerMessage::Status { .. } | ServerMessage::Pong { .. } => {}
            other => tell(out, &format!("over {other:?}")),
        }
    }
}

impl Lines {
    fn write(&mut self, key: Bytes, value: Bytes) -> Next {
        self.requests += 1;
        let acked_below = RequestId(self.requests - self.writing);
        self.writing += 1;
        let flags = Flags::CREATE.with(Flags::REPLACE);
        let txn = Txn::of(vec![Step::Write { key, value, offset: 0, flags }]);
        let op = OpRef::Kv(&txn).to_bytes();
        Next::Call(ClientMessage::Request { request: RequestId(self.requests), acked_below, op })
    }

    fn read(&mut self, key: Bytes) -> Next {
        self.reads += 1;
        let query = ReadQuery::Get { key, offset: 0, length_max: LINE_BYTES_MAX as u64 };
        let consistency = Consistency::Local;
        Next::Call(ClientMessage::Read { read: self.reads, consistency, query })
    }

    fn watch(&mut self, key: Bytes) -> Next {
        self.watches += 1;
        self.waiting = true;
        self.watched = Some(key.clone());
        let (watch, filter) = (WatchId(self.watches), WatchFilter::Key(key));
        let mask = EventMask::ALL;
        Next::Call(ClientMessage::Watch { watch, filter, mask, once: false, from: None })
    }
}

fn tell(out: &mut Vec<u8>, line: &str) {
    writeln!(out, "{line}").expect("memory takes it");
}

fn malformed(why: &str) -> Malformed {
    Malformed { reason: "malformed_line", why: why.to_owned() }
}
