//! The same loads by Accord's client library: what its handles, futures and tasks cost beside the
//! bare client machine that the generator drives.

use crate::failure::{During, Result, wrong};
use crate::generator::{Recorded, latencies};
use crate::load::{Meter, Target, Timing, Used, unique};
use crate::workload::{Answer, Ask, Expected, Keys, Workload};
use accord_net::client::txn::Steps;
use accord_net::client::{Client, ClientOptions, Flags};
use bytes::Bytes;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::LocalSet;

/// What all tasks share.
struct Shared {
    workload: Workload,
    ends: bool,
    recorded: Option<Recorded>,
    failure: Option<crate::failure::Failure>,
}

/// Measures a closed loop.
///
/// # Errors
/// If a server does something wrong, or the load is an open loop.
pub fn run(target: &Target<'_>, workload: &Workload, timing: Timing) -> Result<(Recorded, Used)> {
    if workload.rate.is_some() {
        let what = "the client library is measured in a closed loop: leave --rate away";
        return Err(crate::failure::Failure::Usage(what.to_owned()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.during("a runtime")?;
    LocalSet::new().block_on(&runtime, load(target, workload, timing))
}

async fn load(
    target: &Target<'_>,
    workload: &Workload,
    timing: Timing,
) -> Result<(Recorded, Used)> {
    let workload = workload.clone();
    let shared = Shared { workload, ends: false, recorded: None, failure: None };
    let shared = Rc::new(RefCell::new(shared));
    let connections = shared.borrow().workload.connections;
    let mut tasks = Vec::new();
    for at in 0..connections {
        let address = target.addresses[at % target.addresses.len()];
        let mut options = ClientOptions::new(vec![address]);
        options.requests_max = shared.borrow().workload.window * 2 + 64;
        options.reads_max = options.requests_max;
        let client = Client::connect(options).await.map_err(wrong)?;
        let number = u16::try_from(at).map_err(|_| wrong("at most 65,536 connections"))?;
        let keys = prepare(&client, &shared, number).await?;
        for _ in 0..shared.borrow().workload.window {
            let one = one_after_the_other(client.clone(), shared.clone(), keys.clone());
            tasks.push(tokio::task::spawn_local(one));
        }
    }
    pause(&shared, timing.warm).await?;
    let meter = Meter::begin(target)?;
    let began = Instant::now();
    let latency = latencies();
    let none = Recorded { requests: 0, reads: 0, elapsed: Duration::ZERO, latency };
    shared.borrow_mut().recorded = Some(none);
    pause(&shared, timing.measure).await?;
    let mut recorded = shared.borrow_mut().recorded.take().expect("nobody else takes it");
    recorded.elapsed = began.elapsed();
    let used = meter.end()?;
    shared.borrow_mut().ends = true;
    for task in tasks {
        task.await.map_err(wrong)?;
    }
    match shared.borrow_mut().failure.take() {
        Some(failure) => Err(failure),
        None => Ok((recorded, used)),
    }
}

/// Lets the load go on for a while, unless something is wrong.
async fn pause(shared: &Rc<RefCell<Shared>>, time: Duration) -> Result<()> {
    const SLICE: Duration = Duration::from_millis(100);
    let end = Instant::now() + time;
    while Instant::now() < end {
        crate::interrupt::check()?;
        let rest = end.saturating_duration_since(Instant::now());
        tokio::time::sleep(rest.min(SLICE)).await;
        if let Some(failure) = shared.borrow_mut().failure.take() {
            return Err(failure);
        }
    }
    Ok(())
}

/// Makes the keys exist, each with a value that this load knows.
async fn prepare(
    client: &Client,
    shared: &Rc<RefCell<Shared>>,
    number: u16,
) -> Result<Rc<RefCell<Keys>>> {
    let workload = shared.borrow().workload.clone();
    let mut keys = Keys::new(&workload, number, unique(), true);
    let mut begun = Vec::new();
    for at in 0..workload.keys {
        let Some((Ask::Write { key, value }, expected)) = keys.first_write(at) else { break };
        let pending = client.begin(Steps::new().put(key, value)).await.map_err(wrong)?;
        begun.push((pending, expected));
    }
    for (pending, expected) in begun {
        pending.await.map_err(wrong)?;
        keys.judge(&expected, &Answer::Written)?;
    }
    Ok(Rc::new(RefCell::new(keys)))
}

async fn one_after_the_other(client: Client, shared: Rc<RefCell<Shared>>, keys: Rc<RefCell<Keys>>) {
    while !shared.borrow().ends {
        if let Err(failure) = ask_one(&client, &shared, &keys).await {
            let mut shared = shared.borrow_mut();
            shared.failure.get_or_insert(failure);
            shared.ends = true;
        }
    }
}

async fn ask_one(
    client: &Client,
    shared: &Rc<RefCell<Shared>>,
    keys: &Rc<RefCell<Keys>>,
) -> Result<()> {
    let (ask, expected) = keys.borrow_mut().next(&shared.borrow().workload);
    let began = Instant::now();
    let answer = carry_out(client, ask).await?;
    keys.borrow_mut().judge(&expected, &answer)?;
    if let Some(recorded) = &mut shared.borrow_mut().recorded {
        recorded.requests += 1;
        recorded.reads += u64::from(matches!(expected, Expected::Read { .. }));
        recorded.latency.saturating_record(began.elapsed().as_nanos() as u64);
    }
    Ok(())
}

async fn carry_out(client: &Client, ask: Ask) -> Result<Answer> {
    let fresh_flags = Flags::CREATE | Flags::EXCLUSIVE;
    let write = |steps: Steps, key: Bytes, value: Bytes, fresh: bool| {
        steps.write(key, value, 0, if fresh { fresh_flags } else { Flags::REPLACE })
    };
    let steps = match ask {
        Ask::Read { key, linearizable } => {
            let read = client.read(key);
            let read = if linearizable { read } else { read.local() };
            let record = read.send().await.map_err(wrong)?;
            let record = record.ok_or_else(|| wrong("a record was not found"))?;
            return Ok(Answer::Value(record.value));
        }
        Ask::Write { key, value } => write(Steps::new(), key, value, false),
        Ask::Create { key, value } => write(Steps::new(), key, value, true),
        Ask::Transact { writes, fresh } => {
            let add = |steps, (key, value)| write(steps, key, value, fresh);
            writes.into_iter().fold(Steps::new(), add)
        }
        ask @ (Ask::Ensure { .. } | Ask::Remove { .. } | Ask::Watch { .. }) => {
            return Err(wrong(format!("no load asks for {ask:?}")));
        }
    };
    client.txn(steps).await.map_err(wrong)?;
    Ok(Answer::Written)
}
