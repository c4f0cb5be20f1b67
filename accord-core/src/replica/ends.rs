//! The ends of a log's epochs, which suffice to compute how far two logs agree.
//!
//! An epoch has one order, and its log follows one source's. So two logs that both have entries of
//! an epoch agree up to where the shorter one's entries of it end (log matching, Ongaro 2014,
//! section 3.5). The list outlives the entries themselves, in memory and in snapshots, so that a
//! log that diverged from this one is not mistaken for one that is merely behind.

use crate::ids::{Epoch, Index, LogPosition};
use crate::wire::{Decode, Encode, Reader, WireError, Writer};
use alloc::collections::VecDeque;

/// The most epochs that are listed.
pub const ENDS_MAX: usize = 512;

/// The last entry of each epoch of a log, the newest [`ENDS_MAX`] of them.
///
/// Invariant: epochs and indices rise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EpochEnds {
    /// The end of the newest epoch that was dropped from the list; zero if all are listed.
    unlisted: Index,
    ends: VecDeque<LogPosition>,
}

impl EpochEnds {
    /// Of a log of which nothing is known but its last entry.
    pub fn only(last: LogPosition) -> Self {
        let unlisted = last.index.prev();
        Self { unlisted, ends: (last.index.0 > 0).then_some(last).into_iter().collect() }
    }

    /// The end of the log.
    pub fn last(&self) -> LogPosition {
        self.ends.back().copied().unwrap_or_default()
    }

    /// The last entries, oldest first.
    pub fn listed(&self) -> impl Iterator<Item = LogPosition> + '_ {
        self.ends.iter().copied()
    }

    /// Notes the entry that follows the end.
    pub(super) fn push(&mut self, entry: LogPosition) {
        match self.ends.back_mut() {
            Some(end) if end.epoch == entry.epoch => end.index = entry.index,
            _ => self.ends.push_back(entry),
        }
        if self.ends.len() > ENDS_MAX
            && let Some(dropped) = self.ends.pop_front()
        {
            self.unlisted = dropped.index;
        }
    }

    /// Notes that the log ends at `last`, which it had.
    pub(super) fn truncate(&mut self, last: LogPosition) {
        while self.ends.back().is_some_and(|end| end.index > last.index) {
            self.ends.pop_back();
        }
        self.unlisted = self.unlisted.min(last.index.prev());
        if last.index.0 > 0 && self.last() != last {
            self.ends.push_back(last);
        }
    }

    /// Those of the log as it was at `last`.
    pub fn up_to(&self, last: LogPosition) -> Self {
        let mut cut = self.clone();
        cut.truncate(last);
        cut
    }

    /// The largest index up to which the two logs agree; `None` if too little is listed to tell.
    pub fn common(&self, other: &Self) -> Option<Index> {
        for theirs in other.ends.iter().rev() {
            let mine = self.ends.iter().rev().find(|mine| mine.epoch <= theirs.epoch);
            if let Some(mine) = mine.filter(|mine| mine.epoch == theirs.epoch) {
                return Some(mine.index.min(theirs.index));
            }
        }
        let all_listed = self.unlisted == Index(0) && other.unlisted == Index(0);
        all_listed.then_some(Index(0))
    }

    pub(super) fn check(&self, last: LogPosition) {
        assert_eq!(self.last(), last, "the list ends where the log does");
        assert!(self.ends.len() <= ENDS_MAX, "the newest epochs are listed");
    }

    fn is_sound(&self) -> bool {
        let mut before = LogPosition { epoch: Epoch(0), index: self.unlisted };
        let mut rising = true;
        for end in &self.ends {
            rising &= end.epoch > before.epoch && end.index > before.index;
            before = *end;
        }
        rising && (self.unlisted == Index(0) || !self.ends.is_empty())
    }
}

impl Encode for EpochEnds {
    fn encode(&self, out: &mut Writer) {
        self.unlisted.encode(out);
        out.varint(self.ends.len() as u64);
        self.ends.iter().for_each(|end| end.encode(out));
    }
}

impl Decode for EpochEnds {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let unlisted = Index::decode(input)?;
        let count = input.count("ends of epochs", ENDS_MAX, 2)?;
        let ends = (0..count).map(|_| LogPosition::decode(input)).collect::<Result<_, _>>()?;
        let decoded = Self { unlisted, ends };
        match decoded.is_sound() {
            true => Ok(decoded),
            false => Err(WireError::Invalid { what: "ends of epochs" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(epochs: impl IntoIterator<Item = u64>) -> EpochEnds {
        let mut ends = EpochEnds::default();
        for (at, epoch) in epochs.into_iter().enumerate() {
            ends.push(LogPosition { epoch: Epoch(epoch), index: Index(at as u64 + 1) });
            assert!(ends.is_sound());
        }
        ends
    }

    #[test]
    fn logs_agree_up_to_the_shorter_end_of_their_newest_common_epoch() {
        let mine = ends([1, 1, 2, 2, 4]);
        for (theirs, expected) in [
            (&[1, 1, 2, 2, 4][..], 5),
            (&[1, 1, 2], 3),
            (&[1, 1, 2, 2, 2, 2], 4),
            (&[1, 1, 1, 3, 3], 2),
            (&[3, 3], 0),
            (&[], 0),
        ] {
            let common = mine.common(&ends(theirs.iter().copied()));
            assert_eq!(common, Some(Index(expected)), "{theirs:?}");
        }
    }

    #[test]
    fn of_more_epochs_than_are_listed_nobody_says_that_logs_parted() {
        let mut long = ends(1..=ENDS_MAX as u64 + 2);
        assert_eq!(long.common(&ends([1, 1])), None, "it may be behind, or have parted");
        assert_eq!(long.common(&ends(1..=100)), Some(Index(100)));
        long.truncate(LogPosition { epoch: Epoch(3), index: Index(3) });
        assert_eq!(long.common(&ends([1, 1])), None, "what was dropped is not forgotten to be");
        assert!(long.is_sound());
        long.truncate(LogPosition { epoch: Epoch(2), index: Index(2) });
        assert!(long.is_sound(), "{long:?}");
        assert_eq!(EpochEnds::only(long.last()).common(&ends([7])), None);
    }

    #[test]
    fn a_list_cut_short_is_that_of_the_shorter_log() {
        let whole = [1, 1, 2, 2, 4];
        for cut in 0..=5 {
            let shorter = ends(whole[..cut].iter().copied());
            assert_eq!(ends(whole).up_to(shorter.last()), shorter);
        }
    }

    #[test]
    fn a_list_has_one_encoding() {
        let good = ends([1, 1, 2, 2, 4]).to_bytes();
        assert_eq!(EpochEnds::from_bytes(&good), Ok(ends([1, 1, 2, 2, 4])));
        // What is not listed, a count, then pairs of an epoch and an index.
        for (at, value) in [(0, 2), (1, 2), (1, 4), (2, 2), (3, 4), (4, 0)] {
            let mut bad = good.to_vec();
            bad[at] = value;
            assert!(EpochEnds::from_bytes(&bad.into()).is_err(), "{value} at {at}");
        }
    }
}
