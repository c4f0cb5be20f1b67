//! What operators and servers say to each other: questions and answers as JSON, one message each.
//!
//! See `docs/protocol.md`. These are data without behaviour: the [client](super::client), the
//! server and the [backups](crate::backup) share them, and none of those imports another for them.
//! What a server reports of itself is in [`super::status`], the list of servers in
//! [`super::roster`].

use super::roster::Roster;
use super::status::StatusReport;
use accord_core::limits::{Limits, STEPS_MAX};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// The version of what operators and servers say to each other.
pub const OPERATOR_VERSION: u8 = 1;
/// The longest question or answer.
pub const OPERATOR_BYTES_MAX: usize = 1 << 20;
/// What an operator asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Question {
    /// How the server is.
    Status,
    /// Recover the cluster from what this server has, after the memory of a majority is lost for
    /// good. What only the lost servers held is lost.
    Recover,
    /// Make a server known as one of the cluster's, or as one that is elsewhere now. It does not
    /// vote. Asked of one server, it tells the others.
    AddServer {
        /// The number that the server is started with.
        node: u32,
        /// Where the others reach it.
        address: SocketAddr,
    },
    /// Make it known that a server, which does not vote, is none of the cluster's any more.
    RemoveServer {
        /// The server's number.
        node: u32,
    },
    /// Let a connected server that has caught up vote.
    Promote {
        /// The server's number.
        node: u32,
    },
    /// Take the vote from a server; from one that lost its memory, the right to have it back.
    Demote {
        /// The server's number.
        node: u32,
    },
    /// Hold the state as it is now, to be fetched in chunks over this connection.
    Image,
    /// A chunk of the held state. Behind the answer follows a message with its bytes; after the
    /// last one the state is not held any more.
    ImageChunk {
        /// Its first byte.
        offset: u64,
    },
}

/// What an operator is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// How the server is.
    Status(Box<StatusReport>),
    /// The recovery has begun.
    Recovering,
    /// The servers of the cluster, as they are now.
    Servers(Roster),
    /// The change is committed: who votes now.
    Voters {
        /// Their numbers.
        voters: Vec<u32>,
    },
    /// Who votes was not changed.
    VotersUnchanged {
        /// Why, in a word for programs.
        error: String,
        /// Why, for people.
        reason: String,
    },
    /// What is held.
    Image(Box<ImageHead>),
    /// A chunk follows.
    ImageChunk {
        /// Its first byte.
        offset: u64,
        /// Its length, in bytes.
        bytes: u64,
        /// Its checksum, CRC-32.
        crc32: u32,
    },
    /// It was not done, and why.
    Refused {
        /// The reason, for people.
        reason: String,
    },
}

/// What a state is of: the head of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageHead {
    /// The name of the cluster.
    pub cluster: String,
    /// The cluster's id, drawn when it was formed.
    pub cluster_id: String,
    /// The server that gave it.
    pub node: u32,
    /// The servers that voted.
    pub voters: BTreeSet<u32>,
    /// The epoch of the last entry that it contains.
    pub epoch: u64,
    /// The index of that entry.
    pub index: u64,
    /// The revision of the state.
    pub revision: u64,
    /// The digest of the state, as in `accord status`.
    pub digest: String,
    /// The digest of its contents alone.
    pub content: String,
    /// Bytes of the state as it is kept.
    pub bytes: u64,
    /// The bounds of the state.
    pub limits: LimitsForm,
    /// The release that made it.
    pub version: String,
    /// The time in seconds since 1970, by the clock of the command that took it.
    #[serde(default)]
    pub taken_unix_s: u64,
}

/// The bounds of a state, by name.
macro_rules! limits_form {
    ($($field:ident: $type:ty),* $(,)?) => {
        /// The bounds of a state, by name.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "they are those of `accord_core::limits::Limits`")]
        pub struct LimitsForm { $(pub $field: $type),* }

        impl From<&Limits> for LimitsForm {
            fn from(limits: &Limits) -> Self {
                Self { $($field: limits.$field),* }
            }
        }

        impl From<&LimitsForm> for Limits {
            fn from(form: &LimitsForm) -> Self {
                Self { $($field: form.$field),* }
            }
        }
    };
}

limits_form! {
    key_bytes_max: u32,
    value_bytes_max: u64,
    store_bytes_max: u64,
    command_bytes_max: u64,
    steps_max: u32,
    result_bytes_max: u64,
    page_entries_max: u32,
    page_bytes_max: u64,
    sessions_max: u32,
    ephemerals_max: u32,
    acl_entries_max: u32,
    quota_enforced: bool,
    outcomes_max: u32,
    outcome_bytes_max: u64,
    timeout_ms_min: u32,
    timeout_ms_max: u32,
}

impl LimitsForm {
    /// The bounds, if a state can have them.
    pub(crate) fn checked(&self) -> Option<Limits> {
        let steps = (1..=STEPS_MAX).contains(&(self.steps_max as usize));
        let some = self.page_entries_max > 0 && self.sessions_max > 0 && self.outcomes_max > 0;
        let some = some && self.acl_entries_max > 0;
        let sound = self.outcome_bytes_max > 0 && self.timeout_ms_min <= self.timeout_ms_max;
        (steps && some && sound).then(|| self.into())
    }
}
