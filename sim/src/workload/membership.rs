//! Membership: sessions come with ephemeral records and go, and all watch each other.
//!
//! Every life watches the sessions from its own joining on, so that its joining is the first that
//! it is told; the session model judges that all are told the same joins and leaves in the same
//! order. Every life also creates ephemeral records under its own number and watches those of all.
//! What the model knows nothing of is judged here: an ephemeral record dies in the very revision in
//! which its session leaves, no earlier and no later, in what clients were told and in what the log
//! says.

use super::ledger::Ledger;
use super::{ClientCtx, Intent, Workload, WorkloadKind, first_of};
use crate::judge::Property;
use crate::plan::options::Options;
use crate::world::env::Surroundings;
use accord_core::client::{ClientEvent, ReadId};
use accord_core::ids::{RequestId, Revision, SessionId, WatchId};
use accord_core::protocol::{Consistency, EventMask, WatchFilter};
use accord_core::state::{
    Event, Flags, KeyEventKind, MemberEvent, MemberEventKind, Outcome, Page, ReadQuery, ReadResult,
    Step, StepResult, Txn, TxnOutcome,
};
use accord_models::edn::Value;
use accord_models::{History, Model, OpId};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// What the records begin with.
const PREFIX: &str = "m/";
/// Records that one life has at once, at most.
const RECORDS_MAX: usize = 6;

/// When records were there, when they went, and when sessions left.
#[derive(Debug, Default)]
struct Seen {
    left: BTreeMap<SessionId, Revision>,
    deleted: BTreeMap<Bytes, Revision>,
    /// The latest revision at which each record was seen.
    alive: BTreeMap<Bytes, Revision>,
}

impl Seen {
    fn on_event(&mut self, event: &Event) {
        match event {
            Event::Member(MemberEvent {
                kind: MemberEventKind::Left, session, revision, ..
            }) => {
                self.left.insert(*session, *revision);
            }
            Event::Key(event) if event.kind == KeyEventKind::Deleted => {
                self.deleted.insert(event.key.clone(), event.revision);
            }
            Event::Key(event) => self.on_alive(&event.key, event.revision),
            Event::Member(_) | Event::Tree(_) => {}
        }
    }

    fn on_alive(&mut self, key: &Bytes, revision: Revision) {
        let alive = self.alive.entry(key.clone()).or_default();
        *alive = (*alive).max(revision);
    }

    /// What is wrong, given whose each record is and which were deleted on purpose. `all`: every
    /// event was seen.
    fn fault(&self, owners: &Owners, all: bool) -> Option<String> {
        self.alive.keys().chain(self.deleted.keys()).find_map(|key| {
            let owner = owners.of(key)?;
            let left = self.left.get(&owner).copied();
            let deleted = self.deleted.get(key).copied();
            let on_purpose = owners.on_purpose.contains(key);
            let why = match (left, deleted) {
                (Some(left), _) if self.alive.get(key).is_some_and(|alive| *alive >= left) => {
                    format!("was there at {}", self.alive[key])
                }
                (Some(left), Some(deleted)) if deleted > left => format!("went at {deleted}"),
                (Some(left), Some(deleted)) if deleted < left && !on_purpose => {
                    format!("went at {deleted} already")
                }
                (Some(_), None) if all => "never went".to_owned(),
                (None, Some(deleted)) if all && !on_purpose => format!("went at {deleted}"),
                _ => return None,
            };
            let key = key.escape_ascii();
            Some(format!("{key} is an ephemeral of {owner}, which left at {left:?}: it {why}"))
        })
    }
}

/// Whose each record is.
#[derive(Debug, Default)]
struct Owners {
    /// The session of each life.
    sessions: BTreeMap<u64, SessionId>,
    /// Records whose deletion was asked for.
    on_purpose: BTreeSet<Bytes>,
}

impl Owners {
    /// The session that must own the record, if the key is that of one.
    fn of(&self, key: &[u8]) -> Option<SessionId> {
        let rest = std::str::from_utf8(key).ok()?.strip_prefix(PREFIX)?;
        let (life, _) = rest.split_once('/')?;
        self.sessions.get(&life.parse().ok()?).copied()
    }
}

/// What one life has.
#[derive(Debug, Default)]
struct Life {
    opening: Option<OpId>,
    closing: Option<OpId>,
    /// The watch that began with its own joining, and the one on all records.
    members: Option<WatchId>,
    records_watch: Option<WatchId>,
    creating: BTreeMap<RequestId, Bytes>,
    records: Vec<Bytes>,
    records_count: u64,
    /// In the end, it has looked at the records of all.
    looked: bool,
}

/// The workload.
#[derive(Debug)]
pub struct Membership {
    ledger: Ledger<()>,
    lives: BTreeMap<u64, Life>,
    owners: Owners,
    told: Seen,
    /// Lists and questions for the members that are not answered.
    asks: BTreeSet<(u64, ReadId)>,
}

impl Membership {
    /// Nothing was done so far.
    pub fn new(options: &Options) -> Self {
        Self {
            ledger: Ledger::new(options.clients + 1),
            lives: BTreeMap::new(),
            owners: Owners::default(),
            told: Seen::default(),
            asks: BTreeSet::new(),
        }
    }

    fn life(&mut self, life: u64) -> &mut Life {
        self.lives.entry(life).or_default()
    }

    fn on_opened(&mut self, ctx: &mut ClientCtx<'_>, session: SessionId) {
        let (id, now) = (ctx.life, ctx.time_ns());
        self.owners.sessions.insert(id, session);
        if let Some(opening) = self.life(id).opening.take() {
            self.ledger.ok(now, opening, of_session(session));
        }
        let before = Some(Revision(session.0 - 1));
        let members = ctx.watch(WatchFilter::Members, EventMask::ALL, false, before);
        self.life(id).members = members;
        self.watch_records(ctx);
    }

    fn watch_records(&mut self, ctx: &mut ClientCtx<'_>) {
        let filter = WatchFilter::Prefix(Bytes::from_static(PREFIX.as_bytes()));
        let watch = ctx.watch(filter, EventMask::ALL, false, None);
        self.life(ctx.life).records_watch = watch;
    }

    fn create(&mut self, ctx: &mut ClientCtx<'_>) {
        let id = ctx.life;
        let life = self.life(id);
        if life.records.len() >= RECORDS_MAX {
            return;
        }
        life.records_count += 1;
        let key = Bytes::from(format!("{PREFIX}{id}/{}", life.records_count));
        let flags = Flags::CREATE | Flags::EXCLUSIVE | Flags::EPHEMERAL;
        let step = Step::Write { key: key.clone(), value: Bytes::new(), offset: 0, flags };
        if let Some(request) = ctx.submit(&Txn::of(vec![step])) {
            self.life(id).creating.insert(request, key);
        }
    }

    fn delete(&mut self, ctx: &mut ClientCtx<'_>) {
        let Some(key) = self.life(ctx.life).records.pop() else { return self.create(ctx) };
        self.owners.on_purpose.insert(key.clone());
        ctx.submit(&Txn::of(vec![Step::Delete { key }]));
    }

    fn ask(&mut self, ctx: &mut ClientCtx<'_>, query: ReadQuery) {
        if let Some(read) = ctx.read(query, Consistency::Linearizable) {
            self.asks.insert((ctx.life, read));
        }
    }

    fn look(&mut self, ctx: &mut ClientCtx<'_>) {
        let whole = ReadQuery::List(first_of(PREFIX, u32::MAX, true));
        self.ask(ctx, whole);
    }

    fn close(&mut self, ctx: &mut ClientCtx<'_>) {
        // A session that is closed before it is known cannot be named: churn does that.
        let Some(session) = ctx.session() else { return };
        if self.life(ctx.life).closing.is_none() {
            let closing = self.ledger.invoke(ctx, "close", of_session(session));
            self.life(ctx.life).closing = Some(closing);
        }
        ctx.close();
    }

    fn on_closed(&mut self, ctx: &ClientCtx<'_>, confirmed: bool) {
        let now = ctx.time_ns();
        let closing = self.life(ctx.life).closing.take();
        if let Some(closing) = closing.filter(|_| confirmed) {
            self.ledger.ok(now, closing, Value::Nil);
        }
    }

    fn on_watch(&mut self, ctx: &mut ClientCtx<'_>, watch: WatchId, events: &[Event]) {
        let observes = self.life(ctx.life).members == Some(watch);
        for event in events {
            self.told.on_event(event);
            let Event::Member(event) = event else { continue };
            if let Some(observer) = ctx.session().filter(|_| observes) {
                self.ledger.observe(ctx, "member", notice(observer, event));
            }
        }
    }

    fn on_read(&mut self, ctx: &mut ClientCtx<'_>, revision: Revision, result: &ReadResult) {
        match result {
            ReadResult::Listed(page) => {
                self.life(ctx.life).looked = true;
                self.on_page(ctx, revision, page);
            }
            ReadResult::Members { members, more } => {
                let committed = &ctx.env.judges.committed;
                let mut expected = committed.members_at(revision).into_iter();
                let same = expected.by_ref().take(members.len()).eq(members.iter().copied())
                    && expected.next().is_some() == *more;
                if committed.is_complete() && !same {
                    ctx.fail(format!("membership: at {revision}, members are not {members:?}"));
                }
            }
            other => ctx.fail(format!("membership: a question came back as {other:?}")),
        }
    }

    fn on_page(&mut self, ctx: &mut ClientCtx<'_>, revision: Revision, page: &Page) {
        let members = ctx.env.judges.committed.members_at(revision);
        let complete = ctx.env.judges.committed.is_complete();
        for entry in &page.entries {
            self.told.on_alive(&entry.key, revision);
            let (key, owner) = (entry.key.escape_ascii(), entry.stat.owner);
            if owner != self.owners.of(&entry.key) {
                return ctx.fail(format!("membership: {key} has the owner {owner:?}"));
            }
            if complete && !owner.is_some_and(|owner| members.contains(&owner)) {
                let detail = format!("{key} is there at {revision}, {owner:?} is no member");
                return ctx.fail(format!("membership: {detail}"));
            }
        }
    }
}

impl Workload for Membership {
    fn kind(&self) -> WorkloadKind {
        WorkloadKind::Membership
    }

    fn begin(&mut self, ctx: &mut ClientCtx<'_>) {
        let opening = self.ledger.invoke(ctx, "open", Value::Nil);
        self.life(ctx.life).opening = Some(opening);
    }

    fn step(&mut self, ctx: &mut ClientCtx<'_>) {
        match ctx.rng.below(100) {
            0..=3 => self.close(ctx),
            4..=5 => ctx.intend(Intent::Vanish),
            6..=9 => ctx.intend(Intent::HangUp),
            10..=49 => self.create(ctx),
            50..=69 => self.delete(ctx),
            70..=79 => self.ask(ctx, ReadQuery::Members { after: None, limit: u32::MAX }),
            80..=82 => drop(ctx.watch(WatchFilter::Members, EventMask::ALL, true, None)),
            _ => self.look(ctx),
        }
    }

    fn on_event(&mut self, ctx: &mut ClientCtx<'_>, event: &ClientEvent) {
        let life = ctx.life;
        match event {
            ClientEvent::SessionOpened { session, .. } => self.on_opened(ctx, *session),
            ClientEvent::Closed { confirmed } => self.on_closed(ctx, *confirmed),
            ClientEvent::Watch { watch, events, .. } => self.on_watch(ctx, *watch, events),
            ClientEvent::WatchLost { watch, .. } | ClientEvent::WatchFailed { watch, .. }
                if self.life(life).records_watch == Some(*watch) =>
            {
                self.life(life).records_watch = None;
                if matches!(event, ClientEvent::WatchLost { .. }) {
                    self.watch_records(ctx);
                }
            }
            ClientEvent::Done { request, outcome } => {
                if let Some(key) = self.life(life).creating.remove(request)
                    && let Outcome::Txn(TxnOutcome::Committed { revision, results, .. }) = outcome
                    && let Some(StepResult::Written { .. }) = results.first()
                {
                    self.told.on_alive(&key, *revision);
                    self.life(life).records.push(key);
                }
            }
            ClientEvent::ReadDone { read, revision, result }
                if self.asks.remove(&(life, *read)) =>
            {
                self.on_read(ctx, *revision, result);
            }
            _ => {}
        }
    }

    fn on_life_ended(&mut self, life: u64, time_ns: u64) {
        self.ledger.end_life(life, time_ns);
        // What it had opening or closing stays unknown.
        self.lives.remove(&life);
    }

    fn conclude(&mut self, ctx: &mut ClientCtx<'_>) -> bool {
        let looked = self.life(ctx.life).looked;
        if !looked {
            self.look(ctx);
        }
        looked
    }

    fn check(&mut self, env: &mut Surroundings) {
        if let Some(fault) = self.told.fault(&self.owners, false) {
            env.fail(Property::Workload, format!("membership, as told: {fault}"));
        }
        if env.judges.committed.is_complete() {
            let mut log = Seen::default();
            env.judges.committed.events().for_each(|event| log.on_event(event));
            if let Some(fault) = log.fault(&self.owners, true) {
                env.fail(Property::Workload, format!("membership, in the log: {fault}"));
            }
        }
        let undecided = super::judge(env, self.kind(), Model::Session, self.ledger.history());
        assert_eq!(undecided, None, "sessions are judged to the end");
    }

    fn history(&mut self) -> &History {
        self.ledger.history()
    }
}

fn of_session(session: SessionId) -> Value {
    Value::map([("session", Value::from(session.0))])
}

fn notice(observer: SessionId, event: &MemberEvent) -> Value {
    let kind = match event.kind {
        MemberEventKind::Joined => "joined",
        MemberEventKind::Left => "left",
    };
    Value::map([
        ("observer", Value::from(observer.0)),
        ("revision", Value::from(event.revision.0)),
        ("kind", Value::keyword(kind)),
        ("session", Value::from(event.session.0)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::tests::refuses;
    use accord_models::Recorder;

    /// What one session is told: who joined, at which revisions.
    fn history(joined: &[(u64, u64)]) -> History {
        let mut recorder = Recorder::new(1);
        for (session, revision) in joined {
            let (session, revision) = (SessionId(*session), Revision(*revision));
            let event =
                MemberEvent { revision, kind: MemberEventKind::Joined, session, members: 1 };
            recorder.observe(0, 0, "member", notice(SessionId(1), &event));
        }
        recorder.finish()
    }

    #[test]
    fn a_stream_that_does_not_begin_with_its_own_joining_or_goes_back_is_refused() {
        let refuses = |joined| refuses(WorkloadKind::Membership, Model::Session, &history(joined));
        assert!(!refuses(&[(1, 1), (5, 5)]));
        assert!(refuses(&[(5, 5), (1, 6)]));
        assert!(refuses(&[(1, 1), (5, 5), (4, 4)]));
    }

    fn owners() -> Owners {
        Owners { sessions: [(4, SessionId(1))].into(), on_purpose: BTreeSet::new() }
    }

    fn seen(alive: u64, deleted: Option<u64>, left: Option<u64>) -> Seen {
        let key = Bytes::from_static(b"m/4/1");
        Seen {
            left: left.map(|at| (SessionId(1), Revision(at))).into_iter().collect(),
            deleted: deleted.map(|at| (key.clone(), Revision(at))).into_iter().collect(),
            alive: [(key, Revision(alive))].into(),
        }
    }

    #[test]
    fn an_ephemeral_dies_with_its_session_and_not_before_or_after() {
        let fault = |seen: Seen, all| seen.fault(&owners(), all);
        assert_eq!(fault(seen(2, Some(5), Some(5)), true), None);
        assert_eq!(fault(seen(2, None, None), true), None);
        assert_eq!(fault(seen(2, None, Some(5)), false), None, "the deletion may come yet");
        assert!(fault(seen(2, None, Some(5)), true).is_some(), "it was forgotten");
        assert!(fault(seen(2, Some(6), Some(5)), false).is_some(), "it outlived its session");
        assert!(fault(seen(7, Some(5), Some(5)), false).is_some(), "it was seen afterwards");
        assert!(fault(seen(2, Some(3), Some(5)), false).is_some(), "it died before");
        assert!(fault(seen(2, Some(3), None), true).is_some(), "its session is there");
        let on_purpose = [Bytes::from_static(b"m/4/1")].into();
        let owners = Owners { on_purpose, ..owners() };
        assert_eq!(seen(2, Some(3), Some(5)).fault(&owners, true), None);
    }

    #[test]
    fn the_owner_stands_in_the_key() {
        assert_eq!(owners().of(b"m/4/17"), Some(SessionId(1)));
        assert_eq!((owners().of(b"m/5/1"), owners().of(b"x/4/1")), (None, None));
    }
}
