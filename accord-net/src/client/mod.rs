//! The client library: sessions, transactions, reads and watches on a cluster.
//!
//! A [`Client`] is one session. It connects to any of the servers it is given, goes on at another
//! when one fails, sends again what was not answered, and every request still takes effect exactly
//! once. Handles are cheap to clone and may be used from any thread; calls may overlap as much as
//! you like, and wait where the bounds of [`ClientOptions`] are met.
//!
//! A call ends in one of three ways: it was **done** (`Ok`), it **failed** ([`Error::Failed`]:
//! nothing happened and nothing will), or it is **unknown** ([`Error::Unknown`]: it may have
//! happened once, or may still).
//!
//! ```
//! use accord_net::client::txn::Steps;
//! use accord_net::client::{Client, ClientOptions};
//! # use accord_net::embedded::Cluster;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let cluster = Cluster::start(1)?;
//! # let servers = cluster.addresses();
//! // `servers` is such as `["127.0.0.1:7850", "db-2.example:7850"]`.
//! let client = Client::connect(ClientOptions::new(servers)).await?;
//! client.put("greeting", "hello").await?;
//! let record = client.get("greeting").await?.expect("it was just put");
//! assert_eq!(&record.value[..], b"hello");
//!
//! // Many at once: begin them, then wait for their outcomes.
//! let mut pending = Vec::new();
//! for number in 0..100 {
//!     pending.push(client.begin(Steps::new().put(format!("key/{number}"), "value")).await?);
//! }
//! for outcome in pending {
//!     outcome.await?;
//! }
//! client.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! Read on: [`txn`] for transactions, [`Client::list`] and [`Client::read`] for reads,
//! [`Reader`] for reads without a session, [`Client::watch`] for watches,
//! [`Client::watch_members`] for who is there, [`Client::create_sequence`] for keys with numbers
//! from the order, [`Error`] for outcomes and deadlines, [`Pending::again`] for those that are
//! unknown, [`recipes`] for locks, elections, queues and barriers, [`crate::blocking`] for programs
//! without async, [`crate::embedded`] for a cluster to test with.

mod address;
mod bytes_like;
mod error;
mod options;
#[cfg(feature = "testing")]
pub mod raw;
mod reader;
mod reads;
pub mod recipes;
mod shared;
mod task;
pub mod txn;
mod undo;
mod watch;

pub use accord_core::client::{Cause, ClientError};
pub use accord_core::ids::{Revision, SessionId};
pub use accord_core::protocol::{Consistency, EventMask, WatchFilter};
pub use accord_core::state::{
    Compare, Event, Flags, KeyEvent, KeyEventKind, ListEntry, MemberEvent, MemberEventKind, Range,
    ReadQuery, ReadResult, Relation, SessionInfo, Stat, Step, StepError, StepResult, TreeEvent,
    TreeEventKind, Width,
};
pub use accord_core::time::Duration;
pub use address::ServerAddr;
pub use bytes_like::IntoBytes;
pub use error::{ConnectError, Error, Failure};
pub use options::ClientOptions;
pub use reader::Reader;
pub use reads::{List, Read, Record};
pub use shared::SessionState;
pub use watch::{Watch, WatchEnd, WatchItem};

use crate::env::Env;
use crate::env::real::Real;
use accord_core::ids::RequestId;
use accord_core::state::{Branch, OpRef, Results, TxnOutcome};
use accord_core::time::Instant;
use accord_core::wire::Encode;
use shared::{RequestResult, Shared};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{oneshot, watch as state_watch};
use txn::{Steps, Txn};
use watch::{Stream, WatchSink};

/// A session with a cluster. All clones are the same session; it ends when the last is dropped.
#[derive(Clone, Debug)]
pub struct Client {
    handle: Arc<Handle>,
    /// How long each call through this handle may take.
    timeout: Duration,
}

/// What the clones share. The client's task holds [`Shared`] only, so that it notices when the last
/// handle is dropped.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// A transaction that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The revision of its changes; if it changed nothing, of the state that it saw.
    pub revision: Revision,
    /// Which branch it was.
    pub branch: Branch,
    /// One result for each step.
    pub results: Results,
}

impl Done {
    /// True if the conditions held.
    pub fn held(&self) -> bool {
        self.branch == Branch::Then
    }

    /// The value that the step at this place read, if it is a read.
    pub fn value(&self, step: usize) -> Option<&bytes::Bytes> {
        match self.results.get(step) {
            Some(StepResult::Read { value, .. }) => Some(value),
            _ => None,
        }
    }

    /// The number that the step at this place incremented, after it, if it is an increment.
    pub fn number(&self, step: usize) -> Option<u64> {
        match self.results.get(step) {
            Some(StepResult::Incremented { value, .. }) => Some(*value),
            _ => None,
        }
    }

    /// The key that the step at this place created with a number from the order.
    pub fn sequence_key(&self, step: usize) -> Option<&bytes::Bytes> {
        match self.results.get(step) {
            Some(StepResult::Written { key, .. }) => key.as_ref(),
            _ => None,
        }
    }

    /// The entries that the step at this place listed, if it is a list.
    pub fn entries(&self, step: usize) -> Option<&[ListEntry]> {
        match self.results.get(step) {
            Some(StepResult::Listed(page)) => Some(&page.entries),
            _ => None,
        }
    }
}

/// A transaction under way. Dropping it does not stop it.
///
/// As long as it is held it can be asked for again: see [`Pending::again`].
#[derive(Debug)]
#[must_use = "whether it was done is told here"]
pub struct Pending {
    shared: Arc<Shared>,
    request: RequestId,
    waiting: oneshot::Receiver<RequestResult>,
}

impl Pending {
    /// Asks again what became of it, after [`Error::Unknown`], at another server if the present one
    /// did not answer: for as long as the session lives, that tells which. It never runs twice: if
    /// it ran, the outcome that was recorded is the answer; if not, it runs now, or has failed
    /// because a later one of this session was done before it.
    ///
    /// The cluster keeps the outcome until this is dropped, and it counts among
    /// [`ClientOptions::requests_max`].
    ///
    /// ```
    /// use accord_net::client::txn::Steps;
    /// use accord_net::client::{Duration, Error};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = accord_net::embedded::Cluster::start(1)?;
    /// # let client = cluster.client().await?;
    /// let mut payment = client.begin(Steps::new().increment("paid", 1)).await?;
    /// let mut outcome = (&mut payment).await;
    /// while let Err(Error::Unknown(_)) = outcome {
    ///     outcome = payment.again(Duration::from_secs(10)).await;
    /// }
    /// assert_eq!(outcome?.number(0), Some(1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error`]: of the transaction; or [`Error::Failed`] with [`ClientError::NotKept`] or
    /// [`Failure::Ended`] if there is nothing to be asked, and what is known stays as it was: the
    /// outcome came, or the session has ended.
    pub async fn again(&mut self, timeout: Duration) -> Result<Done, Error> {
        self.waiting = self.shared.ask_again(self.request, timeout)?;
        self.await
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.shared.forget(self.request);
    }
}

impl Future for Pending {
    type Output = Result<Done, Error>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.waiting).poll(cx).map(|received| match received {
            Ok(result) => result.and_then(done),
            // The client's task was ended with its runtime: the request may be on its way.
            Err(_) => Err(Error::Unknown(Cause::SessionLost)),
        })
    }
}

fn done(outcome: TxnOutcome) -> Result<Done, Error> {
    match outcome {
        TxnOutcome::Committed { revision, branch, results } => {
            Ok(Done { revision, branch, results })
        }
        TxnOutcome::Aborted { branch: _, step, error } => {
            Err(Error::Failed(Failure::Aborted { step, error }))
        }
    }
}

impl Client {
    /// Opens a session. The client's task runs on tokio's present runtime.
    ///
    /// # Errors
    /// [`ConnectError`]: with what went wrong at each server.
    ///
    /// # Panics
    /// Outside of a tokio runtime; see [`crate::blocking`] for programs that have none.
    pub async fn connect(options: ClientOptions) -> Result<Self, ConnectError> {
        let client = Self::new(&Real, options)?;
        tokio::spawn(task::run(Real, client.handle.shared.clone()));
        client.opened(&Real).await
    }

    /// Opens a session in any world. The client's task runs where that world's tasks do.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_in<E: Env>(env: &E, options: ClientOptions) -> Result<Self, ConnectError> {
        let client = Self::new(env, options)?;
        env.spawn(task::run(env.clone(), client.handle.shared.clone()));
        client.opened(env).await
    }

    fn new<E: Env>(env: &E, options: ClientOptions) -> Result<Self, ConnectError> {
        if options.servers.is_empty() {
            return Err(ConnectError::NoServer);
        }
        let timeout = options.request_timeout;
        let shared = Arc::new(Shared::new(options, env.draw(), env.clock()));
        Ok(Self { handle: Arc::new(Handle { shared }), timeout })
    }

    async fn opened<E: Env>(self, env: &E) -> Result<Self, ConnectError> {
        let shared = self.handle.shared.clone();
        let mut session = shared.session.subscribe();
        let deadline = env.now() + shared.options.connect_timeout;
        tokio::select! {
            biased;
            opened = session.wait_for(|state| *state == SessionState::Attached) => {
                opened.map(|_| ()).map_err(|_| shared.connect_error())?;
            }
            () = env.sleep_until(deadline) => return Err(shared.connect_error()),
        }
        Ok(self)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// The same session, with another time that each call may take, reconnections included. A call
    /// that was sent and not answered by then is [`Error::Unknown`].
    #[must_use]
    pub fn within(&self, timeout: Duration) -> Self {
        Self { handle: self.handle.clone(), timeout }
    }

    /// The session's id.
    ///
    /// # Panics
    /// Never: a client is handed out when its session is open.
    pub fn session(&self) -> SessionId {
        self.shared().session_id().expect("the session was open when the client was handed out")
    }

    /// How long the session outlives the last word of this client, as the cluster granted it.
    pub fn session_timeout(&self) -> Duration {
        self.shared().lock().core.session_timeout()
    }

    /// How long, from now on, the session surely lives: no server ends it for silence before, as
    /// far as the clocks run at the same pace. Zero when it may have ended. It grows back with each
    /// answer of a server to a ping, of which there are three in a [`Self::session_timeout`].
    ///
    /// What relies on the session, such as the work under a lock, has to be over before. Time that
    /// a machine is suspended does not count here, and does for the servers: what locks protect
    /// should check the fencing token as well ([`recipes`]).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = accord_net::embedded::Cluster::start(1)?;
    /// # let client = cluster.client().await?;
    /// let (left, granted) = (client.lease_left(), client.session_timeout());
    /// assert!(left > granted / 2 && left <= granted, "a session that goes well");
    /// # Ok(())
    /// # }
    /// ```
    pub fn lease_left(&self) -> Duration {
        let shared = self.shared();
        let state = shared.lock();
        state.core.lease_ends().unwrap_or(Instant::ZERO).since(shared.now())
    }

    /// Where the session stands, now and as it changes.
    pub fn states(&self) -> state_watch::Receiver<SessionState> {
        self.shared().session.subscribe()
    }

    /// Begins a transaction, once there is room for it, and tells its outcome later. Transactions
    /// of one client are carried out in the order in which they were begun.
    ///
    /// # Errors
    /// [`Error::Failed`]: it was not begun.
    pub async fn begin(&self, txn: impl Into<Txn>) -> Result<Pending, Error> {
        let encoded = OpRef::Kv(txn.into().as_core()).to_bytes();
        let shared = self.shared().clone();
        let (request, waiting) = shared.submit(encoded, self.timeout, None).await?;
        Ok(Pending { shared, request, waiting })
    }

    /// Runs a transaction.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn txn(&self, txn: impl Into<Txn>) -> Result<Done, Error> {
        self.begin(txn).await?.await
    }

    /// Gives a record exactly this value; creates it if it is missing.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn put(&self, key: impl IntoBytes, value: impl IntoBytes) -> Result<Done, Error> {
        self.txn(Steps::new().put(key, value)).await
    }

    /// Creates a record that must not exist.
    ///
    /// # Errors
    /// [`Error`]; [`Error::is_exists`].
    pub async fn create(&self, key: impl IntoBytes, value: impl IntoBytes) -> Result<Done, Error> {
        self.txn(Steps::new().create(key, value)).await
    }

    /// Creates a record that must not exist and dies with this session.
    ///
    /// # Errors
    /// [`Error`]; [`Error::is_exists`].
    pub async fn create_ephemeral(
        &self,
        key: impl IntoBytes,
        value: impl IntoBytes,
    ) -> Result<Done, Error> {
        let flags = Flags::CREATE | Flags::EXCLUSIVE | Flags::EPHEMERAL;
        self.txn(Steps::new().write(key, value, 0, flags)).await
    }

    /// Creates a record whose key is `prefix` and a number from the order of all writes, 20 digits
    /// wide. Returns the key, and the revision at which it was created.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = accord_net::embedded::Cluster::start(1)?;
    /// # let client = cluster.client().await?;
    /// let (first, created) = client.create_sequence("jobs/", "sweep", false).await?;
    /// let (second, _) = client.create_sequence("jobs/", "mop", false).await?;
    /// assert!(first.starts_with(b"jobs/") && first < second, "keys order as they were created");
    /// assert_eq!(client.get(&first).await?.expect("it is there").stat.created, created);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error`].
    pub async fn create_sequence(
        &self,
        prefix: impl IntoBytes,
        value: impl IntoBytes,
        ephemeral: bool,
    ) -> Result<(bytes::Bytes, Revision), Error> {
        let kind = if ephemeral { Flags::EPHEMERAL } else { Flags::NONE };
        let steps = Steps::new().write(prefix, value, 0, Flags::SEQUENCE | kind);
        let done = self.txn(steps).await?;
        let key = done.sequence_key(0).cloned().ok_or(Error::Failed(Failure::Unexpected))?;
        Ok((key, done.revision))
    }

    /// Removes a record that must exist.
    ///
    /// # Errors
    /// [`Error`]; [`Error::is_not_found`].
    pub async fn delete(&self, key: impl IntoBytes) -> Result<Done, Error> {
        self.txn(Steps::new().delete(key)).await
    }

    /// Gives `target` the value of `source`; creates it if it is missing.
    ///
    /// # Errors
    /// [`Error`]; [`Error::is_not_found`] if there is no `source`.
    pub async fn copy(
        &self,
        source: impl IntoBytes,
        target: impl IntoBytes,
    ) -> Result<Done, Error> {
        self.txn(Steps::new().copy(source, target)).await
    }

    /// Adds to a number of eight bytes; creates it as zero before if it is missing. Returns the
    /// number after it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn increment(&self, key: impl IntoBytes, delta: i64) -> Result<u64, Error> {
        let done = self.txn(Steps::new().increment(key, delta)).await?;
        done.number(0).ok_or(Error::Failed(Failure::Unexpected))
    }

    /// Watches a key, a prefix or the members: what comes after `from`, or from now on. Returns
    /// when the watch is set.
    ///
    /// To follow records without a gap, read them and watch from the revision that was read:
    ///
    /// ```
    /// use accord_net::client::txn::Steps;
    /// use accord_net::client::{Event, EventMask, KeyEventKind, WatchFilter};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = accord_net::embedded::Cluster::start(1)?;
    /// # let client = cluster.client().await?;
    /// client.put("config/color", "green").await?;
    /// let read = client.txn(Steps::new().list("config/", 100)).await?;
    /// assert_eq!(read.entries(0).map(<[_]>::len), Some(1));
    ///
    /// let filter = WatchFilter::Prefix("config/".into());
    /// let mut watch = client.watch(filter, EventMask::ALL, Some(read.revision)).await?;
    /// let done = client.put("config/color", "blue").await?;
    ///
    /// let item = watch.next().await?;
    /// assert_eq!(item.revision, done.revision);
    /// let Event::Key(change) = &item.events[0] else { panic!("it is a record's") };
    /// assert_eq!((change.kind, &change.data[..]), (KeyEventKind::Changed, &b"blue"[..]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub async fn watch(
        &self,
        filter: WatchFilter,
        mask: EventMask,
        from: Option<Revision>,
    ) -> Result<Watch, Error> {
        self.set_watch(filter, mask, false, from).await
    }

    /// Like [`Self::watch`], for the first revision with events only.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub async fn watch_once(
        &self,
        filter: WatchFilter,
        mask: EventMask,
        from: Option<Revision>,
    ) -> Result<Watch, Error> {
        self.set_watch(filter, mask, true, from).await
    }

    async fn set_watch(
        &self,
        filter: WatchFilter,
        mask: EventMask,
        once: bool,
        from: Option<Revision>,
    ) -> Result<Watch, Error> {
        let shared = self.shared();
        let stream = Arc::new(Stream::default());
        let sink = WatchSink::new(stream.clone(), shared.options.watch_events_max, once);
        let id = shared.watch(filter, mask, once, from, sink)?;
        Watch::set(shared.clone(), id, stream).await
    }

    /// Watches one key, every kind of event.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub async fn watch_key(&self, key: impl IntoBytes) -> Result<Watch, Error> {
        self.watch(WatchFilter::Key(key.into_bytes()), EventMask::ALL, None).await
    }

    /// Watches every key that begins with a prefix, every kind of event.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub async fn watch_prefix(&self, prefix: impl IntoBytes) -> Result<Watch, Error> {
        self.watch(WatchFilter::Prefix(prefix.into_bytes()), EventMask::ALL, None).await
    }

    /// Watches who joins and leaves. [`Watch::members`] tells who was there when it was set.
    ///
    /// ```
    /// use accord_net::client::{Event, MemberEventKind};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = accord_net::embedded::Cluster::start(1)?;
    /// # let client = cluster.client().await?;
    /// let mut members = client.watch_members().await?;
    /// assert_eq!(members.members(), Some(&[client.session()][..]));
    ///
    /// // What a session creates as ephemeral goes with it, in the same revision.
    /// let visitor = cluster.client().await?;
    /// visitor.create_ephemeral("visitors/ann", "").await?;
    /// let mut record = client.watch_key("visitors/ann").await?;
    /// visitor.close().await;
    ///
    /// let kinds = [MemberEventKind::Joined, MemberEventKind::Left];
    /// for kind in kinds {
    ///     let item = members.next().await?;
    ///     assert!(matches!(&item.events[0], Event::Member(event) if event.kind == kind));
    ///     if kind == MemberEventKind::Left {
    ///         assert_eq!(record.next().await?.revision, item.revision);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub async fn watch_members(&self) -> Result<Watch, Error> {
        self.watch(WatchFilter::Members, EventMask::ALL, None).await
    }

    /// Waits until everything that was begun by any clone is answered.
    pub async fn flush(&self) {
        self.shared().quiet().await;
    }

    /// Ends the session once everything that was begun is answered: its ephemeral records go, and
    /// other members are told. True if the cluster confirmed it; else it ends by its timeout.
    pub async fn close(self) -> bool {
        let shared = self.shared().clone();
        shared.close();
        let mut session = shared.session.subscribe();
        let ended = session.wait_for(|state| state.is_final()).await.is_ok();
        ended && shared.closed().unwrap_or(false)
    }
}
