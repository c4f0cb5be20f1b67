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

id! {
    /// A group of servers that orders and replicates one state. There is one, [`GroupId::ONLY`];
    /// the heads of packets, messages between servers and records name it, so that there can be
    /// more.
    GroupId(u32), "g"
}

impl GroupId {
    /// The group that there is.
    pub const ONLY: Self = Self(0);
}

/// Milliseconds since the beginning of 1970, as a server's clock shows them.
///
/// Nothing that is promised rests on it: see `docs/decisions/0032-time-in-the-order.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub u64);

impl Stamp {
    /// The latest that is written down, far from any real time: what follows can count on from it.
    pub const MAX: Self = Self(1 << 62);
}

id! {
    /// A part of a cluster's history that an operator's recovery began; zero since it was formed.
    Era(u16), "era "
}

/// A reign of one primary component. Opened by a majority of promises, never twice.
///
/// The upper 16 bits are the [`Era`], the others count its epochs from 1: an epoch that a recovery
/// opens is above every epoch that the lost servers may have opened without it. With the count zero
/// it is no epoch that could be opened, but a promise to serve none of an earlier era any more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

impl Epoch {
    const COUNT_BITS: u32 = 48;

    /// Above every epoch of earlier eras, below every one of this.
    pub const fn before_first(era: Era) -> Self {
        Self((era.0 as u64) << Self::COUNT_BITS)
    }

    /// The era to which it belongs.
    pub const fn era(self) -> Era {
        Era((self.0 >> Self::COUNT_BITS) as u16)
    }

    /// Its number within the era.
    const fn count(self) -> u64 {
        self.0 & ((1 << Self::COUNT_BITS) - 1)
    }

    /// True if no other epoch of the era can follow. No cluster comes near it: a server that names
    /// it is broken.
    pub const fn is_last_of_era(self) -> bool {
        self.count() == (1 << Self::COUNT_BITS) - 1
    }

    /// The epoch that follows this one in its era.
    ///
    /// # Panics
    /// At the end of 48 bits, which no run reaches.
    pub const fn next(self) -> Self {
        assert!(!self.is_last_of_era(), "a 48-bit counter never ends");
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.era() {
            Era(0) => write!(f, "e{}", self.0),
            Era(era) => write!(f, "e{era}.{}", self.count()),
        }
    }
}
impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
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
successor!(Index, Revision, RequestId);

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
