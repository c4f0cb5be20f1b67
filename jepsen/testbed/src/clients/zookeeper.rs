//! ZooKeeper's client protocol, as far as it is needed here.
//!
//! Replies come in the order of the requests (but for pings and events, which have numbers of their
//! own), so that those under way are a queue. Every reply's number and form is checked. A
//! linearizable read is a sync and a read sent together, as ZooKeeper's guide has it.

use super::jute::{JuteReader, JuteWrite, Stat, frame};
use super::{Broken, Machine, Received};
use bytes::Bytes;
use std::collections::VecDeque;

/// How long a session may be silent, in milliseconds.
pub const SESSION_MS: i32 = 30_000;
/// The version of a record, whatever it is.
pub const ANY_VERSION: i32 = -1;
/// The longest frame that is believed.
const FRAME_BYTES_MAX: usize = 64 << 20;

mod op {
    pub(super) const CREATE: i32 = 1;
    pub(super) const DELETE: i32 = 2;
    pub(super) const EXISTS: i32 = 3;
    pub(super) const GET: i32 = 4;
    pub(super) const SET: i32 = 5;
    pub(super) const SYNC: i32 = 9;
    pub(super) const PING: i32 = 11;
    pub(super) const CHECK: i32 = 13;
    pub(super) const MULTI: i32 = 14;
    pub(super) const CLOSE: i32 = -11;
    pub(super) const ERROR: i32 = -1;
}

const PING_XID: i32 = -2;
const EVENT_XID: i32 = -1;
/// The state of a session, in events, in which it goes on.
const CONNECTED: i32 = 3;

/// An error of ZooKeeper's, as its protocol numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub i32);

impl Code {
    /// There is no such record.
    pub const NO_NODE: Self = Self(-101);
    /// The record has another version.
    pub const BAD_VERSION: Self = Self(-103);
    /// The record exists already.
    pub const NODE_EXISTS: Self = Self(-110);
    /// A step was not carried out since another one of its transaction failed.
    pub const ROLLED_BACK: Self = Self(-2);
}

/// A change of a record, alone or in a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Create a record.
    Create {
        /// Its path.
        path: Bytes,
        /// Its value.
        data: Bytes,
    },
    /// Remove a record.
    Delete {
        /// Its path.
        path: Bytes,
        /// The version that it must have, or [`ANY_VERSION`].
        version: i32,
    },
    /// Replace a value.
    Set {
        /// The record's path.
        path: Bytes,
        /// Its new value.
        data: Bytes,
        /// The version that it must have, or [`ANY_VERSION`].
        version: i32,
    },
    /// Change nothing, but fail if the record has another version. In transactions alone.
    Check {
        /// The record's path.
        path: Bytes,
        /// The version that it must have.
        version: i32,
    },
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A change.
    Change(Change),
    /// Several changes, all or none.
    Multi(Vec<Change>),
    /// Read a record.
    Get {
        /// Its path.
        path: Bytes,
    },
    /// Tell of the next change of a record.
    Watch {
        /// Its path.
        path: Bytes,
    },
    /// Have the server catch up with the leader before what is asked next.
    Sync {
        /// Any path.
        path: Bytes,
    },
}

/// What is replied to a request that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It was done.
    Done,
    /// The value that was read, and its version.
    Data(Bytes, Stat),
}

/// One session of ZooKeeper.
#[derive(Debug)]
pub struct ZooKeeperMachine {
    /// What arrived of the next frame.
    input: Vec<u8>,
    ready: bool,
    closing: bool,
    next_xid: i32,
    asked: VecDeque<Asked>,
    last_sent_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    xid: i32,
    tag: Option<u64>,
    kind: Kind,
}

/// The form of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A path.
    Path,
    /// A Stat.
    Stat,
    /// A value and a Stat.
    Data,
    /// Nothing.
    Empty,
    /// Results of a transaction.
    Multi,
}

impl ZooKeeperMachine {
    /// A client that is about to connect; what it says first goes to `out`.
    pub fn new(now_ns: u64, out: &mut Vec<u8>) -> Self {
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
            last_sent_ns: now_ns,
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

    fn on_connected(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let mut reader = JuteReader::new(bytes);
        let (_version, timeout, session) = (reader.int()?, reader.int()?, reader.long()?);
        reader.buffer()?;
        if timeout <= 0 || session == 0 {
            return Err(Broken::because("ZooKeeper did not open a session"));
        }
        self.ready = true;
        Ok(())
    }

    fn on_frame(
        &mut self,
        bytes: &[u8],
        received: &mut Received<Result<Reply, Code>>,
    ) -> Result<(), Broken> {
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
            received.events += 1;
            return match state {
                CONNECTED => Ok(()),
                state => Err(Broken(format!("ZooKeeper: an event says session state {state}"))),
            };
        }
        let Some(asked) = self.asked.pop_front().filter(|asked| asked.xid == xid) else {
            return Err(Broken(format!("ZooKeeper: reply {xid} is not to the oldest request")));
        };
        let reply = match error {
            0 => read_reply(asked.kind, reader)?,
            error => Err(Code(error)),
        };
        if let Some(tag) = asked.tag {
            received.replies.push((tag, reply));
        }
        Ok(())
    }
}

/// Reads the rest of a good reply. A transaction that failed is found out only here.
fn read_reply(kind: Kind, mut reader: JuteReader<'_>) -> Result<Result<Reply, Code>, Broken> {
    let reply = match kind {
        Kind::Empty => Ok(Reply::Done),
        Kind::Path => reader.buffer().map(|_| Ok(Reply::Done))?,
        Kind::Stat => reader.stat().map(|_| Ok(Reply::Done))?,
        Kind::Data => {
            let value = reader.buffer()?;
            Ok(Reply::Data(value, reader.stat()?))
        }
        Kind::Multi => read_multi(&mut reader)?.map(|()| Reply::Done),
    };
    reader.finish()?;
    Ok(reply)
}

/// Reads the results of a transaction. Of one that failed it is the error of the step that failed:
/// those before it say 0, and those behind it [`Code::ROLLED_BACK`].
fn read_multi(reader: &mut JuteReader<'_>) -> Result<Result<(), Code>, Broken> {
    let mut failed = None;
    loop {
        let (code, done, _error) = (reader.int()?, reader.boolean()?, reader.int()?);
        match code {
            _ if done => return Ok(failed.map_or(Ok(()), Err)),
            op::CREATE => drop(reader.buffer()?),
            op::SET => drop(reader.stat()?),
            op::DELETE | op::CHECK => {}
            op::ERROR => {
                let error = Code(reader.int()?);
                let known = failed.unwrap_or(Code::ROLLED_BACK);
                let tells = known == Code::ROLLED_BACK && error != Code(0);
                failed = Some(if tells { error } else { known });
            }
            code => return Err(Broken(format!("ZooKeeper: a transaction has a result {code}"))),
        }
    }
}

fn write_change(out: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Create { path, data } => {
            const ALL: i32 = 31;
            out.buffer(path);
            out.buffer(data);
            out.int(1);
            out.int(ALL);
            out.buffer(b"world");
            out.buffer(b"anyone");
            out.int(0);
        }
        Change::Set { path, data, version } => {
            out.buffer(path);
            out.buffer(data);
            out.int(*version);
        }
        Change::Delete { path, version } | Change::Check { path, version } => {
            out.buffer(path);
            out.int(*version);
        }
    }
}

impl Change {
    const fn code(&self) -> i32 {
        match self {
            Self::Create { .. } => op::CREATE,
            Self::Delete { .. } => op::DELETE,
            Self::Set { .. } => op::SET,
            Self::Check { .. } => op::CHECK,
        }
    }

    const fn kind(&self) -> Kind {
        match self {
            Self::Create { .. } => Kind::Path,
            Self::Set { .. } => Kind::Stat,
            Self::Delete { .. } | Self::Check { .. } => Kind::Empty,
        }
    }
}

fn write_multi(out: &mut Vec<u8>, changes: &[Change]) {
    let head = |out: &mut Vec<u8>, code, done| {
        out.int(code);
        out.boolean(done);
        out.int(-1);
    };
    for change in changes {
        head(out, change.code(), false);
        write_change(out, change);
    }
    head(out, -1, true);
}

impl Machine for ZooKeeperMachine {
    type Request = Request;
    type Reply = Result<Reply, Code>;

    fn is_ready(&self) -> bool {
        self.ready
    }

    fn ask(
        &mut self,
        now_ns: u64,
        tag: Option<u64>,
        request: Request,
        out: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        self.last_sent_ns = now_ns;
        match request {
            Request::Change(change) => {
                let write = |out: &mut Vec<u8>| write_change(out, &change);
                self.send((tag, change.kind(), change.code()), out, write);
            }
            Request::Multi(changes) => {
                let write = |out: &mut Vec<u8>| write_multi(out, &changes);
                self.send((tag, Kind::Multi, op::MULTI), out, write);
            }
            Request::Get { path } => self.send((tag, Kind::Data, op::GET), out, |out| {
                out.buffer(&path);
                out.boolean(false);
            }),
            Request::Watch { path } => self.send((tag, Kind::Stat, op::EXISTS), out, |out| {
                out.buffer(&path);
                out.boolean(true);
            }),
            Request::Sync { path } => {
                self.send((tag, Kind::Path, op::SYNC), out, |out| out.buffer(&path));
            }
        }
        Ok(())
    }

    fn receive(
        &mut self,
        bytes: &[u8],
        received: &mut Received<Self::Reply>,
    ) -> Result<(), Broken> {
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(bytes);
        let mut rest = &input[..];
        while let Some((head, after)) = rest.split_first_chunk::<4>() {
            let length = usize::try_from(i32::from_be_bytes(*head)).ok();
            let length = length.filter(|length| *length <= FRAME_BYTES_MAX).ok_or_else(|| {
                Broken::because("ZooKeeper: a frame of less than nothing, or of too much")
            })?;
            let Some((body, after)) = after.split_at_checked(length) else { break };
            self.on_frame(body, received)?;
            rest = after;
        }
        let kept = rest.len();
        let done = input.len() - kept;
        input.drain(..done);
        self.input = input;
        Ok(())
    }

    fn tick(&mut self, now_ns: u64, out: &mut Vec<u8>) {
        let idle_ns = now_ns.saturating_sub(self.last_sent_ns);
        if self.ready && !self.closing && idle_ns > SESSION_MS as u64 * 1_000_000 / 3 {
            self.last_sent_ns = now_ns;
            frame(out, |out| {
                out.int(PING_XID);
                out.int(op::PING);
            });
        }
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        self.closing = true;
        self.send((None, Kind::Empty, op::CLOSE), out, |_| ());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ready() -> ZooKeeperMachine {
        let mut out = Vec::new();
        let mut machine = ZooKeeperMachine::new(0, &mut out);
        assert_eq!(out.len(), 4 + 45);
        let mut opened = Vec::new();
        frame(&mut opened, |out| {
            out.int(0);
            out.int(SESSION_MS);
            out.long(77);
            out.buffer(&[1; 16]);
            out.boolean(false);
        });
        machine.receive(&opened, &mut Received::default()).unwrap();
        assert!(machine.is_ready());
        machine
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

    fn value(bytes: &[u8], version: i32) -> Vec<u8> {
        let mut body = Vec::new();
        body.buffer(bytes);
        body.extend_from_slice(&[0; 32]);
        body.int(version);
        body.extend_from_slice(&[0; 32]);
        body
    }

    const PATH: Bytes = Bytes::from_static(b"/k");

    #[test]
    fn replies_are_matched_however_the_stream_is_torn() {
        let mut machine = ready();
        let mut out = Vec::new();
        let set = Change::Set { path: PATH, data: "v".into(), version: ANY_VERSION };
        machine.ask(0, Some(10), Request::Change(set), &mut out).unwrap();
        machine.ask(0, None, Request::Sync { path: PATH }, &mut out).unwrap();
        machine.ask(0, Some(11), Request::Get { path: PATH }, &mut out).unwrap();
        let mut sync = Vec::new();
        sync.buffer(b"/k");
        let stream = [
            reply(1, 0, &[0; 68]),
            reply(PING_XID, 0, &[]),
            reply(2, 0, &sync),
            reply(3, 0, &value(b"v", 3)),
        ]
        .concat();
        let mut received = Received::default();
        for byte in stream {
            machine.receive(&[byte], &mut received).unwrap();
        }
        let read = Reply::Data("v".into(), Stat { version: 3 });
        assert_eq!(received.replies, [(10, Ok(Reply::Done)), (11, Ok(read))]);
    }

    #[test]
    fn an_error_is_a_reply_and_strange_numbers_and_forms_break_the_connection() {
        let receive = |bytes: &[u8]| {
            let mut machine = ready();
            machine.ask(0, Some(1), Request::Get { path: PATH }, &mut Vec::new()).unwrap();
            let mut received = Received::default();
            machine.receive(bytes, &mut received).map(|()| received.replies)
        };
        assert_eq!(receive(&reply(1, -101, &[])), Ok(vec![(1, Err(Code::NO_NODE))]));
        for bytes in [
            reply(2, 0, &value(b"v", 0)),
            reply(1, 0, b"short"),
            reply(1, 0, &[value(b"v", 0), vec![0]].concat()),
            i32::MAX.to_be_bytes().to_vec(),
        ] {
            assert!(receive(&bytes).is_err(), "{bytes:?}");
        }
    }

    fn multi(results: &[(i32, &[u8])]) -> Result<Result<(), Code>, Broken> {
        let mut body = Vec::new();
        for (code, more) in results {
            body.int(*code);
            body.boolean(false);
            body.int(0);
            body.extend_from_slice(more);
        }
        body.int(-1);
        body.boolean(true);
        body.int(-1);
        read_multi(&mut JuteReader::new(&body))
    }

    #[test]
    fn a_transaction_fails_with_the_error_of_the_step_that_failed() {
        let error = |code: i32| code.to_be_bytes();
        assert_eq!(multi(&[(op::SET, &[0; 68]), (op::CHECK, &[])]), Ok(Ok(())));
        let failed =
            [(op::ERROR, &error(0)[..]), (op::ERROR, &error(-103)), (op::ERROR, &error(-2))];
        assert_eq!(multi(&failed), Ok(Err(Code::BAD_VERSION)));
        assert!(multi(&[(99, &[])]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_replies_or_break_the_connection(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut machine = ready();
            let changes = vec![Change::Delete { path: PATH, version: 1 }];
            machine.ask(0, Some(1), Request::Multi(changes), &mut Vec::new()).unwrap();
            let _ = machine.receive(&bytes, &mut Received::default());
        }
    }
}
