//! Sessions that join and leave, and what every session is told of it.
//!
//! Shapes: `:open nil`, answered by `{:session s}`; `:close {:session s}`; and for what a client is
//! told, observed without asking, `:member {:observer s :revision r :kind :joined :session x
//! :members [s x ...]}`, where the kind may be `:left` and the members, after the event, may be
//! left out.
//!
//! What all observers were told is put together by revision. That sequence must be one that
//! [`crate::spec::Membership`] allows and that agrees with the real time of opens and closes: a
//! session joins between an open's begin and its end, and has left by the end of its close, but
//! perhaps long before, because one that has expired may still be closed. Besides, every
//! observer must have been told a piece of it without gaps, beginning with its own joining. Where
//! no observer was there before and after, events may be missing, and the members are learnt anew.

use std::collections::{BTreeMap, BTreeSet};

use super::shape::{Shape, unknown_f};
use crate::history::{History, HistoryError, Operation, Outcome};
use crate::spec::{Membership, MembershipChange, Spec};
use crate::verdict::{Explanation, Verdict};

const MEMBER: &str = "{:observer number, :revision number, :kind :joined or :left, \
                      :session number, :members [number ...] or nothing}";
const SESSION: &str = "{:session number}";

/// Judges `history` as sessions.
pub(super) fn check(history: &History) -> Result<Verdict, HistoryError> {
    let told = Told::read(history)?;
    Ok(told.refuse().map_or(Verdict::Valid, Verdict::Invalid))
}

/// One event that an observer was told.
#[derive(Clone, Debug)]
struct Notice {
    index: usize,
    observer: u64,
    revision: u64,
    change: MembershipChange,
    members: Option<BTreeSet<u64>>,
}

/// An event and the operation that asked for it.
#[derive(Clone, Copy, Debug)]
struct Asked {
    revision: u64,
    op: usize,
}

/// All that was told, and when sessions were opened and closed.
struct Told<'a> {
    ops: &'a [Operation],
    notices: Vec<Notice>,
    /// The first notice of each revision: the sequence of events.
    sequence: BTreeMap<u64, usize>,
    /// The members first told of each revision, if any were.
    members: BTreeMap<u64, BTreeSet<u64>>,
    opened: BTreeMap<u64, usize>,
    closed: BTreeMap<u64, usize>,
    /// A session that two opens were answered with.
    reused: Option<(u64, [usize; 2])>,
}

impl<'a> Told<'a> {
    fn read(history: &'a History) -> Result<Self, HistoryError> {
        let ops = history.operations();
        let mut told = Self {
            ops,
            notices: Vec::new(),
            sequence: BTreeMap::new(),
            members: BTreeMap::new(),
            opened: BTreeMap::new(),
            closed: BTreeMap::new(),
            reused: None,
        };
        for (index, op) in ops.iter().enumerate() {
            Shape::agree(op, "the same at both of its events, but for what is answered")?;
            match op.f.as_ref() {
                "open" if op.outcome == Outcome::Ok => {
                    let session = Shape::output(op, SESSION).count_at("session")?;
                    if let Some(first) = told.opened.insert(session, index) {
                        told.reused.get_or_insert((session, [first, index]));
                    }
                }
                "open" => {}
                "close" => {
                    let session = Shape::input(op, SESSION).count_at("session")?;
                    if op.outcome == Outcome::Ok {
                        // It has left by the end of the one that was over first.
                        let first = told.closed.entry(session).or_insert(index);
                        if op.returned() < ops[*first].returned() {
                            *first = index;
                        }
                    }
                }
                "member" => {
                    let notice = read_notice(op, index)?;
                    told.sequence.entry(notice.revision).or_insert(told.notices.len());
                    if let Some(members) = &notice.members {
                        told.members.entry(notice.revision).or_insert_with(|| members.clone());
                    }
                    told.notices.push(notice);
                }
                _ => return Err(unknown_f(op, ":open, :close, :member")),
            }
        }
        Ok(told)
    }

    fn refuse(&self) -> Option<Explanation> {
        self.reused()
            .or_else(|| self.streams())
            .or_else(|| self.diverging())
            .or_else(|| self.gaps())
            .or_else(|| self.sequence())
            .or_else(|| self.realtime())
    }

    /// A session is opened once.
    fn reused(&self) -> Option<Explanation> {
        let (session, pair) = self.reused?;
        let summary = format!("session {session} was opened twice");
        Some(Explanation::new("opened-twice", summary, pair))
    }

    /// Each observer hears its own joining first, and then what is later and later.
    fn streams(&self) -> Option<Explanation> {
        let mut last: BTreeMap<u64, &Notice> = BTreeMap::new();
        for notice in &self.notices {
            let observer = notice.observer;
            match last.insert(observer, notice) {
                None if notice.change != MembershipChange::Joined(observer) => {
                    let summary = format!(
                        "the first that session {observer} was told is not its own joining, but \
                         that {}",
                        notice.change
                    );
                    return Some(Explanation::new("own-join-not-first", summary, [notice.index]));
                }
                Some(before) if before.revision >= notice.revision => {
                    let summary = format!(
                        "session {observer} was told of revision {} after revision {}",
                        notice.revision, before.revision
                    );
                    let pair = [before.index, notice.index];
                    return Some(Explanation::new("out-of-order", summary, pair));
                }
                _ => {}
            }
        }
        None
    }

    /// All observers are told the same of a revision.
    fn diverging(&self) -> Option<Explanation> {
        let differs = |notice: &&Notice| self.first(notice.revision).change != notice.change;
        let notice = self.notices.iter().find(differs)?;
        let first = self.first(notice.revision);
        let summary = format!(
            "of revision {} session {} was told that {}, session {} that {}",
            notice.revision, first.observer, first.change, notice.observer, notice.change
        );
        Some(Explanation::new("diverging-events", summary, [first.index, notice.index]))
    }

    /// No observer misses what another was told between two events of its own.
    fn gaps(&self) -> Option<Explanation> {
        let mut last: BTreeMap<u64, &Notice> = BTreeMap::new();
        for notice in &self.notices {
            let Some(before) = last.insert(notice.observer, notice) else { continue };
            let mut between = self.sequence.range(before.revision + 1..notice.revision);
            if let Some((revision, missed)) = between.next() {
                let missed = &self.notices[*missed];
                let summary = format!(
                    "session {} was told of revisions {} and {}, but not of {revision} between \
                     them: {}",
                    notice.observer, before.revision, notice.revision, missed.change
                );
                let contradict = [before.index, missed.index, notice.index];
                return Some(Explanation::new("missed-event", summary, contradict));
            }
        }
        None
    }

    /// Sessions join once and leave later, and the members told are those who have.
    fn sequence(&self) -> Option<Explanation> {
        let mut seen = BTreeSet::new();
        // Those who have left for certain.
        let mut gone: BTreeSet<u64> = BTreeSet::new();
        for stretch in self.stretches() {
            let mut state = self.before(&stretch, &seen);
            if let Some(session) = state.0.intersection(&gone).next() {
                return Some(self.returned(*session, &stretch));
            }
            if stretch.iter().any(|notice| self.members.contains_key(&notice.revision)) {
                gone.extend(&state.1);
            }
            seen.extend(&state.0);
            let mut expected: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
            for notice in &stretch {
                match Membership.step(&state, &notice.change) {
                    Some(after) => state = after,
                    None => return Some(self.impossible(notice)),
                }
                seen.insert(notice.change.session());
                if let MembershipChange::Left(session) = notice.change {
                    gone.insert(session);
                }
                expected.insert(notice.revision, state.0.clone());
            }
            if let Some(wrong) = self.wrong_members(&expected) {
                return Some(wrong);
            }
        }
        None
    }

    /// Who was a member before a stretch of events: the members first told in it, without what
    /// happened in it until then; if none are told, those who leave without having joined. Who was
    /// `seen` before and is no member has left.
    fn before(&self, stretch: &[&Notice], seen: &BTreeSet<u64>) -> <Membership as Spec>::State {
        let told = stretch.iter().enumerate().find_map(|(number, notice)| {
            Some((number, self.members.get(&notice.revision)?.clone()))
        });
        let members = if let Some((number, mut members)) = told {
            for notice in stretch[..=number].iter().rev() {
                match notice.change {
                    MembershipChange::Joined(session) => members.remove(&session),
                    MembershipChange::Left(session) => members.insert(session),
                };
            }
            members
        } else {
            let mut known = BTreeSet::new();
            let strangers = stretch.iter().map(|notice| notice.change).filter(|change| {
                known.insert(change.session()) && matches!(change, MembershipChange::Left(_))
            });
            strangers.map(MembershipChange::session).collect()
        };
        let gone = seen.difference(&members).copied().collect();
        (members, gone)
    }

    fn wrong_members(&self, expected: &BTreeMap<u64, BTreeSet<u64>>) -> Option<Explanation> {
        let wrong = self.notices.iter().find(|notice| {
            let told = notice.members.as_ref();
            told.is_some_and(|told| expected.get(&notice.revision).is_some_and(|e| e != told))
        })?;
        let summary = format!(
            "at revision {} session {} was told other members than those that had joined and not \
             left: {:?}",
            wrong.revision, wrong.observer, expected[&wrong.revision]
        );
        Some(Explanation::new("wrong-members", summary, [wrong.index]))
    }

    /// The sequence, cut where events may be missing: between two events no one was told both of.
    fn stretches(&self) -> Vec<Vec<&Notice>> {
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        let mut follows: BTreeSet<u64> = BTreeSet::new();
        for notice in &self.notices {
            if last.insert(notice.observer, notice.revision).is_some() {
                follows.insert(notice.revision);
            }
        }
        let mut stretches: Vec<Vec<&Notice>> = Vec::new();
        for notice in self.sequence.values().map(|notice| &self.notices[*notice]) {
            match stretches.last_mut() {
                Some(stretch) if follows.contains(&notice.revision) => stretch.push(notice),
                _ => stretches.push(vec![notice]),
            }
        }
        stretches
    }

    /// A session that had left and is a member when a stretch of events begins.
    fn returned(&self, session: u64, stretch: &[&Notice]) -> Explanation {
        let first = stretch.first().expect("a stretch has events");
        let summary = format!(
            "session {session} was a member before revision {}, as was told then or later, but it \
             had left",
            first.revision
        );
        let left = self.notices.iter().find(|it| it.change == MembershipChange::Left(session));
        let told = stretch.iter().find(|it| {
            self.members.get(&it.revision).is_some_and(|members| members.contains(&session))
                || it.change == MembershipChange::Left(session)
        });
        let contradict = left.into_iter().chain(told.copied()).map(|it| it.index);
        Explanation::new("returned", summary, contradict)
    }

    fn impossible(&self, notice: &Notice) -> Explanation {
        let session = notice.change.session();
        let earlier = self.sequence.range(..notice.revision).map(|(_, n)| &self.notices[*n]);
        let earlier: Vec<&Notice> = earlier.filter(|n| n.change.session() == session).collect();
        let is_same = |n: &&&Notice| n.change == notice.change;
        let contradict = earlier.iter().find(is_same).or(earlier.last());
        let (anomaly, why) = match (notice.change, contradict) {
            (MembershipChange::Joined(_), _) => ("joined-twice", "it had joined before"),
            (MembershipChange::Left(_), Some(_)) => ("left-twice", "it had left before"),
            (MembershipChange::Left(_), None) => ("left-before-join", "it had not joined"),
        };
        let summary = format!("{} at revision {}, but {why}", notice.change, notice.revision);
        let indices = contradict.map(|n| n.index).into_iter().chain([notice.index]);
        Explanation::new(anomaly, summary, indices)
    }

    /// Revisions agree with the real time of opens, closes and tells, and nobody joins before
    /// asking to: no change is over before a change of an earlier revision, or it itself, has
    /// begun.
    ///
    /// A session that left may have expired before its close began, so closes are not later than
    /// anything.
    fn realtime(&self) -> Option<Explanation> {
        let mut over: BTreeMap<u64, Asked> = BTreeMap::new();
        for notice in &self.notices {
            self.note_over(&mut over, notice.revision, notice.index);
        }
        // In order of revisions: of the opens so far, the one that began last.
        let mut latest: Option<Asked> = None;
        for (revision, notice) in &self.sequence {
            let change = self.notices[*notice].change;
            let asked = match change {
                MembershipChange::Joined(session) => self.opened.get(&session),
                // Without a close it expired, at any time; with one, before the close was over.
                MembershipChange::Left(session) => self.closed.get(&session),
            };
            let joined = matches!(change, MembershipChange::Joined(_));
            if let Some(op) = asked.copied() {
                self.note_over(&mut over, *revision, op);
                if joined && latest.is_none_or(|latest| latest.op < op) {
                    latest = Some(Asked { revision: *revision, op });
                }
            }
            let (Some(latest), over) = (latest, over[revision]) else { continue };
            if self.ops[over.op].precedes(&self.ops[latest.op]) {
                return Some(self.reversed(over, latest));
            }
        }
        None
    }

    /// That a change was over when this operation was.
    fn note_over(&self, over: &mut BTreeMap<u64, Asked>, revision: u64, op: usize) {
        let first = over.entry(revision).or_insert(Asked { revision, op });
        if self.ops[op].returned() < self.ops[first.op].returned() {
            first.op = op;
        }
    }

    fn reversed(&self, over: Asked, later: Asked) -> Explanation {
        let (first, second) = (self.first(over.revision), self.first(later.revision));
        if over.revision == later.revision {
            let summary = format!("it was told that {} before that was asked for", first.change);
            return Explanation::new("early-event", summary, [over.op, later.op]);
        }
        let summary = format!(
            "#{} was over before #{} began, but {} at revision {} and {} at revision {}",
            over.op, later.op, first.change, over.revision, second.change, later.revision
        );
        let contradict = [over.op, later.op, first.index, second.index];
        Explanation::new("order-against-time", summary, contradict)
    }

    fn first(&self, revision: u64) -> &Notice {
        &self.notices[self.sequence[&revision]]
    }
}

fn read_notice(op: &Operation, index: usize) -> Result<Notice, HistoryError> {
    let shape = Shape::best(op, MEMBER);
    let session = shape.count_at("session")?;
    let change = match shape.key("kind")?.value.as_keyword() {
        Some("joined") => MembershipChange::Joined(session),
        Some("left") => MembershipChange::Left(session),
        _ => return Err(shape.key("kind")?.error()),
    };
    let members = match shape.key_if_any("members") {
        Some(members) => Some(members.all()?.map(Shape::count).collect::<Result<_, _>>()?),
        None => None,
    };
    let (observer, revision) = (shape.count_at("observer")?, shape.count_at("revision")?);
    Ok(Notice { index, observer, revision, change, members })
}
