//! Applies committed entries in slices, so that a long backlog does not delay new entries.
//!
//! A slice is `apply_bytes_max`. A short backlog is applied as soon as entries commit: one slice at
//! once, the next by a timer that is due immediately, so that other events come in turn.
//!
//! After a restart the backlog may be nearly the whole log. Applying a slice per delivery would
//! then slow every message of the group down, because the other servers wait for this one. So a
//! long backlog shrinks by timer only. A delivery applies no more of it than the delivery added:
//! the backlog never grows, and it shrinks while the server has nothing else to do.

use super::Replica;
use super::io::Action;
use crate::ids::Index;

/// A backlog of this many slices is long: more than a busy group commits at once.
const LONG_SLICES: usize = 64;

/// Committed entries that are not handed to the state yet.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(super) struct Backlog {
    bytes: usize,
    /// The lowest `bytes` that a slice left. Invariant: at most `bytes`.
    low_mark: usize,
}

impl Backlog {
    pub(super) fn check(&self, none: bool) {
        assert_eq!(self.bytes == 0, none, "backlog bytes and indexes disagree");
        assert!(self.low_mark <= self.bytes, "the backlog is below its low mark");
    }
}

impl Replica {
    /// Applies one slice of the backlog: at least one entry.
    pub(super) fn advance(&mut self) {
        let bytes_max = self.config.limits.apply_bytes_max.max(1);
        let mut bytes = 0;
        while self.applied < self.commit && bytes < bytes_max {
            bytes += self.hand_out();
        }
        self.backlog.low_mark = self.backlog.bytes;
        self.consider_checkpoint();
        self.trim();
    }

    /// Commits the entries up to `commit`, which are all held, and applies what is due.
    pub(super) fn commit_up_to(&mut self, commit: Index) {
        let slice = self.config.limits.apply_bytes_max.max(1);
        let long = self.backlog.bytes >= slice.saturating_mul(LONG_SLICES);
        while self.commit < commit {
            self.commit = self.commit.next();
            self.backlog.bytes += self.cost_bytes(self.commit);
        }
        if !long {
            return self.advance();
        }
        while self.applied < self.commit {
            let added = self.backlog.bytes - self.backlog.low_mark;
            if self.cost_bytes(self.applied.next()) > added {
                break;
            }
            self.hand_out();
        }
    }

    fn cost_bytes(&self, index: Index) -> usize {
        self.log.get(index).expect("committed entries are held").cost_bytes()
    }

    /// Hands the next entry to the state. Returns its cost in bytes.
    fn hand_out(&mut self) -> usize {
        self.applied = self.applied.next();
        let mut entry = self.log.get(self.applied).expect("committed entries are held").clone();
        let bytes = entry.cost_bytes();
        self.backlog.bytes -= bytes;
        self.skip_if_repeated(&mut entry);
        self.actions.push_back(Action::Commit(entry));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::{Durability, ReplicaConfig, ReplicaLimits};
    use super::super::io::Record;
    use super::super::log::Recovered;
    use super::*;
    use crate::group::{GroupEvent, View, ViewId};
    use crate::ids::{NodeId, StoreId};
    use crate::time::Instant;
    use alloc::vec;
    use alloc::vec::Vec;

    const ME: NodeId = NodeId(1);

    fn replica(recovered: Recovered, seed: u64) -> Replica {
        let limits = ReplicaLimits { apply_bytes_max: 100, ..ReplicaLimits::default() };
        let (initial, durability) = ([ME].into(), Durability::Persistent);
        Replica::new(ReplicaConfig { node: ME, initial, durability, limits }, recovered, seed)
    }

    /// Delivers what it multicasts and stores what it writes; returns what it wrote.
    fn settle(replica: &mut Replica) -> Vec<Record> {
        let (now, mut written) = (Instant::ZERO, Vec::new());
        while let Some(action) = replica.poll_action() {
            match action {
                Action::Multicast(payload) => {
                    replica.handle_group(now, GroupEvent::Deliver { from: ME, payload });
                }
                Action::Persist { ticket, record } => {
                    written.push(record);
                    replica.handle_stored(now, ticket);
                }
                _ => {}
            }
        }
        written
    }

    fn open(replica: &mut Replica) -> Vec<Record> {
        let id = ViewId { seq: 1, representative: ME, salt: 0 };
        let view = GroupEvent::View(View { id, members: vec![ME] });
        replica.handle_group(Instant::ZERO, view);
        settle(replica)
    }

    #[test]
    fn a_long_backlog_is_left_to_timers_and_does_not_grow_without_them() {
        let mut first = replica(Recovered::fresh(StoreId(7), true), 1);
        let mut written = settle(&mut first);
        written.extend(open(&mut first));
        for _ in 0..100 {
            first.propose(&[0; 400]).expect("taken");
            written.extend(settle(&mut first));
        }
        let recovered = Recovered::replay(ME, written).expect("a log").expect("an identity");
        let mut second = replica(recovered, 2);
        open(&mut second);
        let (applied, backlog) = (second.applied, second.backlog.bytes);
        assert!(second.commit.0 > 100 && applied.0 <= 2, "one slice of it: {applied}");
        for _ in 0..100 {
            second.propose(b"new").expect("taken");
            settle(&mut second);
            let longest = backlog + 64 + 400 + 16;
            assert!(second.backlog.bytes <= longest, "{} of {longest}", second.backlog.bytes);
        }
        let meanwhile = second.applied.0 - applied.0;
        assert!((1..30).contains(&meanwhile), "as much as was added: {meanwhile} entries");
        while second.applied < second.commit {
            assert_eq!(second.next_deadline(), Some(Instant::ZERO), "the backlog is due");
            second.handle_timer(Instant::ZERO);
            settle(&mut second);
        }
        assert_eq!((second.backlog.bytes, second.commit), (0, second.log.last().index));
    }
}
