//! The fault driver of a simulated world: begins and ends faults, heals, and waits for rest.
//!
//! It is called between the simulator's steps, from outside of all machines, and only by what it
//! does to [`Control`] and to the [`Harness`] does anything go wrong.

use super::harness::Harness;
use super::machines::Driven;
use super::simulator::Control;
use crate::judge::Property;
use crate::world::clock::WorldTime;
use crate::world::env::Event;
use crate::world::faults::{FaultEngine, Faults};
use crate::world::who::Actor;
use accord_core::server::Server;
use accord_core::time::{Duration, DurationExt, Span};
use std::rc::Rc;

/// How often the healed world is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How long a cluster that lost its majority has to find out.
const AMNESIA_NOTICED: Duration = Duration::from_secs(20);

/// Who makes things go wrong, and sees that they are right in the end.
pub(super) struct FaultDriver {
    pub(super) harness: Rc<Harness>,
    /// True if streams over a way that is free again are reset.
    resets: bool,
    /// What the faults of the plan have done.
    pub(super) faults: Faults,
    healed_at: Option<WorldTime>,
    ended: bool,
}

impl FaultDriver {
    /// For a world in which nothing has happened.
    pub(super) fn new(harness: Rc<Harness>, resets: bool) -> Self {
        {
            let env = &mut *harness.env.borrow_mut();
            for (number, fault) in harness.plan.faults.iter().enumerate() {
                env.agenda.push(WorldTime::START.after(fault.at), Event::FaultBegins(number));
            }
            env.agenda.push(WorldTime::START.after(harness.options().safety), Event::Look);
        }
        Self { harness, resets, faults: Faults::default(), healed_at: None, ended: false }
    }

    /// Does what is due at `now`. True if the world has ended.
    pub(super) fn on_time(&mut self, now: WorldTime, control: &mut dyn Control) -> bool {
        self.harness.set_now(now);
        self.see_to_stopped(control);
        while !self.has_ended() {
            let due = {
                let env = &mut *self.harness.env.borrow_mut();
                let due = env.agenda.next_at().is_some_and(|at| at <= now);
                if due { env.agenda.pop() } else { None }
            };
            let Some((_, event)) = due else { break };
            self.on_event(event, control);
        }
        self.harness.apply_cuts(control, self.resets);
        self.has_ended()
    }

    fn has_ended(&self) -> bool {
        self.ended || self.harness.env.borrow().violation.is_some()
    }

    /// When it has something to do next, at the latest.
    pub(super) fn next_at(&self) -> Option<WorldTime> {
        self.harness.env.borrow().agenda.next_at()
    }

    pub(super) fn schedule(&self, after: Duration, event: Event) {
        let env = &mut *self.harness.env.borrow_mut();
        let at = env.now.after(after);
        env.agenda.push(at, event);
    }

    pub(super) fn tell(&self, line: impl FnOnce() -> String) {
        self.harness.env.borrow_mut().tell(Actor::World, line);
    }

    fn on_event(&mut self, event: Event, control: &mut dyn Control) {
        match event {
            Event::FaultBegins(number) => self.engine(control, |mut engine| engine.begin(number)),
            Event::FaultEnds(number) => self.engine(control, |mut engine| engine.end(number)),
            Event::Restart { node, incarnation } => {
                let (current, free) = {
                    let machine = self.harness.machine(node).borrow();
                    (machine.stopped && machine.starts == incarnation, machine.downs == 0)
                };
                if current {
                    self.harness.machine(node).borrow_mut().stopped = false;
                    if free {
                        control.restart(node);
                    }
                }
            }
            Event::Look => self.look(control),
            other => unreachable!("{other:?} is of the bare world"),
        }
    }

    /// Processes that stopped themselves: their disks failed, and their machines start again.
    fn see_to_stopped(&self, control: &mut dyn Control) {
        while let Some(node) = self.next_stopped() {
            let (incarnation, after) = {
                let machine = &mut *self.harness.machine(node).borrow_mut();
                if machine.served.is_none() {
                    continue;
                }
                machine.stop();
                machine.engine.borrow_mut().lose_power();
                machine.stopped = true;
                (machine.starts, machine.draw_restart())
            };
            self.harness.env.borrow_mut().counts.crashes += 1;
            control.crash(node);
            self.schedule(after, Event::Restart { node, incarnation });
        }
    }

    fn next_stopped(&self) -> Option<u32> {
        self.harness.stopped.borrow_mut().pop_front()
    }

    /// Ends the storm, or sees whether the healed world has come to rest.
    fn look(&mut self, control: &mut dyn Control) {
        let now = self.harness.env.borrow().now;
        match self.healed_at {
            None => self.heal(control),
            Some(healed_at) => {
                let waited = now.as_nanos() - healed_at.as_nanos();
                self.see_whether_at_rest(waited);
            }
        }
        self.schedule(POLL_INTERVAL, Event::Look);
    }

    fn see_whether_at_rest(&mut self, waited_ns: u64) {
        if self.faults.amnesia.is_some() {
            self.ended = waited_ns > AMNESIA_NOTICED.to_nanos();
            return;
        }
        let unrest = self.unrest();
        self.ended = unrest.is_none();
        let bound = self.harness.options().converge;
        if let Some(unrest) = unrest
            && waited_ns > bound.to_nanos()
        {
            let words = format!("{} after the heal, {unrest}", Span(bound));
            self.harness.fail(Property::Convergence, words);
        }
    }

    fn heal(&mut self, control: &mut dyn Control) {
        self.tell(|| "is healed".to_owned());
        self.engine(control, |mut engine| engine.end_all());
        let env = &mut *self.harness.env.borrow_mut();
        env.stormy = false;
        env.network.calm();
        self.healed_at = Some(env.now);
    }

    /// What keeps the healed world from rest, if anything does.
    fn unrest(&self) -> Option<String> {
        let mut common = None;
        for machine in &self.harness.machines {
            let machine = machine.borrow();
            let id = machine.id;
            let Some(seen) = machine.look(position) else { return Some(format!("n{id} is down")) };
            let here = match seen {
                Ok(here) => here,
                Err(why) => return Some(format!("n{id} is not primary: {why}")),
            };
            let (there, other) = *common.get_or_insert((here, id));
            if here != there {
                return Some(format!("n{id} is at {here:?} and n{other} at {there:?}"));
            }
            if here.1 != here.2.index {
                return Some(format!("n{id} has applied up to {} of {}", here.1, here.2));
            }
        }
        self.harness.clients.iter().find_map(|client| client.borrow().unrest())
    }

    /// Does something with the executor of faults.
    fn engine(&mut self, control: &mut dyn Control, act: impl FnOnce(FaultEngine<'_, Driven<'_>>)) {
        act(FaultEngine(&mut Driven { driver: self, control }));
    }
}

type Position = (accord_core::ids::Epoch, accord_core::ids::Index, accord_core::ids::LogPosition);

fn position(server: &Server) -> Result<Position, String> {
    let replica = server.replica();
    match replica.open_epoch() {
        None => Err(format!("{:?}", replica.status())),
        Some(epoch) => Ok((epoch, server.applied(), replica.log().last())),
    }
}
