//! What a workload has at hand when it acts for one client.

use crate::judge::Property;
use crate::judge::session_order::SessionOrder;
use crate::plan::rng::Rng;
use crate::world::env::Surroundings;
use crate::world::who::Actor;
use accord_core::client::{Client, ReadId};
use accord_core::ids::{RequestId, Revision, SessionId, WatchId};
use accord_core::protocol::{Consistency, EventMask, WatchFilter};
use accord_core::state::{ReadQuery, Txn};
use accord_core::time::Instant;
use std::collections::BTreeMap;

/// What a workload wishes of the client itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Close the connection; the client will make another, to another server.
    HangUp,
    /// Be gone without a word: the session is left to expire, and another client begins.
    Vanish,
}

/// One client, for as long as it takes to act for it.
pub struct ClientCtx<'a> {
    /// The client's number, from 1.
    pub client: u32,
    /// Its life.
    pub life: u64,
    /// What decides its wishes.
    pub rng: &'a mut Rng,
    /// The world around it.
    pub env: &'a mut Surroundings,
    pub(crate) core: &'a mut Client,
    pub(crate) now: Instant,
    /// The revision that each outstanding read must reach.
    pub(crate) floors: &'a mut BTreeMap<ReadId, Revision>,
    /// What is under way, in its order.
    pub(crate) order: &'a mut SessionOrder,
    /// Watches that reads under way set.
    pub(crate) by_reads: &'a mut BTreeMap<ReadId, WatchId>,
    /// Requests and reads of this life that are not answered.
    pub(crate) outstanding: &'a mut u32,
    pub(crate) intent: &'a mut Option<Intent>,
}

impl ClientCtx<'_> {
    /// The world's time in nanoseconds, for histories.
    pub fn time_ns(&self) -> u64 {
        self.env.now.as_nanos()
    }

    /// The session, while it is not known to have ended.
    pub fn session(&self) -> Option<SessionId> {
        self.core.session()
    }

    /// True while the session is attached to a server.
    pub fn is_ready(&self) -> bool {
        self.core.is_ready()
    }

    /// Requests and reads of this life that are not answered.
    pub const fn outstanding(&self) -> u32 {
        *self.outstanding
    }

    /// Submits a transaction. `None`: not taken, nothing happened.
    pub fn submit(&mut self, txn: &Txn) -> Option<RequestId> {
        let request = self.core.submit(self.now, txn).ok()?;
        self.order.on_submitted(request);
        *self.outstanding += 1;
        self.env.trace.event(
            self.env.now,
            Actor::Client(self.client),
            crate::world::event_kind::EventKind::Submit,
            &request.0.to_le_bytes(),
        );
        self.env.tell(Actor::Client(self.client), || format!("submits {request} {txn:?}"));
        Some(request)
    }

    /// Begins a read. `None`: not taken, nothing happened.
    pub fn read(&mut self, query: ReadQuery, consistency: Consistency) -> Option<ReadId> {
        let what = query.clone();
        let read = self.core.read(self.now, query, consistency).ok()?;
        self.note_read(read, consistency, &what);
        Some(read)
    }

    /// Begins a read behind every request so far and in front of all later ones. `None`: not taken,
    /// nothing happened.
    pub fn read_in_order(&mut self, query: ReadQuery, consistency: Consistency) -> Option<ReadId> {
        let what = query.clone();
        let read = self.core.read_in_order(self.now, query, consistency).ok()?;
        self.order.on_begun(read, self.core.last_request(), self.core.is_ready());
        self.note_read(read, consistency, &what);
        Some(read)
    }

    /// Begins a read in order that sets a watch. `None`: not taken, nothing happened.
    pub fn read_and_watch(
        &mut self,
        query: ReadQuery,
        consistency: Consistency,
        (filter, mask, once): (WatchFilter, EventMask, bool),
    ) -> Option<(ReadId, WatchId)> {
        let what = query.clone();
        let line = format!("watches {filter:?} {mask:?} once {once} by a read");
        let watch = (filter.clone(), mask, once);
        let (read, watch) = self.core.read_and_watch(self.now, query, consistency, watch).ok()?;
        self.order.on_begun(read, self.core.last_request(), self.core.is_ready());
        self.note_read(read, consistency, &what);
        self.by_reads.insert(read, watch);
        self.env.judges.watches.on_set((self.life, watch), filter, mask, once, None);
        self.env.tell(Actor::Client(self.client), || format!("{watch}: {line}"));
        Some((read, watch))
    }

    fn note_read(&mut self, read: ReadId, consistency: Consistency, what: &ReadQuery) {
        let client = self.client;
        let floor = self.env.judges.fresh_reads.floor(self.life, consistency);
        self.floors.insert(read, floor);
        *self.outstanding += 1;
        self.env.trace.event(
            self.env.now,
            Actor::Client(client),
            crate::world::event_kind::EventKind::Read,
            &read.0.to_le_bytes(),
        );
        let id = read.0;
        self.env.tell(Actor::Client(client), || {
            format!("begins read {id} {consistency:?} {what:?}, due at {floor}")
        });
    }

    /// Sets a watch. `None`: not taken, nothing happened.
    pub fn watch(
        &mut self,
        filter: WatchFilter,
        mask: EventMask,
        once: bool,
        from: Option<Revision>,
    ) -> Option<WatchId> {
        let line = format!("watches {filter:?} {mask:?} once {once} from {from:?}");
        let watch = self.core.watch(self.now, filter.clone(), mask, once, from).ok()?;
        self.env.judges.watches.on_set((self.life, watch), filter, mask, once, from);
        self.env.tell(Actor::Client(self.client), || format!("{watch}: {line}"));
        Some(watch)
    }

    /// Ends a watch.
    pub fn unwatch(&mut self, watch: WatchId) {
        self.core.unwatch(self.now, watch);
        self.env.judges.watches.on_ended(self.life, watch);
        self.env.tell(Actor::Client(self.client), || format!("unwatches {watch}"));
    }

    /// Does this with the client, after the step; only in [`super::Workload::step`].
    pub const fn intend(&mut self, intent: Intent) {
        *self.intent = Some(intent);
    }

    /// Closes the session, once all that is under way is answered.
    pub fn close(&mut self) {
        self.core.close(self.now);
        self.env.tell(Actor::Client(self.client), || "closes".to_owned());
    }

    /// Reports that what clients saw is not what the model allows.
    pub fn fail(&mut self, detail: impl Into<String>) {
        self.env.fail(Property::Workload, detail);
    }
}
