//! What operators ask: how the server is, who votes, and the last resort.

use super::Server;
use super::io::{OperatorReply, OperatorRequest, OperatorRequestId, ServerStatus};
use crate::replica::voters::{ChangeError, VoterChange};
use alloc::boxed::Box;

/// What an operator asks about the state. Until all is worked out that the service has under way,
/// the state and the replica's log are of different moments.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question {
    Status,
    Image,
}

impl Server {
    pub(super) fn on_operator(&mut self, id: OperatorRequestId, request: OperatorRequest) {
        match request {
            OperatorRequest::Status => self.questions.push_back((id, Question::Status)),
            OperatorRequest::ChangeVoters(change) => self.on_change_voters(id, change),
            OperatorRequest::Image => self.questions.push_back((id, Question::Image)),
            OperatorRequest::ForceRecovery => {
                let reply = OperatorReply::Recovering(self.service.force_recovery());
                self.replies.push_back((id, reply));
            }
        }
    }

    /// Answers the next question about the state as a whole. False if there is none.
    pub(super) fn answer_next(&mut self) -> bool {
        let Some((id, question)) = self.questions.pop_front() else { return false };
        match question {
            Question::Status => {
                let reply = OperatorReply::Status(Box::new(self.status()));
                self.replies.push_back((id, reply));
            }
            Question::Image => self.service.back_up(id.0),
        }
        true
    }

    fn on_change_voters(&mut self, id: OperatorRequestId, change: VoterChange) {
        self.change_last += 1;
        let number = self.change_last;
        match self.service.change_voters(number, change) {
            Ok(()) => {
                self.changes.insert(number, id);
            }
            Err(error) => self.answer_change(id, Err(error)),
        }
    }

    pub(super) fn on_voters_changed(&mut self, number: u64, result: Result<(), ChangeError>) {
        if let Some(id) = self.changes.remove(&number) {
            self.answer_change(id, result);
        }
    }

    fn answer_change(&mut self, id: OperatorRequestId, result: Result<(), ChangeError>) {
        self.replies.push_back((id, OperatorReply::VotersChanged(result)));
    }

    /// How the server is.
    pub fn status(&self) -> ServerStatus {
        let state = self.service.state();
        let gateway = self.gateway.status();
        ServerStatus {
            replica: self.service.status(),
            primary: gateway.primary,
            applied: self.service.applied(),
            revision: state.revision(),
            digest: state.digest(),
            sessions: state.sessions().count(),
            attached: gateway.attached,
            conns: gateway.conns,
            watches: gateway.watches,
            history_events: gateway.history_events,
            history_floor: gateway.history_floor,
            requests: gateway.requests,
            deferred: gateway.deferred,
            reads: gateway.reads,
            refusals: gateway.refusals,
            disconnects: gateway.disconnects,
            malformed: self.malformed,
        }
    }
}
