//! The plan of an epoch: what all members of a view compute from their reports, and nothing else.
//!
//! Three questions, in this order:
//! 1. Which history counts? The one that continues all others reported ([`super::history`]).
//! 2. Who takes part? Members that have nothing which this history lacks for good, and that have
//!    not promised a later one.
//! 3. Is there a primary component? If the intact voters among those who take part are a majority
//!    of the voter set in the best log.

use super::history::{ERA_MAX, History, RECOVERIES_MAX, Recovery, Standing};
use super::io::ClosedReason;
use super::message::Report;
use super::voters::VoterSet;
use crate::ids::{ClusterId, Epoch, Era, Index, LogPosition, NodeId, StoreId};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;

/// The reports of all members of a view.
pub(super) type Reports = BTreeMap<NodeId, Report>;

/// The epoch that all members of a view decided to open.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Plan {
    /// The epoch to open.
    pub(super) epoch: Epoch,
    /// Whose log it continues.
    pub(super) source: NodeId,
    /// Where that log ends.
    pub(super) source_last: LogPosition,
    /// The voter set at that point.
    pub(super) voters: VoterSet,
    /// The highest commit index that any member knew.
    pub(super) commit: Index,
    /// The incarnation of every member that takes part.
    pub(super) stores: BTreeMap<NodeId, StoreId>,
    /// True if this epoch forms or recovers the cluster: it begins with its voters.
    pub(super) genesis: bool,
}

impl Plan {
    pub(super) fn is_intact(&self, node: NodeId) -> bool {
        self.stores.get(&node).is_some_and(|store| self.voters.is_intact(node, *store))
    }

    /// The members that take part, sorted.
    pub(super) fn members(&self) -> Vec<NodeId> {
        self.stores.keys().copied().collect()
    }
}

/// Why a server cannot take part in an epoch of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outside {
    /// It has entries of the history's past that are not a part of it.
    LeftBehind(Recovery),
    /// It promised never to serve this history again.
    PromisedLater,
    /// It has another history.
    Apart,
}

impl Report {
    fn history(&self) -> &History {
        &self.voters.history
    }

    fn outside(&self, history: &History) -> Option<Outside> {
        match self.history().standing(history) {
            Standing::Same => {}
            Standing::ContinuedBy(next) if self.last > next.fork => {
                return Some(Outside::LeftBehind(next));
            }
            // Its log ends where the recovery's went by: what is not in that was never committed.
            Standing::ContinuedBy(_) => {}
            Standing::Continues | Standing::Apart => return Some(Outside::Apart),
        }
        (self.promised.era() > history.era()).then_some(Outside::PromisedLater)
    }
}

/// Those of the reports that take part in an epoch of this history.
fn inside<'a>(
    reports: &'a Reports,
    history: &'a History,
) -> impl DoubleEndedIterator<Item = (&'a NodeId, &'a Report)> + Clone {
    reports.iter().filter(|(_, report)| report.outside(history).is_none())
}

/// The reported history that continues all others.
fn newest_history(reports: &Reports) -> Result<&History, ClosedReason> {
    let clusters: BTreeSet<ClusterId> =
        reports.values().map(|r| r.voters.cluster).filter(|cluster| cluster.0 != 0).collect();
    if clusters.len() > 1 {
        return Err(ClosedReason::MixedClusters);
    }
    let histories = || reports.values().map(Report::history);
    let newest = histories().max_by_key(|history| history.era());
    let newest = newest.expect("a view contains at least oneself");
    if histories().any(|history| history.standing(newest) == Standing::Apart) {
        return Err(ClosedReason::MixedHistories);
    }
    Ok(newest)
}

/// Why `node` cannot take part in what follows in this view, and from which era on, if there is a
/// reason.
pub(super) fn left_out(
    reports: &Reports,
    history: Option<&History>,
    node: NodeId,
) -> Option<(Era, ClosedReason)> {
    let history = history.or_else(|| newest_history(reports).ok())?;
    let own = &reports[&node];
    let reason = match own.outside(history)? {
        Outside::LeftBehind(Recovery { era, fork, .. }) => {
            ClosedReason::LeftBehind { era, fork, last: own.last }
        }
        Outside::PromisedLater => ClosedReason::PromisedLater { era: own.promised.era() },
        Outside::Apart => ClosedReason::MixedHistories,
    };
    Some((history.era(), reason))
}

/// The era before which `node` serves nothing any more, having met these servers: that of the
/// newest history. Where several were recovered apart, the first era after its own: whichever of
/// them is right, its own is over.
pub(super) fn era_met(reports: &Reports, node: NodeId) -> Era {
    if let Ok(newest) = newest_history(reports) {
        return newest.era();
    }
    let own = &reports[&node];
    let ours = reports.values().filter(|report| report.voters.cluster == own.voters.cluster);
    let continues = |history: &&History| history.standing(own.history()) == Standing::Continues;
    ours.map(Report::history).filter(continues).map(History::era).min().unwrap_or_default()
}

/// The plan for a new view, or why there is no primary component.
pub(super) fn plan(reports: &Reports) -> Result<Plan, ClosedReason> {
    let history = newest_history(reports)?;
    // Ties go to the smallest id, so the last maximum must be the smallest node.
    let best = inside(reports, history).rev().max_by_key(|(_, report)| report.last);
    let Some((source, best)) = best else {
        return Err(no_quorum(&newest_set(reports), &BTreeMap::new(), reports));
    };
    let stores = stores(reports, history);
    let (voters, genesis) = match best.voters.is_empty() {
        false => (best.voters.clone(), false),
        true => (genesis_voters(reports)?, true),
    };
    if voters.count_intact(&stores) < voters.quorum() {
        return Err(no_quorum(&voters, &stores, reports));
    }
    let commit = inside(reports, history).map(|(_, report)| report.commit).max();
    Ok(Plan {
        epoch: next_epoch(reports, history, best.last.epoch),
        source: *source,
        source_last: best.last,
        voters,
        commit: commit.unwrap_or_default().min(best.last.index),
        stores,
        genesis,
    })
}

/// The plan that makes `node` the only voter, and has the others return. It begins an era.
pub(super) fn recovery_plan(reports: &Reports, node: NodeId) -> Plan {
    let own = &reports[&node];
    let mut returning: BTreeSet<NodeId> = own.voters.voters.keys().copied().collect();
    returning.extend(&own.voters.returning);
    if own.voters.is_empty() {
        returning.extend(&own.initial);
    }
    returning.remove(&node);
    let voters = BTreeMap::from([(node, own.store)]);
    let cluster = match own.voters.cluster.0 {
        0 => genesis_cluster(&voters),
        _ => own.voters.cluster,
    };
    let era = next_era(reports);
    let recovery = Recovery::new(own.history(), era, (node, own.store), own.last);
    let history = own.history().continued(recovery);
    Plan {
        epoch: Epoch::before_first(era).next(),
        source: node,
        source_last: own.last,
        commit: own.commit,
        stores: stores(reports, &history),
        voters: VoterSet { cluster, history, voters, returning },
        genesis: true,
    }
}

/// Why the cluster cannot be recovered from `node`, if it cannot.
pub(super) fn recovery_refused(reports: &Reports, node: NodeId) -> Option<&'static str> {
    let own = &reports[&node];
    let best = reports.values().map(|report| report.last).max().unwrap_or_default();
    if best > own.last {
        return Some("another connected server has a longer log; recover from that one");
    }
    let recoveries = own.history().recoveries().len();
    if recoveries == RECOVERIES_MAX || next_era(reports) > ERA_MAX {
        return Some("it was recovered too often; restore a backup of this server instead");
    }
    None
}

/// Above every era that a member has heard of.
fn next_era(reports: &Reports) -> Era {
    let heard = |report: &Report| report.promised.era().max(report.history().era());
    let last = reports.values().map(heard).max().unwrap_or_default();
    Era(last.0.saturating_add(1))
}

/// An epoch of the history above all that those who take part have promised or seen.
fn next_epoch(reports: &Reports, history: &History, last: Epoch) -> Epoch {
    let promised = inside(reports, history).map(|(_, report)| report.promised);
    let known = promised.chain([last, Epoch::before_first(history.era())]).max();
    known.unwrap_or_default().next()
}

/// The incarnation of every member that takes part.
fn stores(reports: &Reports, history: &History) -> BTreeMap<NodeId, StoreId> {
    inside(reports, history).map(|(node, report)| (*node, report.store)).collect()
}

/// The voter set of the best log among those who are left out, for people.
fn newest_set(reports: &Reports) -> VoterSet {
    let newest = reports.values().max_by_key(|report| report.last);
    newest.map(|report| report.voters.clone()).unwrap_or_default()
}

fn no_quorum(
    voters: &VoterSet,
    stores: &BTreeMap<NodeId, StoreId>,
    reports: &Reports,
) -> ClosedReason {
    let forgotten = |(node, report): (&NodeId, &Report)| {
        let listed = voters.voters.get(node)?;
        (*listed != report.store).then_some(*node)
    };
    ClosedReason::NoQuorum {
        intact: voters.count_intact(stores),
        voters: voters.voters.len(),
        quorum: voters.quorum(),
        forgotten: reports.iter().filter_map(forgotten).collect(),
    }
}

/// The first voter set, if all who are to form it are here, may, and have nothing yet.
fn genesis_voters(reports: &Reports) -> Result<VoterSet, ClosedReason> {
    let initial: BTreeSet<NodeId> =
        reports.values().flat_map(|report| report.initial.iter().copied()).collect();
    let ready = |node: &NodeId| {
        let report = reports.get(node)?;
        (report.bootstrap && report.voters.is_empty()).then_some((*node, report.store))
    };
    let voters: BTreeMap<NodeId, StoreId> = initial.iter().filter_map(ready).collect();
    if voters.len() < initial.len() || voters.is_empty() {
        let waiting = initial.into_iter().filter(|node| !voters.contains_key(node));
        let (forbidden, missing) = waiting.partition(|node| reports.contains_key(node));
        return Err(ClosedReason::NotFormed { missing, forbidden });
    }
    let (cluster, history) = (genesis_cluster(&voters), History::default());
    Ok(VoterSet { cluster, history, voters, returning: BTreeSet::new() })
}

/// Which servers are missing, and which may not form a cluster, in words.
pub(super) struct Unformed<'a>(pub(super) &'a [NodeId], pub(super) &'a [NodeId]);

impl fmt::Display for Unformed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(missing, forbidden) = *self;
        let list = |f: &mut fmt::Formatter<'_>, nodes: &[NodeId]| {
            f.write_str(if nodes.len() == 1 { "server " } else { "servers " })?;
            for (at, node) in nodes.iter().enumerate() {
                write!(f, "{}{}", if at == 0 { "" } else { ", " }, node.0)?;
            }
            Ok(())
        };
        if !missing.is_empty() {
            list(f, missing)?;
            f.write_str(if missing.len() == 1 { " is missing" } else { " are missing" })?;
        }
        if !missing.is_empty() && !forbidden.is_empty() {
            f.write_str("; ")?;
        }
        if !forbidden.is_empty() {
            list(f, forbidden)?;
            let one = forbidden.len() == 1;
            f.write_str(if one { " is there, but was" } else { " are there, but were" })?;
            f.write_str(" started without --bootstrap")?;
        }
        Ok(())
    }
}

/// The cluster's id follows from those who formed it, so that all of them name it alike.
fn genesis_cluster(voters: &BTreeMap<NodeId, StoreId>) -> ClusterId {
    let mut bytes = Vec::new();
    for (node, store) in voters {
        bytes.extend_from_slice(&node.0.to_le_bytes());
        bytes.extend_from_slice(&store.0.to_le_bytes());
    }
    ClusterId(xxhash_rust::xxh3::xxh3_64(&bytes).max(1))
}
