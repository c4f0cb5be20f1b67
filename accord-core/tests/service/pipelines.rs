//! Many small runs in which clients send writes, reads with a place and reads that watch, without
//! waiting, while the servers lose and find each other: each result is what its place demands.

use crate::cluster::{Cluster, put, request};
use crate::order::read_behind;
use accord_core::ids::{ConnId, WatchId};
use accord_core::protocol::{
    ClientMessage, Consistency, EventMask, ReadWatch, ServerMessage, WatchFilter,
};
use accord_core::rng::Rng;
use accord_core::state::{Event, Outcome, ReadResult, TxnOutcome};
use accord_core::time::Duration;
use bytes::Bytes;
use std::collections::BTreeMap;

/// What a read was asked for.
struct Asked {
    /// It is behind the requests up to this one.
    after: u64,
    /// Reads with a place before it.
    place: usize,
    watches: bool,
}

/// One client: the only one that writes its key. Its writes are numbered, and write their numbers.
struct Talker {
    conn: ConnId,
    key: String,
    requests: u64,
    reads: u64,
    /// Reads that are not answered.
    asked: BTreeMap<u64, Asked>,
    /// The last request that committed, and the last that was answered in any way.
    committed: u64,
    answered: u64,
    /// The value that each watch told last: of the read that set it, or of its events.
    watched: BTreeMap<WatchId, u64>,
    /// Places of the reads that ended.
    places: Vec<usize>,
    met: Met,
}

/// How often a run met what it is about.
#[derive(Clone, Copy, Default)]
struct Met {
    results: u64,
    refused: u64,
    events: u64,
    /// Results in front of which the client had sent later requests.
    ahead: u64,
}

impl Talker {
    fn open(cluster: &mut Cluster, node: u32) -> Self {
        let (conn, session) = cluster.open(node, 60_000);
        Self {
            conn,
            key: format!("{session}"),
            requests: 0,
            reads: 0,
            asked: BTreeMap::new(),
            committed: 0,
            answered: 0,
            watched: BTreeMap::new(),
            places: Vec::new(),
            met: Met::default(),
        }
    }

    fn next_message(&mut self, rng: &mut Rng) -> ClientMessage {
        if rng.chance(1, 2) {
            self.requests += 1;
            return request(self.requests, &put(&self.key, &self.requests.to_string()));
        }
        self.reads += 1;
        let watch = rng.chance(1, 4).then(|| ReadWatch {
            watch: WatchId(self.reads),
            filter: WatchFilter::Key(self.key.clone().into()),
            mask: EventMask::ALL,
            once: false,
        });
        let consistency = match rng.chance(1, 2) {
            true => Consistency::Linearizable,
            false => Consistency::Local,
        };
        let (after, place, watches) = (self.requests, self.reads as usize, watch.is_some());
        self.asked.insert(self.reads, Asked { after, place, watches });
        read_behind(self.reads, consistency, &self.key, after, watch)
    }

    fn hear(&mut self, cluster: &mut Cluster, seed: u64) {
        for message in cluster.take(self.conn) {
            match message {
                ServerMessage::Reply { request, outcome } => {
                    let Outcome::Txn(TxnOutcome::Committed { .. }) = outcome else {
                        panic!("seed {seed}: {outcome:?}");
                    };
                    assert_eq!(request.0, self.answered + 1, "seed {seed}: answers in order");
                    (self.answered, self.committed) = (request.0, request.0);
                    for told in self.watched.values() {
                        assert_eq!(*told, request.0, "seed {seed}: a result before its event");
                    }
                }
                ServerMessage::ReadReply { read, result, .. } => {
                    self.on_result(read, &result, seed)
                }
                ServerMessage::ReadRefused { read, .. } => {
                    let asked = self.asked.remove(&read).expect("it was asked");
                    self.on_end(asked.place, seed);
                    self.met.refused += 1;
                }
                ServerMessage::Events { watch, events, .. } => {
                    let told = self.watched.get_mut(&watch).expect("its read was answered");
                    for event in events.iter() {
                        let Event::Key(event) = event else { panic!("{event:?}") };
                        let value = number(&event.data);
                        assert_eq!(value, *told + 1, "seed {seed}: none missed, none twice");
                        *told = value;
                        self.met.events += 1;
                    }
                }
                ServerMessage::Status { .. } | ServerMessage::SessionClosed { .. } => {}
                other => panic!("seed {seed}: {other:?}"),
            }
        }
    }

    fn on_result(&mut self, read: u64, result: &ReadResult, seed: u64) {
        let Asked { after, place, watches } = self.asked.remove(&read).expect("it was asked");
        let value = match result {
            ReadResult::Value { value, .. } => number(value),
            _ => 0,
        };
        assert_eq!(self.answered, after, "seed {seed}: behind its requests, before all others");
        assert_eq!(value, self.committed, "seed {seed}: what it shows");
        self.on_end(place, seed);
        if watches {
            self.watched.insert(WatchId(read), value);
        }
        self.met.results += 1;
        self.met.ahead += u64::from(self.requests > after);
    }

    fn on_end(&mut self, place: usize, seed: u64) {
        assert!(self.places.last().is_none_or(|last| *last < place), "seed {seed}: in their order");
        self.places.push(place);
    }
}

fn number(bytes: &Bytes) -> u64 {
    std::str::from_utf8(bytes).expect("digits").parse().expect("a number")
}

fn disturb(cluster: &mut Cluster, rng: &mut Rng) {
    match rng.below(8) {
        0 => cluster.partition(&[&[1], &[2, 3]]),
        1 => cluster.partition(&[&[2], &[1, 3]]),
        2 => cluster.partition_quietly(&[&[1], &[2], &[3]]),
        3 => cluster.pass(Duration::from_millis(rng.below(6000))),
        _ => cluster.partition_quietly(&[&[1, 2, 3]]),
    }
}

fn run(seed: u64) -> Met {
    let mut rng = Rng::new(seed);
    let tight = rng.chance(1, 2);
    let mut cluster = Cluster::with(3, |config| {
        if tight {
            config.replica.limits.log_bytes_retained = 300;
        }
    });
    let mut talkers: Vec<Talker> = (1..=3).map(|node| Talker::open(&mut cluster, node)).collect();
    for _ in 0..120 {
        if rng.chance(1, 15) {
            disturb(&mut cluster, &mut rng);
        }
        let talker = &mut talkers[rng.below(3) as usize];
        match rng.below(6) {
            0..=2 => {
                let count = 1 + rng.below(4);
                let messages = (0..count).map(|_| talker.next_message(&mut rng)).collect();
                cluster.say_at_once(talker.conn, messages);
            }
            3 => cluster.run(),
            _ => {
                cluster.deliver_one();
            }
        }
        talkers.iter_mut().for_each(|talker| talker.hear(&mut cluster, seed));
    }
    cluster.partition(&[&[1, 2, 3]]);
    cluster.pass(Duration::from_secs(7));
    let mut met = Met::default();
    for talker in &mut talkers {
        talker.hear(&mut cluster, seed);
        if cluster.closed(talker.conn).is_none() {
            assert!(talker.asked.is_empty(), "seed {seed}: every read has ended");
            assert_eq!(talker.answered, talker.requests, "seed {seed}: every write has");
        }
        met.results += talker.met.results;
        met.refused += talker.met.refused;
        met.events += talker.met.events;
        met.ahead += talker.met.ahead;
    }
    assert_eq!(cluster.halts, [], "seed {seed}");
    met
}

// Claims: C-read-order, C-read-watch
#[test]
fn whatever_happens_results_stand_in_their_sessions_order() {
    let mut met = Met::default();
    for seed in 0..400 {
        let one = run(seed);
        met.results += one.results;
        met.refused += one.refused;
        met.events += one.events;
        met.ahead += one.ahead;
    }
    // The runs are worth something only if they meet what they are about.
    let enough = met.results > 5000 && met.ahead > 1000 && met.refused > 100 && met.events > 1000;
    assert!(enough, "{} {} {} {}", met.results, met.ahead, met.refused, met.events);
}
