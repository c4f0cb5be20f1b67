//! A state with one session, and commands encoded ahead as they stand in batches.

use accord_core::holder::Holder;
use accord_core::ids::{NodeId, RequestId, SessionId};
use accord_core::limits::Limits;
use accord_core::rng::Rng;
use accord_core::state::{Command, Event, Flags, OpRef, State, Step, Txn, encode_request};
use accord_core::wire::{Encode, Writer};
use bytes::Bytes;

/// As many bytes of commands share one buffer, as they do in a batch.
const BATCH_BYTES: usize = 64 << 10;

/// A state and where its one client is in its numbering.
pub struct World {
    /// The state that is measured.
    pub state: State,
    /// Used again by every command, as a server does.
    pub events: Vec<Event>,
    next: u64,
}

impl World {
    /// A state with `keys` records of 8 bytes, written in a scattered order.
    pub fn with_keys(keys: u64) -> Self {
        let (state, events) = (State::new(Limits::default()), Vec::new());
        let mut world = Self { state, events, next: 1 };
        let open = Command::Open {
            server: NodeId(1),
            token: 0,
            timeout_ms: 1000,
            holder: Holder::default(),
        };
        world.state.apply(&open.to_bytes(), &mut world.events);
        let mut from = 0;
        while from < keys {
            let until = keys.min(from + 10_000);
            let commands = world.encode((from..until).map(|i| write(scattered(i))));
            world.apply(&commands);
            from = until;
        }
        assert_eq!(world.state.records() as u64, keys);
        world
    }

    /// The next requests of the client, as slices of batches. Each acknowledges those before it but
    /// for a window of 64.
    pub fn encode(&mut self, txns: impl Iterator<Item = Vec<Step>>) -> Vec<Bytes> {
        let (mut commands, mut ends) = (Vec::new(), Vec::new());
        let mut batch = Writer::with_capacity(BATCH_BYTES);
        let mut flush = |batch: &mut Writer, ends: &mut Vec<usize>| {
            let whole = std::mem::take(batch).finish();
            let mut from = 0;
            for end in ends.drain(..) {
                commands.push(whole.slice(from..end));
                from = end;
            }
        };
        for steps in txns {
            let request = RequestId(self.next);
            let acked_below = RequestId(self.next.saturating_sub(64));
            let op = OpRef::Kv(&Txn::of(steps)).to_bytes();
            encode_request(SessionId(1), request, acked_below, &op, &mut batch);
            ends.push(batch.len());
            self.next += 1;
            if batch.len() >= BATCH_BYTES {
                flush(&mut batch, &mut ends);
            }
        }
        flush(&mut batch, &mut ends);
        commands
    }

    /// Applies the commands in order.
    pub fn apply(&mut self, commands: &[Bytes]) {
        for command in commands {
            self.state.apply(command, &mut self.events);
        }
    }
}

/// A write of 8 bytes that makes or overwrites a record.
pub fn write(key: Bytes) -> Vec<Step> {
    let value = Bytes::from_static(b"8 bytes!");
    vec![Step::Write { key, value, offset: 0, flags: Flags::CREATE }]
}

/// The key of number `i`: 16 bytes, and neighbours in number far apart in order.
pub fn scattered(i: u64) -> Bytes {
    Bytes::from(format!("{:016x}", Rng::new(i).next_u64()).into_bytes())
}
