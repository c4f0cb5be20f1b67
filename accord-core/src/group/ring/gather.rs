//! Gathering: members find out who is there, and agree on whom to form a ring with.
//!
//! Each member announces whom it hears. It decides when all that it expects are heard and hear each
//! other, or when their time is up. It then proposes the clique that [`super::clique`] chooses for
//! it from the announcements. When all members of a clique propose it, the first of them sends the
//! commit token. A processor that is heard but does not agree is left out for a while, longer each
//! time. So no processor can keep the others gathering.

use crate::group::ring::clique::Graph;
use crate::group::ring::packet::{Body, Proc};
use crate::group::ring::rows::Row;
use crate::group::ring::{Refusal, Ring, Stage, Timer, To};
use crate::time::{DurationExt, Instant};
use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

/// Gathering periods for which a processor may disagree with a proposal that does not change.
const DISAGREEMENT_PERIODS_MAX: u32 = 3;
/// Two announcements are at least this fraction of `join` apart.
const JOIN_GAP_FRACTION: u64 = 8;

/// The state of a gathering.
#[derive(Clone, Debug)]
pub(super) struct Gathering {
    started: Instant,
    /// Who should come: the members of the last ring, and all others heard when it began.
    expected: BTreeSet<Proc>,
    /// All expected processors are there, or their time is up.
    decided: bool,
    /// Sorted; empty until decided. Invariant: else it contains us.
    proposal: Vec<Proc>,
    /// Gathering periods for which the proposal has stood.
    periods_stood: u32,
}

impl Gathering {
    pub(super) fn check(&self, me: Proc) {
        assert!(self.proposal.is_empty() || self.proposal.binary_search(&me).is_ok());
        assert!(self.decided || self.proposal.is_empty());
    }
}

impl Ring {
    pub(super) fn on_token_loss(&mut self, now: Instant) {
        self.counters.token_losses += 1;
        self.enter_gather(now);
    }

    /// Starts to gather, from any stage but `Left`.
    pub(super) fn enter_gather(&mut self, now: Instant) {
        let mut expected: BTreeSet<Proc> = self.hears(now).into_iter().collect();
        expected.extend(&self.ring.members);
        expected.retain(|proc| {
            let listed = self.config.peers.contains(&proc.node);
            listed && self.table.is_welcome(now, *proc)
        });
        self.counters.gathers += 1;
        self.gathered_at = now;
        self.ring.held = None;
        self.timers.clear_all();
        let (decided, proposal, periods_stood) = (false, Vec::new(), 0);
        self.stage =
            Stage::Gather(Gathering { started: now, expected, decided, proposal, periods_stood });
        self.timers.set(Timer::Presence, now);
        self.arm_gather_timer(now);
        self.review(now);
    }

    /// Leaves a ring whose datagrams do not reach us, and suspects its other members.
    pub(super) fn abandon_ring(&mut self, now: Instant) {
        let members = match &self.stage {
            Stage::Recovery(recovering) => recovering.ring.members.clone(),
            _ => self.ring.members.clone(),
        };
        let me = self.me;
        for member in members.into_iter().filter(|member| *member != me) {
            self.suspect(now, member);
        }
        self.enter_gather(now);
    }

    fn suspect(&mut self, now: Instant, proc: Proc) {
        let timeouts = &self.config.timeouts;
        let min = timeouts.gather.times(4).min(timeouts.suspicion_max);
        self.table.suspect(now, proc, min, timeouts.suspicion_max);
        self.counters.suspicions += 1;
    }

    fn arm_gather_timer(&mut self, now: Instant) {
        let period = self.rng.jittered(self.config.timeouts.gather);
        self.timers.set(Timer::Gather, now + period);
    }

    /// Whom we hear. Sorted, without us.
    fn hears(&self, now: Instant) -> Vec<Proc> {
        let mut hears = self.table.heard_since(now, self.fresh_since(now));
        if !matches!(self.stage, Stage::Gather(_)) {
            hears.extend(self.ring.members.iter().filter(|member| **member != self.me));
            hears.sort_unstable();
            hears.dedup();
        }
        hears
    }

    /// Announcements of before this instant no longer count.
    fn fresh_since(&self, now: Instant) -> Instant {
        let ago = |span: crate::time::Duration| {
            Instant::from_nanos(now.as_nanos().saturating_sub(span.to_nanos()))
        };
        match &self.stage {
            Stage::Gather(gathering) => {
                gathering.started.max(ago(self.config.timeouts.gather.times(2)))
            }
            // What was heard before our ring was gathered was already weighed then.
            _ => ago(self.config.timeouts.presence).max(self.gathered_at),
        }
    }

    fn own_row(&self, now: Instant) -> Row {
        let (gathering, proposal) = match &self.stage {
            Stage::Gather(gathering) => (true, gathering.proposal.clone()),
            _ => (false, Vec::new()),
        };
        Row {
            proc: self.me,
            version: self.table.version(),
            seq_max: self.seq_max,
            ring: self.ring.id,
            gathering,
            standing: self.standing.clone(),
            hears: self.hears(now),
            proposal,
        }
    }

    pub(super) fn on_presence(
        &mut self,
        now: Instant,
        sender: Proc,
        rows: Vec<Row>,
    ) -> Result<(), Refusal> {
        if !self.table.merge(now, sender, rows) {
            return Err(Refusal::Stale);
        }
        let row = self.table.row(sender).expect("the sender's row was just taken in");
        let (seq_max, gathering) = (row.seq_max, row.gathering);
        let conflict = self.ring.members.iter().any(|m| m.node == sender.node && *m != sender);
        self.counters.node_conflicts += u64::from(conflict);
        // A member that knows of our ring, or of the one we are forming, and gathers, has left it.
        let abandoned = match &self.stage {
            Stage::Operational => self.ring.contains(sender) && seq_max >= self.ring.id.seq,
            Stage::Commit(c) => c.contains(sender) && seq_max >= c.ring_seq(),
            Stage::Recovery(r) => r.ring.contains(sender) && seq_max >= r.ring.id.seq,
            Stage::Gather(_) | Stage::Left => false,
        };
        if gathering && abandoned {
            self.enter_gather(now);
        } else {
            self.review(now);
        }
        Ok(())
    }

    pub(super) fn on_leave(&mut self, now: Instant, sender: Proc) -> Result<(), Refusal> {
        self.table.note_left(sender);
        let member = match &mut self.stage {
            Stage::Operational => self.ring.contains(sender),
            Stage::Commit(committing) => committing.contains(sender),
            Stage::Recovery(recovering) => recovering.ring.contains(sender),
            Stage::Gather(gathering) => {
                gathering.expected.remove(&sender);
                false
            }
            Stage::Left => false,
        };
        if member {
            self.enter_gather(now);
        } else {
            self.review(now);
        }
        Ok(())
    }

    /// Acts on what is known now: gathers, proposes, commits or announces.
    pub(super) fn review(&mut self, now: Instant) {
        match self.stage {
            Stage::Operational => self.review_operational(now),
            Stage::Gather(_) => self.review_gathering(now),
            Stage::Commit(_) | Stage::Recovery(_) | Stage::Left => {}
        }
        let announcing = matches!(self.stage, Stage::Operational | Stage::Gather(_));
        if announcing && self.table.note_hears(self.hears(now)) {
            self.announce_soon(now);
        }
    }

    /// Gathers if a ring of a higher rank is possible: more voters, or as many and more members.
    fn review_operational(&mut self, now: Instant) {
        let outside = self.hears(now).iter().any(|proc| !self.ring.contains(*proc));
        if !outside {
            return;
        }
        let members = &self.ring.members;
        let vertices = self.table.vertices(&self.own_row(now), self.fresh_since(now), members);
        let graph = Graph::new(&vertices);
        if graph.rank(&graph.choose(self.me)) > graph.rank(members) {
            self.counters.merges += 1;
            self.enter_gather(now);
        }
    }

    /// The clique to propose, of the processors heard in this gathering.
    fn chosen(&self, now: Instant) -> Vec<Proc> {
        let vertices = self.table.vertices(&self.own_row(now), self.fresh_since(now), &[]);
        Graph::new(&vertices).choose(self.me)
    }

    fn review_gathering(&mut self, now: Instant) {
        let decided = self.all_expected_are_here(now);
        let chosen = self.chosen(now);
        let Stage::Gather(gathering) = &mut self.stage else { return };
        gathering.decided |= decided;
        if !gathering.decided {
            return;
        }
        if gathering.proposal != chosen {
            gathering.proposal = chosen;
            gathering.periods_stood = 0;
            self.announce_soon(now);
        }
        self.commit_if_agreed(now);
    }

    /// True if all expected processors were heard in this gathering and hear each other.
    fn all_expected_are_here(&self, now: Instant) -> bool {
        let Stage::Gather(gathering) = &self.stage else { return false };
        let hears = self.hears(now);
        let mut expected = hears.clone();
        let replaced = |proc: &Proc| self.table.is_replaced(*proc, gathering.started);
        expected.extend(gathering.expected.iter().filter(|proc| !replaced(proc)));
        expected.sort_unstable();
        expected.dedup();
        let hears_all = |of: Proc, list: &[Proc]| {
            expected.iter().chain([&self.me]).all(|p| *p == of || list.binary_search(p).is_ok())
        };
        let row_is_complete =
            |proc: &Proc| self.table.row(*proc).is_some_and(|row| hears_all(*proc, &row.hears));
        hears_all(self.me, &hears) && expected.iter().all(row_is_complete)
    }

    fn commit_if_agreed(&mut self, now: Instant) {
        let Stage::Gather(gathering) = &self.stage else { return };
        let proposal = &gathering.proposal;
        if proposal.first() != Some(&self.me) || proposal.len() == 1 {
            return;
        }
        if proposal.iter().all(|proc| *proc == self.me || self.agrees(*proc, proposal)) {
            let members = proposal.clone();
            self.start_commit(now, members);
        }
    }

    fn agrees(&self, proc: Proc, proposal: &[Proc]) -> bool {
        self.table.row(proc).is_some_and(|row| row.gathering && row.proposal == proposal)
    }

    /// The members of the proposal if a commit token for them may be taken now.
    pub(super) fn proposal(&self) -> Option<&[Proc]> {
        match &self.stage {
            Stage::Gather(gathering) => Some(&gathering.proposal),
            _ => None,
        }
    }

    pub(super) fn on_gather_timer(&mut self, now: Instant) {
        let Stage::Gather(gathering) = &mut self.stage else { return };
        gathering.decided = true;
        gathering.periods_stood += 1;
        let stood = gathering.periods_stood;
        let proposal = gathering.proposal.clone();
        if proposal == [self.me] || self.hears(now).is_empty() {
            return self.install_single(now);
        }
        if stood >= DISAGREEMENT_PERIODS_MAX {
            self.suspect_who_blocks(now, &proposal);
        }
        self.arm_gather_timer(now);
        self.announce_soon(now);
        self.review(now);
    }

    /// Suspects the members that do not agree; if all agree, the first one, which does not commit.
    fn suspect_who_blocks(&mut self, now: Instant, proposal: &[Proc]) {
        let others = proposal.iter().filter(|proc| **proc != self.me);
        let mut blocking: Vec<Proc> =
            others.filter(|proc| !self.agrees(**proc, proposal)).copied().collect();
        if blocking.is_empty() && proposal.first() != Some(&self.me) {
            blocking = vec![proposal[0]];
        }
        for proc in blocking {
            self.suspect(now, proc);
        }
    }

    fn announce_soon(&mut self, now: Instant) {
        let join = self.config.timeouts.join;
        let gap = join.scaled(1, JOIN_GAP_FRACTION);
        let at = (self.table.announced_at() + gap).max(now);
        self.timers.set_no_later(Timer::Presence, at);
    }

    pub(super) fn on_presence_timer(&mut self, now: Instant) {
        if matches!(self.stage, Stage::Left) || self.config.peers.is_empty() {
            return;
        }
        self.table.note_announcement(now);
        let own = self.own_row(now);
        let fresh = self.table.rows_since(self.fresh_since(now));
        let rows: Vec<Row> = core::iter::once(own).chain(fresh.cloned()).collect();
        let datagram = self.seal.control(self.me, &Body::Presence(rows));
        self.transmit(To::Broadcast, datagram);
        let interval = match self.stage {
            Stage::Gather(_) => Some(self.config.timeouts.join),
            _ => self.seeks_others(now).then_some(self.config.timeouts.beacon),
        };
        if let Some(interval) = interval {
            let at = now + self.rng.jittered(interval);
            self.timers.set_no_later(Timer::Presence, at);
        }
        self.review(now);
    }

    /// True if there are peers outside the ring, or other runs of those inside.
    pub(super) fn seeks_others(&self, now: Instant) -> bool {
        let inside = |node| self.ring.members.iter().any(|member| member.node == node);
        self.config.peers.iter().any(|peer| !inside(*peer))
            || self.hears(now).iter().any(|proc| !self.ring.contains(*proc))
    }
}
