//! One member of a process group: what Corosync tells it in, the ordering contract out.
//!
//! The machine does no IO. Its driver hands in what the daemon says (`handle_*`), sends what it
//! wants sent ([`Machine::poll_send`]), and hands its events on ([`Machine::poll_event`]).
//!
//! **Rounds.** Each change that the daemon tells (of the group's members, of the ring), and each
//! [`Message::Call`], begins a round: the view's order is closed, and every member says how it left
//! it ([`Message::Sync`]). The round ends when the last member of the group has spoken, or with the
//! first [`Message::Form`] that names only who has. Those who had spoken by then are the view. All
//! of these messages are in Corosync's order, so all members come to the same view at the same
//! point of it; its id is made of their nonces, so another set of members has another id.
//!
//! **Moving together.** Members that come from the same view with the same messages taken go on
//! directly. If two of them differ (they were apart for a moment that neither noticed as a view),
//! each passes through a view of its own. So does a member that has been alone meanwhile.
//!
//! Within a view, see `order`. Where next: `order`, `pack`, [`super::message`]; the thread that
//! drives a machine is in `daemon`.

use super::config::MachineConfig;
use super::message::{Address, CHUNK_OVERHEAD_BYTES, Chunk, MEMBERS_MAX, Message, Seen, Sync};
use super::order::{Order, Taken};
use super::pack::Outbox;
pub use super::refusal::Refusal;
use super::round::Round;
use accord_core::group::{GroupEvent, SubmitError, View, ViewId};
use accord_core::ids::NodeId;
use accord_core::rng::Rng;
use accord_core::time::{DurationExt, Instant};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// What a machine counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Views that were agreed on.
    pub views: u64,
    /// Views of oneself alone.
    pub alone: u64,
    /// Rounds begun.
    pub rounds: u64,
    /// Chunks handed to Corosync.
    pub chunks: u64,
    /// Bytes of those.
    pub chunk_bytes: u64,
    /// Chunks that were dropped at the end of a view, since they may lie beyond a hole.
    pub dropped: u64,
    /// Messages not used, by reason.
    pub refused: BTreeMap<Refusal, u64>,
}

/// How a machine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineStatus {
    /// Its address in the process group, while it has one.
    pub address: Option<Address>,
    /// `away`, `forming`, `agreed` or `alone`.
    pub stage: &'static str,
    /// Its view.
    pub view: Option<ViewId>,
    /// All processes in the group.
    pub group: Vec<Address>,
    /// Messages submitted and not handed to Corosync.
    pub pending_messages: usize,
    /// Chunks handed to Corosync and not in the order.
    pub window_chunks: usize,
    /// Chunks held back.
    pub held_chunks: usize,
    /// Counted since the start.
    pub counters: Counters,
}

/// One member of a process group.
#[derive(Debug)]
pub struct Machine {
    pub(super) config: MachineConfig,
    rng: Rng,
    /// `None` while there is no daemon.
    pub(super) me: Option<Address>,
    /// The processes of the group.
    pub(super) group: Vec<Address>,
    pub(super) round: Round,
    order: Order,
    view: Option<ViewId>,
    /// True in a view of oneself alone, which lives on what is submitted.
    alone: bool,
    /// The largest number of any view that this member was in.
    seq: u64,
    /// Chunks of one's own in this view.
    number: u64,
    /// How many chunks of this view we last told to be delivered here.
    told: u64,
    outbox: Outbox,
    /// Bytes of own chunks that are under way.
    window: VecDeque<usize>,
    window_bytes: usize,
    events: VecDeque<GroupEvent>,
    events_bytes: usize,
    pub(super) due: Due,
    beat: Beat,
    pub(super) rejoin: bool,
    pub(super) counters: Counters,
}

/// What is to be sent as soon as may be.
#[derive(Debug, Default)]
pub(super) struct Due {
    pub(super) sync: bool,
    pub(super) form: bool,
    pub(super) call: bool,
    seen_at: Option<Instant>,
}

/// One's own signs of life: any message of one's own is one.
#[derive(Debug)]
struct Beat {
    /// When something was last sent.
    sent_at: Instant,
    /// Since when nothing that was sent has come back.
    flying_since: Option<Instant>,
    /// When one that came back was last counted.
    counted_at: Instant,
}

impl Beat {
    const fn new(now: Instant) -> Self {
        Self { sent_at: now, flying_since: None, counted_at: now }
    }
}

impl Machine {
    /// A member that is not in its group yet. The seed must differ from start to start.
    pub fn new(config: MachineConfig, seed: u64, now: Instant) -> Self {
        Self {
            config,
            rng: Rng::new(seed),
            me: None,
            group: Vec::new(),
            round: Round::new(now),
            order: Order::new(0, std::iter::empty()),
            view: None,
            alone: false,
            seq: 0,
            number: 0,
            told: 0,
            outbox: Outbox::default(),
            window: VecDeque::new(),
            window_bytes: 0,
            events: VecDeque::new(),
            events_bytes: 0,
            due: Due::default(),
            beat: Beat::new(now),
            rejoin: false,
            counters: Counters::default(),
        }
    }

    // ------------------------------------------------------------------ what the replica does

    /// Accepts a message for ordering.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub fn submit(&mut self, _now: Instant, payload: Bytes) -> Result<(), SubmitError> {
        let limits = &self.config.limits;
        let (bytes, bytes_max) = (payload.len(), limits.message_bytes_max);
        if bytes > bytes_max {
            return Err(SubmitError::TooLarge { bytes, bytes_max });
        }
        if self.outbox.len() >= limits.pending_messages_max
            || self.outbox.bytes() + bytes > limits.pending_bytes_max
        {
            return Err(SubmitError::Full);
        }
        self.outbox.push(payload);
        self.loop_back();
        Ok(())
    }

    /// The next event, if any waits.
    pub fn poll_event(&mut self) -> Option<GroupEvent> {
        let event = self.events.pop_front()?;
        if let GroupEvent::Deliver { payload, .. } = &event {
            self.events_bytes -= payload.len();
        }
        self.loop_back();
        Some(event)
    }

    /// True if events wait.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// How it is.
    pub fn status(&self) -> MachineStatus {
        MachineStatus {
            address: self.me,
            stage: match (self.me, self.alone, self.round.is_over()) {
                (None, ..) => "away",
                (_, _, false) => "forming",
                (_, true, true) => "alone",
                (_, false, true) => "agreed",
            },
            view: self.view,
            group: self.group.clone(),
            pending_messages: self.outbox.len(),
            window_chunks: self.window.len(),
            held_chunks: self.order.held(),
            counters: self.counters.clone(),
        }
    }

    // ----------------------------------------------------------------- what the daemon says

    /// The daemon is there, and this process is about to join the group under this address.
    pub fn handle_joining(&mut self, now: Instant, me: Address) {
        self.me = Some(me);
        self.rejoin = false;
        self.beat = Beat::new(now);
    }

    /// The daemon is gone, or this process has left the group.
    pub fn handle_away(&mut self, now: Instant) {
        self.me = None;
        self.rejoin = false;
        self.group.clear();
        self.round = Round::new(now);
        self.due = Due::default();
        self.beat = Beat::new(now);
        if !self.alone {
            self.go_alone();
        }
    }

    /// The processes of the group are now these.
    pub fn handle_group(&mut self, now: Instant, mut members: Vec<Address>) {
        let Some(me) = self.me else { return };
        members.sort_unstable();
        members.dedup();
        members.truncate(MEMBERS_MAX);
        self.group = members;
        if self.group.contains(&me) {
            self.begin_round(now);
        } else {
            self.rejoin = true;
        }
    }

    /// The ring of the daemons has formed again, perhaps with the same members.
    pub fn handle_ring(&mut self, now: Instant) {
        if self.me.is_some_and(|me| self.group.contains(&me)) {
            self.begin_round(now);
        }
    }

    /// A message of the group.
    pub fn handle_message(&mut self, now: Instant, from: Address, bytes: &Bytes) {
        let Some(me) = self.me else { return };
        if !self.group.contains(&from) {
            return self.refuse(Refusal::Outsider, from);
        }
        let message = match Message::decode(&self.config.key, from, bytes) {
            Ok(message) => message,
            Err(error) => return self.refuse(Refusal::from(error), from),
        };
        if from == me {
            self.on_own_message(now, me);
        }
        let given = match message {
            Message::Sync(sync) => return self.on_sync(now, from, sync),
            Message::Form(nonces) => return self.on_form(from, &nonces),
            Message::Call => return self.begin_round(now),
            Message::Chunk(chunk) if chunk.view == self.order.salt() => {
                // Each member's window is as large as ours, and may be of two views.
                let held_bytes_max = self.config.limits.window_bytes_max * 2 * self.group.len();
                self.order.on_chunk(from, chunk, held_bytes_max)
            }
            Message::Seen(seen) if seen.view == self.order.salt() => self.order.on_seen(from, seen),
            Message::Chunk(_) | Message::Seen(_) => Ok(Taken::Late),
        };
        match given {
            Ok(Taken::InOrder) => self.round.speaks(from),
            Ok(Taken::Late) => return self.refuse(Refusal::Late, from),
            Ok(Taken::Outsider) => return self.refuse(Refusal::Outsider, from),
            Err(fault) => {
                // Nothing can be taken beyond it. Most often a change is on its way; if not, a
                // new view helps.
                self.refuse(Refusal::from(fault), from);
                self.close_order();
                self.due.call = true;
                return;
            }
        }
        self.take(me);
        self.plan_seen(now, me);
    }

    // ------------------------------------------------------------------------------ driving

    /// True if the driver may hand in more: the replica keeps up.
    pub const fn wants_input(&self) -> bool {
        self.events_bytes <= self.config.limits.events_bytes_max
    }

    /// True if the driver is to leave the daemon and come back: this process is not in the group.
    pub const fn wants_rejoin(&self) -> bool {
        self.rejoin
    }

    /// The next message for the group, if one is to be sent. It is not offered again.
    pub fn poll_send(&mut self, now: Instant) -> Option<Bytes> {
        let me = self.me?;
        if !self.group.contains(&me) {
            return None;
        }
        let message = self.next_message(now)?;
        self.beat.sent_at = now;
        self.beat.flying_since.get_or_insert(now);
        Some(message.encode(&self.config.key, me))
    }

    fn next_message(&mut self, now: Instant) -> Option<Message> {
        if std::mem::take(&mut self.due.sync) {
            let nonce = self.rng.next_u64();
            return Some(Message::Sync(Sync { nonce, ..self.left() }));
        }
        if std::mem::take(&mut self.due.form) {
            return Some(Message::Form(self.round.nonces()));
        }
        if std::mem::take(&mut self.due.call) {
            return Some(Message::Call);
        }
        if !self.is_open() {
            return None;
        }
        if let Some(chunk) = self.next_chunk() {
            self.due.seen_at = None;
            self.told = chunk.seen;
            return Some(Message::Chunk(chunk));
        }
        let alive = self.config.limits.alive;
        let silent = self.beat.flying_since.is_none() && now.since(self.beat.sent_at) >= alive;
        if silent || self.due.seen_at.is_some_and(|at| at <= now) {
            self.due.seen_at = None;
            self.told = self.order.delivered();
            return Some(Message::Seen(Seen { view: self.order.salt(), seen: self.told }));
        }
        None
    }

    /// True while messages may be ordered.
    const fn is_open(&self) -> bool {
        !self.alone && !self.order.is_closed() && self.round.is_over()
    }

    /// When [`Self::handle_timer`] wants to be called, and messages may be there to be sent.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.me?;
        let limits = &self.config.limits;
        let beat = match self.beat.flying_since {
            Some(since) => Some(since + limits.silence),
            None => self.is_open().then_some(self.beat.sent_at + limits.alive),
        };
        let form = (!self.round.is_over() && !self.group.is_empty())
            .then(|| self.round.deadline(limits.form));
        [beat, form, self.due.seen_at].into_iter().flatten().min()
    }

    /// Does what is due. To be called when all that the daemon had to say has been handed in.
    pub fn handle_timer(&mut self, now: Instant) {
        if self.me.is_none() {
            return;
        }
        let limits = self.config.limits;
        if self.beat.flying_since.is_some_and(|since| now.since(since) >= limits.silence) {
            // The daemon hangs, or its ring does. Our messages may still come; a round follows
            // then.
            self.beat.flying_since = Some(now);
            if !self.alone {
                tracing::warn!("Corosync does not deliver our own messages: alone for now");
                self.go_alone();
            }
            self.round.stop();
        }
        self.on_round_timer(now);
    }

    // ---------------------------------------------------------------------------- the order

    /// Something that we sent came back: the daemon and its ring are alive.
    fn on_own_message(&mut self, now: Instant, me: Address) {
        self.beat.flying_since = None;
        if self.alone && self.round.is_stopped() {
            self.due.call = true;
            self.round.resume(now);
        }
        let limits = self.config.limits;
        if now.since(self.beat.counted_at) < limits.alive {
            return;
        }
        self.beat.counted_at = now;
        let beats_max = limits.silence.to_nanos().div_ceil(limits.alive.to_nanos()) + 1;
        if self.round.is_over() && !self.order.is_closed() {
            let silent = self.order.on_own_beat(me, beats_max);
            for address in silent.iter().filter(|address| **address != me) {
                tracing::warn!(%address, "a member says nothing: it is left out");
                self.round.silence(*address);
                self.due.call = true;
            }
        }
    }

    /// When to confirm that all was delivered here, if no other message confirms it first. The
    /// sender of the last chunk confirms at once; the others wait a moment, in case it hangs.
    fn plan_seen(&mut self, now: Instant, me: Address) {
        if !self.order.is_unconfirmed() || self.told >= self.order.delivered() {
            self.due.seen_at = None;
        } else if self.due.seen_at.is_none() {
            let wait = self.order.last_from() != Some(me);
            self.due.seen_at = Some(if wait { now + self.config.limits.seen } else { now });
        } else if self.order.last_from() == Some(me) {
            self.due.seen_at = Some(now);
        }
    }

    fn next_chunk(&mut self) -> Option<Chunk> {
        let limits = &self.config.limits;
        if self.window.len() >= limits.window_chunks_max
            || self.window_bytes >= limits.window_bytes_max
        {
            return None;
        }
        let pieces = self.outbox.pieces(limits.chunk_bytes_max - CHUNK_OVERHEAD_BYTES)?;
        self.number += 1;
        self.window.push_back(pieces.len());
        self.window_bytes += pieces.len();
        self.counters.chunks += 1;
        self.counters.chunk_bytes += pieces.len() as u64;
        let (view, seen) = (self.order.salt(), self.order.delivered());
        Some(Chunk { view, number: self.number, seen, pieces })
    }

    fn take(&mut self, me: Address) {
        let mut whole = Vec::new();
        while let Some((from, taken)) =
            self.order.take(self.config.limits.message_bytes_max, &mut whole)
        {
            if from == me {
                self.window_bytes -= self.window.pop_front().unwrap_or_default();
            }
            for payload in whole.drain(..) {
                self.deliver(NodeId(from.node), payload);
            }
            if taken.is_err() {
                // The same bytes for all: no member takes anything beyond it.
                self.refuse(Refusal::Malformed, from);
                self.close_order();
                self.due.call = true;
                return;
            }
        }
    }

    fn deliver(&mut self, from: NodeId, payload: Bytes) {
        self.events_bytes += payload.len();
        self.events.push_back(GroupEvent::Deliver { from, payload });
    }

    pub(super) fn close_order(&mut self) {
        self.counters.dropped += self.order.held() as u64;
        self.order.close();
        self.due.seen_at = None;
    }

    // ---------------------------------------------------------------------------- the views

    /// How this member has left the view that it is in.
    pub(super) fn left(&self) -> Sync {
        let view = if self.alone { 0 } else { self.order.salt() };
        Sync { nonce: 0, seq: self.seq, view, taken: self.order.taken() }
    }

    /// The round is over, and these are the view. False if it cannot be ours.
    pub(super) fn install(&mut self, synced: &[(Address, Sync)]) -> bool {
        let seq = synced.iter().map(|(_, sync)| sync.seq).max().unwrap_or_default() + 2;
        let own = synced.iter().find(|(address, _)| Some(*address) == self.me);
        let Some((_, own)) = own else { return false };
        if seq < self.seq + 2 {
            // What we said was before we were alone, and there is no number left for being alone
            // once more on the way: send it again.
            return false;
        }
        let mine = Sync { nonce: own.nonce, ..self.left() };
        let together =
            |(_, sync): &(Address, Sync)| sync.view != mine.view || sync.taken == mine.taken;
        // The very first view has nothing before it.
        let direct = self.alone || self.view.is_none() || *own == mine;
        if !direct || (mine.view != 0 && !synced.iter().all(together)) {
            self.go_alone();
        }
        let mut members: Vec<NodeId> =
            synced.iter().map(|(address, _)| NodeId(address.node)).collect();
        members.sort_unstable();
        let salt = salt(synced);
        self.counters.views += 1;
        self.enter(View { id: ViewId { seq, representative: members[0], salt }, members });
        self.alone = false;
        self.order = Order::new(salt, synced.iter().map(|(address, _)| *address));
        true
    }

    /// A view of oneself alone, until there is a better one.
    pub(super) fn go_alone(&mut self) {
        let node = self.config.node;
        let id = ViewId { seq: self.seq + 1, representative: node, salt: self.rng.next_u64() };
        self.counters.alone += 1;
        self.enter(View { id, members: vec![node] });
        self.alone = true;
        self.close_order();
    }

    pub(super) const fn is_alone(&self) -> bool {
        self.alone
    }

    fn enter(&mut self, view: View) {
        self.seq = view.id.seq;
        self.view = Some(view.id);
        self.events.push_back(GroupEvent::View(view));
        // What was submitted in the old view and not delivered is lost with it.
        self.number = 0;
        self.told = 0;
        self.window.clear();
        self.window_bytes = 0;
        self.outbox.clear();
        self.due.seen_at = None;
    }

    /// Alone, what is submitted is delivered.
    fn loop_back(&mut self) {
        while self.alone && self.wants_input() {
            let Some(payload) = self.outbox.pop() else { return };
            self.deliver(self.config.node, payload);
        }
    }

    /// Counts a message that was not used, and logs it the first time and ever more rarely.
    pub(super) fn refuse(&mut self, refusal: Refusal, from: Address) {
        let count = self.counters.refused.entry(refusal).or_default();
        *count += 1;
        let expected = matches!(refusal, Refusal::Late | Refusal::Hole | Refusal::Behind);
        if count.is_power_of_two() && !expected {
            tracing::warn!(%from, count, "refused a message of the group: {}", refusal.why());
        }
    }
}

/// What distinguishes a view from every other: the nonces that made it.
fn salt(synced: &[(Address, Sync)]) -> u64 {
    let mut nonces: Vec<u64> = synced.iter().map(|(_, sync)| sync.nonce).collect();
    nonces.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    nonces.iter().for_each(|nonce| {
        hasher.update(&nonce.to_le_bytes());
    });
    let mut salt = [0; 8];
    salt.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    // 0 stands for no view.
    u64::from_le_bytes(salt).max(1)
}
