//! What clients do, recorded as histories in Jepsen's form.
//!
//! What they do is drawn by the generators of `accord-workloads`, which the simulated worlds run as
//! well; [`crate::systems`] has the clients. A client runs a number of lanes, so that it has that
//! many operations outstanding. A lane does one operation after the other until it is told to stop;
//! an outcome is recorded as done, failed or unknown. When a session is lost, the client opens
//! another and goes on.

pub mod lists;
pub mod register;

use crate::systems::{Persistent, Session};

use accord_models::edn::Value;
use accord_models::history::OpId;
use accord_models::{History, Recorder};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most clients of a history.
const CLIENTS_MAX: u64 = 10_000;

/// What the clients of a run share.
#[derive(Debug)]
pub struct Record {
    recorder: Mutex<Recorder>,
    start: Instant,
    stop: AtomicBool,
    sessions_lost: AtomicU64,
    /// Operations that the cluster or the client library gave up for good.
    errors: Mutex<Vec<String>>,
    /// The longest time between two operations that were done, so far, by client.
    gaps: Mutex<BTreeMap<u64, Gap>>,
}

#[derive(Clone, Copy, Debug)]
struct Gap {
    last: Instant,
    longest: Duration,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            recorder: Mutex::new(Recorder::new(CLIENTS_MAX)),
            start: Instant::now(),
            stop: AtomicBool::new(false),
            sessions_lost: AtomicU64::new(0),
            errors: Mutex::default(),
            gaps: Mutex::default(),
        }
    }
}

/// How an operation ended.
#[derive(Debug)]
pub enum Ended {
    /// With this result.
    Ok(Value),
    /// It was not done, since its condition did not hold.
    Refused(&'static str),
    /// It was not done, and will not be.
    Failed(String),
    /// It was done or not, and may still be.
    Unknown(String),
}

impl Record {
    /// A new record.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn lock(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn time_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// An operation begins.
    pub fn invoke(&self, client: u64, f: &'static str, value: Value) -> OpId {
        let time_ns = self.time_ns();
        self.lock().invoke(client, time_ns, f, value)
    }

    /// An operation ends.
    pub fn complete(&self, client: u64, op: OpId, ended: Ended) {
        let time_ns = self.time_ns();
        let recorder = &mut *self.lock();
        match ended {
            Ended::Ok(value) => {
                recorder.ok(op, time_ns, value);
                self.note_done(client);
            }
            Ended::Refused(why) => {
                recorder.fail(op, time_ns, Value::text(why));
                self.note_done(client);
            }
            Ended::Failed(why) => {
                recorder.fail(op, time_ns, Value::Text(why.clone()));
                self.errors.lock().unwrap_or_else(PoisonError::into_inner).push(why);
            }
            Ended::Unknown(why) => recorder.unknown(op, time_ns, Value::Text(why)),
        }
    }

    /// Opens another session if a client's is over, unless it is time to `stop`.
    pub async fn renew<S: Session>(&self, session: &Persistent<S>, stop: impl Fn() -> bool) {
        if session.renew(stop).await {
            self.sessions_lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn note_done(&self, client: u64) {
        let now = Instant::now();
        let gaps = &mut *self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        let gap = gaps.entry(client).or_insert(Gap { last: now, longest: Duration::ZERO });
        gap.longest = gap.longest.max(now - gap.last);
        gap.last = now;
    }

    /// What the nemesis did, for readers of the history.
    pub fn note(&self, what: &'static str, server: usize) {
        let time_ns = self.time_ns();
        self.lock().note(time_ns, what, Value::Int(server as i64 + 1));
    }

    /// Asks the clients to stop after what they have begun.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// True once they are to stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Operations so far.
    pub fn operations(&self) -> usize {
        self.lock().operations_count()
    }

    /// How many clients have had something done since `start`.
    pub fn clients_served_since(&self, start: Instant) -> usize {
        let gaps = &*self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        gaps.values().filter(|gap| gap.last > start).count()
    }

    /// Operations that were done by each client since the last call took its turn: the longest wait
    /// of any client, which begins anew.
    pub fn take_longest_gap(&self) -> Duration {
        let now = Instant::now();
        let gaps = &mut *self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = gaps.values().map(|gap| gap.longest.max(now - gap.last)).max();
        for gap in gaps.values_mut() {
            gap.longest = Duration::ZERO;
        }
        longest.unwrap_or_default()
    }

    /// Sessions that were lost.
    pub fn sessions_lost(&self) -> u64 {
        self.sessions_lost.load(Ordering::Relaxed)
    }

    /// What clients were told of operations that were given up for good.
    pub fn errors(&self) -> Vec<String> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The history so far.
    pub fn history(&self) -> History {
        self.lock().history().clone()
    }
}
