//! Watches: on keys and prefixes, by kind of event, once or for good, from now or from before,
//! alone or with a read, while records are written, copied and deleted, connections break and
//! watches are ended and set again.
//!
//! The history is judged by the model of watches with the committed log beside it: every event
//! once, in order, none missed, and before any result that reflects it. (The world judges the same
//! of every watch of every workload as it happens; the model is a second opinion, and its history
//! can be saved.)

use super::ledger::{Answer, Entry, Ledger};
use super::{ClientCtx, Intent, Workload, WorkloadKind, get};
use crate::plan::options::Options;
use crate::world::env::Surroundings;
use accord_core::client::{ClientEvent, ReadId};
use accord_core::ids::{Revision, SessionId, WatchId};
use accord_core::protocol::{Consistency, EventMask, WatchFilter};
use accord_core::state::{Event, Flags, KeyEventKind, Step, StepResult, Txn, TxnOutcome};
use accord_models::edn::Value;
use accord_models::{History, Model, OpId};
use bytes::Bytes;
use std::collections::BTreeMap;

/// What all records begin with.
const PREFIX: &str = "w/";
/// The records: some share a longer prefix.
const KEYS: [&str; 5] = ["w/a/1", "w/a/2", "w/b/1", "w/b/2", "w/b"];
/// The prefixes that are watched.
const PREFIXES: [&str; 4] = ["w/", "w/a", "w/b", "w/b/"];
/// Watches of one life at a time.
const WATCHES_MAX: usize = 5;
/// How far back a watch is set, at most.
const BACK_MAX: u64 = 8;

/// What is remembered of an outstanding operation.
#[derive(Debug)]
enum Memo {
    /// Changes: of this record, and in the same transaction of these, each an operation of its own
    /// in the history.
    Change(&'static str, Vec<(&'static str, OpId)>),
    /// A read: what counts is the revision.
    Look,
}

/// A watch of a life.
#[derive(Debug)]
struct Set {
    /// Not yet answered.
    op: Option<OpId>,
    input: Value,
    once: bool,
}

/// What one life has.
#[derive(Debug, Default)]
struct Life {
    watches: BTreeMap<WatchId, Set>,
    /// Those that reads under way set.
    by_reads: BTreeMap<ReadId, WatchId>,
    seen: Revision,
    /// In the end, it has read once more.
    looked: bool,
}

/// The workload.
#[derive(Debug)]
pub struct Watches {
    ledger: Ledger<Memo>,
    lives: BTreeMap<u64, Life>,
    undecided: Option<String>,
}

impl Watches {
    /// Nothing was done so far.
    pub fn new(options: &Options) -> Self {
        Self { ledger: Ledger::new(options.clients + 1), lives: BTreeMap::new(), undecided: None }
    }

    fn life(&mut self, life: u64) -> &mut Life {
        self.lives.entry(life).or_default()
    }

    fn watch(&mut self, ctx: &mut ClientCtx<'_>, session: SessionId) {
        let seen = self.life(ctx.life).seen;
        if self.life(ctx.life).watches.len() >= WATCHES_MAX {
            return self.unwatch(ctx, session);
        }
        let rng = &mut *ctx.rng;
        let on_key = rng.percent(50);
        let name = *if on_key { rng.pick(&KEYS) } else { rng.pick(&PREFIXES) };
        let bits = if rng.percent(50) { 15 } else { rng.within(1, 15) as u8 };
        let mask = EventMask::from_bits(bits).expect("one to four kinds of change");
        let (once, back) = (rng.percent(30), rng.within(0, BACK_MAX));
        let from = rng.percent(40).then(|| Revision(seen.0.saturating_sub(back)));
        let bytes = Bytes::from_static(name.as_bytes());
        let filter = if on_key { WatchFilter::Key(bytes) } else { WatchFilter::Prefix(bytes) };
        let watch = if on_key && once && from.is_none() {
            // What the key holds is read in the same step.
            let query = get(Bytes::from_static(name.as_bytes()), 8);
            let set = ctx.read_and_watch(query, Consistency::Local, (filter, mask, once));
            set.map(|(read, watch)| {
                self.life(ctx.life).by_reads.insert(read, watch);
                watch
            })
        } else {
            ctx.watch(filter, mask, once, from)
        };
        let Some(watch) = watch else { return };
        let input = Value::map([
            ("session", Value::from(session.0)),
            ("watch", Value::from(watch.0)),
            (if on_key { "key" } else { "prefix" }, Value::text(name)),
            ("kinds", kinds(mask)),
            ("once", Value::from(once)),
        ]);
        let op = Some(self.ledger.invoke(ctx, "watch", input.clone()));
        self.life(ctx.life).watches.insert(watch, Set { op, input, once });
    }

    fn unwatch(&mut self, ctx: &mut ClientCtx<'_>, session: SessionId) {
        let watches = &mut self.life(ctx.life).watches;
        let answered = watches.iter().find(|(_, set)| set.op.is_none()).map(|(watch, _)| *watch);
        let Some(watch) = answered else { return };
        watches.remove(&watch);
        ctx.unwatch(watch);
        self.ledger.observe(ctx, "unwatch", of_watch(session, watch));
    }

    /// Changes records, each at most once, in one transaction.
    fn change(&mut self, ctx: &mut ClientCtx<'_>, session: SessionId, count: u64) {
        let mut changes: BTreeMap<&'static str, Step> = BTreeMap::new();
        for _ in 0..count {
            let (key, step) = change(ctx);
            changes.insert(key, step);
        }
        let (mut keys, steps): (Vec<_>, Vec<_>) = changes.into_iter().unzip();
        let first = keys.remove(0);
        let others = keys
            .into_iter()
            .map(|key| (key, self.ledger.invoke(ctx, "write", of_key(session, key))));
        // If nothing is known of the transaction, the others stay open as well.
        let memo = Memo::Change(first, others.collect());
        self.ledger.submit(ctx, &Txn::of(steps), "write", of_key(session, first), memo);
    }

    fn look(&mut self, ctx: &mut ClientCtx<'_>, session: SessionId) {
        let query = get(Bytes::from_static(KEYS[0].as_bytes()), 8);
        self.ledger.read(ctx, query, "read", of_session(session), Memo::Look);
    }

    fn on_committed(
        &mut self,
        ctx: &ClientCtx<'_>,
        entry: Entry<Memo>,
        revision: Revision,
        results: &[StepResult],
    ) {
        let Some(session) = ctx.session() else { return };
        let now = ctx.time_ns();
        self.see(ctx.life, revision);
        let Memo::Change(first, others) = entry.memo else {
            return self.ledger.ok(now, entry.id, reached(session, revision));
        };
        let ops = [(first, entry.id)].into_iter().chain(others);
        for ((key, op), result) in ops.zip(results) {
            let kind = kind_name(kind_of(result));
            let made = [("revision", Value::from(revision.0)), ("kind", kind)];
            let of = [("session", Value::from(session.0)), ("key", Value::text(key))];
            self.ledger.ok(now, op, Value::map(of.into_iter().chain(made)));
        }
    }

    fn see(&mut self, life: u64, revision: Revision) {
        let life = self.life(life);
        life.seen = life.seen.max(revision);
    }

    fn on_watching(&mut self, ctx: &ClientCtx<'_>, watch: WatchId, from: Revision) {
        let Some(set) = self.life(ctx.life).watches.get_mut(&watch) else { return };
        let (op, input) = (set.op.take(), set.input.clone());
        let (Some(op), Value::Map(mut entries)) = (op, input) else { return };
        entries.push((Value::keyword("from"), Value::from(from.0)));
        self.ledger.ok(ctx.time_ns(), op, Value::Map(entries));
    }

    fn on_events(&mut self, ctx: &ClientCtx<'_>, watch: WatchId, events: &[Event]) {
        let Some(session) = ctx.session() else { return };
        for event in events {
            let Event::Key(event) = event else { continue };
            let mut entries = vec![("session", Value::from(session.0))];
            entries.push(("watch", Value::from(watch.0)));
            entries.extend(told(event.revision, &event.key, event.kind));
            self.ledger.observe(ctx, "event", Value::map(entries));
        }
        if self.life(ctx.life).watches.get(&watch).is_some_and(|set| set.once) {
            self.life(ctx.life).watches.remove(&watch);
        }
    }

    fn on_lost(&mut self, ctx: &ClientCtx<'_>, watch: WatchId, why: &str) {
        let Some(session) = ctx.session() else { return };
        match self.life(ctx.life).watches.remove(&watch) {
            Some(Set { op: Some(op), .. }) => self.ledger.fail(ctx.time_ns(), op, why),
            _ => self.ledger.observe(ctx, "lost", of_watch(session, watch)),
        }
    }
}

impl Workload for Watches {
    fn kind(&self) -> WorkloadKind {
        WorkloadKind::Watch
    }

    fn step(&mut self, ctx: &mut ClientCtx<'_>) {
        let Some(session) = ctx.session() else { return };
        match ctx.rng.below(100) {
            0 => ctx.close(),
            1..=5 => ctx.intend(Intent::HangUp),
            6..=20 => self.watch(ctx, session),
            21..=25 => self.unwatch(ctx, session),
            26..=65 => self.change(ctx, session, 1),
            66..=80 => self.change(ctx, session, 4),
            81..=90 => self.look(ctx, session),
            _ => {
                let query = get(Bytes::from_static(KEYS[0].as_bytes()), 8);
                ctx.read(query, Consistency::Local);
            }
        }
    }

    fn on_event(&mut self, ctx: &mut ClientCtx<'_>, event: &ClientEvent) {
        match self.ledger.settle(ctx, event) {
            Some(Answer::Txn(entry, TxnOutcome::Committed { revision, results, .. })) => {
                return self.on_committed(ctx, entry, revision, &results);
            }
            Some(Answer::Txn(entry, TxnOutcome::Aborted { error, .. })) => {
                let now = ctx.time_ns();
                if let Memo::Change(_, others) = entry.memo {
                    others.into_iter().for_each(|(_, op)| self.ledger.fail(now, op, "aborted"));
                }
                return self.ledger.fail(now, entry.id, error.to_string());
            }
            Some(Answer::Read(entry, revision, _)) => {
                if !ctx.env.stormy {
                    self.life(ctx.life).looked = true;
                }
                return self.on_committed(ctx, entry, revision, &[]);
            }
            None => {}
        }
        match event {
            ClientEvent::Watching { watch, from, .. } => self.on_watching(ctx, *watch, *from),
            ClientEvent::Watch { watch, events, .. } => self.on_events(ctx, *watch, events),
            ClientEvent::WatchLost { watch, oldest } => {
                self.on_lost(ctx, *watch, &format!("the history begins at {oldest}"));
            }
            ClientEvent::WatchFailed { watch, reason } => {
                self.on_lost(ctx, *watch, &reason.to_string());
            }
            ClientEvent::ReadDone { read, .. } => {
                self.life(ctx.life).by_reads.remove(read);
            }
            ClientEvent::ReadFailed { read, cause } => {
                if let Some(watch) = self.life(ctx.life).by_reads.remove(read) {
                    self.on_lost(ctx, watch, &cause.to_string());
                }
            }
            _ => {}
        }
    }

    fn on_life_ended(&mut self, life: u64, time_ns: u64) {
        self.ledger.end_life(life, time_ns);
        self.lives.remove(&life);
    }

    fn conclude(&mut self, ctx: &mut ClientCtx<'_>) -> bool {
        let looked = self.life(ctx.life).looked;
        if let Some(session) = ctx.session().filter(|_| !looked) {
            self.look(ctx, session);
        }
        looked
    }

    fn check(&mut self, env: &mut Surroundings) {
        if env.judges.committed.is_complete() {
            let log = env.judges.committed.events().filter_map(|event| match event {
                Event::Key(event) if event.key.starts_with(PREFIX.as_bytes()) => {
                    Some(Value::map(told(event.revision, &event.key, event.kind)))
                }
                _ => None,
            });
            self.ledger.observe_world(env.now.as_nanos(), "log", Value::vector(log));
        }
        self.undecided = super::judge(env, self.kind(), Model::Watch, self.ledger.history());
    }

    fn undecided(&mut self) -> Option<String> {
        self.undecided.take()
    }

    fn history(&mut self) -> &History {
        self.ledger.history()
    }
}

/// A change of one record.
fn change(ctx: &mut ClientCtx<'_>) -> (&'static str, Step) {
    let key = *ctx.rng.pick(&KEYS);
    let bytes = Bytes::from_static(key.as_bytes());
    let step = match ctx.rng.below(10) {
        0..=1 => Step::Delete { key: bytes },
        2 => {
            let source = Bytes::from_static(ctx.rng.pick(&KEYS).as_bytes());
            Step::Copy { source, target: bytes, flags: Flags::CREATE }
        }
        _ => {
            let value = Bytes::copy_from_slice(&ctx.rng.next_u64().to_le_bytes()[..2]);
            Step::Write { key: bytes, value, offset: 0, flags: Flags::CREATE }
        }
    };
    (key, step)
}

/// What a step did to its record.
const fn kind_of(result: &StepResult) -> KeyEventKind {
    match result {
        StepResult::Written { version: 1, .. } => KeyEventKind::Created,
        StepResult::Deleted => KeyEventKind::Deleted,
        StepResult::Copied { .. } => KeyEventKind::Copied,
        _ => KeyEventKind::Changed,
    }
}

fn kinds(mask: EventMask) -> Value {
    let all = [
        (EventMask::CREATED, KeyEventKind::Created),
        (EventMask::CHANGED, KeyEventKind::Changed),
        (EventMask::DELETED, KeyEventKind::Deleted),
        (EventMask::COPIED, KeyEventKind::Copied),
    ];
    let wanted = all.into_iter().filter(|(bit, _)| mask.bits() & bit.bits() != 0);
    Value::vector(wanted.map(|(_, kind)| kind_name(kind)))
}

const fn kind_name(kind: KeyEventKind) -> Value {
    Value::keyword(match kind {
        KeyEventKind::Created => "created",
        KeyEventKind::Changed => "changed",
        KeyEventKind::Deleted => "deleted",
        KeyEventKind::Copied => "copied",
    })
}

fn told(revision: Revision, key: &[u8], kind: KeyEventKind) -> [(&'static str, Value); 3] {
    [
        ("revision", Value::from(revision.0)),
        ("key", Value::text(String::from_utf8_lossy(key))),
        ("kind", kind_name(kind)),
    ]
}

fn of_session(session: SessionId) -> Value {
    Value::map([("session", Value::from(session.0))])
}

fn of_key(session: SessionId, key: &str) -> Value {
    Value::map([("session", Value::from(session.0)), ("key", Value::text(key))])
}

fn of_watch(session: SessionId, watch: WatchId) -> Value {
    Value::map([("session", Value::from(session.0)), ("watch", Value::from(watch.0))])
}

fn reached(session: SessionId, revision: Revision) -> Value {
    Value::map([("session", Value::from(session.0)), ("revision", Value::from(revision.0))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::tests::refuses;
    use accord_models::Recorder;

    fn event(revision: u64) -> Value {
        let key = told(Revision(revision), b"w/b", KeyEventKind::Changed);
        let watch = [("session", Value::from(1_u64)), ("watch", Value::from(1_u64))];
        Value::map(watch.into_iter().chain(key))
    }

    /// A watch on a record that changes at revisions 2 and 3; these events are told, and then a
    /// result of revision 3.
    fn history(events: &[u64], once: bool) -> History {
        let mut recorder = Recorder::new(1);
        let mut watch = vec![
            ("session", Value::from(1_u64)),
            ("watch", Value::from(1_u64)),
            ("key", Value::text("w/b")),
            ("once", Value::from(once)),
        ];
        let op = recorder.invoke(0, 0, "watch", Value::map(watch.clone()));
        watch.push(("from", Value::from(1_u64)));
        recorder.ok(op, 0, Value::map(watch));
        for revision in events {
            recorder.observe(0, 1, "event", event(*revision));
        }
        let read = recorder.invoke(0, 2, "read", of_session(SessionId(1)));
        recorder.ok(read, 2, reached(SessionId(1), Revision(3)));
        let log = [2, 3].map(|at| Value::map(told(Revision(at), b"w/b", KeyEventKind::Changed)));
        recorder.observe(0, 3, "log", Value::vector(log));
        recorder.finish()
    }

    #[test]
    fn a_watch_that_misses_repeats_reverses_or_is_late_is_refused() {
        let refuses =
            |events, once| refuses(WorkloadKind::Watch, Model::Watch, &history(events, once));
        assert!(!refuses(&[2, 3], false));
        assert!(!refuses(&[2], true));
        for wrong in [&[3][..], &[2, 2, 3], &[3, 2], &[2], &[]] {
            assert!(refuses(wrong, false), "{wrong:?}");
        }
        assert!(refuses(&[2, 3], true));
    }

    #[test]
    fn kinds_are_those_of_the_mask() {
        let some = kinds(EventMask::CREATED | EventMask::COPIED);
        assert_eq!(some, Value::vector([Value::keyword("created"), Value::keyword("copied")]));
        assert_eq!(kinds(EventMask::ALL).items().map(<[Value]>::len), Some(4));
    }
}
