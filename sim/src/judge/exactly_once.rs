//! A request takes effect once, and has one outcome however often it is answered.
//!
//! One command has one revision, so two requests that are told the same revision, where each
//! changed something, were executed as one; and a request told two revisions was executed twice.

use super::Judgement;
use accord_core::ids::{RequestId, Revision, SessionId};
use std::collections::BTreeMap;

type Name = (SessionId, RequestId);

/// Revisions and the requests that made them.
#[derive(Debug, Default)]
pub struct ExactlyOnce {
    of_revision: BTreeMap<Revision, Name>,
    of_request: BTreeMap<Name, Revision>,
}

impl ExactlyOnce {
    /// A recovery gave up what it did not keep: others may have the revisions of that. What a
    /// recovery takes over in doubt keeps its own (docs/decisions/0027).
    pub fn give_up(&mut self, kept: impl Fn(&Name) -> bool) {
        self.of_revision.retain(|_, name| kept(name));
        self.of_request.retain(|name, _| kept(name));
    }

    /// A client was told that its request, which changes something, took effect at `revision`.
    ///
    /// # Errors
    /// If it, or another request, was told otherwise.
    pub fn on_changed(
        &mut self,
        session: SessionId,
        request: RequestId,
        revision: Revision,
    ) -> Judgement {
        let name = (session, request);
        let (s, q) = *self.of_revision.entry(revision).or_insert(name);
        if (s, q) != name {
            return Err(format!("{revision} was told to {s} {q} and to {session} {request}"));
        }
        let first = *self.of_request.entry(name).or_insert(revision);
        if first != revision {
            return Err(format!("{session} {request} was told {first} and then {revision}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_revision_and_a_second_one_are_refused() {
        let mut once = ExactlyOnce::default();
        let (session, request) = (SessionId(1), RequestId(1));
        assert_eq!(once.on_changed(session, request, Revision(5)), Ok(()));
        assert_eq!(once.on_changed(session, request, Revision(5)), Ok(()), "told again");
        assert!(once.on_changed(session, RequestId(2), Revision(5)).is_err());
        assert!(once.on_changed(session, request, Revision(6)).is_err());
        once.give_up(|(_, kept)| *kept != request);
        assert_eq!(once.on_changed(session, RequestId(2), Revision(5)), Ok(()), "of another era");
    }
}
