//! What an operator may ask, and what may come as an answer to one.

#![no_main]

use accord_net::operator::protocol::{Answer, Question};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(asked) = serde_json::from_slice::<Question>(data) {
        let text = serde_json::to_vec(&asked).expect("it has a form in JSON");
        assert_eq!(serde_json::from_slice::<Question>(&text).expect("its own form"), asked);
    }
    if let Ok(answer) = serde_json::from_slice::<Answer>(data) {
        let text = serde_json::to_vec(&answer).expect("it has a form in JSON");
        assert_eq!(serde_json::from_slice::<Answer>(&text).expect("its own form"), answer);
        if let Answer::Status(report) = answer {
            drop(report.to_string());
        }
    }
});
