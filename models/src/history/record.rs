//! Recording a history while it happens.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{History, Moment, Note, Operation, Outcome, Process};
use crate::edn::{Name, Position, Value};

/// The handle of an operation that was invoked, to complete it by. Used once.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[must_use = "an operation that is never completed counts as unknown"]
pub struct OpId(usize);

/// Records a history, event after event.
///
/// Clients may have any number of operations outstanding. Jepsen's processes may not, so the
/// recorder gives each outstanding operation of a client a process of its own: `client`, `client +
/// clients_max`, `client + 2 * clients_max` ..., and retires a process whose outcome is unknown, as
/// Jepsen does.
///
/// ```
/// use accord_models::edn::Value;
/// use accord_models::history::Recorder;
///
/// let mut recorder = Recorder::new(10);
/// let write = recorder.invoke(0, 5, "write", Value::Int(1));
/// let read = recorder.invoke(1, 6, "read", Value::Nil);
/// recorder.ok(write, 7, Value::Int(1));
/// recorder.ok(read, 9, Value::Int(1));
/// let history = recorder.finish();
/// assert_eq!(history.operations().len(), 2);
/// assert!(history.to_string().starts_with("{:type :invoke, :f :write, :value 1, :process 0"));
/// ```
#[derive(Clone, Debug)]
pub struct Recorder {
    history: History,
    clients_max: u64,
    lanes: BTreeMap<u64, Lanes>,
}

/// The processes of one client.
#[derive(Clone, Debug, Default)]
struct Lanes {
    free: Vec<u64>,
    used_count: u64,
}

impl Recorder {
    /// A recorder for clients numbered below `clients_max`.
    pub fn new(clients_max: u64) -> Self {
        Self { history: History::default(), clients_max, lanes: BTreeMap::new() }
    }

    /// Records that `client` invoked `f` with `value` at `time_ns`.
    ///
    /// # Panics
    /// If `client` is not below the recorder's `clients_max`.
    pub fn invoke(&mut self, client: u64, time_ns: u64, f: impl Into<Name>, value: Value) -> OpId {
        assert!(client < self.clients_max, "clients are numbered below {}", self.clients_max);
        let lanes = self.lanes.entry(client).or_default();
        let process = lanes.free.pop().unwrap_or_else(|| {
            lanes.used_count += 1;
            client + (lanes.used_count - 1) * self.clients_max
        });
        let invoked = self.history.next_moment(time_ns);
        self.history.operations.push(Operation {
            process: Process::Client(process),
            f: f.into(),
            input: value,
            invoked,
            outcome: Outcome::Info,
            completed: None,
            output: Value::Nil,
            error: None,
            input_at: Position::default(),
            output_at: Position::default(),
        });
        OpId(self.history.operations.len() - 1)
    }

    /// Records that the operation took effect, with the result `value`.
    pub fn ok(&mut self, id: OpId, time_ns: u64, value: Value) {
        self.complete(id, time_ns, Outcome::Ok, value, None);
    }

    /// Records that the operation certainly did not take effect, because of `error`.
    pub fn fail(&mut self, id: OpId, time_ns: u64, error: Value) {
        self.complete(id, time_ns, Outcome::Fail, Value::Nil, Some(error));
    }

    /// Records that it is not known whether the operation took effect, because of `error`.
    pub fn unknown(&mut self, id: OpId, time_ns: u64, error: Value) {
        self.complete(id, time_ns, Outcome::Info, Value::Nil, Some(error));
    }

    /// Records something that `client` was told without asking, such as an event of a watch: an
    /// invocation and its completion in one.
    pub fn observe(&mut self, client: u64, time_ns: u64, f: impl Into<Name>, value: Value) {
        let id = self.invoke(client, time_ns, f, value.clone());
        self.ok(id, time_ns, value);
    }

    /// Records what a nemesis did.
    pub fn note(&mut self, time_ns: u64, f: impl Into<Name>, value: Value) {
        let at = self.history.next_moment(time_ns);
        let process = Process::Named(Cow::Borrowed("nemesis"));
        self.history.notes.push(Note { process, at, f: f.into(), value });
    }

    /// How many operations were invoked.
    pub fn operations_count(&self) -> usize {
        self.history.operations.len()
    }

    /// The history so far. Operations still outstanding have an unknown outcome.
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// The history. Operations still outstanding have an unknown outcome.
    pub fn finish(self) -> History {
        self.history.check();
        self.history
    }

    fn complete(
        &mut self,
        id: OpId,
        time_ns: u64,
        outcome: Outcome,
        value: Value,
        error: Option<Value>,
    ) {
        let completed = self.history.next_moment(time_ns);
        let op = &mut self.history.operations[id.0];
        assert!(op.completed.is_none(), "an operation completes once");
        op.completed = Some(completed);
        op.outcome = outcome;
        // Jepsen repeats the invocation's value in completions that bring no result.
        op.output = if outcome == Outcome::Ok { value } else { op.input.clone() };
        op.error = error;
        if let (Process::Client(process), true) = (&op.process, outcome != Outcome::Info) {
            let lanes = self.lanes.entry(process % self.clients_max).or_default();
            lanes.free.push(*process);
        }
    }
}

impl History {
    /// The next event's moment.
    pub(super) fn next_moment(&mut self, time_ns: u64) -> Moment {
        self.events_count += 1;
        Moment { event: self.events_count - 1, time_ns }
    }
}
