//! What all machines of a world share: time, judges, trace, links, workloads.
//!
//! One thread runs everything, and everything that happens is put into one order here: the order in
//! which it is done. Simulators may let machines run some way ahead of each other, so this order
//! and not their clocks is what "before" means to the judges.

use super::client::ClientHost;
use super::host::Host;
use super::machine::Machine;
use super::process::OnPanic;
use super::simulator::Control;
use crate::judge::Property;
use crate::plan::Plan;
use crate::plan::options::Options;
use crate::workload::{self, Workload};
use crate::world::clock::WorldTime;
use crate::world::env::Surroundings;
use crate::world::event_kind::EventKind;
use crate::world::network::Network;
use crate::world::trace::Story;
use accord_core::group::ViewId;
use accord_core::time::Duration;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::{Rc, Weak};
use std::task::Waker;

/// What the world's own network adds to the simulator's delays. Duplicates, and datagrams that are
/// overtaken, come some times this later.
const WRAPPER_DELAY_MAX: Duration = Duration::from_micros(800);

/// What all machines of a world share.
pub(super) struct Harness {
    pub(super) plan: Plan,
    pub(super) env: RefCell<Surroundings>,
    pub(super) workloads: Vec<RefCell<Box<dyn Workload>>>,
    pub(super) machines: Vec<RefCell<Machine>>,
    pub(super) clients: Vec<RefCell<ClientHost>>,
    /// Servers that stopped themselves, until the fault driver sees to them.
    pub(super) stopped: RefCell<VecDeque<u32>>,
    /// The views that servers were told.
    pub(super) views: RefCell<BTreeSet<ViewId>>,
    cuts: RefCell<BTreeMap<(Host, Host), u32>>,
    /// Links that were cut since the fault driver looked last, or free again.
    changed: RefCell<BTreeSet<(Host, Host)>>,
    ends: RefCell<Vec<Weak<StreamEnd>>>,
}

/// One end of a stream, as the world can break it.
#[derive(Debug)]
pub(super) struct StreamEnd {
    pub(super) here: Host,
    pub(super) there: Host,
    broken: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl StreamEnd {
    /// True if the world broke it. Otherwise `waker` is woken when it does.
    pub(super) fn is_broken(&self, waker: &Waker) -> bool {
        if self.broken.get() {
            return true;
        }
        let waiting = &mut *self.waiting.borrow_mut();
        if !waiting.iter().any(|other| other.will_wake(waker)) {
            // A stream has a reader and a writer; whoever else is here has moved on.
            waiting.truncate(3);
            waiting.insert(0, waker.clone());
        }
        false
    }

    fn break_off(&self) {
        self.broken.set(true);
        self.waiting.take().into_iter().for_each(Waker::wake);
    }
}

impl OnPanic for Harness {
    fn on_panic(&self, words: String) {
        self.fail(Property::Invariants, words);
    }
}

impl Harness {
    /// A world that has not begun.
    pub(super) fn new(plan: Plan, story: Option<Story>) -> Rc<Self> {
        plan.check();
        let options = &plan.options;
        let machines = (1..=options.nodes()).map(|id| RefCell::new(Machine::new(id, options)));
        let clients = (1..=options.clients).map(|id| RefCell::new(ClientHost::new(id, options)));
        let workloads = options.workloads.iter();
        let workloads = workloads.map(|kind| RefCell::new(workload::create(*kind, options)));
        let mut env = Surroundings::new(options, story);
        let (delay_min, delay_max) = (Duration::ZERO, WRAPPER_DELAY_MAX);
        env.network = Network::new(&Options { delay_min, delay_max, ..options.clone() });
        Rc::new(Self {
            env: RefCell::new(env),
            workloads: workloads.collect(),
            machines: machines.collect(),
            clients: clients.collect(),
            stopped: RefCell::default(),
            views: RefCell::default(),
            cuts: RefCell::default(),
            changed: RefCell::default(),
            ends: RefCell::default(),
            plan,
        })
    }

    pub(super) const fn options(&self) -> &Options {
        &self.plan.options
    }

    pub(super) fn machine(&self, server: u32) -> &RefCell<Machine> {
        &self.machines[server as usize - 1]
    }

    pub(super) fn client(&self, client: u32) -> &RefCell<ClientHost> {
        &self.clients[client as usize - 1]
    }

    pub(super) fn workload_of(&self, client: u32) -> &RefCell<Box<dyn Workload>> {
        &self.workloads[(client as usize - 1) % self.workloads.len()]
    }

    /// It is at least `now`.
    pub(super) fn set_now(&self, now: WorldTime) {
        let env = &mut *self.env.borrow_mut();
        env.now = env.now.max(now);
    }

    /// Something happens: it goes into the trace.
    pub(super) fn event(&self, now: WorldTime, who: Host, what: EventKind, bytes: &[u8]) {
        let env = &mut *self.env.borrow_mut();
        env.now = env.now.max(now);
        env.trace.event(env.now, who.actor(), what, bytes);
    }

    pub(super) fn tell(&self, who: Host, line: impl FnOnce() -> String) {
        self.env.borrow_mut().tell(who.actor(), line);
    }

    /// A property does not hold.
    pub(super) fn fail(&self, property: Property, detail: impl Into<String>) {
        self.env.borrow_mut().fail(property, detail);
    }

    /// How much later each copy of a datagram is sent; none: it is lost. What the way takes in any
    /// case is the simulator's business.
    pub(super) fn fates(&self, from: Host, to: Host) -> Vec<Duration> {
        let (Host::Server(from), Host::Server(to)) = (from, to) else { return Vec::new() };
        let env = &mut *self.env.borrow_mut();
        let now = env.now;
        let arrivals = env.network.send(now, from, to);
        let later = |at: WorldTime| Duration::from_nanos(at.as_nanos() - now.as_nanos());
        [arrivals.first, arrivals.second].into_iter().flatten().map(later).collect()
    }

    /// Cuts the way from one host to another once more, or once less.
    pub(super) fn cut(&self, from: Host, to: Host, begin: bool) {
        let cuts = &mut *self.cuts.borrow_mut();
        let count = cuts.entry((from, to)).or_default();
        let changed = if begin { count.checked_add(1) } else { count.checked_sub(1) };
        *count = changed.expect("a fault ends once, after it began");
        if *count == u32::from(begin) {
            self.changed.borrow_mut().insert((from, to));
        }
    }

    /// True if nothing gets from one host to the other.
    pub(super) fn is_cut(&self, from: Host, to: Host) -> bool {
        self.cuts.borrow().get(&(from, to)).is_some_and(|count| *count > 0)
    }

    /// Lets the simulator know which ways are cut now. `resets`: streams over a way that is free
    /// again are reset.
    pub(super) fn apply_cuts(&self, control: &mut dyn Control, resets: bool) {
        for (from, to) in std::mem::take(&mut *self.changed.borrow_mut()) {
            let cut = self.is_cut(from, to);
            control.set_cut(from, to, cut);
            if resets && !cut {
                self.break_streams(|end| {
                    (end.here, end.there) == (from, to) || (end.here, end.there) == (to, from)
                });
            }
        }
    }

    /// One end of a new stream.
    pub(super) fn stream_end(&self, here: Host, there: Host) -> Rc<StreamEnd> {
        let (broken, waiting) = Default::default();
        let end = Rc::new(StreamEnd { here, there, broken, waiting });
        let ends = &mut *self.ends.borrow_mut();
        ends.retain(|end| end.strong_count() > 0);
        ends.push(Rc::downgrade(&end));
        end
    }

    /// Breaks streams at these ends.
    pub(super) fn break_streams(&self, which: impl Fn(&StreamEnd) -> bool) {
        let ends: Vec<Rc<StreamEnd>> =
            self.ends.borrow().iter().filter_map(Weak::upgrade).filter(|end| which(end)).collect();
        ends.iter().for_each(|end| end.break_off());
    }
}
