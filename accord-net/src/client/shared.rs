//! What an application's handles and the client's task share: the core's client, and who waits for
//! what.
//!
//! Handles put work in under the lock and wake the task; the task moves bytes and hands out what
//! came back, under the same lock. Nothing is awaited under it. Invariants:
//!
//! - every request, read and watch that the core has is waited for here under its number;
//! - when the client ends, everybody who waits is told.

use super::error::{ConnectError, Error, Failure};
use super::options::ClientOptions;
use super::watch::{WatchEnd, WatchSink};
use crate::env::Clock;
use accord_core::client::{Cause, Client as Core, ClientEvent, ReadId};
use accord_core::ids::{RequestId, Revision, SessionId, WatchId};
use accord_core::protocol::{Consistency, EventMask, WatchFilter};
use accord_core::state::{Outcome, ReadQuery, ReadResult, TxnOutcome};
use accord_core::time::{Duration, DurationExt, Instant};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot, watch};

/// How a request ended.
pub(super) type RequestResult = Result<TxnOutcome, Error>;
/// How a read ended: what was read, and at which revision.
pub(super) type ReadDone = Result<(ReadResult, Revision), Error>;

/// Where a session stands, as an application may watch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// No session yet.
    Connecting,
    /// The session is attached to a server.
    Attached,
    /// The connection is lost. The session may end before the next is made: what relies on it, such
    /// as a lock, must be taken for lost until it is attached again.
    Suspended,
    /// The session has ended without being asked to: its ephemeral records are gone.
    Lost,
    /// The client was closed.
    Closed,
}

impl SessionState {
    /// True if nothing follows.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Lost | Self::Closed)
    }
}

/// What the handles and the task share.
pub(super) struct Shared {
    state: Mutex<State>,
    clock: Clock,
    pub(super) options: ClientOptions,
    /// The task has something to do.
    pub(super) wake: Notify,
    /// A request was answered: there is room for another.
    request_room: Notify,
    /// A read was answered: there is room for another.
    read_room: Notify,
    /// Everything that was begun is answered.
    quiet: Notify,
    pub(super) session: watch::Sender<SessionState>,
    #[cfg(feature = "testing")]
    hears: Option<super::raw::Hears>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("options", &self.options).finish_non_exhaustive()
    }
}

pub(super) struct State {
    pub(super) core: Core,
    requests: BTreeMap<RequestId, WaitingRequest>,
    /// Invariant: the bytes of `requests`.
    request_bytes: usize,
    reads: BTreeMap<ReadId, oneshot::Sender<ReadDone>>,
    watches: BTreeMap<WatchId, WatchSink>,
    session: Option<SessionId>,
    /// What went wrong last at each server.
    pub(super) troubles: BTreeMap<usize, String>,
    /// No more calls are taken.
    ended: bool,
    closed: Option<bool>,
}

struct WaitingRequest {
    bytes: usize,
    done: oneshot::Sender<RequestResult>,
}

impl State {
    fn is_quiet(&self) -> bool {
        self.requests.is_empty() && self.reads.is_empty()
    }
}

impl Shared {
    pub(super) fn new(options: ClientOptions, seed: u64, clock: Clock) -> Self {
        let core = Core::new(options.core(), seed, clock());
        let state = State {
            core,
            requests: BTreeMap::new(),
            request_bytes: 0,
            reads: BTreeMap::new(),
            watches: BTreeMap::new(),
            session: None,
            troubles: BTreeMap::new(),
            ended: false,
            closed: None,
        };
        Self {
            state: Mutex::new(state),
            clock,
            options,
            wake: Notify::new(),
            request_room: Notify::new(),
            read_room: Notify::new(),
            quiet: Notify::new(),
            session: watch::Sender::new(SessionState::Connecting),
            #[cfg(feature = "testing")]
            hears: None,
        }
    }

    /// From now on, everything that the core tells is heard here as well.
    #[cfg(feature = "testing")]
    pub(super) fn heard_by(mut self, hears: super::raw::Hears) -> Self {
        self.hears = Some(hears);
        self
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is a bug in here; the state is no worse for its being noticed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Instant {
        (self.clock)()
    }

    pub(super) fn session_id(&self) -> Option<SessionId> {
        self.lock().session
    }

    /// Waits until `attempt` finds room.
    async fn when_room<T>(
        &self,
        room: &Notify,
        mut attempt: impl FnMut(&mut State) -> Option<Result<T, Error>>,
    ) -> Result<T, Error> {
        loop {
            // Enlist before looking, so that room made in between is not missed.
            let made = room.notified();
            let attempted = {
                let state = &mut *self.lock();
                if state.ended { Some(Err(Error::Failed(Failure::Ended))) } else { attempt(state) }
            };
            if let Some(result) = attempted {
                // There may be room for the next who waits as well.
                room.notify_one();
                self.wake.notify_one();
                return result;
            }
            made.await;
        }
    }

    /// Begins a request, once there is room for it.
    pub(super) async fn submit(
        &self,
        txn: Bytes,
        timeout: Duration,
    ) -> Result<oneshot::Receiver<RequestResult>, Error> {
        let bytes = txn.len();
        let submitted = self.when_room(&self.request_room, |state| {
            let fits = state.requests.is_empty()
                || state.request_bytes + bytes <= self.options.request_bytes_max;
            if !fits {
                return None;
            }
            match state.core.submit_within(self.now(), txn.clone(), timeout) {
                Err(accord_core::client::ClientError::TooManyRequests) => None,
                Err(error) => Some(Err(error.into())),
                Ok(request) => {
                    let (done, waiting) = oneshot::channel();
                    state.requests.insert(request, WaitingRequest { bytes, done });
                    state.request_bytes += bytes;
                    Some(Ok(waiting))
                }
            }
        });
        submitted.await
    }

    /// Begins a read, once there is room for it.
    pub(super) async fn read(
        &self,
        query: ReadQuery,
        consistency: Consistency,
        timeout: Duration,
    ) -> Result<oneshot::Receiver<ReadDone>, Error> {
        let begun = self.when_room(&self.read_room, |state| {
            match state.core.read_within(self.now(), query.clone(), consistency, timeout) {
                Err(accord_core::client::ClientError::TooManyReads) => None,
                Err(error) => Some(Err(error.into())),
                Ok(read) => {
                    let (done, waiting) = oneshot::channel();
                    state.reads.insert(read, done);
                    Some(Ok(waiting))
                }
            }
        });
        begun.await
    }

    pub(super) fn watch(
        &self,
        filter: WatchFilter,
        mask: EventMask,
        once: bool,
        from: Option<Revision>,
        sink: WatchSink,
    ) -> Result<WatchId, Error> {
        let state = &mut *self.lock();
        if state.ended {
            return Err(Error::Failed(Failure::Ended));
        }
        let watch = state.core.watch(self.now(), filter, mask, once, from)?;
        state.watches.insert(watch, sink);
        self.wake.notify_one();
        Ok(watch)
    }

    pub(super) fn unwatch(&self, watch: WatchId) {
        let state = &mut *self.lock();
        if state.watches.remove(&watch).is_some() {
            state.core.unwatch(self.now(), watch);
            self.wake.notify_one();
        }
    }

    /// Begins a request if there is room for it at once, and waits for nothing.
    pub(super) fn submit_unattended(&self, txn: Bytes) {
        let state = &mut *self.lock();
        if !state.ended && state.core.submit_encoded(self.now(), txn).is_ok() {
            self.wake.notify_one();
        }
    }

    /// Waits until everything that was begun is answered.
    pub(super) async fn quiet(&self) {
        loop {
            let mut quiet = std::pin::pin!(self.quiet.notified());
            // Enlist before looking, so that what is answered in between is not missed.
            quiet.as_mut().enable();
            if self.lock().is_quiet() {
                return;
            }
            quiet.await;
        }
    }

    /// Ends the session once everything that was begun is answered.
    pub(super) fn close(&self) {
        let now = self.now();
        let state = &mut *self.lock();
        state.core.close(now);
        state.ended = true;
        self.wake.notify_one();
        self.turn_away();
    }

    /// Lets everybody who waits for room see that there will be none.
    fn turn_away(&self) {
        for room in [&self.request_room, &self.read_room] {
            // Each passes it on to the next.
            room.notify_one();
        }
    }

    /// Whether the cluster confirmed the session's end, once the client has closed.
    pub(super) fn closed(&self) -> Option<bool> {
        self.lock().closed
    }

    pub(super) fn connect_error(&self) -> ConnectError {
        let state = self.lock();
        let servers = self.options.servers.iter().enumerate();
        let reasons = servers.filter_map(|(place, address)| {
            state.troubles.get(&place).map(|trouble| format!("{address}: {trouble}"))
        });
        ConnectError::Timeout {
            timeout_ms: self.options.connect_timeout.to_millis(),
            reasons: reasons.collect(),
        }
    }

    /// Hands out what the core tells.
    pub(super) fn dispatch(&self, state: &mut State, event: ClientEvent) {
        #[cfg(feature = "testing")]
        if let Some(hears) = &self.hears {
            hears(&event);
        }
        match event {
            ClientEvent::SessionOpened { session, .. } => {
                state.session = Some(session);
                self.session.send_replace(SessionState::Attached);
            }
            ClientEvent::SessionRefused { reason } => {
                state.troubles.insert(usize::MAX, reason.to_string());
            }
            ClientEvent::Suspended => {
                self.session.send_replace(SessionState::Suspended);
            }
            ClientEvent::Resumed => {
                self.session.send_replace(SessionState::Attached);
            }
            ClientEvent::SessionLost => self.end(state, SessionState::Lost),
            ClientEvent::Closed { confirmed } => {
                state.closed = Some(confirmed);
                self.end(state, SessionState::Closed);
            }
            ClientEvent::Done { request, outcome } => {
                let outcome = match outcome {
                    Outcome::Txn(outcome) => Ok(outcome),
                    Outcome::Refused(error) => {
                        Err(Error::Failed(Failure::Cause(Cause::Rejected(error))))
                    }
                };
                self.answer(state, request, outcome);
            }
            ClientEvent::Failed { request, cause } => {
                self.answer(state, request, Err(Error::Failed(Failure::Cause(cause))));
            }
            ClientEvent::Unknown { request, cause } => {
                self.answer(state, request, Err(Error::Unknown(cause)));
            }
            ClientEvent::ReadDone { read, revision, result } => {
                self.answer_read(state, read, Ok((result, revision)));
            }
            ClientEvent::ReadFailed { read, cause } => {
                self.answer_read(state, read, Err(Error::Failed(Failure::Cause(cause))));
            }
            event => self.dispatch_watch(state, event),
        }
    }

    fn dispatch_watch(&self, state: &mut State, event: ClientEvent) {
        match event {
            ClientEvent::Watching { watch, from, members } => {
                if let Some(sink) = state.watches.get_mut(&watch) {
                    sink.on_set(from, members);
                }
            }
            ClientEvent::Watch { watch, revision, events } => {
                let Some(sink) = state.watches.get_mut(&watch) else { return };
                if !sink.on_events(revision, events) {
                    state.watches.remove(&watch);
                    state.core.unwatch(self.now(), watch);
                    self.wake.notify_one();
                }
            }
            ClientEvent::WatchLost { watch, oldest } => {
                if let Some(sink) = state.watches.remove(&watch) {
                    sink.end(WatchEnd::HistoryGone { oldest });
                }
            }
            ClientEvent::WatchFailed { watch, reason } => {
                if let Some(sink) = state.watches.remove(&watch) {
                    sink.end(WatchEnd::Refused(reason));
                }
            }
            _ => {}
        }
    }

    fn answer(&self, state: &mut State, request: RequestId, result: RequestResult) {
        let Some(waiting) = state.requests.remove(&request) else { return };
        state.request_bytes -= waiting.bytes;
        // Whoever asked may no longer wait.
        let _ = waiting.done.send(result);
        self.request_room.notify_one();
        self.tell_if_quiet(state);
    }

    fn tell_if_quiet(&self, state: &State) {
        if state.is_quiet() {
            self.quiet.notify_waiters();
        }
    }

    fn answer_read(&self, state: &mut State, read: ReadId, result: ReadDone) {
        if let Some(waiting) = state.reads.remove(&read) {
            let _ = waiting.send(result);
            self.read_room.notify_one();
        }
        self.tell_if_quiet(state);
    }

    fn end(&self, state: &mut State, how: SessionState) {
        state.ended = true;
        while let Some((_, sink)) = state.watches.pop_first() {
            sink.end(match how {
                SessionState::Lost => WatchEnd::SessionLost,
                _ => WatchEnd::Closed,
            });
        }
        self.session.send_replace(how);
        self.turn_away();
    }
}
