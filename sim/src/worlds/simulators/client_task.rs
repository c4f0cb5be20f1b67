//! What a client of a simulated world does, and how it dies: the task of `accord-net`'s client.
//!
//! As in the bare world, a client is one life after another. A life that vanishes without a word
//! stands still for ever with its connection open, or its machine closes the connection for it.

use super::client::ClientHost;
use super::env::HostEnv;
use super::harness::Harness;
use super::host::Host;
use super::process::{Process, RunState};
use super::simulator::Simulator;
use crate::judge::client_oracle::ClientOracle;
use crate::workload::{Intent, Workload};
use crate::world::env::Surroundings;
use accord_core::client::ClientEvent;
use accord_net::client::raw::RawClient;
use std::rc::Rc;
use std::sync::Arc;

impl ClientHost {
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

    /// The client is gone without a word, and another begins in its place.
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
        // Without a session nothing would be taken, and the operation be used up.
        let has_session = self.oracle.session.is_some();
        if stormy && left && has_session && self.oracle.outstanding < self.outstanding_max {
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

    /// The world ends: what is outstanding will never be known.
    pub(super) fn give_up(&mut self, harness: &Harness) {
        self.with_world(harness, |me, env, workload| {
            workload.on_life_ended(me.oracle.life, env.now.as_nanos());
        });
    }
}

/// The machine of a client, for as long as the world lasts.
pub(super) fn machine<S: Simulator>(
    harness: &Rc<Harness>,
    id: u32,
) -> impl Future<Output = ()> + use<S> {
    Process::new().task(harness.clone(), live::<S>(harness.clone(), id))
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
