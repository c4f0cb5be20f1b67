//! A double barrier: four workers compute in phases, and nobody runs ahead.
//!
//! `cargo run -p accord-net --example barrier`
//!
//! Every worker waits at the entrance of a phase until all are there, does its part, and waits at
//! the exit until all have done theirs. Then what the phase gave is complete for everybody.

pub mod common;

use accord_net::client::Client;
use accord_net::client::recipes::Barrier;
use common::{Outcome, Servers};

const WORKERS: usize = 4;
const PHASES: u64 = 3;

#[tokio::main]
async fn main() -> Outcome {
    run(&Servers::from_args()?).await
}

/// Lets the workers work.
pub async fn run(servers: &Servers) -> Outcome {
    let mut workers = Vec::new();
    for number in 1..=WORKERS {
        workers.push(tokio::spawn(work(number, servers.client().await?)));
    }
    for worker in workers {
        worker.await??;
    }
    println!("all phases are done");
    Ok(())
}

async fn work(number: usize, client: Client) -> Outcome {
    for phase in 1..=PHASES {
        let name = format!("phase-{phase}");
        let inside = Barrier::new(&client, &name, WORKERS).enter().await?;
        // All are here, so the phase before is complete: each worker has added one to its sum.
        if phase > 1 {
            let before = client.get(format!("sum/{}", phase - 1)).await?.ok_or("it is complete")?;
            assert_eq!(before.value, (WORKERS as u64).to_le_bytes().to_vec());
        }
        let sum = client.increment(format!("sum/{phase}"), 1).await?;
        println!("worker {number} in phase {phase}: {sum} of {WORKERS} parts are done");
        inside.leave().await?;
    }
    client.close().await;
    Ok(())
}
