//! The datagrams of one ring, by number: what has come, what is missing, what may be forgotten.

use crate::group::ring::packet::Packet;
use alloc::collections::VecDeque;

/// Why a datagram was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoreError {
    /// It is here already, or was.
    Duplicate,
    /// Its number is further ahead than the store's bound.
    Beyond,
}

/// A window over the numbered datagrams of a ring.
#[derive(Clone, Debug)]
pub(super) struct Store {
    /// All up to here is forgotten.
    base: u64,
    /// Those from `base + 1` on. Invariant: at most `packets_max`; the last is there.
    slots: VecDeque<Option<Packet>>,
    /// Invariant: all from `base + 1` up to here are there, and the next is not.
    aru: u64,
    packets_max: usize,
    /// How many more there is room for in recovery.
    extra_packets_max: usize,
}

impl Store {
    pub(super) const fn new(packets_max: u32) -> Self {
        let packets_max = packets_max as usize;
        Self { base: 0, slots: VecDeque::new(), aru: 0, packets_max, extra_packets_max: 0 }
    }

    /// Makes room for what the others kept beyond our own bound. No member's datagrams are more
    /// than one bound ahead of our aru, and our aru is at most one bound ahead of `base`.
    pub(super) const fn widen(&mut self) {
        self.extra_packets_max = self.packets_max;
    }

    /// All up to this number were received.
    pub(super) const fn aru(&self) -> u64 {
        self.aru
    }

    /// All up to this number were forgotten.
    pub(super) const fn base(&self) -> u64 {
        self.base
    }

    /// The highest number received.
    pub(super) fn high(&self) -> u64 {
        self.base + self.slots.len() as u64
    }

    /// The highest number that there is room for.
    pub(super) const fn limit(&self) -> u64 {
        self.base.saturating_add((self.packets_max + self.extra_packets_max) as u64)
    }

    pub(super) fn get(&self, seq: u64) -> Option<&Packet> {
        let at = seq.checked_sub(self.base + 1)?;
        self.slots.get(usize::try_from(at).ok()?)?.as_ref()
    }

    /// Those that are here and have higher numbers than `seq`.
    pub(super) fn packets_after(&self, seq: u64) -> impl Iterator<Item = &Packet> {
        let skipped = usize::try_from(seq.saturating_sub(self.base)).unwrap_or(usize::MAX);
        self.slots.iter().skip(skipped).flatten()
    }

    pub(super) fn insert(&mut self, seq: u64, packet: Packet) -> Result<(), StoreError> {
        let Some(at) = seq.checked_sub(self.base + 1) else {
            return Err(StoreError::Duplicate);
        };
        if seq > self.limit() {
            return Err(StoreError::Beyond);
        }
        let at = at as usize;
        if at >= self.slots.len() {
            self.slots.resize(at + 1, None);
        }
        if self.slots[at].is_some() {
            return Err(StoreError::Duplicate);
        }
        self.slots[at] = Some(packet);
        while self.get(self.aru + 1).is_some() {
            self.aru += 1;
        }
        Ok(())
    }

    /// Forgets all up to `seq`, at most up to the first that is missing.
    pub(super) fn forget(&mut self, seq: u64) {
        while self.base < seq.min(self.aru) {
            self.slots.pop_front();
            self.base += 1;
        }
    }

    pub(super) fn check(&self) {
        assert!(
            self.slots.len() <= self.packets_max + self.extra_packets_max,
            "the store exceeds its bound"
        );
        assert!(self.base <= self.aru && self.aru <= self.high(), "the store's marks cross");
        assert!(self.slots.back().is_none_or(Option::is_some), "the store ends in a hole");
        assert!(self.aru == self.base || self.get(self.aru).is_some(), "aru passed a hole");
        assert!(self.get(self.aru + 1).is_none(), "aru lags");
    }
}
