//! Locks with fencing tokens, and sessions that end.

use std::collections::{BTreeMap, BTreeSet};

use super::Case;
use super::order::{Call, Object, has_order};
use super::rng::Rng;
use super::spell::{Spelling, whole};
use super::story::{End, Slot, Story, effects, slots};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    /// A session acquires the lock; `None`: nobody knows with which token.
    Acquire(u64, Option<u64>),
    Release(u64),
    Use(u64),
    /// The session ends.
    Expire(u64),
}

/// A lock as its tokens show it. Of a hold whose acquisition was not answered nobody knows the
/// session, so it may end at any time.
struct Lock {
    /// Tokens that a release or a use names, or an acquisition was given.
    tokens: Vec<u64>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// Who holds it with which token; the session may be unknown.
    holder: Option<(u64, Option<u64>)>,
    given: BTreeMap<u64, Option<u64>>,
    ended: BTreeSet<u64>,
    seen: u64,
}

/// What an operation of the history does: an acquisition that was not answered is given one of the
/// tokens.
type Step = (Op, Option<u64>);

impl Object for Lock {
    type Op = Step;
    type State = State;

    fn first(&self) -> State {
        State::default()
    }

    fn after(&self, state: &State, (op, given): &Step) -> Option<State> {
        let mut after = state.clone();
        match *op {
            Op::Acquire(session, token) => {
                let owner = token.is_some().then_some(session);
                let token = token.or(*given)?;
                let is_free = match state.holder {
                    None => true,
                    // Its session may have ended.
                    Some((_, owner)) => owner.is_none(),
                };
                let last = state.given.keys().next_back().copied().unwrap_or(0);
                let has_ended = owner.is_some_and(|owner| state.ended.contains(&owner));
                if !is_free || token <= last || has_ended {
                    return None;
                }
                after.holder = Some((token, owner));
                after.given.insert(token, owner);
            }
            Op::Release(token) => {
                if state.holder.is_none_or(|(holder, _)| holder != token) {
                    return None;
                }
                after.holder = None;
            }
            Op::Use(token) => {
                if token < state.seen || !state.given.contains_key(&token) {
                    return None;
                }
                after.seen = token;
            }
            Op::Expire(session) => {
                after.ended.insert(session);
                if state.holder.is_some_and(|(_, owner)| owner == Some(session)) {
                    after.holder = None;
                }
            }
        }
        Some(after)
    }
}

/// Whether some order explains the history, whatever tokens the acquisitions that were not answered
/// were given.
fn is_right(lock: &Lock, calls: &mut Vec<Call<Step>>, from: usize) -> bool {
    let open = (from..calls.len()).find(|n| matches!(calls[*n].op.0, Op::Acquire(_, None)));
    let Some(open) = open else { return has_order(lock, calls) };
    let mut choices: Vec<Option<u64>> = lock.tokens.iter().copied().map(Some).collect();
    choices.push(None);
    choices.into_iter().any(|choice| {
        calls[open].op.1 = choice;
        is_right(lock, calls, open + 1)
    })
}

/// A random history, and whether it is right.
pub(super) fn case(rng: &mut Rng) -> Case {
    let count = 3 + rng.place(5);
    let mut slots = slots(rng, count);
    let mut ops: Vec<Op> = slots.iter().map(|_| request(rng)).collect();
    carry_out(rng, &mut slots, &mut ops);
    for _ in 0..rng.below(3) {
        disturb(rng, &mut slots, &mut ops);
    }
    let tokens: BTreeSet<u64> = ops.iter().filter_map(token).collect();
    let mut calls: Vec<Call<Step>> = slots
        .iter()
        .zip(&ops)
        .filter(|(slot, op)| match slot.end {
            End::Ok => true,
            End::Fail => false,
            // Whether it was accepted is not known, and changes nothing.
            End::Info | End::None => !matches!(op, Op::Use(_)),
        })
        .map(|(slot, op)| Call {
            op: (*op, None),
            invoked: slot.invoked,
            returned: slot.returned(),
        })
        .collect();
    let lock = Lock { tokens: tokens.into_iter().collect() };
    let text = write(rng, &slots, &ops);
    Case { text, is_right: is_right(&lock, &mut calls, 0) }
}

const fn token(op: &Op) -> Option<u64> {
    match *op {
        Op::Acquire(_, token) => token,
        Op::Release(token) | Op::Use(token) => Some(token),
        Op::Expire(_) => None,
    }
}

fn request(rng: &mut Rng) -> Op {
    let session = 1 + rng.below(3);
    match rng.below(8) {
        0..3 => Op::Acquire(session, None),
        3 | 4 => Op::Release(0),
        5 | 6 => Op::Use(0),
        _ => Op::Expire(session),
    }
}

/// Runs what can be, with tokens that were given; what cannot be fails.
fn carry_out(rng: &mut Rng, slots: &mut [Slot], ops: &mut [Op]) {
    let lock = Lock { tokens: Vec::new() };
    let (mut state, mut next) = (State::default(), 1);
    for number in effects(slots) {
        let given: Vec<u64> = state.given.keys().copied().chain([1]).collect();
        let newest = given.iter().max().copied().unwrap_or(1);
        let op = match ops[number] {
            Op::Acquire(session, _) => Op::Acquire(session, Some(next)),
            Op::Release(_) => Op::Release(newest),
            Op::Use(_) => Op::Use(rng.pick(&given)),
            Op::Expire(session) => Op::Expire(session),
        };
        let is_answered = slots[number].end == End::Ok;
        let after = lock.after(&state, &(op, None));
        match (op, after) {
            (_, None) if is_answered => slots[number].end = End::Fail,
            (_, None) => {}
            (_, Some(after)) => state = after,
        }
        ops[number] = match op {
            Op::Acquire(session, Some(token)) => {
                next += u64::from(state.given.contains_key(&token)) * (1 + rng.below(2));
                Op::Acquire(session, is_answered.then_some(token))
            }
            other => other,
        };
    }
    for (slot, op) in slots.iter().zip(ops) {
        match op {
            Op::Acquire(_, token) if slot.end != End::Ok => *token = None,
            Op::Acquire(_, token @ None) => *token = Some(next),
            Op::Release(token @ 0) | Op::Use(token @ 0) => *token = 1,
            _ => {}
        }
    }
}

fn disturb(rng: &mut Rng, slots: &mut [Slot], ops: &mut [Op]) {
    let number = rng.place(ops.len());
    let any = 1 + rng.below(4);
    match &mut ops[number] {
        Op::Acquire(_, Some(token)) | Op::Release(token) | Op::Use(token) => *token = any,
        Op::Acquire(..) => {}
        Op::Expire(session) => *session = 1 + rng.below(3),
    }
    let is_open = matches!(ops[number], Op::Acquire(_, None));
    if slots[number].end == End::Fail && !is_open && rng.once_in(2) {
        slots[number].end = End::Ok;
    }
}

fn write(rng: &mut Rng, slots: &[Slot], ops: &[Op]) -> String {
    let spelling = Spelling::new(rng);
    let mut story = Story::default();
    for (slot, op) in slots.iter().zip(ops) {
        let mut spell = |is_answer: bool| {
            let lock = spelling.key(rng, 0);
            match *op {
                Op::Acquire(session, token) => {
                    let session = whole(rng, session);
                    let token = token.filter(|_| is_answer).map(|token| whole(rng, token));
                    let token = token.map(|token| format!(", :token {token}"));
                    let token = token.unwrap_or_default();
                    format!("{{:session {session}{token}, :lock {lock}}}")
                }
                Op::Release(token) | Op::Use(token) => {
                    format!("{{:lock {lock}, :token {}}}", whole(rng, token))
                }
                Op::Expire(session) => format!("{{:session {}}}", whole(rng, session)),
            }
        };
        let (input, output) = ([spell(false), spell(false)], spell(true));
        let f = match op {
            Op::Acquire(..) => "acquire",
            Op::Release(_) => "release",
            Op::Use(_) => "use",
            Op::Expire(_) => "expire",
        };
        story.operation(slot, f, input, output);
    }
    story.text()
}
