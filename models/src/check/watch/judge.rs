//! The judgement: the log first, then what each watch reported, then when it did.

use std::collections::{BTreeMap, BTreeSet};

use super::index::{ByKey, Results};
use super::read::{Reading, Watch, WatchKey};
use crate::edn::Value;
use crate::spec::{Change, Spec, WatchLog};
use crate::verdict::Explanation;

/// Why the history is wrong, if it is.
pub(super) fn refuse(reading: &Reading<'_>) -> Option<Explanation> {
    let judge = Judge::new(reading);
    judge
        .strays()
        .or_else(|| judge.log_agrees())
        .or_else(|| reading.watches.iter().find_map(|(key, watch)| judge.stream(*key, watch)))
        .or_else(|| judge.results())
}

struct Judge<'a> {
    reading: &'a Reading<'a>,
    log: Vec<Change>,
    known: BTreeSet<Change>,
    /// Whether the log was given: then it is complete and its order is the order of changes.
    is_given: bool,
    by_key: ByKey,
    results: BTreeMap<u64, Results>,
    /// The event from which on each acknowledged change may have happened.
    acknowledged: BTreeMap<&'a Change, u64>,
    /// For each key, the events from which on a write that was not answered may have changed it.
    unknown: BTreeMap<&'a Value, Vec<u64>>,
    /// Changes reported for which there are not writes enough.
    unaccounted: BTreeSet<&'a Change>,
}

impl<'a> Judge<'a> {
    fn new(reading: &'a Reading<'a>) -> Self {
        let longest = reading.logs.iter().max_by_key(|(_, log)| log.len());
        let (log, known): (Vec<Change>, BTreeSet<Change>) = if let Some((_, log)) = longest {
            (log.clone(), log.iter().cloned().collect())
        } else {
            let reported = reading.watches.values().flat_map(|watch| &watch.events);
            let known = reading.acknowledged.iter().chain(reported).map(|(_, it)| it.clone());
            let known: BTreeSet<Change> = known.collect();
            (known.iter().cloned().collect(), known)
        };
        // Operations are in the order of their invocations: the first of a kind is the earliest.
        let invoked = |op: usize| reading.ops[op].invoked.event;
        let mut acknowledged = BTreeMap::new();
        for (op, change) in &reading.acknowledged {
            acknowledged.entry(change).or_insert(invoked(*op));
        }
        let mut unknown: BTreeMap<&Value, Vec<u64>> = BTreeMap::new();
        for op in &reading.unknown {
            if let Some(key) = reading.ops[*op].input.get("key") {
                unknown.entry(key).or_default().push(invoked(*op));
            }
        }
        let unaccounted = unaccounted(reading, &acknowledged, &unknown);
        Self {
            reading,
            by_key: ByKey::of(&log),
            results: Results::by_session(reading),
            acknowledged,
            unknown,
            unaccounted,
            log,
            known,
            is_given: longest.is_some(),
        }
    }

    /// Events belong to watches that somebody asked for.
    fn strays(&self) -> Option<Explanation> {
        let (index, (session, watch)) = self.reading.strays.first()?;
        let summary = format!(
            "session {session} was sent an event of its watch {watch}, which it had not asked for"
        );
        Some(Explanation::new("stray-event", summary, [*index]))
    }

    /// The log ascends, all who gave it agree, and what was acknowledged is in it.
    fn log_agrees(&self) -> Option<Explanation> {
        let (longest, _) = self.reading.logs.iter().max_by_key(|(_, log)| log.len())?;
        if let Some(pair) = self.log.windows(2).find(|pair| pair[0].revision > pair[1].revision) {
            let summary = format!("the log has {} before {}", pair[0], pair[1]);
            return Some(Explanation::new("log-out-of-order", summary, [*longest]));
        }
        let mut logs = self.reading.logs.iter();
        if let Some((index, _)) = logs.find(|(_, log)| !self.log.starts_with(log)) {
            let summary = format!("#{index} and #{longest} saw different logs");
            return Some(Explanation::new("diverging-logs", summary, [*index, *longest]));
        }
        let mut acknowledged = self.reading.acknowledged.iter();
        let (index, lost) = acknowledged.find(|(_, change)| !self.known.contains(change))?;
        let summary = format!("{lost} was acknowledged, but it is not in the log");
        Some(Explanation::new("lost-write", summary, [*index, *longest]))
    }

    /// What a watch reported is what the log says it must, in order, up to some point.
    fn stream(&self, key: WatchKey, watch: &Watch) -> Option<Explanation> {
        self.unfounded(key, watch).or_else(|| {
            let last = watch.events.iter().map(|(_, change)| change.revision).max();
            let spec = self.spec(watch, last.unwrap_or(0));
            let mut state = spec.initial();
            let mut reported: Vec<&(usize, Change)> = Vec::new();
            for event in &watch.events {
                let Some(after) = spec.step(&state, &event.1) else {
                    return Some(self.misplaced(key, watch, &spec, state, &reported, event));
                };
                state = after;
                reported.push(event);
            }
            match reported[..] {
                // What one revision did is one report.
                [first, .., second] if watch.is_once && first.1.revision != second.1.revision => {
                    let summary =
                        format!("{} reported twice, though once was asked for", name(key));
                    let contradict = [watch.op, first.0, second.0];
                    Some(Explanation::new("more-than-once", summary, contradict))
                }
                _ => None,
            }
        })
    }

    /// Events of changes that nobody made, or that the watch is not about.
    fn unfounded(&self, key: WatchKey, watch: &Watch) -> Option<Explanation> {
        for (index, change) in &watch.events {
            let (anomaly, summary) = if !self.may_have_happened(*index, change) {
                ("invented-event", format!("{} reported {change}: nobody did that", name(key)))
            } else if !watch.filter.matches(change) {
                ("unwanted-event", format!("{} reported {change}: it did not ask", name(key)))
            } else if change.revision <= watch.from.unwrap_or(0) {
                let summary = format!(
                    "{} reported {change}, though it reports what is later than revision {}",
                    name(key),
                    watch.from.unwrap_or(0)
                );
                ("stale-event", summary)
            } else {
                continue;
            };
            return Some(Explanation::new(anomaly, summary, [watch.op, *index]));
        }
        None
    }

    fn may_have_happened(&self, event: usize, change: &Change) -> bool {
        if self.is_given {
            return self.known.contains(change);
        }
        let told = self.reading.ops[event].returned();
        let is_before = |invoked: Option<&u64>| invoked.is_some_and(|invoked| *invoked < told);
        let unknown = self.unknown.get(&change.key).and_then(|writes| writes.first());
        (is_before(self.acknowledged.get(change)) || is_before(unknown))
            && !self.unaccounted.contains(change)
    }

    /// What the watch has to report of the changes up to a revision.
    fn spec(&self, watch: &Watch, until: u64) -> WatchLog {
        let events = watch.events.iter().map(|(_, change)| change.revision);
        // Without an answer to the watch it is not known since when it reports.
        let from = watch.from.unwrap_or_else(|| events.min().unwrap_or(1).saturating_sub(1));
        let mut log = self.by_key.matching(&self.log, &watch.filter, from, until);
        if !self.is_given {
            // The order within a revision is not known: it is taken to be the one reported.
            let mut places: BTreeMap<&Change, usize> = BTreeMap::new();
            for (place, (_, change)) in watch.events.iter().enumerate() {
                places.entry(change).or_insert(place);
            }
            let place = |change: &Change| places.get(change).copied().unwrap_or(usize::MAX);
            log.sort_by_cached_key(|change| (change.revision, place(change)));
        }
        WatchLog { log, filter: watch.filter.clone(), from }
    }

    fn misplaced(
        &self,
        key: WatchKey,
        watch: &Watch,
        spec: &WatchLog,
        state: usize,
        reported: &[&(usize, Change)],
        event: &(usize, Change),
    ) -> Explanation {
        let (index, change) = event;
        let name = name(key);
        if let Some((first, _)) = reported.iter().find(|(_, earlier)| earlier == change) {
            let summary = format!("{name} reported twice: {change}");
            return Explanation::new("duplicate-event", summary, [*first, *index]);
        }
        let missed = &spec.log[state];
        let later = watch.events.iter().find(|(later, c)| later > index && c == missed);
        if let Some((later, _)) = later {
            let summary = format!("{name} reported {change} before {missed}");
            return Explanation::new("out-of-order", summary, [*index, *later]);
        }
        if let Some((last, earlier)) = reported.last().filter(|(_, e)| e.revision > change.revision)
        {
            let summary = format!("{name} reported {change} after {earlier}");
            return Explanation::new("out-of-order", summary, [*last, *index]);
        }
        let summary = format!("{name} never reported {missed}, but later {change}");
        let contradict = [watch.op, *index].into_iter().chain(self.writer(missed));
        Explanation::new("missed-event", summary, contradict)
    }

    /// Before a session sees a result, its watches have reported what the result reflects.
    fn results(&self) -> Option<Explanation> {
        self.reading.watches.iter().find_map(|(key, watch)| {
            let results = self.results.get(&key.0).filter(|_| watch.from.is_some())?;
            self.reported_late(*key, watch, results)
        })
    }

    fn reported_late(
        &self,
        key: WatchKey,
        watch: &Watch,
        results: &Results,
    ) -> Option<Explanation> {
        let ops = self.reading.ops;
        let begun = ops[watch.op].returned();
        let ended = watch.end.map_or(u64::MAX, |end| ops[end].invoked.event);
        let mut told: Vec<u64> = watch.events.iter().map(|(op, _)| ops[*op].returned()).collect();
        told.sort_unstable();
        let due = self.spec(watch, results.greatest()).log;
        // Of a one-shot watch, what the first revision did, and all of it.
        let first = due.first().map(|change| change.revision);
        let is_due = |change: &&Change| !watch.is_once || Some(change.revision) == first;
        for (place, change) in due.iter().take_while(is_due).enumerate() {
            // Changes ascend, and so do the first results that reflect them.
            let (seen, at) =
                results.first_reflecting(begun, change.revision).filter(|(_, at)| *at < ended)?;
            if told.get(place).is_none_or(|told| *told > at) {
                return Some(self.too_late(key, watch, seen.op, change));
            }
        }
        None
    }

    fn too_late(
        &self,
        key: WatchKey,
        watch: &Watch,
        result: usize,
        missed: &Change,
    ) -> Explanation {
        let event = watch.events.iter().find(|(_, change)| change == missed);
        let (anomaly, how) = match event {
            Some((event, _)) => ("result-before-event", format!("#{event} reports it later")),
            None => ("missed-event", "it was never reported".to_owned()),
        };
        let summary = format!(
            "#{result} has a result that reflects {missed}, which {} had not reported: {how}",
            name(key)
        );
        let others = event.map(|(event, _)| *event).into_iter().chain(self.writer(missed));
        Explanation::new(anomaly, summary, [watch.op, result].into_iter().chain(others))
    }

    /// The operation that made the change, if its answer said so.
    fn writer(&self, change: &Change) -> Option<usize> {
        let mut acknowledged = self.reading.acknowledged.iter();
        acknowledged.find(|(_, made)| made == change).map(|(index, _)| *index)
    }
}

/// Changes that were reported and not acknowledged, beyond those that the writes that were not
/// answered can have made: each made one at most, after it was invoked.
fn unaccounted<'a>(
    reading: &'a Reading<'_>,
    acknowledged: &BTreeMap<&Change, u64>,
    unknown: &BTreeMap<&Value, Vec<u64>>,
) -> BTreeSet<&'a Change> {
    let mut reported: BTreeMap<&Change, u64> = BTreeMap::new();
    for (event, change) in reading.watches.values().flat_map(|watch| &watch.events) {
        if !acknowledged.contains_key(change) {
            let at = reading.ops[*event].returned();
            let first = reported.entry(change).or_insert(at);
            *first = at.min(*first);
        }
    }
    let mut by_key: BTreeMap<&Value, Vec<(u64, &Change)>> = BTreeMap::new();
    for (change, at) in reported {
        by_key.entry(&change.key).or_default().push((at, change));
    }
    let mut beyond = BTreeSet::new();
    for (key, mut changes) in by_key {
        changes.sort_unstable();
        let writes = unknown.get(key).map(Vec::as_slice).unwrap_or_default();
        let mut used = 0;
        for (at, change) in changes {
            if writes.get(used).is_some_and(|invoked| *invoked < at) {
                used += 1;
            } else {
                beyond.insert(change);
            }
        }
    }
    beyond
}

fn name((session, watch): WatchKey) -> String {
    format!("watch {watch} of session {session}")
}
