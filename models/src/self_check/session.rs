//! Sessions that join and leave, and what each is told of it.

use std::collections::{BTreeMap, BTreeSet};

use super::Case;
use super::rng::Rng;
use super::spell::whole;

/// A session joins (true) or leaves.
type Change = (bool, u64);

/// What a session was told: when, of which revision, what, and who the members were then.
struct Notice {
    at: u64,
    observer: u64,
    revision: u64,
    change: Change,
    members: Option<BTreeSet<u64>>,
}

/// Opens and closes that were answered: the session, and when they began and ended.
type Request = (u64, u64, u64);

struct World {
    notices: Vec<Notice>,
    opens: Vec<Request>,
    closes: Vec<Request>,
}

impl World {
    /// Whether there is a truth that all were told pieces of, and moments for what they were told.
    fn is_right(&self) -> bool {
        let mut truth: BTreeMap<u64, Change> = BTreeMap::new();
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        for notice in &self.notices {
            let is_same = *truth.entry(notice.revision).or_insert(notice.change) == notice.change;
            let is_own = notice.change == (true, notice.observer);
            let is_first = match last.insert(notice.observer, notice.revision) {
                None => is_own,
                Some(before) => before < notice.revision,
            };
            if !is_same || !is_first {
                return false;
            }
        }
        let told = |observer: u64, revision: u64| {
            let mut notices = self.notices.iter();
            notices.any(|it| it.observer == observer && it.revision == revision)
        };
        let covers = |observer: &u64, revision: u64| {
            let mut of = self.notices.iter().filter(|it| it.observer == *observer);
            let (first, last) = (of.clone().map(|it| it.revision).min(), last.get(observer));
            of.next().is_some() && first < Some(revision) && Some(&revision) <= last
        };
        // Whoever was told of something before and after was told of it.
        let hears_all = truth.keys().all(|revision| {
            last.keys().all(|observer| !covers(observer, *revision) || told(*observer, *revision))
        });
        // No one was there before and at this revision: what happened between is not known.
        let is_seam = |revision: u64| !last.keys().any(|observer| covers(observer, revision));
        hears_all && self.has_members(&truth, is_seam) && self.has_moments(&truth)
    }

    /// Whether some members at first, and at each seam others, explain all that follows: tries all.
    fn has_members(&self, truth: &BTreeMap<u64, Change>, is_seam: impl Fn(u64) -> bool) -> bool {
        let mut sessions: BTreeSet<u64> = truth.values().map(|change| change.1).collect();
        sessions.extend(self.notices.iter().flat_map(|it| it.members.iter().flatten()));
        let sessions: Vec<u64> = sessions.into_iter().collect();
        // For each session: it has not joined yet (0), is a member (1), has left (2).
        let mut states: BTreeSet<Vec<u8>> = BTreeSet::from([vec![0; sessions.len()]]);
        for (number, (revision, (joined, session))) in truth.iter().enumerate() {
            if number == 0 || is_seam(*revision) {
                states = states.iter().flat_map(|state| later(state)).collect();
            }
            let place = sessions.iter().position(|it| it == session).expect("it is known");
            let (before, after) = if *joined { (0, 1) } else { (1, 2) };
            states.retain(|state| state[place] == before);
            states = states.into_iter().map(|state| with(state, place, after)).collect();
            let told = self.notices.iter().filter(|it| it.revision == *revision);
            for members in told.filter_map(|it| it.members.as_ref()) {
                states.retain(|state| {
                    let is_member =
                        |(place, it): (usize, &u64)| members.contains(it) == (state[place] == 1);
                    sessions.iter().enumerate().all(is_member)
                });
            }
        }
        !states.is_empty()
    }

    /// Whether there are ascending moments for the changes, each in its time: tries the earliest.
    fn has_moments(&self, truth: &BTreeMap<u64, Change>) -> bool {
        let mut moment = 0;
        truth.iter().all(|(revision, (joined, session))| {
            let told = self.notices.iter().filter(|it| it.revision == *revision);
            let mut before = told.map(|it| it.at).min().unwrap_or(u64::MAX);
            let requests = if *joined { &self.opens } else { &self.closes };
            for (_, begun, ended) in requests.iter().filter(|(of, ..)| of == session) {
                before = before.min(*ended);
                // It may have left long before it was closed.
                moment = if *joined { moment.max(*begun) } else { moment };
            }
            moment < before
        })
    }
}

/// All that may have become of the sessions in the meantime.
fn later(state: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut all = BTreeSet::from([state.to_vec()]);
    for place in 0..state.len() {
        let more: Vec<Vec<u8>> = all
            .iter()
            .flat_map(|state| (state[place]..=2).map(|next| with(state.clone(), place, next)))
            .collect();
        all.extend(more);
    }
    all
}

fn with(mut state: Vec<u8>, place: usize, value: u8) -> Vec<u8> {
    state[place] = value;
    state
}

/// A random history, and whether it is right.
pub(super) fn case(rng: &mut Rng) -> Case {
    let mut world = draw(rng);
    for _ in 0..rng.below(3) {
        disturb(rng, &mut world);
    }
    Case { is_right: world.is_right(), text: write(rng, &world) }
}

fn draw(rng: &mut Rng) -> World {
    let mut world = World { notices: Vec::new(), opens: Vec::new(), closes: Vec::new() };
    let mut members: BTreeSet<u64> = BTreeSet::new();
    // Who listens, and since when nobody tells it anything more.
    let mut listeners: BTreeSet<u64> = BTreeSet::new();
    let (mut time, mut next): (u64, u64) = (10, 1);
    for number in 0..2 + rng.below(5) {
        let revision = 10 * (number + 1);
        let begun = time;
        time += 10;
        let all: Vec<u64> = members.iter().copied().collect();
        let change = if all.is_empty() || (next <= 4 && rng.below(5) < 3) {
            next += 1;
            (true, next - 1)
        } else {
            (false, rng.pick(&all))
        };
        if change.0 {
            members.insert(change.1);
            if !rng.once_in(5) {
                listeners.insert(change.1);
            }
            if rng.once_in(2) {
                let begun = begun.saturating_sub(20 * rng.below(2));
                world.opens.push((change.1, begun + 1, time + 2 + 20 * rng.below(2)));
            }
        } else {
            members.remove(&change.1);
            listeners.remove(&change.1);
            if rng.once_in(2) {
                world.closes.push((change.1, begun + 1, time + 2 + 20 * rng.below(2)));
            }
        }
        for observer in listeners.clone() {
            if rng.once_in(12) {
                listeners.remove(&observer);
                continue;
            }
            let at = time + 4 + 2 * observer + 20 * rng.below(2);
            let members = (!rng.once_in(3)).then(|| members.clone());
            world.notices.push(Notice { at, observer, revision, change, members });
        }
    }
    // Each is told in its order, at ascending times.
    world.notices.sort_by_key(|notice| (notice.revision, notice.observer));
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    for notice in &mut world.notices {
        let before = last.get(&notice.observer).copied().unwrap_or(0);
        notice.at = notice.at.max(before + 1);
        last.insert(notice.observer, notice.at);
    }
    world.notices.sort_by_key(|notice| (notice.at, notice.observer));
    world
}

fn disturb(rng: &mut Rng, world: &mut World) {
    if world.notices.is_empty() {
        return;
    }
    let (at, other) = (rng.place(world.notices.len()), rng.place(world.notices.len()));
    match rng.below(8) {
        0 => {
            world.notices.remove(at);
        }
        1 => world.notices[at].revision = 10 * (1 + rng.below(6)),
        2 => world.notices[at].change.0 ^= true,
        3 => world.notices[at].change.1 = 1 + rng.below(4),
        4 => {
            let session = 1 + rng.below(4);
            if let Some(members) = &mut world.notices[at].members
                && !members.remove(&session)
            {
                members.insert(session);
            }
        }
        5 => {
            let change = world.notices[other].change;
            for notice in &mut world.notices {
                if notice.change == change {
                    notice.change.1 = 1 + (change.1 + 1) % 4;
                }
            }
        }
        6 => {
            if let Some(open) = world.opens.first_mut() {
                let shift = 20 * rng.below(4);
                (open.1, open.2) = (open.1 + shift, open.2 + shift);
            }
        }
        _ => {
            if let Some(close) = world.closes.first_mut() {
                close.2 = (close.1 + 1).max(close.2.saturating_sub(20));
                close.0 = 1 + rng.below(4);
            }
        }
    }
    // A session is opened once, and closed once.
    for requests in [&mut world.opens, &mut world.closes] {
        let mut seen = BTreeSet::new();
        requests.retain(|(session, ..)| seen.insert(*session));
    }
}

fn write(rng: &mut Rng, world: &World) -> String {
    let mut lines: Vec<(u64, String)> = Vec::new();
    let mut process = 0;
    let mut operation = |from: u64, to: u64, f: &str, values: [String; 2]| {
        for (kind, at, value) in [("invoke", from, &values[0]), ("ok", to, &values[1])] {
            let text = format!("{{:type :{kind}, :f :{f}, :value {value}, :process {process}}}\n");
            lines.push((at, text));
        }
        process += 1;
    };
    for (session, begun, ended) in &world.opens {
        let session = format!("{{:session {}}}", whole(rng, *session));
        operation(*begun, *ended, "open", ["nil".to_owned(), session]);
    }
    for (session, begun, ended) in &world.closes {
        let session = format!("{{:session {}}}", whole(rng, *session));
        operation(*begun, *ended, "close", [session, "nil".to_owned()]);
    }
    for notice in &world.notices {
        let Notice { at, observer, revision, change: (joined, session), members } = notice;
        let kind = if *joined { "joined" } else { "left" };
        let members = members.as_ref().map_or(String::new(), |members| {
            let members: Vec<String> = members.iter().map(|it| whole(rng, *it)).collect();
            format!(", :members [{}]", members.join(" "))
        });
        let [observer, revision, session] =
            [observer, revision, session].map(|number| whole(rng, *number));
        let value = format!(
            "{{:kind :{kind}, :observer {observer}, :revision {revision}, :session {session}{members}}}"
        );
        operation(*at, *at, "member", [value.clone(), value]);
    }
    lines.sort_by_key(|(at, _)| *at);
    lines.into_iter().map(|(_, line)| line).collect()
}
