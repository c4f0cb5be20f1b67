//! A server that was away for very many writes comes back while the others serve on.
//!
//! What is measured: how long it takes until it has everything and takes part again, and how many
//! writes a second the others do meanwhile, beside what they did just before.

use crate::load::{Load, LoadError, LoadOptions, fill};
use crate::nemesis::{Begun, Fault, FaultError};
use crate::systems::accord::{client, client_options, status};
use accord_testbed::cluster::Cluster;
use accord_testbed::process::ProcessError;
use std::time::{Duration, Instant};
use thiserror::Error;

/// How long the rate before is measured for, and the rate after.
const MEASURED: Duration = Duration::from_secs(5);
/// How long the load runs before anything is measured.
const SETTLED: Duration = Duration::from_secs(1);
/// How often the server that comes back is asked how far it is.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The time while it comes back is told in slices of this length.
const SLICE: Duration = Duration::from_millis(250);
/// It is given up after this long.
const TIMEOUT: Duration = Duration::from_secs(600);

/// What is done.
#[derive(Clone, Copy, Debug)]
pub struct TransferOptions {
    /// Writes that the server misses.
    pub writes: u64,
    /// Who writes, and what.
    pub load: LoadOptions,
}

/// What was seen.
#[derive(Clone, Copy, Debug)]
pub struct TransferReport {
    /// Writes that the server missed.
    pub missed: u64,
    /// From its start until it was in the primary component with all of the log.
    pub rejoined_in: Duration,
    /// Writes a second with all servers, before it went.
    pub rate_whole: f64,
    /// Writes a second without it, just before its start.
    pub rate_before: f64,
    /// Writes a second while it fetched.
    pub rate_meanwhile: f64,
    /// Writes a second after.
    pub rate_after: f64,
}

/// What went wrong.
#[derive(Debug, Error)]
pub enum TransferError {
    /// A client was not served.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A server could not be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A server could not be killed.
    #[error(transparent)]
    Fault(#[from] FaultError),
    /// The server that was to be away did not run.
    #[error("the server that was to be away was not killed: {0}")]
    NotKilled(String),
    /// The server did not come back.
    #[error("the server has not come back within {} s", TIMEOUT.as_secs())]
    Away,
}

/// Runs it: the last server is away. `tell` is told how it goes.
///
/// # Errors
/// [`TransferError`].
pub async fn run(
    cluster: &mut Cluster,
    options: TransferOptions,
    mut tell: impl FnMut(&str),
) -> Result<TransferReport, TransferError> {
    let away = cluster.len() - 1;
    let control = client(cluster).await.map_err(LoadError::from)?;
    fill(&control, options.load, |_| {}).await?;
    tell(&format!("{} records written", options.load.keys));
    let mut load = Load::start(options.load, |at| client_options(cluster, at % away)).await?;
    load.pass(SETTLED).await?;
    let rate_whole = load.rate(MEASURED).await?;
    tell(&format!("{rate_whole:.0} writes a second with all servers"));
    if let Begun::Skipped(why) = Fault::Kill.begin(cluster, away)? {
        return Err(TransferError::NotKilled(why));
    }
    let gone = load.done();
    while load.done() - gone < options.writes {
        load.pass(POLL_INTERVAL).await?;
    }
    let rate_before = load.rate(MEASURED).await?;
    let missed = load.done() - gone;
    tell(&format!("{missed} writes missed; {rate_before:.0} writes a second without it"));
    let (start, before) = (Instant::now(), load.done());
    cluster.restart(away)?;
    let mut rates = vec![before];
    while !is_back(cluster, away).await {
        load.pass(POLL_INTERVAL).await?;
        rates.resize((start.elapsed().as_millis() / SLICE.as_millis()) as usize + 1, load.done());
        if start.elapsed() > TIMEOUT {
            return Err(TransferError::Away);
        }
    }
    let slices: Vec<u64> = rates.windows(2).map(|pair| pair[1] - pair[0]).collect();
    tell(&format!("writes in each {} ms: {slices:?}", SLICE.as_millis()));
    let rejoined_in = start.elapsed();
    let rate_meanwhile = (load.done() - before) as f64 / rejoined_in.as_secs_f64();
    tell(&format!("back in {} ms; {rate_meanwhile:.0} meanwhile", rejoined_in.as_millis()));
    let rate_after = load.rate(MEASURED).await?;
    load.stop().await?;
    Ok(TransferReport { missed, rejoined_in, rate_whole, rate_before, rate_meanwhile, rate_after })
}

async fn is_back(cluster: &Cluster, at: usize) -> bool {
    match status(cluster, at).await {
        Some(status) => status.primary && status.synced && status.returning.is_empty(),
        None => false,
    }
}
