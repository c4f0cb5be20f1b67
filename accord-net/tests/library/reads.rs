//! Reads without a session, host names, and watches as streams.

use accord_net::client::{
    Client, ClientOptions, Consistency, Error, EventMask, Failure, Reader, ServerAddr, Watch,
    WatchEnd, WatchFilter, WatchItem,
};
use accord_net::embedded::Cluster;
use futures_core::Stream;
use std::future::poll_fn;
use std::pin::Pin;
use tokio::time::Duration;

// Claims: C-read-no-session
#[tokio::test]
async fn a_reader_opens_no_session_and_writes_nothing() {
    let cluster = Cluster::start(3).unwrap();
    let client = cluster.client().await.unwrap();
    let before = client.put("k", "v").await.unwrap().revision;
    let reader = Reader::new(cluster.client_options()).unwrap();
    for _ in 0..10 {
        let record = reader.get("k").await.unwrap().expect("it was put");
        assert_eq!((&record.value[..], record.revision), (&b"v"[..], before));
        assert_eq!(reader.list("").page_entries(1).all().await.unwrap().len(), 1);
    }
    assert_eq!(client.members().await.unwrap(), [client.session()]);
    // As fresh as what was answered to others.
    for number in 0..50_u32 {
        client.put("n", number.to_string()).await.unwrap();
        let record = reader.get("n").await.unwrap().expect("it was put");
        assert_eq!(record.value, number.to_string());
    }
}

// Claims: C-read-local
#[tokio::test]
async fn a_local_read_needs_no_majority_and_others_say_why_they_have_none() {
    let mut cluster = Cluster::start(3).unwrap();
    let client = cluster.client().await.unwrap();
    client.put("k", "v").await.unwrap();
    let first = ClientOptions::new([cluster.addresses()[0]]);
    // The first server has it when it has answered for it.
    let reader = Reader::new(first.clone()).unwrap();
    reader.get("k").await.unwrap().expect("it was put");
    cluster.kill(2);
    cluster.kill(3);
    let local = reader.read("k").local().send().await.unwrap();
    assert_eq!(local.expect("it is there").value, "v");
    let hasty = ClientOptions { request_timeout: Duration::from_millis(500), ..first };
    let reader = Reader::new(hasty).unwrap();
    let error = reader.get("k").await.unwrap_err();
    let Error::Failed(Failure::Unreachable { reasons, .. }) = error else {
        panic!("nobody could answer: {error}");
    };
    assert!(reasons.iter().all(|why| !why.is_empty()) && reasons.len() <= 1, "{reasons:?}");
    assert!(reader.read("k").local().send().await.unwrap().is_some(), "it goes on");
}

#[tokio::test]
async fn a_reader_goes_on_at_another_server() {
    let mut cluster = Cluster::start(3).unwrap();
    cluster.client().await.unwrap().put("k", "v").await.unwrap();
    let reader = Reader::new(cluster.client_options()).unwrap();
    for node in [1, 2, 3] {
        assert!(reader.get("k").await.unwrap().is_some(), "before {node} is gone");
        cluster.kill(node);
        assert!(reader.get("k").await.unwrap().is_some(), "without {node}");
        cluster.restart(node).unwrap();
        let again = cluster.client().await.unwrap();
        again.put(format!("after/{node}"), "x").await.unwrap();
        // It counts again when it can be read at it.
        let alone = ClientOptions::new([cluster.addresses()[node as usize - 1]]);
        let alone = ClientOptions { request_timeout: Duration::from_secs(60), ..alone };
        assert!(Reader::new(alone).unwrap().get("k").await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_name_that_is_not_found_is_passed_over_and_others_are_looked_up() {
    let cluster = Cluster::start(1).unwrap();
    let port = cluster.addresses()[0].port();
    let nobody = "no-such-host.invalid:1".to_owned();
    for _ in 0..4 {
        // Wherever it begins.
        let servers = [nobody.clone(), format!("localhost:{port}")];
        let client = Client::connect(ClientOptions::new(servers.clone())).await.unwrap();
        client.put("k", "v").await.unwrap();
        let reader = Reader::new(ClientOptions::new(servers)).unwrap();
        let local = reader.query(
            accord_net::client::ReadQuery::Members { after: None, limit: 1 },
            Consistency::Local,
        );
        local.await.unwrap();
        client.close().await;
    }
    let mut alone = ClientOptions::new([ServerAddr::from(nobody.as_str())]);
    alone.connect_timeout = Duration::from_millis(500);
    let error = Client::connect(alone).await.unwrap_err().to_string();
    assert!(error.contains("no-such-host.invalid:1: "), "{error}");
}

async fn next(watch: &mut Watch) -> Option<Result<WatchItem, WatchEnd>> {
    poll_fn(|cx| Pin::new(&mut *watch).poll_next(cx)).await
}

#[tokio::test]
async fn a_watch_is_a_stream_that_ends_with_its_reason() {
    let cluster = Cluster::start(1).unwrap();
    let (client, other) = (cluster.client().await.unwrap(), cluster.client().await.unwrap());
    let mut watch = client.watch_prefix("w/").await.unwrap();
    let writing = tokio::spawn(async move {
        let mut revisions = Vec::new();
        for key in ["w/a", "w/b", "w/c"] {
            revisions.push(other.put(key, "x").await.unwrap().revision);
        }
        revisions
    });
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(next(&mut watch).await.unwrap().unwrap().revision);
    }
    assert_eq!(writing.await.unwrap(), told);
    client.close().await;
    assert_eq!(next(&mut watch).await, Some(Err(WatchEnd::Closed)));
    assert_eq!(next(&mut watch).await, None);
    assert_eq!(next(&mut watch).await, None);
    let client = cluster.client().await.unwrap();
    let filter = WatchFilter::Key("w/d".into());
    let mut once = client.watch_once(filter, EventMask::ALL, None).await.unwrap();
    client.put("w/d", "x").await.unwrap();
    assert!(matches!(next(&mut once).await, Some(Ok(_))));
    assert_eq!(next(&mut once).await, Some(Err(WatchEnd::Told)));
    assert_eq!(next(&mut once).await, None);
}
