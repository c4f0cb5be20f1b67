//! Whole conversations: clients of a server that say whatever they like, whenever they like.

#![no_main]

use accord_core::protocol::decode_client;
use accord_core::time::Duration;
use accord_fuzz::Operations;
use accord_fuzz::world::World;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut world = World::new();
    for (which, bytes) in Operations::new(data) {
        match (which % 8, world.conn(which >> 4)) {
            (0, _) | (_, None) => {
                world.connect();
            }
            (1, Some(conn)) => world.hang_up(conn),
            (2, _) => world.pass(Duration::from_millis(10 * (1 + bytes.len() as u64))),
            (_, Some(conn)) => {
                if let Ok(message) = decode_client(&Bytes::copy_from_slice(bytes))
                    && world.accepts(conn)
                {
                    world.say(conn, message);
                }
            }
        }
        // Some messages wait for the next input: what comes together is worked out together.
        if which % 8 != 7 {
            world.settle(which & 8 == 0);
        }
    }
    world.settle(true);
});
