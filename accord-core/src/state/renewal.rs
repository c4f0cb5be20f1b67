//! The state of one cluster as the beginning of another: what a restored backup begins with.
//!
//! Clients of the old cluster may have seen more of it than the backup has. So that nothing they
//! hold is ever taken for something of the new cluster, its numbers go on far above any that the
//! old one can have given: revisions, which are also the ids of sessions and the fencing tokens of
//! locks, and the numbers of sequence keys. The old sessions end, and their ephemeral records with
//! them: nobody would be told of a later end.

use super::State;
use super::snapshot::COUNTER_MAX;
use crate::ids::Revision;

impl State {
    /// Makes this state the beginning of another cluster: ends all sessions, and lets revisions and
    /// sequence numbers go on `skipped` higher. `None`: the counters would be too large; nothing is
    /// changed then.
    pub fn renew(&mut self, skipped: u64) -> Option<()> {
        let within = |number: u64| number.checked_add(skipped).filter(|sum| *sum <= COUNTER_MAX);
        let revision = within(self.revision.0)?;
        let sequence = within(self.sequence)?;
        while let Some((session, _)) = self.sessions.pop_first() {
            while let Some(key) = self.store.first_ephemeral(session) {
                self.store.remove(&key);
            }
        }
        self.revision = Revision(revision);
        self.sequence = sequence;
        // A chain of its own: whoever went on with the old one has another digest.
        self.digest.numbers([40, revision, sequence]);
        Some(())
    }
}
