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
}

impl Model {
    /// Every model.
    pub const ALL: [Self; 6] =
        [Self::Register, Self::CasRegister, Self::Txn, Self::ListAppend, Self::Lock, Self::Queue];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::CasRegister => "cas-register",
            Self::Txn => "txn",
            Self::ListAppend => "list-append",
            Self::Lock => "lock",
            Self::Queue => "queue",
        }
    }

    /// The model with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.name() == name)
    }
}
