//! Handing out what is committed, so that a long rest does not stand in the way of what is new.
//!
//! It is handed out a piece at a time; what is left is due at once, as a timer, and other events
//! have their turn in between. After a restart, when nearly all of a log may be left, that would
//! not be enough: the others wait at every message for this server's piece, and each of their
//! messages would bring another. So beside the commitment of new entries, only as much of a long
//! rest is handed out as they add to it. It never grows for that, and mostly shrinks while there is
//! nothing else to do.

use super::Replica;
use super::io::Action;
use crate::ids::Index;

/// From so many pieces on, a rest is long: more than a busy group commits at once.
const LONG_PIECES: usize = 64;

/// What is committed and held, and not handed out yet.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(super) struct Rest {
    bytes: usize,
    /// What timers have brought it down to. Invariant: at most `bytes`.
    brought_to: usize,
}

impl Rest {
    pub(super) fn check(&self, none: bool) {
        assert_eq!(self.bytes == 0, none, "the rest is what is committed and not handed out");
        assert!(self.brought_to <= self.bytes, "what timers left is a part of the rest");
    }
}

impl Replica {
    /// Hands out a piece of the rest: at least an entry.
    pub(super) fn advance(&mut self) {
        let bytes_max = self.config.limits.apply_bytes_max.max(1);
        let mut bytes = 0;
        while self.applied < self.commit && bytes < bytes_max {
            bytes += self.hand_out();
        }
        self.rest.brought_to = self.rest.bytes;
        self.consider_checkpoint();
        self.trim();
    }

    /// Notes that what is held up to `commit` is committed.
    pub(super) fn commit_up_to(&mut self, commit: Index) {
        let piece = self.config.limits.apply_bytes_max.max(1);
        let long = self.rest.bytes >= piece.saturating_mul(LONG_PIECES);
        while self.commit < commit {
            self.commit = self.commit.next();
            self.rest.bytes += self.cost_bytes(self.commit);
        }
        if !long {
            return self.advance();
        }
        while self.applied < self.commit {
            let added = self.rest.bytes - self.rest.brought_to;
            if self.cost_bytes(self.applied.next()) > added {
                break;
            }
            self.hand_out();
        }
    }

    fn cost_bytes(&self, index: Index) -> usize {
        self.log.get(index).expect("committed entries are held").cost_bytes()
    }

    /// Hands out the next entry, and says what it cost.
    fn hand_out(&mut self) -> usize {
        self.applied = self.applied.next();
        let mut entry = self.log.get(self.applied).expect("committed entries are held").clone();
        let bytes = entry.cost_bytes();
        self.rest.bytes -= bytes;
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
    fn a_long_rest_is_left_to_timers_and_does_not_grow_without_them() {
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
        let (applied, rest) = (second.applied, second.rest.bytes);
        assert!(second.commit.0 > 100 && applied.0 <= 2, "a piece of it: {applied}");
        for _ in 0..100 {
            second.propose(b"new").expect("taken");
            settle(&mut second);
            let longest = rest + 64 + 400 + 16;
            assert!(second.rest.bytes <= longest, "{} of {longest}", second.rest.bytes);
        }
        let beside = second.applied.0 - applied.0;
        assert!((1..30).contains(&beside), "as much as was added: {beside} entries");
        while second.applied < second.commit {
            assert_eq!(second.next_deadline(), Some(Instant::ZERO), "the rest is due");
            second.handle_timer(Instant::ZERO);
            settle(&mut second);
        }
        assert_eq!((second.rest.bytes, second.commit), (0, second.log.last().index));
    }
}
