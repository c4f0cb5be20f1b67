//! Random commands on the real tree and on the naive one, which must agree on every result, event
//! and znode; a second replica that is restored from snapshots must agree to the byte.

use crate::naive::{Caller, Done, Naive, Node};
use accord_core::holder::Holder;
use accord_core::ids::{NodeId, RequestId, SessionId, Stamp};
use accord_core::limits::Limits;
use accord_core::state::tree::{
    Acl, Ask, CreateMode, Identity, Life, Lifetime, StepDone, TreeAnswer, TreeChange, TreeEvent,
    TreeOp, TreeQuery, TreeQuestion, TreeResult, TreeStep, ZnodeAnswer, ZnodeQuestion, ZnodeStat,
    perms,
};
use accord_core::state::{
    Command, Completion, Event, Op as Operation, Outcome, ReadQuery, ReadResult, State,
};
use accord_core::wire::Encode;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    /// Session, identities, steps; one alone or several.
    Run {
        session: usize,
        who: usize,
        steps: Vec<TreeStep>,
        multi: bool,
    },
    /// A session ends and another one begins in its place.
    End {
        session: usize,
    },
    /// Time passes, and what may end is reaped.
    Reap {
        ms: u64,
    },
    Transfer,
}

fn path() -> impl Strategy<Value = Bytes> {
    let paths = [
        "/a", "/a/b", "/a/b/c", "/a/b0", "/a-b", "/a/", "/b", "/b/x", "/", "", "a", "//", "/none/x",
    ];
    let quotas = [
        "/zookeeper",
        "/zookeeper/config",
        "/zookeeper/quota",
        "/zookeeper/quota/a",
        "/zookeeper/quota/a/zookeeper_limits",
        "/zookeeper/quota/a/zookeeper_stats",
        "/zookeeper/quota/a/b",
        "/zookeeper/quota/a/b/zookeeper_limits",
        "/zookeeper/quota/a/b/zookeeper_stats",
    ];
    prop_oneof![
        6 => prop::sample::select(paths.to_vec()),
        3 => prop::sample::select(quotas.to_vec()),
    ]
    .prop_map(|path| Bytes::from_static(path.as_bytes()))
}

fn data() -> impl Strategy<Value = Option<Bytes>> {
    let texts = [
        "",
        "1",
        "a text of more than fifteen bytes",
        "count=3,bytes=9",
        "count=-1,bytes=-1=;byteHardLimit=20;countHardLimit=3",
        "count=x,,bytes",
        "x=7;count=1",
        "data that is larger than what the limits of this test allow",
    ];
    let text = prop::sample::select(texts.to_vec());
    prop::option::weighted(0.9, text.prop_map(|text| Bytes::from_static(text.as_bytes())))
}

fn acl() -> impl Strategy<Value = Vec<Acl>> {
    let of = |perms, scheme: &str, id: &str| Acl { perms, identity: Identity::new(scheme, id) };
    let auth = of(perms::ALL, "auth", "");
    let lists = vec![
        vec![Acl::read_only()],
        vec![],
        vec![auth.clone()],
        vec![of(perms::ALL, "digest", "joe:x"), Acl::read_only()],
        vec![Acl::open(), Acl::open()],
        vec![Acl::open(), Acl::read_only(), auth.clone()],
        vec![Acl::read_only(), auth],
        vec![of(perms::ALL, "nobody", "x")],
    ];
    prop_oneof![4 => Just(vec![Acl::open()]), 2 => prop::sample::select(lists)]
}

fn mode() -> impl Strategy<Value = CreateMode> {
    let life = prop_oneof![
        4 => Just(Life::Persistent),
        2 => Just(Life::Ephemeral),
        2 => Just(Life::Container),
        2 => Just(Life::Ttl(100)),
        1 => prop::sample::select(vec![Life::Unknown, Life::Ttl(0), Life::Ttl(1 << 40)]),
    ];
    (life, prop::bool::weighted(0.2)).prop_map(|(life, sequential)| CreateMode { life, sequential })
}

fn step() -> impl Strategy<Value = TreeStep> {
    let version = prop_oneof![6 => Just(-1), 1 => Just(0), 1 => Just(1), 1 => Just(9)];
    prop_oneof![
        8 => (path(), data(), acl(), mode())
            .prop_map(|(path, data, acl, mode)| TreeStep::Create { path, data, acl, mode }),
        3 => (path(), version.clone())
            .prop_map(|(path, version)| TreeStep::Delete { path, version }),
        3 => (path(), data(), version.clone())
            .prop_map(|(path, data, version)| TreeStep::SetData { path, data, version }),
        1 => (path(), acl(), version.clone())
            .prop_map(|(path, acl, version)| TreeStep::SetAcl { path, acl, version }),
        1 => (path(), version).prop_map(|(path, version)| TreeStep::Check { path, version }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0usize..2, 0usize..4, step()).prop_map(|(session, who, step)| {
            Op::Run { session, who, steps: vec![step], multi: false }
        }),
        6 => (0usize..2, 0usize..4, vec(step(), 0..5)).prop_map(|(session, who, steps)| {
            Op::Run { session, who, steps, multi: true }
        }),
        1 => (0usize..2).prop_map(|session| Op::End { session }),
        1 => (0u64..200).prop_map(|ms| Op::Reap { ms }),
        1 => Just(Op::Transfer),
    ]
}

/// Limits that a few znodes reach.
fn cramped() -> Limits {
    Limits {
        key_bytes_max: 46,
        value_bytes_max: 52,
        store_bytes_max: 420,
        ephemerals_max: 2,
        acl_entries_max: 2,
        steps_max: 4,
        quota_enforced: true,
        ..Limits::default()
    }
}

fn identities(who: usize) -> Vec<Identity> {
    match who {
        0 | 1 => vec![],
        2 => vec![Identity::new("digest", "joe:x")],
        _ => vec![Identity::new("super", ""), Identity::new("digest", "root:x")],
    }
}

struct Pair {
    state: State,
    /// Is restored from a snapshot now and then.
    replica: State,
    events: Vec<Event>,
    naive: Naive,
    sessions: Vec<SessionId>,
    requests: u64,
}

impl Pair {
    fn new(limits: &Limits) -> Self {
        let mut pair = Self {
            state: State::new(limits.clone()),
            replica: State::new(limits.clone()),
            events: Vec::new(),
            naive: Naive::new(limits.clone()),
            sessions: Vec::new(),
            requests: 0,
        };
        pair.open();
        pair.open();
        pair
    }

    fn apply(&mut self, command: &Command) -> Completion {
        let bytes = command.to_bytes();
        let completion = self.state.apply(&bytes, &mut self.events);
        let mut events = Vec::new();
        assert_eq!(self.replica.apply(&bytes, &mut events), completion);
        assert_eq!(events, self.events);
        assert_eq!(self.replica.digest(), self.state.digest());
        self.state.check();
        completion
    }

    fn open(&mut self) {
        let (server, token, timeout_ms) = (NodeId(1), 1, 500);
        let open = Command::Open { server, token, timeout_ms, holder: Holder::default() };
        let Completion::Opened { session, .. } = self.apply(&open) else { panic!("not opened") };
        self.naive.revision += 1;
        self.sessions.push(session);
    }

    fn run(&mut self, op: &Op) {
        self.naive.events.clear();
        match op {
            Op::Run { session, who, steps, multi } => self.steps(*session, *who, steps, *multi),
            Op::End { session } => {
                let session = self.sessions.remove(*session);
                self.apply(&Command::Close { session });
                self.naive.end(session.0);
                self.compare_events();
                self.open();
                self.naive.events.clear();
                self.events.clear();
            }
            Op::Reap { ms } => {
                self.naive.now += ms;
                let stamp = Stamp(self.naive.now);
                self.state.begin_batch(stamp);
                self.replica.begin_batch(stamp);
                let candidates = self.state.reap_candidates(None, 100);
                let completion = self.apply(&Command::Reap { candidates });
                let count = self.naive.reap() as u32;
                assert_eq!(completion, Completion::Reaped { count });
            }
            Op::Transfer => {
                let snapshot = self.state.snapshot();
                let limits = self.state.limits().clone();
                self.replica = State::restore(&snapshot, limits).expect("it is a snapshot");
                assert_eq!(self.replica.snapshot(), snapshot);
                self.events.clear();
            }
        }
        self.compare_events();
        assert_eq!(self.state.revision().0, self.naive.revision);
    }

    fn steps(&mut self, session: usize, who: usize, steps: &[TreeStep], multi: bool) {
        let session = self.sessions[session];
        let identities = identities(who);
        let change = match steps {
            [step] if !multi => TreeChange::One(step.clone()),
            _ => TreeChange::Multi(steps.to_vec()),
        };
        self.requests += 1;
        let request = RequestId(self.requests);
        let op = Operation::Tree(TreeOp { identities: identities.clone(), change });
        let command = Command::Request { session, request, acked_below: request, op };
        let Completion::Request { outcome: Outcome::Tree(outcome), .. } = self.apply(&command)
        else {
            panic!("an operation runs")
        };
        let expected = self.naive.run(Caller { session: session.0, who: &identities }, steps);
        assert_eq!(outcome.revision, self.state.revision());
        match (&outcome.result, expected) {
            (TreeResult::One(done), Ok(all)) => self.compare_done(done, &all[0]),
            (TreeResult::Multi(done), Ok(all)) => {
                assert_eq!(done.len(), all.len());
                // The Stats of earlier steps are those of then: the last one's can be compared.
                if let (Some(done), Some(expected)) = (done.last(), all.last()) {
                    self.compare_done(done, expected);
                }
            }
            (TreeResult::Failed(error), Err((0, code))) => assert_eq!(error.code(), code),
            (TreeResult::MultiFailed { step, steps: count, error }, Err((at, code))) => {
                let found = (*step as usize, *count as usize, error.code());
                assert_eq!(found, (at, steps.len(), code));
            }
            (found, expected) => panic!("{found:?}, but the naive tree has {expected:?}"),
        }
    }

    fn compare_done(&self, done: &StepDone, expected: &Done) {
        match (done, expected) {
            (StepDone::Created { path, stat }, Some(expected)) => {
                assert_eq!(path, expected.as_bytes());
                // What counts for a quota is written right after the znode is made.
                let counts = expected.ends_with("/zookeeper_stats");
                let found = ZnodeStat { data_length: self.stat(expected).data_length, ..*stat };
                assert_eq!(if counts { found } else { *stat }, self.stat(expected));
            }
            (_, None) => {}
            (found, expected) => panic!("{found:?}, but the naive tree has {expected:?}"),
        }
    }

    fn compare_events(&self) {
        let of_tree = |event: &Event| match event {
            Event::Tree(TreeEvent { revision, kind, path, .. }) => {
                assert_eq!(*revision, self.state.revision());
                Some((*kind, String::from_utf8(path.to_vec()).unwrap()))
            }
            _ => None,
        };
        let found: Vec<_> = self.events.iter().filter_map(of_tree).collect();
        assert_eq!(found, self.naive.events);
    }

    /// The Stat that the naive tree has.
    fn stat(&self, path: &str) -> ZnodeStat {
        let Node { data, czxid, mzxid, pzxid, ctime, mtime, version, .. } =
            self.naive.nodes[path].clone();
        let Node { creations, aversion, life, owner, .. } = self.naive.nodes[path];
        let children = self.naive.children(path).len();
        ZnodeStat {
            czxid: accord_core::ids::Revision(czxid),
            mzxid: accord_core::ids::Revision(mzxid),
            pzxid: accord_core::ids::Revision(pzxid),
            ctime: Stamp(ctime),
            mtime: Stamp(mtime),
            version,
            cversion: creations * 2 - children as i32,
            aversion,
            lifetime: match life {
                Life::Ephemeral => Lifetime::Session(SessionId(owner)),
                Life::Container => Lifetime::Container,
                Life::Ttl(ms) => Lifetime::Ttl(ms as u64),
                Life::Persistent | Life::Unknown | Life::Unfit => Lifetime::Persistent,
            },
            data_length: data.map_or(0, |data| data.len() as u32),
            num_children: children as u32,
        }
    }

    fn ask(&self, question: TreeQuestion) -> TreeAnswer {
        let query = TreeQuery { identities: vec![Identity::new("super", "")], question };
        match self.replica.read(&ReadQuery::Tree(query)) {
            ReadResult::Tree(answer) => answer,
            other => panic!("not an answer of the tree: {other:?}"),
        }
    }

    /// Compares every znode.
    fn compare(&self) {
        assert_eq!(self.state.znodes(), self.naive.nodes.len());
        let text = |name: &String| Bytes::copy_from_slice(name.as_bytes());
        for (path, node) in &self.naive.nodes {
            let stat = self.stat(path);
            let asks = [Ask::Exists, Ask::Data, Ask::Children, Ask::Acl, Ask::Descendants];
            let asks = asks.map(|what| ZnodeQuestion { what, path: text(path) });
            let expected = [
                ZnodeAnswer::Stat(stat),
                ZnodeAnswer::Data(node.data.clone().map(Bytes::from), stat),
                ZnodeAnswer::Children(self.naive.children(path).iter().map(text).collect(), stat),
                ZnodeAnswer::Acl(node.acl.clone(), stat),
                ZnodeAnswer::Descendants(self.naive.below(path).len() as u64),
            ];
            let found = self.ask(TreeQuestion::Multi(asks[..3].to_vec()));
            assert_eq!(found, TreeAnswer::Multi(expected[..3].to_vec()), "{path}");
            let found = self.ask(TreeQuestion::Multi(asks[3..].to_vec()));
            assert_eq!(found, TreeAnswer::Multi(expected[3..].to_vec()), "{path}");
        }
        for session in &self.sessions {
            let paths = self.naive.ephemerals(session.0).iter().map(text).collect();
            let question = TreeQuestion::Ephemerals { session: *session, prefix: Bytes::new() };
            assert_eq!(self.ask(question), TreeAnswer::Ephemerals(paths));
        }
    }
}

proptest! {
    // Claims: C-tree-atomic, C-ephemeral, C-state-documented
    #[test]
    fn the_tree_behaves_as_the_naive_one(ops in vec(op(), 0..60), roomy: bool) {
        let limits = if roomy {
            Limits { quota_enforced: true, steps_max: 4, ..Limits::default() }
        } else {
            cramped()
        };
        let mut pair = Pair::new(&limits);
        for op in &ops {
            pair.run(op);
        }
        pair.compare();
        assert_eq!(pair.replica.snapshot(), pair.state.snapshot());
    }
}
