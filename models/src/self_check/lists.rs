//! Transactions over lists, in real time and without.

use super::Case;
use super::order::{Call, Object, has_order};
use super::rng::Rng;
use super::spell::Spelling;
use super::story::{End, Slot, Story, effects, slots};

const KEYS: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    Append(usize, u32),
    /// The list that was read; `None` if nobody knows.
    Read(usize, Option<Vec<u32>>),
}

struct Lists;

impl Object for Lists {
    type Op = Vec<Step>;
    type State = [Vec<u32>; KEYS];

    fn first(&self) -> Self::State {
        Self::State::default()
    }

    fn after(&self, state: &Self::State, txn: &Vec<Step>) -> Option<Self::State> {
        let mut lists = state.clone();
        for step in txn {
            match step {
                Step::Append(key, value) => lists[*key].push(*value),
                Step::Read(key, Some(seen)) if *seen != lists[*key] => return None,
                Step::Read(..) => {}
            }
        }
        Some(lists)
    }
}

/// A random history, and whether it is right in real time and without it.
pub(super) fn case(rng: &mut Rng, realtime: bool) -> Case {
    let count = 2 + rng.place(4);
    let slots = slots(rng, count);
    let mut value = 0;
    let mut txns: Vec<Vec<Step>> = slots.iter().map(|_| request(rng, &mut value)).collect();
    let mut order = effects(&slots);
    if rng.once_in(6) {
        // Against real time, but serializable.
        order.reverse();
    }
    carry_out(&slots, &mut txns, &order);
    if rng.below(3) > 0 {
        disturb(rng, &slots, &mut txns);
    }
    let calls: Vec<Call<Vec<Step>>> = slots
        .iter()
        .zip(&txns)
        .filter(|(slot, _)| slot.end != End::Fail)
        .map(|(slot, txn)| {
            let (invoked, returned) = match (realtime, slot.returned()) {
                (true, returned) => (slot.invoked, returned),
                (false, u64::MAX) => (0, u64::MAX),
                (false, _) => (0, u64::MAX - 1),
            };
            Call { op: txn.clone(), invoked, returned }
        })
        .collect();
    Case { text: write(rng, &slots, &txns), is_right: has_order(&Lists, &calls) }
}

fn request(rng: &mut Rng, value: &mut u32) -> Vec<Step> {
    let mut step = |rng: &mut Rng| {
        let key = usize::from(rng.once_in(3));
        if rng.below(5) < 3 {
            *value += 1;
            Step::Append(key, *value)
        } else {
            Step::Read(key, None)
        }
    };
    (0..=rng.below(4)).map(|_| step(rng)).collect()
}

fn carry_out(slots: &[Slot], txns: &mut [Vec<Step>], order: &[usize]) {
    let mut lists: [Vec<u32>; KEYS] = Default::default();
    for number in order {
        for step in &mut txns[*number] {
            match step {
                Step::Append(key, value) => lists[*key].push(*value),
                Step::Read(key, seen) => *seen = Some(lists[*key].clone()),
            }
        }
    }
    for (slot, txn) in slots.iter().zip(txns) {
        for step in txn {
            if let Step::Read(_, seen) = step {
                *seen = (slot.end == End::Ok).then(|| seen.take().unwrap_or_default());
            }
        }
    }
}

/// Changes one list that was read, or several that hold the same.
fn disturb(rng: &mut Rng, slots: &[Slot], txns: &mut [Vec<Step>]) {
    let everywhere = rng.once_in(2);
    let change = rng.below(5);
    let (at, to) = (rng.below(64), rng.below(64));
    let number = rng.place(txns.len());
    for (place, txn) in txns.iter_mut().enumerate() {
        if slots[place].end != End::Ok || (!everywhere && place != number) {
            continue;
        }
        for step in txn {
            let Step::Read(_, Some(list)) = step else { continue };
            if list.is_empty() {
                continue;
            }
            let length = list.len() as u64;
            match change {
                // From the same two places everywhere, so that the lists still agree.
                0 | 1 if length > at % 3 + 1 => list.swap(at as usize % 3, at as usize % 3 + 1),
                2 if length > at % 3 => {
                    list.remove(at as usize % 3);
                }
                3 => list.truncate((at % length) as usize),
                4 => list.insert((at % length) as usize, 1 + (to % (length + 2)) as u32),
                _ => {}
            }
        }
    }
}

fn write(rng: &mut Rng, slots: &[Slot], txns: &[Vec<Step>]) -> String {
    let spelling = Spelling::new(rng);
    let mut story = Story::default();
    for (slot, txn) in slots.iter().zip(txns) {
        let input = [(); 2].map(|()| spell(rng, &spelling, txn, false));
        let output = spell(rng, &spelling, txn, true);
        story.operation(slot, "txn", input, output);
    }
    story.text()
}

fn spell(rng: &mut Rng, spelling: &Spelling, txn: &[Step], is_answer: bool) -> String {
    let mut steps = Vec::new();
    for step in txn {
        let (f, key, value) = match step {
            Step::Append(key, value) => ("append", key, spelling.value(rng, *value)),
            Step::Read(key, Some(list)) if is_answer && !(list.is_empty() && rng.once_in(2)) => {
                let items: Vec<String> =
                    list.iter().map(|value| spelling.value(rng, *value)).collect();
                ("r", key, format!("[{}]", items.join(" ")))
            }
            Step::Read(key, _) => ("r", key, "nil".to_owned()),
        };
        steps.push(format!("[:{f} {} {value}]", spelling.key(rng, *key as u32)));
    }
    format!("[{}]", steps.join(" "))
}
