//! Retention: how much of the applied log is kept in memory.
//!
//! Applied entries stay in memory so that a lagging server can fetch the log instead of an image of
//! the state. The bound is `log_bytes_retained`, or a quarter of the state's bytes if that is more:
//! taking in more log than that costs a server more than the image would. Nothing is kept for the
//! disk, which was given each entry when it was appended.

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
