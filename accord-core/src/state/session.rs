//! Sessions: who may ask, which of their requests ran, and what came of those.
//!
//! A session remembers the outcome of every request that ran and that its client has not
//! acknowledged; none is ever pushed out. So a number at or below the last that ran is exactly one
//! of three: recorded (answered again), acknowledged, or passed over (it never ran and never will).
//! When the window is full, requests are refused before they have any effect.

use super::invariant::first_broken;
use super::kv::{Branch, RESULT_OVERHEAD_BYTES, Results, StepResult, TxnOutcome};
use super::outcome::{Outcome, RequestError};
use super::tree::outcome::TreeOutcome;
use crate::holder::{Holder, Principal};
use crate::ids::{NodeId, RequestId, Revision};
use crate::limits::Limits;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;

/// A client's standing with the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Who may attach it.
    pub(super) holder: Holder,
    pub(super) owner: Option<NodeId>,
    /// Invariant: at least 1 (until 32 bits wrap around).
    pub(super) generation: u32,
    pub(super) timeout_ms: u32,
    pub(super) last: RequestId,
    /// Invariant: at most `last` + 1.
    pub(super) acked_below: RequestId,
    /// Invariant: numbers ascend, from `acked_below` to `last`; at most `outcomes_max`.
    pub(super) outcomes: VecDeque<Recorded>,
    /// Invariant: the sum of `bytes` over the outcomes; at most `outcome_bytes_max` without the
    /// last.
    pub(super) outcome_bytes: u64,
}

/// The outcome of a request that ran.
///
/// A busy session has hundreds, goes round through all their memory, and so finds none of it in a
/// near cache. So what most of them are, a write that was done, takes half a cache line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recorded {
    pub(super) request: RequestId,
    outcome: Kept,
}

/// An outcome as it is kept. Invariant: `Whole` only for what is nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kept {
    /// Of a transaction of one write, not of a sequence key.
    Written { branch: Branch, revision: Revision, version: u64 },
    /// Of an operation on the tree, shared with what is sent.
    Tree(Arc<TreeOutcome>),
    /// Any other.
    Whole(Box<Outcome>),
}

impl Recorded {
    pub(super) fn new(request: RequestId, outcome: &Outcome) -> Self {
        if let Outcome::Txn(TxnOutcome::Committed { revision, branch, results }) = outcome
            && let [StepResult::Written { version, key: None }] = results[..]
        {
            let (branch, revision) = (*branch, *revision);
            return Self { request, outcome: Kept::Written { branch, revision, version } };
        }
        let outcome = match outcome {
            Outcome::Tree(outcome) => Kept::Tree(outcome.clone()),
            whole => Kept::Whole(Box::new(whole.clone())),
        };
        Self { request, outcome }
    }

    pub(super) fn outcome(&self) -> Outcome {
        match &self.outcome {
            Kept::Written { branch, revision, version } => {
                let results = Results::one(StepResult::Written { version: *version, key: None });
                let (branch, revision) = (*branch, *revision);
                Outcome::Txn(TxnOutcome::Committed { revision, branch, results })
            }
            Kept::Tree(outcome) => Outcome::Tree(outcome.clone()),
            Kept::Whole(whole) => (**whole).clone(),
        }
    }

    /// What it counts against `outcome_bytes_max`.
    pub(super) fn bytes(&self) -> u64 {
        match &self.outcome {
            Kept::Written { .. } => RESULT_OVERHEAD_BYTES,
            Kept::Tree(outcome) => outcome.bytes(),
            Kept::Whole(whole) => whole.bytes(),
        }
    }

    /// True if it is of what ran, as all that is recorded is to be.
    fn ran(&self) -> bool {
        match &self.outcome {
            Kept::Written { .. } | Kept::Tree(_) => true,
            Kept::Whole(whole) => matches!(**whole, Outcome::Txn(_)),
        }
    }
}

/// What to do with a request.
pub(super) enum Admission {
    /// It did not run yet.
    Run,
    /// It ran before.
    Recorded(Outcome),
    /// It cannot run.
    Refused(RequestError),
}

impl Session {
    /// A session just opened.
    pub(super) fn new(owner: NodeId, timeout_ms: u32, holder: Holder) -> Self {
        Self {
            holder,
            owner: Some(owner),
            generation: 1,
            timeout_ms,
            last: RequestId(0),
            acked_below: RequestId(0),
            outcomes: VecDeque::new(),
            outcome_bytes: 0,
        }
    }

    /// For whom it was opened.
    pub const fn principal(&self) -> Principal {
        self.holder.principal
    }
    /// The server its client is attached to; none if it is orphaned.
    pub const fn owner(&self) -> Option<NodeId> {
        self.owner
    }
    /// The number of its attachments, the opening included.
    pub const fn generation(&self) -> u32 {
        self.generation
    }
    /// How long its client may be silent, in milliseconds.
    pub const fn timeout_ms(&self) -> u32 {
        self.timeout_ms
    }
    /// The last request that ran; 0: none did.
    pub const fn last(&self) -> RequestId {
        self.last
    }
    /// Requests that ran and are not acknowledged.
    pub fn outcomes(&self) -> usize {
        self.outcomes.len()
    }

    /// What a retry of `request` would be answered; `None` if its number is above the last that
    /// ran, so that a copy of it may still run.
    pub fn settled(&self, request: RequestId) -> Option<Outcome> {
        if request > self.last {
            return None;
        }
        match self.recall(request) {
            Admission::Recorded(outcome) => Some(outcome),
            Admission::Refused(error) => Some(Outcome::Refused(error)),
            Admission::Run => None,
        }
    }

    /// Drops what is acknowledged and decides whether `request` is to run.
    pub(super) fn admit(
        &mut self,
        request: RequestId,
        acked_below: RequestId,
        limits: &Limits,
    ) -> Admission {
        if request.0 == 0 {
            return Admission::Refused(RequestError::Malformed);
        }
        // Saturating, since the client chose its numbers.
        let above_last = RequestId(self.last.0.saturating_add(1));
        self.acknowledge(acked_below.min(request).min(above_last));
        if request <= self.last {
            return self.recall(request);
        }
        let full = self.outcomes.len() >= limits.outcomes_max as usize
            || self.outcome_bytes >= limits.outcome_bytes_max;
        if full { Admission::Refused(RequestError::WindowFull) } else { Admission::Run }
    }

    fn acknowledge(&mut self, below: RequestId) {
        self.acked_below = self.acked_below.max(below);
        while let Some(first) = self.outcomes.front()
            && first.request < self.acked_below
        {
            self.outcome_bytes -= first.bytes();
            self.outcomes.pop_front();
        }
    }

    fn recall(&self, request: RequestId) -> Admission {
        if request < self.acked_below {
            let acked_below = self.acked_below;
            return Admission::Refused(RequestError::Acknowledged { acked_below });
        }
        match self.outcomes.binary_search_by_key(&request, |recorded| recorded.request) {
            Ok(found) => Admission::Recorded(self.outcomes[found].outcome()),
            Err(_) => Admission::Refused(RequestError::PassedOver { last: self.last }),
        }
    }

    /// Remembers the outcome of a request that just ran.
    pub(super) fn record(&mut self, request: RequestId, outcome: &Outcome) {
        assert!(request > self.last, "a request runs once");
        self.last = request;
        self.keep(Recorded::new(request, outcome));
    }

    /// Adds what was recorded after all others.
    pub(super) fn keep(&mut self, recorded: Recorded) {
        self.outcome_bytes += recorded.bytes();
        self.outcomes.push_back(recorded);
    }

    /// The first invariant that is broken.
    pub(super) fn fault(&self, limits: &Limits) -> Option<&'static str> {
        let mut above = None;
        let mut bytes = 0;
        let mut bytes_before_last = 0;
        let mut recorded_rightly = true;
        for recorded in &self.outcomes {
            let within = (self.acked_below..=self.last).contains(&recorded.request);
            let ascends = above < Some(recorded.request);
            recorded_rightly &= ascends && within && recorded.ran();
            above = Some(recorded.request);
            bytes_before_last = bytes;
            bytes += recorded.bytes();
        }
        let room = self.outcomes.is_empty() || bytes_before_last < limits.outcome_bytes_max;
        let timeouts = limits.timeout_ms_min..=limits.timeout_ms_max;
        first_broken(&[
            (self.acked_below.0.saturating_sub(1) <= self.last.0, "what ran is acknowledged"),
            (recorded_rightly, "recorded outcomes are of what ran, in order"),
            (bytes == self.outcome_bytes, "the bytes of outcomes are counted"),
            (self.outcomes.len() <= limits.outcomes_max as usize, "outcomes_max holds"),
            (room, "outcome_bytes_max holds but for the last"),
            (timeouts.contains(&self.timeout_ms), "timeouts are within their bounds"),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_of_a_write_takes_four_words_and_others_are_kept_whole() {
        assert_eq!(size_of::<Recorded>(), 32);
        let (branch, revision) = (Branch::Otherwise, Revision(7));
        let committed =
            |results: Results| Outcome::Txn(TxnOutcome::Committed { revision, branch, results });
        let written = |key| StepResult::Written { version: 3, key };
        let outcomes = [
            (committed(Results::one(written(None))), true),
            (committed(Results::one(written(Some("queue-1".into())))), false),
            (committed(Results::from([written(None), written(None)].to_vec())), false),
            (committed(Results::default()), false),
            (committed(Results::one(StepResult::Deleted)), false),
            (
                Outcome::Txn(TxnOutcome::Aborted {
                    branch,
                    step: 0,
                    error: super::super::StepError::Exists,
                }),
                false,
            ),
        ];
        for (outcome, small) in outcomes {
            let recorded = Recorded::new(RequestId(5), &outcome);
            assert_eq!((recorded.outcome(), recorded.bytes()), (outcome.clone(), outcome.bytes()));
            assert_eq!(matches!(recorded.outcome, Kept::Written { .. }), small, "{outcome:?}");
        }
    }
}
