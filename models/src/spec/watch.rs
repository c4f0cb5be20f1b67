//! A watch: what it must deliver, given what was committed.
//!
//! Claims: C-watch-complete, C-watch-first, C-watch-whole, C-watch-resume

use std::fmt;

use super::Spec;
use crate::edn::Value;

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// It came to be.
    Created,
    /// Its value changed.
    Changed,
    /// It was removed.
    Deleted,
    /// Another key was copied onto it.
    Copied,
}

impl ChangeKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Created, Self::Changed, Self::Deleted, Self::Copied];

    /// The keyword that names it in histories.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Deleted => "deleted",
            Self::Copied => "copied",
        }
    }
}

/// A committed change of one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Change {
    /// The revision of the command that made it.
    pub revision: u64,
    /// The key: a string or keyword.
    pub key: Value,
    /// What happened to it.
    pub kind: ChangeKind,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} at revision {}", self.key, self.kind.name(), self.revision)
    }
}

/// What a watch is interested in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchFilter {
    /// The key, or the prefix of keys: a string or keyword.
    pub key: Value,
    /// Whether `key` is a prefix.
    pub is_prefix: bool,
    /// The kinds of change it reports.
    pub kinds: Vec<ChangeKind>,
}

impl WatchFilter {
    /// Whether a watch with this filter reports `change`.
    pub fn matches(&self, change: &Change) -> bool {
        self.covers(&change.key) && self.kinds.contains(&change.kind)
    }

    /// Whether a watch with this filter is about `key`.
    pub fn covers(&self, key: &Value) -> bool {
        match (key, &self.key) {
            (Value::Text(key), Value::Text(prefix)) if self.is_prefix => key.starts_with(prefix),
            (Value::Keyword(key), Value::Keyword(prefix)) if self.is_prefix => {
                key.starts_with(prefix.as_ref())
            }
            (key, watched) => key == watched,
        }
    }
}

/// A watch over a log of changes: it delivers those that match its filter, each once, in order.
#[derive(Clone, Debug)]
pub struct WatchLog {
    /// All changes, in the order of their commits.
    pub log: Vec<Change>,
    /// What the watch reports.
    pub filter: WatchFilter,
    /// It reports changes later than this revision.
    pub from: u64,
}

impl Spec for WatchLog {
    type Op = Change;
    /// How much of the log the watch is past.
    type State = usize;
    const FINITE: bool = true;

    fn initial(&self) -> usize {
        self.log.partition_point(|change| change.revision <= self.from)
    }

    fn step(&self, state: &usize, op: &Change) -> Option<usize> {
        let rest = &self.log[*state..];
        let next = rest.iter().position(|change| self.filter.matches(change))?;
        (rest[next] == *op).then_some(state + next + 1)
    }

    fn is_pure(&self, _: &Change) -> bool {
        false
    }

    fn describe(&self, state: &usize) -> String {
        match self.log[*state..].iter().find(|change| self.filter.matches(change)) {
            Some(next) => format!("the watch must deliver next: {next}"),
            None => "the watch has nothing to deliver".to_owned(),
        }
    }
}
