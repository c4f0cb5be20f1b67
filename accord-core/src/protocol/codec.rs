//! Messages as bytes: version, tag, fields. One message, one encoding; a decoder for any bytes.

use super::{
    ClientMessage, Consistency, EventMask, MESSAGE_BYTES_MAX, PROTOCOL_VERSION, ReadWatch, Refusal,
    ServerMessage, SessionEnd, SessionRefusal, WATCH_KEY_BYTES_MAX, WatchFilter,
};
use crate::ids::{RequestId, Revision, SessionId};
use crate::state::{Event, Op, ReadQuery};
use crate::wire::{Decode, Encode, Reader, WireError, Writer};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;

/// A client's message as the payload of one frame.
pub fn encode_client(message: &ClientMessage) -> Bytes {
    sealed(message)
}

/// A server's message as the payload of one frame.
pub fn encode_server(message: &ServerMessage) -> Bytes {
    sealed(message)
}

/// Appends a client's message, as the payload of one frame, to `out`.
pub fn encode_client_into(message: &ClientMessage, out: &mut Writer) {
    seal_into(message, out);
}

/// Appends a server's message, as the payload of one frame, to `out`.
pub fn encode_server_into(message: &ServerMessage, out: &mut Writer) {
    seal_into(message, out);
}

/// Reads what a client sent as the payload of one frame. Byte strings share the payload's memory.
///
/// # Errors
/// A [`WireError`] if the bytes are not exactly one message of this version.
pub fn decode_client(payload: &Bytes) -> Result<ClientMessage, WireError> {
    opened(payload)
}

/// Reads what a server sent as the payload of one frame. Byte strings share the payload's memory.
///
/// # Errors
/// A [`WireError`] if the bytes are not exactly one message of this version.
pub fn decode_server(payload: &Bytes) -> Result<ServerMessage, WireError> {
    opened(payload)
}

fn sealed(message: &impl Encode) -> Bytes {
    let mut out = Writer::new();
    seal_into(message, &mut out);
    out.finish()
}

fn seal_into(message: &impl Encode, out: &mut Writer) {
    out.u8(PROTOCOL_VERSION);
    message.encode(out);
}

fn opened<T: Decode>(payload: &Bytes) -> Result<T, WireError> {
    if payload.len() > MESSAGE_BYTES_MAX {
        return Err(WireError::OverLimit {
            what: "message",
            found: payload.len() as u64,
            max: MESSAGE_BYTES_MAX as u64,
        });
    }
    let mut input = Reader::new(payload.clone());
    input.version(PROTOCOL_VERSION)?;
    let message = T::decode(&mut input)?;
    input.finish()?;
    Ok(message)
}

/// The most members or events in one message; what fits into a message is fewer.
const ITEMS_MAX: usize = MESSAGE_BYTES_MAX;

mod tag {
    pub(super) const OPEN: u8 = 1;
    pub(super) const ATTACH: u8 = 2;
    pub(super) const CLOSE: u8 = 3;
    pub(super) const REQUEST: u8 = 4;
    pub(super) const READ: u8 = 5;
    pub(super) const WATCH: u8 = 6;
    pub(super) const UNWATCH: u8 = 7;
    pub(super) const PING: u8 = 8;

    pub(super) const OPENED: u8 = 65;
    pub(super) const ATTACHED: u8 = 66;
    pub(super) const SESSION_REFUSED: u8 = 67;
    pub(super) const SESSION_CLOSED: u8 = 68;
    pub(super) const REPLY: u8 = 69;
    pub(super) const REQUEST_REFUSED: u8 = 70;
    pub(super) const READ_REPLY: u8 = 71;
    pub(super) const READ_REFUSED: u8 = 72;
    pub(super) const WATCHING: u8 = 73;
    pub(super) const WATCH_REFUSED: u8 = 74;
    pub(super) const EVENTS: u8 = 75;
    pub(super) const WATCH_LOST: u8 = 76;
    pub(super) const STATUS: u8 = 77;
    pub(super) const PONG: u8 = 78;
}

impl Encode for ClientMessage {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Open { timeout_ms } => {
                out.u8(tag::OPEN);
                out.varint(u64::from(*timeout_ms));
            }
            Self::Attach { session, secret, seen } => {
                out.u8(tag::ATTACH);
                session.encode(out);
                secret.encode(out);
                seen.encode(out);
            }
            Self::Close => out.u8(tag::CLOSE),
            Self::Request { request, acked_below, op } => {
                out.u8(tag::REQUEST);
                request.encode(out);
                acked_below.encode(out);
                out.raw(op);
            }
            Self::Read { read, consistency, after, watch, query } => {
                out.u8(tag::READ);
                out.varint(*read);
                out.u8(*consistency as u8);
                out.bool(after.is_some());
                after.iter().for_each(|after| after.encode(out));
                out.bool(watch.is_some());
                watch.iter().for_each(|watch| watch.encode(out));
                query.encode(out);
            }
            Self::Watch { watch, filter, mask, once, from } => {
                out.u8(tag::WATCH);
                watch.encode(out);
                filter.encode(out);
                out.u8(mask.bits());
                out.bool(*once);
                out.bool(from.is_some());
                from.iter().for_each(|from| from.encode(out));
            }
            Self::Unwatch { watch } => {
                out.u8(tag::UNWATCH);
                watch.encode(out);
            }
            Self::Ping { nonce } => {
                out.u8(tag::PING);
                out.varint(*nonce);
            }
        }
    }
}

impl Decode for ClientMessage {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(match input.u8()? {
            tag::OPEN => Self::Open { timeout_ms: input.varint_u32("timeout_ms")? },
            tag::ATTACH => Self::Attach {
                session: Decode::decode(input)?,
                secret: Decode::decode(input)?,
                seen: Decode::decode(input)?,
            },
            tag::CLOSE => Self::Close,
            tag::REQUEST => Self::Request {
                request: Decode::decode(input)?,
                acked_below: Decode::decode(input)?,
                op: decode_op(input)?,
            },
            tag::READ => Self::Read {
                read: input.varint()?,
                consistency: Decode::decode(input)?,
                after: if input.bool()? { Some(RequestId::decode(input)?) } else { None },
                watch: if input.bool()? { Some(Box::new(ReadWatch::decode(input)?)) } else { None },
                query: decode_query(input)?,
            },
            tag::WATCH => Self::Watch {
                watch: Decode::decode(input)?,
                filter: Decode::decode(input)?,
                mask: Decode::decode(input)?,
                once: input.bool()?,
                from: if input.bool()? { Some(Revision::decode(input)?) } else { None },
            },
            tag::UNWATCH => Self::Unwatch { watch: Decode::decode(input)? },
            tag::PING => Self::Ping { nonce: input.varint()? },
            found => return Err(unknown("client message", found)),
        })
    }
}

impl Encode for ReadWatch {
    fn encode(&self, out: &mut Writer) {
        self.watch.encode(out);
        self.filter.encode(out);
        out.u8(self.mask.bits());
        out.bool(self.once);
    }
}

impl Decode for ReadWatch {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            watch: Decode::decode(input)?,
            filter: Decode::decode(input)?,
            mask: Decode::decode(input)?,
            once: input.bool()?,
        })
    }
}

impl Encode for WatchFilter {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Key(key) => {
                out.u8(1);
                out.bytes(key);
            }
            Self::Prefix(prefix) => {
                out.u8(2);
                out.bytes(prefix);
            }
            Self::Members => out.u8(3),
        }
    }
}

impl Decode for WatchFilter {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(match input.u8()? {
            1 => Self::Key(input.bytes("key", WATCH_KEY_BYTES_MAX)?),
            2 => Self::Prefix(input.bytes("prefix", WATCH_KEY_BYTES_MAX)?),
            3 => Self::Members,
            found => return Err(unknown("watch filter", found)),
        })
    }
}

impl Decode for EventMask {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Self::from_bits(input.u8()?).ok_or(WireError::Invalid { what: "event mask" })
    }
}

impl Encode for ServerMessage {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Opened { session, secret, timeout_ms, revision } => {
                out.u8(tag::OPENED);
                session.encode(out);
                secret.encode(out);
                out.varint(u64::from(*timeout_ms));
                revision.encode(out);
            }
            Self::Attached { session, timeout_ms, generation, revision } => {
                out.u8(tag::ATTACHED);
                session.encode(out);
                out.varint(u64::from(*timeout_ms));
                out.varint(u64::from(*generation));
                revision.encode(out);
            }
            Self::SessionRefused { reason } => out.raw(&[tag::SESSION_REFUSED, *reason as u8]),
            Self::SessionClosed { reason } => out.raw(&[tag::SESSION_CLOSED, *reason as u8]),
            Self::Status { primary } => out.raw(&[tag::STATUS, u8::from(*primary)]),
            Self::Pong { nonce, revision } => {
                out.u8(tag::PONG);
                out.varint(*nonce);
                revision.encode(out);
            }
            Self::Reply { .. }
            | Self::RequestRefused { .. }
            | Self::ReadReply { .. }
            | Self::ReadRefused { .. } => encode_answer(self, out),
            Self::Watching { .. }
            | Self::WatchRefused { .. }
            | Self::Events { .. }
            | Self::WatchLost { .. } => encode_watch(self, out),
        }
    }
}

fn encode_answer(message: &ServerMessage, out: &mut Writer) {
    match message {
        ServerMessage::Reply { request, outcome } => {
            out.u8(tag::REPLY);
            request.encode(out);
            outcome.encode(out);
        }
        ServerMessage::RequestRefused { request, reason } => {
            out.u8(tag::REQUEST_REFUSED);
            request.encode(out);
            out.u8(*reason as u8);
        }
        ServerMessage::ReadReply { read, revision, result } => {
            out.u8(tag::READ_REPLY);
            out.varint(*read);
            revision.encode(out);
            result.encode(out);
        }
        ServerMessage::ReadRefused { read, reason } => {
            out.u8(tag::READ_REFUSED);
            out.varint(*read);
            out.u8(*reason as u8);
        }
        _ => unreachable!("only answers are encoded here"),
    }
}

fn encode_watch(message: &ServerMessage, out: &mut Writer) {
    match message {
        ServerMessage::Watching { watch, from, members } => {
            out.u8(tag::WATCHING);
            watch.encode(out);
            from.encode(out);
            out.bool(members.is_some());
            if let Some(members) = members {
                out.varint(members.len() as u64);
                members.iter().for_each(|session| session.encode(out));
            }
        }
        ServerMessage::WatchRefused { watch, reason } => {
            out.u8(tag::WATCH_REFUSED);
            watch.encode(out);
            out.u8(*reason as u8);
        }
        ServerMessage::Events { watch, revision, events } => {
            out.u8(tag::EVENTS);
            watch.encode(out);
            revision.encode(out);
            out.varint(events.len() as u64);
            events.iter().for_each(|event| event.encode(out));
        }
        ServerMessage::WatchLost { watch, oldest } => {
            out.u8(tag::WATCH_LOST);
            watch.encode(out);
            oldest.encode(out);
        }
        _ => unreachable!("only messages about watches are encoded here"),
    }
}

impl Decode for ServerMessage {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(match input.u8()? {
            tag::OPENED => Self::Opened {
                session: Decode::decode(input)?,
                secret: Decode::decode(input)?,
                timeout_ms: input.varint_u32("timeout_ms")?,
                revision: Decode::decode(input)?,
            },
            tag::ATTACHED => Self::Attached {
                session: Decode::decode(input)?,
                timeout_ms: input.varint_u32("timeout_ms")?,
                generation: input.varint_u32("generation")?,
                revision: Decode::decode(input)?,
            },
            tag::SESSION_REFUSED => Self::SessionRefused { reason: Decode::decode(input)? },
            tag::SESSION_CLOSED => Self::SessionClosed { reason: Decode::decode(input)? },
            tag::STATUS => Self::Status { primary: input.bool()? },
            tag::PONG => Self::Pong { nonce: input.varint()?, revision: Decode::decode(input)? },
            tag::REPLY => {
                Self::Reply { request: Decode::decode(input)?, outcome: Decode::decode(input)? }
            }
            tag::REQUEST_REFUSED => Self::RequestRefused {
                request: Decode::decode(input)?,
                reason: Decode::decode(input)?,
            },
            tag::READ_REPLY => Self::ReadReply {
                read: input.varint()?,
                revision: Decode::decode(input)?,
                result: Decode::decode(input)?,
            },
            tag::READ_REFUSED => {
                Self::ReadRefused { read: input.varint()?, reason: Decode::decode(input)? }
            }
            tag => return decode_watch(tag, input),
        })
    }
}

fn decode_watch(tag: u8, input: &mut Reader) -> Result<ServerMessage, WireError> {
    Ok(match tag {
        tag::WATCHING => ServerMessage::Watching {
            watch: Decode::decode(input)?,
            from: Decode::decode(input)?,
            members: if input.bool()? { Some(decode_members(input)?) } else { None },
        },
        tag::WATCH_REFUSED => ServerMessage::WatchRefused {
            watch: Decode::decode(input)?,
            reason: Decode::decode(input)?,
        },
        tag::EVENTS => {
            let watch = Decode::decode(input)?;
            let revision = Decode::decode(input)?;
            ServerMessage::Events { watch, revision, events: decode_events(revision, input)? }
        }
        tag::WATCH_LOST => ServerMessage::WatchLost {
            watch: Decode::decode(input)?,
            oldest: Decode::decode(input)?,
        },
        found => return Err(unknown("server message", found)),
    })
}

fn decode_members(input: &mut Reader) -> Result<Vec<SessionId>, WireError> {
    let count = input.count("members", ITEMS_MAX, 1)?;
    (0..count).map(|_| SessionId::decode(input)).collect()
}

/// Reads the events of one revision: at least one, and all of that revision.
fn decode_events(revision: Revision, input: &mut Reader) -> Result<Arc<[Event]>, WireError> {
    const EVENT_BYTES_MIN: usize = 4;
    let count = input.count("events", ITEMS_MAX, EVENT_BYTES_MIN)?;
    // An event in memory is larger than its shortest encoding: let the vector grow with the input.
    let mut events = Vec::new();
    for _ in 0..count {
        let event = Event::decode(input)?;
        if event.revision() != revision {
            return Err(WireError::Invalid { what: "event revision" });
        }
        events.push(event);
    }
    if events.is_empty() {
        return Err(WireError::Invalid { what: "event count" });
    }
    Ok(Arc::from(events))
}

fn unknown(what: &'static str, tag: u8) -> WireError {
    WireError::UnknownTag { what, tag: u64::from(tag) }
}

macro_rules! decode_unit_enum {
    ($($name:ident, $what:literal: $($variant:ident),+;)*) => {$(
        impl Decode for $name {
            fn decode(input: &mut Reader) -> Result<Self, WireError> {
                let found = input.u8()?;
                $(if found == $name::$variant as u8 { return Ok($name::$variant); })+
                Err(unknown($what, found))
            }
        }
    )*};
}
decode_unit_enum! {
    Consistency, "consistency": Linearizable, Local;
    SessionRefusal, "session refusal": Unknown, TooMany, Busy;
    SessionEnd, "session end": Closed, Expired, Moved, Gone;
    Refusal, "refusal": TooManyOutstanding, TooManyBytes, TooLarge, Busy, NotPrimary, TooManyReads,
        TooManyWatches, WatchInUse, KeyTooLong;
}

/// Reads an operation up to the end of a message, unless it names identities: clients of this
/// protocol have none, and may not say whose they are.
fn decode_op(input: &mut Reader) -> Result<Bytes, WireError> {
    let op = input.rest();
    if Op::names_identities(&op) { Err(IDENTITIES) } else { Ok(op) }
}

/// As [`decode_op`], of a question.
fn decode_query(input: &mut Reader) -> Result<ReadQuery, WireError> {
    let query = ReadQuery::decode(input)?;
    if query.names_identities() { Err(IDENTITIES) } else { Ok(query) }
}

const IDENTITIES: WireError = WireError::Invalid { what: "identities of a client" };
