//! What a checkpoint of a large store costs those who write meanwhile.
//!
//! A store is filled, then written to at a steady pace while the servers take checkpoints. Every
//! write's time is kept. Reported are the median, the longest, and the longest of each second.

use crate::load::{Load, LoadError, LoadOptions, Sample, fill};
use crate::systems::accord::{client, client_options, status};
use accord_testbed::cluster::Cluster;
use std::time::Duration;
use thiserror::Error;

/// How often the servers are asked how far their checkpoints are.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How long the next checkpoint may take.
const TIMEOUT: Duration = Duration::from_secs(600);

/// What is done.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointsOptions {
    /// Checkpoints of the first server to wait for.
    pub checkpoints: usize,
    /// Who writes, and what.
    pub load: LoadOptions,
}

/// How long writes took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How many there were.
    pub writes: usize,
    /// The median.
    pub median: Duration,
    /// 999 of 1000 took no longer.
    pub p999: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Times {
    fn of(mut took: Vec<Duration>) -> Self {
        took.sort_unstable();
        let at = |part: usize| took.get(took.len() * part / 1000).or(took.last()).copied();
        let [median, p999, longest] = [500, 999, 1000].map(|part| at(part).unwrap_or_default());
        Self { writes: took.len(), median, p999, longest }
    }
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct CheckpointsReport {
    /// When the first server's checkpoints were complete, counted from the start of the load.
    pub completed: Vec<Duration>,
    /// All writes.
    pub all: Times,
    /// The longest write of each second.
    pub longest_by_second: Vec<Duration>,
}

/// What went wrong.
#[derive(Debug, Error)]
pub enum CheckpointsError {
    /// A client was not served.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The first server takes none.
    #[error("no checkpoint was completed within {} s", TIMEOUT.as_secs())]
    NotTaken,
}

/// Runs it. `tell` is told how it goes.
///
/// # Errors
/// [`CheckpointsError`].
pub async fn run(
    cluster: &Cluster,
    options: CheckpointsOptions,
    mut tell: impl FnMut(&str),
) -> Result<CheckpointsReport, CheckpointsError> {
    let control = client(cluster).await.map_err(LoadError::from)?;
    fill(&control, options.load, |_| {}).await?;
    tell(&format!("{} records written", options.load.keys));
    let mut load = Load::start(options.load, |at| client_options(cluster, at)).await?;
    let mut completed = Vec::new();
    let mut last = status(cluster, 0).await.map(|status| status.checkpoint_index);
    while completed.len() < options.checkpoints {
        load.pass(POLL_INTERVAL).await?;
        let now = status(cluster, 0).await.map(|status| status.checkpoint_index);
        if now.is_some() && now != last {
            last = now;
            completed.push(load.elapsed());
            let at = load.elapsed().as_millis();
            tell(&format!("a checkpoint is complete after {at} ms, {} writes", load.done()));
        }
        let since = completed.last().copied().unwrap_or_default();
        if load.elapsed().saturating_sub(since) > TIMEOUT {
            return Err(CheckpointsError::NotTaken);
        }
    }
    let samples = load.stop().await?;
    Ok(CheckpointsReport {
        completed,
        all: Times::of(samples.iter().map(|sample| sample.took).collect()),
        longest_by_second: longest_by_second(&samples),
    })
}

fn longest_by_second(samples: &[Sample]) -> Vec<Duration> {
    let mut longest = Vec::new();
    for sample in samples {
        let second = sample.at.as_secs() as usize;
        if longest.len() <= second {
            longest.resize(second + 1, Duration::ZERO);
        }
        longest[second] = longest[second].max(sample.took);
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_name_the_middle_and_the_end() {
        let millis = |ms| Duration::from_millis(ms);
        let times = Times::of((1..=2000).rev().map(millis).collect());
        let expected =
            Times { writes: 2000, median: millis(1001), p999: millis(1999), longest: millis(2000) };
        assert_eq!(times, expected);
        assert_eq!(Times::of(Vec::new()).longest, Duration::ZERO);
    }
}
