//! An online checker of the ordering contract, for tests and simulators.
//!
//! A harness tells it what every member submits, when members start and stop, and every
//! [`GroupEvent`] that any member is given, in the order in which they happen. It answers with the
//! first [`Violation`] of the promises listed in [`crate::group`]. It knows nothing of any
//! implementation, so the same checker judges solo, the ring, Corosync and the adversary.
//!
//! Messages are told apart by their bytes. A payload that one sender submits twice is still checked
//! for inventions, sender order, total order and virtual synchrony, but not for every duplicate; a
//! harness whose payloads are all distinct has the sharpest check.

use crate::group::{GroupEvent, View, ViewId};
use crate::ids::NodeId;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use thiserror::Error;

/// Views without a member in them are forgotten when this many newer ones are known.
const VIEWS_KEPT_MAX: usize = 256;

/// One run of one node, from start to crash. Later runs of a node have larger incarnations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run {
    /// The node.
    pub node: NodeId,
    /// Which of its runs, ascending.
    pub incarnation: u64,
}

/// A broken promise of the ordering contract, and who saw it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    /// A member installed a view that does not contain it, or whose members are not sorted.
    #[error("{run:?} installed {view:?}, which lacks it or is not sorted")]
    ViewMalformed {
        /// The member that installed it.
        run: Run,
        /// The view.
        view: View,
    },
    /// One view id was used for two sets of members.
    #[error("{run:?} installed {view:?}, which others know with members {known:?}")]
    ViewIdReused {
        /// Who installed it with other members.
        run: Run,
        /// The view as installed here.
        view: View,
        /// The members that others were given.
        known: Vec<NodeId>,
    },
    /// A member installed a view again, or one older than a view it had before.
    #[error("{run:?} installed {view} after {last}")]
    ViewNotNewer {
        /// The member that installed it.
        run: Run,
        /// The view installed.
        view: ViewId,
        /// The member's previous view.
        last: ViewId,
    },
    /// A message was delivered to a member that had no view yet.
    #[error("{run:?} was delivered a message of {from} before its first view")]
    DeliveredOutsideView {
        /// The member that it was delivered to.
        run: Run,
        /// The sender named.
        from: NodeId,
    },
    /// A message was delivered from a node that is not in the member's view.
    #[error("{run:?} in {view} was delivered a message of {from}, which is not a member")]
    SenderNotMember {
        /// The member that it was delivered to.
        run: Run,
        /// Its view.
        view: ViewId,
        /// The sender named.
        from: NodeId,
    },
    /// A message was delivered that its sender never submitted.
    #[error("{run:?} in {view} was delivered a message that {from} never submitted")]
    Invention {
        /// The member that it was delivered to.
        run: Run,
        /// Its view.
        view: ViewId,
        /// The sender named.
        from: NodeId,
    },
    /// A message was delivered twice to one member.
    #[error("{run:?} in {view} was delivered submission {number} of {from} again")]
    Duplicate {
        /// The member that it was delivered to.
        run: Run,
        /// Its view.
        view: ViewId,
        /// The sender.
        from: NodeId,
        /// Which of the sender's submissions, from 0.
        number: usize,
    },
    /// A message was delivered after a later one of the same sender.
    #[error("{run:?} in {view} was delivered submission {number} of {from} after a later one")]
    SenderOrder {
        /// The member that it was delivered to.
        run: Run,
        /// Its view.
        view: ViewId,
        /// The sender.
        from: NodeId,
        /// Which of the sender's submissions, from 0.
        number: usize,
    },
    /// A member's k-th message of a view is not the k-th message of others: either their orders
    /// differ or one of them was delivered a message beyond a hole.
    #[error(
        "in {view}, {run:?} was delivered a message of {from} at position {position}, where \
             others have one of {other_from}"
    )]
    TotalOrder {
        /// Who delivered last.
        run: Run,
        /// The view.
        view: ViewId,
        /// The sender of the message.
        from: NodeId,
        /// The sender of the message that others were delivered there.
        other_from: NodeId,
        /// The position, from 0.
        position: usize,
    },
    /// Two members went from one view to the next having delivered different messages.
    #[error(
        "{run:?} and {other:?} went from {view} to {next} together, but delivered {here} and {there} \
         messages, first different at {differs_at}"
    )]
    VirtualSynchrony {
        /// Who moved last.
        run: Run,
        /// Who had moved before.
        other: Run,
        /// The view they left.
        view: ViewId,
        /// The view they moved to.
        next: ViewId,
        /// How many messages `run` delivered in `view`.
        here: usize,
        /// How many messages `other` delivered in `view`.
        there: usize,
        /// The first position at which the two sequences differ.
        differs_at: usize,
    },
    /// A live member's own message was not delivered to it, though all has been quiet for long and
    /// no view was lost together with it.
    #[error("{run:?} was not delivered its own submission {number} ({missing} missing in all)")]
    SelfDelivery {
        /// The member that submitted it.
        run: Run,
        /// The first that is missing, of the node's submissions over all its runs.
        number: usize,
        /// How many are missing.
        missing: usize,
    },
    /// Members that can all reach each other did not come to share one view of just them.
    #[error("{run:?} is in {view:?} instead of one view of {expected:?} shared by all")]
    NotConverged {
        /// A member whose view is not of just them.
        run: Run,
        /// Its view, if it has one.
        view: Option<View>,
        /// Who should share a view.
        expected: Vec<NodeId>,
    },
}

/// A message's identity as far as the checker is concerned: sender and digest of the payload.
type Message = (NodeId, u64);

/// What one run delivered in one view.
#[derive(Clone, Debug, Default)]
struct Delivered {
    sequence: Vec<Message>,
    known: BTreeSet<Message>,
    /// The view installed next, once left.
    next: Option<ViewId>,
}

#[derive(Clone, Debug, Default)]
struct ViewRecord {
    members: Vec<NodeId>,
    /// The longest sequence that any member delivered: every other must be a prefix of it.
    order: Vec<Message>,
    delivered: BTreeMap<Run, Delivered>,
    occupants: usize,
}

#[derive(Clone, Debug, Default)]
struct RunRecord {
    view: Option<ViewId>,
    /// For each sender, the first of its submissions that may still be delivered here.
    cursors: BTreeMap<NodeId, usize>,
    /// Positions, in the node's submissions, of what this run submitted and was not yet delivered.
    outstanding: BTreeSet<usize>,
    stopped: bool,
}

/// Everything a node ever submitted, over all its runs.
#[derive(Clone, Debug, Default)]
struct Submissions {
    count: usize,
    by_digest: BTreeMap<u64, Vec<usize>>,
}

/// Judges recorded events of all members against the ordering contract, as they happen.
#[derive(Clone, Debug, Default)]
pub struct ContractChecker {
    runs: BTreeMap<Run, RunRecord>,
    views: BTreeMap<ViewId, ViewRecord>,
    submissions: BTreeMap<NodeId, Submissions>,
    deliveries: u64,
    views_seen: u64,
}

impl ContractChecker {
    /// A checker that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// All that the checker knows, as one number; see [`crate::fingerprint`].
    pub fn fingerprint(&self) -> u64 {
        let Self { runs, views, submissions, deliveries: _, views_seen: _ } = self;
        crate::fingerprint::of(&(runs, views, submissions))
    }

    /// Deliveries judged so far, at all members.
    pub const fn deliveries(&self) -> u64 {
        self.deliveries
    }

    /// Distinct views seen so far.
    pub const fn views(&self) -> u64 {
        self.views_seen
    }

    /// The view that a run is in.
    pub fn view_of(&self, run: Run) -> Option<View> {
        let id = self.runs.get(&run)?.view?;
        let members = self.views.get(&id)?.members.clone();
        Some(View { id, members })
    }

    /// A run's submission was accepted. To be told before any delivery of it.
    pub fn on_submit(&mut self, run: Run, payload: &[u8]) {
        let submissions = self.submissions.entry(run.node).or_default();
        let number = submissions.count;
        submissions.count += 1;
        submissions.by_digest.entry(xxhash_rust::xxh3::xxh3_64(payload)).or_default().push(number);
        self.runs.entry(run).or_default().outstanding.insert(number);
    }

    /// A run ended: nothing more is expected of it.
    pub fn on_stop(&mut self, run: Run) {
        let record = self.runs.entry(run).or_default();
        record.stopped = true;
        if let Some(view) = record.view
            && let Some(view) = self.views.get_mut(&view)
        {
            view.occupants -= 1;
        }
    }

    /// A run was given an event.
    ///
    /// # Errors
    /// The promise that the event breaks. The checker is of no further use then.
    ///
    /// # Panics
    /// If the run was stopped: the harness must not let the dead speak.
    pub fn on_event(&mut self, run: Run, event: &GroupEvent) -> Result<(), Violation> {
        assert!(!self.runs.entry(run).or_default().stopped, "{run:?} was stopped");
        match event {
            GroupEvent::View(view) => self.on_view(run, view),
            GroupEvent::Deliver { from, payload } => self.on_deliver(run, *from, payload),
        }
    }

    fn on_view(&mut self, run: Run, view: &View) -> Result<(), Violation> {
        let sorted = view.members.windows(2).all(|pair| pair[0] < pair[1]);
        if !sorted || !view.contains(run.node) {
            return Err(Violation::ViewMalformed { run, view: view.clone() });
        }
        if let Some(known) = self.views.get(&view.id)
            && known.members != view.members
        {
            let known = known.members.clone();
            return Err(Violation::ViewIdReused { run, view: view.clone(), known });
        }
        let last = self.runs.entry(run).or_default().view;
        if let Some(last) = last {
            if view.id.seq <= last.seq {
                return Err(Violation::ViewNotNewer { run, view: view.id, last });
            }
            self.check_virtual_synchrony(run, last, view.id)?;
        }
        let record = self.runs.entry(run).or_default();
        record.view = Some(view.id);
        // What was not delivered by now may be lost with the old view.
        record.outstanding.clear();
        self.views_seen += u64::from(!self.views.contains_key(&view.id));
        let record = self.views.entry(view.id).or_default();
        record.members.clone_from(&view.members);
        record.occupants += 1;
        record.delivered.entry(run).or_default();
        self.forget_old_views();
        Ok(())
    }

    fn check_virtual_synchrony(
        &mut self,
        run: Run,
        view: ViewId,
        next: ViewId,
    ) -> Result<(), Violation> {
        let record = self.views.get_mut(&view).expect("a view with an occupant is kept");
        record.occupants -= 1;
        record.delivered.get_mut(&run).expect("an occupant has a record").next = Some(next);
        let here = &record.delivered[&run].sequence;
        for (other, there) in &record.delivered {
            let there = match there.next {
                Some(moved_to) if moved_to == next && *other != run => &there.sequence,
                _ => continue,
            };
            if here != there {
                let same = here.iter().zip(there).take_while(|(a, b)| a == b).count();
                return Err(Violation::VirtualSynchrony {
                    run,
                    other: *other,
                    view,
                    next,
                    here: here.len(),
                    there: there.len(),
                    differs_at: same,
                });
            }
        }
        Ok(())
    }

    fn on_deliver(&mut self, run: Run, from: NodeId, payload: &[u8]) -> Result<(), Violation> {
        let Some(view) = self.runs.entry(run).or_default().view else {
            return Err(Violation::DeliveredOutsideView { run, from });
        };
        if self.views[&view].members.binary_search(&from).is_err() {
            return Err(Violation::SenderNotMember { run, view, from });
        }
        self.deliveries += 1;
        let digest = xxhash_rust::xxh3::xxh3_64(payload);
        self.check_submission(run, view, from, digest)?;
        self.check_total_order(run, view, (from, digest))
    }

    /// Finds the submission that a delivery answers to.
    fn check_submission(
        &mut self,
        run: Run,
        view: ViewId,
        from: NodeId,
        digest: u64,
    ) -> Result<(), Violation> {
        let numbers = self.submissions.get(&from).and_then(|s| s.by_digest.get(&digest));
        let Some(numbers) = numbers else {
            return Err(Violation::Invention { run, view, from });
        };
        let record = self.runs.entry(run).or_default();
        let cursor = record.cursors.entry(from).or_default();
        let at = numbers.partition_point(|number| number < cursor);
        let Some(&number) = numbers.get(at) else {
            let number = numbers[numbers.len() - 1];
            let again = self.views.values().any(|view| {
                view.delivered.get(&run).is_some_and(|d| d.known.contains(&(from, digest)))
            });
            return Err(match again {
                true => Violation::Duplicate { run, view, from, number },
                false => Violation::SenderOrder { run, view, from, number },
            });
        };
        *cursor = number + 1;
        if from == run.node {
            record.outstanding.remove(&number);
        }
        Ok(())
    }

    fn check_total_order(
        &mut self,
        run: Run,
        view: ViewId,
        message: Message,
    ) -> Result<(), Violation> {
        let record = self.views.get_mut(&view).expect("a view with an occupant is kept");
        let here = record.delivered.get_mut(&run).expect("an occupant has a record");
        let position = here.sequence.len();
        here.sequence.push(message);
        here.known.insert(message);
        if position == record.order.len() {
            record.order.push(message);
        }
        let (from, other_from) = (message.0, record.order[position].0);
        match record.order[position] == message {
            true => Ok(()),
            false => Err(Violation::TotalOrder { run, view, from, other_from, position }),
        }
    }

    fn forget_old_views(&mut self) {
        while self.views.len() > VIEWS_KEPT_MAX {
            let Some(id) = self.views.iter().find(|(_, v)| v.occupants == 0).map(|(id, _)| *id)
            else {
                return;
            };
            self.views.remove(&id);
        }
    }

    /// Checks, when all has been quiet for long, that the live runs share one view of just them and
    /// that each was delivered all it submitted.
    ///
    /// # Errors
    /// The first promise that is not kept.
    pub fn check_converged(&self, live: &[Run]) -> Result<(), Violation> {
        let mut expected: Vec<NodeId> = live.iter().map(|run| run.node).collect();
        expected.sort_unstable();
        let first = live.first().and_then(|run| self.view_of(*run));
        for run in live {
            let view = self.view_of(*run);
            let agreed = view == first && view.as_ref().is_some_and(|v| v.members == expected);
            if !agreed {
                return Err(Violation::NotConverged { run: *run, view, expected });
            }
        }
        self.check_self_delivery(live)
    }

    /// Checks, when all has been quiet for long, that each live run was delivered all it submitted.
    ///
    /// # Errors
    /// [`Violation::SelfDelivery`].
    pub fn check_self_delivery(&self, live: &[Run]) -> Result<(), Violation> {
        for run in live {
            let outstanding = self.runs.get(run).map(|record| &record.outstanding);
            if let Some(outstanding) = outstanding
                && let Some(&number) = outstanding.first()
            {
                let missing = outstanding.len();
                return Err(Violation::SelfDelivery { run: *run, number, missing });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use bytes::Bytes;

    const A: Run = Run { node: NodeId(1), incarnation: 0 };
    const B: Run = Run { node: NodeId(2), incarnation: 0 };

    fn view(seq: u64, members: &[u32]) -> GroupEvent {
        let id = ViewId { seq, representative: NodeId(1), salt: 0 };
        GroupEvent::View(View { id, members: members.iter().map(|id| NodeId(*id)).collect() })
    }

    fn deliver(from: u32, payload: &'static str) -> GroupEvent {
        GroupEvent::Deliver { from: NodeId(from), payload: Bytes::from_static(payload.as_bytes()) }
    }

    /// Two members in view 1; `a` submitted a0 and a1, `b` submitted b0.
    fn two() -> ContractChecker {
        let mut checker = ContractChecker::new();
        checker.on_event(A, &view(1, &[1, 2])).unwrap();
        checker.on_event(B, &view(1, &[1, 2])).unwrap();
        checker.on_submit(A, b"a0");
        checker.on_submit(A, b"a1");
        checker.on_submit(B, b"b0");
        checker
    }

    fn play(checker: &mut ContractChecker, events: &[(Run, GroupEvent)]) -> Option<Violation> {
        events.iter().find_map(|(run, event)| checker.on_event(*run, event).err())
    }

    #[test]
    fn an_orderly_history_is_accepted() {
        let mut checker = two();
        let mut events = Vec::new();
        for run in [B, A] {
            for (from, payload) in [(1, "a0"), (2, "b0"), (1, "a1")] {
                events.push((run, deliver(from, payload)));
            }
        }
        events.extend([(A, view(2, &[1, 2])), (B, view(2, &[1, 2]))]);
        assert_eq!(play(&mut checker, &events), None);
        assert_eq!(checker.check_converged(&[A, B]), Ok(()));
    }

    #[test]
    fn different_orders_are_refused_even_when_interleaved() {
        let events = [
            (A, deliver(1, "a0")),
            (B, deliver(1, "a0")),
            (A, deliver(2, "b0")),
            (B, deliver(1, "a1")),
        ];
        let violation = play(&mut two(), &events);
        assert!(matches!(violation, Some(Violation::TotalOrder { run: B, position: 1, .. })));
    }

    #[test]
    fn a_message_beyond_a_hole_is_refused_whoever_has_the_hole() {
        let whole = [(A, deliver(1, "a0")), (A, deliver(2, "b0")), (A, deliver(1, "a1"))];
        let holed = [(B, deliver(1, "a0")), (B, deliver(1, "a1"))];
        let late: Vec<_> = whole.iter().chain(&holed).cloned().collect();
        let early: Vec<_> = holed.iter().chain(&whole).cloned().collect();
        let late = play(&mut two(), &late);
        assert!(
            matches!(late, Some(Violation::TotalOrder { run: B, position: 1, .. })),
            "{late:?}"
        );
        let early = play(&mut two(), &early);
        assert!(
            matches!(early, Some(Violation::TotalOrder { run: A, position: 1, .. })),
            "{early:?}"
        );
    }

    #[test]
    fn moving_together_with_different_messages_is_refused() {
        let events = [
            (A, deliver(1, "a0")),
            (A, view(2, &[1, 2])),
            (B, deliver(1, "a0")),
            (B, deliver(2, "b0")),
            (B, view(2, &[1, 2])),
        ];
        let violation = play(&mut two(), &events);
        assert!(
            matches!(violation, Some(Violation::VirtualSynchrony { differs_at: 1, here: 2, .. })),
            "{violation:?}"
        );
    }

    #[test]
    fn moving_apart_with_different_messages_is_allowed() {
        let mut checker = two();
        let events = [(A, deliver(1, "a0")), (A, view(2, &[1])), (B, view(3, &[2]))];
        assert_eq!(play(&mut checker, &events), None);
        let expected = vec![NodeId(1), NodeId(2)];
        let view = checker.view_of(A);
        let refused = Err(Violation::NotConverged { run: A, view, expected });
        assert_eq!(checker.check_converged(&[A, B]), refused);
    }

    #[test]
    fn each_broken_promise_about_one_member_has_its_name() {
        let one = |events: &[(Run, GroupEvent)]| play(&mut two(), events).unwrap();
        let twice = one(&[(A, deliver(1, "a0")), (A, deliver(1, "a0"))]);
        assert!(matches!(twice, Violation::Duplicate { number: 0, .. }), "{twice}");
        let swapped = one(&[(A, deliver(1, "a1")), (A, deliver(1, "a0"))]);
        assert!(matches!(swapped, Violation::SenderOrder { number: 0, .. }), "{swapped}");
        let invented = one(&[(A, deliver(2, "a0"))]);
        assert!(matches!(invented, Violation::Invention { .. }), "{invented}");
        let stranger = one(&[(A, deliver(3, "a0"))]);
        assert!(matches!(stranger, Violation::SenderNotMember { .. }), "{stranger}");
        let again = one(&[(A, view(1, &[1, 2]))]);
        assert!(matches!(again, Violation::ViewNotNewer { .. }), "{again}");
        let without_self = one(&[(A, view(2, &[2]))]);
        assert!(matches!(without_self, Violation::ViewMalformed { .. }), "{without_self}");
        let reused = one(&[(A, view(2, &[1])), (B, view(2, &[1, 2]))]);
        assert!(matches!(reused, Violation::ViewIdReused { .. }), "{reused}");
        let mut early = ContractChecker::new();
        early.on_submit(A, b"a0");
        let early = play(&mut early, &[(A, deliver(1, "a0"))]);
        assert!(matches!(early, Some(Violation::DeliveredOutsideView { .. })));
    }

    #[test]
    fn an_own_message_that_never_comes_is_missed() {
        let mut checker = two();
        assert_eq!(play(&mut checker, &[(A, deliver(1, "a0")), (B, deliver(1, "a0"))]), None);
        let missing = Err(Violation::SelfDelivery { run: A, number: 1, missing: 1 });
        assert_eq!(checker.check_self_delivery(&[A]), missing);
    }

    #[test]
    fn equal_payloads_are_not_taken_for_duplicates() {
        let mut checker = two();
        checker.on_submit(A, b"a0");
        let events = [
            (A, deliver(1, "a0")),
            (A, deliver(2, "b0")),
            (A, deliver(1, "a0")),
            (B, deliver(1, "a0")),
            (B, deliver(2, "b0")),
        ];
        assert_eq!(play(&mut checker, &events), None);
    }
}
