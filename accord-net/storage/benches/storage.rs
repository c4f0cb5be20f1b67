//! What durability costs on this machine's disk: `cargo bench -p accord-storage --bench storage`.
//!
//! The alternatives run in turn, several times, and the medians are compared; the disk of a shared
//! machine gives anything else but a comparison. What is measured is rates of commits and their
//! longest stalls side by side, which is why this is not written with criterion.

use accord_core::ids::{ClusterId, Epoch, Index, LogPosition, NodeId, Stamp, StoreId};
use accord_core::replica::ends::EpochEnds;
use accord_core::replica::io::{Body, Entry, Record, Snapshot};
use accord_core::replica::voters::VoterSet;
use accord_core::wire::Encode;
use accord_storage::{Opened, Options, RealDirectory, Store};
use bytes::Bytes;
use redb::{Database, TableDefinition};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const NODE: NodeId = NodeId(7);
const STORE: StoreId = StoreId(0x5707e);
const ROUNDS: usize = 7;
const SPAN: Duration = Duration::from_millis(700);

fn main() {
    cost_of_a_commit();
    cost_of_a_checkpoint();
}

fn identity() -> Record {
    Record::Identity { node: NODE, store: STORE, bootstrap: true }
}

fn batch(index: u64, bytes: usize, fill: u8) -> Record {
    let commands = Bytes::from(vec![fill; bytes]);
    let body =
        Body::Batch { origin: NODE, salt: index, number: index, stamp: Stamp(index), commands };
    Record::Append(Entry { epoch: Epoch(1), index: Index(index), body })
}

fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cost-{name}"));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("a directory can be made");
    path
}

/// Commits per second, `commit` being one.
fn rate(mut commit: impl FnMut(u64)) -> u64 {
    let begin = Instant::now();
    let mut count = 0;
    while begin.elapsed() < SPAN {
        commit(count);
        count += 1;
    }
    count * 1_000_000 / begin.elapsed().as_micros() as u64
}

fn redb_as_log(bytes: usize) -> u64 {
    const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
    let path = scratch("redb");
    let mut builder = Database::builder();
    let database = builder.set_cache_size(64 << 20).create(path.join("log.redb"));
    let database = database.expect("a healthy disk");
    let rate = rate(|at| {
        let record = batch(at + 1, bytes, at as u8).to_bytes();
        let transaction = database.begin_write().expect("a healthy disk");
        let mut log = transaction.open_table(LOG).expect("a healthy disk");
        log.insert(at, &record[..]).expect("a healthy disk");
        if let Some(old) = at.checked_sub(512) {
            log.remove(old).expect("a healthy disk");
        }
        drop(log);
        transaction.commit().expect("a healthy disk");
    });
    drop(database);
    fs::remove_dir_all(path).expect("it is ours");
    rate
}

/// The least that durability can cost: append and sync.
fn plain_append(bytes: usize) -> u64 {
    let path = scratch("append");
    let file = OpenOptions::new().create_new(true).write(true).open(path.join("log"));
    let file = file.expect("a healthy disk");
    let mut end = 0;
    let rate = rate(|at| {
        let record = batch(at + 1, bytes, at as u8).to_bytes();
        file.write_all_at(&record, end).expect("a healthy disk");
        file.sync_data().expect("a healthy disk");
        end += record.len() as u64;
    });
    fs::remove_dir_all(path).expect("it is ours");
    rate
}

fn opened(path: &Path) -> Opened {
    let directory = RealDirectory::new(path).expect("a directory can be made");
    let mut opened = Store::open(directory, NODE, Options::default()).expect("it is intact");
    if opened.recovered.is_none() {
        opened.store.commit(&[identity()]).expect("a healthy disk");
        opened.worker.run().expect("a healthy disk");
    }
    opened
}

/// The store, its worker on a thread of its own.
fn store(bytes: usize) -> u64 {
    let path = scratch("store");
    let Opened { mut store, mut worker, .. } = opened(&path);
    let done = AtomicBool::new(false);
    let rate = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if !worker.step().expect("a healthy disk") {
                    std::thread::park_timeout(Duration::from_millis(1));
                }
            }
        });
        let rate = rate(|at| {
            store.commit(&[batch(at + 1, bytes, at as u8)]).expect("a healthy disk");
        });
        done.store(true, Ordering::Relaxed);
        rate
    });
    fs::remove_dir_all(path).expect("it is ours");
    rate
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

fn cost_of_a_commit() {
    println!("bytes | redb as log | append and sync | store   (commits per second, medians)");
    for bytes in [100, 4 << 10, 16 << 10, 64 << 10, 1 << 20] {
        let mut rates = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            rates[0].push(redb_as_log(bytes));
            rates[1].push(plain_append(bytes));
            rates[2].push(store(bytes));
        }
        let [redb, append, store] = rates.map(median);
        println!("{bytes} | {redb} | {append} | {store}");
    }
}

/// The longest of the commits while `during` runs, and their median, in microseconds.
fn stalls(store: &mut Store, next: &mut u64, done: &AtomicBool) -> (u64, u64, u64) {
    let mut spans = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let begin = Instant::now();
        store.commit(&[batch(*next, 4096, 1)]).expect("a healthy disk");
        spans.push(begin.elapsed().as_micros() as u64);
        *next += 1;
    }
    spans.sort_unstable();
    let count = spans.len();
    (spans[count / 2], spans[count * 99 / 100], spans[count - 1])
}

fn cost_of_a_checkpoint() {
    let path = scratch("checkpoint");
    // A million keys of 100 bytes with what is kept of each.
    let state = Bytes::from((0..150 << 20).map(|at: u32| (at % 251) as u8).collect::<Vec<u8>>());
    let Opened { mut store, mut worker, .. } = opened(&path);
    let mut next = 1;
    for round in 0..ROUNDS {
        let done = AtomicBool::new(false);
        let idle = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::park_timeout(Duration::from_secs(1));
                done.store(true, Ordering::Relaxed);
            });
            stalls(&mut store, &mut next, &done)
        });
        let last = LogPosition { epoch: Epoch(1), index: Index(next - 1) };
        let voters = VoterSet {
            cluster: ClusterId(1),
            voters: BTreeMap::from([(NODE, STORE)]),
            ..VoterSet::default()
        };
        let state = state.clone().into();
        let ends = EpochEnds::only(last);
        let snapshot = Snapshot { last, ends, voters, origins: BTreeMap::new(), state };
        store.commit(&[Record::Checkpoint(snapshot)]).expect("a healthy disk");
        let done = AtomicBool::new(false);
        let begin = Instant::now();
        let (busy, took) = std::thread::scope(|scope| {
            let working = scope.spawn(|| {
                let mut longest = Duration::ZERO;
                loop {
                    let begin = Instant::now();
                    let busy = worker.step().expect("a healthy disk");
                    longest = longest.max(begin.elapsed());
                    if !busy {
                        break;
                    }
                }
                done.store(true, Ordering::Relaxed);
                (begin.elapsed().as_millis(), longest.as_millis())
            });
            let busy = stalls(&mut store, &mut next, &done);
            (busy, working.join().expect("it ended well"))
        });
        let files = fs::read_dir(&path).expect("it is there").map(|entry| entry.expect("it is"));
        let state = files.filter(|file| file.file_name().to_string_lossy().starts_with("state-"));
        let file = state.map(|file| file.metadata().expect("it is there").len()).sum::<u64>() >> 20;
        println!(
            "round {round}: idle median/p99/max {idle:?} us, during a checkpoint {busy:?} us; \
             150 MiB in {took:?} ms (longest step), state file {file} MiB"
        );
    }
    drop((store, worker));
    let begin = Instant::now();
    let found = opened(&path).recovered.expect("it was written");
    let entries = found.log.last().index.0 - found.log.base().index.0;
    println!("start: {} ms, {entries} entries after the checkpoint", begin.elapsed().as_millis());
    fs::remove_dir_all(path).expect("it is ours");
}
