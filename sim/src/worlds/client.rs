//! A client of a simulated world: the task of `accord-net`'s client, what it does, and how it dies.
//!
//! As in the bare world, a client is one life after another. A life that vanishes without a word
//! stands still for ever with its connection open, or its machine closes the connection for it.

use super::env::{MachineClock, StageEnv};
use super::life::{Going, Life};
use super::place::{CLIENT_PORT, Place};
use super::simulator::Simulator;
use super::stage::Stage;
use crate::judge::client_oracle::Hearing;
use crate::plan::options::Options;
use crate::plan::rng::{Concern, Rng};
use crate::workload::{Hands, Wish, Workload};
use crate::world::actor::{CONCURRENT_MAX, config, proves_lease};
use crate::world::env::Env;
use accord_core::client::ClientEvent;
use accord_core::time::{Duration, DurationExt};
use accord_net::client::ClientOptions;
use accord_net::client::raw::RawClient;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// What a life was told and has not heard.
#[derive(Debug, Default)]
struct Inbox {
    events: Mutex<VecDeque<ClientEvent>>,
    more: Notify,
}

impl Inbox {
    fn push(&self, event: &ClientEvent) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.push_back(event.clone());
        self.more.notify_one();
    }

    fn pop(&self) -> Option<ClientEvent> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// A client.
pub(super) struct Actor {
    id: u32,
    options: ClientOptions,
    think: Duration,
    clock: MachineClock,
    heard: Hearing,
    lives_step: u64,
    raw: Option<RawClient>,
    inbox: Arc<Inbox>,
    life: Rc<Life>,
    rng: Rng,
    wishes: Rng,
    outstanding_max: u32,
    concluded: bool,
    /// A fault takes the present life away.
    gone: Rc<Notify>,
}

impl Actor {
    /// A client that has not begun.
    pub(super) fn new(id: u32, options: &Options) -> Self {
        let mut rng = Rng::of(options.seed, Concern::Client, u64::from(id));
        let clock = MachineClock::new(Duration::from_millis(rng.below(10_000)));
        let core = config(options, &mut rng);
        let servers = (1..=options.nodes()).map(|server| Place::Server(server).at(CLIENT_PORT));
        let share = u64::from(CONCURRENT_MAX / options.clients).max(1);
        let outstanding_max = rng.within(1, share) as u32;
        Self {
            id,
            options: ClientOptions {
                session_timeout: Duration::from_millis(core.session_timeout_ms.into()),
                request_timeout: core.request_timeout,
                attach_timeout: core.attach_timeout,
                requests_max: core.requests_max,
                reads_max: core.reads_max,
                watches_max: core.watches_max,
                patience: core.patience,
                lease: proves_lease(id),
                ..ClientOptions::new(servers)
            },
            think: options.think,
            clock,
            heard: Hearing::new(u64::from(id)),
            lives_step: u64::from(options.clients),
            raw: None,
            inbox: Arc::default(),
            life: Life::new(),
            wishes: Rng::of(options.seed, Concern::Workload, u64::from(id)),
            rng,
            outstanding_max,
            concluded: false,
            gone: Rc::default(),
        }
    }

    fn with_hands(&mut self, env: &mut Env, act: impl FnOnce(&mut Hands<'_>)) -> Option<Wish> {
        let raw = self.raw.as_ref()?;
        let mut wish = None;
        let (wishes, heard, client) = (&mut self.wishes, &mut self.heard, self.id);
        raw.with_core(|core, now| {
            act(&mut Hands {
                client,
                life: heard.life,
                rng: wishes,
                env,
                core,
                now,
                floors: &mut heard.floors,
                outstanding: &mut heard.outstanding,
                wish: &mut wish,
            });
        });
        wish
    }

    /// Begins a life.
    fn start<S: Simulator>(&mut self, stage: &Rc<Stage>) {
        self.inbox = Arc::default();
        self.life = Life::new();
        self.concluded = false;
        let (place, seed) = (Place::Client(self.id), self.rng.next_u64());
        let (life, clock) = (self.life.clone(), self.clock.clone());
        let env = StageEnv::<S>::new(stage, place, life, clock, seed);
        let inbox = self.inbox.clone();
        let hears = Box::new(move |event: &ClientEvent| inbox.push(event));
        self.raw = Some(RawClient::start(&env, self.options.clone(), hears));
        stage.tell(place, || "begins a life".to_owned());
        self.with_world(stage, |me, env, workload| {
            me.with_hands(env, |hands| workload.begin(hands));
        });
    }

    fn with_world(
        &mut self,
        stage: &Stage,
        act: impl FnOnce(&mut Self, &mut Env, &mut dyn Workload),
    ) {
        let workload = &mut **stage.workload_of(self.id).borrow_mut();
        act(self, &mut stage.env.borrow_mut(), workload);
    }

    fn end_life(&mut self, stage: &Stage) {
        self.with_world(stage, |me, env, workload| {
            workload.on_life_ended(me.heard.life, env.now.as_nanos());
            env.judges.watches.on_life_ended(me.heard.life);
            if let Some(session) = me.heard.session {
                env.judges.leases.on_gone(session);
            }
        });
        self.raw = None;
        self.heard = Hearing::new(self.heard.life + self.lives_step);
    }

    /// The client is gone without a word, and another begins in its place.
    fn vanish<S: Simulator>(&mut self, stage: &Rc<Stage>) {
        // Its machine may still say that the connection is closed, or not.
        let says_so = self.rng.percent(50);
        self.life.set(if says_so { Going::Gone } else { Going::Still });
        self.end_life(stage);
        self.start::<S>(stage);
    }

    /// Hears what the life was told.
    fn hear<S: Simulator>(&mut self, stage: &Rc<Stage>) {
        let inbox = self.inbox.clone();
        while let Some(event) = inbox.pop() {
            let place = Place::Client(self.id);
            stage.tell(place, || format!("is told {event:?}"));
            let mut over = false;
            self.with_world(stage, |me, env, workload| {
                env.counts.core_events += 1;
                over = me.heard.on_event(env, &event);
                me.with_hands(env, |hands| workload.on_event(hands, &event));
            });
            if over {
                self.end_life(stage);
                return self.start::<S>(stage);
            }
        }
    }

    /// Notes until when the client believes in its session.
    fn believe(&self, stage: &Stage) {
        let belief = self.raw.as_ref().and_then(|raw| {
            raw.look(|core| Some((core.session()?, self.clock.world(core.lease_ends()?))))
        });
        if let Some((session, until)) = belief {
            stage.env.borrow_mut().judges.leases.on_belief(session, until);
        }
    }

    /// The client has time.
    fn on_think<S: Simulator>(&mut self, stage: &Rc<Stage>) {
        self.believe(stage);
        let (stormy, left) = {
            let env = stage.env.borrow();
            (env.stormy, env.operations_left > 0)
        };
        let mut wish = None;
        if stormy && left && self.heard.outstanding < self.outstanding_max {
            self.with_world(stage, |me, env, workload| {
                env.operations_left -= 1;
                wish = me.with_hands(env, |hands| workload.step(hands));
            });
        } else if !stormy && !self.concluded {
            self.try_to_conclude(stage);
        }
        match wish {
            None => {}
            Some(Wish::Vanish) => self.vanish::<S>(stage),
            Some(Wish::HangUp) => stage.break_streams(|end| end.here == Place::Client(self.id)),
        }
    }

    fn try_to_conclude(&mut self, stage: &Stage) {
        let mut concluded = false;
        self.with_world(stage, |me, env, workload| {
            me.with_hands(env, |hands| {
                concluded =
                    hands.is_ready() && hands.outstanding() == 0 && workload.conclude(hands);
            });
        });
        self.concluded = concluded;
    }

    fn pause(&mut self, stormy: bool) -> Duration {
        let think = if stormy { self.think } else { self.think.scaled(1, 4) };
        self.rng.duration(Duration::ZERO, think.times(2))
    }

    /// What keeps the client from rest, if anything does.
    pub(super) fn unrest(&self) -> Option<String> {
        let id = self.id;
        match &self.raw {
            None => Some(format!("client {id} has no life")),
            Some(raw) if !raw.look(accord_core::client::Client::is_ready) => {
                Some(format!("client {id} is not connected"))
            }
            Some(_) if !self.concluded => Some(format!("client {id} waits for its last answers")),
            Some(_) => None,
        }
    }

    /// The world ends: what is outstanding will never be known.
    pub(super) fn give_up(&mut self, stage: &Stage) {
        self.with_world(stage, |me, env, workload| {
            workload.on_life_ended(me.heard.life, env.now.as_nanos());
        });
    }

    /// A fault takes it away.
    pub(super) fn take_away(&self) {
        self.gone.notify_one();
    }
}

/// The machine of a client, for as long as the world lasts.
pub(super) fn machine<S: Simulator>(
    stage: &Rc<Stage>,
    id: u32,
) -> impl Future<Output = ()> + use<S> {
    Life::new().task(stage, live::<S>(stage.clone(), id))
}

async fn live<S: Simulator>(stage: Rc<Stage>, id: u32) {
    stage.set_now(S::now());
    let gone = stage.client(id).borrow().gone.clone();
    stage.client(id).borrow_mut().start::<S>(&stage);
    loop {
        let stormy = stage.env.borrow().stormy;
        let pause = stage.client(id).borrow_mut().pause(stormy);
        let mut think = Box::pin(S::sleep(pause));
        loop {
            let inbox = stage.client(id).borrow().inbox.clone();
            tokio::select! {
                biased;
                () = gone.notified() => {
                    stage.set_now(S::now());
                    stage.client(id).borrow_mut().vanish::<S>(&stage);
                }
                () = inbox.more.notified() => {
                    stage.set_now(S::now());
                    stage.client(id).borrow_mut().hear::<S>(&stage);
                }
                () = &mut think => break,
            }
        }
        stage.set_now(S::now());
        stage.client(id).borrow_mut().on_think::<S>(&stage);
    }
}
