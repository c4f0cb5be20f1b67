//! Situations that a campaign must bring about often: each is where mistakes of protocols of this
//! kind are made, and none is reached by faults alone.
//!
//! A world counts each once, whatever number of times it had it. A campaign's report says how many
//! worlds had each, so that a net with a hole is seen before a bug falls through it.

/// A situation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Situation {
    /// Entries were dropped from a log while their writes were under way.
    DroppedOnTheWay,
    /// A server started from a state, not from the first record of its log.
    StartedFromState,
    /// A state was made or received while the voters had changed again behind its end.
    StateBeforeChange,
    /// A server's log and state were replaced by another's state.
    StateReplaced,
    /// A state arrived at a server that had restarted, with a batch of its earlier start.
    EarlierStartInState,
    /// The voters changed twice in one epoch.
    VotersChangedTwice,
    /// A session outlived a time without a primary component that was longer than its timeout.
    OutlivedOutage,
    /// A session expired while it was attached to the server that judged it.
    ExpiredAttached,
    /// A session expired that had no server.
    ExpiredOrphan,
    /// A client was heard when the end of its session was already proposed.
    HeardTooLate,
    /// A linearizable read was answered in a later epoch than it came in.
    ReadOverEpochs,
    /// A start was cut off half-way.
    FailedStart,
    /// The cluster was recovered after the loss of a majority.
    Recovered,
    /// The recovery gave up entries that some server had applied.
    RecoveredWithLoss,
    /// A server came back with a disk that the recovered cluster had given up.
    LeftBehind,
    /// A server whose state was damaged stopped itself.
    Diverged,
    /// A server was handed a view after other inputs that had not been polled.
    ViewAmongInputs,
}

impl Situation {
    /// Every situation, in the order of the report.
    pub const ALL: [Self; 17] = [
        Self::DroppedOnTheWay,
        Self::StartedFromState,
        Self::StateBeforeChange,
        Self::StateReplaced,
        Self::EarlierStartInState,
        Self::VotersChangedTwice,
        Self::OutlivedOutage,
        Self::ExpiredAttached,
        Self::ExpiredOrphan,
        Self::HeardTooLate,
        Self::ReadOverEpochs,
        Self::FailedStart,
        Self::Recovered,
        Self::RecoveredWithLoss,
        Self::LeftBehind,
        Self::Diverged,
        Self::ViewAmongInputs,
    ];

    /// The word for it in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DroppedOnTheWay => "dropped-on-the-way",
            Self::StartedFromState => "started-from-state",
            Self::StateBeforeChange => "state-before-change",
            Self::StateReplaced => "state-replaced",
            Self::EarlierStartInState => "earlier-start-in-state",
            Self::VotersChangedTwice => "voters-changed-twice",
            Self::OutlivedOutage => "outlived-outage",
            Self::ExpiredAttached => "expired-attached",
            Self::ExpiredOrphan => "expired-orphan",
            Self::HeardTooLate => "heard-too-late",
            Self::ReadOverEpochs => "read-over-epochs",
            Self::FailedStart => "failed-start",
            Self::Recovered => "recovered",
            Self::RecoveredWithLoss => "recovered-with-loss",
            Self::LeftBehind => "left-behind",
            Self::Diverged => "diverged",
            Self::ViewAmongInputs => "view-among-inputs",
        }
    }

    /// What it is, in a few words.
    pub const fn says(self) -> &'static str {
        match self {
            Self::DroppedOnTheWay => "entries dropped while their writes were under way",
            Self::StartedFromState => "a start from a state, not from the log's first record",
            Self::StateBeforeChange => "a state whose end lies before a change of voters",
            Self::StateReplaced => "log and state replaced by another server's state",
            Self::EarlierStartInState => "a received state with a batch of an earlier start",
            Self::VotersChangedTwice => "two changes of voters in one epoch",
            Self::OutlivedOutage => "a session outlived a long time without a primary",
            Self::ExpiredAttached => "a session expired at the server that had it",
            Self::ExpiredOrphan => "a session expired that had no server",
            Self::HeardTooLate => "a client heard after its session's end was proposed",
            Self::ReadOverEpochs => "a read answered in a later epoch than it came in",
            Self::FailedStart => "a start that was cut off half-way",
            Self::Recovered => "a cluster recovered after the loss of a majority",
            Self::RecoveredWithLoss => "... which gave up what had been applied",
            Self::LeftBehind => "a server back with a disk that was given up",
            Self::Diverged => "a server that stopped itself: its state was damaged",
            Self::ViewAmongInputs => "a view after other inputs that had not been polled",
        }
    }
}
