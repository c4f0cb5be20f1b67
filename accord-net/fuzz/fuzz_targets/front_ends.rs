//! Bytes at front-ends, with a server behind them: streams in pieces, of several clients.

#![no_main]

use accord_core::gateway::front_end::{FrontEnd, Next};
use accord_core::gateway::native::Native;
use accord_core::ids::ConnId;
use accord_core::time::Duration;
use accord_fuzz::Operations;
use accord_fuzz::world::World;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;

/// A client's end of a connection.
struct Line {
    front_end: Box<dyn FrontEnd>,
    received: usize,
    answered: Vec<u8>,
    ended: bool,
}

impl Line {
    fn new() -> Self {
        Self { front_end: Box::new(Native::new()), received: 0, answered: vec![], ended: false }
    }

    /// Hands on what the server said.
    fn hear(&mut self, world: &mut World, conn: ConnId) {
        match world.take(conn) {
            Some(said) => {
                said.iter().for_each(|message| self.front_end.say(message, &mut self.answered));
            }
            None => self.ended = true,
        }
    }

    /// Hands in the calls that have arrived, as the driver does. True if bytes are wanted.
    fn take_calls(&mut self, world: &mut World, conn: ConnId) -> bool {
        while !self.ended && world.accepts(conn) {
            match self.front_end.next() {
                Ok(Next::Call(call)) => world.say(conn, call),
                Ok(Next::Bytes) => return true,
                Ok(Next::Word) => return false,
                Err(_) => {
                    world.hang_up(conn);
                    self.ended = true;
                }
            }
            world.settle(true);
            self.hear(world, conn);
        }
        false
    }
}

fuzz_target!(|data: &[u8]| {
    let mut world = World::new();
    let mut lines: BTreeMap<ConnId, Line> = BTreeMap::new();
    for (which, bytes) in Operations::new(data) {
        match (which % 8, world.conn(which >> 4)) {
            (0, _) | (_, None) => {
                lines.insert(world.connect(), Line::new());
            }
            (1, Some(conn)) => world.hang_up(conn),
            (2, _) => world.pass(Duration::from_millis(10 * (1 + bytes.len() as u64))),
            (_, Some(conn)) => {
                let line = lines.get_mut(&conn).expect("it was connected");
                if line.take_calls(&mut world, conn) {
                    line.front_end.receive(Bytes::copy_from_slice(bytes));
                    line.received += bytes.len();
                    line.take_calls(&mut world, conn);
                }
                assert!(line.front_end.fragment_bytes() <= line.received, "it keeps what arrived");
            }
        }
        world.settle(true);
        lines.iter_mut().for_each(|(conn, line)| line.hear(&mut world, *conn));
        lines.retain(|_, line| !line.ended);
    }
});
