//! Rounds of faults under load, and the verdict over what the clients saw.
//!
//! In each round one server fails in one way for a while, then recovers; servers and faults take
//! turns, so that every server fails in every way. A round is over when every client was served
//! after the fault ended. In the end the clients stop and their histories are judged.

use crate::conclusion::Conclusion;
use crate::nemesis::{Begun, Fault, FaultError};
use crate::systems::accord::AccordClient;
use crate::systems::{Persistent, Session};
use crate::workload::{self, Record};
use accord_models::{History, Model, Options, Outcome, Verdict, check};
use accord_testbed::cluster::Cluster;
use accord_testbed::process::ProcessError;
use accord_workloads::Seeded;
use accord_workloads::lists::{Lists, Transactions};
use accord_workloads::register::{self, Register, Registers};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::task::JoinSet;

/// How often a condition that is waited for is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// What is run.
#[derive(Clone, Debug)]
pub struct RoundsOptions {
    /// How often a server fails.
    pub rounds: usize,
    /// In which ways, in turns.
    pub faults: Vec<Fault>,
    /// Clients of each workload.
    pub clients: u64,
    /// Operations that each client has outstanding.
    pub lanes: u64,
    /// How long a fault lasts.
    pub fault_span: Duration,
    /// How long clients work undisturbed between two faults, at least.
    pub calm_span: Duration,
    /// The sessions' timeout. A client gives up a silent server after two thirds of it.
    pub session_timeout: Duration,
    /// How long a client may wait before the service counts as gone.
    pub patience: Duration,
    /// Decides what clients do.
    pub seed: u64,
}

impl Default for RoundsOptions {
    fn default() -> Self {
        Self {
            rounds: 6,
            faults: vec![Fault::Kill, Fault::Pause],
            clients: 8,
            lanes: 4,
            fault_span: Duration::from_millis(1500),
            calm_span: Duration::from_millis(500),
            session_timeout: Duration::from_secs(10),
            patience: Duration::from_secs(20),
            seed: 1,
        }
    }
}

/// Why the rounds did not come to a verdict.
#[derive(Debug, Error)]
pub enum RoundsError {
    /// A server could not be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A client could not connect.
    #[error("a client could not connect: {0}")]
    Connect(String),
    /// Not everything could be read in the end, when nothing was broken any more.
    #[error("the reads in the end were not answered within {patience:?}")]
    NotRead {
        /// How long was waited.
        patience: Duration,
    },
    /// The service did not come back.
    #[error("round {round}: no service within {patience:?} after {fault} of server {server}")]
    NoService {
        /// Which round, from 1.
        round: usize,
        /// The fault before.
        fault: Fault,
        /// Whose, from 1.
        server: usize,
        /// How long was waited.
        patience: Duration,
    },
    /// A fault could not be made.
    #[error("round {round}: {fault} of server {server}: {error}")]
    Fault {
        /// Which round, from 1.
        round: usize,
        /// The fault.
        fault: Fault,
        /// Whose, from 1.
        server: usize,
        /// Why not.
        error: FaultError,
    },
    /// A history is malformed, which is a fault of the workload.
    #[error("a history cannot be judged: {0}")]
    History(String),
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// How long clients waited at most, by round.
    pub outages: Vec<(Fault, usize, Duration)>,
    /// Faults that were skipped: they count as no round.
    pub missed: Vec<Missed>,
    /// What each workload's clients saw.
    pub judged: Vec<Judged>,
    /// Sessions that were lost.
    pub sessions_lost: u64,
}

/// A fault that hit nothing, or did not last.
#[derive(Clone, Debug)]
pub struct Missed {
    /// The fault.
    pub fault: Fault,
    /// Of which server, from 0.
    pub server: usize,
    /// Why.
    pub why: String,
}

/// A history and what its checker says.
#[derive(Debug)]
pub struct Judged {
    /// The model.
    pub model: Model,
    /// The history.
    pub history: History,
    /// The verdict.
    pub verdict: Verdict,
}

impl Judged {
    /// What was done, and what the checker says, for people.
    pub fn summary(&self) -> String {
        let count = |outcome| self.history.count(outcome);
        format!(
            "{:<12} {} operations: {} ok, {} failed, {} unknown: {}",
            self.model.name(),
            self.history.operations().len(),
            count(Outcome::Ok),
            count(Outcome::Fail),
            count(Outcome::Info),
            match &self.verdict {
                Verdict::Valid if count(Outcome::Ok) == 0 =>
                    "not judged: nothing was done".to_owned(),
                Verdict::Valid => "valid".to_owned(),
                Verdict::Undecided { why } => format!("undecided: {why}"),
                Verdict::Invalid(explanation) => {
                    format!("INVALID\n{}", explanation.display(&self.history))
                }
            }
        )
    }
}

impl Report {
    /// True if every history is one that its model allows, and something was done in each.
    pub fn is_valid(&self) -> bool {
        Conclusion::of_histories(&self.judged) == Conclusion::Holds
    }

    /// The longest waits of any client in the rounds of a kind of fault, ascending.
    pub fn waits_of(&self, fault: Fault) -> Vec<Duration> {
        let of_kind = self.outages.iter().filter(|(kind, _, _)| *kind == fault);
        let mut waits: Vec<Duration> = of_kind.map(|(_, _, wait)| *wait).collect();
        waits.sort_unstable();
        waits
    }

    /// The shortest, middle and longest of them.
    pub fn outages_of(&self, fault: Fault) -> Option<(Duration, Duration, Duration)> {
        let waits = self.waits_of(fault);
        Some((*waits.first()?, waits[waits.len() / 2], *waits.last()?))
    }

    /// Writes the histories into a directory, in Jepsen's form.
    ///
    /// # Errors
    /// As the system says.
    pub fn write_histories(&self, dir: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(dir)?;
        for judged in &self.judged {
            let path = dir.join(format!("{}.edn", judged.model.name()));
            std::fs::write(path, judged.history.to_string())?;
        }
        Ok(())
    }
}

/// A workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkloadKind {
    /// Registers with compare-and-set.
    Register,
    /// Transactions over lists.
    Lists,
}

impl WorkloadKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Register, Self::Lists];

    /// What its history is judged by.
    pub const fn model(self) -> Model {
        match self {
            Self::Register => Model::CasRegister,
            Self::Lists => Model::ListAppend,
        }
    }
}

/// Registers, or lists, in use at a time.
const WIDTH: u64 = 5;
/// Operations on one register before clients move on: what a checker decides fast.
const OPERATIONS_MAX: u64 = 400;

/// A workload that runs.
pub(crate) struct Load {
    model: Model,
    pub(crate) record: Arc<Record>,
    tasks: JoinSet<()>,
    /// The reads in the end.
    conclude: Pin<Box<dyn Future<Output = ()> + Send>>,
    patience: Duration,
}

impl Load {
    pub(crate) async fn start<S: Session + Register + Lists>(
        cluster: &Cluster,
        kind: WorkloadKind,
        options: &RoundsOptions,
    ) -> Result<Self, RoundsError> {
        let record = Record::new();
        let mut tasks = JoinSet::new();
        let few = register::Options { keys: WIDTH, operations_max: Some(OPERATIONS_MAX) };
        let registers = Arc::new(Mutex::new(Registers::new(few)));
        let lists = Arc::new(Mutex::new(Transactions::new(WIDTH)));
        let mut first = None;
        for client in 0..options.clients {
            let target = S::target(cluster, client as usize, options.session_timeout);
            let session = Persistent::<S>::open(target).await.map_err(RoundsError::Connect)?;
            let session = Arc::new(session);
            first.get_or_insert_with(|| session.clone());
            for lane in 0..options.lanes {
                let stream = options.seed ^ (client << 32) ^ (lane << 16) ^ kind as u64;
                let (draw, record) = (Seeded::new(stream), record.clone());
                let (session, registers, lists) =
                    (session.clone(), registers.clone(), lists.clone());
                match kind {
                    WorkloadKind::Register => tasks
                        .spawn(workload::register::lane(registers, record, client, session, draw)),
                    WorkloadKind::Lists => {
                        tasks.spawn(workload::lists::lane(lists, record, client, session, draw))
                    }
                };
            }
        }
        let session = first.ok_or_else(|| RoundsError::Connect("there are no clients".into()))?;
        let conclude: Pin<Box<dyn Future<Output = ()> + Send>> = match kind {
            WorkloadKind::Register => {
                Box::pin(workload::register::conclude(registers, record.clone(), 0, session))
            }
            WorkloadKind::Lists => {
                Box::pin(workload::lists::conclude(lists, record.clone(), 0, session))
            }
        };
        let (model, patience) = (kind.model(), options.patience);
        Ok(Self { model, record, tasks, conclude, patience })
    }

    /// Lets the clients stop, reads everything once more, and judges.
    pub(crate) async fn finish(self) -> Result<Judged, RoundsError> {
        self.record.stop();
        self.tasks.join_all().await;
        let patience = self.patience;
        let read = tokio::time::timeout(patience, self.conclude).await;
        read.map_err(|_| RoundsError::NotRead { patience })?;
        let history = self.record.history();
        let verdict = check(&history, self.model, &options_for(&history))
            .map_err(|error| RoundsError::History(error.to_string()))?;
        Ok(Judged { model: self.model, history, verdict })
    }
}

/// How to check a history that may be long: real time alone orders each operation behind about as
/// many others as there are lanes, and the checker counts each of those pairs as a step.
fn options_for(history: &History) -> Options {
    const STEPS_PER_OPERATION: u64 = 100;
    let mut options = Options::default();
    let steps = STEPS_PER_OPERATION.saturating_mul(history.operations().len() as u64);
    options.budget.steps_max = options.budget.steps_max.max(steps);
    options
}

/// Runs the rounds on a cluster of Accord. `tell` gets each step as it happens.
///
/// # Errors
/// [`RoundsError`]: without a verdict.
pub async fn run(
    cluster: &mut Cluster,
    options: &RoundsOptions,
    tell: impl FnMut(&str),
) -> Result<Report, RoundsError> {
    run_on::<AccordClient>(cluster, options, tell).await
}

/// Runs the rounds on a cluster of any system, by its clients.
///
/// # Errors
/// [`RoundsError`]: without a verdict.
pub async fn run_on<S: Session + Register + Lists>(
    cluster: &mut Cluster,
    options: &RoundsOptions,
    mut tell: impl FnMut(&str),
) -> Result<Report, RoundsError> {
    let mut loads = Vec::new();
    for kind in WorkloadKind::ALL {
        loads.push(Load::start::<S>(cluster, kind, options).await?);
    }
    let (mut outages, mut missed) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        let server = round % cluster.len();
        let fault = options.faults[round / cluster.len() % options.faults.len()];
        let outage = one_round(cluster, options, &loads, round, fault, server).await?;
        let outage = match outage {
            Ok(outage) => outage,
            Err(why) => {
                let (round, place) = (round + 1, server + 1);
                tell(&format!("round {round:>3}: {fault} of server {place}: skipped: {why}"));
                missed.push(Missed { fault, server, why });
                continue;
            }
        };
        tell(&format!(
            "round {:>3}: {fault:<12} of server {}: clients waited {:>5} ms at most",
            round + 1,
            server + 1,
            outage.as_millis()
        ));
        outages.push((fault, server, outage));
    }
    let mut judged = Vec::new();
    let mut sessions_lost = 0;
    for load in loads {
        sessions_lost += load.record.sessions_lost();
        judged.push(load.finish().await?);
    }
    judged.iter().for_each(|judged| tell(&judged.summary()));
    Ok(Report { outages, missed, judged, sessions_lost })
}

/// Drives a cluster for a while without faults, and judges what its clients saw.
///
/// # Errors
/// [`RoundsError`]: without a verdict.
pub async fn calm<S: Session + Register + Lists>(
    cluster: &Cluster,
    options: &RoundsOptions,
    span: Duration,
) -> Result<Vec<Judged>, RoundsError> {
    let mut judged = Vec::new();
    for kind in WorkloadKind::ALL {
        let load = Load::start::<S>(cluster, kind, options).await?;
        tokio::time::sleep(span).await;
        judged.push(load.finish().await?);
    }
    Ok(judged)
}

/// One fault, and the longest wait of any client; or why the fault was skipped.
async fn one_round(
    cluster: &mut Cluster,
    options: &RoundsOptions,
    loads: &[Load],
    round: usize,
    fault: Fault,
    server: usize,
) -> Result<Result<Duration, String>, RoundsError> {
    let gone = |_| {
        let (round, server, patience) = (round + 1, server + 1, options.patience);
        RoundsError::NoService { round, fault, server, patience }
    };
    let ready = async {
        // A server without its memory is not whole until the others have let it vote again.
        while !is_ready(cluster).await {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        served(loads, options).await;
    };
    tokio::time::timeout(options.patience, ready).await.map_err(gone)?;
    for load in loads {
        load.record.take_longest_gap();
        load.record.note(fault.name(), server);
    }
    let begun = fault.begin(cluster, server).map_err(|error| RoundsError::Fault {
        round: round + 1,
        fault,
        server: server + 1,
        error,
    })?;
    tokio::time::sleep(options.fault_span).await;
    let held = match begun {
        Begun::Installed => fault.holds(cluster, server),
        skipped @ Begun::Skipped(_) => skipped,
    };
    let during = loads.iter().map(|load| load.record.take_longest_gap()).max();
    fault.end(cluster, server)?;
    loads.iter().for_each(|load| load.record.note("recover", server));
    tokio::time::sleep(options.calm_span).await;
    let again = served(loads, options);
    tokio::time::timeout(options.patience, again).await.map_err(gone)?;
    let after = loads.iter().map(|load| load.record.take_longest_gap()).max();
    Ok(match held {
        Begun::Installed => Ok(during.max(after).unwrap_or_default()),
        Begun::Skipped(why) => Err(why),
    })
}

/// True if all servers serve, with all the redundancy that they can have. Asking them takes as long
/// as they like, so it is done on a thread of its own.
pub async fn is_ready(cluster: &Cluster) -> bool {
    tokio::task::spawn_blocking(cluster.readiness()).await.unwrap_or(false)
}

/// Waits until every client of every workload has had something done.
pub(crate) async fn served(loads: &[Load], options: &RoundsOptions) {
    let (start, clients) = (Instant::now(), options.clients as usize);
    while loads.iter().any(|load| load.record.clients_served_since(start) < clients) {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
