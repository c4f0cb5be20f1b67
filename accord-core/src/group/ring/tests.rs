//! A member that holds the key and has gone mad, against one that has not.

use super::packet::{Commit, Data, Origin, Token};
use super::rows::Row;
use super::*;
use crate::time::Duration;

const KEY: [u8; 32] = [9; 32];

fn config(node: u32) -> RingConfig {
    let peers = (1..=3).filter(|peer| *peer != node).map(NodeId).collect();
    let mut config = RingConfig::new(NodeId(node), peers, KEY);
    config.limits.store_packets_max = 40;
    config.limits.window_packets_max = 10;
    config.limits.burst_packets_max = 5;
    config
}

/// Two sane members and what passes between them.
struct Pair {
    now: Instant,
    rings: [Ring; 2],
    rng: Rng,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let ring = |node: u32| Ring::new(config(node), seed * 2 + u64::from(node), Instant::ZERO);
        Self { now: Instant::ZERO, rings: [ring(1), ring(2)], rng: Rng::new(seed) }
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.now = self.now + Duration::from_micros(200);
            for at in 0..2 {
                self.rings[at].handle_timer(self.now);
                while let Some(transmit) = self.rings[at].poll_transmit() {
                    let to = NodeId(2 - at as u32);
                    if transmit.to == To::Broadcast || transmit.to == To::Node(to) {
                        let from = NodeId(at as u32 + 1);
                        self.rings[1 - at].handle_datagram(self.now, from, &transmit.bytes);
                    }
                }
                while self.rings[at].poll_event().is_some() {}
                self.rings[at].check();
            }
        }
    }

    /// A number that is near something that matters, or far from everything.
    fn number(&mut self, near: u64) -> u64 {
        match self.rng.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << 62,
            3 => self.rng.next_u64(),
            _ => near.saturating_add(self.rng.below(12)).saturating_sub(6),
        }
    }

    fn ring_id(&mut self) -> ViewId {
        let known = self.rings[self.rng.below(2) as usize].ring.id;
        let forming = match &self.rings[0].stage {
            Stage::Recovery(recovering) => recovering.ring.id,
            _ => known,
        };
        match self.rng.below(4) {
            0 => ViewId { seq: self.number(known.seq), ..known },
            1 => forming,
            _ => known,
        }
    }

    /// The mad member, or a run of it that never was.
    fn mad(&mut self) -> Proc {
        Proc { node: NodeId(3), salt: self.rng.below(3) }
    }

    fn procs(&mut self) -> Vec<Proc> {
        let mut procs = vec![self.rings[0].me, self.rings[1].me, self.mad()];
        procs.retain(|_| self.rng.chance(3, 4));
        procs.sort_unstable();
        procs
    }

    fn body(&mut self) -> Body {
        let ring = self.ring_id();
        let seq = self.rings[0].ring.store.high();
        match self.rng.below(6) {
            0 => {
                let (seq, aru) = (self.number(seq), self.number(seq));
                let requests = vec![self.number(seq).min(seq)];
                let hop = self.number(self.rings[0].ring.hop + 6);
                let (sent, idle) = (self.number(5) as u32, self.number(5) as u32);
                let (ready, aru_setter) = (self.number(2) as u32, Some(NodeId(1)));
                let aru = aru.min(seq);
                Body::Token(Token { ring, hop, seq, aru, aru_setter, sent, idle, ready, requests })
            }
            1 => {
                let members = self.procs();
                let origin = Origin { ring, aru: self.number(seq) };
                let entries = members.iter().filter(|_| self.rng.chance(2, 3)).map(|_| origin);
                let entries = entries.collect();
                let hop = self.number(3) as u32;
                let representative = members.first().map_or(NodeId(1), |first| first.node);
                let ring = ViewId { representative, ..ring };
                Body::Commit(Commit { ring, hop, members, entries })
            }
            2 | 3 => {
                let rows = self.procs().into_iter().map(|proc| Row {
                    proc,
                    version: 0,
                    seq_max: 0,
                    ring,
                    gathering: false,
                    standing: Standing::default(),
                    hears: Vec::new(),
                    proposal: Vec::new(),
                });
                let mut rows: Vec<Row> = rows.collect();
                for row in &mut rows {
                    row.version = self.number(50);
                    row.seq_max = self.number(ring.seq.min(1 << 40));
                    row.gathering = self.rng.chance(1, 2);
                    (row.hears, row.proposal) = (self.procs(), self.procs());
                }
                Body::Presence(rows)
            }
            _ if self.rng.chance(1, 50) => Body::Leave,
            _ => Body::HoldCancel(ring),
        }
    }

    /// A data datagram in the name of anybody, since the mad one could keep others' key as well.
    fn data(&mut self) -> Bytes {
        let origin = match self.rng.below(3) {
            0 => self.mad(),
            at => self.rings[at as usize - 1].me,
        };
        let ring = self.ring_id();
        let high = self.rings[0].ring.store.high();
        let seq = self.number(high);
        let wrapped = self.rng.chance(1, 3);
        let filler: Vec<u8> = (0..self.rng.below(80)).map(|_| self.rng.next_u64() as u8).collect();
        Seal::new(KEY).data(origin, (ring, seq), wrapped, 64, |out| out.raw(&filler)).datagram
    }
}

#[test]
fn a_mad_member_cannot_make_a_sane_one_panic_or_break_its_invariants() {
    let (mut accepted, mut views) = (0, 0);
    for seed in 0..100 {
        let mut pair = Pair::new(seed);
        pair.run(Duration::from_millis(300));
        assert_eq!(pair.rings[0].ring.members.len(), 2);
        for _ in 0..300 {
            let to = pair.rng.below(2) as usize;
            let datagram = match pair.rng.below(3) {
                0 => pair.data(),
                _ => {
                    let body = pair.body();
                    let mad = pair.mad();
                    // Tokens count only from members, so it speaks with their tongue at times.
                    let other = pair.rings[1 - to].me;
                    let sender = if pair.rng.chance(1, 3) { other } else { mad };
                    Seal::new(KEY).control(sender, &body)
                }
            };
            let from = match Seal::new(KEY).open(&datagram) {
                Ok((sender, _)) => sender.node,
                Err(_) => NodeId(3),
            };
            let now = pair.now;
            let _ = pair.rings[to].submit(now, Bytes::from_static(b"sane"));
            pair.rings[to].handle_datagram(now, from, &datagram);
            pair.rings[to].check();
            let pause = if pair.rng.chance(1, 20) { 150_000 } else { 400 };
            pair.run(Duration::from_micros(pause));
        }
        accepted += pair.rings.iter().map(|ring| ring.counters.accepted).sum::<u64>();
        views += pair.rings[0].counters.views;
    }
    assert!(accepted > 15_000 && views > 200, "{accepted} datagrams, {views} views");
}

#[test]
fn peers_can_be_added_and_removed_while_running() {
    let mut pair = Pair::new(1);
    let alone = |ring: &mut Ring| ring.set_peers(Instant::ZERO, Vec::new());
    assert_eq!(pair.rings.iter_mut().map(alone).collect::<Vec<_>>(), [Ok(()), Ok(())]);
    pair.run(Duration::from_millis(300));
    assert!(pair.rings.iter().all(|ring| ring.ring.members.len() == 1));
    for node in 1..=2u32 {
        let peers = vec![NodeId(3 - node)];
        assert_eq!(pair.rings[node as usize - 1].set_peers(pair.now, peers), Ok(()));
    }
    pair.run(Duration::from_millis(300));
    assert!(pair.rings.iter().all(|ring| ring.ring.members.len() == 2));
    assert_eq!(pair.rings[0].set_peers(pair.now, Vec::new()), Ok(()));
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.rings[0].ring.members.len(), 1);
    let itself = pair.rings[0].set_peers(pair.now, vec![NodeId(1)]);
    assert!(matches!(itself, Err(ConfigError::Contradiction(_))));
}

#[test]
fn a_configuration_that_contradicts_itself_is_refused_by_name() {
    let good = config(1);
    assert_eq!(good.validate(), Ok(()));
    let mut bad = good.clone();
    bad.limits.store_packets_max = 39;
    let error = bad.validate().unwrap_err();
    assert_eq!(std::format!("{error}"), "store_packets_max is below four times window_packets_max");
    let mut bad = good;
    bad.timeouts.idle_hold = Duration::from_secs(1);
    assert!(bad.validate().is_err());
}

#[test]
fn debug_output_does_not_show_the_key() {
    let ring = Ring::new(config(1), 1, Instant::ZERO);
    let shown = std::format!("{ring:?} {:?}", config(1));
    assert!(!shown.contains("9, 9"), "{shown}");
}

#[test]
fn data_decoded_is_data_made() {
    let me = Proc { node: NodeId(1), salt: 1 };
    let id = ViewId { seq: 3, representative: NodeId(1), salt: 1 };
    let packet = Seal::new(KEY).data(me, (id, 4), false, 64, |out| out.raw(b"x"));
    let opened = Seal::new(KEY).open(&packet.datagram);
    assert_eq!(opened, Ok((me, Body::Data(Data { ring: id, seq: 4, packet }))));
}
