//! What waits to be sent to one server outside the group's order, and when to give a stream up.

use accord_core::ids::NodeId;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use tokio::sync::Notify;

/// What waits to be sent to one server.
#[derive(Debug)]
pub(super) struct PeerOutbox {
    node: NodeId,
    address: SocketAddr,
    /// It does not belong to the cluster any more, or is elsewhere: what waits is the last.
    closed: Cell<bool>,
    queue: RefCell<VecDeque<Bytes>>,
    /// Invariant: the sum of the queue's lengths.
    bytes: Cell<usize>,
    bytes_max: usize,
    /// The list of servers, until it is sent. Tried without end: a server without it is kept out.
    roster: RefCell<Option<Bytes>>,
    /// What was sent of it over the present stream: sent again over the next one.
    told: RefCell<Option<Bytes>>,
    more: Notify,
    /// Its server was in the group's last view.
    present: Cell<bool>,
    /// The present stream is to be given up.
    renewed: Notify,
}

impl PeerOutbox {
    pub(super) fn new(node: NodeId, address: SocketAddr, bytes_max: usize) -> Self {
        Self {
            node,
            address,
            closed: Cell::new(false),
            queue: RefCell::default(),
            bytes: Cell::new(0),
            bytes_max,
            roster: RefCell::default(),
            told: RefCell::default(),
            more: Notify::new(),
            present: Cell::new(false),
            renewed: Notify::new(),
        }
    }

    /// Its server is in the group's view, or not. If it is back, what waits for it is stale, and
    /// the stream may hang.
    pub(super) fn note_presence(&self, present: bool) {
        let was_present = self.present.replace(present);
        if present && !was_present {
            self.on_broken();
            self.renewed.notify_waiters();
        }
    }

    /// Queues a message. False if it was dropped, because too much waits.
    pub(super) fn push(&self, message: Bytes) -> bool {
        let bytes = self.bytes.get() + message.len();
        if self.bytes.get() > 0 && bytes > self.bytes_max {
            return false;
        }
        self.bytes.set(bytes);
        self.queue.borrow_mut().push_back(message);
        self.more.notify_one();
        true
    }

    pub(super) fn pop(&self) -> Option<Bytes> {
        let message = self.queue.borrow_mut().pop_front()?;
        self.bytes.set(self.bytes.get() - message.len());
        Some(message)
    }

    /// Lets it know which servers there are, in the place of what it was not told yet.
    pub(super) fn push_roster(&self, message: Bytes) {
        *self.roster.borrow_mut() = Some(message);
        self.more.notify_one();
    }

    /// This was sent. It may have been replaced meanwhile.
    pub(super) fn roster_sent(&self, sent: &Bytes) {
        self.roster.borrow_mut().take_if(|roster| roster == sent);
        *self.told.borrow_mut() = Some(sent.clone());
    }

    /// The stream broke: what was on its way is lost, and what waited is stale by the time that
    /// another one stands. Which servers there are is told again.
    pub(super) fn on_broken(&self) {
        while self.pop().is_some() {}
        let told = self.told.borrow_mut().take();
        let roster = &mut *self.roster.borrow_mut();
        *roster = roster.take().or(told);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty() && self.roster.borrow().is_none()
    }

    /// Where it is taken to be.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the stream once what waits is sent.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.more.notify_one();
    }

    pub(super) fn is_done(&self) -> bool {
        self.closed.get() && self.is_empty()
    }

    /// The server that it is for.
    pub(super) const fn node(&self) -> NodeId {
        self.node
    }

    /// Which servers there are, if that is to be sent.
    pub(super) fn roster(&self) -> Option<Bytes> {
        self.roster.borrow().clone()
    }

    /// True once what waits is the last.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Waits until there may be more to send.
    pub(super) async fn more(&self) {
        self.more.notified().await;
    }

    /// Does something that concerns the present stream; `None` if that is to be given up instead.
    pub(super) async fn unless_renewed<T>(&self, attempt: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.renewed.notified() => None,
            done = attempt => Some(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_that_hangs_is_given_up_when_its_server_is_back_in_the_group() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let outbox = PeerOutbox::new(NodeId(2), address, 1 << 20);
        let roster = Bytes::from_static(b"roster");
        outbox.note_presence(true);
        outbox.push_roster(roster.clone());
        outbox.roster_sent(&roster);
        outbox.note_presence(false);
        outbox.push(Bytes::from_static(b"stale"));
        let back = async {
            outbox.note_presence(true);
            outbox.push(Bytes::from_static(b"asked again"));
        };
        let (stream, ()) = tokio::join!(outbox.unless_renewed(std::future::pending::<()>()), back);
        assert_eq!(stream, None);
        assert_eq!(outbox.pop(), Some(Bytes::from_static(b"asked again")));
        assert_eq!((outbox.pop(), outbox.roster.borrow().clone()), (None, Some(roster)));
    }

    #[tokio::test]
    async fn a_stream_is_kept_while_its_server_stays_in_the_group() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let outbox = PeerOutbox::new(NodeId(2), address, 1 << 20);
        outbox.note_presence(true);
        outbox.push(Bytes::from_static(b"kept"));
        let stays = async { outbox.note_presence(true) };
        let work = async { tokio::task::yield_now().await };
        let (stream, ()) = tokio::join!(outbox.unless_renewed(work), stays);
        assert_eq!((stream, outbox.pop()), (Some(()), Some(Bytes::from_static(b"kept"))));
    }
}
