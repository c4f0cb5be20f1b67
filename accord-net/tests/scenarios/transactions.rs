//! Transactions: in order, each step sees the earlier ones, all or nothing.

use crate::support::{client, two_clients, value};
use accord_net::client::txn::{Steps, Txn, exists, value as value_of};
use accord_net::client::{Failure, StepError};

#[tokio::test]
async fn multi_write() {
    let (one, other) = two_clients().await;
    let all = (0..100).fold(Steps::new(), |steps, n| steps.put(format!("mw/{n}"), n.to_string()));
    one.txn(all).await.unwrap();
    let found = other.list("mw/").all().await.unwrap();
    assert_eq!(found.len(), 100);
    assert!(found.windows(2).all(|pair| pair[0].stat.modified == pair[1].stat.modified));
    // One step fails: nothing happens, and the reply names it.
    let error = one
        .txn(Steps::new().put("mw/new", "v").delete("mw/nothing").put("mw/other", "v"))
        .await
        .unwrap_err();
    let aborted = Failure::Aborted { step: 1, error: StepError::NotFound };
    assert_eq!(error, accord_net::client::Error::Failed(aborted));
    assert_eq!(other.list("mw/").keys_only().all().await.unwrap().len(), 100);
}

#[tokio::test]
async fn multi_read() {
    let (one, other) = two_clients().await;
    one.txn(Steps::new().put("mr/a", "1").put("mr/b", "2")).await.unwrap();
    let read = Steps::new().get("mr/a").put("mr/a", "3").get("mr/a").get("mr/b");
    let done = other.txn(read).await.unwrap();
    let values = [0, 2, 3].map(|step| done.value(step).unwrap().clone());
    assert_eq!(values, ["1", "3", "2"], "each step sees the earlier ones");
    let error = other.txn(Steps::new().get("mr/a").get("mr/nothing")).await.unwrap_err();
    assert!(error.is_not_found(), "a failed transaction returns no results");
}

#[tokio::test]
async fn update_if_exists() {
    let (one, other) = two_clients().await;
    let update = || Txn::when(exists("uie")).then(Steps::new().put("uie", "updated"));
    assert!(!one.txn(update()).await.unwrap().held());
    assert_eq!(value(&other, "uie").await, None);
    one.put("uie", "created").await.unwrap();
    assert!(one.txn(update()).await.unwrap().held());
    assert_eq!(value(&other, "uie").await.unwrap(), b"updated");
    // As a step: the first Accord's way.
    assert!(one.txn(Steps::new().update("uie/2", "v")).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn increment_by_compare_and_write() {
    let clients = [client().await, client().await, client().await];
    clients[0].put("icw", "0").await.unwrap();
    let count = |client: accord_net::client::Client| async move {
        for _ in 0..20 {
            loop {
                let now = client.get("icw").await.unwrap().unwrap().value;
                let number: u32 = std::str::from_utf8(&now).unwrap().parse().unwrap();
                let steps = Steps::new()
                    .check(value_of("icw").equals(now))
                    .put("icw", (number + 1).to_string());
                match client.txn(steps).await {
                    Ok(_) => break,
                    Err(error) => assert!(error.is_unequal(), "{error}"),
                }
            }
        }
    };
    let counting: Vec<_> =
        clients.iter().map(|client| tokio::spawn(count(client.clone()))).collect();
    for counted in counting {
        counted.await.unwrap();
    }
    assert_eq!(value(&clients[1], "icw").await.unwrap(), b"60");
}

#[tokio::test]
async fn atomic_increment() {
    let clients = [client().await, client().await, client().await];
    let mut pending = Vec::new();
    for n in 0..300 {
        let steps = Steps::new().increment("ai", if n % 3 == 0 { -1 } else { 2 });
        pending.push(clients[n % 3].begin(steps).await.unwrap());
    }
    for pending in pending {
        pending.await.unwrap();
    }
    assert_eq!(value(&clients[0], "ai").await.unwrap(), 300_u64.to_le_bytes());
    clients[0].put("ai/text", "abc").await.unwrap();
    let error = clients[0].increment("ai/text", 1).await.unwrap_err();
    assert_eq!(error.step_error(), Some(StepError::NotANumber));
}

#[tokio::test]
async fn merge_two_keys_into_one() {
    let (one, other) = two_clients().await;
    one.txn(Steps::new().put("mg/a", "left ").put("mg/b", "right")).await.unwrap();
    let found = other.txn(Steps::new().get("mg/a").get("mg/b")).await.unwrap();
    let (left, right) = (found.value(0).unwrap(), found.value(1).unwrap());
    let merge = Steps::new()
        .check(value_of("mg/a").equals(left))
        .check(value_of("mg/b").equals(right))
        .copy("mg/a", "mg/merged")
        .append("mg/merged", right)
        .delete("mg/a")
        .delete("mg/b");
    other.txn(merge).await.unwrap();
    assert_eq!(value(&one, "mg/merged").await.unwrap(), b"left right");
    assert_eq!(one.list("mg/").all().await.unwrap().len(), 1);
}

#[tokio::test]
async fn swap_two_keys() {
    let (one, other) = two_clients().await;
    one.txn(Steps::new().put("sw/a", "1").put("sw/b", "2")).await.unwrap();
    let swap = || {
        Steps::new()
            .copy("sw/a", "sw/tmp")
            .copy("sw/b", "sw/a")
            .copy("sw/tmp", "sw/b")
            .delete("sw/tmp")
    };
    let mut pending = Vec::new();
    for n in 0..11 {
        let client = if n % 2 == 0 { &one } else { &other };
        pending.push(client.begin(swap()).await.unwrap());
    }
    for pending in pending {
        pending.await.unwrap();
    }
    assert_eq!(value(&other, "sw/a").await.unwrap(), b"2");
    assert_eq!(value(&other, "sw/b").await.unwrap(), b"1");
    assert_eq!(value(&other, "sw/tmp").await, None);
}
