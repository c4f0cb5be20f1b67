//! Why a command was not done, as its user and as scripts are told.

use crate::out;
use accord_net::client::{ConnectError, Error, StepError, WatchEnd};
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
            out::print_text(&format!("{object}\n"));
        } else {
            out::complain(&self.message);
        }
        self.code
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if error.is_unknown() {
            let message = format!("{error}; look before you do it again");
            return Self { code: out::UNKNOWN, kind: "unknown", message };
        }
        let kind = match error.step_error() {
            Some(StepError::NotFound) => "not_found",
            Some(StepError::Exists) => "exists",
            Some(StepError::Unequal) => "unequal",
            _ => "failed",
        };
        let message = match error.step_error() {
            Some(step) => step.to_string(),
            None => error.to_string(),
        };
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
