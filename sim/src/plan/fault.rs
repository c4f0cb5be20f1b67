//! The faults a plan can speak of. Each is one line of text; see [`super::text`] for reading them.
//!
//! A fault has a beginning and, if it lasts, an end of its own, so a shrinker can drop any one
//! without leaving another half undone. Faults overlap freely; the world counts them.

use accord_core::time::{Duration, Span};
use std::fmt;

/// A set of servers, by number (1 to 63).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nodes(u64);

impl Nodes {
    /// The largest number a server can have.
    pub const NODE_MAX: u32 = 63;

    /// The servers 1 to `count`.
    pub fn first(count: u32) -> Self {
        (1..=count).collect()
    }
    /// True if `node` is in the set.
    pub const fn contains(self, node: u32) -> bool {
        node <= Self::NODE_MAX && self.0 & (1 << node) != 0
    }
    /// True if nobody is.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// How many are in the set.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }
    /// The members, ascending.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        (0..=Self::NODE_MAX).filter(move |node| self.contains(*node))
    }
    /// The largest member; zero for an empty set.
    pub fn max(self) -> u32 {
        self.iter().last().unwrap_or(0)
    }
}

impl FromIterator<u32> for Nodes {
    fn from_iter<I: IntoIterator<Item = u32>>(nodes: I) -> Self {
        Self(nodes.into_iter().fold(0, |set, node| {
            assert!(node <= Self::NODE_MAX, "servers are numbered up to {}", Self::NODE_MAX);
            set | 1 << node
        }))
    }
}

impl fmt::Display for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, node) in self.iter().enumerate() {
            write!(f, "{}{node}", if position == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When it begins, since the world's start.
    pub at: Duration,
    /// How long it lasts. Zero: it is over at once.
    pub lasts: Duration,
    /// What it is.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// These servers and the others do not hear each other.
    Partition(Nodes),
    /// What the first say does not reach the second.
    OneWay(Nodes, Nodes),
    /// These two do not hear each other, while others hear both.
    Sever(u32, u32),
    /// This percentage of the packets between servers is lost.
    Loss(u32),
    /// This percentage of the packets comes twice.
    Duplicate(u32),
    /// This percentage of the packets is overtaken by later ones.
    Reorder(u32),
    /// Every packet takes up to this much longer.
    Delay(Duration),
    /// The process dies; what it wrote survives in the system's memory. It starts again at the end.
    Crash(u32),
    /// The machine loses power; what was not synced is lost or torn.
    PowerLoss(u32),
    /// All servers lose power at once.
    Blackout,
    /// The process is killed, and again in the middle of its next start.
    StartKill(u32),
    /// The process is killed, and the machine loses power in the middle of its next start.
    StartLoss(u32),
    /// The machine dies and comes back with an empty disk.
    Wipe(u32),
    /// The process dies, and before it starts again, a bit of its disk has turned.
    Rot(u32),
    /// The machine comes back with an empty disk at once, and in the end with its old one.
    Swap(u32),
    /// The process stands still, and so does everything it should hear; its clock goes on.
    Pause(u32),
    /// The server's clock runs at this percentage of the true pace.
    ClockRate(u32, u32),
    /// The server's clock leaps ahead by this much.
    ClockLeap(u32, Duration),
    /// Each sync of the server's disk takes this much longer.
    SlowDisk(u32, Duration),
    /// The next sync of the server's disk fails.
    FailDisk(u32),
    /// An observer becomes a voter.
    AddVoter(u32),
    /// A voter becomes an observer.
    RemoveVoter(u32),
    /// The server hangs up on all its clients.
    HangUp(u32),
    /// No client reaches this server, nor does it reach them; nobody is told.
    Unreachable(u32),
    /// This client reaches no server, nor do they reach it; nobody is told.
    Isolate(u32),
    /// The client is gone without a word, and another comes in its place.
    Gone(u32),
    /// In memory mode: a majority loses its memory at once. The cluster must stop and say so.
    Amnesia,
    /// In memory mode: all servers lose their memory at once. They must not begin anew by
    /// themselves.
    Oblivion,
    /// A majority of the voters is lost, and the operator recovers the cluster from what is left.
    /// In the end the lost ones come back: some with their old disks, and as many with empty ones
    /// as it takes for the old ones to be no majority of their own.
    Recover,
    /// The state in this server's memory is damaged: its digests are wrong, until it starts again
    /// or is given another's state. It must stop itself, and nobody else may.
    Damage(u32),
}

/// The kinds of fault, for counting and for choosing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each is described by the variant of FaultKind of the same name")]
pub enum Kind {
    Partition,
    OneWay,
    Sever,
    Loss,
    Duplicate,
    Reorder,
    Delay,
    Crash,
    PowerLoss,
    Blackout,
    StartKill,
    StartLoss,
    Wipe,
    Rot,
    Swap,
    Pause,
    ClockRate,
    ClockLeap,
    SlowDisk,
    FailDisk,
    AddVoter,
    RemoveVoter,
    HangUp,
    Unreachable,
    Isolate,
    Gone,
    Amnesia,
    Oblivion,
    Recover,
    Damage,
}

impl Kind {
    /// Every kind, in the order of the report.
    pub const ALL: [Self; 30] = [
        Self::Partition,
        Self::OneWay,
        Self::Sever,
        Self::Loss,
        Self::Duplicate,
        Self::Reorder,
        Self::Delay,
        Self::Crash,
        Self::PowerLoss,
        Self::Blackout,
        Self::StartKill,
        Self::StartLoss,
        Self::Wipe,
        Self::Rot,
        Self::Swap,
        Self::Pause,
        Self::ClockRate,
        Self::ClockLeap,
        Self::SlowDisk,
        Self::FailDisk,
        Self::AddVoter,
        Self::RemoveVoter,
        Self::HangUp,
        Self::Unreachable,
        Self::Isolate,
        Self::Gone,
        Self::Amnesia,
        Self::Oblivion,
        Self::Recover,
        Self::Damage,
    ];

    /// The word for it in plans and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Partition => "partition",
            Self::OneWay => "oneway",
            Self::Sever => "sever",
            Self::Loss => "loss",
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::Delay => "delay",
            Self::Crash => "crash",
            Self::PowerLoss => "powerloss",
            Self::Blackout => "blackout",
            Self::StartKill => "startkill",
            Self::StartLoss => "startloss",
            Self::Wipe => "wipe",
            Self::Rot => "rot",
            Self::Swap => "swap",
            Self::Pause => "pause",
            Self::ClockRate => "clockrate",
            Self::ClockLeap => "clockleap",
            Self::SlowDisk => "slowdisk",
            Self::FailDisk => "faildisk",
            Self::AddVoter => "addvoter",
            Self::RemoveVoter => "removevoter",
            Self::HangUp => "hangup",
            Self::Unreachable => "unreachable",
            Self::Isolate => "isolate",
            Self::Gone => "gone",
            Self::Amnesia => "amnesia",
            Self::Oblivion => "oblivion",
            Self::Recover => "recover",
            Self::Damage => "damage",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// True if a fault of this kind has an end as well as a beginning.
    pub const fn lasts(self) -> bool {
        !matches!(
            self,
            Self::ClockLeap
                | Self::AddVoter
                | Self::RemoveVoter
                | Self::HangUp
                | Self::Gone
                | Self::Damage
        )
    }
}

impl FaultKind {
    /// Which kind it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Partition(_) => Kind::Partition,
            Self::OneWay(..) => Kind::OneWay,
            Self::Sever(..) => Kind::Sever,
            Self::Loss(_) => Kind::Loss,
            Self::Duplicate(_) => Kind::Duplicate,
            Self::Reorder(_) => Kind::Reorder,
            Self::Delay(_) => Kind::Delay,
            Self::Crash(_) => Kind::Crash,
            Self::PowerLoss(_) => Kind::PowerLoss,
            Self::Blackout => Kind::Blackout,
            Self::StartKill(_) => Kind::StartKill,
            Self::StartLoss(_) => Kind::StartLoss,
            Self::Wipe(_) => Kind::Wipe,
            Self::Rot(_) => Kind::Rot,
            Self::Swap(_) => Kind::Swap,
            Self::Pause(_) => Kind::Pause,
            Self::ClockRate(..) => Kind::ClockRate,
            Self::ClockLeap(..) => Kind::ClockLeap,
            Self::SlowDisk(..) => Kind::SlowDisk,
            Self::FailDisk(_) => Kind::FailDisk,
            Self::AddVoter(_) => Kind::AddVoter,
            Self::RemoveVoter(_) => Kind::RemoveVoter,
            Self::HangUp(_) => Kind::HangUp,
            Self::Unreachable(_) => Kind::Unreachable,
            Self::Isolate(_) => Kind::Isolate,
            Self::Gone(_) => Kind::Gone,
            Self::Amnesia => Kind::Amnesia,
            Self::Oblivion => Kind::Oblivion,
            Self::Recover => Kind::Recover,
            Self::Damage(_) => Kind::Damage,
        }
    }

    /// The servers it names.
    pub fn nodes(&self) -> Nodes {
        match self {
            Self::Partition(nodes) => *nodes,
            Self::OneWay(from, to) => from.iter().chain(to.iter()).collect(),
            Self::Sever(a, b) => [*a, *b].into_iter().collect(),
            Self::Crash(node)
            | Self::PowerLoss(node)
            | Self::StartKill(node)
            | Self::StartLoss(node)
            | Self::Wipe(node)
            | Self::Rot(node)
            | Self::Swap(node)
            | Self::Pause(node)
            | Self::ClockRate(node, _)
            | Self::ClockLeap(node, _)
            | Self::SlowDisk(node, _)
            | Self::FailDisk(node)
            | Self::AddVoter(node)
            | Self::RemoveVoter(node)
            | Self::HangUp(node)
            | Self::Unreachable(node)
            | Self::Damage(node) => [*node].into_iter().collect(),
            Self::Loss(_)
            | Self::Duplicate(_)
            | Self::Reorder(_)
            | Self::Delay(_)
            | Self::Blackout
            | Self::Isolate(_)
            | Self::Gone(_)
            | Self::Amnesia
            | Self::Oblivion
            | Self::Recover => Nodes::default(),
        }
    }

    /// The client it names.
    pub const fn client(&self) -> Option<u32> {
        match self {
            Self::Isolate(client) | Self::Gone(client) => Some(*client),
            _ => None,
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().name())?;
        match self {
            Self::Partition(nodes) => write!(f, " {nodes}"),
            Self::OneWay(from, to) => write!(f, " {from} to {to}"),
            Self::Sever(a, b) => write!(f, " {a} {b}"),
            Self::Loss(percent) | Self::Duplicate(percent) | Self::Reorder(percent) => {
                write!(f, " {percent}%")
            }
            Self::Delay(by) => write!(f, " {}", Span(*by)),
            Self::ClockRate(node, percent) => write!(f, " {node} {percent}%"),
            Self::ClockLeap(node, by) | Self::SlowDisk(node, by) => {
                write!(f, " {node} {}", Span(*by))
            }
            Self::Crash(number)
            | Self::PowerLoss(number)
            | Self::StartKill(number)
            | Self::StartLoss(number)
            | Self::Wipe(number)
            | Self::Rot(number)
            | Self::Swap(number)
            | Self::Pause(number)
            | Self::FailDisk(number)
            | Self::AddVoter(number)
            | Self::RemoveVoter(number)
            | Self::HangUp(number)
            | Self::Unreachable(number)
            | Self::Isolate(number)
            | Self::Gone(number)
            | Self::Damage(number) => write!(f, " {number}"),
            Self::Blackout | Self::Amnesia | Self::Oblivion | Self::Recover => Ok(()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {}", Span(self.at))?;
        if self.kind.kind().lasts() {
            write!(f, " for {}", Span(self.lasts))?;
        }
        write!(f, " {}", self.kind)
    }
}
