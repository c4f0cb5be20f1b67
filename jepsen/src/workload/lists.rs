//! Transactions over lists on any system that has them: one lane of one client.

use super::{Ended, Record};
use crate::systems::{Persistent, Session};
use accord_workloads::lists::{Lists, Part, TXN, Transactions, input, output, query};
use accord_workloads::{Outcome, Seeded};
use std::sync::{Arc, Mutex, PoisonError};

/// What all lanes share.
pub type Shared = Arc<Mutex<Transactions>>;

/// One transaction after the other, until it is to stop.
pub async fn lane<S: Session + Lists>(
    shared: Shared,
    record: Arc<Record>,
    client: u64,
    session: Arc<Persistent<S>>,
    mut draw: Seeded,
) {
    while !record.is_stopped() {
        let op = shared.lock().unwrap_or_else(PoisonError::into_inner).next(&mut draw);
        one(&shared, &record, client, &session, op.parts()).await;
        record.renew(&session, || record.is_stopped()).await;
    }
}

/// Reads every list in use, once. Waits for the system as long as it takes.
pub async fn conclude<S: Session + Lists>(
    shared: Shared,
    record: Arc<Record>,
    client: u64,
    session: Arc<Persistent<S>>,
) {
    let keys = shared.lock().unwrap_or_else(PoisonError::into_inner).current();
    for key in keys {
        one(&shared, &record, client, &session, query(key, 1)).await;
        record.renew(&session, || false).await;
    }
}

async fn one<S: Session + Lists>(
    shared: &Shared,
    record: &Record,
    client: u64,
    session: &Persistent<S>,
    parts: Vec<Part>,
) {
    let through = session.session().await;
    let id = record.invoke(client, TXN, input(&parts));
    let ended = match through.transact(&parts).await {
        Outcome::Done(lists) => {
            let generator = &mut *shared.lock().unwrap_or_else(PoisonError::into_inner);
            generator.on_answer(&parts, &lists);
            Ended::Ok(output(&parts, &lists))
        }
        Outcome::Failed(why) => Ended::Failed(why),
        Outcome::Unknown(why) => Ended::Unknown(why),
    };
    record.complete(client, id, ended);
}
