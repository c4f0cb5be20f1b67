//! Readmission: a voter that lost its memory gets its vote back.
//!
//! Its new incarnation is first an observer and catches up. Then the old incarnation's vote is
//! removed, and when that is committed the new one is added. Two steps ensure that majorities
//! always intersect, even if the old disk comes back (see [`super::voters`]). Between them the
//! voter set lists the server as returning, so any server can take the second step.

use super::voters::VoterChange;
use super::{Phase, Replica};
use crate::ids::{NodeId, StoreId};

impl Replica {
    /// Proposes the next step of a readmission if there is one and it is this server's to propose.
    pub(super) fn readmit(&mut self) {
        let me = self.config.node;
        let Phase::Open(epoch) = &mut self.phase else { return };
        let idle = epoch.change_due.is_none() && epoch.change_sent.is_none();
        let settled = epoch.commit >= epoch.begin && epoch.commit >= epoch.voters_index;
        if !epoch.is_synced() || !idle || !settled {
            return;
        }
        let intact = |node: &NodeId, store: &StoreId| epoch.plan.stores.get(node) == Some(store);
        let proposer = epoch.voters.voters.iter().find(|(node, store)| intact(node, store));
        if proposer.is_none_or(|(node, _)| *node != me) {
            return;
        }
        let forgotten = epoch.voters.voters.iter().find_map(|(&node, &store)| {
            let present = epoch.plan.stores.get(&node)?;
            let ready = *present != store && epoch.has_caught_up(node);
            ready.then_some(VoterChange::Remove { node, store, returning: true })
        });
        let returning = || {
            epoch.voters.returning.iter().find_map(|&node| {
                let store = *epoch.plan.stores.get(&node)?;
                epoch.has_caught_up(node).then_some(VoterChange::Add { node, store })
            })
        };
        // Those who are out come back first: that restores the set to its size soonest.
        let change = returning().or(forgotten);
        if let Some(change) = change.filter(|change| epoch.changed_voters(*change).is_ok()) {
            epoch.change_due = Some((0, change));
        }
    }
}
