//! Why a command was not done, as its user and as scripts are told.

use crate::out;
use accord_core::client::ClientError;
use accord_core::limits::Limits;
use accord_core::protocol::{MESSAGE_BYTES_MAX, Refusal, WATCH_KEY_BYTES_MAX};
use accord_core::replica::config::ReplicaLimits;
use accord_core::server::ServerLimits;
use accord_core::state::RequestError;
use accord_net::client::{Cause, ConnectError, Error, Failure as Call, StepError, WatchEnd};
use serde_json::json;

/// Why a command was not done.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// One word for scripts.
    pub kind: &'static str,
    /// For people.
    pub message: String,
}

impl Failure {
    /// The command itself is wrong.
    pub fn misused(message: impl Into<String>) -> Self {
        Self { code: out::MISUSED, kind: "usage", message: message.into() }
    }

    /// It was not done.
    pub fn failed(kind: &'static str, message: impl Into<String>) -> Self {
        Self { code: out::FAILED, kind, message: message.into() }
    }

    /// The same about this key or name.
    #[must_use]
    pub fn about(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Tells it.
    pub fn tell(&self, json: bool) -> u8 {
        if json {
            let object = json!({ "error": self.kind, "message": self.message });
            return out::print_failure(&format!("{object}\n"), self.code);
        }
        out::complain(&self.message);
        self.code
    }
}

/// The setting that something was refused by, and what it is unless it was changed.
fn bound(error: &Error) -> Option<String> {
    let (state, replica, server) =
        (Limits::default(), ReplicaLimits::default(), ServerLimits::default());
    let (name, number) = match error {
        Error::Failed(Call::Aborted { error, .. }) => match error {
            StepError::KeyTooLarge => ("state.key_bytes_max", state.key_bytes_max.into()),
            StepError::ValueTooLarge => ("state.value_bytes_max", state.value_bytes_max),
            StepError::ResultTooLarge => ("state.result_bytes_max", state.result_bytes_max),
            StepError::StoreFull => ("state.store_bytes_max", state.store_bytes_max),
            StepError::EphemeralsFull => ("state.ephemerals_max", state.ephemerals_max.into()),
            _ => return None,
        },
        Error::Failed(Call::Cause(Cause::Refused(refusal)) | Call::Watch(refusal)) => match refusal
        {
            Refusal::TooLarge => ("replica.command_bytes_max", replica.command_bytes_max as u64),
            Refusal::KeyTooLong => {
                return Some(format!("at most {WATCH_KEY_BYTES_MAX} bytes can be watched"));
            }
            Refusal::TooManyWatches => {
                ("limits.watches_per_conn_max", server.watches_per_conn_max as u64)
            }
            _ => return None,
        },
        Error::Failed(Call::Cause(Cause::Rejected(error))) => match error {
            RequestError::CommandTooLarge => ("state.command_bytes_max", state.command_bytes_max),
            RequestError::TooManySteps => ("state.steps_max", state.steps_max.into()),
            _ => return None,
        },
        Error::Failed(Call::Call(ClientError::TooLarge)) => {
            return Some(format!("a message has at most {MESSAGE_BYTES_MAX} bytes"));
        }
        _ => return None,
    };
    Some(format!("the servers' {name}, {number} unless it is set otherwise"))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if error.is_unknown() {
            let message = format!("{error}; look before you do it again");
            return Self { code: out::UNKNOWN, kind: "unknown", message };
        }
        if let Error::Failed(Call::Unreachable { .. }) = error {
            let message = error.to_string();
            return Self { code: out::UNREACHABLE, kind: "unreachable", message };
        }
        let kind = match error.step_error() {
            Some(StepError::NotFound) => "not_found",
            Some(StepError::Exists) => "exists",
            Some(StepError::Unequal) => "unequal",
            _ => "failed",
        };
        let mut message = match error.step_error() {
            Some(step) => step.to_string(),
            None => error.to_string(),
        };
        if let Some(bound) = bound(&error) {
            message = format!("{message}: {bound}");
        }
        Self { code: out::FAILED, kind, message }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let message = format!(
            "{error}\nIs the cluster running (`accord cluster` starts one)? Name its servers with \
             --servers HOST:PORT,HOST:PORT or ACCORD_SERVERS; `accord status` shows how they are."
        );
        Self { code: out::UNREACHABLE, kind: "unreachable", message }
    }
}

impl From<WatchEnd> for Failure {
    fn from(end: WatchEnd) -> Self {
        let kind = match &end {
            WatchEnd::HistoryGone { .. } => "history_gone",
            WatchEnd::Lagged { .. } => "lagged",
            WatchEnd::SessionLost => "session_lost",
            _ => "failed",
        };
        Self { code: out::FAILED, kind, message: end.to_string() }
    }
}
