//! Reads: sent again over each new connection until answered, since they change nothing.

use super::io::{Cause, ClientError, ClientEvent, ReadId};
use super::watches::ClientWatch;
use super::{Client, Life};
use crate::ids::{RequestId, Revision, WatchId};
use crate::protocol::{ClientMessage, Consistency, EventMask, Refusal, WatchFilter};
use crate::state::{ReadQuery, ReadResult};
use crate::time::{Duration, Instant};
use alloc::boxed::Box;

/// A read that is not answered.
#[derive(Clone, Debug)]
pub(super) struct PendingRead {
    consistency: Consistency,
    /// The last request in front of it, if it has a place among them.
    after: Option<RequestId>,
    /// The watch that it sets.
    watch: Option<WatchId>,
    query: ReadQuery,
}

impl Client {
    /// Reads without writing. The answer comes as [`ClientEvent::ReadDone`] or
    /// [`ClientEvent::ReadFailed`].
    ///
    /// # Errors
    /// [`ClientError::TooManyReads`] or [`ClientError::Ended`]: nothing happened.
    pub fn read(
        &mut self,
        now: Instant,
        query: ReadQuery,
        consistency: Consistency,
    ) -> Result<ReadId, ClientError> {
        self.read_within(now, query, consistency, self.config.request_timeout)
    }

    /// Like [`Self::read`], with a time of its own after which it is given up.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_within(
        &mut self,
        now: Instant,
        query: ReadQuery,
        consistency: Consistency,
        timeout: Duration,
    ) -> Result<ReadId, ClientError> {
        self.begin_read(now, timeout, PendingRead { consistency, after: None, watch: None, query })
    }

    /// Like [`Self::read`], behind every request submitted so far and in front of all later ones.
    /// Such reads are answered in their order. If the connection is lost before the answer, the
    /// result may show later requests as well.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_in_order(
        &mut self,
        now: Instant,
        query: ReadQuery,
        consistency: Consistency,
    ) -> Result<ReadId, ClientError> {
        let after = Some(self.last_request());
        let timeout = self.config.request_timeout;
        self.begin_read(now, timeout, PendingRead { consistency, after, watch: None, query })
    }

    /// Like [`Self::read_in_order`], and sets a watch in the same step: it tells everything after
    /// the revision that the result shows. [`ClientEvent::Watching`] comes right behind the result.
    /// If there is no result, there is no watch.
    ///
    /// # Errors
    /// As [`Self::read`], and [`ClientError::TooManyWatches`].
    pub fn read_and_watch(
        &mut self,
        now: Instant,
        query: ReadQuery,
        consistency: Consistency,
        (filter, mask, once): (WatchFilter, EventMask, bool),
    ) -> Result<(ReadId, WatchId), ClientError> {
        let watch = self.next_watch;
        if self.watches.len() >= self.config.watches_max {
            return Err(ClientError::TooManyWatches);
        }
        self.watches.insert(watch, ClientWatch::of_read(filter, mask, once));
        let (after, watch) = (Some(self.last_request()), Some(watch));
        let timeout = self.config.request_timeout;
        let pending = PendingRead { consistency, after, watch, query };
        match (self.begin_read(now, timeout, pending), watch) {
            (Ok(read), Some(watch)) => {
                self.next_watch = WatchId(watch.0 + 1);
                Ok((read, watch))
            }
            (Err(error), _) => {
                self.watches.remove(&self.next_watch);
                Err(error)
            }
            (Ok(_), None) => unreachable!("it has a watch"),
        }
    }

    fn begin_read(
        &mut self,
        now: Instant,
        timeout: Duration,
        pending: PendingRead,
    ) -> Result<ReadId, ClientError> {
        self.now = self.now.max(now);
        if self.life != Life::Running {
            return Err(ClientError::Ended);
        }
        if self.reads.len() >= self.config.reads_max {
            return Err(ClientError::TooManyReads);
        }
        let read = ReadId(self.next_read);
        self.next_read += 1;
        self.reads.insert(read, self.now + timeout, pending);
        if self.link.is_ready() {
            self.send_read(read);
        }
        Ok(read)
    }

    fn send_read(&mut self, read: ReadId) {
        let pending = self.reads.get(read).expect("the caller found it");
        let PendingRead { consistency, after, watch, query } = pending.clone();
        // It may have been ended before it was set.
        let set = watch.and_then(|watch| Some((watch, self.watches.get(&watch)?)));
        let watch = set.map(|(watch, set)| Box::new(set.as_part_of_read(watch)));
        self.send(ClientMessage::Read { read: read.0, consistency, after, watch, query });
    }

    pub(super) fn send_reads(&mut self) {
        self.reads.numbers().into_iter().for_each(|read| self.send_read(read));
    }

    pub(super) fn on_read_reply(&mut self, read: ReadId, revision: Revision, result: ReadResult) {
        self.see(revision);
        if self.lease.on_read(read, matches!(result, ReadResult::Session(_))) {
            return;
        }
        let Some(pending) = self.reads.remove(read) else { return };
        self.event(ClientEvent::ReadDone { read, revision, result });
        if let Some(watch) = pending.watch {
            self.on_read_watching(watch, revision);
        }
    }

    pub(super) fn on_read_refused(&mut self, read: ReadId, reason: Refusal) {
        let Some(pending) = self.reads.remove(read) else { return };
        if let Some(watch) = pending.watch {
            self.watches.remove(&watch);
        }
        self.event(ClientEvent::ReadFailed { read, cause: Cause::Refused(reason) });
    }

    /// Gives up the reads whose time is up.
    pub(super) fn give_up_reads(&mut self) {
        while let Some(read) = self.reads.first_due(self.now) {
            let pending = self.reads.remove(read);
            if let Some(watch) = pending.and_then(|pending| pending.watch) {
                self.unwatch(self.now, watch);
            }
            self.event(ClientEvent::ReadFailed { read, cause: Cause::Timeout });
        }
    }

    pub(super) fn lose_reads(&mut self) {
        while let Some(read) = self.reads.first() {
            self.reads.remove(read);
            self.event(ClientEvent::ReadFailed { read, cause: Cause::SessionLost });
        }
    }
}
