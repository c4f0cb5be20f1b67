//! Watches as streams that never gap in silence.
//!
//! The events of a revision come as one item, in commit order, each revision once. After a lost
//! connection the stream goes on where it was. When it cannot go on, it ends and says why, and from
//! which revision another can.

use super::error::{Error, Failure};
use super::shared::Shared;
use accord_core::ids::{Revision, SessionId, WatchId};
use accord_core::protocol::Refusal;
use accord_core::state::Event;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;

/// What one revision changed, as far as the watch looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchItem {
    /// The revision.
    pub revision: Revision,
    /// At least one event, in the order of the changes.
    pub events: Arc<[Event]>,
}

/// Why a watch has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnd {
    /// The servers no longer have the missed events. List again, and watch from there.
    #[error("the events that were missed are no longer known; events after {oldest} are")]
    HistoryGone {
        /// What happened after this revision is still known at the server.
        oldest: Revision,
    },
    /// The application did not take its events fast enough. Watch again from this revision.
    #[error("the application did not take its events fast enough; it has all up to {complete}")]
    Lagged {
        /// Everything up to here was handed out or waits in the stream.
        complete: Revision,
    },
    /// The server did not set it.
    #[error("the watch was refused: {0}")]
    Refused(Refusal),
    /// It was a one-shot watch, and has told what it was for.
    #[error("the one-shot watch has told what it was for")]
    Told,
    /// The session has ended.
    #[error("the session has ended")]
    SessionLost,
    /// The client was closed.
    #[error("the client was closed")]
    Closed,
}

/// A watch that is set. Dropping it ends it.
///
/// It is a [`futures_core::Stream`] as well: of revisions with events, and at last of the reason
/// why it has ended.
pub struct Watch {
    shared: Arc<Shared>,
    id: WatchId,
    stream: Arc<Stream>,
    from: Revision,
    members: Option<Vec<SessionId>>,
    /// The stream has told why it has ended.
    told_end: bool,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("id", &self.id).field("from", &self.from).finish()
    }
}

/// What has come and was not taken.
#[derive(Default)]
pub(super) struct Stream {
    inner: Mutex<Inner>,
    more: Notify,
}

#[derive(Default)]
struct Inner {
    set: Option<(Revision, Option<Vec<SessionId>>)>,
    items: VecDeque<WatchItem>,
    events: usize,
    complete: Revision,
    end: Option<WatchEnd>,
    /// Who polls for more.
    poller: Option<Waker>,
}

impl Stream {
    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// There is something to be taken.
    fn tell(&self) {
        self.more.notify_one();
        if let Some(poller) = self.with(|inner| inner.poller.take()) {
            poller.wake();
        }
    }
}

/// The end of a stream that the client's task puts events into.
pub(super) struct WatchSink {
    stream: Arc<Stream>,
    events_max: usize,
    once: bool,
}

impl WatchSink {
    pub(super) fn new(stream: Arc<Stream>, events_max: usize, once: bool) -> Self {
        Self { stream, events_max, once }
    }

    pub(super) fn on_set(&mut self, from: Revision, members: Option<Vec<SessionId>>) {
        self.stream.with(|inner| {
            inner.complete = inner.complete.max(from);
            inner.set = Some((from, members));
        });
        self.stream.tell();
    }

    /// False if the watch is to end.
    pub(super) fn on_events(&mut self, revision: Revision, events: Arc<[Event]>) -> bool {
        let goes_on = self.stream.with(|inner| {
            if inner.events > 0 && inner.events + events.len() > self.events_max {
                inner.end = Some(WatchEnd::Lagged { complete: inner.complete });
                return false;
            }
            inner.events += events.len();
            inner.complete = revision;
            inner.items.push_back(WatchItem { revision, events });
            if self.once {
                inner.end = Some(WatchEnd::Told);
            }
            !self.once
        });
        self.stream.tell();
        goes_on
    }

    pub(super) fn end(self, end: WatchEnd) {
        self.stream.with(|inner| {
            inner.end.get_or_insert(end);
        });
        self.stream.tell();
    }
}

impl Watch {
    /// Waits until the watch of this number is set.
    pub(super) async fn set(
        shared: Arc<Shared>,
        id: WatchId,
        stream: Arc<Stream>,
    ) -> Result<Self, Error> {
        let told_end = false;
        let mut watch =
            Self { shared, id, stream: stream.clone(), from: Revision(0), members: None, told_end };
        loop {
            let more = stream.more.notified();
            let set = stream.with(|inner| match (inner.set.take(), &inner.end) {
                (Some(set), _) => Some(Ok(set)),
                (None, Some(WatchEnd::Refused(reason))) => {
                    Some(Err(Error::Failed(Failure::Watch(*reason))))
                }
                // A watch whose history is gone at once: its first item tells.
                (None, Some(WatchEnd::HistoryGone { oldest })) => Some(Ok((*oldest, None))),
                (None, Some(_)) => Some(Err(Error::Failed(Failure::Ended))),
                (None, None) => None,
            });
            match set {
                Some(Ok((from, members))) => {
                    (watch.from, watch.members) = (from, members);
                    // Events may have come with it.
                    stream.more.notify_one();
                    return Ok(watch);
                }
                Some(Err(error)) => return Err(error),
                None => more.await,
            }
        }
    }

    /// Everything after this revision is told.
    pub const fn from(&self) -> Revision {
        self.from
    }

    /// For a watch of the members from now on: the open sessions when it was set, ascending.
    pub fn members(&self) -> Option<&[SessionId]> {
        self.members.as_deref()
    }

    /// The next revision with events; an error when the watch has ended and all is taken. Safe to
    /// cancel.
    ///
    /// # Errors
    /// [`WatchEnd`]: nothing follows.
    pub async fn next(&mut self) -> Result<WatchItem, WatchEnd> {
        let stream = self.stream.clone();
        loop {
            let more = stream.more.notified();
            if let Some(next) = self.try_next() {
                return next;
            }
            more.await;
        }
    }

    /// The next revision with events, if it has come already. Whatever a result reflects that was
    /// handed to the application before has.
    pub fn try_next(&mut self) -> Option<Result<WatchItem, WatchEnd>> {
        self.stream.with(|inner| match inner.items.pop_front() {
            Some(item) => {
                inner.events -= item.events.len();
                Some(Ok(item))
            }
            None => inner.end.clone().map(Err),
        })
    }
}

impl futures_core::Stream for Watch {
    type Item = Result<WatchItem, WatchEnd>;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.told_end {
            return Poll::Ready(None);
        }
        // Enlist before looking, so that no event is missed.
        self.stream.with(|inner| inner.poller = Some(cx.waker().clone()));
        let next = self.try_next();
        self.told_end = matches!(next, Some(Err(_)));
        next.map_or(Poll::Pending, |next| Poll::Ready(Some(next)))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.unwatch(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use accord_core::state::{MemberEvent, MemberEventKind};

    fn events(revision: u64) -> Arc<[Event]> {
        let (revision, session) = (Revision(revision), SessionId(1));
        let event = MemberEvent { revision, kind: MemberEventKind::Joined, session, members: 1 };
        Arc::new([Event::Member(event)])
    }

    #[test]
    fn who_lags_is_told_of_the_last_revision_that_waits_for_it() {
        let stream = Arc::<Stream>::default();
        let mut sink = WatchSink::new(stream.clone(), 1, false);
        sink.on_set(Revision(3), None);
        assert!(sink.on_events(Revision(4), events(4)));
        assert!(!sink.on_events(Revision(5), events(5)), "there is room for one event");
        let (waiting, end) = stream.with(|inner| (inner.items.pop_back(), inner.end.clone()));
        assert_eq!(waiting.map(|item| item.revision), Some(Revision(4)));
        assert_eq!(end, Some(WatchEnd::Lagged { complete: Revision(4) }));
    }
}
