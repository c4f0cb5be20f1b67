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
        for stretch in self.stretches() {
            let mut state = before(&stretch, &seen);
            let mut expected: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
            for notice in &stretch {
                match Membership.step(&state, &notice.change) {
                    Some(after) => state = after,
                    None => return Some(self.impossible(notice)),
                }
                seen.insert(notice.change.session());
                expected.insert(notice.revision, state.0.clone());
            }
            if let Some(wrong) = self.wrong_members(&expected) {
                return Some(wrong);
            }
        }
        None
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

    /// Revisions agree with the real time of opens and closes, and nobody joins before asking to.
    fn realtime(&self) -> Option<Explanation> {
        let asked = self.sequence.keys().filter_map(|revision| {
            let op = match self.first(*revision).change {
                MembershipChange::Joined(session) => self.opened.get(&session),
                // Without a close it expired, at any time; with one, before the close was over.
                MembershipChange::Left(session) => self.closed.get(&session),
            };
            Some(Asked { revision: *revision, op: *op? })
        });
        let asked: Vec<Asked> = asked.collect();
        self.early_notice(&asked).or_else(|| self.reversed(&asked))
    }

    fn early_notice(&self, asked: &[Asked]) -> Option<Explanation> {
        let is_early = |asked: &&Asked| {
            let notice = self.first(asked.revision);
            matches!(notice.change, MembershipChange::Joined(_))
                && self.ops[notice.index].precedes(&self.ops[asked.op])
        };
        let early = asked.iter().find(is_early)?;
        let notice = self.first(early.revision);
        let summary = format!("it was told that {} before that was asked for", notice.change);
        Some(Explanation::new("early-event", summary, [notice.index, early.op]))
    }

    /// An open or close that was over before an open began, with the greater revision. A session
    /// that left may have expired before its close began, so closes are not later than anything.
    fn reversed(&self, asked: &[Asked]) -> Option<Explanation> {
        // In order of revisions: of the opens so far, the one that began last.
        let mut latest: Option<Asked> = None;
        for now in asked {
            if let Some(later) = latest
                && self.ops[now.op].precedes(&self.ops[later.op])
            {
                let (first, second) = (self.first(now.revision), self.first(later.revision));
                let summary = format!(
                    "#{} was over before #{} began, but {} at revision {} and {} at revision {}",
                    now.op, later.op, first.change, now.revision, second.change, later.revision
                );
                let contradict = [now.op, later.op, first.index, second.index];
                return Some(Explanation::new("order-against-time", summary, contradict));
            }
            let joined = matches!(self.first(now.revision).change, MembershipChange::Joined(_));
            if joined && latest.is_none_or(|latest| latest.op < now.op) {
                latest = Some(*now);
            }
        }
        None
    }

    fn first(&self, revision: u64) -> &Notice {
        &self.notices[self.sequence[&revision]]
    }
}

/// Who was a member before a stretch of events: the members told with its first tell; without them,
/// those who leave without having joined. Who was `seen` before and is no member has left.
fn before(stretch: &[&Notice], seen: &BTreeSet<u64>) -> <Membership as Spec>::State {
    let first = stretch.first().expect("a stretch has events");
    let members = if let Some(mut members) = first.members.clone() {
        match first.change {
            MembershipChange::Joined(session) => members.remove(&session),
            MembershipChange::Left(session) => members.insert(session),
        };
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
