//! Locks with fencing tokens: clients acquire, use, release and lose them.
//!
//! A lock is an ephemeral record, created exclusively; its fencing token is the revision that
//! created it. What it protects is a record written by a transaction whose guard compares the token
//! with the lock's. Clients go on using tokens that they should have given up, their own and
//! others', on purpose: a stale one must be refused. A lock dies with its session, and whoever
//! waits is told by a watch.
//!
//! The history says when a session ended: at the first thing that the workload hears after the log
//! has it.

use super::ledger::{Answer, Entry, Ledger};
use super::{ClientCtx, Intent, Workload, WorkloadKind, get};
use crate::plan::options::Options;
use crate::plan::rng::{Concern, Rng};
use crate::world::env::Surroundings;
use accord_core::client::{ClientEvent, ReadId};
use accord_core::ids::{Revision, SessionId, WatchId};
use accord_core::protocol::{Consistency, EventMask, WatchFilter};
use accord_core::state::{
    Branch, Compare, Flags, ReadResult, Relation, Step, StepError, Txn, TxnOutcome, Width,
};
use accord_models::edn::Value;
use accord_models::{History, Model};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Tokens that are remembered of a lock, to be used when they are stale.
const TOKENS_MAX: usize = 8;

/// What is remembered of an outstanding operation.
#[derive(Clone, Copy, Debug)]
enum Memo {
    Acquire { lock: u64 },
    Release { lock: u64, token: Revision },
    Use { lock: u64, token: Revision },
}

/// What one life holds and waits for.
#[derive(Debug, Default)]
struct Life {
    holds: BTreeMap<u64, Revision>,
    /// Reads that tell whether this life holds a lock after all.
    asks: BTreeMap<ReadId, u64>,
    /// Watches on locks to be freed; true: since it was seen to be taken, so that it will be told.
    waits: BTreeMap<WatchId, (u64, bool)>,
    /// Locks that it may hold without knowing: a request's outcome stayed unknown.
    doubts: BTreeSet<u64>,
    /// In the end, it has acquired and released a lock.
    proved: bool,
}

/// The workload.
#[derive(Debug)]
pub struct Locks {
    locks: u64,
    ledger: Ledger<Memo>,
    lives: BTreeMap<u64, Life>,
    tokens: BTreeMap<u64, VecDeque<Revision>>,
    sessions: BTreeSet<SessionId>,
    /// How many of the sessions that ended were looked at.
    ended_seen: usize,
    /// Ends are no longer known: every session may have ended.
    blind: bool,
}

impl Locks {
    /// Nothing was done so far.
    pub fn new(options: &Options) -> Self {
        let mut rng = Rng::of(options.seed, Concern::Workload, 1002);
        Self {
            locks: rng.within(1, 3),
            ledger: Ledger::new(options.clients + 1),
            lives: BTreeMap::new(),
            tokens: BTreeMap::new(),
            sessions: BTreeSet::new(),
            ended_seen: 0,
            blind: false,
        }
    }

    /// Notes which sessions have ended, before anything else is noted.
    fn note_ends(&mut self, ctx: &ClientCtx<'_>) {
        let committed = &ctx.env.judges.committed;
        let now = ctx.time_ns();
        for session in &committed.ended()[self.ended_seen..] {
            if self.sessions.remove(session) {
                self.ledger.observe_world(now, "expire", expire(*session));
            }
        }
        self.ended_seen = committed.ended().len();
        if !committed.is_complete() && !self.blind {
            self.blind = true;
            for session in std::mem::take(&mut self.sessions) {
                let _never_known = self.ledger.invoke(ctx, "expire", expire(session));
            }
        }
    }

    fn on_session(&mut self, ctx: &ClientCtx<'_>, session: SessionId) {
        if self.blind {
            let _never_known = self.ledger.invoke(ctx, "expire", expire(session));
        } else {
            self.sessions.insert(session);
        }
    }

    fn life(&mut self, life: u64) -> &mut Life {
        self.lives.entry(life).or_default()
    }

    fn acquire(&mut self, ctx: &mut ClientCtx<'_>, lock: u64) {
        let Some(session) = ctx.session() else { return };
        let flags = Flags::CREATE | Flags::EXCLUSIVE | Flags::EPHEMERAL;
        let value = Bytes::from(ctx.life.to_string());
        let txn = Txn::of(vec![Step::Write { key: name(lock), value, offset: 0, flags }]);
        let input = Value::map([("lock", Value::from(lock)), ("session", Value::from(session.0))]);
        self.ledger.submit(ctx, &txn, "acquire", input, Memo::Acquire { lock });
    }

    fn release(&mut self, ctx: &mut ClientCtx<'_>, lock: u64, token: Revision) {
        let txn = guarded(lock, token, Step::Delete { key: name(lock) });
        let memo = Memo::Release { lock, token };
        self.ledger.submit(ctx, &txn, "release", held(lock, token), memo);
    }

    fn use_token(&mut self, ctx: &mut ClientCtx<'_>, lock: u64, token: Revision) {
        let key = Bytes::from(format!("lr/{lock}"));
        let (width, flags) = (Width::Eight, Flags::CREATE);
        let step = Step::Increment { key, delta: 1, offset: None, width, flags };
        let txn = guarded(lock, token, step);
        self.ledger.submit(ctx, &txn, "use", held(lock, token), Memo::Use { lock, token });
    }

    /// Uses, as often as not, a token that somebody should have forgotten.
    fn use_some_token(&mut self, ctx: &mut ClientCtx<'_>, lock: u64) {
        let Some(tokens) = self.tokens.get(&lock) else { return self.acquire(ctx, lock) };
        let token = tokens[ctx.rng.below(tokens.len() as u64) as usize];
        self.use_token(ctx, lock, token);
    }

    /// Asks who holds the lock: it may be this life, by an acquisition that was never answered.
    fn ask(&mut self, ctx: &mut ClientCtx<'_>, lock: u64) {
        if let Some(read) = ctx.read(get(name(lock), 32), Consistency::Linearizable) {
            self.life(ctx.life).asks.insert(read, lock);
        }
    }

    /// Waits until the lock is free, from what was known at a revision or from now on.
    fn wait(&mut self, ctx: &mut ClientCtx<'_>, lock: u64, from: Option<Revision>) {
        let filter = WatchFilter::Key(name(lock));
        if let Some(watch) = ctx.watch(filter, EventMask::DELETED, true, from) {
            self.life(ctx.life).waits.insert(watch, (lock, from.is_some()));
        }
    }

    fn acquired(&mut self, life: u64, lock: u64, token: Revision) {
        self.life(life).holds.insert(lock, token);
        let tokens = self.tokens.entry(lock).or_default();
        tokens.push_back(token);
        if tokens.len() > TOKENS_MAX {
            tokens.pop_front();
        }
    }

    fn on_outcome(&mut self, ctx: &mut ClientCtx<'_>, entry: Entry<Memo>, outcome: &TxnOutcome) {
        let (now, life) = (ctx.time_ns(), ctx.life);
        let (revision, branch) = match outcome {
            TxnOutcome::Committed { revision, branch, .. } => (*revision, *branch),
            TxnOutcome::Aborted { error, .. } => {
                self.ledger.fail(now, entry.id, error.to_string());
                match (entry.memo, error) {
                    (Memo::Acquire { lock }, StepError::Exists) => self.on_taken(ctx, lock),
                    // A limit stands in the way, perhaps for good: that is an answer, too.
                    (Memo::Acquire { .. }, _) => self.life(life).proved = true,
                    _ => {}
                }
                return;
            }
        };
        match (entry.memo, branch) {
            (Memo::Acquire { lock }, _) => {
                self.acquired(life, lock, revision);
                let session = Value::from(ctx.session().unwrap_or_default().0);
                let token = Value::from(revision.0);
                let lock = ("lock", Value::from(lock));
                let output = Value::map([lock, ("session", session), ("token", token)]);
                self.ledger.ok(now, entry.id, output);
            }
            (Memo::Release { lock, token } | Memo::Use { lock, token }, Branch::Then) => {
                if matches!(entry.memo, Memo::Release { .. }) {
                    self.forget(life, lock, token);
                }
                self.ledger.ok(now, entry.id, held(lock, token));
            }
            (Memo::Release { lock, token } | Memo::Use { lock, token }, Branch::Otherwise) => {
                self.forget(life, lock, token);
                self.ledger.fail(now, entry.id, "the token is stale");
            }
        }
    }

    fn forget(&mut self, life: u64, lock: u64, token: Revision) {
        let holds = &mut self.life(life).holds;
        if holds.get(&lock) == Some(&token) {
            holds.remove(&lock);
        }
    }

    fn on_taken(&mut self, ctx: &mut ClientCtx<'_>, lock: u64) {
        if ctx.env.stormy && ctx.rng.percent(60) {
            self.wait(ctx, lock, None);
        } else {
            self.ask(ctx, lock);
        }
    }

    /// The answer to the question who holds a lock.
    fn on_holder(
        &mut self,
        ctx: &mut ClientCtx<'_>,
        lock: u64,
        revision: Revision,
        result: &ReadResult,
    ) {
        if self.life(ctx.life).proved {
            // A later request has run, so that no earlier one can any more.
            self.life(ctx.life).doubts.remove(&lock);
        }
        let ReadResult::Value { stat, .. } = result else { return };
        if stat.owner == ctx.session() {
            self.acquired(ctx.life, lock, stat.created);
        } else if !ctx.env.stormy && !self.life(ctx.life).proved {
            self.wait(ctx, lock, Some(revision));
        }
    }

    fn on_freed(&mut self, ctx: &mut ClientCtx<'_>, watch: WatchId) {
        let waited = self.life(ctx.life).waits.remove(&watch);
        // In the end, only a client that has still something to prove acquires anything.
        if let Some((lock, _)) = waited.filter(|_| ctx.env.stormy) {
            self.acquire(ctx, lock);
        }
    }
}

impl Workload for Locks {
    fn kind(&self) -> WorkloadKind {
        WorkloadKind::Lock
    }

    fn step(&mut self, ctx: &mut ClientCtx<'_>) {
        self.note_ends(ctx);
        let lock = ctx.rng.below(self.locks);
        let holds = self.life(ctx.life).holds.get(&lock).copied();
        match (ctx.rng.below(100), holds) {
            (0..=1, _) => ctx.close(),
            (2..=3, _) => ctx.intend(Intent::HangUp),
            (4..=39, Some(token)) => self.release(ctx, lock, token),
            (40..=79, Some(token)) => self.use_token(ctx, lock, token),
            (4..=69, None) => self.acquire(ctx, lock),
            _ => self.use_some_token(ctx, lock),
        }
    }

    fn on_event(&mut self, ctx: &mut ClientCtx<'_>, event: &ClientEvent) {
        self.note_ends(ctx);
        if let Some(Answer::Txn(entry, outcome)) = self.ledger.settle(ctx, event) {
            return self.on_outcome(ctx, entry, &outcome);
        }
        match event {
            ClientEvent::SessionOpened { session, .. } => self.on_session(ctx, *session),
            ClientEvent::Unknown { .. } => {
                let all = 0..self.locks;
                self.life(ctx.life).doubts.extend(all);
            }
            ClientEvent::ReadDone { read, revision, result } => {
                if let Some(lock) = self.life(ctx.life).asks.remove(read) {
                    self.on_holder(ctx, lock, *revision, result);
                }
            }
            ClientEvent::Watch { watch, .. } => self.on_freed(ctx, *watch),
            ClientEvent::WatchLost { watch, .. } | ClientEvent::WatchFailed { watch, .. } => {
                self.life(ctx.life).waits.remove(watch);
            }
            _ => {}
        }
    }

    fn on_life_ended(&mut self, life: u64, time_ns: u64) {
        self.ledger.end_life(life, time_ns);
        self.lives.remove(&life);
    }

    fn conclude(&mut self, ctx: &mut ClientCtx<'_>) -> bool {
        self.note_ends(ctx);
        let life = ctx.life;
        let own = life % self.locks;
        let held = self.life(life).holds.first_key_value().map(|(lock, token)| (*lock, *token));
        match held {
            Some((lock, token)) => {
                self.life(life).proved |= lock == own;
                self.release(ctx, lock, token);
            }
            None if self.life(life).proved => {
                if let Some(lock) = self.life(life).doubts.first().copied() {
                    self.ask(ctx, lock);
                }
            }
            // Whoever has it will release it, or its session will end.
            None if self.life(life).waits.values().any(|wait| *wait == (own, true)) => {}
            None => self.acquire(ctx, own),
        }
        let life = self.life(life);
        life.proved && held.is_none() && life.doubts.is_empty()
    }

    fn check(&mut self, env: &mut Surroundings) {
        // What stays open after this model is open for good: it has no budget.
        let undecided = super::judge(env, self.kind(), Model::Lock, self.ledger.history());
        assert_eq!(undecided, None, "locks are judged to the end");
    }

    fn history(&mut self) -> &History {
        self.ledger.history()
    }
}

fn name(lock: u64) -> Bytes {
    Bytes::from(format!("l/{lock}"))
}

/// The step, if the token is still the lock's.
fn guarded(lock: u64, token: Revision, step: Step) -> Txn {
    let held = Compare::Created { key: name(lock), relation: Relation::Equal, revision: token };
    Txn { guard: vec![held], then: vec![step], otherwise: Vec::new() }
}

fn held(lock: u64, token: Revision) -> Value {
    Value::map([("lock", Value::from(lock)), ("token", Value::from(token.0))])
}

fn expire(session: SessionId) -> Value {
    Value::map([("session", Value::from(session.0))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::tests::refuses;
    use accord_models::Recorder;

    fn granted(lock: u64, session: u64, token: u64) -> Value {
        let session = ("session", Value::from(session));
        Value::map([("lock", Value::from(lock)), session, ("token", Value::from(token))])
    }

    /// Session 1 gets the lock, its session ends or not, and session 2 gets it.
    fn history(ends: bool) -> History {
        let mut recorder = Recorder::new(3);
        for (session, token) in [(1, 10), (2, 20)] {
            let asked =
                Value::map([("lock", Value::from(0_u64)), ("session", Value::from(session))]);
            let op = recorder.invoke(session, token, "acquire", asked);
            recorder.ok(op, token + 1, granted(0, session, token));
            if ends && session == 1 {
                recorder.observe(0, token + 2, "expire", expire(SessionId(1)));
            }
        }
        recorder.finish()
    }

    #[test]
    fn two_holders_are_refused_unless_the_session_of_one_has_ended() {
        assert!(!refuses(WorkloadKind::Lock, Model::Lock, &history(true)));
        assert!(refuses(WorkloadKind::Lock, Model::Lock, &history(false)));
    }
}
