//! Which workloads there are, by name: the data of a plan. What each does is in
//! [`crate::workload`].

use accord_models::Model;

/// The workloads there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorkloadKind {
    /// Registers with compare-and-set, judged for linearizability key by key.
    Register,
    /// Transactions that append to lists and read them, judged for strict serializability.
    Transaction,
    /// Locks with fencing tokens, judged for one holder at a time and no stale token.
    Lock,
    /// A queue, judged for what is lost, doubled or out of order.
    Queue,
    /// Sessions that join and leave with their ephemeral records, and watch each other.
    Membership,
    /// Watches of all sorts, judged for order, gaps, repetitions and results before events.
    Watch,
    /// Sessions that come, move and go while their requests count, judged for exactly once.
    Churn,
    /// Transactions of every sort, judged by the naive model of the state.
    Store,
}

impl WorkloadKind {
    /// Every workload.
    pub const ALL: [Self; 8] = [
        Self::Register,
        Self::Transaction,
        Self::Lock,
        Self::Queue,
        Self::Membership,
        Self::Watch,
        Self::Churn,
        Self::Store,
    ];

    /// The word for it in plans and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Transaction => "transaction",
            Self::Lock => "lock",
            Self::Queue => "queue",
            Self::Membership => "membership",
            Self::Watch => "watch",
            Self::Churn => "churn",
            Self::Store => "store",
        }
    }

    /// What its history is judged by as a whole; `None`: the workload judges it by itself.
    pub const fn model(self) -> Option<Model> {
        match self {
            Self::Register => Some(Model::CasRegister),
            Self::Transaction => Some(Model::ListAppend),
            Self::Lock => Some(Model::Lock),
            Self::Queue => Some(Model::Queue),
            Self::Membership => Some(Model::Session),
            Self::Watch => Some(Model::Watch),
            Self::Churn | Self::Store => None,
        }
    }

    /// The workload of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}
