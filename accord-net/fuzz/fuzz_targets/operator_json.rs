//! What an operator may ask, and what may come as an answer to one.

#![no_main]

use accord_net::server::operator::{Answer, Asked};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(asked) = serde_json::from_slice::<Asked>(data) {
        let text = serde_json::to_vec(&asked).expect("it has a form in JSON");
        assert_eq!(serde_json::from_slice::<Asked>(&text).expect("its own form"), asked);
    }
    if let Ok(answer) = serde_json::from_slice::<Answer>(data) {
        let text = serde_json::to_vec(&answer).expect("it has a form in JSON");
        assert_eq!(serde_json::from_slice::<Answer>(&text).expect("its own form"), answer);
        if let Answer::Status(report) = answer {
            drop(report.to_string());
        }
    }
});
