//! What must hold, whatever happens: one property per file, each judging what the world shows it.
//!
//! | property | says | judged |
//! |---|---|---|
//! | [`prefixes`] | all servers apply the same log | at every entry applied |
//! | [`times`] | the time in the order never goes back | at every state |
//! | [`epochs`] | an epoch is opened in one view and has one marker | at every opening and marker |
//! | [`acknowledged`] | what a client was told is committed, and survives | at every answer, and at the end |
//! | [`exactly_once`] | a request takes effect once, with one outcome | at every answer |
//! | [`fresh_reads`] | a read is not older than what was answered before it | at every read's result |
//! | [`watches`] | a watch tells all, once, in order, before any result | at every event and result |
//! | sessions | a session is lost only once the log has ended it | when a client is told so |
//! | [`leases`] | no client believes in its session when it may have expired | at every expiry |
//! | [`attachments`] | what ends for silence was silent since its last attachment | at every expiry |
//! | [`silence`] | only who is silent expires, and no pong follows its proposal | when it goes out |
//! | [`durable`] | what a server says is on its disk is there | when it is said |
//! | [`snapshots`] | a state names voters and batches as the log does | when it is written |
//! | [`naive`] | a command does what a naive model does | at every entry, answer, and the end |
//! | [`barriers`] | a barrier of its own stands between a read and its answer | at every answer |
//! | [`remains`] | the session of a client that is gone ends, and with it its locks | at the end |
//! | [`contract`] | the group keeps its promises | at every delivery, and at the end |
//! | [`digests`] | the states are equal, and add up | at the end |
//! | [`divergence`] | a server whose state differs stops, and no other | when it stops, and at the end |
//! | convergence | the healed world answers all and comes to rest | at the end |
//! | invariants | no machine finds itself in an impossible state | at every step |
//! | amnesia | a lost majority is noticed, and nothing is served | after it |
//! | workloads | what clients saw is explained by the model | at the end |
//!
//! A property knows nothing of the core's inner workings beyond what it is shown, so it judges
//! every version of it alike.

pub mod acknowledged;
pub mod attachments;
pub mod barriers;
pub mod client_oracle;
pub mod committed;
pub mod contract;
pub mod counts;
pub mod digests;
pub mod divergence;
pub mod durable;
pub mod epochs;
pub mod exactly_once;
pub mod fresh_reads;
pub mod leases;
pub mod naive;
pub mod outputs;
pub mod prefixes;
pub mod remains;
pub mod session_order;
pub mod silence;
pub mod situations;
pub mod snapshots;
pub mod times;
pub mod watches;

use crate::world::clock::WorldTime;
use std::fmt;

/// The properties, for counting and for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Property {
    /// All servers apply the same log.
    PrefixesAgree,
    /// The time in the order never goes back, and is the same everywhere.
    TimeAscends,
    /// An epoch is opened in one view and has one marker.
    EpochsUnique,
    /// What a client was told is committed, and survives.
    AcknowledgedSurvive,
    /// A request takes effect once.
    ExactlyOnce,
    /// A read is not older than what was answered before it began, and keeps to its place.
    ReadsFresh,
    /// A watch tells all, once, in order, and before any result.
    WatchesTell,
    /// A read is answered on the strength of a barrier that was sent after it came.
    BarriersFollow,
    /// A session is lost only once the log has ended it, and ends for silence alone.
    SessionsLast,
    /// The session of a client that is gone ends.
    SessionsEnd,
    /// What a server says is on its disk is there when it says so.
    DurableWhenSaid,
    /// A state says of its part of the log what the log says.
    StatesTrue,
    /// No client believes in its session when it may have expired.
    LeasesEnd,
    /// Every command does what the naive model of the state does.
    StateAsDocumented,
    /// The group keeps its promises.
    GroupContract,
    /// The states of all servers are equal in the end.
    DigestsAgree,
    /// The healed world answers all and comes to rest.
    Convergence,
    /// No machine finds itself in an impossible state, and none stops itself without a cause.
    Invariants,
    /// A majority's lost memory is noticed.
    AmnesiaNoticed,
    /// A server whose state was damaged stops itself, and no other.
    DivergenceNoticed,
    /// What clients saw is explained by the model of their workload.
    Workload,
}

impl Property {
    /// Every property, in the order of the report.
    pub const ALL: [Self; 21] = [
        Self::AcknowledgedSurvive,
        Self::DurableWhenSaid,
        Self::PrefixesAgree,
        Self::TimeAscends,
        Self::EpochsUnique,
        Self::ExactlyOnce,
        Self::ReadsFresh,
        Self::BarriersFollow,
        Self::WatchesTell,
        Self::SessionsLast,
        Self::SessionsEnd,
        Self::StatesTrue,
        Self::LeasesEnd,
        Self::StateAsDocumented,
        Self::DigestsAgree,
        Self::GroupContract,
        Self::Invariants,
        Self::AmnesiaNoticed,
        Self::DivergenceNoticed,
        Self::Convergence,
        Self::Workload,
    ];

    /// The word for it in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PrefixesAgree => "prefixes-agree",
            Self::TimeAscends => "time-ascends",
            Self::EpochsUnique => "epochs-unique",
            Self::AcknowledgedSurvive => "acknowledged-survive",
            Self::ExactlyOnce => "exactly-once",
            Self::ReadsFresh => "reads-fresh",
            Self::WatchesTell => "watches-tell",
            Self::BarriersFollow => "barriers-follow",
            Self::SessionsLast => "sessions-last",
            Self::SessionsEnd => "sessions-end",
            Self::DurableWhenSaid => "durable-when-said",
            Self::StatesTrue => "states-true",
            Self::LeasesEnd => "leases-end",
            Self::StateAsDocumented => "state-as-documented",
            Self::GroupContract => "group-contract",
            Self::DigestsAgree => "digests-agree",
            Self::Convergence => "convergence",
            Self::Invariants => "invariants",
            Self::AmnesiaNoticed => "amnesia-noticed",
            Self::DivergenceNoticed => "divergence-noticed",
            Self::Workload => "workload",
        }
    }

    /// What it says, in a few words.
    pub const fn says(self) -> &'static str {
        match self {
            Self::PrefixesAgree => "all servers apply the same log",
            Self::TimeAscends => "the time in the order never goes back",
            Self::EpochsUnique => "an epoch is opened in one view, with one marker",
            Self::AcknowledgedSurvive => "what a client was told is committed, and survives",
            Self::ExactlyOnce => "a request takes effect once, with one outcome",
            Self::ReadsFresh => "a read reflects all that was answered before it, in its place",
            Self::WatchesTell => "a watch tells all, once, in order, before any result",
            Self::BarriersFollow => "a read's barrier is sent after the read came in",
            Self::SessionsLast => "a session ends for silence alone, and by the log",
            Self::SessionsEnd => "the session of a client that is gone ends in time",
            Self::DurableWhenSaid => "what is acknowledged or promised is on the disk",
            Self::StateAsDocumented => "a command does what the naive model does",
            Self::StatesTrue => "a state's voters and batches are those at its end",
            Self::LeasesEnd => "no client believes in its session when it may have expired",
            Self::GroupContract => "the group keeps its promises of order",
            Self::DigestsAgree => "all states are equal in the end",
            Self::Convergence => "the healed world answers all and comes to rest",
            Self::Invariants => "no machine is in an impossible state",
            Self::AmnesiaNoticed => "a majority's lost memory is noticed",
            Self::DivergenceNoticed => "a server with a damaged state stops, and no other",
            Self::Workload => "the clients' history is one that the model allows",
        }
    }

    /// The ids of the promises (docs/consistency.md) that are broken where it does not hold.
    pub const fn claims(self) -> &'static [&'static str] {
        match self {
            Self::PrefixesAgree => &["C-state-same"],
            Self::TimeAscends => &["C-time"],
            Self::EpochsUnique => &["C-epoch-unique"],
            Self::AcknowledgedSurvive => {
                &["C-outcome-done", "C-write-durable", "C-disk-power", "C-memory-majority"]
            }
            Self::ExactlyOnce => &["C-write-once", "C-token-ascending"],
            Self::ReadsFresh => &["C-read-fresh", "C-read-monotonic", "C-read-order"],
            Self::WatchesTell => &[
                "C-watch-first",
                "C-watch-complete",
                "C-watch-resume",
                "C-watch-whole",
                "C-read-watch",
                "C-members",
            ],
            Self::BarriersFollow => &["C-read-fresh"],
            Self::SessionsLast => {
                &["C-session-ends", "C-session-silence", "C-session-attached", "C-session-pong"]
            }
            Self::SessionsEnd => &["C-session-collected"],
            Self::DurableWhenSaid => &["C-disk-synced", "C-disk-power"],
            Self::StatesTrue => &["C-state-same", "C-write-once"],
            Self::LeasesEnd => &["C-session-lease"],
            Self::StateAsDocumented => &["C-state-documented", "C-write-atomic", "C-ephemeral"],
            Self::GroupContract => &["C-order"],
            Self::DigestsAgree => &["C-state-same"],
            Self::Convergence => &["C-converges"],
            Self::Invariants => &["C-diverged-stops"],
            Self::AmnesiaNoticed => &["C-memory-stops"],
            Self::DivergenceNoticed => &["C-diverged-stops"],
            Self::Workload => &[
                "C-write-linearizable",
                "C-write-atomic",
                "C-read-fresh",
                "C-read-local",
                "C-token-lock",
            ],
        }
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A property that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The property that does not hold.
    pub property: Property,
    /// When it was seen.
    pub at: WorldTime,
    /// What was seen, for people.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let claims = self.property.claims().join(", ");
        write!(f, "{} at {}: {} (breaks {claims})", self.property, self.at, self.detail)
    }
}

/// What a property says of what it was shown: nothing, or what is wrong.
pub type Judgement = Result<(), String>;
