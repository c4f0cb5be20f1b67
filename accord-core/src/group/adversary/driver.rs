//! Dice for the adversarial group: random schedules that are a function of a seed.
//!
//! [`AdversarialGroup::step`] does one thing at a time and says what, so that a harness can put any
//! machine on top. [`AdversarialGroup::settle`] ends the trouble, for checks of what must happen at
//! last.

use super::{AdversarialGroup, Loss};
use crate::group::GroupEvent;
use crate::ids::NodeId;
use crate::rng::Rng;
use alloc::vec::Vec;

/// How often each kind of step is tried, relative to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// A message is given its place in the order.
    pub order: u32,
    /// A member is given its next event.
    pub deliver: u32,
    /// One or more views form.
    pub form: u32,
    /// A member misses a view that waits for it.
    pub abandon: u32,
    /// A member is paused, or its pause ends.
    pub pause: u32,
    /// A member crashes.
    pub crash: u32,
    /// A member starts.
    pub start: u32,
}

impl Weights {
    /// Trouble of every kind, and enough quiet between that work gets done.
    pub const STORMY: Self =
        Self { order: 60, deliver: 120, form: 6, abandon: 3, pause: 3, crash: 1, start: 4 };
    /// Orders and delivers only.
    pub const CALM: Self =
        Self { order: 1, deliver: 2, form: 0, abandon: 0, pause: 0, crash: 0, start: 0 };

    const fn total(&self) -> u32 {
        self.order + self.deliver + self.form + self.abandon + self.pause + self.crash + self.start
    }
}

/// What one step did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// What was tried was not possible.
    Nothing,
    /// Something that no member can notice yet.
    Hidden,
    /// A member is to be given this event.
    Event(NodeId, GroupEvent),
    /// A member crashed: what runs on it must stop.
    Crashed(NodeId),
    /// A member started: what runs on it must be started too.
    Started(NodeId),
}

impl AdversarialGroup {
    /// Does one random thing.
    pub fn step(&mut self, rng: &mut Rng, weights: &Weights) -> Happening {
        let nodes = self.nodes();
        let node = nodes[rng.below(nodes.len() as u64) as usize];
        let mut dice = rng.below(u64::from(weights.total())) as u32;
        let mut drawn = |weight: u32| {
            let hit = dice < weight;
            dice = dice.wrapping_sub(weight);
            hit
        };
        if drawn(weights.order) {
            hidden(self.order(node))
        } else if drawn(weights.deliver) {
            let event = self.deliver_next(node);
            event.map_or(Happening::Nothing, |event| Happening::Event(node, event))
        } else if drawn(weights.form) {
            self.form_random(rng)
        } else if drawn(weights.abandon) {
            hidden(self.abandon(node))
        } else if drawn(weights.pause) {
            self.pause_random(node, rng)
        } else if drawn(weights.crash) {
            self.crash_random(node)
        } else {
            self.start_random(node)
        }
    }

    fn pause_random(&mut self, node: NodeId, rng: &mut Rng) -> Happening {
        let paused = self.is_paused(node);
        if paused {
            self.resume(node);
        } else if self.is_up(node) && rng.chance(1, 2) {
            self.pause(node);
        }
        hidden(paused || self.is_paused(node))
    }

    fn crash_random(&mut self, node: NodeId) -> Happening {
        if !self.is_up(node) {
            return Happening::Nothing;
        }
        self.crash(node);
        Happening::Crashed(node)
    }

    fn start_random(&mut self, node: NodeId) -> Happening {
        if self.is_up(node) {
            return Happening::Nothing;
        }
        self.start(node);
        Happening::Started(node)
    }

    /// Divides those that can be members into one to three sides, and forms views of some of them.
    fn form_random(&mut self, rng: &mut Rng) -> Happening {
        let mut sides: [Vec<NodeId>; 3] = Default::default();
        let count = rng.below(3) + 1;
        for node in self.nodes() {
            if self.can_form(&[node]) && !self.is_paused(node) {
                sides[rng.below(count) as usize].push(node);
            }
        }
        let mut formed = false;
        for side in sides.iter().filter(|side| !side.is_empty()) {
            if rng.chance(1, 4) {
                continue;
            }
            let representative = side[rng.below(side.len() as u64) as usize];
            let loss = match rng.below(4) {
                0 => Loss::Nothing,
                1 => Loss::Ordered,
                2 => Loss::Everything,
                _ => Loss::Beyond(rng.below(16) as u32),
            };
            self.form_view(side, representative, loss);
            formed = true;
        }
        hidden(formed)
    }

    /// Ends all trouble: all nodes that are down start, pauses end, and one view of all forms.
    /// Returns those that were started.
    ///
    /// Give every member its events first, if views wait for it.
    ///
    /// # Panics
    /// If too many views wait for a member.
    pub fn settle(&mut self) -> Vec<NodeId> {
        let nodes = self.nodes();
        let down: Vec<NodeId> = nodes.iter().copied().filter(|node| !self.is_up(*node)).collect();
        for node in &down {
            self.start(*node);
        }
        for node in &nodes {
            self.resume(*node);
        }
        self.form_view(&nodes, nodes[0], Loss::Nothing);
        down
    }

    /// True if nothing is to be ordered or delivered.
    pub fn is_quiet(&self) -> bool {
        self.nodes().iter().all(|node| !self.can_order(*node) && self.peek(*node).is_none())
    }
}

fn hidden(done: bool) -> Happening {
    if done { Happening::Hidden } else { Happening::Nothing }
}
