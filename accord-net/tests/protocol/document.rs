//! The document says what the codec does: every example decodes to what stands beside it, every
//! message and tag that the code knows has its row, and every bound its value.

use accord_core::ids::{RequestId, Revision, SessionId};
use accord_core::limits::{Limits, STEPS_MAX};
use accord_core::protocol::{
    ClientMessage, MESSAGE_BYTES_MAX, PROTOCOL_VERSION, ServerMessage, WATCH_KEY_BYTES_MAX,
    WatchFilter, decode_client, decode_server, encode_client, encode_server,
};
use accord_core::server::ServerLimits;
use accord_core::state::{
    Compare, KeyEventKind, ListQuery, Op, Page, Range, ReadQuery, ReadResult, Relation,
    RequestError, SessionInfo, Stat, StepError,
};
use accord_core::stream::{FRAME_BYTES_MAX, FrameReader, Kind, PREFACE_BYTES, Preface};
use accord_core::time::DurationExt;
use accord_core::wire::{Decode, Encode};
use accord_net::operator::protocol::{Answer, OPERATOR_BYTES_MAX, Question};
use accord_net::server::NetLimits;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&whole).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn document() -> String {
    read("docs/protocol.md")
}

/// The lines of all blocks of code in this language.
fn block_lines(text: &str, language: &str) -> Vec<String> {
    let (mut lines, mut within) = (Vec::new(), false);
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(opened) => within = !within && opened == language,
            None if within => lines.push(line.to_owned()),
            None => {}
        }
    }
    assert!(!lines.is_empty(), "the document has blocks of {language}");
    lines
}

/// The examples of all blocks of code in this language. Lines that begin with blanks continue the
/// example above them.
fn examples(text: &str, language: &str) -> Vec<String> {
    let mut examples: Vec<String> = Vec::new();
    for line in block_lines(text, language) {
        match line.strip_prefix("    ") {
            Some(more) => {
                let example = examples.last_mut().expect("an example begins without blanks");
                example.extend([" ", more]);
            }
            None => examples.push(line),
        }
    }
    examples
}

/// An example: who says it, its bytes, what they mean.
fn parse(example: &str) -> (char, Vec<u8>, String) {
    let mut words = example.split_whitespace().peekable();
    let who = words.next().and_then(|word| word.chars().next()).expect("who says it");
    let byte = |word: &&str| word.len() == 2 && word.chars().all(|c| c.is_ascii_hexdigit());
    let mut bytes = Vec::new();
    while let Some(word) = words.next_if(byte) {
        bytes.push(u8::from_str_radix(word, 16).expect("two hexadecimal digits"));
    }
    (who, bytes, words.collect::<Vec<_>>().join(" "))
}

/// A client's message in words. What is opaque to the codec is taken apart as well.
fn client_in_words(message: &ClientMessage) -> String {
    match message {
        ClientMessage::Request { request, acked_below, op } => {
            let op = Op::from_bytes(op).expect("it is an operation");
            format!("Request {{ request: {request}, acked_below: {acked_below}, op: {op:?} }}")
        }
        other => format!("{other:?}"),
    }
}

fn client_of(bytes: &[u8]) -> ClientMessage {
    let payload = Bytes::copy_from_slice(bytes);
    let message = decode_client(&payload).expect("it is a client's message");
    assert_eq!(encode_client(&message), payload, "one message, one encoding");
    message
}

fn server_of(bytes: &[u8]) -> ServerMessage {
    let payload = Bytes::copy_from_slice(bytes);
    let message = decode_server(&payload).expect("it is a server's message");
    assert_eq!(encode_server(&message), payload, "one message, one encoding");
    message
}

/// The name of a variant.
fn name(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

#[test]
fn every_example_means_what_stands_beside_it() {
    let (mut by_clients, mut by_servers) = (BTreeSet::new(), BTreeSet::new());
    for line in examples(&document(), "accord") {
        let (who, bytes, meaning) = parse(&line);
        match who {
            'C' => {
                let message = client_of(&bytes);
                assert_eq!(client_in_words(&message), meaning, "{line}");
                by_clients.insert(name(&message));
            }
            'S' => {
                let message = server_of(&bytes);
                assert_eq!(format!("{message:?}"), meaning, "{line}");
                by_servers.insert(name(&message));
            }
            _ => panic!("neither a client nor a server says {line}"),
        }
    }
    let codec = tags(&read("accord-core/src/protocol/codec.rs"));
    let names = |of: fn(u8) -> bool| -> BTreeSet<String> {
        codec.iter().filter(|(_, tag)| of(*tag)).map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(by_clients, names(|tag| tag < 64), "every message of a client has an example");
    assert_eq!(by_servers, names(|tag| tag > 64), "every message of a server has an example");
}

#[test]
fn the_conversation_is_one() {
    let mut said: BTreeMap<char, (Vec<u8>, Vec<String>)> = BTreeMap::new();
    for line in examples(&document(), "wire") {
        let (who, bytes, meaning) = parse(&line);
        let (stream, meanings) = said.entry(who).or_default();
        stream.extend(bytes);
        meanings.push(meaning);
    }
    for (who, (stream, meanings)) in said {
        let (preface, frames) = stream.split_first_chunk::<PREFACE_BYTES>().expect("a preface");
        let ours = Preface { kind: Kind::Client, version: PROTOCOL_VERSION };
        assert_eq!(Preface::from_bytes(*preface), Ok(ours));
        let mut reader = FrameReader::new(MESSAGE_BYTES_MAX);
        reader.push(Bytes::copy_from_slice(frames));
        let mut messages = vec!["preface".to_owned()];
        while let Some(payload) = reader.next_message().expect("frames") {
            messages.push(match who {
                '>' => client_in_words(&client_of(&payload)),
                _ => format!("{:?}", server_of(&payload)),
            });
        }
        assert_eq!(reader.kept_bytes(), 0, "the last frame is whole");
        assert_eq!(messages, meanings);
    }
}

#[test]
fn the_json_is_what_operators_say_and_hear() {
    let lines = block_lines(&document(), "json");
    let (asked, answers): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.contains("\"op\""));
    for line in &asked {
        serde_json::from_str::<Question>(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    for line in &answers {
        serde_json::from_str::<Answer>(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    let unknown = serde_json::from_str::<Question>("{\"op\":\"dance\"}").unwrap_err().to_string();
    for op in unknown.split('`').skip(3).step_by(2) {
        assert!(asked.iter().any(|line| line.contains(op)), "`{op}` has an example");
        assert!(document().contains(&format!("| `{op}` |")), "`{op}` has a row");
    }
}

/// The constants of a source's `mod tag`, named as variants are.
fn tags(source: &str) -> Vec<(String, u8)> {
    let all = source.split("mod tag {").nth(1).expect("the source has tags");
    let all = all.split("\n}").next().unwrap_or_default();
    let constant = |line: &str| {
        let line = line.trim().strip_prefix("pub(super) const ")?;
        let (name, tag) = line.trim_end_matches(';').split_once(": u8 = ")?;
        let word = |word: &str| word[..1].to_owned() + &word[1..].to_lowercase();
        Some((name.split('_').map(word).collect(), tag.parse().expect("a tag is a number")))
    };
    let found: Vec<_> = all.lines().filter_map(constant).collect();
    assert!(!found.is_empty(), "the source has tags");
    found
}

/// The enums of a source's `decode_unit_enum!`: a variant's place is its tag.
fn unit_enums(source: &str) -> BTreeMap<String, Vec<String>> {
    let all = source.split("\ndecode_unit_enum! {").nth(1).expect("the source has unit enums");
    let all = all.split("\n}").next().unwrap_or_default();
    let mut found = BTreeMap::new();
    for one in all.split(';').filter(|one| !one.trim().is_empty()) {
        let (head, variants) = one.rsplit_once(':').expect("a name and variants");
        let name = head.split(',').next().unwrap_or_default().trim().to_owned();
        found.insert(name, variants.split(',').map(|word| word.trim().to_owned()).collect());
    }
    found
}

/// Checks that the section of this heading has a row for this tag.
fn expect_row(section: &str, tag: u8, name: &str) {
    let text = document();
    let begin = ["\n## ", "\n### "]
        .iter()
        .find_map(|mark| text.split(&format!("{mark}{section}\n")).nth(1).map(ToOwned::to_owned));
    let body = begin.unwrap_or_else(|| panic!("there is a section {section}"));
    let body = body.split("\n## ").next().unwrap_or_default();
    let row = format!("| {tag} | `{name}");
    assert!(body.contains(&row), "{section} has no row that begins with {row}");
}

#[test]
fn every_tag_in_the_code_has_its_row() {
    let codec = read("accord-core/src/protocol/codec.rs");
    for (name, tag) in tags(&codec) {
        let section = if tag < 64 { "What a client sends" } else { "What a server sends" };
        expect_row(section, tag, &name);
    }
    for (enumeration, variants) in unit_enums(&codec) {
        let section = if enumeration == "Consistency" { "Reads" } else { &enumeration };
        for (tag, name) in variants.iter().enumerate() {
            expect_row(section, tag as u8, name);
        }
    }
    for (name, tag) in tags(&read("accord-core/src/state/kv/txn.rs")) {
        expect_row("Steps", tag, &name);
    }
    for (name, tag) in tags(&read("accord-core/src/state/kv/outcome.rs")) {
        expect_row("Outcomes", tag, &name);
    }
    for error in StepError::ALL {
        expect_row("StepError", error.to_bytes()[0], &name(&error));
    }
    for relation in Relation::ALL {
        expect_row("Comparisons", relation.to_bytes()[0], &name(&relation));
    }
    for kind in KeyEventKind::ALL {
        expect_row("Watches", kind as u8, &name(&kind));
    }
    expect_row("Watches", 0, "Joined");
    expect_row("Watches", 1, "Left");
}

fn expect_rows<T: Encode + Debug>(section: &str, samples: &[T]) {
    for sample in samples {
        expect_row(section, sample.to_bytes()[0], &name(sample));
    }
}

/// As [`expect_rows`], for what begins with a kind of object.
fn expect_rows_of_kinds<T: Encode + Debug>(section: &str, samples: &[T]) {
    for sample in samples {
        let (bytes, name) = (sample.to_bytes(), name(sample));
        expect_row(section, bytes[1], &format!("{name}` | {} |", bytes[0]));
    }
}

#[test]
fn every_variant_with_fields_has_its_row() {
    let (key, relation, revision) = (Bytes::new(), Relation::Equal, Revision(1));
    expect_rows(
        "Comparisons",
        &[
            Compare::Value { key: key.clone(), relation, value: key.clone() },
            Compare::Keys { key: key.clone(), relation, other: key.clone() },
            Compare::Version { key: key.clone(), relation, version: 1 },
            Compare::Created { key: key.clone(), relation, revision },
            Compare::Modified { key: key.clone(), relation, revision },
            Compare::Exists { key: key.clone() },
            Compare::Missing { key: key.clone() },
        ],
    );
    let filters =
        [WatchFilter::Key(key.clone()), WatchFilter::Prefix(key.clone()), WatchFilter::Members];
    expect_rows("Watches", &filters);
    let (after, limit) = (None, 1);
    let list = ListQuery { range: Range::ALL, after: None, limit, keys_only: false };
    expect_rows_of_kinds(
        "Reads",
        &[
            ReadQuery::Get { key: key.clone(), offset: 0, length_max: 1 },
            ReadQuery::List(list),
            ReadQuery::Members { after, limit },
            ReadQuery::Session { session: SessionId(1) },
        ],
    );
    let (created, modified) = (revision, revision);
    let stat = Stat { version: 1, created, modified, size: 0, owner: None };
    let (owner, last) = (None, RequestId(0));
    let info = SessionInfo { owner, generation: 1, timeout_ms: 1, last, ephemerals: 0 };
    expect_rows_of_kinds(
        "Reads",
        &[
            ReadResult::Value { value: key, stat },
            ReadResult::NotFound,
            ReadResult::Listed(Page::default()),
            ReadResult::Members { members: vec![], more: false },
            ReadResult::Session(info),
        ],
    );
    expect_rows(
        "RequestError",
        &[
            RequestError::SessionUnknown,
            RequestError::SessionEnded,
            RequestError::Acknowledged { acked_below: last },
            RequestError::PassedOver { last },
            RequestError::WindowFull,
            RequestError::Malformed,
            RequestError::CommandTooLarge,
            RequestError::TooManySteps,
            RequestError::UnknownKind { kind: 7 },
        ],
    );
}

/// If the code knows more variants than the test above names, this does not compile.
#[allow(dead_code)]
const fn all_are_named(
    compare: &Compare,
    query: &ReadQuery,
    result: &ReadResult,
    filter: &WatchFilter,
    error: RequestError,
) {
    match compare {
        Compare::Value { .. } | Compare::Keys { .. } | Compare::Version { .. } => {}
        Compare::Created { .. } | Compare::Modified { .. } => {}
        Compare::Exists { .. } | Compare::Missing { .. } => {}
    }
    match query {
        ReadQuery::Get { .. } | ReadQuery::List(_) => {}
        ReadQuery::Members { .. } | ReadQuery::Session { .. } => {}
        // Not of this protocol.
        ReadQuery::Tree(_) => {}
    }
    match result {
        ReadResult::Value { .. } | ReadResult::NotFound | ReadResult::Listed(_) => {}
        ReadResult::Members { .. } | ReadResult::Session(_) => {}
        ReadResult::Tree(_) => {}
    }
    match filter {
        WatchFilter::Key(_) | WatchFilter::Prefix(_) | WatchFilter::Members => {}
    }
    match error {
        RequestError::SessionUnknown | RequestError::SessionEnded => {}
        RequestError::Acknowledged { .. } | RequestError::PassedOver { .. } => {}
        RequestError::WindowFull | RequestError::Malformed => {}
        RequestError::CommandTooLarge | RequestError::TooManySteps => {}
        RequestError::UnknownKind { .. } => {}
    }
}

/// The bounds that a client may meet.
fn defaults() -> Vec<(&'static str, u64)> {
    let net = NetLimits::default();
    let NetLimits { preface_timeout, sessionless_timeout, linger_timeout, .. } = net;
    let NetLimits { operators_max, operator_timeout, strangers_max, stall_timeout, .. } = net;
    let server = ServerLimits::default();
    let state = Limits::default();
    vec![
        ("preface_timeout", preface_timeout.to_millis()),
        ("sessionless_timeout", sessionless_timeout.to_millis()),
        ("linger_timeout", linger_timeout.to_millis()),
        ("operator_timeout", operator_timeout.to_millis()),
        ("stall_timeout", stall_timeout.to_millis()),
        ("operators_max", operators_max as u64),
        ("strangers_max", strangers_max as u64),
        ("fragment_bytes_max", net.fragment_bytes_max as u64),
        ("conns_max", server.conns_max as u64),
        ("requests_per_conn_max", server.requests_per_conn_max as u64),
        ("request_bytes_per_conn_max", server.request_bytes_per_conn_max as u64),
        ("reads_per_conn_max", server.reads_per_conn_max as u64),
        ("watches_per_conn_max", server.watches_per_conn_max as u64),
        ("unsent_bytes_max", server.unsent_bytes_max as u64),
        ("read_wait_max", server.read_wait_max.to_millis()),
        ("timeout_ms_min", u64::from(state.timeout_ms_min)),
        ("timeout_ms_max", u64::from(state.timeout_ms_max)),
        ("sessions_max", u64::from(state.sessions_max)),
        ("outcomes_max", u64::from(state.outcomes_max)),
        ("outcome_bytes_max", state.outcome_bytes_max),
        ("ephemerals_max", u64::from(state.ephemerals_max)),
        ("key_bytes_max", u64::from(state.key_bytes_max)),
        ("value_bytes_max", state.value_bytes_max),
        ("result_bytes_max", state.result_bytes_max),
        ("store_bytes_max", state.store_bytes_max),
        ("page_entries_max", u64::from(state.page_entries_max)),
        ("page_bytes_max", state.page_bytes_max),
        ("FRAME_BYTES_MAX", FRAME_BYTES_MAX as u64),
        ("MESSAGE_BYTES_MAX", MESSAGE_BYTES_MAX as u64),
        ("WATCH_KEY_BYTES_MAX", WATCH_KEY_BYTES_MAX as u64),
        ("STEPS_MAX", STEPS_MAX as u64),
        ("OPERATOR_BYTES_MAX", OPERATOR_BYTES_MAX as u64),
    ]
}

#[test]
fn every_bound_has_its_value() {
    let text = document();
    let bounds = text.split("\n## Bounds\n").nth(1).expect("there is a section Bounds");
    let row = |line: &str| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?.to_owned();
        Some((name, cells.next()?.parse().expect("a bound is a number")))
    };
    let written: BTreeMap<String, u64> = bounds.lines().filter_map(row).collect();
    let coded = defaults().into_iter().map(|(name, value)| (name.to_owned(), value));
    assert_eq!(written, coded.collect());
}
