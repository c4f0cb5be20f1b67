//! What the cluster did, revision by revision: a state of the world's own, to which every committed
//! entry is applied once, by the first server that shows it.
//!
//! A batch may stand in the log more than once, and counts once: by its origin, the origin's start,
//! and its number. Other properties and workloads compare with it what clients are told. Invariant:
//! while [`Committed::is_complete`], every event of every revision is here. Once an entry was
//! trimmed before anybody could see it, nothing more is known, and nothing is judged by it.

use super::Judgement;
use super::attachments::Attachments;
use super::naive::Naive;
use accord_core::ids::{Index, NodeId, RequestId, Revision, SessionId};
use accord_core::limits::Limits;
use accord_core::replica::io::{Body, Entry, commands};
use accord_core::replica::log::Log;
use accord_core::state::{
    Command, Completion, EndCause, Event, MemberEvent, MemberEventKind, Outcome, ReadQuery,
    ReadResult, State,
};
use accord_core::wire::Decode;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The events of the committed log.
#[derive(Debug)]
pub struct Committed {
    limits: Limits,
    state: State,
    applied: Index,
    /// The last batch of each origin: its salt and its number.
    batches: BTreeMap<NodeId, (u64, u64)>,
    attachments: Attachments,
    naive: Naive,
    complete: bool,
    events: BTreeMap<Revision, Arc<[Event]>>,
    ended: Vec<SessionId>,
    /// Of the last entry.
    expired: Vec<SessionId>,
    /// Every entry, for when some of them are given up.
    log: Vec<Entry>,
    /// The revision with which the present era began.
    era_began: Revision,
    /// What the naive model says of a command that did something else.
    unlike: Option<String>,
    /// Of the last command.
    latest: Vec<Event>,
}

impl Committed {
    /// Nothing was committed so far, in a cluster with these bounds.
    pub fn new(limits: Limits) -> Self {
        Self {
            state: State::new(limits.clone()),
            naive: Naive::new(limits.clone()),
            limits,
            applied: Index(0),
            batches: BTreeMap::new(),
            attachments: Attachments::default(),
            complete: true,
            events: BTreeMap::new(),
            ended: Vec::new(),
            expired: Vec::new(),
            log: Vec::new(),
            unlike: None,
            era_began: Revision(0),
            latest: Vec::new(),
        }
    }

    /// A server shows an entry, which nobody showed before.
    ///
    /// # Errors
    /// If the entry ends a session that it must not end: see [`Attachments`].
    pub fn on_entry(&mut self, entry: &Entry) -> Judgement {
        self.expired.clear();
        self.complete &= entry.index == self.applied.next();
        if !self.complete {
            return Ok(());
        }
        self.applied = entry.index;
        self.log.push(entry.clone());
        match &entry.body {
            Body::Marker { members } => {
                self.state.apply_marker(members);
                self.naive.on_marker(members);
            }
            Body::Voters(set) => {
                if let Some(recovery) = set.recovery_at(entry.index) {
                    self.ended.extend(self.state.sessions().map(|(session, _)| session));
                    self.state.apply_recovery(recovery.revisions_skipped());
                    self.naive.on_recovery(recovery.revisions_skipped());
                    self.era_began = self.state.revision();
                }
            }
            Body::Batch { origin, salt, number, stamp, commands: batch } => {
                self.state.begin_batch(*stamp);
                let last = self.batches.get(origin);
                if last.is_some_and(|(last, most)| last == salt && most >= number) {
                    return Ok(());
                }
                self.batches.insert(*origin, (*salt, *number));
                for command in commands(batch) {
                    let completion = self.state.apply(&command, &mut self.latest);
                    self.attachments.on_command(&command, &completion)?;
                    if let Completion::Ended { session, cause: EndCause::Expired } = completion {
                        self.expired.push(session);
                    }
                    self.keep();
                    let decoded = Command::from_bytes(&command);
                    let judged = decoded
                        .map(|decoded| self.naive.on_command(&decoded, command.len(), &completion));
                    if let Ok(Err(unlike)) = judged {
                        self.unlike.get_or_insert(unlike);
                    }
                }
            }
        }
        Ok(())
    }

    /// Some entries were applied without being seen.
    pub const fn on_unseen(&mut self) {
        self.complete = false;
    }

    /// How far a log agrees with what was seen, but not beyond `fork`. Two entries of one epoch at
    /// one index are one.
    pub fn common(&self, log: &Log, fork: Index) -> Index {
        let differs =
            |seen: &&Entry| log.get(seen.index).is_some_and(|entry| entry.epoch != seen.epoch);
        let first = self.log.iter().find(differs).map(|seen| seen.index.prev());
        first.map_or(fork, |common| common.min(fork))
    }

    /// The cluster goes on from `kept`: what came after it is given up, and every session that
    /// began after it has ended.
    pub fn give_up_after(&mut self, kept: Index) {
        if !self.complete || self.applied <= kept {
            return;
        }
        let mut again = Self::new(self.limits.clone());
        for entry in self.log.iter().take_while(|entry| entry.index <= kept) {
            again.on_entry(entry).expect("it was judged before");
        }
        again.ended = std::mem::take(&mut self.ended);
        let began_after = |session: &SessionId| again.state.session(*session).is_none();
        let sessions = self.state.sessions().map(|(session, _)| session);
        let gone: Vec<SessionId> = sessions.filter(began_after).collect();
        again.ended.extend(gone);
        *self = again;
    }

    /// Takes what the naive model says of commands since this was last asked.
    ///
    /// # Errors
    /// If one did something else.
    pub fn judge_commands(&mut self) -> Judgement {
        self.unlike.take().map_or(Ok(()), Err)
    }

    /// Judges what a client was told by the naive model.
    ///
    /// # Errors
    /// See [`Naive::on_told`].
    pub fn judge_told(
        &self,
        session: SessionId,
        request: RequestId,
        outcome: &Outcome,
    ) -> Judgement {
        if self.complete { self.naive.on_told(session, request, outcome) } else { Ok(()) }
    }

    /// Judges what a client read by the naive model.
    ///
    /// # Errors
    /// See [`Naive::on_read`].
    pub fn judge_read(
        &self,
        revision: Revision,
        query: &ReadQuery,
        result: &ReadResult,
    ) -> Judgement {
        if self.complete { self.naive.on_read(revision, query, result) } else { Ok(()) }
    }

    /// Judges a server's state in the end: it has what the naive model has, and is what carrying
    /// out the whole log comes to, wherever it has it from.
    ///
    /// # Errors
    /// What differs.
    pub fn judge_end(&self, state: &State) -> Judgement {
        if !self.complete {
            return Ok(());
        }
        if state.digest_full() != self.state.digest_full() {
            return Err("a state is not what the log comes to from its beginning on".to_owned());
        }
        self.naive.on_end(state)
    }

    /// The revision with which the present era began; zero if there was no recovery.
    pub const fn era_began(&self) -> Revision {
        self.era_began
    }

    fn keep(&mut self) {
        let Some(first) = self.latest.first() else { return };
        let left = self.latest.iter().filter_map(|event| match event {
            Event::Member(MemberEvent { kind: MemberEventKind::Left, session, .. }) => {
                Some(*session)
            }
            _ => None,
        });
        self.ended.extend(left);
        self.events.insert(first.revision(), self.latest.as_slice().into());
    }

    /// True while every event is known.
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// The chained digest of the state after `index`, if it is known.
    pub fn digest_at(&self, index: Index) -> Option<u64> {
        (self.complete && index == self.applied).then(|| self.state.digest())
    }

    /// The events after `after` and up to `until`, by revision, in their order.
    pub fn between(
        &self,
        after: Revision,
        until: Revision,
    ) -> impl Iterator<Item = (Revision, &Arc<[Event]>)> {
        let range = after.next()..=until.max(after.next());
        let range = self.events.range(range).map(|(revision, events)| (*revision, events));
        range.take_while(move |(revision, _)| *revision <= until)
    }

    /// All events, by revision, in their order.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.values().flat_map(|group| group.iter())
    }

    /// True if the session has joined and not left.
    pub fn is_member(&self, session: SessionId) -> bool {
        self.state.session(session).is_some()
    }

    /// Sessions in the order in which they ended.
    pub fn ended(&self) -> &[SessionId] {
        &self.ended
    }

    /// Sessions that the last entry ended for their silence.
    pub fn expired(&self) -> &[SessionId] {
        &self.expired
    }

    /// Who was a member at `revision`, ascending.
    pub fn members_at(&self, revision: Revision) -> BTreeSet<SessionId> {
        let mut members = BTreeSet::new();
        // A recovery ends all sessions, and makes no events.
        let era = if revision >= self.era_began { self.era_began } else { Revision(0) };
        for (_, group) in self.events.range(era..=revision) {
            for event in group.iter() {
                match event {
                    Event::Member(MemberEvent {
                        kind: MemberEventKind::Joined, session, ..
                    }) => {
                        members.insert(*session);
                    }
                    Event::Member(event) => {
                        members.remove(&event.session);
                    }
                    Event::Key(_) | Event::Tree(_) => {}
                }
            }
        }
        members
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use accord_core::holder::Holder;
    use accord_core::ids::{Epoch, RequestId, Stamp};
    use accord_core::state::{Command, Flags, Op, Step, Txn};
    use accord_core::wire::{Encode, Writer};
    use bytes::Bytes;

    /// A log in which session 1 joins, writes `a` at revision 2 and `b` at 3, and leaves at 4.
    pub(crate) fn sample() -> Committed {
        let mut committed = Committed::new(Limits::default());
        let open = Command::Open {
            server: NodeId(1),
            token: 1,
            timeout_ms: 1000,
            holder: Holder::default(),
        };
        let close = Command::Close { session: SessionId(1) };
        let commands = [open, write(1, "a"), write(2, "b"), close];
        for (index, command) in (1..).zip(commands) {
            assert_eq!(committed.on_entry(&entry(index, &command)), Ok(()));
        }
        committed
    }

    fn write(number: u64, key: &'static str) -> Command {
        let (key, flags) = (Bytes::from_static(key.as_bytes()), Flags::CREATE);
        let txn = Txn::of(vec![Step::Write { key, value: Bytes::new(), offset: 0, flags }]);
        let (session, request) = (SessionId(1), RequestId(number));
        Command::Request { session, request, acked_below: RequestId(1), op: Op::Kv(txn) }
    }

    fn entry(index: u64, command: &Command) -> Entry {
        let mut commands = Writer::default();
        commands.bytes(&command.to_bytes());
        let commands = Bytes::copy_from_slice(commands.as_slice());
        let body = Body::Batch {
            origin: NodeId(1),
            salt: 1,
            number: index,
            stamp: Stamp(index),
            commands,
        };
        Entry { epoch: Epoch(1), index: Index(index), body }
    }

    /// The batch of the last entry once more.
    fn repeated() -> Entry {
        let close = Command::Close { session: SessionId(1) };
        Entry { index: Index(5), ..entry(4, &close) }
    }

    #[test]
    fn events_members_and_ends_are_those_of_the_log() {
        let mut committed = sample();
        assert_eq!(committed.on_entry(&repeated()), Ok(()));
        let revisions: Vec<u64> = committed.events().map(|event| event.revision().0).collect();
        assert_eq!(revisions, [1, 2, 3, 4]);
        let between = committed.between(Revision(1), Revision(3)).map(|(revision, _)| revision.0);
        assert_eq!(between.collect::<Vec<_>>(), [2, 3]);
        assert_eq!(committed.between(Revision(3), Revision(3)).count(), 0);
        assert_eq!(committed.members_at(Revision(3)), BTreeSet::from([SessionId(1)]));
        assert_eq!(committed.members_at(Revision(4)), BTreeSet::new());
        assert_eq!(
            (committed.ended(), committed.is_member(SessionId(1))),
            (&[SessionId(1)][..], false)
        );
        assert_eq!(committed.on_entry(&entry(7, &write(3, "c"))), Ok(()));
        assert!(!committed.is_complete(), "entry 6 was never shown");
        assert_eq!(committed.digest_at(Index(5)), None);
    }
}
