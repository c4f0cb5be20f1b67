//! An old state as the beginning of something new: of the cluster that a backup is restored to, and
//! of the history that a recovery begins.
//!
//! Clients may have seen more than this state has: what came after the backup, or what only the
//! lost servers had. So that nothing they hold is ever taken for something new, the numbers go on
//! far above any that can have been given: revisions, which are also the ids of sessions and the
//! fencing tokens of locks, and the numbers of sequence keys. The old sessions end, and their
//! ephemeral records and znodes with them: a session may have gone on elsewhere, and what it was
//! answered there is not here. The numbers of sequential znodes have 32 bits and go on as they
//! were: they are counted by their parent.

use super::State;
use crate::ids::Revision;
use crate::wire::COUNTER_MAX;

/// The largest number that a restored state begins with: recoveries need room above it.
const RESTORED_MAX: u64 = COUNTER_MAX / 2;
/// What [`ERA_MAX`](crate::replica::history::ERA_MAX) recoveries skip, each less than 3 << 47.
const _: () = assert!((3u64 << 47) * 4096 < COUNTER_MAX / 2);

impl State {
    /// Makes this state the beginning of another cluster: ends all sessions, and lets revisions and
    /// sequence numbers go on `skipped` higher. `None`: the counters would be too large; nothing is
    /// changed then.
    pub fn renew(&mut self, skipped: u64) -> Option<()> {
        self.skip(skipped, RESTORED_MAX)
    }

    /// Carries out the beginning of the history after a recovery: the same, as a part of the order.
    ///
    /// # Panics
    /// If the counters would be too large, which [`ERA_MAX`] and the bound of [`Self::renew`]
    /// exclude.
    ///
    /// [`ERA_MAX`]: crate::replica::history::ERA_MAX
    pub fn apply_recovery(&mut self, skipped: u64) {
        self.skip(skipped, COUNTER_MAX).expect("there is room for every era");
    }

    fn skip(&mut self, skipped: u64, counter_max: u64) -> Option<()> {
        let within = |number: u64| number.checked_add(skipped).filter(|sum| *sum <= counter_max);
        let revision = within(self.revision.0)?;
        let sequence = within(self.kv.sequence())?;
        while let Some((session, _)) = self.sessions.pop_first() {
            self.kv.forget_session(session);
            self.tree.forget_session(session, Revision(revision));
        }
        self.revision = Revision(revision);
        self.kv.skip_to_sequence(sequence);
        // A chain of its own: a server that went on with the old one has another digest.
        self.digest.numbers([40, revision, sequence]);
        Some(())
    }
}
