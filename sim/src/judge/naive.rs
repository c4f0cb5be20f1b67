//! Every committed command does what the documentation says: it is carried out a second time, by a
//! model that is too naive to be wrong in the same way.
//!
//! The model is the one that the core's own tests compare the state with. Here it gets what worlds
//! make of it: the commands of all clients in the order of the log, repeated, in windows and under
//! bounds. What clients are told is compared with it as well, since a server may have got its state
//! from a snapshot.

use super::Judgement;
use accord_core::ids::{NodeId, RequestId, Revision, SessionId};
use accord_core::limits::Limits;
use accord_core::state::{Command, Completion, Op, Outcome, ReadQuery, ReadResult, State};

/// The model, as the core's tests have it.
#[path = "../../../accord-core/tests/state/naive.rs"]
#[allow(dead_code, missing_docs, reason = "written for tests, which need more and explain less")]
mod model;

/// The state as the model has it.
#[derive(Debug)]
pub struct Naive {
    model: model::Model,
}

impl Naive {
    /// A state in which nothing happened.
    pub fn new(limits: Limits) -> Self {
        Self { model: model::Model::new(limits) }
    }

    /// The order has this command, of so many bytes, and it came to `completion`.
    ///
    /// # Errors
    /// If the model comes to something else.
    pub fn on_command(
        &mut self,
        command: &Command,
        bytes: usize,
        completion: &Completion,
    ) -> Judgement {
        let model = &mut self.model;
        let (same, expected) = match (command, completion) {
            (
                Command::Request { session, request, acked_below, op: Op::Kv(txn) },
                Completion::Request { outcome, .. },
            ) => {
                let (answer, _) = model.request(session.0, request.0, acked_below.0, txn, bytes);
                let answer = model::without_values(answer);
                (model::answer_of(outcome) == answer, format!("{answer:?}"))
            }
            (Command::Open { server, .. }, completion) => {
                let opened = model.open(server.0);
                let found = match completion {
                    Completion::Opened { session, .. } => Some(session.0),
                    _ => None,
                };
                (found == opened, format!("session {opened:?}"))
            }
            (Command::Attach { server, session, .. }, completion) => {
                let attached = model.sessions.get_mut(&session.0);
                let is_attached = attached.is_some();
                if let Some(attached) = attached {
                    attached.owner = Some(server.0);
                    attached.generation += 1;
                }
                let found = matches!(completion, Completion::Attached { .. });
                (found == is_attached, format!("attached: {is_attached}"))
            }
            (Command::Close { session }, completion) => {
                let ends = model.sessions.contains_key(&session.0);
                self.end(session.0, ends, completion)
            }
            (Command::Expire { server, session, generation }, completion) => {
                let ends = model.sessions.get(&session.0).is_some_and(|open| {
                    let judge = open.owner.is_none_or(|owner| owner == server.0);
                    open.generation == *generation && judge
                });
                self.end(session.0, ends, completion)
            }
            (command, completion) => (false, format!("no {completion:?} of {command:?}")),
        };
        match same {
            true => Ok(()),
            false => {
                Err(format!("{command:?} came to {completion:?}; the naive model says {expected}"))
            }
        }
    }

    fn end(&mut self, session: u64, ends: bool, completion: &Completion) -> (bool, String) {
        if ends {
            self.model.end(session);
        }
        let found = matches!(completion, Completion::Ended { .. });
        (found == ends, format!("ended: {ends}"))
    }

    /// An epoch begins with these members: what they do not own has no owner.
    pub fn on_marker(&mut self, members: &[NodeId]) {
        for session in self.model.sessions.values_mut() {
            session.owner = session.owner.filter(|owner| members.contains(&NodeId(*owner)));
        }
    }

    /// An era begins: all sessions end, and the numbers go on so much higher.
    pub fn on_recovery(&mut self, skipped: u64) {
        self.model.sessions.clear();
        self.model.records.retain(|_, record| record.owner.is_none());
        self.model.revision += skipped;
        self.model.sequence += skipped;
    }

    /// A client was told this outcome.
    ///
    /// # Errors
    /// If the model remembers another one.
    pub fn on_told(&self, session: SessionId, request: RequestId, outcome: &Outcome) -> Judgement {
        let ran = self.model.sessions.get(&session.0).and_then(|it| it.ran.get(&request.0));
        let (Some(answer), Outcome::Txn(_)) = (ran, outcome) else { return Ok(()) };
        let answer = model::without_values(answer.clone());
        match model::answer_of(outcome) == answer {
            true => Ok(()),
            false => Err(format!(
                "{session} {request} is told {outcome:?}; the naive model says {answer:?}"
            )),
        }
    }

    /// A client read this, as of a revision. Judged only if that is the present one.
    ///
    /// # Errors
    /// If the model has something else.
    pub fn on_read(&self, revision: Revision, query: &ReadQuery, result: &ReadResult) -> Judgement {
        if revision.0 != self.model.revision {
            return Ok(());
        }
        let records = &self.model.records;
        let same = match (query, result) {
            (ReadQuery::Get { key, .. }, ReadResult::NotFound) => !records.contains_key(&key[..]),
            (ReadQuery::Get { key, offset, length_max }, ReadResult::Value { value, stat }) => {
                records.get(&key[..]).is_some_and(|record| {
                    let rest = record.value.iter().skip(*offset as usize);
                    let part = rest.take(*length_max as usize);
                    part.eq(value.iter()) && record.version == stat.version
                })
            }
            (ReadQuery::List(query), ReadResult::Listed(page)) => {
                let (entries, more) = model::list(records, query, &self.model.limits);
                let found = page.entries.iter().map(|it| (&it.key[..], it.value.as_deref()));
                let expected = entries.iter().map(|(key, record, with_value)| {
                    (&key[..], with_value.then_some(&record.value[..]))
                });
                found.eq(expected) && page.more == more
            }
            _ => return Ok(()),
        };
        match same {
            true => Ok(()),
            false => {
                Err(format!("{query:?} at {revision} gave {result:?}, unlike the naive model"))
            }
        }
    }

    /// The world is at rest, and a state has carried out the same.
    ///
    /// # Errors
    /// If the records differ.
    pub fn on_end(&self, state: &State) -> Judgement {
        if state.revision().0 != self.model.revision {
            let (found, expected) = (state.revision(), self.model.revision);
            return Err(format!("a state ends at {found}; the naive model is at {expected}"));
        }
        for key in self.model.records.keys() {
            let key = bytes::Bytes::copy_from_slice(key);
            let query = ReadQuery::Get { key, offset: 0, length_max: u64::MAX };
            self.on_read(state.revision(), &query, &state.read(&query))?;
        }
        match state.records() == self.model.records.len() {
            true => Ok(()),
            false => Err(format!(
                "there are {} records; the naive model has {}",
                state.records(),
                self.model.records.len()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use accord_core::holder::Holder;
    use accord_core::state::{Flags, Step, StepError, Txn, TxnOutcome};
    use accord_core::wire::Encode;
    use bytes::Bytes;

    const SESSION: SessionId = SessionId(1);

    fn write(request: u64, value: &'static str) -> Command {
        let (key, value) = (Bytes::from_static(b"k"), Bytes::from_static(value.as_bytes()));
        let txn = Txn::of(vec![Step::Write { key, value, offset: 0, flags: Flags::CREATE }]);
        let request = RequestId(request);
        Command::Request { session: SESSION, request, acked_below: RequestId(1), op: Op::Kv(txn) }
    }

    #[test]
    fn a_state_that_does_something_else_is_noticed_wherever_it_shows() {
        let (mut state, mut events) = (State::new(Limits::default()), Vec::new());
        let mut naive = Naive::new(Limits::default());
        let mut outcomes = Vec::new();
        let open = Command::Open {
            server: NodeId(1),
            token: 1,
            timeout_ms: 1000,
            holder: Holder::default(),
        };
        for command in [open, write(1, "abc"), write(2, "x"), write(1, "abc")] {
            let bytes = command.to_bytes();
            let completion = state.apply(&bytes, &mut events);
            assert_eq!(naive.on_command(&command, bytes.len(), &completion), Ok(()));
            if let Completion::Request { outcome, .. } = completion {
                outcomes.push(outcome);
            }
        }
        assert_eq!(naive.on_told(SESSION, RequestId(1), &outcomes[2]), Ok(()), "told again");
        assert!(naive.on_told(SESSION, RequestId(1), &outcomes[1]).is_err());
        assert_eq!(naive.on_end(&state), Ok(()));
        let wrong = write(3, "y");
        let branch = accord_core::state::Branch::Then;
        let aborted = TxnOutcome::Aborted { branch, step: 0, error: StepError::NotFound };
        let outcome = Outcome::Txn(aborted);
        let completion = Completion::Request { session: SESSION, request: RequestId(3), outcome };
        assert!(naive.on_command(&wrong, 40, &completion).is_err());
        assert!(naive.on_end(&state).is_err(), "the model has written, and the state has not");
    }
}
