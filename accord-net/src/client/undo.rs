//! Calls that leave nothing behind if their caller does not wait for them to the end.
//!
//! A place in a line that was asked for and is no longer wanted must not stay there, and an item
//! whose taker is gone goes back. Since the request may be anywhere on its way when the
//! caller goes, what it did is undone when it is known: at once if the outcome has come, else when
//! it comes; and if it stays unknown, it is asked for again as long as the session lives.

use super::error::Error;
use super::shared::{RequestResult, Shared, Undo};
use super::txn::Txn;
use super::{Client, Done, done};
use accord_core::client::Cause;
use accord_core::ids::RequestId;
use accord_core::state::OpRef;
use accord_core::wire::Encode;
use std::sync::Arc;
use tokio::sync::oneshot;

/// A request whose caller may go.
struct Undoable {
    shared: Arc<Shared>,
    request: RequestId,
    waiting: Option<oneshot::Receiver<RequestResult>>,
    undo: Undo,
}

impl Undoable {
    async fn outcome(mut self) -> Result<Done, Error> {
        let Some(waiting) = &mut self.waiting else { unreachable!("it is taken below") };
        let result = waiting.await.unwrap_or(Err(Error::Unknown(Cause::SessionLost)));
        self.waiting = None;
        match result {
            Err(Error::Unknown(_)) => self.shared.pursue(self.request, self.undo.clone()),
            _ => self.shared.forget(self.request),
        }
        result.and_then(done)
    }
}

impl Drop for Undoable {
    fn drop(&mut self) {
        let Some(mut waiting) = self.waiting.take() else { return };
        // From here on the outcome finds no receiver, or it has come.
        waiting.close();
        match waiting.try_recv() {
            Ok(Ok(outcome)) => {
                self.shared.forget(self.request);
                if let Some(txn) = (self.undo)(&outcome) {
                    self.shared.submit_unattended(txn);
                }
            }
            Ok(Err(Error::Unknown(_))) => self.shared.pursue(self.request, self.undo.clone()),
            Ok(Err(Error::Failed(_))) | Err(_) => {}
        }
    }
}

impl Client {
    /// Runs a transaction. If it is not known to this caller in the end that it was done, because
    /// the caller goes or the outcome is unknown, and it is done after all, `undo` tells the
    /// transaction that undoes it.
    pub(super) async fn txn_or_undo(
        &self,
        txn: Txn,
        undo: impl Fn(&Done) -> Option<Txn> + Send + Sync + 'static,
    ) -> Result<Done, Error> {
        let undo: Undo = Arc::new(move |outcome| {
            let done = done(outcome.clone()).ok()?;
            undo(&done).map(|txn| OpRef::Kv(txn.as_core()).to_bytes())
        });
        let shared = self.shared().clone();
        let encoded = OpRef::Kv(txn.as_core()).to_bytes();
        let submitted = shared.submit(encoded, self.timeout, Some(undo.clone())).await?;
        let (request, waiting) = submitted;
        Undoable { shared, request, waiting: Some(waiting), undo }.outcome().await
    }
}
