//! What of the log on disk is still in force: which record number each entry has, what was promised
//! before a record, and where on disk a record is.
//!
//! It answers one question: if a checkpoint holds everything up to an entry, from which record on
//! is the log to be replayed, and where does that record stand? It is small: entries that follow
//! each other in the records make one run, and only one frame in some megabyte is noted.

use super::scan::Position;
use accord_core::ids::{Epoch, Index};
use accord_core::replica::io::Record;
use std::collections::VecDeque;

/// A frame at least this many sectors after the last noted one is noted.
const MARK_SECTORS: u64 = 2048;

/// Entries that were appended by records without another record between.
#[derive(Clone, Copy, Debug)]
struct Run {
    index: Index,
    number: u64,
}

/// What the log on disk holds.
#[derive(Debug)]
pub(super) struct LogIndex {
    /// The number of the next record.
    next: u64,
    /// The end of the log.
    last: Index,
    /// Invariant: both numbers rise.
    runs: VecDeque<Run>,
    promised_before: Epoch,
    /// Promises, and the records that made them. Invariant: both numbers rise.
    promises: VecDeque<(u64, Epoch)>,
    /// Frames. Invariant: never empty; the first is not behind the record to begin with.
    marks: VecDeque<Position>,
}

impl LogIndex {
    /// Of a log that begins at `at`, with record `from`, after entry `last`.
    pub(super) fn new(at: Position, from: u64, promised: Epoch, last: Index) -> Self {
        Self {
            next: from,
            last,
            runs: VecDeque::new(),
            promised_before: promised,
            promises: VecDeque::new(),
            marks: VecDeque::from([at]),
        }
    }

    /// The number of the next record.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// The next record of the log.
    pub(super) fn note(&mut self, record: &Record) {
        let number = self.next;
        self.next += 1;
        match record {
            Record::Promise(epoch) => self.promises.push_back((number, *epoch)),
            Record::Append(entry) => {
                assert_eq!(entry.index, self.last.next(), "entries follow without gaps");
                let follows = |run: &Run| run.number + (entry.index.0 - run.index.0) == number;
                if !self.runs.back().is_some_and(follows) {
                    self.runs.push_back(Run { index: entry.index, number });
                }
                self.last = entry.index;
            }
            Record::Truncate(from) => {
                assert!(*from <= self.last, "only what is in the log is dropped from it");
                while self.runs.back().is_some_and(|run| run.index >= *from) {
                    self.runs.pop_back();
                }
                self.last = from.prev();
            }
            Record::Identity { .. } | Record::Checkpoint(_) | Record::Install(_) => {
                unreachable!("not a record of the log")
            }
        }
    }

    /// A frame was written there.
    pub(super) fn note_frame(&mut self, at: Position) {
        let last = self.marks.back().expect("never empty");
        if at.segment != last.segment || at.sector >= last.sector + MARK_SECTORS {
            self.marks.push_back(at);
        }
    }

    /// Everything so far is replaced by what led to entry `last`.
    pub(super) fn install(&mut self, last: Index, at: Position) {
        let promised = self.promised_before(self.next);
        *self = Self::new(at, self.next, promised, last);
    }

    /// The record from which on the log is to be replayed after everything up to `index`.
    ///
    /// # Panics
    /// If the log does not reach back or up to `index`.
    pub(super) fn replay_from(&self, index: Index) -> u64 {
        assert!(index <= self.last, "a checkpoint holds what is in the log");
        if index == self.last {
            return self.next;
        }
        let run = self.runs.iter().rev().find(|run| run.index <= index.next());
        let run = run.expect("a checkpoint is never older than the one before");
        run.number + (index.next().0 - run.index.0)
    }

    /// The highest epoch promised before record `from`.
    pub(super) fn promised_before(&self, from: u64) -> Epoch {
        let before = self.promises.iter().rev().find(|(number, _)| *number < from);
        before.map_or(self.promised_before, |(_, epoch)| *epoch)
    }

    /// Where to begin reading for record `from`; `end` is where the next frame goes.
    pub(super) fn position(&self, from: u64, end: Position) -> Position {
        if from >= end.first {
            return end;
        }
        let mark = self.marks.iter().rev().find(|mark| mark.first <= from);
        *mark.expect("the first mark is not behind any record")
    }

    /// Records before `from`, the first of them at `at`, will not be asked for again.
    pub(super) fn trim(&mut self, from: u64, at: Position) {
        self.promised_before = self.promised_before(from);
        while self.promises.front().is_some_and(|(number, _)| *number < from) {
            self.promises.pop_front();
        }
        while self.runs.get(1).is_some_and(|run| run.number <= from) {
            self.runs.pop_front();
        }
        while self.marks.front().is_some_and(|mark| mark.first <= at.first) {
            self.marks.pop_front();
        }
        self.marks.push_front(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use accord_core::replica::io::{Body, Entry};

    const START: Position = Position { segment: 1, sector: 1, frame: 1, first: 1 };

    fn append(index: u64) -> Record {
        let body = Body::Marker { members: Vec::new() };
        Record::Append(Entry { epoch: Epoch(1), index: Index(index), body })
    }

    #[test]
    fn a_replay_begins_with_the_record_that_holds_the_next_entry_in_force() {
        let mut log = LogIndex::new(START, 1, Epoch(0), Index(0));
        for record in [
            append(1),                  // 1
            append(2),                  // 2
            Record::Promise(Epoch(5)),  // 3
            append(3),                  // 4
            append(4),                  // 5
            Record::Truncate(Index(3)), // 6
            append(3),                  // 7
        ] {
            log.note(&record);
        }
        let from: Vec<u64> = (0..=3).map(|index| log.replay_from(Index(index))).collect();
        assert_eq!(from, [1, 2, 7, 8]);
        assert_eq!((log.promised_before(3), log.promised_before(4)), (Epoch(0), Epoch(5)));
        log.trim(7, START);
        assert_eq!(log.replay_from(Index(2)), 7);
        assert_eq!(log.promised_before(8), Epoch(5));
        log.install(Index(10), START);
        log.note(&append(11));
        assert_eq!((log.replay_from(Index(10)), log.replay_from(Index(11))), (8, 9));
    }
}
