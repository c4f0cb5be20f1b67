//! Registers, with and without compare-and-set, and stores with transactions.

use super::order::{Call, Object, has_order};
use super::rng::Rng;
use super::spell::Spelling;
use super::story::{End, Slot, Story, effects, slots};
use super::{Case, Model};

const KEYS: usize = 2;
const VALUES: u64 = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// What was read; `None` if nobody knows.
    Read(usize, Option<u32>),
    Write(usize, u32),
    Compare(usize, u32),
}

/// A transaction: its steps, and the compare at which it stopped.
#[derive(Clone, Debug)]
struct Txn {
    steps: Vec<Step>,
    aborted: Option<usize>,
}

struct Cells;

impl Object for Cells {
    type Op = Txn;
    type State = [u32; KEYS];

    fn first(&self) -> [u32; KEYS] {
        [0; KEYS]
    }

    fn after(&self, state: &[u32; KEYS], txn: &Txn) -> Option<[u32; KEYS]> {
        let mut cells = *state;
        for (number, step) in txn.steps.iter().enumerate() {
            match *step {
                Step::Write(key, value) => cells[key] = value,
                Step::Read(key, Some(value)) if txn.aborted.is_none() && cells[key] != value => {
                    return None;
                }
                Step::Read(..) => {}
                Step::Compare(key, value) if txn.aborted == Some(number) => {
                    return (cells[key] != value).then_some(*state);
                }
                Step::Compare(key, value) if cells[key] != value => return None,
                Step::Compare(..) => {}
            }
        }
        Some(cells)
    }
}

/// A random history of `model`, and whether it is right.
pub(super) fn case(rng: &mut Rng, model: Model) -> Case {
    let count = 2 + rng.place(5);
    let mut slots = slots(rng, count);
    let mut txns: Vec<Txn> = slots.iter().map(|_| request(rng, model)).collect();
    carry_out(&mut slots, &mut txns, model);
    if rng.below(3) > 0 {
        disturb(rng, &slots, &mut txns);
    }
    let calls: Vec<Call<Txn>> = slots
        .iter()
        .zip(&txns)
        .filter(|(slot, _)| slot.end != End::Fail)
        .map(|(slot, txn)| {
            let (invoked, returned) = (slot.invoked, slot.returned());
            Call { op: txn.clone(), invoked, returned }
        })
        .collect();
    Case { text: write(rng, model, &slots, &txns), is_right: has_order(&Cells, &calls) }
}

fn request(rng: &mut Rng, model: Model) -> Txn {
    let key = |rng: &mut Rng| usize::from(rng.once_in(4));
    let value = |rng: &mut Rng| rng.below(VALUES) as u32;
    let steps = if model == Model::Txn {
        let step = |rng: &mut Rng| match rng.below(5) {
            0 | 1 => Step::Read(rng.place(KEYS), None),
            2 | 3 => Step::Write(rng.place(KEYS), value(rng)),
            _ => Step::Compare(rng.place(KEYS), value(rng)),
        };
        (0..=rng.below(4)).map(|_| step(rng)).collect()
    } else {
        let key = key(rng);
        match rng.below(if model == Model::CasRegister { 3 } else { 2 }) {
            0 => vec![Step::Read(key, None)],
            1 => vec![Step::Write(key, value(rng))],
            _ => vec![Step::Compare(key, value(rng)), Step::Write(key, value(rng))],
        }
    };
    Txn { steps, aborted: None }
}

/// Runs what takes effect, and fills in what was read.
fn carry_out(slots: &mut [Slot], txns: &mut [Txn], model: Model) {
    let mut cells = [0; KEYS];
    for number in effects(slots) {
        let (before, txn) = (cells, &mut txns[number]);
        for (place, step) in txn.steps.iter_mut().enumerate() {
            match step {
                Step::Read(key, seen) => *seen = Some(cells[*key]),
                Step::Write(key, value) => cells[*key] = *value,
                Step::Compare(key, value) if cells[*key] != *value => {
                    (txn.aborted, cells) = (Some(place), before);
                    break;
                }
                Step::Compare(..) => {}
            }
        }
        let slot = &mut slots[number];
        if txn.aborted.is_some() && slot.end == End::Ok && model != Model::Txn {
            slot.end = End::Fail;
        }
        if slot.end != End::Ok {
            txn.aborted = None;
        }
    }
    for (slot, txn) in slots.iter().zip(txns) {
        for step in &mut txn.steps {
            if let Step::Read(_, seen) = step {
                *seen = (slot.end == End::Ok).then(|| seen.unwrap_or(0));
            }
        }
    }
}

/// Changes a result or two.
fn disturb(rng: &mut Rng, slots: &[Slot], txns: &mut [Txn]) {
    for _ in 0..=rng.below(2) {
        let number = rng.place(txns.len());
        if slots[number].end != End::Ok {
            continue;
        }
        let txn = &mut txns[number];
        let compares: Vec<usize> = (0..txn.steps.len())
            .filter(|place| matches!(txn.steps[*place], Step::Compare(..)))
            .collect();
        if !compares.is_empty() && txn.steps.len() > 2 && rng.once_in(3) {
            txn.aborted = rng.once_in(2).then(|| rng.pick(&compares));
        }
        let place = rng.place(txn.steps.len());
        if let Step::Read(_, Some(seen)) = &mut txn.steps[place] {
            *seen = rng.below(VALUES + 1) as u32;
        }
    }
}

fn write(rng: &mut Rng, model: Model, slots: &[Slot], txns: &[Txn]) -> String {
    let spelling = Spelling::new(rng);
    let mut story = Story::default();
    for (slot, txn) in slots.iter().zip(txns) {
        let f = match (&txn.steps[..], model) {
            (_, Model::Txn) => "txn",
            ([Step::Read(..)], _) => "read",
            ([Step::Write(..)], _) => "write",
            _ => "cas",
        };
        let spell = if model == Model::Txn { spell_txn } else { spell_register };
        let input = [(); 2].map(|()| spell(rng, &spelling, txn, false));
        let output = spell(rng, &spelling, txn, true);
        story.operation(slot, f, input, output);
    }
    story.text()
}

fn spell_register(rng: &mut Rng, spelling: &Spelling, txn: &Txn, is_answer: bool) -> String {
    let (key, value) = match txn.steps[..] {
        [Step::Read(key, seen)] => {
            let seen = seen.filter(|_| is_answer).unwrap_or(0);
            (key, spelling.value(rng, seen))
        }
        [Step::Write(key, value)] => (key, spelling.value(rng, value)),
        [Step::Compare(key, from), Step::Write(_, to)] => {
            let (from, to) = (spelling.value(rng, from), spelling.value(rng, to));
            (key, format!("[{from} {to}]"))
        }
        _ => unreachable!("no register does this"),
    };
    format!("[{} {value}]", spelling.key(rng, key as u32))
}

fn spell_txn(rng: &mut Rng, spelling: &Spelling, txn: &Txn, is_answer: bool) -> String {
    if let Some(at) = txn.aborted.filter(|_| is_answer) {
        return format!("{{:aborted {at}}}");
    }
    let mut steps = Vec::new();
    for step in &txn.steps {
        let (f, key, value) = match *step {
            Step::Read(key, seen) => ("r", key, seen.filter(|_| is_answer).unwrap_or(0)),
            Step::Write(key, value) => ("w", key, value),
            Step::Compare(key, value) => ("cmp", key, value),
        };
        let (key, value) = (spelling.key(rng, key as u32), spelling.value(rng, value));
        steps.push(format!("[:{f} {key} {value}]"));
    }
    format!("[{}]", steps.join(" "))
}
