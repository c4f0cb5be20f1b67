//! The protocol as bytes: round trips, and bytes that somebody else chose.

use accord_core::holder::SessionSecret;
use accord_core::ids::{RequestId, Revision, SessionId, WatchId};
use accord_core::protocol::{
    ClientMessage, Consistency, EventMask, PROTOCOL_VERSION, ReadWatch, Refusal, ServerMessage,
    SessionEnd, SessionRefusal, WatchFilter, decode_client, decode_server, encode_client,
    encode_server,
};
use accord_core::state::tree::{Ask, Identity, TreeQuery, TreeQuestion, ZnodeQuestion};
use accord_core::state::{
    Branch, Event, KeyEvent, KeyEventKind, MemberEvent, MemberEventKind, Outcome, ReadQuery,
    ReadResult, RequestError, StepResult, TxnOutcome,
};
use accord_core::wire::WireError;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::sync::Arc;

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

/// What begins as an operation of the tree is not of this protocol.
fn op() -> impl Strategy<Value = Bytes> {
    bytes().prop_filter("an operation of the tree", |op| op.first() != Some(&2))
}

fn client_message() -> impl Strategy<Value = ClientMessage> {
    let filter = prop_oneof![
        bytes().prop_map(WatchFilter::Key),
        bytes().prop_map(WatchFilter::Prefix),
        Just(WatchFilter::Members),
    ];
    let mask = (1..=EventMask::ALL.bits()).prop_map(|bits| EventMask::from_bits(bits).unwrap());
    let read_watch = (any::<(u64, bool)>(), filter.clone(), mask.clone()).prop_map(
        |((watch, once), filter, mask)| {
            Box::new(ReadWatch { watch: WatchId(watch), filter, mask, once })
        },
    );
    let consistency = prop_oneof![Just(Consistency::Linearizable), Just(Consistency::Local)];
    prop_oneof![
        any::<u32>().prop_map(|timeout_ms| ClientMessage::Open { timeout_ms }),
        any::<(u64, [u8; 16], u64)>().prop_map(|(session, secret, seen)| ClientMessage::Attach {
            session: SessionId(session),
            secret: SessionSecret(secret),
            seen: Revision(seen)
        }),
        Just(ClientMessage::Close),
        (any::<(u64, u64)>(), op()).prop_map(|((request, acked), op)| {
            let (request, acked_below) = (RequestId(request), RequestId(acked));
            ClientMessage::Request { request, acked_below, op }
        }),
        (any::<u64>(), consistency, bytes(), option::of(any::<u64>()), option::of(read_watch))
            .prop_map(|(read, consistency, key, after, watch)| {
                let query = ReadQuery::Get { key, offset: read / 2, length_max: read / 3 };
                let after = after.map(RequestId);
                ClientMessage::Read { read, consistency, after, watch, query }
            }),
        (any::<(u64, bool)>(), filter, mask, option::of(any::<u64>())).prop_map(
            |((watch, once), filter, mask, from)| ClientMessage::Watch {
                watch: WatchId(watch),
                filter,
                mask,
                once,
                from: from.map(Revision),
            }
        ),
        any::<u64>().prop_map(|watch| ClientMessage::Unwatch { watch: WatchId(watch) }),
        any::<u64>().prop_map(|nonce| ClientMessage::Ping { nonce }),
    ]
}

fn event(revision: u64) -> impl Strategy<Value = Event> {
    let revision = Revision(revision);
    let key = (0..4usize, bytes(), bytes(), any::<(u64, u64, u64)>()).prop_map(
        move |(kind, key, data, (version, offset, size))| {
            let kind = KeyEventKind::ALL[kind];
            Event::Key(KeyEvent { revision, kind, key, version, offset, data, size })
        },
    );
    let member = any::<(bool, u64, u32)>().prop_map(move |(joined, session, members)| {
        let kind = if joined { MemberEventKind::Joined } else { MemberEventKind::Left };
        Event::Member(MemberEvent { revision, kind, session: SessionId(session), members })
    });
    prop_oneof![key, member]
}

fn refusal() -> impl Strategy<Value = Refusal> {
    prop::sample::select(vec![
        Refusal::TooManyOutstanding,
        Refusal::TooManyBytes,
        Refusal::TooLarge,
        Refusal::Busy,
        Refusal::NotPrimary,
        Refusal::TooManyReads,
        Refusal::TooManyWatches,
        Refusal::WatchInUse,
        Refusal::KeyTooLong,
    ])
}

fn about_sessions() -> impl Strategy<Value = ServerMessage> {
    let refused = prop::sample::select(vec![
        SessionRefusal::Unknown,
        SessionRefusal::TooMany,
        SessionRefusal::Busy,
    ]);
    let ended = prop::sample::select(vec![
        SessionEnd::Closed,
        SessionEnd::Expired,
        SessionEnd::Moved,
        SessionEnd::Gone,
    ]);
    prop_oneof![
        any::<(u64, u32, u32, u64)>().prop_map(|(session, timeout_ms, generation, revision)| {
            let (session, revision) = (SessionId(session), Revision(revision));
            ServerMessage::Attached { session, timeout_ms, generation, revision }
        }),
        any::<(u64, [u8; 16], u32, u64)>().prop_map(|(session, secret, timeout_ms, revision)| {
            let (session, revision) = (SessionId(session), Revision(revision));
            let secret = SessionSecret(secret);
            ServerMessage::Opened { session, secret, timeout_ms, revision }
        }),
        refused.prop_map(|reason| ServerMessage::SessionRefused { reason }),
        ended.prop_map(|reason| ServerMessage::SessionClosed { reason }),
        any::<bool>().prop_map(|primary| ServerMessage::Status { primary }),
        any::<(u64, u64)>().prop_map(|(nonce, revision)| ServerMessage::Pong {
            nonce,
            revision: Revision(revision)
        }),
    ]
}

fn answers() -> impl Strategy<Value = ServerMessage> {
    let outcome = prop_oneof![
        any::<u64>()
            .prop_map(|last| Outcome::Refused(RequestError::PassedOver { last: RequestId(last) })),
        vec(any::<u64>(), 0..4).prop_map(|versions| {
            let written =
                versions.iter().map(|version| StepResult::Written { version: *version, key: None });
            Outcome::Txn(TxnOutcome::Committed {
                revision: Revision(7),
                branch: Branch::Otherwise,
                results: written.collect::<Vec<_>>().into(),
            })
        }),
    ];
    let result = prop_oneof![
        Just(ReadResult::NotFound),
        vec(any::<u64>(), 0..4).prop_map(|ids| ReadResult::Members {
            members: ids.into_iter().map(SessionId).collect(),
            more: true
        }),
    ];
    prop_oneof![
        (any::<u64>(), outcome).prop_map(|(request, outcome)| ServerMessage::Reply {
            request: RequestId(request),
            outcome
        }),
        (any::<u64>(), refusal()).prop_map(|(request, reason)| ServerMessage::RequestRefused {
            request: RequestId(request),
            reason
        }),
        (any::<(u64, u64)>(), result).prop_map(|((read, revision), result)| {
            ServerMessage::ReadReply { read, revision: Revision(revision), result }
        }),
        (any::<u64>(), refusal())
            .prop_map(|(read, reason)| ServerMessage::ReadRefused { read, reason }),
    ]
}

fn about_watches() -> impl Strategy<Value = ServerMessage> {
    let members = option::of(vec(any::<u64>().prop_map(SessionId), 0..5));
    prop_oneof![
        (any::<(u64, u64)>(), members).prop_map(|((watch, from), members)| {
            ServerMessage::Watching { watch: WatchId(watch), from: Revision(from), members }
        }),
        (any::<u64>(), refusal()).prop_map(|(watch, reason)| ServerMessage::WatchRefused {
            watch: WatchId(watch),
            reason
        }),
        any::<(u64, u64)>().prop_flat_map(|(watch, revision)| {
            vec(event(revision), 1..4).prop_map(move |events| ServerMessage::Events {
                watch: WatchId(watch),
                revision: Revision(revision),
                events: Arc::from(events),
            })
        }),
        any::<(u64, u64)>().prop_map(|(watch, oldest)| ServerMessage::WatchLost {
            watch: WatchId(watch),
            oldest: Revision(oldest)
        }),
    ]
}

fn server_message() -> impl Strategy<Value = ServerMessage> {
    prop_oneof![about_sessions(), answers(), about_watches()]
}

/// The bytes with one change: cut, extended, or one byte replaced.
fn damaged(bytes: &Bytes, at: usize, byte: u8, how: u8) -> Bytes {
    let mut bytes = bytes.to_vec();
    let at = at % bytes.len();
    match how % 3 {
        0 => bytes.truncate(at),
        1 => bytes.push(byte),
        _ => bytes[at] = byte,
    }
    Bytes::from(bytes)
}

proptest! {
    #[test]
    fn what_a_client_says_arrives(message in client_message()) {
        prop_assert_eq!(decode_client(&encode_client(&message)), Ok(message));
    }

    #[test]
    fn what_a_server_says_arrives(message in server_message()) {
        prop_assert_eq!(decode_server(&encode_server(&message)), Ok(message));
    }

    // Claims: C-input
    #[test]
    fn any_bytes_are_a_message_in_its_one_encoding_or_an_error(
        tag in any::<u8>(),
        rest in vec(any::<u8>(), 0..60),
    ) {
        let bytes = Bytes::from([&[PROTOCOL_VERSION, tag % 90][..], &rest].concat());
        if let Ok(message) = decode_client(&bytes) {
            prop_assert_eq!(encode_client(&message), &bytes);
        }
        if let Ok(message) = decode_server(&bytes) {
            prop_assert_eq!(encode_server(&message), bytes);
        }
    }

    #[test]
    fn a_damaged_message_is_another_message_or_an_error(
        client in client_message(),
        server in server_message(),
        (at, byte, how) in any::<(usize, u8, u8)>(),
    ) {
        let bytes = damaged(&encode_client(&client), at, byte, how);
        if let Ok(message) = decode_client(&bytes) {
            prop_assert_eq!(encode_client(&message), bytes);
        }
        let bytes = damaged(&encode_server(&server), at, byte, how);
        if let Ok(message) = decode_server(&bytes) {
            prop_assert_eq!(encode_server(&message), bytes);
        }
    }
}

#[test]
fn each_refusal_of_the_decoder_is_named() {
    let decode = |bytes: &[u8]| decode_client(&Bytes::copy_from_slice(bytes)).unwrap_err();
    assert_eq!(decode(&[]), WireError::Truncated { needed: 1 });
    assert_eq!(decode(&[9, 3]), WireError::Version { found: 9, known: 2 });
    assert_eq!(decode(&[2, 99]), WireError::UnknownTag { what: "client message", tag: 99 });
    assert_eq!(decode(&[2, 3, 0]), WireError::Trailing { count: 1 });
    // A read and an event of a kind of object that is not known.
    let kind = WireError::UnknownTag { what: "kind of object", tag: 7 };
    assert_eq!(decode(&[2, 5, 1, 0, 0, 0, 7, 1, 0, 0]), kind);
    let strange = decode_server(&Bytes::from_static(&[2, 75, 1, 1, 1, 7, 0, 1, 1, 1]));
    assert_eq!(strange, Err(kind));
    // A watch with an empty mask, and one with a bit that means nothing.
    assert_eq!(decode(&[2, 6, 1, 3, 0, 0, 0]), WireError::Invalid { what: "event mask" });
    assert_eq!(decode(&[2, 6, 1, 3, 64, 0, 0]), WireError::Invalid { what: "event mask" });
    // A key of 5000 bytes, announced only.
    let long = decode(&[2, 6, 1, 1, 0x88, 0x27]);
    assert_eq!(long, WireError::OverLimit { what: "key", found: 5000, max: 4096 });
    let events = |bytes: &[u8]| decode_server(&Bytes::copy_from_slice(bytes)).unwrap_err();
    assert_eq!(events(&[2, 75, 1, 1, 0]), WireError::Invalid { what: "event count" });
    // A member event of revision 2 in a message of revision 1.
    let strange = events(&[2, 75, 1, 1, 1, 0, 0, 2, 9, 1]);
    assert_eq!(strange, WireError::Invalid { what: "event revision" });
}

#[test]
fn a_client_cannot_say_whose_identities_it_has() {
    let request = ClientMessage::Request {
        request: RequestId(1),
        acked_below: RequestId(0),
        op: Bytes::from_static(&[2, 0, 2, 2, b'/', b'a', 1]),
    };
    let query = ReadQuery::Tree(TreeQuery {
        identities: vec![Identity::new("super", "")],
        question: TreeQuestion::One(ZnodeQuestion { what: Ask::Data, path: "/a".into() }),
    });
    let (consistency, after, watch) = (Consistency::Local, None, None);
    let read = ClientMessage::Read { read: 1, consistency, after, watch, query };
    for message in [request, read] {
        assert!(decode_client(&encode_client(&message)).is_err(), "{message:?}");
    }
}
