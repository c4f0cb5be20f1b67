//! Driving the adversarial group in the world's time.
//!
//! The group does nothing by itself. Here its orders and deliveries are put on the agenda with the
//! network's delays, and views form when the cuts, crashes and starts of the plan say so, a little
//! later than they happened, and now and then for no reason at all.
//!
//! Invariant: whoever can be given something has a delivery on the agenda, so nothing is forgotten.

use crate::plan::options::Options;
use crate::world::env::{Adversary, Event, Surroundings};
use accord_core::group::adversary::Loss;
use accord_core::ids::NodeId;
use accord_core::time::Duration;

impl Surroundings {
    /// Puts on the agenda what the adversary has to do by now.
    pub fn wake_adversary(&mut self, options: &Options) {
        let Some(adversary) = &mut self.adversary else { return };
        for node in 1..=options.nodes() {
            let (id, slot) = (NodeId(node), node as usize);
            if !adversary.ordering[slot] && adversary.group.can_order(id) {
                adversary.ordering[slot] = true;
                let delay = adversary.rng.duration(options.delay_min, options.delay_max);
                self.agenda.push(self.now.after(delay), Event::Order(node));
            }
            if !adversary.delivering[slot] && adversary.group.peek(id).is_some() {
                adversary.delivering[slot] = true;
                let delay = adversary.rng.duration(Duration::ZERO, options.delay_max);
                self.agenda.push(self.now.after(delay), Event::Deliver(node));
            }
        }
    }

    /// Lets new views form soon, since something has changed.
    pub fn reform_soon(&mut self) {
        let Some(adversary) = &mut self.adversary else { return };
        let delay = Duration::from_millis(adversary.rng.log_uniform(1, 400));
        self.agenda.push(self.now.after(delay), Event::Reform);
    }

    /// Forms the views that the cuts allow. `up`: the servers that run and are not paused.
    pub fn reform(&mut self, options: &Options, up: &[u32]) {
        let sides = self.sides(up);
        let stormy = self.stormy;
        let Some(adversary) = &mut self.adversary else { return };
        for side in sides {
            adversary.form(&side, stormy);
        }
        if stormy {
            let pause = Duration::from_millis(adversary.rng.log_uniform(100, 10_000));
            self.agenda.push(self.now.after(pause), Event::Reform);
        }
        self.wake_adversary(options);
    }

    /// Divides servers into sides whose members all hear each other.
    fn sides(&self, up: &[u32]) -> Vec<Vec<u32>> {
        let mut sides: Vec<Vec<u32>> = Vec::new();
        for node in up {
            let hears = |other: &u32| {
                !self.network.is_cut(*node, *other) && !self.network.is_cut(*other, *node)
            };
            match sides.iter_mut().find(|side| side.iter().all(hears)) {
                Some(side) => side.push(*node),
                None => sides.push(vec![*node]),
            }
        }
        sides
    }
}

impl Adversary {
    fn form(&mut self, side: &[u32], stormy: bool) {
        let members: Vec<NodeId> = side.iter().map(|node| NodeId(*node)).collect();
        if !self.group.can_form(&members) {
            return;
        }
        let representative = *self.rng.pick(&members);
        let loss = match self.rng.below(4) {
            _ if !stormy => Loss::Nothing,
            0 => Loss::Nothing,
            1 => Loss::Ordered,
            2 => Loss::Everything,
            _ => Loss::Beyond(self.rng.below(16) as u32),
        };
        self.group.form_view(&members, representative, loss);
        if stormy && self.rng.percent(10) {
            self.group.abandon(*self.rng.pick(&members));
        }
    }
}
