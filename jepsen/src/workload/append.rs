//! Transactions: append to lists and read them, several at once; the whole must be strictly
//! serializable. A write that was lost, or that ran twice, shows in a list.

use super::{Ended, Persistent, Record};
use accord_core::state::{Flags, ListQuery, Range, Step, StepResult};
use accord_models::edn::Value;
use accord_net::client::txn::Steps;
use accord_net::client::{Client, Done, Error, Failure, IntoBytes};
use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// The width of an element, in bytes.
const ELEMENT_BYTES: usize = 9;
/// Transactions on one list before clients move on to fresh ones.
const TRANSACTIONS_MAX: u64 = 60;
/// The most steps of a transaction.
const STEPS_MAX: u64 = 4;

/// What all lanes share.
#[derive(Debug)]
pub struct Lists {
    width: u64,
    last_element: AtomicI64,
    transactions: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Append { key: u64, element: i64 },
    Read { key: u64 },
}

impl Lists {
    /// Lists that are empty.
    pub fn new(width: u64) -> Arc<Self> {
        let (last_element, transactions) = (AtomicI64::new(0), AtomicU64::new(0));
        Arc::new(Self { width: width.max(1), last_element, transactions })
    }

    fn draw(&self, rng: &mut Xoshiro256PlusPlus) -> Vec<Part> {
        let done = self.transactions.fetch_add(1, Ordering::Relaxed);
        let first = done / (TRANSACTIONS_MAX * self.width) * self.width;
        let parts = (0..rng.random_range(1..=STEPS_MAX)).map(|_| {
            let key = first + rng.random_range(0..self.width);
            if rng.random_ratio(1, 2) {
                return Part::Read { key };
            }
            let element = self.last_element.fetch_add(1, Ordering::Relaxed) + 1;
            Part::Append { key, element }
        });
        parts.collect()
    }

    /// One lane of one client: one transaction after the other, until it is to stop.
    pub async fn lane(
        self: Arc<Self>,
        record: Arc<Record>,
        client: u64,
        session: Arc<Persistent>,
        mut rng: Xoshiro256PlusPlus,
    ) {
        while !record.is_stopped() {
            let parts = self.draw(&mut rng);
            let through = session.client().await;
            let id = record.invoke(client, "txn", Value::vector(parts.iter().map(asked)));
            let ended = match transact(&through, &parts).await {
                Ok(value) => Ended::Ok(value),
                Err(error) => Ended::Error(error),
            };
            if !record.complete(client, id, ended) {
                session.replace(&through, &record).await;
            }
        }
    }
}

fn name(key: u64) -> String {
    format!("list/{key:08}")
}

fn asked(part: &Part) -> Value {
    match part {
        Part::Append { key, element } => {
            Value::vector([Value::keyword("append"), Value::from(*key), Value::Int(*element)])
        }
        Part::Read { key } => Value::vector([Value::keyword("r"), Value::from(*key), Value::Nil]),
    }
}

async fn transact(client: &Client, parts: &[Part]) -> Result<Value, Error> {
    let done = client.txn(parts.iter().fold(Steps::new(), add)).await?;
    answer(parts, &done).ok_or(Error::Failed(Failure::Unexpected))
}

fn add(steps: Steps, part: &Part) -> Steps {
    match part {
        Part::Append { key, element } => {
            let flags = Flags::CREATE | Flags::APPEND;
            steps.write(name(*key), format!("{element:0ELEMENT_BYTES$}"), 0, flags)
        }
        // A list step also reads what does not exist.
        Part::Read { key } => {
            let (from, until) = (name(*key).into_bytes(), Some(name(*key + 1).into_bytes()));
            let (from, until) = (IntoBytes::into_bytes(from), until.map(IntoBytes::into_bytes));
            let range = Range::Span { from, until };
            steps.step(Step::List(ListQuery { range, after: None, limit: 1, keys_only: false }))
        }
    }
}

fn answer(parts: &[Part], done: &Done) -> Option<Value> {
    let mut answers = Vec::new();
    for (part, result) in parts.iter().zip(done.results.iter()) {
        answers.push(match (part, result) {
            (Part::Append { .. }, StepResult::Written { .. }) => asked(part),
            (Part::Read { key }, StepResult::Listed(page)) => {
                let list = match page.entries.first() {
                    None => Vec::new(),
                    Some(entry) => elements(entry.value.as_ref()?)?,
                };
                let list = Value::vector(list.into_iter().map(Value::Int));
                Value::vector([Value::keyword("r"), Value::from(*key), list])
            }
            _ => return None,
        });
    }
    Some(Value::vector(answers))
}

fn elements(value: &[u8]) -> Option<Vec<i64>> {
    let chunks = value.chunks(ELEMENT_BYTES);
    chunks
        .map(|chunk| {
            let digits = std::str::from_utf8(chunk).ok()?;
            if chunk.len() == ELEMENT_BYTES { digits.parse().ok() } else { None }
        })
        .collect()
}
