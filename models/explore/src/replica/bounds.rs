//! What may happen in one run of the model, and how often.

use accord_core::group::adversary::Loss;
use accord_core::ids::NodeId;
use accord_core::replica::config::ReplicaLimits;

/// How coarse a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// A server is delivered one event.
    Event,
    /// A server is delivered all that waits for it, and what it says itself meanwhile.
    All,
    /// What needs no decision happens at once, in one order, until the cluster is at rest.
    Rest,
}

/// What may happen, and how often.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Servers that are voters from the start.
    pub voters: u32,
    /// Servers beside them, in the first view, that do not vote.
    pub observers: u32,
    /// How coarse a step is.
    pub grain: Grain,
    /// Which servers clients write at.
    pub writers: Vec<NodeId>,
    /// Writes.
    pub writes: u8,
    /// Which servers clients read at.
    pub readers: Vec<NodeId>,
    /// Linearizable reads.
    pub reads: u8,
    /// Views formed after the first.
    pub views: u8,
    /// True if views form only after all the crashes and returns of disks that may happen.
    pub views_last: bool,
    /// The members that a view may have.
    pub sides: Vec<Vec<NodeId>>,
    /// What may be lost when a view forms.
    pub losses: Vec<Loss>,
    /// Which servers crash or lose their disks.
    pub mortals: Vec<NodeId>,
    /// Crashes: a server is down and what it had not synced is gone.
    pub crashes: u8,
    /// Crashes in which the whole disk is gone, and kept in a drawer.
    pub wipes: u8,
    /// Starts of a server that is down with the disk from the drawer.
    pub swaps: u8,
    /// Times that a request of a transfer is taken for lost.
    pub timeouts: u8,
    /// Which server is asked for changes of voters.
    pub changer: NodeId,
    /// Which voters may be removed, and which observers added.
    pub changeable: Vec<NodeId>,
    /// Changes of voters asked for.
    pub changes: u8,
    /// Which servers may start with an empty disk.
    pub newcomers: Vec<NodeId>,
    /// From which servers an operator recovers the cluster.
    pub recoverers: Vec<NodeId>,
    /// Recoveries.
    pub recoveries: u8,
    /// Times that a server is stopped, if it is up, and started with its other disk.
    pub exchanges: u8,
    /// Which servers may stand still for a while.
    pub pausable: Vec<NodeId>,
    /// Times that a server stands still: it is delivered nothing and its disk does not sync.
    pub pauses: u8,
    /// True if an image of the state that has arrived is looked at when the checker says so.
    pub looks_later: bool,
    /// Times that the state of a server is damaged in its memory.
    pub damages: u8,
    /// The bounds of the replicas.
    pub limits: ReplicaLimits,
    /// What has happened before the exploration begins.
    pub prologue: Prologue,
}

/// What has happened before the exploration begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prologue {
    /// The cluster is formed and at rest.
    Formed,
    /// After that a server was cut off, and the others are at rest without it.
    Apart(NodeId),
    /// After that a voter lost its disk and came back, and a view of all has just formed.
    Wiped(NodeId),
    /// After that a write was committed, server 1 was cut off, and the others are lost: their disks
    /// lie in a drawer, and each may be started with its old disk or an empty one.
    Lost(Without),
    /// As before, but then the cluster was recovered, and the others are up with their old disks,
    /// each alone.
    Recovered(Without),
}

/// What the servers that are lost did after server 1 was cut off from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// Nothing: they are lost at once.
    Nothing,
    /// They committed a write, and server 1 has two that nobody else has.
    More,
    /// The last one was cut off before: it lacks what server 1 committed with the others.
    Less,
}

/// How often each thing has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Used {
    /// Writes and reads: also the number of the last operation.
    pub ops: u8,
    /// Writes.
    pub writes: u8,
    /// Reads.
    pub reads: u8,
    /// Views.
    pub views: u8,
    /// Crashes.
    pub crashes: u8,
    /// Wiped disks.
    pub wipes: u8,
    /// Disks put back.
    pub swaps: u8,
    /// Time-outs.
    pub timeouts: u8,
    /// Changes of voters.
    pub changes: u8,
    /// Recoveries.
    pub recoveries: u8,
    /// Disks exchanged.
    pub exchanges: u8,
    /// Pauses.
    pub pauses: u8,
    /// States damaged.
    pub damages: u8,
    /// True if a crash lost something that was written.
    pub lost: bool,
}

impl Bounds {
    /// A cluster of three voters in which nothing happens.
    pub fn quiet(grain: Grain) -> Self {
        Self {
            voters: 3,
            observers: 0,
            grain,
            writers: nodes(&[1]),
            writes: 0,
            readers: nodes(&[2]),
            reads: 0,
            views: 0,
            views_last: false,
            sides: Vec::new(),
            losses: vec![Loss::Nothing, Loss::Ordered],
            mortals: nodes(&[1, 2, 3]),
            crashes: 0,
            wipes: 0,
            swaps: 0,
            timeouts: 0,
            changer: NodeId(1),
            changeable: Vec::new(),
            changes: 0,
            newcomers: nodes(&[1, 2, 3, 4, 5]),
            recoverers: Vec::new(),
            recoveries: 0,
            exchanges: 0,
            pausable: Vec::new(),
            pauses: 0,
            looks_later: false,
            damages: 0,
            limits: ReplicaLimits::default(),
            prologue: Prologue::Formed,
        }
    }
}

/// Nodes by their numbers.
pub fn nodes(numbers: &[u32]) -> Vec<NodeId> {
    numbers.iter().copied().map(NodeId).collect()
}

/// Every pair of the nodes from 1 to `count`, and all of them.
pub fn pairs_and_all(count: u32) -> Vec<Vec<NodeId>> {
    let pairs = (1..=count).flat_map(|a| (a + 1..=count).map(move |b| nodes(&[a, b])));
    let all = (1..=count).map(NodeId).collect();
    pairs.filter(|_| count > 2).chain([all]).collect()
}
