//! A load on one's own cluster, and how long each operation took.
//!
//! Each client has a session of its own and one operation under way: it asks again when it was
//! answered. All that is kept of the operations are counts, so a long run takes no more memory than
//! a short one. The records lie under a prefix that no other run has, and are deleted in the end.

use super::admin::print_json;
use super::{Context, Failure};
use crate::out;
use crate::signals::Signals;
use accord_core::rng::Rng;
use accord_net::client::txn::Steps;
use accord_net::client::{Client, Error};
use accord_net::env::real::draw;
use clap::Args;
use serde_json::{Value, json};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

pub const EXAMPLES: &str = "\
Examples:
  accord bench                                  8 clients for 10 s, half of it reads
  accord bench --clients 64 --reads-percent 90 --value-bytes 1024 --seconds 60
  accord bench --reads-percent 0 --json | jq .writes.p99_ms

It writes records under accord-bench/, and deletes them in the end; Ctrl-C ends it early, and it
deletes them all the same. It shares the cluster with other users: mind them. Reads are
linearizable. Latencies are as the clients see them, this machine included, to within 2 %.

Exit code: 0, done; 1, operations failed; 4, no server was reached.";

/// Bytes of all records together.
const BYTES_MAX: u64 = 1 << 30;
/// Records made or deleted at once.
const STEPS: u32 = 100;
/// A client that is refused so often on end gives up.
const FAILURES_MAX: u32 = 10;

/// What is to be asked.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// Clients at once, each with one operation under way; 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    clients: u32,
    /// How long; 1 to 3600.
    #[arg(long, value_name = "S", default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// How many of 100 operations are reads; the others write.
    #[arg(long, value_name = "N", default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(0..=100))]
    reads_percent: u32,
    /// How many records there are; 1 to 1000000.
    #[arg(long, value_name = "N", default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    records: u32,
    /// Bytes of each value; up to 1048576.
    #[arg(long, value_name = "BYTES", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    value_bytes: u32,
}

/// Runs the load.
pub async fn run(args: &BenchArgs, context: &mut Context) -> Result<u8, Failure> {
    let bytes = u64::from(args.records) * u64::from(args.value_bytes);
    if bytes > BYTES_MAX {
        return Err(Failure::misused(format!(
            "--records times --value-bytes is {bytes}: at most {BYTES_MAX} bytes are written"
        )));
    }
    let cannot = |error| Failure::failed("failed", format!("signals cannot be received: {error}"));
    let mut signals = Signals::new().map_err(cannot)?;
    let mut clients = Vec::new();
    for _ in 0..args.clients {
        clients.push(sibling(context).client().await?);
    }
    let first = clients[0].clone();
    let load = Arc::new(Load {
        prefix: format!("accord-bench/{}/", first.session().0),
        args: args.clone(),
        value: vec![b'v'; args.value_bytes as usize],
        stop: AtomicBool::new(false),
    });
    let measured = match load.fill(&first, &mut signals).await {
        Ok(()) => Ok(load.measure(&clients, &mut signals).await),
        Err(error) => Err(error),
    };
    let cleared = load.clear(&first).await;
    for client in clients {
        client.close().await;
    }
    if let Err(error) = &cleared {
        out::complain(&format!("records are left under {}: {error}", load.prefix));
    }
    let (tally, took) = measured?;
    let code = tell(args, &tally, took, context.json);
    Ok(if cleared.is_ok() { code } else { out::FAILED })
}

/// The same servers and bounds, and no session yet.
fn sibling(context: &Context) -> Context {
    Context {
        servers: context.servers.clone(),
        timeout: context.timeout,
        json: context.json,
        session_timeout: context.session_timeout,
        lasting: false,
        client: None,
    }
}

/// What all clients share.
#[derive(Debug)]
struct Load {
    prefix: String,
    args: BenchArgs,
    value: Vec<u8>,
    stop: AtomicBool,
}

impl Load {
    fn key(&self, record: u64) -> String {
        format!("{}{record:07}", self.prefix)
    }

    /// Makes the records, some in each transaction.
    async fn fill(&self, client: &Client, signals: &mut Signals) -> Result<(), Error> {
        let most = (1 << 20) / (u64::from(self.args.value_bytes) + 100);
        let step = most.clamp(1, u64::from(STEPS));
        let records = u64::from(self.args.records);
        let mut next = 0;
        while next < records && !self.stop.load(Ordering::Relaxed) {
            let end = records.min(next + step);
            let put = |steps: Steps, record| steps.put(self.key(record), &self.value[..]);
            let mut filling = pin!(client.txn((next..end).fold(Steps::new(), put)));
            // Not given up when the end is asked for: what it makes is to be deleted after it.
            loop {
                tokio::select! {
                    biased;
                    done = &mut filling => {
                        done?;
                        break;
                    }
                    _ = signals.next() => self.stop.store(true, Ordering::Relaxed),
                }
            }
            next = end;
        }
        Ok(())
    }

    /// Lets all clients work until the time is up, or somebody asks for the end. Returns what came
    /// of it, and how long it took.
    async fn measure(self: &Arc<Self>, clients: &[Client], signals: &mut Signals) -> (Tally, f64) {
        let begun = Instant::now();
        let deadline = begun + Duration::from_secs(self.args.seconds);
        let mut working = JoinSet::new();
        for client in clients {
            let (load, client) = (self.clone(), client.clone());
            working.spawn(async move { load.work(&client, deadline).await });
        }
        let mut all = Tally::default();
        loop {
            tokio::select! {
                biased;
                done = working.join_next() => match done {
                    Some(tally) => all.add(tally.expect("a client does not panic")),
                    None => break,
                },
                _ = signals.next() => self.stop.store(true, Ordering::Relaxed),
            }
        }
        (all, begun.elapsed().as_secs_f64())
    }

    /// One client's operations, one after the other.
    async fn work(&self, client: &Client, deadline: Instant) -> Tally {
        let mut rng = Rng::new(draw());
        let (mut tally, mut failures) = (Tally::default(), 0);
        while Instant::now() < deadline
            && failures < FAILURES_MAX
            && !self.stop.load(Ordering::Relaxed)
        {
            let key = self.key(rng.below(u64::from(self.args.records)));
            let reads = rng.below(100) < u64::from(self.args.reads_percent);
            let begun = Instant::now();
            let done = match reads {
                true => client.get(key).await.map(|_| ()),
                false => client.put(key, &self.value[..]).await.map(|_| ()),
            };
            let spans = if reads { &mut tally.reads } else { &mut tally.writes };
            match done {
                Ok(()) => {
                    failures = 0;
                    spans.note(begun.elapsed());
                }
                Err(error) => {
                    failures += 1;
                    tally.failed += 1;
                    tally.why.get_or_insert_with(|| error.to_string());
                }
            }
        }
        tally
    }

    /// Deletes all records.
    async fn clear(&self, client: &Client) -> Result<(), Error> {
        loop {
            let mut list = client.list(self.prefix.clone()).keys_only().page_entries(STEPS);
            let mut steps = Steps::new();
            let mut found = 0;
            while found < STEPS
                && let Some(entry) = list.next().await?
            {
                steps = steps.delete(entry.key);
                found += 1;
            }
            if found == 0 {
                return Ok(());
            }
            client.txn(steps).await?;
        }
    }
}

/// What came of operations.
#[derive(Debug, Default)]
struct Tally {
    reads: Spans,
    writes: Spans,
    failed: u64,
    /// Why the first that failed did.
    why: Option<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.reads.add(&other.reads);
        self.writes.add(&other.writes);
        self.failed += other.failed;
        self.why = self.why.take().or(other.why);
    }
}

/// The bits of a span that are told apart: to 1 part in 64.
const KEPT_BITS: u32 = 6;
/// The longest span that is told from longer ones, in microseconds: twelve days.
const SPAN_US_MAX: u64 = (1 << 40) - 1;

/// How often operations took how long.
#[derive(Debug, Default)]
struct Spans {
    /// By bucket. Empty until there is one.
    counts: Vec<u64>,
    count: u64,
    max_us: u64,
}

impl Spans {
    /// Spans of up to 127 us have a bucket each; of longer ones the first seven bits count.
    fn bucket(span_us: u64) -> usize {
        let span_us = span_us.min(SPAN_US_MAX);
        let shift = (u64::BITS - span_us.leading_zeros()).saturating_sub(KEPT_BITS + 1);
        ((shift as usize) << KEPT_BITS) + (span_us >> shift) as usize
    }

    /// The longest span of a bucket.
    const fn longest_us(bucket: usize) -> u64 {
        let shift = (bucket >> KEPT_BITS).saturating_sub(1);
        let first = bucket - (shift << KEPT_BITS);
        ((first as u64 + 1) << shift) - 1
    }

    fn note(&mut self, span: Duration) {
        let span_us = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let bucket = Self::bucket(span_us);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.count += 1;
        self.max_us = self.max_us.max(span_us);
    }

    fn add(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.count += other.count;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// The latency in milliseconds that `permille` of 1000 requests did not exceed.
    fn within_ms(&self, permille: u64) -> f64 {
        let rank = (self.count * permille).div_ceil(1000).max(1);
        let mut seen = 0;
        let reached = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        let longest_us = reached.map_or(0, Self::longest_us).min(self.max_us);
        longest_us as f64 / 1e3
    }

    fn to_json(&self, took_s: f64) -> Value {
        json!({
            "count": self.count,
            "per_second": self.count as f64 / took_s,
            "p50_ms": self.within_ms(500),
            "p90_ms": self.within_ms(900),
            "p99_ms": self.within_ms(990),
            "p999_ms": self.within_ms(999),
            "max_ms": self.max_us as f64 / 1e3,
        })
    }

    fn line(&self, name: &str, took_s: f64) -> String {
        if self.count == 0 {
            return String::new();
        }
        format!(
            "  {name:<7}{:>9.0} a second   ms: p50 {:.3}, p90 {:.3}, p99 {:.3}, p99.9 {:.3}, max \
             {:.3}\n",
            self.count as f64 / took_s,
            self.within_ms(500),
            self.within_ms(900),
            self.within_ms(990),
            self.within_ms(999),
            self.max_us as f64 / 1e3,
        )
    }
}

fn tell(args: &BenchArgs, tally: &Tally, took_s: f64, json: bool) -> u8 {
    let Tally { reads, writes, failed, why } = tally;
    let count = reads.count + writes.count;
    if json {
        print_json(&json!({
            "clients": args.clients,
            "records": args.records,
            "value_bytes": args.value_bytes,
            "seconds": took_s,
            "count": count,
            "per_second": count as f64 / took_s,
            "failed": failed,
            "why": why,
            "reads": reads.to_json(took_s),
            "writes": writes.to_json(took_s),
        }));
    } else {
        let mut text = format!(
            "{} clients, {} records of {} bytes, {took_s:.1} s\n  all    {:>9.0} a second   {count} \
             done, {failed} failed\n",
            args.clients,
            args.records,
            args.value_bytes,
            count as f64 / took_s,
        );
        text.push_str(&reads.line("reads", took_s));
        text.push_str(&writes.line("writes", took_s));
        out::print_text(&text);
        if let Some(why) = why {
            out::complain(&format!("the first of {failed} that failed: {why}"));
        }
    }
    if *failed == 0 { out::DONE } else { out::FAILED }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order_without_gaps_and_hold_what_is_alike() {
        let follows = |span_us: u64| {
            let step = Spans::bucket(span_us + 1) - Spans::bucket(span_us);
            assert!(step <= 1, "{span_us}");
        };
        (0..5000).for_each(follows);
        for span_us in (0..5000).chain((0..30).map(|bit| (1 << bit) * 1000)).chain([u64::MAX]) {
            let bucket = Spans::bucket(span_us);
            let longest = Spans::longest_us(bucket);
            assert_eq!(Spans::bucket(longest), bucket);
            let span_us = span_us.min(SPAN_US_MAX);
            let over_us = longest.checked_sub(span_us).expect("it is in its bucket");
            assert!(over_us <= span_us / 64, "{span_us} {longest}");
        }
    }

    #[test]
    fn quantiles_are_those_of_all_that_was_noted() {
        let (mut odd, mut even) = (Spans::default(), Spans::default());
        for span_ms in 1..=1000 {
            let spans = if span_ms % 2 == 1 { &mut odd } else { &mut even };
            spans.note(Duration::from_millis(span_ms));
        }
        odd.add(&even);
        for permille in [1, 500, 900, 990, 999, 1000] {
            let found = odd.within_ms(permille);
            let wanted = permille as f64;
            assert!(found >= wanted && found <= wanted * 1.02, "{permille}: {found}");
        }
        assert_eq!((odd.count, odd.within_ms(1000)), (1000, 1000.0));
        assert_eq!(Spans::default().within_ms(500), 0.0);
    }
}
