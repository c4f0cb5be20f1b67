//! A running server of the simulated world, and what the judges are shown of it.
//!
//! See [`crate::world::node`] for the machine around it, which does the work of a driver.

use crate::judge::Property;
use crate::judge::situations::Situation;
use crate::world::env::Surroundings;
use crate::world::turns::Turns;
use crate::world::who::Actor;
use accord_core::group::ViewId;
use accord_core::group::ring::Ring;
use accord_core::ids::{ConnId, Epoch, Index, NodeId};
use accord_core::protocol::{ClientMessage, Consistency};
use accord_core::replica::io::{Body, Entry, commands};
use accord_core::server::{Input, Server};
use accord_core::state::Command;
use accord_core::time::Instant;
use accord_core::wire::Decode;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// A running server.
#[derive(Debug)]
pub struct Process {
    /// The core's server.
    pub server: Server,
    /// Its ring, unless the world has an adversarial group.
    pub ring: Option<Ring>,
    /// Messages that the group had no room for.
    pub(crate) unsubmitted: VecDeque<Bytes>,
    /// What clients said while the server did not accept more of them.
    pub(crate) inboxes: BTreeMap<ConnId, VecDeque<ClientMessage>>,
    /// What the judges were shown.
    pub(crate) observed: Observed,
    /// How many inputs it is handed before its outputs are polled.
    pub(crate) turns: Turns,
    /// The server's next deadline, as it was when its outputs were last polled.
    pub(crate) server_deadline: Option<Instant>,
    /// Inputs handed to the server since its outputs were polled.
    pub(crate) unpolled: u32,
    /// What its clock said at the last input. The server knows no later time, though its outputs
    /// may be polled later: what it does is judged by this.
    pub(crate) told_at: Instant,
    pub(crate) steps: u64,
    /// The server was told something since the judges were shown what is new.
    pub(crate) touched: bool,
    /// It did something since its invariants might have been asserted.
    pub(crate) unchecked: bool,
}

impl Process {
    /// Hands the server a message of a client, if there is one that it accepts.
    pub(crate) fn read_inbox(&mut self, id: u32, env: &mut Surroundings, now: Instant) -> bool {
        let accepted = self.inboxes.keys().copied().find(|conn| self.server.accepts(*conn));
        accepted.is_some_and(|conn| self.read_from(id, env, now, conn))
    }

    /// Hands the server the next message of one connection, if there is one that it accepts. A
    /// connection that ends is read to its end like this, as a socket is.
    pub(crate) fn read_from(
        &mut self,
        id: u32,
        env: &mut Surroundings,
        now: Instant,
        conn: ConnId,
    ) -> bool {
        let Some(inbox) = self.inboxes.get_mut(&conn) else { return false };
        if !self.server.accepts(conn) {
            return false;
        }
        let message = inbox.pop_front().expect("inboxes without a message are not kept");
        if inbox.is_empty() {
            self.inboxes.remove(&conn);
        }
        if let ClientMessage::Read { read, consistency, .. } = &message
            && *consistency == Consistency::Linearizable
        {
            let replica = self.server.replica();
            let (voters, epoch) = (replica.log().voters(), replica.open_epoch());
            env.judges.barriers.on_read(id, (conn, *read), voters, epoch);
        }
        self.tell(now, Input::Client { conn, message });
        true
    }

    /// Hands the server an input.
    pub(crate) fn tell(&mut self, now: Instant, input: Input) {
        self.server.handle(now, input);
        self.told_at = now;
        self.touched = true;
        self.unpolled += 1;
    }

    /// Shows the judges what is new, before anything follows from it.
    pub(crate) fn show(&mut self, id: u32, env: &mut Surroundings) {
        self.touched |= self.server.applied() != self.observed.shown;
        if std::mem::take(&mut self.touched) {
            self.observed.look(id, &mut self.server, env, self.told_at);
            self.unchecked = true;
        }
    }

    /// Nothing is left to do: asserts the invariants of the machines that did something, after
    /// every so many steps.
    pub(crate) fn settle(&mut self, check_every: u32) {
        self.steps += 1;
        let check = self.steps.is_multiple_of(u64::from(check_every));
        if std::mem::take(&mut self.unchecked) && check {
            self.server.check();
        }
        if let Some(ring) = &self.ring
            && check
        {
            ring.check();
        }
    }
}

/// How far the judges were shown what a server does: the same in every world.
#[derive(Debug)]
pub struct Observed {
    /// The view that the group told last, where the world sees it.
    pub view: Option<ViewId>,
    shown: Index,
    epoch: Option<Epoch>,
}

impl Observed {
    /// A server that starts, having applied up to `applied`.
    pub const fn new(applied: Index) -> Self {
        Self { view: None, shown: applied, epoch: None }
    }

    /// Shows the judges what is new at server `id`, whose clock says `now`.
    pub fn look(&mut self, id: u32, server: &mut Server, env: &mut Surroundings, now: Instant) {
        env.look_for_recovery(server.replica().log());
        let epoch = server.replica().open_epoch();
        if epoch != self.epoch {
            self.epoch = epoch;
            env.judges.silence.on_primary(id, (now, env.now), epoch.is_some());
            if epoch.is_none() {
                env.tell(Actor::Server(id), || "is primary no longer".to_owned());
            }
            if let (Some(epoch), Some(view)) = (epoch, self.view) {
                let judgement = env.judges.epochs.on_opened(NodeId(id), epoch, view);
                env.judge(Property::EpochsUnique, judgement);
                env.tell(Actor::Server(id), || format!("open {epoch} in {view}"));
            }
        }
        let applied = server.applied();
        if applied == self.shown {
            return;
        }
        let replaced = server.replica().log().base().index > self.shown;
        if replaced {
            env.met(Situation::StateReplaced);
        }
        for entry in server.take_witnessed() {
            // What a snapshot stood for, somebody else was seen to apply.
            if self.shown.next() < entry.index && env.judges.prefixes.last() < entry.index.prev() {
                env.judges.acknowledged.on_unseen();
                env.judges.committed.on_unseen();
                env.judges.snapshots.on_unseen();
            }
            self.shown = entry.index;
            show_entry(NodeId(id), &entry, env);
            show_ends(id, &entry, server, env);
        }
        let judgement = env.judges.snapshots.on_log(id, server.replica().log());
        env.judge(Property::StatesTrue, judgement);
        self.shown = applied;
        let digest = server.state().digest();
        let judgement = env.judges.prefixes.on_state(NodeId(id), applied, digest);
        env.judge(Property::PrefixesAgree, judgement);
        let judgement = env.judges.times.on_state(NodeId(id), applied, server.state().stamp());
        env.judge(Property::TimeAscends, judgement);
        let expected = env.judges.committed.digest_at(applied);
        if expected.is_some_and(|expected| expected != digest) {
            let detail =
                format!("n{id} at {applied} has {digest:016x}, its log gives {expected:x?}");
            env.fail(Property::DigestsAgree, detail);
        }
    }
}

/// Tells the judge of silence which ends of sessions came to what at this server.
fn show_ends(id: u32, entry: &Entry, server: &Server, env: &mut Surroundings) {
    let Body::Batch { commands: batch, .. } = &entry.body else { return };
    for command in commands(batch) {
        let Ok(Command::Expire { session, server: by, .. }) = Command::from_bytes(&command) else {
            continue;
        };
        let ended = server.state().session(session).is_none();
        if by != NodeId(id) && !ended {
            continue;
        }
        let known = env.judges.silence.on_ended(id, session, ended);
        if by == NodeId(id) && ended {
            env.met(if known { Situation::ExpiredAttached } else { Situation::ExpiredOrphan });
        }
    }
}

fn show_entry(node: NodeId, entry: &Entry, env: &mut Surroundings) {
    match env.judges.prefixes.on_applied(node, entry) {
        Ok(true) => {}
        Ok(false) => return,
        Err(detail) => return env.fail(Property::PrefixesAgree, detail),
    }
    env.counts.entries += 1;
    env.tell(Actor::Server(node.0), || format!("commits {}/{}", entry.epoch, entry.index));
    if env.judges.snapshots.on_entry(entry) {
        env.met(Situation::VotersChangedTwice);
    }
    let judgement = env.judges.committed.on_entry(entry);
    env.judge(Property::SessionsLast, judgement);
    for session in env.judges.committed.expired().to_vec() {
        let judgement = env.judges.leases.on_expired(session, env.now);
        env.judge(Property::LeasesEnd, judgement);
    }
    let judgement = env.judges.committed.judge_commands();
    env.judge(Property::StateAsDocumented, judgement);
    match &entry.body {
        Body::Marker { .. } => {
            let judgement = env.judges.epochs.on_marker(entry.epoch, entry.index);
            env.judge(Property::EpochsUnique, judgement);
        }
        Body::Batch { commands: batch, .. } => {
            for command in commands(batch) {
                if let Ok(Command::Request { session, request, .. }) = Command::from_bytes(&command)
                {
                    env.judges.acknowledged.on_committed(session, request, entry.index);
                }
            }
        }
        Body::Voters(set) => {
            if let Some(recovery) = set.recovery_at(entry.index).copied() {
                env.judges.recovery = Some((recovery, true));
                env.judges.epochs.on_era(recovery.era);
            }
            let (index, set) = (entry.index, set.clone());
            env.tell(Actor::World, || format!("voters at {index}: {set:?}"));
        }
    }
}
