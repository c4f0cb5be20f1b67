//! Watches, and the revision from which each resumes after a reconnection.
//!
//! A watch is complete up to the revision of its last events, since all events of a revision come
//! in one message, and up to that of any pong whose ping was sent after the watch was: the server
//! works in order. Other messages prove nothing, because right after a reconnection one watch may
//! be far ahead of another.

use super::io::{ClientError, ClientEvent};
use super::{Client, Life};
use crate::ids::{Revision, SessionId, WatchId};
use crate::protocol::{ClientMessage, EventMask, ReadWatch, Refusal, WatchFilter};
use crate::state::Event;
use crate::time::Instant;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A watch of this client.
#[derive(Clone, Debug)]
pub(super) struct ClientWatch {
    filter: WatchFilter,
    mask: EventMask,
    once: bool,
    /// Everything up to here was told; unknown until the server has set the watch.
    complete: Option<Revision>,
    /// The application was told that it is set.
    announced: bool,
    /// Pings from this number on were sent after the watch, over the present connection. None: it
    /// was not sent over the present connection.
    proven_by: Option<u64>,
    /// It is set by a read that is not answered.
    by_read: bool,
}

impl ClientWatch {
    /// A watch that a read is to set.
    pub(super) const fn of_read(filter: WatchFilter, mask: EventMask, once: bool) -> Self {
        let (complete, announced, proven_by) = (None, true, None);
        Self { filter, mask, once, complete, announced, proven_by, by_read: true }
    }

    /// What the read says of it.
    pub(super) fn as_part_of_read(&self, watch: WatchId) -> ReadWatch {
        let Self { filter, mask, once, .. } = self;
        ReadWatch { watch, filter: filter.clone(), mask: *mask, once: *once }
    }
}

impl Client {
    /// Watches a key, a prefix or the members: everything after `from`, or from now on. The
    /// application gets [`ClientEvent::Watching`], then [`ClientEvent::Watch`] for each revision
    /// with events.
    ///
    /// # Errors
    /// [`ClientError::TooManyWatches`] or [`ClientError::Ended`]: nothing happened.
    pub fn watch(
        &mut self,
        now: Instant,
        filter: WatchFilter,
        mask: EventMask,
        once: bool,
        from: Option<Revision>,
    ) -> Result<WatchId, ClientError> {
        self.now = self.now.max(now);
        if self.life != Life::Running {
            return Err(ClientError::Ended);
        }
        if self.watches.len() >= self.config.watches_max {
            return Err(ClientError::TooManyWatches);
        }
        let watch = self.next_watch;
        self.next_watch = WatchId(watch.0 + 1);
        let announced = false;
        let (complete, proven_by, by_read) = (from, None, false);
        let set = ClientWatch { filter, mask, once, complete, announced, proven_by, by_read };
        self.watches.insert(watch, set);
        if self.link.is_ready() {
            self.send_watch(watch);
        }
        Ok(watch)
    }

    /// Ends a watch. No more of its events are reported, not even those under way.
    pub fn unwatch(&mut self, now: Instant, watch: WatchId) {
        self.now = self.now.max(now);
        if self.watches.remove(&watch).is_some() && self.link.is_ready() {
            self.send(ClientMessage::Unwatch { watch });
        }
    }

    fn send_watch(&mut self, watch: WatchId) {
        let nonce = self.link.nonce();
        let set = self.watches.get_mut(&watch).expect("the caller found it");
        set.proven_by = Some(nonce);
        let ClientWatch { filter, mask, once, complete: from, .. } = set.clone();
        self.send(ClientMessage::Watch { watch, filter, mask, once, from });
    }

    /// Sets every watch again over a new connection, but for those that reads set.
    pub(super) fn send_watches(&mut self) {
        let own = self.watches.iter().filter(|(_, watch)| !watch.by_read);
        let watches: Vec<WatchId> = own.map(|(watch, _)| *watch).collect();
        watches.into_iter().for_each(|watch| self.send_watch(watch));
    }

    /// Pings prove nothing of the watches until the next connection.
    pub(super) fn on_link_lost(&mut self) {
        self.watches.values_mut().for_each(|watch| watch.proven_by = None);
    }

    pub(super) fn on_watching(
        &mut self,
        watch: WatchId,
        from: Revision,
        members: Option<Vec<SessionId>>,
    ) {
        let Some(set) = self.watches.get_mut(&watch) else { return };
        set.complete = set.complete.max(Some(from));
        if !set.announced {
            set.announced = true;
            self.event(ClientEvent::Watching { watch, from, members });
        }
    }

    /// A read was answered that sets a watch.
    pub(super) fn on_read_watching(&mut self, watch: WatchId, from: Revision) {
        let nonce = self.link.nonce();
        let Some(set) = self.watches.get_mut(&watch) else { return };
        set.by_read = false;
        set.complete = Some(from);
        // Pings sent before may have been answered before the watch was set.
        set.proven_by = Some(nonce);
        self.event(ClientEvent::Watching { watch, from, members: None });
    }

    pub(super) fn on_events(&mut self, watch: WatchId, revision: Revision, events: Arc<[Event]>) {
        self.see(revision);
        let Some(set) = self.watches.get_mut(&watch) else { return };
        set.complete = set.complete.max(Some(revision));
        if set.once {
            self.watches.remove(&watch);
        }
        self.event(ClientEvent::Watch { watch, revision, events });
    }

    /// The server has sent every event up to `revision` to the watches that it knew at that ping.
    pub(super) fn advance_watches(&mut self, nonce: u64, revision: Revision) {
        for set in self.watches.values_mut() {
            if set.proven_by.is_some_and(|first| first <= nonce) {
                set.complete = set.complete.max(Some(revision));
            }
        }
    }

    pub(super) fn on_watch_lost(&mut self, watch: WatchId, oldest: Revision) {
        if self.watches.remove(&watch).is_some() {
            self.event(ClientEvent::WatchLost { watch, oldest });
        }
    }

    pub(super) fn on_watch_refused(&mut self, watch: WatchId, reason: Refusal) {
        if self.watches.remove(&watch).is_some() {
            self.event(ClientEvent::WatchFailed { watch, reason });
        }
    }
}
