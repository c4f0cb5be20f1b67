//! How much of Corosync's throughput Accord leaves to its clients, beside the built-in ring, all in
//! one run on nodes of the same kind:
//! `cargo bench -p accord-net --features corosync --bench corosync`.
//!
//! Needs root and Corosync; see `docs/corosync.md`. For each kind of link: the rate of bare CPG
//! messages, among them of the size that Accord hands to Corosync; then writes over Corosync and
//! over the ring, with what went through the group. `ACCORD_BENCH_SECONDS` sets how long each is
//! measured.

use accord_net::client::txn::Steps;
use accord_net::client::{Client, ClientOptions};
use accord_net::operator::StatusReport;
use accord_testbed::cluster::{Cluster, ClusterOptions};
use accord_testbed::netns;
use accord_testbed::nodes::{GroupChoice, Nodes, NodesOptions};
use accord_testbed::systems::accord::{self, Accord};
use rust_corosync::cpg::{self, Guarantee, Handle, Model1Data, Model1Flags, ModelData};
use rust_corosync::{CsError, DispatchFlags, NodeId};
use std::cell::Cell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

const NODES: u32 = 3;
const SESSIONS_EACH: usize = 4;
const OUTSTANDING_EACH: usize = 400;

thread_local! {
    static DELIVERED: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

fn on_message(_: &Handle, _: String, _: NodeId, _: u32, message: &[u8], _: usize) {
    let (count, bytes) = DELIVERED.get();
    DELIVERED.set((count + 1, bytes + message.len() as u64));
}

/// Bytes and messages a second that one process is delivered, while each of the first so many nodes
/// sends messages of this size as fast as Corosync takes them.
///
/// The library loses handles of other threads while one is made or given up. So they are made one
/// after the other, before any is used, and given up when none is used any more.
fn bare(nodes: &Nodes, senders: u32, bytes: usize, span: Duration) -> (f64, f64) {
    let (tell, told) = mpsc::channel();
    let (mut threads, mut steps) = (Vec::new(), Vec::new());
    for node in 1..=NODES {
        let (namespace, tell) = (nodes.net().namespace(node), mpsc::Sender::clone(&tell));
        let ((ready, joined), (step, next)) = (mpsc::channel(), mpsc::channel());
        let sends = node <= senders;
        let run = move || {
            let handle = join(&namespace);
            ready.send(()).unwrap();
            next.recv().unwrap();
            tell.send((node, carry(&handle, sends, bytes, span))).unwrap();
            drop(tell);
            // Until all are told.
            let _ = next.recv();
        };
        threads.push(std::thread::Builder::new().stack_size(4 << 20).spawn(run).unwrap());
        joined.recv().expect("it joins");
        steps.push(step);
    }
    drop(tell);
    steps.iter().for_each(|step| step.send(()).unwrap());
    let rates: Vec<_> = (0..NODES).map(|_| told.recv().expect("all carry")).collect();
    drop(steps);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    rates.into_iter().find(|(node, _)| *node == NODES).unwrap().1
}

fn join(namespace: &str) -> Handle {
    netns::enter(namespace).unwrap();
    let model = ModelData::ModelV1(Model1Data {
        flags: Model1Flags::None,
        deliver_fn: Some(on_message),
        confchg_fn: None,
        totem_confchg_fn: None,
    });
    let handle = cpg::initialize(&model, 0).unwrap();
    // The last measurement's membership of this process may still end.
    while cpg::join(&handle, "bare") == Err(CsError::CsErrTryAgain) {
        std::thread::sleep(Duration::from_millis(10));
    }
    handle
}

fn carry(handle: &Handle, sends: bool, bytes: usize, span: Duration) -> (f64, f64) {
    DELIVERED.set((0, 0));
    let message = vec![7; bytes];
    let start = Instant::now();
    let (warm, end) = (start + span / 4, start + span + span / 4);
    let mut at_warm = None;
    while Instant::now() < end {
        if at_warm.is_none() && Instant::now() >= warm {
            at_warm = Some((Instant::now(), DELIVERED.get()));
        }
        let mut idle = true;
        for _ in 0..64 {
            idle &= cpg::dispatch(handle, DispatchFlags::OneNonblocking).is_err();
        }
        for _ in 0..if sends { 64 } else { 0 } {
            match cpg::mcast_joined(handle, Guarantee::TypeAgreed, &message) {
                Ok(()) => idle = false,
                Err(CsError::CsErrTryAgain) => break,
                Err(error) => panic!("{error}"),
            }
        }
        if idle {
            std::thread::sleep(Duration::from_micros(300));
        }
    }
    let (since, (count, total)) = at_warm.unwrap();
    let seconds = since.elapsed().as_secs_f64();
    let (count_now, total_now) = DELIVERED.get();
    ((total_now - total) as f64 / seconds, (count_now - count) as f64 / seconds)
}

/// What a cluster of servers did while it was measured.
struct Writes {
    each_second: f64,
    /// Handed to Corosync by all servers.
    group_bytes: f64,
    group_messages: f64,
}

async fn measure(cluster: &Cluster, value: usize, span: Duration) -> Writes {
    let addresses = cluster.addresses();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let done = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for session in 0..SESSIONS_EACH * addresses.len() {
        let at = addresses[session % addresses.len()];
        tasks.spawn(write(at, session, value, stop.clone(), done.clone()));
    }
    let count = || done.load(std::sync::atomic::Ordering::Relaxed);
    tokio::time::sleep(span / 2).await;
    let (start, before, group) = (Instant::now(), count(), chunks(cluster));
    tokio::time::sleep(span).await;
    let (seconds, after) = (start.elapsed().as_secs_f64(), count());
    let group_now = chunks(cluster);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    tasks.join_all().await;
    Writes {
        each_second: (after - before) as f64 / seconds,
        group_bytes: (group_now.0 - group.0) as f64 / seconds,
        group_messages: (group_now.1 - group.1) as f64 / seconds,
    }
}

fn chunks(cluster: &Cluster) -> (u64, u64) {
    let mut sum = (0, 0);
    for at in 0..cluster.len() {
        let http = cluster.metrics_address(at).expect("Accord has HTTP");
        let status: Option<StatusReport> = accord::status(http);
        if let Some(report) = status.and_then(|status| status.corosync) {
            sum = (sum.0 + report.chunk_bytes, sum.1 + report.chunks);
        }
    }
    sum
}

async fn write(
    at: SocketAddr,
    session: usize,
    value: usize,
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    done: std::sync::Arc<std::sync::atomic::AtomicU64>,
) {
    use std::sync::atomic::Ordering::Relaxed;
    let client = Client::connect(ClientOptions::new(vec![at])).await.expect("it serves");
    let value = vec![b'x'; value];
    let mut pending = VecDeque::new();
    let outstanding = if value.len() > 1000 { 8 } else { OUTSTANDING_EACH };
    for number in 0_u64.. {
        if stop.load(Relaxed) {
            break;
        }
        let key = format!("bench/{session}/{}", number % 100);
        pending.push_back(client.begin(Steps::new().put(key, value.clone())).await.expect("begun"));
        if pending.len() >= outstanding {
            pending.pop_front().unwrap().await.expect("it is done");
            done.fetch_add(1, Relaxed);
        }
    }
    for pending in pending {
        let _ = pending.await;
    }
}

fn servers(mtu: u32, group: GroupChoice, value: usize, span: Duration) -> Writes {
    // A thread of its own, which may stay among the clients.
    let measured = std::thread::spawn(move || {
        let mut options = NodesOptions { mtu, ..NodesOptions::new(group) };
        options.daemons.token_ms = 3000;
        let nodes = Nodes::up(options).unwrap_or_else(|error| panic!("{error}"));
        nodes.net().enter().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let accord = Accord::new(env!("CARGO_BIN_EXE_accord"));
            let cluster = Cluster::start_in(Some(nodes), accord, &ClusterOptions::default());
            let mut cluster = cluster.unwrap_or_else(|error| panic!("{error}"));
            let ready = cluster.wait_until_ready(Duration::from_secs(60));
            ready.unwrap_or_else(|error| panic!("{error}"));
            measure(&cluster, value, span).await
        })
    });
    measured.join().unwrap()
}

fn main() {
    // `cargo test` runs benches too, to see that they start.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let seconds = std::env::var("ACCORD_BENCH_SECONDS").ok().and_then(|s| s.parse().ok());
    let span = Duration::from_secs(seconds.unwrap_or(6));
    for mtu in [1500, 65_535] {
        println!("links of {mtu} bytes, {NODES} nodes");
        let dir = tempfile::TempDir::with_prefix("accord-bench-").unwrap();
        let mut options = NodesOptions { mtu, ..NodesOptions::new(GroupChoice::Corosync) };
        options.daemons.token_ms = 3000;
        let mut nodes = Nodes::up(options).unwrap_or_else(|error| panic!("{error}"));
        nodes.start_daemons(dir.path()).unwrap_or_else(|error| panic!("{error}"));
        for (senders, bytes) in [(3, 60_000), (3, 16_000), (3, 4000), (3, 1000), (1, 60_000)] {
            let (rate, messages) = bare(&nodes, senders, bytes, span);
            println!(
                "  bare CPG, {senders} senders, {bytes:>6} bytes: {:>7.1} MB/s {messages:>9.0} messages/s",
                rate / 1e6
            );
        }
        drop(nodes);
        for (group, name) in [(GroupChoice::Corosync, "Corosync"), (GroupChoice::Ring, "the ring")]
        {
            for value in [8, 16_000] {
                let writes = servers(mtu, group, value, span);
                print!("  writes of {value:>5} bytes over {name}: {:>8.0}/s", writes.each_second);
                if group == GroupChoice::Corosync {
                    let (megabytes, messages) = (writes.group_bytes / 1e6, writes.group_messages);
                    print!("; to the group {megabytes:>6.1} MB/s in {messages:>6.0} messages/s");
                }
                println!();
            }
        }
    }
}
