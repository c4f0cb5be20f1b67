//! Sessions: exactly once, attachments, ends, and every refusal.

use crate::support::*;
use accord_core::holder::{Holder, Principal, SecretKey};
use accord_core::ids::{NodeId, RequestId, Revision, SessionId};
use accord_core::limits::Limits;
use accord_core::state::{
    AttachError, Command, Completion, EndCause, Flags, NoSession, Outcome, ReadQuery, ReadResult,
    RequestError, SessionInfo, State, Step, Txn, TxnOutcome,
};
use accord_core::wire::{Encode, WireError, Writer};
use bytes::Bytes;

const OTHER: NodeId = NodeId(2);

fn append(key: &str) -> Txn {
    Txn::of(vec![write(key, "x", 0, Flags::CREATE | Flags::APPEND)])
}

fn ephemeral(key: &str) -> Txn {
    Txn::of(vec![write(key, "", 0, Flags::CREATE | Flags::EPHEMERAL)])
}

// Claims: C-write-once
#[test]
fn a_retry_is_answered_from_the_record_and_changes_nothing() {
    let mut world = World::new(Limits::tiny());
    let session = world.session;
    let first = world.request(session, 1, 0, append("k"));
    let failed = world.request(session, 2, 0, Txn::of(vec![delete("none")]));
    world.request(session, 3, 0, append("k"));
    let (revision, contents) = (world.state.revision(), world.contents());
    for (number, recorded) in [(1, &first), (2, &failed), (1, &first)] {
        assert_eq!(world.request(session, number, 0, append("k")), *recorded);
        assert_eq!(world.events(), Vec::<String>::new(), "a duplicate has no events");
    }
    assert_eq!((world.state.revision(), world.contents()), (revision, contents));
    assert!(matches!(first, Outcome::Txn(TxnOutcome::Committed { revision: Revision(2), .. })));
}

#[test]
fn a_number_without_a_record_is_acknowledged_or_passed_over() {
    let mut world = World::new(Limits::tiny());
    let session = world.session;
    world.request(session, 1, 0, append("k"));
    world.request(session, 4, 0, append("k"));
    let refused = |error| Outcome::Refused(error);
    let (last, acked_below) = (RequestId(4), RequestId(2));
    let passed_over = refused(RequestError::PassedOver { last });
    assert_eq!(world.request(session, 2, 0, append("k")), passed_over);
    // From now on the client holds the answer of 1.
    assert_eq!(world.request(session, 3, 2, append("k")), passed_over);
    let acknowledged = refused(RequestError::Acknowledged { acked_below });
    assert_eq!(world.request(session, 1, 0, append("k")), acknowledged);
    assert_eq!(world.request(session, 0, 0, append("k")), refused(RequestError::Malformed));
    assert_eq!(world.value("k"), Some(b"xx".to_vec()));
    assert_eq!(world.state.session(session).map(|open| open.outcomes()), Some(1));
}

#[test]
fn an_acknowledgement_of_what_was_never_asked_counts_only_up_to_the_last() {
    let mut world = World::new(Limits::tiny());
    let session = world.session;
    world.request(session, 1, 0, append("k"));
    // Sent in vain: refused for its size, though it acknowledges everything below 9.
    let large = Txn::of(vec![put("k", &"x".repeat(600))]);
    let too_large = Outcome::Refused(RequestError::CommandTooLarge);
    assert_eq!(world.request(session, 9, 9, large), too_large);
    world.request(session, 2, 0, append("k"));
    assert_eq!(world.value("k"), Some(b"xx".to_vec()), "request 2 was not lost to it");
    // The largest number there is ends the session's numbering, and nothing else.
    world.request(session, u64::MAX, u64::MAX, append("k"));
    let again = world.request(session, u64::MAX, u64::MAX, append("k"));
    assert!(matches!(again, Outcome::Txn(_)));
    let last = RequestId(u64::MAX);
    let refused = world.request(session, u64::MAX - 1, u64::MAX, append("k"));
    assert!(matches!(refused, Outcome::Refused(RequestError::Acknowledged { .. })));
    assert_eq!(world.state.session(session).map(|open| open.last()), Some(last));
}

#[test]
fn a_full_window_refuses_before_any_effect_until_something_is_acknowledged() {
    let mut world = World::new(Limits { outcome_bytes_max: 1000, ..Limits::tiny() });
    let session = world.session;
    for number in 1..=3 {
        world.request(session, number, 0, append("k"));
    }
    let full = Outcome::Refused(RequestError::WindowFull);
    assert_eq!(world.request(session, 4, 0, append("k")), full);
    assert_eq!(world.request(session, 5, 1, append("k")), full);
    assert_eq!(world.value("k"), Some(b"xxx".to_vec()));
    assert!(matches!(world.request(session, 4, 2, append("k")), Outcome::Txn(_)));
    assert_eq!(world.value("k"), Some(b"xxxx".to_vec()));
    assert!(matches!(world.request(session, 2, 0, append("k")), Outcome::Txn(_)), "recorded");
}

#[test]
fn the_window_is_bounded_in_bytes_too() {
    let mut world = World::new(Limits::tiny());
    let session = world.session;
    world.request(session, 1, 0, Txn::of(vec![put("k", &"x".repeat(60))]));
    // 64 bytes for the first result, then 124 for the read: 188 of 160.
    world.request(session, 2, 0, Txn::of(vec![get("k")]));
    let full = Outcome::Refused(RequestError::WindowFull);
    assert_eq!(world.request(session, 3, 0, append("k")), full);
    assert!(matches!(world.request(session, 3, 3, append("k")), Outcome::Txn(_)));
}

#[test]
fn a_refused_request_has_no_number_and_can_be_put_right() {
    let mut world = World::new(Limits::tiny());
    let session = world.session;
    let many = Txn::of(vec![get("k"); 9]);
    let too_many = Outcome::Refused(RequestError::TooManySteps);
    assert_eq!(world.request(session, 1, 0, many), too_many);
    let guard = vec![cmp("k", ""); 9];
    let txn = Txn { guard, ..Txn::default() };
    assert_eq!(world.request(session, 1, 0, txn), too_many);
    for txn in [
        &b""[..],
        b"\x01",
        b"\x01\0\0",
        b"\x01\0\0\0\0",
        b"\x01\0\x01\x63\0\0",
        b"\x01\0\x01\x03\x05k\0",
    ] {
        let mut out = Writer::new();
        let (request, acked_below) = (RequestId(1), RequestId(0));
        accord_core::state::encode_request(session, request, acked_below, txn, &mut out);
        let outcome = Outcome::Refused(RequestError::Malformed);
        let expected = Completion::Request { session, request, outcome };
        assert_eq!(world.apply_bytes(&out.finish()), expected, "{txn:?}");
    }
    assert!(matches!(world.request(session, 1, 0, append("k")), Outcome::Txn(_)));
}

#[test]
fn an_operation_on_an_unknown_kind_of_object_is_refused_by_name_and_may_be_replaced() {
    let mut world = World::new(Limits::tiny());
    let session = world.session;
    let (request, acked_below) = (RequestId(1), RequestId(0));
    let mut out = Writer::new();
    accord_core::state::encode_request(session, request, acked_below, b"\x07what", &mut out);
    let outcome = Outcome::Refused(RequestError::UnknownKind { kind: 7 });
    let expected = Completion::Request { session, request, outcome };
    assert_eq!(world.apply_bytes(&out.finish()), expected);
    assert_eq!(world.events(), Vec::<String>::new());
    // The session's numbering is as before.
    assert!(matches!(world.request(session, 1, 0, append("k")), Outcome::Txn(_)));
}

#[test]
fn bytes_that_are_no_command_change_nothing() {
    let mut world = World::new(Limits::tiny());
    let revision = world.state.revision();
    let close = Command::Close { session: world.session }.to_bytes();
    let longer = Bytes::from([&close[..], b"!"].concat());
    for (bytes, error) in [
        (Bytes::new(), WireError::Truncated { needed: 1 }),
        (close.slice(..2), WireError::Truncated { needed: 1 }),
        (longer, WireError::Trailing { count: 1 }),
        (Bytes::from_static(b"\x09\x01"), WireError::Version { found: 9, known: 2 }),
        (Bytes::from_static(b"\x02\x09"), WireError::UnknownTag { what: "command", tag: 9 }),
    ] {
        assert_eq!(world.apply_bytes(&bytes), Completion::Malformed { error });
    }
    assert_eq!(world.state.revision(), revision);
    assert_eq!(world.events(), Vec::<String>::new());
}

#[test]
fn ended_and_unknown_sessions_are_told_apart() {
    let mut world = World::new(Limits::tiny());
    let session = world.session;
    world.apply(&Command::Close { session });
    let refused = |error| Outcome::Refused(error);
    let never = SessionId(99);
    for (session, error, request_error) in [
        (session, NoSession::Ended, RequestError::SessionEnded),
        (never, NoSession::Unknown, RequestError::SessionUnknown),
        (SessionId(0), NoSession::Unknown, RequestError::SessionUnknown),
    ] {
        assert_eq!(world.request(session, 1, 0, append("k")), refused(request_error));
        let attach = Command::Attach { server: HOME, session, token: 3, holder: Holder::default() };
        let refused = AttachError::NoSession(error);
        let expected =
            Completion::AttachRefused { server: HOME, token: 3, session, error: refused };
        assert_eq!(world.apply(&attach), expected);
        let expected = Completion::CloseRefused { session, error };
        assert_eq!(world.apply(&Command::Close { session }), expected);
        let expire = Command::Expire { server: HOME, session, generation: 1 };
        let expected = Completion::ExpireIgnored { server: HOME, session, generation: 1 };
        assert_eq!(world.apply(&expire), expected);
        assert_eq!(world.state.read(&ReadQuery::Session { session }), ReadResult::NotFound);
    }
}

// Claims: C-outcome-failed
#[test]
fn only_definite_refusals_promise_that_nothing_ran() {
    let number = RequestId(1);
    for (error, definite) in [
        (RequestError::SessionUnknown, true),
        (RequestError::SessionEnded, false),
        (RequestError::Acknowledged { acked_below: number }, false),
        (RequestError::PassedOver { last: number }, true),
        (RequestError::WindowFull, true),
        (RequestError::Malformed, true),
        (RequestError::CommandTooLarge, true),
        (RequestError::TooManySteps, true),
        (RequestError::UnknownKind { kind: 7 }, true),
    ] {
        assert_eq!(error.is_definite(), definite, "{error}");
    }
}

// Claims: C-members
#[test]
fn joining_and_leaving_are_events_with_the_number_of_members() {
    let mut world = World::new(Limits::tiny());
    assert_eq!(world.events(), ["Joined s1 of 1"]);
    let second = world.open();
    assert_eq!((second, world.events()), (SessionId(2), vec!["Joined s2 of 2".into()]));
    let members = ReadQuery::Members { after: None, limit: 9 };
    let expected = vec![SessionId(1), SessionId(2)];
    assert_eq!(world.state.read(&members), ReadResult::Members { members: expected, more: false });
    let first = ReadQuery::Members { after: None, limit: 1 };
    let expected = ReadResult::Members { members: vec![SessionId(1)], more: true };
    assert_eq!(world.state.read(&first), expected);
    let rest = ReadQuery::Members { after: Some(SessionId(1)), limit: 9 };
    let expected = ReadResult::Members { members: vec![SessionId(2)], more: false };
    assert_eq!(world.state.read(&rest), expected);
    let ended = Completion::Ended { session: SessionId(1), cause: EndCause::Closed };
    assert_eq!(world.apply(&Command::Close { session: SessionId(1) }), ended);
    assert_eq!(world.events(), ["Left s1 of 1"]);
}

#[test]
fn there_are_at_most_as_many_sessions_as_the_limit_says() {
    let mut world = World::new(Limits::tiny());
    let last = (0..3).map(|_| world.open()).last().expect("three were opened");
    let open = Command::Open { server: OTHER, token: 5, timeout_ms: 1, holder: Holder::default() };
    assert_eq!(world.apply(&open), Completion::OpenRefused { server: OTHER, token: 5 });
    assert_eq!((world.state.revision(), world.events()), (Revision(4), vec![]));
    world.apply(&Command::Close { session: last });
    let (session, timeout_ms) = (SessionId(6), 10);
    let opened = Completion::Opened { server: OTHER, token: 5, session, timeout_ms };
    assert_eq!(world.apply(&open), opened, "the timeout is raised to the least there is");
}

// Claims: C-ephemeral
#[test]
fn ephemeral_records_die_with_their_session_in_one_revision_before_it_leaves() {
    let mut world = World::new(Limits::tiny());
    let session = world.open();
    world.request(session, 1, 0, ephemeral("e/2"));
    world.request(session, 2, 2, ephemeral("e/1"));
    world.request(session, 3, 3, append("stays"));
    world.commit(vec![write("mine", "", 0, Flags::CREATE | Flags::EPHEMERAL)]);
    // A write by another session does not change whose record it is.
    world.commit(vec![write("e/1", "x", 0, Flags::CREATE | Flags::EPHEMERAL)]);
    let before = world.state.revision();
    let ended = Completion::Ended { session, cause: EndCause::Closed };
    assert_eq!(world.apply(&Command::Close { session }), ended);
    assert_eq!(
        world.events(),
        ["Deleted e/1 v2 @0 of 0", "Deleted e/2 v1 @0 of 0", "Left s2 of 1"]
    );
    let revisions: Vec<_> = world.events.iter().map(|event| event.revision()).collect();
    assert_eq!(revisions, [before.next(); 3]);
    let keys: Vec<_> = world.contents().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["mine", "stays"]);
}

#[test]
fn an_ephemeral_record_that_was_deleted_or_made_anew_is_no_longer_its_first_owners() {
    let mut world = World::new(Limits::tiny());
    let session = world.open();
    world.request(session, 1, 0, ephemeral("e"));
    world.commit(vec![delete("e"), put("e", "lasting")]);
    world.apply(&Command::Close { session });
    assert_eq!(world.value("e"), Some(b"lasting".to_vec()));
}

// Claims: C-session-attached
#[test]
fn an_expiry_counts_for_the_attachment_that_was_silent_and_by_who_may_say_so() {
    let mut world = World::new(Limits::tiny());
    let session = world.session;
    let expire = |server, generation| Command::Expire { server, session, generation };
    let ignored = |server, generation| Completion::ExpireIgnored { server, session, generation };
    let attach = Command::Attach { server: OTHER, session, token: 4, holder: Holder::default() };
    assert_eq!(world.apply(&expire(OTHER, 1)), ignored(OTHER, 1), "not the owner");
    let attached = Completion::Attached {
        server: OTHER,
        token: 4,
        session,
        generation: 2,
        timeout_ms: 500,
        last: RequestId(0),
    };
    assert_eq!(world.apply(&attach), attached);
    assert_eq!(world.events(), Vec::<String>::new());
    assert_eq!(world.apply(&expire(HOME, 1)), ignored(HOME, 1), "no longer the owner");
    assert_eq!(world.apply(&expire(HOME, 2)), ignored(HOME, 2), "no longer the owner");
    assert_eq!(world.apply(&expire(OTHER, 1)), ignored(OTHER, 1), "attached again since");
    let ended = Completion::Ended { session, cause: EndCause::Expired };
    assert_eq!(world.apply(&expire(OTHER, 2)), ended);
    assert_eq!(world.events(), ["Left s1 of 0"]);
}

// Claims: C-session-collected, C-session-attached
#[test]
fn an_orphan_may_be_expired_by_anyone_unless_it_is_attached_again() {
    let mut world = World::new(Limits::tiny());
    let (first, second) = (world.session, world.open());
    let info = |world: &World, session| match world.state.read(&ReadQuery::Session { session }) {
        ReadResult::Session(info) => info,
        other => panic!("{other:?}"),
    };
    world.request(second, 1, 0, ephemeral("e"));
    world.state.apply_marker(&[HOME, OTHER]);
    assert_eq!(info(&world, first).owner, Some(HOME));
    world.state.apply_marker(&[OTHER]);
    world.state.check();
    let expected = SessionInfo {
        owner: None,
        generation: 1,
        timeout_ms: 500,
        last: RequestId(1),
        ephemerals: 1,
    };
    assert_eq!(info(&world, second), expected);
    world.apply(&Command::Attach {
        server: OTHER,
        session: second,
        token: 0,
        holder: Holder::default(),
    });
    let adopter = NodeId(3);
    for session in [first, second] {
        world.apply(&Command::Expire { server: adopter, session, generation: 1 });
    }
    let open: Vec<_> = world.state.sessions().map(|(id, _)| id).collect();
    assert_eq!(open, [second]);
    // What ran before the attachment is still known after it.
    let again = world.request(second, 1, 0, ephemeral("other"));
    assert!(matches!(again, Outcome::Txn(TxnOutcome::Committed { .. })));
    assert_eq!(world.value("other"), None);
}

#[test]
fn a_detached_event_shares_nothing_with_its_message_and_says_the_same() {
    let mut world = World::new(Limits::tiny());
    world.commit(vec![put("key", "value")]);
    let event = world.events[0].clone();
    assert_eq!(event.detached(), event);
    world.open();
    let event = world.events[0].clone();
    assert_eq!(event.detached(), event);
    assert_eq!(event.revision(), world.state.revision());
}

#[test]
fn steps_that_read_leave_no_trace_in_the_order() {
    let mut world = World::new(Limits::tiny());
    world.commit(vec![put("k", "v")]);
    let revision = world.state.revision();
    world.commit(vec![get("k"), Step::Compare(cmp("k", "v"))]);
    assert_eq!(world.state.revision(), revision);
}

// Claims: C-session-secret
#[test]
fn a_session_is_attached_by_its_secret_alone() {
    let mut world = World::new(Limits::tiny());
    let key = SecretKey::new([7; 32]);
    let holder =
        |number| Holder { principal: Principal::Anonymous, secret: key.secret(number).hash() };
    let open = Command::Open { server: HOME, token: 1, timeout_ms: 500, holder: holder(1) };
    let Completion::Opened { session, .. } = world.apply(&open) else { panic!("not opened") };
    let attach = |holder| Command::Attach { server: OTHER, session, token: 2, holder };
    for wrong in [holder(2), Holder::default()] {
        let error = AttachError::NotHolder;
        let expected = Completion::AttachRefused { server: OTHER, token: 2, session, error };
        assert_eq!(world.apply(&attach(wrong)), expected);
        let open = world.state.session(session).expect("it lives");
        assert_eq!((open.owner(), open.generation()), (Some(HOME), 1), "nothing happened");
    }
    // It is the same after the state was written down and read back.
    let bytes = world.state.snapshot();
    world.state = State::restore(&bytes, Limits::tiny()).expect("it is a snapshot");
    assert!(matches!(world.apply(&attach(holder(2))), Completion::AttachRefused { .. }));
    assert!(matches!(world.apply(&attach(holder(1))), Completion::Attached { generation: 2, .. }));
}
