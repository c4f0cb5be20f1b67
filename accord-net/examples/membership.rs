//! Membership: who is there, what each offers, and who has gone.
//!
//! `cargo run -p accord-net --example membership`
//!
//! Each worker registers an *ephemeral* record, which lives exactly as long as its session: until
//! the worker closes it, or is silent for longer than its timeout. Whoever watches sees every
//! worker come and go, in the same order as everybody else.

pub mod common;

use accord_net::client::{Client, Event, KeyEventKind, MemberEventKind};
use common::{Outcome, Servers};
use std::collections::BTreeMap;

const WORKERS: usize = 4;

#[tokio::main]
async fn main() -> Outcome {
    run(&Servers::from_args()?).await
}

/// Workers come and go; a dispatcher watches.
pub async fn run(servers: &Servers) -> Outcome {
    let dispatcher = servers.client().await?;
    // Sessions as such can be watched: the list at the start, then every change of it.
    let mut sessions = dispatcher.watch_members().await?;
    println!("at first: {:?}", sessions.members().unwrap_or_default());
    // And the records that they register.
    let mut workers = dispatcher.watch_prefix("workers/").await?;

    let mut there = Vec::new();
    for number in 0..WORKERS {
        let worker = servers.client().await?;
        let offer = format!("{} cores", 1 << number);
        worker.create_ephemeral(format!("workers/{number}"), offer).await?;
        there.push(worker);
    }
    let mut known = BTreeMap::new();
    while known.len() < WORKERS {
        learn(&mut known, &workers.next().await?.events);
    }

    println!("two of them go");
    for worker in there.drain(..2) {
        leave(worker).await?;
    }
    while known.len() > WORKERS - 2 {
        learn(&mut known, &workers.next().await?.events);
    }
    let (mut joined, mut left) = (0, 0);
    while (joined, left) != (WORKERS, 2) {
        for event in sessions.next().await?.events.iter() {
            let Event::Member(event) = event else { continue };
            match event.kind {
                MemberEventKind::Joined => joined += 1,
                MemberEventKind::Left => left += 1,
            }
        }
    }
    let records = dispatcher.list("workers/").all().await?;
    println!("{} workers are left, {joined} sessions had joined, {left} have left", records.len());
    assert_eq!(records.len(), known.len());
    Ok(())
}

async fn leave(worker: Client) -> Outcome {
    match worker.close().await {
        true => Ok(()),
        false => Err("the cluster did not confirm the end of a session".into()),
    }
}

fn learn(known: &mut BTreeMap<String, String>, events: &[Event]) {
    for event in events {
        let Event::Key(event) = event else { continue };
        let name = String::from_utf8_lossy(&event.key).into_owned();
        let offer = String::from_utf8_lossy(&event.data).into_owned();
        match event.kind {
            KeyEventKind::Deleted => {
                println!("{name} is gone");
                known.remove(&name);
            }
            _ => {
                println!("{name} offers {offer}");
                known.insert(name, offer);
            }
        }
    }
}
