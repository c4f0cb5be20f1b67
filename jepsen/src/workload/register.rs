//! Registers on any system that has them: one lane of one client.

use super::{Ended, Record};
use crate::systems::{Persistent, Session};
use accord_workloads::register::{Op, ReadPath, Register, Registers, carry_out};
use accord_workloads::{Outcome, Seeded};
use std::sync::{Arc, Mutex, PoisonError};

/// What all lanes share.
pub type Shared = Arc<Mutex<Registers>>;

/// One operation after the other, until it is to stop.
pub async fn lane<S: Session + Register>(
    shared: Shared,
    record: Arc<Record>,
    client: u64,
    session: Arc<Persistent<S>>,
    mut draw: Seeded,
) {
    while !record.is_stopped() {
        let op = shared.lock().unwrap_or_else(PoisonError::into_inner).next(&mut draw);
        one(&shared, &record, client, &session, op).await;
        record.renew(&session, || record.is_stopped()).await;
    }
}

/// Reads every register in use, once. Waits for the system as long as it takes.
pub async fn conclude<S: Session + Register>(
    shared: Shared,
    record: Arc<Record>,
    client: u64,
    session: Arc<Persistent<S>>,
) {
    let keys = shared.lock().unwrap_or_else(PoisonError::into_inner).keys();
    for key in keys {
        let op = Op::Read { key, path: ReadPath::Linearizable };
        one(&shared, &record, client, &session, op).await;
        record.renew(&session, || false).await;
    }
}

async fn one<S: Session + Register>(
    shared: &Shared,
    record: &Record,
    client: u64,
    session: &Persistent<S>,
    op: Op,
) {
    // Local reads promise less than the history is judged by.
    let op = match op {
        Op::Read { key, path: ReadPath::Local } => Op::Read { key, path: ReadPath::Linearizable },
        op => op,
    };
    let through = session.session().await;
    let id = record.invoke(client, op.f(), op.input());
    let ended = match carry_out(&*through, op).await {
        Outcome::Done(answer) => {
            shared.lock().unwrap_or_else(PoisonError::into_inner).on_answer(op, answer);
            op.output(answer).map_or_else(Ended::Refused, Ended::Ok)
        }
        Outcome::Failed(why) => Ended::Failed(why),
        Outcome::Unknown(why) => Ended::Unknown(why),
    };
    record.complete(client, id, ended);
}
