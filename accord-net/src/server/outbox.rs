//! A connection as the driver and its task share it: the front-end, and what it has to send.
//!
//! The driver fills the outbox with what the front-end makes of the server's messages, and the
//! task empties it. The core bounds how many messages wait: it hangs up on clients that do not take
//! them.

use accord_core::gateway::front_end::{FrontEnd, Malformed, Next};
use accord_core::gateway::message::ServerMessage;
use accord_core::ids::ConnId;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::task::Waker;

/// A connection as the driver knows it: what is to leave, and whom to wake for it.
pub(super) struct Outbox {
    id: ConnId,
    front_end: RefCell<Box<dyn FrontEnd>>,
    waiting: RefCell<Waiting>,
    waker: RefCell<Option<Waker>>,
    closing: Cell<bool>,
    attached: Cell<bool>,
}

/// What was said and has not begun to leave.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) bytes: Vec<u8>,
    pub(super) messages: usize,
}

impl Waiting {
    /// True if there is nothing to send, and nothing to count as sent.
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.messages == 0
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Outbox {
    pub(super) fn new(id: ConnId, front_end: Box<dyn FrontEnd>) -> Self {
        Self {
            id,
            front_end: RefCell::new(front_end),
            waiting: RefCell::default(),
            waker: RefCell::new(None),
            closing: Cell::new(false),
            attached: Cell::new(false),
        }
    }

    /// Queues a message. The core bounds how many.
    pub(super) fn send(&self, message: &ServerMessage) {
        let waiting = &mut *self.waiting.borrow_mut();
        self.front_end.borrow_mut().say(message, &mut waiting.bytes);
        waiting.messages += 1;
        self.wake();
    }

    /// Hands the front-end bytes that arrived.
    pub(super) fn receive(&self, bytes: Bytes) {
        self.front_end.borrow_mut().receive(bytes);
    }

    /// What the front-end wants next.
    pub(super) fn next(&self) -> Result<Next, Malformed> {
        self.front_end.borrow_mut().next()
    }

    /// What the front-end keeps that counts for all clients together.
    pub(super) fn fragment_bytes(&self) -> usize {
        self.front_end.borrow().fragment_bytes()
    }

    /// No more is said: the connection ends when what was said has left.
    pub(super) fn close(&self) {
        self.closing.set(true);
        self.wake();
    }

    /// The connection has a session.
    pub(super) fn on_attached(&self) {
        self.attached.set(true);
    }

    /// Lets the connection's task run.
    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// The connection that the messages are for.
    pub(super) const fn id(&self) -> ConnId {
        self.id
    }

    /// True once no more is said.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// True once the connection has a session.
    pub(super) fn is_attached(&self) -> bool {
        self.attached.get()
    }

    /// Takes what waits.
    pub(super) fn take(&self) -> Waiting {
        std::mem::take(&mut *self.waiting.borrow_mut())
    }

    /// The task to run when something changes.
    pub(super) fn set_waker(&self, waker: &Waker) {
        match &mut *self.waker.borrow_mut() {
            Some(known) => known.clone_from(waker),
            unknown => *unknown = Some(waker.clone()),
        }
    }
}
