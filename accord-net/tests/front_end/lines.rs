//! A key-value protocol in lines of text: a whole front-end, for tests.
//!
//! `session`, `attach SESSION SECRET`, `put KEY VALUE`, `get KEY`, `watch KEY`, one a line. The
//! front-end numbers requests, and names the last one in each read: the server then answers in the
//! order of the commands. `watch` reads the value and tells all that comes after it.

use accord_core::gateway::front_end::{FrontEnd, Malformed, Next};
use accord_core::gateway::message::{
    ClientMessage, Consistency, EventMask, ReadWatch, ServerMessage, WatchFilter,
};
use accord_core::gateway::numbers::Numbers;
use accord_core::holder::SessionSecret;
use accord_core::ids::{RequestId, Revision, SessionId, WatchId};
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
    /// Once there is a session.
    numbers: Option<Numbers>,
    /// The server is asked for the session, and the next line waits for it.
    beginning: bool,
    reads: u64,
}

impl FrontEnd for Lines {
    fn receive(&mut self, bytes: Bytes) {
        self.input.extend_from_slice(&bytes);
    }

    fn next(&mut self) -> Result<Next, Malformed> {
        if self.beginning {
            return Ok(Next::Word);
        }
        let Some(end) = self.input.iter().position(|byte| *byte == b'\n') else {
            return match self.input.len() > LINE_BYTES_MAX {
                true => Err(malformed("a line without an end")),
                false => Ok(Next::Bytes),
            };
        };
        let line: Vec<u8> = self.input.drain(..=end).collect();
        let line = std::str::from_utf8(&line).map_err(|_| malformed("a line that is no text"))?;
        let words: Vec<&str> = line.trim_end().split(' ').collect();
        let bytes = |word: &str| Bytes::copy_from_slice(word.as_bytes());
        match (&words[..], &mut self.numbers) {
            (["session"], None) => Ok(self.begin(ClientMessage::Open { timeout_ms: 10_000 })),
            (["attach", session, secret], None) => {
                let session = session.parse().map_err(|_| malformed("a session that is none"))?;
                let secret = u128::from_str_radix(secret, 16);
                let secret = secret.map_err(|_| malformed("a secret that is none"))?;
                let (session, secret) = (SessionId(session), SessionSecret(secret.to_be_bytes()));
                Ok(self.begin(ClientMessage::Attach { session, secret, seen: Revision(0) }))
            }
            (["put", key, value], Some(numbers)) => write(numbers, bytes(key), bytes(value)),
            (["get", key], Some(numbers)) => {
                let after = numbers.given();
                Ok(self.read(bytes(key), after, false))
            }
            (["watch", key], Some(numbers)) => {
                let after = numbers.given();
                Ok(self.read(bytes(key), after, true))
            }
            _ => Err(malformed("a line that is no command, or needs a session")),
        }
    }

    fn say(&mut self, message: &ServerMessage, out: &mut Vec<u8>) {
        match message {
            ServerMessage::Opened { session, secret, .. } => {
                (self.beginning, self.numbers) = (false, Some(Numbers::new(1)));
                let secret = u128::from_be_bytes(secret.0);
                tell(out, &format!("session {} {secret:x}", session.0));
            }
            ServerMessage::Attached { generation, .. } => {
                (self.beginning, self.numbers) = (false, Some(Numbers::new(*generation)));
                tell(out, "attached");
            }
            ServerMessage::Reply { request, outcome } => {
                self.note_answer(*request);
                match outcome {
                    Outcome::Txn(TxnOutcome::Committed { .. }) => tell(out, "ok"),
                    other => tell(out, &format!("failed {other:?}")),
                }
            }
            ServerMessage::RequestRefused { request, reason } => {
                self.note_answer(*request);
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
    const fn begin(&mut self, call: ClientMessage) -> Next {
        self.beginning = true;
        Next::Call(call)
    }

    fn note_answer(&mut self, request: RequestId) {
        self.numbers.iter_mut().for_each(|numbers| numbers.note_answer(request));
    }

    fn read(&mut self, key: Bytes, after: RequestId, watches: bool) -> Next {
        self.reads += 1;
        let (watch, filter) = (WatchId(self.reads), WatchFilter::Key(key.clone()));
        let watch = ReadWatch { watch, filter, mask: EventMask::ALL, once: false };
        let (read, after, watch) = (self.reads, Some(after), watches.then(|| Box::new(watch)));
        let query = ReadQuery::Get { key, offset: 0, length_max: LINE_BYTES_MAX as u64 };
        let consistency = Consistency::Local;
        Next::Call(ClientMessage::Read { read, consistency, after, watch, query })
    }
}

fn write(numbers: &mut Numbers, key: Bytes, value: Bytes) -> Result<Next, Malformed> {
    let given = numbers.give().ok_or_else(|| malformed("more requests than numbers"))?;
    let flags = Flags::CREATE.with(Flags::REPLACE);
    let txn = Txn::of(vec![Step::Write { key, value, offset: 0, flags }]);
    let ((request, acked_below), op) = (given, OpRef::Kv(&txn).to_bytes());
    Ok(Next::Call(ClientMessage::Request { request, acked_below, op }))
}

fn tell(out: &mut Vec<u8>, line: &str) {
    writeln!(out, "{line}").expect("memory takes it");
}

fn malformed(why: &str) -> Malformed {
    Malformed { reason: "malformed_line", why: why.to_owned() }
}
