//! Why a message of the group was not used, and what an operator may do about it.

use super::message::MessageError;
use super::order::Fault;

/// Why a message of the group was not used. Counted, and logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// It is no message of Accord: another program is in the group.
    Foreign,
    /// A server of another release sent it.
    Version,
    /// Its sender has not the cluster's key.
    Unauthentic,
    /// It makes no sense.
    Malformed,
    /// Its sender is not in the view that it names.
    Outsider,
    /// Another process has the same number and came first.
    Twin,
    /// It was sent in a view that has ended. Happens at every change.
    Late,
    /// A message before it is missing.
    Hole,
    /// Its sender was delivered what did not come here.
    Behind,
    /// More waits than may.
    TooMuch,
}

impl Refusal {
    /// What an operator may do about it.
    pub const fn why(self) -> &'static str {
        match self {
            Self::Foreign => "another program uses this group: give Accord a group of its own",
            Self::Version => "a server of another release sent it: run one release",
            Self::Unauthentic => {
                "its sender has another key: all servers of a cluster share one, and two clusters \
                 need two groups"
            }
            Self::Malformed => "it makes no sense",
            Self::Outsider => "its sender is not in the view",
            Self::Twin => "a second server has the same number on the same node: stop one of them",
            Self::Late => "its view has ended",
            Self::Hole => "a message before it is missing",
            Self::Behind => "its sender has messages that did not come here",
            Self::TooMuch => "more waits than may: are the servers' corosync settings the same?",
        }
    }
}

impl From<MessageError> for Refusal {
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::Foreign => Self::Foreign,
            MessageError::Version(_) => Self::Version,
            MessageError::Unauthentic => Self::Unauthentic,
            MessageError::Malformed => Self::Malformed,
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Hole => Self::Hole,
            Fault::Behind => Self::Behind,
            Fault::TooMuch => Self::TooMuch,
        }
    }
}
