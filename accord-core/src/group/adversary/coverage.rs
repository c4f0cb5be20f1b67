//! Coverage: counts the rare situations that the contract allows, so that tests can assert that
//! they arose.
//!
//! Invariant: nothing here has an influence on what can happen; see [`Noted`].

use super::{AdversarialGroup, Run, ViewState};
use crate::group::ViewId;
use crate::ids::NodeId;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

/// Something noted for [`Coverage`] only. It has no influence on what can happen, so two groups
/// that differ in it are equal: a model checker need not tell them apart.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Noted<T>(pub(super) T);

impl<T> PartialEq for Noted<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl<T> Eq for Noted<T> {}
impl<T> Hash for Noted<T> {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// How often each situation arose that the contract allows and that is hard to reach. Not a part of
/// the state: two groups that differ in these counters alone are equal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Coverage {
    /// A message was delivered to its sender and never to another member.
    pub delivered_to_sender_only: u64,
    /// A message was delivered to some of its view's members and never to others that lived.
    pub delivered_to_some_only: u64,
    /// A message was delivered to others and never to its sender, which lived.
    pub lost_to_sender_only: u64,
    /// A message was delivered in a later view than the one in which it was submitted.
    pub delivered_in_later_view: u64,
    /// A member was delivered a message in a view that others had left.
    pub delivered_in_stale_view: u64,
    /// A view formed while a disjoint one had members.
    pub disjoint_views: u64,
    /// A view formed with the `seq` of another one.
    pub same_seq: u64,
    /// A view formed of members of several views.
    pub merges: u64,
    /// A view formed with a member that forgot, while others still were in a view with it.
    pub quick_restarts: u64,
    /// A view was never installed by one of its members, which lived.
    pub abandoned: u64,
    /// A view formed while a member had still to install an earlier one.
    pub lagging_by_views: u64,
    /// A submitted message was lost before it was ordered.
    pub lost_unordered: u64,
    /// A submission was refused because the layer was full.
    pub refused: u64,
}

impl AdversarialGroup {
    pub(super) fn count_delivery(&mut self, node: NodeId, id: ViewId, later: bool) {
        let stale = self.is_stale(node, id);
        self.coverage.0.delivered_in_stale_view += u64::from(stale);
        self.coverage.0.delivered_in_later_view += u64::from(later);
    }

    /// True if another live node was a member of the view and is not any more.
    fn is_stale(&self, node: NodeId, id: ViewId) -> bool {
        self.views[&id].members.iter().any(|other| {
            let member = self.member(*other);
            *other != node && member.up && member.view.is_some_and(|view| view.seq > id.seq)
        })
    }

    pub(super) fn count_formation(&mut self, id: ViewId, members: &[NodeId]) {
        let places: BTreeSet<ViewId> =
            members.iter().filter_map(|node| self.member(*node).place()).collect();
        let others: Vec<(ViewId, &[NodeId])> = self
            .members
            .iter()
            .filter(|(node, _)| !members.contains(node))
            .filter_map(|(_, member)| member.place())
            .map(|place| (place, &self.views[&place].members[..]))
            .collect();
        let apart = |other: &[NodeId]| members.iter().all(|node| !other.contains(node));
        let disjoint = others.iter().any(|(_, other)| apart(other));
        let same_seq = self.views.keys().any(|other| other.seq == id.seq);
        let forgot = |node: &NodeId| {
            let member = self.member(*node);
            member.place().is_none()
                && member.incarnation > 1
                && places.iter().any(|place| self.views[place].members.contains(node))
        };
        let restarted = members.iter().any(forgot);
        let lagging = members.iter().any(|node| !self.member(*node).moves.is_empty());
        self.coverage.0.disjoint_views += u64::from(disjoint);
        self.coverage.0.same_seq += u64::from(same_seq);
        self.coverage.0.merges += u64::from(places.len() > 1);
        self.coverage.0.quick_restarts += u64::from(restarted);
        self.coverage.0.lagging_by_views += u64::from(lagging);
    }

    /// Counts who was never delivered the first message that a view still holds.
    pub(super) fn count_dropped(&mut self, view: &ViewState) {
        let message = &view.order[0];
        let sender = (message.from, message.incarnation);
        let lives = |run: &Run| self.member(run.0).incarnation == run.1 && self.is_up(run.0);
        let (mut own, mut others, mut missed) = (false, 0, 0);
        for (run, reached) in &view.reached.0 {
            let delivered = *reached > view.dropped;
            if *run == sender {
                own = delivered;
            } else if delivered {
                others += 1;
            } else if lives(run) {
                missed += 1;
            }
        }
        let lost_to_sender = !own && others > 0 && lives(&sender);
        self.coverage.0.delivered_to_sender_only += u64::from(own && others == 0 && missed > 0);
        self.coverage.0.delivered_to_some_only += u64::from(others > 0 && missed > 0);
        self.coverage.0.lost_to_sender_only += u64::from(lost_to_sender);
    }
}
