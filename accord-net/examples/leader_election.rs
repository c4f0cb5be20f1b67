//! Leader election: one of three candidates leads, and when it goes, the next one does.
//!
//! `cargo run -p accord-net --example leader_election`
//!
//! Candidates stand in a line that the cluster keeps. The first leads until it resigns or its
//! session ends, be it because its process died; the second is told and leads from then on. Each
//! leader has a token that is larger than that of every leader before.

pub mod common;

use accord_net::client::Client;
use accord_net::client::recipes::Election;
use common::{Outcome, Servers};
use tokio::sync::mpsc;

#[tokio::main]
async fn main() -> Outcome {
    run(&Servers::from_args()?).await
}

/// Lets the candidates campaign, and watches who leads.
pub async fn run(servers: &Servers) -> Outcome {
    let voter = servers.client().await?;
    let election = Election::new(&voter, "captain");
    println!("leader: {:?}", election.leader().await?);
    let (elected, mut results) = mpsc::unbounded_channel();
    for name in ["Ann", "Ben", "Cleo"] {
        tokio::spawn(campaign(name, servers.client().await?, elected.clone()));
    }
    drop(elected);
    let mut last = None;
    let mut reigns = 0;
    while let Some((name, token)) = results.recv().await {
        println!("{name} leads, with token {token}");
        assert!(last < Some(token), "tokens ascend from leader to leader");
        last = Some(token);
        reigns += 1;
    }
    assert_eq!(reigns, 3, "each led once");
    println!("leader: {:?}", election.leader().await?);
    Ok(())
}

async fn campaign(
    name: &'static str,
    client: Client,
    elected: mpsc::UnboundedSender<(&'static str, u64)>,
) -> Outcome {
    let leadership = Election::new(&client, "captain").campaign(name).await?;
    // Under which value the leader stands, everybody can look up.
    let (leader, token) = Election::new(&client, "captain").leader().await?.ok_or("nobody?")?;
    assert_eq!((&leader[..], token), (name.as_bytes(), leadership.token()));
    elected.send((name, token.0))?;
    match name {
        "Ann" => {
            println!("{name} resigns");
            leadership.resign().await?;
        }
        _ => {
            println!("{name} goes home, and the leadership goes with the session");
            client.close().await;
        }
    }
    Ok(())
}
