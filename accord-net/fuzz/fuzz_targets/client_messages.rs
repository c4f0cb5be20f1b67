//! What a client may send as one message: it decodes or it does not, and has one encoding.

#![no_main]

use accord_core::protocol::{ClientMessage, decode_client, encode_client};
use accord_core::state::Op;
use accord_fuzz::is_canonical;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let payload = Bytes::copy_from_slice(data);
    if let Ok(message) = decode_client(&payload) {
        assert_eq!(encode_client(&message), payload);
        if let ClientMessage::Request { op, .. } = &message {
            is_canonical::<Op>(op);
        }
    }
});
