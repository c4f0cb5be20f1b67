//! A cluster that grows server by server and shrinks again while clients work. In the middle of
//! each change a server is killed and started again. In the end the histories are judged, and the
//! servers' states are compared.
//!
//! Nobody's configuration is brought up to date: a server that comes back learns from the others
//! which servers there are now.

use crate::conclusion::Conclusion;
use crate::nemesis::{Begun, Fault, FaultError};
use crate::rounds::{Load, Report as Judgement, RoundsError, RoundsOptions, WorkloadKind, served};
use crate::systems::accord::AccordClient;
use accord_net::client::ConnectError;
use accord_net::operator::{Operator, OperatorError};
use accord_testbed::cluster::Cluster;
use accord_testbed::process::ProcessError;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use thiserror::Error;

/// How often a condition that is waited for is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long one command of the operator may take before it is given again.
const COMMAND: Duration = Duration::from_secs(5);

/// What is run.
#[derive(Clone, Debug)]
pub struct GrowOptions {
    /// The clients.
    pub load: RoundsOptions,
    /// The sizes that the cluster has one after the other.
    pub sizes: Vec<u32>,
    /// How long a server that was killed is down.
    pub down: Duration,
    /// How long one change may take.
    pub patience: Duration,
}

/// Why there was no verdict.
#[derive(Debug, Error)]
pub enum GrowError {
    /// A server could not be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A fault could not be made.
    #[error(transparent)]
    Fault(#[from] FaultError),
    /// A client could not connect.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A history could not be judged.
    #[error(transparent)]
    Rounds(#[from] RoundsError),
    /// A change did not come about.
    #[error("{what} server {server}: not within {patience:?}: {why}")]
    NotDone {
        /// Adding or removing.
        what: &'static str,
        /// Which, from 1.
        server: u32,
        /// How long was waited.
        patience: Duration,
        /// What the operator was told last.
        why: String,
    },
    /// The servers' states differ.
    #[error("the servers' states differ: {0}")]
    States(String),
    /// The servers' states could not be compared.
    #[error("the servers' states could not be compared: {0}")]
    NotCompared(String),
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// How long each change took.
    pub changes: Vec<(String, Duration)>,
    /// Why no server was killed, in changes in which that was so.
    pub missed: Vec<String>,
    /// What the clients saw.
    pub judged: Judgement,
    /// What clients were told of operations that were given up for good.
    pub errors: Vec<String>,
}

impl Report {
    /// True if the clients saw nothing that they should not, and the cluster changed.
    pub fn is_good(&self) -> bool {
        Conclusion::of_growth(self) == Conclusion::Holds
    }
}

/// How many servers there are at most, and at first.
///
/// # Errors
/// For people: why these sizes make no sense.
pub fn servers_of(sizes: &[u32]) -> Result<(usize, usize), String> {
    let first = sizes.first().copied().unwrap_or(0);
    let most = sizes.iter().copied().max().unwrap_or(0);
    if first == 0 || sizes.contains(&0) || !(2..=15).contains(&most) {
        return Err("sizes: from 1 to 15, and above 1 at some time".to_owned());
    }
    if sizes.iter().all(|size| *size == first) {
        return Err("sizes: at least two that differ, such as 1,3".to_owned());
    }
    Ok((most as usize, first as usize))
}

/// The present state of the run.
struct Run<'a> {
    cluster: &'a mut Cluster,
    options: &'a GrowOptions,
    /// How many servers there are: the first so many.
    size: u32,
    /// How many changes there were.
    turn: usize,
    /// Why no server was killed, in changes in which that was so.
    missed: Vec<String>,
    persistent: bool,
}

/// Grows and shrinks a cluster. `tell` gets each step as it happens.
///
/// # Errors
/// [`GrowError`]: without a verdict.
pub async fn run(
    cluster: &mut Cluster,
    options: &GrowOptions,
    mut tell: impl FnMut(&str),
) -> Result<Report, GrowError> {
    let loads = [
        Load::start::<AccordClient>(cluster, WorkloadKind::Register, &options.load).await?,
        Load::start::<AccordClient>(cluster, WorkloadKind::Lists, &options.load).await?,
    ];
    let persistent = cluster.is_persistent();
    let size = options.sizes[0];
    let mut run = Run { cluster, options, size, turn: 0, missed: Vec::new(), persistent };
    let mut changes = Vec::new();
    for wanted in &options.sizes[1..] {
        while run.size != *wanted {
            for load in &loads {
                load.record.take_longest_gap();
            }
            let (what, span, killed) = match run.size < *wanted {
                true => run.grow().await?,
                false => run.shrink().await?,
            };
            // Each change begins with a service for everybody, so that waits do not add up.
            let all = served(&loads, &options.load);
            if tokio::time::timeout(options.patience, all).await.is_err() {
                let (why, patience) = ("a client is not served".to_owned(), options.patience);
                return Err(GrowError::NotDone { what: "after", server: run.size, patience, why });
            }
            let gap = loads.iter().map(|load| load.record.take_longest_gap()).max();
            tell(&format!(
                "{what}: {:>5} ms, server {killed} killed meanwhile, clients waited {:>5} ms at most",
                span.as_millis(),
                gap.unwrap_or_default().as_millis(),
            ));
            changes.push((what, span));
        }
    }
    let (mut judged, mut errors, mut sessions_lost) = (Vec::new(), Vec::new(), 0);
    for load in loads {
        let record = load.record.clone();
        judged.push(load.finish().await?);
        sessions_lost += record.sessions_lost();
        errors.extend(record.errors());
    }
    judged.iter().for_each(|judged| tell(&judged.summary()));
    tell(&run.compare().await?);
    tell(&format!("client errors: {}, sessions lost: {sessions_lost}", errors.len()));
    errors.iter().take(5).for_each(|error| tell(&format!("  {error}")));
    let missed = run.missed;
    let (outages, faults) = (Vec::new(), Vec::new());
    let judged = Judgement { outages, missed: faults, judged, sessions_lost };
    Ok(Report { changes, missed, judged, errors })
}

impl Run<'_> {
    fn admin(&self) -> Operator {
        let up = self.cluster.addresses().into_iter().take(self.size as usize);
        Operator::new(up.collect(), COMMAND)
    }

    /// Which server is killed in the middle of a change: each in turn that the cluster can lose.
    fn victim(&mut self, changing: u32) -> usize {
        self.turn += 1;
        // In memory mode, a voter that dies has forgotten: of two, none may.
        let voters = if changing > self.size { self.size } else { self.size - 1 };
        if !self.persistent && voters < 3 {
            return changing as usize - 1;
        }
        (self.turn + self.turn / 2) % self.size as usize
    }

    async fn grow(&mut self) -> Result<(String, Duration, usize), GrowError> {
        let node = self.size + 1;
        let what = format!("{} to {node}", self.size);
        let victim = self.victim(node);
        let start = Instant::now();
        self.cluster.restart(node as usize - 1)?;
        let (admin, at) = (self.admin(), self.cluster.peer_address(node as usize - 1));
        let change = tokio::spawn(insist("adding", node, self.options.patience, async move || {
            admin.add_server(node, at).await?;
            admin.promote(node).await
        }));
        self.disturb(victim).await?;
        change.await.expect("it does not panic")?;
        self.size = node;
        self.until_whole("adding", node).await?;
        Ok((what, start.elapsed(), victim + 1))
    }

    async fn shrink(&mut self) -> Result<(String, Duration, usize), GrowError> {
        let node = self.size;
        let what = format!("{node} to {}", node - 1);
        let victim = self.victim(node);
        let start = Instant::now();
        let admin = self.admin();
        let change =
            tokio::spawn(insist("removing", node, self.options.patience, async move || {
                admin.remove_server(node).await
            }));
        self.disturb(victim).await?;
        change.await.expect("it does not panic")?;
        self.size = node - 1;
        self.until_whole("removing", node).await?;
        self.cluster.stop(node as usize - 1);
        Ok((what, start.elapsed(), victim + 1))
    }

    /// Kills a server, and starts it again.
    async fn disturb(&mut self, victim: usize) -> Result<(), GrowError> {
        // Once the change has begun, more or less.
        tokio::time::sleep(POLL_INTERVAL * (self.turn as u32 % 4)).await;
        if let Begun::Skipped(why) = Fault::Kill.begin(self.cluster, victim)? {
            self.missed.push(why);
        }
        tokio::time::sleep(self.options.down).await;
        Ok(self.cluster.restart(victim)?)
    }

    /// Waits until exactly the servers that there should be vote, are connected and up to date.
    async fn until_whole(&self, what: &'static str, server: u32) -> Result<(), GrowError> {
        let patience = self.options.patience;
        let deadline = Instant::now() + patience;
        let wanted: BTreeSet<u32> = (1..=self.size).collect();
        loop {
            let why = match self.admin().members().await {
                Err(error) => error.to_string(),
                Ok(members) => {
                    let there: BTreeSet<u32> = members.iter().map(|member| member.node).collect();
                    let good = members
                        .iter()
                        .all(|member| member.role == "voter" && member.connected && member.synced);
                    if good && there == wanted {
                        return Ok(());
                    }
                    format!("{members:?}")
                }
            };
            if Instant::now() > deadline {
                return Err(GrowError::NotDone { what, server, patience, why });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Compares the states of the servers that are left.
    async fn compare(&self) -> Result<String, GrowError> {
        let digests = self.admin().digests().await;
        let digests = digests.map_err(|error| GrowError::NotCompared(error.to_string()))?;
        if !digests.odd.is_empty() {
            return Err(GrowError::States(format!("{digests:?}")));
        }
        match digests.index {
            Some(index) if digests.missing.is_empty() => {
                let count = digests.digests.len();
                Ok(format!("the same state on {count} servers at index {index}"))
            }
            _ => Err(GrowError::NotCompared(format!("{digests:?}"))),
        }
    }
}

/// Gives a command of the operator until it is done: servers die meanwhile.
async fn insist<T>(
    what: &'static str,
    server: u32,
    patience: Duration,
    command: impl AsyncFn() -> Result<T, OperatorError>,
) -> Result<T, GrowError> {
    let deadline = Instant::now() + patience;
    loop {
        match command().await {
            Ok(done) => return Ok(done),
            Err(error) if Instant::now() > deadline => {
                let why = error.to_string();
                return Err(GrowError::NotDone { what, server, patience, why });
            }
            Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}
