//! Encodings: what goes in comes out, and any bytes are a value or an error.

use accord_core::holder::{Holder, Principal, SecretHash};
use accord_core::ids::{NodeId, RequestId, Revision, SessionId};
use accord_core::state::*;
use accord_core::wire::{Decode, Encode};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

fn flags(allowed: u8) -> impl Strategy<Value = Flags> {
    let all = [
        Flags::CREATE,
        Flags::EXCLUSIVE,
        Flags::APPEND,
        Flags::REPLACE,
        Flags::EPHEMERAL,
        Flags::SEQUENCE,
    ];
    any::<u8>().prop_map(move |bits| {
        let chosen = all.iter().filter(|flag| flag.bits() & bits & allowed != 0);
        chosen.fold(Flags::NONE, |sum, flag| sum | *flag)
    })
}

pub fn relation() -> impl Strategy<Value = Relation> {
    prop::sample::select(Relation::ALL.to_vec())
}

/// Comparisons of these keys and values with numbers up to `number_max`.
pub fn compare(
    key: BoxedStrategy<Bytes>,
    value: BoxedStrategy<Bytes>,
    number_max: u64,
) -> BoxedStrategy<Compare> {
    let number = 0..=number_max;
    let (k, r) = (key.clone(), relation());
    prop_oneof![
        (k.clone(), relation(), value).prop_map(|(key, relation, value)| Compare::Value {
            key,
            relation,
            value
        }),
        (k.clone(), relation(), k.clone()).prop_map(|(key, relation, other)| Compare::Keys {
            key,
            relation,
            other
        }),
        (k.clone(), relation(), number.clone())
            .prop_map(|(key, relation, version)| Compare::Version { key, relation, version }),
        (k.clone(), relation(), number.clone()).prop_map(|(key, relation, number)| {
            Compare::Created { key, relation, revision: Revision(number) }
        }),
        (k.clone(), r, number).prop_map(|(key, relation, number)| {
            Compare::Modified { key, relation, revision: Revision(number) }
        }),
        k.clone().prop_map(|key| Compare::Exists { key }),
        k.prop_map(|key| Compare::Missing { key }),
    ]
    .boxed()
}

pub fn query(key: BoxedStrategy<Bytes>) -> BoxedStrategy<ListQuery> {
    let range = prop_oneof![
        key.clone().prop_map(Range::Prefix),
        (key.clone(), option::of(key.clone()))
            .prop_map(|(from, until)| Range::Span { from, until }),
    ];
    (range, option::of(key), 0u32..5, any::<bool>())
        .prop_map(|(range, after, limit, keys_only)| ListQuery { range, after, limit, keys_only })
        .boxed()
}

/// Any step, of these keys, values, offsets and numbers.
pub fn step(
    key: BoxedStrategy<Bytes>,
    value: BoxedStrategy<Bytes>,
    offset: BoxedStrategy<u64>,
    number_max: u64,
) -> BoxedStrategy<Step> {
    let k = || key.clone();
    let width = prop::sample::select(vec![Width::Four, Width::Eight]);
    prop_oneof![
        2 => (k(), offset.clone(), offset.clone())
            .prop_map(|(key, offset, length_max)| Step::Read { key, offset, length_max }),
        6 => (k(), value.clone(), offset.clone(), flags(63))
            .prop_map(|(key, value, offset, flags)| Step::Write { key, value, offset, flags }),
        2 => k().prop_map(|key| Step::Delete { key }),
        2 => (k(), k(), flags(19))
            .prop_map(|(source, target, flags)| Step::Copy { source, target, flags }),
        2 => compare(k(), value, number_max).prop_map(Step::Compare),
        3 => (k(), any::<i64>(), option::of(offset), width, flags(17)).prop_map(
            |(key, delta, offset, width, flags)| {
                Step::Increment { key, delta, offset, width, flags }
            }
        ),
        2 => query(k()).prop_map(Step::List),
    ]
    .boxed()
}

fn any_step() -> BoxedStrategy<Step> {
    step(bytes(30).boxed(), bytes(30).boxed(), any::<u64>().boxed(), u64::MAX)
}

fn txn() -> impl Strategy<Value = Txn> {
    let guard = vec(compare(bytes(9).boxed(), bytes(9).boxed(), u64::MAX), 0..3);
    (guard, vec(any_step(), 0..5), vec(any_step(), 0..3)).prop_map(|(guard, then, otherwise)| Txn {
        guard,
        then,
        otherwise,
    })
}

fn holder() -> impl Strategy<Value = Holder> {
    any::<[u8; 16]>()
        .prop_map(|secret| Holder { principal: Principal::Anonymous, secret: SecretHash(secret) })
}

fn command() -> impl Strategy<Value = Command> {
    let (server, session) = (any::<u32>().prop_map(NodeId), any::<u64>().prop_map(SessionId));
    prop_oneof![
        4 => (session.clone(), any::<u64>(), any::<u64>(), txn()).prop_map(
            |(session, request, acked, txn)| {
                let (request, acked_below) = (RequestId(request), RequestId(acked));
                Command::Request { session, request, acked_below, op: Op::Kv(txn) }
            }
        ),
        1 => (server.clone(), any::<u64>(), any::<u32>(), holder()).prop_map(
            |(server, token, timeout_ms, holder)| {
                Command::Open { server, token, timeout_ms, holder }
            }
        ),
        1 => (server.clone(), session.clone(), any::<u64>(), holder()).prop_map(
            |(server, session, token, holder)| Command::Attach { server, session, token, holder }
        ),
        1 => session.clone().prop_map(|session| Command::Close { session }),
        1 => (server, session, any::<u32>()).prop_map(|(server, session, generation)| {
            Command::Expire { server, session, generation }
        }),
    ]
}

fn stat() -> impl Strategy<Value = Stat> {
    (any::<[u64; 4]>(), option::of(any::<u64>())).prop_map(|(n, owner)| Stat {
        version: n[0],
        created: Revision(n[1]),
        modified: Revision(n[2]),
        size: n[3],
        owner: owner.map(SessionId),
    })
}

fn page() -> impl Strategy<Value = Page> {
    let entry = (bytes(9), stat(), option::of(bytes(9))).prop_map(|(key, stat, value)| ListEntry {
        key,
        stat,
        value,
    });
    (vec(entry, 0..4), any::<bool>()).prop_map(|(entries, more)| Page { entries, more })
}

fn result() -> impl Strategy<Value = StepResult> {
    prop_oneof![
        (bytes(9), stat()).prop_map(|(value, stat)| StepResult::Read { value, stat }),
        (any::<u64>(), option::of(bytes(9)))
            .prop_map(|(version, key)| StepResult::Written { version, key }),
        Just(StepResult::Deleted),
        any::<u64>().prop_map(|version| StepResult::Copied { version }),
        Just(StepResult::Held),
        any::<[u64; 2]>().prop_map(|[value, version]| StepResult::Incremented { value, version }),
        page().prop_map(StepResult::Listed),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let branch = prop::sample::select(vec![Branch::Then, Branch::Otherwise]);
    let request_error = any::<u64>().prop_flat_map(|number| {
        let number = RequestId(number);
        prop::sample::select(vec![
            RequestError::SessionUnknown,
            RequestError::SessionEnded,
            RequestError::Acknowledged { acked_below: number },
            RequestError::PassedOver { last: number },
            RequestError::WindowFull,
            RequestError::Malformed,
            RequestError::CommandTooLarge,
            RequestError::TooManySteps,
            RequestError::UnknownKind { kind: 200 },
        ])
    });
    prop_oneof![
        (any::<u64>(), branch.clone(), vec(result(), 0..4)).prop_map(
            |(revision, branch, results)| {
                let (revision, results) = (Revision(revision), Results::from(results));
                Outcome::Txn(TxnOutcome::Committed { revision, branch, results })
            }
        ),
        (branch, any::<u32>(), prop::sample::select(StepError::ALL.to_vec())).prop_map(
            |(branch, step, error)| Outcome::Txn(TxnOutcome::Aborted { branch, step, error })
        ),
        request_error.prop_map(Outcome::Refused),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let kind = prop::sample::select(KeyEventKind::ALL.to_vec());
    let member = prop::sample::select(vec![MemberEventKind::Joined, MemberEventKind::Left]);
    prop_oneof![
        (kind, bytes(9), bytes(9), any::<[u64; 4]>()).prop_map(|(kind, key, data, n)| {
            let (revision, version, offset, size) = (Revision(n[0]), n[1], n[2], n[3]);
            Event::Key(KeyEvent { revision, kind, key, version, offset, data, size })
        }),
        (member, any::<[u64; 2]>(), any::<u32>()).prop_map(
            |(kind, [revision, session], members)| {
                let (revision, session) = (Revision(revision), SessionId(session));
                Event::Member(MemberEvent { revision, kind, session, members })
            }
        ),
    ]
}

fn read_query() -> impl Strategy<Value = ReadQuery> {
    let session = any::<u64>().prop_map(SessionId);
    prop_oneof![
        (bytes(9), any::<u64>(), any::<u64>())
            .prop_map(|(key, offset, length_max)| ReadQuery::Get { key, offset, length_max }),
        query(bytes(9).boxed()).prop_map(ReadQuery::List),
        (option::of(session.clone()), any::<u32>())
            .prop_map(|(after, limit)| ReadQuery::Members { after, limit }),
        session.prop_map(|session| ReadQuery::Session { session }),
    ]
}

fn read_result() -> impl Strategy<Value = ReadResult> {
    let session = any::<u64>().prop_map(SessionId);
    let info = (option::of(any::<u32>()), any::<[u32; 3]>(), any::<u64>()).prop_map(
        |(owner, [generation, timeout_ms, ephemerals], last)| SessionInfo {
            owner: owner.map(NodeId),
            generation,
            timeout_ms,
            last: RequestId(last),
            ephemerals,
        },
    );
    prop_oneof![
        (bytes(9), stat()).prop_map(|(value, stat)| ReadResult::Value { value, stat }),
        Just(ReadResult::NotFound),
        page().prop_map(ReadResult::Listed),
        (vec(session, 0..5), any::<bool>())
            .prop_map(|(members, more)| ReadResult::Members { members, more }),
        info.prop_map(ReadResult::Session),
    ]
}

fn round_trip<T: Encode + Decode + PartialEq + std::fmt::Debug>(value: &T) {
    let bytes = value.to_bytes();
    assert_eq!(T::from_bytes(&bytes).as_ref(), Ok(value));
    for length in 0..bytes.len() {
        assert!(T::from_bytes(&bytes.slice(..length)).is_err(), "cut to {length} of {bytes:?}");
    }
}

/// Bytes that are a value are its one encoding.
fn canonical<T: Encode + Decode>(bytes: &Bytes) {
    if let Ok(value) = T::from_bytes(bytes) {
        assert_eq!(value.to_bytes(), bytes);
    }
}

fn canonical_everywhere(bytes: &Bytes) {
    canonical::<Command>(bytes);
    canonical::<Txn>(bytes);
    canonical::<Outcome>(bytes);
    canonical::<Event>(bytes);
    canonical::<ReadQuery>(bytes);
    canonical::<ReadResult>(bytes);
}

proptest! {
    #[test]
    fn values_round_trip(
        command in command(), outcome in outcome(), event in event(),
        query in read_query(), result in read_result(),
    ) {
        round_trip(&command);
        round_trip(&outcome);
        round_trip(&event);
        round_trip(&query);
        round_trip(&result);
        assert_eq!(outcome.detached(), outcome);
    }

    // Claims: C-input
    #[test]
    fn any_bytes_are_a_value_or_an_error(bytes in bytes(80)) {
        canonical_everywhere(&bytes);
    }

    #[test]
    fn a_damaged_encoding_is_a_value_or_an_error(
        command in command(), outcome in outcome(), at: prop::sample::Index, byte: u8,
    ) {
        for bytes in [command.to_bytes(), outcome.to_bytes()] {
            let mut bytes = bytes.to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            canonical_everywhere(&Bytes::from(bytes));
        }
    }

    #[test]
    fn an_encoded_transaction_can_be_passed_on(command in command()) {
        if let Command::Request { session, request, acked_below, op } = &command {
            let mut out = accord_core::wire::Writer::new();
            encode_request(*session, *request, *acked_below, &op.to_bytes(), &mut out);
            assert_eq!(out.finish(), command.to_bytes());
        }
    }
}

// Claims: C-input
#[test]
fn a_count_is_not_believed_before_there_are_bytes_for_it() {
    // 65,535 comparisons announced, none there.
    let bytes = Bytes::from_static(&[0xff, 0xff, 0x03]);
    assert!(Txn::from_bytes(&bytes).is_err());
    // A page of 2^40 entries.
    let mut out = accord_core::wire::Writer::new();
    out.raw(&[1, 2]);
    out.varint(1 << 40);
    assert!(ReadResult::from_bytes(&out.finish()).is_err());
}

#[test]
fn flags_that_a_step_does_not_take_are_refused() {
    let key = || Bytes::from_static(b"k");
    let flags = Flags::APPEND;
    for step in [
        Step::Copy { source: key(), target: key(), flags },
        Step::Increment { key: key(), delta: 1, offset: None, width: Width::Four, flags },
    ] {
        let txn = Txn::of(vec![step]);
        assert!(Txn::from_bytes(&txn.to_bytes()).is_err(), "{txn:?}");
    }
}
