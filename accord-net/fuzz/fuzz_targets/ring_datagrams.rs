//! Datagrams at a member of a ring: as they come, and behind a right code, as a member that has
//! gone mad, or a key that has leaked, could send them.

#![no_main]

use accord_core::group::ring::{Ring, RingConfig};
use accord_core::ids::NodeId;
use accord_core::time::{Duration, Instant};
use accord_fuzz::Operations;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

const KEY: [u8; 32] = [7; 32];

/// A datagram with a right header and code: its kind, its sender, and any body.
fn sealed(kind: u8, node: u32, body: &[u8]) -> Bytes {
    let mut datagram = vec![1, kind];
    datagram.extend_from_slice(&node.to_le_bytes());
    datagram.extend_from_slice(&u64::from(node).to_le_bytes());
    datagram.extend_from_slice(body);
    let code = blake3::keyed_hash(&KEY, &datagram);
    datagram.extend_from_slice(&code.as_bytes()[..16]);
    datagram.into()
}

fuzz_target!(|data: &[u8]| {
    let mut now = Instant::ZERO;
    let mut config = RingConfig::new(NodeId(1), vec![NodeId(2), NodeId(3)], KEY);
    config.limits.store_packets_max = 40;
    config.limits.window_packets_max = 10;
    config.limits.burst_packets_max = 5;
    let mut ring = Ring::new(config, 1, now);
    for (which, bytes) in Operations::new(data) {
        let from = NodeId(2 + u32::from(which >> 7));
        match which % 16 {
            0 => {
                now = now + Duration::from_millis(1 + bytes.len() as u64);
                ring.handle_timer(now);
            }
            1 => drop(ring.submit(now, Bytes::copy_from_slice(bytes))),
            2 => ring.handle_datagram(now, from, &Bytes::copy_from_slice(bytes)),
            kind => ring.handle_datagram(now, from, &sealed(kind - 2, from.0, bytes)),
        }
        while ring.poll_transmit().is_some() {}
        while ring.poll_event().is_some() {}
        ring.check();
    }
});
