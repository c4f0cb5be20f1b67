//! What servers send each other: through the group, beside it, and as snapshots of the state. The
//! first byte says which.

#![no_main]

use accord_core::limits::Limits;
use accord_core::replica::message::{GroupMessage, PeerMessage};
use accord_core::state::{Command, State};
use accord_fuzz::is_canonical;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((which, rest)) = data.split_first() else { return };
    let bytes = Bytes::copy_from_slice(rest);
    match which % 4 {
        0 => {
            if let Ok(message) = GroupMessage::from_payload(&bytes) {
                assert_eq!(message.to_payload(), bytes);
            }
        }
        1 => drop(is_canonical::<PeerMessage>(&bytes)),
        2 => drop(is_canonical::<Command>(&bytes)),
        _ => {
            if let Ok(state) = State::restore(&bytes, Limits::tiny()) {
                state.check();
            }
        }
    }
});
