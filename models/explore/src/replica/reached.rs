//! States that must be reached, or a model shows less than it seems to.

use super::ReplicaModel;
use super::server::Server;
use super::world::State;
use crate::kept::Kept;
use accord_core::ids::{Epoch, Era, NodeId};
use accord_core::replica::io::{ClosedReason, HaltReason, Record};
use accord_core::replica::log::Log;

/// An interesting state, by name.
pub type Reached = (&'static str, fn(&ReplicaModel, &State) -> bool);

/// An epoch is open at two servers of three.
pub const SMALLER: Reached = ("an epoch opens without a voter", |_, state| {
    state.servers.values().any(|server| {
        let status = server.replica.status();
        status.synced && status.members.len() < status.voters.voters.len()
    })
});
/// A write is acknowledged in an epoch after the first.
pub const LATER: Reached = ("a write commits in a later epoch", |_, state| {
    let mut committed = state.oracle.committed();
    state.oracle.acknowledged() > 0 && committed.any(|entry| entry.epoch > Epoch(1))
});
/// A server drops what was never committed.
pub const TRUNCATED: Reached = ("a conflicting suffix is dropped", |_, state| {
    let drops = |record: &Record| matches!(record, Record::Truncate(_));
    state.disks.values().any(|disk| disk.records.iter().any(drops))
});
/// A crash loses something.
pub const LOST: Reached = ("a crash loses what was not synced", |_, state| state.used.lost);
/// A server that crashed is in an open epoch again.
pub const BACK: Reached = ("a server that crashed takes part again", |_, state| {
    let back = |node: &NodeId| {
        state.group.incarnation(*node) > 1 && state.servers[node].replica.open_epoch().is_some()
    };
    state.servers.keys().any(back)
});
/// Two servers hold different entries at one index.
pub const CONFLICT: Reached = ("two logs conflict", |_, state| {
    let logs: Vec<_> = state.servers.values().map(|server| server.replica.log()).collect();
    let differs = |a: &Log, b: &Log| {
        let last = a.last().index.min(b.last().index);
        last.0 > 0 && a.position_at(last) != b.position_at(last)
    };
    logs.iter().any(|a| logs.iter().any(|b| differs(a, b)))
});
/// Two epochs are open at once.
pub const RIVALS: Reached = ("two servers are in different open epochs", |_, state| {
    let open = |server: &Kept<Server>| server.replica.status().epoch;
    let epochs: Vec<_> = state.servers.values().filter_map(open).collect();
    epochs.windows(2).any(|pair| pair[0] != pair[1])
});
/// A read is answered.
pub const READ: Reached = ("a read is answered", |_, state| state.oracle.reads_done() > 0);
/// A voter that lost its disk votes again.
pub const READMITTED: Reached = ("a wiped voter is readmitted", |model, state| {
    state.servers.iter().any(|(node, server)| {
        let status = server.replica.status();
        let votes = status.voters.is_intact(*node, status.store);
        votes && node.0 <= model.bounds.voters && status.store.0 & 0xff > 1 && status.synced
    })
});
/// A voter is gone for good.
pub const REMOVED: Reached = ("a voter is removed", |model, state| {
    let removed = |server: &Kept<Server>| {
        let status = server.replica.status();
        let mut first = (1..=model.bounds.voters).map(NodeId);
        let settled = status.commit >= status.last.index;
        settled && first.any(|node| !status.voters.voters.contains_key(&node))
    };
    state.servers.values().any(removed)
});
/// An observer votes.
pub const ADDED: Reached = ("an observer becomes a voter", |model, state| {
    state.servers.iter().any(|(node, server)| {
        let status = server.replica.status();
        node.0 > model.bounds.voters && status.voters.is_intact(*node, status.store)
    })
});

fn closed(state: &State, is: impl Fn(&ClosedReason) -> bool) -> bool {
    let closed = |server: &Kept<Server>| server.replica.status().closed;
    state.servers.values().filter_map(closed).any(|reason| is(&reason))
}

/// Servers of a later era that vote and are in an open epoch.
fn recovered(state: &State) -> usize {
    let serves = |(node, server): &(&NodeId, &Kept<Server>)| {
        let status = server.replica.status();
        let later = status.epoch.is_some_and(|epoch| epoch.era() > Era(0));
        later && status.synced && status.voters.is_intact(**node, status.store)
    };
    state.servers.iter().filter(serves).count()
}

/// The recovered cluster has a second voter.
pub const GROWN: Reached = ("the recovered cluster has grown", |_, state| recovered(state) > 1);
/// An old disk votes in the recovered cluster: it had nothing that this lacks.
pub const TAKEN_IN: Reached = ("an old disk is taken in", |_, state| {
    let votes = |(node, server): (&NodeId, &Kept<Server>)| {
        let status = server.replica.status();
        let old = node.0 > 1 && status.store.0 & 0xff == 1;
        old && status.last.epoch.era() > Era(0) && status.voters.is_intact(*node, status.store)
    };
    state.servers.iter().any(votes)
});
/// An old disk has what the recovered cluster lacks.
pub const LEFT_BEHIND: Reached = ("an old disk is left behind", |_, state| {
    closed(state, |reason| matches!(reason, ClosedReason::LeftBehind { .. }))
});
/// A server that has met the recovered cluster does not go on without it.
pub const PROMISED: Reached = ("an old disk does not go on without the cluster", |_, state| {
    closed(state, |reason| matches!(reason, ClosedReason::PromisedLater { .. }))
});
/// Two of the old disks go on, having met nobody.
pub const BESIDE: Reached = ("old disks that met nobody go on beside", |_, state| {
    let epoch = |server: &Kept<Server>| server.replica.open_epoch();
    let eras: Vec<_> = state.servers.values().filter_map(epoch).map(Epoch::era).collect();
    eras.contains(&Era(0)) && eras.iter().any(|era| *era > Era(0))
});
/// The cluster was recovered twice, apart, and the servers of both meet.
pub const APART: Reached = ("recoveries apart meet", |_, state| {
    closed(state, |reason| matches!(reason, ClosedReason::MixedHistories))
});
/// The cluster was recovered twice, one after the other.
pub const TWICE: Reached = ("a recovered cluster is recovered again", |_, state| {
    state.servers.values().any(|server| {
        let open = server.replica.open_epoch();
        open.is_some_and(|epoch| epoch.era() > Era(1))
    })
});
/// A server took over the state of another.
pub const INSTALLED: Reached = ("a server takes over an image", |_, state| {
    let installs = |record: &Record| matches!(record, Record::Install(_));
    state.disks.values().any(|disk| disk.records.iter().any(installs))
});
/// An image that a server was sent before the recovery is not taken.
pub const REFUSED: Reached =
    ("an image of before the recovery waits in the recovered cluster", |_, state| {
        let later = |server: &Kept<Server>| {
            let epoch = server.replica.status().epoch;
            server.has_received() && epoch.is_some_and(|epoch| epoch.era() > Era(0))
        };
        state.servers.values().any(later)
    });
/// A damaged server is outvoted.
pub const OUTVOTED: Reached = ("a damaged server stops, and the others serve on", |_, state| {
    let stopped = |server: &&Kept<Server>| {
        server.damaged && matches!(server.halted, Some(HaltReason::DigestMismatch { .. }))
    };
    let count = state.servers.values().filter(stopped).count();
    count == 1 && state.servers.values().filter(|server| server.halted.is_some()).count() == 1
});
/// Two changes of voters are committed in one epoch.
pub const CHANGED_TWICE: Reached =
    ("two changes of voters are committed in one epoch", |_, state| {
        let sets = state.oracle.committed().filter(|entry| {
            matches!(entry.body, accord_core::replica::io::Body::Voters(_)) && entry.index.0 > 1
        });
        let epochs: Vec<Epoch> = sets.map(|entry| entry.epoch).collect();
        epochs.windows(2).any(|pair| pair[0] == pair[1])
    });
/// A write is acknowledged after the changes, by servers that were no majority before them.
pub const WITHOUT_OLD: Reached = ("it goes on without the old majority", |model, state| {
    let first = |node: &NodeId| node.0 <= model.bounds.voters;
    state.servers.values().any(|server| {
        let status = server.replica.status();
        let old = status.members.iter().filter(|node| first(node)).count() as u32;
        status.synced && old <= model.bounds.voters / 2 && status.commit == status.last.index
    })
});
