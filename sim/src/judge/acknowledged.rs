//! What a client was told is in the committed log then, and in every server's log in the end.
//!
//! Judged at the answer and not only at the end: an answer given before the entry is applied
//! anywhere is wrong even if luck saves it later. That the entry stays is the business of
//! [`super::prefixes`]: the log's place is fixed for ever by the first server that applies it.

use super::Judgement;
use accord_core::ids::{Index, NodeId, RequestId, SessionId};
use std::collections::{BTreeMap, BTreeSet};

/// Requests in the committed log, and those that were answered.
#[derive(Debug, Default)]
pub struct Acknowledged {
    committed: BTreeMap<(SessionId, RequestId), Index>,
    /// Requests that a recovery gave up.
    given_up: BTreeSet<(SessionId, RequestId)>,
    answered_count: u64,
    answered_last: Index,
    /// Up to this index, entries were seen one by one; beyond gaps nothing is known.
    unseen: bool,
}

impl Acknowledged {
    /// The committed log has the request at `index`.
    pub fn on_committed(&mut self, session: SessionId, request: RequestId, index: Index) {
        self.committed.entry((session, request)).or_insert(index);
    }

    /// Some entries were applied without being seen.
    pub const fn on_unseen(&mut self) {
        self.unseen = true;
    }

    /// The cluster was recovered from what it had at `kept`: nobody is owed what came after it.
    pub fn give_up_after(&mut self, kept: Index) {
        let all = std::mem::take(&mut self.committed);
        let (kept_ones, lost): (BTreeMap<_, _>, BTreeMap<_, _>) =
            all.into_iter().partition(|(_, index)| *index <= kept);
        self.committed = kept_ones;
        self.given_up.extend(lost.into_keys());
        self.answered_last = self.answered_last.min(kept);
    }

    /// True if a recovery gave up the request.
    pub fn is_given_up(&self, session: SessionId, request: RequestId) -> bool {
        self.given_up.contains(&(session, request))
    }

    /// True if the request is in the committed log as it is known.
    pub fn is_committed(&self, session: SessionId, request: RequestId) -> bool {
        self.committed.contains_key(&(session, request))
    }

    /// A client was told that the request is done.
    ///
    /// # Errors
    /// If no server has applied it.
    pub fn on_answered(&mut self, session: SessionId, request: RequestId) -> Judgement {
        self.answered_count += 1;
        match self.committed.get(&(session, request)) {
            Some(index) => {
                self.answered_last = self.answered_last.max(*index);
                Ok(())
            }
            None if self.unseen || self.given_up.contains(&(session, request)) => Ok(()),
            None => Err(format!("{session} {request} was answered, and no server has applied it")),
        }
    }

    /// In the end, `node` has applied up to `applied`.
    ///
    /// # Errors
    /// If something answered lies beyond.
    pub fn on_end(&self, node: NodeId, applied: Index) -> Judgement {
        if applied >= self.answered_last {
            return Ok(());
        }
        let last = self.answered_last;
        Err(format!("{node} ends at {applied}, a request at {last} was answered"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_an_entry_and_a_server_without_an_answered_entry_are_refused() {
        let mut acknowledged = Acknowledged::default();
        acknowledged.on_committed(SessionId(1), RequestId(1), Index(9));
        assert_eq!(acknowledged.on_answered(SessionId(1), RequestId(1)), Ok(()));
        assert!(acknowledged.on_answered(SessionId(1), RequestId(2)).is_err());
        assert_eq!(acknowledged.on_end(NodeId(1), Index(9)), Ok(()));
        assert!(acknowledged.on_end(NodeId(2), Index(8)).is_err());
        acknowledged.give_up_after(Index(8));
        assert_eq!(acknowledged.on_end(NodeId(2), Index(8)), Ok(()));
        assert_eq!(acknowledged.on_answered(SessionId(1), RequestId(1)), Ok(()), "told late");
        assert!(acknowledged.on_answered(SessionId(1), RequestId(2)).is_err());
    }
}
