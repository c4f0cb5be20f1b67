//! What one life of a client is told, and the judgement of it: the same in every world.
//!
//! Whoever carries a client's messages hands each event here before the workload hears it.

use crate::judge::Property;
use crate::judge::session_order::SessionOrder;
use crate::world::env::Surroundings;
use accord_core::client::{ClientEvent, ReadId};
use accord_core::ids::{RequestId, Revision, SessionId, WatchId};
use accord_core::state::{Outcome, StepResult, TxnOutcome};
use std::collections::BTreeMap;

/// What a life has begun and was told.
#[derive(Debug)]
pub struct ClientOracle {
    /// The number by which events name this life.
    pub life: u64,
    /// The revision that each outstanding read must reach.
    pub floors: BTreeMap<ReadId, Revision>,
    /// The session, for judging answers after it has ended.
    pub session: Option<SessionId>,
    /// Requests and reads that are not answered.
    pub outstanding: u32,
    /// What it has under way, in its order.
    pub order: SessionOrder,
    /// Watches that reads under way set.
    pub by_reads: BTreeMap<ReadId, WatchId>,
}

impl ClientOracle {
    /// A life that was told nothing.
    pub fn new(life: u64) -> Self {
        Self {
            life,
            floors: BTreeMap::new(),
            session: None,
            outstanding: 0,
            order: SessionOrder::default(),
            by_reads: BTreeMap::new(),
        }
    }

    /// Judges an event. True if the life is over with it.
    pub fn on_event(&mut self, env: &mut Surroundings, event: &ClientEvent) -> bool {
        if is_answer(event) {
            self.outstanding = self.outstanding.saturating_sub(1);
        }
        env.judge(Property::ReadsFresh, self.order.on_event(event));
        self.judge_watches(env, event);
        match event {
            ClientEvent::SessionOpened { session, .. } => {
                env.counts.sessions += 1;
                self.session = Some(*session);
                false
            }
            ClientEvent::Done { request, outcome } => {
                self.judge_outcome(env, *request, outcome);
                false
            }
            ClientEvent::ReadDone { read, revision, .. } => {
                let floor = self.floors.remove(read).unwrap_or_default();
                let judgement = env.judges.fresh_reads.on_read(self.life, floor, *revision);
                env.judge(Property::ReadsFresh, judgement);
                false
            }
            ClientEvent::SessionLost => {
                self.judge_end(env, "lost");
                true
            }
            ClientEvent::Closed { confirmed } => {
                if *confirmed {
                    self.judge_end(env, "closed");
                }
                true
            }
            _ => false,
        }
    }

    /// The client is told that its session has ended.
    fn judge_end(&self, env: &mut Surroundings, how: &str) {
        let committed = &env.judges.committed;
        let Some(session) = self.session.filter(|_| committed.is_complete()) else { return };
        let judgement = match committed.is_member(session) {
            false => Ok(()),
            true => Err(format!("{session} is said to be {how}, and the log has not ended it")),
        };
        env.judge(Property::SessionsLast, judgement);
    }

    fn judge_watches(&mut self, env: &mut Surroundings, event: &ClientEvent) {
        let life = self.life;
        // Once the read has ended, its watch is one like all others, or none.
        let by_read = match event {
            ClientEvent::ReadDone { read, .. } | ClientEvent::ReadFailed { read, .. } => {
                self.by_reads.remove(read)
            }
            _ => None,
        };
        let (watches, committed) = (&mut env.judges.watches, &env.judges.committed);
        let judgement = match event {
            // The end of all sessions makes no events: nobody's past leads over it.
            ClientEvent::Watching { watch, from, .. }
                if self.session.is_some_and(|session| session.0 >= committed.era_began().0)
                    && *from < committed.era_began() =>
            {
                let began = committed.era_began();
                Err(format!(
                    "{watch} goes on from {from}, and the cluster was recovered at {began}"
                ))
            }
            ClientEvent::Watching { watch, from, members } => {
                let seen = env.judges.fresh_reads.told_to(life);
                watches.on_watching((life, *watch), *from, members.as_deref(), seen, committed)
            }
            ClientEvent::Watch { watch, revision, events } => {
                watches.on_events((life, *watch), *revision, events, committed)
            }
            ClientEvent::WatchLost { watch, .. } | ClientEvent::WatchFailed { watch, .. } => {
                watches.on_ended(life, *watch);
                Ok(())
            }
            ClientEvent::ReadDone { revision, .. }
            | ClientEvent::Done {
                outcome: Outcome::Txn(TxnOutcome::Committed { revision, .. }),
                ..
            } => watches.on_result(life, *revision, committed),
            ClientEvent::ReadFailed { .. } => {
                if let Some(watch) = by_read {
                    watches.on_ended(life, watch);
                }
                return;
            }
            _ => return,
        };
        env.judge(Property::WatchesTell, judgement);
    }

    fn judge_outcome(&self, env: &mut Surroundings, request: RequestId, outcome: &Outcome) {
        let Some(session) = self.session else {
            return env.fail(Property::ExactlyOnce, "an outcome came without a session");
        };
        let judgement = env.judges.acknowledged.on_answered(session, request);
        env.judge(Property::AcknowledgedSurvive, judgement);
        let judgement = env.judges.committed.judge_told(session, request, outcome);
        env.judge(Property::StateAsDocumented, judgement);
        if let Outcome::Txn(TxnOutcome::Committed { revision, results, .. }) = outcome {
            env.judges.fresh_reads.on_told(self.life, *revision);
            // A late answer of servers that a recovery gave up says nothing of what goes on.
            let given_up = env.judges.acknowledged.is_given_up(session, request);
            if results.iter().any(changes) && !given_up {
                let judgement = env.judges.exactly_once.on_changed(session, request, *revision);
                env.judge(Property::ExactlyOnce, judgement);
            }
        }
    }
}

/// True if a request or a read is outstanding no longer.
const fn is_answer(event: &ClientEvent) -> bool {
    matches!(
        event,
        ClientEvent::Done { .. }
            | ClientEvent::Failed { .. }
            | ClientEvent::Unknown { .. }
            | ClientEvent::ReadDone { .. }
            | ClientEvent::ReadFailed { .. }
    )
}

/// True if the step changed something.
const fn changes(result: &StepResult) -> bool {
    match result {
        StepResult::Written { .. }
        | StepResult::Deleted
        | StepResult::Copied { .. }
        | StepResult::Incremented { .. } => true,
        StepResult::Read { .. } | StepResult::Held | StepResult::Listed(_) => false,
    }
}
