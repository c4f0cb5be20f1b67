//! How a call can end: done, failed, or unknown.

use accord_core::client::{Cause, ClientError};
use accord_core::protocol::Refusal;
use accord_core::state::StepError;
use thiserror::Error;

/// Why a call was not done.
///
/// The two arms are what matters to a caller: after [`Error::Failed`] nothing has happened and
/// nothing will; after [`Error::Unknown`] it may have happened once, or may still. A call that is
/// not answered within [`super::ClientOptions::request_timeout`] is given up: as failed if it was
/// never sent, as unknown if it was.
///
/// ```
/// use accord_net::client::{Cause, Client, Duration, Error, Failure};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut cluster = accord_net::embedded::Cluster::start(1)?;
/// # let mut options = cluster.client_options();
/// options.request_timeout = Duration::from_millis(300);
/// let client = Client::connect(options).await?;
/// client.create("once", "1").await?;
/// assert!(client.create("once", "2").await.unwrap_err().is_exists());
///
/// cluster.kill(1);
/// match client.put("late", "?").await {
///     Ok(done) => println!("done at revision {}", done.revision),
///     Err(Error::Failed(Failure::Cause(Cause::Timeout))) => println!("it never left: try later"),
///     Err(Error::Failed(why)) => println!("it was not done: {why}"),
///     Err(Error::Unknown(why)) => println!("look before you do it again: {why}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// It was not done, and will not be.
    #[error("failed: {0}")]
    Failed(Failure),
    /// It may have been done, or may still be, once or not at all.
    #[error("unknown whether it was done: {0}")]
    Unknown(Cause),
}

/// Why a call was not done, and will not be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// The transaction was aborted by one of its steps.
    #[error("step {step}: {error}")]
    Aborted {
        /// The first step that failed, from 0.
        step: u32,
        /// Why that step failed.
        error: StepError,
    },
    /// Time, session, server or cluster: see the cause.
    #[error("{0}")]
    Cause(Cause),
    /// The call itself was not taken.
    #[error("{0}")]
    Call(ClientError),
    /// A watch was refused.
    #[error("{0}")]
    Watch(Refusal),
    /// The client has ended: it was closed, or its session is lost.
    #[error("the client has ended")]
    Ended,
    /// No server answered a reader in time.
    #[error("no server answered within {timeout_ms} ms{}", listed(.reasons))]
    Unreachable {
        /// How long was tried.
        timeout_ms: u64,
        /// What went wrong last at each server.
        reasons: Vec<String>,
    },
    /// A result that is of another kind than was asked for: the server is of another release, or
    /// broken.
    #[error("the server's answer does not fit the question")]
    Unexpected,
}

impl Error {
    /// True if the call may have taken effect.
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }

    /// The error of the step that aborted the transaction, if that is what happened.
    pub const fn step_error(&self) -> Option<StepError> {
        match self {
            Self::Failed(Failure::Aborted { error, .. }) => Some(*error),
            _ => None,
        }
    }

    /// True if there is no such record.
    pub fn is_not_found(&self) -> bool {
        self.step_error() == Some(StepError::NotFound)
    }

    /// True if there is such a record already.
    pub fn is_exists(&self) -> bool {
        self.step_error() == Some(StepError::Exists)
    }

    /// True if a comparison did not hold.
    pub fn is_unequal(&self) -> bool {
        self.step_error() == Some(StepError::Unequal)
    }
}

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Self {
        Self::Failed(match error {
            ClientError::Ended => Failure::Ended,
            error => Failure::Call(error),
        })
    }
}

/// Why no session could be opened.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConnectError {
    /// No server was named.
    #[error("no server was named: give at least one address")]
    NoServer,
    /// None of the servers opened a session in time.
    #[error("no server opened a session within {timeout_ms} ms{}", listed(.reasons))]
    Timeout {
        /// How long was tried.
        timeout_ms: u64,
        /// What went wrong last at each server, as far as is known.
        reasons: Vec<String>,
    },
}

fn listed(reasons: &[String]) -> String {
    reasons.iter().map(|reason| format!("\n  {reason}")).collect()
}
