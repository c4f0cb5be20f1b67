//! Histories: the recoveries that a log contains.
//!
//! A recovery ([`super::Replica::force_recovery`]) continues from one server's log while a majority
//! is given up as lost. If the lost servers had continued without it, or return with their disks,
//! one log has two continuations: two *histories*. Log matching holds only within a history, so a
//! server must never take the other continuation for its own.
//!
//! So every recovery begins an [`Era`], has an id, and says where it forked. A log knows all
//! recoveries on its way: they are a part of its voter set, and so of reports, log entries,
//! snapshots and backups. Of two histories one continues the other, they are the same, or they are
//! two recoveries from one past, and then only the operator knows which is right.

use crate::ids::{Epoch, Era, LogPosition, NodeId, StoreId};
use crate::wire::{Decode, Encode, Reader, WireError, Writer};
use alloc::vec::Vec;

/// The most recoveries in one history; then a backup restored as a new cluster begins without any.
pub const RECOVERIES_MAX: usize = 64;
/// The last era that a recovery begins: revisions have room for no more (see
/// [`Recovery::revisions_skipped`]).
pub const ERA_MAX: Era = Era(4096);

/// One recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Recovery {
    /// Tells it from every other recovery, also from one of the same era.
    pub id: u64,
    /// The era that it began. Its first entry is the voter set that names it.
    pub era: Era,
    /// The last entry before it, on the server from which it went on.
    pub fork: LogPosition,
}

impl Recovery {
    /// The recovery that goes on from this server's log, which ends at `fork`.
    pub(super) fn new(
        before: &History,
        era: Era,
        (node, store): (NodeId, StoreId),
        fork: LogPosition,
    ) -> Self {
        let mut bytes = Writer::new();
        bytes.u64(before.id());
        bytes.u64(u64::from(era.0));
        node.encode(&mut bytes);
        store.encode(&mut bytes);
        fork.encode(&mut bytes);
        Self { id: xxhash_rust::xxh3::xxh3_64(&bytes.finish()), era, fork }
    }

    /// By how much revisions go on higher after it: more than the lost servers can have given
    /// without this one, and another number for another recovery from the same past. A cluster that
    /// makes a million revisions a second takes nine years for that many.
    pub const fn revisions_skipped(&self) -> u64 {
        const SURELY_MORE: u64 = 1 << 48;
        const SPREAD_BITS: u32 = 47;
        SURELY_MORE + (self.id >> (u64::BITS - SPREAD_BITS))
    }
}

/// The recoveries on the way to a log's end, oldest first.
///
/// Invariant: eras rise, and each fork lies in an era before its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct History {
    recoveries: Vec<Recovery>,
}

/// How one history stands to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// They are one.
    Same,
    /// The other one continues it with this recovery.
    ContinuedBy(Recovery),
    /// It continues the other one.
    Continues,
    /// Both went on from one past by recoveries of their own.
    Apart,
}

impl History {
    /// The recoveries, oldest first.
    pub fn recoveries(&self) -> &[Recovery] {
        &self.recoveries
    }

    /// Tells it from every other history; zero before the first recovery.
    pub(super) fn id(&self) -> u64 {
        self.recoveries.last().map_or(0, |last| last.id)
    }

    /// The era at its end.
    pub fn era(&self) -> Era {
        self.recoveries.last().map_or(Era(0), |last| last.era)
    }

    /// How it stands to `other`.
    pub fn standing(&self, other: &Self) -> Standing {
        let common = self.recoveries.iter().zip(&other.recoveries).take_while(|(a, b)| a == b);
        let common = common.count();
        match (self.recoveries.get(common), other.recoveries.get(common)) {
            (None, None) => Standing::Same,
            (None, Some(next)) => Standing::ContinuedBy(*next),
            (Some(_), None) => Standing::Continues,
            (Some(_), Some(_)) => Standing::Apart,
        }
    }

    /// True if a log of the `other` history that is committed up to `last` is a part of the logs of
    /// this one: if it ends where the recoveries that it lacks went by.
    pub(super) fn includes(&self, other: &Self, last: LogPosition) -> bool {
        match other.standing(self) {
            Standing::Same => true,
            Standing::ContinuedBy(next) => last <= next.fork,
            Standing::Continues | Standing::Apart => false,
        }
    }

    /// The history that `recovery` continues this one to.
    pub(super) fn continued(&self, recovery: Recovery) -> Self {
        let mut recoveries = self.recoveries.clone();
        recoveries.push(recovery);
        let next = Self { recoveries };
        assert_eq!(next.fault(), None, "a recovery continues a history");
        next
    }

    /// True if an entry of this epoch may stand where this history is in force.
    pub(super) fn contains(&self, epoch: Epoch) -> bool {
        epoch.era() == self.era()
    }

    fn fault(&self) -> Option<&'static str> {
        if self.recoveries.len() > RECOVERIES_MAX {
            return Some("number of recoveries");
        }
        let mut before = Era(0);
        for recovery in &self.recoveries {
            if recovery.era <= before || recovery.era > ERA_MAX {
                return Some("era of a recovery");
            }
            if recovery.fork.epoch.era() >= recovery.era {
                return Some("fork of a recovery");
            }
            before = recovery.era;
        }
        None
    }
}

impl Encode for History {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.recoveries.len() as u64);
        for recovery in &self.recoveries {
            out.u64(recovery.id);
            out.varint(u64::from(recovery.era.0));
            recovery.fork.encode(out);
        }
    }
}

impl Decode for History {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let count = input.count("recoveries", RECOVERIES_MAX, 11)?;
        let mut recoveries = Vec::with_capacity(count);
        for _ in 0..count {
            let id = input.u64()?;
            let era = u16::try_from(input.varint()?);
            let era = Era(era.map_err(|_| WireError::Invalid { what: "era of a recovery" })?);
            recoveries.push(Recovery { id, era, fork: LogPosition::decode(input)? });
        }
        let history = Self { recoveries };
        match history.fault() {
            None => Ok(history),
            Some(what) => Err(WireError::Invalid { what }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Index;

    fn recovered(before: &History, era: u16, node: u32, fork: (u64, u64)) -> History {
        let fork = LogPosition { epoch: Epoch(fork.0), index: Index(fork.1) };
        let who = (NodeId(node), StoreId(u64::from(node)));
        before.continued(Recovery::new(before, Era(era), who, fork))
    }

    #[test]
    fn two_recoveries_from_one_past_are_two_histories() {
        let past = recovered(&History::default(), 1, 1, (2, 7));
        let (one, other) = (recovered(&past, 2, 1, (3, 9)), recovered(&past, 2, 2, (3, 9)));
        assert_eq!(past.standing(&past), Standing::Same);
        assert_eq!(past.standing(&one), Standing::ContinuedBy(one.recoveries()[1]));
        assert_eq!(one.standing(&past), Standing::Continues);
        assert_eq!(one.standing(&other), Standing::Apart);
        let fork = one.recoveries()[1].fork;
        let beyond = LogPosition { index: fork.index.next(), ..fork };
        assert!(one.includes(&past, fork) && one.includes(&one, beyond));
        assert!(!one.includes(&past, beyond) && !past.includes(&one, fork));
        assert!(!one.includes(&other, fork), "of another recovery");
        let skipped = [&one, &other].map(|history| history.recoveries()[1].revisions_skipped());
        assert_ne!(skipped[0], skipped[1], "and their revisions are apart");
        assert!(skipped.iter().all(|skipped| (1 << 48..3 << 47).contains(skipped)));
    }

    #[test]
    fn a_history_has_one_encoding_and_eras_that_rise() {
        let history = recovered(&recovered(&History::default(), 1, 1, (2, 7)), 3, 2, (9, 9));
        let good = history.to_bytes();
        assert_eq!(History::from_bytes(&good), Ok(history));
        // A count, then for each eight bytes of id, an era, an epoch, an index.
        for (at, value) in [(0, 1), (0, 3), (9, 0), (9, 3), (20, 1), (20, 0)] {
            let mut bad = good.to_vec();
            bad[at] = value;
            assert!(History::from_bytes(&bad.into()).is_err(), "{value} at {at}");
        }
    }
}
