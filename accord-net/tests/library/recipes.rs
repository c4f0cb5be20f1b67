//! Recipes whose callers go: nothing of theirs stays behind, and nothing that they took is lost.

use accord_net::client::recipes::{Barrier, Election, Lock, Queue};
use accord_net::client::txn::Steps;
use accord_net::client::{Client, Pending};
use accord_net::embedded::Cluster;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use tokio::time::{Duration, timeout};

/// Long enough for a machine that has much else to do.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A client that has room for one request at a time, so that a second finds none.
async fn narrow(cluster: &Cluster) -> Client {
    let mut options = cluster.client_options();
    options.requests_max = 1;
    Client::connect(options).await.unwrap()
}

/// Fills a narrow client's room. It stays full until something is awaited.
async fn full(client: &Client) -> Pending {
    client.begin(Steps::new().increment("n", 1)).await.unwrap()
}

async fn begin<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    let mut future = future;
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// Somebody else gets the lock, though the holder lives on.
async fn passes_on(cluster: &Cluster, name: &str) {
    let other = cluster.client().await.unwrap();
    let lock = Lock::new(&other, name);
    timeout(TIMEOUT, lock.acquire()).await.expect("it is free").unwrap();
}

#[tokio::test]
async fn a_lock_that_is_dropped_without_room_is_released() {
    let cluster = Cluster::start(1).unwrap();
    let client = narrow(&cluster).await;
    let held = Lock::new(&client, "l").acquire().await.unwrap();
    let occupied = full(&client).await;
    drop(held);
    passes_on(&cluster, "l").await;
    occupied.await.unwrap();
}

#[tokio::test]
async fn a_release_that_is_dropped_before_it_is_sent_goes_on() {
    let cluster = Cluster::start(1).unwrap();
    let client = narrow(&cluster).await;
    let held = Lock::new(&client, "l").acquire().await.unwrap();
    let occupied = full(&client).await;
    {
        let release = pin!(held.release());
        assert!(begin(release).await.is_pending(), "there is no room for it");
    }
    passes_on(&cluster, "l").await;
    occupied.await.unwrap();
    // The same of what an election and a barrier have.
    let leads = Election::new(&client, "e").campaign("me").await.unwrap();
    let occupied = full(&client).await;
    {
        let resign = pin!(leads.resign());
        assert!(begin(resign).await.is_pending());
    }
    occupied.await.unwrap();
    let other = cluster.client().await.unwrap();
    let election = Election::new(&other, "e");
    timeout(TIMEOUT, election.campaign("other")).await.expect("nobody leads").unwrap();
    let inside = Barrier::new(&client, "b", 1).enter().await.unwrap();
    let occupied = full(&client).await;
    {
        let leave = pin!(inside.leave());
        assert!(begin(leave).await.is_pending());
    }
    occupied.await.unwrap();
    let again = Barrier::new(&other, "b", 1).enter().await.unwrap();
    timeout(TIMEOUT, again.leave()).await.expect("nobody else is inside").unwrap();
}

/// Polls so often at most; then goes at once, or when there is something that was not seen.
async fn go_after<F: Future>(future: F, polls: u32, late: bool) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut polled = 0;
    poll_fn(|cx| {
        if polled == polls {
            return Poll::Ready(None);
        }
        polled += 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polled == polls && !late => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Whenever the caller goes, no place stays behind.
#[tokio::test]
async fn a_place_that_nobody_waits_for_is_given_up() {
    let cluster = Cluster::start(1).unwrap();
    let client = cluster.client().await.unwrap();
    let lock = Lock::new(&client, "l");
    let mut acquired = 0;
    for (polls, late) in (0..8).flat_map(|polls| [(polls, false), (polls, true)]) {
        let held = go_after(lock.acquire(), polls, late).await;
        acquired += usize::from(held.is_some());
        drop(held);
        passes_on(&cluster, "l").await;
    }
    assert!(acquired > 0, "some polls are enough");
    client.flush().await;
    assert_eq!(client.list("lock/").all().await.unwrap(), []);
}

/// Whenever the consumer goes, the item is still there, and before the next.
#[tokio::test]
async fn an_item_that_was_taken_for_nobody_is_put_back() {
    let cluster = Cluster::start(1).unwrap();
    let (client, other) = (cluster.client().await.unwrap(), cluster.client().await.unwrap());
    let (queue, others) = (Queue::new(&client, "q"), Queue::new(&other, "q"));
    let mut taken = 0;
    for (polls, late) in (0..6).flat_map(|polls| [(polls, false), (polls, true)]) {
        for item in ["first", "second"] {
            others.push(item).await.unwrap();
        }
        let popped = go_after(queue.pop(), polls, late).await;
        client.flush().await;
        taken += usize::from(popped.is_some());
        let first = match popped {
            Some(item) => item.unwrap(),
            None => others.pop().await.unwrap(),
        };
        assert_eq!(first.as_deref(), Some(&b"first"[..]), "{polls} polls, late: {late}");
        assert_eq!(others.pop().await.unwrap().as_deref(), Some(&b"second"[..]));
        assert!(others.is_empty().await.unwrap(), "nothing is there twice");
    }
    assert!(taken > 0, "some polls are enough");
}
