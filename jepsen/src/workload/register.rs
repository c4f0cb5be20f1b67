//! Registers: read, write and compare-and-set; each key must be linearizable.
//!
//! Every value written is different, so a read tells which write it saw. Some reads go through the
//! order as steps of a transaction, some beside it as linearizable queries.

use super::{Ended, Persistent, Record};
use accord_models::edn::Value;
use accord_net::client::txn::{Steps, Txn, exists, value};
use accord_net::client::{Client, Error, Failure};
use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Operations on one register before clients move on to fresh ones: what a checker decides fast.
const OPERATIONS_MAX: u64 = 400;

/// What all lanes share.
#[derive(Debug)]
pub struct Registers {
    /// Registers in use at a time.
    width: u64,
    last_value: AtomicI64,
    operations: AtomicU64,
}

/// What one operation is.
#[derive(Clone, Copy, Debug)]
enum Op {
    Read { ordered: bool },
    Write { to: i64 },
    Cas { from: i64, to: i64 },
}

impl Registers {
    /// Registers that nobody wrote.
    pub fn new(width: u64) -> Arc<Self> {
        let (last_value, operations) = (AtomicI64::new(0), AtomicU64::new(0));
        Arc::new(Self { width: width.max(1), last_value, operations })
    }

    fn next_key(&self, rng: &mut Xoshiro256PlusPlus) -> u64 {
        let done = self.operations.fetch_add(1, Ordering::Relaxed);
        let first = done / (OPERATIONS_MAX * self.width) * self.width;
        first + rng.random_range(0..self.width)
    }

    fn next_value(&self) -> i64 {
        self.last_value.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// One lane of one client: one operation after the other, until it is to stop.
    pub async fn lane(
        self: Arc<Self>,
        record: Arc<Record>,
        client: u64,
        session: Arc<Persistent>,
        mut rng: Xoshiro256PlusPlus,
    ) {
        let mut seen: Option<(u64, i64)> = None;
        while !record.is_stopped() {
            let key = self.next_key(&mut rng);
            let op = match (rng.random_range(0..100), seen) {
                (0..35, _) => Op::Write { to: self.next_value() },
                (35..60, Some((at, from))) if at == key => Op::Cas { from, to: self.next_value() },
                (60..75, _) => Op::Read { ordered: true },
                _ => Op::Read { ordered: false },
            };
            let through = session.client().await;
            let (name, asked) = describe(key, op);
            let id = record.invoke(client, name, asked);
            let ended = carry_out(&through, key, op, &mut seen).await;
            if !record.complete(client, id, ended) {
                session.replace(&through, &record).await;
            }
        }
    }
}

fn name(key: u64) -> String {
    format!("register/{key}")
}

fn describe(key: u64, op: Op) -> (&'static str, Value) {
    let (name, value) = match op {
        Op::Read { .. } => ("read", Value::Nil),
        Op::Write { to } => ("write", Value::Int(to)),
        Op::Cas { from, to } => ("cas", Value::vector([Value::Int(from), Value::Int(to)])),
    };
    (name, Value::vector([Value::from(key), value]))
}

async fn carry_out(client: &Client, key: u64, op: Op, seen: &mut Option<(u64, i64)>) -> Ended {
    match try_carry_out(client, key, op, seen).await {
        Ok(ended) => ended,
        Err(error) => Ended::Error(error),
    }
}

async fn try_carry_out(
    client: &Client,
    key: u64,
    op: Op,
    seen: &mut Option<(u64, i64)>,
) -> Result<Ended, Error> {
    let (_, asked) = describe(key, op);
    match op {
        Op::Write { to } => {
            client.put(name(key), to.to_string()).await?;
            *seen = Some((key, to));
            Ok(Ended::Ok(asked))
        }
        Op::Cas { from, to } => {
            let set = Steps::new().put(name(key), to.to_string());
            let guard = value(name(key)).equals(from.to_string());
            if client.txn(Txn::when(guard).then(set)).await?.held() {
                *seen = Some((key, to));
                return Ok(Ended::Ok(asked));
            }
            *seen = None;
            Ok(Ended::Refused("another-value"))
        }
        Op::Read { ordered } => {
            let found = read(client, key, ordered).await?;
            let number = match &found {
                None => None,
                Some(bytes) => Some(number(bytes)?),
            };
            *seen = number.map(|number| (key, number));
            let shown = number.map_or(Value::Nil, Value::Int);
            Ok(Ended::Ok(Value::vector([Value::from(key), shown])))
        }
    }
}

async fn read(client: &Client, key: u64, ordered: bool) -> Result<Option<bytes::Bytes>, Error> {
    if !ordered {
        return Ok(client.get(name(key)).await?.map(|record| record.value));
    }
    let read = Txn::when(exists(name(key))).then(Steps::new().get(name(key)));
    Ok(client.txn(read).await?.value(0).cloned())
}

fn number(value: &[u8]) -> Result<i64, Error> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok()).ok_or(Error::Failed(Failure::Unexpected))
}
