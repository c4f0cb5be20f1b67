//! The client's task without the handles: for simulated worlds, which bring handles of their own.
//!
//! What moves bytes is all real: connecting, framing, reconnecting, deadlines, back-pressure. In
//! the place of an application's calls, the core's client is handed out to be asked directly, and
//! everything that it tells is heard in order.

use super::options::ClientOptions;
pub use super::shared::Hears;
use super::shared::Shared;
use super::task;
use crate::env::Env;
use accord_core::client::Client as Core;
use accord_core::time::Instant;
use std::sync::Arc;

/// A client whose core is in the open.
#[derive(Debug)]
pub struct RawClient {
    shared: Arc<Shared>,
}

impl RawClient {
    /// Begins a session. The task runs where the world's tasks do.
    pub fn start<E: Env>(env: &E, options: ClientOptions, hears: Hears) -> Self {
        let shared = Arc::new(Shared::new(options, env.draw(), env.clock()).heard_by(hears));
        env.spawn(task::run(env.clone(), shared.clone()));
        Self { shared }
    }

    /// Looks at the core.
    pub fn look<T>(&self, look: impl FnOnce(&Core) -> T) -> T {
        look(&self.shared.lock().core)
    }

    /// Does something with the core at the client's present time, and has the task carry out what
    /// comes of it.
    pub fn with_core<T>(&self, act: impl FnOnce(&mut Core, Instant) -> T) -> T {
        let now = self.shared.now();
        let done = act(&mut self.shared.lock().core, now);
        self.shared.wake.notify_one();
        done
    }
}
