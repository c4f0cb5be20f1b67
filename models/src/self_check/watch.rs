//! Watches.

use std::collections::BTreeMap;

use super::Case;
use super::rng::Rng;
use super::spell::whole;

const KEYS: [&str; 4] = ["a/1", "a/2", "b", "a"];
const KINDS: [&str; 2] = ["created", "changed"];

/// A change: its revision, its key, its kind.
type Change = (u64, usize, usize);

/// A write: who changed what, and when it was asked for.
struct Write {
    change: Change,
    invoked: u64,
    is_answered: bool,
}

/// A watch: what it is about, and when it was asked for and ended.
struct Watch {
    is_prefix: bool,
    key: usize,
    kind: Option<usize>,
    is_once: bool,
    from: u64,
    invoked: u64,
    answered: Option<u64>,
    ended: Option<u64>,
    events: Vec<(u64, Change)>,
    /// Results that its session saw: when, and of which revision.
    results: Vec<(u64, u64)>,
}

/// All that is known; times are events of the history.
struct World {
    writes: Vec<Write>,
    /// Each of a session of its own.
    watches: Vec<Watch>,
    /// What servers gave as the log.
    logs: Vec<Vec<Change>>,
}

impl Watch {
    fn wants(&self, change: &Change) -> bool {
        let (key, watched) = (KEYS[change.1], KEYS[self.key]);
        let is_about = if self.is_prefix { key.starts_with(watched) } else { key == watched };
        is_about && self.kind.is_none_or(|kind| kind == change.2)
    }
}

impl World {
    /// The promise in its plainest form, for some log that can be and some revision from which on
    /// the watch reports.
    fn is_right(&self) -> bool {
        let longest = self.logs.iter().max_by_key(|log| log.len()).cloned();
        let Some(log) = longest.or_else(|| self.guessed_log()) else { return false };
        if self.logs.iter().any(|shorter| !log.starts_with(shorter)) {
            return false;
        }
        let is_in_order = log.windows(2).all(|pair| pair[0].0 <= pair[1].0);
        let mut answered = self.writes.iter().filter(|write| write.is_answered);
        if !is_in_order || answered.any(|write| !log.contains(&write.change)) {
            return false;
        }
        self.watches.iter().all(|watch| match watch.answered {
            Some(_) => self.reports(watch, &log, watch.from),
            None => (0..=10).any(|from| self.reports(watch, &log, from)),
        })
    }

    /// What was acknowledged and what was reported, if each report can be of some write.
    fn guessed_log(&self) -> Option<Vec<Change>> {
        let mut log: Vec<Change> = Vec::new();
        // Writes that were not answered, each of which made one change at most.
        let mut unknown: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for write in &self.writes {
            if write.is_answered {
                log.push(write.change);
            } else {
                unknown.entry(write.change.1).or_default().push(write.invoked);
            }
        }
        let mut events: Vec<_> = self.watches.iter().flat_map(|watch| &watch.events).collect();
        events.sort_unstable();
        for (at, change) in events {
            let mut asked = self.writes.iter().filter(|write| write.is_answered);
            if asked.any(|write| write.change == *change && write.invoked < *at) {
                continue;
            }
            if log.contains(change) {
                let mut writes = self.writes.iter();
                writes.find(|it| !it.is_answered && it.change.1 == change.1 && it.invoked < *at)?;
                continue;
            }
            let writes = unknown.get_mut(&change.1)?;
            writes.remove(writes.iter().position(|invoked| invoked < at)?);
            log.push(*change);
        }
        log.sort_unstable();
        log.dedup();
        Some(log)
    }

    fn reports(&self, watch: &Watch, log: &[Change], from: u64) -> bool {
        let mut due: Vec<Change> =
            log.iter().copied().filter(|change| change.0 > from && watch.wants(change)).collect();
        if let (true, Some(first)) = (watch.is_once, due.first().map(|change| change.0)) {
            due.retain(|change| change.0 == first);
        }
        let told: Vec<Change> = watch.events.iter().map(|(_, change)| *change).collect();
        if self.logs.is_empty() {
            // Within a revision nobody knows the order: it is the one in which they were told.
            let place = |change: &Change| told.iter().position(|it| it == change);
            due.sort_by_key(|change| (change.0, place(change).unwrap_or(told.len()), *change));
        }
        if !due.starts_with(&told) {
            return false;
        }
        watch.results.iter().all(|(at, revision)| {
            let is_watching = watch.answered.is_some_and(|answered| answered < *at)
                && watch.ended.is_none_or(|ended| *at < ended);
            let reported = watch.events.iter().filter(|(event, _)| event < at).count();
            !is_watching || due.iter().filter(|change| change.0 <= *revision).count() <= reported
        })
    }
}

/// A random history, and whether it is right.
pub(super) fn case(rng: &mut Rng) -> Case {
    let mut world = draw(rng);
    for _ in 0..rng.below(3) {
        disturb(rng, &mut world);
    }
    Case { text: write(rng, &world), is_right: world.is_right() }
}

fn draw(rng: &mut Rng) -> World {
    let mut clock = Clock(10);
    let mut watches: Vec<Watch> = (0..1 + rng.below(3) / 2).map(|_| draw_watch(rng)).collect();
    let mut log: Vec<Change> = Vec::new();
    let mut writes = Vec::new();
    for revision in 1..=1 + rng.below(5) {
        let invoked = if rng.once_in(3) { 0 } else { clock.tick(rng) };
        let mut keys = vec![0, 1, 2, 3];
        let first = log.len();
        for _ in 0..=rng.below(2) {
            let key = keys.remove(rng.place(keys.len()));
            let change = (revision, key, rng.place(KINDS.len()));
            log.push(change);
            writes.push(Write { change, invoked, is_answered: !rng.once_in(4) });
        }
        for watch in &mut watches {
            watch.hear(rng, &mut clock, revision, &log[first..]);
        }
    }
    for watch in &mut watches {
        watch.ended = rng.once_in(4).then(|| clock.tick(rng));
    }
    let mut logs = Vec::new();
    while rng.once_in(2) && logs.len() < 2 {
        let length = if rng.once_in(2) { log.len() } else { 1 + rng.place(log.len()) };
        logs.push(log[..length].to_vec());
    }
    World { writes, watches, logs }
}

/// Times of what happens: even ones.
struct Clock(u64);

impl Clock {
    fn tick(&mut self, rng: &mut Rng) -> u64 {
        self.0 += 2 + 2 * rng.below(3);
        self.0
    }
}

fn draw_watch(rng: &mut Rng) -> Watch {
    Watch {
        is_prefix: rng.once_in(2),
        key: rng.pick(&[0, 3, 3]),
        kind: rng.once_in(3).then(|| rng.place(KINDS.len())),
        is_once: rng.once_in(3),
        from: rng.below(3),
        invoked: 2,
        answered: (!rng.once_in(6)).then_some(4),
        ended: None,
        events: Vec::new(),
        results: Vec::new(),
    }
}

impl Watch {
    /// Is told of a revision, mostly, and of a result of it or of the one before.
    fn hear(&mut self, rng: &mut Rng, clock: &mut Clock, revision: u64, changes: &[Change]) {
        let wanted = |change: &Change| revision > self.from && self.wants(change);
        let mut told: Vec<Change> = changes.iter().copied().filter(wanted).collect();
        if rng.once_in(8) {
            // Half of what the revision did.
            told.truncate(1);
        }
        if !(self.is_once && !self.events.is_empty() || rng.once_in(12)) {
            self.events.extend(told.into_iter().map(|change| (clock.tick(rng), change)));
        }
        if rng.once_in(2) {
            let seen = revision - rng.below(2).min(revision - 1);
            self.results.push((clock.tick(rng), seen));
        }
    }
}

fn disturb(rng: &mut Rng, world: &mut World) {
    let number = rng.place(world.watches.len());
    let Watch { events, results, .. } = &mut world.watches[number];
    if !events.is_empty() {
        let (at, other) = (rng.place(events.len()), rng.place(events.len()));
        match rng.below(6) {
            0 => {
                events.remove(at);
            }
            1 => {
                let change = events[at].1;
                events[at].1 = events[other].1;
                events[other].1 = change;
            }
            2 => {
                // Results are at even times: nothing is at the same.
                let time = (events.last().map_or(0, |event| event.0) + 1) | 1;
                events.push((time, events[at].1));
            }
            3 => events[at].1.1 = rng.place(KEYS.len()),
            4 => events[at].1.0 = 1 + rng.below(5),
            // Later than what follows it, results among it.
            _ if at + 1 == events.len() => events[at].0 = (events[at].0 + 2 * rng.below(6)) | 1,
            _ => {}
        }
    }
    if !results.is_empty() && rng.once_in(3) {
        let at = rng.place(results.len());
        results[at].1 = 1 + rng.below(5);
    }
    if let Some(log) = world.logs.last_mut().filter(|_| rng.once_in(4)) {
        let (at, other) = (rng.place(log.len()), rng.place(log.len()));
        if rng.once_in(2) { log.swap(at, other) } else { log.truncate(at.max(1)) }
    }
}

fn write(rng: &mut Rng, world: &World) -> String {
    let mut lines = Lines { lines: Vec::new(), processes: 0 };
    for (number, watch) in world.watches.iter().enumerate() {
        write_watch(rng, &mut lines, number as u64 + 1, watch);
    }
    for log in &world.logs {
        let log: Vec<String> =
            log.iter().map(|seen| format!("{{{}}}", spell_change(rng, *seen))).collect();
        lines.told(1_000, "log", &format!("[{}]", log.join(" ")));
    }
    for write in &world.writes {
        let asked = format!("{{:session 9 :key \"{}\"}}", KEYS[write.change.1]);
        let made = format!("{{:session 9 {}}}", spell_change(rng, write.change));
        let answer = write.is_answered.then_some((900, made));
        lines.operation((write.invoked, asked), answer, "write");
    }
    lines.lines.sort_by_key(|(at, _)| *at);
    lines.lines.into_iter().map(|(_, line)| line).collect()
}

/// Lines with their times.
struct Lines {
    lines: Vec<(u64, String)>,
    processes: u64,
}

impl Lines {
    fn operation(&mut self, asked: (u64, String), answer: Option<(u64, String)>, f: &str) {
        let process = self.processes;
        self.processes += 1;
        let events = [("invoke", Some(asked)), ("ok", answer)];
        for (kind, (at, value)) in events.into_iter().filter_map(|(kind, it)| Some((kind, it?))) {
            let line = format!("{{:type :{kind}, :f :{f}, :value {value}, :process {process}}}\n");
            self.lines.push((at, line));
        }
    }

    fn told(&mut self, at: u64, f: &str, value: &str) {
        self.operation((at, value.to_owned()), Some((at, value.to_owned())), f);
    }
}

fn spell_change(rng: &mut Rng, (revision, key, kind): Change) -> String {
    let (key, kind) = (KEYS[key], KINDS[kind]);
    format!(":kind :{kind}, :key \"{key}\", :revision {}", whole(rng, revision))
}

fn write_watch(rng: &mut Rng, lines: &mut Lines, session: u64, watch: &Watch) {
    let about = if watch.is_prefix { "prefix" } else { "key" };
    let kinds = watch.kind.map_or(String::new(), |kind| format!(" :kinds [:{}]", KINDS[kind]));
    let once = if watch.is_once { " :once true" } else { "" };
    let id = format!(":session {session} :watch 1");
    let asked = format!("{id} :{about} \"{}\"{kinds}{once}", KEYS[watch.key]);
    let from = whole(rng, watch.from);
    let answer = watch.answered.map(|at| (at, format!("{{{asked} :from {from}}}")));
    lines.operation((watch.invoked, format!("{{{asked}}}")), answer, "watch");
    for (at, seen) in &watch.events {
        lines.told(*at, "event", &format!("{{{id} {}}}", spell_change(rng, *seen)));
    }
    for (at, revision) in &watch.results {
        let revision = whole(rng, *revision);
        lines.told(*at, "read", &format!("{{:session {session} :revision {revision}}}"));
    }
    if let Some(at) = watch.ended {
        lines.told(at, rng.pick(&["unwatch", "lost"]), &format!("{{{id}}}"));
    }
}
