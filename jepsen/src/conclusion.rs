//! What a run comes to, and with which exit code.
//!
//! Three things are told apart: all that was judged is as it must be; something is not; nobody can
//! say, since nothing was judged, a checker did not decide or the harness itself could not do its
//! part. What is broken outweighs what is open: an invalid history stays one beside an undecided
//! one. Nothing is called valid that was not judged.

use crate::checkpoints::{CheckpointsError, CheckpointsReport};
use crate::grow::{self, GrowError};
use crate::load::LoadError;
use crate::nemesis::FaultError;
use crate::rounds::{self, Judged, Missed, RoundsError};
use crate::sessions::SessionsError;
use crate::transfer::{TransferError, TransferReport};
use accord_models::{Outcome, Verdict};
use accord_testbed::process::ProcessError;
use std::fmt;

/// What a run comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// All that was judged is as it must be, and there was something to judge.
    Holds,
    /// A promise was broken, or the service did not come back.
    Broken(String),
    /// Nobody can say: something could not be run, was not judged or was not decided.
    Open(String),
}

impl Conclusion {
    /// The exit code: 0, 1 and 2.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Holds => 0,
            Self::Broken(_) => 1,
            Self::Open(_) => 2,
        }
    }

    /// Of two conclusions, the graver; of two equally grave ones, the first.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::Broken(_), _) | (_, Self::Holds) => self,
            (_, Self::Broken(_)) | (Self::Holds, _) => other,
            (Self::Open(_), Self::Open(_)) => self,
        }
    }

    /// The same conclusion, for a reason in other words.
    fn explained(self, why: impl FnOnce() -> String) -> Self {
        match self {
            Self::Holds => Self::Holds,
            Self::Broken(_) => Self::Broken(why()),
            Self::Open(_) => Self::Open(why()),
        }
    }

    /// [`Self::Holds`], or open for a reason.
    fn if_judged(judged: bool, why_not: &str) -> Self {
        if judged { Self::Holds } else { Self::Open(why_not.to_owned()) }
    }

    /// What histories come to.
    pub fn of_histories(judged: &[Judged]) -> Self {
        let none = Self::if_judged(!judged.is_empty(), "there is no history to judge");
        judged.iter().map(Self::of_history).fold(none, Self::and)
    }

    fn of_history(judged: &Judged) -> Self {
        let name = judged.model.name();
        match &judged.verdict {
            Verdict::Invalid(_) => Self::Broken(format!("the history of {name} is invalid")),
            Verdict::Undecided { why } => {
                Self::Open(format!("the history of {name} is undecided: {why}"))
            }
            Verdict::Valid if judged.history.count(Outcome::Ok) == 0 => {
                Self::Open(format!("nothing was done in the history of {name}: it was not judged"))
            }
            Verdict::Valid => Self::Holds,
        }
    }

    /// What rounds of faults come to: each fault must have hit something.
    pub fn of_rounds(report: &rounds::Report) -> Self {
        let missed = report.missed.iter().map(|missed| {
            let Missed { fault, server, why } = missed;
            Self::Open(format!("{fault} of server {} was skipped: {why}", server + 1))
        });
        let none = Self::if_judged(!report.outages.is_empty(), "no fault took place");
        missed.fold(Self::of_histories(&report.judged), Self::and).and(none)
    }

    /// What a cluster that grew and shrank comes to.
    pub fn of_growth(report: &grow::Report) -> Self {
        let told = match report.errors.first() {
            None => Self::Holds,
            Some(error) => Self::Broken(format!("a client was told of a failure: {error}")),
        };
        let lost = match report.judged.sessions_lost {
            0 => Self::Holds,
            lost => Self::Broken(format!("{lost} sessions were lost")),
        };
        let changed = Self::if_judged(!report.changes.is_empty(), "the cluster did not change");
        let killed = match report.missed.first() {
            None => Self::Holds,
            Some(why) => {
                Self::Open(format!("no server was killed in the middle of a change: {why}"))
            }
        };
        let histories = Self::of_histories(&report.judged.judged);
        histories.and(told).and(lost).and(changed).and(killed)
    }

    /// What a server that missed writes comes to.
    pub fn of_transfer(report: &TransferReport) -> Self {
        Self::if_judged(report.missed > 0, "the server missed no write")
    }

    /// What checkpoints under load come to.
    pub fn of_checkpoints(report: &CheckpointsReport) -> Self {
        let taken = Self::if_judged(!report.completed.is_empty(), "no checkpoint was taken");
        taken.and(Self::if_judged(report.all.writes > 0, "no write was done meanwhile"))
    }
}

impl fmt::Display for Conclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds => f.write_str("all that was judged is as it must be"),
            Self::Broken(why) => write!(f, "BROKEN: {why}"),
            Self::Open(why) => write!(f, "open: {why}"),
        }
    }
}

/// A server that is started again and ends is a finding; what the harness cannot do is none.
impl From<&ProcessError> for Conclusion {
    fn from(error: &ProcessError) -> Self {
        match error {
            ProcessError::Ended { .. } => Self::Broken(error.to_string()),
            ProcessError::Late { .. } => Self::Broken(error.to_string()),
            ProcessError::Spawn { .. }
            | ProcessError::Missing(_)
            | ProcessError::Net(_)
            | ProcessError::File { .. } => Self::Open(error.to_string()),
        }
    }
}

impl From<&FaultError> for Conclusion {
    fn from(error: &FaultError) -> Self {
        match error {
            FaultError::Process(error) => error.into(),
            FaultError::NotStopped => Self::Broken(error.to_string()),
        }
    }
}

impl From<&RoundsError> for Conclusion {
    fn from(error: &RoundsError) -> Self {
        match error {
            RoundsError::Process(error) => error.into(),
            RoundsError::NoService { .. } | RoundsError::NotRead { .. } => {
                Self::Broken(error.to_string())
            }
            RoundsError::Fault { error: cause, .. } => {
                Self::from(cause).explained(|| error.to_string())
            }
            RoundsError::Connect(_) | RoundsError::History(_) => Self::Open(error.to_string()),
        }
    }
}

impl From<&GrowError> for Conclusion {
    fn from(error: &GrowError) -> Self {
        match error {
            GrowError::Process(error) => error.into(),
            GrowError::Fault(error) => error.into(),
            GrowError::Rounds(error) => error.into(),
            GrowError::NotDone { .. } | GrowError::States(_) => Self::Broken(error.to_string()),
            GrowError::Connect(_) | GrowError::NotCompared(_) => Self::Open(error.to_string()),
        }
    }
}

impl From<&SessionsError> for Conclusion {
    fn from(error: &SessionsError) -> Self {
        match error {
            SessionsError::NotBegun(_) | SessionsError::Options(_) => Self::Open(error.to_string()),
            SessionsError::Connect(_)
            | SessionsError::Operation(_)
            | SessionsError::Watch(_)
            | SessionsError::Late { .. }
            | SessionsError::Broken(_) => Self::Broken(error.to_string()),
        }
    }
}

impl From<&LoadError> for Conclusion {
    fn from(error: &LoadError) -> Self {
        match error {
            LoadError::Connect(_) => Self::Open(error.to_string()),
            LoadError::Write(_) => Self::Broken(error.to_string()),
        }
    }
}

impl From<&TransferError> for Conclusion {
    fn from(error: &TransferError) -> Self {
        match error {
            TransferError::Load(error) => error.into(),
            TransferError::Process(error) => error.into(),
            TransferError::Fault(error) => error.into(),
            TransferError::Away => Self::Broken(error.to_string()),
            TransferError::NotKilled(_) => Self::Open(error.to_string()),
        }
    }
}

impl From<&CheckpointsError> for Conclusion {
    fn from(error: &CheckpointsError) -> Self {
        match error {
            CheckpointsError::Load(error) => error.into(),
            CheckpointsError::NotTaken => Self::Broken(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
