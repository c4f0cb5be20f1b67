//! Looks into a running server: for simulated worlds, which judge more than clients can see.

use super::Running;
use super::driver::{Driver, Inner};
use crate::env::Env;
use accord_core::group::ViewId;
use accord_core::server::{Input, Server};
use std::cell::{Cell, RefCell};
use std::fmt;

/// Is shown the server, and the view that its group told last, after every turn of the pump and
/// before anything that came of it has left.
pub type Witness = Box<dyn FnMut(&mut Server, Option<ViewId>)>;

/// The place of a witness.
#[derive(Default)]
pub(super) struct Seat {
    witness: RefCell<Option<Witness>>,
    pub(super) view: Cell<Option<ViewId>>,
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").finish_non_exhaustive()
    }
}

impl<E: Env> Driver<E> {
    pub(super) fn show_witness(&self, inner: &mut Inner) {
        if let Some(witness) = &mut *self.seat.witness.borrow_mut() {
            witness(&mut inner.server, self.seat.view.get());
        }
    }
}

impl<E: Env> Running<E> {
    /// From the next turn of the pump on, `witness` is shown the server.
    pub fn set_witness(&self, witness: Witness) {
        self.driver.inner.borrow_mut().server.witness();
        *self.driver.seat.witness.borrow_mut() = Some(witness);
    }

    /// Looks at the server.
    pub fn look<T>(&self, look: impl FnOnce(&Server) -> T) -> T {
        look(&self.driver.inner.borrow().server)
    }

    /// Tells the server something, as an operator's connection would.
    pub fn tell(&self, input: Input) {
        self.driver.inner.borrow_mut().server.handle(self.driver.env.now(), input);
        self.driver.turn.notify_one();
    }

    /// Hangs up on every client.
    pub fn hang_up_all(&self) {
        self.driver.hang_up_all();
    }
}
