//! Very many sessions at once: each with an ephemeral record and a watch; then many leave at once.
//!
//! What is demanded: every session is served; what changes is told to whoever watches it; those who
//! asked for the members are told of every departure, all in the same order; the ephemeral records
//! of those who left are gone, and the others' are there.

use crate::systems::accord::{client, client_options};
use accord_net::client::{
    Client, ConnectError, Error, Event, MemberEventKind, SessionId, Watch, WatchEnd,
};
use accord_testbed::cluster::Cluster;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::task::JoinSet;

/// How long one part may take: a watch that is never notified is a broken promise.
const TIMEOUT: Duration = Duration::from_secs(300);

/// How many, and of what.
#[derive(Clone, Copy, Debug)]
pub struct SessionsOptions {
    /// Sessions at once.
    pub sessions: usize,
    /// How many of them leave at once.
    pub leaving: usize,
    /// How many of those who stay are told of every departure.
    pub observers: usize,
    /// Sessions that are being opened at a time.
    pub opening_max: usize,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct SessionsReport {
    /// How long opening all sessions took, with their records and watches.
    pub opened_in: Duration,
    /// What all servers together grew by, for each session.
    pub memory_bytes_per_session: u64,
    /// How long it took until every session had been told of a change that it watches.
    pub told_in: Duration,
    /// How long it took from the first departure until every observer had been told of all.
    pub departed_in: Duration,
}

/// What went wrong.
#[derive(Debug, Error)]
pub enum SessionsError {
    /// Not even a first session could be opened.
    #[error("the cluster does not serve: {0}")]
    NotBegun(ConnectError),
    /// There would be nothing to judge.
    #[error("{0}")]
    Options(&'static str),
    /// Something did not come about in time.
    #[error("{what}: not within {} s", TIMEOUT.as_secs())]
    Late {
        /// What was waited for.
        what: &'static str,
    },
    /// A session could not be opened.
    #[error("a session could not be opened: {0}")]
    Connect(#[from] ConnectError),
    /// An operation was not done.
    #[error("an operation was not done: {0}")]
    Operation(#[from] Error),
    /// A watch ended.
    #[error("a watch ended: {0}")]
    Watch(#[from] WatchEnd),
    /// A promise was broken.
    #[error("{0}")]
    Broken(String),
}

struct Session {
    client: Client,
    watch: Watch,
}

/// Runs it. `tell` is told how it goes.
///
/// # Errors
/// [`SessionsError`].
pub async fn run(
    cluster: &mut Cluster,
    options: SessionsOptions,
    mut tell: impl FnMut(&str),
) -> Result<SessionsReport, SessionsError> {
    options.check()?;
    let control = client(cluster).await.map_err(SessionsError::NotBegun)?;
    let before = memory(cluster);
    let start = Instant::now();
    let mut sessions = open_all(cluster, options).await?;
    let opened_in = start.elapsed();
    tell(&format!("{} sessions opened in {} ms", sessions.len(), opened_in.as_millis()));
    let grown = memory(cluster).saturating_sub(before);
    let memory_bytes_per_session = grown / sessions.len() as u64;
    let told_in = in_time("telling all", everybody_is_told(&control, &mut sessions)).await?;
    tell(&format!("every watch told in {} ms", told_in.as_millis()));
    let departed_in = in_time("departures", depart(&control, sessions, options)).await?;
    tell(&format!("{} departures told in {} ms", options.leaving, departed_in.as_millis()));
    Ok(SessionsReport { opened_in, memory_bytes_per_session, told_in, departed_in })
}

impl SessionsOptions {
    /// Sees that there will be something to judge.
    ///
    /// # Errors
    /// [`SessionsError::Options`].
    pub fn check(self) -> Result<(), SessionsError> {
        let wrong = SessionsError::Options;
        match self {
            Self { leaving: 0, .. } => Err(wrong("leaving: at least 1, or no departure is judged")),
            Self { observers: 0, .. } => Err(wrong("observers: at least 1, or nobody is told")),
            Self { opening_max: 0, .. } => Err(wrong("opening_max: at least 1")),
            Self { sessions, leaving, observers, .. }
                if sessions.saturating_sub(leaving) < observers =>
            {
                Err(wrong("sessions: at least as many as leave and observe together"))
            }
            Self { .. } => Ok(()),
        }
    }
}

/// Waits for what is promised, but not without end.
async fn in_time<T>(
    what: &'static str,
    promised: impl Future<Output = Result<T, SessionsError>>,
) -> Result<T, SessionsError> {
    let ended = tokio::time::timeout(TIMEOUT, promised).await;
    ended.unwrap_or(Err(SessionsError::Late { what }))
}

fn memory(cluster: &mut Cluster) -> u64 {
    (0..cluster.len())
        .filter_map(|at| cluster.process(at).and_then(|process| process.memory_bytes()))
        .sum()
}

async fn open_all(
    cluster: &Cluster,
    options: SessionsOptions,
) -> Result<Vec<Session>, SessionsError> {
    let mut opening = JoinSet::new();
    let mut sessions = Vec::new();
    for at in 0..options.sessions {
        if opening.len() >= options.opening_max {
            sessions.extend(opening.join_next().await.map(joined).transpose()?);
        }
        let mut client = client_options(cluster, at);
        client.session_timeout = Duration::from_secs(60);
        client.request_timeout = Duration::from_secs(120);
        client.connect_timeout = Duration::from_secs(120);
        opening.spawn(async move {
            let client = Client::connect(client).await?;
            let key = ephemeral(client.session());
            client.create_ephemeral(&key, "here").await?;
            let watch = client.watch_key(format!("told/{at}")).await?;
            Ok::<_, SessionsError>(Session { client, watch })
        });
    }
    while let Some(opened) = opening.join_next().await {
        sessions.push(joined(opened)?);
    }
    Ok(sessions)
}

fn joined<T>(result: Result<T, tokio::task::JoinError>) -> T {
    result.expect("a task does not panic")
}

fn ephemeral(session: SessionId) -> String {
    format!("session/{:020}", session.0)
}

async fn everybody_is_told(
    control: &Client,
    sessions: &mut [Session],
) -> Result<Duration, SessionsError> {
    let start = Instant::now();
    for at in 0..sessions.len() {
        drop(
            control
                .begin(accord_net::client::txn::Steps::new().put(format!("told/{at}"), "x"))
                .await?,
        );
    }
    for session in sessions {
        session.watch.next().await?;
    }
    Ok(start.elapsed())
}

async fn depart(
    control: &Client,
    mut sessions: Vec<Session>,
    options: SessionsOptions,
) -> Result<Duration, SessionsError> {
    let staying = sessions.split_off(options.leaving.min(sessions.len()));
    let leaving: BTreeSet<SessionId> =
        sessions.iter().map(|session| session.client.session()).collect();
    let mut watches = Vec::new();
    for session in staying.iter().take(options.observers) {
        watches.push(session.client.watch_members().await?);
    }
    let start = Instant::now();
    let mut closing = JoinSet::new();
    for session in sessions {
        closing.spawn(session.client.close());
    }
    let mut orders: Vec<Vec<SessionId>> = Vec::new();
    for mut watch in watches {
        let mut left = Vec::new();
        while left.len() < leaving.len() {
            for event in watch.next().await?.events.iter() {
                if let Event::Member(event) = event
                    && event.kind == MemberEventKind::Left
                    && leaving.contains(&event.session)
                {
                    left.push(event.session);
                }
            }
        }
        orders.push(left);
    }
    let departed_in = start.elapsed();
    if closing.join_all().await.contains(&false) {
        return Err(SessionsError::Broken("a departure was not confirmed".to_owned()));
    }
    if orders.windows(2).any(|pair| pair[0] != pair[1]) {
        let what = "two observers were told of departures in different orders";
        return Err(SessionsError::Broken(what.to_owned()));
    }
    let left = control.list("session/").keys_only().all().await?;
    let mut expected: Vec<String> =
        staying.iter().map(|session| ephemeral(session.client.session())).collect();
    expected.sort();
    if left.iter().map(|entry| &entry.key[..]).ne(expected.iter().map(String::as_bytes)) {
        let (found, expected) = (left.len(), expected.len());
        let what = format!("{found} ephemeral records are there, {expected} should be");
        return Err(SessionsError::Broken(what));
    }
    Ok(departed_in)
}
