//! What a server may send, to a client that holds a session, requests, reads and watches. The first
//! byte of an operation says what comes: a message, or time.

#![no_main]

use accord_core::client::{Client, ClientConfig, ClientInput, ClientOutput};
use accord_core::ids::NodeId;
use accord_core::protocol::{Consistency, EventMask, WatchFilter, decode_server, encode_server};
use accord_core::state::{ReadQuery, Txn};
use accord_core::time::{Duration, Instant};
use accord_fuzz::Operations;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut now = Instant::ZERO;
    let mut client = Client::new(ClientConfig::new(vec![NodeId(1), NodeId(2)]), 1, now);
    client.handle(now, ClientInput::Connected);
    for (which, bytes) in Operations::new(data) {
        match which % 8 {
            0 => {
                now = now + Duration::from_millis(50 * (1 + bytes.len() as u64));
                client.handle(now, ClientInput::Timer);
            }
            1 => client.handle(now, ClientInput::Disconnected),
            2 => drop(client.submit(now, &Txn::default())),
            3 => {
                let query = ReadQuery::Members { after: None, limit: 1 };
                let _ = client.read(now, query, Consistency::Linearizable);
            }
            4 => drop(client.watch(now, WatchFilter::Members, EventMask::ALL, false, None)),
            _ => {
                let payload = Bytes::copy_from_slice(bytes);
                if let Ok(message) = decode_server(&payload) {
                    assert_eq!(encode_server(&message), payload);
                    client.handle(now, ClientInput::Message(message));
                }
            }
        }
        while let Some(output) = client.poll_output() {
            if let ClientOutput::Connect { .. } = output {
                client.handle(now, ClientInput::Connected);
            }
        }
        client.check();
    }
});
