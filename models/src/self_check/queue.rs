//! Queues.

use super::Case;
use super::order::{Call, Object, has_order};
use super::rng::Rng;
use super::spell::Spelling;
use super::story::{End, Slot, Story, effects, slots};

const QUEUES: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    In(usize, u32),
    /// What came out, 0 if there was nothing; `None` if nobody knows.
    Out(usize, Option<u32>),
}

struct Queues;

impl Object for Queues {
    type Op = Op;
    type State = [Vec<u32>; QUEUES];

    fn first(&self) -> Self::State {
        Self::State::default()
    }

    fn after(&self, state: &Self::State, op: &Op) -> Option<Self::State> {
        let mut queues = state.clone();
        match *op {
            Op::In(queue, value) => queues[queue].push(value),
            Op::Out(queue, seen) => {
                let first = queues[queue].first().copied().unwrap_or(0);
                if seen.is_some_and(|seen| seen != first) {
                    return None;
                }
                queues[queue].drain(..usize::from(first != 0));
            }
        }
        Some(queues)
    }
}

/// A random history, and whether it is right.
pub(super) fn case(rng: &mut Rng) -> Case {
    let count = 3 + rng.place(5);
    let slots = slots(rng, count);
    let mut value = 0;
    let mut ops: Vec<Op> = slots.iter().map(|_| request(rng, &mut value)).collect();
    let mut queues: [Vec<u32>; QUEUES] = Default::default();
    for number in effects(&slots) {
        match &mut ops[number] {
            Op::In(queue, value) => queues[*queue].push(*value),
            Op::Out(queue, seen) => {
                let first = queues[*queue].first().copied().unwrap_or(0);
                queues[*queue].drain(..usize::from(first != 0));
                *seen = (slots[number].end == End::Ok).then_some(first);
            }
        }
    }
    for _ in 0..rng.below(3) {
        let number = rng.place(ops.len());
        if let Op::Out(_, Some(seen)) = &mut ops[number] {
            *seen = rng.below(u64::from(value) + 2) as u32;
        }
    }
    let calls: Vec<Call<Op>> = slots
        .iter()
        .zip(&ops)
        .filter(|(slot, _)| slot.end != End::Fail)
        .map(|(slot, op)| Call { op: *op, invoked: slot.invoked, returned: slot.returned() })
        .collect();
    Case { text: write(rng, &slots, &ops), is_right: has_order(&Queues, &calls) }
}

fn request(rng: &mut Rng, value: &mut u32) -> Op {
    let queue = usize::from(rng.once_in(6));
    if rng.once_in(2) {
        *value += 1;
        Op::In(queue, *value)
    } else {
        Op::Out(queue, None)
    }
}

fn write(rng: &mut Rng, slots: &[Slot], ops: &[Op]) -> String {
    let spelling = Spelling::new(rng);
    let mut story = Story::default();
    for (slot, op) in slots.iter().zip(ops) {
        let (f, queue, asked, answered) = match *op {
            Op::In(queue, value) => ("enqueue", queue, value, value),
            Op::Out(queue, seen) => ("dequeue", queue, 0, seen.unwrap_or(0)),
        };
        let mut spell = |value: u32| {
            format!("[{} {}]", spelling.key(rng, queue as u32), spelling.value(rng, value))
        };
        let (input, output) = ([spell(asked), spell(asked)], spell(answered));
        story.operation(slot, f, input, output);
    }
    story.text()
}
