//! etcd: its KV service over gRPC.
//!
//! gRPC is HTTP/2 with a prefix of five bytes before each message. The `h2` crate does the HTTP/2
//! over a pipe in memory, so that the generator moves etcd's bytes as it moves those of the others;
//! the few messages that are needed are written down here, after etcd's `rpc.proto`. What is sent
//! over one connection is carried out in any order.

use super::{Connection, Exchange};
use crate::failure::{Failure, Result, wrong};
use crate::workload::{Answer, Ask};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, Stream};
use h2::client::{Builder, ResponseFuture, SendRequest};
use prost::Message;
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Writes a record.
#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// Stands in every answer.
#[derive(Clone, PartialEq, Message)]
struct ResponseHeader {
    #[prost(int64, tag = "3")]
    revision: i64,
}

/// The answer to a [`PutRequest`].
#[derive(Clone, PartialEq, Message)]
struct PutResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
}

/// Reads a record: linearizable, unless it says serializable.
#[derive(Clone, PartialEq, Message)]
struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bool, tag = "7")]
    serializable: bool,
}

/// A record.
#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
}

/// The answer to a [`RangeRequest`].
#[derive(Clone, PartialEq, Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

/// Removes a record.
#[derive(Clone, PartialEq, Message)]
struct DeleteRangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

/// The answer to a [`DeleteRangeRequest`].
#[derive(Clone, PartialEq, Message)]
struct DeleteRangeResponse {
    #[prost(int64, tag = "2")]
    deleted: i64,
}

/// A step of a transaction: one field of several.
#[derive(Clone, PartialEq, Message)]
struct RequestOp {
    #[prost(message, optional, tag = "2")]
    put: Option<PutRequest>,
}

/// A transaction without a guard.
#[derive(Clone, PartialEq, Message)]
struct TxnRequest {
    #[prost(message, repeated, tag = "2")]
    success: Vec<RequestOp>,
}

/// The answer to a [`TxnRequest`].
#[derive(Clone, PartialEq, Message)]
struct TxnResponse {
    #[prost(bool, tag = "2")]
    succeeded: bool,
}

/// What goes in and out of the HTTP/2 machine.
#[derive(Clone, Default)]
struct Pipe(Rc<RefCell<Buffers>>);

#[derive(Default)]
struct Buffers {
    input: BytesMut,
    output: Vec<u8>,
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let input = &mut self.0.borrow_mut().input;
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
        self.0.borrow_mut().output.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

type Call = Pin<Box<dyn Future<Output = Result<(u64, Answer)>>>>;
type Running = Pin<Box<dyn Future<Output = std::result::Result<(), h2::Error>>>>;

/// One connection to etcd.
pub struct EtcdConnection {
    pipe: Pipe,
    sender: SendRequest<Bytes>,
    running: Running,
    calls: FuturesUnordered<Call>,
    closed: bool,
}

fn failed(error: h2::Error) -> Failure {
    wrong(format!("etcd: {error}"))
}

/// How an answer is read.
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

    fn read(self, body: Bytes) -> Result<Answer> {
        let strange = |error| wrong(format!("etcd: an answer is not understood: {error}"));
        match self {
            Self::Put => match PutResponse::decode(body).map_err(strange)?.header {
                Some(header) if header.revision > 0 => Ok(Answer::Written),
                _ => Err(wrong("etcd: a write has no revision")),
            },
            Self::Delete => match DeleteRangeResponse::decode(body).map_err(strange)?.deleted {
                1 => Ok(Answer::Written),
                deleted => Err(wrong(format!("etcd: {deleted} records were deleted, not one"))),
            },
            Self::Txn => match TxnResponse::decode(body).map_err(strange)?.succeeded {
                true => Ok(Answer::Written),
                false => Err(wrong("etcd: a transaction did not succeed")),
            },
            Self::Range => match RangeResponse::decode(body).map_err(strange)?.kvs.pop() {
                Some(record) => Ok(Answer::Value(record.value)),
                None => Err(wrong("etcd: a record was not found")),
            },
        }
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
fn unprefixed(mut body: Bytes) -> Result<Bytes> {
    if body.len() < 5 {
        return Err(wrong("etcd: an answer has no message"));
    }
    let (compressed, length) = (body.get_u8(), body.get_u32());
    match compressed == 0 && length as usize == body.len() {
        true => Ok(body),
        false => Err(wrong("etcd: an answer is not one plain message")),
    }
}

async fn answer(response: ResponseFuture, kind: Kind) -> Result<Answer> {
    let response = response.await.map_err(failed)?;
    let code = |headers: &http::HeaderMap| headers.get("grpc-status").cloned();
    let (head, mut body) = response.into_parts();
    let mut data = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(failed)?;
        body.flow_control().release_capacity(chunk.len()).map_err(failed)?;
        data.extend_from_slice(&chunk);
    }
    let trailers = body.trailers().await.map_err(failed)?.unwrap_or_default();
    let status = code(&trailers).or_else(|| code(&head.headers));
    if head.status != http::StatusCode::OK || status.as_ref().is_none_or(|code| code != "0") {
        let said = |headers: &http::HeaderMap| headers.get("grpc-message").cloned();
        let said = said(&trailers).or_else(|| said(&head.headers));
        return Err(Failure::Refused(format!("{} {status:?} {said:?}", head.status)));
    }
    kind.read(unprefixed(data.freeze())?)
}

impl EtcdConnection {
    /// A client that is about to connect; what it says first goes to `out`.
    ///
    /// # Panics
    /// Never: the handshake only writes to memory.
    pub fn new(_now: u64, out: &mut Vec<u8>) -> Self {
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
        let mut connection = Self { pipe, sender, running, calls, closed: false };
        // The settings leave with whatever is sent first.
        let _ = connection.drain(out);
        connection
    }

    /// Has the HTTP/2 machine look at what arrived, and write what is to be sent.
    fn turn(&mut self) -> Result<()> {
        let mut cx = Context::from_waker(Waker::noop());
        match self.running.as_mut().poll(&mut cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(_) if self.closed => Ok(()),
            Poll::Ready(Ok(())) => Err(wrong("etcd: the connection was closed")),
            Poll::Ready(Err(error)) => Err(failed(error)),
        }
    }

    fn call(&mut self, tag: u64, kind: Kind, message: &impl Message) -> Result<()> {
        let request = http::Request::post(kind.path())
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .map_err(wrong)?;
        let sent = self.sender.send_request(request, false);
        let (response, mut body) = sent.map_err(failed)?;
        body.send_data(prefixed(message), true).map_err(failed)?;
        self.calls.push(Box::pin(async move { Ok((tag, answer(response, kind).await?)) }));
        Ok(())
    }
}

impl Connection for EtcdConnection {
    const ORDERED: bool = false;

    fn is_ready(&self) -> bool {
        true
    }

    fn ask(&mut self, _now: u64, tag: u64, ask: Ask, _out: &mut Vec<u8>) -> Result<()> {
        match ask {
            // A put creates or replaces: no other write of etcd's is cheaper.
            Ask::Ensure { key, value } | Ask::Write { key, value } | Ask::Create { key, value } => {
                self.call(tag, Kind::Put, &PutRequest { key, value })
            }
            Ask::Read { key, linearizable } => {
                self.call(tag, Kind::Range, &RangeRequest { key, serializable: !linearizable })
            }
            Ask::Remove { key } => self.call(tag, Kind::Delete, &DeleteRangeRequest { key }),
            Ask::Transact { writes, fresh: _ } => {
                let op = |(key, value)| RequestOp { put: Some(PutRequest { key, value }) };
                let success = writes.into_iter().map(op).collect();
                self.call(tag, Kind::Txn, &TxnRequest { success })
            }
            Ask::Watch { .. } => {
                Err(Failure::Usage("watches are compared with ZooKeeper's alone".to_owned()))
            }
        }
    }

    fn receive(&mut self, _now: u64, bytes: &[u8], io: &mut Exchange) -> Result<()> {
        self.pipe.0.borrow_mut().input.extend_from_slice(bytes);
        self.turn()?;
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(done)) = Pin::new(&mut self.calls).poll_next(&mut cx) {
            io.answers.push(done?);
        }
        Ok(())
    }

    fn drain(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.turn()?;
        out.append(&mut self.pipe.0.borrow_mut().output);
        Ok(())
    }

    fn tick(&mut self, _now: u64, _out: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }

    fn close(&mut self, _now: u64, _out: &mut Vec<u8>) {
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
        let txn = TxnRequest { success: vec![RequestOp { put: Some(put) }] };
        assert_eq!(&txn.encode_to_vec()[..], b"\x12\x09\x12\x07\x0a\x01k\x12\x02vw");
    }

    #[test]
    fn answers_are_read_and_strange_ones_refused() {
        // Fields that are not looked at are passed over: a member's id, a key, its versions.
        let put = Bytes::from_static(b"\x0a\x04\x10\x07\x18\x09");
        assert_eq!(Kind::Put.read(put).unwrap(), Answer::Written);
        assert!(Kind::Put.read(Bytes::new()).is_err());
        let range = Bytes::from_static(b"\x12\x09\x0a\x01k\x10\x02\x2a\x02vw\x20\x01");
        assert_eq!(Kind::Range.read(range).unwrap(), Answer::Value("vw".into()));
        assert!(Kind::Range.read(Bytes::from_static(b"\x20\x00")).is_err(), "not found");
        assert_eq!(Kind::Txn.read(Bytes::from_static(b"\x10\x01")).unwrap(), Answer::Written);
        assert!(Kind::Txn.read(Bytes::new()).is_err());
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
        EtcdConnection::new(0, &mut out);
        assert!(out.starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    }
}
