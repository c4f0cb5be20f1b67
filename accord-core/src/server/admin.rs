//! What operators ask: how the server is, who votes, and the last resort.

use super::Server;
use super::io::{AdminId, AdminReply, AdminRequest, Image, Output, ServerStatus};
use crate::pieces::Pieces;
use crate::replica::voters::{ChangeError, VoterChange};
use alloc::boxed::Box;

/// What an operator asks about the state. Until all is worked out that the replica has handed out,
/// the state and the replica's log are of different moments.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question {
    Status,
    Image,
}

impl Server {
    pub(super) fn on_admin(&mut self, admin: AdminId, request: AdminRequest) {
        match request {
            AdminRequest::Status => self.questions.push_back((admin, Question::Status)),
            AdminRequest::ChangeVoters(change) => self.on_change_voters(admin, change),
            AdminRequest::Image => self.questions.push_back((admin, Question::Image)),
            AdminRequest::ForceRecovery => {
                let reply = AdminReply::Recovering(self.replica.force_recovery());
                self.outputs.push_back(Output::Admin { admin, reply });
            }
        }
    }

    /// Answers a question about the state as a whole.
    pub(super) fn answer(&mut self, admin: AdminId, question: Question) {
        match question {
            Question::Status => {
                let reply = AdminReply::Status(Box::new(self.status()));
                self.outputs.push_back(Output::Admin { admin, reply });
            }
            Question::Image => {
                let image = self.image();
                self.make_backup(admin, image);
            }
        }
    }

    fn on_change_voters(&mut self, admin: AdminId, change: VoterChange) {
        self.change_last += 1;
        let number = self.change_last;
        match self.replica.change_voters(number, change) {
            Ok(()) => {
                self.changes.insert(number, admin);
            }
            Err(error) => self.answer_change(admin, Err(error)),
        }
    }

    pub(super) fn on_voters_changed(&mut self, number: u64, result: Result<(), ChangeError>) {
        if let Some(admin) = self.changes.remove(&number) {
            self.answer_change(admin, result);
        }
    }

    fn answer_change(&mut self, admin: AdminId, result: Result<(), ChangeError>) {
        let reply = AdminReply::VotersChanged(result);
        self.outputs.push_back(Output::Admin { admin, reply });
    }

    /// What there is to say about the state at the last applied entry, without the state.
    fn image(&self) -> Image {
        let log = self.replica.log();
        Image {
            last: log
                .position_at(self.applied)
                .expect("the last applied entry is held, or the base"),
            voters: log.voters_at(self.applied).clone(),
            revision: self.state.revision(),
            digest: self.state.digest(),
            state: Pieces::default(),
        }
    }

    /// How the server is.
    pub fn status(&self) -> ServerStatus {
        ServerStatus {
            replica: self.replica.status(),
            primary: self.primary,
            applied: self.applied,
            revision: self.state.revision(),
            digest: self.state.digest(),
            sessions: self.state.sessions().count(),
            attached: self.attached.len(),
            conns: self.conns.len(),
            watches: self.watches.len(),
            history_events: self.history.len(),
            history_floor: self.history.floor(),
            requests: self.requests_pending,
            held: self.held.len(),
            reads: self.reads.len(),
            refusals: self.refusals.clone(),
            disconnects: self.disconnects.clone(),
            malformed: self.malformed,
        }
    }
}
