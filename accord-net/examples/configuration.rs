//! Configuration: a service follows its settings as an operator changes them.
//!
//! `cargo run -p accord-net --example configuration`
//!
//! The service reads all settings once and then watches them from the very revision that it read:
//! nothing can fall in between. The operator changes several settings in one transaction, so the
//! service never sees one without the other; and changes nothing if somebody else was faster.

pub mod common;

use accord_net::client::txn::{Steps, Txn, value, version};
use accord_net::client::{Client, Event, EventMask, KeyEventKind, WatchFilter};
use common::{Outcome, Servers};
use std::collections::BTreeMap;

#[tokio::main]
async fn main() -> Outcome {
    run(&Servers::from_args()?).await
}

/// An operator changes settings; a service follows.
pub async fn run(servers: &Servers) -> Outcome {
    let operator = servers.client().await?;
    let defaults = Steps::new().put("config/log", "info").put("config/threads", "4");
    operator.txn(defaults).await?;

    let service = tokio::spawn(follow(servers.client().await?));

    // Both or neither: more threads only with less to log.
    let both = Steps::new().put("config/log", "warn").put("config/threads", "16");
    let done = operator.txn(Txn::when(value("config/log").equals("info")).then(both)).await?;
    println!("operator: changed both at revision {}", done.revision.0);

    // Change what was read, unless somebody was faster: the version tells.
    let threads = operator.get("config/threads").await?.ok_or("it was just written")?;
    let unchanged = version("config/threads").equals(threads.stat.version);
    let more = Steps::new().put("config/threads", "32");
    let first = operator.txn(Txn::when(unchanged.clone()).then(more.clone())).await?;
    let second = operator.txn(Txn::when(unchanged).then(more)).await?;
    println!("operator: the first time {}, the second time {}", first.held(), second.held());
    assert!(first.held() && !second.held());

    operator.delete("config/log").await?;
    operator.put("config/done", "yes").await?;
    let settings = service.await??;
    assert_eq!(settings.get("config/threads").map(String::as_str), Some("32"));
    assert_eq!(settings.get("config/log"), None);
    Ok(())
}

type Settings = BTreeMap<String, String>;

/// Reads the settings, and follows them until they say that it is enough.
async fn follow(client: Client) -> Result<Settings, Box<dyn std::error::Error + Send + Sync>> {
    // A transaction reads all of one moment, and says which.
    let read = client.txn(Steps::new().list("config/", 100)).await?;
    let mut settings = Settings::new();
    for entry in read.entries(0).unwrap_or_default() {
        let value = entry.value.as_deref().unwrap_or_default();
        settings.insert(text(&entry.key), text(value));
    }
    println!("service: at revision {}: {settings:?}", read.revision.0);
    let filter = WatchFilter::Prefix("config/".into());
    let mut changes = client.watch(filter, EventMask::ALL, Some(read.revision)).await?;
    while !settings.contains_key("config/done") {
        let change = changes.next().await?;
        for event in change.events.iter() {
            let Event::Key(event) = event else { continue };
            match event.kind {
                KeyEventKind::Deleted => settings.remove(&text(&event.key)),
                // A put carries the whole value.
                _ => settings.insert(text(&event.key), text(&event.data)),
            };
        }
        println!("service: at revision {}: {settings:?}", change.revision.0);
    }
    Ok(settings)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
