//! A lock: three workers change a balance that bears no two writers at once.
//!
//! `cargo run -p accord-net --example lock`
//!
//! Each worker reads the balance, thinks, and writes it back: a race, were it not for the lock. And
//! a lock alone is not enough: a worker that is paused while it thinks may have lost its lock
//! without knowing. So each write also checks, in one transaction, that the record of the lock is
//! still the one that was created at the holder's *fencing token*.

pub mod common;

use accord_net::client::Client;
use accord_net::client::recipes::Lock;
use accord_net::client::txn::{Steps, Txn, created_at};
use common::{Outcome, Servers};

const WORKERS: u64 = 3;
const ROUNDS: u64 = 4;

#[tokio::main]
async fn main() -> Outcome {
    run(&Servers::from_args()?).await
}

/// Lets the workers work, and looks at what came of it.
pub async fn run(servers: &Servers) -> Outcome {
    let owner = servers.client().await?;
    owner.put("balance", "0").await?;
    let mut workers = Vec::new();
    for number in 1..=WORKERS {
        // A session each: a lock belongs to a session.
        workers.push(tokio::spawn(work(number, servers.client().await?)));
    }
    for worker in workers {
        worker.await??;
    }
    let balance = read(&owner).await?;
    println!("the balance is {balance}: nothing was lost, nothing was added twice");
    assert_eq!(balance, WORKERS * ROUNDS);
    Ok(())
}

async fn work(number: u64, client: Client) -> Outcome {
    let lock = Lock::new(&client, "balance");
    for _ in 0..ROUNDS {
        let held = lock.acquire().await?;
        let balance = read(&client).await? + 1;
        let write = Steps::new().put("balance", balance.to_string());
        let fenced = Txn::when(created_at(held.key(), held.token())).then(write);
        let done = client.txn(fenced).await?;
        assert!(done.held(), "nobody took the lock away in so short a time");
        println!("worker {number}, token {}: the balance is {balance} now", held.token().0);
        held.release().await?;
    }
    client.close().await;
    Ok(())
}

async fn read(client: &Client) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
    let record = client.get("balance").await?.ok_or("there is no balance")?;
    Ok(std::str::from_utf8(&record.value)?.parse()?)
}
