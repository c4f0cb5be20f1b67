//! The three outcomes of an operation.
//!
//! A wrong outcome is the commonest mistake of a harness. An operation that may have taken effect,
//! or may still, is [`Outcome::Unknown`], whatever error its client reports: a time-out, or a
//! connection that ended. [`Outcome::Failed`] is said only of what certainly did not take effect
//! and never will.

/// What came of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<A> {
    /// It was done, with this answer.
    Done(A),
    /// It was not done and will not be, for this reason.
    Failed(String),
    /// It was done or not, and may still be: nobody can say, for this reason.
    Unknown(String),
}

impl<A> Outcome<A> {
    /// The same outcome with another answer.
    pub fn map<B>(self, change: impl FnOnce(A) -> B) -> Outcome<B> {
        match self {
            Self::Done(answer) => Outcome::Done(change(answer)),
            Self::Failed(why) => Outcome::Failed(why),
            Self::Unknown(why) => Outcome::Unknown(why),
        }
    }

    /// The answer, if it was done.
    pub const fn answer(&self) -> Option<&A> {
        match self {
            Self::Done(answer) => Some(answer),
            Self::Failed(_) | Self::Unknown(_) => None,
        }
    }
}
