//! etcd's KV service over gRPC.
//!
//! gRPC is HTTP/2 with a prefix of five bytes before each message. The `h2` crate does the HTTP/2
//! over a pipe in memory, so that etcd's bytes are moved as those of the others are; the few
//! messages that are needed are written down here, after etcd's `rpc.proto`. What is sent over one
//! connection is carried out in any order.

use super::{Broken, Machine, Received};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, Stream};
use h2::client::{Builder, ResponseFuture, SendRequest};
use prost::Message;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The longest reply that is believed.
const REPLY_BYTES_MAX: usize = 64 << 20;

/// Writes a record.
#[derive(Clone, PartialEq, Message)]
pub struct PutRequest {
    /// Its key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Its value.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// Stands in every reply.
#[derive(Clone, PartialEq, Message)]
pub struct ResponseHeader {
    /// The revision of the store.
    #[prost(int64, tag = "3")]
    pub revision: i64,
}

/// The reply to a [`PutRequest`].
#[derive(Clone, PartialEq, Message)]
pub struct PutResponse {
    /// Always there.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
}

/// Reads a record: linearizable, unless it says serializable.
#[derive(Clone, PartialEq, Message)]
pub struct RangeRequest {
    /// Its key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// What one server has is enough.
    #[prost(bool, tag = "7")]
    pub serializable: bool,
}

/// A record.
#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    /// The revision that changed it last.
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    /// Its value.
    #[prost(bytes = "bytes", tag = "5")]
    pub value: Bytes,
}

/// The reply to a [`RangeRequest`].
#[derive(Clone, PartialEq, Message)]
pub struct RangeResponse {
    /// The record, if it exists.
    #[prost(message, repeated, tag = "2")]
    pub kvs: Vec<KeyValue>,
}

/// Removes a record.
#[derive(Clone, PartialEq, Message)]
pub struct DeleteRangeRequest {
    /// Its key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
}

/// The reply to a [`DeleteRangeRequest`].
#[derive(Clone, PartialEq, Message)]
pub struct DeleteRangeResponse {
    /// How many records were removed.
    #[prost(int64, tag = "2")]
    pub deleted: i64,
}

/// A condition of a transaction: what is compared must be equal.
#[derive(Clone, PartialEq, Message)]
pub struct Compare {
    /// One of etcd's targets: 2 is the revision that changed the record last, 3 its value.
    #[prost(int32, tag = "2")]
    target: i32,
    #[prost(bytes = "bytes", tag = "3")]
    key: Bytes,
    #[prost(int64, optional, tag = "6")]
    mod_revision: Option<i64>,
    #[prost(bytes = "bytes", optional, tag = "7")]
    value: Option<Bytes>,
}

impl Compare {
    /// The record was changed last by this revision; 0: it does not exist.
    pub const fn changed_by(key: Bytes, revision: i64) -> Self {
        Self { target: 2, key, mod_revision: Some(revision), value: None }
    }

    /// The record has this value.
    pub const fn value_is(key: Bytes, value: Bytes) -> Self {
        Self { target: 3, key, mod_revision: None, value: Some(value) }
    }
}

/// A step of a transaction: one field of several.
#[derive(Clone, PartialEq, Message)]
pub struct RequestOp {
    #[prost(message, optional, tag = "1")]
    range: Option<RangeRequest>,
    #[prost(message, optional, tag = "2")]
    put: Option<PutRequest>,
}

impl RequestOp {
    /// A step that reads a record.
    pub const fn range(key: Bytes) -> Self {
        Self { range: Some(RangeRequest { key, serializable: false }), put: None }
    }

    /// A step that writes a record.
    pub const fn put(key: Bytes, value: Bytes) -> Self {
        Self { range: None, put: Some(PutRequest { key, value }) }
    }
}

/// The result of a step: one field of several.
#[derive(Clone, PartialEq, Message)]
pub struct ResponseOp {
    /// Of one that reads.
    #[prost(message, optional, tag = "1")]
    pub range: Option<RangeResponse>,
}

/// A transaction.
#[derive(Clone, PartialEq, Message)]
pub struct TxnRequest {
    /// All must hold.
    #[prost(message, repeated, tag = "1")]
    pub compare: Vec<Compare>,
    /// Carried out if they do.
    #[prost(message, repeated, tag = "2")]
    pub success: Vec<RequestOp>,
}

/// The reply to a [`TxnRequest`].
#[derive(Clone, PartialEq, Message)]
pub struct TxnResponse {
    /// True if all conditions held.
    #[prost(bool, tag = "2")]
    pub succeeded: bool,
    /// The results of the steps.
    #[prost(message, repeated, tag = "3")]
    pub responses: Vec<ResponseOp>,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Write a record.
    Put(PutRequest),
    /// Read a record.
    Range(RangeRequest),
    /// Remove a record.
    Delete(DeleteRangeRequest),
    /// A transaction.
    Txn(TxnRequest),
}

/// What is replied to a request that was carried out.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// To a write.
    Put(PutResponse),
    /// To a read.
    Range(RangeResponse),
    /// To a removal.
    Delete(DeleteRangeResponse),
    /// To a transaction.
    Txn(TxnResponse),
}

/// A server's refusal, as gRPC numbers them. What was asked may have been done all the same, unless
/// [`Status::is_definite`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// gRPC's number of it; None: the reply had none.
    pub code: Option<i32>,
    /// What the server says.
    pub message: String,
}

impl Status {
    /// True if what was asked was not done and will not be.
    pub const fn is_definite(&self) -> bool {
        const INVALID_ARGUMENT: i32 = 3;
        const NOT_FOUND: i32 = 5;
        const RESOURCE_EXHAUSTED: i32 = 8;
        const FAILED_PRECONDITION: i32 = 9;
        const OUT_OF_RANGE: i32 = 11;
        const UNIMPLEMENTED: i32 = 12;
        matches!(
            self.code,
            // Said before a request is proposed. The others, also `Unavailable`, may come later.
            Some(
                INVALID_ARGUMENT
                    | NOT_FOUND
                    | RESOURCE_EXHAUSTED
                    | FAILED_PRECONDITION
                    | OUT_OF_RANGE
                    | UNIMPLEMENTED
            )
        )
    }
}

/// What goes in and out of the HTTP/2 machine.
#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<Buffers>>);

#[derive(Default)]
struct Buffers {
    input: BytesMut,
    output: Vec<u8>,
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, Buffers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let input = &mut self.lock().input;
        if input.is_empty() {
            return Poll::Pending;
        }
        let count = input.len().min(buffer.remaining());
        buffer.put_slice(&input.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.lock().output.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

type Replied = (Option<u64>, Result<Reply, Status>);
type Call = Pin<Box<dyn Future<Output = Result<Replied, Broken>> + Send>>;
type Running = Pin<Box<dyn Future<Output = Result<(), h2::Error>> + Send>>;

/// One connection to etcd.
pub struct EtcdMachine {
    pipe: Pipe,
    sender: SendRequest<Bytes>,
    running: Running,
    calls: FuturesUnordered<Call>,
    closed: bool,
}

impl std::fmt::Debug for EtcdMachine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdMachine").field("calls", &self.calls.len()).finish_non_exhaustive()
    }
}

fn failed(error: h2::Error) -> Broken {
    Broken(format!("etcd: {error}"))
}

/// The method of a request, and how its reply is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Put,
    Range,
    Delete,
    Txn,
}

impl Kind {
    const fn path(self) -> &'static str {
        match self {
            Self::Put => "http://etcd/etcdserverpb.KV/Put",
            Self::Range => "http://etcd/etcdserverpb.KV/Range",
            Self::Delete => "http://etcd/etcdserverpb.KV/DeleteRange",
            Self::Txn => "http://etcd/etcdserverpb.KV/Txn",
        }
    }

    fn read(self, body: Bytes) -> Result<Reply, Broken> {
        let reply = match self {
            Self::Put => PutResponse::decode(body).map(Reply::Put),
            Self::Range => RangeResponse::decode(body).map(Reply::Range),
            Self::Delete => DeleteRangeResponse::decode(body).map(Reply::Delete),
            Self::Txn => TxnResponse::decode(body).map(Reply::Txn),
        };
        reply.map_err(|error| Broken(format!("etcd: a reply is not understood: {error}")))
    }
}

/// A message with gRPC's prefix: not compressed, so long.
fn prefixed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut body = BytesMut::with_capacity(5 + length);
    body.put_u8(0);
    body.put_u32(u32::try_from(length).expect("no message is so long"));
    message.encode(&mut body).expect("there is room for it");
    body.freeze()
}

/// The one message in a body.
fn unprefixed(mut body: Bytes) -> Result<Bytes, Broken> {
    if body.len() < 5 {
        return Err(Broken::because("etcd: a reply has no message"));
    }
    let (compressed, length) = (body.get_u8(), body.get_u32());
    match compressed == 0 && length as usize == body.len() {
        true => Ok(body),
        false => Err(Broken::because("etcd: a reply is not one plain message")),
    }
}

async fn reply(response: ResponseFuture, kind: Kind) -> Result<Result<Reply, Status>, Broken> {
    let response = response.await.map_err(failed)?;
    let (head, mut body) = response.into_parts();
    let mut data = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(failed)?;
        body.flow_control().release_capacity(chunk.len()).map_err(failed)?;
        data.extend_from_slice(&chunk);
        if data.len() > REPLY_BYTES_MAX {
            return Err(Broken::because("etcd: a reply is too long"));
        }
    }
    let trailers = body.trailers().await.map_err(failed)?.unwrap_or_default();
    let said = |name: &str| trailers.get(name).or_else(|| head.headers.get(name));
    let code = said("grpc-status").and_then(|code| code.to_str().ok()?.parse().ok());
    if head.status == http::StatusCode::OK && code == Some(0) {
        return kind.read(unprefixed(data.freeze())?).map(Ok);
    }
    let message = said("grpc-message").and_then(|message| message.to_str().ok());
    let message = format!("{}: {}", head.status, message.unwrap_or_default());
    Ok(Err(Status { code, message }))
}

impl EtcdMachine {
    /// A client that is about to connect; what it says first goes to `out`.
    ///
    /// # Panics
    /// Never: the handshake only writes to memory.
    pub fn new(out: &mut Vec<u8>) -> Self {
        let pipe = Pipe::default();
        let mut builder = Builder::new();
        builder.initial_window_size(8 << 20).initial_connection_window_size(64 << 20);
        builder.initial_max_send_streams(1 << 20).max_concurrent_reset_streams(64);
        let handshake = builder.handshake::<_, Bytes>(pipe.clone());
        let mut handshake = Box::pin(handshake);
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok((sender, connection))) = handshake.as_mut().poll(&mut cx) else {
            unreachable!("a pipe in memory takes all that is written")
        };
        let running: Running = Box::pin(connection);
        let calls = FuturesUnordered::new();
        let mut machine = Self { pipe, sender, running, calls, closed: false };
        // The settings leave with whatever is sent first.
        let _ = machine.drain(out);
        machine
    }

    /// Has the HTTP/2 machine look at what arrived, and write what is to be sent.
    fn turn(&mut self) -> Result<(), Broken> {
        let mut cx = Context::from_waker(Waker::noop());
        match self.running.as_mut().poll(&mut cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(_) if self.closed => Ok(()),
            Poll::Ready(Ok(())) => Err(Broken::because("etcd: the connection was closed")),
            Poll::Ready(Err(error)) => Err(failed(error)),
        }
    }

    fn call(&mut self, tag: Option<u64>, kind: Kind, message: &impl Message) -> Result<(), Broken> {
        let request = http::Request::post(kind.path())
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .map_err(Broken::because)?;
        let sent = self.sender.send_request(request, false);
        let (response, mut body) = sent.map_err(failed)?;
        body.send_data(prefixed(message), true).map_err(failed)?;
        self.calls.push(Box::pin(async move { Ok((tag, reply(response, kind).await?)) }));
        Ok(())
    }
}

impl Machine for EtcdMachine {
    type Request = Request;
    type Reply = Result<Reply, Status>;

    fn is_ready(&self) -> bool {
        true
    }

    fn ask(
        &mut self,
        _now_ns: u64,
        tag: Option<u64>,
        request: Request,
        _out: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        match request {
            Request::Put(put) => self.call(tag, Kind::Put, &put),
            Request::Range(range) => self.call(tag, Kind::Range, &range),
            Request::Delete(delete) => self.call(tag, Kind::Delete, &delete),
            Request::Txn(txn) => self.call(tag, Kind::Txn, &txn),
        }
    }

    fn receive(
        &mut self,
        bytes: &[u8],
        received: &mut Received<Self::Reply>,
    ) -> Result<(), Broken> {
        self.pipe.lock().input.extend_from_slice(bytes);
        self.turn()?;
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(done)) = Pin::new(&mut self.calls).poll_next(&mut cx) {
            let (tag, reply) = done?;
            received.replies.extend(tag.map(|tag| (tag, reply)));
        }
        Ok(())
    }

    fn drain(&mut self, out: &mut Vec<u8>) -> Result<(), Broken> {
        self.turn()?;
        out.append(&mut self.pipe.lock().output);
        Ok(())
    }

    fn close(&mut self, _out: &mut Vec<u8>) {
        self.closed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_protocol_buffers_have_them() {
        let put = PutRequest { key: "k".into(), value: "vw".into() };
        assert_eq!(&prefixed(&put)[..], b"\0\0\0\0\x07\x0a\x01k\x12\x02vw");
        let range = RangeRequest { key: "k".into(), serializable: true };
        assert_eq!(&range.encode_to_vec()[..], b"\x0a\x01k\x38\x01");
        let success = vec![RequestOp::put("k".into(), "vw".into())];
        let txn = TxnRequest { compare: Vec::new(), success };
        assert_eq!(&txn.encode_to_vec()[..], b"\x12\x09\x12\x07\x0a\x01k\x12\x02vw");
        // result EQUAL is the default and is left out; target MOD, the key, the revision.
        let missing = Compare::changed_by("k".into(), 0);
        assert_eq!(&missing.encode_to_vec()[..], b"\x10\x02\x1a\x01k\x30\x00");
        let value = Compare::value_is("k".into(), "v".into());
        assert_eq!(&value.encode_to_vec()[..], b"\x10\x03\x1a\x01k\x3a\x01v");
    }

    #[test]
    fn replies_are_read_and_strange_ones_refused() {
        // Fields that are not looked at are passed over: a member's id, a key, its versions.
        let put = Kind::Put.read(Bytes::from_static(b"\x0a\x04\x10\x07\x18\x09"));
        let header = Some(ResponseHeader { revision: 9 });
        assert_eq!(put, Ok(Reply::Put(PutResponse { header })));
        let range = Bytes::from_static(b"\x12\x0b\x0a\x01k\x10\x02\x18\x07\x2a\x02vw");
        let kvs = vec![KeyValue { mod_revision: 7, value: "vw".into() }];
        assert_eq!(Kind::Range.read(range), Ok(Reply::Range(RangeResponse { kvs })));
        assert!(Kind::Range.read(Bytes::from_static(b"\xff")).is_err());
    }

    #[test]
    fn a_body_is_one_plain_message() {
        assert_eq!(unprefixed(Bytes::from_static(b"\0\0\0\0\x01a")).unwrap(), "a");
        for bad in [&b"\0\0\0\0"[..], b"\x01\0\0\0\x01a", b"\0\0\0\0\x02a", b"\0\0\0\0\x01ab"] {
            assert!(unprefixed(Bytes::from_static(bad)).is_err());
        }
    }

    #[test]
    fn a_connection_begins_with_the_preface_of_http2() {
        let mut out = Vec::new();
        EtcdMachine::new(&mut out);
        assert!(out.starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    }

    #[test]
    fn only_what_is_refused_before_it_is_proposed_is_definite() {
        let status = |code| Status { code, message: String::new() };
        for (code, definite) in [
            (Some(3), true),
            (Some(5), true),
            (Some(8), true),
            (Some(9), true),
            (Some(11), true),
            (Some(12), true),
            // Unknown, a time-out, an internal error, a server that loses its leader, no code.
            (Some(2), false),
            (Some(4), false),
            (Some(13), false),
            (Some(14), false),
            (None, false),
        ] {
            assert_eq!(status(code).is_definite(), definite, "{code:?}");
        }
    }
}
