//! What an application's handles and the client's task share: the core's client, and who waits for
//! what.
//!
//! Handles put work in under the lock and wake the task; the task moves bytes and hands out what
//! came back, under the same lock. Nothing is awaited under it. Invariants:
//!
//! - every request, read and watch that the core has is waited for here under its number;
//! - when the client ends, everybody who waits is told;
//! - what was begun by somebody who no longer waits is undone, where that was asked for, as soon as
//!   it is known to have been done: see `Undo`. No such thing is forgotten while the session lives.

use super::error::{ConnectError, Error, Failure};
use super::options::ClientOptions;
use super::watch::{WatchEnd, WatchSink};
use crate::env::Clock;
use accord_core::client::{Cause, Client as Core, ClientEvent, ReadId};
use accord_core::ids::{RequestId, Revision, SessionId, WatchId};
use accord_core::protocol::{Consistency, EventMask, Refusal, WatchFilter};
use accord_core::state::{Outcome, ReadQuery, ReadResult, RequestError, TxnOutcome};
use accord_core::time::{Duration, DurationExt, Instant};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot, watch};

/// How a request ended.
pub(super) type RequestResult = Result<TxnOutcome, Error>;
/// The transaction, encoded, that undoes what came of another, if there is anything to undo.
pub(super) type Undo = Arc<dyn Fn(&TxnOutcome) -> Option<Bytes> + Send + Sync>;

/// How long an unattended transaction may take before it is tried again.
const UNATTENDED: Duration = Duration::from_secs(600);

/// How a read ended: what was read, and at which revision.
pub(super) type ReadDone = Result<(ReadResult, Revision), Error>;

/// Gets the core's events, under the client's lock.
#[cfg(feature = "testing")]
pub type Hears = Box<dyn Fn(&ClientEvent) + Send + Sync>;

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
    hears: Option<Hears>,
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
    /// Transactions without a waiting caller that found no room.
    unattended: VecDeque<Bytes>,
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
    waiter: Waiter,
}

/// Who waits for a request.
enum Waiter {
    /// An application.
    Call(oneshot::Sender<RequestResult>),
    /// An application; and if it does not wait to the end, what was done is undone.
    Undoable(oneshot::Sender<RequestResult>, Undo),
    /// No caller: the outcome only tells what to undo.
    Pursuit(Undo),
    /// No caller: it only has to be done.
    Unattended(Bytes),
}

/// True if a request that failed like this may be done the next time.
const fn passes(cause: Cause) -> bool {
    match cause {
        Cause::Timeout => true,
        Cause::Refused(refusal) => !matches!(refusal, Refusal::TooLarge),
        Cause::Rejected(error) => {
            matches!(error, RequestError::WindowFull | RequestError::PassedOver { .. })
        }
        Cause::SessionLost => false,
    }
}

impl State {
    /// Notes who waits for a request that the core has just taken.
    fn wait_for(&mut self, request: RequestId, bytes: usize, waiter: Waiter) {
        self.core.keep(request);
        self.requests.insert(request, WaitingRequest { bytes, waiter });
        self.request_bytes += bytes;
    }

    fn is_quiet(&self) -> bool {
        self.requests.is_empty() && self.reads.is_empty() && self.unattended.is_empty()
    }
}

impl Shared {
    pub(super) fn new(options: ClientOptions, seed: u64, clock: Clock) -> Self {
        let core = Core::new(options.core(), seed, clock());
        let state = State {
            core,
            requests: BTreeMap::new(),
            request_bytes: 0,
            unattended: VecDeque::new(),
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
    pub(super) fn heard_by(mut self, hears: Hears) -> Self {
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
            // Enlist before looking, so that no wake-up is missed.
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

    /// Begins a request, once there is room for it. It is kept until it is forgotten.
    pub(super) async fn submit(
        &self,
        txn: Bytes,
        timeout: Duration,
        undo: Option<Undo>,
    ) -> Result<(RequestId, oneshot::Receiver<RequestResult>), Error> {
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
                    let waiter = match &undo {
                        Some(undo) => Waiter::Undoable(done, undo.clone()),
                        None => Waiter::Call(done),
                    };
                    state.wait_for(request, bytes, waiter);
                    Some(Ok((request, waiting)))
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

    /// Asks again what became of a request that is kept and whose outcome was unknown.
    pub(super) fn ask_again(
        &self,
        request: RequestId,
        timeout: Duration,
    ) -> Result<oneshot::Receiver<RequestResult>, Error> {
        let state = &mut *self.lock();
        state.core.ask_again(self.now(), request, timeout)?;
        let (done, waiting) = oneshot::channel();
        state.wait_for(request, 0, Waiter::Call(done));
        self.wake.notify_one();
        Ok(waiting)
    }

    /// A request is not going to be asked for again.
    pub(super) fn forget(&self, request: RequestId) {
        self.lock().core.forget(request);
        // It may have held back the acknowledgement of later ones, and so their room.
        self.request_room.notify_one();
    }

    /// Does a transaction as soon as there is room for it, again until it is done, and waits for
    /// nothing.
    pub(super) fn submit_unattended(&self, txn: Bytes) {
        let state = &mut *self.lock();
        state.unattended.push_back(txn);
        self.submit_waiting(state);
    }

    /// Undoes what became of a request whose outcome is unknown, as soon as it is known.
    pub(super) fn pursue(&self, request: RequestId, undo: Undo) {
        self.pursue_in(&mut self.lock(), request, undo);
    }

    fn pursue_in(&self, state: &mut State, request: RequestId, undo: Undo) {
        // Otherwise the session has ended, and what dies with it is undone.
        if state.core.ask_again(self.now(), request, UNATTENDED).is_ok() {
            state.wait_for(request, 0, Waiter::Pursuit(undo));
            self.wake.notify_one();
        }
    }

    /// Ensures that a transaction without a waiting caller is done exactly once.
    fn go_on(&self, state: &mut State, request: RequestId, txn: Bytes, result: RequestResult) {
        match result {
            Err(Error::Unknown(_)) => {
                if state.core.ask_again(self.now(), request, UNATTENDED).is_ok() {
                    state.wait_for(request, 0, Waiter::Unattended(txn));
                    self.wake.notify_one();
                }
            }
            Err(Error::Failed(Failure::Cause(cause))) if passes(cause) => {
                state.unattended.push_back(txn);
            }
            Ok(_) | Err(Error::Failed(_)) => {}
        }
    }

    fn submit_waiting(&self, state: &mut State) {
        while let Some(txn) = state.unattended.front().filter(|_| !state.ended).cloned() {
            let begun = state.core.submit_within(self.now(), txn.clone(), UNATTENDED);
            let Ok(request) = begun else { return };
            state.unattended.pop_front();
            state.wait_for(request, 0, Waiter::Unattended(txn));
            self.wake.notify_one();
        }
    }

    /// Waits until everything that was begun is answered.
    pub(super) async fn quiet(&self) {
        loop {
            let mut quiet = std::pin::pin!(self.quiet.notified());
            // Enlist before looking, so that no answer is missed.
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
        // What is left to be undone goes with the session.
        state.unattended.clear();
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
                    Outcome::Tree(_) => Err(Error::Failed(Failure::Unexpected)),
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
        let undo = match waiting.waiter {
            Waiter::Call(done) => {
                // Who asked may no longer wait.
                let _ = done.send(result);
                None
            }
            Waiter::Undoable(done, undo) => done.send(result).err().map(|result| (result, undo)),
            Waiter::Pursuit(undo) => Some((result, undo)),
            Waiter::Unattended(txn) => {
                self.go_on(state, request, txn, result);
                None
            }
        };
        match undo {
            Some((Ok(outcome), undo)) => state.unattended.extend(undo(&outcome)),
            Some((Err(Error::Unknown(_)), undo)) => self.pursue_in(state, request, undo),
            Some((Err(Error::Failed(_)), _)) | None => {}
        }
        self.submit_waiting(state);
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
        state.unattended.clear();
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
