//! Sessions over real sockets: what a client sees of servers that come and go.

use accord_net::client::recipes::{Barrier, Election, Lock, Queue};
use accord_net::client::txn::{Steps, Txn, missing};
use accord_net::client::{Event, KeyEventKind, MemberEventKind, SessionState};
use accord_net::embedded::Cluster;

#[tokio::test]
async fn one_server_serves() {
    let cluster = Cluster::start(1).unwrap();
    let client = cluster.client().await.unwrap();
    client.put("a", "1").await.unwrap();
    assert_eq!(client.get("a").await.unwrap().unwrap().value, "1");
    assert!(client.close().await);
}

#[tokio::test]
async fn three_servers_serve_and_values_of_any_size_pass() {
    let cluster = Cluster::start(3).unwrap();
    let client = cluster.client().await.unwrap();
    for bytes in [0, 1, 100, 70_000, 300_000, 5 << 20] {
        let value: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
        client.put("key", value.clone()).await.unwrap();
        assert_eq!(client.get("key").await.unwrap().unwrap().value, value);
        let local = client.read("key").local().send().await.unwrap().unwrap();
        assert_eq!(local.value, value, "a session reads its own writes");
    }
    assert!(client.close().await);
}

// Claims: C-session-order
#[tokio::test]
async fn many_requests_at_once_keep_their_order() {
    let cluster = Cluster::start(3).unwrap();
    let client = cluster.client().await.unwrap();
    let mut pending = Vec::new();
    for _ in 0..5000 {
        pending.push(client.begin(Steps::new().increment("n", 1)).await.unwrap());
    }
    for (number, pending) in pending.into_iter().enumerate() {
        assert_eq!(pending.await.unwrap().number(0), Some(number as u64 + 1));
    }
    client.flush().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_goes_on_at_another_server_and_its_watch_with_it() {
    let mut cluster = Cluster::start(3).unwrap();
    let client = cluster.client().await.unwrap();
    let other = cluster.client().await.unwrap();
    let mut watch = client.watch_prefix("w/").await.unwrap();
    let mut states = client.states();
    // End servers until the client has lost one.
    for at in 0..2 {
        if states.has_changed().unwrap() {
            break;
        }
        other.put(format!("w/{at}"), "before").await.unwrap();
        assert_eq!(watch.next().await.unwrap().events.len(), 1);
        cluster.stop(at as u32 + 1);
        if at == 0 {
            other.put("w/between", "x").await.unwrap();
            let item = watch.next().await.unwrap();
            assert!(matches!(&item.events[0], Event::Key(event) if event.key == "w/between"));
        }
    }
    let state = *states.borrow_and_update();
    assert_ne!(state, SessionState::Lost);
}

// Claims: C-members, C-ephemeral
#[tokio::test]
async fn members_are_told_of_each_other_and_ephemerals_go_with_their_session() {
    let cluster = Cluster::start(3).unwrap();
    let observer = cluster.client().await.unwrap();
    let mut members = observer.watch_members().await.unwrap();
    assert_eq!(members.members(), Some(&[observer.session()][..]));
    let visitor = cluster.client().await.unwrap();
    let session = visitor.session();
    let joined = members.next().await.unwrap();
    let is = |event: &Event, kind| match event {
        Event::Member(event) => event.kind == kind && event.session == session,
        Event::Key(_) | Event::Tree(_) => false,
    };
    assert!(is(&joined.events[0], MemberEventKind::Joined));
    visitor.create_ephemeral("here", "now").await.unwrap();
    let mut gone = observer.watch_key("here").await.unwrap();
    assert!(visitor.close().await);
    let left = members.next().await.unwrap();
    assert!(is(&left.events[0], MemberEventKind::Left));
    let item = gone.next().await.unwrap();
    assert!(matches!(&item.events[0], Event::Key(event) if event.kind == KeyEventKind::Deleted));
    assert_eq!(observer.get("here").await.unwrap(), None);
    assert_eq!(observer.members().await.unwrap(), [observer.session()]);
}

#[tokio::test]
async fn a_guard_decides_in_one_round_trip() {
    let cluster = Cluster::start(1).unwrap();
    let client = cluster.client().await.unwrap();
    let claim = |who| {
        Txn::when(missing("leader"))
            .then(Steps::new().put("leader", who))
            .otherwise(Steps::new().get("leader"))
    };
    assert!(client.txn(claim("a")).await.unwrap().held());
    let second = client.txn(claim("b")).await.unwrap();
    assert!(!second.held());
    assert_eq!(second.value(0).unwrap(), "a");
    assert!(client.create("leader", "c").await.unwrap_err().is_exists());
    assert!(client.delete("nobody").await.unwrap_err().is_not_found());
}

// Claims: C-token-ascending
#[tokio::test]
async fn a_lock_passes_in_order_with_rising_tokens() {
    let cluster = Cluster::start(3).unwrap();
    let (first, second) = (cluster.client().await.unwrap(), cluster.client().await.unwrap());
    let held = Lock::new(&first, "l").acquire().await.unwrap();
    assert!(Lock::new(&second, "l").try_acquire().await.unwrap().is_none());
    let token = held.token();
    let waiting = tokio::spawn({
        let second = second.clone();
        async move { Lock::new(&second, "l").acquire().await.unwrap() }
    });
    held.release().await.unwrap();
    let next = waiting.await.unwrap();
    assert!(next.token() > token);
    drop(next);
    let again = Lock::new(&first, "l").acquire().await.unwrap();
    again.release().await.unwrap();
    let election = Election::new(&first, "e");
    assert_eq!(election.leader().await.unwrap(), None);
    let leads = election.campaign("first").await.unwrap();
    assert_eq!(election.leader().await.unwrap(), Some(("first".into(), leads.token())));
    leads.resign().await.unwrap();
}

#[tokio::test]
async fn a_queue_gives_each_item_once_and_a_barrier_gathers() {
    let cluster = Cluster::start(3).unwrap();
    let (producer, consumer) = (cluster.client().await.unwrap(), cluster.client().await.unwrap());
    let queue = Queue::new(&consumer, "q");
    assert_eq!(queue.pop().await.unwrap(), None);
    let waiting = tokio::spawn(async move { (queue.pop_wait().await.unwrap(), queue) });
    Queue::new(&producer, "q").push("one").await.unwrap();
    let (item, queue) = waiting.await.unwrap();
    assert_eq!(item, "one");
    assert_eq!(queue.len().await.unwrap(), 0);
    let gather = |client| {
        tokio::spawn(async move {
            let inside = Barrier::new(&client, "b", 2).enter().await.unwrap();
            inside.leave().await.unwrap();
        })
    };
    let (one, two) = (gather(producer), gather(consumer));
    one.await.unwrap();
    two.await.unwrap();
}
