//! Many small runs with random partitions, broken connections and silence: whatever happens, a
//! counter counts every request once, and watches tell every change once.

use crate::app::{App, config};
use crate::cluster::Cluster;
use accord_core::client::ClientEvent;
use accord_core::ids::NodeId;
use accord_core::protocol::{Consistency, EventMask, WatchFilter};
use accord_core::rng::Rng;
use accord_core::state::{
    Event, Flags, Outcome, ReadQuery, ReadResult, Step, Txn, TxnOutcome, Width,
};
use accord_core::time::Duration;
use bytes::Bytes;

const APPS: usize = 3;

#[derive(Default)]
struct Told {
    done: u64,
    failed: u64,
    unknown: u64,
    /// Versions of the counter that the watch told, in order; `None` where it was lost.
    versions: Vec<Option<u64>>,
    /// The last revision that anything showed.
    shown: u64,
    over: bool,
}

fn increment() -> Txn {
    Txn::of(vec![Step::Increment {
        key: Bytes::from_static(b"counter"),
        delta: 1,
        offset: None,
        width: Width::Eight,
        flags: Flags::CREATE,
    }])
}

fn partition(cluster: &mut Cluster, rng: &mut Rng) {
    match rng.below(5) {
        0 => cluster.partition(&[&[1], &[2, 3]]),
        1 => cluster.partition(&[&[2], &[1, 3]]),
        2 => cluster.partition(&[&[3], &[1, 2]]),
        3 => cluster.partition_quietly(&[&[1], &[2], &[3]]),
        _ => cluster.partition_quietly(&[&[1, 2, 3]]),
    }
}

fn act(cluster: &mut Cluster, app: &mut App, rng: &mut Rng) {
    match rng.below(12) {
        0..=4 => {
            let _ = app.client.submit(cluster.now, &increment());
        }
        5 => {
            let key = Bytes::from_static(b"counter");
            let query = ReadQuery::Get { key, offset: 0, length_max: 8 };
            let consistency = match rng.chance(1, 2) {
                true => Consistency::Linearizable,
                false => Consistency::Local,
            };
            let _ = app.client.read(cluster.now, query, consistency);
        }
        6 if app.conn.is_some() => app.break_connection(cluster),
        7 => app.pass(cluster, Duration::from_millis(rng.below(1200))),
        8 => {
            app.receive(cluster);
            app.pump(cluster);
        }
        9 => {
            cluster.deliver_one();
        }
        _ => app.run(cluster),
    }
    app.pump(cluster);
}

fn hear(app: &mut App, told: &mut Told) {
    for event in app.take() {
        match event {
            ClientEvent::Done { outcome, .. } => {
                let Outcome::Txn(TxnOutcome::Committed { revision, .. }) = outcome else {
                    panic!("an increment commits: {outcome:?}");
                };
                told.done += 1;
                told.shown = told.shown.max(revision.0);
            }
            ClientEvent::Failed { .. } => told.failed += 1,
            ClientEvent::Unknown { .. } => told.unknown += 1,
            ClientEvent::ReadDone { revision, result, .. } => {
                assert!(revision.0 >= told.shown, "nothing older is read than was seen");
                told.shown = revision.0;
                // What a result reflects was told before it.
                let version = match result {
                    ReadResult::Value { stat, .. } => stat.version,
                    _ => 0,
                };
                if let Some(Some(last)) = told.versions.last() {
                    assert!(version <= *last, "an event after the result that reflects it");
                }
            }
            ClientEvent::Watch { revision, events, .. } => {
                told.shown = told.shown.max(revision.0);
                for event in events.iter() {
                    let Event::Key(event) = event else { panic!("{event:?}") };
                    told.versions.push(Some(event.version));
                }
            }
            ClientEvent::WatchLost { .. } => told.versions.push(None),
            ClientEvent::SessionLost => told.over = true,
            _ => {}
        }
    }
}

fn check_versions(versions: &[Option<u64>], seed: u64) {
    for pair in versions.windows(2) {
        if let [Some(before), Some(after)] = pair {
            assert_eq!(before + 1, *after, "seed {seed}: none missed, none twice: {versions:?}");
        }
    }
}

/// One run; what the apps were told, and the counter in the end.
fn run(seed: u64) -> (Vec<Told>, u64) {
    let mut rng = Rng::new(seed);
    let tight = rng.chance(1, 2);
    let mut cluster = Cluster::with(3, |config| {
        if tight {
            config.replica.limits.log_bytes_retained = 300;
            config.limits.history_events_max = 8;
            config.limits.requests_per_conn_max = 4;
            config.limits.unsent_bytes_max = 600;
        }
    });
    let mut apps: Vec<App> =
        (0..APPS).map(|_| App::new(config(3), rng.next_u64(), cluster.now)).collect();
    let mut told: Vec<Told> = (0..APPS).map(|_| Told::default()).collect();
    for app in &mut apps {
        let filter = WatchFilter::Key(Bytes::from_static(b"counter"));
        app.client.watch(cluster.now, filter, EventMask::ALL, false, None).unwrap();
    }
    for _ in 0..150 {
        if rng.chance(1, 12) {
            partition(&mut cluster, &mut rng);
        }
        let who = rng.below(APPS as u64) as usize;
        act(&mut cluster, &mut apps[who], &mut rng);
        hear(&mut apps[who], &mut told[who]);
    }
    settle(&mut cluster, &mut apps, &mut told);
    let digests: Vec<u64> = cluster.servers.values().map(|s| s.status().digest).collect();
    assert!(digests.iter().all(|digest| *digest == digests[0]), "seed {seed}: {digests:?}");
    assert_eq!(cluster.halts, [], "seed {seed}");
    let key = Bytes::from_static(b"counter");
    let query = ReadQuery::Get { key, offset: 0, length_max: 8 };
    let counter = match cluster.servers[&NodeId(1)].state().read(&query) {
        ReadResult::Value { stat, .. } => stat.version,
        _ => 0,
    };
    (told, counter)
}

/// Heals everything and lets all that is under way come to its end.
fn settle(cluster: &mut Cluster, apps: &mut [App], told: &mut [Told]) {
    cluster.partition(&[&[1, 2, 3]]);
    for _ in 0..40 {
        for (app, told) in apps.iter_mut().zip(told.iter_mut()) {
            app.pass(cluster, Duration::from_millis(100));
            hear(app, told);
        }
    }
}

// Claims: C-write-once, C-watch-complete
#[test]
fn whatever_happens_requests_run_once_and_watches_tell_all() {
    let (mut done, mut unknown, mut lost, mut over) = (0, 0, 0, 0);
    for seed in 0..200 {
        let (told, counter) = run(seed);
        let sum = |of: fn(&Told) -> u64| told.iter().map(of).sum::<u64>();
        let at_least = sum(|told| told.done);
        let at_most = at_least + sum(|told| told.unknown);
        assert!((at_least..=at_most).contains(&counter), "seed {seed}: {counter}");
        for told in &told {
            check_versions(&told.versions, seed);
            if let (Some(Some(last)), false) = (told.versions.last(), told.over) {
                assert_eq!(*last, counter, "seed {seed}: the last change was told");
            }
        }
        done += at_least;
        unknown += at_most - at_least;
        lost += sum(|told| told.versions.iter().filter(|version| version.is_none()).count() as u64);
        over += sum(|told| u64::from(told.over));
    }
    // The runs are worth something only if they meet what they are about.
    assert!(done > 2500 && unknown > 0 && lost > 0 && over > 0, "{done} {unknown} {lost} {over}");
}
