//! Barriers: what makes a read linearizable without writing anything.
//!
//! A barrier is a frame that a majority of the voters has seen in its epoch. Every write that was
//! acknowledged to any client before the barrier was sent is ordered before it: an acknowledged
//! write of this epoch shares a voter with the majority, and that voter delivered the write first;
//! one of an older epoch is before the marker; and a later epoch cannot have acknowledged anything
//! yet, since its promises and the barrier's majority share a voter that was still in this epoch.
//! The self-delivery of the frame alone would prove nothing: a server that wakes from a pause
//! delivers to itself in a view that the others have long left.

use super::Replica;
use super::io::BarrierId;
use crate::ids::Index;
use alloc::collections::VecDeque;

#[derive(Clone, Copy, Debug)]
struct Sent {
    id: BarrierId,
    /// Where the frame was delivered, and the entry before it; none while it is on its way.
    delivered: Option<(u64, Index)>,
}

/// Barriers that reads wait for.
#[derive(Clone, Debug, Default)]
pub(super) struct Barriers {
    last: BarrierId,
    /// Asked for, not yet sent.
    due: Option<BarrierId>,
    /// Sent in the present epoch. Bounded by the frames in flight and their acknowledgements.
    sent: VecDeque<Sent>,
}

impl Barriers {
    /// True if a barrier waits to go with the next frame.
    pub(super) const fn is_due(&self) -> bool {
        self.due.is_some()
    }

    /// True if a barrier must go with the next frame.
    pub(super) fn take_due(&mut self) -> bool {
        let due = self.due.take();
        self.sent.extend(due.map(|id| Sent { id, delivered: None }));
        due.is_some()
    }

    pub(super) fn on_own_delivered(&mut self, position: u64, index: Index) {
        let sent = self.sent.iter_mut().find(|sent| sent.delivered.is_none());
        sent.expect("a delivered barrier was sent").delivered = Some((position, index));
    }

    /// The last barrier that `seen` frames pass, with the entry that must be applied first.
    pub(super) fn take_passed(&mut self, seen: u64) -> Option<(BarrierId, Index)> {
        let mut passed = None;
        while let Some(Sent { id, delivered: Some((position, index)) }) = self.sent.front().copied()
        {
            if position > seen {
                break;
            }
            passed = Some((id, index));
            self.sent.pop_front();
        }
        passed
    }

    /// What was sent in the epoch that ends must be sent again in the next.
    pub(super) fn on_epoch_end(&mut self) {
        let last_sent = self.sent.back().map(|sent| sent.id);
        self.due = self.due.max(last_sent);
        self.sent.clear();
    }
}

impl Replica {
    /// Starts a barrier for reads that came until now, or joins one that is not sent yet. It passes
    /// with [`super::io::Action::BarrierDone`], in a later epoch if this one ends; while there is
    /// no primary component it does not pass.
    pub fn read_barrier(&mut self) -> BarrierId {
        *self.barriers.due.get_or_insert_with(|| {
            self.barriers.last.0 += 1;
            self.barriers.last
        })
    }
}
