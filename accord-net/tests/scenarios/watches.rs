//! Watches: by key and prefix, by kind, in order, and before any result that reflects the change.

use crate::support::two_clients;
use accord_net::client::txn::Steps;
use accord_net::client::{Client, Event, EventMask, Flags, KeyEvent, KeyEventKind, WatchFilter};

/// The kinds of change that a key can be told of, as bits of a mask.
const KINDS: [(EventMask, KeyEventKind); 4] = [
    (EventMask::CREATED, KeyEventKind::Created),
    (EventMask::CHANGED, KeyEventKind::Changed),
    (EventMask::DELETED, KeyEventKind::Deleted),
    (EventMask::COPIED, KeyEventKind::Copied),
];

fn of_key(key: &str) -> WatchFilter {
    WatchFilter::Key(key.to_owned().into())
}

async fn next(watch: &mut accord_net::client::Watch) -> KeyEvent {
    let item = watch.next().await.expect("the watch goes on");
    assert_eq!(item.events.len(), 1);
    match &item.events[0] {
        Event::Key(event) => event.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn add_and_remove() {
    let (one, other) = two_clients().await;
    let mut watch = one.watch_key("wa").await.unwrap();
    other.put("wa", "1").await.unwrap();
    assert_eq!(next(&mut watch).await.data, "1");
    // Persistent until it is removed.
    other.put("wa", "2").await.unwrap();
    assert_eq!(next(&mut watch).await.data, "2");
    drop(watch);
    other.put("wa", "3").await.unwrap();
    let mut again = one.watch_key("wa").await.unwrap();
    other.put("wa", "4").await.unwrap();
    assert_eq!(next(&mut again).await.data, "4", "what came in between is not told");
}

#[tokio::test]
async fn created() {
    let (one, other) = two_clients().await;
    let mut watch = one.watch(of_key("wc"), EventMask::CREATED, None).await.unwrap();
    other.create("wc", "value").await.unwrap();
    other.put("wc", "changed").await.unwrap();
    other.delete("wc").await.unwrap();
    other.create("wc", "again").await.unwrap();
    let (first, second) = (next(&mut watch).await, next(&mut watch).await);
    assert_eq!((first.key, first.data), ("wc".into(), "value".into()));
    assert_eq!((second.kind, second.data), (KeyEventKind::Created, "again".into()));
}

#[tokio::test]
async fn deleted() {
    let (one, other) = two_clients().await;
    other.put("wd", "value").await.unwrap();
    let mut watch = one.watch(of_key("wd"), EventMask::DELETED, None).await.unwrap();
    other.put("wd", "changed").await.unwrap();
    other.delete("wd").await.unwrap();
    let event = next(&mut watch).await;
    assert_eq!((event.kind, event.size), (KeyEventKind::Deleted, 0));
}

#[tokio::test]
async fn changed() {
    let (one, other) = two_clients().await;
    let mut watch = one.watch(of_key("wh"), EventMask::CHANGED, None).await.unwrap();
    other.put("wh", "0123456789").await.unwrap();
    other.txn(Steps::new().write("wh", "abc", 4, Flags::NONE)).await.unwrap();
    let event = next(&mut watch).await;
    assert_eq!((event.offset, event.size), (4, 10), "the event carries data and offset");
    assert_eq!(event.data, "abc");
    // A client that changes what it watches gets the event before the answer.
    one.put("wh", "own").await.unwrap();
    let told = watch.try_next().expect("the event is here before the answer").unwrap();
    assert!(matches!(&told.events[0], Event::Key(event) if event.data == "own"));
}

#[tokio::test]
async fn copied() {
    let (one, other) = two_clients().await;
    other.put("wo/source", "value").await.unwrap();
    let mut watch = one.watch(of_key("wo/target"), EventMask::COPIED, None).await.unwrap();
    // Whether or not the target exists, a copy is told as a copy.
    other.copy("wo/source", "wo/target").await.unwrap();
    other.copy("wo/source", "wo/target").await.unwrap();
    for version in [1, 2] {
        let event = next(&mut watch).await;
        assert_eq!((event.kind, event.version), (KeyEventKind::Copied, version));
        assert_eq!(event.data, "value");
    }
}

#[tokio::test]
async fn every_combination_of_the_mask() {
    let (one, other) = two_clients().await;
    other.put("wm/source", "s").await.unwrap();
    let mut watches = Vec::new();
    for bits in 1_u8..16 {
        let chosen = KINDS.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1);
        let kinds: Vec<KeyEventKind> = chosen.clone().map(|(_, (_, kind))| *kind).collect();
        let masks = chosen.map(|(_, (mask, _))| *mask);
        let mask = masks.reduce(|all, mask| all | mask).expect("at least one is chosen");
        let by_prefix = WatchFilter::Prefix("wm/k".into());
        let filter = if bits % 2 == 0 { by_prefix } else { of_key("wm/key") };
        watches.push((one.watch(filter, mask, None).await.unwrap(), kinds));
    }
    change_in_every_way(&other).await;
    for (watch, kinds) in &mut watches {
        let all = [
            KeyEventKind::Created,
            KeyEventKind::Changed,
            KeyEventKind::Copied,
            KeyEventKind::Deleted,
        ];
        for expected in all.into_iter().filter(|kind| kinds.contains(kind)) {
            assert_eq!(next(watch).await.kind, expected);
        }
        assert_eq!(watch.try_next(), None, "nothing else is told");
    }
}

async fn change_in_every_way(client: &Client) {
    client.create("wm/key", "1").await.unwrap();
    client.put("wm/key", "2").await.unwrap();
    client.copy("wm/source", "wm/key").await.unwrap();
    client.delete("wm/key").await.unwrap();
}
