//! Encodings of what concerns the tree: each value comes back, and any other bytes are refused.

use accord_core::ids::{Revision, SessionId, Stamp};
use accord_core::state::tree::{
    Acl, AclList, Ask, CreateMode, Identity, Life, Lifetime, ReapCandidate, StepDone, TreeAnswer,
    TreeChange, TreeError, TreeEvent, TreeEventKind, TreeOp, TreeOutcome, TreeQuery, TreeQuestion,
    TreeResult, TreeStep, ZnodeAnswer, ZnodeQuestion, ZnodeStat,
};
use accord_core::state::{Command, Event, Op, Outcome, ReadQuery, ReadResult};
use accord_core::wire::{Decode, Encode};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use std::fmt::Debug;
use std::sync::Arc;

fn text() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        prop::sample::select(vec!["", "/", "/a", "/a/b", "world", "anyone", "digest"])
            .prop_map(|text| Bytes::from_static(text.as_bytes())),
        vec(any::<u8>(), 0..8).prop_map(Bytes::from),
    ]
}

fn data() -> impl Strategy<Value = Option<Bytes>> {
    prop::option::of(text())
}

fn identity() -> impl Strategy<Value = Identity> {
    (text(), text()).prop_map(|(scheme, id)| Identity { scheme, id })
}

fn acls() -> impl Strategy<Value = Vec<Acl>> {
    vec((any::<i32>(), identity()).prop_map(|(perms, identity)| Acl { perms, identity }), 0..3)
}

fn mode() -> impl Strategy<Value = CreateMode> {
    let life = prop_oneof![
        Just(Life::Persistent),
        Just(Life::Ephemeral),
        Just(Life::Container),
        any::<i64>().prop_map(Life::Ttl),
        Just(Life::Unknown),
        Just(Life::Unfit),
    ];
    (life, any::<bool>()).prop_map(|(life, sequential)| CreateMode { life, sequential })
}

fn step() -> impl Strategy<Value = TreeStep> {
    let version = any::<i32>();
    prop_oneof![
        (text(), data(), acls(), mode()).prop_map(|(path, data, acl, mode)| TreeStep::Create {
            path,
            data,
            acl,
            mode
        }),
        (text(), version).prop_map(|(path, version)| TreeStep::Delete { path, version }),
        (text(), data(), version).prop_map(|(path, data, version)| TreeStep::SetData {
            path,
            data,
            version
        }),
        (text(), acls(), version).prop_map(|(path, acl, version)| TreeStep::SetAcl {
            path,
            acl,
            version
        }),
        (text(), version).prop_map(|(path, version)| TreeStep::Check { path, version }),
    ]
}

fn op() -> impl Strategy<Value = TreeOp> {
    let change = prop_oneof![
        step().prop_map(TreeChange::One),
        vec(step(), 0..4).prop_map(TreeChange::Multi),
    ];
    (vec(identity(), 0..3), change).prop_map(|(identities, change)| TreeOp { identities, change })
}

fn stat() -> impl Strategy<Value = ZnodeStat> {
    let lifetime = prop_oneof![
        Just(Lifetime::Persistent),
        (1u64..1 << 60).prop_map(|session| Lifetime::Session(SessionId(session))),
        Just(Lifetime::Container),
        (1u64..1 << 40).prop_map(Lifetime::Ttl),
    ];
    let numbers = ([0u64..1 << 60, 0u64..1 << 60], [any::<i32>(), any::<i32>()], any::<u32>());
    (lifetime, numbers).prop_map(|(lifetime, (wide, [version, cversion], length))| ZnodeStat {
        czxid: Revision(wide[0]),
        mzxid: Revision(wide[1]),
        pzxid: Revision(wide[0]),
        ctime: Stamp(wide[1]),
        mtime: Stamp(wide[0]),
        version,
        cversion,
        aversion: version,
        lifetime,
        data_length: length,
        num_children: length,
    })
}

fn error() -> impl Strategy<Value = TreeError> {
    prop::sample::select(TreeError::ALL.to_vec())
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let done = prop_oneof![
        (text(), stat()).prop_map(|(path, stat)| StepDone::Created { path, stat }),
        Just(StepDone::Deleted),
        stat().prop_map(StepDone::DataSet),
        stat().prop_map(StepDone::AclSet),
        Just(StepDone::Checked),
    ];
    let result = prop_oneof![
        done.clone().prop_map(TreeResult::One),
        error().prop_map(TreeResult::Failed),
        vec(done, 0..3).prop_map(TreeResult::Multi),
        (0u32..3, 3u32..9, error()).prop_map(|(step, steps, error)| TreeResult::MultiFailed {
            step,
            steps,
            error
        }),
    ];
    (0u64..1 << 60, result).prop_map(|(revision, result)| {
        Outcome::Tree(Arc::new(TreeOutcome { revision: Revision(revision), result }))
    })
}

fn question() -> impl Strategy<Value = ZnodeQuestion> {
    let what = [Ask::Exists, Ask::Data, Ask::Children, Ask::Acl, Ask::Descendants];
    (prop::sample::select(what.to_vec()), text())
        .prop_map(|(what, path)| ZnodeQuestion { what, path })
}

fn query() -> impl Strategy<Value = ReadQuery> {
    let question = prop_oneof![
        question().prop_map(TreeQuestion::One),
        vec(question(), 0..3).prop_map(TreeQuestion::Multi),
        (1u64..1 << 60, text()).prop_map(|(session, prefix)| TreeQuestion::Ephemerals {
            session: SessionId(session),
            prefix
        }),
    ];
    (vec(identity(), 0..3), question)
        .prop_map(|(identities, question)| ReadQuery::Tree(TreeQuery { identities, question }))
}

fn answer() -> impl Strategy<Value = ReadResult> {
    let one = prop_oneof![
        stat().prop_map(ZnodeAnswer::Stat),
        (data(), stat()).prop_map(|(data, stat)| ZnodeAnswer::Data(data, stat)),
        (vec(text(), 0..3), stat()).prop_map(|(names, stat)| ZnodeAnswer::Children(names, stat)),
        (acls(), stat()).prop_map(|(list, stat)| ZnodeAnswer::Acl(list, stat)),
        any::<u64>().prop_map(ZnodeAnswer::Descendants),
        error().prop_map(ZnodeAnswer::Failed),
    ];
    prop_oneof![
        one.clone().prop_map(TreeAnswer::One),
        vec(one, 0..3).prop_map(TreeAnswer::Multi),
        vec(text(), 0..3).prop_map(TreeAnswer::Ephemerals),
        error().prop_map(TreeAnswer::Failed),
    ]
    .prop_map(ReadResult::Tree)
}

fn event() -> impl Strategy<Value = Event> {
    let kind = prop::sample::select(TreeEventKind::ALL.to_vec());
    let lists = (acls(), prop::option::of(acls()));
    (0u64..1 << 60, kind, text(), lists).prop_map(|(revision, kind, path, (acl, parent))| {
        let (acl, parent_acl) = (AclList::of(acl), parent.map(AclList::of));
        Event::Tree(TreeEvent { revision: Revision(revision), kind, path, acl, parent_acl })
    })
}

fn reap() -> impl Strategy<Value = Command> {
    let candidate = (text(), 0u64..1 << 60, 0u64..1 << 60).prop_map(|(path, pzxid, mzxid)| {
        ReapCandidate { path, pzxid: Revision(pzxid), mzxid: Revision(mzxid) }
    });
    vec(candidate, 0..3).prop_map(|candidates| Command::Reap { candidates })
}

/// The value comes back, no shorter part of its bytes is one, and damaged ones do no harm: they are
/// refused, or another value with exactly these bytes.
fn check<T: Encode + Decode + PartialEq + Debug>(value: &T, at: usize, by: u8) {
    let bytes = value.to_bytes();
    assert_eq!(T::from_bytes(&bytes).as_ref(), Ok(value));
    for cut in 0..bytes.len() {
        assert!(T::from_bytes(&bytes.slice(..cut)).is_err(), "cut at {cut}");
    }
    let mut damaged = bytes.to_vec();
    let place = at % damaged.len();
    damaged[place] ^= by;
    let damaged = Bytes::from(damaged);
    if let Ok(other) = T::from_bytes(&damaged) {
        assert_eq!(T::from_bytes(&other.to_bytes()), Ok(other));
    }
}

proptest! {
    // Claims: C-input
    #[test]
    fn what_concerns_the_tree_is_written_and_read(
        op in op(), outcome in outcome(), query in query(), answer in answer(), event in event(),
        reap in reap(), at: usize, by in 1u8..,
    ) {
        check(&Op::Tree(op), at, by);
        check(&outcome, at, by);
        check(&query, at, by);
        check(&answer, at, by);
        check(&event, at, by);
        check(&reap, at, by);
    }
}

#[test]
fn counts_are_bounded_by_what_follows() {
    // A list of identities, steps or candidates that claims to be long is refused at once.
    for head in [&[2u8, 0xff, 0xff, 3][..], &[2, 0, 16, 0xff, 0xff, 3]] {
        assert!(Op::from_bytes(&Bytes::copy_from_slice(head)).is_err());
    }
    assert!(Command::from_bytes(&Bytes::from_static(&[2, 6, 0xff, 0xff, 3])).is_err());
}
