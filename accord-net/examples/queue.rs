//! A queue: two producers, three consumers, and every item is taken once.
//!
//! `cargo run -p accord-net --example queue`
//!
//! An item is a record whose key has a number from the order of all writes, so the queue has one
//! order for everybody. A consumer takes an item in a transaction that reads and deletes it: two
//! consumers cannot both.

pub mod common;

use accord_net::client::Client;
use accord_net::client::recipes::Queue;
use common::{Outcome, Servers};
use tokio::sync::mpsc;

const PRODUCERS: usize = 2;
const CONSUMERS: usize = 3;
const ITEMS: usize = 10;
/// What tells a consumer to go home.
const ENOUGH: &str = "enough";

#[tokio::main]
async fn main() -> Outcome {
    run(&Servers::from_args()?).await
}

/// Lets producers produce and consumers consume.
pub async fn run(servers: &Servers) -> Outcome {
    let (taken, mut receipts) = mpsc::unbounded_channel();
    let mut consumers = Vec::new();
    for number in 0..CONSUMERS {
        consumers.push(tokio::spawn(consume(number, servers.client().await?, taken.clone())));
    }
    drop(taken);
    let mut producers = Vec::new();
    for number in 0..PRODUCERS {
        producers.push(tokio::spawn(produce(number, servers.client().await?)));
    }
    for producer in producers {
        producer.await??;
    }
    let closer = servers.client().await?;
    for _ in 0..CONSUMERS {
        Queue::new(&closer, "jobs").push(ENOUGH).await?;
    }
    for consumer in consumers {
        consumer.await??;
    }
    let mut all = Vec::new();
    while let Some(item) = receipts.recv().await {
        all.push(item);
    }
    all.sort();
    all.dedup();
    println!("{} different items were taken, {} were pushed", all.len(), PRODUCERS * ITEMS);
    assert_eq!(all.len(), PRODUCERS * ITEMS);
    Ok(())
}

async fn produce(number: usize, client: Client) -> Outcome {
    let queue = Queue::new(&client, "jobs");
    for item in 0..ITEMS {
        queue.push(format!("job {item} of producer {number}")).await?;
    }
    Ok(())
}

async fn consume(number: usize, client: Client, taken: mpsc::UnboundedSender<String>) -> Outcome {
    let queue = Queue::new(&client, "jobs");
    loop {
        let item = queue.pop_wait().await?;
        let item = String::from_utf8_lossy(&item).into_owned();
        if item == ENOUGH {
            return Ok(());
        }
        println!("consumer {number} takes {item}");
        taken.send(item)?;
    }
}
