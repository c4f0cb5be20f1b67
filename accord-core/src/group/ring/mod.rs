//! A group of several servers over datagrams that may be lost, doubled, reordered or forged.
//!
//! Totem's single-ring protocol: a token travels round the members, and its holder numbers and
//! multicasts datagrams, so all see one order. When the token is lost, or a better ring is
//! possible, the members gather. They announce whom they hear, agree on a clique ([`clique`]), and
//! send a commit token round it twice ([`commit`]). Then they recover in the new ring what some of
//! them lack of the old one ([`recovery`]), so that those who move together have delivered the
//! same. A node alone is a ring of one, from its start, and delivers at once. `docs/ring.md` has
//! the whole: messages, timers, what is Totem's and what is ours.
//!
//! Read next: [`ring_state`] and [`operational`] for ordering, [`flow`] for how much a visit may
//! send, [`presence`] and [`gather`] for membership, [`fragment`] for messages in datagrams,
//! [`packet`] for the bytes.
//!
//! Invariants, checked by [`Ring::check`]: see the fields marked so in each module.
//!
//! Sources: Amir et al., TOCS 1995 (ordering, membership, recovery); Babay and Amir, 2016 (token
//! before data); the choice of a clique is our own.

mod clique;
mod commit;
mod config;
#[cfg(feature = "testing")]
mod describe;
mod flow;
mod fragment;
mod gather;
mod operational;
mod packet;
mod presence;
mod recovery;
mod ring_state;
mod rows;
mod status;
mod store;
mod timers;

pub use config::{ConfigError, DATAGRAM_BYTES_LIMIT, RingConfig, RingLimits, RingTimeouts};
#[cfg(feature = "testing")]
pub use describe::describe;
pub use packet::{Proc, datagram_kind};
pub use status::{Counters, Refusal, RingStage, RingStatus};

use crate::group::{GroupEvent, Standing, SubmitError, View, ViewId};
use crate::ids::NodeId;
use crate::rng::Rng;
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use commit::Committing;
use fragment::{Outbox, Reassembly};
use gather::Gathering;
use packet::{Body, OpenError, Seal};
use presence::Table;
use recovery::Recovering;
use ring_state::RingState;
use timers::{Timer, Timers};

/// Whom a datagram is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// All configured peers.
    Broadcast,
    /// One of them.
    Node(NodeId),
}

/// A datagram to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Whom it is for.
    pub to: To,
    /// The datagram. Sending it to others, more than once or not at all does no harm but delay.
    pub bytes: Bytes,
}

/// What the ring is doing, and the state of that activity.
#[derive(Clone, Debug)]
enum Stage {
    Operational,
    Gather(Gathering),
    Commit(Committing),
    Recovery(Box<Recovering>),
    Left,
}

/// One member of a ring.
#[derive(Clone, Debug)]
pub struct Ring {
    config: RingConfig,
    seal: Seal,
    me: Proc,
    rng: Rng,
    timers: Timers,
    stage: Stage,
    /// The ring installed last.
    ring: RingState,
    /// The highest ring sequence that we know of. Invariant: at least the installed ring's.
    seq_max: u64,
    /// When we began to gather last.
    gathered_at: Instant,
    /// As [`Self::set_standing`] said.
    standing: Standing,
    table: Table,
    outbox: Outbox,
    reassembly: Reassembly,
    /// Delivered and not yet polled. Delivery is as slow as polling, but for the end of a view.
    events: VecDeque<GroupEvent>,
    /// Invariant: at most `transmit_packets_max`.
    transmits: VecDeque<Transmit>,
    counters: Counters,
}

impl Ring {
    /// A member that forms a ring of itself and looks for the others. Its first event is the view
    /// of itself alone. `seed` must differ between runs of one node, or its restart passes for the
    /// run before. Limits must be the same at all members.
    ///
    /// # Panics
    /// If the configuration contradicts itself: see [`RingConfig::validate`].
    pub fn new(config: RingConfig, seed: u64, now: Instant) -> Self {
        if let Err(error) = config.validate() {
            panic!("{error}");
        }
        let mut rng = Rng::new(seed);
        let me = Proc { node: config.node, salt: rng.next_u64() };
        let id = ViewId { seq: 1, representative: me.node, salt: me.salt };
        let mut ring = Self {
            seal: Seal::new(config.key),
            me,
            rng,
            timers: Timers::default(),
            stage: Stage::Operational,
            ring: RingState::new(id, vec![me], &config.limits, now),
            seq_max: id.seq,
            standing: Standing::default(),
            gathered_at: now,
            table: Table::new(&config),
            outbox: Outbox::new(config.limits),
            reassembly: Reassembly::new(config.limits.message_bytes_max),
            events: VecDeque::new(),
            transmits: VecDeque::new(),
            counters: Counters::default(),
            config,
        };
        ring.announce_view();
        ring.timers.set(Timer::Presence, now);
        ring
    }

    /// Accepts a message for ordering.
    ///
    /// # Errors
    /// [`SubmitError::Full`] at the bound of what waits to be sent, and always after
    /// [`Self::leave`]; [`SubmitError::TooLarge`].
    pub fn submit(&mut self, now: Instant, payload: Bytes) -> Result<(), SubmitError> {
        if matches!(self.stage, Stage::Left) {
            return Err(SubmitError::Full);
        }
        self.outbox.push(payload)?;
        self.wake_idle_ring(now);
        Ok(())
    }

    /// Takes a datagram that came from `from`, as far as the driver can tell by its address.
    pub fn handle_datagram(&mut self, now: Instant, from: NodeId, datagram: &Bytes) {
        match self.admit(from, datagram) {
            Err(refusal) => self.counters.refuse(refusal),
            Ok((sender, body)) => {
                let result = match body {
                    Body::Data(data) => self.on_data(data),
                    Body::Token(token) => self.on_token(now, sender, token),
                    Body::Commit(commit) => self.on_commit(now, sender, commit),
                    Body::Presence(rows) => self.on_presence(now, sender, rows),
                    Body::HoldCancel(ring) => self.on_hold_cancel(now, ring),
                    Body::Leave => self.on_leave(now, sender),
                };
                match result {
                    Ok(()) => self.counters.accepted += 1,
                    Err(refusal) => self.counters.refuse(refusal),
                }
            }
        }
    }

    fn admit(&self, from: NodeId, datagram: &Bytes) -> Result<(Proc, Body), Refusal> {
        if matches!(self.stage, Stage::Left) {
            return Err(Refusal::Left);
        }
        if self.events.len() >= self.config.limits.events_max {
            return Err(Refusal::Overloaded);
        }
        if datagram.len() > DATAGRAM_BYTES_LIMIT {
            return Err(Refusal::Malformed);
        }
        let (sender, body) = self.seal.open(datagram).map_err(|error| match error {
            OpenError::Unauthentic => Refusal::Unauthentic,
            OpenError::Malformed => Refusal::Malformed,
        })?;
        if matches!(body, Body::Data(_)) {
            // Data is sent again by others as it is: the ring it names tells where it belongs.
            return Ok((sender, body));
        }
        if sender == self.me {
            return Err(Refusal::OwnEcho);
        }
        if sender.node == self.me.node {
            return Err(Refusal::DuplicateNode);
        }
        if !self.config.peers.contains(&sender.node) {
            return Err(Refusal::UnknownNode);
        }
        if sender.node != from {
            return Err(Refusal::Misdirected);
        }
        Ok((sender, body))
    }

    /// The next datagram to send, if there is one.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next event, if there is one. Messages wait in the ring, and hold its window back, until
    /// they are asked for.
    pub fn poll_event(&mut self) -> Option<GroupEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if !self.deliver_next() {
                return None;
            }
        }
    }

    /// When [`Self::handle_timer`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Does what is due. To be called at [`Self::next_deadline`]; early calls do nothing.
    pub fn handle_timer(&mut self, now: Instant) {
        // A timer may set itself for this very instant again: serve each at most once a call.
        for _ in Timer::ALL {
            match self.timers.take_due(now) {
                Some(Timer::TokenLoss) => self.on_token_loss(now),
                Some(Timer::TokenRetransmit) => self.on_token_retransmit(now),
                Some(Timer::Hold) => self.release_token(now),
                Some(Timer::Gather) => self.on_gather_timer(now),
                Some(Timer::Presence) => self.on_presence_timer(now),
                None => return,
            }
        }
    }

    /// Changes who may take part. Datagrams of members that are no longer listed are refused, so a
    /// ring without them forms.
    ///
    /// # Errors
    /// [`ConfigError`] if the list contradicts the configuration; nothing changes then.
    pub fn set_peers(&mut self, now: Instant, peers: Vec<NodeId>) -> Result<(), ConfigError> {
        let config = RingConfig { peers, ..self.config.clone() };
        config.validate()?;
        self.config = config;
        self.table.set_peers(&self.config);
        if !matches!(self.stage, Stage::Left) {
            self.timers.set_no_later(Timer::Presence, now);
        }
        Ok(())
    }

    /// Sets what this member announces of its vote, as the end of its log has it. Where members
    /// cannot all be in one ring, the cliques are ranked by it.
    pub fn set_standing(&mut self, now: Instant, standing: Standing) {
        if standing != self.standing && !matches!(self.stage, Stage::Left) {
            self.standing = standing;
            self.review(now);
        }
    }

    /// Tells the others that this run ends, so that they need not wait for `token_loss`. Messages
    /// that were not delivered by then may never be.
    pub fn leave(&mut self, _now: Instant) {
        let leave = self.seal.control(self.me, &Body::Leave);
        self.transmit(To::Broadcast, leave);
        self.stage = Stage::Left;
        self.ring.held = None;
        self.timers.clear_all();
    }

    /// All that bears on what the ring does, as one number: see [`crate::fingerprint`].
    #[cfg(feature = "testing")]
    pub fn fingerprint(&self) -> u64 {
        let Self {
            config: _,
            seal: _,
            counters: _,
            me,
            rng,
            timers,
            stage,
            ring,
            seq_max,
            gathered_at,
            standing,
            table,
            outbox,
            reassembly,
            events,
            transmits,
        } = self;
        crate::fingerprint::of(&(
            (me, rng, timers, stage, ring, seq_max, gathered_at, standing, table),
            (outbox, reassembly, events, transmits),
        ))
    }

    /// State and counters.
    pub fn status(&self) -> RingStatus {
        RingStatus {
            proc: self.me,
            stage: match self.stage {
                Stage::Operational => RingStage::Operational,
                Stage::Gather(_) => RingStage::Gathering,
                Stage::Commit(_) => RingStage::Committing,
                Stage::Recovery(_) => RingStage::Recovering,
                Stage::Left => RingStage::Left,
            },
            view: self.view(),
            pending_messages: self.outbox.len(),
            stored_packets: self.ring.store.high() - self.ring.store.base(),
            events_waiting: self.events.len(),
            counters: self.counters,
        }
    }

    /// Checks the invariants, in release builds too.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check(&self) {
        self.ring.check(self.me);
        self.outbox.check();
        self.reassembly.check(|node| self.view().contains(node));
        self.table.check();
        assert!(self.transmits.len() <= self.config.limits.transmit_packets_max);
        assert!(self.seq_max >= self.ring.id.seq, "our ring is newer than all we know of");
        match &self.stage {
            Stage::Operational => {
                let single = self.ring.is_single();
                assert!(!single || self.ring.store.high() == 0, "a ring of one has no datagrams");
            }
            Stage::Gather(gathering) => gathering.check(self.me),
            Stage::Commit(committing) => committing.check(self.me, self.seq_max),
            Stage::Recovery(recovering) => recovering.check(self.me, self.seq_max),
            Stage::Left => assert!(self.timers.next().is_none(), "who left waits for nothing"),
        }
    }

    fn view(&self) -> View {
        let members = self.ring.members.iter().map(|proc| proc.node).collect();
        View { id: self.ring.id, members }
    }

    fn announce_view(&mut self) {
        self.counters.views += 1;
        self.events.push_back(GroupEvent::View(self.view()));
    }

    fn transmit(&mut self, to: To, bytes: Bytes) {
        if self.transmits.len() >= self.config.limits.transmit_packets_max {
            self.counters.transmits_dropped += 1;
            return;
        }
        self.transmits.push_back(Transmit { to, bytes });
    }
}

#[cfg(test)]
mod tests;
