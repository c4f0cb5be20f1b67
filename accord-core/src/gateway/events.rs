//! Telling clients what changed, and letting their watches go on where they were cut off.
//!
//! The events of an applied command are sent before anything that reflects it. A watch is never
//! gapped in silence: it is told all, or it is told [`ServerMessage::WatchLost`] and ends.

use super::Gateway;
use super::io::DisconnectReason;
use super::message::{
    EventMask, Refusal, ServerMessage, WATCH_KEY_BYTES_MAX, WatchFilter, event_weight,
};
use super::watches::{Delivery, Target, Terms};
use crate::ids::{ConnId, Revision, WatchId};
use crate::service::Service;
use crate::state::Event;
use alloc::sync::Arc;
use bytes::Bytes;

/// A watch as its client asks for it.
pub(super) struct WatchRequest {
    pub(super) watch: WatchId,
    pub(super) filter: WatchFilter,
    pub(super) mask: EventMask,
    pub(super) once: bool,
    pub(super) from: Option<Revision>,
}

impl Gateway {
    pub(super) fn on_watch(&mut self, service: &Service, id: ConnId, request: WatchRequest) {
        let watch = request.watch;
        if let Err(reason) = self.admit_watch(id, watch, &request.filter) {
            self.count_refusal(reason);
            return self.send(id, ServerMessage::WatchRefused { watch, reason });
        }
        let present = service.revision();
        match request.from {
            Some(from) if from < present => self.resume_watch(present, id, from, request),
            from => {
                let from = from.unwrap_or(present);
                let fresh = request.from.is_none() && request.filter == WatchFilter::Members;
                let members = fresh.then(|| service.sessions().map(|(id, _)| id).collect());
                self.set_watch(id, from, request);
                self.send(id, ServerMessage::Watching { watch, from, members });
            }
        }
    }

    pub(super) fn admit_watch(
        &self,
        id: ConnId,
        watch: WatchId,
        filter: &WatchFilter,
    ) -> Result<(), Refusal> {
        let conn = &self.conns[&id];
        let key_bytes = match filter {
            WatchFilter::Key(bytes) | WatchFilter::Prefix(bytes) => bytes.len(),
            WatchFilter::Members => 0,
        };
        if key_bytes > WATCH_KEY_BYTES_MAX {
            return Err(Refusal::KeyTooLong);
        }
        if self.watches.contains((id, watch)) || conn.promised.contains_key(&watch) {
            return Err(Refusal::WatchInUse);
        }
        if conn.watches + conn.promised.len() >= self.limits.watches_per_conn_max {
            return Err(Refusal::TooManyWatches);
        }
        Ok(())
    }

    pub(super) fn set_watch(&mut self, id: ConnId, after: Revision, request: WatchRequest) {
        let terms = Terms { mask: request.mask, once: request.once, after };
        // Bytes of its own: a watch lives longer than the buffer that it arrived in should.
        let filter = match request.filter {
            WatchFilter::Key(key) => WatchFilter::Key(Bytes::copy_from_slice(&key)),
            WatchFilter::Prefix(prefix) => WatchFilter::Prefix(Bytes::copy_from_slice(&prefix)),
            WatchFilter::Members => WatchFilter::Members,
        };
        self.watches.insert((id, request.watch), filter, terms);
        self.conns.get_mut(&id).expect("the caller found it").watches += 1;
    }

    /// Tells a watch what it missed since `from`, and lets it go on.
    fn resume_watch(
        &mut self,
        present: Revision,
        id: ConnId,
        from: Revision,
        request: WatchRequest,
    ) {
        let watch = request.watch;
        // What would not fit into the queue must not be begun.
        let room = self.limits.unsent_bytes_max.saturating_sub(self.conns[&id].unsent_bytes);
        let (filter, mask, once) = (&request.filter, request.mask, request.once);
        let Some(missed) = self.history.since(from, filter, mask, once, room / 2) else {
            let oldest = self.history.floor();
            return self.send(id, ServerMessage::WatchLost { watch, oldest });
        };
        if !once || missed.is_empty() {
            self.set_watch(id, present, request);
        }
        self.send(id, ServerMessage::Watching { watch, from, members: None });
        for events in missed {
            let revision = events[0].revision();
            self.send(id, ServerMessage::Events { watch, revision, events });
        }
    }

    pub(super) fn on_unwatch(&mut self, id: ConnId, watch: WatchId) {
        if self.watches.contains((id, watch)) {
            self.drop_watch((id, watch));
        }
        let conn = self.conns.get_mut(&id).expect("the caller found it");
        if let Some(read) = conn.promised.remove(&watch) {
            self.reads.forget_watch(read);
        }
    }

    fn drop_watch(&mut self, target: Target) {
        self.watches.remove(target);
        if let Some(conn) = self.conns.get_mut(&target.0) {
            conn.watches -= 1;
        }
    }

    /// Tells everyone concerned what one command changed.
    pub(super) fn publish(&mut self, events: &[Event]) {
        let mut deliveries = core::mem::take(&mut self.deliveries);
        self.watches.deliver(events, &mut deliveries);
        for Delivery { target, events, done } in deliveries.drain(..) {
            self.deliver(target, events, done);
        }
        self.deliveries = deliveries;
        self.history.push(events);
    }

    fn deliver(&mut self, target: Target, events: Arc<[Event]>, done: bool) {
        let (id, watch) = target;
        let revision = events[0].revision();
        if done && let Some(conn) = self.conns.get_mut(&id) {
            conn.watches -= 1;
        }
        let weight: usize = events.iter().map(event_weight).sum();
        if weight <= self.limits.unsent_bytes_max / 2 {
            return self.send(id, ServerMessage::Events { watch, revision, events });
        }
        // No queue would ever take it, so that hanging up would only be repeated.
        if !done && self.conns.contains_key(&id) {
            self.drop_watch(target);
        }
        self.send(id, ServerMessage::WatchLost { watch, oldest: revision });
    }

    /// The state was replaced by a later one: what changed between them is not known here. The
    /// clients that watch something may resume where it is.
    pub(super) fn on_events_skipped(&mut self, present: Revision) {
        self.history.reset(present);
        self.disconnect_all(DisconnectReason::Replaced, |conn| conn.watches > 0);
    }
}
