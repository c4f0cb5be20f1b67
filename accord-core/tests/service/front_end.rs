//! Front-ends as machines: bytes, a front-end, a server, and the bytes that it answers with. The
//! twin of the fuzz target `front_ends`.

use crate::cluster::{Cluster, put, request};
use crate::order::{BOTH, read_behind};
use accord_core::gateway::front_end::{FrontEnd, Malformed, Next};
use accord_core::gateway::native::Native;
use accord_core::holder::SessionSecret;
use accord_core::ids::{ConnId, NodeId, Revision, SessionId, WatchId};
use accord_core::protocol::{
    ClientMessage, EventMask, MESSAGE_BYTES_MAX, ReadWatch, ServerMessage, WatchFilter,
    encode_client,
};
use accord_core::state::ReadQuery;
use accord_core::stream::{FRAME_BYTES_MAX, FrameReader, write_message};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// How a conversation went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Talk {
    /// What the server answered with.
    answered: Vec<u8>,
    calls: usize,
    /// Why the stream could not be read on.
    malformed: Option<Malformed>,
    hung_up: bool,
}

/// One connection: its front-end, and what came of it.
struct Line {
    cluster: Cluster,
    conn: ConnId,
    front_end: Box<dyn FrontEnd>,
    talk: Talk,
}

fn servers() -> Cluster {
    Cluster::with(1, |config| {
        config.limits.requests_per_conn_max = 4;
        config.limits.reads_per_conn_max = 4;
        config.limits.watches_per_conn_max = 3;
    })
}

impl Line {
    fn new(front_end: impl FrontEnd + 'static) -> Self {
        let mut cluster = servers();
        // A session of before, for who knows its secret.
        let (before, _) = cluster.open(1, 60_000);
        cluster.hang_up(before);
        let conn = cluster.connect(1);
        Self { cluster, conn, front_end: Box::new(front_end), talk: Talk::default() }
    }

    /// Does what the driver does with bytes that arrived. False if the connection has ended.
    fn receive(&mut self, bytes: &[u8]) -> bool {
        self.front_end.receive(Bytes::copy_from_slice(bytes));
        loop {
            self.cluster.run();
            for message in self.cluster.take(self.conn) {
                self.front_end.say(&message, &mut self.talk.answered);
            }
            if self.cluster.closed(self.conn).is_some() {
                self.talk.hung_up = true;
                return false;
            }
            assert!(self.cluster.servers[&NodeId(1)].accepts(self.conn), "nothing is under way");
            match self.front_end.next() {
                Ok(Next::Call(call)) => {
                    self.talk.calls += 1;
                    self.cluster.say(self.conn, call);
                }
                Ok(Next::Bytes) => return true,
                Ok(Next::Word) => panic!("the server has said all"),
                Err(malformed) => {
                    self.talk.malformed = Some(malformed);
                    return false;
                }
            }
        }
    }
}

/// A whole conversation in pieces of these sizes, again and again.
fn converse(stream: &[u8], sizes: &[usize]) -> Talk {
    let mut line = Line::new(Native::new());
    let (mut rest, mut received) = (stream, 0);
    for size in sizes.iter().cycle() {
        let (piece, after) = rest.split_at((*size).max(1).min(rest.len()));
        received += piece.len();
        if piece.is_empty() || !line.receive(piece) {
            break;
        }
        let kept = line.front_end.fragment_bytes();
        assert!(kept <= received, "what is kept is what arrived");
        assert!(line.talk.answered.len() > 16 || kept <= FRAME_BYTES_MAX, "before a session");
        rest = after;
    }
    line.talk
}

/// The server's messages in a stream.
fn messages(stream: &[u8]) -> Vec<ServerMessage> {
    let mut frames = FrameReader::new(MESSAGE_BYTES_MAX);
    frames.push(Bytes::copy_from_slice(stream));
    std::iter::from_fn(|| frames.next_message().expect("frames"))
        .map(|payload| accord_core::protocol::decode_server(&payload).expect("a message"))
        .collect()
}

/// The session that each [`Line`]'s server has had before.
fn known_session() -> (SessionId, SessionSecret) {
    let mut cluster = servers();
    let (_, session) = cluster.open(1, 60_000);
    (session, cluster.secrets[&session])
}

fn call() -> impl Strategy<Value = ClientMessage> {
    let watch = |(watch, once)| ReadWatch {
        watch: WatchId(watch),
        filter: WatchFilter::Prefix("k".into()),
        mask: EventMask::ALL,
        once,
    };
    let watches = option::of((1..6u64, any::<bool>()).prop_map(watch));
    prop_oneof![
        6 => (1..8u64, 0..3u8).prop_map(|(number, key)| request(number, &put(&format!("k{key}"), "v"))),
        6 => (1..8u64, any::<bool>(), 0..8u64, watches).prop_map(|(read, which, after, watch)| {
            read_behind(read, BOTH[usize::from(which)], "k1", after, watch)
        }),
        2 => (1..8u64, any::<bool>()).prop_map(|(read, which)| {
            let query = ReadQuery::Members { after: None, limit: 9 };
            ClientMessage::read(read, BOTH[usize::from(which)], query)
        }),
        2 => (1..6u64, any::<bool>(), option::of(0..9u64)).prop_map(|(watch, once, from)| {
            let (filter, mask) = (WatchFilter::Members, EventMask::ALL);
            let (watch, from) = (WatchId(watch), from.map(Revision));
            ClientMessage::Watch { watch, filter, mask, once, from }
        }),
        1 => (1..6u64).prop_map(|watch| ClientMessage::Unwatch { watch: WatchId(watch) }),
        1 => any::<u64>().prop_map(|nonce| ClientMessage::Ping { nonce }),
        1 => Just(ClientMessage::Open { timeout_ms: 5000 }),
        1 => Just(ClientMessage::Close),
    ]
}

/// A message as frames, cut after so many bytes each.
fn framed(message: &ClientMessage, cut: usize, out: &mut Vec<u8>) {
    let payload = encode_client(message);
    let count = payload.chunks(cut).len();
    for (at, frame) in payload.chunks(cut).enumerate() {
        let more = if at + 1 < count { 1 << 31 } else { 0 };
        out.extend((frame.len() as u32 | more).to_le_bytes());
        out.extend(frame);
    }
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let damage = option::weighted(0.3, any::<(prop::sample::Index, u8)>());
    let said = vec((call(), 1..40usize), 0..20);
    (any::<bool>(), said, damage).prop_map(|(attaches, said, damage)| {
        let mut out = Vec::new();
        let (session, secret) = known_session();
        let begin = match attaches {
            true => ClientMessage::Attach { session, secret, seen: Revision(0) },
            false => ClientMessage::Open { timeout_ms: 5000 },
        };
        framed(&begin, 100, &mut out);
        said.iter().for_each(|(message, cut)| framed(message, *cut, &mut out));
        if let Some((at, byte)) = damage {
            let at = at.index(out.len());
            out[at] ^= byte;
        }
        out
    })
}

proptest! {
    // Claims: C-input
    #[test]
    fn how_a_stream_is_cut_makes_no_difference(
        stream in stream(),
        sizes in vec(1..60usize, 1..6),
    ) {
        let whole = converse(&stream, &[stream.len()]);
        prop_assert_eq!(&converse(&stream, &[1]), &whole);
        prop_assert_eq!(&converse(&stream, &sizes), &whole);
        let said = messages(&whole.answered);
        prop_assert!(said.len() <= 4 * (whole.calls + 1) * 20, "answers are bounded");
    }

    // Claims: C-input
    #[test]
    fn any_bytes_end_in_calls_or_an_error(
        stream in vec(any::<u8>(), 0..300),
        sizes in vec(1..60usize, 1..6),
    ) {
        prop_assert_eq!(converse(&stream, &sizes), converse(&stream, &[stream.len().max(1)]));
    }
}

#[test]
fn what_is_announced_and_does_not_come_is_not_kept() {
    let mut line = Line::new(Native::new());
    let mut message = Vec::new();
    write_message(&mut message, |out| out.resize(out.len() + FRAME_BYTES_MAX + 1, 2));
    assert!(line.receive(&message[..1000]));
    assert_eq!(line.front_end.fragment_bytes(), 0, "a frame without an end is no fragment");
    assert!(!line.receive(&message[1000..]), "before a session, one frame is all there may be");
    let reason = line.talk.malformed.map(|malformed| malformed.reason);
    assert_eq!(reason, Some("malformed_frame"));
}
