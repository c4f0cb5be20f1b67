//! What waits to be sent to a client: filled by the driver, emptied by the connection's task.
//!
//! The core bounds how many messages wait: it hangs up on clients that do not take them.

use crate::frame::write_message;
use accord_core::ids::ConnId;
use accord_core::protocol::{ServerMessage, encode_server_into};
use accord_core::wire::Writer;
use std::cell::{Cell, RefCell};
use std::task::Waker;

/// A connection as the driver knows it: what is to leave, and whom to wake for it.
#[derive(Debug)]
pub(super) struct Outbox {
    id: ConnId,
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

impl Outbox {
    pub(super) fn new(id: ConnId) -> Self {
        Self {
            id,
            waiting: RefCell::default(),
            waker: RefCell::new(None),
            closing: Cell::new(false),
            attached: Cell::new(false),
        }
    }

    /// Queues a message. The core bounds how many.
    pub(super) fn send(&self, message: &ServerMessage) {
        let waiting = &mut *self.waiting.borrow_mut();
        write_message(&mut waiting.bytes, |bytes| {
            let mut writer = Writer::from(std::mem::take(bytes));
            encode_server_into(message, &mut writer);
            *bytes = writer.into_vec();
        });
        waiting.messages += 1;
        self.wake();
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
