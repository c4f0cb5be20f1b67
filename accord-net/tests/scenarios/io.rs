//! Operations one by one, and the same all at once.

use crate::support::{Mode, addresses, client, two_clients, value};
use accord_core::state::Step;
use accord_net::client::txn::Steps;
use accord_net::client::{Flags, StepError};

/// Each scenario in both modes.
macro_rules! in_both_modes {
    ($($name:ident),* $(,)?) => {
        mod sync {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Mode::Sync).await;
            })*
        }
        mod asynchronous {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Mode::Async).await;
            })*
        }
    };
}

in_both_modes!(
    create,
    write,
    partial_write,
    sync_write,
    append,
    exclusive_create,
    read,
    partial_read,
    delete,
    list,
    prefix_search,
    copy,
    large_data,
);

async fn create(mode: Mode) {
    let (one, other) = two_clients().await;
    let key = mode.key("create");
    let write = |flags| Steps::new().write(&key, "v", 0, flags);
    assert!(mode.failed(&one, write(Flags::NONE)).await.is_not_found());
    assert_eq!(value(&other, &key).await, None);
    mode.done(&one, write(Flags::CREATE)).await;
    assert_eq!(value(&other, &key).await.unwrap(), b"v");
}

async fn write(mode: Mode) {
    let (one, other) = two_clients().await;
    let key = mode.key("write");
    let operations = (0..20).map(|n| Steps::new().put(&key, format!("value {n}"))).collect();
    for (n, outcome) in mode.run(&one, operations).await.into_iter().enumerate() {
        let done = outcome.unwrap();
        let accord_net::client::StepResult::Written { version, .. } = &done.results[0] else {
            panic!("{done:?}");
        };
        assert_eq!(*version, n as u64 + 1, "operations of a client keep their order");
    }
    assert_eq!(value(&other, &key).await.unwrap(), b"value 19");
}

async fn partial_write(mode: Mode) {
    let (one, other) = two_clients().await;
    let key = mode.key("partial_write");
    let at = |offset, bytes: &str| Steps::new().write(&key, bytes, offset, Flags::NONE);
    let operations = vec![Steps::new().put(&key, "0123456789"), at(3, "abc"), at(8, "XYZ")];
    mode.run(&one, operations).await.into_iter().for_each(|outcome| drop(outcome.unwrap()));
    assert_eq!(value(&other, &key).await.unwrap(), b"012abc67XYZ");
    mode.done(&one, at(13, "!")).await;
    assert_eq!(value(&other, &key).await.unwrap(), b"012abc67XYZ\0\0!", "a gap is zeros");
    mode.done(&one, at(0, "x")).await;
    assert_eq!(value(&other, &key).await.unwrap().len(), 14, "a write never shortens");
}

/// Every write is answered once a majority has it: what the flag SYNC asked for always holds.
async fn sync_write(mode: Mode) {
    let one = client().await;
    let key = mode.key("sync_write");
    let done = mode.done(&one, Steps::new().put(&key, "kept")).await;
    for server in addresses() {
        let mut options = accord_net::client::ClientOptions::new(vec![server]);
        options.requests_max = 10;
        let reader = accord_net::client::Client::connect(options).await.unwrap();
        let record = reader.get(&key).await.unwrap().unwrap();
        assert_eq!(record.value, "kept");
        assert!(record.revision >= done.revision);
    }
}

async fn append(mode: Mode) {
    let (one, other) = two_clients().await;
    let key = mode.key("append");
    let operations = ["a", "bc", "", "d"].map(|part| Steps::new().append(&key, part));
    mode.run(&one, operations.into()).await.into_iter().for_each(|outcome| drop(outcome.unwrap()));
    assert_eq!(value(&other, &key).await.unwrap(), b"abcd");
}

async fn exclusive_create(mode: Mode) {
    let (one, other) = two_clients().await;
    let key = mode.key("exclusive_create");
    mode.done(&one, Steps::new().create(&key, "first")).await;
    assert!(mode.failed(&other, Steps::new().create(&key, "second")).await.is_exists());
    assert_eq!(value(&other, &key).await.unwrap(), b"first");
}

async fn read(mode: Mode) {
    let (one, other) = two_clients().await;
    let key = mode.key("read");
    mode.done(&one, Steps::new().put(&key, "content")).await;
    // In the order of writes, and beside it.
    assert_eq!(mode.done(&other, Steps::new().get(&key)).await.value(0).unwrap(), "content");
    assert_eq!(value(&other, &key).await.unwrap(), b"content");
    let missing = mode.key("read nothing");
    assert!(mode.failed(&other, Steps::new().get(&missing)).await.is_not_found());
    assert_eq!(value(&other, &missing).await, None);
    let local = one.read(&key).local().send().await.unwrap().unwrap();
    assert_eq!(local.value, "content", "a session reads its own writes, also locally");
}

async fn partial_read(mode: Mode) {
    let (one, other) = two_clients().await;
    let key = mode.key("partial_read");
    mode.done(&one, Steps::new().put(&key, "0123456789")).await;
    for (offset, length_max, expected) in
        [(0, 4, "0123"), (7, 100, "789"), (3, 0, ""), (10, 5, ""), (99, 5, "")]
    {
        let step = Step::Read { key: key.clone().into(), offset, length_max };
        let done = mode.done(&other, Steps::new().step(step)).await;
        assert_eq!(done.value(0).unwrap(), expected);
        let record = other.read(&key).part(offset, length_max).send().await.unwrap().unwrap();
        assert_eq!((&record.value[..], record.stat.size), (expected.as_bytes(), 10));
    }
}

async fn delete(mode: Mode) {
    let (one, other) = two_clients().await;
    let key = mode.key("delete");
    let operations =
        vec![Steps::new().put(&key, "v"), Steps::new().delete(&key), Steps::new().delete(&key)];
    let outcomes = mode.run(&one, operations).await;
    assert!(outcomes[0].is_ok() && outcomes[1].is_ok());
    assert!(outcomes[2].as_ref().unwrap_err().is_not_found());
    assert_eq!(value(&other, &key).await, None);
}

async fn list(mode: Mode) {
    let (one, other) = two_clients().await;
    let prefix = mode.key("list/");
    let keys: Vec<String> = (0..25).map(|n| format!("{prefix}{n:02}")).collect();
    // Written backwards, listed in order.
    let operations = keys.iter().rev().map(|key| Steps::new().put(key, key)).collect();
    mode.run(&one, operations).await.into_iter().for_each(|outcome| drop(outcome.unwrap()));
    let found = other.list(&prefix).page_entries(4).all().await.unwrap();
    let names: Vec<_> = found.iter().map(|entry| entry.key.clone()).collect();
    assert_eq!(names, keys);
    assert!(found.iter().all(|entry| entry.value.as_ref() == Some(&entry.key)));
    // An empty prefix: all.
    let all = other.list("").keys_only().all().await.unwrap();
    assert!(keys.iter().all(|key| all.iter().any(|entry| entry.key == *key)));
    assert!(all.windows(2).all(|pair| pair[0].key < pair[1].key));
}

async fn prefix_search(mode: Mode) {
    let (one, other) = two_clients().await;
    let prefix = mode.key("prefix");
    let names = ["", "/a", "/ab", "/abc", "/b", "a"];
    let operations = names.map(|name| Steps::new().put(format!("{prefix}{name}"), "v"));
    mode.run(&one, operations.into()).await.into_iter().for_each(|outcome| drop(outcome.unwrap()));
    for (search, expected) in [
        ("/a", &["/a", "/ab", "/abc"][..]),
        ("/ab", &["/ab", "/abc"]),
        ("/x", &[]),
        ("/b", &["/b"]),
    ] {
        let search = format!("{prefix}{search}");
        let done = mode.done(&other, Steps::new().list(&search, 100)).await;
        let found: Vec<_> =
            done.entries(0).unwrap().iter().map(|entry| entry.key.clone()).collect();
        let expected: Vec<_> = expected.iter().map(|name| format!("{prefix}{name}")).collect();
        assert_eq!(found, expected);
    }
}

async fn copy(mode: Mode) {
    let (one, other) = two_clients().await;
    let (source, target) = (mode.key("copy/source"), mode.key("copy/target"));
    let copy = |flags| {
        let (source, target) = (source.clone().into(), target.clone().into());
        Steps::new().step(Step::Copy { source, target, flags })
    };
    assert!(mode.failed(&one, copy(Flags::CREATE)).await.is_not_found());
    mode.done(&one, Steps::new().put(&source, "content")).await;
    assert!(mode.failed(&one, copy(Flags::NONE)).await.is_not_found(), "the target must exist");
    mode.done(&one, copy(Flags::CREATE | Flags::EXCLUSIVE)).await;
    assert_eq!(value(&other, &target).await.unwrap(), b"content");
    let again = mode.failed(&one, copy(Flags::CREATE | Flags::EXCLUSIVE)).await;
    assert_eq!(again.step_error(), Some(StepError::Exists));
    mode.done(&one, Steps::new().put(&source, "new")).await;
    mode.done(&one, copy(Flags::NONE)).await;
    assert_eq!(value(&other, &target).await.unwrap(), b"new", "the whole value is replaced");
}

async fn large_data(mode: Mode) {
    let (one, other) = two_clients().await;
    let key = mode.key("large_data");
    let large: Vec<u8> = (0..9_000_000_u32).map(|n| (n / 7) as u8).collect();
    let operations = vec![
        Steps::new().put(&key, large.clone()),
        Steps::new().write(&key, large.clone(), 4_500_000, Flags::NONE),
    ];
    mode.run(&one, operations).await.into_iter().for_each(|outcome| drop(outcome.unwrap()));
    let found = value(&other, &key).await.unwrap();
    assert_eq!(found.len(), 13_500_000);
    assert!(found[..4_500_000] == large[..4_500_000] && found[4_500_000..] == large[..]);
    mode.done(&one, Steps::new().delete(&key)).await;
}

/// Of many operations begun, one can be waited for alone, and all of them at once.
#[tokio::test]
async fn wait_and_flush() {
    let (one, other) = two_clients().await;
    let key = Mode::Async.key("flush");
    let mut pending = Vec::new();
    for n in 0..2000 {
        pending.push(one.begin(Steps::new().put(format!("{key}/{n}"), "v")).await.unwrap());
    }
    pending.pop().unwrap().await.unwrap();
    assert_eq!(value(&other, &format!("{key}/1999")).await.unwrap(), b"v");
    drop(pending);
    one.flush().await;
    assert_eq!(other.list(format!("{key}/")).keys_only().all().await.unwrap().len(), 2000);
}
