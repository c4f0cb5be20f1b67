//! A hundred clients at once.

use crate::support::client;
use accord_net::client::recipes::Queue;
use accord_net::client::txn::{Steps, value as value_of};
use accord_net::client::{Client, Event, MemberEvent, MemberEventKind, SessionId};
use std::collections::BTreeSet;
use tokio::task::JoinSet;

const CLIENTS: usize = 100;

async fn clients() -> Vec<Client> {
    let mut connecting = JoinSet::new();
    for _ in 0..CLIENTS {
        connecting.spawn(client());
    }
    connecting.join_all().await
}

/// Runs one task for each client, at once.
async fn with_each<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    clients: &[Client],
    task: impl Fn(usize, Client) -> F,
) -> Vec<T> {
    let mut running = JoinSet::new();
    for (at, client) in clients.iter().enumerate() {
        running.spawn(task(at, client.clone()));
    }
    running.join_all().await
}

/// Every client is told the same joins and leaves in the same order, with the list of members.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_and_leaves_are_consistent_at_every_client() {
    let observers = clients().await;
    let mut watches = Vec::new();
    for observer in &observers {
        watches.push(observer.watch_members().await.unwrap());
    }
    let guests = clients().await;
    let expected: BTreeSet<SessionId> = guests.iter().map(Client::session).collect();
    for guest in guests {
        guest.close().await;
    }
    let mut histories: Vec<Vec<MemberEvent>> = Vec::new();
    for mut watch in watches {
        let mut left = expected.clone();
        let mut members: BTreeSet<SessionId> =
            watch.members().expect("who was there").iter().copied().collect();
        let mut told = Vec::new();
        while !left.is_empty() {
            for event in watch.next().await.expect("the watch goes on").events.iter() {
                let Event::Member(event) = event else { panic!("{event:?}") };
                match event.kind {
                    MemberEventKind::Joined => assert!(members.insert(event.session)),
                    MemberEventKind::Left => assert!(members.remove(&event.session)),
                }
                assert_eq!(members.len(), event.members as usize, "the list is complete");
                if event.kind == MemberEventKind::Left {
                    left.remove(&event.session);
                }
                if expected.contains(&event.session) {
                    told.push(*event);
                }
            }
        }
        histories.push(told);
    }
    assert_eq!(histories[0].len(), 2 * CLIENTS);
    assert!(histories.iter().all(|history| *history == histories[0]), "in the same order");
}

/// Of a hundred that create the same key at once, exactly one wins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_by_exclusive_create_has_one_winner() {
    let clients = clients().await;
    for round in 0..5 {
        let key = format!("lock by create/{round}");
        let results = with_each(&clients, |_, client| {
            let key = key.clone();
            async move { client.create(&key, client.session().0.to_string()).await }
        })
        .await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        assert!(results.iter().flat_map(|result| result.as_ref().err()).all(|e| e.is_exists()));
    }
}

const ITEMS: usize = 5;

/// A queue by comparing and writing the counters of its ends, as the first Accord's users made it,
/// and one by sequence keys: nothing is lost or doubled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_loses_and_doubles_nothing() {
    let clients = clients().await;
    clients[0].txn(Steps::new().put("cq/min", "0").put("cq/max", "0")).await.unwrap();
    with_each(&clients, |at, client| async move {
        for item in 0..ITEMS {
            push(&client, &format!("{at}.{item}")).await;
            Queue::new(&client, "seq").push(format!("{at}.{item}")).await.unwrap();
        }
    })
    .await;
    let popped = with_each(&clients, |_, client| async move {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for _ in 0..ITEMS {
            first.push(pop(&client).await);
            let item = Queue::new(&client, "seq").pop().await.unwrap().expect("as many as pushed");
            second.push(String::from_utf8(item.to_vec()).unwrap());
        }
        (first, second)
    })
    .await;
    let expected: BTreeSet<String> =
        (0..CLIENTS).flat_map(|at| (0..ITEMS).map(move |item| format!("{at}.{item}"))).collect();
    for all in [
        popped.iter().flat_map(|(first, _)| first.clone()).collect::<Vec<_>>(),
        popped.iter().flat_map(|(_, second)| second.clone()).collect(),
    ] {
        assert_eq!(all.len(), expected.len(), "none twice");
        assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), expected, "none lost");
    }
}

async fn counter(client: &Client, key: &str) -> (bytes::Bytes, u64) {
    let text = client.get(key).await.unwrap().unwrap().value;
    let number = std::str::from_utf8(&text).unwrap().parse().unwrap();
    (text, number)
}

async fn push(client: &Client, item: &str) {
    loop {
        let (text, max) = counter(client, "cq/max").await;
        let steps = Steps::new()
            .check(value_of("cq/max").equals(text))
            .put("cq/max", (max + 1).to_string())
            .create(format!("cq/item/{max}"), item);
        match client.txn(steps).await {
            Ok(_) => return,
            Err(error) => assert!(error.is_unequal(), "{error}"),
        }
    }
}

async fn pop(client: &Client) -> String {
    loop {
        let (text, min) = counter(client, "cq/min").await;
        let item = format!("cq/item/{min}");
        let steps = Steps::new()
            .check(value_of("cq/min").equals(text))
            .get(&item)
            .delete(&item)
            .put("cq/min", (min + 1).to_string());
        match client.txn(steps).await {
            Ok(done) => return String::from_utf8(done.value(1).unwrap().to_vec()).unwrap(),
            Err(error) => assert!(error.is_unequal() || error.is_not_found(), "{error}"),
        }
    }
}
