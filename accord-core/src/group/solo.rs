//! A group of one: what is submitted is delivered. The embedded default.
//!
//! It keeps the ordering contract trivially and shows the shape that every group layer has: inputs
//! with the time, outputs to be polled until there are none.

use crate::group::{GroupEvent, SubmitError, View, ViewId};
use crate::ids::NodeId;
use crate::rng::Rng;
use crate::time::Instant;
use alloc::collections::VecDeque;
use alloc::vec;
use bytes::Bytes;

/// The bounds of a [`Solo`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoloLimits {
    /// The largest message, in bytes.
    pub message_bytes_max: usize,
    /// The most bytes submitted and not yet polled.
    pub queue_bytes_max: usize,
    /// The most messages submitted and not yet polled.
    pub queue_messages_max: usize,
}

impl Default for SoloLimits {
    fn default() -> Self {
        Self {
            message_bytes_max: 72 << 20,
            queue_bytes_max: 128 << 20,
            queue_messages_max: 64 << 10,
        }
    }
}

/// A group whose only member is this server.
#[derive(Debug)]
pub struct Solo {
    node: NodeId,
    limits: SoloLimits,
    view: Option<View>,
    /// Invariant: at most `queue_messages_max` payloads of at most `queue_bytes_max` bytes in all.
    queue: VecDeque<Bytes>,
    queue_bytes: usize,
}

impl Solo {
    /// A group of `node` alone. Its one view is the first event.
    pub fn new(node: NodeId, limits: SoloLimits, seed: u64, _now: Instant) -> Self {
        let id = ViewId { seq: 1, representative: node, salt: Rng::new(seed).next_u64() };
        let view = Some(View { id, members: vec![node] });
        Self { node, limits, view, queue: VecDeque::new(), queue_bytes: 0 }
    }

    /// Accepts a message for ordering.
    ///
    /// # Errors
    /// [`SubmitError::Full`] until events are polled; [`SubmitError::TooLarge`].
    pub fn submit(&mut self, _now: Instant, payload: Bytes) -> Result<(), SubmitError> {
        let (bytes, bytes_max) = (payload.len(), self.limits.message_bytes_max);
        if bytes > bytes_max {
            return Err(SubmitError::TooLarge { bytes, bytes_max });
        }
        if self.queue.len() >= self.limits.queue_messages_max
            || self.queue_bytes + bytes > self.limits.queue_bytes_max
        {
            return Err(SubmitError::Full);
        }
        self.queue_bytes += bytes;
        self.queue.push_back(payload);
        Ok(())
    }

    /// The next event, if any is waiting.
    pub fn poll_event(&mut self) -> Option<GroupEvent> {
        if let Some(view) = self.view.take() {
            return Some(GroupEvent::View(view));
        }
        let payload = self.queue.pop_front()?;
        self.queue_bytes -= payload.len();
        Some(GroupEvent::Deliver { from: self.node, payload })
    }

    /// When [`Self::handle_timer`] wants to be called: never.
    pub const fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// Does nothing: no timer is ever set.
    pub const fn handle_timer(&mut self, _now: Instant) {}

    /// Checks the invariants.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check(&self) {
        assert!(self.queue.len() <= self.limits.queue_messages_max);
        assert!(self.queue_bytes <= self.limits.queue_bytes_max);
        assert_eq!(self.queue_bytes, self.queue.iter().map(Bytes::len).sum::<usize>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SoloLimits =
        SoloLimits { message_bytes_max: 100, queue_bytes_max: 1000, queue_messages_max: 20 };

    #[test]
    fn a_full_or_oversized_submission_is_refused_by_name() {
        let mut solo = Solo::new(NodeId(3), LIMITS, 0, Instant::ZERO);
        let too_large = SubmitError::TooLarge { bytes: 101, bytes_max: 100 };
        assert_eq!(solo.submit(Instant::ZERO, Bytes::from(vec![0; 101])), Err(too_large));
        for _ in 0..10 {
            assert_eq!(solo.submit(Instant::ZERO, Bytes::from(vec![0; 100])), Ok(()));
        }
        assert_eq!(solo.submit(Instant::ZERO, Bytes::new()), Ok(()));
        assert_eq!(solo.submit(Instant::ZERO, Bytes::from(vec![0])), Err(SubmitError::Full));
        assert!(matches!(solo.poll_event(), Some(GroupEvent::View(_))));
        assert!(matches!(solo.poll_event(), Some(GroupEvent::Deliver { .. })));
        assert_eq!(solo.submit(Instant::ZERO, Bytes::from(vec![0])), Ok(()));
    }
}
