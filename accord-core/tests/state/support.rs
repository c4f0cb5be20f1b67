//! A state with a session, and short names for what is asked of it.

use accord_core::holder::Holder;
use accord_core::ids::{NodeId, RequestId, SessionId};
use accord_core::limits::Limits;
use accord_core::state::{
    Command, Completion, Event, Flags, ListQuery, Op, Outcome, Page, Range, ReadQuery, ReadResult,
    Relation, State, Step, Txn, TxnOutcome,
};
use accord_core::state::{Compare, StepResult};
use accord_core::wire::Encode;
use bytes::Bytes;

/// The server that sessions are opened at.
pub const HOME: NodeId = NodeId(1);

/// A state, and what the last command gave.
pub struct World {
    pub state: State,
    pub events: Vec<Event>,
    /// Opened first: its id is 1.
    pub session: SessionId,
    next: u64,
}

impl World {
    pub fn new(limits: Limits) -> Self {
        let (state, events) = (State::new(limits), Vec::new());
        let mut world = Self { state, events, session: SessionId(0), next: 1 };
        world.session = world.open();
        world
    }

    /// Applies a command, checks the invariants and returns the completion.
    pub fn apply(&mut self, command: &Command) -> Completion {
        self.apply_bytes(&command.to_bytes())
    }

    pub fn apply_bytes(&mut self, bytes: &Bytes) -> Completion {
        let completion = self.state.apply(bytes, &mut self.events);
        self.state.check();
        completion
    }

    pub fn open(&mut self) -> SessionId {
        match self.apply(&Command::Open {
            server: HOME,
            token: 7,
            timeout_ms: 500,
            holder: Holder::default(),
        }) {
            Completion::Opened { session, .. } => session,
            other => panic!("not opened: {other:?}"),
        }
    }

    /// A request of any number, by any session.
    pub fn request(&mut self, session: SessionId, number: u64, acked: u64, txn: Txn) -> Outcome {
        let (request, acked_below) = (RequestId(number), RequestId(acked));
        match self.apply(&Command::Request { session, request, acked_below, op: Op::Kv(txn) }) {
            Completion::Request { session: of, request: number, outcome } => {
                assert_eq!((of, number), (session, request));
                outcome
            }
            other => panic!("not the completion of a request: {other:?}"),
        }
    }

    /// The next request of the first session, which acknowledges all before it.
    pub fn run(&mut self, txn: Txn) -> Outcome {
        let number = self.next;
        self.next += 1;
        self.request(self.session, number, number, txn)
    }

    /// Runs steps that commit.
    pub fn commit(&mut self, steps: Vec<Step>) -> Vec<StepResult> {
        match self.run(Txn::of(steps)) {
            Outcome::Txn(TxnOutcome::Committed { results, .. }) => results.to_vec(),
            other => panic!("not committed: {other:?}"),
        }
    }

    pub fn value(&self, key: &str) -> Option<Vec<u8>> {
        let query = ReadQuery::Get { key: b(key), offset: 0, length_max: u64::MAX };
        match self.state.read(&query) {
            ReadResult::Value { value, .. } => Some(value.to_vec()),
            ReadResult::NotFound => None,
            other => panic!("not the answer to a get: {other:?}"),
        }
    }

    /// Every key with its value.
    pub fn contents(&self) -> Vec<(String, Vec<u8>)> {
        let page = match self.state.read(&ReadQuery::List(list(Range::ALL, None, u32::MAX))) {
            ReadResult::Listed(page) => page,
            other => panic!("not the answer to a list: {other:?}"),
        };
        assert!(!page.more);
        let pair = |entry: &accord_core::state::ListEntry| {
            let key = String::from_utf8(entry.key.to_vec()).expect("tests have printable keys");
            (key, entry.value.clone().expect("values are listed").to_vec())
        };
        page.entries.iter().map(pair).collect()
    }

    /// The events of the last command, as short strings.
    pub fn events(&self) -> Vec<String> {
        self.events.iter().map(show).collect()
    }
}

/// An event in short.
pub fn show(event: &Event) -> String {
    match event {
        Event::Key(e) => format!(
            "{:?} {} v{} {}@{} of {}",
            e.kind,
            e.key.escape_ascii(),
            e.version,
            e.data.escape_ascii(),
            e.offset,
            e.size
        ),
        Event::Tree(e) => format!("{:?} {}", e.kind, e.path.escape_ascii()),
        Event::Member(e) => format!("{:?} {} of {}", e.kind, e.session, e.members),
    }
}

pub fn b(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}
pub fn write(key: &str, value: &str, offset: u64, flags: Flags) -> Step {
    Step::Write { key: b(key), value: b(value), offset, flags }
}
/// Creates or replaces a whole value.
pub fn put(key: &str, value: &str) -> Step {
    write(key, value, 0, Flags::CREATE | Flags::REPLACE)
}
pub fn get(key: &str) -> Step {
    read(key, 0, u64::MAX)
}
pub fn read(key: &str, offset: u64, length_max: u64) -> Step {
    Step::Read { key: b(key), offset, length_max }
}
pub fn delete(key: &str) -> Step {
    Step::Delete { key: b(key) }
}
pub fn copy(source: &str, target: &str, flags: Flags) -> Step {
    Step::Copy { source: b(source), target: b(target), flags }
}
pub fn cmp(key: &str, value: &str) -> Compare {
    Compare::Value { key: b(key), relation: Relation::Equal, value: b(value) }
}
pub fn list(range: Range, after: Option<&str>, limit: u32) -> ListQuery {
    ListQuery { range, after: after.map(b), limit, keys_only: false }
}
pub fn keys_of(page: &Page) -> Vec<String> {
    page.entries.iter().map(|entry| entry.key.escape_ascii().to_string()).collect()
}
