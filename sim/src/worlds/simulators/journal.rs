//! A persistent server's journal in a simulated world: the real store on a simulated disk, whose
//! syncs take simulated time. Nothing of it needs a thread.

use super::env::HostEnv;
use super::simulator::Simulator;
use crate::world::disk::Synced;
use crate::world::engine::Engine;
use accord_core::replica::io::Ticket;
use accord_net::env::Env as _;
use accord_net::server::journal::{Batch, Journal, Written};
use accord_net::storage::StorageError;
use std::cell::RefCell;
use std::rc::Rc;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Mutex, Notify};

/// Makes records durable on the disk of one machine.
#[derive(Debug)]
pub(super) struct SimJournal {
    engine: Rc<RefCell<Engine>>,
    more: Rc<Notify>,
    written: Mutex<UnboundedReceiver<Result<Ticket, StorageError>>>,
}

impl SimJournal {
    /// Begins a journal on an engine that is open; its task is the process's.
    pub(super) fn start<S: Simulator>(env: &HostEnv<S>, engine: Rc<RefCell<Engine>>) -> Self {
        let (told, written) = unbounded_channel();
        let more = Rc::new(Notify::new());
        env.spawn(write_all(env.clone(), engine.clone(), more.clone(), told));
        Self { engine, more, written: Mutex::new(written) }
    }
}

impl Journal for SimJournal {
    fn write(&self, batch: Batch) {
        let engine = &mut *self.engine.borrow_mut();
        batch.iter().for_each(|(ticket, record)| engine.push(*ticket, record));
        self.more.notify_one();
    }

    fn written(&self) -> Written<'_> {
        Box::pin(async {
            match self.written.lock().await.recv().await {
                Some(result) => result,
                None => std::future::pending().await,
            }
        })
    }
}

async fn write_all<S: Simulator>(
    env: HostEnv<S>,
    engine: Rc<RefCell<Engine>>,
    more: Rc<Notify>,
    told: UnboundedSender<Result<Ticket, StorageError>>,
) {
    loop {
        more.notified().await;
        while engine.borrow().has_waiting() {
            engine.borrow_mut().begin();
            let takes = env.machine(|machine| machine.draw_sync());
            env.sleep_until(env.now() + takes).await;
            let failing = env.machine(|machine| std::mem::take(&mut machine.failing));
            let synced = engine.borrow_mut().complete(failing);
            let result = match synced {
                Synced::UpTo(ticket) => Ok(ticket),
                Synced::Failed => Err(StorageError::Failed { first: "a sync failed".to_owned() }),
            };
            let failed = result.is_err();
            // Nobody listens once the server is gone.
            let _ = told.send(result);
            if failed {
                return;
            }
        }
    }
}
