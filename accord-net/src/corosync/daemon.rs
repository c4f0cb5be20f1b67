//! The thread that talks to the local Corosync daemon.
//!
//! The C library blocks where it likes, and spins while the daemon hangs; so all calls of it are on
//! one thread of their own, which no other thread waits for. It shares the [`Machine`] with the
//! server under a mutex that is never held over a call of the library. What the daemon says is
//! taken in as long as the replica keeps up ([`Machine::wants_input`]); what it refuses for now
//! stays in hand and is tried again after a moment.

use super::link::{CorosyncError, GroupConfig, GroupStatus, LinkStatus};
use super::machine::Machine;
use super::message::Address;
use crate::env::Clock;
use accord_core::group::{GroupEvent, SubmitError};
use bytes::Bytes;
use rust_corosync::cpg::{self, Guarantee, Model1Data, Model1Flags, ModelData};
use rust_corosync::{CsError, DispatchFlags, NodeId as CsNodeId, TrackFlags, quorum};
use std::cell::RefCell;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

/// The library puts a megabyte onto the stack.
const STACK_BYTES: usize = 4 << 20;
/// Messages taken in before what comes of them is sent.
const BATCH: usize = 64;
/// How long to wait before a message is offered to the daemon again.
const TRY_AGAIN: Duration = Duration::from_millis(1);
/// How long to wait before a daemon that is not there is looked for again.
const RECONNECT: Duration = Duration::from_millis(200);
/// How long a daemon may take until this process is in the group.
const JOIN_PATIENCE: Duration = Duration::from_secs(10);

/// A member of a process group, as a server holds it. Dropping it leaves the group.
#[derive(Debug)]
pub struct CorosyncGroup {
    shared: Arc<Shared>,
    clock: DebugClock,
}

struct DebugClock(Clock);

impl std::fmt::Debug for DebugClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

#[derive(Debug)]
struct Shared {
    machine: Mutex<Machine>,
    link: Mutex<LinkStatus>,
    /// For the thread: something was submitted or polled, or it is to stop.
    work: Notify,
    /// For the server: events wait.
    news: Arc<Notify>,
    stop: AtomicBool,
}

/// What no panic can leave half done is used on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl CorosyncGroup {
    /// Joins the group. The seed must differ from start to start.
    ///
    /// # Errors
    /// [`CorosyncError`], if the daemon does not let this process in now. Later it may go and come.
    pub fn start(config: GroupConfig, seed: u64, clock: Clock) -> Result<Self, CorosyncError> {
        let machine = Machine::new(config.machine.clone(), seed, clock());
        let shared = Arc::new(Shared {
            machine: Mutex::new(machine),
            link: Mutex::default(),
            work: Notify::new(),
            news: Arc::default(),
            stop: AtomicBool::new(false),
        });
        let (tell, joined) = mpsc::channel();
        let worker = Worker { shared: shared.clone(), config, clock: clock.clone() };
        let spawned = std::thread::Builder::new()
            .name("corosync".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || worker.run(&tell));
        let group = Self { shared, clock: DebugClock(clock) };
        spawned.map_err(|_| CorosyncError::Library("nothing: no thread can be started"))?;
        joined.recv_timeout(JOIN_PATIENCE).unwrap_or(Err(CorosyncError::Silent))?;
        Ok(group)
    }

    /// Told when events wait.
    pub fn news(&self) -> Arc<Notify> {
        self.shared.news.clone()
    }

    /// Accepts a message for ordering.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub fn submit(&self, payload: Bytes) -> Result<(), SubmitError> {
        let submitted = lock(&self.shared.machine).submit((self.clock.0)(), payload);
        self.shared.work.notify_one();
        submitted
    }

    /// The next event, if any waits.
    pub fn poll_event(&self) -> Option<GroupEvent> {
        let mut machine = lock(&self.shared.machine);
        let held = !machine.wants_input();
        let event = machine.poll_event();
        if held && machine.wants_input() {
            self.shared.work.notify_one();
        }
        event
    }

    /// How the group is.
    pub fn status(&self) -> GroupStatus {
        let link = lock(&self.shared.link).clone();
        GroupStatus { link, machine: lock(&self.shared.machine).status() }
    }

    /// Leaves the group.
    pub fn leave(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.work.notify_one();
    }
}

impl Drop for CorosyncGroup {
    fn drop(&mut self) {
        self.leave();
    }
}

/// What callbacks leave for the thread that dispatches.
#[derive(Default)]
struct Told {
    group: Vec<GroupTold>,
    quorum: Option<(bool, (u32, u64), Vec<u32>)>,
}

enum GroupTold {
    Members(Vec<Address>),
    Ring,
    Message(Address, Bytes),
}

thread_local! {
    static TOLD: RefCell<Told> = RefCell::default();
}

fn on_message(
    _: &cpg::Handle,
    _group: String,
    node: CsNodeId,
    pid: u32,
    message: &[u8],
    _bytes: usize,
) {
    let from = Address { node: node.into(), pid };
    let message = GroupTold::Message(from, Bytes::copy_from_slice(message));
    TOLD.with_borrow_mut(|told| told.group.push(message));
}

fn on_members(
    _: &cpg::Handle,
    _group: &str,
    members: Vec<cpg::Address>,
    _left: Vec<cpg::Address>,
    _joined: Vec<cpg::Address>,
) {
    let address = |at: &cpg::Address| Address { node: at.nodeid.into(), pid: at.pid };
    let members = members.iter().map(address).collect();
    TOLD.with_borrow_mut(|told| told.group.push(GroupTold::Members(members)));
}

fn on_ring(_: &cpg::Handle, _ring: cpg::RingId, _nodes: Vec<CsNodeId>) {
    TOLD.with_borrow_mut(|told| told.group.push(GroupTold::Ring));
}

fn on_quorum(_: &quorum::Handle, quorate: bool, ring: quorum::RingId, nodes: Vec<CsNodeId>) {
    let nodes = nodes.into_iter().map(u32::from).collect();
    let ring = (ring.nodeid.into(), ring.seq);
    TOLD.with_borrow_mut(|told| told.quorum = Some((quorate, ring, nodes)));
}

/// A descriptor that the library owns.
struct Borrowed(RawFd);

impl AsRawFd for Borrowed {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

/// The library closes the descriptor when its handle is dropped; watching stops before that.
#[expect(deprecated, reason = "what replaces it is unsafe, and asks for what is kept here anyway")]
fn watch(fd: RawFd) -> std::io::Result<AsyncFd<Borrowed>> {
    AsyncFd::with_interest(Borrowed(fd), Interest::READABLE)
}

/// Corosync's own quorum, if it has a provider.
struct Quorum {
    // Before the handle, which closes it.
    fd: AsyncFd<Borrowed>,
    handle: quorum::Handle,
    has_provider: bool,
}

impl Quorum {
    fn follow() -> Option<Self> {
        let model = quorum::ModelData::ModelV1(quorum::Model1Data {
            flags: quorum::Model1Flags::None,
            quorum_notification_fn: Some(on_quorum),
            nodelist_notification_fn: None,
        });
        let (handle, kind) = quorum::initialize(&model, 0).ok()?;
        quorum::trackstart(&handle, TrackFlags::Changes).ok()?;
        let fd = watch(quorum::fd_get(&handle).ok()?).ok()?;
        Some(Self { fd, handle, has_provider: matches!(kind, quorum::QuorumType::Set) })
    }
}

struct Worker {
    shared: Arc<Shared>,
    config: GroupConfig,
    clock: Clock,
}

/// The library's errors, as an operator needs them.
fn explain(error: CsError) -> CorosyncError {
    match error {
        CsError::CsErrLibrary | CsError::CsErrTryAgain | CsError::CsErrNotExist => {
            CorosyncError::NoDaemon
        }
        CsError::CsErrAccess | CsError::CsErrSecurity => CorosyncError::NotAllowed,
        CsError::CsErrExist => CorosyncError::InUse,
        CsError::CsErrTimeout => CorosyncError::Silent,
        CsError::CsErrNoMemory | CsError::CsErrNoResources => {
            CorosyncError::Library("that memory or descriptors are short")
        }
        CsError::CsErrVersion => CorosyncError::Library("that its version does not fit"),
        CsError::CsErrNameTooLong | CsError::CsErrInvalidParam => {
            CorosyncError::Library("that the group's name is not allowed")
        }
        _ => CorosyncError::Library("that it failed"),
    }
}

/// Why a session with the daemon ended.
enum End {
    Stopped,
    Lost(CorosyncError),
}

/// A server without this thread would wait without end, in silence.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

impl Worker {
    fn run(self, joined: &mpsc::Sender<Result<(), CorosyncError>>) {
        let _guard = AbortOnPanic;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else {
            let _ = joined.send(Err(CorosyncError::Library("nothing: no descriptors are left")));
            return;
        };
        runtime.block_on(async {
            let mut first = Some(joined);
            while !self.shared.stop.load(Ordering::Acquire) {
                let result = self.join().await;
                let refused = result.as_ref().err().copied();
                if let Some(joined) = first.take() {
                    // The starter may have given up.
                    let _ = joined.send(refused.map_or(Ok(()), Err));
                    if refused.is_some() {
                        return;
                    }
                }
                let lost = match result {
                    Ok(handle) => match self.serve(&handle).await {
                        End::Stopped => return leave(&handle, &self.config.name),
                        End::Lost(error) => Some(error),
                    },
                    Err(error) => Some(error),
                };
                self.away(lost);
                tokio::select! {
                    () = tokio::time::sleep(RECONNECT) => {}
                    () = self.shared.work.notified() => {}
                }
            }
        });
    }

    fn away(&self, error: Option<CorosyncError>) {
        {
            let mut link = lock(&self.shared.link);
            if link.error != error
                && let Some(error) = error
            {
                tracing::warn!(%error, "no group for now; looking for the daemon on and on");
            }
            link.losses += u64::from(link.error.is_none());
            *link = LinkStatus { error, losses: link.losses, ..LinkStatus::default() };
        }
        TOLD.take();
        lock(&self.shared.machine).handle_away((self.clock)());
        self.shared.news.notify_one();
    }

    async fn join(&self) -> Result<cpg::Handle, CorosyncError> {
        let model = ModelData::ModelV1(Model1Data {
            flags: Model1Flags::None,
            deliver_fn: Some(on_message),
            confchg_fn: Some(on_members),
            totem_confchg_fn: Some(on_ring),
        });
        let handle = cpg::initialize(&model, 0).map_err(explain)?;
        let daemon: u32 = cpg::local_get(&handle).map_err(explain)?.into();
        let server = self.config.machine.node.0;
        if daemon != server {
            return Err(CorosyncError::OtherNode { daemon, server });
        }
        let me = Address { node: daemon, pid: std::process::id() };
        lock(&self.shared.machine).handle_joining((self.clock)(), me);
        let deadline = std::time::Instant::now() + JOIN_PATIENCE;
        loop {
            match cpg::join(&handle, &self.config.name) {
                Ok(()) => break,
                // The ring forms, or an earlier membership of this process still ends.
                Err(CsError::CsErrTryAgain) if std::time::Instant::now() < deadline => {
                    tokio::time::sleep(RECONNECT).await;
                }
                Err(error) => return Err(explain(error)),
            }
        }
        tracing::info!(group = self.config.name, node = daemon, "joined the process group");
        lock(&self.shared.link).error = None;
        Ok(handle)
    }

    /// Carries messages both ways until the daemon goes or the server stops.
    async fn serve(&self, handle: &cpg::Handle) -> End {
        let fd = match cpg::fd_get(handle) {
            Ok(fd) => watch(fd),
            Err(error) => return End::Lost(explain(error)),
        };
        let Ok(fd) = fd else { return End::Lost(CorosyncError::Silent) };
        let mut quorum = Quorum::follow();
        if quorum.as_ref().is_none_or(|quorum| !quorum.has_provider) {
            tracing::warn!(
                "Corosync has no quorum provider: Accord counts its own votes, but other programs \
                 may not; see quorum.provider in corosync.conf"
            );
        }
        let mut in_hand = None;
        loop {
            if self.shared.stop.load(Ordering::Acquire) {
                return End::Stopped;
            }
            let step = self.turn(handle, &mut in_hand);
            let wait = match step {
                Ok(wait) => wait,
                Err(error) => return End::Lost(error),
            };
            if let Some(following) = &quorum
                && !self.follow_quorum(following)
            {
                quorum = None;
            }
            let Some(wait) = wait else {
                tokio::task::yield_now().await;
                continue;
            };
            self.wait(wait, &fd, quorum.as_ref()).await;
        }
    }

    /// Takes in what the daemon says and sends what comes of it. `None`: there is more at once.
    fn turn(
        &self,
        handle: &cpg::Handle,
        in_hand: &mut Option<Bytes>,
    ) -> Result<Option<Wait>, CorosyncError> {
        let reads = lock(&self.shared.machine).wants_input();
        let mut drained = !reads;
        for _ in 0..if reads { BATCH } else { 0 } {
            match cpg::dispatch(handle, DispatchFlags::OneNonblocking) {
                Ok(()) => {}
                Err(CsError::CsErrTryAgain) => {
                    drained = true;
                    break;
                }
                Err(error) => return Err(explain(error)),
            }
        }
        let now = (self.clock)();
        let (has_events, rejoin) = {
            let mut machine = lock(&self.shared.machine);
            for told in TOLD.with_borrow_mut(|told| std::mem::take(&mut told.group)) {
                match told {
                    GroupTold::Members(members) => machine.handle_group(now, members),
                    GroupTold::Ring => machine.handle_ring(now),
                    GroupTold::Message(from, bytes) => machine.handle_message(now, from, &bytes),
                }
            }
            if drained && reads && machine.next_deadline().is_some_and(|at| at <= now) {
                machine.handle_timer(now);
            }
            (machine.has_events(), machine.wants_rejoin())
        };
        if has_events {
            self.shared.news.notify_one();
        }
        if rejoin {
            return Err(CorosyncError::Library("that this process has left the group"));
        }
        let refused = self.send(handle, in_hand)?;
        if !drained {
            return Ok(None);
        }
        Ok(Some(Wait { reads, until: self.until(refused) }))
    }

    /// Sends what is to be sent. True if the daemon wants to be asked again later.
    fn send(
        &self,
        handle: &cpg::Handle,
        in_hand: &mut Option<Bytes>,
    ) -> Result<bool, CorosyncError> {
        loop {
            let next = || lock(&self.shared.machine).poll_send((self.clock)());
            let Some(message) = in_hand.take().or_else(next) else { return Ok(false) };
            match cpg::mcast_joined(handle, Guarantee::TypeAgreed, &message) {
                Ok(()) => {}
                Err(CsError::CsErrTryAgain) => {
                    *in_hand = Some(message);
                    lock(&self.shared.link).tries_again += 1;
                    return Ok(true);
                }
                Err(error) => return Err(explain(error)),
            }
        }
    }

    fn until(&self, refused: bool) -> Option<Duration> {
        let now = (self.clock)();
        let deadline = lock(&self.shared.machine).next_deadline();
        let deadline = deadline.map(|at| at.since(now));
        match refused {
            true => Some(TRY_AGAIN),
            false => deadline,
        }
    }

    async fn wait(&self, wait: Wait, fd: &AsyncFd<Borrowed>, quorum: Option<&Quorum>) {
        let sleep = async {
            match wait.until {
                Some(span) => tokio::time::sleep(span).await,
                None => std::future::pending().await,
            }
        };
        let told = async {
            match quorum {
                Some(quorum) => quorum.fd.readable().await,
                None => std::future::pending().await,
            }
        };
        // What is ready is cleared before it is read, so nothing that comes meanwhile is missed.
        tokio::select! {
            biased;
            ready = fd.readable(), if wait.reads => {
                if let Ok(mut ready) = ready { ready.clear_ready(); }
            }
            () = self.shared.work.notified() => {}
            ready = told => if let Ok(mut ready) = ready { ready.clear_ready(); },
            () = sleep => {}
        }
    }

    /// False if there is nothing to follow any more.
    fn follow_quorum(&self, quorum: &Quorum) -> bool {
        let alive = loop {
            match quorum::dispatch(&quorum.handle, DispatchFlags::OneNonblocking) {
                Ok(()) => {}
                Err(error) => break error == CsError::CsErrTryAgain,
            }
        };
        if let Some((quorate, ring, nodes)) = TOLD.with_borrow_mut(|told| told.quorum.take()) {
            let quorate = quorum.has_provider.then_some(quorate);
            tracing::info!(ring = format!("{}.{:x}", ring.0, ring.1), ?nodes, ?quorate, "Corosync");
            let mut link = lock(&self.shared.link);
            (link.ring, link.nodes, link.quorate) = (Some(ring), nodes, quorate);
        }
        alive
    }
}

/// What to wait for.
struct Wait {
    /// Whether the daemon is heard.
    reads: bool,
    until: Option<Duration>,
}

fn leave(handle: &cpg::Handle, group: &str) {
    // The daemon may be gone.
    let _ = cpg::leave(handle, group);
}
