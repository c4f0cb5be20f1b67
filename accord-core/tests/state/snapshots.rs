//! Snapshots and digests: canonical, restored exactly, and total on what is none.

use crate::reseal::{TRAILER, reseal};
use crate::support::*;
use accord_core::holder::Holder;
use accord_core::ids::{RequestId, Stamp};
use accord_core::limits::Limits;
use accord_core::pieces::Pieces;
use accord_core::state::snapshot::SNAPSHOT_VERSION;
use accord_core::state::{Command, Completion, Flags, Op, Range, SnapshotError, State, Step, Txn};
use accord_core::wire::{Encode, WireError};
use bytes::Bytes;
use proptest::prelude::*;

/// A state with something of everything, over several chunks.
fn full() -> World {
    let mut world = World::new(Limits::default());
    let second = world.open();
    for number in 1..=1500 {
        let key = format!("key/{number:05}");
        world.commit(vec![put(&key, &"v".repeat(number % 97))]);
    }
    world.commit(vec![put(&"long".repeat(20), &"x".repeat(100_000)), put("", "empty key")]);
    let ephemeral = write("e", "mine", 0, Flags::CREATE | Flags::EPHEMERAL);
    let sequence = write("s", "", 0, Flags::SEQUENCE);
    world.request(second, 1, 0, Txn::of(vec![ephemeral, sequence, get("e")]));
    world.request(second, 2, 0, Txn::of(vec![delete("none")]));
    world.request(second, 5, 0, Txn::of(vec![Step::List(list(Range::ALL, None, 3))]));
    world.state.apply_marker(&[]);
    world
}

fn restore(bytes: &Bytes) -> Result<State, SnapshotError> {
    State::restore(bytes, Limits::default())
}

// Claims: C-state-same
#[test]
fn a_restored_state_is_the_same_and_goes_on_the_same() {
    let mut world = full();
    let bytes = world.state.snapshot();
    let mut restored = restore(&bytes).expect("it is a snapshot");
    restored.check();
    assert_eq!(restored.snapshot(), bytes);
    assert_eq!(restored.digest(), world.state.digest());
    assert_eq!(restored.digest_full(), world.state.digest_full());
    assert_eq!(restored.revision(), world.state.revision());
    assert_eq!(restored.records(), world.state.records());
    let session = world.session;
    let mut events = Vec::new();
    for command in [
        Command::Attach { server: HOME, session, token: 1, holder: Holder::default() },
        Command::Close { session },
        Command::Open { server: HOME, token: 2, timeout_ms: 0, holder: Holder::default() },
    ] {
        let completion = world.apply(&command);
        assert_eq!(restored.apply(&command.to_bytes(), &mut events), completion);
        assert_eq!(events, world.events);
    }
    assert_eq!(restored.digest(), world.state.digest());
}

#[test]
fn a_frozen_state_stays_as_it_was_whatever_is_applied_later() {
    let mut world = full();
    let (frozen, bytes) = (world.state.freeze(), world.state.snapshot());
    let (image, other) = (frozen.image(), frozen.image());
    let large = |image: &Pieces| {
        image.iter().find(|piece| piece.len() == 100_000).expect("it is a piece").as_ptr()
    };
    assert_eq!(large(&image), large(&other), "the large value is not copied");
    let long = "long".repeat(20);
    world.commit(vec![write(&long, "y", 7, Flags::NONE), delete("key/00700")]);
    world.commit(vec![write(&long, "y", 0, Flags::APPEND), put("key/00701", "changed")]);
    for number in 0..1500 {
        world.commit(vec![put(&format!("key/{number:05}+"), "new")]);
    }
    world.apply(&Command::Close { session: world.session });
    assert_eq!(frozen.snapshot(), bytes);
    assert_eq!(image.whole(), bytes);
    assert_eq!(frozen.digest_full(), restore(&bytes).expect("it is a snapshot").digest_full());
    assert_ne!(world.state.snapshot(), bytes);
    world.state.check();
}

// Claims: C-recover-numbers, C-recover-sessions
#[test]
fn a_renewed_state_keeps_what_lasts_and_gives_no_number_twice() {
    let mut world = full();
    let (before, second) = (world.state.revision(), world.session);
    let old = world.state.clone();
    assert_eq!(world.state.renew(u64::MAX), None);
    assert_eq!(world.state.snapshot(), old.snapshot());
    world.state.renew(1_000_000).expect("there is room");
    world.state.check();
    assert_eq!(world.state.sessions().count(), 0);
    assert_eq!(world.state.records(), old.records() - 1, "the ephemeral record is gone");
    assert_eq!(world.state.revision().0, before.0 + 1_000_000);
    assert_ne!(world.state.digest(), old.digest());
    let restored = restore(&world.state.snapshot()).expect("it is a snapshot");
    assert_eq!(restored.digest_full(), world.state.digest_full());
    // A client of the old cluster is told that its session has ended.
    let attach =
        Command::Attach { server: HOME, session: second, token: 1, holder: Holder::default() };
    assert!(matches!(world.apply(&attach), Completion::AttachRefused { .. }));
    let opened = world.open();
    assert_eq!(opened.0, before.0 + 1_000_001);
    let sequence = write("s", "", 0, Flags::SEQUENCE);
    world.request(opened, 1, 0, Txn::of(vec![sequence]));
    assert!(world.value("s00000000000001000002").is_some());
}

// Claims: C-write-once
#[test]
fn recorded_outcomes_survive_a_transfer() {
    let mut world = World::new(Limits::tiny());
    let session = world.session;
    let append = Txn::of(vec![write("k", "x", 0, Flags::CREATE | Flags::APPEND)]);
    let outcome = world.request(session, 1, 0, append.clone());
    world.state = State::restore(&world.state.snapshot(), Limits::tiny()).expect("a snapshot");
    assert_eq!(world.request(session, 1, 0, append), outcome);
    assert_eq!(world.value("k"), Some(b"x".to_vec()));
}

#[test]
fn the_digest_differs_with_the_history_and_the_full_one_with_the_content() {
    let mut a = World::new(Limits::tiny());
    let mut b = World::new(Limits::tiny());
    assert_eq!(
        (a.state.digest(), a.state.digest_full()),
        (b.state.digest(), b.state.digest_full())
    );
    a.commit(vec![put("k", "1")]);
    b.commit(vec![put("k", "2")]);
    assert_ne!(a.state.digest(), b.state.digest());
    assert_ne!(a.state.digest_full(), b.state.digest_full());
    let tiny = State::new(Limits::tiny());
    assert_ne!(tiny.digest(), State::new(Limits::default()).digest(), "limits are part of it");
    let (mut c, mut d) = (World::new(Limits::tiny()), World::new(Limits::tiny()));
    c.state.apply_marker(&[HOME]);
    d.state.apply_marker(&[]);
    assert_ne!(c.state.digest(), d.state.digest(), "markers are part of it");
}

#[test]
fn what_is_no_snapshot_is_named() {
    let world = full();
    let bytes = world.state.snapshot();
    let fail = |bytes: &[u8]| restore(&Bytes::copy_from_slice(bytes)).expect_err("not a snapshot");
    assert_eq!(fail(b""), SnapshotError::Magic);
    assert_eq!(fail(b"ACDX\x01"), SnapshotError::Magic);
    let error = WireError::Version { found: 9, known: u64::from(SNAPSHOT_VERSION) };
    assert_eq!(fail(b"ACDS\x09"), SnapshotError::Wire { chunk: 0, error });
    let mut damaged = bytes.to_vec();
    *damaged.last_mut().expect("not empty") ^= 1;
    assert!(matches!(fail(&damaged), SnapshotError::Checksum { .. }));
    let mut longer = bytes.to_vec();
    longer.push(0);
    assert!(matches!(fail(&longer), SnapshotError::Wire { error: WireError::Trailing { .. }, .. }));
    assert_eq!(State::restore(&bytes, Limits::tiny()).err(), Some(SnapshotError::Limits));
}

#[test]
fn intact_parts_of_different_snapshots_are_refused() {
    let mut world = World::new(Limits::tiny());
    world.commit(vec![put("k", "1")]);
    let before = world.state.snapshot();
    world.commit(vec![put("k", "2")]);
    let after = world.state.snapshot();
    // The trailer of the one after the body of the other.
    let trailer_bytes = 1 + 4 + 4 + 8;
    let body = &before[..before.len() - trailer_bytes];
    let mixed = [body, &after[after.len() - trailer_bytes..]].concat();
    let error = State::restore(&Bytes::from(mixed), Limits::tiny()).err();
    assert_eq!(error, Some(SnapshotError::Mixed));
}

#[test]
fn a_snapshot_that_breaks_an_invariant_is_refused() {
    // A snapshot whose limits claim to be the tiny ones, but whose values obey larger ones: made by
    // writing the tiny fingerprint over the other and the checksums and the hash anew.
    let limits = Limits {
        value_bytes_max: 1 << 20,
        store_bytes_max: 1 << 20,
        command_bytes_max: 1 << 20,
        ..Limits::tiny()
    };
    let mut world = World::new(limits);
    world.commit(vec![put("k", &"x".repeat(65))]);
    let forged = reseal(&world.state.snapshot(), |kind, payload| {
        if kind == 1 {
            payload[..8].copy_from_slice(&Limits::tiny().fingerprint().to_le_bytes());
        }
    });
    let what = "value_bytes_max holds";
    let error = State::restore(&forged, Limits::tiny()).err();
    assert_eq!(error, Some(SnapshotError::Invalid { what }));
    let mut world = World::new(Limits::tiny());
    world.commit(vec![put("k1", "v"), put("k2", "v")]);
    let swapped = reseal(&world.state.snapshot(), |kind, payload| {
        let of_records = payload.windows(2).any(|two| two == b"k1");
        if kind == ITEMS && of_records {
            let half = payload.len() / 2;
            payload.rotate_left(half);
        }
    });
    let error = State::restore(&swapped, Limits::tiny()).err();
    assert_eq!(error, Some(SnapshotError::Invalid { what: "keys ascend" }));
}

/// Kinds of chunks.
const OBJECT: u8 = 2;
const ITEMS: u8 = 3;

#[test]
fn an_object_of_an_unknown_kind_is_refused_by_name() {
    let forged = reseal(&full().state.snapshot(), |kind, payload| {
        if kind == OBJECT {
            payload[0] = 7;
        }
    });
    let error = WireError::UnknownTag { what: "kind of object", tag: 7 };
    assert_eq!(restore(&forged).err(), Some(SnapshotError::Wire { chunk: 1, error }));
}

#[test]
fn the_time_of_batches_never_goes_back_and_outlives_a_snapshot() {
    let mut world = World::new(Limits::tiny());
    let mut others = World::new(Limits::tiny());
    for (stamp, expected) in [(0, 0), (50, 50), (20, 50), (50, 50), (51, 51)] {
        world.state.begin_batch(Stamp(stamp));
        assert_eq!(world.state.stamp(), Stamp(expected));
        others.state.begin_batch(Stamp(stamp));
        assert_eq!(world.state.digest(), others.state.digest());
    }
    let mut restored = State::restore(&world.state.snapshot(), Limits::tiny()).expect("its own");
    restored.begin_batch(Stamp(7));
    assert_eq!(restored.stamp(), Stamp(51));
    others.state.begin_batch(Stamp(52));
    assert_ne!(restored.digest(), others.state.digest(), "the time is part of it");
}

#[test]
fn a_resealed_snapshot_is_one() {
    let bytes = full().state.snapshot();
    assert_eq!(reseal(&bytes, |_, _| {}), bytes);
}

#[test]
fn every_cut_of_a_snapshot_is_refused() {
    let mut world = World::new(Limits::tiny());
    world.commit(vec![put("k", "v")]);
    let bytes = world.state.snapshot();
    for length in 0..bytes.len() {
        assert!(State::restore(&bytes.slice(..length), Limits::tiny()).is_err(), "{length} bytes");
    }
}

proptest! {
    // Claims: C-input
    #[test]
    fn hostile_payloads_behind_right_checksums_never_panic(
        at in 0usize..400, byte: u8, and in 0usize..400, other: u8,
    ) {
        let mut world = World::new(Limits::tiny());
        let session = world.session;
        let ephemeral = write("e", "", 0, Flags::CREATE | Flags::EPHEMERAL);
        world.request(session, 1, 0, Txn::of(vec![put("k", "v"), ephemeral]));
        world.request(session, 2, 2, Txn::of(vec![get("k")]));
        let forged = reseal(&world.state.snapshot(), |kind, payload| {
            // The head's fingerprint and digest stay, or nothing else would be met.
            let free = if kind == 1 { 8 } else { 0 };
            if payload.len() > free && kind != TRAILER {
                let length = payload.len() - free;
                payload[free + at % length] = byte;
                payload[free + and % length] = other;
            }
        });
        if let Ok(mut state) = State::restore(&forged, Limits::tiny()) {
            state.check();
            let mut events = Vec::new();
            let txn = Txn::of(vec![put("k", "w"), put("e", "w")]);
            let (request, acked_below) = (RequestId(3), RequestId(3));
            let command = Command::Request { session, request, acked_below, op: Op::Kv(txn) };
            state.apply(&command.to_bytes(), &mut events);
            let closed = state.apply(&Command::Close { session }.to_bytes(), &mut events);
            state.check();
            let known =
                matches!(closed, Completion::Ended { .. } | Completion::CloseRefused { .. });
            prop_assert!(known);
        }
    }

    // Claims: C-input
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = bytes;
        bytes.splice(..0, *b"ACDS\x01");
        prop_assert!(State::restore(&Bytes::from(bytes), Limits::tiny()).is_err());
    }
}
