//! From a new view to an open epoch: reports, the decision, promises.
//!
//! Safety: an epoch is opened by promises of a majority of the voters, each durable before it is
//! said, and each made only in the view in which the voter then is. Its source has the best log of
//! all that reported, so it has all that an earlier majority acknowledged: one of that majority is
//! among those who promised, and it reported before it promised.

use super::epoch::OpenEpoch;
use super::io::{Action, ClosedReason, Record};
use super::message::{GroupMessage, Report};
use super::plan::{self, Plan, Reports};
use super::{Phase, Replica};
use crate::group::{View, ViewId};
use crate::ids::{Epoch, Era, NodeId};
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};

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
            Phase::Closed { reports, reason }
                if recover.is_some()
                    && reason.is_recoverable()
                    && plan::recovery_refused(reports, from).is_none() =>
            {
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

    fn decide(&mut self, reports: Reports, recover: Option<NodeId>) {
        let decided = match recover {
            None => plan::plan(&reports),
            Some(node) => Ok(plan::recovery_plan(&reports, node)),
        };
        let history = decided.as_ref().ok().map(|plan| &plan.voters.history);
        if let Some((era, reason)) = plan::left_out(&reports, history, self.config.node) {
            self.close(reports, reason);
            return self.give_up_before(era);
        }
        match decided {
            Err(reason) => {
                // Also where no epoch opens: with others who have not met the later era there might
                // be a majority of the older one.
                let era = plan::era_met(&reports, self.config.node);
                self.close(reports, reason);
                self.give_up_before(era);
            }
            Ok(plan) => self.promise(plan),
        }
    }

    fn close(&mut self, reports: Reports, reason: ClosedReason) {
        self.actions.push_back(Action::Closed(reason.clone()));
        self.phase = Phase::Closed { reports, reason };
    }

    /// Promises the plan's epoch if this server votes.
    fn promise(&mut self, plan: Plan) {
        let (epoch, intact) = (plan.epoch, plan.is_intact(self.config.node));
        self.phase = Phase::Promising { plan, promises: BTreeSet::new() };
        if intact {
            assert!(epoch > self.promised, "an epoch is above all promises");
            self.promised = epoch;
            self.persist(Record::Promise(epoch));
        } else {
            self.give_up_before(epoch.era());
        }
    }

    /// Promises never to take part in an epoch before `era` again: who knows that the cluster was
    /// recovered does not bring back what was given up.
    fn give_up_before(&mut self, era: Era) {
        let promise = Epoch::before_first(era);
        if promise > self.promised {
            self.promised = promise;
            self.persist(Record::Promise(promise));
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
        let source = plan.source;
        let in_sync = self.log.last() == plan.source_last;
        let epoch = OpenEpoch::new(plan, self.commit);
        self.phase = Phase::Open(Box::new(epoch));
        if in_sync {
            self.finish_sync();
        } else {
            self.start_fetching(now, source);
        }
        self.answer_early_requests(now);
    }

    /// Asks to recover the cluster from what this server has: the operator's last resort after the
    /// memory of a majority is lost for good. Writes that only the lost servers held are lost.
    ///
    /// It happens when the request is delivered, and not at all if the view has changed by then. If
    /// two servers are asked, the order decides. Nothing can decide between two sides of a
    /// partition: there, recover only one.
    ///
    /// What was given up for lost and comes back takes no part: see [`super::history`].
    ///
    /// # Errors
    /// Why the cluster does not need recovery, or not from this server.
    pub fn force_recovery(&mut self) -> Result<(), &'static str> {
        let reports = match &self.phase {
            Phase::Closed { reports, reason } if reason.is_recoverable() => reports,
            _ => return Err("the cluster is not stopped for lack of a majority"),
        };
        if let Some(why) = plan::recovery_refused(reports, self.config.node) {
            return Err(why);
        }
        self.multicast_report(true);
        self.check();
        Ok(())
    }
}
