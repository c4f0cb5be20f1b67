//! Transactions of any bytes, carried out one after the other on a state with tiny limits.

#![no_main]

use accord_core::holder::Holder;
use accord_core::ids::{NodeId, RequestId, SessionId};
use accord_core::limits::Limits;
use accord_core::state::{Command, Op, State, encode_request};
use accord_core::wire::{Encode, Writer};
use accord_fuzz::{Operations, is_canonical};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut state = State::new(Limits::tiny());
    let mut events = Vec::new();
    let open =
        Command::Open { server: NodeId(1), token: 1, timeout_ms: 1000, holder: Holder::default() }
            .to_bytes();
    state.apply(&open, &mut events);
    state.apply(&open, &mut events);
    for (at, (which, bytes)) in Operations::new(data).enumerate() {
        is_canonical::<Op>(&Bytes::copy_from_slice(bytes));
        let session = SessionId(u64::from(which % 4));
        let request = RequestId(at as u64 + u64::from(which >> 6));
        let acked_below = RequestId(u64::from(which >> 2 & 15));
        let mut command = Writer::new();
        encode_request(session, request, acked_below, bytes, &mut command);
        state.apply(&command.finish(), &mut events);
        state.check();
    }
    let limits = Limits::tiny();
    let restored = State::restore(&state.snapshot(), limits).expect("its own snapshot");
    assert_eq!(restored.digest(), state.digest());
});
