//! Random commands on the real state and on the naive model, which must agree on every outcome,
//! event, revision and record; a second replica that was restored from snapshots must agree to the
//! byte.

use crate::codec;
use crate::naive::{self, Answer, Happened, Model};
use crate::support;
use accord_core::holder::Holder;
use accord_core::ids::{NodeId, RequestId, SessionId};
use accord_core::limits::Limits;
use accord_core::state::{
    Command, Completion, Event, KeyEventKind, ListQuery, MemberEventKind, Op as Operation, Range,
    ReadQuery, ReadResult, State, Txn,
};
use accord_core::wire::Encode;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Op {
    /// Session (of those ever opened), number relative to its last, acknowledged below that.
    Request {
        session: usize,
        ahead: i64,
        unacked: u64,
        txn: Txn,
    },
    Open {
        server: u32,
    },
    Attach {
        server: u32,
        session: usize,
    },
    Close {
        session: usize,
    },
    /// Generation relative to the current.
    Expire {
        server: u32,
        session: usize,
        behind: u32,
    },
    Marker {
        members: Vec<u32>,
    },
    Transfer,
}

fn key() -> BoxedStrategy<Bytes> {
    let short = prop::sample::select(vec!["", "a", "a/1", "a/2", "b", "c", "c\u{7f}"]);
    let long =
        prop::sample::select(vec!["a/a key of 24 bytes long", "a key of more bytes than that"]);
    prop_oneof![6 => short, 1 => long].prop_map(|key| Bytes::from_static(key.as_bytes())).boxed()
}

fn txn() -> impl Strategy<Value = Txn> {
    let value = prop_oneof![
        3 => codec::bytes(6),
        1 => codec::bytes(40),
        1 => Just(Bytes::from_static(&[1, 0, 0, 0])),
        1 => Just(Bytes::from_static(&[1, 0, 0, 0, 0, 0, 0, 0])),
    ];
    let value = value.boxed();
    let offset = prop_oneof![8 => 0u64..8, 2 => 0u64..80, 1 => Just(u64::MAX), 1 => any::<u64>()];
    let step = codec::step(key(), value.clone(), offset.boxed(), 12);
    let guard = vec(codec::compare(key(), value, 12), 0..2);
    let then = prop_oneof![20 => vec(step.clone(), 0..6), 1 => vec(step.clone(), 9..11)];
    (guard, then, vec(step, 0..4)).prop_map(|(guard, then, otherwise)| Txn {
        guard,
        then,
        otherwise,
    })
}

/// A session, mostly the latest.
fn place() -> impl Strategy<Value = usize> {
    prop_oneof![12 => Just(0usize), 3 => Just(1), 2 => 2usize..7]
}

/// Limits in which a few records fill the store.
fn cramped() -> Limits {
    Limits { store_bytes_max: 150, result_bytes_max: 60, command_bytes_max: 256, ..Limits::tiny() }
}

fn op() -> impl Strategy<Value = Op> {
    let ahead = prop_oneof![10 => Just(1i64), 1 => Just(2), 3 => -3i64..=0, 1 => -9i64..9];
    let server = 1u32..4;
    prop_oneof![
        20 => (place(), ahead, 0u64..4, txn()).prop_map(|(session, ahead, unacked, txn)| {
            Op::Request { session, ahead, unacked, txn }
        }),
        2 => server.clone().prop_map(|server| Op::Open { server }),
        1 => (server.clone(), place())
            .prop_map(|(server, session)| Op::Attach { server, session }),
        1 => (place()).prop_map(|session| Op::Close { session }),
        1 => (server.clone(), place(), 0u32..2).prop_map(|(server, session, behind)| {
            Op::Expire { server, session, behind }
        }),
        1 => vec(server, 0..3).prop_map(|members| Op::Marker { members }),
        1 => Just(Op::Transfer),
    ]
}

/// What a watcher of everything knows.
type Mirror = BTreeMap<Vec<u8>, (Vec<u8>, u64)>;

struct Pair {
    state: State,
    /// Is restored from a snapshot now and then.
    replica: State,
    /// What the last command gave.
    completion: Option<Completion>,
    events: Vec<Event>,
    model: Model,
    mirror: Mirror,
    opened: Vec<u64>,
}

impl Pair {
    fn new(limits: &Limits) -> Self {
        let state = || State::new(limits.clone());
        let model = Model::new(limits.clone());
        let (mirror, opened) = (Mirror::new(), vec![]);
        let mut pair = Self {
            state: state(),
            replica: state(),
            completion: None,
            events: vec![],
            model,
            mirror,
            opened,
        };
        pair.step(&Op::Open { server: 1 });
        let values = ["a", "b", "c\x7f"].map(|key| support::put(key, "12345678"));
        let txn = Txn::of([&values[..], &[support::put("a/1", "1234")]].concat());
        pair.step(&Op::Request { session: 0, ahead: 1, unacked: 1, txn });
        pair
    }

    /// A session by its place among those ever opened, the last first; then one that never was.
    fn session(&self, place: usize) -> u64 {
        self.opened.iter().rev().nth(place).copied().unwrap_or(place as u64 % 2 * 999)
    }

    fn apply(&mut self, command: &Command) -> Completion {
        let bytes = command.to_bytes();
        let mut events = vec![];
        let completion = self.replica.apply(&bytes, &mut events);
        let found = self.state.apply(&bytes, &mut self.events);
        assert_eq!((&completion, events), (&found, self.events.clone()), "replicas do the same");
        self.completion = Some(found);
        completion
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Request { session, ahead, unacked, txn } => {
                self.request(self.session(*session), *ahead, *unacked, txn);
            }
            Op::Open { server } => self.open(*server),
            Op::Attach { server, session } => self.attach(*server, self.session(*session)),
            Op::Close { session } => self.close(self.session(*session)),
            Op::Expire { server, session, behind } => {
                self.expire(*server, self.session(*session), *behind);
            }
            Op::Marker { members } => {
                let nodes: Vec<_> = members.iter().map(|member| NodeId(*member)).collect();
                self.state.apply_marker(&nodes);
                self.replica.apply_marker(&nodes);
                for session in self.model.sessions.values_mut() {
                    session.owner = session.owner.filter(|owner| members.contains(owner));
                }
                self.completion = None;
            }
            Op::Transfer => {
                let limits = self.model.limits.clone();
                let bytes = self.state.snapshot();
                assert_eq!(self.replica.snapshot(), bytes, "replicas have the same bytes");
                self.replica = State::restore(&bytes, limits).expect("it is a snapshot");
            }
        }
        self.compare();
    }

    fn request(&mut self, id: u64, ahead: i64, unacked: u64, txn: &Txn) {
        let last = self.model.sessions.get(&id).and_then(|session| session.ran.keys().max());
        let number = last.copied().unwrap_or(0).saturating_add_signed(ahead);
        let acked = (number + 1).saturating_sub(unacked);
        let (session, request, acked_below) = (SessionId(id), RequestId(number), RequestId(acked));
        let command =
            Command::Request { session, request, acked_below, op: Operation::Kv(txn.clone()) };
        let bytes = command.to_bytes().len();
        let (expected, happened) = self.model.request(id, number, acked, txn, bytes);
        match self.apply(&command) {
            Completion::Request { outcome, .. } => {
                assert_eq!(naive::answer_of(&outcome), naive::without_values(expected));
            }
            other => panic!("{other:?}"),
        }
        self.expect_events(&happened, None);
    }

    fn open(&mut self, server: u32) {
        let expected = self.model.open(server);
        let server = NodeId(server);
        let found = match self.apply(&Command::Open {
            server,
            token: 1,
            timeout_ms: 100,
            holder: Holder::default(),
        }) {
            Completion::Opened { session, .. } => Some(session.0),
            Completion::OpenRefused { .. } => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(found, expected);
        self.opened.extend(found);
        self.expect_events(&[], found.map(|session| (MemberEventKind::Joined, session)));
    }

    fn attach(&mut self, server: u32, id: u64) {
        let session = self.model.sessions.get_mut(&id);
        let attached = session.is_some();
        if let Some(session) = session {
            session.owner = Some(server);
            session.generation += 1;
        }
        let (server, session) = (NodeId(server), SessionId(id));
        let found =
            self.apply(&Command::Attach { server, session, token: 1, holder: Holder::default() });
        assert_eq!(matches!(found, Completion::Attached { .. }), attached);
        self.expect_events(&[], None);
    }

    fn close(&mut self, id: u64) {
        let ends = self.model.sessions.contains_key(&id);
        let happened = if ends { self.model.end(id) } else { vec![] };
        let found = self.apply(&Command::Close { session: SessionId(id) });
        assert_eq!(matches!(found, Completion::Ended { .. }), ends);
        self.expect_events(&happened, ends.then_some((MemberEventKind::Left, id)));
    }

    fn expire(&mut self, server: u32, id: u64, behind: u32) {
        let current = self.model.sessions.get(&id).map_or(1, |session| session.generation);
        let generation = current - behind;
        let ends = self.model.sessions.get(&id).is_some_and(|session| {
            behind == 0 && (session.owner.is_none() || session.owner == Some(server))
        });
        let happened = if ends { self.model.end(id) } else { vec![] };
        let (server, session) = (NodeId(server), SessionId(id));
        let found = self.apply(&Command::Expire { server, session, generation });
        assert_eq!(matches!(found, Completion::Ended { .. }), ends);
        self.expect_events(&happened, ends.then_some((MemberEventKind::Left, id)));
    }

    fn expect_events(&mut self, keys: &[Happened], member: Option<(MemberEventKind, u64)>) {
        let (mut found_keys, mut found_member) = (Vec::new(), None);
        for event in &self.events {
            assert_eq!(event.revision().0, self.model.revision);
            assert_eq!(found_member, None, "the member's event is the last");
            match event {
                Event::Key(e) => {
                    found_keys.push((e.kind, e.key.to_vec(), e.version));
                    mirror(&mut self.mirror, e);
                }
                Event::Tree(e) => panic!("the model has no znodes: {e:?}"),
                Event::Member(e) => {
                    assert_eq!(e.members as usize, self.model.sessions.len());
                    found_member = Some((e.kind, e.session.0));
                }
            }
        }
        assert_eq!((&found_keys[..], found_member), (keys, member));
    }

    fn compare(&self) {
        self.state.check();
        assert_eq!(self.state.digest(), self.replica.digest());
        assert_eq!(self.state.revision().0, self.model.revision);
        assert_eq!(self.state.records(), self.model.records.len());
        let (mut after, mut seen) = (None, BTreeMap::new());
        loop {
            let query = ListQuery { range: Range::ALL, after, limit: 9, keys_only: false };
            let page = match self.state.read(&ReadQuery::List(query.clone())) {
                ReadResult::Listed(page) => page,
                other => panic!("{other:?}"),
            };
            let (expected, more) = naive::list(&self.model.records, &query, &self.model.limits);
            assert_eq!((page.entries.len(), page.more), (expected.len(), more));
            after = page.entries.last().map(|entry| entry.key.clone());
            for entry in page.entries {
                let value = entry.value.map(|value| value.to_vec()).unwrap_or_default();
                let model = self.model.records.get(&entry.key[..]).expect("the model has it");
                assert_eq!((&model.value, model.version), (&value, entry.stat.version));
                assert_eq!(model.owner, entry.stat.owner.map(|owner| owner.0));
                seen.insert(entry.key.to_vec(), (value, entry.stat.version));
            }
            if !more {
                break;
            }
        }
        assert_eq!(seen.len(), self.model.records.len());
        assert_eq!(seen, self.mirror, "who applies the events has the same");
    }
}

/// Applies an event as its documentation says.
fn mirror(mirror: &mut Mirror, event: &accord_core::state::KeyEvent) {
    if event.kind == KeyEventKind::Deleted {
        mirror.remove(&event.key[..]);
        return;
    }
    let created = event.kind == KeyEventKind::Created;
    assert!(!created || !mirror.contains_key(&event.key[..]), "created once");
    let (value, version) = mirror.entry(event.key.to_vec()).or_default();
    value.resize(event.size as usize, 0);
    let from = event.offset as usize;
    value[from..from + event.data.len()].copy_from_slice(&event.data);
    *version = event.version;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    // Claims: C-state-documented
    #[test]
    fn the_state_is_what_the_naive_model_says(limits in 0usize..3, ops in vec(op(), 1..60)) {
        let roomy = Limits { store_bytes_max: 500, ..Limits::default() };
        let mut pair = Pair::new(&[Limits::tiny(), cramped(), roomy][limits]);
        for op in &ops {
            pair.step(op);
        }
        pair.step(&Op::Transfer);
    }
}

/// The random commands above must meet every error and every bound, or their agreement says little.
#[test]
fn the_random_commands_reach_every_error() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut reached = BTreeMap::new();
    for _ in 0..300 {
        let ops = vec(op(), 60).new_tree(&mut runner).expect("it generates").current();
        let mut pair = Pair::new(&cramped());
        for op in ops {
            pair.step(&op);
            if let Some(Completion::Request { outcome, .. }) = &pair.completion {
                let name = match naive::answer_of(outcome) {
                    Answer::Committed { .. } => "committed".to_string(),
                    Answer::Aborted { error, .. } => format!("{error:?}"),
                    Answer::Refused(error) => format!("{error:?}"),
                };
                let name = name.split(' ').next().unwrap_or_default().to_string();
                *reached.entry(name).or_insert(0) += 1;
            }
        }
    }
    for name in [
        "committed",
        "NotFound",
        "Exists",
        "Unequal",
        "NotANumber",
        "KeyTooLarge",
        "ValueTooLarge",
        "ResultTooLarge",
        "StoreFull",
        "EphemeralsFull",
        "SessionUnknown",
        "SessionEnded",
        "Acknowledged",
        "PassedOver",
        "WindowFull",
        "Malformed",
        "TooManySteps",
        "CommandTooLarge",
    ] {
        assert!(reached.get(name).is_some_and(|count| *count >= 5), "{name}: {reached:?}");
    }
}
