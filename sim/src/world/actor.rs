//! A client of the simulated world: the core's [`Client`], what it does, and how it dies.
//!
//! A client is one life after another: when a session is lost or closed, or when a fault takes the
//! client away, another life begins in its place, with a new session. Everything said between
//! client and server passes through the codec, as it would on a wire.

use crate::judge::Property;
use crate::judge::client_oracle::ClientOracle;
use crate::plan::options::{Options, Scale};
use crate::plan::rng::{Concern, Rng};
use crate::workload::{ClientCtx, Intent, Workload};
use crate::world::clock::Clock;
use crate::world::conns::{ToClient, ToServer};
use crate::world::env::{Event, Surroundings};
use crate::world::event_kind::EventKind;
use crate::world::story;
use crate::world::timer::Timer;
use crate::world::who::Actor;
use accord_core::client::{Client, ClientConfig, ClientEvent, ClientInput, ClientOutput};
use accord_core::ids::{ConnId, NodeId, SessionId};
use accord_core::protocol::{self, ClientMessage, ServerMessage};
use accord_core::time::{Duration, DurationExt};

/// The most operations that all clients together have outstanding, unless there are more clients.
pub(crate) const CONCURRENT_MAX: u32 = 12;

/// A client.
#[derive(Debug)]
pub struct ClientActor {
    /// Its number, from 1.
    pub id: u32,
    core: Option<Client>,
    config: ClientConfig,
    think: Duration,
    /// The present life. Lives are numbered over the whole world: those of client `id` are
    /// congruent to it.
    oracle: ClientOracle,
    lives_step: u64,
    conn: Option<ConnId>,
    clock: Clock,
    timer: Timer,
    rng: Rng,
    choices: Rng,
    /// The most operations outstanding at once: checking many concurrent ones takes for ever.
    outstanding_max: u32,
    concluding: bool,
    concluded: bool,
}

impl ClientActor {
    /// A client that has not begun.
    pub fn new(id: u32, options: &Options) -> Self {
        let mut rng = Rng::of(options.seed, Concern::Client, u64::from(id));
        let clock = Clock::new(Duration::from_millis(rng.below(10_000)));
        let config = ClientConfig { lease: proves_lease(id), ..config(options, &mut rng) };
        let share = u64::from(CONCURRENT_MAX / options.clients).max(1);
        let outstanding_max = rng.within(1, share) as u32;
        Self {
            id,
            core: None,
            config,
            think: options.think,
            oracle: ClientOracle::new(u64::from(id)),
            lives_step: u64::from(options.clients),
            conn: None,
            clock,
            timer: Timer::default(),
            choices: Rng::of(options.seed, Concern::Workload, u64::from(id)),
            rng,
            outstanding_max,
            concluding: false,
            concluded: false,
        }
    }

    fn actor(&self) -> Actor {
        Actor::Client(self.id)
    }

    /// Begins a life.
    pub fn start(&mut self, env: &mut Surroundings, workload: &mut dyn Workload) {
        let now = self.clock.local(env.now);
        self.core = Some(Client::new(self.config.clone(), self.rng.next_u64(), now));
        self.concluded = false;
        env.tell(self.actor(), || "begins a life".to_owned());
        self.with_ctx(env, |ctx| workload.begin(ctx));
        self.think_later(env);
        self.pump(env, workload);
    }

    /// The client is gone without a word, and another begins in its place.
    pub fn vanish(&mut self, env: &mut Surroundings, workload: &mut dyn Workload) {
        // Its machine may still say that the connection is closed, or not.
        let says_so = self.rng.percent(50);
        if let Some(conn) = self.conn.take() {
            env.conns.get(conn).client_open = false;
            if says_so {
                close_up(env, conn);
            } else {
                env.conns.get(conn).broken = true;
            }
        }
        self.end_life(env, workload);
        self.start(env, workload);
    }

    fn end_life(&mut self, env: &mut Surroundings, workload: &mut dyn Workload) {
        workload.on_life_ended(self.oracle.life, env.now.as_nanos());
        env.judges.watches.on_life_ended(self.oracle.life);
        if let Some(session) = self.oracle.session {
            env.judges.leases.on_gone(session);
        }
        self.core = None;
        self.timer.disarm();
        self.oracle = ClientOracle::new(self.oracle.life + self.lives_step);
    }

    fn with_ctx(
        &mut self,
        env: &mut Surroundings,
        act: impl FnOnce(&mut ClientCtx<'_>),
    ) -> Option<Intent> {
        let core = self.core.as_mut()?;
        let now = self.clock.local(env.now);
        let mut intent = None;
        act(&mut ClientCtx {
            client: self.id,
            life: self.oracle.life,
            rng: &mut self.choices,
            env,
            core,
            now,
            floors: &mut self.oracle.floors,
            order: &mut self.oracle.order,
            by_reads: &mut self.oracle.by_reads,
            outstanding: &mut self.oracle.outstanding,
            intent: &mut intent,
        });
        intent
    }

    fn think_later(&mut self, env: &mut Surroundings) {
        let pause = self.rng.duration(Duration::ZERO, self.think.times(2));
        let (client, life) = (self.id, self.oracle.life);
        env.agenda.push(env.now.after(pause), Event::Think { client, life });
    }

    /// The client has time.
    pub fn on_think(&mut self, env: &mut Surroundings, workload: &mut dyn Workload, life: u64) {
        if life != self.oracle.life {
            return;
        }
        if !self.concluding && env.operations_left > 0 {
            // Without a session nothing would be taken, and the operation be used up.
            if self.oracle.session.is_some() && self.oracle.outstanding < self.outstanding_max {
                env.operations_left -= 1;
                let intent = self.with_ctx(env, |ctx| workload.step(ctx));
                self.grant(env, workload, intent);
            }
        } else if self.concluding && !self.concluded {
            self.try_to_conclude(env, workload);
        }
        if life == self.oracle.life {
            self.think_later(env);
            self.pump(env, workload);
        }
    }

    /// Does what a workload wishes beside its operations.
    fn grant(
        &mut self,
        env: &mut Surroundings,
        workload: &mut dyn Workload,
        intent: Option<Intent>,
    ) {
        match intent {
            None => {}
            Some(Intent::Vanish) => self.vanish(env, workload),
            Some(Intent::HangUp) => {
                let Some(conn) = self.conn.take() else { return };
                env.conns.get(conn).client_open = false;
                close_up(env, conn);
                self.handle(env, workload, ClientInput::Disconnected);
            }
        }
    }

    /// The world is healed: from now on, only what proves that all is well.
    pub fn conclude(&mut self, env: &mut Surroundings, workload: &mut dyn Workload) {
        self.concluding = true;
        self.think = self.think.scaled(1, 4);
        self.try_to_conclude(env, workload);
        self.pump(env, workload);
    }

    fn try_to_conclude(&mut self, env: &mut Surroundings, workload: &mut dyn Workload) {
        let mut concluded = false;
        self.with_ctx(env, |ctx| {
            concluded = ctx.is_ready() && ctx.outstanding() == 0 && workload.conclude(ctx);
        });
        self.concluded = concluded;
    }

    /// The session of the present life, if it has one.
    pub fn session(&self) -> Option<SessionId> {
        self.core.as_ref().and_then(Client::session)
    }

    /// What keeps the client from rest, if anything does.
    pub fn unrest(&self) -> Option<String> {
        let id = self.id;
        match &self.core {
            None => Some(format!("client {id} has no life")),
            Some(core) if !core.is_ready() => Some(format!("client {id} is not connected")),
            Some(_) if !self.concluded => Some(format!("client {id} waits for its last answers")),
            Some(_) => None,
        }
    }

    /// The world ends: what is outstanding will never be known.
    pub fn give_up(&mut self, env: &mut Surroundings, workload: &mut dyn Workload) {
        workload.on_life_ended(self.oracle.life, env.now.as_nanos());
    }

    /// A timer's event came.
    pub fn on_timer(&mut self, env: &mut Surroundings, workload: &mut dyn Workload, number: u64) {
        if self.timer.fire(number) {
            env.trace.event(env.now, self.actor(), EventKind::ClientTimer, &[]);
            self.handle(env, workload, ClientInput::Timer);
        }
    }

    /// A connection brings something.
    pub fn on_conn(
        &mut self,
        env: &mut Surroundings,
        workload: &mut dyn Workload,
        conn: ConnId,
        what: ToClient,
    ) {
        if self.conn != Some(conn) {
            return;
        }
        crate::world::digest::to_client(&mut env.trace, env.now, self.id, conn, &what);
        env.tell(self.actor(), || story::at_client(&what));
        let input = match what {
            ToClient::Accepted => ClientInput::Connected,
            ToClient::Message(message) => ClientInput::Message(through_codec_down(env, message)),
            ToClient::Closed => {
                self.conn = None;
                env.conns.get(conn).client_open = false;
                ClientInput::Disconnected
            }
        };
        self.handle(env, workload, input);
    }

    fn handle(&mut self, env: &mut Surroundings, workload: &mut dyn Workload, input: ClientInput) {
        let now = self.clock.local(env.now);
        if let Some(core) = &mut self.core {
            core.handle(now, input);
            env.counts.core_events += 1;
        }
        self.pump(env, workload);
    }

    /// Carries out what the client asks, until nothing is left to do.
    fn pump(&mut self, env: &mut Surroundings, workload: &mut dyn Workload) {
        while let Some(core) = &mut self.core
            && let Some(output) = core.poll_output()
        {
            self.carry_out(env, workload, output);
        }
        if let Some(core) = &self.core {
            core.check();
            if let (Some(session), Some(until)) = (core.session(), core.lease_ends()) {
                env.judges.leases.on_belief(session, self.clock.world(until));
                env.judge(Property::LeasesEnd, Ok(()));
            }
            if let Some(deadline) = core.next_deadline() {
                let at = self.clock.world(deadline).max(env.now);
                if let Some(armed) = self.timer.arm(at) {
                    env.agenda.push(at, Event::ClientTimer { client: self.id, armed });
                }
            }
        }
    }

    fn carry_out(
        &mut self,
        env: &mut Surroundings,
        workload: &mut dyn Workload,
        output: ClientOutput,
    ) {
        match output {
            ClientOutput::Connect { server } => {
                let conn = env.conns.open(self.id, self.oracle.life, server.0);
                self.conn = Some(conn);
                env.send_up(conn, ToServer::Connect);
            }
            ClientOutput::Disconnect => {
                if let Some(conn) = self.conn.take() {
                    env.conns.get(conn).client_open = false;
                    close_up(env, conn);
                }
            }
            ClientOutput::Send(message) => {
                let Some(conn) = self.conn else { return };
                let message = through_codec_up(env, message);
                env.send_up(conn, ToServer::Message(message));
            }
            ClientOutput::Event(event) => self.on_event(env, workload, &event),
        }
    }

    fn on_event(
        &mut self,
        env: &mut Surroundings,
        workload: &mut dyn Workload,
        event: &ClientEvent,
    ) {
        env.tell(self.actor(), || format!("is told {event:?}"));
        let over = self.oracle.on_event(env, event);
        self.with_ctx(env, |ctx| workload.on_event(ctx, event));
        if over {
            // What the core still wants to do with the connection comes first.
            if let Some(conn) = self.conn.take() {
                env.conns.get(conn).client_open = false;
                close_up(env, conn);
            }
            self.end_life(env, workload);
            self.start(env, workload);
        }
    }
}

/// Closes a connection at the client's end, after what was sent before.
fn close_up(env: &mut Surroundings, conn: ConnId) {
    env.send_up(conn, ToServer::Closed);
}

fn through_codec_up(env: &mut Surroundings, message: ClientMessage) -> ClientMessage {
    let decoded = protocol::decode_client(&protocol::encode_client(&message));
    if decoded.as_ref() != Ok(&message) {
        env.fail(Property::Invariants, format!("{message:?} is decoded as {decoded:?}"));
    }
    message
}

fn through_codec_down(env: &mut Surroundings, message: ServerMessage) -> ServerMessage {
    let decoded = protocol::decode_server(&protocol::encode_server(&message));
    if decoded.as_ref() != Ok(&message) {
        env.fail(Property::Invariants, format!("{message:?} is decoded as {decoded:?}"));
    }
    message
}

/// True for every other client, beginning with the first: these know their leases.
pub(crate) const fn proves_lease(client: u32) -> bool {
    client % 2 == 1
}

/// How a client of this world is set up.
pub(crate) fn config(options: &Options, rng: &mut Rng) -> ClientConfig {
    let requests_max = match options.limits {
        Scale::Tiny => 4,
        Scale::Small => 32,
        Scale::Roomy => 1000,
    };
    let answered = crate::plan::setup::answer_span(options);
    ClientConfig {
        session_timeout_ms: rng.log_uniform(500, 8_000).max(answered.to_millis()) as u32,
        request_timeout: Duration::from_millis(rng.log_uniform(1_000, 16_000)).max(answered),
        requests_max: rng.within(1, requests_max) as usize,
        reads_max: rng.within(1, requests_max) as usize,
        watches_max: rng.within(2, requests_max.max(2)) as usize,
        attach_timeout: Duration::from_millis(rng.log_uniform(500, 3_000)).max(answered),
        patience: Duration::from_millis(rng.log_uniform(200, 2_000)),
        ..ClientConfig::new((1..=options.nodes()).map(NodeId).collect())
    }
}
