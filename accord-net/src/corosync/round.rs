//! A round: who has said how it left the last view, and whose word is still waited for.
//!
//! What ends a round depends only on Corosync's order: the last member's word, or the first
//! [`Message::Form`] that names only members that have spoken. When to *send* such a message is
//! each member's own affair; clocks decide it, and a wrong guess costs a round, not agreement.
//!
//! [`Message::Form`]: super::message::Message::Form

use super::machine::{Machine, Refusal};
use super::message::{Address, Sync};
use accord_core::time::{Duration, DurationExt, Instant};
use std::collections::BTreeSet;

/// Newcomers that never said a word are waited for a fifth of the time.
const NEWCOMERS_SHARE: u64 = 5;

/// A round, and what came of the last one.
#[derive(Debug)]
pub(super) struct Round {
    /// In the order of their words.
    synced: Vec<(Address, Sync)>,
    over: bool,
    /// Given up, because the daemon does not answer: goes on when it does.
    stopped: bool,
    /// When it began, or one last asked not to wait.
    waiting_since: Instant,
    /// Processes that are not waited for: they did not speak when they should have.
    silent: BTreeSet<Address>,
    /// Processes that are known to speak.
    known: BTreeSet<Address>,
}

impl Round {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            synced: Vec::new(),
            over: true,
            stopped: false,
            waiting_since: now,
            silent: BTreeSet::new(),
            known: BTreeSet::new(),
        }
    }

    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    pub(super) const fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(super) const fn stop(&mut self) {
        self.stopped = true;
    }

    pub(super) const fn resume(&mut self, now: Instant) {
        self.stopped = false;
        self.waiting_since = now;
    }

    /// The nonces of those who spoke.
    pub(super) fn nonces(&self) -> Vec<u64> {
        self.synced.iter().map(|(_, sync)| sync.nonce).collect()
    }

    pub(super) fn speaks(&mut self, address: Address) {
        self.silent.remove(&address);
    }

    pub(super) fn silence(&mut self, address: Address) {
        self.silent.insert(address);
    }

    fn has(&self, address: Address) -> bool {
        self.synced.iter().any(|(spoke, _)| *spoke == address)
    }

    /// When to stop waiting, if nothing changes.
    pub(super) fn deadline(&self, form: Duration) -> Instant {
        let known = self.known.iter().all(|address| self.has(*address));
        let wait = if known { form.scaled(1, NEWCOMERS_SHARE) } else { form };
        self.waiting_since + wait
    }

    /// True if everybody has spoken who is expected to.
    fn waits_for_the_silent_alone(&self, group: &[Address]) -> bool {
        group.iter().all(|address| self.has(*address) || self.silent.contains(address))
    }
}

impl Machine {
    /// From here on in the group's order, nothing more is taken in the old view.
    pub(super) fn begin_round(&mut self, now: Instant) {
        self.counters.rounds += 1;
        self.close_order();
        self.round.synced.clear();
        self.round.over = false;
        self.round.stopped = false;
        self.round.waiting_since = now;
        let group = &self.group;
        self.round.silent.retain(|address| group.contains(address));
        self.round.known.retain(|address| group.contains(address));
        self.due.sync = true;
        self.due.form = false;
        self.due.call = false;
    }

    pub(super) fn on_sync(&mut self, now: Instant, from: Address, sync: Sync) {
        self.round.speaks(from);
        self.round.known.insert(from);
        if self.round.over {
            // A member of the view said it twice; anybody else is to be let in.
            if !self.round.has(from) {
                self.begin_round(now);
            }
            return;
        }
        let twin = self.round.synced.iter().any(|(at, _)| at.node == from.node && *at != from);
        if twin {
            self.round.silence(from);
            return self.refuse(Refusal::Twin, from);
        }
        if !self.round.has(from) {
            self.round.synced.push((from, sync));
        }
        if self.round.synced.len() == self.group.len() {
            self.end_round();
        } else {
            self.form_if_only_the_silent_are_missing();
        }
    }

    fn form_if_only_the_silent_are_missing(&mut self) {
        let spoke = self.me.is_some_and(|me| self.round.has(me));
        if spoke && self.round.waits_for_the_silent_alone(&self.group) {
            self.due.form = true;
        }
    }

    pub(super) fn on_form(&mut self, from: Address, nonces: &[u64]) {
        let spoke = |nonce: &u64| self.round.synced.iter().any(|(_, s)| s.nonce == *nonce);
        let valid = !nonces.is_empty() && nonces.iter().all(spoke);
        if !self.round.over && self.round.has(from) && valid {
            self.end_round();
        }
    }

    fn end_round(&mut self) {
        self.round.over = true;
        self.due.form = false;
        let silent = self.group.iter().filter(|address| !self.round.has(**address));
        let silent: Vec<Address> = silent.copied().collect();
        self.round.silent.extend(silent);
        let synced = self.round.synced.clone();
        if !self.install(&synced) {
            if !self.is_alone() {
                self.go_alone();
            }
            self.due.call = true;
        }
    }

    pub(super) fn on_round_timer(&mut self, now: Instant) {
        let form = self.config.limits.form;
        if self.round.over || self.group.is_empty() || now < self.round.deadline(form) {
            return;
        }
        self.round.waiting_since = now;
        match self.me {
            Some(me) if self.round.has(me) => self.due.form = true,
            _ => self.due.sync = true,
        }
    }
}
