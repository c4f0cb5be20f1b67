//! Requests: numbered, sent until answered, with one of three outcomes: done, failed, unknown.
//!
//! A request that was sent over one connection has one copy, and a refusal of that copy is final.
//! If it was sent over several connections, another copy may still be applied later. Then only a
//! refusal that holds for every copy is final.

use super::io::{Cause, ClientError, ClientEvent};
use super::{Client, Life};
use crate::ids::RequestId;
use crate::protocol::{ClientMessage, MESSAGE_BYTES_MAX, Refusal};
use crate::state::{OpRef, Outcome, RequestError, Txn, TxnOutcome};
use crate::time::{Duration, Instant};
use bytes::Bytes;

/// Bytes that a message may have in addition to its transaction.
const MESSAGE_HEAD_BYTES_MAX: usize = 64;

/// A request that is not answered.
#[derive(Clone, Debug)]
pub(super) struct PendingRequest {
    txn: Bytes,
    /// How often it was sent, each time over another connection.
    sends: u32,
    /// The application may ask for it again if its outcome stays unknown.
    kept: bool,
}

/// A request whose outcome is unknown, and that is kept.
#[derive(Clone, Debug)]
pub(super) struct Dormant {
    pending: PendingRequest,
    /// It was sent over the present connection, whose server takes it no second time.
    sent_here: bool,
}

impl Dormant {
    pub(super) const fn on_link_lost(&mut self) {
        self.sent_here = false;
    }
}

impl Client {
    /// Executes a transaction, exactly once. Its outcome comes as [`ClientEvent::Done`],
    /// [`ClientEvent::Failed`] or [`ClientEvent::Unknown`].
    ///
    /// # Errors
    /// [`ClientError::TooManyRequests`], [`ClientError::TooLarge`] or [`ClientError::Ended`]:
    /// nothing happened.
    pub fn submit(&mut self, now: Instant, txn: &Txn) -> Result<RequestId, ClientError> {
        let op = self.encoder.encode(&OpRef::Kv(txn));
        self.submit_encoded(now, op)
    }

    /// Like [`Self::submit`], for an encoded [`Op`](crate::state::Op).
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn submit_encoded(&mut self, now: Instant, op: Bytes) -> Result<RequestId, ClientError> {
        self.submit_within(now, op, self.config.request_timeout)
    }

    /// Like [`Self::submit_encoded`], with a time of its own after which it is given up.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn submit_within(
        &mut self,
        now: Instant,
        txn: Bytes,
        timeout: Duration,
    ) -> Result<RequestId, ClientError> {
        self.now = self.now.max(now);
        if self.life != Life::Running {
            return Err(ClientError::Ended);
        }
        if txn.len() > MESSAGE_BYTES_MAX - MESSAGE_HEAD_BYTES_MAX {
            return Err(ClientError::TooLarge);
        }
        // The oldest request holds back the acknowledgement of all later ones.
        let unacknowledged = self.next_request.0 - self.acked_below().0;
        if unacknowledged >= self.config.requests_max as u64 {
            return Err(ClientError::TooManyRequests);
        }
        let request = self.next_request;
        self.next_request = request.next();
        self.requests.insert(
            request,
            self.now + timeout,
            PendingRequest { txn, sends: 0, kept: false },
        );
        if self.link.is_ready() {
            self.send_request(request);
        }
        Ok(request)
    }

    /// Keeps a request that is under way, until it is forgotten: if its outcome stays unknown, it
    /// can be asked for again. Until then it has its place among the requests at once.
    pub fn keep(&mut self, request: RequestId) {
        if let Some(pending) = self.requests.get_mut(request) {
            pending.kept = true;
        }
    }

    /// Keeps a request no longer. One that is under way goes on.
    pub fn forget(&mut self, request: RequestId) {
        self.dormant.remove(&request);
        if let Some(pending) = self.requests.get_mut(request) {
            pending.kept = false;
        }
    }

    /// Asks what became of a request that is kept and whose outcome was unknown, by sending it
    /// again under its number: if it ran, its recorded outcome is the answer, and if not, it runs
    /// now, or was passed over by a later one. Another outcome comes for it, as for a new request.
    ///
    /// # Errors
    /// [`ClientError::NotKept`] or [`ClientError::Ended`]: nothing happened.
    pub fn ask_again(
        &mut self,
        now: Instant,
        request: RequestId,
        timeout: Duration,
    ) -> Result<(), ClientError> {
        self.now = self.now.max(now);
        if self.life != Life::Running {
            return Err(ClientError::Ended);
        }
        let Dormant { pending, sent_here } =
            self.dormant.remove(&request).ok_or(ClientError::NotKept)?;
        self.requests.insert_again(request, self.now + timeout, pending);
        if sent_here {
            // This server had its time to answer. The next is asked.
            self.leave();
        } else if self.link.is_ready() {
            self.send_request(request);
        }
        Ok(())
    }

    /// No outcome below this number is waited for, or may be asked for.
    pub(super) fn acked_below(&self) -> RequestId {
        let pending = self.requests.first().unwrap_or(self.next_request);
        self.dormant.keys().next().map_or(pending, |dormant| pending.min(*dormant))
    }

    /// The outcome is unknown.
    fn lose_sight(&mut self, request: RequestId, pending: PendingRequest, cause: Cause) {
        let over = matches!(
            cause,
            Cause::SessionLost
                | Cause::Rejected(RequestError::SessionEnded | RequestError::Acknowledged { .. })
        );
        if pending.kept && !over {
            let sent_here = self.link.is_ready();
            self.dormant.insert(request, Dormant { pending, sent_here });
        }
        self.event(ClientEvent::Unknown { request, cause });
    }

    fn send_request(&mut self, request: RequestId) {
        let acked_below = self.acked_below();
        let pending = self.requests.get_mut(request).expect("the caller found it");
        pending.sends += 1;
        let txn = pending.txn.clone();
        self.send(ClientMessage::Request { request, acked_below, op: txn });
    }

    /// Sends everything that is not answered, in order, over a new connection.
    pub(super) fn send_requests(&mut self) {
        self.requests.numbers().into_iter().for_each(|request| self.send_request(request));
    }

    pub(super) fn on_reply(&mut self, request: RequestId, outcome: Outcome) {
        if let Outcome::Txn(TxnOutcome::Committed { revision, .. }) = &outcome {
            self.see(*revision);
        }
        if let Outcome::Tree(outcome) = &outcome {
            self.see(outcome.revision);
        }
        let Some(pending) = self.requests.remove(request) else { return };
        let error = match outcome {
            Outcome::Txn(_) | Outcome::Tree(_) => {
                return self.event(ClientEvent::Done { request, outcome });
            }
            Outcome::Refused(error) => error,
        };
        let cause = Cause::Rejected(error);
        match pending.sends == 1 || holds_for_every_copy(error) {
            true => self.event(ClientEvent::Failed { request, cause }),
            false => self.lose_sight(request, pending, cause),
        }
    }

    pub(super) fn on_request_refused(&mut self, request: RequestId, reason: Refusal) {
        let Some(pending) = self.requests.get(request) else { return };
        let cause = Cause::Refused(reason);
        match (pending.sends, reason) {
            (1, _) => {
                self.requests.remove(request);
                self.event(ClientEvent::Failed { request, cause });
            }
            (_, Refusal::TooLarge) => {
                let pending = self.requests.remove(request).expect("it is pending");
                self.lose_sight(request, pending, cause);
            }
            // It stays to be seen what became of the earlier copies.
            _ => self.leave(),
        }
    }

    /// Gives up the requests whose time is up.
    pub(super) fn give_up_requests(&mut self) {
        while let Some(request) = self.requests.first_due(self.now) {
            self.give_up(request, Cause::Timeout);
        }
    }

    pub(super) fn lose_requests(&mut self) {
        while let Some(request) = self.requests.first() {
            self.give_up(request, Cause::SessionLost);
        }
    }

    fn give_up(&mut self, request: RequestId, cause: Cause) {
        let pending = self.requests.remove(request).expect("the caller found it");
        match pending.sends {
            0 => self.event(ClientEvent::Failed { request, cause }),
            _ => self.lose_sight(request, pending, cause),
        }
    }
}

/// True if no copy of a request can have run, or will, when one was refused like this.
const fn holds_for_every_copy(error: RequestError) -> bool {
    match error {
        // The number was passed over: no copy ran before, and none can after.
        RequestError::PassedOver { .. } => true,
        // There never was such a session for any copy to run in.
        RequestError::SessionUnknown => true,
        // A property of the transaction itself.
        RequestError::Malformed | RequestError::TooManySteps | RequestError::UnknownKind { .. } => {
            true
        }
        // An earlier copy may have run before the session ended.
        RequestError::SessionEnded => false,
        // The record of an earlier copy may be among what was acknowledged.
        RequestError::Acknowledged { .. } => false,
        // A later copy may find room.
        RequestError::WindowFull => false,
        // Copies differ in the bytes of their acknowledgement.
        RequestError::CommandTooLarge => false,
    }
}
