//! A client of a simulated world, and what the world knows of it. What it does: `client_task`.

use super::clock::MachineClock;
use super::host::{CLIENT_PORT, Host};
use super::process::Process;
use crate::judge::client_oracle::ClientOracle;
use crate::plan::options::Options;
use crate::plan::rng::{Concern, Rng};
use crate::workload::{ClientCtx, Intent};
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

/// What a life was told and has not heard.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    events: Mutex<VecDeque<ClientEvent>>,
    pub(super) more: Notify,
}

impl Inbox {
    pub(super) fn push(&self, event: &ClientEvent) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.push_back(event.clone());
        self.more.notify_one();
    }

    pub(super) fn pop(&self) -> Option<ClientEvent> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// A client.
pub(super) struct ClientHost {
    pub(super) id: u32,
    pub(super) options: ClientOptions,
    pub(super) think: Duration,
    pub(super) clock: MachineClock,
    pub(super) oracle: ClientOracle,
    pub(super) lives_step: u64,
    pub(super) raw: Option<RawClient>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) process: Rc<Process>,
    pub(super) rng: Rng,
    pub(super) choices: Rng,
    pub(super) outstanding_max: u32,
    pub(super) concluded: bool,
    /// A fault takes the present life away.
    pub(super) gone: Rc<Notify>,
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

    pub(super) fn with_ctx(
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
                order: &mut oracle.order,
                by_reads: &mut oracle.by_reads,
                outstanding: &mut oracle.outstanding,
                intent: &mut intent,
            });
        });
        intent
    }

    pub(super) fn pause(&mut self, stormy: bool) -> Duration {
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

    /// A fault takes it away.
    pub(super) fn take_away(&self) {
        self.gone.notify_one();
    }
}
