//! The path of a persistent server's records to its disk, on threads of its own.
//!
//! Records are handed over in batches and made durable in order; all that wait share one sync. The
//! server's thread never waits for the disk: it learns what has become durable. While too much
//! waits, the [driver](super::driver) takes nothing more from the group, so a slow disk holds the
//! others back instead of filling the memory.
//!
//! [`Threads`] is the real one: a thread for the log and one for what is written behind it. A
//! simulated world brings its own.

use super::roster_file::{self, RosterFile};
use crate::operator::roster::Roster;
use crate::storage::{
    self, Directory, Inspection, OpenError, Opened, Options, RealDirectory, StorageError, Store,
    Worker,
};
use accord_core::ids::NodeId;
use accord_core::replica::io::{Record, Ticket};
use accord_core::replica::log::Recovered;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Records with their tickets, in order.
pub type Batch = Vec<(Ticket, Record)>;
/// What was made durable: everything up to the ticket.
pub type Written<'a> = Pin<Box<dyn Future<Output = Result<Ticket, StorageError>> + 'a>>;

/// Makes records durable, on threads or tasks of its own.
pub trait Journal: fmt::Debug + 'static {
    /// Takes records, to be made durable after all earlier ones.
    fn write(&self, batch: Batch);
    /// Waits until more is durable than was told before. Safe to cancel. After an error nothing
    /// follows.
    fn written(&self) -> Written<'_>;
    /// How long each write and sync took, in seconds, of those that were made since this was last
    /// asked, as far as they are measured.
    fn take_sync_seconds(&self) -> Vec<f64> {
        Vec::new()
    }
}

/// The memory that a record takes until it is durable. A checkpoint's state is written behind and
/// does not hold the group back.
pub(super) fn record_bytes(record: &Record) -> usize {
    match record {
        Record::Append(entry) => entry.cost_bytes(),
        Record::Install(snapshot) => snapshot.state.len(),
        Record::Identity { .. }
        | Record::Promise(_)
        | Record::Truncate(_)
        | Record::Checkpoint(_) => 0,
    }
}

/// A persistent server's disk, opened.
#[derive(Debug)]
pub struct Disk {
    /// Makes records durable.
    pub journal: Box<dyn Journal>,
    /// What earlier lives left. `None`: the directory is new.
    pub recovered: Option<Recovered>,
    /// Where the list of servers is kept. `None`: nowhere.
    pub roster: Option<RosterFile>,
}

/// Why a server's disk cannot be used.
#[derive(Debug, Error)]
pub enum DiskError {
    /// The directory cannot be made or entered.
    #[error("{path}: {error}: choose a directory that this user may write to (data_dir)")]
    Directory {
        /// The `data_dir` of the configuration.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// What is in it cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The list of servers cannot be read.
    #[error(
        "{path}: {error}: remove it, and the server begins with the servers of its configuration \
         and learns of later ones from the others"
    )]
    Roster {
        /// The file.
        path: String,
        /// What is wrong.
        error: std::io::Error,
    },
    /// A thread could not be started.
    #[error("a thread for the disk could not be started: {0}")]
    Thread(std::io::Error),
}

impl Disk {
    /// Opens the directory of a server, or makes it.
    ///
    /// # Errors
    /// [`DiskError`]: nothing was changed.
    pub fn open(path: &Path, node: NodeId, options: Options) -> Result<Self, DiskError> {
        let directory = enter(path)?;
        storage::refuse_foreign(&directory)?;
        let roster = read_roster(path)?;
        let bootstrap = options.bootstrap;
        let opened = Store::open(directory.clone(), node, options)?;
        tighten(&directory);
        tell_permission(bootstrap, &opened);
        let threads = Threads::start(opened.store, opened.worker).map_err(DiskError::Thread)?;
        Ok(Self { journal: Box::new(threads), recovered: opened.recovered, roster: Some(roster) })
    }

    /// What is in the directory of a server that does not run, judged as [`Self::open`] does and in
    /// the same order, and left as it is. `None`: no server has been there.
    ///
    /// # Errors
    /// [`DiskError`], as a start.
    pub fn inspect(path: &Path) -> Result<Option<(Inspection, Option<Roster>)>, DiskError> {
        let directory = enter(path)?;
        storage::refuse_foreign(&directory)?;
        let roster = read_roster(path)?;
        let found = storage::inspect(&directory)?;
        Ok(found.map(|found| (found, roster.found().cloned())))
    }
}

/// Closes what an earlier release, or a hand, left open to other users.
fn tighten(directory: &RealDirectory) {
    let tightened = directory.list().and_then(|names| {
        directory.tighten(names.iter().map(String::as_str).filter(|name| storage::is_own(name)))
    });
    let path = directory.describe(".");
    match tightened {
        Ok(false) => {}
        Ok(true) => tracing::warn!(%path, "was open to other users: now this user's alone"),
        Err(error) => tracing::warn!(%path, %error, "is open to other users, and stays so"),
    }
}

/// Says what the permission to form a cluster comes to, where that may surprise.
fn tell_permission(bootstrap: bool, opened: &Opened) {
    let Some(recovered) = &opened.recovered else { return };
    if opened.allowed {
        tracing::info!(
            "this directory was made without --bootstrap and holds nothing: from now on it may \
             form a new cluster"
        );
    } else if recovered.bootstrap {
        // As at the first start.
    } else if bootstrap {
        tracing::warn!(
            "--bootstrap has no effect: this directory has been in a cluster, or is to join one"
        );
    } else if storage::holds_nothing(recovered) {
        tracing::info!(
            "this directory was made without --bootstrap and holds nothing yet: it waits for a \
             cluster to join; to form a new one, start it with --bootstrap, once"
        );
    }
}

fn enter(path: &Path) -> Result<RealDirectory, DiskError> {
    let path_shown = || path.display().to_string();
    RealDirectory::new(path).map_err(|error| DiskError::Directory { path: path_shown(), error })
}

fn read_roster(path: &Path) -> Result<RosterFile, DiskError> {
    RosterFile::open(path).map_err(|error| {
        let path = path.join(roster_file::FILE).display().to_string();
        DiskError::Roster { path, error }
    })
}

/// A thread that writes the log, and one that works behind it. Dropping it lets them finish what
/// they have, and waits for them.
#[derive(Debug)]
pub struct Threads {
    batches: Option<Sender<Batch>>,
    written: Mutex<UnboundedReceiver<Result<Ticket, StorageError>>>,
    sync_seconds: SyncSeconds,
    threads: Vec<JoinHandle<()>>,
}

/// Durations of syncs that no scrape of the metrics has taken yet.
type SyncSeconds = Arc<std::sync::Mutex<Vec<f64>>>;
/// At most this many are kept: without scrapes, further ones are not needed.
const SYNC_SECONDS_MAX: usize = 1024;

impl Threads {
    fn start(store: Store, worker: Worker) -> std::io::Result<Self> {
        let (batches, incoming) = channel();
        let (told, written) = unbounded_channel();
        let (work, waiting) = channel();
        let sync_seconds = SyncSeconds::default();
        let measured = sync_seconds.clone();
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.to_owned()).spawn(run)
        };
        let log = spawn(
            "accord-log",
            Box::new(move || {
                write_log(store, &incoming, &told, &work, &measured);
            }),
        )?;
        let behind = spawn("accord-behind", Box::new(move || work_behind(worker, &waiting)))?;
        Ok(Self {
            batches: Some(batches),
            written: Mutex::new(written),
            sync_seconds,
            threads: vec![log, behind],
        })
    }
}

impl Journal for Threads {
    fn write(&self, batch: Batch) {
        if let Some(batches) = &self.batches {
            // If the thread has ended, it has told why.
            let _ = batches.send(batch);
        }
    }

    fn written(&self) -> Written<'_> {
        Box::pin(async {
            match self.written.lock().await.recv().await {
                Some(result) => result,
                // It was told before, or the journal is being dropped.
                None => std::future::pending().await,
            }
        })
    }

    fn take_sync_seconds(&self) -> Vec<f64> {
        std::mem::take(&mut locked(&self.sync_seconds))
    }
}

fn locked(seconds: &SyncSeconds) -> std::sync::MutexGuard<'_, Vec<f64>> {
    seconds.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.batches = None;
        for thread in self.threads.drain(..) {
            // A panic there was a panic already.
            let _ = thread.join();
        }
    }
}

/// Writes batches until the sending end is closed.
fn write_log(
    mut store: Store,
    incoming: &Receiver<Batch>,
    told: &UnboundedSender<Result<Ticket, StorageError>>,
    work: &Sender<()>,
    measured: &SyncSeconds,
) {
    let mut records = Vec::new();
    while let Ok(batch) = incoming.recv() {
        let mut last = Ticket(0);
        // All that wait by now share one sync.
        for (ticket, record) in std::iter::once(batch).chain(incoming.try_iter()).flatten() {
            last = ticket;
            records.push(record);
        }
        let begun = Instant::now();
        let result = store.commit(&records).map(|()| last);
        records.clear();
        let mut seconds = locked(measured);
        if seconds.len() < SYNC_SECONDS_MAX {
            seconds.push(begun.elapsed().as_secs_f64());
        }
        drop(seconds);
        let failed = result.is_err();
        // The receiver may be gone with the server.
        let _ = told.send(result);
        if failed {
            return;
        }
        if store.has_work() {
            let _ = work.send(());
        }
    }
}

/// Works behind the log until it ends. What it fails at, the next commit tells.
fn work_behind(mut worker: Worker, waiting: &Receiver<()>) {
    while waiting.recv().is_ok() {
        if let Err(error) = worker.run() {
            tracing::error!(%error, "the disk failed behind the log");
            return;
        }
    }
}
