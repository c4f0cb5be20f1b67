//! Newtypes for every id, so that no two kinds of number can be confused.

use core::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id! {
    /// A server, as the operator numbered it. Survives restarts and replaced disks.
    NodeId(u32), "n"
}
id! {
    /// The incarnation of a server's memory: drawn afresh for an empty disk (or, in memory mode, at
    /// every start). A server whose `StoreId` is not the one listed in the voter set has forgotten,
    /// and does not vote.
    StoreId(u64), "store:"
}
id! {
    /// The cluster, drawn once when it is formed; servers of different clusters never mix.
    ClusterId(u64), "cluster:"
}
id! {
    /// A reign of one primary component. Opened by a majority of promises, never twice.
    Epoch(u64), "e"
}
id! {
    /// A position in the replicated log, from 1. Zero: before the first entry.
    Index(u64), "i"
}
id! {
    /// The number of a state change in the order of all changes, from 1. Zero: the empty store.
    ///
    /// One command has one revision, so all the changes of a transaction share theirs.
    Revision(u64), "r"
}
id! {
    /// A client's session: the revision of the command that opened it.
    SessionId(u64), "s"
}
id! {
    /// A client's number for one request within its session, from 1, ascending.
    RequestId(u64), "q"
}
id! {
    /// One client connection at one server, chosen by the driver and never reused.
    ConnId(u64), "c"
}
id! {
    /// A client's number for one of its watches.
    WatchId(u64), "w"
}

macro_rules! successor {
    ($($name:ident),*) => {$(
        impl $name {
            /// The id that follows this one.
            ///
            /// # Panics
            /// At the end of 64 bits, which no run reaches.
            pub const fn next(self) -> Self {
                Self(self.0.checked_add(1).expect("a 64-bit counter never ends"))
            }
        }
    )*};
}
successor!(Epoch, Index, Revision, RequestId);

impl Index {
    /// The index before this one; zero stays zero.
    pub const fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

/// The end of a log: the epoch and index of its last entry. Logs compare by epoch, then index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogPosition {
    /// The epoch in which the entry was appended.
    pub epoch: Epoch,
    /// Where it stands.
    pub index: Index,
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.epoch, self.index)
    }
}
impl fmt::Debug for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
