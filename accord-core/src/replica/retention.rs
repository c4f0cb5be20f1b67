//! How much of the applied log is kept in memory.
//!
//! What is kept is for servers that lack it: with it they need no image of the state. So it is at
//! least what the limits say; and with a large state a quarter as much as that, since more log than
//! that costs them more than the image would. Nothing is kept for the disk: that was given each
//! entry when it was appended, and nothing is read back from here for it.

use super::Replica;
use super::transfer::SNAPSHOT_LIGHTER;

impl Replica {
    /// Takes word how large the keys and values of the state are by now, in bytes.
    pub const fn note_state_bytes(&mut self, bytes: u64) {
        self.state_bytes = bytes;
    }

    fn log_bytes_retained(&self) -> usize {
        let worth = usize::try_from(self.state_bytes / SNAPSHOT_LIGHTER).unwrap_or(usize::MAX);
        self.config.limits.log_bytes_retained.max(worth)
    }

    /// Forgets applied entries that no one is likely to ask for.
    pub(super) fn trim(&mut self) {
        let retained = self.log_bytes_retained();
        if self.log.bytes() <= retained.saturating_add(retained / 4) {
            return;
        }
        let up_to = self.applied.min(self.serving.needed_from(self.log.bytes(), retained));
        let point = self.log.trim_point(up_to, retained);
        self.log.trim(point);
    }
}
