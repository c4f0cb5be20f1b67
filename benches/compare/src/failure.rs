//! What can go wrong with a measurement, told so that whoever started it knows what to do.
//!
//! A wrong or missing answer fails the measurement: a figure of work that was not done is worth
//! nothing. Read on in [`crate::generator`], where answers are checked.

use accord_testbed::clients::Broken;
use accord_testbed::netns::NetError;
use accord_testbed::process::ProcessError;
use std::fmt::Display;
use std::io;
use thiserror::Error;

/// Why a measurement, or a part of it, could not be made.
#[derive(Debug, Error)]
pub enum Failure {
    /// The system says so.
    #[error("{what}: {error}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system says.
        error: io::Error,
    },
    /// A server answered what it must not, or not at all.
    #[error("{0}")]
    Wrong(String),
    /// A server refused something, or hung up: it could not, or would not, but it did not lie.
    #[error("{0}")]
    Refused(String),
    /// Something has to be installed or built first.
    #[error("{0}")]
    Missing(String),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Somebody pressed Ctrl-C.
    #[error("interrupted; the servers that were started are stopped")]
    Interrupted,
}

/// What most functions here return.
pub type Result<T> = std::result::Result<T, Failure>;

impl From<ProcessError> for Failure {
    fn from(error: ProcessError) -> Self {
        let what = error.to_string();
        match error {
            ProcessError::Missing(_)
            | ProcessError::Net(NetError::NotRoot | NetError::Missing { .. }) => {
                Self::Missing(what)
            }
            ProcessError::Spawn { .. }
            | ProcessError::Ended { .. }
            | ProcessError::Late { .. }
            | ProcessError::Net(_)
            | ProcessError::File { .. } => Self::Wrong(what),
        }
    }
}

impl From<Broken> for Failure {
    fn from(error: Broken) -> Self {
        Self::Wrong(error.to_string())
    }
}

/// Shorthand for [`Failure::Wrong`].
pub fn wrong(what: impl Display) -> Failure {
    Failure::Wrong(what.to_string())
}

/// Says what was being done when the system refused.
pub trait During<T> {
    /// The same, as a [`Failure`].
    ///
    /// # Errors
    /// [`Failure::Io`], if it was an error.
    fn during(self, what: impl Display) -> Result<T>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, what: impl Display) -> Result<T> {
        self.map_err(|error| Failure::Io { what: what.to_string(), error })
    }
}

impl<T> During<T> for std::result::Result<T, nix::Error> {
    fn during(self, what: impl Display) -> Result<T> {
        self.map_err(io::Error::from).during(what)
    }
}
