//! Steady writers, and how long each of their writes took: for what is measured, not judged.
//!
//! A client runs a number of lanes; a lane does one write after the other. Lanes go over the keys
//! in an order of their own, so that all keys are written about equally often.

use accord_net::client::txn::Steps;
use accord_net::client::{Client, ClientOptions, ConnectError, Error};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::task::JoinSet;

/// Records written in one transaction when a store is filled.
const FILL_STEPS: u64 = 100;
/// Transactions of a filling under way.
const FILL_LANES: u64 = 16;

/// What is written, and by how many.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// Clients, each with a session and a connection.
    pub clients: usize,
    /// Writes that each has outstanding.
    pub lanes: usize,
    /// Over how many keys they are spread.
    pub keys: u64,
    /// Bytes of a value.
    pub value_bytes: usize,
}

/// Why writing came to an end.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A session could not be opened.
    #[error("a session could not be opened: {0}")]
    Connect(#[from] ConnectError),
    /// A write was not done.
    #[error("a write was not done: {0}")]
    Write(#[from] Error),
}

/// A write that was done: when it ended, counted from the start of the load, and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it ended.
    pub at: Duration,
    /// How long it took.
    pub took: Duration,
}

/// Writers at work. Dropping it ends them.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    lanes: JoinSet<Result<Vec<Sample>, LoadError>>,
}

#[derive(Debug)]
struct Shared {
    start: Instant,
    stop: AtomicBool,
    done: AtomicU64,
}

/// The key of this number.
pub fn key(number: u64) -> String {
    format!("load/{number:012}")
}

impl Load {
    /// Starts the writers; the client at `at` is set up by `client(at)`.
    ///
    /// # Errors
    /// [`LoadError`] if a session cannot be opened.
    pub async fn start(
        options: LoadOptions,
        client: impl Fn(usize) -> ClientOptions,
    ) -> Result<Self, LoadError> {
        let mut clients = Vec::new();
        for at in 0..options.clients {
            clients.push(Client::connect(client(at)).await?);
        }
        let start = Instant::now();
        let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
        let shared = Arc::new(Shared { start, stop, done });
        let mut lanes = JoinSet::new();
        for (at, client) in clients.iter().enumerate() {
            for lane in 0..options.lanes {
                let seed = (at * options.lanes + lane) as u64;
                lanes.spawn(write(client.clone(), shared.clone(), options, seed));
            }
        }
        Ok(Self { shared, lanes })
    }

    /// Writes done so far.
    pub fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// How long it has been running.
    pub fn elapsed(&self) -> Duration {
        self.shared.start.elapsed()
    }

    /// Lets a span pass and returns how many writes a second were done in it. Ends early when a
    /// writer has ended: they do so only when one fails.
    ///
    /// # Errors
    /// What the writer failed with.
    pub async fn rate(&mut self, span: Duration) -> Result<f64, LoadError> {
        let (before, from) = (self.done(), Instant::now());
        self.pass(span).await?;
        Ok((self.done() - before) as f64 / from.elapsed().as_secs_f64())
    }

    /// Lets a span pass.
    ///
    /// # Errors
    /// What a writer failed with.
    pub async fn pass(&mut self, span: Duration) -> Result<(), LoadError> {
        tokio::select! {
            () = tokio::time::sleep(span) => Ok(()),
            Some(ended) = self.lanes.join_next() => joined(ended).map(drop),
        }
    }

    /// Ends the writers and returns all that they did, in no order.
    ///
    /// # Errors
    /// What a writer failed with.
    pub async fn stop(mut self) -> Result<Vec<Sample>, LoadError> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut samples = Vec::new();
        while let Some(ended) = self.lanes.join_next().await {
            samples.append(&mut joined(ended)?);
        }
        Ok(samples)
    }
}

fn joined<T>(result: Result<T, tokio::task::JoinError>) -> T {
    result.expect("a task does not panic")
}

async fn write(
    client: Client,
    shared: Arc<Shared>,
    options: LoadOptions,
    seed: u64,
) -> Result<Vec<Sample>, LoadError> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let value = vec![b'v'; options.value_bytes];
    let mut samples = Vec::new();
    while !shared.stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        client.put(key(rng.random_range(0..options.keys)), &value[..]).await?;
        let ended = Instant::now();
        samples.push(Sample { at: ended - shared.start, took: ended - began });
        shared.done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(samples)
}

/// Writes every key once. `tell` is told how many are written.
///
/// # Errors
/// [`LoadError`].
pub async fn fill(
    client: &Client,
    options: LoadOptions,
    tell: impl Fn(u64) + Clone + Send + 'static,
) -> Result<(), LoadError> {
    let next = Arc::new(AtomicU64::new(0));
    let mut lanes = JoinSet::new();
    for _ in 0..FILL_LANES {
        let (client, next, tell) = (client.clone(), next.clone(), tell.clone());
        lanes.spawn(async move {
            let value = vec![b'v'; options.value_bytes];
            loop {
                let from = next.fetch_add(FILL_STEPS, Ordering::Relaxed);
                let until = options.keys.min(from + FILL_STEPS);
                if from >= until {
                    return Ok::<_, LoadError>(());
                }
                let put = |steps: Steps, number| steps.put(key(number), &value[..]);
                client.txn((from..until).fold(Steps::new(), put)).await?;
                tell(until - from);
            }
        });
    }
    while let Some(ended) = lanes.join_next().await {
        joined(ended)?;
    }
    Ok(())
}
