//! A server: the ordered service, and the gateway of clients in front of it.
//!
//! [`Server`] is what a driver runs. It takes [`Input`]s with the time and hands back [`Output`]s;
//! see [`io`] for the contract of the loop and the bounds.
//!
//! It is two machines and what joins them. The [`Service`] orders and applies commands, and knows
//! no connection. The [`Gateway`] serves clients, and knows no replica. The server hands each input
//! to the machine that it concerns. Each output of the service goes to the gateway before the next
//! is polled, so clients are told of commands in the order in which they were applied. Replicated
//! and local are kept apart: [`crate::state`] is the same on every server, the gateway is this
//! server's own.

mod clock;
pub mod io;
mod operator;

pub use crate::service::job;

pub use io::{
    DisconnectReason, Image, Input, OperatorReply, OperatorRequest, OperatorRequestId, Output,
    ServerConfig, ServerLimits, ServerStatus,
};

use crate::gateway::{self, Gateway};
use crate::ids::{ConnId, Index};
use crate::replica::Replica;
#[cfg(feature = "testing")]
use crate::replica::io::Entry;
use crate::replica::log::Recovered;
use crate::rng::Rng;
use crate::service::{self, Service};
use crate::state::{Completion, State};
use crate::time::Instant;
use alloc::collections::{BTreeMap, VecDeque};
#[cfg(feature = "testing")]
use alloc::vec::Vec;
use clock::Clock;
use operator::Question;

/// The largest command that a server itself makes: the beginning or the end of a session.
const COMMAND_BYTES_MIN: usize = 64;

/// One server. See the module's documentation.
#[derive(Clone, Debug)]
pub struct Server {
    now: Instant,
    clock: Clock,
    service: Service,
    gateway: Gateway,
    /// Changes of voters under way, by number.
    changes: BTreeMap<u64, OperatorRequestId>,
    change_last: u64,
    /// Questions about the state, answered when all that came before them is worked out. Bounded by
    /// what a driver hands in between two polls.
    questions: VecDeque<(OperatorRequestId, Question)>,
    /// Answers to operators.
    replies: VecDeque<(OperatorRequestId, OperatorReply)>,
    malformed: u64,
    halted: bool,
    /// True once [`Self::poll_output`] has said that nothing is left, until the next input.
    drained: bool,
}

impl Server {
    /// A server that starts with what its disk had. `seed` must differ from start to start.
    ///
    /// # Panics
    /// If the limits do not fit each other.
    pub fn new(config: ServerConfig, recovered: Recovered, seed: u64, now: Instant) -> Self {
        let ServerConfig { replica, state, limits, secrets } = config;
        let command_bytes_max = replica.limits.command_bytes_max;
        assert!(command_bytes_max >= COMMAND_BYTES_MIN, "a session's commands must fit");
        let mut rng = Rng::new(seed);
        let service = Service::new(replica, state, recovered, rng.next_u64(), now);
        let gateway = Gateway::new(limits, command_bytes_max, secrets, &service, rng, now);
        Self {
            now,
            clock: Clock::default(),
            service,
            gateway,
            changes: BTreeMap::new(),
            change_last: 0,
            questions: VecDeque::new(),
            replies: VecDeque::new(),
            malformed: 0,
            halted: false,
            drained: false,
        }
    }

    /// Takes one input, and leaves what comes of it to [`Self::poll_output`]. See [`io`] for the
    /// contract.
    ///
    /// # Panics
    /// If time goes back.
    pub fn handle(&mut self, now: Instant, input: Input) {
        assert!(now >= self.now, "time never goes back: it was {}, and is {now}", self.now);
        self.now = now;
        if self.halted {
            return;
        }
        self.drained = false;
        let Self { service, gateway, .. } = self;
        service.note_clock(self.clock.at(now));
        match input {
            Input::Group(event) => service.handle_group(now, event),
            Input::Connected { conn, principal } => {
                gateway.handle_connected(now, conn, principal);
            }
            Input::Client { conn, message } => gateway.handle_client(now, service, conn, message),
            Input::Written { conn, messages } => gateway.handle_written(now, conn, messages),
            Input::Disconnected { conn } => gateway.handle_disconnected(now, conn),
            Input::Stored { ticket } => service.handle_stored(now, ticket),
            Input::StoreFailed => service.handle_store_failed(),
            Input::Peer { from, message } => service.handle_peer(now, from, &message),
            Input::Operator { id, request } => self.on_operator(id, request),
            Input::JobDone(done) => service.handle_job_done(now, *done),
            Input::Clock { wall } => self.on_clock(wall),
            Input::Timer => {
                service.handle_timer(now);
                gateway.handle_timer(now, service);
            }
        }
    }

    /// What to do next. Works out what the inputs lead to, a piece at a time; `None` says that
    /// nothing is left until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.gateway.poll_output() {
                return Some(match output {
                    gateway::Output::Client { conn, message } => Output::Client { conn, message },
                    gateway::Output::Disconnect { conn, reason } => {
                        Output::Disconnect { conn, reason }
                    }
                });
            }
            if let Some((id, reply)) = self.replies.pop_front() {
                return Some(Output::Operator { id, reply });
            }
            let Some(output) = self.poll_service() else {
                if self.answer_next() {
                    continue;
                }
                self.drained = true;
                return None;
            };
            if let Some(output) = self.carry_on(output) {
                return Some(output);
            }
        }
    }

    /// The next output of the service, with what the gateway held back in front of it.
    fn poll_service(&mut self) -> Option<service::Output> {
        if self.halted {
            return None;
        }
        self.gateway.propose_deferred(&mut self.service);
        self.service.poll_output()
    }

    /// Shows the gateway an output of the service; returns what is the driver's to carry out. The
    /// commands of an entry are carried on together, so that nobody sees a part of it.
    fn carry_on(&mut self, mut output: service::Output) -> Option<Output> {
        let followed = loop {
            if let service::Output::Applied(Completion::Malformed { .. }) = &output {
                self.malformed += 1;
            }
            let followed = self.gateway.follow(self.now, &self.service, output);
            if !self.service.is_applying() {
                break followed;
            }
            output = self.service.poll_output().expect("an entry ends");
        };
        match followed? {
            service::Output::Multicast(message) => Some(Output::Multicast(message)),
            service::Output::Persist { ticket, record } => Some(Output::Persist { ticket, record }),
            service::Output::Peer { to, message } => Some(Output::Peer { to, message }),
            service::Output::Standing(standing) => Some(Output::Standing(standing)),
            service::Output::Job(job) => Some(Output::Job(job)),
            service::Output::Halt(reason) => {
                self.halted = true;
                Some(Output::Halt(reason))
            }
            service::Output::VotersChanged { request, result } => {
                self.on_voters_changed(request, result);
                None
            }
            service::Output::BackedUp { number, backup } => {
                self.replies.push_back((OperatorRequestId(number), OperatorReply::Image(backup)));
                None
            }
            output => unreachable!("the gateway follows {output:?}"),
        }
    }

    /// When to hand in [`Input::Timer`] next, if at all.
    ///
    /// # Panics
    /// If outputs are left: a driver that waits has polled them all.
    pub fn next_deadline(&self) -> Option<Instant> {
        assert!(self.drained, "outputs are polled until none is left before a driver waits");
        if self.halted {
            return None;
        }
        [self.gateway.next_deadline(), self.service.next_deadline()].into_iter().flatten().min()
    }

    /// True if the driver should go on reading from this connection: back-pressure. Ask again after
    /// any input.
    pub fn accepts(&self, conn: ConnId) -> bool {
        self.gateway.accepts(conn)
    }

    /// The last entry applied.
    pub const fn applied(&self) -> Index {
        self.service.applied()
    }

    /// The replicated state, for checkers and tools.
    pub const fn state(&self) -> &State {
        self.service.state()
    }

    /// The replica, for checkers and tools.
    pub const fn replica(&self) -> &Replica {
        self.service.replica()
    }

    /// From here on keeps the entries that it applies until [`Self::take_witnessed`] takes them.
    /// Nothing bounds them, so they are to be taken often.
    #[cfg(feature = "testing")]
    pub fn witness(&mut self) {
        self.service.witness();
    }

    /// The entries applied since this was last asked: the log may forget them at once.
    #[cfg(feature = "testing")]
    pub fn take_witnessed(&mut self) -> Vec<Entry> {
        self.service.take_witnessed()
    }

    /// From here on its state counts as damaged: the digests that it compares with other servers'
    /// are wrong, until another state takes its place. Its answers and records stay right, so that
    /// a checker can tell who has to stop.
    #[cfg(feature = "testing")]
    pub const fn damage(&mut self) {
        self.service.damage();
    }

    /// True since [`Self::damage`], until its state is replaced.
    #[cfg(feature = "testing")]
    pub const fn is_damaged(&self) -> bool {
        self.service.is_damaged()
    }

    /// All that bears on what the server does, as one number: see [`crate::fingerprint`].
    #[cfg(feature = "testing")]
    pub fn fingerprint(&self) -> u64 {
        let Self {
            malformed: _,
            drained: _,
            clock,
            now,
            service,
            gateway,
            changes,
            change_last,
            ..
        } = self;
        let Self { questions, replies, halted, .. } = self;
        let parts = (service.fingerprint(), gateway.fingerprint());
        crate::fingerprint::of(&(
            now,
            clock,
            parts,
            changes,
            change_last,
            questions,
            replies,
            halted,
        ))
    }

    /// Asserts the invariants. Runs in release builds too; costs as much as the server holds.
    ///
    /// # Panics
    /// If one is broken.
    pub fn check(&self) {
        self.service.check();
        self.gateway.check();
        let primary = self.service.replica().open_epoch().is_some();
        let known = self.gateway.is_primary() == primary;
        assert!(self.halted || !self.drained || known, "the gateway knows what the service is");
    }
}
