//! Looks into a running server: for simulated worlds, which judge more than clients can see.

use super::Running;
use super::driver::Witness;
use crate::env::Env;
use accord_core::server::{Input, Server};

impl<E: Env> Running<E> {
    /// From the next turn of the pump on, `witness` is shown the server.
    pub fn set_witness(&self, witness: Witness) {
        self.driver.set_witness(witness);
    }

    /// Looks at the server.
    pub fn look<T>(&self, look: impl FnOnce(&Server) -> T) -> T {
        self.driver.look(look)
    }

    /// Hands the server an input, as an operator's connection would.
    pub fn tell(&self, input: Input) {
        self.driver.hand_in(input);
    }

    /// Hangs up on every client.
    pub fn hang_up_all(&self) {
        self.driver.hang_up_all();
    }
}
