//! Who speaks the protocol, wrongly or with ill intent.

use crate::raw::{Noise, Raw};
use crate::siege::Siege;
use accord_core::holder::SessionSecret;
use accord_core::ids::{RequestId, Revision, SessionId, WatchId};
use accord_core::protocol::{
    ClientMessage, Consistency, EventMask, PROTOCOL_VERSION, ServerMessage, SessionEnd,
    SessionRefusal, WATCH_KEY_BYTES_MAX, WatchFilter, encode_client,
};
use accord_core::state::{OpRef, Outcome, ReadQuery, RequestError, Step, Txn};
use accord_core::stream::FRAME_BYTES_MAX;
use accord_core::wire::Encode;
use bytes::Bytes;

/// A frame's header, as it is on the wire.
fn header(bytes: u32, more: bool) -> [u8; 4] {
    (bytes | u32::from(more) << 31).to_le_bytes()
}

fn request(number: u64, steps: Vec<Step>) -> ClientMessage {
    let (request, acked_below) = (RequestId(number), RequestId(number));
    ClientMessage::Request { request, acked_below, op: OpRef::Kv(&Txn::of(steps)).to_bytes() }
}

#[tokio::test]
async fn what_is_no_frame_ends_the_connection() {
    let siege = Siege::begin(|_| {}).await;
    let at = siege.target().client_addr();
    let too_long = FRAME_BYTES_MAX as u32 + 1;
    for frame in [
        header(too_long, false),
        header(too_long, true),
        header(u32::MAX >> 1, false),
        header(u32::MAX >> 1, true),
        header(0, true),
    ] {
        let mut raw = Raw::client(at).await;
        raw.say(&frame).await;
        raw.end().await;
        let (mut raw, _) = Raw::session(at, 10_000).await;
        raw.say(&frame).await;
        raw.end().await;
    }
    siege.until_counted("accord_connection_ends_total{reason=\"malformed_frame\"}", 10).await;
    siege.lift().await;
}

// Claims: C-input
#[tokio::test]
async fn what_is_no_message_ends_the_connection() {
    let siege = Siege::begin(|_| {}).await;
    let at = siege.target().client_addr();
    let mut noise = Noise::new(2);
    let mut messages: Vec<Vec<u8>> = vec![vec![], vec![PROTOCOL_VERSION]];
    // Every tag that is none of a client's, and every message with a byte too many.
    messages.extend([0, 9, 64, 65, 78, 255].map(|tag| vec![PROTOCOL_VERSION, tag, 1, 1, 1]));
    let mut trailing = encode_client(&ClientMessage::Open { timeout_ms: 1000 }).to_vec();
    trailing.push(0);
    messages.push(trailing);
    messages.push(vec![PROTOCOL_VERSION, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
    messages.push(vec![PROTOCOL_VERSION, 5, 1, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    messages.extend((1..40).map(|size| noise.bytes(size * 7)));
    let count = messages.len() as u64;
    for message in messages {
        let mut raw = Raw::client(at).await;
        raw.say_message(&message).await;
        raw.end().await;
    }
    let ends = "accord_connection_ends_total{reason=\"malformed_message\"}";
    siege.until_counted(ends, count).await;
    // The same within a session, which its client may attach again.
    let (mut raw, (session, secret)) = Raw::session(at, 10_000).await;
    raw.say_message(&noise.bytes(100)).await;
    raw.end().await;
    let mut raw = Raw::client(at).await;
    raw.tell(&ClientMessage::Attach { session, secret, seen: Revision(0) }).await;
    assert!(matches!(raw.hear().await, Some(ServerMessage::Attached { .. })));
    siege.until_counted(ends, count + 1).await;
    siege.lift().await;
}

#[tokio::test]
async fn a_stream_of_garbage_behind_a_preface_is_hung_up_on() {
    let siege = Siege::begin(|_| {}).await;
    let at = siege.target().client_addr();
    let mut noise = Noise::new(3);
    for _ in 0..30 {
        let mut raw = Raw::client(at).await;
        while raw.say(&noise.bytes(10_000)).await {}
        raw.end().await;
    }
    siege.until_counted("accord_connection_ends_total{reason=\"malformed_frame\"}", 1).await;
    siege.lift().await;
}

#[tokio::test]
async fn what_needs_a_session_is_refused_without_one() {
    let siege = Siege::begin(|_| {}).await;
    let at = siege.target().client_addr();
    let watch = WatchId(1);
    let (filter, mask) = (WatchFilter::Members, EventMask::ALL);
    let early = [
        request(1, vec![]),
        ClientMessage::Close,
        ClientMessage::Watch { watch, filter, mask, once: false, from: None },
        ClientMessage::Unwatch { watch },
    ];
    for message in &early {
        let mut raw = Raw::client(at).await;
        raw.tell(message).await;
        raw.end().await;
    }
    // A session is begun once.
    let open = ClientMessage::Open { timeout_ms: 1000 };
    let secret = SessionSecret([1; 16]);
    let attach = ClientMessage::Attach { session: SessionId(1), secret, seen: Revision(0) };
    for message in [&open, &attach] {
        let (mut raw, _) = Raw::session(at, 10_000).await;
        raw.tell(message).await;
        raw.end().await;
    }
    siege.until_counted("accord_hung_up_total{reason=\"protocol\"}", 6).await;
    // There is no such session.
    let mut raw = Raw::client(at).await;
    let session = SessionId(u64::MAX);
    raw.tell(&ClientMessage::Attach { session, secret, seen: Revision(u64::MAX) }).await;
    let refused = ServerMessage::SessionRefused { reason: SessionRefusal::Unknown };
    assert_eq!(raw.hear().await, Some(refused));
    raw.end().await;
    siege.until_counted("accord_hung_up_total{reason=\"session_refused\"}", 1).await;
    siege.lift().await;
}

#[tokio::test]
async fn who_is_slow_within_a_frame_is_hung_up_on() {
    let siege = Siege::begin(|_| {}).await;
    let at = siege.target().client_addr();
    let endless = || header(1000, false).into_iter().chain(std::iter::repeat(1));
    let mut slow = Vec::new();
    for _ in 0..5 {
        slow.push(tokio::spawn(Raw::client(at).await.drip(endless())));
        // With a session: no message is no sign of life, however many bytes of it come.
        slow.push(tokio::spawn(Raw::session(at, 700).await.0.drip(endless())));
    }
    siege.good_go_on().await;
    for raw in slow {
        raw.await.expect("it is hung up on");
    }
    siege.until_counted("accord_connection_ends_total{reason=\"sessionless\"}", 5).await;
    siege.until_counted("accord_hung_up_total{reason=\"session_expired\"}", 5).await;
    siege.lift().await;
}

/// Sends frames of one message that never ends, until the server has hung up. Returns the bytes.
async fn endless(mut raw: Raw) -> usize {
    let mut frame = header(FRAME_BYTES_MAX as u32, true).to_vec();
    frame.resize(frame.len() + FRAME_BYTES_MAX, PROTOCOL_VERSION);
    let mut said = 0;
    while raw.say(&frame).await {
        said += frame.len();
    }
    raw.end().await;
    said
}

// Claims: C-input
#[tokio::test]
async fn a_message_without_an_end_is_not_gathered_for_ever() {
    const ALL: usize = 16 << 20;
    let siege = Siege::begin(|options| options.net.fragment_bytes_max = ALL).await;
    let at = siege.target().client_addr();
    // Without a session, one frame is all.
    let said = endless(Raw::client(at).await).await;
    assert!(said < 16 << 20, "sockets may have taken more, but not much: {said}");
    let ends = "accord_connection_ends_total{reason=\"malformed_frame\"}";
    siege.until_counted(ends, 1).await;
    // With one, all of them together have a bound.
    let mut all = Vec::new();
    for _ in 0..8 {
        all.push(tokio::spawn(endless(Raw::session(at, 10_000).await.0)));
    }
    for one in all {
        one.await.expect("it is hung up on");
    }
    siege.until_counted("accord_connection_ends_total{reason=\"fragments\"}", 8).await;
    // What they held is free again.
    let good = siege.cluster.client().await.expect("the cluster serves");
    good.put("large", vec![7; ALL / 2]).await.expect("there is room");
    siege.lift().await;
}

#[tokio::test]
async fn transactions_of_garbage_are_refused_one_by_one() {
    let siege = Siege::begin(|_| {}).await;
    let (mut raw, _) = Raw::session(siege.target().client_addr(), 10_000).await;
    let mut noise = Noise::new(4);
    const COUNT: u64 = 300;
    for number in 1..=COUNT {
        let mut op = noise.bytes(number as usize);
        if number % 2 == 0 {
            // Of a kind that the server knows.
            op[0] = 1;
        }
        let op = Bytes::from(op);
        let (request, acked_below) = (RequestId(number), RequestId(1));
        raw.tell(&ClientMessage::Request { request, acked_below, op }).await;
    }
    for number in 1..=COUNT {
        match raw.hear().await.expect("the session goes on") {
            ServerMessage::Reply { request, outcome } => {
                assert_eq!(request, RequestId(number));
                let Outcome::Refused(reason) = outcome else { panic!("{number}: {outcome:?}") };
                let expected = match reason {
                    RequestError::UnknownKind { kind } => kind != 1 && number % 2 == 1,
                    reason => reason == RequestError::Malformed,
                };
                assert!(expected, "{number}: {reason}");
            }
            other => panic!("not asked for: {other:?}"),
        }
    }
    siege.lift().await;
}

#[tokio::test]
async fn what_exceeds_a_bound_is_refused_by_name() {
    let siege = Siege::begin(|options| options.limits.watches_per_conn_max = 10).await;
    let (mut raw, _) = Raw::session(siege.target().client_addr(), 10_000).await;
    let set = |watch, key: Vec<u8>| ClientMessage::Watch {
        watch: WatchId(watch),
        filter: WatchFilter::Key(key.into()),
        mask: EventMask::ALL,
        once: false,
        from: None,
    };
    for watch in 0..100 {
        raw.tell(&set(watch, b"quiet".to_vec())).await;
    }
    raw.tell(&set(0, b"quiet".to_vec())).await;
    let (mut taken, mut refused) = (0, 0);
    while taken + refused < 101 {
        match raw.hear().await.expect("every one is answered") {
            ServerMessage::Watching { .. } => taken += 1,
            ServerMessage::WatchRefused { .. } => refused += 1,
            other => panic!("not asked for: {other:?}"),
        }
    }
    assert_eq!((taken, refused), (10, 91));
    // A longer key is no message at all.
    raw.tell(&set(1000, vec![b'k'; WATCH_KEY_BYTES_MAX + 1])).await;
    raw.end().await;
    siege.until_counted("accord_refused_total{reason=\"too_many_watches\"}", 90).await;
    siege.until_counted("accord_refused_total{reason=\"watch_in_use\"}", 1).await;
    siege.until_counted("accord_connection_ends_total{reason=\"malformed_message\"}", 1).await;
    siege.lift().await;
}

// Claims: C-session-secret
#[tokio::test]
async fn a_session_cannot_be_stolen_without_its_secret() {
    let siege = Siege::begin(|_| {}).await;
    let victim = siege.cluster.client().await.expect("the cluster serves");
    let states = victim.states();
    let refused = ServerMessage::SessionRefused { reason: SessionRefusal::Unknown };
    for theft in 1..=5 {
        let mut thief = Raw::client(siege.target().client_addr()).await;
        let (session, secret) = (victim.session(), SessionSecret([theft as u8; 16]));
        thief.tell(&ClientMessage::Attach { session, secret, seen: Revision(0) }).await;
        assert_eq!(thief.hear().await, Some(refused.clone()), "as if there were none");
        thief.end().await;
        let number = victim.increment("mine", 1).await.expect("its requests are carried out");
        assert_eq!(number, theft, "each once");
    }
    assert!(!states.has_changed().expect("it lives"), "the victim noticed nothing");
    siege.lift().await;
}

#[tokio::test]
async fn who_has_the_secret_has_the_session_and_the_one_before_is_fenced() {
    let siege = Siege::begin(|_| {}).await;
    let at = siege.target().client_addr();
    let (mut before, (session, secret)) = Raw::session(at, 10_000).await;
    for generation in 2..=5 {
        let mut raw = Raw::client(at).await;
        raw.tell(&ClientMessage::Attach { session, secret, seen: Revision(0) }).await;
        let told = raw.hear().await;
        let attached = matches!(&told, Some(ServerMessage::Attached { generation: found, .. })
            if *found == generation);
        assert!(attached, "{told:?}");
        let moved = ServerMessage::SessionClosed { reason: SessionEnd::Moved };
        assert_eq!(before.hear().await, Some(moved));
        before.end().await;
        before = raw;
    }
    siege.lift().await;
}

#[tokio::test]
async fn a_flood_of_reads_and_pings_slows_only_itself() {
    let siege = Siege::begin(|_| {}).await;
    let (mut raw, _) = Raw::session(siege.target().client_addr(), 10_000).await;
    let (mut reader, mut writer) = raw.stream.split();
    let mut flood = Vec::new();
    const COUNT: u64 = 4000;
    for nonce in 0..COUNT {
        for message in [
            ClientMessage::Ping { nonce },
            ClientMessage::read(
                nonce,
                Consistency::Linearizable,
                ReadQuery::Members { after: None, limit: 1 },
            ),
        ] {
            accord_core::stream::write_message(&mut flood, |out| {
                out.extend_from_slice(&encode_client(&message));
            });
        }
    }
    let reading = async {
        use tokio::io::AsyncReadExt;
        let mut frames = accord_core::stream::FrameReader::new(1 << 20);
        let (mut buffer, mut heard) = (vec![0; 1 << 16], 0);
        while heard < 2 * COUNT {
            let count = reader.read(&mut buffer).await.expect("it is served");
            assert_ne!(count, 0, "it is served");
            frames.push(Bytes::copy_from_slice(&buffer[..count]));
            while frames.next_message().expect("frames").is_some() {
                heard += 1;
            }
        }
    };
    let writing = async {
        use tokio::io::AsyncWriteExt;
        writer.write_all(&flood).await.expect("it is served");
    };
    let all = async { tokio::join!(reading, writing, siege.good_go_on()) };
    tokio::time::timeout(crate::siege::TIMEOUT, all).await.expect("every one is answered");
    siege.lift().await;
}
