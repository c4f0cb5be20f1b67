//! Operators: what they ask of servers, and how they change a cluster while it serves.
//!
//! 1. [`protocol`]: questions and answers, and what they carry: [`status`], [`roster`].
//! 2. [`OperatorClient`]: asks one server.
//! 3. [`Operator`]: changes a cluster: servers, voters, backups.
//!
//! The answering side is `server::operator`.

mod client;
mod cluster;
pub mod protocol;
pub mod roster;
pub mod status;

pub use client::{AskError, OperatorClient};
pub use cluster::{Changed, Digests, Member, Operator, OperatorError};
pub use roster::Roster;
pub use status::StatusReport;
