//! From a new view to an open epoch: reports, the decision, promises.
//!
//! Safety: an epoch is opened by promises of a majority of the voters, each durable before it is
//! said, and each made only in the view in which the voter then is. Its source has the best log of
//! all that reported, so it has whatever an earlier majority acknowledged: one of that majority is
//! among those who promised, and it reported before it promised.

use super::epoch::OpenEpoch;
use super::io::{Action, ClosedReason, Record};
use super::message::{GroupMessage, Report};
use super::voters::VoterSet;
use super::{Phase, Replica};
use crate::group::{View, ViewId};
use crate::ids::{ClusterId, Epoch, Index, LogPosition, NodeId, StoreId};
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// What all members of a view decided from their reports.
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
    /// The incarnation of every member.
    pub(super) stores: BTreeMap<NodeId, StoreId>,
    /// True if this epoch forms the cluster, or forms it anew: it begins with its voters.
    pub(super) genesis: bool,
}

impl Plan {
    pub(super) fn is_intact(&self, node: NodeId) -> bool {
        self.stores.get(&node).is_some_and(|store| self.voters.is_intact(node, *store))
    }
}

impl Replica {
    pub(super) fn on_view(&mut self, view: View) {
        assert!(view.contains(self.config.node), "a view contains oneself");
        self.leave_epoch();
        self.view = Some(view);
        self.phase = Phase::Gathering { reports: BTreeMap::new() };
        self.actions.push_back(Action::Closed(ClosedReason::Gathering));
        self.multicast_report(false);
    }

    fn multicast_report(&mut self, recover: bool) {
        let Some(view) = &self.view else { return };
        let report = Report {
            view: view.id,
            store: self.store,
            promised: self.promised,
            last: self.log.last(),
            commit: self.commit,
            voters: self.log.voters().clone(),
            bootstrap: self.bootstrap,
            recover,
            initial: self.config.initial.iter().copied().collect(),
        };
        self.multicast(&GroupMessage::Report(report));
    }

    /// Gives up what belonged to the epoch that ends.
    fn leave_epoch(&mut self) {
        let Phase::Open(epoch) = core::mem::replace(&mut self.phase, Phase::Idle) else { return };
        for request in epoch.changes_waiting() {
            let result = Err(super::voters::ChangeError::Unknown);
            self.actions.push_back(Action::VotersChanged { request, result });
        }
        self.proposals.on_epoch_end();
        self.barriers.on_epoch_end();
        self.serving.on_epoch_end();
    }

    pub(super) fn on_report(&mut self, from: NodeId, report: Report) {
        let Some(view) = self.view.as_ref().filter(|view| view.id == report.view) else {
            self.messages_ignored += 1;
            return;
        };
        let recover = report.recover.then_some(from);
        let reports = match &mut self.phase {
            Phase::Gathering { reports } if recover.is_none() => reports,
            // The first operator's recovery counts; it finds no other one closed.
            Phase::Closed { reports, reason } if recover.is_some() && reason.is_recoverable() => {
                reports
            }
            _ => {
                self.messages_ignored += 1;
                return;
            }
        };
        reports.insert(from, report);
        if reports.len() == view.members.len() {
            let reports = core::mem::take(reports);
            self.decide(reports, recover);
        }
    }

    fn decide(&mut self, reports: BTreeMap<NodeId, Report>, recover: Option<NodeId>) {
        let decided = match recover {
            None => plan(&reports),
            Some(node) => Ok(recovery_plan(&reports, node)),
        };
        match decided {
            Err(reason) => {
                self.actions.push_back(Action::Closed(reason.clone()));
                self.phase = Phase::Closed { reports, reason };
            }
            Ok(plan) => {
                let promise = plan.is_intact(self.config.node).then_some(plan.epoch);
                self.phase = Phase::Promising { plan, promises: BTreeSet::new() };
                if let Some(epoch) = promise {
                    assert!(epoch > self.promised, "an epoch is above all promises");
                    self.promised = epoch;
                    self.persist(Record::Promise(epoch));
                }
            }
        }
    }

    /// The promise is durable: say so, if it still matters.
    pub(super) fn on_promise_durable(&mut self, epoch: Epoch) {
        let Phase::Promising { plan, .. } = &self.phase else { return };
        let Some(view) = self.view.as_ref().filter(|_| plan.epoch == epoch) else { return };
        let promise = GroupMessage::Promise { view: view.id, epoch };
        self.multicast(&promise);
    }

    pub(super) fn on_promise(&mut self, now: Instant, from: NodeId, view: ViewId, epoch: Epoch) {
        let current = self.view.as_ref().is_some_and(|current| current.id == view);
        let Phase::Promising { plan, promises } = &mut self.phase else {
            self.messages_ignored += u64::from(!current);
            return;
        };
        if !current || plan.epoch != epoch || !plan.is_intact(from) {
            self.messages_ignored += 1;
            return;
        }
        promises.insert(from);
        if promises.len() >= plan.voters.quorum() {
            let plan = plan.clone();
            self.open(now, plan);
        }
    }

    fn open(&mut self, now: Instant, plan: Plan) {
        let members = self.view.as_ref().expect("an epoch opens in a view").members.clone();
        let source = plan.source;
        let in_sync = self.log.last() == plan.source_last;
        let epoch = OpenEpoch::new(plan, members, self.commit);
        self.phase = Phase::Open(Box::new(epoch));
        if in_sync {
            self.finish_sync();
        } else {
            self.start_fetching(now, source);
        }
        self.answer_early_requests(now);
    }

    /// Asks to start the cluster anew from what this server has: the operator's last resort, after
    /// the memory of a majority is lost for good. Writes that only the lost servers held are lost.
    ///
    /// It happens when the request is delivered, and not at all if the view has changed by then. If
    /// two servers are asked, the order decides. Nothing can decide between two sides of a
    /// partition: there, recover only one.
    ///
    /// # Errors
    /// Why the cluster does not need recovery, or not from this server.
    pub fn force_recovery(&mut self) -> Result<(), &'static str> {
        let reports = match &self.phase {
            Phase::Closed { reports, reason } if reason.is_recoverable() => reports,
            _ => return Err("the cluster is not stopped for lack of a majority"),
        };
        let best = reports.values().map(|report| report.last).max().unwrap_or_default();
        if best > self.log.last() {
            return Err("another connected server has a longer log; recover from that one");
        }
        self.multicast_report(true);
        self.check();
        Ok(())
    }
}

/// The plan that makes `node` the only voter, and has the others return. A function of the reports.
fn recovery_plan(reports: &BTreeMap<NodeId, Report>, node: NodeId) -> Plan {
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
    Plan {
        epoch: next_epoch(reports),
        source: node,
        source_last: own.last,
        voters: VoterSet { cluster, voters, returning },
        commit: own.commit,
        stores: stores(reports),
        genesis: true,
    }
}

/// An epoch above all that the members have promised or seen.
fn next_epoch(reports: &BTreeMap<NodeId, Report>) -> Epoch {
    let seen = reports.values().map(|report| report.promised.max(report.last.epoch));
    seen.max().unwrap_or_default().next()
}

/// The incarnation of every member.
fn stores(reports: &BTreeMap<NodeId, Report>) -> BTreeMap<NodeId, StoreId> {
    reports.iter().map(|(node, report)| (*node, report.store)).collect()
}

/// What the reports of all members of a view amount to. A function of the reports alone.
fn plan(reports: &BTreeMap<NodeId, Report>) -> Result<Plan, ClosedReason> {
    let clusters: BTreeSet<ClusterId> =
        reports.values().map(|r| r.voters.cluster).filter(|cluster| cluster.0 != 0).collect();
    if clusters.len() > 1 {
        return Err(ClosedReason::MixedClusters);
    }
    let stores = stores(reports);
    // Ties go to the smallest id, so the last maximum must be the smallest node.
    let (source, best) = reports
        .iter()
        .rev()
        .max_by_key(|(_, report)| report.last)
        .expect("a view contains at least oneself");
    let (voters, genesis) = match best.voters.is_empty() {
        false => (best.voters.clone(), false),
        true => (genesis_voters(reports)?, true),
    };
    let intact = voters.count_intact(&stores);
    if intact < voters.quorum() {
        let forgotten = |(node, store): (&NodeId, &StoreId)| {
            let listed = voters.voters.get(node)?;
            (listed != store).then_some(*node)
        };
        return Err(ClosedReason::NoQuorum {
            intact,
            voters: voters.voters.len(),
            quorum: voters.quorum(),
            forgotten: stores.iter().filter_map(forgotten).collect(),
        });
    }
    let promised = reports.values().map(|report| report.promised).max().unwrap_or_default();
    let commit = reports.values().map(|report| report.commit).max().unwrap_or_default();
    Ok(Plan {
        epoch: promised.max(best.last.epoch).next(),
        source: *source,
        source_last: best.last,
        voters,
        commit: commit.min(best.last.index),
        stores,
        genesis,
    })
}

/// The first voter set, if all who are to form it are here, may, and have nothing yet.
fn genesis_voters(reports: &BTreeMap<NodeId, Report>) -> Result<VoterSet, ClosedReason> {
    let initial: BTreeSet<NodeId> =
        reports.values().flat_map(|report| report.initial.iter().copied()).collect();
    let ready = |node: &NodeId| {
        let report = reports.get(node)?;
        // A log without voters holds markers only: forming the cluster was cut short.
        (report.bootstrap && report.voters.is_empty()).then_some((*node, report.store))
    };
    let voters: BTreeMap<NodeId, StoreId> = initial.iter().filter_map(ready).collect();
    if voters.len() < initial.len() || voters.is_empty() {
        return Err(ClosedReason::NotFormed { waiting: initial.len() - voters.len() });
    }
    Ok(VoterSet { cluster: genesis_cluster(&voters), voters, returning: BTreeSet::new() })
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
