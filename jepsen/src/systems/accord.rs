//! Accord, as workloads have it, through its client library.
//!
//! Some reads go through the order as steps of a transaction, some beside it as linearizable
//! queries. A list is a record to which elements of a fixed width are appended; a list step also
//! reads what does not exist.

use super::Session;
use accord_core::state::{Flags, ListQuery, Range, Step, StepResult};
use accord_net::client::txn::{Steps, Txn, exists, value};
use accord_net::client::{
    Cause, Client, ClientOptions, ConnectError, Done, Error, Failure, IntoBytes,
};
use accord_net::env::real::Real;
use accord_net::operator::{OperatorClient, StatusReport};
use accord_testbed::cluster::Cluster;
use accord_workloads::Outcome;
use accord_workloads::lists::{Lists, Part};
use accord_workloads::register::{ReadPath, Register};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The width of an element, in bytes.
const ELEMENT_BYTES: usize = 9;

/// How long a client may take until it is connected.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How a server is, if it answers.
pub async fn status(cluster: &Cluster, at: usize) -> Option<StatusReport> {
    let address = cluster.addresses()[at];
    OperatorClient::connect(&Real, address).await.ok()?.status().await.ok()
}

/// How a client of a cluster is set up, that prefers the server at `at`.
pub fn client_options(cluster: &Cluster, at: usize) -> ClientOptions {
    let mut servers = cluster.addresses();
    let count = servers.len();
    servers.rotate_left(at % count);
    let mut options = ClientOptions::new(servers);
    options.connect_timeout = CONNECT_TIMEOUT;
    options
}

/// A client of the whole cluster.
///
/// # Errors
/// [`ConnectError`].
pub async fn client(cluster: &Cluster) -> Result<Client, ConnectError> {
    Client::connect(client_options(cluster, 0)).await
}

/// A session of Accord.
#[derive(Debug)]
pub struct AccordClient {
    client: Client,
    over: AtomicBool,
}

/// True if nothing more can be done in the session.
const fn ends_session(error: &Error) -> bool {
    matches!(
        error,
        Error::Unknown(Cause::SessionLost)
            | Error::Failed(Failure::Ended | Failure::Cause(Cause::SessionLost))
    )
}

impl AccordClient {
    /// What the client library says. A session that ended is noted.
    fn outcome<A>(&self, result: Result<A, Error>) -> Outcome<A> {
        match result {
            Ok(answer) => Outcome::Done(answer),
            Err(error) => {
                self.over.fetch_or(ends_session(&error), Ordering::Relaxed);
                match &error {
                    Error::Failed(_) => Outcome::Failed(error.to_string()),
                    Error::Unknown(_) => Outcome::Unknown(error.to_string()),
                }
            }
        }
    }

    async fn try_read(&self, key: u64, path: ReadPath) -> Result<Option<i64>, Error> {
        let name = register(key);
        let found = match path {
            ReadPath::Ordered => {
                let read = Txn::when(exists(name.clone())).then(Steps::new().get(name));
                self.client.txn(read).await?.value(0).cloned()
            }
            ReadPath::Linearizable | ReadPath::Local => {
                self.client.get(name).await?.map(|record| record.value)
            }
        };
        found.map(|bytes| number(&bytes)).transpose()
    }

    async fn try_cas(&self, key: u64, from: i64, to: i64) -> Result<bool, Error> {
        let set = Steps::new().put(register(key), to.to_string());
        let guard = value(register(key)).equals(from.to_string());
        Ok(self.client.txn(Txn::when(guard).then(set)).await?.held())
    }

    async fn try_transact(&self, parts: &[Part]) -> Result<Vec<Option<Vec<i64>>>, Error> {
        let done = self.client.txn(parts.iter().fold(Steps::new(), add)).await?;
        answers(parts, &done).ok_or(Error::Failed(Failure::Unexpected))
    }
}

fn register(key: u64) -> String {
    format!("register/{key}")
}

fn list(key: u64) -> String {
    format!("list/{key:08}")
}

fn number(value: &[u8]) -> Result<i64, Error> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok()).ok_or(Error::Failed(Failure::Unexpected))
}

fn add(steps: Steps, part: &Part) -> Steps {
    match part {
        Part::Append { key, element } => {
            let flags = Flags::CREATE | Flags::APPEND;
            steps.write(list(*key), format!("{element:0ELEMENT_BYTES$}"), 0, flags)
        }
        Part::Read { key } => {
            let (from, until) = (list(*key).into_bytes(), Some(list(*key + 1).into_bytes()));
            let (from, until) = (IntoBytes::into_bytes(from), until.map(IntoBytes::into_bytes));
            let range = Range::Span { from, until };
            steps.step(Step::List(ListQuery { range, after: None, limit: 1, keys_only: false }))
        }
    }
}

fn answers(parts: &[Part], done: &Done) -> Option<Vec<Option<Vec<i64>>>> {
    let mut answers = Vec::new();
    for (part, result) in parts.iter().zip(done.results.iter()) {
        answers.push(match (part, result) {
            (Part::Append { .. }, StepResult::Written { .. }) => None,
            (Part::Read { .. }, StepResult::Listed(page)) => Some(match page.entries.first() {
                None => Vec::new(),
                Some(entry) => elements(entry.value.as_ref()?)?,
            }),
            _ => return None,
        });
    }
    (answers.len() == parts.len()).then_some(answers)
}

fn elements(value: &[u8]) -> Option<Vec<i64>> {
    let chunks = value.chunks(ELEMENT_BYTES);
    chunks
        .map(|chunk| {
            let digits = std::str::from_utf8(chunk).ok()?;
            if chunk.len() == ELEMENT_BYTES { digits.parse().ok() } else { None }
        })
        .collect()
}

impl Session for AccordClient {
    type Target = ClientOptions;

    fn target(cluster: &Cluster, client: usize, session_timeout: Duration) -> ClientOptions {
        ClientOptions { session_timeout, ..client_options(cluster, client) }
    }

    async fn open(target: &ClientOptions, _attempt: usize) -> Result<Self, String> {
        let client = Client::connect(target.clone()).await.map_err(|error| error.to_string())?;
        Ok(Self { client, over: AtomicBool::new(false) })
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

impl Register for AccordClient {
    async fn read(&self, key: u64, path: ReadPath) -> Outcome<Option<i64>> {
        self.outcome(self.try_read(key, path).await)
    }

    async fn write(&self, key: u64, to: i64) -> Outcome<()> {
        self.outcome(self.client.put(register(key), to.to_string()).await.map(drop))
    }

    async fn cas(&self, key: u64, from: i64, to: i64) -> Outcome<bool> {
        self.outcome(self.try_cas(key, from, to).await)
    }
}

impl Lists for AccordClient {
    async fn transact(&self, parts: &[Part]) -> Outcome<Vec<Option<Vec<i64>>>> {
        self.outcome(self.try_transact(parts).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_into_its_elements_and_nothing_else() {
        assert_eq!(elements(b""), Some(vec![]));
        assert_eq!(elements(b"000000001000000042"), Some(vec![1, 42]));
        assert_eq!(elements(b"00000000100000004"), None);
        assert_eq!(elements(b"00000001x"), None);
    }

    #[test]
    fn only_the_end_of_a_session_ends_it() {
        for (error, ends) in [
            (Error::Unknown(Cause::SessionLost), true),
            (Error::Failed(Failure::Ended), true),
            (Error::Failed(Failure::Cause(Cause::SessionLost)), true),
            (Error::Failed(Failure::Unexpected), false),
        ] {
            assert_eq!(ends_session(&error), ends, "{error}");
        }
    }
}
