//! The search for an order: Wing & Gong's algorithm with Lowe's memoisation.
//!
//! Invocations and returns stand in a doubly linked list in the order of the history. An operation
//! whose invocation is before every return still in the list may come next in the order; it is
//! lifted out with its return. At a return the search is stuck and goes back. A configuration (the
//! set of operations ordered so far, and the state) that was tried once is not tried again.
//!
//! Two additions. An operation that never changes the state is ordered as soon as its result fits:
//! whatever order exists with it later exists with it now. And [`Free`] operations, which are used
//! to shrink explanations, may be applied any number of times, up to a given event: they belong to
//! no configuration.
//!
//! Sources: Wing & Gong, "Testing and verifying concurrent objects", 1993; Lowe, "Testing for
//! linearizability", 2017.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::BuildHasherDefault;

use super::bits::{Bits, BitsKey};
use crate::check::budget::BudgetLeft;
use crate::spec::Spec;

/// One operation of a partition, as the search sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call<Op> {
    /// Its index in the history's operations.
    pub index: usize,
    /// The operation with its result.
    pub op: Op,
    /// The event of its invocation.
    pub invoked: u64,
    /// The event by which it had taken effect; `u64::MAX`: at any time from then on, or never.
    pub returned: u64,
}

impl<Op> Call<Op> {
    /// Whether the operation took effect for certain.
    pub const fn is_required(&self) -> bool {
        self.returned != u64::MAX
    }
}

/// An operation that may be applied any number of times, or never.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Free<Op> {
    /// The operation.
    pub op: Op,
    /// It takes effect before this event, if at all; `u64::MAX`: at any time.
    pub until: u64,
}

/// What a search found.
#[derive(Clone, Debug)]
pub enum Found<State> {
    /// An order: the calls' numbers. Calls with an unknown outcome may be missing.
    Ordered(Vec<usize>),
    /// There is none.
    Stuck(Stuck<State>),
    /// Steps or memory ran out.
    Exhausted,
}

/// Where the search got furthest.
#[derive(Clone, Debug)]
pub struct Stuck<State> {
    /// The return that no order gets past: its event.
    pub event: u64,
    /// An order that gets there: the calls' numbers.
    pub order: Vec<usize>,
    /// The state after that order.
    pub state: State,
}

/// Searches for an order of `calls`, with some of `free` between them, that `spec` allows.
pub fn search<S: Spec>(
    spec: &S,
    calls: &[Call<S::Op>],
    free: &[Free<S::Op>],
    left: &mut BudgetLeft,
) -> Found<S::State> {
    Search::new(spec, calls, free).run(left)
}

/// A place in the list: 0 is the head, which is also past the end.
type Node = usize;

#[derive(Clone, Copy, Debug)]
enum Cursor {
    /// At a node of the list.
    Node(Node),
    /// Past the operations that may come next; at a free one.
    Free(usize),
}

/// One decision.
struct Frame<State> {
    at: Cursor,
    /// The state before it.
    state: State,
    /// The latest invocation before it.
    latest: u64,
}

struct Search<'a, S: Spec> {
    spec: &'a S,
    calls: &'a [Call<S::Op>],
    free: &'a [Free<S::Op>],
    /// Whether ordering a pure operation first shuts nothing out: free operations that end may have
    /// to come before it.
    is_eager: bool,
    list: List,
    ordered: Bits,
    state: S::State,
    /// The latest invocation of those ordered: the point reached in time.
    latest: u64,
    required_left: usize,
    /// The return at which the search is stuck.
    blocked: Node,
    stack: Vec<Frame<S::State>>,
    cache: HashSet<(BitsKey, S::State), BuildHasherDefault<DefaultHasher>>,
    cache_bytes: usize,
    furthest: Option<Stuck<S::State>>,
}

enum Step {
    Go(Cursor),
    Back,
}

impl<'a, S: Spec> Search<'a, S> {
    fn new(spec: &'a S, calls: &'a [Call<S::Op>], free: &'a [Free<S::Op>]) -> Self {
        Self {
            spec,
            calls,
            free,
            is_eager: free.iter().all(|free| free.until == u64::MAX),
            list: List::new(calls),
            ordered: Bits::new(calls.iter().map(Call::is_required)),
            state: spec.initial(),
            latest: 0,
            blocked: 0,
            required_left: calls.iter().filter(|call| call.is_required()).count(),
            stack: Vec::new(),
            cache: HashSet::default(),
            cache_bytes: 0,
            furthest: None,
        }
    }

    fn run(mut self, left: &mut BudgetLeft) -> Found<S::State> {
        let mut cursor = self.list.first();
        while self.required_left > 0 {
            if !left.step() || self.cache_bytes > left.cache_bytes_max {
                return Found::Exhausted;
            }
            let step = match cursor {
                Cursor::Node(node) => self.on_node(node),
                Cursor::Free(number) => self.on_free(number),
            };
            cursor = match step {
                Step::Go(cursor) => cursor,
                Step::Back => match self.go_back() {
                    Some(cursor) => cursor,
                    None => return Found::Stuck(self.furthest()),
                },
            };
        }
        Found::Ordered(self.order())
    }

    fn on_node(&mut self, node: Node) -> Step {
        let Some(number) = self.list.call_at(node) else {
            self.blocked = node;
            return Step::Go(Cursor::Free(0));
        };
        let op = &self.calls[number].op;
        let next = Step::Go(Cursor::Node(self.list.next[node]));
        let Some(after) = self.spec.step(&self.state, op) else {
            return next;
        };
        self.ordered.set(number);
        if !self.is_new(&after) {
            self.ordered.clear(number);
            // What fits without changing anything can come first: if that failed, all else does.
            return if self.is_eager && self.spec.is_pure(op) { Step::Back } else { next };
        }
        let before = std::mem::replace(&mut self.state, after);
        self.stack.push(Frame { at: Cursor::Node(node), state: before, latest: self.latest });
        self.latest = self.latest.max(self.calls[number].invoked);
        self.list.lift(number);
        self.required_left -= usize::from(self.calls[number].is_required());
        Step::Go(self.list.first())
    }

    fn on_free(&mut self, number: usize) -> Step {
        let Some(Free { op, until }) = self.free.get(number) else {
            self.note_furthest();
            return Step::Back;
        };
        if self.latest < *until
            && let Some(after) = self.spec.step(&self.state, op)
            && self.is_new(&after)
        {
            let before = std::mem::replace(&mut self.state, after);
            let at = Cursor::Free(number);
            self.stack.push(Frame { at, state: before, latest: self.latest });
            return Step::Go(self.list.first());
        }
        Step::Go(Cursor::Free(number + 1))
    }

    /// Undoes decisions up to one with an alternative.
    fn go_back(&mut self) -> Option<Cursor> {
        loop {
            let frame = self.stack.pop()?;
            self.state = frame.state;
            self.latest = frame.latest;
            match frame.at {
                Cursor::Free(number) => return Some(Cursor::Free(number + 1)),
                Cursor::Node(node) => {
                    let number = self.list.call_at(node).expect("frames stand at calls");
                    self.list.put_back(number);
                    self.ordered.clear(number);
                    self.required_left += usize::from(self.calls[number].is_required());
                    if !self.is_eager || !self.spec.is_pure(&self.calls[number].op) {
                        return Some(Cursor::Node(self.list.next[node]));
                    }
                }
            }
        }
    }

    fn is_new(&mut self, state: &S::State) -> bool {
        let key = self.ordered.key();
        let bytes = key.bytes() + self.spec.state_bytes(state) + CACHE_ENTRY_BYTES;
        let new = self.cache.insert((key, state.clone()));
        self.cache_bytes += if new { bytes } else { 0 };
        new
    }

    /// Remembers how the search got to where it is, if it never got further. Only when it is about
    /// to go back: writing the order down takes as long as the order is.
    fn note_furthest(&mut self) {
        let event = self.list.event[self.blocked];
        if self.furthest.as_ref().is_none_or(|furthest| furthest.event < event) {
            // Free operations after the last ordered one were tries that led nowhere.
            let is_free = |frame: &&Frame<S::State>| matches!(frame.at, Cursor::Free(_));
            let tries = self.stack.iter().rev().take_while(is_free);
            let state = tries.last().map_or(&self.state, |frame| &frame.state).clone();
            self.furthest = Some(Stuck { event, order: self.order(), state });
        }
    }

    fn furthest(&mut self) -> Stuck<S::State> {
        self.furthest.take().expect("a search that ends was stuck somewhere")
    }

    fn order(&self) -> Vec<usize> {
        let call = |frame: &Frame<S::State>| match frame.at {
            Cursor::Node(node) => self.list.call_at(node),
            Cursor::Free(_) => None,
        };
        self.stack.iter().filter_map(call).collect()
    }
}

/// Invocations and returns in the order of the history. Node 0 is the head; call `i` has the nodes
/// `invocation[i]` and, if it is required, `ret[i]`.
struct List {
    next: Vec<Node>,
    prev: Vec<Node>,
    event: Vec<u64>,
    call: Vec<Option<usize>>,
    invocation: Vec<Node>,
    ret: Vec<Node>,
}

impl List {
    fn new<Op>(calls: &[Call<Op>]) -> Self {
        let mut events: Vec<(u64, bool, usize)> = Vec::with_capacity(calls.len() * 2);
        for (number, call) in calls.iter().enumerate() {
            events.push((call.invoked, true, number));
            if call.is_required() {
                events.push((call.returned, false, number));
            }
        }
        events.sort_unstable();
        let nodes_count = events.len() + 1;
        let mut list = Self {
            next: (1..nodes_count).chain([0]).collect(),
            prev: [nodes_count - 1].into_iter().chain(0..nodes_count - 1).collect(),
            event: vec![u64::MAX],
            call: vec![None],
            invocation: vec![0; calls.len()],
            ret: vec![0; calls.len()],
        };
        for (place, (event, is_invocation, number)) in events.into_iter().enumerate() {
            list.event.push(event);
            list.call.push(is_invocation.then_some(number));
            let nodes = if is_invocation { &mut list.invocation } else { &mut list.ret };
            nodes[number] = place + 1;
        }
        list
    }

    fn first(&self) -> Cursor {
        Cursor::Node(self.next[0])
    }

    fn call_at(&self, node: Node) -> Option<usize> {
        self.call[node]
    }

    fn lift(&mut self, number: usize) {
        for node in [self.invocation[number], self.ret[number]] {
            if node != 0 {
                let (prev, next) = (self.prev[node], self.next[node]);
                self.next[prev] = next;
                self.prev[next] = prev;
            }
        }
    }

    fn put_back(&mut self, number: usize) {
        for node in [self.ret[number], self.invocation[number]] {
            if node != 0 {
                let (prev, next) = (self.prev[node], self.next[node]);
                self.next[prev] = node;
                self.prev[next] = node;
            }
        }
    }
}

/// What the cache's table itself needs for an entry, about.
const CACHE_ENTRY_BYTES: usize = 48;
