//! From agreed order to durable, linearizable commits.
//!
//! The group layer orders; a quorum of voters makes the order durable, with one cumulative
//! acknowledgement per batch (Keidar & Dolev's COReL; Amir & Tutu 2002), and the log rules are
//! those of Viewstamped Replication and Raft. No server is a master; each orders its own clients'
//! commands.
//!
//! A view goes through these phases, each deciding alike at every member because it looks at
//! nothing but messages delivered in the view, in their order:
//!
//! 1. *gathering*: every member multicasts a [`message::Report`]; see [`opening`];
//! 2. *promising*: if the intact voters are a majority, each promises the next epoch, durably;
//! 3. *open*: a majority has promised; frames are appended, acknowledged, committed ([`epoch`]),
//!    while members that lack something fetch it ([`transfer`]); otherwise
//! 4. *closed*: no primary component here, with the reason.
//!
//! Invariants, asserted by [`Replica::check`] and hunted by the simulator:
//!
//! - an epoch is opened in at most one view (two need two majorities of promises, which intersect);
//! - what is committed is held durably by a majority and is in the log of every later epoch's
//!   source;
//! - applied <= commit <= last; nothing committed is ever truncated.
//!
//! `docs/replication.md` has the safety argument in full. Reading order: [`io`], [`message`],
//! [`opening`], [`plan`], [`history`], [`epoch`], [`proposals`], [`applying`], [`transfer`],
//! [`ends`], [`retention`], [`durable`].

mod applying;
pub mod config;
mod divergence;
mod durable;
pub mod ends;
mod epoch;
pub mod history;
pub mod io;
pub mod log;
pub mod message;
mod opening;
mod plan;
mod proposals;
mod readmission;
mod reads;
mod retention;
mod transfer;
mod transfer_rate;
pub mod voters;

use crate::group::{GroupEvent, View};
use crate::ids::{Epoch, Index, LogPosition, NodeId, Stamp, StoreId};
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::Decode;
use alloc::collections::{BTreeMap, VecDeque};
use applying::Backlog;
use bytes::Bytes;
use config::{Durability, ReplicaConfig};
use durable::Disk;
pub use durable::{Image, SnapshotHead};
use epoch::OpenEpoch;
use io::{Action, ClosedReason, HaltReason, Origin, Record, ReplicaStatus, Ticket};
use log::{Log, Recovered};
use message::{GroupMessage, PeerMessage};
use plan::{Plan, Reports};
use proposals::Proposals;
use reads::Barriers;
use transfer::{Receiving, Serving};

pub use proposals::ProposeError;

/// The replicated log of one server. See the module's documentation.
#[derive(Clone, Debug)]
pub struct Replica {
    config: ReplicaConfig,
    store: StoreId,
    /// Tells this start's batches from those of an earlier one.
    salt: u64,
    /// What the server's clock shows; zero until it is known.
    clock: Stamp,
    bootstrap: bool,
    promised: Epoch,
    log: Log,
    /// Invariant: at most `commit`.
    applied: Index,
    /// Known to be committed, and held. Invariant: at most the log's end.
    commit: Index,
    backlog: Backlog,
    /// The last applied batch of each server.
    origins: BTreeMap<NodeId, Origin>,
    view: Option<View>,
    phase: Phase,
    proposals: Proposals,
    barriers: Barriers,
    disk: Disk,
    serving: Serving,
    receiving: Receiving,
    /// As [`Replica::note_state_bytes`] said.
    state_bytes: u64,
    actions: VecDeque<Action>,
    messages_ignored: u64,
    halted: bool,
}

/// How far the present view has come.
#[derive(Clone, Debug)]
enum Phase {
    /// There was no view yet.
    Idle,
    /// Reports are awaited.
    Gathering { reports: Reports },
    /// All have reported, and there is no primary component.
    Closed { reports: Reports, reason: ClosedReason },
    /// Promises are awaited.
    Promising { plan: Plan, promises: alloc::collections::BTreeSet<NodeId> },
    /// The epoch is open.
    Open(alloc::boxed::Box<OpenEpoch>),
}

impl Replica {
    /// A replica that has what `recovered` says. `seed` must differ from start to start.
    pub fn new(config: ReplicaConfig, recovered: Recovered, seed: u64) -> Self {
        config.limits.check();
        let snapshot = recovered.snapshot;
        let applied = recovered.log.base().index;
        let state_bytes = snapshot.as_ref().map_or(0, |snapshot| snapshot.state.len());
        let mut replica = Self {
            store: recovered.store,
            salt: Rng::new(seed).next_u64(),
            clock: Stamp(0),
            bootstrap: recovered.bootstrap,
            promised: recovered.promised,
            applied,
            commit: applied,
            backlog: Backlog::default(),
            origins: snapshot.as_ref().map(|s| s.origins.clone()).unwrap_or_default(),
            view: None,
            phase: Phase::Idle,
            proposals: Proposals::default(),
            barriers: Barriers::default(),
            disk: Disk::new(recovered.log.last().index, applied, state_bytes),
            serving: Serving::default(),
            receiving: Receiving::default(),
            state_bytes: 0,
            actions: VecDeque::new(),
            messages_ignored: 0,
            halted: false,
            log: recovered.log,
            config,
        };
        if recovered.fresh {
            let (node, store) = (replica.config.node, replica.store);
            let bootstrap = replica.bootstrap;
            replica.persist(Record::Identity { node, store, bootstrap });
        }
        if let Some(snapshot) = snapshot {
            let (index, state) = (snapshot.last.index, snapshot.state.whole());
            let install = Action::Install { index, state };
            replica.actions.push_back(install);
        }
        replica.tell_standing();
        replica.check();
        replica
    }

    /// Takes what the group layer delivered. As after every input, poll the actions before waiting.
    pub fn handle_group(&mut self, now: Instant, event: GroupEvent) {
        if self.halted {
            return;
        }
        match event {
            GroupEvent::View(view) => self.on_view(view),
            GroupEvent::Deliver { from, payload } => self.on_deliver(now, from, &payload),
        }
        self.check();
    }

    fn on_deliver(&mut self, now: Instant, from: NodeId, payload: &Bytes) {
        let member = self.view.as_ref().is_some_and(|view| view.contains(from));
        let message = GroupMessage::from_payload(payload);
        let (Ok(message), true) = (message, member) else {
            self.messages_ignored += 1;
            return;
        };
        match message {
            GroupMessage::Report(report) => self.on_report(from, report),
            GroupMessage::Promise { view, epoch } => self.on_promise(now, from, view, epoch),
            GroupMessage::Frame(frame) => self.on_frame(from, frame),
        }
    }

    /// Takes word that the record with this ticket and all before it are durable.
    pub fn handle_stored(&mut self, _now: Instant, ticket: Ticket) {
        if !self.halted {
            self.on_stored(ticket);
            self.check();
        }
    }

    /// Takes word that a write failed. The server stops: it cannot know what its disk holds.
    pub fn handle_store_failed(&mut self) {
        self.halt(HaltReason::StorageFailed);
    }

    /// Takes a message that another server sent outside the group's order.
    pub fn handle_peer(&mut self, now: Instant, from: NodeId, message: &Bytes) {
        if self.halted {
            return;
        }
        match PeerMessage::from_bytes(message) {
            Ok(message) => self.on_peer(now, from, message),
            Err(_) => self.messages_ignored += 1,
        }
        self.check();
    }

    /// Does what is due.
    pub fn handle_timer(&mut self, now: Instant) {
        if !self.halted {
            self.on_transfer_timer(now);
            self.advance();
            self.check();
        }
    }

    /// When [`Self::handle_timer`] is to be called next, if at all.
    ///
    /// # Panics
    /// If actions are left: who waits has polled them all.
    pub fn next_deadline(&self) -> Option<Instant> {
        assert!(self.is_drained(), "actions are polled until none is left before anybody waits");
        if self.halted {
            None
        } else if self.applied < self.commit {
            Some(Instant::ZERO)
        } else {
            self.transfer_deadline()
        }
    }

    /// What to do next. Any number of inputs may come between two polls; before waiting, poll until
    /// there is none. What there is to say to the group is packed here, when nothing else is left:
    /// what came together goes out together.
    pub fn poll_action(&mut self) -> Option<Action> {
        if self.actions.is_empty() && !self.halted {
            self.compose_frame();
        }
        self.actions.pop_front()
    }

    /// True if [`Self::poll_action`] has nothing to hand out.
    fn is_drained(&self) -> bool {
        self.actions.is_empty() && (self.halted || !self.has_frame_due())
    }

    /// This server's id.
    pub const fn node(&self) -> NodeId {
        self.config.node
    }

    /// The open epoch, once this server is synced with its beginning.
    pub fn open_epoch(&self) -> Option<Epoch> {
        match &self.phase {
            Phase::Open(epoch) if epoch.is_synced() => Some(epoch.plan.epoch),
            _ => None,
        }
    }

    /// All that bears on what the replica does, as one number: see [`crate::fingerprint`].
    #[cfg(feature = "testing")]
    pub fn fingerprint(&self) -> u64 {
        let Self {
            config: _,
            messages_ignored: _,
            store,
            salt,
            clock,
            bootstrap,
            promised,
            log,
            applied,
            commit,
            backlog,
            origins,
            view,
            phase,
            proposals,
            barriers,
            disk,
            serving,
            receiving,
            state_bytes,
            actions,
            halted,
        } = self;
        crate::fingerprint::of(&(
            (store, salt, clock, bootstrap, promised, log, applied, commit, backlog, origins),
            (view, phase, proposals, barriers, disk, serving, receiving, actions, halted),
            state_bytes,
        ))
    }

    /// What the replica is doing.
    pub fn status(&self) -> ReplicaStatus {
        let (epoch, closed) = match &self.phase {
            Phase::Idle | Phase::Gathering { .. } | Phase::Promising { .. } => {
                (None, Some(ClosedReason::Gathering))
            }
            Phase::Closed { reason, .. } => (None, Some(reason.clone())),
            Phase::Open(epoch) => (Some(epoch.plan.epoch), None),
        };
        let opened = match &self.phase {
            Phase::Open(epoch) => Some(epoch),
            _ => None,
        };
        ReplicaStatus {
            store: self.store,
            epoch,
            closed,
            synced: self.open_epoch().is_some(),
            promised: self.promised,
            members: self.view.as_ref().map(|view| view.members.clone()).unwrap_or_default(),
            stores: opened.map(|epoch| epoch.plan.stores.clone()).unwrap_or_default(),
            voters: self.log.voters().clone(),
            digests: opened.map(|epoch| epoch.own_digests(self.config.node)).unwrap_or_default(),
            last: self.log.last(),
            durable: self.disk.durable(),
            commit: self.commit,
            applied: self.applied,
            log_start: self.log.base().index.next(),
            checkpointed: if self.is_persistent() { self.disk.checkpointed() } else { Index(0) },
            proposals_bytes: self.proposals.bytes(),
            messages_ignored: self.messages_ignored,
            halted: self.halted,
        }
    }

    /// The log, for checkers that compare servers.
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// Asserts the invariants. Costs little; runs in release builds too.
    pub fn check(&self) {
        self.log.check();
        let last = self.log.last();
        assert!(self.applied <= self.commit, "only what is committed is applied");
        assert!(self.commit <= last.index, "what is committed here is held here");
        self.backlog.check(self.applied == self.commit);
        assert!(self.applied >= self.log.base().index, "only what is applied is forgotten");
        assert!(self.disk.durable() <= last.index, "what is durable is in the log");
        assert!(last.epoch <= self.highest_epoch(), "the log is not ahead of its epoch");
        if let Phase::Open(epoch) = &self.phase {
            epoch.check(&self.log);
        }
        self.proposals.check();
    }

    fn highest_epoch(&self) -> Epoch {
        match &self.phase {
            Phase::Open(epoch) => self.promised.max(epoch.plan.epoch),
            _ => self.promised.max(self.log.last().epoch),
        }
    }

    fn is_persistent(&self) -> bool {
        self.config.durability == Durability::Persistent
    }

    fn multicast(&mut self, message: &GroupMessage) {
        self.actions.push_back(Action::Multicast(message.to_payload()));
    }

    fn send(&mut self, to: NodeId, message: &PeerMessage) {
        use crate::wire::Encode;
        self.actions.push_back(Action::Peer { to, message: message.to_bytes() });
    }

    fn halt(&mut self, reason: HaltReason) {
        if !self.halted {
            self.halted = true;
            self.actions.push_back(Action::Halt(reason));
        }
    }

    fn position_applied(&self) -> LogPosition {
        self.log.position_at(self.applied).expect("the last applied entry or the base is known")
    }
}
