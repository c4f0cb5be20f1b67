//! The digest: one number that two replicas share exactly if they applied the same to the same
//! effect.
//!
//! It is a chain over every command, its completion and its events. What a command does is a
//! function of the state, so replicas whose states differ will differ in the digest at the latest
//! when the difference shows; [`super::State::digest_full`] looks at everything at once. xxh3 with
//! the chain as its seed: fast, and good against mistakes, not against an adversary.

use super::event::{AttachError, Completion, EndCause, Event, NoSession};
use super::kv::{Branch, Stat, StepResult, TxnOutcome};
use super::outcome::{Outcome, RequestError};
use super::tree::{StepDone, TreeOutcome, TreeResult, ZnodeStat};
use crate::ids::NodeId;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A chain over everything that was absorbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest(pub(super) u64);

impl Digest {
    /// Absorbs bytes.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    /// Absorbs numbers.
    pub(super) fn numbers<const N: usize>(&mut self, numbers: [u64; N]) {
        for four in numbers.chunks(4) {
            let mut bytes = [0; 32];
            for (place, number) in bytes.chunks_exact_mut(8).zip(four) {
                place.copy_from_slice(&number.to_le_bytes());
            }
            self.bytes(&bytes[..8 * four.len()]);
        }
    }

    /// Absorbs the members of an epoch.
    pub(super) fn marker(&mut self, members: &[NodeId]) {
        self.numbers([20, members.len() as u64]);
        members.iter().for_each(|member| self.numbers([u64::from(member.0)]));
    }

    /// Absorbs an event.
    pub(super) fn event(&mut self, event: &Event) {
        match event {
            Event::Key(event) => {
                self.numbers([event.kind as u64, event.version, event.offset, event.size]);
                self.bytes(&event.key);
                self.bytes(&event.data);
            }
            Event::Tree(event) => {
                self.numbers([24 + event.kind as u64, event.revision.0]);
                self.bytes(&event.path);
            }
            Event::Member(event) => {
                let kind = 16 + event.kind as u64;
                self.numbers([kind, event.revision.0, event.session.0, u64::from(event.members)]);
            }
        }
    }

    /// Absorbs what became of a command.
    pub(super) fn completion(&mut self, completion: &Completion) {
        match completion {
            Completion::Request { session, request, outcome } => {
                self.outcome([session.0, request.0], outcome);
            }
            Completion::Opened { server, token, session, timeout_ms } => {
                let server = u64::from(server.0);
                self.numbers([2, server, *token, session.0, u64::from(*timeout_ms)]);
            }
            Completion::OpenRefused { server, token } => {
                self.numbers([3, u64::from(server.0), *token]);
            }
            Completion::Attached { server, token, session, generation, timeout_ms, last } => {
                self.numbers([4, u64::from(server.0), *token, session.0]);
                self.numbers([u64::from(*generation), u64::from(*timeout_ms), last.0]);
            }
            Completion::AttachRefused { server, token, session, error } => {
                let error = match error {
                    AttachError::NoSession(error) => no_session(*error),
                    AttachError::NotHolder => 2,
                };
                self.numbers([5, u64::from(server.0), *token, session.0, error]);
            }
            Completion::Ended { session, cause } => {
                let cause = u64::from(*cause == EndCause::Expired);
                self.numbers([6, session.0, cause]);
            }
            Completion::CloseRefused { session, error } => {
                self.numbers([7, session.0, no_session(*error)]);
            }
            Completion::ExpireIgnored { server, session, generation } => {
                self.numbers([8, u64::from(server.0), session.0, u64::from(*generation)]);
            }
            Completion::Malformed { .. } => self.numbers([9]),
            Completion::Reaped { count } => self.numbers([10, u64::from(*count)]),
        }
    }

    fn outcome(&mut self, [session, request]: [u64; 2], outcome: &Outcome) {
        match outcome {
            Outcome::Txn(TxnOutcome::Committed { revision, branch, results }) => {
                let head = 32 + u64::from(*branch == Branch::Then);
                self.numbers([session, request, head, revision.0]);
                results.iter().for_each(|result| self.result(result));
            }
            Outcome::Txn(TxnOutcome::Aborted { branch, step, error }) => {
                let head = 34 + u64::from(*branch == Branch::Then);
                let step = u64::from(*step) << 8 | *error as u64;
                self.numbers([session, request, head, step]);
            }
            Outcome::Tree(outcome) => {
                self.numbers([session, request, 36, outcome.revision.0]);
                self.tree(outcome);
            }
            Outcome::Refused(error) => {
                let [head, number] = match error {
                    RequestError::SessionUnknown => [40, 0],
                    RequestError::SessionEnded => [41, 0],
                    RequestError::Acknowledged { acked_below } => [42, acked_below.0],
                    RequestError::PassedOver { last } => [43, last.0],
                    RequestError::WindowFull => [44, 0],
                    RequestError::Malformed => [45, 0],
                    RequestError::CommandTooLarge => [46, 0],
                    RequestError::TooManySteps => [47, 0],
                    RequestError::UnknownKind { kind } => [48, u64::from(*kind)],
                };
                self.numbers([session, request, head, number]);
            }
        }
    }

    fn tree(&mut self, outcome: &TreeOutcome) {
        match &outcome.result {
            TreeResult::One(done) => self.done(done),
            TreeResult::Failed(error) => self.numbers([1, *error as u64]),
            TreeResult::Multi(all) => {
                self.numbers([2, all.len() as u64]);
                all.iter().for_each(|done| self.done(done));
            }
            TreeResult::MultiFailed { step, steps, error } => {
                self.numbers([3, u64::from(*step), u64::from(*steps), *error as u64]);
            }
        }
    }

    fn done(&mut self, done: &StepDone) {
        match done {
            StepDone::Created { path, stat } => {
                self.znode(4, stat);
                self.bytes(path);
            }
            StepDone::Deleted => self.numbers([5]),
            StepDone::DataSet(stat) => self.znode(6, stat),
            StepDone::AclSet(stat) => self.znode(7, stat),
            StepDone::Checked => self.numbers([8]),
        }
    }

    fn znode(&mut self, head: u64, stat: &ZnodeStat) {
        let wide = |number: i32| u64::from(number.cast_unsigned());
        self.numbers([head, stat.czxid.0, stat.mzxid.0, stat.pzxid.0]);
        self.numbers([stat.ctime.0, stat.mtime.0, wide(stat.version), wide(stat.cversion)]);
        let [length, children] = [stat.data_length, stat.num_children].map(u64::from);
        let owner = stat.lifetime.kept_owner();
        self.numbers([wide(stat.aversion), owner, length, children]);
    }

    fn result(&mut self, result: &StepResult) {
        match result {
            StepResult::Read { value, stat } => {
                self.numbers([1]);
                self.bytes(value);
                self.stat(stat);
            }
            StepResult::Written { version, key } => {
                self.numbers([2 + 16 * u64::from(key.is_some()), *version]);
                if let Some(key) = key {
                    self.bytes(key);
                }
            }
            StepResult::Deleted => self.numbers([3]),
            StepResult::Copied { version } => self.numbers([4, *version]),
            StepResult::Held => self.numbers([5]),
            StepResult::Incremented { value, version } => self.numbers([6, *value, *version]),
            StepResult::Listed(page) => {
                self.numbers([7, page.entries.len() as u64, u64::from(page.more)]);
                for entry in &page.entries {
                    self.bytes(&entry.key);
                    self.stat(&entry.stat);
                    if let Some(value) = &entry.value {
                        self.bytes(value);
                    }
                }
            }
        }
    }

    fn stat(&mut self, stat: &Stat) {
        let owner = stat.owner.map_or(0, |owner| owner.0);
        self.numbers([stat.version, stat.created.0, stat.modified.0, stat.size, owner]);
    }
}

fn no_session(error: NoSession) -> u64 {
    u64::from(error == NoSession::Ended)
}
