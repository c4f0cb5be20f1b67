//! The ordered service: the replicated log, and the state that it leads to.
//!
//! A [`Service`] takes what the group, the disk and other servers bring, orders commands and
//! applies them. It knows no connection and no client protocol: the gateway is in front of it. Like
//! every machine here it takes inputs and is polled: [`Service::poll_output`] does the next thing
//! that is due and says what came of it.
//!
//! What the gateway needs of it is little: [`Service::propose`] and [`Service::read_barrier`], and
//! to look at the state ([`Service::read`], [`Service::revision`], [`Service::session`],
//! [`Service::sessions`]). Invariants:
//!
//! - an output describes the state as it is when it is polled: the state is never ahead of what was
//!   said of it, so who reads it after each output has been told of all that it shows;
//! - commands are applied in the order of the log, each once;
//! - an entry is [`Output::Reached`] when all its commands are applied.

pub mod job;

pub use crate::replica::ProposeError;
pub use crate::replica::io::BarrierId;

use crate::group::{GroupEvent, Standing};
use crate::ids::{Index, NodeId, Revision, SessionId, Stamp};
use crate::limits::Limits;
use crate::replica::Replica;
use crate::replica::config::ReplicaConfig;
use crate::replica::io::{
    Action, Body, Entry, HaltReason, Record, ReplicaStatus, Ticket, next_command,
};
use crate::replica::log::Recovered;
use crate::replica::voters::{ChangeError, VoterChange, VoterSet};
use crate::state::{Completion, Event, ReadQuery, ReadResult, Session, State};
use crate::time::Instant;
use crate::wire::Reader;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::Bytes;
use job::{Backup, Job};

/// What a service does and asks. The order of outputs is a promise.
#[derive(Clone, Debug)]
pub enum Output {
    /// Submit to the group layer.
    Multicast(Bytes),
    /// Write to the disk, and tell [`Service::handle_stored`].
    Persist {
        /// To be handed back.
        ticket: Ticket,
        /// What to write.
        record: Record,
    },
    /// Send to another server beside the group.
    Peer {
        /// To whom.
        to: NodeId,
        /// An encoded message.
        message: Bytes,
    },
    /// Tell the group layer what the end of the log says of the vote.
    Standing(Standing),
    /// Run the job on any thread, and tell [`Service::handle_job_done`].
    Job(Job),
    /// Stop. Nothing follows.
    Halt(HaltReason),
    /// This server is in the primary component, with these members, and has the epoch's beginning.
    Primary {
        /// The members of the epoch's view.
        members: Vec<NodeId>,
    },
    /// It is not any more, or not yet.
    PrimaryLost,
    /// A command was applied. What it changed is in [`Service::events`] until the next output.
    Applied(Completion),
    /// An epoch began: sessions of servers that are not in it have no owner now.
    EpochBegan,
    /// The operator gave up what other servers had: no session and no revision of theirs goes on.
    EraBegan,
    /// Every command up to this entry is applied.
    Reached(Index),
    /// The barriers up to this one are passed: a read may show a state that contains the entry.
    BarrierDone {
        /// This and all earlier ones.
        up_to: BarrierId,
        /// What must be applied first.
        index: Index,
    },
    /// The state was replaced by a later one.
    Installed {
        /// The revision of the state that was replaced.
        before: Revision,
    },
    /// A change of voters is committed, or refused.
    VotersChanged {
        /// The caller's number.
        request: u64,
        /// What came of it.
        result: Result<(), ChangeError>,
    },
    /// The state as it was when [`Service::back_up`] was called.
    BackedUp {
        /// The caller's number.
        number: u64,
        /// The state, and where in the order it stands.
        backup: Box<Backup>,
    },
}

/// An entry that is being applied.
#[derive(Clone, Debug)]
struct Applying {
    entry: Entry,
    /// Commands that are left.
    commands: Reader,
}

/// The ordered part of a server. See the module's documentation.
#[derive(Clone, Debug)]
pub struct Service {
    limits: Limits,
    now: Instant,
    replica: Replica,
    state: State,
    /// The last entry of which every command is applied.
    applied: Index,
    applying: Option<Applying>,
    /// What the last command applied has changed. Memory that is used again.
    events: Vec<Event>,
    /// The state that the next [`Action::Install`] is about.
    prepared: Option<Box<State>>,
    outputs: VecDeque<Output>,
    halted: bool,
    /// For checkers: what was applied since they last asked.
    #[cfg(feature = "testing")]
    witnessed: Option<Vec<Entry>>,
    /// For tests: how far the digests that it gives are from those of its state.
    #[cfg(feature = "testing")]
    damage: u64,
}

impl Service {
    /// A service that has what its disk had. `seed` must differ from start to start.
    pub fn new(
        config: ReplicaConfig,
        limits: Limits,
        recovered: Recovered,
        seed: u64,
        now: Instant,
    ) -> Self {
        let mut service = Self {
            now,
            replica: Replica::new(config, recovered, seed),
            state: State::new(limits.clone()),
            limits,
            applied: Index(0),
            applying: None,
            events: Vec::new(),
            prepared: None,
            outputs: VecDeque::new(),
            halted: false,
            #[cfg(feature = "testing")]
            witnessed: None,
            #[cfg(feature = "testing")]
            damage: 0,
        };
        // The state that the disk had is there from the start.
        while let Some(action) = service.replica.poll_action() {
            service.on_action(action);
        }
        service
    }

    /// Takes word what the clock on the wall shows, for the stamps of what is proposed.
    pub fn note_clock(&mut self, wall: Stamp) {
        self.replica.note_clock(wall);
    }

    /// Takes what the group layer delivered.
    pub fn handle_group(&mut self, now: Instant, event: GroupEvent) {
        self.now = now;
        self.replica.handle_group(now, event);
    }

    /// Takes word that the record with this ticket and all before it are durable.
    pub fn handle_stored(&mut self, now: Instant, ticket: Ticket) {
        self.now = now;
        self.replica.handle_stored(now, ticket);
    }

    /// Takes word that a record could not be made durable.
    pub fn handle_store_failed(&mut self) {
        self.replica.handle_store_failed();
    }

    /// Takes what another server sent beside the group.
    pub fn handle_peer(&mut self, now: Instant, from: NodeId, message: &Bytes) {
        self.now = now;
        self.replica.handle_peer(now, from, message);
    }

    /// Does what is due.
    pub fn handle_timer(&mut self, now: Instant) {
        self.now = now;
        self.replica.handle_timer(now);
    }

    /// When [`Self::handle_timer`] is to be called next, if at all.
    ///
    /// # Panics
    /// If outputs are left.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.halted { None } else { self.replica.next_deadline() }
    }

    /// Does the next thing that the inputs lead to, and says what came of it. `None` if nothing is
    /// left.
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                self.halted |= matches!(output, Output::Halt(_));
                return Some(output);
            }
            if self.halted {
                return None;
            }
            if self.applying.is_some() {
                return Some(self.apply_next());
            }
            let action = self.replica.poll_action()?;
            self.on_action(action);
        }
    }

    /// True while an entry is applied in part: what [`Self::poll_output`] says next belongs to it.
    pub const fn is_applying(&self) -> bool {
        self.applying.is_some()
    }

    fn on_action(&mut self, action: Action) {
        let output = match action {
            Action::Multicast(message) => Output::Multicast(message),
            Action::Persist { ticket, record } => Output::Persist { ticket, record },
            Action::Peer { to, message } => Output::Peer { to, message },
            Action::Commit(entry) => return self.begin(entry),
            Action::Opened { epoch: _, members } => Output::Primary { members },
            Action::Closed(_) => Output::PrimaryLost,
            Action::BarrierDone { up_to, index } => Output::BarrierDone { up_to, index },
            Action::Standing(standing) => Output::Standing(standing),
            Action::SnapshotWanted => self.image_job(),
            Action::SnapshotReceived { number, bytes } => self.restore_job(number, bytes),
            Action::Install { index, state } => return self.install(index, &state),
            Action::VotersChanged { request, result } => Output::VotersChanged { request, result },
            Action::Halt(reason) => Output::Halt(reason),
        };
        self.outputs.push_back(output);
    }

    /// Begins to apply a committed entry.
    fn begin(&mut self, entry: Entry) {
        assert_eq!(entry.index, self.applied.next(), "entries are applied without gaps");
        let commands = match &entry.body {
            Body::Batch { stamp, commands, .. } => {
                self.state.begin_batch(*stamp);
                commands.clone()
            }
            Body::Marker { members } => {
                self.state.apply_marker(members);
                self.outputs.push_back(Output::EpochBegan);
                Bytes::new()
            }
            Body::Voters(set) => {
                if let Some(recovery) = set.recovery_at(entry.index) {
                    self.state.apply_recovery(recovery.revisions_skipped());
                    self.outputs.push_back(Output::EraBegan);
                }
                Bytes::new()
            }
        };
        self.applying = Some(Applying { entry, commands: Reader::new(commands) });
    }

    /// Applies the next command of the entry, or ends it.
    fn apply_next(&mut self) -> Output {
        let Self { applying, state, events, .. } = self;
        let applying = applying.as_mut().expect("the caller has looked");
        events.clear();
        let apply = |command: &mut Reader| state.apply_next(command, events);
        match next_command(&mut applying.commands, apply) {
            Some(completion) => Output::Applied(completion),
            None => self.end_entry(),
        }
    }

    fn end_entry(&mut self) -> Output {
        let Applying { entry, .. } = self.applying.take().expect("the caller has looked");
        self.applied = entry.index;
        if self.replica.wants_digest(entry.index) {
            let digest = self.state.digest();
            #[cfg(feature = "testing")]
            let digest = digest ^ self.damage;
            self.replica.note_digest(entry.index, digest);
        }
        self.replica.note_state_bytes(self.state.store_bytes());
        let reached = Output::Reached(entry.index);
        #[cfg(feature = "testing")]
        if let Some(witnessed) = &mut self.witnessed {
            witnessed.push(entry);
        }
        reached
    }

    /// Replaces the state by what another server had, or by what the disk had at the start.
    fn install(&mut self, index: Index, state: &Bytes) {
        let before = self.state.revision();
        let state = match self.prepared.take() {
            Some(prepared) => Ok(*prepared),
            // At the start there was nobody to prepare it.
            None => State::restore(state, self.limits.clone()),
        };
        let Ok(state) = state else { return self.halt(HaltReason::BadSnapshot) };
        let old = core::mem::replace(&mut self.state, state);
        #[cfg(feature = "testing")]
        {
            self.damage = 0;
        }
        self.applied = index;
        self.events.clear();
        self.outputs.push_back(Output::Installed { before });
        self.discard(old);
    }

    fn halt(&mut self, reason: HaltReason) {
        self.outputs.push_back(Output::Halt(reason));
    }

    /// Takes a command to be ordered and applied. It is kept until then.
    ///
    /// # Errors
    /// [`ProposeError`]; nothing was taken then.
    pub fn propose(&mut self, command: &[u8]) -> Result<(), ProposeError> {
        self.replica.propose(command)
    }

    /// Starts a barrier for reads that came until now, or joins one that is not sent yet. It ends
    /// with [`Output::BarrierDone`].
    pub fn read_barrier(&mut self) -> BarrierId {
        self.replica.read_barrier()
    }

    /// Asks for a change of voters; the outcome comes as [`Output::VotersChanged`].
    ///
    /// # Errors
    /// If it cannot even be asked.
    pub fn change_voters(&mut self, request: u64, change: VoterChange) -> Result<(), ChangeError> {
        self.replica.change_voters(request, change)
    }

    /// Asks to recover the cluster from what this server has: see [`Replica::force_recovery`].
    ///
    /// # Errors
    /// Why the cluster does not need recovery, or not from this server.
    pub fn force_recovery(&mut self) -> Result<(), &'static str> {
        self.replica.force_recovery()
    }

    /// What the last command applied has changed.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// This server's id.
    pub const fn node(&self) -> NodeId {
        self.replica.node()
    }

    /// Answers a query from the state.
    pub fn read(&self, query: &ReadQuery) -> ReadResult {
        self.state.read(query)
    }

    /// The state's revision.
    pub const fn revision(&self) -> Revision {
        self.state.revision()
    }

    /// A session, if it is open.
    pub fn session(&self, session: SessionId) -> Option<&Session> {
        self.state.session(session)
    }

    /// All sessions, by number.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.state.sessions()
    }

    /// The last entry of which every command is applied.
    pub const fn applied(&self) -> Index {
        self.applied
    }

    /// The replicated state, for checkers and tools.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The replica, for checkers and tools.
    pub const fn replica(&self) -> &Replica {
        &self.replica
    }

    /// What the replica is doing.
    pub fn status(&self) -> ReplicaStatus {
        self.replica.status()
    }

    /// The voter set as of the last entry applied.
    fn voters_applied(&self) -> VoterSet {
        self.replica.log().voters_at(self.applied).clone()
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If one is broken.
    pub fn check(&self) {
        self.replica.check();
        if let Some(applying) = &self.applying {
            assert_eq!(applying.entry.index, self.applied.next(), "the next entry is applied");
        }
    }

    /// From here on keeps the entries that it applies until [`Self::take_witnessed`] takes them.
    /// Nothing bounds them.
    #[cfg(feature = "testing")]
    pub fn witness(&mut self) {
        self.witnessed.get_or_insert_default();
    }

    /// The entries applied since this was last asked: the log may forget them at once.
    #[cfg(feature = "testing")]
    pub fn take_witnessed(&mut self) -> Vec<Entry> {
        self.witnessed.as_mut().map(core::mem::take).unwrap_or_default()
    }

    /// From here on the digests that it compares with other servers' are wrong, until another state
    /// takes its place. Its answers and records stay right.
    #[cfg(feature = "testing")]
    pub const fn damage(&mut self) {
        self.damage = 1;
    }

    /// True since [`Self::damage`], until its state is replaced.
    #[cfg(feature = "testing")]
    pub const fn is_damaged(&self) -> bool {
        self.damage != 0
    }

    /// All that bears on what the service does, as one number: see [`crate::fingerprint`].
    #[cfg(feature = "testing")]
    pub fn fingerprint(&self) -> u64 {
        let Self { limits: _, events: _, prepared: _, witnessed: _, .. } = self;
        let Self { now, replica, state, applied, applying, outputs, halted, damage, .. } = self;
        let (replica, state) = (replica.fingerprint(), state.digest());
        crate::fingerprint::of(&(now, replica, state, applied, applying, outputs, halted, damage))
    }
}
