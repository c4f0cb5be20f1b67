//! A client of a simulated world: the task of `accord-net`'s client, what it does, and how it dies.
//!
//! As in the bare world, a client is one life after another. A life that vanishes without a word
//! stands still for ever with its connection open, or its machine closes the connection for it.

use super::env::{HostEnv, MachineClock};
use super::harness::Harness;
use super::host::{CLIENT_PORT, Host};
use super::process::{Process, RunState};
use super::simulator::Simulator;
use crate::judge::client_oracle::ClientOracle;
use crate::plan::options::Options;
use crate::plan::rng::{Concern, Rng};
use crate::workload::{ClientCtx, Intent, Workload};
use crate::world::actor::{CONCURRENT_MAX, config, proves_lease};
use crate::world::env::Surroundings;
use accord_core::client::ClientEvent;
use accord_core::time::{Duration, DurationExt};
use accord_net::client::ClientOptions;
use accord_net::client::raw::RawClient;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// What a life was told and has not oracle.
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
pub(super) struct ClientHost {
    id: u32,
    options: ClientOptions,
    think: Duration,
    clock: MachineClock,
    oracle: ClientOracle,
    lives_step: u64,
    raw: Option<RawClient>,
    inbox: Arc<Inbox>,
    process: Rc<Process>,
    rng: Rng,
    choices: Rng,
    outstanding_max: u32,
    concluded: bool,
    /// A fault takes the present life away.
    gone: Rc<Notify>,
}

impl ClientHost {
    /// A client that has not begun.
    pub(super) fn new(id: u32, options: &Options) -> Self {
        let mut rng = Rng::of(options.seed, Concern::Client, u64::from(id));
        let clock = MachineClock::new(Duration::from_millis(rng.below(10_000)));
        let core = config(options, &mut rng);
        let servers = (1..=options.nodes()).map(|server| Host::Server(server).at(CLIENT_PORT));
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
            oracle: ClientOracle::new(u64::from(id)),
            lives_step: u64::from(options.clients),
            raw: None,
            inbox: Arc::default(),
            process: Process::new(),
            choices: Rng::of(options.seed, Concern::Workload, u64::from(id)),
            rng,
            outstanding_max,
            concluded: false,
            gone: Rc::default(),
        }
    }

    fn with_ctx(
        &mut self,
        env: &mut Surroundings,
        act: impl FnOnce(&mut ClientCtx<'_>),
    ) -> Option<Intent> {
        let raw = self.raw.as_ref()?;
        let mut intent = None;
        let (choices, oracle, client) = (&mut self.choices, &mut self.oracle, self.id);
        raw.with_core(|core, now| {
            act(&mut ClientCtx {
                client,
                life: oracle.life,
                rng: choices,
                env,
                core,
                now,
                floors: &mut oracle.floors,
                outstanding: &mut oracle.outstanding,
                intent: &mut intent,
            });
        });
        intent
    }

    /// Begins a life.
    fn start<S: Simulator>(&mut self, harness: &Rc<Harness>) {
        self.inbox = Arc::default();
        self.process = Process::new();
        self.concluded = false;
        let (host, seed) = (Host::Client(self.id), self.rng.next_u64());
        let (process, clock) = (self.process.clone(), self.clock.clone());
        let env = HostEnv::<S>::new(harness, host, process, clock, seed);
        let inbox = self.inbox.clone();
        let hears = Box::new(move |event: &ClientEvent| inbox.push(event));
        self.raw = Some(RawClient::start(&env, self.options.clone(), hears));
        harness.tell(host, || "begins a life".to_owned());
        self.with_world(harness, |me, env, workload| {
            me.with_ctx(env, |ctx| workload.begin(ctx));
        });
    }

    fn with_world(
        &mut self,
        harness: &Harness,
        act: impl FnOnce(&mut Self, &mut Surroundings, &mut dyn Workload),
    ) {
        let workload = &mut **harness.workload_of(self.id).borrow_mut();
        act(self, &mut harness.env.borrow_mut(), workload);
    }

    fn end_life(&mut self, harness: &Harness) {
        self.with_world(harness, |me, env, workload| {
            workload.on_life_ended(me.oracle.life, env.now.as_nanos());
            env.judges.watches.on_life_ended(me.oracle.life);
            if let Some(session) = me.oracle.session {
                env.judges.leases.on_gone(session);
            }
        });
        self.raw = None;
        self.oracle = ClientOracle::new(self.oracle.life + self.lives_step);
    }

    /// The client is gone without a word, and another begins in its host.
    fn vanish<S: Simulator>(&mut self, harness: &Rc<Harness>) {
        // Its machine may still say that the connection is closed, or not.
        let says_so = self.rng.percent(50);
        self.process.set(if says_so { RunState::Gone } else { RunState::Paused });
        self.end_life(harness);
        self.start::<S>(harness);
    }

    /// Hears what the life was told.
    fn hear<S: Simulator>(&mut self, harness: &Rc<Harness>) {
        let inbox = self.inbox.clone();
        while let Some(event) = inbox.pop() {
            let host = Host::Client(self.id);
            harness.tell(host, || format!("is told {event:?}"));
            let mut over = false;
            self.with_world(harness, |me, env, workload| {
                env.counts.core_events += 1;
                over = me.oracle.on_event(env, &event);
                me.with_ctx(env, |ctx| workload.on_event(ctx, &event));
            });
            if over {
                self.end_life(harness);
                return self.start::<S>(harness);
            }
        }
    }

    /// Notes until when the client believes in its session.
    fn believe(&self, harness: &Harness) {
        let belief = self.raw.as_ref().and_then(|raw| {
            raw.look(|core| Some((core.session()?, self.clock.world(core.lease_ends()?))))
        });
        if let Some((session, until)) = belief {
            harness.env.borrow_mut().judges.leases.on_belief(session, until);
        }
    }

    /// The client has time.
    fn on_think<S: Simulator>(&mut self, harness: &Rc<Harness>) {
        self.believe(harness);
        let (stormy, left) = {
            let env = harness.env.borrow();
            (env.stormy, env.operations_left > 0)
        };
        let mut intent = None;
        if stormy && left && self.oracle.outstanding < self.outstanding_max {
            self.with_world(harness, |me, env, workload| {
                env.operations_left -= 1;
                intent = me.with_ctx(env, |ctx| workload.step(ctx));
            });
        } else if !stormy && !self.concluded {
            self.try_to_conclude(harness);
        }
        match intent {
            None => {}
            Some(Intent::Vanish) => self.vanish::<S>(harness),
            Some(Intent::HangUp) => harness.break_streams(|end| end.here == Host::Client(self.id)),
        }
    }

    fn try_to_conclude(&mut self, harness: &Harness) {
        let mut concluded = false;
        self.with_world(harness, |me, env, workload| {
            me.with_ctx(env, |ctx| {
                concluded = ctx.is_ready() && ctx.outstanding() == 0 && workload.conclude(ctx);
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
    pub(super) fn give_up(&mut self, harness: &Harness) {
        self.with_world(harness, |me, env, workload| {
            workload.on_life_ended(me.oracle.life, env.now.as_nanos());
        });
    }

    /// A fault takes it away.
    pub(super) fn take_away(&self) {
        self.gone.notify_one();
    }
}

/// The machine of a client, for as long as the world lasts.
pub(super) fn machine<S: Simulator>(
    harness: &Rc<Harness>,
    id: u32,
) -> impl Future<Output = ()> + use<S> {
    Process::new().task(harness, live::<S>(harness.clone(), id))
}

async fn live<S: Simulator>(harness: Rc<Harness>, id: u32) {
    harness.set_now(S::now());
    let gone = harness.client(id).borrow().gone.clone();
    harness.client(id).borrow_mut().start::<S>(&harness);
    loop {
        let stormy = harness.env.borrow().stormy;
        let pause = harness.client(id).borrow_mut().pause(stormy);
        let mut think = Box::pin(S::sleep(pause));
        loop {
            let inbox = harness.client(id).borrow().inbox.clone();
            tokio::select! {
                biased;
                () = gone.notified() => {
                    harness.set_now(S::now());
                    harness.client(id).borrow_mut().vanish::<S>(&harness);
                }
                () = inbox.more.notified() => {
                    harness.set_now(S::now());
                    harness.client(id).borrow_mut().hear::<S>(&harness);
                }
                () = &mut think => break,
            }
        }
        harness.set_now(S::now());
        harness.client(id).borrow_mut().on_think::<S>(&harness);
    }
}
