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
}

/// All that is known; times are events of the history.
struct World {
    writes: Vec<Write>,
    watch: Watch,
    /// Results that its session saw: when, and of which revision.
    results: Vec<(u64, u64)>,
    log: Option<Vec<Change>>,
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
        let Some(log) = self.log.clone().or_else(|| self.guessed_log()) else { return false };
        let is_in_order = log.windows(2).all(|pair| pair[0].0 <= pair[1].0);
        let mut answered = self.writes.iter().filter(|write| write.is_answered);
        if !is_in_order || answered.any(|write| !log.contains(&write.change)) {
            return false;
        }
        match self.watch.answered {
            Some(_) => self.reports(&log, self.watch.from),
            None => (0..=10).any(|from| self.reports(&log, from)),
        }
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
        for (at, change) in &self.watch.events {
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

    fn reports(&self, log: &[Change], from: u64) -> bool {
        let watch = &self.watch;
        let mut due: Vec<Change> =
            log.iter().copied().filter(|change| change.0 > from && watch.wants(change)).collect();
        if let (true, Some(first)) = (watch.is_once, due.first().map(|change| change.0)) {
            due.retain(|change| change.0 == first);
        }
        let told: Vec<Change> = watch.events.iter().map(|(_, change)| *change).collect();
        if self.log.is_none() {
            // Within a revision nobody knows the order: it is the one in which they were told.
            let place = |change: &Change| told.iter().position(|it| it == change);
            due.sort_by_key(|change| (change.0, place(change).unwrap_or(told.len()), *change));
        }
        if !due.starts_with(&told) {
            return false;
        }
        self.results.iter().all(|(at, revision)| {
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
    let mut time = 10;
    let mut tick = |rng: &mut Rng| {
        time += 2 + 2 * rng.below(3);
        time
    };
    let mut log: Vec<Change> = Vec::new();
    let mut writes = Vec::new();
    let mut watch = Watch {
        is_prefix: rng.once_in(2),
        key: rng.pick(&[0, 3, 3]),
        kind: rng.once_in(3).then(|| rng.place(KINDS.len())),
        is_once: rng.once_in(3),
        from: rng.below(3),
        invoked: 2,
        answered: (!rng.once_in(6)).then_some(4),
        ended: None,
        events: Vec::new(),
    };
    let mut results = Vec::new();
    let mut fired = None;
    for revision in 1..=1 + rng.below(5) {
        let invoked = if rng.once_in(3) { 0 } else { tick(rng) };
        let mut keys = vec![0, 1, 2, 3];
        for _ in 0..=rng.below(2) {
            let key = keys.remove(rng.place(keys.len()));
            let change = (revision, key, rng.place(KINDS.len()));
            log.push(change);
            writes.push(Write { change, invoked, is_answered: !rng.once_in(4) });
        }
        let mut told: Vec<Change> = log
            .iter()
            .copied()
            .filter(|change| change.0 == revision && revision > watch.from && watch.wants(change))
            .collect();
        if rng.once_in(8) {
            // Half of what the revision did.
            told.truncate(1);
        }
        if !told.is_empty() && (!watch.is_once || fired.is_none()) && !rng.once_in(12) {
            fired = Some(revision);
            watch.events.extend(told.into_iter().map(|change| (tick(rng), change)));
        }
        if rng.once_in(2) {
            let seen = revision - rng.below(2).min(revision - 1);
            results.push((tick(rng), seen));
        }
    }
    watch.ended = rng.once_in(4).then(|| tick(rng));
    World { writes, watch, results, log: rng.once_in(2).then_some(log) }
}

fn disturb(rng: &mut Rng, world: &mut World) {
    let events = &mut world.watch.events;
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
    if !world.results.is_empty() && rng.once_in(3) {
        let at = rng.place(world.results.len());
        world.results[at].1 = 1 + rng.below(5);
    }
    if let Some(log) = world.log.as_mut().filter(|_| rng.once_in(4)) {
        let (at, other) = (rng.place(log.len()), rng.place(log.len()));
        if rng.once_in(2) { log.swap(at, other) } else { log.truncate(at.max(1)) }
    }
}

fn write(rng: &mut Rng, world: &World) -> String {
    let watch = &world.watch;
    let mut lines: Vec<(u64, String)> = Vec::new();
    let mut line = |at: u64, kind: &str, process: u64, f: &str, value: String| {
        let text = format!("{{:type :{kind}, :f :{f}, :value {value}, :process {process}}}\n");
        lines.push((at, text));
    };
    let change = |rng: &mut Rng, (revision, key, kind): Change| {
        let (key, kind) = (KEYS[key], KINDS[kind]);
        format!(":kind :{kind}, :key \"{key}\", :revision {}", whole(rng, revision))
    };
    let about = if watch.is_prefix { "prefix" } else { "key" };
    let kinds = watch.kind.map_or(String::new(), |kind| format!(" :kinds [:{}]", KINDS[kind]));
    let once = if watch.is_once { " :once true" } else { "" };
    let asked = format!(":session 1 :watch 1 :{about} \"{}\"{kinds}{once}", KEYS[watch.key]);
    line(watch.invoked, "invoke", 1, "watch", format!("{{{asked}}}"));
    if let Some(at) = watch.answered {
        line(at, "ok", 1, "watch", format!("{{{asked} :from {}}}", whole(rng, watch.from)));
    }
    let mut process = 2;
    let mut told = |at: u64, f: &str, value: String| {
        process += 1;
        line(at, "invoke", process, f, value.clone());
        line(at, "ok", process, f, value);
    };
    for (at, seen) in &watch.events {
        told(*at, "event", format!("{{:session 1 :watch 1 {}}}", change(rng, *seen)));
    }
    for (at, revision) in &world.results {
        told(*at, "read", format!("{{:session 1 :revision {}}}", whole(rng, *revision)));
    }
    if let Some(at) = watch.ended {
        told(at, rng.pick(&["unwatch", "lost"]), "{:session 1 :watch 1}".to_owned());
    }
    if let Some(log) = &world.log {
        let log: Vec<String> =
            log.iter().map(|seen| format!("{{{}}}", change(rng, *seen))).collect();
        told(1_000, "log", format!("[{}]", log.join(" ")));
    }
    for (number, write) in world.writes.iter().enumerate() {
        let process = 500 + number as u64;
        let key = KEYS[write.change.1];
        let asked = format!("{{:session 2 :key \"{key}\"}}");
        line(write.invoked, "invoke", process, "write", asked);
        if write.is_answered {
            let made = format!("{{:session 2 {}}}", change(rng, write.change));
            line(900, "ok", process, "write", made);
        }
    }
    lines.sort_by_key(|(at, _)| *at);
    lines.into_iter().map(|(_, line)| line).collect()
}
