//! ZooKeeper: its client protocol, as far as the workloads need it.
//!
//! Answers come in the order of the requests (but for pings and events, which have numbers of their
//! own), so that those under way are a queue. Every answer's number, error and form is checked. A
//! linearizable read is a sync and a read sent together, as ZooKeeper's guide has it.

use super::jute::{JuteReader, JuteWrite, frame};
use super::{Connection, Exchange};
use crate::failure::{Failure, Result, wrong};
use crate::workload::{Answer, Ask};
use bytes::Bytes;
use std::collections::VecDeque;

/// How long a session may be silent, in milliseconds.
const SESSION_MS: i32 = 30_000;
mod op {
    pub(super) const CREATE: i32 = 1;
    pub(super) const DELETE: i32 = 2;
    pub(super) const EXISTS: i32 = 3;
    pub(super) const GET: i32 = 4;
    pub(super) const SET: i32 = 5;
    pub(super) const SYNC: i32 = 9;
    pub(super) const PING: i32 = 11;
    pub(super) const MULTI: i32 = 14;
    pub(super) const CLOSE: i32 = -11;
}

/// Whatever the record's version is.
const ANY_VERSION: i32 = -1;
const PING_XID: i32 = -2;
const EVENT_XID: i32 = -1;
const NODE_EXISTS: i32 = -110;

/// One session of ZooKeeper.
#[derive(Debug)]
pub struct ZookeeperConnection {
    /// What arrived of the next frame.
    input: Vec<u8>,
    ready: bool,
    closing: bool,
    next_xid: i32,
    asked: VecDeque<Asked>,
    last_sent: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    xid: i32,
    /// None: part of another request, whose answer follows.
    tag: Option<u64>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ensure,
    Create,
    Delete,
    Set,
    Get,
    Sync,
    Exists,
    Multi,
    Close,
}

impl ZookeeperConnection {
    /// A client that is about to connect; what it says first goes to `out`.
    pub fn new(now: u64, out: &mut Vec<u8>) -> Self {
        frame(out, |out| {
            out.int(0);
            out.long(0);
            out.int(SESSION_MS);
            out.long(0);
            out.buffer(&[0; 16]);
            out.boolean(false);
        });
        Self {
            input: Vec::new(),
            ready: false,
            closing: false,
            next_xid: 1,
            asked: VecDeque::new(),
            last_sent: now,
        }
    }

    fn send(
        &mut self,
        (tag, kind, code): (Option<u64>, Kind, i32),
        out: &mut Vec<u8>,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        let xid = self.next_xid;
        self.next_xid = self.next_xid.wrapping_add(1).max(1);
        self.asked.push_back(Asked { xid, tag, kind });
        frame(out, |out| {
            out.int(xid);
            out.int(code);
            body(out);
        });
    }

    fn on_connected(&mut self, bytes: &[u8]) -> Result<()> {
        let mut reader = JuteReader::new(bytes);
        let (_version, timeout, session) = (reader.int()?, reader.int()?, reader.long()?);
        reader.buffer()?;
        if timeout <= 0 || session == 0 {
            return Err(wrong("ZooKeeper did not open a session"));
        }
        self.ready = true;
        Ok(())
    }

    fn on_frame(&mut self, bytes: &[u8], io: &mut Exchange) -> Result<()> {
        if !self.ready {
            return self.on_connected(bytes);
        }
        let mut reader = JuteReader::new(bytes);
        let (xid, _zxid, error) = (reader.int()?, reader.long()?, reader.int()?);
        if xid == PING_XID {
            return Ok(());
        }
        if xid == EVENT_XID {
            let (_kind, state, _path) = (reader.int()?, reader.int()?, reader.buffer()?);
            io.events += 1;
            return match state {
                3 => Ok(()),
                state => Err(wrong(format!("ZooKeeper: an event says session state {state}"))),
            };
        }
        let Some(asked) = self.asked.pop_front().filter(|asked| asked.xid == xid) else {
            return Err(wrong(format!("ZooKeeper: answer {xid} is not to the oldest request")));
        };
        if error != 0 && (asked.kind, error) != (Kind::Ensure, NODE_EXISTS) {
            return Err(Failure::Refused(format!("error {error} for {:?}", asked.kind)));
        }
        let answer = if error == 0 { read_answer(asked.kind, reader)? } else { Answer::Written };
        if let Some(tag) = asked.tag {
            io.answers.push((tag, answer));
        }
        Ok(())
    }
}

/// Reads the rest of a good answer.
fn read_answer(kind: Kind, mut reader: JuteReader<'_>) -> Result<Answer> {
    let answer = match kind {
        Kind::Ensure | Kind::Create | Kind::Sync => {
            reader.buffer()?;
            Answer::Written
        }
        Kind::Set => {
            reader.stat()?;
            Answer::Written
        }
        Kind::Get => {
            let value = reader.buffer()?;
            reader.stat()?;
            Answer::Value(value)
        }
        Kind::Exists => {
            reader.stat()?;
            Answer::Watching
        }
        Kind::Multi => {
            read_multi(&mut reader)?;
            Answer::Written
        }
        Kind::Delete | Kind::Close => Answer::Written,
    };
    reader.finish()?;
    Ok(answer)
}

fn read_multi(reader: &mut JuteReader<'_>) -> Result<()> {
    loop {
        let (code, done, error) = (reader.int()?, reader.boolean()?, reader.int()?);
        match (code, done) {
            (_, true) => return Ok(()),
            (op::CREATE, _) => drop(reader.buffer()?),
            (op::SET, _) => reader.stat()?,
            _ => return Err(wrong(format!("ZooKeeper: a transaction failed with {error}"))),
        }
    }
}

fn write_create(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    const ALL: i32 = 31;
    out.buffer(key);
    out.buffer(value);
    out.int(1);
    out.int(ALL);
    out.buffer(b"world");
    out.buffer(b"anyone");
    out.int(0);
}

fn write_set(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    out.buffer(key);
    out.buffer(value);
    out.int(ANY_VERSION);
}

fn write_multi(out: &mut Vec<u8>, writes: &[(Bytes, Bytes)], fresh: bool) {
    let head = |out: &mut Vec<u8>, code, done| {
        out.int(code);
        out.boolean(done);
        out.int(-1);
    };
    for (key, value) in writes {
        match fresh {
            true => {
                head(out, op::CREATE, false);
                write_create(out, key, value);
            }
            false => {
                head(out, op::SET, false);
                write_set(out, key, value);
            }
        }
    }
    head(out, -1, true);
}

impl Connection for ZookeeperConnection {
    const ORDERED: bool = true;

    fn is_ready(&self) -> bool {
        self.ready
    }

    fn ask(&mut self, now: u64, tag: u64, ask: Ask, out: &mut Vec<u8>) -> Result<()> {
        self.last_sent = now;
        let tag = Some(tag);
        match ask {
            Ask::Ensure { key, value } => {
                let write = |out: &mut Vec<u8>| write_create(out, &key, &value);
                self.send((tag, Kind::Ensure, op::CREATE), out, write);
            }
            Ask::Create { key, value } => {
                let write = |out: &mut Vec<u8>| write_create(out, &key, &value);
                self.send((tag, Kind::Create, op::CREATE), out, write);
            }
            Ask::Remove { key } => {
                let write = |out: &mut Vec<u8>| {
                    out.buffer(&key);
                    out.int(ANY_VERSION);
                };
                self.send((tag, Kind::Delete, op::DELETE), out, write);
            }
            Ask::Write { key, value } => {
                let write = |out: &mut Vec<u8>| write_set(out, &key, &value);
                self.send((tag, Kind::Set, op::SET), out, write);
            }
            Ask::Transact { writes, fresh } => {
                let write = |out: &mut Vec<u8>| write_multi(out, &writes, fresh);
                self.send((tag, Kind::Multi, op::MULTI), out, write);
            }
            Ask::Read { key, linearizable } => {
                if linearizable {
                    self.send((None, Kind::Sync, op::SYNC), out, |out| out.buffer(&key));
                }
                self.send((tag, Kind::Get, op::GET), out, |out| {
                    out.buffer(&key);
                    out.boolean(false);
                });
            }
            Ask::Watch { key } => self.send((tag, Kind::Exists, op::EXISTS), out, |out| {
                out.buffer(&key);
                out.boolean(true);
            }),
        }
        Ok(())
    }

    fn receive(&mut self, _now: u64, bytes: &[u8], io: &mut Exchange) -> Result<()> {
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(bytes);
        let mut rest = &input[..];
        while let Some((head, after)) = rest.split_first_chunk::<4>() {
            let length = usize::try_from(i32::from_be_bytes(*head))
                .map_err(|_| wrong("ZooKeeper: a frame of less than nothing"))?;
            let Some((body, after)) = after.split_at_checked(length) else { break };
            self.on_frame(body, io)?;
            rest = after;
        }
        let kept = rest.len();
        let done = input.len() - kept;
        input.drain(..done);
        self.input = input;
        Ok(())
    }

    fn tick(&mut self, now: u64, out: &mut Vec<u8>) -> Result<()> {
        let idle_ns = now.saturating_sub(self.last_sent);
        if self.ready && !self.closing && idle_ns > SESSION_MS as u64 * 1_000_000 / 3 {
            self.last_sent = now;
            frame(out, |out| {
                out.int(PING_XID);
                out.int(op::PING);
            });
        }
        Ok(())
    }

    fn close(&mut self, _now: u64, out: &mut Vec<u8>) {
        self.closing = true;
        self.send((None, Kind::Close, op::CLOSE), out, |_| ());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> ZookeeperConnection {
        let mut out = Vec::new();
        let mut connection = ZookeeperConnection::new(0, &mut out);
        assert_eq!(out.len(), 4 + 45);
        let mut opened = Vec::new();
        frame(&mut opened, |out| {
            out.int(0);
            out.int(SESSION_MS);
            out.long(77);
            out.buffer(&[1; 16]);
            out.boolean(false);
        });
        connection.receive(0, &opened, &mut Exchange::default()).unwrap();
        assert!(connection.is_ready());
        connection
    }

    fn reply(xid: i32, error: i32, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        frame(&mut out, |out| {
            out.int(xid);
            out.long(5);
            out.int(error);
            out.extend_from_slice(body);
        });
        out
    }

    fn value(bytes: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        body.buffer(bytes);
        body.extend_from_slice(&[0; 68]);
        body
    }

    #[test]
    fn answers_are_matched_however_the_stream_is_torn() {
        let mut connection = ready();
        let mut out = Vec::new();
        let key = Bytes::from_static(b"/k");
        let set = Ask::Write { key: key.clone(), value: Bytes::from_static(b"v") };
        connection.ask(0, 10, set, &mut out).unwrap();
        connection.ask(0, 11, Ask::Read { key, linearizable: true }, &mut out).unwrap();
        let mut sync = Vec::new();
        sync.buffer(b"/k");
        let stream = [
            reply(1, 0, &[0; 68]),
            reply(PING_XID, 0, &[]),
            reply(2, 0, &sync),
            reply(3, 0, &value(b"v")),
        ]
        .concat();
        let mut io = Exchange::default();
        for byte in stream {
            connection.receive(0, &[byte], &mut io).unwrap();
        }
        let read = Answer::Value(Bytes::from_static(b"v"));
        assert_eq!(io.answers, [(10, Answer::Written), (11, read)]);
    }

    #[test]
    fn errors_strange_numbers_and_strange_forms_are_refused() {
        let key = Bytes::from_static(b"/k");
        for bytes in [
            reply(1, -101, &[]),
            reply(2, 0, &value(b"v")),
            reply(1, 0, b"short"),
            reply(1, 0, &[value(b"v"), vec![0]].concat()),
        ] {
            let mut connection = ready();
            let ask = Ask::Read { key: key.clone(), linearizable: false };
            connection.ask(0, 1, ask, &mut Vec::new()).unwrap();
            assert!(connection.receive(0, &bytes, &mut Exchange::default()).is_err());
        }
    }

    #[test]
    fn a_record_that_exists_is_fine_only_if_it_was_to_be_ensured() {
        let (key, value) = (Bytes::from_static(b"/k"), Bytes::from_static(b"v"));
        let ensure = Ask::Ensure { key: key.clone(), value: value.clone() };
        let create = Ask::Create { key, value };
        for (ask, fine) in [(ensure, true), (create, false)] {
            let mut connection = ready();
            connection.ask(0, 1, ask, &mut Vec::new()).unwrap();
            let exists = reply(1, NODE_EXISTS, &[]);
            assert_eq!(connection.receive(0, &exists, &mut Exchange::default()).is_ok(), fine);
        }
    }

    #[test]
    fn a_failed_transaction_is_an_error() {
        let mut body = Vec::new();
        body.int(-1);
        body.boolean(false);
        body.int(-110);
        body.int(-110);
        assert!(read_multi(&mut JuteReader::new(&body)).is_err());
        let mut body = Vec::new();
        body.int(op::SET);
        body.boolean(false);
        body.int(0);
        body.extend_from_slice(&[0; 68]);
        body.int(-1);
        body.boolean(true);
        body.int(-1);
        assert!(read_multi(&mut JuteReader::new(&body)).is_ok());
    }
}
