//! Who claims to be an operator.

use crate::raw::{Noise, Raw};
use crate::siege::Siege;
use accord_core::stream::{FRAME_BYTES_MAX, Kind};
use accord_net::operator::protocol::{Answer, OPERATOR_VERSION};

async fn operator(siege: &Siege) -> Raw {
    Raw::greeted(siege.target().client_addr(), Kind::Operator, OPERATOR_VERSION).await
}

async fn answer(raw: &mut Raw) -> Answer {
    let payload = raw.hear_message().await.expect("the server answers");
    serde_json::from_slice(&payload).expect("an answer is JSON")
}

#[tokio::test]
async fn what_is_no_question_is_answered_with_what_would_be() {
    let siege = Siege::begin(|_| {}).await;
    let mut raw = operator(&siege).await;
    let mut noise = Noise::new(5);
    let mut questions: Vec<Vec<u8>> = [
        "",
        "{",
        "[]",
        "null",
        "\"status\"",
        "{\"op\":\"launch-missiles\"}",
        "{\"op\":{\"op\":\"status\"}}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    // Nesting must not eat the stack.
    questions.push(vec![b'['; 200_000]);
    questions.extend((0..50).map(|size| noise.bytes(size)));
    for question in questions {
        raw.say_message(&question).await;
        let answer = answer(&mut raw).await;
        assert!(matches!(&answer, Answer::Refused { reason } if !reason.is_empty()), "{answer:?}");
    }
    raw.say_message(b"{\"op\":\"status\"}").await;
    assert!(matches!(answer(&mut raw).await, Answer::Status(report) if report.node == 1));
    siege.lift().await;
}

#[tokio::test]
async fn operators_are_bounded_like_everybody() {
    let siege = Siege::begin(|options| options.net.operators_max = 4).await;
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(operator(&siege).await);
    }
    let refused = operator(&siege).await;
    refused.end().await;
    siege.until_counted("accord_prefaces_refused_total{reason=\"too_many_operators\"}", 1).await;
    for raw in silent {
        raw.end().await;
    }
    siege.until_counted("accord_connection_ends_total{reason=\"operator_silent\"}", 4).await;
    // There is room again: for one that asks and does not listen,
    let mut deaf = operator(&siege).await;
    while deaf.say_message(b"{\"op\":\"status\"}").await {}
    siege.until_counted("accord_connection_ends_total{reason=\"operator_silent\"}", 5).await;
    // for one that says too much,
    let mut raw = operator(&siege).await;
    let mut frame = (FRAME_BYTES_MAX as u32 | 1 << 31).to_le_bytes().to_vec();
    frame.resize(frame.len() + FRAME_BYTES_MAX, b'[');
    while raw.say(&frame).await {}
    raw.end().await;
    siege.until_counted("accord_connection_ends_total{reason=\"operator_malformed\"}", 1).await;
    siege.lift().await;
}
