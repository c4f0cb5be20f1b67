//! Watches: every change once, in order, none missed, and before any result that reflects it.
//!
//! Shapes, where a watch is known by the number of its session and its own:
//! - `:watch {:session s :watch w :key k :kinds [:created ...] :once true}`: `:prefix p` may stand
//!   for `:key k`; without `:kinds` it reports all. The answer has `:from r`: it reports the
//!   changes later than this revision. `:unwatch {:session s :watch w}` ends it.
//! - `:event {:session s :watch w :revision r :key k :kind :changed}`: observed.
//! - `:lost {:session s :watch w}`: observed: the client was told that the history is gone, which
//!   ends the watch and is the only excuse for a gap.
//! - `:write {:session s :key k}`, answered with `:revision r :kind :created`; `:read {:session
//!   s}`, answered with `:revision r`: the result reflects all changes up to this revision.
//! - `:log [{:revision r :key k :kind :changed} ...]`: all changes, in order, as the servers hold
//!   them in the end. Without it, the log is what was acknowledged and what any watch reported.
//!
//! All changes of one revision are told together: once a result reflects a revision, a watch has
//! reported all of them, a one-shot watch too.
//!
//! [`read`] gathers these; [`judge`] compares every watch with [`crate::spec::WatchLog`].

mod index;
mod judge;
mod read;

use crate::history::{History, HistoryError};
use crate::verdict::Verdict;

/// Judges `history` as watches.
pub(super) fn check(history: &History) -> Result<Verdict, HistoryError> {
    let read = read::Reading::of(history)?;
    Ok(judge::refuse(&read).map_or(Verdict::Valid, Verdict::Invalid))
}
