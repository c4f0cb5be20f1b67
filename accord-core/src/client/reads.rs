//! Reads: sent again over each new connection until answered, since they change nothing.

use super::io::{Cause, ClientError, ClientEvent, ReadId};
use super::{Client, Life};
use crate::ids::Revision;
use crate::protocol::{ClientMessage, Consistency, Refusal};
use crate::state::{ReadQuery, ReadResult};
use crate::time::{Duration, Instant};

/// A read that is not answered.
#[derive(Clone, Debug)]
pub(super) struct PendingRead {
    consistency: Consistency,
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
        self.now = self.now.max(now);
        if self.life != Life::Running {
            return Err(ClientError::Ended);
        }
        if self.reads.len() >= self.config.reads_max {
            return Err(ClientError::TooManyReads);
        }
        let read = ReadId(self.next_read);
        self.next_read += 1;
        self.reads.insert(read, self.now + timeout, PendingRead { consistency, query });
        if self.link.is_ready() {
            self.send_read(read);
        }
        Ok(read)
    }

    fn send_read(&mut self, read: ReadId) {
        let pending = self.reads.get(read).expect("the caller found it");
        let PendingRead { consistency, query } = pending;
        let (consistency, query) = (*consistency, query.clone());
        self.send(ClientMessage::Read { read: read.0, consistency, query });
    }

    pub(super) fn send_reads(&mut self) {
        self.reads.numbers().into_iter().for_each(|read| self.send_read(read));
    }

    pub(super) fn on_read_reply(&mut self, read: ReadId, revision: Revision, result: ReadResult) {
        self.see(revision);
        if self.lease.on_read(read, matches!(result, ReadResult::Session(_))) {
            return;
        }
        if self.reads.remove(read).is_some() {
            self.event(ClientEvent::ReadDone { read, revision, result });
        }
    }

    pub(super) fn on_read_refused(&mut self, read: ReadId, reason: Refusal) {
        if self.reads.remove(read).is_some() {
            self.event(ClientEvent::ReadFailed { read, cause: Cause::Refused(reason) });
        }
    }

    /// Gives up the reads whose time is up.
    pub(super) fn give_up_reads(&mut self) {
        while let Some(read) = self.reads.first_due(self.now) {
            self.reads.remove(read);
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
