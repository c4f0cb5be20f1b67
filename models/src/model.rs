//! The models by name, and the shape that each expects of a history.

/// What a history is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Model {
    /// Linearizable registers: read and write.
    Register,
    /// Linearizable registers with compare-and-set.
    CasRegister,
    /// Linearizable transactions over a whole store.
    Txn,
    /// Serializable transactions over lists.
    ListAppend,
    /// Locks with fencing tokens.
    Lock,
    /// First-in, first-out queues.
    Queue,
    /// Sessions that join and leave.
    Session,
    /// Watches.
    Watch,
}

/// The shape of one operation: how it is invoked and how an `:ok` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationShape {
    /// `:f`.
    pub f: &'static str,
    /// `:value` of the invocation.
    pub input: &'static str,
    /// `:value` of the `:ok`; empty if it does not matter.
    pub output: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

const fn op(
    f: &'static str,
    input: &'static str,
    output: &'static str,
    meaning: &'static str,
) -> OperationShape {
    OperationShape { f, input, output, meaning }
}

impl Model {
    /// Every model.
    pub const ALL: [Self; 8] = [
        Self::Register,
        Self::CasRegister,
        Self::Txn,
        Self::ListAppend,
        Self::Lock,
        Self::Queue,
        Self::Session,
        Self::Watch,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::CasRegister => "cas-register",
            Self::Txn => "txn",
            Self::ListAppend => "list-append",
            Self::Lock => "lock",
            Self::Queue => "queue",
            Self::Session => "session",
            Self::Watch => "watch",
        }
    }

    /// The model with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.name() == name)
    }

    /// What it demands of a history, in a sentence.
    pub const fn demands(self) -> &'static str {
        match self {
            Self::Register => "Registers, one per key, are linearizable.",
            Self::CasRegister => "Registers with compare-and-set, one per key, are linearizable.",
            Self::Txn => "Transactions over the whole store are linearizable.",
            Self::ListAppend => {
                "Transactions over lists are strictly serializable (--no-realtime: serializable)."
            }
            Self::Lock => {
                "A lock has one holder at a time, tokens grow, and no stale one is accepted."
            }
            Self::Queue => "Queues lose nothing, double nothing, and keep first in, first out.",
            Self::Session => {
                "Every session is told the same joins and leaves in the same order, its own join \
                 first."
            }
            Self::Watch => {
                "Every watch reports every change once, in order, before any result that reflects \
                 it."
            }
        }
    }

    /// The operations that it knows.
    pub const fn operations(self) -> &'static [OperationShape] {
        match self {
            Self::Register => CAS_REGISTER.split_at(2).0,
            Self::CasRegister => &CAS_REGISTER,
            Self::Txn => &TXN,
            Self::ListAppend => &LIST_APPEND,
            Self::Lock => &LOCK,
            Self::Queue => &QUEUE,
            Self::Session => &SESSION,
            Self::Watch => &WATCH,
        }
    }
}

const CAS_REGISTER: [OperationShape; 3] = [
    op("read", "[key nil]", "[key value]", "Reads. For a single register: nil and value alone."),
    op("write", "[key value]", "", "Writes. For a single register: the value alone."),
    op("cas", "[key [old new]]", "", "Replaces old by new; :fail if the value was not old."),
];

const TXN: [OperationShape; 1] = [op(
    "txn",
    "[[:r key nil] [:w key value] [:cmp key value] ...]",
    "[[:r key value] ...] or {:aborted step}",
    "Steps in order, all or nothing. nil is absence: reading it, writing it, comparing with it. \
     Aborted: the :cmp at this step, from 0, was false.",
)];

const LIST_APPEND: [OperationShape; 1] = [op(
    "txn",
    "[[:append key value] [:r key nil] ...]",
    "[[:append key value] [:r key [value ...]] ...]",
    "Appends to lists and reads of whole lists. A value is appended to a key once.",
)];

const LOCK: [OperationShape; 4] = [
    op(
        "acquire",
        "{:lock name, :session number}",
        "{:lock name, :session number, :token number}",
        "Acquires the lock and is given its fencing token.",
    ),
    op("release", "{:lock name, :token number}", "", "Ends the hold with this token."),
    op(
        "use",
        "{:lock name, :token number}",
        "",
        "Shows the token to what the lock protects: :ok accepted, :fail refused as stale.",
    ),
    op(
        "expire",
        "{:session number}",
        "",
        "The session may have ended from the invocation on, and has by the completion.",
    ),
];

const QUEUE: [OperationShape; 2] = [
    op("enqueue", "value", "", "Puts a value in, once. For several queues: [queue value]."),
    op("dequeue", "nil", "value", "Takes the first; nil: empty. For several: [queue nil]."),
];

const SESSION: [OperationShape; 3] = [
    op("open", "nil", "{:session number}", "Opens a session."),
    op("close", "{:session number}", "", "Closes it. Sessions that leave without this expired."),
    op(
        "member",
        "{:observer number, :revision number, :kind :joined, :session number, \
         :members [number ...]}",
        "the same",
        "The observer is told, without asking, that a session :joined or :left. :members may be \
         left out.",
    ),
];

const WATCH: [OperationShape; 7] = [
    op(
        "watch",
        "{:session number, :watch number, :key name, :kinds [:created ...], :once true}",
        "the same with :from revision",
        "Watches a :key or a :prefix for changes later than :from. :kinds and :once may be left \
         out.",
    ),
    op("unwatch", "{:session number, :watch number}", "", "Ends the watch."),
    op(
        "event",
        "{:session number, :watch number, :revision number, :key name, :kind :changed}",
        "the same",
        "The watch reports a change: :created, :changed, :deleted or :copied.",
    ),
    op(
        "lost",
        "{:session number, :watch number}",
        "the same",
        "The client is told that the watch cannot go on: the history is gone.",
    ),
    op(
        "write",
        "{:session number, :key name}",
        "{:session number, :key name, :revision number, :kind :changed}",
        "Changes the key.",
    ),
    op(
        "read",
        "{:session number}",
        "{:session number, :revision number}",
        "Any result that reflects all changes up to the revision.",
    ),
    op(
        "log",
        "[{:revision number, :key name, :kind :changed} ...]",
        "the same",
        "All changes in order, as the servers hold them. May be left out.",
    ),
];
